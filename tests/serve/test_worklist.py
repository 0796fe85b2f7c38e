"""UPS-RS of a node, asked in plain HTTP and heard over WebSockets."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.serve.stage import get, process, until
from tests.serve.worklist import FILTERED, GLOBAL, JSON, Client, nothing_is_read, performed, step
from wetread.serve.node import Node
from wetread.serve.receiver import Receiver
from wetread.serve.worklist import MOST_BYTES
from wetread.settings import Settings
from wetread.uids import new_uid
from wetread.wire import match, native
from wetread.wire.dicomjson import code, dataset, item, tag, text

Start = Callable[..., Node]
MOST = 5  # work items of one answer, instead of 1,000
STATES = ("SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts nodes that are stopped after the test."""
    with ExitStack() as stack:

        def make(**given: Any) -> Node:
            settings = Settings(state=tmp_path / "state", port=0, http_port=0, peer_timeout_s=2.0, workitem_codes="")
            node = Node(replace(settings, **given), nothing_is_read)
            node.start()
            stack.callback(node.stop, 2.0)
            return node

        yield make


@pytest.fixture
def worklist(start: Start) -> Iterator[Client]:
    client = Client(start().http_port)
    yield client
    client.close()


def put(worklist: Client, uid: str, state: str = "SCHEDULED") -> None:
    """A step in a state, claimed with the Transaction UID 1.9."""
    assert worklist.create(uid).status_code == 201
    if state != "SCHEDULED":
        assert worklist.change(uid, "IN PROGRESS", "1.9").status_code == 200
    if state == "COMPLETED":
        assert worklist.update(uid, performed(), "1.9").status_code == 200
    if state in ("COMPLETED", "CANCELED"):
        assert worklist.change(uid, state, "1.9").status_code == 200


def test_a_step_is_created_once(worklist: Client) -> None:
    response = worklist.create("1.2.3", PatientID="4711")
    assert response.status_code == 201
    assert response.headers["Location"] == f"http://{worklist.at}/workitems/1.2.3"
    assert 'created with modifications."' in response.headers["Warning"]
    data = worklist.item("1.2.3")
    assert (text(data, "SOPClassUID"), text(data, "PatientID")) == ("1.2.840.10008.5.1.4.34.6.1", "4711")
    assert text(data, "ScheduledProcedureStepModificationDateTime")
    assert data[tag("PatientName")] == {"vr": "PN"}
    ours = {tag("SOPInstanceUID"), tag("ScheduledProcedureStepModificationDateTime")}
    complete = {key: one for key, one in data.items() if key not in ours}
    again = worklist.ask("POST", "/workitems?1.2.4", complete)  # what is complete is not modified
    assert (again.status_code, again.headers.get("Warning")) == (201, None)
    assert worklist.create("1.2.3").status_code == 409
    named = worklist.ask("POST", "/workitems", step(SOPInstanceUID="1.2.5"))
    assert (named.status_code, worklist.state("1.2.5")) == (201, "SCHEDULED")
    assert worklist.ask("POST", "/workitems?workitem=1.2.6", step()).status_code == 201
    unnamed = worklist.ask("POST", "/workitems", step())
    assert worklist.state(unnamed.headers["Location"].rpartition("/")[2]) == "SCHEDULED"


def test_what_is_no_work_item_is_refused(worklist: Client) -> None:
    asked = worklist.ask
    assert asked("POST", "/workitems?1.2", step(ProcedureStepState="IN PROGRESS")).status_code == 400
    assert asked("POST", "/workitems?1.2", step(ProcedureStepLabel=None)).status_code == 400
    assert asked("POST", "/workitems?1.2", step(SOPInstanceUID="1.3")).status_code == 400
    assert asked("POST", "/workitems?workitem=nothing", step()).status_code == 400
    assert asked("POST", "/workitems?1.2", step(), **{"Content-Type": "text/plain"}).status_code == 415
    assert asked("POST", "/workitems?1.2", step(), **{"Content-Encoding": "gzip"}).status_code == 415
    large = step(PatientComments="a" * 10_000, TextComments="b" * MOST_BYTES)
    assert asked("POST", "/workitems?1.2", large).status_code == 413
    assert asked("GET", "/workitems/1.2").status_code == 404
    assert asked("GET", "/workitems/abc").status_code == 400
    assert asked("PUT", "/workitems/1.2/state", dataset({"TransactionUID": "1.9"})).status_code == 400
    assert worklist.search() == []


