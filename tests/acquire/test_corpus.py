"""Every file that pydicom and pydicom-data bring: read in silence, and equal over all lossless syntaxes."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest

from wetread.acquire import SYNTAXES, decode
from wetread.errors import REFUSALS
from wetread.records import Image
from wetread.settings import Settings

data_store = pytest.importorskip("data_store")
SMALL = Path(pydicom.__file__).parent / "data"
LARGE = Path(data_store.__file__).parent / "data"
SETTINGS = Settings()


def files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.suffix not in (".py", ".pyc", ".json"))


def acquired(data: bytes) -> bytes:
    """Call a file that was derived an acquired one, so that its pixels are looked at."""
    return data.replace(b"\\SECONDARY", b"\\PRIMARY  ").replace(
        b"1.2.840.10008.5.1.4.1.1.7\0", b"1.2.840.10008.5.1.4.1.1.1\0"
    )


def image(name: str) -> Image:
    (file,) = [file for file in files(SMALL) + files(LARGE) if file.name == name]
    # Enhanced MR of the corpus tells no position and is refused as a volume; its frames pass as those of an ultrasound.
    data = file.read_bytes().replace(b"1.2.840.10008.5.1.4.1.1.4.1", b"1.2.840.10008.5.1.4.1.1.3.1")
    (study,) = decode([(name, acquired(data))], SETTINGS)
    assert study.rejected == ()
    return study.images[0]


@pytest.mark.parametrize("folder", [SMALL, LARGE], ids=["pydicom", "pydicom-data"])
@pytest.mark.parametrize("disguise", [bytes, acquired], ids=["as it is", "as acquired"])
def test_every_file_is_answered_for_in_silence(
    folder: Path, disguise: type, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    found = files(folder)
    assert len(found) > 60
    answers: Counter[str] = Counter()
    with caplog.at_level(logging.DEBUG):
        for file in found:
            (study,) = decode([(file.name, disguise(file.read_bytes()))], SETTINGS)
            assert len(study.images) + len(study.rejected) == 1
            answers.update(rejected.refusal.code for rejected in study.rejected)
            for read in study.images:
                assert read.pixels.shape[1:] == (read.header.Rows, read.header.Columns)
    assert set(answers) <= set(REFUSALS)
    assert capfd.readouterr() == ("", "")
    assert {(record.name, record.getMessage()) for record in caplog.records} <= {
        ("wetread.acquire", "remarks of libraries")  # how many of which category, and no more
    }


@pytest.mark.parametrize(
    "names",
    [
        (
            "MR_small.dcm",
            "MR_small_RLE.dcm",
            "MR_small_bigendian.dcm",
            "MR_small_expb.dcm",
            "MR_small_implicit.dcm",
            "MR_small_jp2klossless.dcm",
            "MR_small_jpeg_ls_lossless.dcm",
            "MR_small_padded.dcm",
        ),
        (
            "emri_small.dcm",
            "emri_small_RLE.dcm",
            "emri_small_big_endian.dcm",
            "emri_small_jpeg_2k_lossless.dcm",
            "emri_small_jpeg_ls_lossless.dcm",
        ),
        ("693_UNCR.dcm", "693_J2KR.dcm"),
        ("MR2_UNCR.dcm", "MR2_J2KR.dcm"),
        ("RG1_UNCR.dcm", "RG1_J2KR.dcm"),
        ("RG3_UNCR.dcm", "RG3_J2KR.dcm"),
        ("693_UNCI.dcm", "693_J2KI.dcm"),
        ("MR2_UNCI.dcm", "MR2_J2KI.dcm"),
        ("RG1_UNCI.dcm", "RG1_J2KI.dcm"),
        ("RG3_UNCI.dcm", "RG3_J2KI.dcm"),
        ("JPEG2000_UNC.dcm", "JPEG2000.dcm"),
    ],
    ids=lambda names: names[0],
)
def test_the_same_image_in_several_syntaxes(names: tuple[str, ...]) -> None:
    first, *others = [image(name) for name in names]
    for other in others:
        np.testing.assert_array_equal(other.pixels, first.pixels)


@pytest.mark.parametrize(
    ("name", "shape", "low", "high"),
    [
        ("JPEG-LL.dcm", (1, 1024, 256), 0, 278),  # JPEG lossless, process 14
        ("JPGLosslessP14SV1_1s_1f_8b.dcm", (1, 768, 1024), 0, 255),  # selection value 1
        ("JPGExtended.dcm", (1, 1024, 256), 0, 264),
        ("J2K_pixelrep_mismatch.dcm", (1, 512, 512), -2000, 1896),  # an unsigned codestream of signed values
        ("mlut_18.dcm", (1, 512, 512), 0, 65535),
    ],
)
def test_known_extremes(name: str, shape: tuple[int, int, int], low: int, high: int) -> None:
    read = image(name)
    assert read.pixels.shape == shape
    assert (read.pixels.min(), read.pixels.max()) == (low, high)


def test_the_real_chest_film() -> None:
    read = image("RG1_UNCR.dcm")
    stored = np.asarray(pydicom.dcmread(LARGE / "RG1_UNCR.dcm").pixel_array)
    np.testing.assert_array_equal(read.pixels[0], 32767 - stored)
    assert read.pixels.dtype == np.uint16
    assert (read.modality, read.body_part, read.view, read.row_direction) == ("CR", "CHEST", "PA", "L")
    assert (read.spacing_mm, read.pixel_aspect) == (None, 1.0)


def test_every_syntax_of_the_table_has_its_decoder() -> None:
    from pydicom.pixels.decoders.base import get_decoder

    for syntax_uid, syntax in SYNTAXES.items():
        if syntax.family:
            assert syntax.decoder in get_decoder(syntax_uid).available_plugins
