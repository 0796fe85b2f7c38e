"""The audits of the reference models' data: `python -m wetread.lab.audit.reference`, or `make audit`.

Figures only: no image and no patient leaves the data's folder.
"""

from __future__ import annotations

import argparse
import os
import platform
import tomllib
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wetread.lab.audit.adapters import Columns
from wetread.lab.audit.judge import Audit, audit
from wetread.lab.audit.page import draw_baselines, markdown
from wetread.lab.audit.plants import CHANGES, found_shares
from wetread.lab.audit.rivals import DRAWS
from wetread.lab.written import write_json

PLAN = Path(__file__).with_name("reference.toml")
HEAD = """# Audit of the data

Made by `make audit` (`python -m wetread.lab.audit.reference --data DIR`), {date}, {machine}.
Intervals are 95 %, by {draws} bootstrap draws of patients, seed 0. `wetread lab data` prints the same for one set.

Every figure about a model that was trained on one of these sets stands beside these rivals. What is unfair about them:
they see 32 x 32 pixels or none; Dice is that of everything that is marked, on thumbnails of 64 x 64 (a volume's three
middle slices); an AUC over folds compares images of one fold only. The search for copies is blind to some changes:
the last table says to which.

![Rivals of each set](audit.svg)
"""


def run(data: Path, table: Mapping[str, Any]) -> Audit:
    """Run one audit of the plan."""
    label, positive, patient = (str(table.get(name, "")) for name in ("label", "positive", "patient"))
    columns = Columns(label=label, positive=positive, patient=patient)
    return audit([data / name for name in table["folders"]], columns, str(table.get("split", "")))


def page(found: Sequence[tuple[str, Audit]], plant: Collection[str]) -> str:
    """Return the page for people; copies are planted in the sets with the titles `plant`."""
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    parts = [HEAD.format(date=f"{datetime.now(UTC):%Y-%m-%d}", machine=machine, draws=DRAWS)]
    for title, one in found:
        patients = len({row.patient for row in one.rows})
        told = (
            f"{len(one.rows)} images of {patients} patients, split {one.split.told}; data digest `{one.digest[:16]}`."
        )
        parts.append(f"## {title}\n\n{told}\n{one.sentence}\n\n{markdown(one.document())}\n")
    return "\n".join([*parts, planted({title: found_shares(one) for title, one in found if title in plant})])


def planted(shares: Mapping[str, Mapping[str, float]]) -> str:
    """Return the table of planted copies: one column a set."""
    lines = ["## Copies that were planted, and the share that was found", ""]
    lines += [f"| change | {' | '.join(shares)} |", "|---|" + "---|" * len(shares)]
    lines += [f"| {name} | {' | '.join(f'{one[name]:.0%}' for one in shares.values())} |" for name in CHANGES]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Audit every set of the plan; write the page, its picture and its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("WETREAD_DATA", "../shared/data")))
    parser.add_argument("--out", type=Path, default=Path("docs/evidence"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)  # before the work: after it there would be nowhere to write
    plan = tomllib.loads(PLAN.read_text(encoding="utf-8"))["audit"]
    found = [(str(table["title"]), run(given.data, table)) for table in plan]
    plant = [str(table["title"]) for table in plan if table.get("plant")]
    (given.out / "audit.md").write_text(page(found, plant), encoding="utf-8")
    figures = {title: {k: v for k, v in one.document().items() if k != "pairs"} for title, one in found}
    write_json(given.out / "audit.json", figures, ensure_ascii=False)
    draw_baselines(found, given.out / "audit.svg")


if __name__ == "__main__":
    main()
