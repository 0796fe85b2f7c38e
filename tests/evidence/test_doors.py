"""The rows about files and documents: every way of a row does the same thing."""

from __future__ import annotations

import re
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread, uid

from wetread import acquire
from wetread.evidence import doors, series, slices
from wetread.evidence.figures import in_turn, medians
from wetread.settings import Settings


def test_ways_take_turns_and_the_first_turn_does_not_count() -> None:
    order: list[str] = []
    found = in_turn({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "b"] * 4
    assert {name: len(times) for name, times in found.items()} == {"a": 3, "b": 3}
    assert medians({"a": [3.0, 1.0, 2.0]}) == {"a": 2.0}


def test_both_ways_of_a_volume_give_the_same_values() -> None:
    files = series.files(5, 48)
    ((image,),) = [study.images for study in acquire.decode(files, Settings())]
    assert (image.pixels == np.stack([dcmread(BytesIO(data)).pixel_array for _, data in files]) - 1024.0).all()


def test_both_ways_of_a_segmentation_have_the_same_pixels() -> None:
    pytest.importorskip("highdicom")
    files, outlined = series.files(5, 48), series.masks(5, 48)
    assert not (outlined[0] & outlined[1]).any()
    ((image,),) = [study.images for study in acquire.decode(files, Settings())]
    ours = dcmread(BytesIO(doors.our_segmentation(series.result(image, outlined))))
    theirs = dcmread(BytesIO(doors.highdicoms([dcmread(BytesIO(data)) for _, data in files], outlined)))
    assert ours.NumberOfFrames == theirs.NumberOfFrames
    assert ours.PixelData.count(0) == theirs.PixelData.count(0)


def test_the_large_film_is_one_film_in_every_syntax() -> None:
    pytest.importorskip("data_store")
    plain, packed = (
        acquire.decode([("film.dcm", doors.large_film(syntax))], Settings(least_side=0))[0].images[0]
        for syntax in (uid.ExplicitVRLittleEndian, uid.JPEGLSLossless)
    )
    assert plain.pixels.shape == (1, doors.ROWS, doors.COLUMNS)
    assert (plain.pixels == packed.pixels).all()


def test_the_ways_from_files_to_a_volume_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "SLICES", 4)
    monkeypatch.setattr(series, "SIDE", 48)
    row = slices.volume(Settings(), 2)
    assert row.what.startswith("CT of 4 slices of 48 x 48")
    told = r"\d+ ms: [\d.]+ times the raw read .* \d+ ms are left behind the last slice, .* SHA-256 of every byte alone"
    assert re.search(told, row.found)
