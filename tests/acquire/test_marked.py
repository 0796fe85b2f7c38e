"""Segmentations as training masks: the mask that was written comes back, on the image it was drawn on."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import RLELossless

from tests.report import phantom
from wetread import acquire, report
from wetread.errors import BadInput
from wetread.settings import load


def written(folder: Path) -> Path:
    """The segmentation of a phantom whose header is that of a real film, as the product writes it."""
    (data,) = (one.data for one in report.documents(phantom.result("real")) if one.kind == "SEG")
    (folder / "seg.dcm").write_bytes(data)
    return folder / "seg.dcm"


def test_mask_comes_back_on_its_image(tmp_path: Path) -> None:
    result = phantom.result("real")
    written(tmp_path)
    found = acquire.marked([tmp_path], load())
    expected = np.logical_or.reduce([region.mask[0] for region in result.regions])
    assert list(found) == [str(result.header.SOPInstanceUID)]
    np.testing.assert_array_equal(found[str(result.header.SOPInstanceUID)], expected)


def test_segmentation_is_no_image_and_an_image_is_described(tmp_path: Path) -> None:
    assert acquire.described(written(tmp_path), load()) is None
    described = acquire.described(Path(str(get_testdata_file("CT_small.dcm"))), load())
    assert described is not None
    pixels, patient, facts, uids = described
    assert (pixels.shape, patient, facts["modality"], len(uids)) == ((1, 128, 128), "1CT1", "CT", 1)


def test_segmentations_of_one_image_in_two_sizes_are_refused(tmp_path: Path) -> None:
    seg = dcmread(written(tmp_path))
    seg.Rows //= 2
    seg.save_as(tmp_path / "seg2.dcm")
    with pytest.raises(BadInput, match=r"\*\.dcm 2 by name: expected a DICOM SEG of .* pixels, as another"):
        acquire.marked([tmp_path], load())


def test_a_file_that_may_not_be_read_is_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path)

    def shut(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", shut)
    with pytest.raises(BadInput, match=r"\*\.dcm 1 by name: expected a DICOM file, got one that cannot be read"):
        acquire.marked([tmp_path], load())


def nameless(seg: Any) -> None:
    for group in seg.PerFrameFunctionalGroupsSequence:
        del group.DerivationImageSequence


def fractional(seg: Any) -> None:
    seg.SegmentationType = "FRACTIONAL"


def groupless(seg: Any) -> None:
    del seg.PerFrameFunctionalGroupsSequence[0]


def short(seg: Any) -> None:
    seg.NumberOfFrames = 900


def huge(seg: Any) -> None:
    seg.NumberOfFrames = 1 << 30


def compressed(seg: Any) -> None:
    seg.file_meta.TransferSyntaxUID = RLELossless


@pytest.mark.parametrize("damage", [nameless, fractional, groupless, short, huge, compressed])
def test_segmentation_that_cannot_be_trusted_is_bad_input(tmp_path: Path, damage: Callable[[Any], None]) -> None:
    path = written(tmp_path)
    seg = dcmread(path)
    damage(seg)
    if damage is not compressed:
        seg.save_as(path)
    else:
        path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0", 1))
    with pytest.raises(BadInput, match="SEG"):
        acquire.marked([tmp_path], load())


def test_a_segmentation_that_was_cut_off_says_so(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:1999])
    with pytest.raises(BadInput, match=r"\*\.dcm 1 by name: a DICOM SEG: expected a readable one, got DAMAGED-FILE: "):
        acquire.marked([tmp_path], load())
