"""Bundles of random results: judged by validators of others, taken by a server of others, and after a day's outage.

It runs in a checkout, with what `tests/install-peers` installs: Medplum's router and validator and the npm package
`fhir`, behind `tests/npm/fhir-server.mjs`; and the Python package `fhir.resources`.
"""

from __future__ import annotations

import http.client
import json
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from wetread import report
from wetread.evidence.dicom.chance import case
from wetread.evidence.ehr.page import Section
from wetread.evidence.torture.objects import CR
from wetread.jobs.delivery import Outbox
from wetread.jobs.instances import Arrival
from wetread.jobs.retry import Backoff
from wetread.jobs.store import Store
from wetread.jobs.watch import Watch
from wetread.records import Document, Result
from wetread.report.fhir.site import Site
from wetread.settings import Destination, Settings
from wetread.wire import fhir

RESULTS, REPLAYS, QUEUED = 200, 10, 100
SERVER = Path("tests/npm/fhir-server.mjs")
DAY_S = 86_400.0
_SYSTEM = "urn:oid:1.2.3"
_ABOUT = (
    "{results} random results (films, CT and MR series; found, not found, refused) were written as bundles. Each was "
    "judged by the npm package `fhir` and by Medplum's validator as R4, by `fhir.resources` as R4B and R5, then sent "
    "{times} times to Medplum's router. Unfair: the results are small phantoms made by the same people, the server "
    "keeps everything in memory, and its limit of 8 conditional entries in a transaction is lifted. Then {queued} "
    "bundles of {patients} patients waited for a record that was away for a day, by a clock that the program turns."
)


class Server:
    """The peer."""

    def __init__(self, port: int) -> None:
        self.port = port

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Ask it; return the decoded answer."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request(method, path, data, {"Content-Type": fhir.JSON})
            return json.loads(connection.getresponse().read())

    def knows(self, data: bytes) -> None:
        """Let it know the patient that a bundle is about."""
        subject = next(one["resource"]["subject"] for one in json.loads(data)["entry"] if "subject" in one["resource"])
        self.call("POST", "/Patient", {"resourceType": "Patient", "identifier": [subject["identifier"]]})


