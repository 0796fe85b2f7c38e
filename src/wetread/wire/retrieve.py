"""Fetches what an archive has: C-GET over the same association, C-MOVE to a node that the archive knows.

References
----------
PS3.4 Annex C: Sections C.4.2 (C-MOVE) and C.4.3 (C-GET) with their statuses in Tables C.4-2 and C.4-3, C.5.3 (role
selection for C-GET), C.6.2 (Study Root); PS3.7 Sections 9.1.3 and 9.1.4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from wetread.errors import BadInput, PeerRefused
from wetread.settings import Destination
from wetread.wire.associate import MAX_CONTEXTS, Context
from wetread.wire.attributes import data_set, encoded
from wetread.wire.command import Command, Field, Status
from wetread.wire.part10 import header, identify
from wetread.wire.requestor import Pair, Requestor, either

STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
UNKNOWN_DESTINATION = 0xA801
WARNING = 0xB000  # some sub-operations failed


@dataclass(frozen=True, slots=True)
class Fetched:
    """How far a C-GET or C-MOVE is, or how it ended: its sub-operations."""

    remaining: int = 0
    completed: int = 0
    failed: int = 0
    warning: int = 0  # stored, and something was changed


#: Keeps one object: SOP Instance UID and DICOM file; it may raise `OSError`.
Keep = Callable[[str, bytes], None]
OnProgress = Callable[[Fetched], None]


@dataclass(frozen=True, slots=True)
class Archive:
    """Who is asked, and how.

    Attributes
    ----------
    timeout_s
        How long it may take for each answer; some tell nothing before a whole C-MOVE is done.
    most_bytes
        Largest object that is taken.
    """

    peer: Destination
    calling_ae: str = "WETREAD"
    timeout_s: float = 60.0
    most_bytes: int = 1 << 29

    @property
    def name(self) -> str:
        """AE@host:port."""
        return self.peer.names[0]

    def refusal(self, service: str) -> str:
        """What is said when it does not offer a service."""
        return f"{self.name}: does not offer {service} (Study Root) to {self.calling_ae}"


def get(
    archive: Archive,
    keys: Mapping[str, str],
    pairs: Sequence[Pair],
    keep: Keep,
    on_progress: OnProgress = lambda fetched: None,
) -> Fetched:
    """Fetch objects over one association of our own.

    Parameters
    ----------
    keys
        Unique keys by DICOM keyword: Study Instance UID, and Series Instance UID for a series alone.
    pairs
        Storage class and transfer syntax of what may come, at most 126.
    keep
        Called for each object; one that belongs to another study is refused and not given.

    Raises
    ------
    PeerUnreachable
        No connection, no answer in time, or the archive broke off.
    PeerRefused
        It rejected the association, does not offer C-GET, or answered with a failure.
    """
    asked = either(STUDY_ROOT_GET)
    if len(pairs) > MAX_CONTEXTS - len(asked):
        raise BadInput(f"C-GET: expected at most {MAX_CONTEXTS - len(asked)} pairs of syntaxes, got {len(pairs)}")
    roles = tuple(dict.fromkeys(sop_class for sop_class, _ in pairs))
    with Requestor(archive.peer, archive.calling_ae, [*asked, *pairs], archive.timeout_s, roles) as peer:
        pair = peer.granted(asked, archive.refusal("C-GET"))
        if not peer.roles:
            raise PeerRefused(f"{archive.name}: gives nobody objects by C-GET: it grants no SCP role")

        def store(command: Command, context: Context, data: bytearray) -> int:
            return _kept(command, context, data, keys["StudyInstanceUID"], keep)

        return _retrieved(
            peer, pair, Command(Field.C_GET_RQ, 0, pair[0], data_set=True), keys, archive, store, on_progress
        )


def move(
    archive: Archive, keys: Mapping[str, str], to_ae: str, on_progress: OnProgress = lambda fetched: None
) -> Fetched:
    """Let an archive send objects to a node that it knows by its AE title.

    Parameters
    ----------
    keys
        As for `get`.
    to_ae
        AE title of the node.

    Raises
    ------
    PeerUnreachable, PeerRefused
        As `get`; also if the archive does not know the node.
    """
    asked = either(STUDY_ROOT_MOVE)
    with Requestor(archive.peer, archive.calling_ae, asked, archive.timeout_s) as peer:
        pair = peer.granted(asked, archive.refusal("C-MOVE"))
        request = Command(Field.C_MOVE_RQ, 0, pair[0], data_set=True, move_destination=to_ae)
        return _retrieved(peer, pair, request, keys, archive, lambda *_: Status.UNRECOGNIZED_OPERATION, on_progress)


def _retrieved(
    peer: Requestor,
    pair: Pair,
    request: Command,
    keys: Mapping[str, str],
    archive: Archive,
    store: Callable[[Command, Context, bytearray], int],
    on_progress: OnProgress,
) -> Fetched:
    level = "SERIES" if keys.get("SeriesInstanceUID") else "STUDY"
    asked = encoded(data_set({"QueryRetrieveLevel": level, **keys}), pair[1])
    last = peer.retrieve(
        pair, request, memoryview(asked), store, lambda answer: on_progress(_told(answer)), archive.most_bytes
    )
    if last.status == UNKNOWN_DESTINATION:
        told = f"does not know {request.move_destination}: enter this AE title there with its host and port"
        raise PeerRefused(f"{archive.name}: {told}")
    if last.status not in (Status.SUCCESS, WARNING) and not (last.completed or last.warning):
        service = "C-GET" if request.field == Field.C_GET_RQ else "C-MOVE"
        raise PeerRefused(f"{archive.name}: {service} answered with status 0x{last.status:04X}, {last.failed} failed")
    return _told(last)


def _told(answer: Command) -> Fetched:
    return Fetched(answer.remaining, answer.completed, answer.failed, answer.warning)


def _kept(command: Command, context: Context, data: bytearray, study_uid: str, keep: Keep) -> int:
    """Keep one object of a C-GET; every failure becomes a status."""
    (transfer,) = context.transfers
    try:
        found = identify(data, transfer)
        if (found.sop_class_uid, found.sop_instance_uid) != (command.sop_class_uid, command.sop_instance_uid):
            return Status.DATA_SET_MISMATCH
        if found.study_uid != study_uid:  # what was not asked for may be another patient's
            return Status.DATA_SET_MISMATCH
        head = header(found.sop_class_uid, found.sop_instance_uid, transfer)
        keep(found.sop_instance_uid, b"".join((head, data)))
    except BadInput:
        return Status.CANNOT_UNDERSTAND
    except OSError:
        return Status.OUT_OF_RESOURCES
    return Status.SUCCESS
