"""The note that goes with every published figure: when, on what data, on which machine."""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wetread.lab.folder import sha256_of
from wetread.lab.train import Plan

__all__ = ["write_evidence"]


def write_evidence(path: Path, table: Mapping[str, Any], data: Path, figures: Mapping[str, Any]) -> None:
    """Write figures as JSON with date, seed, the digest of the data's manifest and the machine."""
    folder = data / table["data"]
    note = {
        "model": table["id"],
        "command": f"wetread lab evaluate {table['id']}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "seed": Plan(**table["train"]).seed,
        "data": {"folder": table["data"], "manifest_sha256": sha256_of(folder / "manifest.csv")},
        "machine": {"processor": platform.machine(), "system": platform.system(), "python": platform.python_version()},
        "figures": figures,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
