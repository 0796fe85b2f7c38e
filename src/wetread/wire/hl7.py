r"""HL7 version 2 messages: read lazily within limits, written with every value escaped.

A parsed message keeps its fields as they came; a value is split and unescaped when it is asked for::

    message = parse(data)
    pid = message.first("PID")
    if pid is not None:
        pid.text(3), pid.text(3, 4), pid.text(3, 4, 2)  # PID-3.1, PID-3.4.1, PID-3.4.2 of the first repetition
        [(one[0][0], one[3][0]) for one in pid.repetitions(3)]

A message is written from plain values, which may hold anything::

    encode([("MSH", "WETREAD", ...), ("PID", "1", "", [("123", "", "", ("HOSP", "1.2.3", "ISO"), "MR")])])

with a str for a field, a tuple for its components, a tuple in it for subcomponents, and a list for repetitions.
The fields of MSH begin with MSH-3: the delimiters are ours.

References
----------
HL7 v2.5.1 Chapter 2: Section 2.5.4 (delimiters), 2.7 (escape sequences), 2.15.9 (MSH), Tables 0211 (character
sets) and 0357 (error conditions).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import lru_cache

from wetread.errors import BadInput

MOST_SEGMENTS = 10_000
MOST_PARTS = 1_000  # fields of a segment, repetitions of a field, components, subcomponents

#: HL7 Table 0211 -> Python's codec.  Only sets in which the delimiters are single bytes; UTF-16 and -32 cannot be
#: framed by MLLP.
CHARACTER_SETS = {
    "ASCII": "ascii",
    "ISO IR6": "ascii",
    **{f"8859/{part}": f"iso8859_{part}" for part in (*range(1, 10), 15)},
    "ISO IR14": "iso2022_jp_ext",
    "ISO IR87": "iso2022_jp_ext",
    "ISO IR159": "iso2022_jp_ext",
    "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr",
    "BIG-5": "big5",
    "UNICODE": "utf_8",  # from before 2.6, when it did not say which; within MLLP only this one can be
    "UNICODE UTF-8": "utf_8",
}
UTF_8 = "UNICODE UTF-8"

#: What stands for the value of a field that the sender deletes: Section 2.5.3.
DELETED = '""'

Repetition = tuple[tuple[str, ...], ...]  # components, each of subcomponents
Component = str | Sequence[str]
Value = str | tuple[Component, ...] | list["str | tuple[Component, ...]"]


class Condition(IntEnum):
    """What is wrong with a message: HL7 Table 0357."""

    SEGMENT_SEQUENCE = 100
    REQUIRED_FIELD_MISSING = 101
    DATA_TYPE = 102
    TABLE_VALUE_NOT_FOUND = 103
    UNSUPPORTED_MESSAGE_TYPE = 200
    UNSUPPORTED_EVENT_CODE = 201
    UNSUPPORTED_PROCESSING_ID = 202
    UNSUPPORTED_VERSION_ID = 203
    UNKNOWN_KEY_IDENTIFIER = 204
    DUPLICATE_KEY_IDENTIFIER = 205
    APPLICATION_RECORD_LOCKED = 206
    APPLICATION_INTERNAL_ERROR = 207


class BadMessage(BadInput):
    """A message is wrong; the text never repeats its content.

    Parameters
    ----------
    condition
        Of HL7 Table 0357.
    message
        What was expected and what came, without content.
    where
        The segment and its number among those of its name, the field, and the component, as far as known: ERL of
        HL7 v2.5.1 Section 2.A.28.
    """

    def __init__(self, condition: Condition, message: str, *where: str | int) -> None:
        self.condition = condition
        self.where = where
        place = f"{where[0]}" + (f"-{where[2]}" if len(where) > 2 else "") if where else ""
        super().__init__(f"HL7 {place}: {message}" if place else f"HL7 message: {message}")


@dataclass(frozen=True, slots=True)
class Syntax:
    """Delimiters as MSH-1 and MSH-2 declare them, and the codec of MSH-18."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"
    codec: str = "utf_8"

    @property
    def encoding_characters(self) -> str:
        """MSH-2."""
        return self.component + self.repetition + self.escape + self.subcomponent


