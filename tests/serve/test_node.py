"""A node in this process: its HTTP door, its start and its end, a PACS that comes and goes."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from tests import peers, phantoms, slices, toy
from tests.jobs import fake
from tests.serve.stage import acknowledged, get, process, rows, until
from tests.wire.objects import film
from wetread import report
from wetread.acquire import instances
from wetread.acquire.layout import Layout
from wetread.acquire.parse import Parsed
from wetread.acquire.pixels import decode_pixels
from wetread.errors import ModelError, SettingsError, StoreError
from wetread.jobs.index import UnusableIndex
from wetread.jobs.states import State
from wetread.jobs.store import Store
from wetread.jobs.worker import Reader
from wetread.pipeline import open_reader
from wetread.records import Pixels
from wetread.serve.node import Node
from wetread.serve.receiver import Receiver
from wetread.settings import Destination, Settings
from wetread.wire.dimse import echo, send

Start = Callable[..., Node]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts nodes that are stopped after the test."""
    with ExitStack() as stack:

        def make(load: Callable[[], Reader] = lambda: fake.READER, **given: Any) -> Node:
            settings = Settings(
                state=tmp_path / "state",
                port=0,
                http_port=0,
                retry_first_s=0.05,
                retry_most_s=0.1,
                quiet_s=0.2,
                peer_timeout_s=2.0,
            )
            node = Node(replace(settings, **given), load)
            node.start()
            stack.callback(node.stop, 2.0)
            return node

        yield make


def address(node: Node) -> Destination:
    return Destination("WETREAD", "127.0.0.1", node.port)


