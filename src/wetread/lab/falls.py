"""From what came of images in every damage to the bounds of a gate, and to what it catches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread.infer import Gate, Model, is_pair
from wetread.infer.gate import refusal
from wetread.lab.trials import Case, Told, rivals
from wetread.measures import auroc

__all__ = [
    "FALL",
    "NONE",
    "SHARE",
    "SOUND",
    "Tried",
    "badness",
    "bound_of",
    "code_of",
    "damage_rows",
    "fallen",
    "fix_bounds",
    "gate_of",
    "row_of",
    "separated",
]

#: An image has fallen if its Dice, or the mean probability given to the truth, is so much below the sound image's.
FALL = 0.10
#: So many of those that are let through must not have fallen; and no bound may refuse more than this of sound ones.
SHARE, SOUND = 0.95, 0.02
#: A signal that tells the fallen no better than this (AUC, on the half that fixes the bound) makes no gate.
USABLE = 0.75

Floats = NDArray[np.float64]
Figures = dict[str, Any]
#: Name and grade of a damage -> what came of every case.
Tried = Mapping[tuple[str, str], Sequence[Told]]
NONE = ("none", "")
#: The damages that only one signal of a film's lungs is for.
MEANT = {"polarity": "inverted", "inside": "lower part missing"}
#: The bound of "polarity", which tells one of two things: no data fix it.
EVEN = 0.5


def badness(told: Iterable[Told], bounds: Mapping[str, float]) -> Floats:
    """Return how far each case is from sound, (n,); the bound is at 1, for whichever signal is worse.

    Parameters
    ----------
    bounds
        Signal -> its bound, 0 where it has none.
    """
    found = [[_bad(name, getattr(one.signals, name), bound) for name, bound in bounds.items()] for one in told]
    return np.asarray(np.max(found, axis=1))


def _bad(name: str, value: float, bound: float) -> float:
    bad = (1 - value) / (1 - bound)
    return 0.0 if name == "polarity" and bad <= 1 else bad  # how far one of two things is from the other tells nothing


def code_of(told: Told, gate: Gate) -> str:
    """Return why deployment does not read a case, "" if it does."""
    refused = refusal("", gate, told.signals)
    return told.before or (refused.code if refused else told.after)


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
    lowest = (
        np.percentile(sound, 100 * SOUND)
        if len(sound) * SOUND >= 1
        else sound.mean() - 3 * sound.std(ddof=len(sound) > 1)
    )
    most = float(np.floor(200 * lowest) / 200)
    for bound in np.arange(0.0, most, 0.005):
        if float((~fell[values >= bound]).mean()) >= SHARE:
            return float(round(bound, 3))
    return most


def _figures_of(told: Iterable[Told]) -> Floats:
    return np.array([one.figure for one in told])


def fallen(tried: Tried, key: tuple[str, str]) -> NDArray[np.bool_]:
    """Return which images of a damage have fallen, (n,)."""
    found = np.array([one.given for one in tried[key]])
    sound = np.array([one.given for one in tried[NONE]])[: len(found)]
    return np.asarray((sound - found > FALL).any(1))


def _joined(tried: Tried, keys: Iterable[tuple[str, str]]) -> tuple[list[Told], NDArray[np.bool_]]:
    """Return what came of several damages, and which images have fallen."""
    wanted = list(keys)
    return [one for key in wanted for one in tried[key]], np.concatenate([fallen(tried, key) for key in wanted])


def _area_of(fell: NDArray[np.bool_], bad: Floats) -> float:
    return auroc(fell.astype(np.int64), bad) if 0 < fell.sum() < len(fell) else 0.5


def fix_bounds(tried: Tried, model: Model) -> tuple[dict[str, float], Figures]:
    """Fix a bound for the best signal, for the lungs of a film one also for what the lower edge cuts.

    Whether the lungs of a film are inverted has a bound that nobody fixes.

    Returns
    -------
    Signal -> its bound, 0 if it tells the fallen too badly; and what each signal is worth on the damages it is for.
    """
    names = rivals(model)
    others = MEANT if is_pair(model) else {}
    parts = {name: [key for key in tried if not (others and key[0] == MEANT["inside"])] for name in names}
    parts |= {name: [key for key in tried if key[0] in (NONE[0], damage)] for name, damage in others.items()}
    worth = {name: _worth(tried, keys, name) for name, keys in parts.items()}
    best = max(names, key=lambda name: worth[name][1]["auc"])
    bounds = {name: bound for name, (bound, _) in worth.items() if name in (best, *others)}
    return bounds, {name: figures for name, (_, figures) in worth.items()}


def _worth(tried: Tried, keys: Sequence[tuple[str, str]], name: str) -> tuple[float, Figures]:
    """Return a signal's bound on some damages, and what it is worth there."""
    told, fell = _joined(tried, keys)
    values = np.array([getattr(one.signals, name) for one in told])
    sound = np.array([getattr(one.signals, name) for one in tried[NONE]])
    area = _area_of(fell, np.array([_bad(name, value, EVEN) for value in values]))
    fixed = bound_of(values, fell, sound) if area >= USABLE else 0.0
    bound = EVEN if name == "polarity" else fixed
    kept = values >= bound
    return bound, {"auc": area, "fell": int(fell.sum()), "n": len(fell), "kept_sound": float((~fell[kept]).mean())}


