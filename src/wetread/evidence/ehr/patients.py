"""Interleaved studies of several senders and their orders: whether any result meets a wrong patient.

Two hospitals share the node, and use the same numbers for their patients and orders.  Some orders come after their
images, some studies have none, some patients are merged meanwhile, and some images carry the number of somebody
else's order.
"""

from __future__ import annotations

import random
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pydicom

from wetread.evidence.ehr.page import Section
from wetread.evidence.torture.cheap import Cheap
from wetread.evidence.torture.objects import CR, kept, plain
from wetread.evidence.torture.process import rows
from wetread.jobs.runner import Runner
from wetread.jobs.store import Store
from wetread.records import USUAL, Circumstances, Order, Reading, Stored
from wetread.settings import Destination, Settings
from wetread.uids import derive
from wetread.wire import mllp_listen
from wetread.wire.acknowledge import acknowledgement
from wetread.wire.dimse import Listener, send
from wetread.wire.mllp import Unframe, frame

STUDIES, SENDERS, OPEN = 10_000, 8, 10  # OPEN: studies whose objects a sender mixes
SITES = ("NORTH", "SOUTH")
PATIENCE_S = 3600.0

STRANGER = "somebody else's order"
#: Fate of a study -> its share.
FATES = {"ordered": 0.80, "without an order": 0.06, "ordered late": 0.04, "merged": 0.05, STRANGER: 0.05}


@dataclass(frozen=True, slots=True)
class Plan:
    """One study."""

    number: int
    fate: str

    @property
    def site(self) -> str:
        """The hospital, which alone tells its patients and orders from those of the other."""
        return SITES[self.number % 2]

    @property
    def patient(self) -> str:
        """The identifier in the images, the same for a patient of each hospital."""
        return f"{100000 + self.number // 2}"

    @property
    def study(self) -> str:
        """Study Instance UID."""
        return derive("patients", str(self.number))

    @property
    def placer(self) -> str:
        """The order's number."""
        return f"{self.site}-{self.number}"

    @property
    def accession(self) -> str:
        """The accession number in the images: that of an earlier patient's order where somebody took the wrong one."""
        return f"A{self.number // 2 - SENDERS * (self.fate == STRANGER)}"

    @property
    def files(self) -> list[bytes]:
        """Two films."""
        return [self._film(at) for at in range(2)]

    def _film(self, at: int) -> bytes:
        made = plain(
            self.study, derive("patients", str(self.number), "s"), derive("patients", str(self.number), str(at))
        )
        made.Modality, made.ImageComments, made.PatientID = "CR", "read", self.patient
        made.IssuerOfPatientID, made.AccessionNumber = self.site, self.accession
        made.add_new(0x7FE00010, "OW", bytes(200))
        return kept(made, CR, str(made.SOPInstanceUID))

    @property
    def order(self) -> bytes:
        """Its order, under the number that the patient has today."""
        patient = f"9{self.patient}" if self.fate == "merged" else self.patient
        return _message(
            "ORM^O01",
            f"O{self.number}",
            f"PID|1||{patient}^^^{self.site}",
            f"ORC|NW|{self.placer}",
            f"OBR|1|{self.placer}||CR^Chest^L" + "|" * 14 + f"A{self.number // 2}",
        )

    @property
    def merge(self) -> bytes:
        """The patient's old number goes over into the new one."""
        return _message(
            "ADT^A40", f"M{self.number}", f"PID|1||9{self.patient}^^^{self.site}", f"MRG|{self.patient}^^^{self.site}"
        )


def _message(kind: str, control: str, *segments: str) -> bytes:
    head = f"MSH|^~\\&|RIS|HOSP|WETREAD|AI|20261128||{kind}|{control}|P|2.5.1"
    return "".join(f"{one}\r" for one in (head, *segments)).encode()


class Recording(Cheap):
    """The cheap reader; remembers with which order each study was read last."""

    def __init__(self) -> None:
        super().__init__(lambda: self)
        self.orders: dict[str, Order | None] = {}

    def read_blobs(
        self, blobs: Sequence[tuple[str, bytes | Stored]], given: Circumstances = USUAL
    ) -> tuple[Reading, ...]:
        """Read, and remember."""
        made = super().read_blobs(blobs, given)
        self.orders[made[0].result.study_uid] = given.order
        return made


class Pacs:
    """Takes every document, and looks whose it is."""

    def __init__(self) -> None:
        self.got: dict[str, set[tuple[str, str]]] = {}  # study -> patient and accession number

    def take(self, _to: Destination, files: Sequence[bytes], answered: Callable[[int, int], None]) -> None:
        """Take documents."""
        for at, data in enumerate(files):
            one = pydicom.dcmread(BytesIO(data))
            self.got.setdefault(str(one.StudyInstanceUID), set()).add((str(one.PatientID), str(one.AccessionNumber)))
            answered(at, 0)


def plans(number: int, seed: int = 1) -> list[Plan]:
    """Return so many studies; whoever takes somebody else's order takes one that is there."""
    chance = random.Random(seed)  # noqa: S311 - the same seed, the same campaign
    drawn = chance.choices(list(FATES), list(FATES.values()), k=number)
    for at, fate in enumerate(drawn):
        if fate == STRANGER and (at < 2 * SENDERS or drawn[at - 2 * SENDERS] in ("without an order", "ordered late")):
            drawn[at] = "ordered"
    return [Plan(at, fate) for at, fate in enumerate(drawn)]


