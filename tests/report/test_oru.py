"""The HL7 message of a result: what it says, that others can read it, and that nothing gets into it unescaped."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import hl7
import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.report import phantom, series
from tests.report.conftest import HEADERS
from wetread import report
from wetread.errors import DocumentError
from wetread.records import Code, Document, Identifier, Order, Result
from wetread.report import alarm, oru
from wetread.report.context import context_of
from wetread.report.message import formed, problems
from wetread.routes import Alert
from wetread.settings import Settings
from wetread.wire.hl7 import Message, Segment, parse

KINDS = (*HEADERS, "refused", "partial", "reduced", "late", "negative", *series.KINDS)
READ_AT = "2026-11-28T12:34:56Z"
ORDER = Order(
    Identifier("A-17", "RIS"),
    Identifier("P-17", "EHR", "1.2.3", "ISO"),
    Identifier("F-17", "RIS"),
    Code("36643-5", "LN", "XR Chest 2 Views"),
    "RP-17",
    (Identifier("4711", "HOSP", "1.2.4", "ISO"), Identifier("0815", "REGION")),
    indication="Cough & fever",
)


def message_of(result: Result, kind: str = "ORU", **more: Any) -> Document:
    made = {one.kind: one for one in report.documents(replace(result, read_at=READ_AT), "Haus 7", {kind}, **more)}
    return made[kind]


def observed(message: Message, code: str, group: str = "") -> list[Segment]:
    return [one for one in message.all("OBX") if one.text(3) == code and one.text(4).partition(".")[2] == group]


@pytest.mark.parametrize("kind", KINDS)
def test_every_message_is_valid_for_others(kind: str, result_of: Callable[[str], Result]) -> None:
    data = message_of(result_of(kind), public_url="https://node.example:8042").data.decode()
    parsed = parse_message(data, validation_level=VALIDATION_LEVEL.STRICT)
    assert parsed.validate()
    assert parsed.name == "ORU_R01"
    assert str(hl7.parse(data)["MSH"][0][9]) == "ORU^R01^ORU_R01"


def test_one_with_an_order_and_an_alert_are_valid_for_others() -> None:
    result = replace(phantom.result("spacing"), order=ORDER, read_at=READ_AT)
    alert = alarm(result, Alert("bleeding"), result.findings[0], Settings(public_url="https://node.example"))
    for data in (message_of(result).data, alert.message):
        assert parse_message(data.decode(), validation_level=VALIDATION_LEVEL.STRICT).validate()
    page = message_of(result, "ORU-PDF").data.decode()  # longer than the 65,536 characters that 2.5.1 names for ED
    assert parse_message(page, validation_level=VALIDATION_LEVEL.TOLERANT).validate()


def test_the_note_of_an_alert_stands_before_its_timing() -> None:
    """HL7 v2.5.1 Section 7.3.1: behind OBR the notes, then the timing, then the observations."""
    result = replace(phantom.result("spacing"), read_at=READ_AT)
    data = alarm(result, Alert("bleeding"), result.findings[0], Settings(public_url="https://node.example")).message
    *head, note, timing, observation = parse(data).segments[:7]
    assert [one.name for one in (*head, note, timing, observation)] == ["MSH", "PID", "ORC", "OBR", "NTE", "TQ1", "OBX"]
    assert timing.text(9) == "S"
    assert formed(data) == []
    lines = data.split(b"\r")
    lines[4], lines[5] = lines[5], lines[4]
    assert [one.where for one in formed(b"\r".join(lines))] == ["message"]


def test_it_says_what_the_result_says() -> None:
    message = parse(message_of(phantom.result("spacing"), public_url="https://node.example:8042/").data)
    assert [one.name for one in message.segments[:6]] == ["MSH", "PID", "ORC", "OBR", "NTE", "OBX"]
    head, patient, request = message.header, message.all("PID")[0], message.all("OBR")[0]
    assert [head.text(n) for n in (3, 4, 7, 11, 12, 18)] == [
        *("WETREAD", "Haus 7", "20261128123456+0000", "P", "2.5.1", "UNICODE UTF-8")
    ]
    assert re.fullmatch("[0-9A-F]{20}", head.text(10))
    assert (patient.text(3), patient.text(5), patient.text(7), patient.text(8)) == (
        *("9RG1", "CompressedSamples", "19400305", "F"),
    )
    numbers = {3: "A2026-17", 4: "399208008", 18: "A2026-17", 19: "RP17", 20: "SPS17", 25: "P"}
    assert {number: request.text(number) for number in numbers} == numbers
    assert request.text(22) == "20261128123456+0000"
    assert request.text(7) == "19950926125130-0400"  # when the film was made, by its own clock
    (finding,) = observed(message, "233604007", "1")
    assert [finding.text(n) for n in (2, 5, 8, 11)] == ["CWE", "52101004", "A", "P"]
    assert finding.text(18) == phantom.model("cxr-pneumonia").device_uid
    (chance,) = observed(message, "122157", "1")
    assert (chance.text(2), chance.text(5), chance.text(6), chance.raw(7)) == ("NM", "97.3", "%", "<50")
    assert [observed(message, "272741003", group)[0].text(5, 2) for group in ("2", "3")] == ["Right", "Left"]
    areas = [observed(message, "42798000", group)[0] for group in ("2", "3")]
    assert [(one.text(6), one.text(6, 3)) for one in areas] == [("cm2", "UCUM")] * 2
    links = [one.text(5) for one in observed(message, "WADO-RS")]
    study = message.header and observed(message, "113014")[0].text(5)
    assert links[0] == f"https://node.example:8042/dicomweb/studies/{study}"
    assert links[1].endswith(f"/instances/{observed(message, '126000')[0].text(5)}")
    digests = [observed(message, "MODEL-DIGEST", f"A{n}")[0].text(5) for n in (1, 2)]
    assert digests == [phantom.model(name).sha256 for name in ("cxr-lungs", "cxr-pneumonia")]
    assert "not a medical device" in message.all("NTE")[0].text(3)


def test_our_documents_are_named_by_their_uids() -> None:
    made = {one.kind: one for one in report.documents(phantom.result("real"), kinds={"ORU"})}
    message = parse(made["ORU"].data)
    assert observed(message, "126000")[0].text(5) == made["SR"].sop_instance_uid
    assert {one.text(5) for one in message.all("OBX") if one.text(3) == "121191"} == {made["SEG"].sop_instance_uid}
    assert observed(message, "130401", "1")[0].text(5) == made["PM"].sop_instance_uid


def test_a_refusal_is_said_with_its_code() -> None:
    message = parse(message_of(phantom.refused()).data)
    assert message.all("OBR")[0].text(25) == "P"
    assert observed(message, "READING-STATE")[0].text(5) == "NOT-READ"
    assert observed(message, "NOT-READ-REASON")[0].text(5) == "WRONG-BODY-PART"
    assert not any(one.text(3) == "233604007" for one in message.all("OBX"))
    said = observed(message, "59776-5")[0].repetitions(5)
    assert any(line[0][0].startswith("NOT READ. ") for line in said)


def test_record_and_presentation_state_name_slices_as_the_pacs_counts_them() -> None:
    made = series.result("ct")
    assert made.image is not None
    image = replace(made.image, numbers=tuple(range(109, 100, -1)))
    made = replace(made, image=image, read_at="2026-11-29T00:00:00Z")
    held = sorted(image.numbers[one] for one in made.findings[0].slices)
    said = f"on images {held[0]} to {held[-1]}"
    site = report.Site("R4", {"PATIENT": "urn:oid:1.2.3"})
    documents = {one.kind: one.data for one in report.documents(made, "", ("ORU", "FHIR", "GSPS"), site=site)}
    assert said in documents["ORU"].decode()
    assert said.encode() in documents["GSPS"]
    notes = [one["resource"].get("note", []) for one in json.loads(documents["FHIR"])["entry"]]
    assert said.capitalize() in [note["text"] for one in notes for note in one]


def test_what_a_model_did_not_read_is_said() -> None:
    message = parse(message_of(phantom.partial()).data)
    (unknown,) = observed(message, "233604007", "N1")
    assert (unknown.text(5), unknown.text(8)) == ("NOT-READ", "")
    assert observed(message, "NOT-READ-REASON", "N1")[0].text(5) == "OUTSIDE-AGE"


def test_the_order_ties_it_to_patient_and_request() -> None:
    message = parse(message_of(replace(phantom.result("real"), order=ORDER)).data)
    patient, request = message.all("PID")[0], message.all("OBR")[0]
    assert [(one[0][0], one[3]) for one in patient.repetitions(3)] == [
        ("4711", ("HOSP", "1.2.4", "ISO")),
        ("0815", ("REGION",)),
    ]
    assert message.all("ORC")[0].raw(2) == request.raw(2) == "P-17^EHR^1.2.3^ISO"
    assert (request.raw(3), request.text(18), request.text(19)) == ("F-17^RIS", "A-17", "RP-17")
    assert (request.raw(4), request.text(31, 2)) == ("36643-5^XR Chest 2 Views^LN", "Cough & fever")


def test_the_authority_of_the_patient_comes_with_the_image() -> None:
    result = phantom.result("spacing")
    result.header.IssuerOfPatientID = "HOSP"
    qualifiers = Dataset()
    qualifiers.UniversalEntityID, qualifiers.UniversalEntityIDType = "1.2.40", "ISO"
    qualifiers.IdentifierTypeCode = "MR"
    result.header.IssuerOfPatientIDQualifiersSequence = Sequence([qualifiers])
    assert parse(message_of(result).data).all("PID")[0].raw(3) == "9RG1^^^HOSP&1.2.40&ISO^MR"


def test_names_change_places_and_keep_their_groups() -> None:
    assert oru.names("Adams^John Robert Quincy^^Rev.^B.A. M.Div.") == [
        ("Adams", "John Robert Quincy", "", "B.A. M.Div.", "Rev.", "", "", "")
    ]
    assert [one[:2] + one[7:] for one in oru.names("Yamada^Tarou=山田^太郎=やまだ^たろう")] == [
        *(("Yamada", "Tarou", "A"), ("山田", "太郎", "I"), ("やまだ", "たろう", "P"))
    ]
    assert oru.names("^^^^") == oru.names(" ^ ") == []
    assert [one[:2] + one[7:] for one in oru.names("Smith ^ Jane\\Jones^Jane=山田^太郎")] == [
        *(("Smith", "Jane", ""), ("Jones", "Jane", "A"), ("山田", "太郎", "I"))
    ]


@pytest.mark.parametrize(
    ("person", "expected"),
    [
        ("Müller^Jürgen^^Dr.", "^Müller^Jürgen^^^Dr."),
        ("=山田^太郎=やまだ^たろう", "^山田^太郎"),
        ("Smith^Ann\\Jones^Ben", "^Smith^Ann~^Jones^Ben"),
        ("", ""),
    ],
)
def test_who_asked_is_named_by_the_first_group_that_says_something(person: str, expected: str) -> None:
    result = phantom.result("utf8")
    result.header.ReferringPhysicianName = person
    assert parse(message_of(result).data).all("OBR")[0].raw(16) == expected


def test_it_is_the_same_again_but_for_its_time() -> None:
    result = phantom.result("real")
    made = {one.kind: one for one in report.documents(replace(result, read_at=READ_AT), kinds={"ORU"})}["ORU"]
    again = {one.kind: one for one in report.documents(replace(result, read_at=READ_AT), kinds={"ORU"})}["ORU"]
    later = {one.kind: one for one in report.documents(replace(result, read_at=READ_AT[:-3] + "59Z"), kinds={"ORU"})}
    assert made == again
    assert later["ORU"].filed == made.filed
    assert parse(later["ORU"].data).header.text(10) == parse(made.data).header.text(10)
    other = message_of(phantom.result("real", probability=0.9))
    assert parse(other.data).header.text(10) != parse(made.data).header.text(10)
    assert other.filed is not None
    assert made.filed is not None
    assert (other.filed.patient, other.filed.about) == (made.filed.patient, made.filed.about)


def test_a_film_without_a_patient_gives_no_message() -> None:
    result = phantom.result("real")
    result.header.PatientID = ""
    assert "ORU" not in {one.kind for one in report.documents(result, kinds={"ORU"})}


def test_the_page_goes_with_it_where_asked() -> None:
    message = parse(message_of(phantom.result("real"), "ORU-PDF").data)
    page = next(one for one in message.all("OBX") if one.text(2) == "ED")
    assert (page.text(3), page.text(5, 3), page.text(5, 4)) == ("18748-4", "PDF", "Base64")
    assert base64.b64decode(page.text(5, 5)).startswith(b"%PDF-")
    assert page.text(1) == str(len(message.all("OBX")))


@pytest.mark.parametrize(
    ("wanted", "kind", "declared"),
    [
        ("8859/1", "real", "8859/1"),
        ("8859/1", "utf8", "UNICODE UTF-8"),  # a Chinese name does not fit: it is not spoilt
        ("GB 18030-2000", "utf8", "GB 18030-2000"),
    ],
)
def test_the_character_set_is_the_one_that_is_declared(wanted: str, kind: str, declared: str) -> None:
    data = message_of(phantom.result(kind), character_set=wanted).data
    message = parse(data)
    assert message.header.text(18) == declared
    if kind == "utf8":
        assert message.all("PID")[0].repetitions(5)[1][:2] == (("王",), ("小东",))


HOSTILE = "a|b^c~d\\e&f\rOBX|99|ST|x\n\x0b\x1c\r\\X0D\\"


def test_no_text_changes_the_structure() -> None:
    result = phantom.result("spacing")
    usual = [one.name for one in parse(message_of(result).data).segments]
    header = result.header
    header.PatientName, header.PatientID = "O'Neil|X^A~B&C\\", "12|3^4"  # a backslash parts names
    header.AccessionNumber, header.ReferringPhysicianName = "A|1~2", "Dr|OBX^x&y"
    header.RequestAttributesSequence[0].RequestedProcedureID = "R|P"
    finding = replace(result.findings[0], tracking_id=HOSTILE[:60])
    explanation = replace(result.explanations[0], sentence=HOSTILE)
    order = replace(ORDER, indication=HOSTILE, accession=Identifier("A|1~2"))
    result = replace(result, findings=(finding,), explanations=(explanation,), order=replace(order, patient=()))
    message = parse(message_of(result).data)
    assert [one.name for one in message.segments] == usual
    patient, request = message.all("PID")[0], message.all("OBR")[0]
    assert (patient.text(3), patient.text(5), patient.text(5, 2)) == ("12|3^4", "O'Neil|X", "A~B&C")
    assert (request.text(18), request.text(16, 2)) == ("A|1~2", "Dr|OBX")
    assert request.text(31, 2).startswith("a|b^c~d\\e&f\nOBX|99|ST|x")


CHANGES = (
    (b"ORU^R01^ORU_R01", b"ORU^R01"),
    (b"|2.5.1|", b"|2.3|"),
    (b"PID|1||9RG1", b"PID|1||9RG2"),
    (b"PID|1||9RG1", b"PID|1||"),
    (b"ORC|RE|", b"ORC|NW|"),
    (b"|NM|122157", b"|SN|122157"),
    (b"|97.3|", b"|97,3|"),
    (b"|97.3|%^percent^UCUM|", b"|97.3||"),
    (b"^DICOM Study^DCM|", b"||"),
    (b"52101004^Present^SCT", b"52101004"),
    (b"OBX|3|", b"OBX|2|"),
    (b"|RAD|P", b"|RAD|"),
    (b"P|||19950926125130-0400", b"P|||26.9.1995"),
)


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_the_check_finds(old: bytes, new: bytes) -> None:
    result = phantom.result("real")
    context = context_of(result, "")
    assert context is not None
    data = message_of(result).data
    assert problems(data, context) == []
    assert old in data
    assert problems(data.replace(old, new), context)


def test_a_study_of_another_is_found() -> None:
    context = context_of(phantom.result("spacing"), "")
    assert context is not None
    assert problems(message_of(phantom.result("real")).data, context)


def test_what_cannot_be_written_does_not_leave() -> None:
    result = replace(phantom.result("real"), order=replace(ORDER, indication="\ud800"))
    with pytest.raises(DocumentError, match="expected text that can be written"):
        message_of(result)