def gate_of(bounds: Mapping[str, float], fitted: Gate) -> Gate:
    """Return the gate of these bounds, with the terms of a fit."""
    found = {name: bounds.get(name, 0.0) for name in ("mirrored", "polarity", "certain", "steady")}
    return Gate(
        **found, lungs_cut=round(1 - bounds.get("inside", 0.0), 3), terms=fitted.terms, constant=fitted.constant
    )


def damage_rows(tried: Tried, cases: Sequence[Case], model: Model, gate: Gate) -> list[Figures]:
    """Return one row a damage: how many fell, their figure, and what the gate does."""
    rows = []
    for (name, grade), told in tried.items():
        fell = float(fallen(tried, (name, grade)).mean())
        rows.append({"damage": name, "grade": grade, "fell": fell} | row_of(told, cases[: len(told)], model, gate))
    return rows


def row_of(told: Sequence[Told], cases: Sequence[Case], model: Model, gate: Gate) -> Figures:
    """Return figure, refusals and what is let through of one set."""
    shut = np.array([code_of(one, gate) for one in told])
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


def separated(tried: Tried, bounds: Mapping[str, float], gate: Gate) -> Figures:
    """Return the AUC of the signals: fallen images against all others, and every damaged one against sound ones.

    Also, of single calls: how many that were right undamaged are wrong damaged, the AUC of the signals for them,
    and the share of them that is refused.
    """
    told, fell = _joined(tried, tried)
    bad = badness(told, bounds)
    grade = np.concatenate([np.full(len(told), key != NONE) for key, told in tried.items()])
    shut = np.array([bool(code_of(one, gate)) for one in told])
    lost = np.concatenate([_lost(tried, key) for key in tried])
    return {
        "fallen": _area_of(fell, bad) if 0 < fell.sum() < len(fell) else None,
        "damaged": _area_of(grade, bad),
        "fallen_refused": float(shut[fell].mean()) if fell.any() else None,
        "others_refused": float(shut[~fell].mean()),
        "n_fallen": int(fell.sum()),
        "n_lost": int(lost.sum()),
        "lost": _area_of(lost, bad) if lost.any() else None,
        "lost_refused": float(shut[lost].mean()) if lost.any() else None,
    }


def _lost(tried: Tried, key: tuple[str, str]) -> NDArray[np.bool_]:
    """Return which images of a damage were called right undamaged and are called wrong, (n,)."""
    found, sound = (_figures_of(tried[one]) for one in (key, NONE))
    return np.asarray((sound[: len(found)] == 1) & (found == 0))
