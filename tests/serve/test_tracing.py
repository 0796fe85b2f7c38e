"""One study's way, by its trace: the spans that a collector gets, and the lines of the log."""

from __future__ import annotations

import json
import re
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

import pytest

from tests import peers, phantoms, toy
from tests.jobs import fake
from tests.serve.collector import Collector, about, collecting
from tests.serve.stage import get, until
from tests.wire.objects import film
from wetread.errors import SettingsError
from wetread.jobs.worker import Reader
from wetread.pipeline import open_reader
from wetread.serve import tracing
from wetread.serve.node import Node
from wetread.serve.receiver import Receiver
from wetread.settings import Destination, Settings, load
from wetread.trace import Span, new_trace_id
from wetread.wire.dimse import send

Start = Callable[..., Node]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


@pytest.fixture
def start(tmp_path: Path, pacs: Receiver) -> Iterator[Start]:
    """Starts nodes that send to `pacs` and are stopped after the test."""
    with ExitStack() as stack:

        def make(load: Callable[[], Reader] = lambda: fake.READER, **given: Any) -> Node:
            to = (Destination("PACS", "127.0.0.1", pacs.port, ("SR",)),)
            settings = Settings(
                state=tmp_path / "state", port=0, http_port=0, destinations=to, quiet_s=0.2, retry_first_s=0.05
            )
            node = Node(replace(settings, **given), load)
            node.start()
            stack.callback(node.stop, 2.0)
            return node

        yield make


def address(node: Node) -> Destination:
    return Destination("WETREAD", "127.0.0.1", node.port)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def identifiers(files: list[Any]) -> list[bytes]:
    """Everything in a data set that could lead to a patient."""
    uids = {str(one.value) for file in files for one in file if one.VR == "UI" and "SOPClass" not in one.keyword}
    return [text.encode() for text in (*phantoms.SECRETS, *uids)]


@pytest.mark.peer
def test_one_study_from_a_modality_to_the_pacs(
    start: Start,
    pacs: Receiver,
    collector: Collector,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    json_logs: Callable[[], None],
) -> None:
    json_logs()
    models = toy.make_models(tmp_path / "models")
    reader = open_reader(Settings(models=models, engine="onnxruntime", state=tmp_path / "state"))
    node = start(lambda: reader, otlp_endpoint=collector.endpoint)
    assert node.wait_ready(20)
    sent = phantoms.make_film()
    (tmp_path / "film.dcm").write_bytes(phantoms.to_bytes(sent))
    place = ("-aet", "CR1", "-aec", "WETREAD", "127.0.0.1", str(node.port), str(tmp_path / "film.dcm"))
    assert peers.dcmtk("storescu", *place).returncode == 0
    until(lambda: node.store.overview.counts()["DELIVERED"] == 1)
    (job,) = json.loads(get(node.http_port, f"/studies/{phantoms.STUDY}")[1])["jobs"]
    trace = job["trace_id"]
    node.stop()

    assert {span.trace_id.hex() for span in collector.spans} == {trace}
    (root,), (wait,), (read,), (deliver,) = map(collector.named, ("association", "wait", "read", "deliver"))
    assert root.parent_span_id == b""
    assert {one.parent_span_id for one in (wait, read, deliver)} == {root.span_id}
    stages = [span for span in collector.spans if span.parent_span_id == read.span_id]
    assert {"acquire", "prepare", "infer", "report"} <= {span.name for span in stages}
    (report,), (draw,) = map(collector.named, ("report", "draw"))
    assert draw.parent_span_id == report.span_id
    assert report.start_time_unix_nano == draw.start_time_unix_nano < draw.end_time_unix_nano
    assert draw.end_time_unix_nano <= report.end_time_unix_nano
    named = {span.name for span in (root, wait, read, deliver, draw, *stages)}
    assert {span.name for span in collector.spans} == named
    assert len({span.span_id for span in collector.spans}) == len(collector.spans)
    assert root.start_time_unix_nano < wait.start_time_unix_nano <= wait.end_time_unix_nano
    assert wait.end_time_unix_nano <= read.start_time_unix_nano < read.end_time_unix_nano
    assert read.end_time_unix_nano < deliver.start_time_unix_nano < deliver.end_time_unix_nano
    assert all(read.start_time_unix_nano <= one.start_time_unix_nano for one in stages)
    assert max(one.end_time_unix_nano for one in stages) <= read.end_time_unix_nano
    came = about(root)
    size = came.pop("wetread.bytes")
    assert size == pytest.approx(len(phantoms.to_bytes(sent)), abs=1000)  # without the preamble
    counted = {"wetread.association": 1, "wetread.objects": 1, "wetread.refused": 0}
    assert came == {"wetread.calling_ae": "CR1", "wetread.released": True, **counted}
    assert about(wait) == {"wetread.job": 1, "wetread.lane": "ROUTINE"}
    told = {"wetread.job": 1, "wetread.lane": "ROUTINE", "wetread.tries": 1}
    assert about(read) == {**told, "wetread.images": 1, "wetread.refusals": ""}
    where = f"PACS@127.0.0.1:{pacs.port}"
    answer = {"wetread.document": "SR", "wetread.outcome": "stored", "wetread.status": "0x0000"}
    assert about(deliver) == {"wetread.job": 1, "wetread.destination": where, **answer}

    written = capfd.readouterr().err
    at_node = [line for line in lines(written) if line.get("calling_ae") != "WETREAD"]  # not the stand-in of the PACS
    of_study = ["association ended", "study complete", "job read", "delivery ended"]
    assert {line["event"] for line in at_node if line.get("trace_id") == trace} >= set(of_study)
    assert {line.get("trace_id") for line in at_node if line["event"] in of_study} == {trace}
    assert {line.get("trace_id") for line in at_node if line["event"] in ("listening", "ready", "stopped")} == {None}
    for secret in identifiers([sent]):
        assert not any(secret in body for body in collector.bodies), secret
        assert secret not in written.encode(), secret


