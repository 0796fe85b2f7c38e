"""An object decoded for others: what was lost stays told."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from tests import phantoms
from wetread.acquire.plain import explicit
from wetread.settings import Settings


def jpeg(**tags: Any) -> bytes:
    """A film in JPEG Baseline."""
    made = phantoms.make_film(bits=(8, 8, 7), **tags)
    pixels = np.random.default_rng(1).integers(0, 255, (made.Rows, made.Columns), np.uint8)
    code = cv2.imencode(".jpg", pixels)[1].tobytes()
    made.PixelData = encapsulate([code])
    made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", True
    made.file_meta.TransferSyntaxUID, file = uid.JPEGBaseline8Bit, io.BytesIO()
    pydicom.dcmwrite(file, made, enforce_file_format=True)
    return file.getvalue()


def told(data: bytes) -> tuple[Any, ...]:
    made = pydicom.dcmread(io.BytesIO(explicit(data, Settings())))
    assert made.file_meta.TransferSyntaxUID == uid.ExplicitVRLittleEndian
    return tuple(str(made.get(f"LossyImageCompression{part}", "")) for part in ("", "Ratio", "Method"))


def test_a_loss_that_only_the_encoding_told_is_told_by_attributes() -> None:
    data = jpeg()
    source: Dataset = pydicom.dcmread(io.BytesIO(data))
    flag, ratio, method = told(data)
    assert (flag, method) == ("01", "ISO_10918_1")
    assert float(ratio) == pytest.approx(source.Rows * source.Columns / len(source.PixelData), rel=1e-3)


def test_what_the_image_says_of_its_loss_stays() -> None:
    before = {"LossyImageCompression": "01", "LossyImageCompressionRatio": "9.5"}
    assert told(jpeg(**before)) == ("01", "9.5", "ISO_10918_1")
    assert told(jpeg(**before, LossyImageCompressionMethod="ISO_15444_1")) == ("01", "9.5", "ISO_15444_1")


@pytest.mark.parametrize("high_bit", [11, 13, 15])
def test_words_are_decoded_as_they_are(high_bit: int) -> None:
    """What stands beside the values, and where they stand, is told by High Bit."""
    film = phantoms.make_film(bits=(16, 12, high_bit), junk=0xA5A5, syntax=uid.RLELossless)
    words = film.PixelData
    assert pydicom.dcmread(io.BytesIO(explicit(phantoms.to_bytes(film), Settings()))).PixelData == words


@pytest.mark.parametrize("declared", [None, "00"])
def test_nothing_is_lost_without_loss(declared: str | None) -> None:
    stored = phantoms.chest(96, 80, *phantoms.stored_range(12, False))
    film = phantoms.make_film(stored, syntax=uid.JPEG2000Lossless, LossyImageCompression=declared)
    assert told(phantoms.to_bytes(film)) == (declared or "", "", "")
