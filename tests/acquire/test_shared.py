"""What the instances of one call share changes nothing: the quick ways against the plain ones, case by case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import phantoms, slices
from wetread.acquire import decode
from wetread.acquire.layout import Layout
from wetread.acquire.parse import parse
from wetread.acquire.pixels import BLANK_SHARE, Rescale, is_blank, rescaled
from wetread.acquire.quiet import quiet
from wetread.acquire.settle import Known
from wetread.errors import NotRead
from wetread.records import Image
from wetread.settings import Settings

SMALL = Path(pydicom.__file__).parent / "data"
FILES = sorted(file for file in SMALL.rglob("*") if file.is_file() and file.suffix not in (".py", ".pyc", ".json"))
KINDS = tuple(np.dtype(one) for one in ("u1", "u2", "i2", "i4"))


def taken_apart(data: bytes, known: Known | None) -> tuple[Any, ...]:
    """All that `parse` says of a file, or its refusal."""
    try:
        with quiet():
            parsed = parse(data, 1 << 30, known)
    except NotRead as refusal:
        return (refusal.code, refusal.detail)
    elements = [(int(one.tag), one.VR, repr(one.value)) for one in parsed.header.iterall()]
    return elements, parsed.pixel, parsed.syntax, sorted(parsed.unreadable), parsed.header.original_encoding


def test_known_values_change_nothing_on_any_file_of_pydicom() -> None:
    known: Known = {}
    for data in [file.read_bytes() for file in FILES if file.stat().st_size < 1 << 20]:
        plain = taken_apart(data, None)
        assert taken_apart(data, known) == plain
        assert taken_apart(data, known) == plain  # now that its values are known
    assert len(known) > 1000


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(132, 1400), st.integers(0, 255)), max_size=4))
def test_known_values_change_nothing_on_damaged_files(damage: list[tuple[int, int]]) -> None:
    good = phantoms.to_bytes(slices.series(np.zeros((1, 32, 32), np.int16))[0])
    bad = bytearray(good)
    for at, value in damage:
        bad[at % len(bad)] = value
    known: Known = {}
    taken_apart(good, known)
    assert taken_apart(bytes(bad), known) == taken_apart(bytes(bad), None)


def test_the_same_bytes_in_another_character_set_are_another_name() -> None:
    films = []
    for charset in ("ISO_IR 100", "ISO_IR 144"):
        data = phantoms.to_bytes(phantoms.make_film(SpecificCharacterSet="ISO_IR 100", PatientName="\xc4b"))
        films.append(data.replace(b"ISO_IR 100", charset.encode()))
    known: Known = {}
    assert len({str(parse(data, 1 << 30, known).header.PatientName) for data in films}) == 2


@pytest.mark.parametrize("vr", ["OB", "OW", "UN"])
def test_text_that_came_as_bytes_is_text(vr: str) -> None:
    """Filing and matching with orders take it for text too: who is on the image must be one to all."""
    film = phantoms.make_film(SpecificCharacterSet="ISO_IR 100", PatientID=None, PatientName=None)
    data = phantoms.to_bytes(film)
    for tag, value in ((0x00100020, b"4711 "), (0x00100010, b"M\xfcller^J ")):
        data = phantoms.insert(data, tag, phantoms.element(tag >> 16, tag & 0xFFFF, vr, value))
    fresh: Known = {}
    for known in (None, fresh):
        header = parse(data, 1 << 30, known).header
        assert (header["PatientID"].VR, header.PatientID) == ("LO", "4711")
        assert (header["PatientName"].VR, str(header.PatientName)) == ("PN", "M\xfcller^J")


@settings(deadline=None)
@given(
    st.sampled_from(("u1", "u2", "i2", "u4", "i4")), st.integers(-(2**31), 2**31 - 1), st.integers(-300, 300), st.data()
)
def test_a_rescale_wraps_around_to_the_right_value(stored_kind: str, intercept: int, slope: int, data: Any) -> None:
    limits = np.iinfo(stored_kind)
    given_values = data.draw(st.lists(st.integers(int(limits.min), int(limits.max)), min_size=1, max_size=6))
    right = [value * slope + intercept for value in given_values]
    fits = [kind for kind in KINDS if all(np.iinfo(kind).min <= one <= np.iinfo(kind).max for one in right)]
    for kind in fits:
        stored = np.array(given_values, stored_kind)
        assert rescaled(stored, Rescale(slope, intercept, kind)).tolist() == right
        out = np.empty(len(right), kind)
        assert rescaled(stored, Rescale(slope, intercept, kind), out) is out
        assert out.tolist() == right


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(("u1", "i2", "u2")), st.integers(0, 60), st.sampled_from((6, 12)))
def test_blank_is_what_the_median_says(seed: int, kind: str, others: int, bits: int) -> None:
    rng = np.random.default_rng(seed)
    limits = np.iinfo(kind)
    values = np.full(40 * 50, rng.integers(limits.min, limits.max, endpoint=True), kind)
    values[:others] = rng.integers(limits.min, limits.max, others, endpoint=True)
    stored = rng.permutation(values).reshape(1, 40, 50)
    levels = 2 if bits >= 8 else 0
    away = np.count_nonzero(np.abs(stored.astype(np.int64) - int(np.median(stored))) > levels)
    layout = Layout(40, 50, 1, 8 * stored.itemsize, bits, bits - 1, kind == "i2", False)
    assert is_blank(stored, layout) == (away < BLANK_SHARE * stored.size)


def volume(changes: dict[int, dict[str, Any]]) -> Image:
    """A small series whose slices differ in their rescale."""
    ramp = np.arange(4 * 32 * 32, dtype=np.int16).reshape(4, 32, 32) - 1000
    made = slices.series(ramp)
    for index, attributes in changes.items():
        for keyword, value in attributes.items():
            setattr(made[index], keyword, value)
    (study,) = decode(slices.blobs(made), Settings())
    (image,) = study.images
    return image


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, np.int16),
        ({1: {"RescaleSlope": "2", "RescaleIntercept": "-3000"}}, np.int16),
        ({1: {"RescaleSlope": "2", "RescaleIntercept": "65000"}}, np.int32),  # one slice needs more
        ({2: {"RescaleSlope": "0.5"}}, np.float32),
    ],
)
def test_slices_of_different_rescale_become_one_volume(changes: dict[int, dict[str, Any]], kind: type) -> None:
    image = volume(changes)
    stored = np.arange(4 * 32 * 32, dtype=np.float64).reshape(4, 32, 32) + 24
    for index in range(4):
        given_ = {"RescaleSlope": "1", "RescaleIntercept": "-1024"} | changes.get(index, {})
        stored[index] = stored[index] * float(given_["RescaleSlope"]) + float(given_["RescaleIntercept"])
    assert image.pixels.dtype == kind
    assert image.one_rescale == (not changes)
    assert (image.pixels == stored).all()
    assert not image.pixels.flags.writeable


def test_one_rescale_may_be_written_in_two_ways() -> None:
    assert volume({1: {"RescaleSlope": "1.0", "RescaleIntercept": "-1024.00"}}).one_rescale


def test_one_window_is_the_first_of_every_slice() -> None:
    first, second = (
        {"WindowCenter": centre, "WindowWidth": ["80", "2000"]} for centre in (["40", "400"], ["40.0", "9"])
    )
    assert volume(dict.fromkeys(range(4), first)).windows == ()
    assert volume(dict.fromkeys(range(3), first) | {3: second}).windows == ()
    assert volume({1: first}).windows == ((None, None, ""), (40.0, 80.0, ""), *[(None, None, "")] * 2)
    curved = volume(dict.fromkeys(range(4), first) | {2: first | {"VOILUTFunction": "SIGMOID"}}).windows
    assert [one[2] for one in curved] == ["", "", "SIGMOID", ""]


def test_a_single_slice_is_rescaled_too() -> None:
    plane = np.arange(32 * 32, dtype=np.int16).reshape(1, 32, 32) - 500
    (study,) = decode(slices.blobs(slices.series(plane)), Settings())
    assert (study.images[0].pixels == plane).all()
    assert not study.images[0].pixels.flags.writeable
