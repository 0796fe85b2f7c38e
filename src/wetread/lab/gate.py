"""How every model falls with corruption, and the gate that is to catch the fall.

A gate belongs to the bytes that it was fixed on: `model.toml` names their SHA-256, and so does
``gate.json`` beside it, which holds what every damage does.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread.errors import BadInput
from wetread.infer import Model
from wetread.infer.masks import is_pair
from wetread.lab.cases import deal, fold_of
from wetread.lab.damage import damages
from wetread.lab.data import hannover, held_back, kermany, nih
from wetread.lab.evidence import today
from wetread.lab.folder import sha256_of
from wetread.lab.gate_page import write_page
from wetread.lab.series import LOADERS, load
from wetread.lab.train import Plan
from wetread.lab.trials import Case, Subject, Told, damaged, film_cases, series_cases, subject_of
from wetread.measures import auroc

__all__ = ["Bounds", "bound_of", "halves", "kept_gate", "make_gate"]

#: An image has fallen if its figure is so much below that of the sound image.
FALL = 0.10
#: So many of those that are let through must not have fallen; and no bound may refuse more than this of sound ones.
SHARE, SOUND = 0.95, 0.02
#: A signal that tells the fallen no better than this (AUC, on the half that fixes the bound) makes no gate.
USABLE = 0.75
#: Cases on each side, at most: sound ones; films, series and volumes in every damage; images of something else.
SOUND_ONES, TRIED, VOLUMES, OTHERS = 200, 60, 12, 30

Floats = NDArray[np.float64]
Figures = dict[str, Any]
#: Name and grade of a damage -> what came of every case.
Tried = dict[tuple[str, str], list[Told]]
NONE = ("none", "")


@dataclass(frozen=True, slots=True)
class Bounds:
    """The gate of a model; 0 asks nothing."""

    mirrored: float = 0.0  # least agreement with itself on the mirror image
    inside: float = 0.0  # least share of the lungs' width that the lower edge does not cut

    def badness(self, told: Iterable[Told]) -> Floats:
        """Return how far each case is from sound, (n,); the bound is at 1, for whichever signal is worse."""
        pairs = [(one.mirrored, one.inside) for one in told]
        found = [
            (1 - np.array(values)) / (1 - bound) for values, bound in zip(zip(*pairs, strict=True), self, strict=True)
        ]
        return np.asarray(np.max(found, axis=0))

    def __iter__(self) -> Any:
        """Yield the bounds in the order of the signals."""
        return iter((self.mirrored, self.inside))

    def code(self, told: Told) -> str:
        """Return why deployment does not read a case, "" if it does."""
        if told.mirrored < self.mirrored:
            return "INCONSISTENT"
        return "CUT-OFF" if told.inside < self.inside else told.code


def bound_of(values: Floats, fell: NDArray[np.bool_], sound: Floats) -> float:
    """Fix a bound: the loosest above which 95 % have not fallen, but none that refuses more than 2 % of sound images.

    Parameters
    ----------
    values, fell
        (n,) signal, 1 for the best, and whether the figure fell; of images sound and damaged.
    sound
        (m,) signal of the sound ones.
    """
    # Few sound images do not tell a low percentile: three deviations below the mean then.
    lowest = np.percentile(sound, 100 * SOUND) if len(sound) * SOUND >= 1 else sound.mean() - 3 * sound.std(ddof=1)
    most = float(np.floor(200 * lowest) / 200)
    for bound in np.arange(0.0, most, 0.005):
        if float((~fell[values >= bound]).mean()) >= SHARE:
            return float(round(bound, 3))
    return most


def make_gate(table: Mapping[str, Any], data: Path, out: Path, models: Path, evidence: Path | None = None) -> Figures:
    """Try a certified model on damaged images, fix its gate if a signal tells the fall, and write what it catches.

    The bounds come from patients that the network never saw, the figures from others: for
    films the held-back training patients and the test split, for series the two halves of the
    fold that ships.

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
    fix, judge, outside = _grounds(table, data, out / "cache")
    bounds = Bounds()
    signals: Figures = {}
    if subject.model.task != "classification":
        bounds, signals = _fixed(_try(subject, fix), is_pair(subject.model))
    found = _try(subject, judge)
    build = subject.loaded.identity
    told: Figures = {
        "model": f"{name} {subject.model.version}+{build.build}",
        "command": f"wetread lab gate {name}",
        "date": today(),
        "seed": Plan(**table["train"]).seed,
        "data": {"folder": table["data"], "manifest_sha256": sha256_of(data / table["data"] / "manifest.csv")},
        "sha256": build.sha256,
        "fixed_on": {"sound": len(fix), "damaged": len(fix[: _most(subject)])},
        "bounds": {"mirrored": bounds.mirrored, "lungs_cut": round(1 - bounds.inside, 3)},
        "signals": signals,
        "figure": "Dice" if subject.model.segments else "share called right",
        "damages": _rows(found, judge, subject.model, bounds),
        "auc": _separated(found, bounds),
        "outside": {
            key: _row([subject.ask(one) for one in cases], cases, subject.model, bounds) for key, cases in outside
        },
    }
    (models / name / "gate.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    _put(models / name / "model.toml", bounds, told)
    if evidence is not None:
        write_page(models, evidence)
    return told


def kept_gate(folder: Path) -> Figures | None:
    """Return the ``gate.json`` of a model folder, if it is of a file that lies there."""
    path = folder / "gate.json"
    told: Figures = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"sha256": ""}
    return told if told["sha256"] in {sha256_of(file) for file in folder.glob("*.onnx")} else None


