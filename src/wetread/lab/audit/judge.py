"""The audit: what leaks between the parts of a split, what is confounded, what trivial rivals reach."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread.lab.audit.adapters import Columns, Row, rows_of
from wetread.lab.audit.looks import Decoder, Looks, look
from wetread.lab.audit.parts import Split, split_of
from wetread.lab.audit.rivals import Rival, class_rivals, mask_rivals, metadata
from wetread.lab.audit.twins import Pair, joined, pairs

__all__ = ["Audit", "Check", "audit"]

#: What splits rows that are given; it has read them before.
Dealt = Callable[[Sequence[Row]], Split]
#: A source whose classes are tied to it this strongly (Cramér's V) tells the label outright, or a good part of it.
TELLS, HINTS = 0.95, 0.3
#: And it tells the class surely where V is still so large when chance is taken away: few images a value tell nothing.
SURE = 0.8
#: What chance gives is told from so much on.
FEW = 0.05
#: Metadata alone may reach this AUC (lower end of the interval) before it is called a shortcut.
SHORTCUT = 0.6
#: More values than this are numbers or names, not classes or sources.
MOST_CLASSES = 20


@dataclass(frozen=True, slots=True)
class Check:
    """One question to the data, and the answer."""

    name: str
    verdict: str  # "pass", "note", "warn" or "fail"
    found: str  # a sentence, without patient identifiers


@dataclass(frozen=True, slots=True)
class Audit:
    """What is known about data before anything is trained on it."""

    folders: tuple[str, ...]
    digest: str  # SHA-256 of the images' digests, labels, patients and parts, hex
    rows: tuple[Row, ...]
    looks: Looks
    split: Split
    checks: tuple[Check, ...]
    rivals: tuple[Rival, ...]
    twins: tuple[Pair, ...]
    accepted: str = ""  # why a split that fails is used nevertheless

    @property
    def refused(self) -> bool:
        """Whether the split must not be used: a check failed, and nobody took that on."""
        return not self.accepted and any(check.verdict == "fail" for check in self.checks)

    @property
    def sentence(self) -> str:
        """What follows from the checks, and what to do."""
        failed = [check.name for check in self.checks if check.verdict == "fail"]
        if not failed:
            return "Nothing leaks across the split. A model has to beat the rivals, with its interval."
        told = f"The split fails: {'; '.join(failed)}."
        if self.accepted:
            return f"{told} Accepted, and recorded in audit.json: {self.accepted}"
        way = "Split by patient (--split patients:5)"
        if "images without a class" in failed:
            way = "Leave out the images whose class nobody knows"
        if not all(row.patient for row in self.rows):
            way = "Say whose each image is (--patient, --patient-from)"
        return f"{told} {way}, or say why it may be used: --accept-leakage REASON."

    @property
    def apart(self) -> list[Pair]:
        """The copies that matter: across parts first, then across patients, the surest first."""
        part, rows = self.split.part, self.rows
        differ = [
            p for p in self.twins if part[p.first] != part[p.second] or rows[p.first].patient != rows[p.second].patient
        ]
        return sorted(differ, key=lambda p: (part[p.first] == part[p.second], -p.detail, p.first))

    def document(self) -> dict[str, Any]:
        """Return what ``audit.json`` holds: rows by number, no patient and no file name."""
        return {
            "folders": list(self.folders),
            "digest": self.digest,
            "images": len(self.rows),
            "patients": len({row.patient for row in self.rows} - {""}),
            "classes": _counts(np.array([row.label for row in self.rows])),
            "split": self.split.told,
            "parts": _counts(self.split.part),
            "checks": [{"name": c.name, "verdict": c.verdict, "found": c.found} for c in self.checks],
            "baselines": [{"name": r.name, **{k: _interval(v) for k, v in r.figures.items()}} for r in self.rivals],
            "pairs": [{"rows": [p.first, p.second], "kind": p.kind, "detail": round(p.detail, 4)} for p in self.apart],
            "refused": self.refused,
            "accepted": self.accepted,
        }


def audit(
    folders: Sequence[Path],
    columns: Columns,
    way: str | Dealt = "",
    accepted: str = "",
    decode: Decoder | None = None,
    *,
    apart: bool = False,
) -> Audit:
    """Look at every image and audit the split.

    Parameters
    ----------
    way
        How to split: see `split_of`; or what splits the rows.
    accepted
        Reason for using a split that fails; recorded, and it does not change a check.
    decode
        What reads DICOM files; None: there are none.
    apart
        Judge nothing on the first of several folds: it may fix thresholds.

    Raises
    ------
    BadInput
        A folder, a file or a column is not there or not what was expected.
    """
    rows, looks = look(rows_of(folders, columns), decode)
    if any(masked and row.mask is None for row, masked in zip(rows, looks.masked, strict=True)):
        # The masks came in DICOM SEG: the folders of their series are patients, no classes.
        rows = [replace(row, label="") if row.by_folder else row for row in rows]
    twins = pairs(looks)
    patient = np.array([row.patient for row in rows])
    group = joined(np.where(patient == "", [f"image {i}" for i in range(len(rows))], patient), twins)
    split = split_of(rows, group, way) if isinstance(way, str) else way(rows)
    if apart and len(split.folds) > 1:
        split = replace(split, told=f"{split.told}, the first set aside", folds=split.folds[1:])
    label = _classes(rows, columns)
    known = metadata(rows, looks)
    several = _comparable(label, split)
    rivals = class_rivals(looks, known, label, split, group) if several else []
    if looks.masked.any():
        rivals += mask_rivals(looks, split, group)
    checks = [_patients(patient, split), *_copies(twins, split, patient, label), _blank(looks)]
    checks += [] if looks.masked.any() else _unlabelled(label)
    if several or ((label != "").all() and 1 < len(np.unique(label)) <= MOST_CLASSES):
        checks += [*_sources(known, label), *(_shortcut(rivals) if several else [])]
    told = "\n".join(map("|".join, zip(looks.digest, label, patient, split.part, strict=True)))
    digest = hashlib.sha256(told.encode()).hexdigest()
    names = tuple(Path(folder).name for folder in folders)
    return Audit(names, digest, tuple(rows), looks, split, tuple(checks), tuple(rivals), tuple(twins), accepted)


def _classes(rows: Sequence[Row], columns: Columns) -> NDArray[np.str_]:
    label = np.array([row.label for row in rows])
    positive = columns.positive
    if not positive:
        return label
    told = [positive if one.casefold() == positive.casefold() else one and f"not {positive}" for one in label]
    return np.array(told)


def _comparable(label: NDArray[np.str_], split: Split) -> bool:
    """Whether classes can be told: a few of them, and at least two among what is fitted on and what is judged."""
    sides = [label[side] for fold in split.folds for side in fold]
    return all((side != "").all() for side in sides) and (
        max(len(set(side.tolist())) for side in sides) > 1 and len(np.unique(label)) <= MOST_CLASSES
    )


def _patients(patient: NDArray[np.str_], split: Split) -> Check:
    name = "the same patient in two parts"
    unknown = int((patient == "").sum())
    if unknown:
        what = f"the patient of {unknown} of {len(patient)} images is not known; name the column with --patient"
        return Check(name, "fail", f"{what}, or --patient-from a pattern of the file names")
    across = sum(len(set(split.part[patient == one].tolist())) > 1 for one in np.unique(patient))
    return Check(name, "fail" if across else "pass", f"{across} of {len(np.unique(patient))} patients")


def _copies(twins: Sequence[Pair], split: Split, patient: NDArray[np.str_], label: NDArray[np.str_]) -> list[Check]:
    checks = []
    for name, kinds in (("exact", ("exact",)), ("near", ("near", "mirrored", "inverted"))):
        some = [pair for pair in twins if pair.kind in kinds]
        across = sum(split.part[pair.first] != split.part[pair.second] for pair in some)
        told = f"{across} pairs across parts, {len(some) - across} inside one"
        checks.append(Check(f"{name} duplicates", "fail" if across else "pass", told))
    apart = {
        tuple(sorted((patient[p.first], patient[p.second]))) for p in twins if patient[p.first] != patient[p.second]
    }
    names = f"pairs of patients that share an image: {len(apart)}"
    checks.append(Check("one image under two patients", "warn" if apart else "pass", names))
    torn = sum(label[pair.first] != label[pair.second] for pair in twins if pair.kind == "exact")
    checks.append(Check("one image under two labels", "warn" if torn else "pass", f"{torn} pairs"))
    return checks


def _blank(looks: Looks) -> Check:
    count = int(looks.blank.sum())
    return Check("blank images", "warn" if count else "pass", f"{count} of {len(looks.blank)} are of one grey")


def _unlabelled(label: NDArray[np.str_]) -> list[Check]:
    """Of images of which some have a class all must have one: none is no class, and nothing else can be asked."""
    unknown = np.flatnonzero(label == "")
    if len(unknown) in (0, len(label)):
        return []
    told = f"the class of {len(unknown)} of {len(label)} images is not known, first that of row {unknown[0]}"
    return [Check("images without a class", "fail", f"{told} of split.csv; leave them out")]


def _sources(known: Mapping[str, NDArray[Any]], label: NDArray[np.str_]) -> list[Check]:
    """Where a class comes from must not tell which class it is."""
    checks = []
    for name, column in known.items():
        if column.dtype.kind != "U" or len(np.unique(column)) > MOST_CLASSES:
            continue
        tied, surely = _cramer(column, label)
        verdict = "fail" if tied >= TELLS and surely >= SURE else "warn" if surely >= HINTS else "pass"
        few = f", {surely:.2f} corrected for few images a value" if tied - surely > FEW else ""
        checks.append(Check(f"label tied to {name}", verdict, f"Cramér's V {tied:.2f}{few}"))
    return checks


def _cramer(one: NDArray[Any], other: NDArray[Any]) -> tuple[float, float]:
    """Association of two nominal columns, 0..1, and the same less what chance gives to few rows a value.

    References
    ----------
    Cramér, "Mathematical Methods of Statistics" (1946), Section 21.9.
    Bergsma, "A bias-correction for Cramér's V and Tschuprow's T", J Korean Stat Soc 42 (2013).
    """
    _, rows = np.unique(one, return_inverse=True)
    _, columns = np.unique(other, return_inverse=True)
    table = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(table, (rows, columns), 1)
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    squared, more = float(((table - expected) ** 2 / expected).sum() / table.sum()), float(table.sum()) - 1
    by_chance = (table.shape[0] - 1) * (table.shape[1] - 1) / more
    room = min(size - 1 - (size - 1) ** 2 / more for size in table.shape)
    surely = math.sqrt(max(0.0, squared - by_chance) / room) if room > 0 else 0.0
    return math.sqrt(squared / (min(table.shape) - 1)), surely


def _shortcut(rivals: Sequence[Rival]) -> list[Check]:
    found = next((one.figures.get("auc") for one in rivals if one.name == "all metadata, no pixels"), None)
    if found is None or math.isnan(found.low):
        return []
    told = f"AUC {found.value:.3f} ({found.low:.3f} to {found.high:.3f}) without looking at the anatomy"
    return [Check("metadata tells the class", "warn" if found.low > SHORTCUT else "pass", told)]


def _counts(values: NDArray[np.str_]) -> dict[str, int]:
    names, count = np.unique(values[values != ""], return_counts=True)
    # More of them are no classes, and may be names.
    return {str(n): int(c) for n, c in zip(names, count, strict=True)} if len(names) <= MOST_CLASSES else {}


def _interval(interval: Any) -> dict[str, float]:
    return {"value": round(interval.value, 4), "low": round(interval.low, 4), "high": round(interval.high, 4)}
