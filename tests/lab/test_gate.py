"""The rule that fixes a gate's bounds, the damages, and the whole way of a gate on drawn series."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests import toy
from tests.lab.films import drawn_films
from tests.lab.series import drawn_cases
from wetread import infer
from wetread.errors import BadInput
from wetread.infer import Gate
from wetread.infer.gate import MEASURES, Signals, Term
from wetread.infer.signals import steadiness
from wetread.lab.damage import Damage, damages
from wetread.lab.evidence import data_of
from wetread.lab.falls import NONE, badness, bound_of, code_of, fallen, fix_bounds, gate_of, separated
from wetread.lab.gate import fitted, halves, judge_builds, parts
from wetread.lab.gate_page import gate_text, section, write_page, write_section
from wetread.lab.plan import load_plan
from wetread.lab.steady import fit_steady
from wetread.lab.trials import (
    Case,
    Subject,
    Told,
    damaged,
    film_cases,
    rivals,
    series_cases,
    span_of,
    subject_of,
    without,
)
from wetread.lab.written import write_json
from wetread.measures import auroc
from wetread.records import Recipe

SOUND = np.linspace(0.9, 1.0, 101)
SHIPPED = Path(__file__).parents[2]


def test_bound_lets_through_what_has_not_fallen() -> None:
    values = np.linspace(0.5, 1.0, 501)
    assert bound_of(values, values < 0.8, SOUND) == pytest.approx(0.785, abs=0.006)  # one in twenty may have fallen


def test_bound_is_none_where_nothing_falls_and_spares_sound_images_where_all_do() -> None:
    values = np.linspace(0.5, 1.0, 50)
    assert bound_of(values, np.zeros(50, bool), SOUND) == 0.0
    assert bound_of(values, np.ones(50, bool), SOUND) == pytest.approx(0.9)
    few = np.array([0.94, 0.96, 0.98])  # no 2nd percentile: mean 0.96, deviation 0.02
    assert bound_of(values, np.ones(50, bool), few) == pytest.approx(0.9, abs=0.006)


def told(before: str = "", after: str = "", given: float = 1.0, figure: float = 1.0, **values: float) -> Told:
    return Told(before, after, Signals(**values), figure, (given,), np.zeros(0))


def test_the_worse_signal_counts() -> None:
    found = [told(), told(mirrored=0.85), told(mirrored=0.95, inside=0.4)]
    gate = gate_of({"mirrored": 0.9, "inside": 0.5}, Gate())
    assert gate == Gate(mirrored=0.9, lungs_cut=0.5)
    assert (badness(found, {"mirrored": 0.9, "inside": 0.5}) > 1).tolist() == [False, True, True]
    assert (badness(found, {"mirrored": 0.0}) > 1).tolist() == [False, False, False]
    assert [code_of(one, gate) for one in found] == ["", "INCONSISTENT", "CUT-OFF"]
    bounds = {"mirrored": 0.9, "polarity": 0.5}
    found = [told(mirrored=0.99, polarity=0.52), told(polarity=0.48)]
    assert badness(found, bounds) == pytest.approx([0.1, 1.04])
    assert [code_of(one, gate_of(bounds, Gate())) for one in found] == ["", "INVERTED"]


def test_codes_come_in_the_order_of_deployment() -> None:
    gate = Gate(certain=0.9)
    assert code_of(told("NOT-A-CHEST", certain=0.5), gate) == "NOT-A-CHEST"
    assert code_of(told("", "IMPLAUSIBLE-MASK", certain=0.5), gate) == "UNCERTAIN"
    assert code_of(told("", "IMPLAUSIBLE-MASK"), gate) == "IMPLAUSIBLE-MASK"


def test_the_better_signal_makes_the_gate(tmp_path: Path) -> None:
    """What is certain falls with the Dice, what is mirrored does not; only an organ that is always there has both."""
    model = infer.read(toy.make_models(tmp_path / "models") / "cxr-lungs")
    lungs = replace(model, views=(), labels=(replace(model.labels[0], plausible_share=(0.01, 0.7)),))
    sound = [told(certain=0.95, mirrored=0.9 + 0.001 * i) for i in range(20)]
    bad = [told(certain=0.5, mirrored=0.9 + 0.001 * i, given=0.5) for i in range(20)]
    tried = {NONE: sound, ("blur", "8"): bad}
    bounds, worth = fix_bounds(tried, lungs)
    assert list(bounds) == ["certain"]
    assert 0.5 < bounds["certain"] <= 0.95
    assert worth["certain"]["auc"] == 1.0
    assert fix_bounds(tried, replace(lungs, labels=model.labels))[0] == {"mirrored": 0.0}, "no signal is usable"


def test_what_is_inverted_has_a_bound_that_no_data_fix(tmp_path: Path) -> None:
    model = infer.read(toy.make_models(tmp_path / "models") / "cxr-lungs")
    sound = [told(polarity=0.6) for _ in range(20)]
    bad = [told(polarity=0.4, given=0.5) for _ in range(20)]
    bounds, worth = fix_bounds({NONE: sound, ("inverted", ""): bad, ("turned", "90 degrees"): sound}, model)
    assert bounds["polarity"] == 0.5
    assert (worth["polarity"]["n"], worth["polarity"]["auc"]) == (40, 1.0)


def test_chance_is_fitted_to_what_moves_an_answer() -> None:
    """Films fall where they lie two spreads from typical ones in one measure, on either side."""
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (600, len(MEASURES)))
    values[300:, 1] += np.where(rng.random(300) < 0.5, 4, -4)
    fell = np.arange(600) >= 300
    measured = [dict(zip(MEASURES, row, strict=True)) for row in values]
    gate = fit_steady(measured, fell, ~fell)
    found = np.array([steadiness(gate, one) for one in measured])
    assert auroc(fell.astype(int), -found) > 0.95
    square = {term.measure: term.square for term in gate.terms}
    assert max(square, key=lambda name: square[name]) == MEASURES[1]


def test_calls_that_are_lost_are_counted_and_those_refused_told() -> None:
    sound = [told(steady=0.95)] * 3
    damaged = [told(steady=0.2, given=0.3, figure=0.0), told(steady=0.9, given=0.4, figure=0.0), told(steady=0.9)]
    found = separated({NONE: sound, ("blur", "8"): damaged}, {"steady": 0.5}, Gate(steady=0.5))
    assert (found["n_lost"], found["lost_refused"], found["n_fallen"]) == (2, 0.5, 2)
    assert (found["fallen_refused"], found["others_refused"]) == (0.5, 0.0)


def test_series_falls_by_its_outline_or_by_its_calls() -> None:
    def one(overlap: float, chance: float) -> Told:
        return replace(told(), given=(overlap, chance))

    tried = {NONE: [one(0.9, 0.9)] * 4, ("blur", "8"): [one(0.85, 0.85), one(0.5, 0.9), one(0.9, 0.5), one(0.0, 0.1)]}
    assert fallen(tried, ("blur", "8")).tolist() == [False, True, True, True]
    nothing = float("nan")  # no Dice where nothing is to be outlined
    assert fallen({NONE: [one(nothing, 0.9)], ("blur", "8"): [one(nothing, 0.5)]}, ("blur", "8")).all()


def tumours(tmp_path: Path) -> tuple[Subject, list[Case]]:
    """A model that outlines and calls, and drawn heads of which every third has no ball."""
    subject = subject_of(toy.make_series_models(tmp_path / "models"), "mr-tumour")
    drawn = drawn_cases(n=9, depth=8)
    present = tuple(np.asarray((mask > 0).any((1, 2)), np.int64)[:, None] for mask in drawn.masks)
    return subject, list(series_cases(replace(drawn, present=present), np.arange(9)))


def test_a_model_that_outlines_and_calls_is_judged_by_both(tmp_path: Path) -> None:
    subject, cases = tumours(tmp_path)
    assert rivals(subject.model) == ["steady"]
    found = subject.ask(cases[1])
    assert len(found.given) == 2
    assert found.given[0] == found.figure
    assert 0 < found.given[1] < 1
    assert len(found.measured) == len(cases[1].pixels)
    assert found.signals == Signals(), "no chance without a fit, and no second run"


def test_slices_without_a_finding_make_a_series(tmp_path: Path) -> None:
    _, cases = tumours(tmp_path)
    case = cases[1]
    assert case.present is not None
    found = without(case)
    assert found is not None
    assert found.present is not None
    assert len(found.pixels) == len(found.present) == (case.present == 0).sum() > 0
    assert found.masks is None
    assert without(replace(case, present=np.ones_like(case.present))) is None
    assert without(replace(case, present=None)) is None


def test_slices_without_a_finding_are_told_once_more(tmp_path: Path) -> None:
    """So that the absence of a finding does not pass for its loss; a film and a series of one kind have none."""
    slices = [{"doubt": value} for value in (0.1, 0.2, 0.3)]
    seen, case = replace(told(), measured=slices), Case(np.zeros((3, 4, 4)), present=np.array([0, 1, 0]))
    assert parts(seen, case) == [slices, [slices[0], slices[2]]]
    for present in (np.ones(3, np.int64), np.zeros(3, np.int64), None):
        assert parts(seen, replace(case, present=present)) == [slices]
    subject, cases = tumours(tmp_path)
    assert tuple(term.measure for term in fitted(subject, cases).terms) == MEASURES
    assert fitted(subject, []) == Gate()


def test_halves_share_no_patient_and_both_hold_every_stratum() -> None:
    patient = np.array([f"p{i // 2}" for i in range(24)])
    stratum = np.where(np.arange(24) < 8, "ill", "well")
    half = halves(patient, stratum)
    assert not set(patient[half == 0]) & set(patient[half == 1])
    assert [(stratum[half == side] == "ill").sum() for side in (0, 1)] == [4, 4]
    with pytest.raises(BadInput, match="at least 2 patients"):
        halves(patient[:2])


@pytest.mark.parametrize("damage", damages(volumetric=True), ids=lambda one: f"{one.name} {one.grade}")
def test_damages_change_the_image_and_keep_shape_and_dtype(damage: Damage) -> None:
    for volume in (drawn_films().images[1:2], drawn_cases(depth=8).images[0]):
        made = damage.image(volume, (0.0, 255.0))
        assert made.shape == volume.shape
        assert made.dtype == volume.dtype
        if len(volume) > 1 or damage.name != "last slices missing":
            assert np.abs(made.astype(float) - volume).mean() > 0
        np.testing.assert_array_equal(made, damage.image(volume, (0.0, 255.0)))


@pytest.mark.parametrize("name", sorted({one.name for one in damages()} - {"turned"}))
def test_damages_grow(name: str) -> None:
    image = drawn_films().images[1:2]
    found = [damage.image(image, (0.0, 255.0)).astype(float) for damage in damages() if damage.name == name]
    away = [float(np.abs(one - image).mean()) for one in found]
    assert away == sorted(away)


def test_the_truth_turns_with_the_image_and_stays_whole_where_it_is_cut() -> None:
    case = next(film_cases(drawn_films(), np.array([1])))
    assert case.masks is not None
    by_name = {(one.name, one.grade): damaged(case, one, Recipe(grid=(32, 32))).masks for one in damages()}
    np.testing.assert_array_equal(by_name["turned", "180 degrees"], case.masks[:, ::-1, ::-1])
    np.testing.assert_array_equal(by_name["lower part missing", "50%"], case.masks)


def test_black_and_white_are_those_that_the_model_sees() -> None:
    volume = next(series_cases(drawn_cases(), np.array([0]))).pixels
    assert span_of(volume, Recipe(grid=(32, 32), window=(-20.0, 100.0))) == (-20.0, 100.0)
    assert span_of(drawn_films().images[:1], Recipe(grid=(32, 32))) == (0.0, 255.0)
    low, high = span_of(volume, Recipe(grid=(32, 32), percentiles=(0.0, 100.0)))
    assert (low, high) == (float(volume.min()), float(volume.max()))


def test_ignored_pixels_of_a_film_are_marked() -> None:
    films = drawn_films()
    films.masks[0, :4] = 127
    case = next(film_cases(films, np.array([0])))
    assert isinstance(case, Case)
    assert case.masks is not None
    assert set(np.unique(case.masks).tolist()) == {0, 1, 255}
    assert case.present is not None
    assert next(film_cases(films, np.array([0]), labelled=False)).present is None


def test_a_classifier_is_measured_and_judged_behind_the_segmenter_before_it(tmp_path: Path) -> None:
    subject = subject_of(toy.make_models(tmp_path / "models"), "cxr-pneumonia")
    case = next(film_cases(drawn_films(), np.array([1])))
    found = subject.ask(case)
    assert [set(one) for one in found.measured] == [set(MEASURES)]
    assert found.signals == Signals(), "no chance without a fit"
    assert 0 < found.given[0] < 1
    assert found.figure in (0.0, 1.0)
    gate = Gate(steady=0.5, terms=(Term("doubt", 0.0, 1.0, 0.0, 0.0),), constant=3.0)
    behind = subject.behind(gate).ask(case)
    assert behind.signals.steady == pytest.approx(1 / (1 + np.exp(3)))
    assert code_of(behind, gate) == (found.before or "UNCERTAIN")
    blank = replace(case, pixels=np.zeros_like(case.pixels))
    assert subject.ask(blank).before == "NOT-A-CHEST"


def test_a_gate_that_stands_is_judged_without_the_films_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another host needs neither other hospitals' films nor images of other organs."""
    models, table = toy.make_models(tmp_path / "models"), load_plan("cxr-lungs")
    (tmp_path / table["data"]).mkdir(parents=True)
    monkeypatch.setattr("wetread.lab.gate.kermany", lambda *_: drawn_films())
    standing = {"sha256": infer.read(models / "cxr-lungs").build("fp32").sha256, "data": data_of(table, tmp_path)}
    write_json(models / "cxr-lungs" / "gate.json", standing | {"builds": []})
    (row,) = judge_builds(table, tmp_path, tmp_path, models)["builds"]
    assert row["build"] == "fp32"


