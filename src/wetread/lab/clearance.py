"""Whether a recipe's data may be trained on: the audit of its very split, made once and kept beside the run."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread.errors import BadInput
from wetread.lab.audit import Columns, Row, Split, audit, read_audit, write_audit
from wetread.lab.cases import fold_of, used_folds
from wetread.lab.data import held_back
from wetread.lab.plan import made_of
from wetread.lab.series import load
from wetread.lab.train import Plan

__all__ = ["audit_of", "cleared"]


def cleared(table: Mapping[str, Any], data: Path, out: Path, accepted: str = "") -> dict[str, Any]:
    """Return the audit of what a recipe trains on; made the first time, then read from ``<id>/audit``.

    Parameters
    ----------
    table
        The recipe; its ``[audit]`` table names the columns of the manifest that are not guessed.
    out
        Run folder.
    accepted
        Why a split that fails is used nevertheless; recorded in the kept audit.

    Raises
    ------
    BadInput
        The split fails and nobody took that on, or the data are not there.
    """
    folder = out / str(table["id"]) / "audit" / _key(table, data / table["data"])
    if not (folder / "audit.json").is_file():
        _keep(table, data, folder)
    if accepted:
        _accept(folder / "audit.json", accepted)
    return read_audit(folder / "audit.json")


def audit_of(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of an audit every later figure carries: all but the pairs of copies."""
    return {key: value for key, value in told.items() if key != "pairs"}


def _key(table: Mapping[str, Any], folder: Path) -> str:
    """Digest of what the audit depends on; files by size and time, so that a resumed training need not read them."""
    split = table.get("folds") or {key: table["train"].get(key) for key in ("held_back", "seed")}
    files = sorted((str(p.relative_to(folder)), p.stat()) for p in folder.rglob("*") if p.is_file())
    told = [split, table.get("audit", {}), [(name, about.st_size, about.st_mtime_ns) for name, about in files]]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _keep(table: Mapping[str, Any], data: Path, folder: Path) -> None:
    """Audit, and put the files into their place at once: several folds may start together."""
    columns = made_of(Columns, table.get("audit", {}), "audit")
    way = _Folds(table, data) if "folds" in table else _Films(Plan.from_table(table["train"]))
    partial = folder.with_name(f"{folder.name}.{os.getpid()}")
    write_audit(audit([data / table["data"]], columns, way.dealt), partial)
    try:
        partial.rename(folder)
    except OSError:
        shutil.rmtree(partial)


def _accept(path: Path, reason: str) -> None:
    told = json.loads(path.read_text(encoding="utf-8"))
    if any(check["verdict"] == "fail" for check in told["checks"]):
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(told | {"refused": False, "accepted": reason}, indent=1), encoding="utf-8")
        partial.rename(path)


class _Films:
    """The split of radiographs: the manifest's, with some training patients held back."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def dealt(self, rows: Sequence[Row]) -> Split:
        # Training draws from the names as the manifest spells them.
        patient = np.array([row.facts["=patient_id"] for row in rows])
        part = np.array([row.facts["split"] for row in rows])
        aside = (part == "train") & held_back(patient, self.plan.held_back, self.plan.seed)
        part = np.where(aside, "held back", part)
        told = f"by the column split; {self.plan.held_back:.0%} of the training patients held back"
        return Split(told, part, ((np.flatnonzero(part == "train"), np.flatnonzero(part == "test")),))


class _Folds:
    """The split of series: folds as the recipe deals them, by patient or site."""

    def __init__(self, table: Mapping[str, Any], data: Path) -> None:
        cases, self.by = load(table, data), table["folds"]["by"]
        folds = fold_of(cases, table["folds"])
        self.used = used_folds(table["folds"], folds)
        names = zip(cases.patient, cases.site, folds, strict=True)
        self.fold = {(str(patient).casefold(), str(site)): int(fold) for patient, site, fold in names}

    def dealt(self, rows: Sequence[Row]) -> Split:
        fold = np.array([self._fold(row) for row in rows])
        part: NDArray[np.str_] = np.array([f"fold {one}" for one in fold])
        pairs = tuple((np.flatnonzero(fold != one), np.flatnonzero(fold == one)) for one in self.used)
        return Split(f"{len(set(fold.tolist()))} folds by {self.by}, as the recipe deals them", part, pairs)

    def _fold(self, row: Row) -> int:
        try:
            return self.fold[row.patient, row.facts.get("site", "")]
        except KeyError:
            raise BadInput(
                f"{row.place}: expected a patient that the recipe's loader knows, got another; "
                "name the manifest's column of patients by `patient` in the recipe's [audit]"
            ) from None
