"""The association PDUs: A-ASSOCIATE-RQ, -AC and -RJ.

References
----------
PS3.8 Sections 9.3.2 to 9.3.4 and Annex D (user information), PS3.7 Annex D.3.3 (D.3.3.3: asynchronous operations;
D.3.3.4: role selection; D.3.3.5 and D.3.3.6: extended negotiation); PS3.4 Section B.3.1 (what is told of storage),
Annexes F, J and R (SOP classes of the notices).
"""

from __future__ import annotations

import struct
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from wetread.errors import BadInput
from wetread.uids import IMPLEMENTATION_CLASS_UID
from wetread.wire.part10 import EXPLICIT_LITTLE, IMPLEMENTATION_VERSION, IMPLICIT_LITTLE, uid
from wetread.wire.transport import AbortReason, BadPdu, Pdu, pdu

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
INSTANCE_AVAILABILITY = "1.2.840.10008.5.1.4.33"
PERFORMED_STEP = "1.2.840.10008.3.1.2.3.3"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
STORAGE_SERVICE = "1.2.840.10008.4.2"
MAX_CONTEXTS = 128
#: Requests under way on one association: they are done one after the other, the next ones wait in the socket.
WINDOW = 16
#: What we are as SCP of storage (PS3.4 Table B.3-1): level 2, signatures preserved, nothing coerced.
_STORES = bytes((2, 0, 3, 0, 0, 0))

ACCEPTED, USER_REJECTION, ABSTRACT_NOT_SUPPORTED, TRANSFER_NOT_SUPPORTED = 0, 1, 3, 4  # PS3.8 Table 9-18


class Reject(IntEnum):
    """Result, source and reason of an A-ASSOCIATE-RJ as one number, PS3.8 Table 9-21."""

    NO_REASON = 0x010201
    APPLICATION_CONTEXT = 0x010102
    CALLING_AE = 0x010103
    CALLED_AE = 0x010107
    PROTOCOL_VERSION = 0x010202
    LOCAL_LIMIT = 0x020302


@dataclass(frozen=True, slots=True)
class Context:
    """One presentation context; in an answer it holds the one transfer syntax that was chosen."""

    id: int
    abstract: str
    transfers: tuple[str, ...]
    result: int = ACCEPTED


@dataclass(frozen=True, slots=True)
class Associate:
    """The contents of an A-ASSOCIATE-RQ or -AC."""

    called: str
    calling: str
    contexts: tuple[Context, ...]
    max_length: int  # bytes; 0: no limit
    version: int = 1
    application: str = APPLICATION_CONTEXT
    reporters: tuple[str, ...] = ()  # SOP classes of which the requestor is the SCP (role selection)
    askers: tuple[str, ...] = ()  # of which it is the SCU; without a role named it is the SCU alone
    window: tuple[int, int] | None = None  # operations that the requestor may invoke and perform at a time; 0: any
    extended: tuple[str, ...] = ()  # SOP classes about which more is negotiated
    stored: tuple[str, ...] = ()  # those that the requestor says belong to storage, private ones too


def encode(kind: Pdu, associate: Associate) -> bytes:
    """Return an A-ASSOCIATE-RQ or -AC."""
    answer = kind is Pdu.ASSOCIATE_AC
    items = [_item(0x10, associate.application.encode())]
    for context in associate.contexts:
        syntaxes = b"".join(_item(0x40, transfer.encode()) for transfer in context.transfers)
        head = bytes((context.id, 0, context.result, 0))
        abstract = b"" if answer else _item(0x30, context.abstract.encode())
        items.append(_item(0x21 if answer else 0x20, head + abstract + syntaxes))
    user = (
        _item(0x51, struct.pack(">L", associate.max_length))
        + _item(0x52, IMPLEMENTATION_CLASS_UID.encode())
        + (_item(0x53, struct.pack(">HH", *associate.window)) if associate.window else b"")
        + b"".join(_role(associate, one) for one in dict.fromkeys((*associate.reporters, *associate.askers)))
        + _item(0x55, IMPLEMENTATION_VERSION.encode())
        + b"".join(_item(0x56, struct.pack(">H", len(one)) + one.encode() + _STORES) for one in associate.extended)
    )
    titles = b"".join(name.encode("ascii", "replace").ljust(16)[:16] for name in (associate.called, associate.calling))
    return pdu(kind, struct.pack(">HH", 1, 0), titles, bytes(32), *items, _item(0x50, user))


def _role(associate: Associate, abstract: str) -> bytes:
    """A role selection item, PS3.7 Table D.3-9."""
    roles = bytes((abstract in associate.askers, abstract in associate.reporters))
    return _item(0x54, struct.pack(">H", len(abstract)) + abstract.encode() + roles)


