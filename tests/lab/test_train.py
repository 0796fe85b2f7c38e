"""A killed run ends where an undisturbed one does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch

from tests.lab.films import drawn_films
from tests.lab.series import drawn_cases
from wetread.errors import BadInput
from wetread.lab import train as training
from wetread.lab import weights as saving
from wetread.lab import zoo
from wetread.lab.augment import Augment
from wetread.lab.cases import Cases, fold_of
from wetread.lab.courses import series_course
from wetread.lab.evaluate_series import told_by_others
from wetread.lab.gridded import lay_cases
from wetread.lab.lungs import dice_loss
from wetread.lab.plan import digest_of, recipe_of
from wetread.lab.samples import LungSamples
from wetread.lab.train import Aside, Course, Plan, State, device_of, fit, learn, mixed
from wetread.lab.verdicts import Scores
from wetread.records import Recipe

PLAN = Plan(epochs=3, batch=4, learning_rate=1e-3, bf16=False, workers=0, checkpoint_steps=2, warmup_steps=2, mixup=0.5)


def replace_changes(samples: LungSamples) -> LungSamples:
    return LungSamples(samples.films, samples.recipe, Augment.none(), 1)


def run(out: Path, stop_at: int | None = None, plan: Plan = PLAN) -> State:
    torch.manual_seed(0)
    model = zoo.build({"architecture": "unet", "widths": [8, 8, 8, 8]})
    recipe = Recipe(grid=(32, 32), mean=(0.5,), std=(0.25,))
    samples = LungSamples(drawn_films(), recipe, Augment(crop=0.5, border=0.5, opacity=0.5), 1)
    course = Course(samples, np.arange(16), dice_loss, lambda model: {"dice": 0.0})
    if plan.patience:
        course = replace(course, aside=Aside(replace_changes(samples), np.arange(16, 24)))
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


@pytest.mark.parametrize("left", [0, 10, -1])
def test_a_damaged_checkpoint_says_so(tmp_path: Path, left: int) -> None:
    run(tmp_path, stop_at=7)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(BadInput, match=r"/checkpoint\.pt: .* got a damaged file .*--fresh"):
        run(tmp_path)


def test_a_full_disk_is_said_to_be_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch says: unexpected pos 704 vs 598."""

    @contextmanager
    def full(path: Path) -> Iterator[BinaryIO]:
        with Path("/dev/full").open("wb") as file:
            yield file

    monkeypatch.setattr(saving, "replacing", full)
    with pytest.raises(OSError, match="No space left on device") as found:
        saving.put_saved(tmp_path / "checkpoint.pt", {"a": torch.zeros(100_000)})
    assert found.value.filename == str(tmp_path / "checkpoint.pt")


def test_weights_that_are_none_are_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "checkpoint.pt")
    with pytest.raises(BadInput, match=r"/checkpoint\.pt: expected what a training saved, got a list; .*--fresh"):
        run(tmp_path)
    saving.put_saved(tmp_path / "fold0" / "weights.pt", {"step": 3})
    with pytest.raises(BadInput, match=r"fold0/weights\.pt: expected a network and the recipe that it learnt by"):
        saving.load_weights(tmp_path / "fold0" / "weights.pt")


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


