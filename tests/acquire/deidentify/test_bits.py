"""Nothing leaves beside the pixels: in bits that they do not use, in overlays, curves and thumbnails."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from tests import phantoms
from wetread.acquire.deidentify import Ledger, Profile, deidentify
from wetread.acquire.layout import Layout
from wetread.acquire.pixels import stored_values
from wetread.errors import Blocked
from wetread.routes import BurnedIn

#: Rows of a name, as an overlay would show it.
NAME = np.zeros((96, 80), bool)
NAME[40:48, 4:60] = np.random.default_rng(3).random((8, 56)) < 0.5
#: What our encoder of JPEG 2000 says of itself.
COMMENT = rb"\x00\x01Created by OpenJPEG version [0-9.]+"
#: Encodings of 16 bits that hold 12 bits of pixels: low, middle and high in the word.
PLACES = [(16, 12, 11), (16, 12, 13), (16, 12, 15)]


def film(**attributes: Any) -> Dataset:
    return phantoms.make_film(BurnedInAnnotation="NO", **attributes)


def overlaid(dataset: Dataset, bit: int, allocated: int = 16) -> Dataset:
    """Put a name into one bit of each pixel, and say so."""
    words = np.frombuffer(dataset.PixelData, "<u2").reshape(96, 80) & ~np.uint16(1 << bit)
    dataset.PixelData = (words | (NAME.astype(np.uint16) << bit)).tobytes()
    for element, vr, value in ((0x10, "US", 96), (0x11, "US", 80), (0x40, "CS", "G"), (0x50, "SS", [1, 1])):
        dataset.add_new(0x60000000 | element, vr, value)
    dataset.add_new(0x60000100, "US", allocated)
    dataset.add_new(0x60000102, "US", bit)
    return dataset


def copied(tmp_path: Path, data: bytes, *rules: BurnedIn) -> Dataset:
    with Ledger(tmp_path / "ledger") as ledger:
        made = deidentify(data, replace(Profile(), burned_in=rules), ledger).data
    return pydicom.dcmread(io.BytesIO(made))


def values(dataset: Dataset) -> Any:
    """What a reader makes of native pixels that extends the sign."""
    order = ">" if dataset.file_meta.TransferSyntaxUID == uid.ExplicitVRBigEndian else "<"
    raw = np.frombuffer(dataset.PixelData, f"{order}u{dataset.BitsAllocated // 8}")
    bits = (dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit)
    layout = Layout(96, 80, 1, *bits, bool(dataset.PixelRepresentation), False)
    return stored_values(raw.astype(raw.dtype.newbyteorder("=")), layout, bits[2] + 1 - bits[1])


def unused(dataset: Dataset) -> int:
    """Every bit that is set beside the values, in one word."""
    words = np.frombuffer(dataset.PixelData, "<u2")
    used = (1 << dataset.BitsStored) - 1 << dataset.HighBit + 1 - dataset.BitsStored
    return int(np.bitwise_or.reduce(words) & ~np.uint16(used))


@pytest.mark.parametrize("bit", [12, 15])
@pytest.mark.parametrize("declared", [True, False])
def test_an_overlay_in_the_pixels_goes_with_what_describes_it(tmp_path: Path, bit: int, declared: bool) -> None:
    source = overlaid(film(), bit)
    assert unused(source) == 1 << bit
    for element in [] if declared else [one for one in source if one.tag.group == 0x6000]:
        del source[element.tag]
    made = copied(tmp_path, phantoms.to_bytes(source))
    assert unused(made) == 0
    assert np.array_equal(values(made), values(source))
    assert not [element.tag for element in made if element.tag.group == 0x6000]


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian])
@pytest.mark.parametrize("bits", [*PLACES, (8, 6, 5), (32, 20, 21)])
@pytest.mark.parametrize("signed", [True, False])
def test_no_junk_leaves_and_no_pixel_changes(
    tmp_path: Path, bits: tuple[int, int, int], signed: bool, syntax: str
) -> None:
    """What fills the bits above depends on the sign alone."""
    made = []
    for junk in (0x5A5A5A5A, 0xA5A5A5A5):
        source = film(bits=bits, signed=signed, syntax=syntax, junk=junk)
        data = phantoms.to_bytes(source)
        made.append(copied(tmp_path, data))
        assert np.array_equal(values(made[-1]), values(pydicom.dcmread(io.BytesIO(data))))
    assert made[0].PixelData == made[1].PixelData
    assert made[0].file_meta.TransferSyntaxUID == syntax
    if not signed:
        clean = film(bits=bits, syntax=syntax)
        assert made[0].PixelData == pydicom.dcmread(io.BytesIO(phantoms.to_bytes(clean))).PixelData


def test_negative_values_stay_what_they_are_for_readers_of_whole_words(tmp_path: Path) -> None:
    low, high = phantoms.stored_range(12, True)
    extended = phantoms.chest(96, 80, low, high).astype("<i2")
    source = film(signed=True)
    for clean in (source.PixelData, extended.tobytes()):  # zeros, or the sign: neither tells anything
        source.PixelData = clean
        assert copied(tmp_path, phantoms.to_bytes(source)).PixelData == clean
    source.PixelData = (extended.view("<u2") ^ (NAME.astype(np.uint16) << 13)).tobytes()
    assert copied(tmp_path, phantoms.to_bytes(source)).PixelData == extended.tobytes()


def compressed(codec: str, junk: int) -> bytes:
    """A film of 12 bits in words of 16, all of which are compressed."""
    source = film(bits=(16, 16, 15), stored=phantoms.chest() | junk, syntax=codec)
    made = pydicom.dcmread(io.BytesIO(phantoms.to_bytes(source)))
    made.BitsStored, made.HighBit = 12, 11
    out = io.BytesIO()
    made.save_as(out)
    return out.getvalue()


@pytest.mark.parametrize("codec", [uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless])
def test_compressed_pixels_are_decoded_only_where_more_lies_in_them(tmp_path: Path, codec: str) -> None:
    clean = compressed(codec, 0)
    made = copied(tmp_path, clean)
    assert made.file_meta.TransferSyntaxUID == codec
    pixels = pydicom.dcmread(io.BytesIO(clean)).PixelData
    assert made.PixelData == re.sub(COMMENT, lambda found: bytes(len(found[0])), pixels)
    made = copied(tmp_path, compressed(codec, 0x5000))
    assert made.file_meta.TransferSyntaxUID == uid.ExplicitVRLittleEndian
    assert np.array_equal(values(made), phantoms.chest().ravel())
    assert unused(made) == 0


@pytest.mark.parametrize("codec", [uid.JPEG2000Lossless, uid.JPEGLSLossless])
def test_a_codestream_without_room_is_not_decoded(tmp_path: Path, codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wetread.acquire.deidentify.apply.explicit", None)
    assert copied(tmp_path, phantoms.to_bytes(film(syntax=codec))).file_meta.TransferSyntaxUID == codec


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"BitsStored": 0}, "NOT-READABLE"),
        ({"HighBit": 10}, "NOT-READABLE"),
        ({"HighBit": 16}, "NOT-READABLE"),
        ({"BitsAllocated": 12, "BitsStored": 11}, "NOT-READABLE"),
    ],
)
def test_what_cannot_be_told_from_the_pixels_stays(tmp_path: Path, changes: dict[str, Any], code: str) -> None:
    with pytest.raises(Blocked) as blocked:
        copied(tmp_path, phantoms.to_bytes(film(**changes)))
    assert blocked.value.code == code


def test_compressed_pixels_that_nobody_can_decode_stay(tmp_path: Path) -> None:
    codec = "1.2.840.10008.1.2.4.110"  # JPEG XL Lossless
    with pytest.raises(Blocked, match="NOT-READABLE"):
        copied(tmp_path, phantoms.encapsulated(film(), codec, [b"\xff\x0a not read"]))


@pytest.mark.parametrize(("bit", "allocated"), [(3, 16), (11, 12), (0, 16)])
def test_an_overlay_among_the_bits_of_pixels_is_text_burned_in(tmp_path: Path, bit: int, allocated: int) -> None:
    """Only rectangles can say where."""
    data = phantoms.to_bytes(overlaid(film(), bit, allocated))
    for rules in ((), (BurnedIn((), modality=("CR",)),)):
        with pytest.raises(Blocked) as blocked:
            copied(tmp_path, data, *rules)
        assert blocked.value.code == "BURNED-IN"
    made = copied(tmp_path, data, BurnedIn(((4, 40, 56, 8),), 96, 80))
    assert len({*made.pixel_array[40:48, 4:60].flat}) == 1


def test_an_overlay_of_its_own_is_no_text_in_the_pixels(tmp_path: Path) -> None:
    """Nor is one whose data were taken out before; it goes all the same."""
    source = film()
    source.add_new(0x60000010, "US", 96)
    for allocated, position in ((1, 0), (16, 0)):
        source.add_new(0x60000100, "US", allocated)
        source.add_new(0x60000102, "US", position)
        source.add_new(0x60003000, "OW", b"\1" * 960)
        made = copied(tmp_path, phantoms.to_bytes(source))
        assert made.PixelData == source.PixelData
        assert not [element.tag for element in made if element.tag.group == 0x6000]
    del source[0x60003000]
    source.add_new(0x60000100, "US", 1)
    assert copied(tmp_path, phantoms.to_bytes(source)).PixelData == source.PixelData
    source.add_new(0x60000102, "US", [0, 1])
    with pytest.raises(Blocked, match="NOT-READABLE"):
        copied(tmp_path, phantoms.to_bytes(source))


def test_overlays_curves_and_thumbnails_go(tmp_path: Path) -> None:
    """Wherever they stand, with all that describes them."""
    source, thumbnail, other = film(), film(), Dataset()
    for group in (0x6000, 0x601E, 0x60FE, 0x5000, 0x501E):
        source.add_new(group << 16 | 0x0010, "US", 96)
        source.add_new(group << 16 | 0x0022, "LO", "Canary one")
        source.add_new(group << 16 | 0x3000, "OW", b"Canary two")
    source.add_new(0x50000110, "US", [1, 2])
    source.add_new(0x50002500, "LO", "Canary three")
    source.add_new(0x60001500, "LO", "Canary four")
    del thumbnail.file_meta
    source.IconImageSequence, other.IconImageSequence = [thumbnail], [thumbnail]
    other.add_new(0x7FE00010, "OW", b"Canary five ")
    source.AcquisitionContextSequence = [other]
    made = copied(tmp_path, phantoms.to_bytes(source))
    assert {element.tag.group & 0xFF00 for element in made.iterall()} & {0x5000, 0x6000} == set()
    assert "IconImageSequence" not in {element.keyword for element in made.iterall()}
    assert [element.keyword for element in made.iterall()].count("PixelData") == 1
    assert "AcquisitionContextSequence" in made
    assert made.PixelData == source.PixelData