#: HTTP status and Warning of each change of state, from each state, with the lock, with another, without any.
INCONSISTENT = "The submitted request is inconsistent with the state of the UPS Instance."
WRONG, MISSING = "The Transaction UID is incorrect.", "The Transaction UID is missing."
ALREADY = "The UPS is already in the requested state of {}."
LEGAL: dict[tuple[str, str], tuple[int, str]] = {
    ("SCHEDULED", "IN PROGRESS"): (200, ""),
    ("IN PROGRESS", "CANCELED"): (200, ""),
    ("COMPLETED", "COMPLETED"): (200, ALREADY.format("COMPLETED")),
    ("CANCELED", "CANCELED"): (200, ALREADY.format("CANCELED")),
    ("IN PROGRESS", "COMPLETED"): (200, ""),
}


@pytest.mark.parametrize("state", STATES)
def test_every_change_of_state(state: str, worklist: Client) -> None:
    number = 0
    for wanted in STATES:
        for transaction in ("1.9", "1.8", ""):
            number += 1
            uid = f"1.2.{number}"
            put(worklist, uid, state)
            if state == "IN PROGRESS":
                assert worklist.update(uid, performed(), "1.9").status_code == 200
            response = worklist.change(uid, wanted, transaction)
            locked = transaction == "1.9" or (state == "SCHEDULED" and bool(transaction))
            if wanted == "SCHEDULED":
                expected = (400, INCONSISTENT)
            elif not locked:
                expected = (400, WRONG if transaction else MISSING)
            else:
                expected = LEGAL.get((state, wanted), (409, INCONSISTENT))
            about = (state, wanted, transaction, response.text)
            warned = f'299 wetread: "{expected[1]}"' if expected[1] else None
            assert (response.status_code, response.headers.get("Warning")) == (expected[0], warned), about
            moved = expected == (200, "")
            assert worklist.state(uid) == (wanted if moved else state), about
    assert worklist.change("1.7", "IN PROGRESS", "1.9").status_code == 404


@pytest.mark.parametrize("state", STATES)
def test_changes_of_attributes(state: str, worklist: Client) -> None:
    put(worklist, "1.2", state)
    before = worklist.item("1.2")
    again = dataset({"ProcedureStepLabel": "Again"})
    expected = {
        "SCHEDULED": {"": 200, "1.9": 409},
        "IN PROGRESS": {"1.9": 200, "1.8": 400, "": 400},
        "COMPLETED": {"1.9": 400, "": 400},
        "CANCELED": {"1.9": 400, "": 400},
    }[state]
    for transaction, status in expected.items():
        response = worklist.update("1.2", again, transaction)
        assert response.status_code == status, transaction
        assert ("Warning" in response.headers) == (status != 200)
    assert text(worklist.item("1.2"), "ProcedureStepLabel") == ("Again" if 200 in expected.values() else "Wet read")
    if 200 not in expected.values():
        assert worklist.item("1.2") == before
    assert worklist.update("1.7", again).status_code == 404


def test_nobody_is_told_the_lock(worklist: Client) -> None:
    worklist.create("1.2")
    assert worklist.change("1.2", "IN PROGRESS", "1.234567.9").status_code == 200
    named = f"/workitems/1.2?transaction-uid={'1.234567.9'}"
    assert worklist.ask("POST", named, dataset({"ProcedureStepLabel": "Again"})).status_code == 200
    in_it = dataset({"ProcedureStepLabel": "More", "TransactionUID": "1.234567.9"})
    assert worklist.ask("POST", "/workitems/1.2", in_it).status_code == 200
    told = worklist.ask("GET", "/workitems/1.2").text + worklist.ask("GET", "/workitems?includefield=all").text
    assert "1.234567" not in told
    assert "00081195" not in told
    assert worklist.ask("GET", "/workitems?TransactionUID=1.234567.9").status_code == 400
    assert worklist.ask("GET", "/workitems?includefield=00081195").status_code == 400


def test_completion_needs_what_was_performed(worklist: Client) -> None:
    put(worklist, "1.2", "IN PROGRESS")
    response = worklist.change("1.2", "COMPLETED", "1.9")
    assert response.status_code == 409
    assert response.text.startswith("C304: ")
    assert "PerformedWorkitemCodeSequence" in response.text
    lacking = performed(PerformedProcedureStepEndDateTime=None)
    assert worklist.update("1.2", lacking, "1.9").status_code == 200
    response = worklist.change("1.2", "COMPLETED", "1.9")
    assert (response.status_code, response.text.split(": ")[-1]) == (409, "PerformedProcedureStepEndDateTime\n")
    assert worklist.update("1.2", performed(), "1.9").status_code == 200
    assert worklist.change("1.2", "COMPLETED", "1.9").status_code == 200
    assert worklist.state("1.2") == "COMPLETED"


