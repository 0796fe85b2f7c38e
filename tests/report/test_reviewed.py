"""Reviews: what a person says of a result, in the report, the message and the bundle made from it."""

from __future__ import annotations

import io
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread

from tests.peers import require
from tests.report import phantom
from wetread import report
from wetread.errors import BadInput
from wetread.records import Code, Filed, Refusal, Unread
from wetread.report.fhir.signed import signed as bundle_of
from wetread.report.fhir.site import Site
from wetread.report.reviewed import Review, called, verdicts, verified
from wetread.report.signed import signed as message_of
from wetread.wire.hl7 import Message, parse

AT = "2026-11-29T07:08:09Z"
PNEUMONIA = phantom.PNEUMONIA.value
FILED = Filed("ab" * 32, "patient", "about", signed=True)


def review(decision: str = "accept", **given: Any) -> Review:
    person = {"name": "Doe^Jane", "identifier": "1234567", "system": "urn:oid:1.2", "organization": "Hospital"}
    return Review(decision, **{**person, "at": AT, **given})


ALL = {
    "accept": review(),
    "reject": review("reject", text="Motion.\nDo not use|it."),
    "correct": review("correct", findings={PNEUMONIA: False}, text="Ørskov: atelectasis"),
    "same": review("correct", findings={PNEUMONIA: True}),
    "words": review("correct", text="Also a rib fracture."),
}


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    nodule = Code("786838002", "SCT", "Pulmonary nodule (finding)")
    unread = Unread(phantom.model("cxr-nodule"), (nodule,), Refusal("OUTSIDE-AGE", "Too young & small.", ""))
    result = replace(phantom.result("spacing"), read_at="2026-11-29T00:00:00Z", not_read=(unread,))
    site = Site("R4", {"PATIENT": "urn:oid:1.2.3"})
    return {one.kind: one.data for one in report.documents(result, "", ("FHIR", "ORU", "ORU-PDF"), site=site)}


def read(data: bytes) -> Dataset:
    return dcmread(io.BytesIO(data))


def concepts(dataset: Dataset) -> list[tuple[str, str]]:
    """The concept and the value of each qualitative evaluation."""
    return [
        (one.ConceptNameCodeSequence[0].CodeValue, one.ConceptCodeSequence[0].CodeValue)
        for one in container(dataset, "C0034375").ContentSequence
        if one.ValueType == "CODE"
    ]


def container(dataset: Dataset, code: str) -> Dataset:
    found: list[Dataset] = [one for one in dataset.ContentSequence if one.ConceptNameCodeSequence[0].CodeValue == code]
    return found[0]


def words(dataset: Dataset) -> str:
    texts = [one.TextValue for one in container(dataset, "C0034375").ContentSequence if one.ValueType == "TEXT"]
    return str(texts[-1])


def groups(dataset: Dataset) -> int:
    return len(container(dataset, "126010").get("ContentSequence", []))


@pytest.mark.parametrize("kind", ALL)
def test_the_report_is_a_verified_version(kind: str, made: dict[str, bytes]) -> None:
    before, after = read(made["SR"]), read(verified(made["SR"], ALL[kind]).data)
    assert report.check(after) == ()
    assert (after.VerificationFlag, after.PreliminaryFlag) == ("VERIFIED", "FINAL")
    (observer,) = after.VerifyingObserverSequence
    assert (observer.VerifyingObserverName, observer.VerifyingOrganization) == ("Doe^Jane", "Hospital")
    assert observer.VerificationDateTime == "20261129070809+0000"
    assert observer.VerifyingObserverIdentificationCodeSequence[0].CodeValue == "1234567"
    (series,) = after.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert after.SOPInstanceUID != before.SOPInstanceUID
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID", "AccessionNumber"):
        assert after[keyword].value == before[keyword].value
    assert verified(made["SR"], ALL[kind]) == verified(made["SR"], ALL[kind])


