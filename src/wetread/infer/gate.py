"""What a model must not read: the bounds that come with it, and the codes of what lies outside."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wetread.errors import ModelError, NotRead
from wetread.infer.declared import check_keys, number

#: What a chance may be made of: see `wetread.infer.signals.measures`.
MEASURES = ("doubt", "edges", "grain", "rows", "white", "contrast", "symmetry", "top", "middle")
#: Bounds that a gate may hold, each 0..1.
BOUNDS = ("mirrored", "polarity", "lungs_cut", "certain", "steady")


@dataclass(frozen=True, slots=True)
class Signals:
    """How far an answer can be trusted: each 0..1, 1 for the best; 1 too where it was not asked or does not apply."""

    mirrored: float = 1.0  # agreement of the masks of the image and of its mirror image
    polarity: float = 1.0  # of the lungs of a film: above a half where what lies between them is brighter than they are
    inside: float = 1.0  # share of the lungs' width that the film's lower edge does not cut
    certain: float = 1.0  # overlap that the model expects of its own mask
    steady: float = 1.0  # chance that the answer is that of a sound image


@dataclass(frozen=True, slots=True)
class Term:
    """What one measure of an image and its answer adds to the logit of its being no longer steady."""

    measure: str  # one of `MEASURES`
    typical: float  # mean of sound images
    spread: float  # standard deviation of sound images
    weight: float  # of the distance from the typical value, in spreads
    square: float  # of that distance squared


@dataclass(frozen=True, slots=True)
class Gate:
    """What a model must not read; the bounds hold for the file that they were fixed on."""

    mirrored: float = 0.0  # least agreement with itself on the mirror image that is read, 0..1; 0: not asked
    polarity: float = 0.0  # least brightness of what lies between the lungs, a half where it is theirs; 0: not asked
    lungs_cut: float = 1.0  # largest share of the lungs' width that the film's lower edge may cut, 0..1
    certain: float = 0.0  # least overlap that it expects of its own mask, 0..1; 0: not asked
    steady: float = 0.0  # least chance that the answer is that of a sound image, 0..1; 0: not asked
    terms: tuple[Term, ...] = ()  # what that chance is made of
    constant: float = 0.0  # logit, of an image whose measures are all typical

    @property
    def least(self) -> Mapping[str, float]:
        """The least value of each signal that is asked, in the order in which they are asked."""
        bounds = {
            "mirrored": self.mirrored,
            "polarity": self.polarity,
            "certain": self.certain,
            "steady": self.steady,
            "inside": round(1 - self.lungs_cut, 6),
        }
        return {name: bound for name, bound in bounds.items() if bound > 0}


Told = Callable[[float, float], str]
#: Signal -> code, and the text of bound and value.
REASONS: Mapping[str, tuple[str, Told]] = {
    "mirrored": (
        "INCONSISTENT",
        lambda bound, got: (
            f"a Dice of at least {bound:.2f} between its masks of the image and of the mirror image, got {got:.2f}"
        ),
    ),
    "polarity": (
        "INVERTED",
        lambda bound, got: (
            f"what lies between the lungs to be brighter than they are, by at least {2 * bound - 1:.0%} of the grey "
            f"scale, got {2 * got - 1:.0%}"
        ),
    ),
    "certain": (
        "UNCERTAIN",
        lambda bound, got: f"an outline whose overlap it puts at {bound:.2f} or more itself, got {got:.2f}",
    ),
    "steady": (
        "UNCERTAIN",
        lambda bound, got: f"a chance of at least {bound:.0%} that no damage moved its answer, got {got:.0%}",
    ),
    "inside": (
        "CUT-OFF",
        lambda bound, got: f"the lower edge to cut at most {1 - bound:.0%} of the lungs' width, got {1 - got:.0%}",
    ),
}


def refusal(model: str, gate: Gate, found: Signals) -> NotRead | None:
    """Why a model must not read, by the first bound that a signal does not reach; None: it may."""
    for name, bound in gate.least.items():
        got = getattr(found, name)
        if not got >= bound:
            code, told = REASONS[name]
            return NotRead(code, f"Model {model}: expected {told(bound, got)}.")
    return None


def read_gate(table: Mapping[str, Any], path: Path) -> Gate:
    """The gate of a declaration, which belongs to the bytes of a build: another file answers other values.

    Raises
    ------
    ModelError
        It was fixed on other bytes, a key is misnamed, a bound is not from 0 to 1, or a measure does not hold
        four numbers.
    """
    if "gate" not in table:
        return Gate()
    found, files, where = table["gate"], [build["sha256"] for build in table["build"]], f"{path}: [gate]"
    check_keys(found, (*BOUNDS, "constant", *MEASURES, "sha256", "rule"), where)
    if found["sha256"] not in files:
        raise ModelError(
            f"{path}: expected a gate that was fixed on one of the builds, got one of the file "
            f"{found['sha256'][:16]}...; fix it again: wetread lab gate {table['id']}"
        )
    bounds = {key: number(found[key], f"{where} {key}", 1.0) for key in BOUNDS if key in found}
    terms = tuple(_term(name, found[name], path) for name in MEASURES if name in found)
    constant = number(found.get("constant", 0.0), f"{where} constant", least=-math.inf)
    return Gate(terms=terms, constant=constant, **bounds)


def _term(name: str, values: list[float], path: Path) -> Term:
    if len(values) != 4 or not all(map(math.isfinite, values)) or values[1] <= 0:
        raise ModelError(
            f"{path}: [gate] {name}: expected [typical, spread above 0, weight, weight of the square], got {values}"
        )
    return Term(name, *map(float, values))
