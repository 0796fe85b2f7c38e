"""Asks a worklist what is scheduled, and for the order of a study: Modality Worklist C-FIND as SCU.

Of the patient nothing but an identifier is asked for, and that only to hold it against a study.

References
----------
PS3.4 Annex K: Section K.4 (C-FIND), Table K.6-1 (attributes), K.2.2.2 (matching); PS3.3 Sections C.4.11
(requested procedure) and C.4.12 (imaging service request).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydicom.dataset import Dataset

from wetread.records import Code, Identifier, Order
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


#: What an order is asked for, to be held against a study: identifiers, no name.
OF_MATCH = (
    "StudyInstanceUID",
    "AccessionNumber",
    "PatientID",
    "IssuerOfPatientID",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
    "RequestedProcedureID",
    "RequestedProcedurePriority",
    "ReasonForTheRequestedProcedure",
)
#: Requested Procedure Priority (0040,1003), PS3.3 Table C.4-11 -> `wetread.records.Order.priority`.
URGENCY = {"STAT": "STAT", "HIGH": "URGENT", "ROUTINE": "ROUTINE", "MEDIUM": "ROUTINE", "LOW": "ROUTINE"}


def orders(
    worklist: Destination, accession: str, study_uid: str, calling_ae: str = "WETREAD", timeout_s: float = 10.0
) -> list[Order]:
    """Return the orders of a study, found by accession number, else by its UID.

    Answers about other orders are passed over.

    Raises
    ------
    PeerUnreachable, PeerRefused
        As `scheduled`.
    """
    by: tuple[tuple[str, str, Callable[[Order], str]], ...] = (
        ("AccessionNumber", accession, lambda one: one.accession.value),
        ("StudyInstanceUID", study_uid, lambda one: one.study_uid),
    )
    for keyword, value, told in by:
        if not value or set("*?\\") & set(value):
            continue  # an empty key matches everything, a pattern other orders
        asked = data_set({name: value if name == keyword else "" for name in OF_MATCH})
        asked.RequestedProcedureCodeSequence = [data_set(dict.fromkeys(_CODE, ""))]
        with Query(worklist, calling_ae, timeout_s, WORKLIST_FIND) as query:
            answers, _ = query.ask(asked, _order)
        found = [one for one in dict.fromkeys(answers) if told(one) == value]
        if found:
            return found
    return []


_CODE = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")


def _order(found: Dataset) -> Order:
    told = texts(found)

    def one(name: str) -> str:
        return "".join(part if part.isprintable() else "?" for part in told.get(name, "").strip())

    patient = Identifier(one("PatientID"), *(*one("IssuerOfPatientID").split("&"), "", "")[:3])
    return Order(
        Identifier(one("AccessionNumber")),
        Identifier(one("PlacerOrderNumberImagingServiceRequest")),
        Identifier(one("FillerOrderNumberImagingServiceRequest")),
        procedure=_procedure(found),
        procedure_id=one("RequestedProcedureID"),
        patient=(patient,) if patient.value else (),
        priority=URGENCY.get(one("RequestedProcedurePriority").upper(), ""),
        indication=one("ReasonForTheRequestedProcedure"),
        study_uid=one("StudyInstanceUID"),
        source="worklist",
    )


def _procedure(found: Dataset) -> Code | None:
    """The first item of Requested Procedure Code Sequence (0032,1064)."""
    for item in found.get("RequestedProcedureCodeSequence") or ():
        told = texts(item)
        value, scheme, meaning = (told.get(name, "").strip() for name in _CODE)
        if value:
            return Code(value, scheme, meaning)
    return None
