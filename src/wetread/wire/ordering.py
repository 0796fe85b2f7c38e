"""What an HL7 message says about orders and patients.

Taken are new, changed and cancelled orders (ORM^O01, OMI^O23), patients who are admitted, registered, updated or merged
(ADT^A01, A04, A08, A40), and appointments, of which the priority counts (SIU^S12 to S15).  Nothing else is read of
a patient than identifiers: no name, no birth date.

References
----------
HL7 v2.5.1: Sections 4.4.1 (ORM), 4.4.11 (OMI), 4.5.1 (ORC), 4.5.3 (OBR), 4.5.4 (TQ1), 4.5.6 (IPC), 3.4.2 (PID),
3.4.9 (MRG), 3.3.39 (A40), 10.3 (SIU); Table 0119 (order control codes).
IHE RAD TF-2, 4.4 (RAD-4): accession number in OBR-18, requested procedure ID in OBR-19, study in ZDS-1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from wetread.records import Code, Identifier, Order
from wetread.wire.hl7 import BadMessage, Condition, Message, Segment

VERSION = re.compile(r"2\.[3-9](\.\d)?")
UID = re.compile(r"[0-9][0-9.]{0,63}")
MOST_CHARACTERS = 255  # of an identifier
MOST_TEXT = 2000  # of an indication

#: ORC-1, HL7 Table 0119: what places an order, or tells how it is now; and what ends it.
PLACES = frozenset(("NW", "SN", "NA", "XO", "XX", "XR", "SC", "SR", "RO", "PA", "CH", "OK", "HD", "RL"))
NEW = frozenset(("NW", "RO"))
ENDS = frozenset(("CA", "OC", "CR", "DC", "OD", "DR", "RP", "RQ", "RU"))

#: ORC-7.6, TQ1-9, OBR-27.6, SCH-11.6: HL7 Tables 0485, and the words that sites write there.
PRIORITIES = {
    **dict.fromkeys(("S", "STAT"), "STAT"),
    **dict.fromkeys(("A", "ASAP", "P", "T", "URGENT", "U", "HIGH"), "URGENT"),
    **dict.fromkeys(("R", "ROUTINE", "N", "NORMAL"), "ROUTINE"),
}


@dataclass(frozen=True, slots=True)
class Placed:
    """An order is new, or has changed."""

    order: Order
    new: bool  # else what it does not name stays as it was
    cleared: frozenset[str] = frozenset()  # names of fields of `Order` that the sender deletes


@dataclass(frozen=True, slots=True)
class Ended:
    """An order is cancelled."""

    order: Order  # its numbers


@dataclass(frozen=True, slots=True)
class Prioritised:
    """An appointment names the priority of an order."""

    order: Order  # its numbers and its priority


@dataclass(frozen=True, slots=True)
class Known:
    """One patient has these identifiers."""

    patient: tuple[Identifier, ...]


@dataclass(frozen=True, slots=True)
class Merged:
    """What had these identifiers is one patient, who has those that survive."""

    prior: tuple[Identifier, ...]
    patient: tuple[Identifier, ...]


Change = Placed | Ended | Prioritised | Known | Merged


def changes(message: Message) -> list[Change]:
    """Return what a message changes, in its order.

    Raises
    ------
    BadMessage
        Its type, version or processing id is not taken, or something that is needed is missing or wrong.
    """
    read = _reader(message)
    if not message.header.text(10):
        raise message.header.wrong(Condition.REQUIRED_FIELD_MISSING, "expected a control id, got none", 10)
    return list(read(message))


def _reader(message: Message) -> Callable[[Message], Iterator[Change]]:
    """Who reads such a message; the header decides alone: Section 2.9.2.2."""
    msh = message.header
    kind, event = msh.text(9).upper(), msh.text(9, 2).upper()
    if not VERSION.fullmatch(msh.text(12)):
        raise msh.wrong(Condition.UNSUPPORTED_VERSION_ID, "expected version 2.3 to 2.9, got another", 12)
    if msh.text(11).upper() != "P":
        told = "expected P: what is no production must not meet patients"
        raise msh.wrong(Condition.UNSUPPORTED_PROCESSING_ID, told, 11)
    if kind not in _READERS:
        raise msh.wrong(Condition.UNSUPPORTED_MESSAGE_TYPE, f"expected {', '.join(_READERS)}, got another", 9)
    if event not in _READERS[kind]:
        told = f"expected {kind} with {', '.join(_READERS[kind])}, got another"
        raise msh.wrong(Condition.UNSUPPORTED_EVENT_CODE, told, 9, 2)
    return _READERS[kind][event]


def _segment(message: Message, name: str) -> Segment:
    """The only segment of a name; a second one may come from a text in which a sender escaped nothing."""
    found = message.all(name)
    if len(found) != 1:
        told = f"expected one segment {name}, got {'several' if found else 'none'}"
        raise BadMessage(Condition.SEGMENT_SEQUENCE, told, name, min(2, len(found) + 1))
    return found[0]


# ---- patients -----------------------------------------------------------------------------


def identifiers(segment: Segment, number: int) -> tuple[Identifier, ...]:
    """Return the identifiers of a field of type CX (PID-3, MRG-1), at least one."""
    found = [_cx(segment, number, one) for one in segment.repetitions(number)]
    kept = tuple(dict.fromkeys(one for one in found if one.value))
    if not kept:
        raise segment.wrong(Condition.REQUIRED_FIELD_MISSING, "expected an identifier, got none", number)
    return kept


def _cx(segment: Segment, number: int, parts: tuple[tuple[str, ...], ...]) -> Identifier:
    authority = (*(parts[3] if len(parts) > 3 else ()), "", "", "")
    return _sound(segment, number, Identifier(parts[0][0], *authority[:3]))


def _ei(segment: Segment | None, number: int) -> Identifier:
    """A field of type EI: an order's number and who gave it."""
    if segment is None:
        return Identifier("")
    return _sound(segment, number, Identifier(*(segment.text(number, component) for component in range(1, 5))))