Grounds = tuple[list[Case], list[Case], list[tuple[str, list[Case]]]]


def _grounds(table: Mapping[str, Any], data: Path, cache: Path) -> Grounds:
    """Return the cases that fix the bounds, those that judge them, and those from outside."""
    return _series_grounds(table, data) if "folds" in table else _film_grounds(table, data, cache)


def _film_grounds(table: Mapping[str, Any], data: Path, cache: Path) -> Grounds:
    films, plan = kermany(data, cache), Plan(**table["train"])
    rng = np.random.default_rng(plan.seed)
    usable = np.array([bool((mask[::8, ::8] == 255).any()) for mask in films.masks])
    aside = (films.split == "train") & held_back(films.patient, plan.held_back, plan.seed)
    sides = [np.flatnonzero(usable & side) for side in (aside, films.split == "test")]
    fix, judge = (list(film_cases(films, rng.permutation(rows)[:SOUND_ONES])) for rows in sides)
    adults, others = hannover(data, cache), nih(data, cache)
    outside = [
        ("xray/hannover_lungs", list(film_cases(adults, np.arange(len(adults)), labelled=False))),
        ("xray/nih_pneumonia", list(film_cases(others, rng.permutation(len(others))[: 2 * TRIED]))),
    ]
    return fix, judge, [*outside, *_others(LOADERS, data, film=True)]


def _series_grounds(table: Mapping[str, Any], data: Path) -> Grounds:
    cases = load(table["data"], data)
    shown = np.flatnonzero(fold_of(cases, table["folds"]) == int(table["ship"]["fold"]))
    trait = table["folds"].get("stratify")
    half = halves(cases.patient[shown], cases.traits[trait][shown] if trait else None)
    fix, judge = (list(series_cases(cases, shown[half == side][:SOUND_ONES])) for side in (0, 1))
    kind = str(table["data"]).split("/")[0] + "/"
    return fix, judge, _others([key for key in LOADERS if key.startswith(kind) and key != table["data"]], data)


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


