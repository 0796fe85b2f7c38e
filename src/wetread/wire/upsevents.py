"""What subscribers are told of work items: event reports, as DICOM JSON.

References
----------
PS3.4 Section CC.2.4 and Table CC.2.4-1 (events and their attributes); PS3.18 Sections 8.10.5 and 11.13 (as text over a
WebSocket).
"""

from __future__ import annotations

from enum import IntEnum

from wetread.wire.dicomjson import DataSet, dataset, item, tag, values
from wetread.wire.ups import GLOBAL, UPS_PUSH


class Event(IntEnum):
    """Event Type ID (0000,1002)."""

    STATE = 1
    CANCEL_REQUESTED = 2
    PROGRESS = 3
    STATUS = 4  # of the manager itself
    ASSIGNED = 5


#: Who may perform a step: told when it changes.
ASSIGNMENT = ("ScheduledStationNameCodeSequence", "ScheduledHumanPerformersSequence")
#: What a request to cancel may say.
REASON = (
    "ReasonForCancellation",
    "ProcedureStepDiscontinuationReasonCodeSequence",
    "ContactURI",
    "ContactDisplayName",
)


def _report(uid: str, event: Event, more: DataSet) -> DataSet:
    head = {"AffectedSOPClassUID": UPS_PUSH, "AffectedSOPInstanceUID": uid, "EventTypeID": event.value}
    return dict(sorted((dataset(head) | more).items()))


def _of(data: DataSet, *keywords: str) -> DataSet:
    return {tag(keyword): data[tag(keyword)] for keyword in keywords if values(data, keyword)}


def state_report(uid: str, data: DataSet) -> DataSet:
    """Return the report of a step's state, and why it was canceled if it was."""
    why = _of(item(data, "ProcedureStepProgressInformationSequence"), *REASON[:2])
    return _report(uid, Event.STATE, _of(data, "ProcedureStepState", "InputReadinessState") | why)


def cancel_requested(uid: str, requesting_ae: str, given: DataSet) -> DataSet:
    """Return the report that somebody wants a step to be canceled."""
    return _report(uid, Event.CANCEL_REQUESTED, dataset({"RequestingAE": requesting_ae}) | _of(given, *REASON))


def progress_report(uid: str, data: DataSet) -> DataSet:
    """Return the report of a step's progress."""
    return _report(uid, Event.PROGRESS, _of(data, "ProcedureStepProgressInformationSequence"))


def assigned(uid: str, data: DataSet) -> DataSet:
    """Return the report of who is to perform a step: its station names, else its human performers' codes."""
    told = _of(data, "ScheduledStationNameCodeSequence")
    person = item(data, "ScheduledHumanPerformersSequence")
    return _report(uid, Event.ASSIGNED, told | _of(person, "HumanPerformerCodeSequence", "HumanPerformerOrganization"))


def status_change(status: str) -> DataSet:
    """Return the report that the manager was RESTARTED, with all that it knew, or is GOING DOWN."""
    known = dict.fromkeys(("SubscriptionListStatus", "UnifiedProcedureStepListStatus"), "WARM START")
    return _report(GLOBAL, Event.STATUS, dataset({"SCPStatus": status, **known}))