def reject(why: Reject) -> bytes:
    """Return an A-ASSOCIATE-RJ."""
    return pdu(Pdu.ASSOCIATE_RJ, b"\0", int(why).to_bytes(3, "big"))


def decode(body: bytes | bytearray | memoryview) -> Associate:
    """Read the body of an A-ASSOCIATE-RQ or -AC.

    Raises
    ------
    BadPdu
        It is too short, an item is longer than what holds it, a UID is malformed, or there are
        more than 128 presentation contexts, or two with one id, or one with an even id.
    """
    raw = bytes(body)
    if len(raw) < 68:
        raise BadPdu(AbortReason.INVALID_PARAMETER, f"association: expected at least 68 bytes, got {len(raw)}")
    contexts: list[Context] = []
    application, max_length = "", 0
    roles: list[tuple[str, bytes]] = []
    window: tuple[int, int] | None = None
    extended: tuple[str, ...] = ()
    services: list[tuple[str, str]] = []
    try:
        for kind, value in _items(raw[68:]):
            if kind == 0x10:
                application = uid(value)
            elif kind in (0x20, 0x21):
                contexts.append(_context(value))
            elif kind == 0x50:
                lengths = [sub for tag, sub in _items(value) if tag == 0x51]
                max_length = struct.unpack(">L", lengths[0])[0] if lengths else 0
                roles = [(uid(sub[2:-2]), sub[-2:]) for tag, sub in _items(value) if tag == 0x54]
                windows = [struct.unpack(">HH", sub) for tag, sub in _items(value) if tag == 0x53]
                window = windows[0] if windows else None
                extended = tuple(_counted(sub)[0] for tag, sub in _items(value) if tag == 0x56)
                services = [_service(sub) for tag, sub in _items(value) if tag == 0x57]
    except (BadInput, struct.error) as error:
        raise BadPdu(AbortReason.INVALID_PARAMETER, "association: an item is malformed") from error
    ids = [context.id for context in contexts]
    if len(set(ids)) != len(ids) or len(ids) > MAX_CONTEXTS or not all(number % 2 for number in ids):
        raise BadPdu(AbortReason.INVALID_PARAMETER, "association: expected at most 128 contexts with odd, unequal ids")
    (version,) = struct.unpack_from(">H", raw)
    reporters = tuple(one for one, role in roles if role[1:] == b"\1")
    askers = tuple(one for one, role in roles if role[:1] == b"\1")
    stored = tuple(sop_class for sop_class, service in services if service == STORAGE_SERVICE)
    return Associate(
        *(title(raw[4:20]), title(raw[20:36]), tuple(contexts), max_length, version, application),
        reporters=reporters,
        askers=askers,
        window=window,
        extended=extended,
        stored=stored,
    )


def _counted(raw: bytes) -> tuple[str, bytes]:
    """A UID behind its length, and what follows it: PS3.7 Table D.3-11."""
    (length,) = struct.unpack_from(">H", raw)
    return uid(raw[2 : 2 + length]), raw[2 + length :]


def _service(raw: bytes) -> tuple[str, str]:
    """SOP class and service class of a common extended negotiation item, PS3.7 Table D.3-12."""
    sop_class, rest = _counted(raw)
    return sop_class, _counted(rest)[0]


def title(raw: bytes) -> str:
    """Return an AE title without padding; anything but printable ASCII becomes a question mark."""
    return "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in raw).strip()


def _context(value: bytes) -> Context:
    if len(value) < 4:
        raise BadInput("presentation context: too short")
    subs = list(_items(value[4:]))
    abstract = next((uid(sub) for kind, sub in subs if kind == 0x30), "")
    return Context(value[0], abstract, tuple(_name(sub) for kind, sub in subs if kind == 0x40), value[2])


def _name(raw: bytes) -> str:
    """A transfer syntax; a rejected context may carry an empty one, which is not significant."""
    return uid(raw) if raw.strip(b"\0 ") else ""


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value


