"""What must hold: after each death, and when everything has come to rest."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wetread.evidence.torture.cheap import KINDS, document_uid
from wetread.evidence.torture.objects import CRASH, REFUSE, SMALL_BYTES, Sent
from wetread.evidence.torture.pacs import Filed, filed
from wetread.evidence.torture.process import changed, digests, rows
from wetread.evidence.torture.seen import Seen
from wetread.wire.associate import WINDOW
from wetread.wire.dimse import Commitment

READY_S = 5.0
#: Objects whose blobs are there, and those whose blobs were deleted after delivery.
KEPT = "SELECT digest FROM instances WHERE job NOT IN (SELECT job FROM removed)"
GONE = "SELECT digest FROM instances WHERE job IN (SELECT job FROM removed)"
EARLY = """SELECT job FROM removed WHERE job IN (SELECT job FROM outbox WHERE state != 'SENT')
           OR job IN (SELECT id FROM jobs WHERE state NOT IN ('DELIVERED', 'REFUSED', 'CANCELED'))"""


@dataclass(frozen=True, slots=True)
class Check:
    """One promise, and what was found."""

    guarantee: str
    what: str
    expected: str
    found: str
    holds: bool


def none(guarantee: str, what: str, found: Collection[object]) -> Check:
    """Return the check that nothing of a kind was found."""
    return Check(guarantee, what, "0", str(len(found)), not found)


def orphans(state: Path) -> list[str]:
    """Return the files of a spool that has just been opened to which nothing refers."""
    known = {row[0] for row in rows(state, KEPT)}
    files = [f"orphan {name[:12]}" for name in digests(state, "spool") ^ known]
    return files + [f"orphan tmp/{name}" for name in os.listdir(state / "spool" / "tmp")]


def after_death(state: Path, acknowledged: Iterable[Sent], life: int) -> list[str]:
    """Return what was acknowledged and is not on disk, byte for byte; the newest are read, the others listed."""
    here, every = digests(state, "spool") if state.exists() else set(), list(acknowledged)
    missing = [one for one in every if one.digest not in here]
    gone = {row[0] for row in rows(state, GONE)} if missing else set()
    lost = [f"life {life}: {one.digest[:12]} lost" for one in missing if one.digest not in gone]
    for one in every[-40:]:
        path = state / "spool" / one.digest[:2] / one.digest
        if one.digest in here and hashlib.sha256(path.read_bytes()).hexdigest() != one.digest:
            lost.append(f"life {life}: {one.digest[:12]} changed")
    return lost


def at_rest(state: Path) -> bool:
    """Whether nothing waits: every study ended, everything answered for, everything delivered."""
    busy = "SELECT count(*) FROM jobs WHERE state NOT IN ('DELIVERED', 'REFUSED', 'FAILED')"
    queued = "SELECT count(*) FROM outbox WHERE state = 'QUEUED'"
    others = ("SELECT count(*) FROM aside", "SELECT count(*) FROM requests")
    return all(rows(state, query) == [(0,)] for query in (busy, queued, *others))


def check(state: Path, seen: Seen, got: Sequence[Filed], scp: Path | None, before: int) -> list[Check]:
    """Return every promise with what was found, of a node that has come to rest."""
    names = digests(state, "spool") | {row[0] for row in rows(state, GONE)}
    found = [
        none("-", "faults seen between two lives", seen.faults),
        Check("-", "last node ends in order", "0", str(seen.exit), seen.exit == 0),
        none("G2", "acknowledged objects lost", [1 for one in seen.acknowledged.values() if one.digest not in names]),
        none("G2", "blobs whose bytes differ (sha256)", changed(state) + changed(state, "made")),
        none("G2", "objects never acknowledged in the end", seen.sent.keys() - seen.acknowledged.keys()),
        none("G2", "files to which nothing refers", _loose(state)),
        none("G5", "studies deleted before everything of them was delivered", rows(state, EARLY)),
        *_ready(seen),
        _instances(state, seen, before),
        *_results(seen, got),
        *_states(state, seen),
        none("G11", "documents whose identity is not their film's", _strangers(seen, got)),
    ]
    return found + (_reports(seen, scp) if scp is not None else [])


def commitments(state: Path, seen: Seen, reports: Sequence[Commitment]) -> list[Check]:
    """Return what was asked and never reported, promised and not kept, kept and not promised."""
    gone = {row[0] for row in rows(state, GONE)}
    whole = digests(state, "spool") | gone
    here = {one.instance for one in seen.acknowledged.values() if one.digest in whole}
    deleted = {one.instance for one in seen.acknowledged.values() if one.digest in gone}
    told = {one.transaction_uid: one.kept | one.failed.keys() for one in reports}
    others = [one for one, said in seen.asked.items() if told.get(one, said) != said]
    return [
        none("G7", "requests for commitment that nobody got a report on", seen.asked.keys() - told.keys()),
        none("G7", "reports on other instances", others),
        none("G7", "instances promised that are not here", {uid for one in reports for uid in one.kept} - here),
        none("G7", "instances here, never deleted, not promised", {u for one in reports for u in one.failed} - deleted),
    ]


def _loose(state: Path) -> list[str]:
    loose = [str(path) for folder in ("spool", "made") for path in (state / folder / "tmp").iterdir()]
    kept = (("spool", KEPT), ("made", "SELECT digest FROM documents WHERE digest != ''"))
    for folder, query in kept:
        known = {row[0] for row in rows(state, query)}
        loose += sorted(digests(state, folder) ^ known)
    return loose


def _ready(seen: Seen) -> list[Check]:
    """How soon a start is over: by the clock, which counts what else the machine does, and in processor time."""
    found = []
    for what, starts in (("without models", seen.starts), ("with the models that ship", seen.starts_real)):
        if starts:
            wall = sorted(one.wall_s for one in starts)
            cost = max(one.processor_s for one in starts)
            told = f"{wall[-1]:.2f} (median {wall[len(wall) // 2]:.2f})"
            text = f"slowest of {len(starts)} starts {what}, s"
            found.append(Check("G2", text, f"< {READY_S:g}", told, wall[-1] < READY_S))
            text = f"processor time of the dearest start {what}, s"
            found.append(Check("-", text, f"< {READY_S:g}", f"{cost:.2f}", cost < READY_S))
    return found


def _instances(state: Path, seen: Seen, before: int) -> Check:
    (number,) = rows(state, "SELECT count(*) FROM instances")[0]
    expected = before + len(seen.sent)
    return Check("G4", "instances stored, each once", str(expected), str(number), number == expected)


def _small(seen: Seen) -> list[Sent]:
    return [one for one in seen.sent.values() if len(one.data) <= SMALL_BYTES]


def _results(seen: Seen, got: Sequence[Filed]) -> list[Check]:
    """Each object has one result: its documents, each under one UID, in one series a kind."""
    here = {one.instance for one in got}
    wanted = {document_uid(one.instance, kind) for one in _small(seen) if one.fate != CRASH for kind in KINDS}
    films = {one.study for one in seen.sent.values() if len(one.data) > SMALL_BYTES}
    crashed = {one.study for one in _small(seen) if one.fate == CRASH}
    of_films = {(one.study, one.modality, one.instance) for one in got if one.study in films}
    kinds = Counter((study, kind) for study, kind, _ in of_films)
    reports = Counter({one.instance: one.study for one in got if one.study in crashed}.values())
    others = {one.instance for one in got if one.study not in films | crashed}
    again = len(got) - len(here)
    most = WINDOW * sum(seen.reached.values())
    return [
        none("G4", "documents missing at the PACS", wanted - here),
        none("G4", "documents at the PACS that no object explains", others - wanted),
        none("G4", "real films without a report, or with two", [s for s in films if kinds[s, "SR"] != 1]),
        none("G4", "real films with a second document of one kind", [key for key, n in kinds.items() if n > 1]),
        none("G5", "studies given up without one coded refusal", [s for s in crashed if reports[s] != 1]),
        Check(
            "G4",
            f"documents sent again (up to {WINDOW} are under way when it is killed)",
            f"<= {most}",
            str(again),
            again <= most,
        ),
    ]


def _states(state: Path, seen: Seen) -> list[Check]:
    ends = rows(state, "SELECT study_uid, state FROM jobs")
    fates = {one.study: one.fate for one in seen.sent.values()}
    terminal = {"DELIVERED", "REFUSED", "FAILED"}
    wrong = [
        (study, end)
        for study, end in ends
        if (end in terminal and (end == "FAILED") != (fates.get(study) == CRASH))
        or (end == "REFUSED" and fates.get(study) not in (REFUSE,))
    ]
    queued = rows(state, "SELECT id FROM outbox WHERE state != 'SENT'")
    return [
        none("G5", "studies in no terminal state", [study for study, end in ends if end not in terminal]),
        none("G5", "studies that ended otherwise than they should", wrong),
        none("G5", "documents not delivered", queued),
    ]


def _strangers(seen: Seen, got: Sequence[Filed]) -> list[Filed]:
    who = {one.study: (one.patient, one.accession) for one in seen.sent.values()}
    return [one for one in got if who.get(one.study) != (one.patient, one.accession)]


def _reports(seen: Seen, folder: Path) -> list[Check]:
    """DCMTK's receiver keeps a file an instance: each report is there, once."""
    files = [filed(path.read_bytes()) for path in folder.iterdir()]
    here = Counter(one.instance for one in files)
    wanted = {document_uid(one.instance, "SR") for one in _small(seen) if one.fate != CRASH}
    return [
        none("G4", "reports missing at DCMTK's storescp", wanted - here.keys()),
        none("G11", "reports there whose identity is not their film's", _strangers(seen, files)),
    ]
