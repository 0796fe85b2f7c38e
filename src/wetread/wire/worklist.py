"""Asks a worklist what is scheduled: Modality Worklist C-FIND as SCU.  Nothing of the patient is asked for.

References
----------
PS3.4 Annex K: Section K.4 (C-FIND), Table K.6-1 (attributes), K.2.2.2 (matching).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydicom.dataset import Dataset

from wetread.settings import Destination
from wetread.wire.attributes import data_set, texts
from wetread.wire.query import MOST, Query

WORKLIST_FIND = "1.2.840.10008.5.1.4.31"

#: Attributes of the order, and of its Scheduled Procedure Step Sequence (0040,0100).
OF_ORDER = (
    "StudyInstanceUID",
    "AccessionNumber",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
    "RequestedProcedurePriority",
)
OF_STEP = (
    "ScheduledStationAETitle",
    "ScheduledProcedureStepStartDate",
    "ScheduledProcedureStepStartTime",
    "Modality",
    "ScheduledStationName",
    "ScheduledProcedureStepID",
    "ScheduledProcedureStepDescription",
)


@dataclass(frozen=True, slots=True)
class Step:
    """One scheduled procedure step, with what its order says; "" is not there."""

    study_uid: str
    accession: str
    procedure_id: str
    procedure: str  # Requested Procedure Description (0032,1060)
    priority: str  # Requested Procedure Priority (0040,1003)
    station_ae: str
    date: str
    time: str
    modality: str
    station: str
    step_id: str
    description: str


def scheduled(
    worklist: Destination,
    keys: Mapping[str, str],
    calling_ae: str = "WETREAD",
    timeout_s: float = 10.0,
    most: int = MOST,
) -> tuple[list[Step], bool]:
    """Return scheduled procedure steps, the earliest first, and whether those are all.

    Parameters
    ----------
    keys
        By DICOM keyword, of `OF_ORDER` and `OF_STEP`: what to match; dates may be ranges.
    timeout_s
        How long the worklist may take for each answer.
    most
        With so many the query is canceled.

    Raises
    ------
    BadInput
        A keyword is unknown.
    PeerUnreachable, PeerRefused
        As `wetread.wire.query.Query`.
    """
    asked = data_set({name: keys.get(name, "") for name in OF_ORDER})
    asked.ScheduledProcedureStepSequence = [data_set({name: keys.get(name, "") for name in OF_STEP})]
    with Query(worklist, calling_ae, timeout_s, WORKLIST_FIND) as query:
        steps, whole = query.ask(asked, _steps, most)
    return sorted((one for of_order in steps for one in of_order), key=lambda one: (one.date, one.time)), whole


def _steps(found: Dataset) -> list[Step]:
    """The steps of one answer; the standard has one an answer, some worklists put all of an order together."""
    order = texts(found)
    told = [order.get(name, "").strip() for name in OF_ORDER]
    steps = found.get("ScheduledProcedureStepSequence") or [Dataset()]
    return [Step(*told, *(texts(step).get(name, "").strip() for name in OF_STEP)) for step in steps]


def priorities(
    worklist: Destination, accession: str, study_uid: str, calling_ae: str = "WETREAD", timeout_s: float = 10.0
) -> set[str]:
    """Return the Requested Procedure Priorities of a study's orders, found by accession number, else by its UID.

    Answers about other orders are passed over.

    Raises
    ------
    PeerUnreachable, PeerRefused
        As `scheduled`.
    """
    by = (("AccessionNumber", "accession", accession), ("StudyInstanceUID", "study_uid", study_uid))
    for keyword, name, value in by:
        if not value or set("*?\\") & set(value):
            continue  # an empty key matches everything, a pattern other orders
        steps, _ = scheduled(worklist, {keyword: value}, calling_ae, timeout_s)
        found = {step.priority.upper() for step in steps if getattr(step, name) == value}
        if found:
            return found - {""}
    return set()
