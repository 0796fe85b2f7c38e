"""Orders at the node: what an independent sender is answered, which results leave, and what a power cut leaves."""

from __future__ import annotations

import json
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from hl7.client import MLLPClient

from tests import peers
from tests.jobs import fake
from tests.jobs.test_ordering import named
from tests.serve.stage import Process, acknowledged, process, rows, until
from tests.wire.test_ordering import message
from wetread.serve.receiver import Receiver
from wetread.wire.acknowledge import acknowledgement
from wetread.wire.mllp import Unframe, frame

ORDER = ("PID|1||123^^^HOSP", "ORC|NW|P1^RIS", "OBR|1|P1^RIS||CT^Head^L" + "|" * 14 + "A1")
FILM = named("1.2.3", "1.2.3.1.1", "A1", "123", "HOSP")
STRANGER = named("1.2.4", "1.2.4.1.1", "A1", "124", "HOSP")


def ack(answer: bytes) -> tuple[str, str]:
    (told,) = Unframe().feed(answer)
    return acknowledgement(told)[:2]


def job(node: Process, study: str) -> dict[str, Any]:
    """Return what the node says of the last version of a study."""
    found = json.loads(node.get(f"/studies/{study}")[1])["jobs"]
    return dict(found[-1]) if found else {"state": ""}


def send(port: int, data: bytes) -> bytes:
    """Send one message by a plain socket; return its answer, or what came before the connection broke."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(frame(data))
        found = b""
        while b"\x1c\r" not in found and (more := sock.recv(65536)):
            found += more
        return found


def test_orders_decide_what_leaves(tmp_path: Path, pacs: Receiver) -> None:
    hl7_port = peers.free_port()
    with process(tmp_path / "state", pacs.port, hl7_port=hl7_port) as node:
        with MLLPClient("127.0.0.1", hl7_port) as ris:
            assert ack(ris.send_message(message("ORM^O01", *ORDER, control="C1"))) == ("AA", "C1")
            assert ack(ris.send_message(message("ORM^O01", "PID|1", control="C2"))) == ("AE", "C2")
            assert ack(ris.send_message(message("ADT^A99", control="C3"))) == ("AR", "C3")
        acknowledged(node.destination, [FILM, STRANGER])
        until(lambda: job(node, "1.2.3")["state"] == "DELIVERED")
        until(lambda: job(node, "1.2.4")["state"] == "FAILED")
        assert job(node, "1.2.4")["withheld"] == "PATIENT-MISMATCH"
        assert {one.study_uid for one in pacs.receipts} == {"1.2.3"}
        with MLLPClient("127.0.0.1", hl7_port) as ris:  # the two patients are one
            ris.send_message(message("ADT^A40", "PID|1||123^^^HOSP", "MRG|124^^^HOSP", control="C4"))
        until(lambda: job(node, "1.2.4")["state"] == "DELIVERED")
        assert {one.study_uid for one in pacs.receipts} == {"1.2.3", "1.2.4"}
        assert node.stop() == 0


def test_another_client_is_answered(tmp_path: Path, pacs: Receiver) -> None:
    program, hl7_port = peers.node_program("node-hl7-client"), peers.free_port()
    with process(tmp_path / "state", pacs.port, hl7_port=hl7_port):
        sent = [message("ORM^O01", *ORDER, control="C1"), message("ORM^O01", "PID|1||1", control="C2")]
        told = "".join(one.decode().replace("\r", "\\r") + "\n" for one in sent)
        command = [program, str(Path(peers.__file__).parent / "npm/hl7-client.mjs"), str(hl7_port)]
        ended = subprocess.run(command, input=told, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.split("\n")[:2] == ["AA C1", "AE C2"]


def test_kill_between_durable_and_acknowledged(tmp_path: Path, pacs: Receiver) -> None:
    state, hl7_port = tmp_path / "state", peers.free_port()
    order = message("ORM^O01", *ORDER, control="C1")
    with process(state, pacs.port, at="order-kept", hl7_port=hl7_port) as node:
        with suppress(ConnectionError):
            assert send(hl7_port, order) == b""
        assert node.wait() == -9
    assert rows(state, "SELECT accession FROM orders") == [("A1",)]
    with process(state, pacs.port, hl7_port=hl7_port) as node:
        assert ack(send(hl7_port, order)) == ("AA", "C1")
        acknowledged(node.destination, [FILM])
        until(lambda: {row[0] for row in rows(state, "SELECT state FROM jobs")} == {"DELIVERED"})
        node.stop()
    assert rows(state, "SELECT count(*) FROM orders") == [(1,)]
    assert sorted(one.sop_instance_uid for one in pacs.receipts) == sorted(fake.document_uids("1.2.3.1.1"))
