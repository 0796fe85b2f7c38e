"""A node performs work items: it reads, fetches what is not here, tells how far it is, and names what came of it."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests import peers
from tests.jobs import fake
from tests.serve.stage import until
from tests.serve.worklist import Client
from tests.wire.objects import SR, film
from wetread.jobs import performer
from wetread.jobs.worker import Reader
from wetread.serve.node import Node
from wetread.serve.receiver import Receiver
from wetread.settings import Destination, Settings
from wetread.wire.dicomjson import DataSet, code, dataset, item, text, values
from wetread.wire.dimse import send
from wetread.wire.stow import received

Start = Callable[..., Node]
IN_TIME_S = 20.0


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(performer, "LOOK_S", 0.1)


@pytest.fixture
def start(tmp_path: Path, pacs: Receiver) -> Iterator[Start]:
    """Starts nodes that are stopped after the test."""
    with ExitStack() as stack:

        def make(reader: Reader = fake.READER, **given: Any) -> Node:
            destination = Destination("PACS", "127.0.0.1", pacs.port, ("SR", "SEG"))
            settings = Settings(
                state=tmp_path / "state",
                port=0,
                http_port=0,
                quiet_s=0.2,
                peer_timeout_s=2.0,
                retry_first_s=0.1,
                retry_most_s=0.2,
                destinations=(destination,),
                expect_s=60.0,
            )
            node = Node(replace(settings, **given), lambda: reader)
            node.start()
            stack.callback(node.stop, 2.0)
            assert node.wait_ready(10)
            return node

        yield make


@pytest.fixture
def asked() -> Iterator[Callable[[Node], Client]]:
    with ExitStack() as stack:

        def make(node: Node) -> Client:
            client = Client(node.http_port)
            stack.callback(client.close)
            return client

        yield make


def give(node: Node, *items: bytes) -> None:
    assert set(send(Destination(node.settings.ae_title, "127.0.0.1", node.port), items)) == {0}


def of_study(*studies: str, archive: str = "") -> dict[str, Any]:
    """The input of a work item: studies, and from where they can be had."""
    way = {"DICOMRetrievalSequence": dataset({"RetrieveAETitle": archive})} if archive else {}
    inputs = [dataset({"TypeOfInstances": "DICOM", "StudyInstanceUID": one, **way}) for one in studies]
    return {"InputInformationSequence": inputs}


def ended(client: Client, uid: str, state: str) -> DataSet:
    until(lambda: client.state(uid) in ("COMPLETED", "CANCELED"), IN_TIME_S)
    data = client.item(uid)
    assert text(data, "ProcedureStepState") == state, data
    return data


def outputs(data: DataSet) -> set[tuple[str, str]]:
    """SOP Class and SOP Instance UIDs of the output."""
    performed = item(data, "UnifiedProcedureStepPerformedProcedureSequence")
    references = [
        one
        for series in values(performed, "OutputInformationSequence")
        for one in values(series, "ReferencedSOPSequence")
    ]
    return {(text(one, "ReferencedSOPClassUID"), text(one, "ReferencedSOPInstanceUID")) for one in references}


def reason(data: DataSet) -> tuple[str, str]:
    """Code and words of why a step was canceled."""
    progress = item(data, "ProcedureStepProgressInformationSequence")
    coded = item(progress, "ProcedureStepDiscontinuationReasonCodeSequence")
    return text(coded, "CodeValue"), text(progress, "ReasonForCancellation")


def made(instance: str) -> set[tuple[str, str]]:
    return {(SR, uid) for uid in fake.document_uids(instance)}


def test_a_study_that_is_here_is_read(start: Start, asked: Callable[[Node], Client], pacs: Receiver) -> None:
    node = start()
    client = asked(node)
    give(node, film("1.2.3", "1.2.3.1.1"))
    with client.channel("WATCH") as channel:
        client.subscribe("1.2.840.10008.5.1.4.34.5", "WATCH")
        assert client.create("1.9", **of_study("1.2.3")).status_code == 201
        kinds, states = [], []
        while "COMPLETED" not in states:
            _, kind, told = channel.next(IN_TIME_S)
            kinds.append(kind)
            states += [text(told, "ProcedureStepState")] if kind == 1 else []
        assert states == ["SCHEDULED", "IN PROGRESS", "COMPLETED"]
        assert 3 in kinds
    data = ended(client, "1.9", "COMPLETED")
    assert outputs(data) == made("1.2.3.1.1")
    performed = item(data, "UnifiedProcedureStepPerformedProcedureSequence")
    assert text(item(performed, "PerformedStationNameCodeSequence"), "CodeValue") == "WETREAD"
    assert text(item(performed, "PerformedWorkitemCodeSequence"), "CodeValue") == "110004"
    times = [text(performed, f"PerformedProcedureStep{one}DateTime") for one in ("Start", "End")]
    assert times == sorted(times)
    (series,) = values(performed, "OutputInformationSequence")
    assert text(series, "StudyInstanceUID") == "1.2.3"
    assert text(item(series, "DICOMRetrievalSequence"), "RetrieveAETitle") == "PACS"
    url = text(item(series, "WADORSRetrievalSequence"), "RetrieveURL")
    with urllib.request.urlopen(url, timeout=10) as response:  # there they are
        found = response.read()
    assert all(uid.encode() in found for uid in fake.document_uids("1.2.3.1.1"))
    assert {one.sop_instance_uid for one in pacs.receipts} == set(fake.document_uids("1.2.3.1.1"))


def test_a_study_that_was_read_before_is_named(start: Start, asked: Callable[[Node], Client]) -> None:
    node = start()
    client = asked(node)
    give(node, film("1.2.3", "1.2.3.1.1"))
    until(lambda: node.store.overview.counts()["DELIVERED"] == 1)
    client.create("1.9", **of_study("1.2.3"), StudyInstanceUID="1.2.3")
    assert outputs(ended(client, "1.9", "COMPLETED")) == made("1.2.3.1.1")
    give(node, film("1.2.3", "1.2.3.1.2"))  # late
    until(lambda: node.store.overview.counts()["DELIVERED"] == 2)
    client.create("1.10", **of_study("1.2.3"))
    assert outputs(ended(client, "1.10", "COMPLETED")) == made("1.2.3.1.1") | made("1.2.3.1.2")


def test_a_refusal_is_a_result(start: Start, asked: Callable[[Node], Client]) -> None:
    node = start()
    client = asked(node)
    give(node, film("1.2.3", "1.2.3.1.1", fake.REFUSED_BYTES))
    client.create("1.9", **of_study("1.2.3"))
    data = ended(client, "1.9", "COMPLETED")
    assert outputs(data) == made("1.2.3.1.1")
    performed = item(data, "UnifiedProcedureStepPerformedProcedureSequence")
    assert text(performed, "CommentsOnThePerformedProcedureStep").startswith("Not read: WRONG-VIEW: ")


def test_a_failure_is_canceled_with_its_documents(start: Start, asked: Callable[[Node], Client]) -> None:
    node = start(max_tries=1)
    client = asked(node)
    give(node, film("1.2.3", "1.2.3.1.1", fake.CRASHING_BYTES))
    client.create("1.9", **of_study("1.2.3"))
    data = ended(client, "1.9", "CANCELED")
    coded, told = reason(data)
    assert (coded, "failed" in told) == ("110501", True)
    assert {kind for kind, _ in outputs(data)} == {"1.2.840.10008.5.1.4.1.1.88.34"}  # its refusal


@pytest.mark.peer
def test_a_study_is_fetched_from_an_archive(start: Start, asked: Callable[[Node], Client], tmp_path: Path) -> None:
    port = peers.free_port()
    with peers.dcmqrscp(tmp_path / "archive", f"node = (WETREAD, localhost, {port})") as archive_port:
        archive = Destination("DCMQRSCP", "127.0.0.1", archive_port)
        assert send(archive, [film("1.2.3", f"1.2.3.1.{n}") for n in range(3)]) == [0] * 3
        nobody = Destination("NOBODY", "127.0.0.1", peers.free_port())
        node = start(port=port, archives=(nobody, archive), expect_s=0.5)
        client = asked(node)
        client.create("1.9", **of_study("1.2.3", archive="DCMQRSCP"))
        data = ended(client, "1.9", "COMPLETED")
        assert outputs(data) == set().union(*(made(f"1.2.3.1.{n}") for n in range(3)))
        client.create("1.10", **of_study("1.2.4", archive="DCMQRSCP"))
        assert reason(ended(client, "1.10", "CANCELED")) == ("110523", "No archive has the study")


def test_a_study_is_fetched_by_dicomweb(start: Start, asked: Callable[[Node], Client], tmp_path: Path) -> None:
    other = start(state=tmp_path / "archive", workitem_codes="", destinations=())
    films = [film("1.2.3", f"1.2.3.1.{n}") for n in range(3)]
    give(other, *films)
    url = f"http://127.0.0.1:{other.http_port}/dicomweb"
    node = start(archives=(Destination("WEB", url=url),), quiet_s=60.0)
    client = asked(node)
    client.create("1.9", **of_study("1.2.3"))
    expected = set().union(*(made(f"1.2.3.1.{n}") for n in range(3)))
    assert outputs(ended(client, "1.9", "COMPLETED")) >= expected
    assert [job.version for job in node.store.overview.versions("1.2.3")] == [1]  # complete when all had come


def test_what_cannot_be_had_is_canceled_with_its_reason(start: Start, asked: Callable[[Node], Client]) -> None:
    client = asked(start(expect_s=0.0))
    told = {
        "1.1": (of_study("1.2.3"), "The study is not here, and no archive is set"),
        "1.2": (of_study(), "Expected one study in the input, found none or several"),
        "1.3": (of_study("1.2.3", "1.2.4"), "Expected one study in the input, found none or several"),
    }
    for uid, (more, _) in told.items():
        client.create(uid, **more)
    for uid, (_, expected) in told.items():
        assert reason(ended(client, uid, "CANCELED")) == ("110523", expected)


def test_a_study_may_come_after_its_work_item(start: Start, asked: Callable[[Node], Client]) -> None:
    node = start()
    client = asked(node)
    client.create("1.9", **of_study("1.2.3", "1.2.4"), StudyInstanceUID="1.2.3")
    until(lambda: client.state("1.9") == "IN PROGRESS")
    until(lambda: "waiting for it" in str(client.item("1.9")))
    give(node, film("1.2.3", "1.2.3.1.1"))
    assert outputs(ended(client, "1.9", "COMPLETED")) == made("1.2.3.1.1")


def test_a_request_to_cancel_is_followed(start: Start, asked: Callable[[Node], Client]) -> None:
    client = asked(start())
    client.create("1.9", **of_study("1.2.3"))
    until(lambda: client.state("1.9") == "IN PROGRESS")
    why = code("110510", "DCM", "Duplicate order")
    response = client.cancel(
        "1.9", ReasonForCancellation="ordered twice", ProcedureStepDiscontinuationReasonCodeSequence=why
    )
    assert response.status_code == 202
    assert reason(ended(client, "1.9", "CANCELED")) == ("110510", "ordered twice")


def test_what_is_for_others_is_left_to_them(start: Start, asked: Callable[[Node], Client]) -> None:
    node = start()
    client = asked(node)
    give(node, film("1.2.3", "1.2.3.1.1"))
    later = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y%m%d%H%M%S+0000")
    others: dict[str, dict[str, Any]] = {
        "1.1": {"ScheduledWorkitemCodeSequence": code("110005", "DCM", "Interpretation")},
        "1.2": {"ScheduledWorkitemCodeSequence": code("110004", "99X", "Something")},
        "1.3": {"ScheduledStationNameCodeSequence": code("OTHER", "99X", "Other")},
        "1.4": {"InputReadinessState": "INCOMPLETE"},
        "1.5": {"ScheduledProcedureStepStartDateTime": later},
        "1.6": {"ScheduledProcedureStepExpirationDateTime": "20200101"},
    }
    for uid, more in others.items():
        client.create(uid, **of_study("1.2.3"), **more)
    mine = code("WETREAD", "99X", "Wetread")
    client.create("1.7", **of_study("1.2.3"), ScheduledStationNameCodeSequence=mine)
    ended(client, "1.7", "COMPLETED")
    assert client.search("?ProcedureStepState=SCHEDULED") == list(others)
    client.update("1.4", dataset({"InputReadinessState": "READY"}))  # triggers it
    ended(client, "1.4", "COMPLETED")


def test_an_urgent_item_hastens_its_study(start: Start, asked: Callable[[Node], Client]) -> None:
    node = start(quiet_s=30.0)
    client = asked(node)
    client.create("1.9", **of_study("1.2.3"), ScheduledProcedureStepPriority="HIGH")
    node._runner.receive(received(film("1.2.3", "1.2.3.1.1"), "WETREAD", -1))  # the study takes more objects
    until(lambda: [job.lane.name for job in node.store.overview.versions("1.2.3")] == ["URGENT"])


def test_what_was_claimed_is_brought_on_by_the_next_process(start: Start, asked: Callable[[Node], Client]) -> None:
    node = start()
    client = asked(node)
    client.create("1.9", **of_study("1.2.3"))
    until(lambda: client.state("1.9") == "IN PROGRESS")
    node.stop(2.0)
    node = start()
    client = asked(node)
    assert client.state("1.9") == "IN PROGRESS"
    give(node, film("1.2.3", "1.2.3.1.1"))
    assert outputs(ended(client, "1.9", "COMPLETED")) == made("1.2.3.1.1")
