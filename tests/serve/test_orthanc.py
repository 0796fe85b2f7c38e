"""The whole row between two Orthancs' doors: a film goes in, its documents come back to the PACS."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests import peers, toy
from tests.phantoms import ROOT, SECRETS, make_film, to_bytes
from tests.serve.stage import until
from wetread.jobs.states import State
from wetread.pipeline import open_reader
from wetread.serve.node import Node
from wetread.settings import Destination, Settings

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
