"""Priors that are looked for in archives: our report, else the images, in a lane that delays nobody."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests import peers, toy
from tests.jobs import fake
from tests.serve.stage import until
from tests.test_priors import previous, study, tracked
from tests.wire.objects import CR, film
from tests.wire.test_webfetch import JSON, RELATED, related, server
from wetread import pipeline
from wetread.jobs.lanes import Lane
from wetread.jobs.pulling import Key, Wanted
from wetread.jobs.runner import Runner
from wetread.jobs.states import State
from wetread.jobs.store import Store
from wetread.routes import Route
from wetread.serve.node import Node
from wetread.settings import Destination, Settings
from wetread.wire.dimse import Received, send

RULE = Route(priors=1, priors_days=400, priors_wait_s=60)
Start = Callable[..., Node]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> pipeline.Reader:
    folder = tmp_path_factory.mktemp("toy")
    return pipeline.open_reader(Settings(models=toy.make_models(folder / "models"), state=folder / "state"))


@pytest.fixture
def start(reader: pipeline.Reader, tmp_path: Path) -> Iterator[Start]:
    """Starts nodes that are gone when the test ends."""
    with ExitStack() as stack:

        def one(name: str, **given: Any) -> Node:
            common = {"state": tmp_path / name, "port": 0, "http_port": 0, "quiet_s": 0.2, "retry_first_s": 0.05}
            node = Node(Settings(**{**common, **given}), lambda: reader)
            node.start()
            stack.callback(node.stop, 2.0)
            return node

        yield one


def give(node: Node, *films: bytes) -> None:
    assert send(Destination("WETREAD", "127.0.0.1", node.port), films) == [0] * len(films)


def read(node: Node, number: int) -> None:
    until(lambda: node.store.overview.counts()["DELIVERED"] >= number, 60.0)


def reports(node: Node, study_uid: str) -> list[bytes]:
    blobs = node.store.held.blobs({"StudyInstanceUID": study_uid})
    return [node.store.held.get(one) for one in blobs if one.sop_class_uid.endswith(".88.34")]


def web(node: Node, **given: Any) -> Destination:
    return Destination("VNA", url=f"http://127.0.0.1:{node.http_port}/dicomweb", **given)


@pytest.mark.parametrize("index", ["sqlite", "postgresql"])
def test_our_report_about_the_prior_comes_from_the_archive(
    index: str, start: Start, request: pytest.FixtureRequest
) -> None:
    """Nothing is read again: the archive has what an earlier reading said."""
    url = request.getfixturevalue("database") if index == "postgresql" else ""
    archive = start("archive")
    give(archive, study(1, "20031101"), study(2, "20040101"), study(3, "20040102", PatientID="OTHER"))
    read(archive, 3)
    node = start("node", archives=(web(archive),), routes=(RULE,), index_url=url)
    give(node, study(4, "20040601"))
    read(node, 1)
    (sr,) = reports(node, "2.25.4")
    assert set(previous(sr)) == {"2.25.2"}
    assert previous(sr)["2.25.2"] == tracked(sr)
    assert [node.store.overview.versions(f"2.25.{n}") for n in (1, 2, 3)] == [[], [], []]
    assert reports(node, "2.25.2") == []  # viewers do not find it here
    give(node, study(5, "20040701"))  # of what is here the newest counts
    read(node, 2)
    (sr,) = reports(node, "2.25.5")
    assert set(previous(sr)) == {"2.25.4"}


def test_images_are_pulled_and_read_where_there_is_no_report(start: Start) -> None:
    archive = start("archive", routes=(Route(destinations=(), models=()),))  # it says nothing of them
    give(archive, study(1, "20040101"), study(2, "20040102", Modality="DX"), study(3, "20040102", PatientID="OTHER"))
    until(lambda: archive.store.overview.counts()["REFUSED"] == 3, 60.0)
    pacs = Destination("PACS", "127.0.0.1", peers.free_port())  # nobody listens: what is for it waits
    node = start("node", archives=(web(archive),), routes=(RULE,), destinations=(pacs,))
    give(node, study(4, "20040601"))
    until(lambda: [job.state for job in node.store.overview.versions("2.25.4")] == [State.READ], 60.0)
    (sr,) = reports(node, "2.25.4")
    assert set(previous(sr)) == {"2.25.1"}
    (prior,) = node.store.overview.versions("2.25.1")
    assert (prior.lane, prior.state) == (Lane.PRIOR, State.DELIVERED)  # to nobody
    assert node.store.overview.versions("2.25.2") + node.store.overview.versions("2.25.3") == []
    assert node.store.removals.due() == prior.id  # when it has been kept long enough
    waiting = {job.job for job in node.store.parcels.waiting(pacs.names[0], frozenset(), 99)}
    assert waiting == {job.id for job in node.store.overview.versions("2.25.4")}
    assert len(node.store.overview.versions("2.25.4")) == 1  # no version for a prior's sake

    give(node, study(1, "20040101"))  # now somebody sends it: it is read for them
    until(lambda: [job.state for job in node.store.overview.versions("2.25.1")] == [State.READ], 60.0)
    assert len({job.job for job in node.store.parcels.waiting(pacs.names[0], frozenset(), 99)}) == 2


def test_what_is_said_twice_comes_to_the_same_bytes(start: Start) -> None:
    archive = start("archive")
    give(archive, study(1, "20040101"))
    read(archive, 1)
    made = []
    for name in ("one", "two"):
        node = start(name, archives=(web(archive),), routes=(RULE,))
        give(node, study(2, "20040601"))
        read(node, 1)
        made += reports(node, "2.25.2")
    assert made[0] == made[1]
    assert previous(made[0])


@pytest.mark.parametrize("kind", ["nobody", "stat", "urgent rule", "no wait"])
def test_no_study_waits_for_what_does_not_come(kind: str, start: Start) -> None:
    """An archive that is away, a study that is STAT, a rule that grants no time."""
    away = Destination("PACS", "127.0.0.1", peers.free_port())
    rule = {
        "nobody": Route(priors=1, priors_wait_s=1),
        "stat": Route(priors=1, priors_wait_s=600, lane="STAT"),
        "urgent rule": Route(priors=1, modality=("CT",), priors_wait_s=600, lane="URGENT"),
        "no wait": Route(priors=1),
    }[kind]
    node = start("node", archives=(away,), routes=(rule,), peer_timeout_s=1.0)
    give(node, study(1, "20040601"))
    read(node, 1)
    (sr,) = reports(node, "2.25.1")
    assert previous(sr) == {}


@pytest.mark.peer
@pytest.mark.parametrize("kind", ["get", "move", "web"])
def test_orthanc_as_the_archive(kind: str, start: Start, tmp_path: Path) -> None:
    port = peers.free_port()
    config: dict[str, Any] = {
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": kind == "get",
        "DicomAlwaysAllowMove": kind == "move",
        "DicomModalities": {"node": ["WETREAD", "127.0.0.1", port]},
        "Plugins": [peers.dicomweb_plugin()] if kind == "web" else [],
    }
    with peers.orthanc(tmp_path / "orthanc", **config) as orthanc:
        place = Destination("ORTHANC", "127.0.0.1", orthanc.port)
        assert send(place, [study(1, "20040101"), study(2, "20040102", PatientID="OTHER")]) == [0, 0]
        if kind == "web":
            place = Destination("ORTHANC", url=f"http://127.0.0.1:{orthanc.http_port}/dicom-web")
        node = start("node", port=port, archives=(place,), routes=(RULE,))
        give(node, study(3, "20040601"))
        read(node, 2)
        (sr,) = reports(node, "2.25.3")
        assert set(previous(sr)) == {"2.25.1"}
        assert [job.lane for job in node.store.overview.versions("2.25.1")] == [Lane.PRIOR]


def test_an_archive_that_lies_puts_nobody_else_beside_the_patient(start: Start) -> None:
    """It answers for the patient with another one's study, report and images."""
    other = start("other")
    give(other, study(7, "20040101", PatientID="OTHER"))
    read(other, 1)
    (report,) = reports(other, "2.25.7")
    film: dict[str, Any] = {"00080060": {"vr": "CS", "Value": ["CR"]}, "0020000E": {"vr": "UI", "Value": ["2.25.71"]}}
    paper: dict[str, Any] = {"00080060": {"vr": "CS", "Value": ["SR"]}, "0020000E": {"vr": "UI", "Value": ["2.25.79"]}}
    paper |= {"00200011": {"vr": "IS", "Value": [9903]}}
    row: dict[str, Any] = {"0020000D": {"vr": "UI", "Value": ["2.25.7"]}, "00100020": {"vr": "LO", "Value": ["9RG1"]}}
    row |= {"00080020": {"vr": "DA", "Value": ["20040101"]}}
    series = [one | {"0020000D": row["0020000D"]} for one in (film, paper)]

    def answer(path: str, query: dict[str, list[str]]) -> tuple[int, dict[str, str], bytes]:
        if path.endswith(("/studies", "/series")):
            return 200, JSON, json.dumps([row] if path.endswith("/studies") else series).encode()
        given = report if path.endswith("79") else study(7, "20040101", PatientID="OTHER")
        return 200, RELATED, related([given])

    with server(answer) as lying:
        node = start("node", archives=(lying.peer,), routes=(RULE,))
        give(node, study(8, "20040601"))
        read(node, 2)  # the images were believed, and read for nothing
    (sr,) = reports(node, "2.25.8")
    assert previous(sr) == {}
    assert not tracked(sr) & tracked(report)
    kinds = {blob.study_uid for blob in node.store.held.blobs({}) if blob.received}
    assert kinds == {"2.25.7", "2.25.8"}


