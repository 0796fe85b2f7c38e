"""PNG and JPEG pictures that a person named."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from tests import phantoms
from wetread.acquire import Assumption, decode
from wetread.records import Study
from wetread.settings import Settings

GREY = phantoms.chest(60, 50, 0, 255).astype(np.uint8)


def encode(pixels: Any, kind: str = "PNG", **options: Any) -> bytes:
    stream = BytesIO()
    (pixels if isinstance(pixels, Pillow.Image) else Pillow.fromarray(pixels)).save(stream, kind, **options)
    return stream.getvalue()


def read(data: bytes, **options: Any) -> Study:
    (study,) = decode([("film.png", data)], Settings(), **options)
    return study


def code(data: bytes, settings: Settings | None = None) -> str:
    (study,) = decode([("film.png", data)], settings or Settings())
    assert study.images == ()
    return study.rejected[0].refusal.code


def coloured() -> np.ndarray[Any, Any]:
    rgb = np.stack([GREY] * 3, axis=-1)
    rgb[5:25, 5:25] = (200, 10, 10)
    return rgb


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encode(GREY), GREY),
        (encode(GREY.astype(np.uint16) * 257), GREY.astype(np.uint16) * 257),
        (encode(np.stack([GREY] * 3, axis=-1)), GREY),
        (encode(np.dstack([GREY] * 3 + [np.full_like(GREY, 255)])), GREY),
        (encode(Pillow.fromarray(GREY).convert("P")), GREY),
        (encode(Pillow.fromarray(GREY).convert("LA")), GREY),
        (encode(Pillow.fromarray(GREY > 100)), np.where(GREY > 100, 255, 0)),
    ],
)
def test_grey_pictures_are_read_as_they_are(data: bytes, expected: Any) -> None:
    (image,) = read(data).images
    np.testing.assert_array_equal(image.pixels[0], expected)
    assert image.pixels.dtype == (np.uint16 if expected.max() > 255 else np.uint8)
    assert image.spacing_mm is None
    assert image.pixel_aspect == 1.0


@pytest.mark.parametrize("pixels", [GREY, np.stack([GREY] * 3, axis=-1)])
def test_a_jpeg(pixels: Any) -> None:
    (image,) = read(encode(pixels, "JPEG", quality=95)).images
    assert np.abs(image.pixels[0].astype(int) - GREY).mean() < 4
    assert image.header.LossyImageCompression == "01"


def test_a_png_does_not_say_that_it_lost_anything() -> None:
    (image,) = read(encode(GREY)).images
    assert "LossyImageCompression" not in image.header


def test_a_turned_photograph_is_set_upright() -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6  # the camera was held upright
    (image,) = read(encode(np.rot90(GREY), "JPEG", quality=100, exif=exif)).images
    assert image.pixels.shape == (1, *GREY.shape)
    assert np.abs(image.pixels[0].astype(int) - GREY).mean() < 4


def test_the_header_is_made_and_names_nobody() -> None:
    first, again = read(encode(GREY)), read(encode(GREY))
    (image,) = first.images
    assert first.study_uid == again.study_uid
    assert first.study_uid.startswith("2.25.")
    assert len({first.study_uid, image.series_uid, *image.sop_uids}) == 3
    header = image.header
    assert (header.PatientID, str(header.PatientName)) == ("", "")
    assert (header.Rows, header.Columns, header.BitsStored) == (60, 50, 8)
    assert (header.Modality, header.BodyPartExamined, header.ViewPosition) == ("CR", "CHEST", "")
    assert "PixelData" not in header
    assert read(encode(GREY + 1)).study_uid != first.study_uid


def test_a_person_may_say_what_it_is() -> None:
    (image,) = read(encode(GREY), assume=Assumption("DX", "CHEST", "AP")).images
    assert (image.modality, image.view, image.header.ViewPosition) == ("DX", "AP", "AP")


def bomb() -> bytes:
    return encode(np.zeros((8000, 8000), np.uint8))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encode(coloured()), "COLOUR-IMAGE"),
        (encode(coloured(), "JPEG"), "COLOUR-IMAGE"),
        (encode(Pillow.fromarray(coloured()).convert("P")), "COLOUR-IMAGE"),
        (encode(Pillow.new("CMYK", (50, 50)), "JPEG"), "COLOUR-IMAGE"),
        (encode(np.dstack([GREY] * 3 + [GREY])), "COLOUR-IMAGE"),
        (encode(np.full((64, 64), 9, np.uint8)), "BLANK-IMAGE"),
        (encode(GREY[:20]), "TOO-SMALL"),
        (encode(GREY)[:-300], "BAD-PIXELS"),
        (encode(GREY, "JPEG")[:-300], "BAD-PIXELS"),
        (encode(GREY)[:20], "BAD-PIXELS"),
        (b"\x89PNG\r\n\x1a\n" + b"junk" * 40, "BAD-PIXELS"),
        (b"\xff\xd8\xff" + b"junk" * 40, "BAD-PIXELS"),
        (encode(Pillow.fromarray(GREY), save_all=True, append_images=[Pillow.fromarray(GREY[::-1])]), "MULTI-FRAME"),
    ],
)
def test_refused(data: bytes, expected: str) -> None:
    assert code(data) == expected


def test_a_picture_of_too_many_pixels_is_not_inflated() -> None:
    assert code(bomb(), Settings(max_pixels=1_000_000)) == "TOO-LARGE"


def test_age_of_a_picture_is_what_a_person_says() -> None:
    assert read(encode(GREY)).images[0].ages == ()
    image = read(encode(GREY), assume=Assumption(age=4)).images[0]
    assert image.ages == (4,)
    assert image.header.PatientAge == "004Y"