def test_a_request_to_cancel(worklist: Client) -> None:
    why = {"ReasonForCancellation": "ordered twice", "ContactDisplayName": "Desk"}
    put(worklist, "1.2")
    with worklist.channel("WATCH") as channel:
        worklist.subscribe("1.2", "WATCH")
        assert channel.states(1) == [("1.2", "SCHEDULED")]
        assert worklist.cancel("1.2", **why).status_code == 202
        uid, kind, told = channel.next()
        assert (uid, kind, text(told, "ReasonForCancellation")) == ("1.2", 2, "ordered twice")
        assert (text(told, "RequestingAE"), text(told, "ContactDisplayName")) == ("DICOMWEB", "Desk")
        assert channel.states(2) == [("1.2", "IN PROGRESS"), ("1.2", "CANCELED")]
    progress = item(worklist.item("1.2"), "ProcedureStepProgressInformationSequence")
    assert text(progress, "ReasonForCancellation") == "ordered twice"
    assert text(progress, "ProcedureStepCancellationDateTime")
    again = worklist.cancel("1.2")
    assert (again.status_code, "already in the requested state of CANCELED" in again.headers["Warning"]) == (202, True)
    put(worklist, "1.3", "COMPLETED")
    assert worklist.cancel("1.3").status_code == 409
    assert worklist.cancel("1.7").status_code == 404
    put(worklist, "1.4", "IN PROGRESS")
    nobody = worklist.cancel("1.4")  # hears of it
    assert (nobody.status_code, nobody.text[:4]) == (409, "C312")
    with worklist.channel("CAD1") as channel:
        worklist.subscribe("1.4", "CAD1")
        channel.states(1)
        assert worklist.cancel("1.4", **why).status_code == 202
        assert channel.next()[:2] == ("1.4", 2)
    assert worklist.state("1.4") == "IN PROGRESS"  # as its performer alone decides


def test_searches(worklist: Client) -> None:
    other = code("110003", "DCM", "Computer Aided Diagnosis")
    worklist.create("1.1", PatientID="4711", ScheduledProcedureStepPriority="HIGH")
    worklist.create("1.2", PatientName={"Alphabetic": "Müller^Jörg"}, ScheduledWorkitemCodeSequence=other)
    put(worklist, "1.3", "IN PROGRESS")
    put(worklist, "1.4", "COMPLETED")
    for query, expected in {
        "": ["1.1", "1.2", "1.3", "1.4"],
        "?ProcedureStepState=SCHEDULED": ["1.1", "1.2"],
        "?00741000=IN%20PROGRESS": ["1.3"],
        "?PatientID=47*": ["1.1"],
        "?PatientName=m%C3%BCller*": ["1.2"],
        "?ScheduledWorkitemCodeSequence.CodeValue=110004&ProcedureStepState=SCHEDULED": ["1.1"],
        "?ScheduledProcedureStepPriority=HIGH": ["1.1"],
        "?ScheduledProcedureStepStartDateTime=20260101-": ["1.1", "1.2", "1.3", "1.4"],
        "?ScheduledProcedureStepStartDateTime=-2025": [],
        "?SOPInstanceUID=1.2,1.3": ["1.2", "1.3"],
        "?limit=2&offset=1": ["1.2", "1.3"],
        "?limit=0": [],
        "?PatientID=nobody": [],
    }.items():
        assert worklist.search(query) == expected, query
    assert worklist.ask("GET", "/workitems?colour=red").status_code == 400
    (short,) = worklist.ask("GET", "/workitems?SOPInstanceUID=1.4").json()
    (whole,) = worklist.ask("GET", "/workitems?SOPInstanceUID=1.4&includefield=all").json()
    assert tag("UnifiedProcedureStepPerformedProcedureSequence") in whole.keys() - short.keys()
    fuzzy = worklist.ask("GET", "/workitems?fuzzymatching=true")
    assert "fuzzymatching" in fuzzy.headers["Warning"]


