"""DICOM files around encoded objects, and the UIDs inside them, without decoding anything.

References
----------
PS3.10 Section 7.1 (file meta information), PS3.5 Sections 7.1 and 7.5 (encoding, nesting), A.5 (deflate).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from wetread.errors import BadInput
from wetread.uids import IMPLEMENTATION_CLASS_UID

#: Identifies this implementation, PS3.7 Section D.3.3.2.
IMPLEMENTATION_VERSION = "WETREAD"

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"

#: Nesting beyond this is refused (guarantee G9).
MAX_DEPTH = 32
#: Elements that are walked, at all levels together: a second of work at most, whatever the object says.
MAX_ELEMENTS = 200_000
#: So much of a deflated object is inflated to find its UIDs.
MAX_INFLATED = 1 << 20
#: So much of a file is read before it is asked whether its header goes on.
BEGINNING = 1 << 20

_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_UID = re.compile(r"[0-9.]{1,64}")
_SOP_CLASS, _SOP_INSTANCE, _STUDY = 0x00080016, 0x00080018, 0x0020000D


@dataclass(frozen=True, slots=True)
class Identity:
    """Which object a data set is and which study it belongs to."""

    sop_class_uid: str
    sop_instance_uid: str
    study_uid: str


@dataclass(frozen=True, slots=True)
class Meta:
    """What the file meta information of a DICOM file says, and where its data set begins."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str
    offset: int


def uid(raw: bytes) -> str:
    """Return the UID that `raw` encodes.

    Raises
    ------
    BadInput
        It holds anything but digits and dots, or more than 64 of them (PS3.5 Section 9.1).
    """
    text = raw.decode("ascii", "replace").rstrip("\0 ")
    if not _UID.fullmatch(text):
        raise BadInput("UID: expected up to 64 digits and dots, got something else; the object is not kept")
    return text


def header(sop_class_uid: str, sop_instance_uid: str, transfer_syntax: str) -> bytes:
    """Return preamble, prefix and file meta information; the encoded data set follows it unchanged.

    The same three UIDs always give the same bytes, so that an object sent twice is one file.
    """
    group = (
        struct.pack("<HH2sHLH", 2, 0x0001, b"OB", 0, 2, 0x0100)
        + _element(0x0002, b"UI", sop_class_uid)
        + _element(0x0003, b"UI", sop_instance_uid)
        + _element(0x0010, b"UI", transfer_syntax)
        + _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID)
        + _element(0x0013, b"SH", IMPLEMENTATION_VERSION)
    )
    return bytes(128) + b"DICM" + struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(group)) + group


def _element(element: int, vr: bytes, value: str) -> bytes:
    raw = value.encode("ascii")
    raw += (b"\0" if vr == b"UI" else b" ") * (len(raw) % 2)
    return struct.pack("<HH2sH", 2, element, vr, len(raw)) + raw


def meta(data: bytes | bytearray | memoryview) -> Meta:
    """Read the file meta information of a DICOM file.

    Raises
    ------
    BadInput
        There is no prefix, or one of the three UIDs is missing or malformed.
    """
    if data[128:132] != b"DICM":
        raise BadInput("file: expected a DICOM file with the prefix DICM at byte 128, got none")
    found: dict[int, bytes] = {}
    position = 132
    while position + 8 <= len(data) and data[position : position + 2] == b"\x02\x00":
        tag, _, value, position = _next(data, position, "<", implicit=False)
        if position > len(data):
            raise BadInput(f"file meta information: an element ends {position - len(data)} bytes past the end")
        found[tag & 0xFFFF] = value
    try:
        return Meta(uid(found[0x0002]), uid(found[0x0003]), uid(found[0x0010]), position)
    except KeyError as error:
        raise BadInput("file meta information: expected class, instance and transfer syntax, got fewer") from error


def beginning(file: BinaryIO, last: int) -> tuple[memoryview, Meta]:
    """Read so much of a DICOM file that nothing lacks up to a tag of its data set: seldom more than `BEGINNING`.

    Parameters
    ----------
    last
        The highest tag that is looked for.

    Returns
    -------
    The bytes from the first on, and the file meta information.

    Raises
    ------
    BadInput
        As `meta`.
    OSError
        It cannot be read; a memory map would end the process instead.
    """
    data = file.read(BEGINNING)
    about = meta(data)
    if len(data) == BEGINNING and not _passes(memoryview(data)[about.offset :], about.transfer_syntax, last):
        data += file.read()
    return memoryview(data), about