USUAL = Syntax()


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment; fields, components, repetitions are counted from 1 as the standard does."""

    name: str
    fields: tuple[str, ...]  # as they came; of MSH the first is MSH-1
    syntax: Syntax = USUAL
    number: int = 1  # among the segments of this name

    def raw(self, number: int) -> str:
        """Return a field as it came, "" where there is none; `DELETED` is what it may be."""
        return self.fields[number - 1] if number <= len(self.fields) else ""

    def deletes(self, number: int, component: int = 1) -> bool:
        """Whether the sender deletes a field, or this component of its first repetition."""
        raw, by = self.raw(number), self.syntax
        return DELETED in (raw, _nth(_nth(raw, by.repetition, 1), by.component, component))

    def text(self, number: int, component: int = 1, subcomponent: int = 1) -> str:
        """Return one value of the first repetition of a field, unescaped and stripped; "" where there is none."""
        raw, by = self.raw(number), self.syntax
        if raw == DELETED:
            return ""
        for delimiter, place in ((by.repetition, 1), (by.component, component), (by.subcomponent, subcomponent)):
            raw = _nth(raw, delimiter, place)
        return "" if raw == DELETED else unescape(raw, by).strip()

    def repetitions(self, number: int) -> list[Repetition]:
        """Return the repetitions of a field that hold something, unescaped; each has a component at least.

        Raises
        ------
        BadMessage
            There are more parts than anyone means.
        """
        raw, by = self.raw(number), self.syntax
        if sum(map(raw.count, (by.repetition, by.component, by.subcomponent))) > MOST_PARTS:
            raise self.wrong(Condition.DATA_TYPE, f"expected at most {MOST_PARTS} parts, got more", number)
        found = (one for one in raw.split(by.repetition) if one and one != DELETED)
        return [tuple(self._subcomponents(part) for part in one.split(by.component)) for one in found]

    def _subcomponents(self, raw: str) -> tuple[str, ...]:
        parts = raw.split(self.syntax.subcomponent)
        return tuple("" if one == DELETED else unescape(one, self.syntax).strip() for one in parts)

    def wrong(self, condition: Condition, message: str, number: int, component: int = 0) -> BadMessage:
        """Return the error about one of this segment's fields."""
        where = (self.name, self.number, number, 1, component) if component else (self.name, self.number, number)
        return BadMessage(condition, message, *where)


@dataclass(frozen=True, slots=True)
class Message:
    """The segments of one message in their order; the first is MSH."""

    segments: tuple[Segment, ...]
    syntax: Syntax = USUAL
    _by_name: dict[str, list[Segment]] = field(default_factory=dict, init=False, repr=False)

    @property
    def header(self) -> Segment:
        """MSH."""
        return self.segments[0]

    def first(self, name: str) -> Segment | None:
        """Return the first segment of a name."""
        return next(iter(self.all(name)), None)

    def all(self, name: str) -> list[Segment]:
        """Return all segments of a name, in their order."""
        if not self._by_name:
            for segment in self.segments:
                self._by_name.setdefault(segment.name, []).append(segment)
        return self._by_name.get(name, [])


def parse(data: bytes) -> Message:
    """Parse one message.

    Segments end with CR.  Where there is no CR but at the end, LF is taken for it; a LF behind a CR is ignored, and any
    other is part of a value.

    Parameters
    ----------
    data
        One message, without MLLP's framing.

    Raises
    ------
    BadMessage
        It does not begin with MSH, its delimiters cannot be told apart, its character set is unknown or not the one
        of its bytes, a segment has no name, or there is too much of something.
    """
    syntax = _syntax(data)
    text = _decoded(data, syntax.codec)
    text = text.replace("\r\n", "\r") if "\r" in text.rstrip("\r\n") else text.replace("\n", "\r")
    if text.count("\r") > MOST_SEGMENTS:
        raise BadMessage(Condition.SEGMENT_SEQUENCE, f"expected at most {MOST_SEGMENTS} segments, got more")
    return Message(tuple(_segments(text, syntax)), syntax)


