"""Attributes as plain values, and their encoding in Explicit VR Little Endian.

A data set is an `Item`: a dictionary from tag to ``(VR, value)``.  The value is a
``str`` for text (several values joined by a backslash, as they travel), ``bytes``
or a buffer for OB and OW, a tuple of numbers for the binary numeric VRs and a
list of `Item` for SQ.  Writing and reading a structured report of a thousand
attributes this way takes a few milliseconds; that is why it is not left to a
general library.

References
----------
DICOM PS3.5 Sections 6.2 (value representations) and 7.1 (data elements),
PS3.10 Section 7.1 (file meta information), PS3.3 Section C.12.1.1.2 (character sets).
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from wetread.errors import DocumentError
from wetread.report.characters import ASCII, Codecs, codecs_of, read, written
from wetread.uids import IMPLEMENTATION_CLASS_UID

Entry = tuple[str, Any]
Item = dict[int, Entry]

EXPLICIT_LE = "1.2.840.10008.1.2.1"
#: Identifies this software in the file meta information: PS3.10 Section 7.1.
IMPLEMENTATION_NAME = "WETREAD"

PIXEL_DATA = 0x7FE00010
CHARACTER_SET = 0x00080005

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_LONG = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_NUMBERS = {"AT": "HH", "FD": "d", "FL": "f", "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q"}
_AMBIGUOUS = {"US or SS": "US", "OB or OW": "OW", "US or OW": "OW", "US or SS or OW": "US"}


@lru_cache(maxsize=1024)
def entry_of(keyword: str) -> tuple[int, str]:
    """Give tag and VR of a keyword of the data dictionary (PS3.6)."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise DocumentError(f"{keyword}: expected a keyword of the data dictionary, got an unknown one")
    vr = dictionary_VR(tag)
    return int(tag), _AMBIGUOUS.get(vr, vr)


def item(**attributes: Any) -> Item:
    """Make an `Item` from keywords; a single `Item` or number stands for a list of one."""
    made: Item = {}
    for keyword, value in attributes.items():
        tag, vr = entry_of(keyword)
        if vr == "SQ" and isinstance(value, dict):
            value = [value]
        elif vr in _NUMBERS and not isinstance(value, tuple):
            value = (value,)
        made[tag] = (vr, value)
    return made


def get(data: Item, keyword: str, default: Any = None) -> Any:
    """Give the value of a keyword in an `Item`."""
    found = data.get(entry_of(keyword)[0])
    return default if found is None else found[1]


def sequence(data: Item, keyword: str) -> list[Item]:
    """Give the items of a sequence, or none."""
    value = get(data, keyword)
    return value if isinstance(value, list) else []


@lru_cache(maxsize=4096)
def name_of(tag: int) -> str:
    """Name a tag for people: its keyword, else its numbers."""
    return keyword_for_tag(tag) or f"({tag >> 16:04x},{tag & 0xFFFF:04x})"


def walk(data: Item, path: str = "") -> list[tuple[str, int, Entry]]:
    """Every attribute of a data set in depth, with the path that leads to it."""
    found: list[tuple[str, int, Entry]] = []
    for tag, entry in data.items():
        found.append((path, tag, entry))
        if entry[0] == "SQ":
            for number, child in enumerate(entry[1], 1):
                found += walk(child, f"{path}{name_of(tag)}[{number}].")
    return found


def _codecs(data: Item) -> Codecs:
    declared = data.get(CHARACTER_SET, ("CS", ""))[1].strip()
    codecs = codecs_of(declared)
    if not codecs:
        raise DocumentError(f"SpecificCharacterSet: expected defined terms, got {declared!r}")
    return codecs


@lru_cache(maxsize=4096)
def _text(vr: str, value: str, codecs: Codecs) -> bytes:
    raw = written(vr, value, codecs)
    return raw + (b"\0" if vr == "UI" else b" ") if len(raw) % 2 else raw


def _body(tag: int, vr: str, value: Any, codecs: Codecs) -> Any:
    if isinstance(value, str):
        try:
            return _text(vr, value, codecs)
        except UnicodeEncodeError as error:
            raise DocumentError(f"{name_of(tag)}: expected text in the character set, got other characters") from error
    if vr == "SQ":
        parts: list[Any] = []
        for child in value:
            body = b"".join(_parts(child, codecs))
            parts += (struct.pack("<HHI", 0xFFFE, 0xE000, len(body)), body)
        return b"".join(parts)
    if vr in _NUMBERS:
        if vr == "AT":
            value = [half for one in value for half in (one >> 16, one & 0xFFFF)]
        return struct.pack(f"<{len(value)}{_NUMBERS[vr][0]}", *value)
    if isinstance(value, np.ndarray):
        value = np.ascontiguousarray(value).data.cast("B")
    return value if len(value) % 2 == 0 else bytes(value) + b"\0"


@lru_cache(maxsize=1024)
def _head(tag: int, vr: str) -> bytes:
    return struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode()) + (b"\0\0" if vr in _LONG else b"")


