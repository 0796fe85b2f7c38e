"""The note that goes with every published figure: when, on what data, on which machine."""

from __future__ import annotations

import datetime
import hashlib
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from wetread.infer.machine import machine
from wetread.lab.folder import sha256_of
from wetread.lab.train import Plan
from wetread.lab.written import write_json

__all__ = ["data_of", "save_svg", "stamp", "today", "write_evidence"]


def today() -> str:
    """Return the date in UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def stamp() -> dict[str, str]:
    """Return when and on what times were taken."""
    return {"date": today(), "machine": machine()}


def save_svg(figure: Figure, path: Path) -> None:
    """Write a picture whose text stays text; the same figures make the same file."""
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "wetread"}):
        figure.savefig(path, metadata={"Date": None})


def data_of(table: Mapping[str, Any], data: Path) -> dict[str, str]:
    """Return the folder of a recipe's data and the SHA-256 of its manifest, or of all its files' names and sums."""
    folder = data / table["data"]
    if (folder / "manifest.csv").is_file():
        return {"folder": table["data"], "manifest_sha256": sha256_of(folder / "manifest.csv")}
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    told = "".join(f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
    return {"folder": table["data"], "files_sha256": hashlib.sha256(os.fsencode(told)).hexdigest()}


def write_evidence(path: Path, table: Mapping[str, Any], data: Path, figures: Mapping[str, Any]) -> None:
    """Write figures as JSON with date, seed, the digest of the data and the machine."""
    note = {
        "model": table["id"],
        "command": f"wetread lab evaluate {table['id']}",
        "date": today(),
        "seed": Plan.from_table(table["train"]).seed,
        "data": data_of(table, data),
        "machine": {"processor": platform.machine(), "system": platform.system(), "python": platform.python_version()},
        "figures": figures,
    }
    write_json(path, note)
