"""A recipe for a folder of one's own: trained, certified and judged as those that ship."""

from __future__ import annotations

import errno
import json
import os
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
import pytest

from tests import slices
from tests.toy import lungs_graph, make_model
from wetread import acquire, infer
from wetread.errors import BadInput
from wetread.lab import commands, zoo
from wetread.lab.audit.adapters import Columns, Row
from wetread.lab.audit.looks import look
from wetread.lab.builds import judged_builds, note_source
from wetread.lab.cases import Cases
from wetread.lab.courses import read_cases
from wetread.lab.crossed import tensors, train_folds
from wetread.lab.evidence import data_of
from wetread.lab.gridded import lay_cases
from wetread.lab.held_out import held_out
from wetread.lab.own import cases_of
from wetread.lab.plan import load_plan, made_of, recipe_of
from wetread.lab.predict import eager
from wetread.lab.recover import standing_figures
from wetread.lab.series import load
from wetread.lab.train import Plan
from wetread.lab.trials import series_cases
from wetread.lab.weights import save_weights
from wetread.prepare import prepare
from wetread.prepare.turn import LETTERS
from wetread.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
SIDE = 32
RECIPE = """
id = "mr-mine"
task = "{task}"
data = "mine/balls"
[model]
architecture = "unet"
widths = [8, 8, 8, 8]
labels = 1
[recipe]
grid = [32, 32]
mean = [0.5]
std = [0.25]
[folds]
by = "patient"
n = 2
[train]
epochs = 1
batch = 4
learning_rate = 1e-3
bf16 = false
workers = 0
[ship]
fold = 0
version = "1.0.0"
summary = "Outlines bright balls."
licence = "mine"
training_data = ["drawn"]
modality = ["MR"]
body_part = ["HEAD"]
views = []
[ship.margins]
dice = 0.5
[[ship.label]]
name = "ball"
code = "108369006"
scheme = "SCT"
meaning = "Neoplasm"
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(RECIPE.format(task="segmentation"))
    return path


def ball(rng: np.random.Generator, depth: int = 3) -> tuple[Any, Any]:
    """A volume (z, y, x) of noise with a bright ball in it, and where the ball is."""
    y, x = np.mgrid[:SIDE, :SIDE]
    inside = np.hypot(y - rng.uniform(10, 22), x - rng.uniform(10, 22)) < rng.uniform(4, 8)
    image = rng.normal(100, 20, (depth, SIDE, SIDE)) + 100 * inside
    return image.astype(np.int16), np.repeat(inside[None], depth, 0).astype(np.uint8)


def volumes(folder: Path, count: int = 8) -> None:
    rng = np.random.default_rng(0)
    for at in range(count):
        for name, pixels in zip(("images", "labels"), ball(rng), strict=True):
            (folder / name).mkdir(parents=True, exist_ok=True)
            affine = np.diag([1.5, 1.5, 4.0, 1.0])
            volume = nibabel.Nifti1Image(pixels.transpose(), affine)  # type: ignore[no-untyped-call]
            nibabel.save(volume, folder / name / f"case{at}.nii.gz")


def test_from_a_folder_to_a_certified_model(tmp_path: Path, recipe: Path) -> None:
    data, run, models = tmp_path / "data", tmp_path / "run", tmp_path / "models"
    volumes(data / "mine" / "balls")
    weights = commands.train(str(recipe), data, run, data, accepted="drawn")
    assert [path.parent.name for path in weights] == ["fold0", "fold1"]
    with pytest.raises(BadInput, match="fold: expected one of 0, 1, got 9"):
        commands.train(str(recipe), data, run, data, fold=9)
    commands.export(str(recipe), run)
    commands.quantize(str(recipe), data, run, models)
    certificate = commands.certify(str(recipe), data, run, models)
    assert {"fp32", "int8"} <= {row["build"] for row in certificate["builds"]}
    recipe.write_text(recipe.read_text().replace('version = "1.0.0"', 'version = "2.0.0"'))  # not certified yet
    figures = commands.evaluate(str(recipe), data, run, models, tmp_path / "evidence")
    assert sum(fold["series"] for fold in figures["folds"]) == 8
    (model,) = infer.find(models)
    assert (model.id, model.labels[0].name, model.manufacturer) == ("mr-mine", "ball", "unknown")  # not ours
    card = (models / "mr-mine" / "card.md").read_text()
    assert card.startswith("# mr-mine 1.0.0\n\nOutlines bright balls.")
    assert "Published" not in card
    assert "What else was tried" not in card  # without remarks nothing stands at the end
    assert json.loads((models / "mr-mine" / "figures.json").read_text())["data"].keys() == {"folder", "files_sha256"}
    assert "HD95, mean, mm" in card
    recipe.write_text(RECIPE.format(task="segmentation").replace("n = 2\n", "n = 2\nseed = 1\n"))
    with pytest.raises(BadInput, match="expected a checkpoint of this recipe"):
        commands.train(str(recipe), data, run, data, accepted="drawn")
    with pytest.raises(BadInput, match="trained without the images that it is judged on"):
        commands.evaluate(str(recipe), data, run, models, tmp_path / "evidence")


def test_pictures_of_two_classes(tmp_path: Path, recipe: Path) -> None:
    rng = np.random.default_rng(0)
    for at in range(4):
        for name in ("ball", "none"):
            (tmp_path / "mine" / "balls" / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "mine" / "balls" / name / f"{at}.png"), ball(rng, 1)[0][0].astype(np.uint8))
    told = RECIPE.format(task="classification").replace("dice = 0.5", "auc = 0.5") + '[audit]\npositive = "ball"\n'
    recipe.write_text(told)
    with pytest.raises(BadInput, match="expected a patient"):
        load(load_plan(recipe), tmp_path)
    whose = "patient_pattern = '(\\d)\\.png'\n"
    recipe.write_text(told + whose)
    cases = load(load_plan(recipe), tmp_path)
    assert [one.shape for one in cases.images] == [(1, SIDE, SIDE)] * 8
    assert [one.tolist() for one in cases.present] == [[[1]]] * 4 + [[[0]]] * 4
    recipe.write_text(RECIPE.format(task="segmentation") + f"[audit]\n{whose}")
    with pytest.raises(BadInput, match="expected a mask, found none"):
        load(load_plan(recipe), tmp_path)
    recipe.write_text(told.partition("[ship]")[0])
    with pytest.raises(BadInput, match=r"expected a \[\[ship.label\]\] for each label"):
        load(load_plan(recipe), tmp_path)


def test_an_image_without_a_class_is_no_negative(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.eye(32, dtype=np.uint8))
    rows = [Row(f"mine row {at}", tmp_path / "a.png", None, "p", label) for at, label in enumerate(("ball", ""), 1)]
    table = {"task": "classification", "recipe": {"grid": [32, 32]}, "ship": {"label": [{"name": "ball"}]}}
    with pytest.raises(BadInput, match="mine row 2: expected a class, found none"):
        cases_of(rows, table, "")


def test_one_class_alone_is_not_learnt(tmp_path: Path, recipe: Path) -> None:
    """It was found out at the certificate, after the training."""
    for at in range(4):
        (tmp_path / "mine" / "balls" / "ball").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "mine" / "balls" / "ball" / f"{at}.png"), np.eye(32, dtype=np.uint8) * (at + 1))
    told = RECIPE.format(task="classification").replace("dice = 0.5", "auc = 0.5")
    recipe.write_text(told + "[audit]\npatient_pattern = '(\\d)\\.png'\n")
    with pytest.raises(BadInput, match="expected images with and without 'ball', got 4 with it"):
        load(load_plan(recipe), tmp_path)


def test_a_fold_of_one_class_does_not_ship(tmp_path: Path, recipe: Path) -> None:
    """It was found out at the certificate, after the training."""
    for name in ("ball", "none"):
        (tmp_path / "mine" / "balls" / name).mkdir(parents=True)
        for at in range(3):
            cv2.imwrite(str(tmp_path / "mine" / "balls" / name / f"{name}{at}.png"), np.eye(32, dtype=np.uint8) * at)
    told = RECIPE.format(task="classification").replace("dice = 0.5", "auc = 0.5")
    recipe.write_text(told + "[audit]\npatient_pattern = '/([bn])'\n")
    with pytest.raises(
        BadInput, match=r"\[ship\] fold: expected images with and without the label in fold 0, .* one kind"
    ):
        train_folds(load_plan(recipe), tmp_path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_picture_that_may_not_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cv2.imwrite(str(tmp_path / "Jane.png"), np.eye(32, dtype=np.uint8))

    def shut(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", shut)
    with pytest.raises(BadInput, match=r"^mine row 1: expected an image, got a file that cannot be read: Permission"):
        own(tmp_path / "Jane.png", None, {"grid": [32, 32]})


def test_a_volume_that_may_not_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_nifti(tmp_path / "a.nii", np.zeros((3, 32, 32), np.int16), slices.AXIAL)

    def shut(path: Path, mode: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", shut)
    with pytest.raises(BadInput, match=r"^mine row 1: expected a NIfTI volume, got a file that cannot be read: Perm"):
        own(tmp_path / "a.nii", None, {"grid": [32, 32]})


def test_a_name_that_is_no_utf8_has_its_digest(tmp_path: Path) -> None:
    """The certificate of a model of such data ended in a traceback, after the training."""
    (tmp_path / os.fsdecode(b"J\xe4ne.png")).write_bytes(b"1")
    assert len(data_of({"data": "."}, tmp_path)["files_sha256"]) == 64


def test_a_mask_of_another_size_is_refused_by_the_audit(tmp_path: Path) -> None:
    """Training refused it, when the audit had passed."""
    for name, side in (("a.png", 32), ("m.png", 16)):
        cv2.imwrite(str(tmp_path / name), np.eye(side, dtype=np.uint8) * 255)
    with pytest.raises(BadInput, match=r"mine row 1: expected a mask of the image's shape \(32, 32\), got \(16, 16\)"):
        look([Row("mine row 1", tmp_path / "a.png", tmp_path / "m.png", "p", "")])


def test_the_recipe_of_the_how_to_page_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/bring-your-own.md").read_text(encoding="utf-8")
    (told,) = [one for block in page.split("```toml\n")[1:] if "[folds]" in (one := block.split("```")[0])]
    (tmp_path / "liver.toml").write_text(told, encoding="utf-8")
    volumes(tmp_path / "mine" / "livers", 2)
    table = load_plan(tmp_path / "liver.toml")
    assert Plan.from_table(table["train"]).epochs == 48
    assert recipe_of(table["recipe"]).grid == (256, 256)
    assert len(load(table, tmp_path)) == 2
    (told,) = [one for block in page.split("```toml\n")[1:] if "patient_pattern" in (one := block.split("```")[0])]
    more = tomllib.loads(told)
    assert zoo.build(more["model"] | {"pretrained": False})
    assert made_of(Columns, more["audit"], "audit").positive == "fracture"


def test_what_cannot_be_trained_on(tmp_path: Path, recipe: Path) -> None:
    with pytest.raises(BadInput, match="or a folder below"):
        load(load_plan(recipe), tmp_path)
    recipe.write_text(RECIPE.format(task="segmentation").replace('[folds]\nby = "patient"\nn = 2\n', ""))
    with pytest.raises(BadInput, match=r"expected \[folds\], as only xray/kermany is split without"):
        load_plan(recipe)


def own(image: Path, mask: Path | None, recipe: dict[str, Any], orientation: str = "", labels: int = 1) -> Cases:
    """One file as the case of a recipe: of a segmenter if there is a mask."""
    task = "segmentation" if mask else "classification"
    ship = {"label": [{"name": "ball"}] * labels, "orientation": orientation}
    return cases_of([Row("mine row 1", image, mask, "p", "ball")], {"task": task, "recipe": recipe, "ship": ship}, "")


def as_nifti(path: Path, volume: Any, frame: slices.Frame) -> Path:
    """Write a volume (z, y, x) where `frame` says that its voxels lie: NIfTI counts to the right and to the front."""
    z, y, x = frame.spacing
    affine = np.eye(4)
    affine[:3] = np.stack([frame.across * x, frame.down * y, frame.normal * z, frame.origin], 1)
    affine[:2] *= -1
    nibabel.save(nibabel.Nifti1Image(volume.transpose(), affine), path)  # type: ignore[no-untyped-call]
    return path


@pytest.mark.parametrize("axes", ["", "HPL", "HAR", "FLP"])
@pytest.mark.parametrize(
    ("orientation", "across", "down"), [("axial", "L", "P"), ("coronal", "L", "F"), ("sagittal", "P", "F")]
)
@pytest.mark.parametrize("deep", [False, True])
def test_a_volume_is_what_deployment_makes_of_its_series(
    tmp_path: Path, orientation: str, across: str, down: str, axes: str, deep: bool
) -> None:
    """ImageNet's means, anisotropic pixels, any plane and any axes: the same tensor from NIfTI and from DICOM."""
    rng = np.random.default_rng(0)
    along, place_mm = (np.array(LETTERS[across]), np.array(LETTERS[down])), np.array([5.0, -7.0, 9.0])
    frame = slices.Frame(place_mm, along[0], along[1], (5.0, 2.0, 1.0))
    volume = rng.integers(-900, 900, (6, 32, 48)).astype(np.int16)
    (study,) = acquire.decode(slices.blobs(slices.series(volume, frame)), Settings(least_side=0))
    (image,) = study.images
    table: dict[str, Any] = {"grid": [32, 40], "axes": axes, "channels": 3}
    table |= {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    table |= {"grid": [8, 32, 40], "spacing_mm": [4.0, 2.0, 1.0]} if deep else {}
    recipe, place = recipe_of(table), (image.spacing_mm, image.directions)
    ready = prepare(image.pixels, image.pixel_aspect, recipe, None, *place)
    marked = (volume > 0).astype(np.uint8)
    files = as_nifti(tmp_path / "a.nii", volume, frame), as_nifti(tmp_path / "m.nii", marked, frame)
    for told in ("", orientation):
        cases = own(*files, table, told)
        np.testing.assert_array_equal(cases.images[0], image.pixels)
        np.testing.assert_array_equal(cases.masks[0], marked)
        gridded = lay_cases(cases, recipe, 1)
        assert gridded.grids[0] == ready.grid
        np.testing.assert_allclose(tensors(gridded, np.arange(len(gridded)), recipe), ready.tensor, atol=1e-5)
        (case,) = series_cases(cases, np.array([0]))
        assert (case.aspect, case.spacing_mm, case.directions) == (image.pixel_aspect, *place)


def test_a_volume_of_another_plane_is_refused(tmp_path: Path) -> None:
    """Seven sagittal slices are no 64 axial strips, and what is about as long along all axes has any plane."""
    frame = slices.Frame(np.zeros(3), np.array([0.0, 1, 0]), np.array([0.0, 0, -1]), (5.0, 1.0, 1.0))
    thick = as_nifti(tmp_path / "thick.nii", np.zeros((7, 64, 64), np.int16), frame)
    with pytest.raises(BadInput, match=r"mine row 1: expected axial slices, .* got a volume of sagittal ones"):
        own(thick, None, {"grid": [32, 32]}, "axial")
    assert own(thick, None, {"grid": [32, 32]}, "sagittal").images[0].shape == (7, 64, 64)
    even = as_nifti(tmp_path / "even.nii", np.zeros((7, 64, 64), np.int16), replace(frame, spacing=(1.2, 1.0, 1.0)))
    assert own(even, None, {"grid": [32, 32]}, "axial").images[0].shape == (64, 64, 7)
    with pytest.raises(BadInput, match="orientation: expected one of axial, coronal, sagittal, got 'oblique'"):
        own(even, None, {"grid": [32, 32]}, "oblique")


def test_where_a_picture_lies_is_not_known(tmp_path: Path) -> None:
    picture = ball(np.random.default_rng(0), 1)[0][0].astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    cases = own(tmp_path / "a.png", None, {"grid": [32, 32], "axes": "HAR"})
    assert (cases.directions_of(0), cases.spacing_of(0), cases.aspect_of(0)) == (None, None, 1.0)
    np.testing.assert_array_equal(cases.images[0][0], picture)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["a.nii.gz", "a.tiff"])
