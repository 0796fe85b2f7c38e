"""Files made to hurt, each an object of its own that can also be sent by C-STORE: what every route must bear.

The codestreams and lengths that lie are those of `tests.acquire.test_hostile`; here are the headers.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
from PIL import Image as Pillow
from pydicom import uid
from pydicom.dataset import Dataset

from tests import phantoms
from tests.acquire import test_hostile as codestreams
from wetread.wire import part10

STORED = phantoms.chest(40, 36)
_ROOT = phantoms.ROOT.rsplit(".", 1)
#: What a name or a description may hold.
TEXTS = {
    "markup": "<script>alert(1)</script>^<img src=x>",
    "HL7 delimiters": r"A|B^C~D&E\F",
    "right to left": "Canary‮tneitaP^‭",
    "control characters": "A\x1b[2J\r\nMSH|^~\\&|B",
    "a format string": "%n%s{0.__class__}",
    "a path": "../../../../etc/passwd",
}
UIDS = {
    "UID of a path": "../../../../tmp/owned",
    "UID of an absolute path": "/etc/cron.d/owned",
    "UID of 65 characters": "1." + "2" * 63,
    "UID with a NUL": "1.2\0.3",
    "UID of nothing": "",
}


def film(**attributes: Any) -> bytes:
    """A film of which a little is wrong."""
    return phantoms.to_bytes(phantoms.make_film(STORED, **attributes))


def spoilt(tag: int, element: bytes) -> bytes:
    """A film with an element put in, or exchanged, as it is."""
    made = phantoms.make_film(STORED)
    if tag in made:
        del made[tag]
    return phantoms.insert(phantoms.to_bytes(made), tag, element)


def written(text: str, tags: dict[int, str]) -> bytes:
    """A film with a text in some attributes, as UTF-8."""
    made = phantoms.make_film(STORED)
    for tag in tags:
        made.pop(tag, None)
    data = phantoms.to_bytes(made)
    raw = text.encode() + b" " * (len(text.encode()) % 2)
    for tag, vr in tags.items():
        data = phantoms.insert(data, tag, phantoms.element(tag >> 16, tag & 0xFFFF, vr, raw))
    return data


def nested(levels: int, defined: bool) -> bytes:
    """Sequences in sequences, behind the UIDs that file an object."""
    tag, item = bytes.fromhex("40007502"), bytes.fromhex("feff00e0")
    if defined:
        inner = b""
        for _ in range(levels):
            whole = item + struct.pack("<L", len(inner)) + inner
            inner = tag + b"SQ\0\0" + struct.pack("<L", len(whole)) + whole
        return spoilt(0x00400275, inner)
    begin = (tag + b"SQ\0\0" + b"\xff" * 4 + item + b"\xff" * 4) * levels
    end = bytes.fromhex("feff0de000000000feffdde000000000") * levels
    return spoilt(0x00400275, begin + end)


def many_elements() -> bytes:
    """More private elements than any header has."""
    return spoilt(0x00410000, b"".join(struct.pack("<HH2sH", 0x41, n, b"LO", 0) for n in range(60_000)))


def small_elements() -> bytes:
    """Empty elements before the UIDs, so many that to walk them is work."""
    made = film()
    start = phantoms.data_set_start(made)
    return made[:start] + struct.pack("<HH2sH", 8, 5, b"CS", 0) * 1_000_000 + made[start:]


def bomb() -> bytes:
    """A film of 300 MiB in some 300 kB, deflated; its header tells the truth."""
    whole = phantoms.to_bytes(phantoms.make_film(STORED, Rows=12_500, Columns=12_500))
    start = phantoms.data_set_start(whole)
    head = whole[start : whole.rindex(b"\xe0\x7f\x10\0OW")]
    machine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = machine.compress(head + b"\xe0\x7f\x10\0OW\0\0" + struct.pack("<L", 2 * 12_500**2))
    packed += b"".join(machine.compress(bytes(1 << 20)) for _ in range(299)) + machine.flush()
    named = phantoms.rename_syntax(whole, uid.DeflatedExplicitVRLittleEndian)
    return named[: phantoms.data_set_start(named)] + packed


def layers() -> bytes:
    """A JPEG 2000 film that says it has 65535 quality layers (T.800 Table A.14)."""
    whole = phantoms.to_bytes(phantoms.make_film(STORED, syntax=uid.JPEG2000Lossless))
    at = whole.index(b"\xff\x52") + 6
    return whole[:at] + b"\xff\xff" + whole[at + 2 :]


HEADERS: dict[str, Callable[[], bytes]] = {
    "2^31-1 frames": lambda: film(NumberOfFrames=(1 << 31) - 1),
    "65535 x 65535": lambda: film(Rows=65535, Columns=65535),
    "no rows": lambda: film(Rows=0),
    "Rows as text": lambda: spoilt(0x00280010, b"\x28\0\x10\0LO\4\0many"),
    "Rows as bytes": lambda: spoilt(0x00280010, b"\x28\0\x10\0OB\0\0\3\0\0\0abc"),
    "Rows as a sequence": lambda: spoilt(0x00280010, b"\x28\0\x10\0SQ\0\0\0\0\0\0"),
    "Rows of three bytes": lambda: spoilt(0x00280010, b"\x28\0\x10\0US\3\0abc"),
    "a VR that is none": lambda: spoilt(0x00280010, b"\x28\0\x10\0\0\xff\2\0ab"),
    "nested 10 000 times": lambda: nested(10_000, defined=False),
    "nested 5 000 times, with lengths": lambda: nested(5_000, defined=True),
    "60 000 elements": many_elements,
    "a million empty elements": small_elements,
    "a deflate bomb": bomb,
    "65535 layers": layers,
    "an unknown character set": lambda: written("utf-7; DROP TABLE jobs", {0x00080005: "CS"}),
    "character sets that switch": lambda: spoilt(
        0x00100010, b"\x10\0\x10\0PN" + struct.pack("<H", 400) + b"\x1b$B\x1b(B\x1b$)C\x1b(J\xff" * 26 + b"\x1b" * 36
    ),
    "a slope without end": lambda: film(RescaleSlope="1e308", RescaleIntercept="1e308"),
    "a spacing of nothing": lambda: film(PixelSpacing=["0", "-1"]),
    "a look-up table that lies": lambda: film(ModalityLUTSequence=[lut([0, 0, 16], [1, 2, 3])]),
    **{name: partial(written, text, {0x00081030: "LO", 0x00100010: "PN"}) for name, text in TEXTS.items()},
    **{name: partial(written, text, {0x0020000D: "UI"}) for name, text in UIDS.items()},
}


def lut(descriptor: list[int], data: list[int]) -> Dataset:
    """An item of a Modality LUT Sequence."""
    made = Dataset()
    made.add_new(0x00283002, "US", descriptor)
    made.add_new(0x00283006, "US", data)
    return made


def picture_bomb() -> bytes:
    """A PNG of 20000 x 20000 in some 400 kB."""
    stream = BytesIO()
    Pillow.fromarray(np.zeros((20_000, 20_000), np.uint8)).save(stream, "PNG", compress_level=9)
    return stream.getvalue()


def archive(name: str, size: int) -> bytes:
    """A ZIP with one file of so many zeros."""
    stream = BytesIO()
    with ZipFile(stream, "w", ZIP_DEFLATED) as made:
        made.writestr(name, bytes(size))
    return stream.getvalue()


#: Only what a person names can be one of these.
FILES: dict[str, Callable[[], bytes]] = {
    "a picture bomb": picture_bomb,
    "an archive that unpacks a thousandfold": lambda: archive("film.dcm", 200 << 20),
    "an archive that leaves its folder": lambda: archive("../../owned.dcm", 1 << 10),
    "nothing": lambda: b"",
    "a preamble": lambda: bytes(128) + b"DICM",
}


def objects() -> dict[str, bytes]:
    """DICOM files that can be sent, each in a study of its own."""
    made = {name: make() for name, make in HEADERS.items()}
    made |= {name: make() for name, (_, make) in codestreams.HOSTILE.items()}
    return {name: unique(data, number) for number, (name, data) in enumerate(made.items())}


def unique(data: bytes, number: int) -> bytes:
    """The same file under other UIDs, and behind file meta information that can be sent."""
    head, tail = _ROOT[0].encode(), f"{2000 + number}"
    syntax = part10.meta(data).transfer_syntax
    if syntax == uid.DeflatedExplicitVRLittleEndian:  # its UIDs cannot be seen
        return data
    data = data.replace(phantoms.ROOT.encode(), head + b"." + tail.encode())
    return part10.header(phantoms.CR_CLASS, f"{_ROOT[0]}.{tail}.1.1.1", syntax) + data[phantoms.data_set_start(data) :]