def test_a_restart_between_receipt_and_reading_keeps_the_trace(
    start: Start, collector: Collector, capfd: pytest.CaptureFixture[str], json_logs: Callable[[], None]
) -> None:
    json_logs()
    gate = threading.Event()

    def loading() -> Reader:
        gate.wait(10)
        raise RuntimeError("the end")

    node = start(loading, otlp_endpoint=collector.endpoint)
    assert send(address(node), [film()], calling_ae="CT1") == [0]
    until(lambda: node.store.overview.counts()["COMPLETE"] == 1)
    gate.set()
    node.stop()
    (root,) = collector.spans
    node = start(otlp_endpoint=collector.endpoint)
    until(lambda: node.store.overview.counts()["DELIVERED"] == 1)
    node.stop()
    names = [span.name for span in collector.spans]
    assert sorted(names) == sorted(["association", "wait", "read", "infer", "report", "deliver"])
    assert {span.trace_id for span in collector.spans} == {root.trace_id}
    for name in ("wait", "read", "deliver"):
        assert [span.parent_span_id for span in collector.named(name)] == [root.span_id]
    (read,) = (line for line in lines(capfd.readouterr().err) if line["event"] == "job read")
    assert read["trace_id"] == root.trace_id.hex()


def test_associations_at_the_same_time_do_not_mix(start: Start, collector: Collector) -> None:
    """Four senders at once, their documents in one association to the PACS: each study has one trace of its own."""
    node = start(otlp_endpoint=collector.endpoint)
    sending = [
        threading.Thread(target=send, args=(address(node), [film(f"1.{n}", f"1.{n}.{i}") for i in range(5)], f"CT{n}"))
        for n in range(4)
    ]
    for one in sending:
        one.start()
    for one in sending:
        one.join()
    until(lambda: node.store.overview.counts()["DELIVERED"] == 4)
    kept = {job.id: job.trace_id for n in range(4) for job in node.store.overview.versions(f"1.{n}")}
    node.stop()
    of_job = [span for span in collector.spans if "wetread.job" in about(span)]
    assert len(of_job) == 4 * (1 + 1 + 5)
    assert {(about(span)["wetread.job"], span.trace_id.hex()) for span in of_job} == set(kept.items())
    assert len(collector.named("association")) == len(set(kept.values())) == 4


def test_a_refused_and_a_crashed_reading_and_a_pacs_that_is_away(start: Start, collector: Collector) -> None:
    away = Destination("AWAY", "127.0.0.1", peers.free_port(), ("SR",))
    node = start(otlp_endpoint=collector.endpoint, max_tries=1, destinations=(away,))
    send(address(node), [film("1.1", "1.1.1", fake.REFUSED_BYTES), film("1.1", "1.1.2")])
    send(address(node), [film("1.2", "1.2.1", fake.CRASHING_BYTES)])
    until(lambda: node.store.overview.depths().get(f"AWAY@127.0.0.1:{away.port}", (0,))[0] == 3)
    node.stop()
    one, other = sorted(collector.named("read"), key=lambda span: about(span)["wetread.job"])
    assert about(one)["wetread.refusals"] == "WRONG-VIEW"
    assert about(one)["wetread.images"] == 2
    assert about(other)["wetread.error"] == "ValueError"
    assert (one.status.code, other.status.code) == (0, 2)  # STATUS_CODE_UNSET, STATUS_CODE_ERROR
    (aside,) = collector.named("set-aside")
    assert aside.trace_id == other.trace_id
    tried = collector.named("deliver")
    assert {about(span)["wetread.outcome"] for span in tried} == {"unreachable"}
    assert {span.status.code for span in tried} == {2}