@pytest.mark.peer
def test_dciodvfy_finds_no_error(made: dict[str, bytes], tmp_path: Path) -> None:
    program = require("dciodvfy", "dicom3tools")
    for kind, each in ALL.items():
        path = tmp_path / f"{kind}.dcm"
        path.write_bytes(verified(made["SR"], each).data)
        done = subprocess.run([program, str(path)], capture_output=True, text=True, timeout=60, check=False)
        assert not [line for line in done.stderr.splitlines() if line.startswith("Error")], kind


def test_what_is_accepted_stands(made: dict[str, bytes]) -> None:
    after = read(verified(made["SR"], ALL["accept"]).data)
    assert groups(after) == groups(read(made["SR"])) == 3
    assert concepts(after)[-1] == ("REVIEW", "ACCEPTED")


def test_what_is_rejected_does_not(made: dict[str, bytes]) -> None:
    after = read(verified(made["SR"], ALL["reject"]).data)
    assert groups(after) == 0
    assert concepts(after)[-1] == ("REVIEW", "REJECTED")
    (study,) = after.CurrentRequestedProcedureEvidenceSequence
    assert len(study.ReferencedSeriesSequence) == 1  # the image alone
    assert words(after) == ALL["reject"].text


def test_what_is_corrected_is_the_persons(made: dict[str, bytes]) -> None:
    after = read(verified(made["SR"], ALL["correct"]).data)
    assert groups(after) == 2
    assert concepts(after)[-2:] == [("REVIEW", "CORRECTED"), (PNEUMONIA, "272519000")]
    assert words(after) == ALL["correct"].text
    assert groups(read(verified(made["SR"], ALL["same"]).data)) == 3


def test_verdicts(made: dict[str, bytes]) -> None:
    told = {kind: [(one.said, one.true) for one in verdicts(made["SR"], each)] for kind, each in ALL.items()}
    assert told == {
        "accept": [(True, True)],
        "reject": [(True, False)],
        "correct": [(True, False)],
        "same": [(True, True)],
        "words": [(True, True)],
    }


def test_a_code_of_more_than_16_characters_is_read_reviewed_and_followed() -> None:
    """It stands in Long Code Value (PS3.3 Table 8.8-1)."""
    long = Code("10625751000119106", "SCT", "Pulmonary nodule")
    result = phantom.result("spacing")
    finding, explanation = replace(result.findings[0], code=long), replace(result.explanations[0], finding=long)
    result = replace(result, findings=(finding,), explanations=(explanation,))
    (made,) = (one.data for one in report.documents(result) if one.kind == "SR")
    corrected = review("correct", findings={long.value: False})
    assert [(one.code, one.meaning, one.true) for one in verdicts(made, corrected)] == [
        (long.value, long.meaning, False)
    ]
    assert groups(read(verified(made, corrected).data)) == 2
    (prior,) = report.reported([made])
    assert long in [one.finding for one in prior.prior.groups]


@pytest.mark.parametrize(
    "given",
    [
        {"decision": "maybe"},
        {"name": " "},
        {"identifier": ""},
        {"organization": ""},
        {"findings": {PNEUMONIA: True}},
        {"decision": "correct"},
        {"name": "x" * 65},
        {"name": "Doe\r^Jane"},
        {"name": "Doe^Jane\\Roe^Max"},
        {"name": "Doe=a=b=c"},
        {"identifier": "1\\2"},
        {"organization": "A\\B"},
        {"organization": "A\x1bB"},
        {"organization": "A\ud800"},
        {"system": "no URI"},
        {"system": "urn:<x>"},
        {"text": "a\0b"},
        {"text": "a\x1b$B"},
        {"text": "a\ud800"},
    ],
)
def test_a_review_that_is_none(given: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="review: expected"):
        review(**{"decision": "accept", **given})


