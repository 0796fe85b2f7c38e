"""JPEG 2000 films by a lower level: the grid, the place and the answers of the film stay."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from tests import phantoms
from wetread.acquire import decode
from wetread.acquire.layout import Layout
from wetread.acquire.reduced import levels, reduced
from wetread.records import Image
from wetread.settings import Settings

EVERY, EARLY = Settings(least_side=0), Settings(least_side=60)


def shades(rows: int = 250, columns: int = 200, most: int = 4095) -> phantoms.Array:
    """A chest of smooth shades and a little noise, which a lower level keeps."""
    small = phantoms.chest(rows // 4, columns // 4).astype(np.float32)
    smooth = cv2.GaussianBlur(cv2.resize(small, (columns, rows), interpolation=cv2.INTER_CUBIC), (0, 0), 3)
    noise = np.random.default_rng(5).normal(0, 20, smooth.shape)
    return np.asarray(np.clip(smooth + noise, 0, 4095) * (most / 4095)).astype(np.int64)


def film(rows: int = 250, columns: int = 200, **more: object) -> Dataset:
    return phantoms.make_film(shades(rows, columns), **{"syntax": uid.JPEG2000Lossless, **more})  # type: ignore[arg-type]


def read(data: bytes, settings: Settings) -> Image:
    (study,) = decode([("film.dcm", data)], settings)
    (image,) = study.images
    return image


@pytest.mark.parametrize("sides", [(250, 200), (251, 203), (253, 202), (240, 201)])
def test_a_film_keeps_its_grid_and_its_place(sides: tuple[int, int]) -> None:
    data = phantoms.to_bytes(film(*sides))
    every, early = read(data, EVERY), read(data, EARLY)
    assert (every.reduction, early.reduction >= 2) == (1, True)
    assert replace(early, pixels=every.pixels, reduction=1, header=every.header) == every
    assert (early.pixels.shape, early.pixels.dtype) == (every.pixels.shape, every.pixels.dtype)
    assert not early.pixels.flags.writeable
    # What a model gets: half a pixel of shift would show here.
    size = (50, 62)
    ours, theirs = (
        cv2.resize(one.pixels[0], size, interpolation=cv2.INTER_AREA).astype(float) for one in (early, every)
    )
    assert np.abs(ours - theirs).mean() < 0.006 * 4095
    shift, _ = cv2.phaseCorrelate(*(one.pixels[0].astype(np.float32) for one in (every, early)))
    assert np.abs(shift).max() < 0.1


def test_the_longer_side_keeps_what_the_setting_says() -> None:
    data = phantoms.to_bytes(film(250, 200))
    assert [read(data, Settings(least_side=side)).reduction for side in (251, 126, 125, 62, 63)] == [1, 1, 2, 4, 2]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_polarity_and_rescale_are_applied_as_ever(photometric: str) -> None:
    data = phantoms.to_bytes(film(photometric=photometric, RescaleSlope="2", RescaleIntercept="-100"))
    every, early = (read(data, one).pixels.astype(float) for one in (EVERY, EARLY))
    assert abs(early.mean() - every.mean()) < 4
    assert np.corrcoef(early.ravel(), every.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("bits", [(8, 8, 7), (16, 10, 9), (16, 16, 15)])
def test_values_stay_in_their_range(bits: tuple[int, int, int]) -> None:
    made = phantoms.make_film(shades(most=(1 << bits[1]) - 1), bits=bits, syntax=uid.JPEG2000Lossless)
    data = phantoms.to_bytes(made)
    every, early = (read(data, one).pixels.astype(float) for one in (EVERY, EARLY))
    assert np.abs(early - every).mean() < 0.02 * (1 << bits[1])


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("signed", {"signed": True, "bits": (16, 13, 12)}),
        ("CT", {"modality": "CT", "RescaleSlope": "1", "RescaleIntercept": "-1024"}),
        ("JPEG-LS", {"syntax": uid.JPEGLSLossless}),
        ("RLE", {"syntax": uid.RLELossless}),
    ],
)
def test_what_is_no_plain_film_is_decoded_whole(name: str, made: dict[str, object]) -> None:
    data = phantoms.to_bytes(film(**made))  # type: ignore[arg-type]
    assert read(data, EARLY).reduction == 1, name
    assert (read(data, EARLY).pixels == read(data, EVERY).pixels).all()


def codestream(**changes: int) -> bytes:
    """The main header of a frame of 200 x 250, 12 bit, 5 levels; `changes` are fields by name."""
    said = {"x1": 200, "y1": 250, "x0": 0, "y0": 0, "w": 200, "h": 250, "tx": 0, "ty": 0, "bits": 11, "step": 1}
    said |= {"levels": 5, "coc": 0, "tile": 0} | changes
    word = [said[name].to_bytes(4, "big") for name in ("x1", "y1", "x0", "y0", "w", "h", "tx", "ty")]
    component = bytes([said["bits"], said["step"], said["step"]])
    siz = b"\xff\x51\x00\x29\x00\x00" + b"".join(word) + b"\x00\x01" + component
    cod = b"\xff\x52\x00\x0c\x00\x00\x00\x01\x00" + bytes([said["levels"]]) + b"\x04\x04\x00\x01"
    coc = b"\xff\x53\x00\x09\x00\x00\x05\x04\x04\x00\x01" if said["coc"] else b""
    tile = cod if said["tile"] else b""
    return b"\xff\x4f" + siz + cod + coc + b"\xff\x90\x00\x0a" + bytes(8) + tile + b"\xff\x93\x00\x00" + bytes(99)


LAYOUT = Layout(250, 200, 1, 16, 12, 11, False, False)


@pytest.mark.parametrize("several", [True, False])
def test_several_threads_decode_a_film(monkeypatch: pytest.MonkeyPatch, several: bool) -> None:
    assert int(os.environ["OPJ_NUM_THREADS"]) == len(os.sched_getaffinity(0))
    if not several:
        monkeypatch.delenv("OPJ_NUM_THREADS")
    data = phantoms.to_bytes(film(1500, 1200))
    frame = data[data.index(b"\xff\x4f\xff\x51") :]
    layout = replace(LAYOUT, rows=1500, columns=1200, level=1)
    start = time.process_time(), time.thread_time()
    reduced(frame, layout)
    spent, here = time.process_time() - start[0], time.thread_time() - start[1]
    assert (spent > 1.3 * here) == several  # others have worked on it


@pytest.mark.parametrize(
    "odd",
    [
        {"x0": 1},
        {"y0": 1},
        {"tx": 1},
        {"ty": 1},
        {"w": 100},
        {"h": 100},
        {"bits": 10},
        {"bits": 0x80 | 11},
        {"step": 2},
        {"levels": 0},
        {"coc": 1},
        {"tile": 1},
    ],
    ids=str,
)
def test_what_is_unusual_in_the_codestream_is_decoded_whole(odd: dict[str, int]) -> None:
    assert levels(codestream(), LAYOUT, 62) == 2
    assert levels(codestream(**odd), LAYOUT, 62) == 0


def test_a_codestream_cut_anywhere_in_its_header_is_none() -> None:
    whole = codestream()
    for end in range(len(whole) - 101):
        assert levels(whole[:end], LAYOUT, 62) == 0


def test_a_damaged_codestream_is_an_image_or_a_refusal() -> None:
    data, rng = phantoms.to_bytes(film()), np.random.default_rng(7)
    start = data.index(b"\xff\x4f\xff\x51")
    codes = set()
    for number in range(120):
        bad = bytearray(data)
        last = start + 200 if number % 2 else len(data)  # the headers of the codestream, or anywhere in it
        for at in rng.integers(start, last, 3):
            bad[at] = rng.integers(256)
        (study,) = decode([("film.dcm", bytes(bad))], EARLY)
        codes |= {one.refusal.code for one in study.rejected} | {f"1/{one.reduction}" for one in study.images}
    assert {"BAD-PIXELS", "1/4"} <= codes <= {"BAD-PIXELS", "TRUNCATED-PIXELS", "BLANK-IMAGE", "1/1", "1/2", "1/4"}
