"""The whole row between two Orthancs' doors: a film goes in, its documents come back to the PACS."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from tests import peers, slices, toy
from tests.phantoms import ROOT, SECRETS, make_film, to_bytes
from tests.serve.stage import until
from wetread.jobs.states import State
from wetread.pipeline import open_reader
from wetread.serve.node import Node
from wetread.settings import Destination, Settings
from wetread.wire.dimse import send

pytestmark = pytest.mark.peer

FILM = make_film(SOPInstanceUID=f"{ROOT}.7.1.1", StudyInstanceUID=f"{ROOT}.7", SeriesInstanceUID=f"{ROOT}.7.1")
CT = make_film(
    modality="CT",
    RescaleSlope="1",
    RescaleIntercept="-1024",
    SOPInstanceUID=f"{ROOT}.8.1.1",
    StudyInstanceUID=f"{ROOT}.8",
    SeriesInstanceUID=f"{ROOT}.8.1",
)


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[peers.Orthanc]:
    with peers.orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture(scope="module")
def node(orthanc: peers.Orthanc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("node")
    settings = Settings(
        models=toy.make_models(folder / "models"),
        engine="onnxruntime",
        state=folder / "state",
        port=0,
        http_port=0,
        destinations=(Destination("ORTHANC", "127.0.0.1", orthanc.port),),
        retry_first_s=0.1,
    )
    made = Node(replace(settings), lambda: open_reader(settings))
    made.start()
    assert made.wait_ready(20)
    peer = {"AET": "WETREAD", "Host": "127.0.0.1", "Port": made.port}
    orthanc.call("/modalities/wetread", json.dumps(peer).encode(), "PUT")
    yield made
    made.stop()


def modalities(orthanc: peers.Orthanc, study_uid: str) -> Counter[str]:
    """Modality -> how many instances of a study have it."""
    (study,) = orthanc.call("/tools/lookup", study_uid.encode())
    series = orthanc.call(f"/studies/{study['ID']}/series")
    found: Counter[str] = Counter()
    for one in series:
        found[one["MainDicomTags"]["Modality"]] += len(one["Instances"])
    return found


def test_a_film_comes_back_with_its_documents(orthanc: peers.Orthanc, node: Node) -> None:
    sent = orthanc.call("/instances", to_bytes(FILM))
    for _ in range(5):  # five times: still one result of each kind
        orthanc.call("/modalities/wetread/store", sent["ID"].encode())
    until(lambda: node.store.overview.versions(FILM.StudyInstanceUID)[0].state is State.DELIVERED, 30)
    found = modalities(orthanc, FILM.StudyInstanceUID)
    assert found["SR"] == found["SEG"] == 1
    assert sum(found.values()) == 5  # the film, SR, SEG, PM and SC
    assert len(node.store.overview.versions(FILM.StudyInstanceUID)) == 1
    (study,) = orthanc.call("/tools/lookup", FILM.StudyInstanceUID.encode())
    assert orthanc.call(f"/studies/{study['ID']}")["PatientMainDicomTags"]["PatientID"] == SECRETS[1]
    orthanc.call("/modalities/wetread/store", study["ID"].encode())  # the PACS routes everything back
    assert len(node.store.overview.versions(FILM.StudyInstanceUID)) == 1
    assert not node.store.overview.audits()


def test_what_is_not_read_comes_back_with_a_reason(orthanc: peers.Orthanc, node: Node) -> None:
    sent = orthanc.call("/instances", to_bytes(CT))
    orthanc.call("/modalities/wetread/store", sent["ID"].encode())
    until(lambda: node.store.overview.counts()["REFUSED"] == 1, 30)
    found = modalities(orthanc, CT.StudyInstanceUID)
    assert found["SR"] == 1
    assert "SEG" not in found
    assert node.store.overview.versions(CT.StudyInstanceUID)[0].reason == "WRONG-MODALITY"


def test_a_late_slice_makes_a_version_that_names_the_one_before(
    orthanc: peers.Orthanc, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Both versions lie in the PACS; the new report refers to the old one by study, series and instance."""
    folder = tmp_path_factory.mktemp("late")
    settings = Settings(
        models=toy.make_series_models(folder / "models"),
        engine="onnxruntime",
        state=folder / "state",
        port=0,
        http_port=0,
        destinations=(Destination("ORTHANC", "127.0.0.1", orthanc.port, ("SR", "SEG", "PDF")),),
        retry_first_s=0.1,
    )
    volume = slices.balls(slices.AXIAL, (12, 48, 44), np.array([[-2.0, -11.0, 32.0]]), (9.0,), (800,))
    files = [data for _, data in slices.blobs(slices.series(volume))]
    study_uid = str(slices.series(volume)[0].StudyInstanceUID)
    node = Node(settings, lambda: open_reader(settings))
    node.start()
    try:
        assert node.wait_ready(20)
        for some in (files[:-1], files[-1:]):
            assert set(send(Destination("WETREAD", "127.0.0.1", node.port), some, "CT")) == {0}
            until(lambda: node.store.overview.versions(study_uid)[-1].state is State.DELIVERED, 30)
        assert len(node.store.overview.versions(study_uid)) == 2
    finally:
        node.stop()
    (study,) = orthanc.call("/tools/lookup", study_uid.encode())
    for modality in ("SR", "DOC"):
        reports = [
            pydicom.dcmread(io.BytesIO(orthanc.file(one["ID"])))
            for one in orthanc.call(f"/studies/{study['ID']}/instances")
            if orthanc.call(f"/instances/{one['ID']}/tags?simplify")["Modality"] == modality
        ]
        (old,) = (one for one in reports if "PredecessorDocumentsSequence" not in one)
        (new,) = (one for one in reports if one is not old)
        (named,) = new.PredecessorDocumentsSequence
        (series,) = named.ReferencedSeriesSequence
        (document,) = series.ReferencedSOPSequence
        assert (named.StudyInstanceUID, series.SeriesInstanceUID) == (old.StudyInstanceUID, old.SeriesInstanceUID)
        assert (document.ReferencedSOPClassUID, document.ReferencedSOPInstanceUID) == (
            old.SOPClassUID,
            old.SOPInstanceUID,
        )
