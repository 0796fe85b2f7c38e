"""What others tell us: Instance Availability Notifications, performed procedure steps, storage commitments.

Only states and UIDs are looked at; nothing of the patient is read.

References
----------
PS3.4 Annexes F (performed procedure steps: N-CREATE, N-SET), J (storage commitment: N-EVENT-REPORT) and R (instance
availability: N-CREATE); PS3.4 Tables F.7.2-1, J.3-2 and R.3.2-1 (attributes); PS3.3 Section C.4.13 (step status).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from wetread.errors import BadInput, WireError
from wetread.wire.associate import INSTANCE_AVAILABILITY
from wetread.wire.command import Command, Field, Status
from wetread.wire.part10 import ITEM, nested, uid

#: A notice of 20,000 images has some 3 MB.
MAX_NOTICE_BYTES = 1 << 22

IN_PROGRESS, COMPLETED, DISCONTINUED = "IN PROGRESS", "COMPLETED", "DISCONTINUED"

_STUDY, _SOP_INSTANCE = 0x0020000D, 0x00081155
_AVAILABILITY, _STEP_STATUS = 0x00080056, 0x00400252
_SERIES_OF_NOTICE, _SOPS = 0x00081115, 0x00081199
_SCHEDULED_STEP, _PERFORMED_SERIES, _IMAGES, _NON_IMAGES = 0x00400270, 0x00400340, 0x00081140, 0x00400220
_TRANSACTION, _FAILED_SOPS, _FAILURE_REASON = 0x00081195, 0x00081198, 0x00081197
_SEQUENCES = frozenset(
    (_SERIES_OF_NOTICE, _SOPS, _SCHEDULED_STEP, _PERFORMED_SERIES, _IMAGES, _NON_IMAGES),
)
_STUDIES_AT = frozenset(((), (_SCHEDULED_STEP,)))
_INSTANCES_AT = frozenset(
    ((_SERIES_OF_NOTICE, _SOPS), (_PERFORMED_SERIES, _IMAGES), (_PERFORMED_SERIES, _NON_IMAGES)),
)


@dataclass(frozen=True, slots=True)
class Notice:
    """One N-CREATE or N-SET."""

    sop_class_uid: str
    sop_instance_uid: str  # of the notice
    new: bool  # N-CREATE
    studies: frozenset[str] = frozenset()  # Study Instance UIDs that it names
    state: str = ""  # Performed Procedure Step Status (0040,0252); "" not told
    instances: frozenset[str] | None = None  # SOP Instance UIDs of their objects; None: not told

    @property
    def kind(self) -> str:
        """IAN or MPPS."""
        return "IAN" if self.sop_class_uid == INSTANCE_AVAILABILITY else "MPPS"


@dataclass(frozen=True, slots=True)
class Commitment:
    """One N-EVENT-REPORT of the Storage Commitment Push Model: what an archive keeps, and what not."""

    transaction_uid: str
    kept: frozenset[str]  # SOP Instance UIDs
    failed: Mapping[str, int] = field(default_factory=dict)  # SOP Instance UID -> Failure Reason (0008,1197)


class BadNotice(WireError):
    """A notice cannot be taken; `status` goes into the answer."""

    def __init__(self, status: Status, message: str) -> None:
        self.status = status
        super().__init__(message)


def read(command: Command, data: bytes | bytearray | memoryview, transfer_syntax: str) -> Notice:
    """Read the request of a notice.

    Parameters
    ----------
    command
        An N-CREATE or N-SET that names its SOP instance.
    data
        Its data set, encoded in Implicit or Explicit VR Little Endian.

    Raises
    ------
    BadNotice
        The service does not exist for its class, it lacks an attribute, or a value or the encoding is wrong.
    """
    new = command.field == Field.N_CREATE_RQ
    if command.sop_class_uid == INSTANCE_AVAILABILITY and not new:
        raise BadNotice(Status.UNRECOGNIZED_OPERATION, "an availability notification cannot be changed")
    try:
        instance = uid(command.sop_instance_uid.encode())
    except BadInput as error:
        raise BadNotice(Status.INVALID_INSTANCE, "SOP Instance UID: expected up to 64 digits and dots") from error
    try:
        studies, state, instances = _looked_at(data, transfer_syntax)
    except BadInput as error:
        raise BadNotice(Status.INVALID_VALUE, "the data set cannot be understood") from error
    told = "" if command.sop_class_uid == INSTANCE_AVAILABILITY else state
    notice = Notice(command.sop_class_uid, instance, new, studies, told, instances)
    _check(notice)
    return notice


def _looked_at(
    data: bytes | bytearray | memoryview, transfer_syntax: str
) -> tuple[frozenset[str], str, frozenset[str] | None]:
    """Return studies, status and instances; what is UNAVAILABLE will not come, so it does not count."""
    studies: set[str] = set()
    instances: set[str] | None = None
    state, gone = "", False
    for path, tag, value in nested(data, transfer_syntax, _SEQUENCES):
        if tag == ITEM:
            gone = False
        elif tag == _STUDY and path in _STUDIES_AT:
            studies.add(uid(value))
        elif tag == _STEP_STATUS and not path:
            state = value.decode("ascii", "replace").strip(" \0")
        elif tag in (_SERIES_OF_NOTICE, _PERFORMED_SERIES) and not path:
            instances = set()
        elif tag == _AVAILABILITY and path in _INSTANCES_AT:
            gone = value.strip(b" \0") == b"UNAVAILABLE"
        elif tag == _SOP_INSTANCE and path in _INSTANCES_AT and not gone:
            assert instances is not None
            instances.add(uid(value))
    return frozenset(studies), state, None if instances is None else frozenset(instances)


def _check(notice: Notice) -> None:
    """Refuse what a notice must hold and does not."""
    if notice.new and not notice.studies:
        raise BadNotice(Status.MISSING_ATTRIBUTE, "Study Instance UID (0020,000D) is missing")
    if notice.sop_class_uid == INSTANCE_AVAILABILITY:
        if notice.instances is None:
            raise BadNotice(Status.MISSING_ATTRIBUTE, "Referenced Series Sequence (0008,1115) is missing")
        return
    if notice.new and not notice.state:
        raise BadNotice(Status.MISSING_ATTRIBUTE, "step status (0040,0252) is missing")
    allowed = (IN_PROGRESS,) if notice.new else ("", IN_PROGRESS, COMPLETED, DISCONTINUED)
    if notice.state not in allowed:
        raise BadNotice(Status.INVALID_VALUE, f"step status (0040,0252): expected {' or '.join(filter(None, allowed))}")


def read_commitment(data: bytes | bytearray | memoryview, transfer_syntax: str) -> Commitment:
    """Read the data set of an N-EVENT-REPORT of storage commitment.

    Raises
    ------
    BadNotice
        It lacks its transaction, or a value or the encoding is wrong.
    """
    transaction, instance = "", ""
    kept: set[str] = set()
    failed: dict[str, int] = {}
    try:
        for path, tag, value in nested(data, transfer_syntax, (_SOPS, _FAILED_SOPS)):
            if tag == _TRANSACTION and not path:
                transaction = uid(value)
            elif tag == _SOP_INSTANCE and path == (_SOPS,):
                kept.add(uid(value))
            elif tag == _SOP_INSTANCE and path == (_FAILED_SOPS,):
                instance = uid(value)
                failed.setdefault(instance, 0)
            elif tag == _FAILURE_REASON and path == (_FAILED_SOPS,):
                (failed[instance],) = struct.unpack("<H", value)
    except (BadInput, struct.error) as error:
        raise BadNotice(Status.INVALID_ARGUMENT, "the data set cannot be understood") from error
    if not transaction:
        raise BadNotice(Status.INVALID_ARGUMENT, "Transaction UID (0008,1195) is missing")
    return Commitment(transaction, frozenset(kept), failed)