_NAME = re.compile("[A-Z][A-Z0-9]{2}")


def _segments(text: str, syntax: Syntax) -> Iterator[Segment]:
    seen: dict[str, int] = {}
    for line in text.split("\r"):
        if not line.strip():
            continue
        name = line[:3]
        if not _NAME.fullmatch(name) or line[3:4] not in ("", syntax.field):
            told = f"segment {sum(seen.values()) + 1}: expected a name of three characters and a field separator"
            raise BadMessage(Condition.SEGMENT_SEQUENCE, told)
        if name == "MSH" and seen:
            raise BadMessage(Condition.SEGMENT_SEQUENCE, "expected one message, got a second MSH", "MSH", 2)
        seen[name] = seen.get(name, 0) + 1
        if line.count(syntax.field) > MOST_PARTS:
            told = f"expected at most {MOST_PARTS} fields, got more"
            raise BadMessage(Condition.SEGMENT_SEQUENCE, told, name, seen[name])
        fields = line.split(syntax.field)[1:]
        if name == "MSH":
            fields.insert(0, syntax.field)
        yield Segment(name, tuple(fields), syntax, seen[name])


def _syntax(data: bytes) -> Syntax:
    """Delimiters and codec: MSH-1, MSH-2 and MSH-18, read as bytes; every known set writes these in ASCII."""
    head = re.split(rb"[\r\n]", data[:4096], maxsplit=1)[0]
    if head[:3] != b"MSH":
        raise BadMessage(Condition.SEGMENT_SEQUENCE, "expected MSH at its beginning, got something else", "MSH", 1)
    fields = head[4:].split(head[3:4]) if head[3:4] else []
    marks = (head[3:4] + fields[0]).decode("latin_1") if fields else ""
    # A fifth encoding character, from 2.7 on, marks what was truncated.
    if not 5 <= len(marks) <= 6 or len(set(marks)) != len(marks) or not all(map(_marks, marks)):
        told = "expected a field separator and four other encoding characters, got something else"
        raise BadMessage(Condition.DATA_TYPE, told, "MSH", 1, 2)
    declared = fields[16].decode("latin_1") if len(fields) > 16 else ""
    names = [one.strip() for one in declared.split(marks[2]) if one.strip() not in ("", DELETED)]
    return replace(Syntax(*marks[:5]), codec=_codec(names))


def _marks(one: str) -> bool:
    return "!" <= one <= "~" and not one.isalnum() and one != '"'


def _codec(names: Sequence[str]) -> str:
    """Of MSH-18: the first set is the default, further ones are switched to by escape sequences of ISO 2022."""
    known = [CHARACTER_SETS.get(name.upper()) for name in names]
    if None in known:
        expected = ", ".join(CHARACTER_SETS)
        raise BadMessage(Condition.TABLE_VALUE_NOT_FOUND, f"expected one of {expected}; got another", "MSH", 1, 18)
    return next((one for one in known if one and one != "ascii"), "ascii" if known else "")


def _decoded(data: bytes, codec: str) -> str:
    """The text.  Where no set was declared it is ASCII, and if not that UTF-8 or, as often, the one of Windows."""
    for name in (codec,) if codec else ("utf_8", "cp1252", "latin_1"):
        try:
            return data.decode(name)
        except UnicodeDecodeError:
            continue
    raise BadMessage(Condition.DATA_TYPE, "expected bytes of the character set that it names, got others", "MSH", 1, 18)


def _nth(raw: str, delimiter: str, place: int) -> str:
    parts = raw.split(delimiter, place)
    return parts[place - 1] if len(parts) >= place else ""


def unescape(raw: str, syntax: Syntax = USUAL) -> str:
    r"""Return a value without escape sequences: Section 2.7.

    Delimiters, ``\Xhh..\`` and, of formatted text, line ends are put in; highlighting, other formatting and local
    sequences are left out.  An escape character without a partner stays.
    """
    if syntax.escape not in raw:
        return raw
    parts = raw.split(syntax.escape)
    made, at = [parts[0]], 1
    while at + 1 < len(parts):
        meant = _meant(parts[at], syntax)
        if meant is None:  # this one stands alone; the next may begin a sequence
            made += (syntax.escape, parts[at])
            at += 1
        else:
            made += (meant, parts[at + 1])
            at += 2
    if at < len(parts):
        made += (syntax.escape, parts[at])
    return "".join(made)