def _passes(data: memoryview, transfer_syntax: str, last: int) -> bool:
    """Whether an element behind a tag begins in what is here of a data set."""
    try:
        return any(tag > last for tag, _, _ in _begun(data, transfer_syntax))
    except BadInput:
        return False


def identify(data: bytes | bytearray | memoryview, transfer_syntax: str) -> Identity:
    """Find the three UIDs of an encoded data set, skipping everything else.

    Parameters
    ----------
    data
        The data set as it was encoded, without file meta information.
    transfer_syntax
        How it is encoded.

    Raises
    ------
    BadInput
        A length points past the end, nesting is deeper than `MAX_DEPTH`, there are more than `MAX_ELEMENTS`
        before the UIDs, a deflated data set is broken, or a UID is missing or malformed.
    """
    wanted = (_SOP_CLASS, _SOP_INSTANCE, _STUDY)
    found: dict[int, bytes] = {}
    for tag, _, value in outermost(data, transfer_syntax):
        if tag in wanted:
            found[tag] = value
        if tag >= _STUDY:
            break
    missing = [f"{tag:08X}" for tag in wanted if tag not in found]
    if missing:
        raise BadInput(f"data set: expected UIDs at {', '.join(missing)}, got none; the object cannot be filed")
    return Identity(uid(found[_SOP_CLASS]), uid(found[_SOP_INSTANCE]), uid(found[_STUDY]))


def outermost(data: bytes | bytearray | memoryview, transfer_syntax: str) -> Iterator[tuple[int, bytes, bytes]]:
    """Walk the elements of the outermost level of an encoded data set, in their order.

    Yields
    ------
    Tag, VR (b"" if implicit) and value; b"" for a value of more than 256 bytes, and none for a sequence of undefined
    length.

    Raises
    ------
    BadInput
        As `identify`, when the walk gets there.
    """
    return ((tag, vr, value) for tag, vr, value in _begun(data, transfer_syntax) if value is not None)


def complete(data: bytes | bytearray | memoryview) -> None:
    """See that a DICOM file is not cut off; of a deflated one only its beginning is looked at.

    Raises
    ------
    BadInput
        It is none, or its last element ends past its end.
    """
    head = meta(data)
    if head.transfer_syntax != DEFLATED_LITTLE:
        for _ in outermost(memoryview(data)[head.offset :], head.transfer_syntax):
            pass


def _begun(data: bytes | bytearray | memoryview, transfer_syntax: str) -> Iterator[tuple[int, bytes, bytes | None]]:
    """Walk as `outermost`; yield an element with None where its length is undefined, or goes past the end."""
    if transfer_syntax == DEFLATED_LITTLE:
        try:
            # What is not inflated would be kept as a copy: so little is given that it is small.
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(memoryview(data)[:MAX_INFLATED], MAX_INFLATED)
        except zlib.error as error:
            raise BadInput("deflated data set: cannot be inflated") from error
    order = ">" if transfer_syntax == EXPLICIT_BIG else "<"
    modes = [transfer_syntax == IMPLICIT_LITTLE]  # whether VRs are implicit, one a level that is open
    position = walked = 0
    while position + 8 <= len(data):
        walked += 1
        if walked > MAX_ELEMENTS:
            raise BadInput(f"data set: more than {MAX_ELEMENTS} elements before what is looked for")
        tag, vr, value, position = _next(data, position, order, modes[-1])
        if position > len(data):
            if len(modes) == 1:
                yield tag, vr, None
            raise BadInput(f"data set: an element ends {position - len(data)} bytes past the end")
        if tag in (_ITEM_END, _SEQUENCE_END):
            if len(modes) == 1:
                raise BadInput("data set: a sequence ends that never began")
            modes.pop()
        elif value is _OPEN or value is _OPEN_IMPLICIT:
            if len(modes) == 1:
                yield tag, vr, None
            modes.append(modes[-1] or value is _OPEN_IMPLICIT)
            if len(modes) > MAX_DEPTH:
                raise BadInput(f"data set: nested deeper than {MAX_DEPTH} levels")
        elif len(modes) == 1:
            yield tag, vr, value


