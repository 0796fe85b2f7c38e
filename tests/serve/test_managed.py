"""A node works off the list of another manager: by search and by events, beside others who claim, over restarts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests import peers
from tests.jobs import fake
from tests.serve.stage import until
from tests.serve.test_performer import ended, give, made, of_study, outputs, reason
from tests.serve.worklist import Client, nothing_is_read, step
from tests.wire.objects import film
from wetread.errors import PeerRefused, PeerUnreachable
from wetread.jobs import managed, performer
from wetread.serve.node import Node
from wetread.settings import Destination, Settings
from wetread.wire import upsclient
from wetread.wire.dicomjson import item, text
from wetread.wire.ups import StepState
from wetread.wire.upsclient import Channel, UpsClient, channel_of

IN_TIME_S = 20.0
Start = Callable[..., Node]


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(performer, "LOOK_S", 0.1)
    monkeypatch.setattr(managed, "HEAR_S", 0.1)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts nodes, each with a folder of its own."""
    with ExitStack() as stack:

        def make(name: str, reads: bool = True, **given: Any) -> Node:
            settings = Settings(
                state=tmp_path / name,
                port=0,
                http_port=0,
                quiet_s=0.2,
                peer_timeout_s=5.0,
                retry_first_s=0.1,
                retry_most_s=0.2,
                ae_title=name,
            )
            node = Node(replace(settings, **given), (lambda: fake.READER) if reads else nothing_is_read)
            node.start()
            stack.callback(node.stop, 2.0)
            assert not reads or node.wait_ready(10)
            return node

        yield make


@pytest.fixture
def manager(start: Start) -> Iterator[Client]:
    """A node that keeps a list and performs nothing of it."""
    client = Client(start("MANAGER", reads=False, workitem_codes="").http_port)
    yield client
    client.close()


def of(client: Client) -> tuple[Destination, ...]:
    return (Destination("MANAGER", url=f"http://{client.at}"),)


def test_work_is_found_and_done(start: Start, manager: Client) -> None:
    manager.create("1.9", **of_study("1.2.3"))
    node = start("ONE", managers=of(manager), public_url="https://one.example")
    give(node, film("1.2.3", "1.2.3.1.1"))
    data = ended(manager, "1.9", "COMPLETED")
    assert outputs(data) == made("1.2.3.1.1")
    performed = item(data, "UnifiedProcedureStepPerformedProcedureSequence")
    assert text(item(performed, "PerformedStationNameCodeSequence"), "CodeValue") == "ONE"
    where = item(item(performed, "OutputInformationSequence"), "WADORSRetrievalSequence")
    assert text(where, "RetrieveURL") == "https://one.example/dicomweb/studies/1.2.3/series/1.2.3.1"
    assert node.store.tasks.all() == []
    assert node.store.worklist.depths()["COMPLETED"] == 0  # it is not on our own list


def test_what_is_not_ready_stands_in_nobody_s_way(
    start: Start, manager: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upsclient, "PAGE", 2)
    monkeypatch.setattr(upsclient, "MOST_PAGES", 1)
    for number in range(3):
        manager.create(f"1.8.{number}", InputReadinessState="INCOMPLETE", **of_study("1.2.3"))
    manager.create("1.9", **of_study("1.2.3"))
    node = start("ONE", managers=of(manager))
    give(node, film("1.2.3", "1.2.3.1.1"))
    ended(manager, "1.9", "COMPLETED")
    assert manager.state("1.8.0") == "SCHEDULED"


