"""Series and volumes: no patient on both sides, the pixels of deployment, masks that follow."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from tests.lab.series import drawn_cases
from wetread.errors import BadInput
from wetread.lab.augment import Augment
from wetread.lab.cases import fold_of
from wetread.lab.crossed import Answers, tensors
from wetread.lab.gridded import GridSamples, lay_cases
from wetread.lab.held_out import found_masks
from wetread.lab.losses import joint_loss, label_loss, mask_loss
from wetread.lab.nifti import check_place, directions_of, read_nifti
from wetread.lab.rivals import threshold_lungs
from wetread.lab.series import LOADERS, load
from wetread.prepare import prepare
from wetread.records import Recipe

CHANGES = ("rotate_deg", "scale", "stretch", "shift", "flip", "gamma", "curve", "bias_field", "blur", "shrink")
STILL = Augment.from_table(dict.fromkeys((*CHANGES, "sharpen", "equalise", "noise", "jpeg", "cutout"), 0.0))
SLICES = Recipe(grid=(32, 32), percentiles=(1, 99), mean=(0.5,), std=(0.25,))
THREE = replace(SLICES, channels=3, beside=True)
VOLUME = replace(SLICES, depth=8, spacing_mm=(1.0, 1.0, 1.0))


def nifti(path: Path, affine: list[float], shape: tuple[int, ...] = (2, 3, 4)) -> Path:
    """Write the numbers 0 to 23, x fastest, under an affine that is diagonal."""
    values = np.arange(np.prod(shape), dtype=np.int16).reshape(shape, order="F")
    image = nibabel.Nifti1Image(values, np.diag([*affine, 1.0]))  # type: ignore[no-untyped-call]
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_nifti_comes_in_the_axes_of_an_axial_series(tmp_path: Path, name: str) -> None:
    pixels, spacing = read_nifti(nifti(tmp_path / name, [0.5, 0.75, 2.0]))
    assert pixels.shape == (4, 3, 2)
    assert spacing == (2.0, 0.75, 0.5)
    # NIfTI's first voxel is the rightmost and foremost: the last of the first slice's last row.
    assert pixels[0, -1, -1] == 0
    assert pixels[0, -1, 0] == 1
    assert pixels[3, 0, 0] == 23


def test_reversed_axes_are_turned_back(tmp_path: Path) -> None:
    plain, _ = read_nifti(nifti(tmp_path / "a.nii", [1.0, 1.0, 1.0]))
    turned, _ = read_nifti(nifti(tmp_path / "b.nii", [-1.0, 1.0, -1.0]))
    np.testing.assert_array_equal(turned, plain[::-1, :, ::-1])


@pytest.mark.parametrize(("unit", "mm"), [("meter", 1e3), ("mm", 1.0), ("micron", 1e-3), ("unknown", 1.0)])
def test_lengths_are_in_the_unit_of_the_header(tmp_path: Path, unit: str, mm: float) -> None:
    for name, scale in (("own", mm), ("mm", 1.0)):
        path = nifti(tmp_path / f"{name}.nii", [0.5 / scale, 0.75 / scale, 2.0 / scale])
        image: Any = nibabel.load(path)
        image.header.set_xyzt_units(unit if name == "own" else "mm")
        nibabel.save(image, path)
    assert read_nifti(tmp_path / "own.nii")[1] == pytest.approx((2.0, 0.75, 0.5))
    check_place(tmp_path / "own.nii", tmp_path / "mm.nii", "row 1")


def test_other_files_are_no_volume(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"no volume")
    with pytest.raises(BadInput, match=r"a\.nii: expected a NIfTI volume, got another file"):
        read_nifti(tmp_path / "a.nii")
    with pytest.raises(BadInput, match="three axes"):
        read_nifti(nifti(tmp_path / "b.nii", [1.0, 1.0, 1.0], (2, 3, 2, 2)))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: gzip.compress(data)[:-40], "EOFError"),
        (lambda data: gzip.compress(data)[:60] + b"\xff" * 40, "error"),
        (lambda data: data[:-10], "OSError"),
        (lambda data: data[:252] + b"\0\0\1\0" + data[256:280] + bytes(48) + data[328:], "OrientationError"),
    ],
    ids=["cut off", "fallen over", "not packed", "nowhere"],
)
def test_a_damaged_volume_says_so(tmp_path: Path, damage: Callable[[bytes], bytes], said: str) -> None:
    made = damage(nifti(tmp_path / "good.nii", [1.0, 1.0, 1.0], (12, 13, 14)).read_bytes())
    path = tmp_path / ("a.nii.gz" if made[:2] == b"\x1f\x8b" else "a.nii")
    path.write_bytes(made)
    with pytest.raises(BadInput, match=f"mine row 1: expected a NIfTI volume, got {said}; fetch the file again"):
        read_nifti(path, "mine row 1")


@pytest.mark.parametrize("kind", [np.complex64, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])])
def test_voxels_of_several_numbers_are_refused(tmp_path: Path, kind: Any) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), kind), np.eye(4)), tmp_path / "a.nii")  # type: ignore[no-untyped-call]
    with pytest.raises(BadInput, match=r"a\.nii: expected one real number a voxel, got"):
        read_nifti(tmp_path / "a.nii")


def test_a_patient_is_tested_in_one_fold() -> None:
    cases = drawn_cases(40)
    folds = fold_of(cases, {"by": "patient", "n": 5})
    assert all(len(set(folds[cases.patient == name])) == 1 for name in cases.patient)
    assert np.bincount(folds).tolist() == [8] * 5


def test_the_same_pixels_under_two_names_stay_together() -> None:
    cases = drawn_cases(40)
    folds = fold_of(cases, {"by": "patient", "n": 5, "together": [["P3", "p7", "p9"]]})
    assert len(set(folds[np.isin(cases.patient, ["p3", "p7", "p9"])])) == 1
    for nobody in (["p3", "p70"], "p3"):
        with pytest.raises(BadInput, match=r"\[folds\] together: expected groups of patients of the data, got '"):
            fold_of(cases, {"by": "patient", "n": 5, "together": [nobody]})


def test_strata_are_dealt_evenly() -> None:
    cases = drawn_cases(60)
    ill = np.array(["ill" if int(name[1:]) % 3 == 0 else "well" for name in cases.patient])
    folds = fold_of(replace(cases, traits={"ill": ill}), {"by": "patient", "n": 5, "stratify": "ill"})
    assert np.bincount(folds[ill == "ill"]).tolist() == [4] * 5


def test_folds_by_site_hold_one_site_each() -> None:
    cases = drawn_cases()
    folds = fold_of(cases, {"by": "site"})
    assert set(cases.site[folds == 0]) == {"A"}
    assert set(cases.site[folds == 1]) == {"B"}
    with pytest.raises(BadInput, match="'patient' or 'site'"):
        fold_of(cases, {"by": "slice"})


@pytest.mark.parametrize("recipe", [SLICES, THREE, VOLUME], ids=["slices", "beside", "volume"])
@pytest.mark.parametrize("axes", ["", "HAR"])
@pytest.mark.parametrize("means", [1, 3])
def test_training_sees_what_deployment_makes(recipe: Recipe, axes: str, means: int) -> None:
    """Also turned, and with a mean and a deviation for each channel."""
    if means == 3:
        recipe = replace(recipe, channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    recipe, axial = replace(recipe, axes=axes), directions_of("axial")
    cases = replace(drawn_cases(spacing=1.0), directions=(axial,) * 12)
    gridded = lay_cases(cases, recipe, 2)
    ready = prepare(cases.images[4], 1.0, recipe, None, (1.0, 1.0, 1.0), axial)
    samples = GridSamples(gridded, recipe, STILL, 0, 2, True)
    rows = np.flatnonzero(gridded.series == 4)
    for made, row in zip(ready.tensor, rows, strict=True):
        np.testing.assert_allclose(samples[(0, int(row))][0].numpy(), made, atol=1e-5)
    np.testing.assert_allclose(tensors(gridded, rows, recipe), ready.tensor, atol=1e-5)
    assert gridded.grids[4] == ready.grid


def test_a_slice_stands_between_its_neighbours() -> None:
    cases = drawn_cases()
    alone, three = (prepare(cases.images[0], 1.0, recipe).tensor for recipe in (SLICES, THREE))
    before, at, after = three.swapaxes(0, 1)
    np.testing.assert_array_equal(at, alone[:, 0])
    np.testing.assert_array_equal(before[1:], alone[:-1, 0])
    np.testing.assert_array_equal(after[:-1], alone[1:, 0])
    np.testing.assert_array_equal((before[0], after[-1]), (alone[0, 0], alone[-1, 0]))


@pytest.mark.parametrize("recipe", [SLICES, VOLUME], ids=["slices", "volume"])
def test_masks_follow_the_image(recipe: Recipe) -> None:
    gridded = lay_cases(drawn_cases(spacing=1.0), recipe, 2)
    moving = replace(STILL, rotate_deg=15.0, scale=0.2, flip=0.5, upend=0.5)
    samples = GridSamples(gridded, recipe, moving, 0, 2, True)
    rows = np.flatnonzero(gridded.present.all(1))
    for row in rows[:6]:
        image, masks = samples[(1, int(row))]
        ball, head = masks.sum(0) > 0, image[0] > 0
        assert masks.sum(0).max() == 1
        assert image[0][ball].mean() > image[0][head & ~ball].mean() + 1


def test_a_repeated_row_is_the_same_image_with_other_changes() -> None:
    gridded = lay_cases(drawn_cases(), SLICES, 2)
    samples = GridSamples(gridded, SLICES, Augment(), 0, 2, False)
    first, again, other = samples[(0, 5)], samples[(0, 5)], samples[(0, 5 + len(gridded))]
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])
    assert torch.equal(first[1], other[1])


@pytest.mark.parametrize(("recipe", "size"), [(VOLUME, [8, 16, 24]), (SLICES, [16, 24])], ids=["volume", "slice"])
def test_a_part_is_shown(recipe: Recipe, size: list[int]) -> None:
    gridded = lay_cases(drawn_cases(spacing=1.0), recipe, 2)
    part = replace(STILL, window=tuple(size))
    image, masks = GridSamples(gridded, recipe, part, 0, 2, True)[(0, 5)]
    assert image.shape == (recipe.channels, *size)
    assert masks.shape == (2, *size)
    ball = masks.sum(0) > 0
    assert not ball.any() or image[0][ball].mean() > image[0][~ball].mean() + 1


@pytest.mark.parametrize("largest", [0, 1])
def test_masks_are_judged_as_deployment_draws_them(largest: int) -> None:
    gridded = lay_cases(drawn_cases(), SLICES, 2)
    rows = np.flatnonzero(gridded.series == 1)
    logits = np.full((len(rows), 2, *SLICES.grid), -1.0, np.float16)
    logits[1, :, 4:10, 4:10] = 1.0
    logits[2, :, 6:14, 6:14] = 1.0  # hangs together with the one before
    logits[3, :, 20:23, 20:23] = 1.0
    label = {"name": "ball", "largest": largest}
    found = found_masks(Answers(logits, None), gridded, 1, rows, {"ship": {"label": [label, label]}})
    assert found[:, 1:3].any((2, 3)).all()
    assert found[:, 3].any() == (not largest)


def test_losses_fall_to_nothing_with_the_right_answer() -> None:
    masks = (torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.7).float()
    masks[0] = 0
    sure = (masks * 2 - 1) * 30
    present = masks.flatten(2).amax(2)
    assert mask_loss(sure, masks) < 0.02 < mask_loss(-sure, masks)
    assert joint_loss((sure, (present * 2 - 1) * 30, masks), masks) < 0.02
    assert joint_loss((sure, (1 - present * 2) * 30, masks), masks) > 5
    assert label_loss(0.0)(((present * 2 - 1) * 30, masks), present) < 1e-6
    assert label_loss(0.1)(((present * 2 - 1) * 30, masks), present) > 1


def test_threshold_method_finds_two_lungs_and_not_the_air_around() -> None:
    y, x = np.mgrid[:128, :128]
    slice_ = np.full((128, 128), -1000.0)
    slice_[np.hypot(y - 64, x - 64) < 55] = 40
    lungs = (np.hypot(y - 64, x - 40) < 18) | (np.hypot(y - 64, x - 88) < 18)
    slice_[lungs] = -800
    slice_[np.hypot(y - 64, x - 40) < 3] = 30
    assert (threshold_lungs(slice_) == lungs).mean() > 0.995
    assert not threshold_lungs(np.full((64, 64), 40.0)).any()


def test_unknown_and_missing_folders_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="ct/lungs"):
        load({"data": "ct/knees"}, tmp_path)
    for name in LOADERS:
        with pytest.raises(BadInput, match="--data"):
            load({"data": name}, tmp_path)
