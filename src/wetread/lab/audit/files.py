"""What an audit leaves behind: ``audit.json``, ``split.csv``, ``baselines.svg`` and ``pairs.png``."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from wetread.errors import BadInput
from wetread.lab.audit.judge import Audit
from wetread.lab.audit.page import draw_baselines, draw_pairs
from wetread.lab.written import write_json

__all__ = ["read_audit", "write_audit"]


def write_audit(audit: Audit, folder: Path) -> list[Path]:
    """Write the audit's files; those with images or file names (pairs, split) belong beside the data.

    Returns
    -------
    The files that were written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "audit.json", folder / "split.csv"]
    write_json(files[0], audit.document(), ensure_ascii=False)
    with files[1].open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
        table = csv.writer(stream)
        table.writerow(["row", "image", "part"])
        table.writerows(
            (at, str(row.image), str(part))
            for at, (row, part) in enumerate(zip(audit.rows, audit.split.part, strict=True))
        )
    if audit.rivals:
        files.append(folder / "baselines.svg")
        draw_baselines([(", ".join(audit.folders), audit)], files[-1])
    if draw_pairs(audit, folder / "pairs.png"):
        files.append(folder / "pairs.png")
    return files


def read_audit(path: Path) -> dict[str, Any]:
    """Return an ``audit.json``, for a figure that is to carry its baselines.

    Raises
    ------
    BadInput
        It is not there or no audit, or it refused the split and nobody took that on.
    """
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        refused = told["refused"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: expected the audit.json of `wetread lab data`, got {type(error).__name__}") from error
    if refused:
        failed = [f"{one['name']} ({one['found']})" for one in told["checks"] if one["verdict"] == "fail"]
        raise BadInput(
            f"{path}: expected a split of {', '.join(told['folders'])} ({told['split']}) that leaks nothing, got "
            f"{'; '.join(failed)}; mend it, or say why it may be used: --accept-leakage REASON"
        )
    return told
