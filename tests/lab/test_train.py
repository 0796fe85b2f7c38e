"""A killed run ends where an undisturbed one does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.lab.films import drawn_films
from wetread.errors import BadInput
from wetread.lab import zoo
from wetread.lab.augment import Augment
from wetread.lab.lungs import dice_loss
from wetread.lab.plan import digest_of
from wetread.lab.samples import LungSamples
from wetread.lab.train import Course, Plan, State, fit, mixed
from wetread.records import Recipe

PLAN = Plan(epochs=3, batch=4, learning_rate=1e-3, bf16=False, workers=0, checkpoint_steps=2, warmup_steps=2, mixup=0.5)


def run(out: Path, stop_at: int | None = None, plan: Plan = PLAN) -> State:
    torch.manual_seed(0)
    model = zoo.build({"architecture": "unet", "widths": [8, 8, 8, 8]})
    recipe = Recipe(grid=(32, 32), mean=(0.5,), std=(0.25,))
    samples = LungSamples(drawn_films(), recipe, Augment(crop=0.5, border=0.5, opacity=0.5), 1)
    course = Course(samples, np.arange(16), dice_loss, lambda model: {"dice": 0.0})
    return fit(model, course, plan, out, stop_at=stop_at)


def test_killed_run_resumes_to_the_same_state(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    assert whole.step == 12
    # Killed at step 7: the last checkpoint is that of step 6, in the middle of an epoch.
    assert run(tmp_path / "killed", stop_at=7).step == 7
    resumed = run(tmp_path / "killed")
    assert resumed.step == 12
    for name, value in whole.average.state_dict().items():
        torch.testing.assert_close(resumed.average.state_dict()[name], value, rtol=0, atol=0)
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, rtol=0, atol=0)


def test_finished_run_does_nothing_more(tmp_path: Path) -> None:
    first = run(tmp_path)
    again = run(tmp_path)
    assert again.step == first.step
    assert len(again.history) == 3


@pytest.mark.parametrize("change", [{"learning_rate": 2e-3}, {"seed": 8}, {"label_smoothing": 0.1}, {"epochs": 4}])
def test_a_checkpoint_of_another_recipe_is_not_gone_on_with(tmp_path: Path, change: dict[str, float]) -> None:
    run(tmp_path, stop_at=7)
    with pytest.raises(BadInput, match="expected a checkpoint of this recipe, got one of another"):
        run(tmp_path, plan=replace(PLAN, **change))  # type: ignore[arg-type]
    assert run(tmp_path, plan=replace(PLAN, checkpoint_steps=3)).step == 12  # which changes no weight


def test_weights_depend_on_what_the_recipe_says_of_them() -> None:
    table = {"id": "mine", "data": "xray/kermany", "model": {"architecture": "unet"}, "ship": {"version": "1"}}
    assert digest_of(table) == digest_of(table | {"id": "yours", "ship": {"version": "2"}})
    others = [digest_of(table | {"augment": {"noise": 0.1}}), digest_of(table, fold=1), digest_of(table)]
    assert len(set(others)) == 3


def test_who_has_few_rows_learns_as_many_steps(tmp_path: Path) -> None:
    # Sixteen rows in batches of four: three epochs are twelve steps, so fourteen need a fourth.
    assert run(tmp_path, plan=replace(PLAN, steps=14)).step == 16
    assert run(tmp_path / "enough", plan=replace(PLAN, steps=12)).step == 12


def test_curves_and_history_stand_beside_the_checkpoint(tmp_path: Path) -> None:
    run(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.pt", "curves.png", "history.json"}


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    history = run(tmp_path).history
    assert history[-1]["loss"] < history[0]["loss"]


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ({"architecture": "unet", "widths": [8, 8, 8, 8], "fine": True}, (64, 64)),
        ({"architecture": "unet3d", "widths": [8, 8, 8]}, (16, 16, 16)),
        ({"architecture": "hybrid-transformer", "width": 16, "heads": 2, "depth": 1, "classify": False}, (64, 64)),
    ],
)
def test_outputs_begin_at_the_prior(model: dict[str, object], size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        share = zoo.build({**model, "labels": 2, "prior": 0.01}).eval()(torch.randn(2, 1, *size)).sigmoid().mean()
    assert 0.005 < share < 0.02
    with pytest.raises(BadInput, match="a share between 0 and 1"):
        zoo.build({**model, "prior": 1.0})


def test_mixup_mixes_images_and_targets_alike() -> None:
    torch.manual_seed(0)
    images, targets = torch.rand(6, 1, 4, 4), torch.rand(6, 1)
    images[:, 0, 0, 0] = targets[:, 0]
    new, soft = mixed(images, targets, 1.0)
    torch.testing.assert_close(new[:, 0, 0, 0], soft[:, 0])
    assert not torch.equal(new, images)
    assert mixed(images, targets, 0.0)[0] is images
