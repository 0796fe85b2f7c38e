"""A value of the source that is optional and odd: it is left out where it does not fit, and nothing else is lost."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pydicom import DataElement, Dataset, config, dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.sequence import Sequence

from tests.report import phantom, series
from wetread import report
from wetread.errors import DocumentError
from wetread.records import Document, Result
from wetread.report import sr
from wetread.report.codes import CHEST_XRAY, PRIVATE_SCHEME
from wetread.report.context import orientation
from wetread.report.elements import decode, get
from wetread.report.identity import OPTIONAL, bare, identify, moment
from wetread.report.values import current, fitting, numbers
from wetread.wire import hl7

KINDS = ("KOS", "GSPS", "LABELMAP", "PDF", "ORU", "FHIR")
Change = Callable[[Dataset], None]


def put(data: Dataset, keyword: str, value: Any, vr: str = "") -> None:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    data[tag] = DataElement(tag, vr or dictionary_VR(tag), value, validation_mode=config.IGNORE)


def items(*made: dict[str, str]) -> Sequence:
    """A sequence of items with these attributes, as odd as they are."""
    result = Sequence()
    for attributes in made:
        one = Dataset()
        for keyword, value in attributes.items():
            put(one, keyword, value)
        result.append(one)
    return result


def odd(*changes: Change) -> Result:
    """A result on a header with a request and a procedure, after the changes."""
    result = phantom.result("spacing", (98, 92), read_at="2026-11-28T12:34:56Z")
    for change in changes:
        change(result.header)
    return result


def having(**values: Any) -> Change:
    """Give the header these values."""

    def change(header: Dataset) -> None:
        for keyword, value in values.items():
            put(header, keyword, value)

    return change


def asking(*requests: dict[str, str]) -> Change:
    return lambda header: setattr(header, "RequestAttributesSequence", items(*requests))


def by(value: str, scheme: str, meaning: str) -> Change:
    code = {"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning}
    return lambda header: setattr(header, "ProcedureCodeSequence", items(code))


def under(keyword: str, vr: str, value: str | int) -> Change:
    return lambda header: put(header, keyword, value, vr)


def written(result: Result) -> dict[str, Document]:
    return {one.kind: one for one in report.documents(result, kinds=KINDS)}


def read(document: Document) -> Dataset:
    return dcmread(io.BytesIO(document.data))


ODD = {
    "private scheme": by("XTHOR2", "99RIS", "X-ray of the chest, two planes"),
    "backslash in a code": by("TX2", "99KIS", "Thorax\\pa"),
    "a meaning of our own scheme": by("THRESHOLD", "99WETREAD", "Thorax pa"),
    "another code of a known meaning": by("168731009", "SCT", CHEST_XRAY.meaning),
    "an empty item of a procedure": lambda header: setattr(header, "ProcedureCodeSequence", items({})),
    "two body parts": having(BodyPartExamined=["CHEST", "ABDOMEN"]),
    "two modalities": having(Modality=["CR", "DX"]),
    "two procedure IDs": asking({"RequestedProcedureID": "R1\\R2"}),
    "equal requests": asking({"RequestedProcedureID": "RP1"}, {"RequestedProcedureID": "RP1"}),
    "long accession number": having(AccessionNumber="A" * 20),
    "long accession number of a request": asking({"AccessionNumber": "A" * 20}),
    "long procedure ID": asking({"RequestedProcedureID": "R" * 20}),
    "long procedure description": asking({"RequestedProcedureDescription": "Thorax in zwei Ebenen " * 4}),
    "broken characters": asking({"RequestedProcedureDescription": "R\ufffdntgen Thorax"}),
    "lossy ratio": having(
        LossyImageCompression="01",
        LossyImageCompressionRatio="12.345678901234567",
        LossyImageCompressionMethod="ISO_10918_1",
    ),
    "lossy method": having(
        LossyImageCompression="01", LossyImageCompressionRatio="12.3", LossyImageCompressionMethod="jpeg"
    ),
    "orientation in words": having(PatientOrientation=["Left", "Foot"]),
    "orientation of a row alone": having(PatientOrientation="L"),
    "orientation of two empty values": having(PatientOrientation=["", ""]),
    "orientation of an animal": having(PatientOrientation=["LE", "V"]),
    "body part in small letters": having(BodyPartExamined="Chest"),
    "long position reference": having(PositionReferenceIndicator="x" * 70),
    "position reference beyond ASCII": having(PositionReferenceIndicator="王"),
    "frame of reference beyond ASCII": having(FrameOfReferenceUID="1.2.\xff"),
    "long slope": having(RescaleSlope="0.0012210012210012", RescaleIntercept="0", RescaleType="US"),
    "long unit": having(RescaleSlope="1", RescaleIntercept="0", RescaleType="x" * 70),
    "unit beyond ASCII": having(RescaleSlope="1", RescaleIntercept="0", RescaleType="王"),
    "birth date of ACR-NEMA": having(PatientBirthDate="1950.01.01"),
    "birth date of five digits": having(PatientBirthDate="19500"),
    "no birth date": having(PatientBirthDate="UNKNOWN"),
    "study time of ACR-NEMA": having(TimezoneOffsetFromUTC="+0100", StudyTime="12:00:00"),
    "study date of words": having(StudyDate="UNKNOWN!"),
    "February 30": having(ContentDate="20230230", StudyDate="20230230"),
    "text under another VR": under("StudyDescription", "ST", "Thorax"),
    "name under another VR": under("PatientName", "LO", "Doe^Jane"),
    "ID that is a number": under("PatientID", "US", 4711),
    "text that 16 bits cannot count": having(PatientComments="x" * 70_000),
}


@pytest.mark.parametrize("change", ODD.values(), ids=ODD)
def test_it_stops_no_document(change: Change) -> None:
    result = odd(change)
    made = written(result)
    assert set(made) == {"SEG", "PM", "SR", "SC", "HTML", "JSON", *KINDS}
    for document in made.values():
        if document.sop_class_uid:
            assert not report.check(document.data, result.header)


#: What a report about an image that was not read repeats too.
IN_REFUSALS = (
    *("private scheme", "backslash in a code", "a meaning of our own scheme", "another code of a known meaning"),
    *("equal requests", "long accession number", "long accession number of a request", "long procedure ID"),
    *("long procedure description", "broken characters", "text under another VR", "name under another VR"),
    "ID that is a number",
    "text that 16 bits cannot count",
)


@pytest.mark.parametrize("name", IN_REFUSALS)
def test_it_stops_no_refusal(name: str) -> None:
    refused = phantom.refused("spacing")
    ODD[name](refused.header)
    assert [one.kind for one in report.documents(refused)] == ["SR", "HTML", "JSON"]


def reported(made: dict[str, Document]) -> list[tuple[str, str]]:
    """Scheme and value of the procedures that the report names."""
    nodes = [one for one in read(made["SR"]).ContentSequence if one.ConceptNameCodeSequence[0].CodeValue == "121058"]
    codes = [one.ConceptCodeSequence[0] for one in nodes]
    return [(one.CodingSchemeDesignator, one.CodeValue) for one in codes]


def test_a_private_scheme_is_repeated_and_named() -> None:
    """The designator is all that an item must have, and all that the image tells: PS3.3 Section C.12.1."""
    made = written(odd(ODD["private scheme"]))
    assert reported(made) == [("99RIS", "XTHOR2")]
    ours, other = read(made["SR"]).CodingSchemeIdentificationSequence
    assert (ours.CodingSchemeDesignator, other.CodingSchemeDesignator) == (PRIVATE_SCHEME, "99RIS")
    assert [one.keyword for one in other] == ["CodingSchemeDesignator"]
    assert len(read(written(odd())["SR"]).CodingSchemeIdentificationSequence) == 1
    assert len(read(written(odd(by("THRESHOLD", "99WETREAD", "x")))["SR"]).CodingSchemeIdentificationSequence) == 1


@pytest.mark.parametrize(
    "name", ["backslash in a code", "a meaning of our own scheme", "another code of a known meaning"]
)
def test_a_code_that_no_report_may_hold_is_not_repeated(name: str) -> None:
    made = written(odd(ODD[name]))
    assert reported(made) == [(CHEST_XRAY.scheme, CHEST_XRAY.value)]
    assert hl7.parse(made["ORU"].data).all("OBR")[0].text(4) == CHEST_XRAY.value


def test_the_checker_still_asks_for_every_private_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    real = sr._schemes
    monkeypatch.setattr(sr, "_schemes", lambda tree: real([]))
    with pytest.raises(DocumentError, match="expected every private scheme"):
        written(odd(ODD["private scheme"]))


def named(made: dict[str, Document], kind: str = "SR") -> list[tuple[str, str, str]]:
    """Accession number, ID and description of each request that a report names."""
    requests = read(made[kind]).ReferencedRequestSequence
    return [(one.AccessionNumber, one.RequestedProcedureID, one.RequestedProcedureDescription) for one in requests]


@pytest.mark.parametrize(
    ("requests", "expected"),
    [
        ([{"RequestedProcedureID": "RP1"}] * 2, [("A2026-17", "RP1", "")]),
        (
            [
                {"RequestedProcedureID": "RP1", "ScheduledProcedureStepID": "S1"},
                {"RequestedProcedureID": "RP2"},
                {"RequestedProcedureID": "RP1", "ScheduledProcedureStepID": "S2"},
            ],
            [("A2026-17", "RP1", ""), ("A2026-17", "RP2", "")],
        ),
        ([{"RequestedProcedureID": "R" * 20, "RequestedProcedureDescription": "PA"}], [("A2026-17", "", "PA")]),
        ([{"RequestedProcedureID": "R", "RequestedProcedureDescription": "x" * 65}], [("A2026-17", "R", "")]),
        ([{"RequestedProcedureDescription": "R\ufffdntgen"}], [("A2026-17", "", "")]),
        # That of the study is another one, and must not stand for it.
        ([{"AccessionNumber": "A" * 20, "RequestedProcedureID": "R"}], [("", "R", "")]),
    ],
)
def test_requests_are_named_once_and_as_far_as_they_fit(
    requests: list[dict[str, str]], expected: list[tuple[str, str, str]]
) -> None:
    made = written(odd(asking(*requests)))
    assert named(made) == named(made, "KOS") == expected


def test_what_identifies_stays_whole_where_there_is_room() -> None:
    made = written(odd(having(AccessionNumber="A" * 20), asking({"RequestedProcedureID": "R" * 20})))
    assert get(decode(made["SR"].data)[1], "AccessionNumber") == "A" * 20
    assert named(made) == [("", "", "")]
    (order,) = hl7.parse(made["ORU"].data).all("OBR")
    assert (order.text(18), order.text(19)) == ("A" * 20, "R" * 20)


def test_where_one_value_may_stand_one_stands() -> None:
    """Of several the one counts by which the image was read; an ID of two values is none."""
    made = written(odd(ODD["two body parts"], ODD["two modalities"], ODD["two procedure IDs"]))
    assert {read(made[kind]).BodyPartExamined for kind in ("SEG", "PM", "SC", "GSPS")} == {"CHEST"}
    assert read(made["PM"]).Modality == "CR"
    assert named(made) == [("A2026-17", "", "")]


def test_an_item_without_attributes_is_not_repeated() -> None:
    """Validators ask of each item what must be in it."""
    one = {"PatientID": "X", "TypeOfPatientID": "TEXT"}

    def change(header: Dataset) -> None:
        header.ProcedureCodeSequence, header.OtherPatientIDsSequence = items({}), items({}, one)
        header.PatientSpeciesDescription, header.PatientBreedCodeSequence = "Canis lupus familiaris", items({})

    made = read(written(odd(change))["SR"])
    assert "ProcedureCodeSequence" not in made
    assert [item.PatientID for item in made.OtherPatientIDsSequence] == ["X"]
    assert made["PatientBreedCodeSequence"].is_empty  # must be there of an animal


def test_what_does_not_fit_is_left_out() -> None:
    made = written(odd(*(ODD[name] for name in ("orientation in words", "long position reference", "long unit"))))
    assert {read(made[kind]).PatientOrientation for kind in ("SEG", "SC", "LABELMAP")} == {""}
    assert {read(made[kind]).PositionReferenceIndicator for kind in ("SEG", "PM")} == {""}
    assert read(made["GSPS"]).RescaleType == "US"
    # A first letter is enough to know where rows and columns run, as when the image was read.
    (turned,) = read(made["SEG"]).SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    assert turned.ImageOrientationPatient == [1, 0, 0, 0, 0, -1]


def test_what_an_image_says_of_its_place_decides_the_character_set() -> None:
    made = series.result("ct")
    header = copy.deepcopy(made.header)
    put(header, "PositionReferenceIndicator", "王")
    (document,) = [one for one in report.documents(replace(made, header=header)) if one.kind == "SEG"]
    assert read(document).PositionReferenceIndicator == "王"


@pytest.mark.parametrize(
    ("given", "expected"),
    [("L\\F", "L\\F"), ("RP\\FA", "RP\\FA"), ("L", ""), ("X\\Y", ""), ("LE\\V", ""), ("L\\F\\H", ""), ("", "")],
)
def test_where_rows_run_to_is_said_in_the_letters_that_there_are(given: str, expected: str) -> None:
    source = identify(odd(having(PatientOrientation=given.split("\\"))).header)
    assert source is not None
    assert get(orientation(source), "PatientOrientation") == expected


def test_what_an_image_says_of_its_side_is_not_said_of_a_part_of_which_there_is_one() -> None:
    """Some devices write the side at which a lateral film was taken."""
    for part, told in (("CHEST", None), ("KNEE", "L")):
        made = written(odd(having(Laterality="L", BodyPartExamined=part)))
        found = {kind: read(made[kind]).get("Laterality") for kind in ("SEG", "PM", "SC", "GSPS", "LABELMAP")}
        assert set(found.values()) == {told}


def test_a_film_tells_no_reference_point_of_a_frame_in_which_it_has_no_place() -> None:
    made = written(odd(having(FrameOfReferenceUID="1.2.3.4", PositionReferenceIndicator="XIPHOID")))
    assert {read(made[kind]).PositionReferenceIndicator for kind in ("SEG", "PM", "LABELMAP")} == {""}


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("ISO 2022 IR 100", "ISO_IR 192"),
        (["ISO 2022 IR 100", "ISO 2022 IR 144"], ["ISO 2022 IR 100", "ISO 2022 IR 144"]),
    ],
)
def test_a_term_of_code_extensions_that_stands_alone_is_not_repeated(declared: Any, expected: Any) -> None:
    made = read(written(odd(having(SpecificCharacterSet=declared, PatientName="Müller^J")))["SR"])
    assert (made.SpecificCharacterSet, str(made.PatientName)) == (expected, "Müller^J")


def test_a_film_without_a_place_in_its_frame_of_reference_claims_none_there() -> None:
    """Its axes and its origin are those of no frame that another object shares."""
    named, unnamed = (written(odd(*change)) for change in ([having(FrameOfReferenceUID="1.2.3.4")], []))
    frames = {read(made[kind]).FrameOfReferenceUID for made in (named, unnamed) for kind in ("SEG", "PM", "LABELMAP")}
    assert len(frames) == 1
    assert "1.2.3.4" not in frames


@pytest.mark.parametrize(
    ("given", "demanded"),
    [
        (
            {"ClinicalTrialSponsorName": "S", "ClinicalTrialProtocolID": "P-1", "ClinicalTrialSiteName": ""},
            {"ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName"},
        ),
        (
            {"PatientSpeciesDescription": "Canis lupus familiaris", "ResponsiblePerson": ""},
            {"PatientBreedDescription", "PatientBreedCodeSequence", "BreedRegistrationSequence", "PatientSexNeutered"}
            | {"ResponsiblePerson", "ResponsibleOrganization"},
        ),
        ({"ClinicalTrialSiteName": "", "PatientBreedDescription": ""}, set()),
    ],
)
def test_what_a_trial_or_an_animal_demands_is_there_and_empty(given: dict[str, str], demanded: set[str]) -> None:
    made = written(odd(having(**given)))
    for kind in ("SR", "SEG"):
        empty = {one.keyword for one in read(made[kind]) if one.is_empty}
        assert empty & {*OPTIONAL} == demanded


def test_numbers_are_written_as_far_as_they_fit() -> None:
    window = having(WindowCenter="2047.5000000000001", WindowWidth="4095.0000000000001")
    made = written(odd(ODD["long slope"], ODD["lossy ratio"], window))
    state = read(made["GSPS"])
    assert float(state.RescaleSlope) == pytest.approx(0.0012210012210012, rel=1e-9)
    assert state.SoftcopyVOILUTSequence[0].WindowCenter == 2047.5
    assert state.SoftcopyVOILUTSequence[0].WindowWidth == 4095
    for kind in ("SEG", "PM", "SC", "LABELMAP"):
        assert float(read(made[kind]).LossyImageCompressionRatio) == pytest.approx(12.345678901234567)
    made = written(odd(ODD["lossy method"]))
    assert read(made["SEG"]).LossyImageCompression == "01"
    assert "LossyImageCompressionRatio" not in read(made["SEG"])


def test_a_text_under_another_vr_is_copied_under_its_own() -> None:
    made = written(odd(ODD["text under another VR"], ODD["name under another VR"]))
    report_ = read(made["SR"])
    assert (report_["StudyDescription"].VR, report_.StudyDescription) == ("LO", "Thorax")
    assert (report_["PatientName"].VR, report_.PatientName.family_name) == ("PN", "Doe")
    made = written(odd(ODD["ID that is a number"]))
    assert (read(made["SR"])["PatientID"].VR, read(made["SR"]).PatientID) == ("LO", "4711")
    assert b"|4711" in made["ORU"].data
    assert "PatientComments" not in read(written(odd(ODD["text that 16 bits cannot count"]))["SR"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("1950.01.01", "19500101"),
        ("19500101", "19500101"),
        ("1950", "1950"),  # DTM knows a year
        ("195001", "195001"),
        ("19500", ""),
        ("UNKNOWN", ""),
        ("19501301", ""),
        ("19500230", ""),
        ("", ""),
    ],
)
def test_a_message_tells_the_birth_date_where_it_is_one(given: str, expected: str) -> None:
    message = hl7.parse(written(odd(having(PatientBirthDate=given)))["ORU"].data)
    assert message.all("PID")[0].text(7) == expected


@pytest.mark.parametrize(
    ("date", "time", "expected"),
    [
        ("20200102", "120000", "2020-01-02T12:00:00+01:00"),
        ("2020.01.02", "12:00:00", "2020-01-02T12:00:00+01:00"),
        ("2020.01.02", "12:30", "2020-01-02T12:30:00+01:00"),
        ("20200102", "noon", "2020-01-02"),
        ("UNKNOWN!", "120000", "1995-09-26T12:51:30+01:00"),  # that of the image
        ("20230230", "120000", "1995-09-26T12:51:30+01:00"),
    ],
)
def test_the_study_of_a_record_begins_at_its_date(date: str, time: str, expected: str) -> None:
    given = odd(having(TimezoneOffsetFromUTC="+0100", StudyDate=date, StudyTime=time))
    bundle = json.loads(written(given)["FHIR"].data)
    assert [one["resource"]["started"] for one in bundle["entry"] if "started" in one["resource"]] == [expected]


@pytest.mark.parametrize(
    ("offset", "here"), [("+0545", True), ("-1200", True), ("+1400", True), ("+9999", False), ("-0060", False)]
)
def test_an_offset_from_utc_that_there_is_not_is_no_offset(offset: str, here: bool) -> None:
    """A server refuses the whole bundle for it."""
    made = written(odd(having(TimezoneOffsetFromUTC=offset)))
    (study,) = [one["resource"] for one in json.loads(made["FHIR"].data)["entry"] if "started" in one["resource"]]
    assert study["started"] == (f"2004-08-26T18:50:59{offset[:3]}:{offset[3:]}" if here else "2004-08-26")
    (order,) = hl7.parse(made["ORU"].data).all("OBR")
    assert order.text(7) == "19950926125130" + (offset if here else "")


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("URI", "http://hospital.example/mrn", "http://hospital.example/mrn"),
        ("URI", "hospital", None),
        ("URI", "http://hospital.example/our mrn", None),
        ("UUID", "not known", None),
        ("ISO", "9.2", None),
    ],
)
def test_an_issuer_whose_universal_id_is_none_has_no_system(kind: str, value: str, expected: str | None) -> None:
    """The record gets the result none the less."""

    def change(header: Dataset) -> None:
        put(header, "IssuerOfPatientID", "MPI")
        said = {"UniversalEntityID": value, "UniversalEntityIDType": kind}
        header.IssuerOfPatientIDQualifiersSequence = items(said)

    bundle = json.loads(written(odd(change))["FHIR"].data)
    subjects = [one["resource"]["subject"]["identifier"] for one in bundle["entry"] if "subject" in one["resource"]]
    assert {one.get("system") for one in subjects} == {expected}


def test_the_moment_of_the_image_may_be_written_as_formerly() -> None:
    header = Dataset()
    having(StudyDate="2020.01.02", StudyTime="12:30:00.5")(header)
    assert moment(header) == ("20200102", "123000.5")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"ContentDate": "20200102", "AcquisitionDate": "20200102", "AcquisitionTime": "101500"},
            ("20200102", "101500"),
        ),
        ({"ContentDate": "20200103", "StudyDate": "20200102", "StudyTime": "101500"}, ("20200103", "000000")),
        ({"ContentTime": "101500", "StudyDate": "20200102", "StudyTime": "1200"}, ("20200102", "1200")),
        ({"ContentDate": "20200102", "AcquisitionDateTime": "20200102101500.25+0100"}, ("20200102", "101500.25")),
        ({"AcquisitionDateTime": "202001021015+0100"}, ("20200102", "1015")),
        ({"AcquisitionDateTime": "20200102-0500"}, ("20200102", "000000")),
        ({"AcquisitionDateTime": "202001"}, ("19000101", "000000")),
    ],
)
def test_a_day_without_its_time_has_that_of_another_pair_of_the_day(
    given: dict[str, str], expected: tuple[str, str]
) -> None:
    header = Dataset()
    having(**given)(header)
    assert moment(header) == expected


def test_a_leap_second_costs_no_time_of_day() -> None:
    """PS3.5 Section 6.2: a TM may have the second 60; HL7's DTM has none."""
    leap = having(StudyDate="20161231", StudyTime="235960", ContentDate="20161231", ContentTime="235960.5")
    made = written(odd(having(TimezoneOffsetFromUTC="+0000"), leap))
    assert (read(made["SR"]).StudyTime, read(made["SR"]).ContentTime) == ("235960", "235959.5")
    assert not report.check(made["SR"].data)
    assert hl7.parse(made["ORU"].data).all("OBR")[0].text(7) == "20161231235959.5+0000"
    assert b'"started":"2016-12-31T23:59:59+00:00"' in made["FHIR"].data