def test_a_long_list_says_that_there_is_more(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(match, "MOST", MOST)
    node = start()
    for number in range(MOST + 1):
        node.store.worklist.create(f"1.2.{number}", step())
    client = Client(node.http_port)
    response = client.ask("GET", "/workitems")
    assert (len(response.json()), "additional results" in response.headers["Warning"]) == (MOST, True)
    assert len(client.search(f"?offset={MOST}")) == 1
    client.close()


def test_xml_in_and_out(worklist: Client) -> None:
    kind = 'multipart/related; type="application/dicom+xml"'
    body = b"--cut\r\nContent-Type: application/dicom+xml\r\n\r\n" + native.xml(step()) + b"\r\n--cut--\r\n"
    http = worklist._http
    made = http.post("/workitems?1.2", content=body, headers={"Content-Type": f"{kind}; boundary=cut"})
    assert made.status_code == 201
    alone = http.post("/workitems?1.3", content=native.xml(step()), headers={"Content-Type": "application/dicom+xml"})
    assert alone.status_code == 201
    assert worklist.item("1.2").keys() == worklist.item("1.3").keys()
    told = worklist.ask("GET", "/workitems/1.2", Accept=kind)
    assert told.headers["Content-Type"].startswith("multipart/related")
    (xml,) = [part for part in told.content.split(b"\r\n") if part.startswith(b"<?xml")]
    assert native.parsed(xml) == worklist.item("1.2")
    for wrong in (b"", b"--cut--\r\n", body + body):
        sent = http.post("/workitems?1.4", content=wrong, headers={"Content-Type": f"{kind}; boundary=cut"})
        assert sent.status_code == 400
    assert worklist.ask("GET", "/workitems/1.2", Accept="text/html").status_code == 406


def test_events_of_one_step(worklist: Client) -> None:
    put(worklist, "1.2")
    put(worklist, "1.3")
    with worklist.channel("WATCH") as channel:
        made = worklist.subscribe("1.2", "WATCH", "?deletionlock=true")
        assert made.status_code == 201
        assert made.headers["Content-Location"] == f"ws://{worklist.at}/subscribers/WATCH"
        uid, kind, told = channel.next()
        assert (uid, kind, text(told, "ProcedureStepState"), text(told, "InputReadinessState")) == (
            "1.2",
            1,
            "SCHEDULED",
            "READY",
        )
        assert text(told, "AffectedSOPClassUID") == "1.2.840.10008.5.1.4.34.6.1"
        worklist.change("1.3", "IN PROGRESS", "1.9")  # of which it wants nothing to know
        worklist.change("1.2", "IN PROGRESS", "1.9")
        assert channel.states(1) == [("1.2", "IN PROGRESS")]
        progress = dataset({"ProcedureStepProgress": "50", "ProcedureStepProgressDescription": "half"})
        worklist.update("1.2", dataset({"ProcedureStepProgressInformationSequence": progress}), "1.9")
        uid, kind, told = channel.next()
        assert (uid, kind) == ("1.2", 3)
        assert text(item(told, "ProcedureStepProgressInformationSequence"), "ProcedureStepProgress") == "50"
        station = dataset({"ScheduledStationNameCodeSequence": code("CAD1", "99SITE", "CAD 1")})
        worklist.update("1.2", station, "1.9")
        uid, kind, told = channel.next()
        assert (uid, kind, text(item(told, "ScheduledStationNameCodeSequence"), "CodeValue")) == ("1.2", 5, "CAD1")
        worklist.update("1.2", dataset({"InputReadinessState": "UNAVAILABLE"}), "1.9")
        assert text(channel.next()[2], "InputReadinessState") == "UNAVAILABLE"
        worklist.update("1.2", performed(), "1.9")
        worklist.change("1.2", "COMPLETED", "1.9")
        assert channel.states(1) == [("1.2", "COMPLETED")]
        assert worklist.unsubscribe("1.2", "WATCH").status_code == 200
        assert worklist.unsubscribe("1.2", "WATCH").status_code == 404
        assert worklist.subscribe("1.7", "WATCH").status_code == 404
        assert channel.silent()


def test_events_of_all_steps(worklist: Client) -> None:
    put(worklist, "1.1")
    put(worklist, "1.2", "IN PROGRESS")
    with worklist.channel("ALL") as channel, worklist.channel("LATER") as later:
        assert worklist.subscribe(GLOBAL, "ALL", "?deletionlock=true").status_code == 201
        assert channel.states(2) == [("1.1", "SCHEDULED"), ("1.2", "IN PROGRESS")]
        assert worklist.subscribe(GLOBAL, "LATER").status_code == 201  # without lock nothing is told of what is here
        worklist.create("1.3", ScheduledStationNameCodeSequence=code("CAD1", "99SITE", "CAD 1"))
        for one in (channel, later):
            assert one.states(1) == [("1.3", "SCHEDULED")]
            assert one.next()[:2] == ("1.3", 5)
        worklist.change("1.1", "IN PROGRESS", "1.9")
        assert channel.states(1) == later.states(1) == [("1.1", "IN PROGRESS")]
        suspended = worklist.ask("POST", f"/workitems/{GLOBAL}/subscribers/LATER/suspend")
        assert suspended.status_code == 200
        assert worklist.ask("POST", f"/workitems/{GLOBAL}/subscribers/LATER/suspend").status_code == 404
        assert worklist.ask("POST", "/workitems/1.1/subscribers/LATER/suspend").status_code == 400
        put(worklist, "1.4", "IN PROGRESS")
        assert channel.states(2) == [("1.4", "SCHEDULED"), ("1.4", "IN PROGRESS")]
        worklist.change("1.3", "IN PROGRESS", "1.9")
        assert channel.states(1) == later.states(1) == [("1.3", "IN PROGRESS")]
        assert worklist.unsubscribe(GLOBAL, "ALL").status_code == 200
        worklist.change("1.4", "CANCELED", "1.9")
        worklist.change("1.3", "CANCELED", "1.9")
        assert later.states(1) == [("1.3", "CANCELED")]
        assert channel.silent()
        assert later.silent()


def test_events_of_steps_that_match(worklist: Client) -> None:
    worklist.create("1.1", WorklistLabel="CT")
    worklist.create("1.2", WorklistLabel="MR")
    with worklist.channel("MATCH") as channel:
        assert worklist.subscribe(FILTERED, "MATCH").status_code == 400
        assert worklist.subscribe(FILTERED, "MATCH", "?filter=colour=red").status_code == 400
        asked = "?deletionlock=true&filter=WorklistLabel=CT,00404018.00080100=110004"
        assert worklist.subscribe(FILTERED, "MATCH", asked).status_code == 201
        assert channel.states(1) == [("1.1", "SCHEDULED")]
        worklist.create("1.3", WorklistLabel="MR")
        worklist.create("1.4", WorklistLabel="CT")
        assert channel.states(1) == [("1.4", "SCHEDULED")]
        assert worklist.unsubscribe(FILTERED, "MATCH").status_code == 200
        worklist.change("1.4", "IN PROGRESS", "1.9")
        assert channel.silent()


def test_the_list_outlives_the_node(start: Start) -> None:
    node = start()
    client = Client(node.http_port)
    put(client, "1.2", "IN PROGRESS")
    with client.channel("WATCH") as channel:
        client.subscribe("1.2", "WATCH")
        channel.states(1)
        stopping = threading.Thread(target=node.stop, args=(2.0,))
        stopping.start()
        uid, kind, told = channel.next()
        assert (uid, kind, text(told, "SCPStatus")) == (GLOBAL, 4, "GOING DOWN")
        with pytest.raises(ConnectionClosed):
            channel.next()
        stopping.join()
    client.close()
    node = start()
    client = Client(node.http_port)
    assert client.state("1.2") == "IN PROGRESS"
    with client.channel("WATCH") as channel:
        uid, kind, told = channel.next()
        told_all = [text(told, one) for one in ("SCPStatus", "SubscriptionListStatus")]
        assert (kind, told_all) == (4, ["RESTARTED", "WARM START"])
        assert client.change("1.2", "CANCELED", "1.9").status_code == 200
        assert channel.states(1) == [("1.2", "CANCELED")]
    client.close()


def test_who_may_ask(start: Start, tmp_path: Path) -> None:
    token = "a" * 32
    (tmp_path / "tokens").write_text(token)
    node = start(dicomweb_tokens=tmp_path / "tokens")
    client = Client(node.http_port)
    assert client.create("1.2").status_code == 401
    with pytest.raises(InvalidStatus) as caught, client.channel("WATCH"):
        pass
    assert caught.value.response.status_code == 401
    shown = Client(node.http_port, Authorization=f"Bearer {token}")
    assert shown.create("1.2").status_code == 201
    with connect(
        f"ws://{shown.at}/subscribers/WATCH", additional_headers={"Authorization": f"Bearer {token}"}, proxy=None
    ) as channel:
        assert channel.protocol.state.name == "OPEN"
    for one in (client, shown):
        one.close()


def test_no_foreign_web_page_asks_in_our_name(worklist: Client) -> None:
    put(worklist, "1.2")
    foreign = {"Origin": "https://evil.example"}
    assert worklist.ask("POST", "/workitems/1.2/cancelrequest", **foreign).status_code == 403
    with pytest.raises(InvalidStatus) as caught:
        connect(f"ws://{worklist.at}/subscribers/A", origin=Origin(foreign["Origin"]), proxy=None)
    assert caught.value.response.status_code == 403
    own = {"Origin": f"http://{worklist.at.partition('/')[0]}"}
    assert worklist.ask("POST", "/workitems/1.2/cancelrequest", **own).status_code == 202


def test_names_of_subscribers(worklist: Client) -> None:
    for name in ("SEVENTEEN_LETTERS", "B%5CD", "%20"):
        assert worklist.subscribe(GLOBAL, name).status_code == 400
    made = worklist.subscribe(GLOBAL, "MY%20AE")
    assert made.headers["Content-Location"].endswith("/subscribers/MY%20AE")


def claim(port: int, uids: list[str], claimers: int) -> dict[str, Counter[int]]:
    """Let so many claim each step at once; return how often each was answered how."""
    answers = {uid: Counter[int]() for uid in uids}
    barrier, lock = threading.Barrier(claimers), threading.Lock()

    def claimer(_number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for uid in uids:
            barrier.wait()
            transaction = new_uid()
            while (status := _claimed(connection, uid, transaction)) == 503:  # too many at a time: ask again
                time.sleep(0.005)
            with lock:
                answers[uid][status] += 1
        connection.close()

    with ThreadPoolExecutor(claimers) as pool:
        list(pool.map(claimer, range(claimers)))
    return answers


def _claimed(connection: http.client.HTTPConnection, uid: str, transaction: str) -> int:
    body = json.dumps(dataset({"ProcedureStepState": "IN PROGRESS", "TransactionUID": transaction}))
    connection.request("PUT", f"/dicomweb/workitems/{uid}/state", body, {"Content-Type": JSON})
    with connection.getresponse() as response:
        response.read()
        return response.status


@pytest.mark.parametrize("items", [4, pytest.param(1000, marks=pytest.mark.slow)])
def test_of_a_hundred_claimers_one_wins(items: int, start: Start) -> None:
    node = start()
    uids = [f"1.2.{number}" for number in range(items)]
    for uid in uids:
        node.store.worklist.create(uid, step())
    answers = claim(node.http_port, uids, 100)
    assert all(counted == {200: 1, 400: 99} for counted in answers.values())
    assert node.store.worklist.depths() == {"SCHEDULED": 0, "IN PROGRESS": items, "COMPLETED": 0, "CANCELED": 0}


def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path, pacs: Receiver) -> None:
    """Steps are created and claimed until the node is killed: what was answered is there, under its lock."""
    uids = [f"1.2.{number}" for number in range(200)]
    created: list[str] = []
    claimed: list[str] = []

    def work(port: int) -> None:
        with suppress(httpx.TransportError):
            client = Client(port)
            for uid in uids:
                if client.create(uid).status_code == 201:
                    created.append(uid)
                if client.change(uid, "IN PROGRESS", f"1.9.{uid}").status_code == 200:
                    claimed.append(uid)

    with process(tmp_path / "state", pacs.port, workitem_codes="") as node:
        working = threading.Thread(target=work, args=(node.http_port,))
        working.start()
        until(lambda: len(claimed) > 20)
        node.kill()
        working.join()
    assert len(created) < len(uids)  # else it ended too late
    with process(tmp_path / "state", pacs.port, workitem_codes="") as node:
        client = Client(node.http_port)
        assert set(created) <= set(client.search())
        for uid in claimed:
            assert client.state(uid) == "IN PROGRESS"
            assert client.change(uid, "CANCELED", "1.8").status_code == 400
            assert client.change(uid, "CANCELED", f"1.9.{uid}").status_code == 200
        client.close()


def test_metrics_know_the_list(start: Start) -> None:
    node = start()
    client = Client(node.http_port)
    put(client, "1.2", "COMPLETED")
    client.close()
    told = get(node.http_port, "/metrics")[1]
    assert 'wetread_workitems{state="COMPLETED"} 1.0' in told