def test_pixels_that_are_no_numbers_are_refused(tmp_path: Path, name: str, value: float) -> None:
    """One such image would make every weight NaN, and no error."""
    pixels = np.ones((1, 32, 32), np.float32)
    pixels[0, 0, :5] = value
    if name.endswith("tiff"):
        cv2.imwrite(str(tmp_path / name), pixels[0])
    else:
        as_nifti(tmp_path / name, pixels, slices.AXIAL)
    with pytest.raises(BadInput, match=r"^mine row 1: expected pixels that are numbers, got 5 of 1024"):
        own(tmp_path / name, None, {"grid": [32, 32]})


DISC = np.hypot(*np.mgrid[-16:16, -16:16]) < 8


@pytest.mark.parametrize(
    ("drawn", "suffix"),
    [
        (np.where(DISC, 1, 0), "png"),
        (np.where(DISC, 255, 0), "png"),
        (np.where(DISC, 100, 0), "png"),
        (np.where(DISC, 255, np.where(np.roll(DISC, 9, 1), 127, 0)), "png"),  # 127: ignore
        (np.where(DISC, 254, 0) + np.eye(32, dtype=int)[16] * DISC, "png"),  # one pixel of 255
        (np.where(DISC, 1 + np.arange(32) % 3, 0), "png"),  # labels that the model takes for one
        (np.where(DISC, 255, 0), "jpg"),
    ],
)
def test_what_is_marked_in_a_picture(tmp_path: Path, drawn: Any, suffix: str) -> None:
    for name, picture in (("a.png", DISC * 200), (f"m.{suffix}", drawn)):
        cv2.imwrite(str(tmp_path / name), picture.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 60])
    found = own(tmp_path / "a.png", tmp_path / f"m.{suffix}", {"grid": [32, 32]}).masks[0][0]
    assert np.count_nonzero(found != DISC) <= (8 if suffix == "jpg" else 0)