def test_a_review_may_have_lines_and_names_in_three_scripts() -> None:
    review(
        name="Yamada^Tarou=山田^太郎=やまだ^たろう", organization="St. Anna Clinic", text="one\r\n\ttwo\n", system=""
    )


def test_a_name_in_several_scripts_is_told_in_the_first(made: dict[str, bytes]) -> None:
    for name, family, given in (("Yamada^Tarou=山田^太郎", "Yamada", "Tarou"), ("=山田^太郎", "山田", "太郎")):
        given_by = review(name=name)
        told = parse(message_of(made["ORU"], given_by, verdicts(made["SR"], given_by), FILED, False))
        assert [told.all("OBR")[0].text(32, 1, place) for place in (2, 3)] == [family, given]
        assert called(given_by) == f"{given} {family}"


def test_a_review_of_something_else(made: dict[str, bytes]) -> None:
    with pytest.raises(BadInput, match="findings of the report"):
        verdicts(made["SR"], review("correct", findings={"4711": True}))
    (refused,) = [one.data for one in report.documents(phantom.refused()) if one.kind == "SR"]
    with pytest.raises(BadInput, match="nothing to review"):
        verdicts(refused, review())


def message(made: dict[str, bytes], kind: str, again: bool = False) -> Message:
    return parse(message_of(made["ORU"], ALL[kind], verdicts(made["SR"], ALL[kind]), FILED, again))


@pytest.mark.parametrize("kind", ALL)
def test_the_message_is_final(kind: str, made: dict[str, bytes]) -> None:
    for again, status in ((False, "F"), (True, "C")):
        told = message(made, kind, again)
        request, before = told.all("OBR")[0], parse(made["ORU"])
        assert (request.text(25), request.text(22)) == (status, "20261129070809+0000")
        assert [request.text(32, 1, place) for place in (1, 2, 3)] == ["1234567", "Doe", "Jane"]
        assert told.header.text(10) == FILED.identity[:20].upper() != before.header.text(10)
        statuses = {one.text(11) for one in told.all("OBX")}
        assert statuses <= {status, "O", *(("W",) if kind in ("reject", "correct") else ())}
        assert told.first("PID") == before.first("PID")
        text = next(one for one in told.all("OBX") if one.text(2) == "TX")
        assert "by Jane Doe, Hospital" in text.text(5)
        assert text.text(11) == status


def test_the_message_takes_back_what_is_wrong(made: dict[str, bytes]) -> None:
    told = {one.text(3): one for one in message(made, "correct").all("OBX")}
    assert (told[PNEUMONIA].text(5), told[PNEUMONIA].text(8), told[PNEUMONIA].text(11)) == ("272519000", "N", "F")
    assert [told[PNEUMONIA].text(16, place) for place in (1, 2, 3)] == ["1234567", "Doe", "Jane"]
    assert told[PNEUMONIA].text(17) == told[PNEUMONIA].text(18) == ""  # no algorithm said it
    assert told["122157"].text(11) == "W"  # the probability of something else
    values = [one for one in message(made, "reject").all("OBX") if one.text(11) == "F"]
    assert [one.text(2) for one in values] == ["TX"]


@pytest.mark.parametrize("kind", ALL)
def test_the_page_goes_out_as_sound_only_where_it_was_accepted(kind: str, made: dict[str, bytes]) -> None:
    judged = verdicts(made["SR"], ALL[kind])
    told = parse(message_of(made["ORU-PDF"], ALL[kind], judged, FILED, False)).all("OBX")
    assert [one.text(11) for one in told if one.text(2) == "ED"] == ["F" if kind == "accept" else "W"]


@pytest.mark.parametrize(("kind", "said"), [("accept", True), ("correct", True), ("words", True), ("reject", False)])
def test_the_words_name_what_was_corrected_and_what_was_not_read(kind: str, said: bool, made: dict[str, bytes]) -> None:
    (text,) = [one for one in message(made, kind).all("OBX") if one.text(2) == "TX"]
    lines = [one[0][0] for one in text.repetitions(5)]
    (told,) = resources(final(made, kind), "DiagnosticReport")
    for words_ in (lines, told["conclusion"].splitlines()):
        assert ("Pulmonary nodule NOT READ by cxr-nodule 1.0.0. Too young & small." in words_) == said
        assert ("Pneumonia: absent" in words_) == (kind == "correct")