@contextmanager
def server() -> Iterator[Server]:
    """Start the peer and stop it.

    Raises
    ------
    FileNotFoundError
        It is not installed.
    """
    program = shutil.which("node")
    if program is None or not (SERVER.parent / "node_modules").is_dir():
        raise FileNotFoundError(f"{SERVER}: expected node and its modules, found none; run tests/install-peers")
    process = subprocess.Popen([program, str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        try:
            yield Server(int(process.stdout.readline()))
        finally:
            process.kill()


def bundle(result: Result, version: str = "R4") -> Document:
    """Write the bundle of a result."""
    read = replace(result, read_at="2026-11-29T00:00:00Z")
    made = report.documents(read, kinds=("FHIR",), site=Site(version, {"PATIENT": _SYSTEM, "ACCESSION": _SYSTEM}))
    return next(one for one in made if one.kind == "FHIR")


def judged(number: int, peer: Server) -> Counter[str]:
    """Count what is wrong with the bundle of one result, and what its replays create."""
    from fhir.resources import get_fhir_model_class
    from fhir.resources.R4B import get_fhir_model_class as get_r4b

    result = case(number).result
    told = Counter({"bundles": 1})
    data = bundle(result).data
    for version, of in (("R4B", get_r4b), ("R5", get_fhir_model_class)):
        try:
            of("Bundle").model_validate(json.loads(data if version == "R4B" else bundle(result, version).data))
        except ValueError:
            told[f"fhir.resources {version}"] += 1
    for one in peer.call("POST", "/validate", data):
        told[one.partition(":")[0]] += 1
    peer.call("DELETE", "/")
    peer.knows(data)
    for time_ in range(REPLAYS):
        statuses = Counter(one["response"]["status"] for one in peer.call("POST", "/", data).get("entry", ()))
        told["created at once" if time_ == 0 else "created by replays"] += statuses["201"]
        told["not accepted"] += sum(statuses.values()) != len(json.loads(data)["entry"])
    told["resources"] += len(json.loads(data)["entry"])
    return told


def outage(peer: Server, folder: Path, number: int) -> dict[str, bool]:
    """Let bundles wait for a record that is away for a day; say what holds after its return."""
    settings = Settings(retry_most_s=300.0)
    away, here = _closed(), Destination("EHR", url=f"fhir+http://127.0.0.1:{peer.port}")
    posted: list[bytes] = []
    now, back_at = 0.0, DAY_S
    peer.call("DELETE", "/")

    def send(place: Destination, items: Sequence[bytes], on_status: Callable[[int, int], None]) -> object:
        if now < back_at:
            return fhir.send(away, items, 1.0)
        posted.extend(items)
        return fhir.send(place, items, 60.0, on_status)

    store = Store(folder)
    try:
        queued = _queued(store, number, here.names[0], peer)
        backoff = Backoff(settings.retry_first_s, settings.retry_most_s, random.Random(1))  # noqa: S311 - jitter
        outbox = Outbox(here.names[0], here, store, send, settings, Watch(), lambda: now, backoff)
        while (wait := outbox.step()) is not None:
            now += wait
        counts = store.overview.counts()
    finally:
        store.close()
    held = peer.call("GET", "/DiagnosticReport?_count=1000").get("entry", ())
    reports = Counter(one["resource"]["identifier"][0]["value"] for one in held)
    ways = [[data for data in posted if data in of] for of in queued]
    return {
        "every bundle of a day's outage arrives, and none twice": set(reports.values()) == {1}
        and len(reports) == number,
        "what is about one patient arrives in the order in which it was made": ways == queued,
        f"within 10 minutes of its return (after {now - back_at:.0f} s)": 0 <= now - back_at <= 600,
        "every study ends as delivered": counts["DELIVERED"] == number,
    }


def _queued(store: Store, number: int, to: str, peer: Server) -> list[list[bytes]]:
    """Queue bundles, four a patient; return them by patient in their order."""
    by_patient: dict[str, list[bytes]] = {}
    for at in range(number):
        made = case(at).result
        header = made.header
        header.PatientID = f"P-{at % (number // 4)}"
        document = bundle(replace(made, header=header))
        assert document.filed is not None
        if document.filed.patient not in by_patient:
            peer.knows(document.data)
        by_patient.setdefault(document.filed.patient, []).append(document.data)
        study, instance = f"1.2.{at}", f"1.2.{at}.1"
        digest = store.spool.put(instance.encode())
        store.instances.admit([Arrival(CR, instance, study, "1.2.840.10008.1.2.1", "T", digest, 1)])
        store.studies.complete(study)
        job = store.studies.take()
        assert job is not None
        store.studies.finish(job.id, [(document, {to: ("FHIR",)})], "")
    return list(by_patient.values())


def _closed() -> Destination:
    """A destination where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return Destination("EHR", url=f"fhir+http://127.0.0.1:{free.getsockname()[1]}")


def run(results: int = RESULTS, queued: int = QUEUED) -> Section:
    """Run everything."""
    start = time.monotonic()
    told = Counter[str]()
    with server() as peer, tempfile.TemporaryDirectory() as folder:
        for number in range(results):
            told += judged(number, peer)
        checks = {
            "every bundle is valid in every validator": not any(told[name] for name in VALIDATORS),
            "every bundle is accepted": not told["not accepted"] and told["created at once"] > 0,
            "a replay creates nothing": not told["created by replays"],
            **outage(peer, Path(folder) / "state", queued),
        }
    rows: list[list[Any]] = [["what", "number"]]
    rows += [[f"problems found by {name}" if name in VALIDATORS else name, told[name]] for name in _ROWS]
    about = _ABOUT.format(results=results, times=REPLAYS, queued=queued, patients=queued // 4)
    return Section("fhir", "Results out by FHIR", about, checks, rows, time.monotonic() - start)


VALIDATORS = ("fhir", "medplum", "fhir.resources R4B", "fhir.resources R5")
#: What is counted; under the name of a validator what it found wrong.
_ROWS = ("bundles", "resources", *VALIDATORS, "not accepted", "created at once", "created by replays")