def test_where_nobody_knows_the_time_of_day_no_record_gets_one() -> None:
    """Midnight is one."""
    words = ("Study", "Series", "Content")
    made = written(odd(having(TimezoneOffsetFromUTC="+0100", **{f"{word}Time": "" for word in words})))
    message = hl7.parse(made["ORU"].data)
    assert {message.all("OBR")[0].text(7), *(one.text(14) for one in message.all("OBX"))} == {"19950926"}
    resources = [one["resource"] for one in json.loads(made["FHIR"].data)["entry"]]
    told = {one[name] for one in resources for name in ("effectiveDateTime", "createdDateTime") if name in one}
    assert told == {"1995-09-26"}
    assert {one["started"] for one in resources if "started" in one} == {"2004-08-26"}
    assert read(made["SR"]).ContentTime == "000000"  # must be there


def test_where_nobody_knows_the_date_only_what_must_have_one_has_one() -> None:
    """Then it is one that no image has."""
    words = ("Study", "Series", "Acquisition", "Content", "InstanceCreation")
    made = written(odd(having(**{f"{word}Date": "" for word in words})))
    told = {one.keyword for kind in ("SR", "SEG", "PDF") for one in read(made[kind]) if "19000101" in str(one.value)}
    assert told == {"ContentDate"}
    assert read(made["PDF"]).AcquisitionDateTime == ""
    assert b"1900" not in made["FHIR"].data
    assert {one.text(7) for one in hl7.parse(made["ORU"].data).all("OBR")} == {""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.5", "1.5"),
        ("-1\\2.25", "-1\\2.25"),
        ("0.0012210012210012", "0.00122100122100"),
        ("1e400", ""),
        ("nan", ""),
        ("1_0", ""),
        ("\u0661", ""),
        ("1\\", ""),
        ("", ""),
    ],
)
def test_numbers_fit_or_are_none(text: str, expected: str) -> None:
    assert numbers(text) == expected