def _sound(segment: Segment, number: int, one: Identifier) -> Identifier:
    for text in (one.value, one.authority, one.universal_id, one.universal_id_type):
        if len(text) > MOST_CHARACTERS or not text.isprintable():
            told = f"expected at most {MOST_CHARACTERS} printable characters, got something else"
            raise segment.wrong(Condition.DATA_TYPE, told, number)
    return one


def _known(message: Message) -> Iterator[Change]:
    yield Known(identifiers(_segment(message, "PID"), 3))


def _merged(message: Message) -> Iterator[Change]:
    """Each MRG says what the PID before it replaces."""
    if message.first("MRG") is None:
        raise BadMessage(Condition.SEGMENT_SEQUENCE, "expected a segment MRG, got none", "MRG", 1)
    survivor: Segment | None = None
    for segment in message.segments:
        if segment.name == "PID":
            survivor = segment
        elif segment.name == "MRG":
            if survivor is None:
                raise BadMessage(Condition.SEGMENT_SEQUENCE, "expected PID before MRG, got none", "MRG", segment.number)
            yield Merged(identifiers(segment, 1), identifiers(survivor, 3))
            survivor = None


# ---- orders -------------------------------------------------------------------------------


@dataclass(slots=True)
class _Group:
    """ORC, OBR and what stands between them and the next order."""

    orc: Segment | None = None
    obr: Segment | None = None
    others: dict[str, list[Segment]] = field(default_factory=dict)

    def first(self, name: str) -> Segment | None:
        return next(iter(self.others.get(name, ())), None)


def _groups(message: Message) -> list[_Group]:
    groups: list[_Group] = []
    for segment in message.segments:
        if segment.name == "ORC":
            groups.append(_Group(segment))
        elif segment.name == "OBR":
            if not groups:
                raise BadMessage(Condition.SEGMENT_SEQUENCE, "expected ORC before OBR, got none", "OBR", 1)
            if groups[-1].obr is not None:  # several requests of one order
                groups.append(_Group(groups[-1].orc))
            groups[-1].obr = segment
        elif groups:
            groups[-1].others.setdefault(segment.name, []).append(segment)
    if not groups:
        raise BadMessage(Condition.SEGMENT_SEQUENCE, "expected ORC, got none", "ORC", 1)
    return groups


def _orders(message: Message) -> Iterator[Change]:
    patient = identifiers(_segment(message, "PID"), 3)
    groups = _groups(message)
    last = groups[-1].first("ZDS")
    for group in groups:
        assert group.orc is not None
        if last is not None:  # IHE has one ZDS for the message
            group.others.setdefault("ZDS", [last])
        control, status = group.orc.text(1).upper(), group.orc.text(5).upper()
        order = replace(_numbers(group, group.orc), patient=patient)
        if control in ENDS or (control in ("SC", "SR", "XX") and status in ("CA", "DC")):
            yield Ended(order)
        elif control in PLACES:
            if group.obr is None and control in NEW:
                raise BadMessage(Condition.SEGMENT_SEQUENCE, "expected OBR behind ORC, got none", "OBR", 1)
            yield Placed(_whole(group, order), control in NEW, _cleared(group))
        else:
            told = f"expected an order control of {', '.join(sorted(PLACES | ENDS))}; got another"
            raise group.orc.wrong(Condition.TABLE_VALUE_NOT_FOUND, told, 1)


def _numbers(group: _Group, orc: Segment) -> Order:
    """Placer, filler and accession number, of which there must be one."""
    placer, filler = _first(orc, group.obr, 2), _first(orc, group.obr, 3)
    ipc = group.first("IPC")
    accession = _ei(ipc, 1) if ipc is not None else Identifier("")
    if not accession.value and group.obr is not None:
        accession = _sound(group.obr, 18, Identifier(group.obr.text(18)))
    if not (placer.value or filler.value or accession.value):
        raise orc.wrong(Condition.REQUIRED_FIELD_MISSING, "expected an order number, got none", 2)
    return Order(accession, placer, filler, source="hl7")


def _first(orc: Segment, obr: Segment | None, number: int) -> Identifier:
    found = _ei(orc, number)
    return found if found.value else _ei(obr, number)


