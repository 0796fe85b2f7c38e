"""Pixel Data leaves with pixels alone: what else stands in codestreams and behind pixels is overwritten, or refused."""

from __future__ import annotations

import io
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from tests import phantoms
from tests.acquire.deidentify.test_bits import COMMENT
from wetread.acquire.deidentify import Ledger, Profile, deidentify
from wetread.errors import Blocked

CANARY = b"Canary^Jane 19310407"
JPEG, LS, J2K, RLE = uid.JPEGBaseline8Bit, uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.RLELossless
JPEG_XL, H264 = "1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.102"


def film(**attributes: Any) -> Dataset:
    return phantoms.make_film(bits=(8, 8, 7), BurnedInAnnotation="NO", **attributes)


@lru_cache(maxsize=8)
def frame(syntax: str) -> bytes:
    """A codestream without a word in it; JPEG is progressive, of several scans."""
    if syntax == JPEG:
        out = io.BytesIO()
        Image.fromarray(phantoms.chest(96, 80, 0, 255).astype(np.uint8)).save(out, "JPEG", progressive=True)
        return out.getvalue()
    data = pydicom.dcmread(io.BytesIO(phantoms.to_bytes(film(syntax=syntax)))).PixelData
    (made,) = generate_frames(data, number_of_frames=1)
    return re.sub(COMMENT, lambda found: bytes(len(found[0])), made)


def segment(marker: int, before: bytes = b"") -> bytes:
    """A segment of JPEG or JPEG 2000 that ends with the canary."""
    return marker.to_bytes(2, "big") + (len(before) + len(CANARY) + 2).to_bytes(2, "big") + before + CANARY


def put(code: bytes, made: bytes, before: bytes) -> bytes:
    """Put something in front of the last of some markers."""
    at = code.rindex(before)
    return code[:at] + made + code[at:]


def in_tile_part(code: bytes) -> bytes:
    start, made = code.index(b"\xff\x90") + 6, segment(0xFF64, b"\0\0")
    length = int.from_bytes(code[start : start + 4], "big") + len(made)
    return put(code[:start] + length.to_bytes(4, "big") + code[start + 4 :], made, b"\xff\x93")


JFIF = b"JFIF\0\1\1\0\0\1\0\1\1\7"
ADOBE = b"Adobe\0\x64\0\0\0\0\0"
#: Where it stands -> the codestream.
MADE = {
    "comment": (JPEG, put(frame(JPEG), segment(0xFFFE), b"\xff\xda")),
    "EXIF": (JPEG, put(frame(JPEG), segment(0xFFE1), b"\xff\xc2")),
    "thumbnail": (JPEG, frame(JPEG)[:2] + segment(0xFFE0, JFIF) + frame(JPEG)[2:]),
    "colours": (JPEG, put(frame(JPEG), segment(0xFFEE, ADOBE), b"\xff\xc2")),
    "behind JPEG": (JPEG, frame(JPEG) + CANARY),
    "JPEG-LS": (LS, put(frame(LS), b"\xff" + segment(0xFFE8) + segment(0xFFFE), b"\xff\xf7")),
    "behind JPEG-LS": (LS, frame(LS) + CANARY),
    "JPEG 2000": (J2K, put(frame(J2K), segment(0xFF64, b"\0\0"), b"\xff\x5c")),
    "tile-part": (J2K, in_tile_part(frame(J2K))),
    "up to the end": (J2K, re.sub(rb"(\xff\x90\0\n..).{4}", rb"\1\0\0\0\0", frame(J2K), flags=re.S) + CANARY),
    "RLE header": (RLE, frame(RLE)[:44] + CANARY + frame(RLE)[64:]),
    "behind RLE": (RLE, frame(RLE) + CANARY),
}


def copied(tmp_path: Path, data: bytes) -> Dataset:
    with Ledger(tmp_path / "ledger") as ledger:
        return pydicom.dcmread(io.BytesIO(deidentify(data, Profile(), ledger).data))


@pytest.mark.parametrize("fragments", [1, 2])
@pytest.mark.parametrize("where", MADE)
def test_nothing_but_the_words_of_a_codestream_changes(tmp_path: Path, where: str, fragments: int) -> None:
    syntax, code = MADE[where]
    within = min(code.index(CANARY) + 8, len(code) - len(CANARY) - 4) & ~1  # the first words if they are not behind
    middle = within if fragments > 1 else len(code)
    parts = [[one[:middle], one[middle:]][:fragments] for one in (code, code.replace(CANARY, bytes(len(CANARY))))]
    given, wanted = (phantoms.encapsulated(film(), syntax, one) for one in parts)
    made = copied(tmp_path, given)
    assert made.PixelData == pydicom.dcmread(io.BytesIO(wanted)).PixelData
    assert made.file_meta.TransferSyntaxUID == syntax


def test_nothing_stays_behind_native_pixels(tmp_path: Path) -> None:
    clean = film()
    data = phantoms.to_bytes(film(PixelData=clean.PixelData + CANARY))
    assert copied(tmp_path, data).PixelData == clean.PixelData


def test_a_file_that_is_cut_off_stays(tmp_path: Path) -> None:
    whole = phantoms.to_bytes(film())
    for less in (2, len(film().PixelData) // 2):
        with pytest.raises(Blocked, match=r"NOT-READABLE.*make \d+ bytes of pixels, the file has \d+"):
            copied(tmp_path, whole[:-less])


@pytest.mark.parametrize(
    ("syntax", "frames"),
    [
        (JPEG, [frame(JPEG)[:-2]]),
        (JPEG, [CANARY + frame(JPEG)]),
        (JPEG, [put(frame(JPEG), segment(0xFFF0), b"\xff\xda")]),
        (JPEG, [put(frame(JPEG), b"\xff\xfe\xff\xff", b"\xff\xda")]),
        (JPEG, [frame(JPEG), frame(JPEG)]),
        (J2K, [b"\0\0\0\x0cjP  \r\n\x87\n" + frame(J2K)]),
        (J2K, [put(frame(J2K), segment(0xFF30), b"\xff\x5c")]),
        (J2K, [frame(J2K)[:-200]]),
        (RLE, [frame(RLE)[:-200]]),
        (RLE, [b"\2" + frame(RLE)[1:]]),
        (RLE, [frame(RLE)[:64] + b"\x7f" + frame(RLE)[64:]]),
        (JPEG_XL, [b"\xff\x0a"]),
        (H264, [b"\0\0\1\x09"]),
    ],
)
def test_a_codestream_that_cannot_be_followed_stays(tmp_path: Path, syntax: str, frames: list[bytes]) -> None:
    with pytest.raises(Blocked, match="NOT-READABLE"):
        copied(tmp_path, phantoms.encapsulated(film(), syntax, frames))


def test_a_frame_that_nobody_declared_stays(tmp_path: Path) -> None:
    with pytest.raises(Blocked, match="NOT-READABLE"):
        copied(tmp_path, phantoms.to_bytes(film(PixelData=film().PixelData * 2)))