@pytest.mark.parametrize(
    ("drawn", "suffix", "labels", "said"),
    [
        (np.where(DISC, 127, 0), "png", 1, "got 0, 127; write 0 and 255, as PNG"),
        (np.where(DISC, 1, np.where(np.roll(DISC, 9, 1), 255, 0)), "png", 1, "got 0, 1, 255;"),
        (np.where(DISC, 90, 0), "jpg", 1, "expected a mask of one label"),
        (np.where(DISC, 1, 0), "jpg", 2, "numbers of 2 labels in its mask, got JPEG, which changes them"),
    ],
)
def test_a_mask_that_nobody_can_read_is_refused(
    tmp_path: Path, drawn: Any, suffix: str, labels: int, said: str
) -> None:
    for name, picture in (("a.png", DISC * 200), (f"m.{suffix}", drawn)):
        cv2.imwrite(str(tmp_path / name), picture.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 60])
    with pytest.raises(BadInput, match=f"mine row 1: .*{said}"):
        own(tmp_path / "a.png", tmp_path / f"m.{suffix}", {"grid": [32, 32]}, labels=labels)


def test_a_mask_that_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    """Each file is turned by its own header: a mask without the image's would mark another place."""
    image, mask = ball(np.random.default_rng(0))
    files = as_nifti(tmp_path / "a.nii", image, slices.AXIAL), as_nifti(tmp_path / "m.nii", mask, slices.AXIAL)
    assert own(*files, {"grid": [32, 32]}).masks[0].any()
    bare = nibabel.Nifti1Image(mask.transpose(), np.eye(4))  # type: ignore[no-untyped-call]
    nibabel.save(bare, tmp_path / "m.nii")
    with pytest.raises(BadInput, match=r"mine row 1: expected a mask that lies in the patient where its image does"):
        own(*files, {"grid": [32, 32]})
    with pytest.raises(BadInput, match=r"mine row 1: expected a mask that lies in the patient where its image does"):
        look([Row("mine row 1", *files, "p", "")])
    as_stored: Any = nibabel.load(files[0])
    turned = as_stored.affine[:, [1, 0, 2, 3]]  # the same place, stored in another order
    stored = nibabel.Nifti1Image(mask.transpose(2, 1, 0).swapaxes(0, 1), turned)  # type: ignore[no-untyped-call]
    nibabel.save(stored, tmp_path / "m.nii")
    np.testing.assert_array_equal(own(*files, {"grid": [32, 32]}).masks[0] > 0, mask > 0)


