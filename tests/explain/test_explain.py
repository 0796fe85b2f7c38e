"""A map, its trust, and the pictures made of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.report import series
from wetread.explain import display, drawn, explain, foreground, montage, pictures, positive
from wetread.measures import energy_inside
from wetread.records import FULL_SCALE, Box, Code, Finding, ModelIdentity, Result

MODEL = ModelIdentity("m", "1", "fp32", "0" * 64, "2.25.1", "Wetread", Code("123110", "DCM", "AI"), "e", "1", "CPU", "")
FINDING = Finding(Code("233604007", "SCT", "Pneumonia"), 0.9, 0.5, True, MODEL, "2.25.2", "pneumonia")


def organ() -> np.ndarray:
    mask = np.zeros((200, 160), bool)
    mask[40:160, 20:70] = mask[40:160, 90:140] = True
    return mask


def test_positive_keeps_what_speaks_for_the_finding() -> None:
    evidence = np.array([[-3.0, 0.0], [2.0, 4.0]], np.float32)
    assert positive(evidence).tolist() == [[0, 0], [32768, FULL_SCALE]]
    assert not positive(-np.ones((3, 3), np.float32)).any()


def test_share_inside_the_organ() -> None:
    heat = np.zeros((200, 160), np.float32)
    heat[60:100, 30:60] = 1.0
    assert energy_inside(heat, organ()) == pytest.approx(1.0)
    heat[:] = 1.0
    assert energy_inside(heat, organ()) == pytest.approx(organ().mean())
    assert energy_inside(np.zeros((200, 160), np.float32), organ()) == 0.0


WHOLE = Box(0, 0, 200, 160)


def test_map_that_looks_elsewhere_is_not_trusted() -> None:
    heat = np.zeros((200, 160), np.uint16)
    heat[:20, :20] = FULL_SCALE
    heat[60:64, 30:34] = FULL_SCALE
    judged = explain(FINDING, heat, organ(), WHOLE, 0.6)
    assert not judged.trustworthy
    assert judged.inside_share < judged.bound == 0.6
    assert "Do not trust" in judged.sentence
    heat[:20, :20] = 0
    assert explain(FINDING, heat, organ(), WHOLE, 0.6).trustworthy


def test_share_just_below_its_bound_reads_as_below() -> None:
    """Both would be 92 % without a decimal: a map that is not trusted as it has what was expected."""
    heat = np.zeros((200, 160), np.uint16)
    heat[60:64, 30:70], heat[0, :14] = FULL_SCALE, FULL_SCALE
    said = explain(FINDING, heat, organ(), WHOLE, 0.925).sentence
    assert "only 92.0% of the heat map lies inside the lungs (at least 92.5% expected)" in said


def test_map_no_better_than_chance_is_not_trusted() -> None:
    """A map that is nearly the same everywhere, on a crop that is nearly all lung."""
    seen, heat = Box(50, 20, 150, 80), np.zeros((200, 160), np.uint16)
    heat[seen.y0 : seen.y1, seen.x0 : seen.x1 + 8] = FULL_SCALE
    judged = explain(FINDING, heat, organ(), seen, 0.6)
    assert judged.inside_share > 0.6
    assert judged.bound == pytest.approx(50 / 60, abs=0.05)
    assert not judged.trustworthy


def test_empty_map_is_not_trusted() -> None:
    judged = explain(FINDING, np.zeros((200, 160), np.uint16), organ(), WHOLE, 0.0)
    assert not judged.trustworthy
    assert "no evidence" in judged.sentence


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32"])
def test_display_spans_the_grey_scale_in_the_physical_aspect(dtype: str) -> None:
    pixels = (np.add.outer(np.arange(900), np.arange(1000)) / 8).astype(dtype)
    film = display(pixels, 2.0)
    assert film.dtype == np.uint8
    assert film.shape == (660, 367)
    assert film.min() == 0
    assert film.max() == 255


def test_pictures_show_contour_and_heat() -> None:
    film = display(np.tile(np.arange(160, dtype=np.uint16), (200, 1)), 1.0)
    heat = np.zeros((200, 160), np.uint16)
    heat[100:110, 40:50] = FULL_SCALE
    plain, outlined, heated = pictures(film, [organ()], heat, 0.8)
    assert [p.name for p in (plain, outlined, heated)] == ["film", "contours", "heat"]
    assert (plain.rgb[40, 45] != outlined.rgb[40, 45]).any()
    assert (plain.rgb[100, 10] == outlined.rgb[100, 10]).all()
    assert int(heated.rgb[105, 45, 0]) > int(outlined.rgb[105, 45, 0])
    assert [p.name for p in pictures(film, [organ()], None, 0.8)] == ["film", "contours"]


def test_body_on_a_slice_with_what_it_encloses() -> None:
    slice_ = np.full((80, 90), -1000, np.int16)
    y, x = np.ogrid[:80, :90]
    body = ((y - 40) / 30) ** 2 + ((x - 45) / 35) ** 2 < 1
    slice_[body] = 50
    slice_[30:50, 30:40] = -850  # lung inside the body
    assert (foreground(slice_) == body).mean() > 0.98


def test_explanation_of_a_series_names_slice_and_organ() -> None:
    heat = np.full((200, 160), FULL_SCALE, np.uint16)
    judged = explain(replace(FINDING, peak=7), heat, organ(), WHOLE, 0.0, "body")
    assert (judged.slice, judged.organ) == (7, "body")
    assert "inside the body, which is" in judged.sentence


def test_montage_runs_over_what_is_outlined() -> None:
    volume = np.zeros((30, 40, 50), np.int16) + np.arange(30, dtype=np.int16).reshape(30, 1, 1)
    mask = np.zeros(volume.shape, bool)
    mask[5:20, 10:20, 10:20] = True
    made = montage(volume, 2.0, [mask])
    assert made.caption == "Slices 6 to 20 of 30"
    height, width = made.rgb.shape[:2]
    assert max(height, width) <= 660
    assert height / width == pytest.approx(40 * 2.0 / 50, rel=0.02)
    tile = made.rgb[: height // 3, : width // 3].astype(int)
    assert (tile.max(-1) - tile.min(-1)).max() > 50  # an outline in colour
    assert montage(volume[:2], 1.0, []).caption == "Slices 1 to 2 of 2"


def test_small_slice_is_enlarged() -> None:
    slice_ = np.arange(51 * 35).reshape(51, 35).astype(np.uint16)
    shown = display(slice_, 1.0, (0.0, 51.0 * 35), enlarge=True)
    assert shown.shape == (660, 453)
    assert shown.max() > 250


@pytest.mark.parametrize("shape", [(32, 30_000), (30_000, 32)])
def test_a_strip_has_a_picture(shape: tuple[int, int]) -> None:
    film = display(np.zeros(shape, np.uint16), 1.0)
    assert max(film.shape) == 660
    assert min(film.shape) >= 1


def test_a_finding_with_a_threshold_of_0_has_pictures() -> None:
    image = series.image("slice")
    always = replace(FINDING, probability=0.0, threshold=0.0)
    result = Result(image.study_uid, image.source, image.digest, image.header, image, findings=(always,))
    assert [one.name for one in drawn(image, result)] == ["film"]