_SKIPPED = re.compile(r"[HN]|\.(?:fi|nf|in[+-]?\d*|ti[+-]?\d*|sk[+-]?\d*)|[CM][0-9A-Fa-f]{4,6}|Z.*", re.DOTALL)
_LINE_END = re.compile(r"\.(?:br|ce|sp\+?\d*)")
_HEX = re.compile("X((?:[0-9A-Fa-f]{2})+)")


def _meant(code: str, by: Syntax) -> str | None:
    """What stands for an escape sequence; None if it is none."""
    names = {"F": by.field, "S": by.component, "T": by.subcomponent, "R": by.repetition, "E": by.escape}
    if code in names:
        return names[code]
    if found := _HEX.fullmatch(code):
        return bytes.fromhex(found[1]).decode(by.codec or "utf_8", "replace")
    if _LINE_END.fullmatch(code):
        return "\n"
    return "" if _SKIPPED.fullmatch(code) else None


def escape(text: str, syntax: Syntax = USUAL) -> str:
    r"""Return any text as a value that changes nothing of the message's structure.

    Delimiters become ``\F\`` and so on, line ends ``\.br\``, other control characters ``\Xhh\``.
    """
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_escapes(syntax))


@lru_cache(maxsize=16)
def _escapes(syntax: Syntax) -> dict[int, str]:
    codes = {
        syntax.field: "F",
        syntax.component: "S",
        syntax.subcomponent: "T",
        syntax.repetition: "R",
        syntax.escape: "E",
        **{chr(code): f"X{code:02X}" for code in (*range(32), 127)},
        "\n": ".br",
    }
    return {ord(one): f"{syntax.escape}{code}{syntax.escape}" for one, code in codes.items()}


def encode(segments: Iterable[Sequence[Value]], character_set: str = UTF_8) -> bytes:
    """Return one message; every value in it is escaped.

    Parameters
    ----------
    segments
        Name and fields of each; those of MSH from MSH-3 on.  MSH-18 is filled in.
    character_set
        Of HL7 Table 0211.

    Raises
    ------
    BadMessage
        The first segment is not MSH, a name is none, the character set is unknown, or a text does not fit into it.
    """
    codec = CHARACTER_SETS.get(character_set)
    if codec is None:
        raise BadMessage(Condition.TABLE_VALUE_NOT_FOUND, f"expected one of {', '.join(CHARACTER_SETS)}", "MSH", 1, 18)
    lines = []
    for number, segment in enumerate(segments):
        name, values = segment[0], segment[1:]
        if not isinstance(name, str) or not _NAME.fullmatch(name) or (name == "MSH") != (number == 0):
            raise BadMessage(Condition.SEGMENT_SEQUENCE, f"segment {number + 1}: expected MSH first, then other names")
        fields = [_written(one) for one in values]
        if name == "MSH":
            fields += [""] * (16 - len(fields))
            fields[15] = fields[15] or escape(character_set)
            fields.insert(0, USUAL.encoding_characters)
        lines.append(USUAL.field.join((name, *fields)).rstrip(USUAL.field) + "\r")
    try:
        return "".join(lines).encode(codec)
    except UnicodeEncodeError as error:
        told = f"expected text that fits into {character_set}, got other characters"
        raise BadMessage(Condition.DATA_TYPE, told, "MSH", 1, 18) from error


def _written(value: Value) -> str:
    if isinstance(value, list):
        return USUAL.repetition.join(map(_written, value))
    if isinstance(value, str):
        return escape(value)
    parts = (escape(one) if isinstance(one, str) else _trimmed(map(escape, one), "&") for one in value)
    return _trimmed(parts, USUAL.component)


def _trimmed(parts: Iterable[str], delimiter: str) -> str:
    return delimiter.join(parts).rstrip(delimiter)
