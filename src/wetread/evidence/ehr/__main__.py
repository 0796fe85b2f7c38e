"""Measures what is claimed of orders and results: ``python -m wetread.evidence.ehr --out docs/evidence``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable

from wetread.evidence.ehr import fhir, hostile, patients
from wetread.evidence.ehr.page import Section, write
from wetread.evidence.figures import out_folder

SECTIONS: dict[str, Callable[[], Section]] = {
    "fhir": fhir.run,
    "hostile": hostile.run,
    "patients": patients.run,
}


def main() -> int:
    """Run the sections; return 1 if a promise does not hold."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--out", type=out_folder, default="docs/evidence")
    asked.add_argument("--only", choices=sorted(SECTIONS), action="append")
    given = asked.parse_args()
    logging.getLogger("wetread").setLevel(logging.CRITICAL)
    made = [SECTIONS[name]() for name in given.only or SECTIONS]
    write(given.out, made)
    for section in made:
        for promise, held in section.checks.items():
            sys.stdout.write(f"{section.name}: {'holds' if held else 'DOES NOT HOLD'}: {promise}\n")
    return 0 if all(section.holds for section in made) else 1


if __name__ == "__main__":
    sys.exit(main())