def test_values_are_whole_or_left_out() -> None:
    assert fitting("AccessionNumber", "A" * 16) == "A" * 16
    assert fitting("AccessionNumber", "A" * 17) == fitting("RequestedProcedureDescription", "\ufffd") == ""
    assert fitting("PatientOrientation", "L\\F") == "L\\F"
    assert (current("TM", "24:00:00"), current("DA", "1950.13.01"), current("DA", "2020-01-02")) == ("", "", "")


@pytest.mark.parametrize("kind", ["ORU", "FHIR"])
def test_what_a_record_gets_may_fail_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: Any, **more: Any) -> Any:
        raise DocumentError(f"{kind}: expected no problem, got 1")

    monkeypatch.setattr(*((report.oru, "document") if kind == "ORU" else (report.fhir, "bundle")), fail)
    with pytest.raises(DocumentError, match=kind):
        written(odd())
    failed: dict[str, str] = {}
    made = {one.kind: one for one in report.documents(odd(), kinds=KINDS, failed=failed)}
    assert failed == {kind: f"{kind}: expected no problem, got 1"}
    assert set(made) == {"SEG", "PM", "SR", "SC", "HTML", "JSON", *KINDS} - {kind}
    assert json.loads(made["JSON"].data)["failed"] == failed
    assert "failed" not in json.loads(report.documents(phantom.refused(), failed={})[-1].data)


def test_a_bare_header_names_patient_study_and_image_and_no_more() -> None:
    refused = phantom.refused("spacing")
    made = bare(refused.header)
    for keyword in ("PatientID", "PatientName", "AccessionNumber", "StudyInstanceUID", "SOPInstanceUID", "ContentDate"):
        assert made[keyword] == refused.header[keyword]
    assert not {"ProcedureCodeSequence", "RequestAttributesSequence", "StudyDescription"} & set(made.dir())
    whole, less = (report.documents(one)[0] for one in (refused, replace(refused, header=made)))
    assert (less.kind, less.sop_instance_uid) == ("SR", whole.sop_instance_uid)
