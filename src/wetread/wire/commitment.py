"""What peers ask us to commit ourselves to, and what we report: Storage Commitment Push Model as SCP.

References
----------
PS3.4 Annex J: Table J.3-1 (N-ACTION), Table J.3-2 (N-EVENT-REPORT), Section J.3.3 (on which association);
PS3.3 Section C.14 (Failure Reason).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum

from pydicom.dataset import Dataset

from wetread.errors import BadInput, PeerUnreachable
from wetread.wire.associate import Context
from wetread.wire.attributes import encoded
from wetread.wire.command import Command, Status
from wetread.wire.notices import BadNotice
from wetread.wire.part10 import ITEM, nested, uid

WELL_KNOWN_INSTANCE = "1.2.840.10008.1.20.1.1"
REQUEST = 1  # Action Type ID, PS3.4 Table J.3-1
ALL_KEPT, SOME_FAILED = 1, 2  # Event Type ID, PS3.4 Table J.3-2

_TRANSACTION, _SOPS = 0x00081195, 0x00081199
_SOP_CLASS, _SOP_INSTANCE = 0x00081150, 0x00081155

#: SOP Class UID and SOP Instance UID.
Instance = tuple[str, str]


class Failure(IntEnum):
    """Failure Reason (0008,1197)."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119


@dataclass(frozen=True, slots=True)
class Report:
    """One N-EVENT-REPORT: what we commit ourselves to, and what not."""

    transaction_uid: str
    kept: tuple[Instance, ...]
    failed: tuple[tuple[Instance, Failure], ...] = ()

    @property
    def event_type(self) -> int:
        """Event Type ID (0000,1002)."""
        return SOME_FAILED if self.failed else ALL_KEPT


@dataclass(frozen=True, slots=True)
class Request:
    """One N-ACTION: a peer wants to know that instances are kept."""

    transaction_uid: str
    instances: tuple[Instance, ...]
    calling_ae: str
    address: str  # where it called from
    #: Reports on the association that brought the request and returns the peer's status; it raises `PeerUnreachable`
    #: when that is over or the peer does not answer.
    report: Callable[[Report], int] = field(compare=False)


def read(
    command: Command, data: bytes | bytearray | memoryview, transfer_syntax: str
) -> tuple[str, tuple[Instance, ...]]:
    """Read the data set of an N-ACTION: its transaction, and each instance once.

    Raises
    ------
    BadNotice
        It is for another SOP instance or of another type, names no transaction or no instance, or a value or the
        encoding is wrong.
    """
    if command.sop_instance_uid != WELL_KNOWN_INSTANCE:
        raise BadNotice(Status.NO_SUCH_INSTANCE, f"storage commitment: expected instance {WELL_KNOWN_INSTANCE}")
    if command.type_id != REQUEST:
        raise BadNotice(Status.NO_SUCH_ACTION, "storage commitment: expected Action Type ID 1")
    transaction = ""
    items: list[list[str]] = []
    try:
        for path, tag, value in nested(data, transfer_syntax, (_SOPS,)):
            if tag == _TRANSACTION and not path:
                transaction = uid(value)
            elif tag == ITEM and path == (_SOPS,):
                items.append(["", ""])
            elif tag in (_SOP_CLASS, _SOP_INSTANCE) and path == (_SOPS,):
                items[-1][tag == _SOP_INSTANCE] = uid(value)
    except BadInput as error:
        raise BadNotice(Status.INVALID_ARGUMENT, "the data set cannot be understood") from error
    if not transaction:
        raise BadNotice(Status.INVALID_ARGUMENT, "Transaction UID (0008,1195) is missing")
    if not items or not all(all(item) for item in items):
        raise BadNotice(Status.INVALID_ARGUMENT, "Referenced SOP Sequence (0008,1199) lacks class or instance")
    return transaction, tuple(dict.fromkeys((sop_class, instance) for sop_class, instance in items))


def encode(report: Report, transfer_syntax: str) -> bytes:
    """Return the data set of an N-EVENT-REPORT, in Implicit or Explicit VR Little Endian."""
    made = Dataset()
    made.TransactionUID = report.transaction_uid
    if report.failed:
        made.FailedSOPSequence = [_item(instance) for instance, _ in report.failed]
        for item, (_, reason) in zip(made.FailedSOPSequence, report.failed, strict=True):
            item.FailureReason = int(reason)
    if report.kept:
        made.ReferencedSOPSequence = [_item(instance) for instance in report.kept]
    return encoded(made, transfer_syntax)


def encode_request(transaction_uid: str, instances: Mapping[str, str], transfer_syntax: str) -> bytes:
    """Return the data set of an N-ACTION, as `encode` that of its answer.

    Parameters
    ----------
    instances
        SOP Instance UID -> SOP Class UID.
    """
    made = Dataset()
    made.TransactionUID = transaction_uid
    made.ReferencedSOPSequence = [_item((sop_class, instance)) for instance, sop_class in instances.items()]
    return encoded(made, transfer_syntax)


def _item(instance: Instance) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = instance
    return item


class Reports:
    """Reports that leave on the association that asked for them; others hand them over, its own thread sends them."""

    def __init__(self) -> None:
        self.awaited = 0  # requests of this association that were answered and not reported on
        self._lock = threading.Lock()
        self._over = False
        self._waiting: deque[tuple[Context, Report, Future[int]]] = deque()
        self._sent: dict[int, Future[int]] = {}  # by Message ID

    def hand(self, context: Context, timeout_s: float, report: Report) -> int:
        """Have a report sent; return the status of its answer.

        Raises
        ------
        PeerUnreachable
            The association is over, or there is no answer in time.
        """
        future: Future[int] = Future()
        with self._lock:
            if self._over:
                raise PeerUnreachable("the association that asked for the commitment is over")
            self._waiting.append((context, report, future))
        try:
            return future.result(timeout_s)
        except TimeoutError as error:
            future.cancel()
            raise PeerUnreachable(f"the report of the commitment was not answered within {timeout_s:.1f} s") from error

    def next(self) -> tuple[int, Context, Report] | None:
        """Return Message ID, context and contents of the next report to send, if one waits."""
        with self._lock:
            while self._waiting:
                context, report, future = self._waiting.popleft()
                if future.set_running_or_notify_cancel():
                    number = len(self._sent) % 0xFFFF + 1
                    self._sent[number] = future
                    self.awaited -= 1
                    return number, context, report
        return None

    def answered(self, number: int, status: int) -> None:
        """The peer answered a report."""
        future = self._sent.get(number)
        if future is not None:
            with suppress(InvalidStateError):  # answered twice
                future.set_result(status)

    def end(self) -> None:
        """The association is over."""
        with self._lock:
            self._over = True
            left = [future for _, _, future in self._waiting] + list(self._sent.values())
            self._waiting.clear()
        for future in left:
            with suppress(InvalidStateError):  # answered, or nobody waits for it any more
                future.set_exception(PeerUnreachable("the association ended before the report was answered"))