def test_without_a_collector_the_study_arrives(start: Start, pacs: Receiver) -> None:
    node = start(otlp_endpoint=f"http://127.0.0.1:{peers.free_port()}")
    assert send(address(node), [film()]) == [0]
    until(lambda: node.store.overview.counts()["DELIVERED"] == 1)
    assert len(pacs.receipts) == 1
    node.stop()
    assert dropped(node) == 6.0  # association, wait, read with infer and report, deliver


def dropped(node: Node) -> float:
    found = re.search(r"^wetread_spans_dropped_total (\S+)$", node.metrics.text().decode(), re.MULTILINE)
    assert found
    return float(found[1])


def test_a_collector_that_is_silent_delays_nobody(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the connection and never answers; more spans come than may wait."""
    for name, value in {"MOST": 8, "BATCH": 4, "TIMEOUT_S": 0.5, "GRACE_S": 0.2}.items():
        monkeypatch.setattr(tracing, name, value)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        node = start(otlp_endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}")
        for number in range(10):
            assert send(address(node), [film(f"1.{number}", f"1.{number}.1")]) == [0]
        until(lambda: node.store.overview.counts()["DELIVERED"] == 10)
        begin = time.monotonic()
        node.stop()
        assert time.monotonic() - begin < 15.0
    assert dropped(node) == 60.0


def test_spans_are_counted_that_a_collector_refuses(collector: Collector) -> None:
    lost: list[int] = []
    collector.status = 400
    to = tracing.Collector(f"{collector.endpoint}/", lost.append)
    for name in ("wait", "read"):
        to.take(Span(name, new_trace_id(), 1, 2, {}))
    to.stop()
    assert sum(lost) == 2


def test_nothing_is_imported_or_sent_unless_it_is_set(tmp_path: Path, collector: Collector) -> None:
    """The standard environment variables alone switch nothing on."""
    program = """
import sys
from tests.jobs import fake
from wetread import settings
from wetread.serve.node import Node
node = Node(settings.load(state=sys.argv[1], port=0, http_port=0), lambda: fake.READER)
node.start(); node.wait_ready(10); node.stop()
print([name for name in sys.modules if name.partition(".")[0] == "opentelemetry"])
"""
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_TRACES_EXPORTER": "otlp",
        "PYTHONPATH": ":".join(sys.path),
    }
    command = [sys.executable, "-c", program, str(tmp_path / "state")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
    assert collector.bodies == []


def test_the_environment_may_give_headers_and_nothing_else(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        "OTEL_EXPORTER_OTLP_HEADERS": "x-key=secret",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://elsewhere.invalid",
        "OTEL_RESOURCE_ATTRIBUTES": "site=north",
        "OTEL_SDK_DISABLED": "true",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_BSP_MAX_QUEUE_SIZE": "1",
        "HTTP_PROXY": "http://proxy.invalid",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    lost: list[int] = []
    to = tracing.Collector(collector.endpoint, lost.append)
    for _ in range(5):
        to.take(Span("read", new_trace_id(), 1, 2, {}))
    to.stop()
    assert not lost
    assert len(collector.spans) == 5
    assert {headers["x-key"] for headers in collector.headers} == {"secret"}
    resources = [one.resource for request in collector.requests for one in request.resource_spans]
    assert [one.key for one in resources[0].attributes] == ["service.name", "service.version", "host.name"]


@pytest.mark.parametrize(
    "wrong", ["localhost:4318", "http://", "https://user:word@host", "http://host/?key=1", "grpc://h"]
)
def test_an_endpoint_of_another_form_is_refused(wrong: str) -> None:
    with pytest.raises(SettingsError, match="otlp_endpoint") as error:
        load(environ={}, otlp_endpoint=wrong)
    assert "word" not in str(error.value)
    assert load(environ={"WETREAD_OTLP_ENDPOINT": "https://host:4318"}).otlp_endpoint == "https://host:4318"


def test_without_the_packages_the_node_says_what_to_install(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "wetread.serve.tracing")
    monkeypatch.delattr("wetread.serve.tracing", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(SettingsError, match=r"pip install 'wetread\[tracing\]'"):
        start(otlp_endpoint="http://127.0.0.1:4318")
    start()  # the store was closed