def resources(data: bytes, kind: str) -> list[dict[str, Any]]:
    return [one["resource"] for one in json.loads(data)["entry"] if one["resource"]["resourceType"] == kind]


def final(made: dict[str, bytes], kind: str, again: bool = False) -> bytes:
    return bundle_of(made["FHIR"], ALL[kind], verdicts(made["SR"], ALL[kind]), "1.2.3", again)


@pytest.mark.parametrize("kind", ALL)
def test_the_bundle_is_final(kind: str, made: dict[str, bytes]) -> None:
    from fhir.resources.R4B.bundle import Bundle

    for again, status in ((False, "final"), (True, "corrected")):
        data = final(made, kind, again)
        Bundle.model_validate(json.loads(data))
        (told,) = resources(data, "DiagnosticReport")
        assert told["status"] == status
        assert told["resultsInterpreter"][0]["identifier"] == {"system": "urn:oid:1.2", "value": "1234567"}
        assert [one["value"] for one in told["identifier"]][1] == "urn:oid:1.2.3"
        assert resources(data, "Task")[0]["status"] == "completed"
        assert ("conclusionCode" in told) == (kind not in ("reject", "correct"))


def made_by_two(order: int) -> dict[str, bytes]:
    """The documents of a result with a pneumonia that one model sees and another does not."""
    result = replace(phantom.result("spacing"), read_at="2026-11-29T00:00:00Z")
    (found,) = result.findings
    other = phantom.model("cxr-other")
    not_seen = replace(found, probability=0.1, present=False, model=other)
    result = replace(result, findings=(found, not_seen)[::order], models=(*result.models, other))
    return {one.kind: one.data for one in report.documents(result, "", ("FHIR",), site=Site("R4"))}


@pytest.mark.parametrize("true", [True, False])
@pytest.mark.parametrize("order", [1, -1])
def test_a_person_who_overrules_one_of_two_models_says_so(order: int, true: bool) -> None:
    said = review("correct", findings={PNEUMONIA: true})
    before = made_by_two(order)["SR"]
    after = read(verified(before, said).data)
    assert groups(after) == groups(read(before)) - 1
    assert concepts(after)[-1] == (PNEUMONIA, "52101004" if true else "272519000")


@pytest.mark.parametrize("order", [1, -1])
def test_what_one_of_two_models_found_and_a_person_accepted_is_concluded(order: int) -> None:
    given = made_by_two(order)
    (told,) = resources(
        bundle_of(given["FHIR"], review(), verdicts(given["SR"], review()), "1.2.3", False), "DiagnosticReport"
    )
    assert [one["coding"][0]["code"] for one in told["conclusionCode"]] == [PNEUMONIA]


def test_the_bundle_takes_back_what_is_wrong(made: dict[str, bytes]) -> None:
    told = {one["code"]["text"]: one for one in resources(final(made, "correct"), "Observation")}
    assert told["Pneumonia"]["status"] == "corrected"
    assert told["Pneumonia"]["valueCodeableConcept"]["text"] == "Absent"
    assert not told["Pneumonia"].keys() & {"component", "device", "method", "note"}
    assert told["Pneumonia"]["derivedFrom"] == told["Pneumonia"]["partOf"]  # no heat map
    pictures = [resources(final(made, kind), "DiagnosticReport")[0]["media"] for kind in ("correct", "words")]
    assert [len(one) for one in pictures] == [1, 2]
    assert told["Area"]["status"] == "final"
    assert {one["status"] for one in resources(final(made, "reject"), "Observation")} == {"entered-in-error"}
