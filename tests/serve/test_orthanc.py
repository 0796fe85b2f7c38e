"""The whole row between two Orthancs' doors: a film goes in, its documents come back to the PACS."""

from __future__ import annotations

import io
import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from tests import peers, slices, toy
from tests.phantoms import ROOT, SECRETS, make_film, to_bytes
from tests.serve.stage import get, until
from wetread.jobs.lanes import deadlines_s
from wetread.jobs.states import State
from wetread.jobs.worker import Reader
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


def test_a_node_that_is_late_leaves_out_what_it_says_it_does(
    orthanc: peers.Orthanc, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Films wait until the models are loaded, which takes too long; the last of them says what is lacking."""
    folder, loaded = tmp_path_factory.mktemp("behind"), threading.Event()
    settings = Settings(
        models=toy.make_models(folder / "models"),
        engine="onnxruntime",
        state=folder / "state",
        port=0,
        http_port=0,
        destinations=(Destination("ORTHANC", "127.0.0.1", orthanc.port),),
        routine_deadline_s=0.1,
        degrade="documents",
        degrade_after_s=0.2,
    )

    def load() -> Reader:
        assert loaded.wait(60)
        return open_reader(settings)

    studies = [f"{ROOT}.9.{number}" for number in range(8)]
    films = [
        to_bytes(make_film(SOPInstanceUID=f"{uid}.1.1", StudyInstanceUID=uid, SeriesInstanceUID=f"{uid}.1"))
        for uid in studies
    ]
    node = Node(settings, load)
    node.start()
    try:
        assert set(send(Destination("WETREAD", "127.0.0.1", node.port), films, "DX")) == {0}
        until(lambda: node.store.overview.late_s(deadlines_s(settings)) > 0.5, 30)
        loaded.set()
        until(lambda: json.loads(get(node.http_port, "/ready")[1]).get("degraded") == ["documents"], 30)
        until(lambda: node.store.overview.counts()["DELIVERED"] == len(studies), 60)
        until(lambda: json.loads(get(node.http_port, "/ready")[1]) == {"status": "ready"}, 30)
    finally:
        node.stop()
    found = modalities(orthanc, studies[-1])
    assert (found["SR"], found["SEG"], found["OT"]) == (1, 1, 1)
    assert sum(found.values()) == 3  # the film went to the node alone; no PM
    (sr,) = reports(orthanc, studies[-1], "SR")
    (said,) = sr.ContentSequence[-1].ContentSequence
    assert said.ConceptCodeSequence[0].CodeValue == "DOCUMENTS"


def reports(orthanc: peers.Orthanc, study_uid: str, modality: str) -> list[pydicom.Dataset]:
    """The objects of a study that are of a modality."""
    (study,) = orthanc.call("/tools/lookup", study_uid.encode())
    return [
        pydicom.dcmread(io.BytesIO(orthanc.file(one["ID"])))
        for one in orthanc.call(f"/studies/{study['ID']}/instances")
        if orthanc.call(f"/instances/{one['ID']}/tags?simplify")["Modality"] == modality
    ]


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
    for modality in ("SR", "DOC"):
        found = reports(orthanc, study_uid, modality)
        (old,) = (one for one in found if "PredecessorDocumentsSequence" not in one)
        (new,) = (one for one in found if one is not old)
        (named,) = new.PredecessorDocumentsSequence
        (series,) = named.ReferencedSeriesSequence
        (document,) = series.ReferencedSOPSequence
        assert (named.StudyInstanceUID, series.SeriesInstanceUID) == (old.StudyInstanceUID, old.SeriesInstanceUID)
        assert (document.ReferencedSOPClassUID, document.ReferencedSOPInstanceUID) == (
            old.SOPClassUID,
            old.SOPInstanceUID,
        )
