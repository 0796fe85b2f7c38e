"""The Unified Procedure Step: its states, what may be asked of it in each, and what is answered.

`TRANSITIONS` is the standard's table; nothing else decides whether a step may change.

References
----------
PS3.4 Annex CC: Tables CC.1.1-1 (states) and CC.1.1-2 (transitions), CC.2.1-2, CC.2.2-2, CC.2.5-4 and CC.2.6-1 (status
codes); PS3.18 Sections 11.4 to 11.8 (status codes and Warning headers of HTTP).
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

#: Every step is an instance of this class, whatever service it came by.
UPS_PUSH = "1.2.840.10008.5.1.4.34.6.1"
#: Well-known UIDs that stand for all steps, and for those that match a filter.
GLOBAL, FILTERED = "1.2.840.10008.5.1.4.34.5", "1.2.840.10008.5.1.4.34.5.1"


class StepState(StrEnum):
    """Procedure Step State (0074,1000)."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"


FINAL = frozenset((StepState.COMPLETED, StepState.CANCELED))


class Action(StrEnum):
    """What is asked of a step: the rows of Table CC.1.1-2, and N-SET (Section CC.2.6)."""

    CREATE = "N-CREATE"
    START = "N-ACTION to Change State to IN PROGRESS"
    SCHEDULE = "N-ACTION to Change State to SCHEDULED"
    COMPLETE = "N-ACTION to Change State to COMPLETED"
    REQUEST_CANCEL = "N-ACTION to Request Cancel"
    CANCEL = "N-ACTION to Change State to CANCELED"
    SET = "N-SET"


#: The action that changes a step's state to another.
TO_STATE = {
    StepState.SCHEDULED: Action.SCHEDULE,
    StepState.IN_PROGRESS: Action.START,
    StepState.COMPLETED: Action.COMPLETE,
    StepState.CANCELED: Action.CANCEL,
}


class StepStatus(IntEnum):
    """Status of an answer."""

    SUCCESS = 0x0000
    DUPLICATE = 0x0111
    MODIFIED = 0xB300
    LOCK_NOT_GRANTED = 0xB301
    ALREADY_CANCELED = 0xB304
    ALREADY_COMPLETED = 0xB306
    FINAL = 0xC300
    WRONG_TRANSACTION = 0xC301
    IN_PROGRESS = 0xC302
    NOT_BY_ACTION = 0xC303
    NOT_MET = 0xC304
    UNKNOWN = 0xC307
    NOT_SCHEDULED = 0xC309
    NOT_IN_PROGRESS = 0xC310
    COMPLETED = 0xC311
    NO_PERFORMER = 0xC312
    WILL_NOT_CANCEL = 0xC313


MEANINGS: dict[StepStatus, str] = {
    StepStatus.SUCCESS: "done",
    StepStatus.DUPLICATE: "the SOP Instance UID is known already",
    StepStatus.MODIFIED: "the UPS was created with modifications",
    StepStatus.LOCK_NOT_GRANTED: "Deletion Lock not granted",
    StepStatus.ALREADY_CANCELED: "the UPS is already in the requested state of CANCELED",
    StepStatus.ALREADY_COMPLETED: "the UPS is already in the requested state of COMPLETED",
    StepStatus.FINAL: "the UPS may no longer be updated",
    StepStatus.WRONG_TRANSACTION: "the correct Transaction UID was not provided",
    StepStatus.IN_PROGRESS: "the UPS is already IN PROGRESS",
    StepStatus.NOT_BY_ACTION: "the UPS may only become SCHEDULED when it is created",
    StepStatus.NOT_MET: "the UPS has not met final state requirements for the requested state change",
    StepStatus.UNKNOWN: "there is no UPS with this UID here",
    StepStatus.NOT_SCHEDULED: "the provided value of UPS State was not SCHEDULED",
    StepStatus.NOT_IN_PROGRESS: "the UPS is not yet in the IN PROGRESS state",
    StepStatus.COMPLETED: "the UPS is already COMPLETED",
    StepStatus.NO_PERFORMER: "the performer cannot be contacted",
    StepStatus.WILL_NOT_CANCEL: "the performer chooses not to cancel",
}

_OK = StepStatus.SUCCESS
_C300, _C301, _C302, _C303 = (
    StepStatus.FINAL,
    StepStatus.WRONG_TRANSACTION,
    StepStatus.IN_PROGRESS,
    StepStatus.NOT_BY_ACTION,
)
_C307, _C310, _C311 = StepStatus.UNKNOWN, StepStatus.NOT_IN_PROGRESS, StepStatus.COMPLETED
_B304, _B306, _0111 = StepStatus.ALREADY_CANCELED, StepStatus.ALREADY_COMPLETED, StepStatus.DUPLICATE