@pytest.mark.parametrize("size", [(4, 4), (4, 4, 4)], ids=["slices", "volumes"])
def test_mixup_mixes_images_and_targets_alike(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    images, targets = torch.rand(6, 1, *size), torch.rand(6, 1)
    images.flatten(1)[:, 0] = targets[:, 0]
    new, soft = mixed(images, targets, 1.0)
    assert new.shape == images.shape
    torch.testing.assert_close(new.flatten(1)[:, 0], soft[:, 0])
    assert not torch.equal(new, images)
    assert mixed(images, targets, 0.0)[0] is images


def weights(state: State) -> dict[str, torch.Tensor]:
    return dict(state.average.state_dict())


def test_training_stops_when_the_patients_aside_gain_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([3.0, 2.0, 2.5, 2.1, 1.0])
    monkeypatch.setattr(training, "_loss_on", lambda *_: next(losses))
    patient = replace(PLAN, epochs=6, patience=2)
    # The rate falls over six epochs, not three: the second epoch is that of a longer run.
    second = weights(run(tmp_path / "two", stop_at=8, plan=replace(PLAN, epochs=6)))
    assert run(tmp_path / "run", stop_at=10, plan=patient).step == 10  # killed in the third epoch
    state = run(tmp_path / "run", plan=patient)
    assert state.step == 16
    assert [epoch["loss_aside"] for epoch in state.history] == [3.0, 2.0, 2.5, 2.1]
    for again in (state, run(tmp_path / "run", plan=patient)):  # the second does nothing more
        assert again.step == 16
        for name, value in second.items():
            torch.testing.assert_close(weights(again)[name], value, rtol=0, atol=0)


def test_the_loss_of_the_patients_aside_is_that_of_images_without_changes(tmp_path: Path) -> None:
    state = run(tmp_path, plan=replace(PLAN, patience=3))
    samples = LungSamples(drawn_films(), Recipe(grid=(32, 32), mean=(0.5,), std=(0.25,)), Augment.none(), 1)
    images, targets = zip(*(samples[0, row] for row in range(16, 24)), strict=True)
    assert torch.equal(images[0], samples[5, 16][0])
    with torch.no_grad():
        loss = float(dice_loss(state.average(torch.stack(images)), torch.stack(targets)))
    assert min(epoch["loss_aside"] for epoch in state.history) == pytest.approx(loss, rel=1e-5)


FOLDED: dict[str, Any] = {
    "task": "segmentation",
    "model": {"labels": 2},
    "recipe": {"grid": [32, 32], "channels": 1, "mean": [0.5], "std": [0.25]},
    "folds": {"by": "patient", "n": 2},
    "train": {"epochs": 1, "batch": 2, "learning_rate": 1e-3, "patience": 1, "aside": 0.5},
}


def owners(cases: Cases, series: Any) -> set[str]:
    return set(cases.patient[np.unique(series)].tolist())


@pytest.mark.parametrize("fold", [0, 1])
def test_who_says_when_to_stop_neither_teaches_nor_fixes_a_threshold(fold: int) -> None:
    cases = drawn_cases(24)
    folds, gridded = fold_of(cases, FOLDED["folds"]), lay_cases(cases, recipe_of(FOLDED["recipe"]), 2)
    course = series_course(FOLDED, cases, gridded, folds, fold)
    assert course.aside is not None
    asked = owners(cases, gridded.series[course.aside.rows])
    taught = owners(cases, gridded.series[course.rows % len(gridded)])
    rows = np.arange(len(gridded))
    scores = Scores(gridded.present[:, 0], rows.astype(np.float64), gridded.series, "max")
    fixing = owners(cases, told_by_others(FOLDED, cases, scores, folds, fold).series)
    assert asked
    assert taught == fixing == owners(cases, np.flatnonzero(folds != fold)) - asked
    without = FOLDED | {"train": FOLDED["train"] | {"patience": 0}}
    assert series_course(without, cases, gridded, folds, fold).aside is None
    with pytest.raises(BadInput, match="leaves patients to ask"):
        series_course(FOLDED | {"train": FOLDED["train"] | {"aside": 0.0}}, cases, gridded, folds, fold)


def test_a_device_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of(PLAN) == torch.device("cpu")
    with pytest.raises(BadInput, match="expected a CUDA device and a torch made for it, found none"):
        run(tmp_path, plan=replace(PLAN, device="cuda"))
    with pytest.raises(BadInput, match="expected auto, cpu or cuda, got 'gpu'"):
        device_of(replace(PLAN, device="gpu"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_of(PLAN) == device_of(replace(PLAN, device="cuda")) == torch.device("cuda")
    assert device_of(replace(PLAN, device="cpu")) == torch.device("cpu")


def test_a_step_runs_where_the_model_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device without memory stands for CUDA: what lies elsewhere is refused by it too."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which does not know that device
    network, teacher = (zoo.build({"architecture": "unet", "widths": [8, 8, 8, 8]}) for _ in range(2))
    state = training._start(network, PLAN, torch.device("meta"))
    batch = torch.rand(2, 1, 32, 32), torch.zeros(2, 1, 32, 32)
    assert learn(state, PLAN, dice_loss, teacher.to("meta"), batch, 1e-3).device.type == "meta"
    assert state.step == 1
    with pytest.raises(RuntimeError, match="expected device"):
        learn(state, PLAN, dice_loss, teacher.to_empty(device="cpu"), batch, 1e-3)