def test_gate_goes_into_the_card_and_the_figures(tmp_path: Path) -> None:
    """An older section is replaced, what stands around it stays."""
    shipped = SHIPPED / "models" / "mr-hippocampus"
    for name in ("card.md", "figures.json"):
        (tmp_path / name).write_bytes((shipped / name).read_bytes())
    told = json.loads((shipped / "gate.json").read_text())
    write_section(tmp_path, told)
    assert (tmp_path / "card.md").read_text() == (shipped / "card.md").read_text(), "the shipped card is up to date"
    write_section(tmp_path, told | {"date": "1999-12-31"})
    card = (tmp_path / "card.md").read_text()
    assert "1999-12-31" in card
    assert card.replace("1999-12-31", told["date"]) == (shipped / "card.md").read_text()
    assert json.loads((tmp_path / "figures.json").read_text())["figures"]["gate"]["date"] == "1999-12-31"


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("models/*/gate.json")), ids=lambda path: path.parent.name)
def test_card_page_and_declaration_say_what_the_gate_does(path: Path) -> None:
    told = json.loads(path.read_text())
    assert section(told) in (path.parent / "card.md").read_text()
    assert gate_text(told) in (SHIPPED / "docs" / "evidence" / "gate.md").read_text()
    gate = infer.read(path.parent).gate
    assert {name: getattr(gate, name) for name in told["bounds"]} == told["bounds"]


def test_the_page_of_a_strangers_models_tells_nothing_of_ours(tmp_path: Path) -> None:
    told = json.loads((SHIPPED / "models" / "mr-hippocampus" / "gate.json").read_text())
    write_json(tmp_path / "mr-theirs" / "gate.json", told | {"model": "mr-theirs 1.0.0+fp32"})
    write_page(tmp_path, tmp_path / "evidence")
    page = (tmp_path / "evidence" / "gate.md").read_text()
    assert "## mr-theirs" in page
    assert "mr-glioma" not in page
    write_page(SHIPPED / "models", tmp_path / "ours")
    assert (tmp_path / "ours" / "gate.md").read_text() == (SHIPPED / "docs" / "evidence" / "gate.md").read_text()


def test_folder_without_a_card_gets_none(tmp_path: Path) -> None:
    write_section(tmp_path, {})
    assert not list(tmp_path.iterdir())
