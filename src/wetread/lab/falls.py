"""From what came of images in every damage to the bounds of a gate, and to what it catches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread.infer import Model
from wetread.lab.trials import Case, Told
from wetread.measures import auroc

__all__ = [
    "FALL",
    "NONE",
    "SHARE",
    "SOUND",
    "Bounds",
    "Tried",
    "bound_of",
    "damage_rows",
    "fix_bounds",
    "row_of",
    "separated",
]

#: An image has fallen if its figure is so much below that of the sound image.
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


def _figures_of(told: Iterable[Told]) -> Floats:
    return np.array([one.figure for one in told])


def _fell(tried: Tried, key: tuple[str, str]) -> NDArray[np.bool_]:
    found = _figures_of(tried[key])
    return np.asarray(_figures_of(tried[NONE])[: len(found)] - found > FALL)


def fix_bounds(tried: Tried, lungs: bool) -> tuple[Bounds, Figures]:
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


def damage_rows(tried: Tried, cases: Sequence[Case], model: Model, bounds: Bounds) -> list[Figures]:
    """Return one row a damage: how many fell, their figure, and what the gate does."""
    rows = []
    for (name, grade), told in tried.items():
        fell = float(_fell(tried, (name, grade)).mean())
        rows.append({"damage": name, "grade": grade, "fell": fell} | row_of(told, cases[: len(told)], model, bounds))
    return rows


def row_of(told: Sequence[Told], cases: Sequence[Case], model: Model, bounds: Bounds) -> Figures:
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


def separated(tried: Tried, bounds: Bounds) -> Figures:
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
