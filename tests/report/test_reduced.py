"""What a node that is behind its deadlines leaves out, and how its documents say so."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace

import pydicom
import pytest

from tests.report import phantom
from tests.report.conftest import WANTED
from wetread import report
from wetread.records import Document, Result
from wetread.report.elements import decode, encode, sequence
from wetread.report.sc import _lines

Documents = Callable[[str], dict[str, Document]]
SAID = "Reduced reading, as the node was behind its deadlines: no heat map object, no documents on demand"


@pytest.mark.parametrize(
    ("steps", "kinds"),
    [
        ((), {"SEG", "PM", "SR", "SC", *WANTED}),
        (("documents",), {"SEG", "SR", "SC", "KOS"}),
        (("pictures",), {"SEG", "PM", "SR", *WANTED}),
        (("pictures", "documents"), {"SEG", "SR", "KOS"}),
        (("builds",), {"SEG", "PM", "SR", "SC", *WANTED}),
    ],
)
def test_what_is_made_at_each_step(steps: tuple[str, ...], kinds: set[str]) -> None:
    made = report.documents(phantom.result("real", reduced=steps), kinds=WANTED)
    assert {one.kind for one in made} == {*kinds, "HTML", "JSON"}
    (summary,) = (json.loads(one.data) for one in made if one.kind == "JSON")
    assert summary["reduced"] == list(steps)
    assert summary["findings"][0]["probability"] == 0.973
    (sr,) = (pydicom.dcmread(io.BytesIO(one.data)) for one in made if one.kind == "SR")
    named = {one.ReferencedSOPClassUID for one in _evidence(sr)}
    assert ("1.2.840.10008.5.1.4.1.1.30" in named) == ("PM" in kinds)


def _evidence(sr: pydicom.Dataset) -> list[pydicom.Dataset]:
    (study,) = sr.CurrentRequestedProcedureEvidenceSequence
    return [one for series in study.ReferencedSeriesSequence for one in series.ReferencedSOPSequence]


def test_everybody_is_told(documents_of: Documents) -> None:
    made = documents_of("reduced")
    sr = pydicom.dcmread(io.BytesIO(made["SR"].data))
    said = [
        (one.ConceptNameCodeSequence[0].CodeValue, one.ConceptCodeSequence[0].CodeValue)
        for one in sr.ContentSequence[-1].ContentSequence
    ]
    assert said == [("REDUCED", "DOCUMENTS"), ("REDUCED", "PICTURES"), ("REDUCED", "BUILDS")]
    assert sr.CompletionFlag == "COMPLETE"  # everything that was asked was answered
    assert f"{SAID}; no pictures; fastest certified builds" in made["HTML"].data.decode()
    assert SAID in _lines(phantom.result("real", reduced=("documents",)))
    assert b"Reduced" not in documents_of("real")["HTML"].data


def test_what_is_left_out_gives_other_uids(documents_of: Documents) -> None:
    for kind in ("SR", "SEG"):
        assert documents_of("reduced")[kind].sop_instance_uid != documents_of("real")[kind].sop_instance_uid


def test_the_checker_knows_the_steps(documents_of: Documents) -> None:
    _, data = decode(documents_of("reduced")["SR"].data)
    (first, *_) = sequence(sequence(data, "ContentSequence")[-1], "ContentSequence")
    sequence(first, "ConceptCodeSequence")[0][0x00080100] = ("SH", "THRESHOLDS")
    assert any("a step that leaves something out" in one.sentence for one in report.check(encode(data)))


def test_another_thing_that_was_not_read_stands_beside_it() -> None:
    result: Result = replace(phantom.partial(), reduced=("pictures",), pictures=())
    (sr,) = (one for one in report.documents(result) if one.kind == "SR")
    (_, *nodes) = (one for one in pydicom.dcmread(io.BytesIO(sr.data)).ContentSequence[-1].ContentSequence)
    assert len(nodes) == 1
