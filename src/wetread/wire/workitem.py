"""What a work item must hold: when it is created, when it is changed, and when it ends.

A work item is a data set of the DICOM JSON model, without Transaction UID (0008,1195): that is its lock, and stands
apart.

References
----------
PS3.4 Table CC.2.5-3 (attributes by N-CREATE, N-SET and final state); PS3.3 Sections C.30.1 to C.30.3 (their terms).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from wetread.errors import BadInput
from wetread.wire import dicomjson
from wetread.wire.dicomjson import DataSet, item, tag, text, values
from wetread.wire.ups import UPS_PUSH, StepState


class Rule(NamedTuple):
    """How one attribute of Table CC.2.5-3 may come.

    Attributes
    ----------
    create, change
        By N-CREATE and N-SET: "1" with a value, "2" with or without one, "3" or not at all, "0" only empty, "-" not.
    final
        Without a value no "R": final state, "P": COMPLETED, "X": CANCELED.
    """

    keyword: str
    create: str
    change: str
    final: str = ""


RULES = (
    Rule("ScheduledProcedureStepPriority", "1", "1", "R"),
    Rule("ProcedureStepLabel", "1", "1", "R"),
    Rule("WorklistLabel", "2", "1", "R"),
    Rule("ScheduledProcessingParametersSequence", "2", "2"),
    Rule("ScheduledStationNameCodeSequence", "2", "2"),
    Rule("ScheduledStationClassCodeSequence", "2", "2"),
    Rule("ScheduledStationGeographicLocationCodeSequence", "2", "2"),
    Rule("ScheduledHumanPerformersSequence", "3", "2"),
    Rule("ScheduledProcedureStepStartDateTime", "1", "1", "R"),
    Rule("ExpectedCompletionDateTime", "3", "1"),
    Rule("ScheduledProcedureStepExpirationDateTime", "3", "3"),
    Rule("ScheduledWorkitemCodeSequence", "2", "1"),
    Rule("CommentsOnTheScheduledProcedureStep", "2", "1"),
    Rule("InputReadinessState", "1", "1", "R"),
    Rule("InputInformationSequence", "2", "2"),
    Rule("StudyInstanceUID", "3", "2"),
    Rule("PatientName", "2", "-"),
    Rule("PatientID", "2", "-"),
    Rule("IssuerOfPatientID", "3", "-"),
    Rule("IssuerOfPatientIDQualifiersSequence", "2", "-"),
    Rule("OtherPatientIDsSequence", "2", "-"),
    Rule("PatientBirthDate", "2", "-"),
    Rule("PatientSex", "2", "-"),
    Rule("AdmissionID", "2", "-"),
    Rule("IssuerOfAdmissionIDSequence", "2", "-"),
    Rule("AdmittingDiagnosesDescription", "2", "-"),
    Rule("AdmittingDiagnosesCodeSequence", "2", "-"),
    Rule("ReferencedRequestSequence", "2", "-"),
    Rule("ReplacedProcedureStepSequence", "3", "-"),
    Rule("ProcedureStepState", "1", "-", "R"),
    Rule("ProcedureStepProgressInformationSequence", "0", "2", "X"),
    Rule("UnifiedProcedureStepPerformedProcedureSequence", "0", "2", "P"),
)
#: What we write ourselves, whatever came.
_OURS = ("TransactionUID", "SOPClassUID", "SOPInstanceUID", "ScheduledProcedureStepModificationDateTime")
#: Items of Unified Procedure Step Performed Procedure Sequence (0074,1216): without them no COMPLETED.
PERFORMED = (
    "PerformedStationNameCodeSequence",
    "PerformedProcedureStepStartDateTime",
    "PerformedWorkitemCodeSequence",
    "PerformedProcedureStepEndDateTime",
)
#: The enumerated values of an attribute.
TERMS = {
    "ScheduledProcedureStepPriority": ("HIGH", "MEDIUM", "LOW"),
    "InputReadinessState": ("INCOMPLETE", "UNAVAILABLE", "READY"),
    "ProcedureStepState": tuple(StepState),
}
#: Sent by a client that leaves the choice to us: the label of our list.
DEFAULT_LABEL = "Wetread"


def date_time(at: float) -> str:
    """Return seconds since the epoch as a DT in UTC (PS3.5 Section 6.2)."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y%m%d%H%M%S+0000")


def created(given: DataSet, uid: str, at: float) -> tuple[DataSet, list[str]]:
    """Return a new work item, and the Type 2 attributes that its creator left out: they are there, and empty.

    Parameters
    ----------
    uid
        Its SOP Instance UID.
    at
        Now, seconds since the epoch.

    Raises
    ------
    BadInput
        An attribute lacks that must be there, or is there and must not be.
    """
    _refuse_others(given, uid)
    made, filled = dict(given), []
    for rule in RULES:
        key = tag(rule.keyword)
        if rule.create == "1" and not values(given, rule.keyword):
            raise BadInput(f"work item: expected {rule.keyword} with a value (PS3.4 Table CC.2.5-3), got none")
        if rule.create in "-0" and values(given, rule.keyword):
            raise BadInput(f"work item: expected {rule.keyword} empty when it is created, got a value")
        if rule.create in "20" and key not in given:
            made[key] = dicomjson.element(rule.keyword)
            filled.append(rule.keyword)
    _check_terms(made)
    if not values(made, "WorklistLabel"):
        made[tag("WorklistLabel")] = dicomjson.element("WorklistLabel", DEFAULT_LABEL)
    made |= dicomjson.dataset({"SOPClassUID": UPS_PUSH, "SOPInstanceUID": uid})
    return stamped(made, at), filled