#: Table CC.1.1-2: what is asked, with the correct Transaction UID or without -> the answer where there is no such
#: step, and in each state.  SUCCESS: it happens; to complete or cancel also needs what Table CC.2.5-3 says (else C304).
TRANSITIONS: dict[tuple[Action, bool], tuple[StepStatus, StepStatus, StepStatus, StepStatus, StepStatus]] = {
    #                                 none   SCHEDULED  IN PROGRESS  COMPLETED  CANCELED
    (Action.CREATE, True): (_OK, _0111, _0111, _0111, _0111),
    (Action.CREATE, False): (_OK, _0111, _0111, _0111, _0111),
    (Action.START, True): (_C307, _OK, _C302, _C300, _C300),
    (Action.START, False): (_C307, _C301, _C301, _C301, _C301),
    (Action.SCHEDULE, True): (_C307, _C303, _C303, _C303, _C303),
    (Action.SCHEDULE, False): (_C307, _C303, _C303, _C303, _C303),
    (Action.COMPLETE, True): (_C307, _C310, _OK, _B306, _C300),
    (Action.COMPLETE, False): (_C307, _C301, _C301, _C301, _C301),
    (Action.REQUEST_CANCEL, True): (_C307, _OK, _OK, _C311, _B304),
    (Action.REQUEST_CANCEL, False): (_C307, _OK, _OK, _C311, _B304),
    (Action.CANCEL, True): (_C307, _C310, _OK, _C300, _B304),
    (Action.CANCEL, False): (_C307, _C301, _C301, _C301, _C301),
    (Action.SET, True): (_C307, _OK, _OK, _C300, _C300),
    (Action.SET, False): (_C307, _C310, _C301, _C300, _C300),
}
_COLUMNS = (None, *StepState)


def judged(action: Action, state: StepState | None, given: str = "", recorded: str = "") -> StepStatus:
    """Return what a step answers.

    Parameters
    ----------
    state
        None: there is no such step.
    given
        Transaction UID (0008,1195) of the request; "" for none.
    recorded
        That of the step; "" while it is SCHEDULED.
    """
    if action is Action.SET:
        correct = given == recorded
    else:
        correct = bool(given) and (state is StepState.SCHEDULED or given == recorded)
    return TRANSITIONS[action, correct][_COLUMNS.index(state)]


#: The statuses of HTTP; what is not here is 409.
_HTTP = {
    StepStatus.SUCCESS: 200,
    StepStatus.MODIFIED: 201,
    StepStatus.LOCK_NOT_GRANTED: 201,
    StepStatus.ALREADY_CANCELED: 200,
    StepStatus.ALREADY_COMPLETED: 200,
    StepStatus.WRONG_TRANSACTION: 400,
    StepStatus.NOT_BY_ACTION: 400,
    StepStatus.NOT_SCHEDULED: 400,
    StepStatus.UNKNOWN: 404,
}


def http_status(action: Action, status: StepStatus) -> int:
    """Return the HTTP status of an answer (PS3.18 Tables 11.4.3-1, 11.6.3-1, 11.7.3-1 and 11.8.3-1)."""
    done = status in (StepStatus.SUCCESS, StepStatus.ALREADY_CANCELED)
    if action is Action.CREATE and status is StepStatus.SUCCESS:
        return 201
    if action is Action.REQUEST_CANCEL and done:
        return 202
    if action is Action.SET and status is StepStatus.FINAL:
        return 400  # Section 11.6.2
    return _HTTP.get(status, 409)


def warning(action: Action, status: StepStatus, given: str = "") -> str:
    """Return the text of the Warning header that goes with an answer; "" for none."""
    if status in (StepStatus.SUCCESS, StepStatus.UNKNOWN, StepStatus.DUPLICATE, StepStatus.NOT_SCHEDULED):
        return ""
    if status is StepStatus.WRONG_TRANSACTION:
        return f"The Transaction UID is {'incorrect' if given else 'missing'}."
    if status is StepStatus.MODIFIED:
        return "The Workitem was created with modifications."
    if status < StepStatus.FINAL:
        return MEANINGS[status][0].upper() + MEANINGS[status][1:] + "."
    if action is Action.SET:
        return "The submitted request is inconsistent with the current state of the Workitem."
    return "The submitted request is inconsistent with the state of the UPS Instance."