def _items(raw: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(raw):
        kind, _, length = struct.unpack_from(">BBH", raw, position)
        position += 4
        if position + length > len(raw):
            raise BadInput("association: an item ends past the end")
        yield kind, raw[position : position + length]
        position += length


def answer(
    request: Associate, max_length: int, preferred: Container[str] = (), may: Container[str] = ("echo", "store")
) -> tuple[Associate, dict[int, Context]]:
    """Grant what we can: C-ECHO, every storage class in a transfer syntax that we keep, and notices.

    Parameters
    ----------
    preferred
        Transfer syntaxes that are chosen before others, because somebody can decode them.
    may
        What this peer may do, of `wetread.settings.RIGHTS`; a context for anything else is rejected.

    Returns
    -------
    Associate
        The contents of the A-ASSOCIATE-AC.
    dict
        The accepted contexts by id, each with its abstract syntax and the chosen transfer syntax.
    """
    made: list[Context] = []
    granted: dict[int, Context] = {}
    commitment = commitment_rights(request, may)
    for context in request.contexts:
        chosen = choose(context, preferred, request.stored)
        right = right_of(context.abstract, request.stored)
        allowed = commitment if context.abstract == STORAGE_COMMITMENT else right in may
        if chosen.result == ACCEPTED and not allowed:
            chosen = replace(chosen, result=USER_REJECTION)
        made.append(chosen)
        if chosen.result == ACCEPTED:
            granted[chosen.id] = chosen
    named = {STORAGE_COMMITMENT} & {one.abstract for one in granted.values()} & {*request.reporters, *request.askers}
    made_of = Associate(request.called, request.calling, tuple(made), max_length)
    reporters, askers = (tuple(named) if right in commitment else () for right in ("notify", "commit"))
    stored = {one.abstract for one in granted.values() if right_of(one.abstract, request.stored) == "store"}
    extended = tuple(one for one in dict.fromkeys(request.extended) if one in stored)
    window = None if request.window is None else (min(request.window[0] or WINDOW, WINDOW), 1)
    return replace(made_of, reporters=reporters, askers=askers, window=window, extended=extended), granted


def commitment_rights(request: Associate, may: Container[str]) -> frozenset[str]:
    """Return which rights to storage commitment an association has.

    "notify": the peer is its SCP and reports to us; "commit": it is the SCU, which it is unless it says otherwise.
    """
    reports = STORAGE_COMMITMENT in request.reporters
    asks = STORAGE_COMMITMENT in request.askers or not reports
    roles = {"notify": reports, "commit": asks}
    return frozenset(right for right, held in roles.items() if held and right in may)


def choose(context: Context, preferred: Container[str] = (), stored: Container[str] = ()) -> Context:
    """Answer one proposed context: the first transfer syntax that is preferred, else the first that we keep."""
    first = context.transfers[:1] or ("",)
    right = right_of(context.abstract, stored)
    if not right:
        return Context(context.id, context.abstract, first, ABSTRACT_NOT_SUPPORTED)
    taken = is_read if right == "notify" else is_kept
    kept = tuple(transfer for transfer in context.transfers if taken(transfer))
    if not kept:
        return Context(context.id, context.abstract, first, TRANSFER_NOT_SUPPORTED)
    chosen = next((transfer for transfer in kept if transfer in preferred), kept[0])
    return Context(context.id, context.abstract, (chosen,))


def right_of(abstract: str, stored: Container[str] = ()) -> str:
    """Return which of `wetread.settings.RIGHTS` a SOP class needs, or "" if we do not have it.

    Storage commitment needs "notify" or "commit", by the role: `commitment_rights`.

    Parameters
    ----------
    stored
        Classes that the peer says belong to storage.
    """
    if abstract == VERIFICATION:
        return "echo"
    if abstract in (INSTANCE_AVAILABILITY, PERFORMED_STEP, STORAGE_COMMITMENT):
        return "notify"
    return "store" if is_storage(abstract) or abstract in stored else ""


def is_storage(abstract: str) -> bool:
    """Whether a SOP class belongs to the storage service: the standard's arc, retired ones included."""
    return abstract.startswith("1.2.840.10008.5.1.4.1.1.") or abstract == RT_BEAMS_INSTRUCTION


#: Storage outside that arc; hanging protocols, implants and color palettes are of no study, and cannot be filed.
RT_BEAMS_INSTRUCTION = "1.2.840.10008.5.1.4.34.7"

#: Pixels elsewhere (JPIP), MIME and XML: there is nothing in the object that could be kept.
_NOT_KEPT = ("1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.204", "1.2.840.10008.1.2.4.205")


def is_kept(transfer: str) -> bool:
    """Whether objects in this transfer syntax are taken: every one that carries its own pixels."""
    arc = "1.2.840.10008.1.2"
    outside = transfer.startswith((f"{arc}.6.", f"{arc}.7.")) or transfer in _NOT_KEPT
    return (transfer == arc or transfer.startswith(f"{arc}.")) and not outside


def is_read(transfer: str) -> bool:
    """Whether what is no object is taken in this transfer syntax: those that every notice may come in."""
    return transfer in (IMPLICIT_LITTLE, EXPLICIT_LITTLE)


def propose(pairs: Sequence[tuple[str, str]]) -> tuple[Context, ...]:
    """Return one context for each pair of abstract and transfer syntax, ids 1, 3, 5, ..."""
    return tuple(Context(2 * i + 1, abstract, (transfer,)) for i, (abstract, transfer) in enumerate(pairs))