@pytest.mark.parametrize("labels", [1, 2])
def test_a_mask_between_two_labels_is_refused(tmp_path: Path, labels: int) -> None:
    """The rim of an interpolated label 2 would be label 1."""
    image, mask = ball(np.random.default_rng(0))
    files = as_nifti(tmp_path / "a.nii", image, slices.AXIAL), tmp_path / "m.nii"
    as_nifti(files[1], np.stack([cv2.blur(one.astype(np.float32) * 2, (3, 3)) for one in mask]), slices.AXIAL)
    with pytest.raises(BadInput, match=r"mine row 1: expected whole numbers in its mask, got 0\.\d+; resample it"):
        own(*files, {"grid": [32, 32]}, labels=labels)
    as_nifti(files[1], mask * np.float32(0.9999), slices.AXIAL)  # as a file scales its numbers
    np.testing.assert_array_equal(own(*files, {"grid": [32, 32]}, labels=labels).masks[0], mask)


def test_a_volume_that_does_not_say_how_it_lies_is_refused(tmp_path: Path) -> None:
    volume = nibabel.Nifti1Image(np.zeros((16, 16, 3), np.int16), None)  # type: ignore[no-untyped-call]
    nibabel.save(volume, tmp_path / "a.nii")
    with pytest.raises(BadInput, match=r"mine row 1: expected a NIfTI header .* got neither qform nor sform"):
        own(tmp_path / "a.nii", None, {"grid": [32, 32]})
    volume.set_qform(np.diag([1.5, 1.5, 4.0, 1.0]), 1)  # type: ignore[no-untyped-call]
    nibabel.save(volume, tmp_path / "a.nii")
    assert own(tmp_path / "a.nii", None, {"grid": [32, 32]}).spacing_of(0) == (4.0, 1.5, 1.5)