def _tell(port: int, messages: Sequence[bytes]) -> int:
    """Send messages over one connection; return how many were not acknowledged with AA."""
    unframe, wrong = Unframe(), 0
    with socket.create_connection(("127.0.0.1", port), timeout=60.0) as sock:
        for one in messages:
            sock.sendall(frame(one))
            found: list[bytes] = []
            while not found:
                found = list(unframe.feed(sock.recv(65536)))
            wrong += acknowledgement(found[0])[0] != "AA"
    return wrong


def _sender(mine: Sequence[Plan], dicom: Destination, hl7_port: int, wrong: Counter[str]) -> None:
    """One modality with its RIS: some studies at a time, their objects mixed."""
    for start in range(0, len(mine), OPEN):
        some = mine[start : start + OPEN]
        early = [one.order for one in some if one.fate not in ("without an order", "ordered late")]
        wrong["orders"] += _tell(hl7_port, early)
        mixed = [data for pair in zip(*(one.files for one in some), strict=True) for data in pair]
        wrong["objects"] += sum(status != 0 for status in send(dicom, mixed, "CT1", 60.0))
        late = [one.order for one in some if one.fate == "ordered late"]
        late += [one.merge for one in some if one.fate == "merged"]
        wrong["orders"] += _tell(hl7_port, late)


def _ended(state: Path) -> bool:
    open_jobs = rows(state, "SELECT count(*) FROM jobs WHERE state NOT IN ('DELIVERED', 'FAILED')")
    return open_jobs == [(0,)] and rows(state, "SELECT count(*) FROM orders WHERE fresh = 1") == [(0,)]


def campaign(folder: Path, some: Sequence[Plan]) -> tuple[dict[str, bool], list[list[object]]]:
    """Send studies and orders to a node in an empty folder; return what held, and a table of what became of them."""
    reader, pacs, wrong = Recording(), Pacs(), Counter[str]()
    to = Destination("PACS", "pacs.invalid", 104, ("SR", "SEG"))
    settings = Settings(port=0, destinations=(to,), quiet_s=0.3, peer_timeout_s=60.0, max_waiting=10**6, degrade="")
    with ExitStack() as undo:
        store = Store(folder)
        undo.callback(store.close)
        runner = Runner(store, settings, deliver=pacs.take)
        runner.start()
        undo.callback(runner.stop)
        runner.read_with(reader)
        listener = Listener(settings, runner.receive, runner.association_ended)
        listener.start()
        undo.callback(listener.stop)
        hl7 = mllp_listen.Listener(settings, runner.ordering.take)
        hl7.start()
        undo.callback(hl7.stop)
        dicom = Destination("WETREAD", "127.0.0.1", listener.port)
        threads = [
            threading.Thread(target=_sender, args=(some[at::SENDERS], dicom, hl7.port, wrong)) for at in range(SENDERS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        end = time.monotonic() + PATIENCE_S
        while not _ended(folder) and time.monotonic() < end:
            time.sleep(0.2)
        states: dict[str, str] = dict(rows(folder, "SELECT study_uid, state FROM jobs ORDER BY version"))
    return _judged(some, states, reader.orders, pacs.got, wrong)


def _judged(
    some: Sequence[Plan],
    states: dict[str, str],
    orders: dict[str, Order | None],
    got: dict[str, set[tuple[str, str]]],
    wrong: Counter[str],
) -> tuple[dict[str, bool], list[list[object]]]:
    table: dict[str, Counter[str]] = {fate: Counter() for fate in FATES}
    patients = others = leaks = lost = 0
    for one in some:
        order, sent, state = orders.get(one.study), got.get(one.study, set()), states.get(one.study, "")
        table[one.fate].update(["studies", state, "with its order" if order else "without"])
        patients += bool(sent - {(one.patient, one.accession)})
        others += order is not None and order.placer.value != one.placer
        stranger = one.fate == STRANGER
        leaks += stranger and bool(sent)
        lost += not stranger and (state != "DELIVERED" or not sent)
        lost += one.fate in ("ordered", "merged") and order is None
    checks = {
        "every order and object is acknowledged": not sum(wrong.values()),
        "every document carries patient and accession number of its images": not patients,
        "no study is read with the order of another": not others,
        "no result of a study with somebody else's order leaves": not leaks,
        "every other study is delivered; those whose order came before carry it": not lost,
    }
    heads = ("studies", "DELIVERED", "FAILED", "with its order", "without")
    return checks, [["fate", *heads], *([fate, *(table[fate][head] for head in heads)] for fate in FATES)]


def run(number: int = STUDIES) -> Section:
    """Send so many studies."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        checks, table = campaign(Path(folder) / "state", plans(number))
    about = (
        f"{number:,} studies of two films each by {SENDERS} senders at the same time, each with {OPEN} studies mixed, "
        "over DICOM and HL7 on loopback. Two hospitals use the same patient and accession numbers; only the assigning "
        "authority tells them apart. A merge comes after the images. Unfair: reading is a stand-in that makes small "
        "documents, and the PACS is a function."
    )
    return Section("patients", "Whose result it is", about, checks, table, time.monotonic() - begin)