def _parts(data: Item, codecs: Codecs) -> list[Any]:
    parts: list[Any] = []
    for tag in sorted(data):
        vr, value = data[tag]
        body = _body(tag, vr, value, codecs)
        parts += (_head(tag, vr), struct.pack("<I" if vr in _LONG else "<H", len(body)), body)
    return parts


def encode(data: Item) -> bytes:
    """Encode a data set as a DICOM file in Explicit VR Little Endian.

    Parameters
    ----------
    data
        A whole data set with SOPClassUID and SOPInstanceUID; its Specific
        Character Set governs the encoding of its text.

    Raises
    ------
    DocumentError
        A text does not fit the character set, or the set is not known.
    """
    meta = item(
        FileMetaInformationVersion=b"\0\1",
        MediaStorageSOPClassUID=get(data, "SOPClassUID"),
        MediaStorageSOPInstanceUID=get(data, "SOPInstanceUID"),
        TransferSyntaxUID=EXPLICIT_LE,
        ImplementationClassUID=IMPLEMENTATION_CLASS_UID,
        ImplementationVersionName=IMPLEMENTATION_NAME,
    )
    group = b"".join(_parts(meta, ASCII))
    length = b"".join(_parts(item(FileMetaInformationGroupLength=len(group)), ASCII))
    try:
        return b"".join([b"\0" * 128, b"DICM", length, group, *_parts(data, _codecs(data))])
    except struct.error as error:
        raise DocumentError(f"file: expected values that fit their VR (PS3.5 Section 6.2): {error}") from error


_SHORT_HEAD = struct.Struct("<HH2sH").unpack_from  # tag, VR and a length of 16 bits
_LONG_SIZE = struct.Struct("<I").unpack_from


@lru_cache(maxsize=4096)
def _value(vr: str, raw: bytes, codecs: Codecs) -> str:
    return read(vr, raw, codecs).rstrip(" \0")


class _Reader:
    """A cursor over the bytes of one file."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at, self.codecs = data, at, ASCII

    def element(self) -> tuple[int, str, int]:
        group, number, vr, size = _SHORT_HEAD(self.data, self.at)
        tag = group << 16 | number
        if group == 0xFFFE:
            (size,) = _LONG_SIZE(self.data, self.at + 4)
            self.at += 8
            return tag, "", size
        name = vr.decode("ascii")
        if name in _LONG:
            (size,) = _LONG_SIZE(self.data, self.at + 8)
            self.at += 12
        else:
            self.at += 8
        return tag, name, size

    def dataset(self, end: int) -> Item:
        made: Item = {}
        while self.at < end:
            tag, vr, size = self.element()
            if tag == _ITEM_END:
                break
            made[tag] = (vr, self.value(vr, size, end))
            if tag == CHARACTER_SET and isinstance(made[tag][1], str):
                self.codecs = codecs_of(made[tag][1].strip()) or ("latin_1",)
        return made

    def value(self, vr: str, size: int, end: int) -> Any:
        if vr == "SQ":
            return self.items(end if size == _UNDEFINED else self.at + size)
        if size == _UNDEFINED or self.at + size > end:
            raise ValueError(f"expected {size} bytes at offset {self.at}, got {end - self.at}")
        start, self.at = self.at, self.at + size
        if vr in _BINARY:
            return memoryview(self.data)[start : self.at]
        raw = self.data[start : self.at]
        if vr in _NUMBERS:
            width = struct.calcsize(f"<{_NUMBERS[vr][0]}")
            numbers = struct.unpack(f"<{size // width}{_NUMBERS[vr][0]}", raw)
            if vr == "AT":
                return tuple(a << 16 | b for a, b in zip(numbers[::2], numbers[1::2], strict=True))
            return numbers
        return _value(vr, raw, self.codecs)

    def items(self, end: int) -> list[Item]:
        made: list[Item] = []
        while self.at < end:
            tag, _, size = self.element()
            if tag == _SEQUENCE_END:
                break
            if tag != _ITEM:
                raise ValueError(f"expected a sequence item at offset {self.at}, got {name_of(tag)}")
            made.append(self.dataset(end if size == _UNDEFINED else self.at + size))
        return made


def decode(data: bytes) -> tuple[Item, Item]:
    """Read a DICOM file in Explicit VR Little Endian.

    Returns
    -------
    tuple
        The file meta information and the data set.

    Raises
    ------
    DocumentError
        The bytes are no such file.
    """
    if data[128:132] != b"DICM":
        raise DocumentError("file: expected the prefix DICM after 128 bytes (PS3.10 Section 7.1), got other bytes")
    try:
        reader = _Reader(data, 132)
        tag, vr, size = reader.element()
        if (tag, vr, size) != (0x00020000, "UL", 4):
            raise ValueError("expected the group length first")
        (length,) = reader.value(vr, size, len(data))
        meta = reader.dataset(reader.at + length)
        return meta, reader.dataset(len(data))
    except (ValueError, struct.error, LookupError, RecursionError) as error:
        raise DocumentError(f"file: expected Explicit VR Little Endian (PS3.5 Section 7.1.2): {error}") from error