@pytest.mark.parametrize("body", [b"<html>", b'[{"0020000D": {"vr": "UI", "Value": ["../7"]}}]'])
def test_an_archive_that_answers_nonsense_holds_nothing_up(body: bytes, start: Start) -> None:
    with server(lambda path, query: (200, JSON, body)) as odd:
        node = start("node", archives=(odd.peer,), routes=(Route(priors=1, priors_wait_s=1),))
        give(node, study(1, "20040601"))
        read(node, 1)
    assert previous(reports(node, "2.25.1")[0]) == {}


def test_nothing_is_remembered_of_a_prior_that_was_read(tmp_path: Path) -> None:
    """A study is complete before its prior was pulled, or after that was read."""
    place = Destination("VNA", "vna.invalid", 104)
    store = Store(tmp_path)
    runner = Runner(store, Settings(archives=(place,), routes=(RULE,), quiet_s=60.0))

    def receive(study_uid: str, title: str, association: int) -> int:
        data = film(study_uid, f"{study_uid}.1")
        syntax = "1.2.840.10008.1.2.1"
        return runner.receive(Received(CR, f"{study_uid}.1", study_uid, syntax, data, title, association))

    def pull(archive: Destination, key: Key, wanted: Wanted) -> list[str]:
        prior = f"{key[0]}.9"
        runner._priors.pulls(key[0], prior)
        with runner._priors.coming(prior, -7):
            assert receive(prior, "VNA", -7) == 0
        return [prior]

    def ended(*studies: str) -> None:
        until(lambda: all([one.state for one in store.overview.versions(uid)] == [State.DELIVERED] for uid in studies))

    runner._priors._pulling = pull  # type: ignore[assignment]
    runner.start()
    try:
        runner.read_with(fake.READER)
        for number, early in enumerate((True, False), 1):
            study_uid = f"1.{number}"
            assert receive(study_uid, "CT", number) == 0
            if not early:
                ended(f"{study_uid}.9")
            runner.association_ended(number, released=True)
            ended(study_uid, f"{study_uid}.9")
        known = (runner._completion._brought, runner._completion._arriving, runner._expecting._known)
        assert [*known, runner._priors._until, runner._priors._unread] == [{}] * 5
    finally:
        runner.stop()
        store.close()
