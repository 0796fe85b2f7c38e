"""`make torture`: kill -9 and power cuts, then every promise is checked; ends with 1 if one does not hold."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wetread.evidence.figures import out_folder
from wetread.evidence.torture import powercut
from wetread.evidence.torture.checks import Check
from wetread.evidence.torture.lives import Plan, Torture
from wetread.evidence.torture.page import numbers, page
from wetread.evidence.torture.powercut import Cuts

MEMORY = Path("/dev/shm")  # noqa: S108 - images of a disk need none; the folder in it is our own


def powercuts(folder: Path, number: int, objects: int, seed: int) -> tuple[Cuts, list[Check]]:
    """Record a node that takes so many objects and cut its power so often."""
    operations = powercut.record(folder, objects)
    images = Path(tempfile.mkdtemp(prefix="wetread-cut-", dir=MEMORY if MEMORY.is_dir() else None))
    try:
        cuts = powercut.cut(operations, folder / "disk", images, number, seed, say)
    finally:
        shutil.rmtree(images)
    return cuts, cuts.checks(number)


def say(line: str) -> None:
    """Tell how it goes, on standard error."""
    sys.stderr.write(f"\r{line}   ")
    sys.stderr.flush()


def main() -> int:
    """Run both campaigns, write the page and its numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=out_folder, default="docs/evidence")
    parser.add_argument("--kills", type=int, default=234)
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--before", type=int, default=10_000, help="objects in the store before the first life")
    parser.add_argument("--traced", type=int, default=60, help="objects that the traced node takes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the numbers instead of the page")
    given = parser.parse_args()
    plan = Plan(given.kills, given.seed, given.before)
    folder = Path(tempfile.mkdtemp(prefix="wetread-torture-"))
    torture = Torture(plan, folder, say)
    with ThreadPoolExecutor(1) as beside:  # each waits for its nodes most of the time
        cutting = beside.submit(powercuts, folder / "cuts", given.cuts, given.traced, given.seed)
        found = torture.run()
        cuts, more = cutting.result()
    told = numbers(plan, torture.seen, cuts, [*found, *more])
    (given.out / "torture.md").write_text(page(told), encoding="utf-8")
    (given.out / "torture.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(told, indent=2) + "\n" if given.json else page(told))
    if not all(one.holds for one in [*found, *more]):
        sys.stderr.write(
            "\n".join(["", *torture.seen.faults, *cuts.lost, *cuts.closed, *cuts.stuck, str(folder)]) + "\n"
        )
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