def test_a_picture_of_several_pages_is_refused(tmp_path: Path) -> None:
    pages = [np.full((32, 32), value, np.uint8) for value in (10, 200)]
    cv2.imwritemulti(str(tmp_path / "a.tiff"), pages)
    with pytest.raises(BadInput, match=r"^mine row 1: expected a picture of one page, got several"):
        own(tmp_path / "a.tiff", None, {"grid": [32, 32]})
    with pytest.raises(BadInput, match=r"^mine row 1: expected a picture of one page, got several"):
        look([Row("mine row 1", tmp_path / "a.tiff", None, "p", "")])
    cv2.imwritemulti(str(tmp_path / "a.tiff"), pages[:1])
    assert own(tmp_path / "a.tiff", None, {"grid": [32, 32]}).images[0].shape == (1, 32, 32)


def test_builds_of_other_weights_are_not_certified(tmp_path: Path, recipe: Path) -> None:
    """Those that were trained before, by folds dealt otherwise, learnt from the patients that they were judged on."""
    table, builds = load_plan(recipe), tmp_path / "mr-mine" / "builds"
    weights = [tmp_path / "mr-mine" / "fold0" / name for name in ("weights.pt", "weights-pruned.pt")]
    made = [builds / f"{name}.onnx" for name in ("fp32", "int8", "pruned-fp32", "pruned-int8")]
    for file in (*weights, *made):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{file} at first")
    assert list(judged_builds(table, tmp_path)) == ["fp32", "bf16", "int8", "pruned-fp32", "pruned-bf16", "pruned-int8"]
    chain = [(weights[1], weights[0]), (made[0], weights[0]), (made[2], weights[1]), (made[1], made[0])]
    for file, source in (*chain, (made[3], made[2])):
        note_source(file, source)
    assert judged_builds(table, tmp_path)["int8"] == made[1]
    for verb, (file, source) in zip(("prune", "export", "export", "quantize"), chain, strict=True):
        source.write_text("anew")
        with pytest.raises(
            BadInput, match=rf"expected what was made of the {source.name} .* `wetread lab {verb}` again"
        ):
            judged_builds(table, tmp_path)
        note_source(file, source)


