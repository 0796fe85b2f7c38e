"""The table of states against the standard's, and what a work item must hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from wetread.errors import BadInput
from wetread.wire import dicomjson, match, native, workitem
from wetread.wire.dicomjson import dataset, parsed, tag, text, values
from wetread.wire.ups import MEANINGS, TRANSITIONS, Action, StepState, StepStatus, http_status, judged, warning

#: PS3.4 Table CC.1.1-2, copied by hand: none, SCHEDULED, IN PROGRESS, COMPLETED, CANCELED; "-" is no error.
STANDARD = {
    ("N-CREATE", None): "-    0111 0111 0111 0111",
    ("IN PROGRESS", True): "C307 -    C302 C300 C300",
    ("IN PROGRESS", False): "C307 C301 C301 C301 C301",
    ("SCHEDULED", None): "C307 C303 C303 C303 C303",
    ("COMPLETED", True): "C307 C310 -    B306 C300",
    ("COMPLETED", False): "C307 C301 C301 C301 C301",
    ("Request Cancel", None): "C307 -    -    C311 B304",
    ("CANCELED", True): "C307 C310 -    C300 B304",
    ("CANCELED", False): "C307 C301 C301 C301 C301",
}
ROWS = {
    "N-CREATE": Action.CREATE,
    "IN PROGRESS": Action.START,
    "SCHEDULED": Action.SCHEDULE,
    "COMPLETED": Action.COMPLETE,
    "Request Cancel": Action.REQUEST_CANCEL,
    "CANCELED": Action.CANCEL,
}


def test_the_table_is_the_standards() -> None:
    for (name, correct), row in STANDARD.items():
        expected = [0 if cell == "-" else int(cell, 16) for cell in row.split()]
        for which in (True, False) if correct is None else (correct,):
            assert [int(one) for one in TRANSITIONS[ROWS[name], which]] == expected, name
    assert set(TRANSITIONS) == {(action, correct) for action in Action for correct in (True, False)}


@pytest.mark.parametrize("state", [None, *StepState])
@pytest.mark.parametrize("action", [*ROWS.values()])
def test_what_a_correct_transaction_is(action: Action, state: StepState | None) -> None:
    recorded = "" if state in (None, StepState.SCHEDULED) else "1.2"
    column = 0 if state is None else 1 + list(StepState).index(state)
    name = next(key for key, value in ROWS.items() if value is action)
    for given_uid, correct in (("1.2", True), ("", False)):
        row = STANDARD.get((name, correct)) or STANDARD[name, None]
        assert judged(action, state, given_uid, recorded) == int(row.split()[column].replace("-", "0"), 16)
    if recorded:  # another's is as wrong as none
        row = STANDARD.get((name, False)) or STANDARD[name, None]
        assert judged(action, state, "1.3", recorded) == int(row.split()[column].replace("-", "0"), 16)


def test_changes_need_the_lock_only_while_somebody_has_it() -> None:
    """PS3.4 Sections CC.2.6.2 and CC.2.6.3."""
    assert judged(Action.SET, StepState.SCHEDULED) is StepStatus.SUCCESS
    assert judged(Action.SET, StepState.SCHEDULED, "1.2") is StepStatus.NOT_IN_PROGRESS
    assert judged(Action.SET, StepState.IN_PROGRESS, "1.2", "1.2") is StepStatus.SUCCESS
    for wrong in ("", "1.3"):
        assert judged(Action.SET, StepState.IN_PROGRESS, wrong, "1.2") is StepStatus.WRONG_TRANSACTION
    for state in (StepState.COMPLETED, StepState.CANCELED):
        assert judged(Action.SET, state, "1.2", "1.2") is StepStatus.FINAL


def test_every_status_has_its_words() -> None:
    for action in Action:
        for status in StepStatus:
            assert MEANINGS[status]
            assert http_status(action, status) in (200, 201, 202, 400, 404, 409)
    assert warning(Action.START, StepStatus.WRONG_TRANSACTION) == "The Transaction UID is missing."
    assert warning(Action.START, StepStatus.WRONG_TRANSACTION, "1.2") == "The Transaction UID is incorrect."
    already = "The UPS is already in the requested state of CANCELED."
    assert warning(Action.CANCEL, StepStatus.ALREADY_CANCELED) == already


def step(**more: Any) -> dicomjson.DataSet:
    """The least that a work item must hold."""
    return dataset(
        {
            "ScheduledProcedureStepPriority": "MEDIUM",
            "ProcedureStepLabel": "Wet read",
            "ScheduledProcedureStepStartDateTime": "20260101120000+0000",
            "InputReadinessState": "READY",
            "ProcedureStepState": "SCHEDULED",
            **more,
        }
    )


def test_what_a_new_item_needs() -> None:
    data, filled = workitem.created(step(PatientID="4711"), "1.2.3", 0.0)
    assert (text(data, "SOPInstanceUID"), text(data, "WorklistLabel")) == ("1.2.3", workitem.DEFAULT_LABEL)
    assert text(data, "ScheduledProcedureStepModificationDateTime") == "19700101000000+0000"
    assert "PatientName" in filled
    assert "PatientID" not in filled
    assert data[tag("InputInformationSequence")] == {"vr": "SQ"}
    assert list(data) == sorted(data)
    for keyword in ("ProcedureStepLabel", "InputReadinessState", "ScheduledProcedureStepStartDateTime"):
        with pytest.raises(BadInput, match=keyword):
            workitem.created(step(**{keyword: None}), "1.2.3", 0.0)
    done = dataset({"PerformedProcedureStepStartDateTime": "2026"})
    for wrong in (
        {"UnifiedProcedureStepPerformedProcedureSequence": done},
        {"TransactionUID": "1.9"},
        {"SOPInstanceUID": "1.9"},
        {"SOPClassUID": "1.9"},
        {"ScheduledProcedureStepPriority": "STAT"},
        {"InputReadinessState": "MAYBE"},
    ):
        with pytest.raises(BadInput):
            workitem.created(step(**wrong), "1.2.3", 0.0)


def test_what_may_be_changed() -> None:
    data, _ = workitem.created(step(PatientID="4711"), "1.2.3", 0.0)
    made = workitem.changed(data, dataset({"ProcedureStepLabel": "Again", "TransactionUID": "1.9"}), 60.0)
    assert text(made, "ProcedureStepLabel") == "Again"
    assert tag("TransactionUID") not in made
    assert text(made, "ScheduledProcedureStepModificationDateTime") == "19700101000100+0000"
    assert workitem.changed(data, dataset({"PatientID": "4711"}), 0.0) == data  # what is the same is no change
    for wrong in (
        {"PatientID": "4712"},
        {"ProcedureStepState": "IN PROGRESS"},
        {"ProcedureStepLabel": None},
        {"SOPInstanceUID": "1.9"},
        {"ScheduledProcedureStepPriority": "NOW"},
    ):
        with pytest.raises(BadInput):
            workitem.changed(data, dataset(wrong), 0.0)


def test_what_an_ended_item_needs() -> None:
    data, _ = workitem.created(step(), "1.2.3", 0.0)
    assert workitem.lacks(data, StepState.CANCELED) == []
    missing = {"UnifiedProcedureStepPerformedProcedureSequence", *workitem.PERFORMED, "OutputInformationSequence"}
    assert set(workitem.lacks(data, StepState.COMPLETED)) == missing
    done = {
        "PerformedStationNameCodeSequence": dicomjson.code("A", "99A", "a"),
        "PerformedProcedureStepStartDateTime": "2026",
        "PerformedWorkitemCodeSequence": dicomjson.code("110004", "DCM", "Computer Aided Detection"),
        "PerformedProcedureStepEndDateTime": "2026",
        "OutputInformationSequence": None,  # nothing came out: the standard allows that
    }
    for lacking in done:
        given_now = dataset({key: value for key, value in done.items() if key != lacking})
        whole = data | dataset({"UnifiedProcedureStepPerformedProcedureSequence": given_now})
        assert workitem.lacks(whole, StepState.COMPLETED) == [lacking]
    whole = data | dataset({"UnifiedProcedureStepPerformedProcedureSequence": dataset(done)})
    assert workitem.lacks(whole, StepState.COMPLETED) == []


def test_a_canceled_item_says_when_and_why() -> None:
    data, _ = workitem.created(step(), "1.2.3", 0.0)
    data |= workitem.canceled_because(data, {"ReasonForCancellation": ["wrong patient"]})
    data = workitem.in_state(data, StepState.CANCELED, 60.0)
    progress = dicomjson.item(data, "ProcedureStepProgressInformationSequence")
    assert text(progress, "ReasonForCancellation") == "wrong patient"
    assert text(progress, "ProcedureStepCancellationDateTime") == "19700101000100+0000"
    code = dicomjson.item(progress, "ProcedureStepDiscontinuationReasonCodeSequence")
    assert (text(code, "CodeValue"), text(code, "CodingSchemeDesignator")) == ("110513", "DCM")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"[{}, {}]",
        b'{"0010": {"vr": "LO"}}',
        b'{"00100020": {"vr": "PN", "Value": [{"Alphabetic": "A"}]}}',
        b'{"00100020": {"vr": "LO", "Value": "A"}}',
        b'{"00100020": {"vr": "LO", "Value": [1]}}',
        b'{"00100020": {"vr": "LO", "Value": ["%s"]}}' % (b"A" * 65),
        b'{"00100020": {"vr": "LO", "BulkDataURI": "http://there"}}',
        b'{"00100010": {"vr": "PN", "Value": ["A^B"]}}',
        b'{"00741000": {"vr": "CS", "Value": ["scheduled"]}}',
        b'{"00081195": {"vr": "UI", "Value": ["1.02"]}}',
        b'{"00404005": {"vr": "DT", "Value": ["tomorrow"]}}',
        b'{"00404021": {"vr": "SQ", "Value": [1]}}',
        b'{"00001002": {"vr": "US", "Value": [true]}}',
        b'{"00001002": {"vr": "US", "Value": [NaN]}}',
        b'{"00001002": {"vr": "US", "Value": [%s]}}' % (b"9" * 400),
        b'{"00091010": {"vr": "OB", "InlineBinary": "\\u0000"}}',
        b'{"00091010": {"vr": "\\u0000"}}',
        b'{"00404021":{"vr":"SQ","Value":[' * 20 + b"{}" + b"]}}" * 20,
        b"[" * 100_000,
    ],
)
def test_broken_data_sets_are_refused(body: bytes) -> None:
    with pytest.raises(BadInput, match="DICOM JSON"):
        parsed(body)


def test_an_item_without_anything_may_be_null() -> None:
    data = parsed(b'{"00404018": {"vr": "SQ", "Value": [null, {}]}, "00080008": {"vr": "CS", "Value": [null, "A"]}}')
    assert values(data, "ScheduledWorkitemCodeSequence") == [{}, {}]
    assert values(data, "ImageType") == [None, "A"]


def test_no_message_repeats_a_value() -> None:
    with pytest.raises(BadInput) as caught:
        parsed(b'{"00100020": {"vr": "LO", "Value": ["%s"]}}' % (b"CANARY" * 20))
    assert "CANARY" not in str(caught.value)


def test_xml_and_json_are_the_same() -> None:
    person = {"Alphabetic": "Müller^Jörg", "Ideographic": "山田^太郎"}
    sop = dataset({"ReferencedSOPClassUID": "1.2", "ReferencedSOPInstanceUID": "1.3"})
    data = step(
        PatientName=person,
        InputInformationSequence=dataset({"StudyInstanceUID": "1.2.3", "ReferencedSOPSequence": [sop, sop]}),
        PatientComments="a < b & c",
    )
    data |= dataset({"EventTypeID": 3, "PatientSex": None, "ProcedureStepProgress": "50"})
    assert dicomjson.checked(native.parsed(native.xml(data))) == dict(sorted(data.items()))
    bomb = b'<!DOCTYPE a [<!ENTITY a "aaaa">]><NativeDicomModel/>'
    model, deep = b"<NativeDicomModel>%s</NativeDicomModel>", b'<DicomAttribute tag="00400275" vr="SQ"><Item>'
    nested = model % (3000 * deep + 3000 * b"</Item></DicomAttribute>")
    for wrong in (b"", b"<a/>", nested, bomb, bomb.decode().encode("utf-16"), b"<NativeDicomModel>"):
        with pytest.raises(BadInput, match="Native DICOM Model"):
            native.parsed(wrong)
    said = b'<?xml version="1.0" encoding="utf08"?>'  # it is UTF-8, whatever it calls that
    assert native.parsed(said + model % b"") == {}
    for number, kept in (("1.5e1", 15.0), (".5", 0.5), ("1.2.3", "1.2.3")):  # which `checked` refuses
        one = b'<DicomAttribute tag="00180050" vr="FD"><Value>%s</Value></DicomAttribute>' % number.encode()
        assert native.parsed(model % one) == {"00180050": {"vr": "FD", "Value": [kept]}}


ITEM = step(
    ScheduledProcedureStepStartDateTime="20260110120000+0100",
    ScheduledWorkitemCodeSequence=dicomjson.code("110004", "DCM", "Computer Aided Detection"),
    PatientName={"Alphabetic": "Muster^Max"},
    ReferencedRequestSequence=[dataset({"AccessionNumber": "A1"}), dataset({"AccessionNumber": "A2"})],
    StudyInstanceUID="1.2.3",
)


@pytest.mark.parametrize(
    ("name", "value", "fits"),
    [
        ("ProcedureStepState", "SCHEDULED", True),
        ("00741000", "COMPLETED", False),
        ("ProcedureStepLabel", "Wet*", True),
        ("ProcedureStepLabel", "?et read", True),
        ("ProcedureStepLabel", "wet read", False),
        ("ProcedureStepLabel", "[W]et read", False),
        ("PatientName", "muster^*", True),
        ("StudyInstanceUID", "1.2,1.2.3", True),
        ("StudyInstanceUID", "1.2*", False),
        ("ScheduledWorkitemCodeSequence.CodeValue", "110004", True),
        ("00404018.00080100", "110003", False),
        ("ReferencedRequestSequence.AccessionNumber", "A2", True),
        ("ReferencedRequestSequence.AccessionNumber", "A3", False),
        ("ScheduledProcedureStepStartDateTime", "20260101-20260131", True),
        ("ScheduledProcedureStepStartDateTime", "20260110-", True),
        ("ScheduledProcedureStepStartDateTime", "-20260110", True),
        ("ScheduledProcedureStepStartDateTime", "-20260109", False),
        ("ScheduledProcedureStepStartDateTime", "202601101100+0100-202601101300+0100", True),
        ("ScheduledProcedureStepStartDateTime", "20260110120000+0100", True),
        ("ScheduledProcedureStepStartDateTime", "202601101201-2027", False),
        ("ScheduledProcedureStepStartDateTime", "20260110110000+0000", True),
        ("ScheduledProcedureStepStartDateTime", "20260110120000+0000", False),
        ("ScheduledProcedureStepStartDateTime", "20260110105500+0000-20260110110500+0000", True),
        ("ScheduledProcedureStepStartDateTime", "20260110115500+0000-20260110120500+0000", False),
        ("ScheduledProcedureStepStartDateTime", "20260110120000.000000+0100-", True),
        ("ScheduledProcedureStepStartDateTime", "-20260110060000-0500", True),
        ("ScheduledProcedureStepStartDateTime", "-20260110055959-0500", False),
        ("ScheduledProcedureStepStartDateTime", "20260110060000-0500-", True),
        ("ScheduledProcedureStepStartDateTime", "20260110060000.000001-0500-2027", True),
        ("ScheduledProcedureStepStartDateTime", "20260110060001-0500-2027", False),
        ("WorklistLabel", "x", False),
        ("WorklistLabel", "", True),
        ("PatientID", "*", True),
    ],
)
def test_matching(name: str, value: str, fits: bool) -> None:
    assert match.matches(ITEM, [match.key(name, value)]) is fits


def test_what_a_search_may_ask() -> None:
    asked = match.wanted([("limit", "5000"), ("offset", "2"), ("PatientID", "*"), ("includefield", "PatientComments")])
    assert (asked.keys, asked.limit, asked.offset) == ((), match.MOST, 2)
    assert match.wanted([("ProcedureStepState", "SCHEDULED")]).value("ProcedureStepState") == "SCHEDULED"
    assert set(match.shown(ITEM | dataset({"PatientComments": "x", "PatientWeight": 1}), asked)) == {
        *ITEM,
        tag("PatientComments"),
    }
    for name, value in (
        ("limit", "-1"),
        ("NoKeyword", "1"),
        ("TransactionUID", "1.2"),
        ("00081195", "1.2"),
        ("PatientID", "*a*b*c*d*e*"),
        ("PatientID", "a" * 300),
    ):
        with pytest.raises(BadInput):
            match.wanted([(name, value)])


@given(some.text(max_size=30), some.text(alphabet="ab*?[]-^", max_size=12))
def test_matching_never_fails(known: str, asked: str) -> None:
    data = dataset({"ProcedureStepLabel": known, "PatientName": {"Alphabetic": known}})
    for name in ("ProcedureStepLabel", "PatientName", "StudyDate"):
        match.matches(data, [match.Key((tag(name),), asked)])
    assert json.loads(json.dumps(data)) == data
    assert values(data, "StudyDate") == []
