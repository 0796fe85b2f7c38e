"""A model that contradicts itself on the mirror image, or is not sure of its answer, does not read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests import phantoms, toy
from wetread import infer, pipeline
from wetread.errors import ModelError, NotRead
from wetread.infer.gate import MEASURES, Signals, Term, refusal
from wetread.infer.signals import (
    agreement,
    batches,
    certainty,
    lowest_edge,
    measured,
    measures,
    overall,
    polarity,
    signals,
    steadiness,
    with_mirror,
)
from wetread.prepare import prepare
from wetread.records import Box, Tensor
from wetread.settings import Settings


def logits(*columns: int) -> Tensor:
    """A mask of one column for each image."""
    made = np.full((len(columns), 1, 4, 8), -1.0, np.float32)
    for image, column in enumerate(columns):
        made[image, 0, :, column] = 1.0
    return made


def test_mirror_image_follows() -> None:
    tensor = np.arange(16, dtype=np.float32).reshape(2, 1, 2, 4)
    assert with_mirror(tensor)[2:].tolist() == tensor[..., ::-1].tolist()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 10, 16])
def test_batches_are_those_of_all_images_and_then_of_their_mirror_images(size: int) -> None:
    tensor = np.arange(5 * 8, dtype=np.float32).reshape(5, 1, 2, 4)
    for mirrored, whole in ((True, with_mirror(tensor)), (False, tensor)):
        made = list(batches(tensor, mirrored, size))
        assert [len(one) for one in made[:-1]] == [size] * (len(made) - 1)
        assert all(one.flags.c_contiguous for one in made)
        np.testing.assert_array_equal(np.concatenate(made), whole)


def test_agreement_is_the_overlap_with_the_mirror_image() -> None:
    assert agreement(logits(1, 6)) == 1.0
    assert agreement(logits(1, 1)) == 0.0
    assert agreement(logits(1, 2, 3, 6, 5, 0)) == pytest.approx(2 / 3)  # all slices of a series together


@pytest.fixture
def gated(tmp_path: Path) -> infer.Loaded:
    model = infer.read(toy.make_models(tmp_path / "models") / "cxr-lungs")
    return infer.load(replace(model, gate=infer.Gate(mirrored=0.9)), infer.candidates(model)[0])


def test_answers_are_those_of_the_image_alone(gated: infer.Loaded) -> None:
    prepared = prepare(phantoms.chest(), 1.0, gated.model.recipe)
    plain = replace(gated, model=replace(gated.model, gate=infer.Gate())).predict(prepared)
    found = gated.predict(prepared).outputs["logits"]
    assert found.shape == plain.outputs["logits"].shape
    np.testing.assert_allclose(found, plain.outputs["logits"], atol=1e-4)


def test_a_volume_and_its_mirror_image_go_through_the_graph_one_by_one(tmp_path: Path) -> None:
    """A volumetric graph takes one at a time."""
    model = infer.read(toy.make_series_models(tmp_path / "models") / "mr-heart")
    loaded = infer.load(replace(model, gate=infer.Gate(mirrored=0.9)), infer.Choice("fp32", "onnxruntime"))
    asked: list[int] = []

    class Counted:
        """Notes how many volumes it is asked about at once."""

        name, version, device = "counted", "1", "CPU"

        def run(self, tensor: Tensor) -> dict[str, Tensor]:
            asked.append(len(tensor))
            return loaded.engine.run(tensor)

    volume = np.random.default_rng(0).random((32, 48, 48)).astype(np.float32)
    prepared = prepare(volume, 1.0, model.recipe, spacing_mm=(2.0, 1.0, 1.0))
    assert len(replace(loaded, engine=Counted()).predict(prepared).outputs["logits"]) == 1
    assert asked == [1, 1]


def test_contradiction_is_refused(gated: infer.Loaded) -> None:
    class Lopsided:
        """Says lung in the left half, whatever it is shown."""

        name, version, device = "lopsided", "1", "CPU"

        def run(self, tensor: Tensor) -> dict[str, Tensor]:
            made = np.full(tensor.shape, -1.0, np.float32)
            made[..., : tensor.shape[-1] // 2] = 1.0
            return {"logits": made}

    with pytest.raises(NotRead, match=r"at least 0\.90 .* got 0\.00") as told:
        replace(gated, engine=Lopsided()).predict(prepare(phantoms.chest(), 1.0, gated.model.recipe))
    assert told.value.code == "INCONSISTENT"


@pytest.mark.parametrize(("rows", "share"), [(12, 0.0), (7, 1.0), (5, 1.0)])
def test_lungs_that_the_lower_edge_cuts_are_seen(rows: int, share: float) -> None:
    """The picture ends after `rows`; what follows is black, as is the padding."""
    lungs, film = np.zeros((16, 10), bool), np.zeros((16, 10), np.float32)
    lungs[2:6, 2:4] = lungs[2:6, 6:8] = True
    film[:rows] = np.random.default_rng(0).random((rows, 10))
    assert lowest_edge(lungs, film, Box(0, 0, 14, 10)) == share
    assert lowest_edge(np.zeros_like(lungs), film, Box(0, 0, 14, 10)) == 0.0


def declared(tmp_path: Path, sha256: str = "") -> Path:
    path = toy.make_models(tmp_path / "models") / "cxr-lungs" / "model.toml"
    sha256 = sha256 or infer.read(path.parent).builds[0].sha256
    path.write_text(
        path.read_text() + f"[gate]\nmirrored = 0.93\nlungs_cut = 0.4\nsha256 = '{sha256}'\nrule = 'none'\n"
    )
    return path


def test_gate_of_the_folder_is_read(tmp_path: Path) -> None:
    path = declared(tmp_path)
    assert infer.read(path.parent).gate == infer.Gate(mirrored=0.93, lungs_cut=0.4)
    pipeline.open_reader(Settings(models=path.parent.parent, state=tmp_path / "state"))


def test_gate_of_other_bytes_does_not_load(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="fix it again: wetread lab gate cxr-lungs"):
        infer.read(declared(tmp_path, "0" * 64).parent)


def test_film_that_ends_before_the_lungs_is_refused(gated: infer.Loaded) -> None:
    strict = replace(gated, model=replace(gated.model, gate=infer.Gate(lungs_cut=0.5)))
    film = phantoms.chest()
    strict.predict(prepare(film, 1.0, gated.model.recipe))
    cut = film.copy()
    cut[len(film) // 2 :] = film.min()
    with pytest.raises(NotRead, match="at most 50%") as told:
        strict.predict(prepare(cut, 1.0, gated.model.recipe))
    assert told.value.code == "CUT-OFF"


def test_certainty_is_the_overlap_that_the_probabilities_expect_of_the_worst_label() -> None:
    sure, unsure = np.full((1, 2, 2, 2), -30.0, np.float32), np.full((1, 2, 2, 2), -30.0, np.float32)
    sure[0, :, 0], unsure[0, :, 0] = 30.0, 30.0
    unsure[0, 1, 0, 0] = np.log(1.5)  # one pixel of two at 0.6: 2 x 1.6 / (1.6 + 2)
    assert certainty(sure) == pytest.approx(1.0)
    assert certainty(unsure) == pytest.approx(3.2 / 3.6)
    unsure[0, 0] = -30.0
    assert certainty(unsure) == 0.0, "a label without a mask"


def test_outline_that_the_model_doubts_is_refused(gated: infer.Loaded) -> None:
    prepared = prepare(phantoms.chest(), 1.0, gated.model.recipe)
    found = certainty(gated.predict(prepared).outputs["logits"])
    for bound, code in ((found - 0.01, ""), (found + 0.01, "UNCERTAIN")):
        asked = replace(gated, model=replace(gated.model, gate=infer.Gate(certain=bound)))
        told = refusal("cxr-lungs", asked.model.gate, Signals(certain=found))
        assert (told.code if told else "") == code
        if code:
            with pytest.raises(NotRead, match=f"puts at {bound:.2f} or more itself, got {found:.2f}"):
                asked.predict(prepared)
        else:
            asked.predict(prepared)


def test_first_bound_that_is_not_reached_says_why() -> None:
    gate = infer.Gate(mirrored=0.9, polarity=0.5, lungs_cut=0.6, certain=0.8, steady=0.7)
    expected = {
        Signals(): "",
        Signals(mirrored=0.8, polarity=0.4): "INCONSISTENT",
        Signals(polarity=0.45, certain=0.7): "INVERTED",
        Signals(certain=0.7): "UNCERTAIN",
        Signals(steady=float("nan")): "UNCERTAIN",
        Signals(inside=0.39): "CUT-OFF",
    }
    for found, code in expected.items():
        told = refusal("m", gate, found)
        assert (told.code if told else "") == code
    assert refusal("m", infer.Gate(), Signals(0.0, 0.0, 0.0, 0.0, 0.0)) is None


@pytest.mark.parametrize(("lungs", "rest", "expected"), [(0.2, 0.6, 0.7), (0.6, 0.2, 0.3), (0.4, 0.4, 0.5), (-3, 3, 1)])
def test_air_is_dark(lungs: float, rest: float, expected: float) -> None:
    left, right = np.zeros((2, 40, 40), bool)
    left[8:30, 5:16] = right[8:30, 22:35] = True
    film = np.where(left | right, np.float32(lungs), np.float32(rest))
    film[:, :5] = film[:, 35:] = film[:8] = film[30:] = 10.0 - 20.0 * rest  # what does not lie between them
    assert polarity(left, right, film) == pytest.approx(expected)
    left[8:30, 16:22] = True
    assert polarity(left, right, film) == 1.0, "nothing lies between them"


def test_inverted_film_is_refused_and_what_is_no_pair_of_lungs_is_for_another_code(gated: infer.Loaded) -> None:
    gate = infer.Gate(polarity=0.5)
    asked = replace(gated, model=replace(gated.model, gate=gate))
    prepared = prepare(phantoms.chest(), 1.0, gated.model.recipe)
    found = asked.predict(prepared).outputs
    inverted = replace(prepared, tensor=-prepared.tensor)
    told = refusal("m", gate, signals(asked.model, inverted, found, gate.least))
    assert told is not None
    assert told.code == "INVERTED"
    found = {"logits": np.full_like(found["logits"], -1.0)}
    assert signals(asked.model, inverted, found, gate.least) == Signals()


WORSE: dict[str, Callable[[Tensor], NDArray[Any]]] = {
    "edges": lambda film: film[::8, ::8].repeat(8, 0).repeat(8, 1),
    "grain": lambda film: film + np.random.default_rng(0).normal(0, 0.1, film.shape),
    "rows": lambda film: film + 0.2 * np.sin(np.arange(len(film)))[:, None],
    "white": lambda film: film * 3,
    "contrast": lambda film: film * 0.3,
    "symmetry": lambda film: np.where(np.arange(film.shape[1]) < 20, film, 0.0),
    "top": lambda film: film[::-1],
    "middle": lambda film: 1 - film,
}


@pytest.mark.parametrize("name", [name for name in MEASURES if name != "doubt"])
def test_measures_see_what_is_wrong_with_a_film(name: str) -> None:
    down, across = np.mgrid[-1:1:48j, -1:1:64j]
    film = (0.5 + 0.3 * down + 0.2 * np.exp(-((across / 0.3) ** 2)) + 0.05 * np.cos(20 * across)).astype(np.float32)
    film = np.clip(film, 0, 1)
    poor = np.clip(WORSE[name](film), 0, 1).astype(np.float32)
    assert measures(film, 0.1)["doubt"] == pytest.approx(0.09)
    assert abs(measures(poor, 0.1)[name] - measures(film, 0.1)[name]) > 0.02


def test_chance_falls_with_the_distance_from_typical_films() -> None:
    gate = infer.Gate(terms=(Term("edges", 0.5, 0.1, 0.0, 1.0), Term("doubt", 0.0, 0.1, 2.0, 0.0)), constant=-2.0)
    found = [
        steadiness(gate, {"edges": edges, "doubt": doubt}) for edges, doubt in ((0.5, 0.0), (0.7, 0.0), (0.5, 0.2))
    ]
    assert found == pytest.approx([1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2)), 1 / (1 + np.exp(2))])
    assert steadiness(gate, {"edges": 1e9, "doubt": 0.0}) < 1e-20
    assert steadiness(infer.Gate(), {}) == 1.0


@pytest.mark.parametrize(("constant", "refused"), [(-5.0, False), (5.0, True)])
def test_film_on_which_an_answer_is_not_steady_is_refused(constant: float, refused: bool, tmp_path: Path) -> None:
    gate = infer.Gate(steady=0.5, terms=(Term("doubt", 0.0, 0.25, 0.0, 0.0),), constant=constant)
    model = replace(infer.read(toy.make_models(tmp_path / "models") / "cxr-pneumonia"), gate=gate)
    asked = infer.load(model, infer.candidates(model)[0])
    prepared = prepare(phantoms.chest(), 1.0, model.recipe, Box(0, 0, 100, 100))
    if not refused:
        asked.predict(prepared)
        return
    with pytest.raises(NotRead, match="at least 50% that no damage moved its answer, got 1%") as told:
        asked.predict(prepared)
    assert told.value.code == "UNCERTAIN"


def test_series_is_measured_over_its_slices_that_show_something() -> None:
    film = phantoms.chest()[:64, :64].astype(np.float32) / phantoms.chest().max()
    one, other, blank = measures(film, 0.2), measures(film[::-1], 0.6), measures(np.zeros_like(film), 0.0)
    assert overall([one]) == one
    assert overall([blank, one, other])["doubt"] == pytest.approx((0.16 + 0.24) / 2)
    assert overall([blank, one, other])["contrast"] == pytest.approx(one["contrast"])
    assert overall([blank, blank]) == blank, "nothing is shown at all"


@pytest.mark.parametrize(("constant", "code"), [(-5.0, ""), (5.0, "UNCERTAIN")])
def test_series_of_a_model_that_outlines_and_calls_is_read_or_refused_as_a_whole(
    constant: float, code: str, tmp_path: Path
) -> None:
    """Without a second run, and whether or not anything is outlined."""
    model = infer.read(toy.make_series_models(tmp_path / "models") / "mr-tumour")
    gate = infer.Gate(steady=0.5, terms=(Term("doubt", 0.0, 0.25, 0.0, 0.0),), constant=constant)
    asked = infer.load(replace(model, gate=gate), infer.candidates(model)[0])
    prepared = prepare(np.stack([phantoms.chest()] * 3), 1.0, model.recipe)
    if code:
        with pytest.raises(NotRead, match="no damage moved its answer") as told:
            asked.predict(prepared)
        assert told.value.code == code
        return
    outputs = asked.predict(prepared).outputs
    assert len(outputs["logits"]) == len(measured(asked.model, prepared, outputs)) == 3


def test_terms_of_a_gate_are_read(tmp_path: Path) -> None:
    path = declared(tmp_path)
    path.write_text(path.read_text() + "steady = 0.6\nconstant = -2.5\ndoubt = [0.1, 0.2, 0.3, 0.4]\n")
    gate = infer.read(path.parent).gate
    assert (gate.steady, gate.constant, gate.terms) == (0.6, -2.5, (Term("doubt", 0.1, 0.2, 0.3, 0.4),))
    text = path.read_text()
    for old, new, said in [
        ("0.2, 0.3", "0.0, 0.3", "spread above 0"),
        ("0.2, 0.3", "0.2, nan", "spread above 0"),
        ("steady = 0.6", "staedy = 0.6", r"\[gate\]: expected mirrored, .*; got staedy"),
        ("steady = 0.6", "steady = nan", "steady: expected a finite number, 0 to 1, got nan"),
        ("constant = -2.5", "constant = -inf", "constant: expected a finite number"),
    ]:
        path.write_text(text.replace(old, new))
        with pytest.raises(ModelError, match=said):
            infer.read(path.parent)
