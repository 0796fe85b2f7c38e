"""How every model falls with corruption, and the gate that is to catch the fall.

A gate belongs to the bytes that it was fixed on: `model.toml` names their SHA-256, and so does
``gate.json`` beside it, which holds what every damage does, and what the same bounds do in every other build.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread import infer
from wetread.errors import BadInput
from wetread.infer import Gate
from wetread.infer.signals import overall
from wetread.lab.cases import deal, fold_of
from wetread.lab.damage import damages
from wetread.lab.data import hannover, held_back, kermany, nih
from wetread.lab.evidence import data_of, today
from wetread.lab.falls import (
    FALL,
    NONE,
    SHARE,
    SOUND,
    Tried,
    damage_rows,
    fallen,
    fix_bounds,
    gate_of,
    row_of,
    separated,
)
from wetread.lab.folder import sha256_of
from wetread.lab.gate_page import write_page, write_section
from wetread.lab.plan import recipe_of
from wetread.lab.series import LOADERS, load
from wetread.lab.steady import fit_steady
from wetread.lab.train import Plan
from wetread.lab.trials import Case, Subject, Told, damaged, film_cases, rivals, series_cases, subject_of, without
from wetread.lab.written import write_json, write_text
from wetread.records import Recipe

__all__ = ["fitted", "halves", "judge_builds", "kept_gate", "make_gate", "parts"]

#: Cases on each side, at most: sound ones; those in every damage; images of something else.
SOUND_ONES, TRIED, OTHERS = 200, 60, 30
#: Damages that films from outside are tried in too: what a wrong header or a wrong hand makes of them.
WRONG = (("turned", "180 degrees"), ("inverted", ""))
#: Series of other folds that a chance is fitted to: a fold that ships has too few patients for its terms.
LEARNT = 48

Figures = dict[str, Any]
#: Keys of the bounds in a declaration.
BOUNDS = ("mirrored", "polarity", "certain", "steady", "lungs_cut")
#: What must not fall, by the task.
KEPT = {
    "segmentation": "their Dice",
    "classification": "the probability given to the truth",
    "segmentation+classification": "their Dice and the probability given to the truth",
}


def make_gate(table: Mapping[str, Any], data: Path, out: Path, models: Path, evidence: Path | None = None) -> Figures:
    """Try a certified model on damaged images, fix its gate if a signal tells the fall, and write what it catches.

    The bounds come from patients that the network never saw, the figures from others: for
    films the held-back training patients and the test split, for series the two halves of the
    fold that ships.  What a classifier's films tell is fitted on half of the held-back patients,
    and its bound fixed on the other; what its series tell is fitted on patients of other folds,
    which the network was trained on.

    Returns
    -------
    The figures, as in ``gate.json``; with `evidence` its ``gate.md`` and ``gate.svg`` say them of all models.

    Raises
    ------
    BadInput
        The model is not certified.
    """
    name = str(table["id"])
    subject = subject_of(models, name)
    learn, fix, judge, outside = _grounds(table, data, out / "cache")
    learnt = fitted(subject, learn)
    subject = subject.behind(learnt)
    bounds, signals = fix_bounds(_try(subject, fix), subject.model)
    gate = gate_of(bounds, learnt) if any(bounds.values()) else Gate()
    found = _try(subject, judge)
    build = subject.loaded.identity
    told: Figures = {
        "model": f"{name} {subject.model.version}+{build.build}",
        "command": f"wetread lab gate {name}",
        "date": today(),
        "seed": Plan.from_table(table["train"]).seed,
        "data": data_of(table, data),
        "sha256": build.sha256,
        "fitted_on": {"sound": len(learn), "damaged": len(learn[:TRIED]), "seen": "folds" in table},
        "fixed_on": {"sound": len(fix), "damaged": len(fix[:TRIED])},
        "bounds": {key: getattr(gate, key) for key in BOUNDS},
        "signals": signals,
        "figure": "Dice" if subject.model.segments else "share called right",
        "damages": damage_rows(found, judge, subject.model, gate),
        "auc": separated(found, bounds, gate),
        "outside": {
            key: row_of([subject.ask(one) for one in cases], cases, subject.model, gate) for key, cases in outside
        },
        "builds": [],
    }
    told["builds"] = _builds(told, subject, judge, gate, {build.build: found})
    _put(models / name / "model.toml", gate, told, KEPT[subject.model.task])
    return _written(told, models / name, evidence)


def judge_builds(
    table: Mapping[str, Any], data: Path, out: Path, models: Path, evidence: Path | None = None
) -> Figures:
    """Say what the gate that stands does in every build that this host has the precision for.

    Of the other builds stands what an earlier run found, on another host.

    Returns
    -------
    As `make_gate`.

    Raises
    ------
    BadInput
        The model is not certified, or its gate was fixed on other data or on a file that is not there any more.
    """
    name = str(table["id"])
    subject = subject_of(models, name)
    told = kept_gate(models / name)
    if told is None or told["data"] != data_of(table, data):
        raise BadInput(
            f"gate: expected that of {name} to be fixed on these data and on a file that lies there; "
            f"fix it again with wetread lab gate {name}"
        )
    gate = subject.model.gate
    _, _, judge, _ = _grounds(table, data, out / "cache")
    told["builds"] = _builds(told, subject.behind(gate), judge, gate, {})
    return _written(told, models / name, evidence)


def _written(told: Figures, folder: Path, evidence: Path | None) -> Figures:
    write_json(folder / "gate.json", told)
    write_section(folder, told)
    if evidence is not None:
        write_page(folder.parent, evidence)
    return told


def _builds(
    told: Mapping[str, Any], subject: Subject, judge: Sequence[Case], gate: Gate, known: Mapping[str, Tried]
) -> list[Figures]:
    """Return what a gate does in every build, in the order in which `model.toml` has them.

    Parameters
    ----------
    told
        The figures of the gate, and of builds that an earlier run had.
    known
        Build -> what came of the cases that judge, where they were tried.
    """
    model = subject.model
    bounds = gate.least or {rivals(model)[0]: 0.0}
    rows = {one["build"]: one for one in told["builds"]}
    for choice in {one.build: one for one in reversed(infer.candidates(model))}.values():
        tried = known.get(choice.build) or _try(subject.running(infer.load(model, choice)), judge)
        rows[choice.build] = {
            "build": choice.build,
            "sha256": model.build(choice.build).sha256,
            "date": today(),
            "sound_refused": row_of(tried[NONE], judge, model, gate)["refused"],
            **separated(tried, bounds, gate),
        }
    files = {build.name: build.sha256 for build in model.builds}
    return [rows[name] for name, sha256 in files.items() if name in rows and rows[name]["sha256"] == sha256]


def kept_gate(folder: Path) -> Figures | None:
    """Return the ``gate.json`` of a model folder, if it is of a file that lies there; of its builds those that do."""
    path = folder / "gate.json"
    told: Figures = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"sha256": ""}
    files = {sha256_of(file) for file in folder.glob("*.onnx")}
    if told["sha256"] not in files:
        return None
    return told | {"builds": [one for one in told["builds"] if one["sha256"] in files]}


Named = tuple[str, list[Case]]
Grounds = tuple[list[Case], list[Case], list[Case], Iterator[Named]]


def _grounds(table: Mapping[str, Any], data: Path, cache: Path) -> Grounds:
    """Return the cases that a chance is fitted to, that fix the bounds, that judge them, and those from outside.

    Those from outside are read only when they are asked for.
    """
    return _series_grounds(table, data) if "folds" in table else _film_grounds(table, data, cache)


def _film_grounds(table: Mapping[str, Any], data: Path, cache: Path) -> Grounds:
    films, plan = kermany(data, cache), Plan.from_table(table["train"])
    rng = np.random.default_rng(plan.seed)
    usable = np.array([bool((mask[::8, ::8] == 255).any()) for mask in films.masks])
    aside = (films.split == "train") & held_back(films.patient, plan.held_back, plan.seed)
    sides = [np.flatnonzero(usable & side) for side in (aside, films.split == "test")]
    if table["task"] == "classification":
        half = halves(films.patient[sides[0]], films.label[sides[0]].astype(str))
        sides = [sides[0][half == 0], sides[0][half == 1], sides[1]]
    *learn, fix, judge = (list(film_cases(films, rng.permutation(rows)[:SOUND_ONES])) for rows in sides)
    found = chain(_outside_films(recipe_of(table["recipe"]), data, cache, rng), _others(LOADERS, data, film=True))
    return [case for cases in learn for case in cases], fix, judge, found


def _outside_films(recipe: Recipe, data: Path, cache: Path, rng: np.random.Generator) -> Iterator[Named]:
    """Yield films of other hospitals, as they are and as a wrong header or a wrong hand makes them."""
    adults, others = hannover(data, cache), nih(data, cache)
    outside = [
        ("xray/hannover_lungs", list(film_cases(adults, np.arange(len(adults)), labelled=False))),
        ("xray/nih_pneumonia", list(film_cases(others, rng.permutation(len(others))[: 2 * TRIED]))),
    ]
    yield from outside
    for name, cases in outside:
        for damage in damages():
            if (damage.name, damage.grade) in WRONG:
                told = f"{name}, {damage.name} {damage.grade}".strip()
                yield told, [damaged(case, damage, recipe) for case in cases]


def _series_grounds(table: Mapping[str, Any], data: Path) -> Grounds:
    cases = load(table, data)
    shown = np.flatnonzero(fold_of(cases, table["folds"]) == int(table["ship"]["fold"]))
    trait = table["folds"].get("stratify")
    half = halves(cases.patient[shown], cases.traits[trait][shown] if trait else None)
    fix, judge = (list(series_cases(cases, shown[half == side][:SOUND_ONES])) for side in (0, 1))
    kind = str(table["data"]).split("/")[0] + "/"
    others = _others([key for key in LOADERS if key.startswith(kind) and key != table["data"]], data)
    if table["task"] == "segmentation":
        return [], fix, judge, others
    seed = Plan.from_table(table["train"]).seed
    seen = np.random.default_rng(seed).permutation(np.setdiff1d(np.arange(len(cases)), shown))
    more = list(series_cases(cases, seen[LEARNT:][:TRIED]))
    sets = {"undamaged, trained on": more, "undamaged": judge}
    empty = [
        (f"{name}, slices without {table['labels'][0]}", [one for one in map(without, some) if one is not None])
        for name, some in sets.items()
    ]
    found = ((name, some) for name, some in chain([("undamaged, trained on", more)], empty, others) if some)
    return list(series_cases(cases, seen[:LEARNT])), fix, judge, found


def halves(patient: NDArray[np.str_], stratum: NDArray[np.str_] | None = None) -> NDArray[np.int64]:
    """Deal patients to two halves, (n,) 0 or 1, in the order of their ids' hashes, stratum by stratum.

    Raises
    ------
    BadInput
        There is only one patient.
    """
    if len(np.unique(patient)) < 2:
        raise BadInput("gate: expected at least 2 patients in the fold that ships, got 1")
    return deal(patient, np.full(len(patient), "") if stratum is None else stratum, "gate", 2)


def _others(keys: Iterable[str], data: Path, film: bool = False) -> Iterator[Named]:
    """Yield images of other organs: series as they are, or their middle slices as films; nobody knows a truth."""
    for key in sorted(key for key in keys if (data / key).is_dir()):
        cases = LOADERS[key](data / key)
        rows = range(0, len(cases), max(1, len(cases) // OTHERS))[:OTHERS]
        images = [cases.images[row].astype(np.float32) for row in rows]
        shown = [image[len(image) // 2][None] if film else image for image in images]
        yield f"something else: {key}", [Case(image, spacing_mm=(1.0, 1.0, 1.0)) for image in shown]


def _try(subject: Subject, cases: Sequence[Case]) -> dict[tuple[str, str], list[Told]]:
    """Try all cases as they are, and the first of them in every damage."""
    recipe = subject.model.recipe
    tried = {NONE: [subject.ask(case) for case in cases]}
    for damage in damages(recipe.depth > 0):
        some = cases[:TRIED]
        tried[damage.name, damage.grade] = [subject.ask(damaged(case, damage, recipe)) for case in some]
    return tried


def fitted(subject: Subject, learn: Sequence[Case]) -> Gate:
    """Return what tells that an answer has moved, without a bound; nothing where all or no cases fall.

    The slices without a finding are told once more on their own, and count as fallen where the
    series has: what hides a finding is not to be told by the finding's absence.
    """
    if not learn:
        return Gate()
    tried = _try(subject, learn)
    told = [
        (overall(part), fell, key == NONE)
        for key, found in tried.items()
        for one, case, fell in zip(found, learn, fallen(tried, key), strict=False)
        for part in parts(one, case)
    ]
    measured, fell, sound = zip(*told, strict=True)
    if len(set(fell)) < 2:
        return Gate()
    return fit_steady(measured, np.array(fell), np.array(sound))


def parts(told: Told, case: Case) -> list[Sequence[Mapping[str, float]]]:
    """Return the measures of all images of a case, and of those without a finding if others have one."""
    if case.present is None or case.present.all() or not case.present.any():
        return [told.measured]
    return [told.measured, [one for one, found in zip(told.measured, case.present, strict=True) if not found]]


def _put(path: Path, gate: Gate, told: Mapping[str, Any], kept: str) -> None:
    declared = path.read_text(encoding="utf-8").split("\n[gate]\n")[0].rstrip("\n")
    blank = Gate()
    lines = [f"{key} = {getattr(gate, key)}" for key in BOUNDS if getattr(gate, key) != getattr(blank, key)]
    if lines:
        given, learnt = told["fixed_on"], told["fitted_on"]
        rule = (
            f"the loosest above which {SHARE:.0%} of {given['damaged']} images in every damage keep "
            f"{kept} within {FALL:g} of the undamaged image's; about {SOUND:.0%} of {given['sound']} "
            "undamaged ones refused at most; patients that the network never saw"
        )
        if gate.terms:
            lines += [f"constant = {gate.constant}"]
            lines += [f"{one.measure} = {[one.typical, one.spread, one.weight, one.square]}" for one in gate.terms]
            whose = "patients that it was trained on" if learnt["seen"] else "others of those patients"
            rule += f"; terms fitted to {learnt['damaged']} images in every damage, of {whose}"
        declared += "\n\n" + "\n".join(["[gate]", *lines, f'sha256 = "{told["sha256"]}"', f'rule = "{rule}"'])
    write_text(path, declared + "\n")