def _refuse_others(given: DataSet, uid: str) -> None:
    """Refuse identity that contradicts us, and a lock that only a claim may bring."""
    if values(given, "TransactionUID"):
        raise BadInput("work item: expected no TransactionUID when it is created; a claim brings it")
    if text(given, "SOPClassUID") not in ("", UPS_PUSH):
        raise BadInput(f"work item: expected SOPClassUID {UPS_PUSH}, got another")
    if text(given, "SOPInstanceUID") not in ("", uid):
        raise BadInput("work item: expected one SOP Instance UID in address and data set, got two")


def changed(held: DataSet, given: DataSet, at: float) -> DataSet:
    """Return a work item with changes; a sequence is replaced as a whole.

    Raises
    ------
    BadInput
        An attribute must not be changed, or must not become empty.
    """
    rules = {rule.keyword: rule for rule in RULES}
    ours = {tag(keyword) for keyword in _OURS}
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        if tag(keyword) in given and text(given, keyword) != text(held, keyword):
            raise BadInput(f"work item: expected {keyword} unchanged, got another")
    for rule in rules.values():
        if tag(rule.keyword) not in given:
            continue
        if rule.change == "-" and given[tag(rule.keyword)] != held.get(tag(rule.keyword)):
            raise BadInput(f"work item: expected {rule.keyword} unchanged (PS3.4 Table CC.2.5-3), got another value")
        if rule.change == "1" and not values(given, rule.keyword):
            raise BadInput(f"work item: expected {rule.keyword} with a value, got none")
    made = held | {key: one for key, one in given.items() if key not in ours}
    _check_terms(made)
    return stamped(made, at)


def _check_terms(data: DataSet) -> None:
    for keyword, terms in TERMS.items():
        if text(data, keyword) not in ("", *terms):
            raise BadInput(f"work item: {keyword}: expected {', '.join(terms)}, got another value")


def stamped(data: DataSet, at: float) -> DataSet:
    """Return a work item that was modified now, with its attributes in order."""
    made = data | {
        tag("ScheduledProcedureStepModificationDateTime"): dicomjson.element(
            "ScheduledProcedureStepModificationDateTime", date_time(at)
        )
    }
    return dict(sorted(made.items()))


def in_state(data: DataSet, state: StepState, at: float) -> DataSet:
    """Return a work item in another state; one that is canceled also says when, if nothing does yet."""
    made = data | {tag("ProcedureStepState"): dicomjson.element("ProcedureStepState", state.value)}
    if state is StepState.CANCELED:
        progress = item(data, "ProcedureStepProgressInformationSequence")
        if not values(progress, "ProcedureStepCancellationDateTime"):
            when = dicomjson.dataset({"ProcedureStepCancellationDateTime": date_time(at)})
            made |= with_progress(data, when)
    return stamped(made, at)


def with_progress(data: DataSet, more: DataSet) -> DataSet:
    """Return the Procedure Step Progress Information Sequence (0074,1002) with more in its only item."""
    progress = dict(sorted((item(data, "ProcedureStepProgressInformationSequence") | more).items()))
    return dicomjson.dataset({"ProcedureStepProgressInformationSequence": progress})


def lacks(data: DataSet, state: StepState) -> list[str]:
    """Return what a work item lacks before it may be COMPLETED or CANCELED: keywords.

    Of a canceled step Procedure Step Cancellation DateTime (0040,4052) is filled in by `in_state`, and the reason's
    code by `canceled_because`: Table CC.2.5-3 would have both, and its note allows to cancel without any N-SET.
    """
    codes = {StepState.COMPLETED: "RP", StepState.CANCELED: "R"}[state]
    lacking = [rule.keyword for rule in RULES if rule.final and rule.final in codes and not values(data, rule.keyword)]
    if state is StepState.COMPLETED:
        performed = item(data, "UnifiedProcedureStepPerformedProcedureSequence")
        lacking += [keyword for keyword in PERFORMED if not values(performed, keyword)]
        if tag("OutputInformationSequence") not in performed:  # empty where there is no output
            lacking.append("OutputInformationSequence")
    return lacking


def canceled_because(data: DataSet, given: Mapping[str, object] | None = None) -> DataSet:
    """Return the progress of a step that is canceled: its own reason, else the given one, else an unspecified one.

    Parameters
    ----------
    given
        ReasonForCancellation and ProcedureStepDiscontinuationReasonCodeSequence, where known.
    """
    progress = item(data, "ProcedureStepProgressInformationSequence")
    because = dicomjson.dataset({keyword: value for keyword, value in (given or {}).items() if value})
    known = because | progress
    if not values(known, "ProcedureStepDiscontinuationReasonCodeSequence"):
        unspecified = dicomjson.code("110513", "DCM", "Discontinued for unspecified reason")  # CID 9300
        known |= dicomjson.dataset({"ProcedureStepDiscontinuationReasonCodeSequence": unspecified})
    return with_progress(data, known)
