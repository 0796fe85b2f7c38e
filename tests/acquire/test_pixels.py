"""Stored bits to values, against answers worked out the slow way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests import phantoms
from wetread.acquire import decode
from wetread.acquire.layout import read_layout
from wetread.acquire.parse import parse
from wetread.acquire.pixels import decode_pixels
from wetread.records import Image
from wetread.settings import Settings

SETTINGS = Settings()


def image_of(data: bytes) -> Image:
    (study,) = decode([("film.dcm", data)], SETTINGS)
    assert study.rejected == ()
    (image,) = study.images
    return image


def answer(stored: phantoms.Array, bits: int, signed: bool, inverse: bool, slope: float, intercept: float) -> Any:
    """Work the measured values out, one step at a time, in float64."""
    low, high = phantoms.stored_range(bits, signed)
    upright = high + low - stored if inverse else stored
    return upright * slope + intercept


def fits(image: Image, expected: Any) -> None:
    assert image.pixels.dtype in (np.uint8, np.uint16, np.int16, np.int32, np.float32)
    assert not image.pixels.flags.writeable
    if image.pixels.dtype == np.float32:
        np.testing.assert_allclose(image.pixels[0], expected, rtol=1e-6)
    else:
        np.testing.assert_array_equal(image.pixels[0], expected)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[tuple[int, int, int], bool]:
    allocated = draw(st.sampled_from([8, 16, 32]))
    stored = draw(st.integers(4, allocated))
    return (allocated, stored, draw(st.integers(stored - 1, allocated - 1))), draw(st.booleans())


NATIVE = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian)
RESCALES = ((1, 0), (1, -1024), (2, 7), (-1, 0), (-3, 5), (0.5, 0), (1, 0.25), (1e-3, -2))


@settings(max_examples=150, deadline=None)
@given(
    layout=layouts(),
    inverse=st.booleans(),
    rescale=st.sampled_from(RESCALES),
    junk=st.sampled_from([0, 0xFFFFFFFF, 0xA5A5A5A5]),
    syntax=st.sampled_from(NATIVE),
    shape=st.tuples(st.integers(32, 41), st.integers(32, 41)),
)
def test_any_bits_give_the_measured_values(
    layout: tuple[tuple[int, int, int], bool],
    inverse: bool,
    rescale: tuple[float, float],
    junk: int,
    syntax: str,
    shape: tuple[int, int],
) -> None:
    bits, signed = layout
    stored = phantoms.chest(*shape, *phantoms.stored_range(bits[1], signed))
    film = phantoms.make_film(
        stored,
        bits=bits,
        signed=signed,
        photometric="MONOCHROME1" if inverse else "MONOCHROME2",
        syntax=syntax,
        junk=junk,
        RescaleSlope=str(rescale[0]),
        RescaleIntercept=str(rescale[1]),
    )
    image = image_of(phantoms.to_bytes(film))
    assert image.pixels.shape == (1, *shape)
    fits(image, answer(stored, bits[1], signed, inverse, *rescale))


COMPRESSED = (uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.DeflatedExplicitVRLittleEndian)


@pytest.mark.parametrize("syntax", COMPRESSED)
@pytest.mark.parametrize("bits", [(8, 8, 7), (16, 10, 9), (16, 12, 11), (16, 15, 14), (16, 16, 15)])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_lossless_syntax_changes_nothing(
    syntax: str, bits: tuple[int, int, int], signed: bool, photometric: str
) -> None:
    stored = phantoms.chest(45, 37, *phantoms.stored_range(bits[1], signed))
    film = phantoms.make_film(stored, bits=bits, signed=signed, photometric=photometric, syntax=syntax)
    fits(image_of(phantoms.to_bytes(film)), answer(stored, bits[1], signed, photometric == "MONOCHROME1", 1, 0))


@pytest.mark.parametrize(
    ("bits", "signed", "kind"),
    [
        ((8, 8, 7), False, np.uint8),
        ((8, 8, 7), True, np.int16),
        ((16, 12, 11), False, np.uint16),
        ((16, 12, 11), True, np.int16),
        ((32, 24, 23), False, np.int32),
        ((32, 32, 31), False, np.float32),
    ],
)
def test_whole_numbers_stay_whole(bits: tuple[int, int, int], signed: bool, kind: type) -> None:
    assert image_of(phantoms.to_bytes(phantoms.make_film(bits=bits, signed=signed))).pixels.dtype == kind


def test_frames_of_one_instance_stay_together() -> None:
    stored = np.stack([phantoms.chest(40, 44) + frame for frame in range(4)])
    for syntax in (uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEGLSLossless):
        film = phantoms.make_film(stored, bits=(16, 13, 12), modality="US", syntax=syntax)
        np.testing.assert_array_equal(image_of(phantoms.to_bytes(film)).pixels, stored)


def test_a_frame_in_many_fragments() -> None:
    stored = phantoms.chest(40, 44)
    whole = phantoms.to_bytes(phantoms.make_film(stored, syntax=uid.JPEGLSLossless))
    start = whole.index(b"\xff\xd8\xff")
    frame = whole[start : whole.rindex(b"\xff\xd9") + 2]
    parts = [frame[at : at + 100] + b"" for at in range(0, len(frame), 100)]
    data = phantoms.encapsulated(phantoms.make_film(stored), uid.JPEGLSLossless, parts)
    np.testing.assert_array_equal(image_of(data).pixels[0], stored)


def lut(entries: list[int], first: int, bits: int, signed: bool = False) -> Sequence:
    item = Dataset()
    item.add_new(0x00283002, "SS" if signed else "US", [len(entries) % 65536, first, bits])  # 0: 65536
    item.add_new(0x00283004, "LO", "US")
    item.add_new(0x00283006, "OW", np.asarray(entries, "<u2").tobytes())
    return Sequence([item])


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_a_modality_lut_is_looked_up_and_clipped_at_its_ends(inverse: bool, signed: bool) -> None:
    low, high = phantoms.stored_range(8, signed)
    stored = phantoms.chest(40, 40, low, high)
    first = low + 40
    entries = [(index * index) % 4096 for index in range(100)]
    film = phantoms.make_film(
        stored,
        bits=(16, 8, 7),
        signed=signed,
        photometric="MONOCHROME1" if inverse else "MONOCHROME2",
        ModalityLUTSequence=lut(entries, first, 12, signed),
    )
    expected = np.array(entries)[np.clip(stored - first, 0, 99)]
    fits(image_of(phantoms.to_bytes(film)), 4095 - expected if inverse else expected)


def test_a_modality_lut_of_the_full_range_is_not_taken_for_a_blob() -> None:
    entries = [65535 - index for index in range(65536)]
    stored = phantoms.chest(40, 40, 0, 65535)
    film = phantoms.make_film(stored, bits=(16, 16, 15), ModalityLUTSequence=lut(entries, 0, 16))
    fits(image_of(phantoms.to_bytes(film)), 65535 - stored)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_larger_means_more_attenuating(photometric: str) -> None:
    shown = phantoms.chest()
    stored = shown if photometric == "MONOCHROME2" else 4095 - shown
    image = image_of(phantoms.to_bytes(phantoms.make_film(stored, photometric=photometric)))
    np.testing.assert_array_equal(image.pixels[0], shown)


@pytest.mark.parametrize("modality", ["CT", "PT"])
@pytest.mark.parametrize(("bits", "signed"), [((16, 12, 11), False), ((16, 16, 15), True)])
@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (2, 7), (0.5, -3)])
@pytest.mark.parametrize("frames", [1, 3])
def test_what_is_measured_in_a_unit_has_no_polarity(
    modality: str, bits: tuple[int, int, int], signed: bool, slope: float, intercept: float, frames: int
) -> None:
    stored = np.stack([phantoms.chest(40, 44, *phantoms.stored_range(12, signed))] * frames)
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        slices_ = phantoms.make_film(
            stored if frames > 1 else stored[0],
            bits=bits,
            signed=signed,
            photometric=photometric,
            modality=modality,
            RescaleSlope=str(slope),
            RescaleIntercept=str(intercept),
        )
        parsed = parse(phantoms.to_bytes(slices_), 1 << 30)
        made, _ = decode_pixels(parsed, read_layout(parsed.header, 1 << 20))
        np.testing.assert_array_equal(made, stored * slope + intercept)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True])
def test_a_modality_lut_of_a_ct_has_no_polarity(photometric: str, signed: bool) -> None:
    low, high = phantoms.stored_range(8, signed)
    stored = phantoms.chest(40, 40, low, high)
    entries = [(index * index) % 4096 for index in range(256)]
    table = lut(entries, low, 12, signed)
    table[0].ModalityLUTType = "HU"
    made = phantoms.make_film(
        stored,
        bits=(16, 8, 7),
        signed=signed,
        photometric=photometric,
        modality="CT",
        ModalityLUTSequence=table,
    )
    fits(image_of(phantoms.to_bytes(made)), np.array(entries)[stored - low])


def test_windows_are_not_applied() -> None:
    film = phantoms.make_film(WindowCenter="100", WindowWidth="10")
    np.testing.assert_array_equal(image_of(phantoms.to_bytes(film)).pixels[0], phantoms.chest())


def test_few_bits_are_content_enough() -> None:
    stored = (phantoms.chest(40, 40, 0, 99) > 50).astype(int)
    assert set(np.unique(image_of(phantoms.to_bytes(phantoms.make_film(stored, bits=(8, 1, 0)))).pixels)) == {0, 1}


def test_the_header_carries_no_pixels_and_no_blobs() -> None:
    film = phantoms.make_film()
    film.add_new(0x00091001, "OB", b"\1" * 10_000)
    film.add_new(0x00091002, "LO", "small")
    film.add_new(0x60003000, "OW", b"\0" * 960)
    film.add_new(0x00880200, "SQ", [Dataset()])
    header = image_of(phantoms.to_bytes(film)).header
    for tag in (0x7FE00010, 0x00091001, 0x60003000, 0x00880200):
        assert tag not in header
    assert header[0x00091002].value == "small"
    assert header.PatientID == phantoms.SECRETS[1]
    assert header.file_meta.TransferSyntaxUID == uid.ExplicitVRLittleEndian
