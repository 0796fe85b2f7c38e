"""The main job on one film, whole and real: a node, small receivers in place of PACS and record, loopback."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wetread.contain.children import Children
from wetread.errors import BadInput, PeerUnreachable, WetreadError
from wetread.evidence.film import real_film
from wetread.jobs.worker import Reader
from wetread.records import USUAL, Circumstances, Document, Reading, Stored
from wetread.serve.node import Node
from wetread.serve.receiver import Receiver
from wetread.serve.record import Record
from wetread.settings import Destination, Settings
from wetread.wire import dimse

PATIENCE_S = 60.0
#: What the demonstration takes of the settings in force: what is read by, and how much may be needed for it.
TAKEN = (
    *("models", "engine", "build", "threads"),
    *("min_free_bytes", "max_object_bytes", "max_pixels", "least_side", "max_series_pixels"),
    *("decoders", "decode_ahead", "decoder_memory_bytes", "decoder_cpu_s", "decoder_wall_s"),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of the demonstration."""

    readings: tuple[Reading, ...]
    documents: tuple[Path, ...]  # as the receiver got them, then the page and the JSON
    page: Path
    seconds: float  # from the first byte sent to the last document received


def run(settings: Settings, film: Path | None, out: Path, say: Callable[[str], None]) -> Outcome:
    """Start a node, a PACS and a record, send a film, gather what comes back, stop all.

    Parameters
    ----------
    film
        A DICOM file; by default the chest film of `pydicom-data`.
    out
        Folder for the documents; files of an earlier run are replaced.
    say
        Told what happens, a line at a time.

    Raises
    ------
    BadInput
        The film is not there, or cannot be read.
    WetreadError
        A model did not load, or a document did not come back in time.
    """
    film = film or real_film()
    try:
        data = film.read_bytes()
    except OSError as error:
        raise BadInput(f"{film}: expected a DICOM file, found none: {error.strerror}") from error
    with tempfile.TemporaryDirectory(prefix="wetread-demo-") as folder:
        return _with_state(settings, film.name, data, out, say, Path(folder))


def _with_state(
    settings: Settings, name: str, data: bytes, out: Path, say: Callable[[str], None], folder: Path
) -> Outcome:
    readings: list[Reading] = []
    pacs, ehr = Receiver(folder / "pacs"), Record()
    pacs.start()
    ehr.start()
    places = (Destination("PACS", "127.0.0.1", pacs.port), Destination("EHR", url=f"fhir+{ehr.url}"))
    state = folder / "state"
    if settings.profile_path.is_file():
        state.mkdir()
        shutil.copy(settings.profile_path, state / settings.profile_path.name)
    here = alone(settings, places, state)
    children = Children(here)
    node = Node(here, lambda: _load(here, readings, children))
    node.start()
    try:
        children.start()
        if not node.wait_ready(PATIENCE_S):
            raise node.failure or WetreadError(f"node: expected ready within {PATIENCE_S:.0f} s, got {node.missing()}")
        say(f"Node WETREAD listens on 127.0.0.1:{node.port}, health and metrics on 127.0.0.1:{node.http_port}.")
        address = Destination(here.ae_title, "127.0.0.1", node.port)
        dimse.echo(address)
        start = time.perf_counter()
        dimse.send(address, [data])
        say(f"Sent {name} by C-STORE ({len(data) / 1e6:.1f} MB); it is on the node's disk.")
        _wait_for(pacs, ehr, readings, start)
        seconds = time.perf_counter() - start
        say(f"The receiver PACS got {len(pacs.receipts)} documents by C-STORE.")
        say(f"The record EHR got by FHIR: {_told(ehr)}.")
        return _gathered(readings, pacs, out, seconds)
    finally:
        node.stop()
        children.close()
        pacs.stop()
        ehr.stop()


def alone(settings: Settings, places: tuple[Destination, ...], state: Path) -> Settings:
    """Settings of a node on loopback that knows nobody but `places`, whatever other node these settings are of."""
    taken = {name: getattr(settings, name) for name in TAKEN}
    return Settings(**taken, port=0, http_port=0, destinations=places, state=state)


@dataclass(frozen=True, slots=True)
class _Remembering:
    """A reader that also remembers what it gave."""

    reader: Reader
    readings: list[Reading]

    def read_blobs(
        self, blobs: Sequence[tuple[str, bytes | Stored]], given: Circumstances = USUAL
    ) -> tuple[Reading, ...]:
        made = self.reader.read_blobs(blobs, given)
        self.readings.extend(made)
        return made

    def set_aside(
        self,
        study_uid: str,
        files: Iterable[tuple[str, str, bytes]],
        detail: str,
        given: Circumstances = USUAL,
    ) -> tuple[Reading, ...]:
        made = self.reader.set_aside(study_uid, files, detail, given)
        self.readings.extend(made)
        return made


def _load(settings: Settings, readings: list[Reading], children: Children) -> Reader:
    from wetread.contain.decoder import decoder
    from wetread.pipeline import open_reader

    return _Remembering(open_reader(settings, decoder=decoder(children)), readings)


def _dicom(readings: Sequence[Reading]) -> list[Document]:
    return [document for reading in readings for document in reading.documents if document.sop_class_uid]


def _told(ehr: Record) -> str:
    """Name what the record holds."""
    kinds = Counter(kind for kind, _ in ehr.resources)
    reports = ", ".join(f"{one['status']} report" for one in ehr.reports())
    return f"{reports} with {kinds['Observation']} observations, and a task to review it"


def _wait_for(pacs: Receiver, ehr: Record, readings: list[Reading], start: float) -> None:
    """Wait until PACS and record have every document of the reading."""
    while not readings and time.perf_counter() - start < PATIENCE_S:
        time.sleep(0.001)
    expected = len(_dicom(readings))
    if not readings or not pacs.wait(expected, PATIENCE_S):
        raise PeerUnreachable(f"demo: expected {expected} documents at the receiver, got {len(pacs.receipts)}")
    bundles = [document for reading in readings for document in reading.documents if document.kind == "FHIR"]
    if not ehr.wait(len(bundles), PATIENCE_S):
        raise PeerUnreachable(f"demo: expected {len(bundles)} bundles at the record, got {len(ehr.bundles)}")


def _gathered(readings: list[Reading], pacs: Receiver, out: Path, seconds: float) -> Outcome:
    """Put the received objects, the page and the JSON under names for people."""
    out.mkdir(parents=True, exist_ok=True)
    received = {receipt.sop_instance_uid: receipt.path for receipt in pacs.receipts}
    places = []
    page = out
    for reading in readings:
        for document in reading.documents:
            place = out / document.name
            if document.sop_class_uid:
                shutil.copy(received[document.sop_instance_uid], place)
            else:
                place.write_bytes(document.data)
            page = place if document.kind == "HTML" else page
            places.append(place)
    return Outcome(tuple(readings), tuple(places), page, seconds)