def _others(keys: Iterable[str], data: Path, film: bool = False) -> list[tuple[str, list[Case]]]:
    """Return images of other organs: series as they are, or their middle slices as films; nobody knows a truth."""
    found = []
    for key in sorted(key for key in keys if (data / key).is_dir()):
        cases = load(key, data)
        rows = range(0, len(cases), max(1, len(cases) // OTHERS))[:OTHERS]
        images = [cases.images[row].astype(np.float32) for row in rows]
        shown = [image[len(image) // 2][None] if film else image for image in images]
        found.append((f"something else: {key}", [Case(image, spacing_mm=(1.0, 1.0, 1.0)) for image in shown]))
    return found


def _try(subject: Subject, cases: Sequence[Case]) -> Tried:
    """Try all cases as they are, and the first of them in every damage."""
    recipe = subject.model.recipe
    tried: Tried = {NONE: [subject.ask(case) for case in cases]}
    for damage in damages(recipe.depth > 0):
        some = cases[: _most(subject)]
        tried[damage.name, damage.grade] = [subject.ask(damaged(case, damage, recipe)) for case in some]
    return tried


def _most(subject: Subject) -> int:
    return VOLUMES if subject.model.recipe.depth else TRIED


def _figures_of(told: Iterable[Told]) -> Floats:
    return np.array([one.figure for one in told])


def _fell(tried: Tried, key: tuple[str, str]) -> NDArray[np.bool_]:
    found = _figures_of(tried[key])
    return np.asarray(_figures_of(tried[NONE])[: len(found)] - found > FALL)


def _fixed(tried: Tried, lungs: bool) -> tuple[Bounds, Figures]:
    """Fix a bound for each signal on the damages that it is for, and return what each signal is worth."""
    parts = {"mirrored": [key for key in tried if not (lungs and key[0] == "lower part missing")]}
    if lungs:
        parts["inside"] = [key for key in tried if key[0] in ("none", "lower part missing")]
    bounds, signals = {}, {}
    for name, keys in parts.items():
        fell = np.concatenate([_fell(tried, key) for key in keys])
        values = np.array([getattr(one, name) for key in keys for one in tried[key]])
        sound = np.array([getattr(one, name) for one in tried[NONE]])
        area = auroc(fell.astype(np.int64), -values) if 0 < fell.sum() < len(fell) else 0.5
        bounds[name] = bound_of(values, fell, sound) if area >= USABLE else 0.0
        kept = values >= bounds[name]
        signals[name] = {
            "auc": area,
            "fell": int(fell.sum()),
            "n": len(fell),
            "kept_sound": float((~fell[kept]).mean()),
        }
    return Bounds(**bounds), signals


def _rows(tried: Tried, cases: Sequence[Case], model: Model, bounds: Bounds) -> list[Figures]:
    rows = []
    for (name, grade), told in tried.items():
        fell = float(_fell(tried, (name, grade)).mean())
        rows.append({"damage": name, "grade": grade, "fell": fell} | _row(told, cases[: len(told)], model, bounds))
    return rows


def _row(told: Sequence[Told], cases: Sequence[Case], model: Model, bounds: Bounds) -> Figures:
    """Return figure, refusals and what is let through of one set."""
    shut = np.array([bounds.code(one) for one in told])
    figure, kept = _figures_of(told), shut == ""
    return {
        "n": len(told),
        "figure": _mean(figure),
        "auc": _area(told, cases, model),
        "refused": float(1 - kept.mean()),
        "codes": dict(Counter(str(code) for code in shut if code)),
        "figure_kept": _mean(figure[kept]),
    }


def _mean(figure: Floats) -> float | None:
    known = figure[~np.isnan(figure)]
    return float(known.mean()) if known.size else None


def _area(told: Sequence[Told], cases: Sequence[Case], model: Model) -> float | None:
    """Return the AUC over all slices, of a model that states a finding."""
    if not model.classifies or any(case.present is None for case in cases):
        return None
    truth = np.concatenate([case.present for case in cases if case.present is not None])
    return auroc(truth, np.concatenate([one.logits for one in told])) if 0 < truth.sum() < len(truth) else None


def _separated(tried: Tried, bounds: Bounds) -> Figures:
    """Return the AUC of the signals: fallen images against all others, and every damaged one against sound ones."""
    bad = np.concatenate([bounds.badness(told) for told in tried.values()])
    fell = np.concatenate([_fell(tried, key) for key in tried]).astype(np.int64)
    grade = np.concatenate([np.full(len(told), key != NONE) for key, told in tried.items()]).astype(np.int64)
    shut = np.array([bool(bounds.code(one)) for told in tried.values() for one in told])
    return {
        "fallen": auroc(fell, bad) if 0 < fell.sum() < len(fell) else None,
        "damaged": auroc(grade, bad),
        "fallen_refused": float(shut[fell == 1].mean()) if fell.any() else None,
        "others_refused": float(shut[fell == 0].mean()),
        "n_fallen": int(fell.sum()),
    }


def _put(path: Path, bounds: Bounds, told: Mapping[str, Any]) -> None:
    declared = path.read_text(encoding="utf-8").split("\n[gate]\n")[0].rstrip("\n")
    lines = [f"mirrored = {bounds.mirrored}"] if bounds.mirrored else []
    lines += [f"lungs_cut = {told['bounds']['lungs_cut']}"] if bounds.inside else []
    if lines:
        given = told["fixed_on"]
        rule = (
            f"the loosest above which {SHARE:.0%} of {given['damaged']} images in every damage keep their Dice within "
            f"{FALL:g} of the undamaged image's; about {SOUND:.0%} of {given['sound']} undamaged ones refused at most; "
            "patients that the network never saw"
        )
        declared += "\n\n" + "\n".join(["[gate]", *lines, f'sha256 = "{told["sha256"]}"', f'rule = "{rule}"'])
    path.write_text(declared + "\n", encoding="utf-8")
