"""Spacing, aspect and sides."""

from __future__ import annotations

from typing import Any

import pytest

from tests import phantoms
from wetread.acquire import decode
from wetread.records import Image
from wetread.settings import Settings


def image_with(**attributes: Any) -> Image:
    film = phantoms.make_film(**{"PixelSpacing": None, **attributes})
    (study,) = decode([("film.dcm", phantoms.to_bytes(film))], Settings())
    return study.images[0]


@pytest.mark.parametrize(
    ("attributes", "spacing"),
    [
        ({}, None),
        ({"PixelSpacing": [0.2, 0.1]}, (1.0, 0.2, 0.1)),
        ({"PixelSpacing": [0.2, 0.2], "ImagerPixelSpacing": [0.3, 0.3]}, (1.0, 0.2, 0.2)),
        ({"ImagerPixelSpacing": [0.3, 0.3]}, (1.0, 0.3, 0.3)),
        (
            {"ImagerPixelSpacing": [0.3, 0.3], "EstimatedRadiographicMagnificationFactor": "1.5"},
            (1.0, pytest.approx(0.2), pytest.approx(0.2)),
        ),
        ({"ImagerPixelSpacing": [0.3, 0.3], "EstimatedRadiographicMagnificationFactor": "0"}, (1.0, 0.3, 0.3)),
        ({"NominalScannedPixelSpacing": [0.14, 0.14]}, (1.0, 0.14, 0.14)),
        ({"PixelSpacing": ["0.000", "0.000"]}, None),
        ({"PixelSpacing": ["0.000", "0.000"], "ImagerPixelSpacing": [0.3, 0.3]}, (1.0, 0.3, 0.3)),
        ({"PixelSpacing": [-0.2, 0.2]}, None),
        ({"PixelSpacing": [200, 200]}, None),
        ({"PixelSpacing": [0.1, 1]}, None),
        ({"PixelSpacing": [19.0, 19.0]}, None),  # a film of meters
        ({"PixelSpacing": [19.0, 19.0], "ImagerPixelSpacing": [0.3, 0.3]}, (1.0, 0.3, 0.3)),
        ({"PixelSpacing": [19.0, 19.0], "modality": "MR"}, (1.0, 19.0, 19.0)),
        ({"PixelSpacing": ["0.2"]}, None),
        ({"PixelSpacing": [0.7, 0.7], "SliceThickness": "2.5", "modality": "MR"}, (2.5, 0.7, 0.7)),
    ],
)
def test_spacing(attributes: dict[str, Any], spacing: object) -> None:
    assert image_with(**attributes).spacing_mm == spacing


@pytest.mark.parametrize(
    ("attributes", "aspect"),
    [
        ({}, 1.0),
        ({"PixelAspectRatio": [3, 2]}, 1.5),
        ({"PixelAspectRatio": [0, 0]}, 1.0),
        ({"PixelSpacing": [0.2, 0.1], "PixelAspectRatio": [3, 2]}, 2.0),
    ],
)
def test_aspect_is_height_over_width(attributes: dict[str, Any], aspect: float) -> None:
    assert image_with(**attributes).pixel_aspect == pytest.approx(aspect)


@pytest.mark.parametrize(
    ("orientation", "side"),
    [
        (["L", "F"], "L"),
        (["R", "F"], "R"),
        (["A", "F"], "A"),
        (["PL", "F"], "P"),
        (["F", "L"], ""),
        (None, ""),
        (["LP", "F"], "L"),
    ],
)
def test_row_direction(orientation: list[str] | None, side: str) -> None:
    assert image_with(PatientOrientation=orientation).row_direction == side


@pytest.mark.parametrize(
    ("orientation", "end"),
    [
        (["L", "F"], "F"),
        (["L", "FR"], "F"),
        (["L", "H"], "H"),
        (["F", "R"], "R"),
        (["L"], ""),
        (["L", "X"], ""),
        (None, ""),
    ],
)
def test_column_direction(orientation: list[str] | None, end: str) -> None:
    assert image_with(PatientOrientation=orientation).column_direction == end


@pytest.mark.parametrize(
    ("attributes", "side"),
    [
        ({}, ""),
        ({"Laterality": "L"}, "L"),
        ({"ImageLaterality": "R"}, "R"),
        ({"Laterality": "", "ImageLaterality": "R"}, "R"),
        ({"Laterality": "L", "ImageLaterality": "R"}, "L"),
        ({"ImageLaterality": "B"}, ""),
        ({"ImageLaterality": "U"}, ""),
    ],
)
def test_laterality(attributes: dict[str, str], side: str) -> None:
    assert image_with(**attributes).laterality == side
