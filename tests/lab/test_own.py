"""A recipe for a folder of one's own: trained, certified and judged as those that ship."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
import pytest

from wetread import infer
from wetread.errors import BadInput
from wetread.lab import commands
from wetread.lab.plan import load_plan, recipe_of
from wetread.lab.series import load
from wetread.lab.train import Plan

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
    figures = commands.evaluate(str(recipe), data, run, models, tmp_path / "evidence")
    assert sum(fold["series"] for fold in figures["folds"]) == 8
    (model,) = infer.find(models)
    assert (model.id, model.labels[0].name) == ("mr-mine", "ball")
    card = (models / "mr-mine" / "card.md").read_text()
    assert "Outlines bright balls." in card
    assert "Published" not in card
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
    told = RECIPE.format(task="classification") + '[audit]\npositive = "ball"\n'
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


def test_the_recipe_of_the_how_to_page_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/bring-your-own.md").read_text(encoding="utf-8")
    (told,) = [one for block in page.split("```toml\n")[1:] if "[folds]" in (one := block.split("```")[0])]
    (tmp_path / "liver.toml").write_text(told, encoding="utf-8")
    volumes(tmp_path / "mine" / "livers", 2)
    table = load_plan(tmp_path / "liver.toml")
    assert Plan.from_table(table["train"]).epochs == 48
    assert recipe_of(table["recipe"]).grid == (256, 256)
    assert len(load(table, tmp_path)) == 2


def test_what_cannot_be_trained_on(tmp_path: Path, recipe: Path) -> None:
    with pytest.raises(BadInput, match="or a folder below"):
        load(load_plan(recipe), tmp_path)
    recipe.write_text(RECIPE.format(task="segmentation").replace('[folds]\nby = "patient"\nn = 2\n', ""))
    with pytest.raises(BadInput, match=r"expected \[folds\], as only xray/kermany is split without"):
        load_plan(recipe)
