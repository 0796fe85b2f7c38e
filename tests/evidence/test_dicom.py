"""The program behind docs/evidence/dicom.md: its results are what it says, and it sees what is wrong."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from tests.peers import dicomweb_plugin, require
from wetread import report
from wetread.evidence.dicom.__main__ import ROWS, one, page
from wetread.evidence.dicom.archive import archive
from wetread.evidence.dicom.chance import case
from wetread.evidence.dicom.readers import read_back
from wetread.evidence.dicom.validators import judged
from wetread.records import Document
from wetread.report.context import KINDS

EVIDENCE = Path(__file__).parents[2] / "docs/evidence"


def wrong(told: Counter[str]) -> dict[str, int]:
    return {name: count for name, count in told.items() if count and name.endswith((" errors", " warnings"))}


def documents(number: int) -> dict[str, Document]:
    made = report.documents(case(number).result, kinds=tuple(KINDS))
    return {one.kind: one for one in made if one.sop_class_uid}


def changed(document: Document, change: str) -> Document:
    made = dcmread(io.BytesIO(document.data))
    if change == "modality":
        del made.Modality
    elif change == "pixel":
        made.PixelData = bytes([made.PixelData[0] ^ 1]) + made.PixelData[1:]
    else:
        next(_probabilities(made)).NumericValue = "12.34"
    out = io.BytesIO()
    made.save_as(out, enforce_file_format=True)
    return replace(document, data=out.getvalue())


def _probabilities(node: Dataset) -> Iterator[Dataset]:
    for child in node.get("ContentSequence", []):
        if child.ValueType == "NUM" and child.ConceptNameCodeSequence[0].CodeValue == "122157":
            yield child.MeasuredValueSequence[0]
        yield from _probabilities(child)


@pytest.mark.peer
@pytest.mark.parametrize("number", [0, 1, 2])
def test_results_of_each_modality_have_nothing_wrong(number: int) -> None:
    for program in ("dciodvfy", "dcentvfy", "dsrdump"):
        require(program, "dicom3tools and dcmtk")
    told = one(number, None)
    assert wrong(told) == {}
    assert {"checker", "dciodvfy", "dcentvfy", "dsrdump"} <= set(told)


@pytest.mark.peer
def test_what_is_wrong_is_seen(tmp_path: Path) -> None:
    require("dciodvfy", "dicom3tools")
    number = next(number for number in range(1, 30) if case(number).kind == "CT" and case(number).result.regions)
    made = documents(number)
    (tmp_path / "judged").mkdir()
    damaged = {**made, "SEG": changed(made["SEG"], "modality")}
    told = wrong(judged(damaged, case(number).files, tmp_path / "judged"))
    assert told["checker errors"]
    assert told["dciodvfy errors"]
    (tmp_path / "read").mkdir()
    damaged = {**made, "SEG": changed(made["SEG"], "pixel"), "SR": changed(made["SR"], "number")}
    (tmp_path / "read" / made["SEG"].name).write_bytes(damaged["SEG"].data)
    told = wrong(read_back(case(number), damaged, tmp_path / "read"))
    assert told == {"highdicom SEG errors": 1, "dcmqi SEG errors": 1, "SR numbers errors": 1}


@pytest.mark.peer
@pytest.mark.parametrize("by_web", [False, True])
def test_there_and_back(by_web: bool) -> None:
    require("Orthanc", "orthanc")
    dicomweb_plugin()
    made = documents(1)
    with archive() as pacs:
        told = pacs.there_and_back(case(1).result.study_uid, made.values(), by_web)
        assert wrong(told) == {}
        assert told["WADO-RS"] == len(made)
        other = {"SR": changed(made["SR"], "number")}  # is there already, with other bytes
        assert wrong(pacs.there_and_back(case(1).result.study_uid, other.values(), by_web))["WADO-RS errors"]


def test_the_results_are_of_every_kind_and_always_the_same() -> None:
    cases = [case(number) for number in range(60)]
    assert {(one.kind, one.state) for one in cases} == {
        (kind, state) for kind in ("CR", "CT", "MR") for state in ("positive", "negative", "refused")
    }
    shared = [np.sum([region.mask for region in one.result.regions], axis=0) for one in cases if one.result.regions]
    assert any((np.asarray(one) > 1).any() for one in shared)
    assert {len(one.result.regions) for one in cases} >= {0, 1, 2, 3, 4}
    again = {one.kind: one.data for one in report.documents(case(7).result) if one.sop_class_uid}
    assert again == {one.kind: one.data for one in report.documents(cases[7].result) if one.sop_class_uid}


def test_the_page_is_that_of_its_figures() -> None:
    told = Counter(json.loads((EVIDENCE / "dicom.json").read_text()))
    text = (EVIDENCE / "dicom.md").read_text(encoding="utf-8")
    for row in page(told, 1000).splitlines():
        assert row in text or row.startswith("Made by")
    assert wrong(told) == {}
    assert all(told[name] for name in ROWS)
    assert (
        sum(told[f"{kind} {state}"] for kind in ("CR", "CT", "MR") for state in ("positive", "negative", "refused"))
        == 1000
    )