def metric(node: Node, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", get(node.http_port, "/metrics")[1], re.MULTILINE)
    assert found, name
    return float(found[1])


def test_a_study_comes_in_and_its_results_go_out(start: Start, pacs: Receiver) -> None:
    node = start(destinations=(Destination("PACS", "127.0.0.1", pacs.port, ("SR",)),))
    assert node.wait_ready(5)
    assert send(address(node), [film("1.2.3", "1.2.3.1"), film("1.2.3", "1.2.3.2")]) == [0, 0]
    assert pacs.wait(2, 5.0)
    until(lambda: node.store.overview.counts()["DELIVERED"] == 1)
    expected = {fake.document_uids(f"1.2.3.{n}")[0] for n in (1, 2)}
    assert {receipt.sop_instance_uid for receipt in pacs.receipts} == expected
    status, body = get(node.http_port, "/studies/1.2.3")
    assert status == 200
    assert json.loads(body)["jobs"][0]["state"] == "DELIVERED"
    assert get(node.http_port, "/studies/1.2.4")[0] == 404


def test_a_series_comes_in_slice_by_slice_and_one_report_goes_out(start: Start, pacs: Receiver, tmp_path: Path) -> None:
    models = toy.make_series_models(tmp_path / "models")
    reader = open_reader(Settings(models=models, state=tmp_path / "state"))
    kinds = ("SR", "SEG", "SC")
    node = start(lambda: reader, destinations=(Destination("PACS", "127.0.0.1", pacs.port, kinds),))
    volume = slices.balls(slices.AXIAL, (10, 48, 44), np.array([[-8.0, -16.0, 22.0]]), (9.0,), (800,))
    volume[0] += np.arange(44, dtype=np.int16)
    assert node.wait_ready(5)
    sent = [data for _, data in slices.blobs(slices.series(volume))]
    assert set(send(address(node), sent[::-1])) == {0}
    assert pacs.wait(3, 10.0)
    until(lambda: node.store.overview.counts()["DELIVERED"] == 1)
    assert len(pacs.receipts) == 2 + 1


def test_a_series_of_which_each_slice_comes_by_an_association_of_its_own_is_read_once(
    start: Start, pacs: Receiver, tmp_path: Path
) -> None:
    models = toy.make_series_models(tmp_path / "models")
    reader = open_reader(Settings(models=models, state=tmp_path / "state"))
    node = start(lambda: reader, destinations=(Destination("PACS", "127.0.0.1", pacs.port, ("SR",)),), quiet_s=1.0)
    volume = slices.balls(slices.AXIAL, (8, 48, 44), np.array([[-8.0, -16.0, 22.0]]), (9.0,), (800,))
    assert node.wait_ready(5)
    for _, data in slices.blobs(slices.series(volume)):
        assert send(address(node), [data]) == [0]
    until(lambda: node.store.overview.counts()["DELIVERED"] == 1)
    assert sum(node.store.overview.counts().values()) == len(pacs.receipts) == 1


def test_metrics(start: Start, pacs: Receiver) -> None:
    node = start(destinations=(Destination("PACS", "127.0.0.1", pacs.port, ("SR",)),))
    name = f"PACS@127.0.0.1:{pacs.port}"
    send(address(node), [film("1.1", "1.1.1"), film("1.1", "1.1.1"), film("1.1", "1.1.2", fake.REFUSED_BYTES)])
    send(address(node), [film("1.2", "1.2.1", fake.REFUSED_BYTES), film("../..", "1.2.2")])
    until(lambda: metric(node, 'wetread_jobs{state="REFUSED"}') == 1)
    until(lambda: metric(node, 'wetread_jobs{state="DELIVERED"}') == 1)
    assert metric(node, "wetread_objects_received_total") == 5
    assert metric(node, "wetread_objects_acknowledged_total") == 4
    assert metric(node, 'wetread_objects_refused_total{status="0xC000"}') == 1
    assert metric(node, 'wetread_objects_effects_total{effect="duplicate"}') == 1
    assert metric(node, 'wetread_stage_seconds_count{stage="infer"}') == 3
    assert metric(node, 'wetread_stage_seconds_sum{stage="infer"}') == pytest.approx(0.0375)
    assert metric(node, 'wetread_results_total{refusal="WRONG-VIEW"}') == 2
    assert metric(node, f'wetread_deliveries_total{{destination="{name}",outcome="stored"}}') == 3
    assert metric(node, "wetread_ready") == 1
    assert metric(node, "wetread_oldest_job_seconds") == 0
    assert metric(node, "process_resident_memory_bytes") > 1e7
    assert "1.1.1" not in get(node.http_port, "/metrics")[1]


def test_ready_only_with_models(start: Start, pacs: Receiver) -> None:
    gate = threading.Event()

    def load() -> Reader:
        assert gate.wait(10)
        return fake.READER

    node = start(load, destinations=(Destination("PACS", "127.0.0.1", pacs.port, ("SR",)),))
    assert get(node.http_port, "/health") == (200, '{"status":"alive"}')
    assert get(node.http_port, "/ready") == (503, '{"status":"not ready","missing":"models are loading"}')
    assert send(address(node), [film()]) == [0]  # what arrives meanwhile is kept
    gate.set()
    assert node.wait_ready(5)
    assert get(node.http_port, "/ready")[0] == 200
    assert pacs.wait(1, 5.0)


def test_models_load_while_the_store_opens(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    began = threading.Event()

    def load() -> Reader:
        began.set()
        return fake.READER

    def opened(*given: Any, **named: Any) -> Store:
        assert began.wait(5)
        return Store(*given, **named)

    monkeypatch.setattr("wetread.serve.node.Store", opened)
    assert start(load).wait_ready(5)


def test_models_that_load_after_the_end_read_nothing(start: Start) -> None:
    gate = threading.Event()

    def load() -> Reader:
        assert gate.wait(10)
        return fake.READER

    node = start(load)
    send(address(node), [film()])
    node.stop()
    gate.set()
    assert not node.wait_ready(5)
    assert not [thread for thread in threading.enumerate() if thread.name == "wetread-worker"]


def test_models_that_do_not_load_end_the_node(start: Start) -> None:
    def load() -> Reader:
        raise ModelError("model: expected another digest")

    node = start(load)
    assert not node.wait_ready(5)
    assert isinstance(node.failure, ModelError)
    assert "models failed to load" in get(node.http_port, "/ready")[1]


def test_a_pacs_that_is_away_gets_everything_once_when_it_is_back(start: Start, tmp_path: Path) -> None:
    port = peers.free_port()
    name = f"PACS@127.0.0.1:{port}"
    node = start(destinations=(Destination("PACS", "127.0.0.1", port, ("SR", "SEG")),))
    for number in range(5):
        send(address(node), [film(f"1.{number}", f"1.{number}.1")])
    until(lambda: node.store.overview.counts()["READ"] == 5)
    until(lambda: metric(node, f'wetread_deliveries_total{{destination="{name}",outcome="unreachable"}}') > 2)
    assert metric(node, f'wetread_outbox_depth{{destination="{name}"}}') == 10
    assert metric(node, f'wetread_outbox_oldest_seconds{{destination="{name}"}}') > 0
    pacs = Receiver(tmp_path / "pacs", port=port)
    pacs.start()
    until(lambda: node.store.overview.counts()["DELIVERED"] == 5)
    pacs.stop()
    uids = [receipt.sop_instance_uid for receipt in pacs.receipts]
    assert len(uids) == len(set(uids)) == 10


def test_a_destination_that_was_removed_still_gets_what_waits(start: Start, tmp_path: Path) -> None:
    port = peers.free_port()
    node = start(destinations=(Destination("PACS", "127.0.0.1", port),))
    send(address(node), [film()])
    until(lambda: node.store.overview.counts()["READ"] == 1)
    node.stop()
    pacs = Receiver(tmp_path / "pacs", port=port)
    pacs.start()
    start(destinations=())
    assert pacs.wait(2, 5.0)
    pacs.stop()


def test_a_study_cut_off_is_read_after_the_quiet_time(start: Start) -> None:
    node = start()
    with pytest.raises(RuntimeError, match="the end"):  # the association breaks after one object
        send(address(node), [film(), film(instance="1.2.3.2")], on_status=lambda i, status: end())
    assert node.store.overview.counts()["RECEIVED"] == 1
    until(lambda: node.store.overview.counts()["DELIVERED"] == 1)


def end() -> None:
    raise RuntimeError("the end")


def test_a_disk_that_is_full_is_said_to_the_sender(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    node = start()

    def full(data: bytes) -> str:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(node.store.spool, "put", full)
        assert send(address(node), [film()]) == [0xA700]
    assert send(address(node), [film()]) == [0]
    assert metric(node, 'wetread_objects_refused_total{status="0xA700"}') == 1


def test_an_index_that_cannot_be_read_now_is_said(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object) -> None:
        raise StoreError("index: is busy")

    node = start()
    monkeypatch.setattr(node.store.overview, "versions", busy)
    monkeypatch.setattr(node.store.alerts, "known", busy)
    for path in ("/studies/1.2", "/alerts/token"):
        status, body = get(node.http_port, path)
        assert (status, json.loads(body)) == (503, {"error": "index: is busy"}), path


def test_nobody_is_told_where_the_database_is(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise UnusableIndex('index: cannot be used now (OperationalError: server at "db.inside", user "wetread")')

    node = start(fhir="R4")
    monkeypatch.setattr(node.store._index, "reading", away)
    for path in ("/studies/1.2", "/dicomweb/studies", "/fhir/DiagnosticReport?status=final"):
        status, body = get(node.http_port, path)
        assert (status, "cannot be used now" in body, "inside" in body) == (503, True, False), (path, body)


def test_other_bytes_under_one_uid_are_answered_with_a_warning(start: Start) -> None:
    node = start()
    assert send(address(node), [film(size=64), film(size=66), film(size=64)]) == [0, 0xB000, 0]
    ((event, _, _),) = node.store.overview.audits()
    assert event == "conflicting-instance"


def test_own_results_coming_back_start_nothing(start: Start, pacs: Receiver) -> None:
    node = start(destinations=(Destination("PACS", "127.0.0.1", pacs.port, ("SR", "SEG")),))
    send(address(node), [film()])
    assert pacs.wait(2, 5.0)
    until(lambda: node.store.overview.counts()["DELIVERED"] == 1)
    assert send(address(node), [receipt.path.read_bytes() for receipt in pacs.receipts]) == [0, 0]
    time.sleep(0.1)
    assert sum(node.store.overview.counts().values()) == 1


def test_a_film_whose_decoding_crashes_comes_back_with_a_reason(
    start: Start, pacs: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole row, between two good films: the PACS can file the refusal under the patient."""
    films = [phantoms.make_film(StudyInstanceUID=f"1.{n}", SOPInstanceUID=f"1.{n}.1.1") for n in (1, 2, 3)]
    poison = phantoms.to_bytes(films[1])

    def crashing(parsed: Parsed, layout: Layout, may_be_blank: bool = False) -> tuple[Pixels, bool]:
        if parsed.header.StudyInstanceUID == "1.2":
            raise UnboundLocalError(phantoms.SECRETS[0])
        return decode_pixels(parsed, layout, may_be_blank)

    monkeypatch.setattr(instances, "decode_pixels", crashing)
    models = toy.make_models(tmp_path / "models")
    settings = Settings(models=models, engine="onnxruntime", state=tmp_path / "state")
    node = start(lambda: open_reader(settings), destinations=(Destination("PACS", "127.0.0.1", pacs.port),))
    assert send(address(node), [phantoms.to_bytes(film) for film in films]) == [0, 0, 0]
    assert pacs.wait(9, 20.0)
    until(lambda: node.store.overview.depths() == {})
    assert node.store.overview.counts() == dict.fromkeys(State, 0) | {"DELIVERED": 2, "FAILED": 1}
    assert len(pacs.receipts) == 9  # SR, SEG, PM and SC of each good film
    (receipt,) = (one for one in pacs.receipts if one.study_uid == "1.2")
    sr = pydicom.dcmread(receipt.path)
    assert (sr.Modality, sr.PatientID, sr.PatientName) == ("SR", phantoms.SECRETS[1], phantoms.SECRETS[0])
    assert "CRASHED" in str(sr)
    assert not report.check(receipt.path.read_bytes())
    assert metric(node, 'wetread_results_total{refusal="CRASHED"}') == 1
    assert metric(node, 'wetread_jobs_ended_total{state="FAILED"}') == 1
    (failed,) = json.loads(get(node.http_port, "/studies/1.2")[1])["jobs"]
    assert failed["state"] == "FAILED"
    assert send(address(node), [poison]) == [0]  # sent again it is a duplicate, not another study
    assert len(node.store.overview.versions("1.2")) == 1


def test_a_second_node_on_the_same_state_does_not_start(start: Start) -> None:
    start()
    with pytest.raises(StoreError, match="in use"):
        start()


def test_a_port_in_use_leaves_nothing_open(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for name in ("port", "http_port"):
            with pytest.raises(SettingsError, match="cannot be bound"):
                start(**{name: taken.getsockname()[1]})
    assert not [thread for thread in threading.enumerate() if thread.name == "wetread-load"]
    start()  # the store was closed each time


def test_a_start_that_fails_says_so_while_models_load(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    said: list[str] = []

    def load() -> Reader:
        until(lambda: bool(caplog.records))
        said.extend(record.message for record in caplog.records)
        return fake.READER

    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(SettingsError, match="cannot be bound"),
    ):
        start(load, port=taken.getsockname()[1])
    assert said == ["not started"]


def test_sigterm_ends_in_order(tmp_path: Path, pacs: Receiver) -> None:
    with process(tmp_path / "state", pacs.port) as node:
        sender = threading.Thread(target=acknowledged, args=(node.destination, [film(size=1 << 20)] * 3))
        sender.start()
        time.sleep(0.05)
        assert node.stop() == 0
        sender.join()
    states = {row[0] for row in rows(tmp_path / "state", "SELECT state FROM jobs")}
    assert states <= {"RECEIVED", "COMPLETE", "READ", "DELIVERED"}


def test_logs_are_json_and_hold_no_patient(
    start: Start, pacs: Receiver, capfd: pytest.CaptureFixture[str], json_logs: Callable[[], None]
) -> None:
    json_logs()
    node = start(destinations=(Destination("PACS", "127.0.0.1", pacs.port, ("SR",)),), max_tries=1)
    send(address(node), [film(), film(size=70), film("1.2.4", "1.2.4.1", fake.CRASHING_BYTES), film("../..", "1")])
    assert pacs.wait(2, 10.0)
    until(lambda: node.store.overview.counts()["FAILED"] == 1)
    until(lambda: node.store.overview.counts()["DELIVERED"] == 1)
    node.stop()
    written = capfd.readouterr().err
    lines = [json.loads(line) for line in written.splitlines()]
    events = "listening, ready, study complete, job read, reading crashed, job set aside, delivery ended, stopped"
    assert set(events.split(", ")) <= {line["event"] for line in lines}
    assert not re.search(r"Canary|CANARY|1\.2\.3\.1\.1|1\.2\.4", written)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("number", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_the_kernel_sees_the_same_order(number: int, tmp_path: Path, pacs: Receiver) -> None:
    """File, folder and write-ahead log are on disk before each answer leaves."""
    trace = tmp_path / "trace"
    with process(tmp_path / "state", pacs.port, quiet_s=60.0) as node:
        command = ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync,rename,sendto", "-o", str(trace)]
        tracer = subprocess.Popen([*command, "-p", str(node.process.pid)], stderr=subprocess.PIPE)
        assert tracer.stderr is not None
        if b"attached" not in tracer.stderr.readline():
            tracer.kill()
            tracer.communicate()
            pytest.skip("this process may not trace another")
        try:
            assert len(acknowledged(node.destination, [film("1.1", f"1.1.{n}") for n in range(number)])) == number
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate()
    steps = []
    for line in trace.read_text().splitlines():
        for step, pattern in KERNEL.items():
            if re.search(pattern, line):
                steps.append(step)
    text = "".join(steps)
    assert re.fullmatch(f"A?(FRDW+A){{{number}}}[WA]*", text), text  # a log that begins anew is synced twice


#: One letter a step: blob fsynced, renamed, folder fsynced, log synced, answer sent.
KERNEL = {
    "F": r"fsync\(\d+<[^>]*/spool/tmp/",
    "R": r"rename\(\"[^\"]*/spool/tmp/",
    "D": r"fsync\(\d+<[^>]*/spool/[0-9a-f]{2}>",
    "W": r"f(data)?sync\(\d+<[^>]*index.sqlite-wal>",
    "A": r"sendto\(\d+<(socket|TCP):.*\"\\4\\0",  # a P-DATA-TF
}


def test_the_dicom_port_survives_a_web_browser(start: Start) -> None:
    node = start()
    with socket.create_connection(("127.0.0.1", node.port), timeout=2) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert sock.recv(100)[0] == 7  # A-ABORT
    assert echo(address(node)) < 1.0


@pytest.mark.parametrize("models", [True, False], ids=["with models", "without models"])
def test_the_command_serves_until_sigterm(tmp_path: Path, models: bool) -> None:
    folder = toy.make_models(tmp_path / "models") if models else tmp_path
    port = peers.free_port()
    environment = {
        "WETREAD_MODELS": str(folder),
        "WETREAD_STATE": str(tmp_path / "state"),
        "WETREAD_PORT": str(port),
        "WETREAD_HTTP_PORT": "0",
        "WETREAD_ENGINE": "onnxruntime",
        "PATH": "/usr/bin:/bin",
    }
    command = [sys.executable, "-c", "from wetread.cli import main; main()", "serve"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        if models:
            peers.wait_for_port(port, process)
            assert echo(Destination("WETREAD", "127.0.0.1", port)) < 2.0
            written = [tmp_path / "state", *(tmp_path / "state").rglob("*")]
            assert len(written) > 5
            assert not [path for path in written if path.stat().st_mode & 0o007]
            process.terminate()
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    events = [json.loads(line)["event"] for line in errors.splitlines() if line.startswith("{")]
    assert "listening" in events  # models load, or do not, while the ports open
    assert events[-1] == "stopped"
    assert (process.returncode == 0) == models
    assert ("models not loaded" in events) != models


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("full", [True, False], ids=["full", "nobody reads it"])
def test_the_command_serves_where_its_standard_output_takes_nothing(tmp_path: Path, full: bool) -> None:
    port, nobody = peers.free_port(), os.pipe()
    os.close(nobody[0])
    models = toy.make_models(tmp_path / "models")
    environment = {"WETREAD_MODELS": str(models), "WETREAD_STATE": str(tmp_path / "state"), "PATH": "/usr/bin:/bin"}
    environment |= {"WETREAD_PORT": str(port), "WETREAD_HTTP_PORT": "0", "WETREAD_ENGINE": "onnxruntime"}
    command = [sys.executable, "-c", "from wetread.cli import main; main()", "serve"]
    with open("/dev/full", "w") as disk:
        out = disk.fileno() if full else nobody[1]
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.PIPE, text=True)
    os.close(nobody[1])
    try:
        peers.wait_for_port(port, process)
        time.sleep(0.3)  # what it says comes after
        assert echo(Destination("WETREAD", "127.0.0.1", port)) < 2.0
        process.terminate()
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert json.loads(errors.splitlines()[-1])["event"] == "stopped"


def test_the_command_may_open_as_much_as_connections_that_ask_for_nothing_fill(tmp_path: Path) -> None:
    port, http_port, hard = peers.free_port(), peers.free_port(), resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    models = toy.make_models(tmp_path / "models")
    environment = {"WETREAD_MODELS": str(models), "WETREAD_STATE": str(tmp_path / "state"), "PATH": "/usr/bin:/bin"}
    environment |= {"WETREAD_PORT": str(port), "WETREAD_HTTP_PORT": str(http_port), "WETREAD_ENGINE": "onnxruntime"}
    few = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (128, {hard}))"
    command = [sys.executable, "-c", f"{few}; from wetread.cli import main; main()", "serve"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        peers.wait_for_port(port, process)
        with ExitStack() as held:
            for one in (port, http_port) * 100:
                held.enter_context(socket.create_connection(("127.0.0.1", one), timeout=2.0))
            assert send(Destination("WETREAD", "127.0.0.1", port), [film()]) == [0]
    finally:
        process.kill()
        process.wait()


#: A node whose main thread gets SIGTERM while it holds whatever lock of Python's it waits by; if there is none, then
#: another thread gets it while the main one sleeps.
INTERRUPTED = """
import signal, sys, threading, time
from pathlib import Path
from wetread.errors import ModelError
from wetread.serve.node import Node
from wetread.settings import Settings

def load():
    while node.missing() != "stopping":
        time.sleep(0.01)
    raise ModelError("never loaded")

def interrupt(frame, event, argument):
    if frame.f_code.co_qualname == "Condition.wait":
        sys.settrace(None)
        signal.raise_signal(signal.SIGTERM)

def on_start(node):
    threading.Timer(0.5, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM)).start()
    sys.settrace(interrupt)

node = Node(Settings(state=Path(sys.argv[1]), port=0, http_port=0), load)
try:
    node.run(on_start)
except ModelError:
    print("ended")
"""


def test_a_signal_ends_the_node_whatever_its_main_thread_does(tmp_path: Path) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.stdout == "ended\n", done.stderr
