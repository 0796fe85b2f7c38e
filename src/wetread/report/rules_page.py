"""The reference page of the checker's rules, from the table that it judges by.

``python -m wetread.report.rules_page docs/reference/rules.md`` writes it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from wetread.report.rules import ALL, TABLE

_HEAD = """# The rules of `wetread check`

Written by `python -m wetread.report.rules_page docs/reference/rules.md`; a test compares it with the code.

Type 1: there, with a value; type 2: there; type 3: may be absent. A rule below a sequence that is absent says nothing.
AIR is IHE AIR Rev 1.3, Section 6.5.3.1; "Wetread documents" is what ours have beyond the standard, and what other
software made is not judged by it; other clauses are of DICOM PS3.3. Besides these rows the checker judges every value
by its VR, every UID and code by its form, and what hangs together: pixels and their number of bytes, frames and
dimensions, segments and algorithms, the tree of TID 1500 and TID 2010, layers and graphics of a presentation state, the
PDF inside, and with `--source` patient, study and references. Basic Text, Enhanced and Comprehensive SR and
multi-frame captures are judged by the rules of SR and SC.
"""


def text() -> str:
    """Give the page, one table a kind of document."""
    parts = [_HEAD]
    for kind in ALL:
        parts.append(f"\n## {kind}\n\n| attribute | type | values | clause |\n|---|---|---|---|\n")
        for path, type_, kinds, clause, values in TABLE:
            if kind in kinds:
                allowed = ", ".join(f"`{one}`" for one in values)
                parts.append(f"| {path.replace('.', ' > ')} | {type_} | {allowed} | {clause} |\n")
    return "".join(parts)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text(), encoding="utf-8")