def _whole(group: _Group, order: Order) -> Order:
    obr, ipc = group.obr, group.first("IPC")
    return replace(
        order,
        procedure=_procedure(obr),
        procedure_id=(ipc.text(2) if ipc is not None else "") or (obr.text(19) if obr is not None else ""),
        priority=_priority(group),
        indication=_indication(group),
        study_uid=_study(group),
    )


def _procedure(obr: Segment | None) -> Code | None:
    """OBR-4, or its alternative where only that is coded."""
    for at in (1, 4) if obr is not None else ():
        assert obr is not None
        if value := obr.text(4, at):
            return Code(value, obr.text(4, at + 2), obr.text(4, at + 1))
    return None


def _priority(group: _Group) -> str:
    """The most urgent word of ORC-7, TQ1-9, OBR-5 and OBR-27."""
    orc, obr = group.orc, group.obr
    words = [one.text(9) for one in group.others.get("TQ1", ())]
    words += [orc.text(7, 6)] if orc is not None else []
    words += [obr.text(27, 6), obr.text(5)] if obr is not None else []
    return _most_urgent(words)


def _most_urgent(words: Iterable[str]) -> str:
    found = {PRIORITIES.get(word.upper(), "") for word in words}
    return next((one for one in ("STAT", "URGENT", "ROUTINE") if one in found), "")


def _indication(group: _Group) -> str:
    """Why it was asked for: OBR-31, OBR-13, notes, and answers to questions on entry."""
    obr = group.obr
    told = [_worded(one) for one in obr.repetitions(31)] if obr is not None else []
    told += [obr.text(13)] if obr is not None else []
    told += [note.text(3) for note in group.others.get("NTE", ())]
    for one in group.others.get("OBX", ()):
        question, answer = one.text(3, 2) or one.text(3), one.text(5, 2) or one.text(5)
        told += [f"{question}: {answer}" if question and answer else answer]
    return "; ".join(dict.fromkeys(filter(None, told)))[:MOST_TEXT].replace("\0", "")


def _worded(one: tuple[tuple[str, ...], ...]) -> str:
    """The text of a coded value, else its code."""
    return (one[1][0] if len(one) > 1 else "") or one[0][0]


def _study(group: _Group) -> str:
    """The Study Instance UID, where the order names it: IPC-3, ZDS-1."""
    for segment, number in ((group.first("IPC"), 3), (group.first("ZDS"), 1)):
        told = segment.text(number) if segment is not None else ""
        if told and segment is not None:
            if not UID.fullmatch(told):
                raise segment.wrong(Condition.DATA_TYPE, "expected a UID, got something else", number)
            return told
    return ""


#: Field of `Order` -> the segment, field and component that it is read from.
_SOURCES: dict[str, tuple[tuple[str, int, int], ...]] = {
    "accession": (("IPC", 1, 1), ("OBR", 18, 1)),
    "procedure": (("OBR", 4, 1), ("OBR", 4, 4)),
    "procedure_id": (("IPC", 2, 1), ("OBR", 19, 1)),
    "priority": (("ORC", 7, 6), ("TQ1", 9, 1), ("OBR", 27, 6), ("OBR", 5, 1)),
    "indication": (("OBR", 31, 1), ("OBR", 31, 2), ("OBR", 13, 1), ("NTE", 3, 1), ("OBX", 5, 1)),
    "study_uid": (("IPC", 3, 1), ("ZDS", 1, 1)),
}


def _cleared(group: _Group) -> frozenset[str]:
    """What the sender deletes by two quotation marks: Section 2.5.3."""
    here = {**group.others, "ORC": [group.orc] if group.orc else [], "OBR": [group.obr] if group.obr else []}
    return frozenset(
        name
        for name, places in _SOURCES.items()
        if any(one.deletes(*place) for segment, *place in places for one in here.get(segment, ()))
    )


# ---- appointments -------------------------------------------------------------------------


def _appointment(message: Message) -> Iterator[Change]:
    """The priority of the order that an appointment is for; one that names no order or no priority changes nothing."""
    sch = _segment(message, "SCH")
    priority = _most_urgent([one.text(9) for one in message.all("TQ1")] + [sch.text(11, 6)])
    order = Order(Identifier(""), _ei(sch, 26), _ei(sch, 27), priority=priority, source="hl7")
    if priority and (order.placer.value or order.filler.value):
        yield Prioritised(order)


def _nothing(message: Message) -> Iterator[Change]:
    """A cancelled appointment does not cancel the order."""
    _segment(message, "SCH")
    return iter(())


_READERS: dict[str, dict[str, Callable[[Message], Iterator[Change]]]] = {
    "ORM": {"O01": _orders},
    "OMI": {"O23": _orders},
    "ADT": {"A01": _known, "A04": _known, "A08": _known, "A40": _merged},
    "SIU": {"S12": _appointment, "S13": _appointment, "S14": _appointment, "S15": _nothing},
}
#: What is taken: message type and trigger event.
TYPES = tuple(f"{kind}^{event}" for kind, events in _READERS.items() for event in events)