SHORT = 256  # bytes of 64 characters, the most of VR LO, in any character set (PS3.5 Section 6.2)
_OPEN, _OPEN_IMPLICIT = b"open", b"open implicit"  # told apart by identity from any value read


def nested(
    data: bytes | bytearray | memoryview, transfer_syntax: str, sequences: Container[int]
) -> Iterator[tuple[tuple[int, ...], int, bytes]]:
    """Walk the elements of an encoded data set with those inside of sequences, in their order.

    Parameters
    ----------
    transfer_syntax
        Implicit or Explicit VR Little Endian.
    sequences
        Tags of the sequences whose items are walked; others are passed over where their length is told.

    Yields
    ------
    The tags of the sequences around it, its tag and value.  Sequences and items are yielded where they begin, with
    b""; so is a value of more than 64 bytes.

    Raises
    ------
    BadInput
        A length points past the end of what holds it, a delimiter ends nothing, nesting is deeper than `MAX_DEPTH`, or
        there are more than `MAX_ELEMENTS`.
    """
    opened: list[tuple[int, int, bool]] = []  # tag, end or -1, implicit VR
    path: tuple[int, ...] = ()
    implicit, position, walked = transfer_syntax == IMPLICIT_LITTLE, 0, 0
    while True:
        while opened and position == opened[-1][1]:
            opened.pop()
            path = _sequences(opened)
        if position >= len(data):
            break
        walked += 1
        if walked > MAX_ELEMENTS:
            raise BadInput(f"data set: more than {MAX_ELEMENTS} elements")
        level = opened[-1][2] if opened else implicit
        tag, vr, length, start = _head(data, position, "<", level)
        end = min((end for _, end, _ in opened if end >= 0), default=len(data))
        if start + (0 if length == _UNDEFINED else length) > end:
            raise BadInput(f"data set: an element of {length} bytes ends past the end of what holds it")
        if tag in (_ITEM_END, _SEQUENCE_END):
            if not opened or opened.pop()[1] >= 0:
                raise BadInput("data set: a sequence ends that never began")
            path, position = _sequences(opened), start
            continue
        yield path, tag, bytes(data[start : start + length]) if length <= 64 and tag not in sequences else b""
        if tag == ITEM or tag in sequences or length == _UNDEFINED:
            unknown = vr == b"UN" and length == _UNDEFINED
            opened.append((tag, -1 if length == _UNDEFINED else start + length, level or unknown))
            if len(opened) > 2 * MAX_DEPTH:
                raise BadInput(f"data set: nested deeper than {MAX_DEPTH} levels")
            path, position = _sequences(opened), start
        else:
            position = start + length


def _sequences(opened: list[tuple[int, int, bool]]) -> tuple[int, ...]:
    return tuple(tag for tag, _, _ in opened if tag != ITEM)


def _next(data: bytes | bytearray | memoryview, at: int, order: str, implicit: bool) -> tuple[int, bytes, bytes, int]:
    """Read one element: its tag, VR, value (short ones only) and where the next begins, be that past the end."""
    tag, vr, length, start = _head(data, at, order, implicit)
    if length == _UNDEFINED:
        # An undefined length UN holds implicit VR (PS3.5 Section 6.2.2, note 2).
        return tag, vr, _OPEN_IMPLICIT if vr == b"UN" else _OPEN, start
    return tag, vr, bytes(data[start : start + length]) if length <= SHORT else b"", start + length


def _head(data: bytes | bytearray | memoryview, at: int, order: str, implicit: bool) -> tuple[int, bytes, int, int]:
    """Read the head of one element: its tag, VR (b"" if implicit), length and where its value begins."""
    vr = b""
    try:
        group, element = struct.unpack_from(order + "HH", data, at)
        if implicit or group == 0xFFFE:
            (length,) = struct.unpack_from(order + "L", data, at + 4)
            start = at + 8
        else:
            vr = bytes(data[at + 4 : at + 6])
            wide = vr in _LONG_VRS
            (length,) = struct.unpack_from(order + ("L" if wide else "H"), data, at + (8 if wide else 6))
            start = at + (12 if wide else 8)
    except struct.error as error:
        raise BadInput("data set: ends inside the head of an element") from error
    return group << 16 | element, vr, length, start
