"""The command that makes docs/evidence/dicom.md: ``python -m wetread.evidence.dicom --out docs/evidence``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from wetread import report
from wetread.evidence.dicom.archive import Archive, archive
from wetread.evidence.dicom.chance import case
from wetread.evidence.dicom.readers import read_back
from wetread.evidence.dicom.validators import ALLOWED, judged
from wetread.evidence.figures import out_folder
from wetread.infer.machine import machine
from wetread.report.context import KINDS

RESULTS, ROUND_TRIPS = 1000, 200
#: What is counted, and by whom.
ROWS = {
    "checker": "our checker (`wetread check`)",
    "dciodvfy": "`dciodvfy` of dicom3tools, all kinds but label maps, which it does not know",
    "dcentvfy": "`dcentvfy`, the documents of a result and its images together",
    "dsrdump": "`dsrdump` of DCMTK, reports",
    "highdicom SEG": "highdicom, segmentations voxel for voxel",
    "dcmqi SEG": "dcmqi, segmentations of series voxel for voxel, at their place in the patient",
    "highdicom label map": "highdicom, label maps voxel for voxel",
    "highdicom PM": "highdicom, parametric maps to 1e-6",
    "SR numbers": "numbers of the reports, to the printed digit",
    "C-STORE": "Orthanc takes them by C-STORE",
    "STOW-RS": "Orthanc takes them by STOW-RS",
    "QIDO-RS": "Orthanc finds them by QIDO-RS",
    "WADO-RS": "Orthanc gives them back by WADO-RS, data sets byte for byte",
}


_PAGE = """# What other software says of our documents

Made by `python -m wetread.evidence.dicom --results {results}`, {made}.

{results} results at random over X-ray, CT and MR ({states}); {overlapping} with regions that may overlap, {bare}
without any. Their documents: {kinds}.

| who | judged | errors | warnings |
|---|---|---|---|
{rows}

Warnings that are allowed, each with its reason; they are not in the table above:

| warning | times | reason |
|---|---|---|
{allowed}

There and back went the documents of {trips} of the results, by C-STORE and STOW-RS in turn; Orthanc has
`UnknownSopClassAccepted`, without which it refuses label maps by C-STORE.

What is unfair: results and images are small phantoms with noise for content, made by the same people as the documents;
a label whose outline is empty makes no segment, so no segment is empty; dicom3tools is of 2022 and older than label
maps and Device UID; the file meta information may change on its way, the data set not.
"""


def one(number: int, pacs: Archive | None) -> Counter[str]:
    """Make one result, judge its documents, read them back, and send some there and back."""
    made = case(number)
    told = Counter({f"{made.kind} {made.state}": 1, "overlapping": int(made.overlapping)})
    documents = {one.kind: one for one in report.documents(made.result, kinds=tuple(KINDS)) if one.sop_class_uid}
    told += Counter({f"documents {kind}": 1 for kind in documents})
    told["without regions"] += not made.result.regions
    with tempfile.TemporaryDirectory() as folder:
        told += judged(documents, made.files, Path(folder))
        told += read_back(made, documents, Path(folder))
    if pacs is not None:
        told += pacs.there_and_back(made.result.study_uid, documents.values(), by_web=bool(number // 3 % 2))
    return told


def page(told: Counter[str], results: int) -> str:
    """Return the page of a run."""
    states = "; ".join(
        f"{kind}: " + ", ".join(f"{told[f'{kind} {state}']} {state}" for state in ("positive", "negative", "refused"))
        for kind in ("CR", "CT", "MR")
    )
    rows = (
        f"| {text} | {told[name]} | {told[f'{name} errors']} | {told[f'{name} warnings']} |"
        for name, text in ROWS.items()
    )
    return _PAGE.format(
        results=results,
        made=f"{datetime.now(UTC):%Y-%m-%d}; {machine()}",
        states=states,
        overlapping=told["overlapping"],
        bare=told["without regions"],
        kinds=", ".join(f"{kind} {told[f'documents {kind}']}" for kind in KINDS),
        rows="\n".join(rows),
        allowed="\n".join(f"| `{part}` | {told[f'allowed: {part}']} | {why} |" for part, why in ALLOWED.items()),
        trips=min(ROUND_TRIPS, results),
    )


def main(arguments: list[str]) -> int:
    """Run, write page and figures; return 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m wetread.evidence.dicom")
    parser.add_argument("--results", type=int, default=RESULTS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=out_folder)
    given = parser.parse_args(arguments)
    told = Counter[str]()
    with archive() as pacs, ThreadPoolExecutor(given.workers) as pool:
        trips = [pacs if number < ROUND_TRIPS else None for number in range(given.results)]
        for counted in pool.map(one, range(given.results), trips):
            told += counted
    text = page(told, given.results)
    sys.stdout.write(text)
    if given.out is not None:
        (given.out / "dicom.md").write_text(text, encoding="utf-8")
        (given.out / "dicom.json").write_text(json.dumps(dict(sorted(told.items())), indent=1) + "\n")
    return int(any(count for name, count in told.items() if name.endswith((" errors", " warnings"))))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
