"""What a performer reads in a work item and writes into it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.serve.worklist import step
from wetread.wire.dicomjson import code, dataset, item, text, values
from wetread.wire.performing import Output, is_for, output_items, performed, seconds, sources, study_of
from wetread.wire.ups import StepState
from wetread.wire.workitem import lacks

NOON = 1767268800.0  # 2026-01-01 12:00 UTC, the start of `step`


def inputs(*studies: str, **more: Any) -> Any:
    return [dataset({"StudyInstanceUID": one, **more}) for one in studies]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("20260101120000+0000", NOON),
        ("20260101130000+0100", NOON),
        ("202601010700-0500", NOON),
        ("20260101120000.250000+0000", NOON),
        ("", None),
        ("tomorrow", None),
        ("20261301", None),
        ("20260101-20260102", None),
    ],
)
def test_a_date_and_time(value: str, expected: float | None) -> None:
    assert seconds(value) == expected


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, True),
        ({"ScheduledProcedureStepStartDateTime": "20260101120001+0000"}, False),
        ({"ScheduledProcedureStepExpirationDateTime": "20260101115959+0000"}, False),
        ({"ProcedureStepState": "IN PROGRESS"}, False),
        ({"InputReadinessState": "UNAVAILABLE"}, False),
        ({"ScheduledWorkitemCodeSequence": None}, False),
        ({"ScheduledWorkitemCodeSequence": [code("110001", "DCM", "x"), code("110004", "DCM", "x")]}, True),
        ({"ScheduledStationNameCodeSequence": code("WETREAD", "99X", "x")}, True),
        ({"ScheduledStationNameCodeSequence": code("OTHER", "99X", "x")}, False),
    ],
)
def test_whether_an_item_may_be_begun(more: dict[str, Any], expected: bool) -> None:
    assert is_for(step(**more), {"110004"}, "WETREAD", NOON) is expected


@pytest.mark.parametrize(
    ("studies", "told", "expected"),
    [
        (("1.1",), "", "1.1"),
        (("1.1", "1.1"), "", "1.1"),
        (("1.1",), "1.9", "1.1"),
        (("1.1", "1.2"), "1.2", "1.2"),
        (("1.1", "1.2"), "1.9", ""),
        (("1.1", "1.2"), "", ""),
        ((), "1.9", "1.9"),
        ((), "", ""),
    ],
)
def test_the_study_of_an_item(studies: tuple[str, ...], told: str, expected: str) -> None:
    data = step(InputInformationSequence=inputs(*studies) or None, StudyInstanceUID=told or None)
    assert study_of(data) == expected


def test_where_the_input_is() -> None:
    ways = [dataset({"RetrieveAETitle": ["PACS", "VNA"]}), dataset({"RetrieveAETitle": "OLD"})]
    assert sources(step(InputInformationSequence=inputs("1.1", DICOMRetrievalSequence=ways))) == {"PACS", "VNA", "OLD"}
    assert sources(step()) == frozenset()


def test_what_was_performed_meets_the_standard() -> None:
    made = [
        Output("1.1.5", "1.2.840.1", "1.1.5.1", ("PACS", "VNA"), ("https://c/web",)),
        Output("1.1.4", "1", "1.1.4.1"),
    ]
    made.append(Output("1.1.5", "1.2.840.1", "1.1.5.2", ("PACS",), ("https://c/web",)))
    one, two = output_items("1.1", made, "http://us/dicomweb")
    assert (text(one, "SeriesInstanceUID"), text(two, "SeriesInstanceUID")) == ("1.1.4", "1.1.5")
    assert values(one, "DICOMRetrievalSequence") == []
    assert [text(way, "RetrieveAETitle") for way in values(two, "DICOMRetrievalSequence")] == ["PACS"]  # has both
    urls = [text(way, "RetrieveURL") for way in values(two, "WADORSRetrievalSequence")]
    assert urls == ["https://c/web/studies/1.1/series/1.1.5", "http://us/dicomweb/studies/1.1/series/1.1.5"]
    assert len(values(two, "ReferencedSOPSequence")) == 2
    data = step() | performed(step(), "WETREAD", NOON, NOON + 60, [one, two])
    assert lacks(data, StepState.COMPLETED) == []
    assert lacks(step() | performed(step(), "WETREAD", NOON, NOON, []), StepState.COMPLETED) == []
    done = item(data, "UnifiedProcedureStepPerformedProcedureSequence")
    assert text(done, "PerformedProcedureStepEndDateTime") == "20260101120100+0000"