def test_a_card_tells_of_what_ships(tmp_path: Path, recipe: Path) -> None:
    """After a new training, before the new network is certified, its figures are not those of the builds."""
    table, weights = load_plan(recipe), tmp_path / "mr-mine" / "fold0" / "weights.pt"
    folder = make_model(tmp_path / "models" / "mr-mine", "segmentation", {"fp32": lungs_graph()})
    path, network = folder / "certificate.json", zoo.build(table["model"])
    weights.parent.mkdir(parents=True)
    save_weights(weights, table, network)
    told = {"parent": {"sha256": eager(network, bf16=False).digest}}
    path.write_text(json.dumps(json.loads(path.read_text()) | told))
    model = infer.read(folder)
    assert standing_figures(table, tmp_path, model) is None
    save_weights(weights, table, zoo.build(table["model"]))
    with pytest.raises(BadInput, match=r"expected builds of the network in .* run `wetread lab export`"):
        standing_figures(table, tmp_path, model)
    save_weights(weights, table | {"recovered": model.build("fp32").sha256}, zoo.build(table["model"]))
    with pytest.raises(BadInput, match="run `wetread lab evaluate` with the run folder of its training"):
        standing_figures(table, tmp_path, model)


def test_a_label_that_is_marked_nowhere_is_refused(tmp_path: Path, recipe: Path) -> None:
    """Two empty masks agree: a network that finds nothing would have a Dice of 1."""
    volumes(tmp_path / "mine" / "balls", 2)
    for file in (tmp_path / "mine" / "balls" / "labels").iterdir():
        image: Any = nibabel.load(file)
        empty = nibabel.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine)  # type: ignore[no-untyped-call]
        nibabel.save(empty, file)
    with pytest.raises(BadInput, match="expected masks in which 'ball' is marked, as 1 of 1, got 2 without"):
        load(load_plan(recipe), tmp_path)


def test_volumes_in_capitals_are_volumes(tmp_path: Path, recipe: Path) -> None:
    folder = tmp_path / "mine" / "balls"
    volumes(folder, 3)
    for name in ("images", "labels"):
        (folder / name / "case1.nii.gz").rename(folder / name / "CASE1.NII.GZ")
    assert sorted(load(load_plan(recipe), tmp_path).patient) == ["case0", "case1", "case2"]


def test_folds_of_several_recipes_are_not_put_together(tmp_path: Path, recipe: Path) -> None:
    volumes(tmp_path / "mine" / "balls", 2)
    table = load_plan(recipe)
    _, gridded, folds = read_cases(table, tmp_path)
    for more, said in (
        ({"epochs": 2}, "fold1: expected a network that learnt by the recipe of fold0"),
        ({"workers": 2}, "without the images"),
    ):
        for fold, plan in enumerate((table["train"], table["train"] | more)):
            weights = tmp_path / "mr-mine" / f"fold{fold}" / "weights.pt"
            save_weights(weights, table | {"train": plan}, zoo.build(table["model"]))
        with pytest.raises(BadInput, match=said):
            held_out(table, gridded, folds, tmp_path)