def test_events_bring_work_at_once(start: Start, manager: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(managed, "LOOK_S", 3600.0)  # no search finds it
    node = start("ONE", managers=of(manager))
    (one,) = node._runner._managed
    until(lambda: one._channel is not None)
    until(lambda: one._due > 1.0)  # it has looked
    manager.create("1.9", **of_study("1.2.3"))
    until(lambda: manager.state("1.9") == "IN PROGRESS", IN_TIME_S)
    assert manager.cancel("1.9", ReasonForCancellation="ordered twice").status_code == 202
    assert reason(ended(manager, "1.9", "CANCELED"))[1] == "ordered twice"


def test_each_item_is_done_by_one_of_two(start: Start, manager: Client) -> None:
    nodes = [start(name, managers=of(manager)) for name in ("ONE", "TWO")]
    for node in nodes:
        give(node, film("1.2.3", "1.2.3.1.1"))
    uids = [f"1.9.{number}" for number in range(12)]
    for uid in uids:
        manager.create(uid, **of_study("1.2.3"))
    stations = []
    for uid in uids:
        performed = item(ended(manager, uid, "COMPLETED"), "UnifiedProcedureStepPerformedProcedureSequence")
        stations.append(text(item(performed, "PerformedStationNameCodeSequence"), "CodeValue"))
    assert set(stations) <= {"ONE", "TWO"}
    until(lambda: all(node.store.tasks.all() == [] for node in nodes))


def test_a_claim_outlives_both_processes(start: Start, manager: Client) -> None:
    node = start("ONE", managers=of(manager))
    manager.create("1.9", **of_study("1.2.3"))
    until(lambda: manager.state("1.9") == "IN PROGRESS", IN_TIME_S)
    node.stop(2.0)
    node = start("ONE", managers=of(manager))
    give(node, film("1.2.3", "1.2.3.1.1"))
    assert outputs(ended(manager, "1.9", "COMPLETED")) == made("1.2.3.1.1")


def test_a_manager_that_is_away_is_asked_again(start: Start) -> None:
    port = peers.free_port()
    away = Destination("MANAGER", url=f"http://127.0.0.1:{port}/dicomweb")
    node = start("ONE", managers=(away,))
    give(node, film("1.2.3", "1.2.3.1.1"))
    client = Client(start("MANAGER", reads=False, workitem_codes="", http_port=port).http_port)
    client.create("1.9", **of_study("1.2.3"))
    ended(client, "1.9", "COMPLETED")
    client.close()


class Odd:
    """A manager that answers as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.answers: dict[str, tuple[int, bytes]] = {}
        odd = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                path = self.path.partition("?")[0]
                odd.asked.append((self.command, path))
                status, body = odd.answers.get(f"{self.command} {path}", (404, b""))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = _answer  # noqa: N815

            def log_message(self, *_args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()
        self.destination = Destination("ODD", url=f"http://127.0.0.1:{self.server.server_address[1]}")

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def odd() -> Iterator[Odd]:
    made_now = Odd()
    yield made_now
    made_now.close()


def test_who_loses_says_nothing_more(start: Start, odd: Odd) -> None:
    scheduled = step(SOPInstanceUID="1.9", **of_study("1.2.3"))
    odd.answers["GET /workitems"] = (200, json.dumps([scheduled]).encode())
    odd.answers["PUT /workitems/1.9/state"] = (400, b"")
    node = start("ONE", managers=(odd.destination,))
    until(lambda: ("PUT", "/workitems/1.9/state") in odd.asked)
    until(lambda: node.store.tasks.all() == [])
    about = [one for one in odd.asked if "/1.9" in one[1]]
    assert about == [("PUT", "/workitems/1.9/state")]


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"no json"), (200, b"<html>"), (500, b""), (302, b""), (200, b"[" * 50_000)]
)
def test_odd_answers_are_refusals(odd: Odd, status: int, body: bytes) -> None:
    odd.answers |= {
        "GET /workitems": (status, body),
        "GET /workitems/1.9": (status, body),
        "PUT /workitems/1.9/state": (500, b""),
        "POST /workitems/1.9": (302, b""),
    }
    client = UpsClient(odd.destination, 5.0)
    for ask in (
        lambda: client.search({}),
        lambda: client.item("1.9"),
        lambda: client.change("1.9", StepState.IN_PROGRESS, "1.2"),
        lambda: client.update("1.9", {}, "1.2"),
        lambda: client.subscribe("ONE"),
    ):
        with pytest.raises(PeerRefused, match="ODD: UPS-RS"):
            ask()
    with pytest.raises(PeerUnreachable, match="no event channel"):
        Channel(odd.destination, f"ws://127.0.0.1:{odd.server.server_address[1]}/subscribers/ONE", 5.0)


@pytest.mark.parametrize(
    ("manager", "told", "channel"),
    [
        ("http://ris:80", "ws://ris:81/c", "ws://ris:81/c"),
        ("http://ris", "wss://ris/c", "wss://ris/c"),
        ("https://ris", "wss://ris:444/c", "wss://ris:444/c"),
        ("https://ris/d", "ws://ris:443/c", "wss://ris/d/subscribers/ONE"),  # the token would be seen on the way
        ("https://ris/d", "wss://other/c", "wss://ris/d/subscribers/ONE"),
        ("http://ris/d", "http://ris/c", "ws://ris/d/subscribers/ONE"),
        ("http://ris/d", "", "ws://ris/d/subscribers/ONE"),
    ],
)
def test_the_token_goes_where_it_may(manager: str, told: str, channel: str) -> None:
    assert channel_of(manager, "ONE", told) == channel


def test_what_is_behind_the_first_page_is_found(manager: Client, odd: Odd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upsclient, "PAGE", 2)
    uids = [f"1.9.{number}" for number in range(5)]
    for uid in uids:
        manager.create(uid)
    (known,) = of(manager)
    found = UpsClient(known, 5.0).search({"ProcedureStepState": "SCHEDULED"})
    assert sorted(text(one, "SOPInstanceUID") for one in found) == uids
    page = [step(SOPInstanceUID=uid) for uid in uids[:2]]
    odd.answers["GET /workitems"] = (206, json.dumps(page).encode())  # it knows no offset
    assert UpsClient(odd.destination, 5.0).search({}) == page


def test_what_cannot_be_understood_is_left_out(odd: Odd) -> None:
    good = step(SOPInstanceUID="1.9")
    rows = [good, {"00080018": {"vr": "UI", "Value": ["1.02"]}}, 7, None]
    odd.answers["GET /workitems"] = (200, json.dumps(rows).encode())
    client = UpsClient(odd.destination, 5.0)
    assert client.search({}) == [good]
    odd.answers["GET /workitems"] = (204, b"")
    assert client.search({}) == []
