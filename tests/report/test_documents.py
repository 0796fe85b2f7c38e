"""What leaves: the set of documents, their identity, that they are always the same."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import DataElement, Dataset, config, dcmread, uid
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.errors import InvalidDicomError

from tests.report import phantom, series
from tests.report.conftest import HEADERS
from wetread import report
from wetread.errors import REFUSALS, DocumentError
from wetread.records import Code, Document, Picture, Result, Timing
from wetread.report import checker
from wetread.report.elements import item
from wetread.report.identity import UNKNOWN_MOMENT, identify, moment
from wetread.report.planes import axes
from wetread.report.sc import captioned
from wetread.report.words import captions, statements

Documents = Callable[[str], dict[str, Document]]
Results = Callable[[str], Result]
USUAL = ("SEG", "PM", "SR", "SC")
DICOM = (*USUAL, "KOS", "GSPS", "LABELMAP", "PDF")


def read(document: Document) -> Dataset:
    return dcmread(io.BytesIO(document.data))


@pytest.mark.parametrize("kind", HEADERS)
def test_a_reading_gives_all_documents(kind: str, documents_of: Documents, result_of: Results) -> None:
    made = documents_of(kind)
    assert tuple(made) == (*DICOM, "HTML", "JSON")
    for name in DICOM:
        dataset, source = read(made[name]), result_of(kind).header
        assert str(dataset.PatientName) == str(source.PatientName)
        assert (dataset.PatientID, dataset.StudyInstanceUID) == (source.PatientID, source.StudyInstanceUID)
        assert dataset.SOPInstanceUID == made[name].sop_instance_uid
        assert dataset.SOPClassUID == made[name].sop_class_uid
        assert "InstanceCreationDate" not in dataset
    assert len({one.name for one in made.values()}) == len(DICOM) + 2


@pytest.mark.parametrize("kind", ["real", "ct"])
def test_a_presentation_state_has_a_creation_date_and_no_content_date(kind: str, documents_of: Documents) -> None:
    """Its IOD has no module with Content Date and Time (PS3.3 A.33.1), and ours are those of every document."""
    state = read(documents_of(kind)["GSPS"])
    assert "ContentDate" not in state
    assert "ContentTime" not in state
    document = read(documents_of(kind)["SR"])
    assert state.PresentationCreationDate == document.ContentDate
    assert state.PresentationCreationTime == document.ContentTime


@pytest.mark.parametrize(
    ("kind", "expected"), [("real", "ISO_IR 100"), ("utf8", "ISO_IR 192"), ("iso2022", ["", "ISO 2022 IR 87"])]
)
def test_the_character_set_is_kept_or_utf8(kind: str, expected: str, documents_of: Documents) -> None:
    assert read(documents_of(kind)["SR"]).SpecificCharacterSet == expected


def test_text_that_does_not_fit_the_source_set_turns_the_document_to_utf8() -> None:
    made = {one.kind: one for one in report.documents(phantom.refused(), institution="Больница № 1")}
    dataset = read(made["SR"])
    assert dataset.SpecificCharacterSet == "ISO_IR 192"
    assert dataset.InstitutionName == "Больница № 1"


def test_the_words_of_a_site_count_too() -> None:
    result = phantom.result("spacing")
    site = Code("39607008", "SCT", "Πνεύμονας")
    result = replace(result, findings=tuple(replace(one, site=site) for one in result.findings))
    made = {one.kind: one for one in report.documents(result)}
    assert read(made["SR"]).SpecificCharacterSet == "ISO_IR 192"
    assert site.meaning in str(read(made["SR"]))


def test_two_readings_give_the_same_bytes() -> None:
    first = phantom.result("spacing")
    again = replace(phantom.result("spacing"), timings=(Timing("infer", 999.0),), read_at="2026-11-24T08:00:00Z")
    one, two = report.documents(first), report.documents(again)
    assert [item.data for item in one[:4]] == [item.data for item in two[:4]]
    assert one[4].data != two[4].data


@pytest.mark.parametrize("change", ["probability", "build", "digest", "reason"])
def test_another_answer_never_shares_a_uid(change: str) -> None:
    first = phantom.result() if change != "reason" else phantom.partial()
    if change == "reason":
        (unread,) = first.not_read
        other = replace(first, not_read=(replace(unread, refusal=replace(unread.refusal, detail="another")),))
    elif change == "probability":
        other = phantom.result(probability=0.91)
    elif change == "build":
        other = replace(first, models=(phantom.model("cxr-lungs", "fp32"), *first.models[1:]))
        other = replace(other, regions=tuple(replace(one, model=other.models[0]) for one in first.regions))
    else:
        other = replace(first, digest="00" * 32)
    uids = [{one.sop_instance_uid for one in report.documents(given) if one.sop_class_uid} for given in (first, other)]
    assert len(uids[0]) == len(uids[1]) == (3 if change == "reason" else 4)
    assert not uids[0] & uids[1]


@pytest.mark.parametrize("code", sorted(REFUSALS))
def test_a_refusal_is_a_document_too(code: str) -> None:
    made = {one.kind: one for one in report.documents(phantom.refused(code=code))}
    assert tuple(made) == ("SR", "HTML", "JSON")
    dataset = read(made["SR"])
    assert dataset.CompletionFlag == "PARTIAL"
    evaluations = dataset.ContentSequence[-1].ContentSequence
    assert evaluations[0].ConceptCodeSequence[0].CodeMeaning == "Not read"
    reason = evaluations[1].ConceptCodeSequence[0]
    assert (reason.CodeValue, reason.CodingSchemeDesignator) == (code, "99WETREAD")
    assert len(reason.CodeMeaning) <= 64
    assert REFUSALS[code] in evaluations[2].TextValue
    assert b"NOT READ" in made["HTML"].data
    assert json.loads(made["JSON"].data)["refusal"]["code"] == code


@pytest.mark.parametrize(
    ("sop_class_uid", "kind"),
    [
        (uid.DigitalXRayImageStorageForPresentation, "IMAGE"),
        (uid.SegmentationStorage, "IMAGE"),
        (uid.RTDoseStorage, "COMPOSITE"),
        (uid.RTStructureSetStorage, "COMPOSITE"),
        (uid.BasicTextSRStorage, "COMPOSITE"),
        (uid.TwelveLeadECGWaveformStorage, "WAVEFORM"),
    ],
)
def test_only_an_image_is_referred_to_as_one(sop_class_uid: uid.UID, kind: str) -> None:
    """PS3.3 Table C.17.3-7; DCMTK opens no report that does otherwise."""
    given = phantom.refused()
    assert given.header is not None
    given.header.SOPClassUID = sop_class_uid
    made = read(report.documents(given)[0])
    nodes = [node for one in made.ContentSequence for node in one.get("ContentSequence", ())]
    nodes += [node for one in nodes for node in one.get("ContentSequence", ())]
    found = [
        (one.ValueType, one.ReferencedSOPSequence[0].ReferencedSOPClassUID)
        for one in nodes
        if "ReferencedSOPSequence" in one
    ]
    assert found == [(kind, sop_class_uid)]


def test_what_one_model_did_not_read_stands_in_every_document(documents_of: Documents) -> None:
    made = documents_of("partial")
    assert tuple(made) == ("SEG", "SR", "SC", "GSPS", "LABELMAP", "PDF", "HTML", "JSON")
    dataset = read(made["SR"])
    assert dataset.CompletionFlag == "COMPLETE"
    measured, evaluated = dataset.ContentSequence[-2:]
    assert len(measured.ContentSequence) == 2
    assert evaluated.ConceptNameCodeSequence[0].CodeMeaning == "Qualitative Evaluations"
    (said,) = evaluated.ContentSequence
    assert said.ConceptNameCodeSequence[0].CodeMeaning == "Pneumonia"
    assert said.ConceptCodeSequence[0].CodeMeaning == "Not read"
    reason, sentence = said.ContentSequence
    assert reason.ConceptCodeSequence[0].CodeValue == "OUTSIDE-AGE"
    assert sentence.TextValue.startswith("Pneumonia NOT READ by cxr-pneumonia 1.0.0. The patient's age is outside")
    # Who did not read did not contribute.
    assert [one.ManufacturerModelName for one in dataset.ContributingEquipmentSequence] == ["cxr-lungs"]
    (unread,) = json.loads(made["JSON"].data)["not_read"]
    assert (unread["about"][0]["meaning"], unread["refusal"]["code"]) == ("Pneumonia", "OUTSIDE-AGE")
    assert unread["model"]["id"] == "cxr-pneumonia"


def test_the_capture_says_what_was_not_read(result_of: Results) -> None:
    from wetread.report.sc import _lines

    assert "Pneumonia: NOT READ (OUTSIDE-AGE)" in _lines(result_of("partial"))


def test_a_refusal_without_header_gives_page_and_json() -> None:
    assert [one.kind for one in report.documents(phantom.refused(with_header=False))] == ["HTML", "JSON"]


def test_a_refusal_of_an_instance_without_uid_still_says_so() -> None:
    given = phantom.refused()
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "ContentDate", "PatientName"):
        delattr(given.header, keyword)
    assert [one.kind for one in report.documents(given)] == ["SR", "HTML", "JSON"]
    del given.header.StudyInstanceUID
    made = report.documents(replace(given, study_uid=""))
    assert [one.kind for one in made] == ["HTML", "JSON"]


def test_values_that_the_source_has_wrong_are_repeated_and_do_not_stop_the_reading() -> None:
    given = phantom.result()
    for tag, vr, value in ((0x00100020, "LO", "7" * 80), (0x00100030, "DA", "1940/03/05")):
        given.header[tag] = DataElement(tag, vr, value, validation_mode=config.IGNORE)
    made = {one.kind: one for one in report.documents(given)}
    assert b"7" * 80 in made["SR"].data
    assert b"1940/03/05" in made["SR"].data


def test_nothing_leaves_when_the_checker_finds_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    given = phantom.result()
    broken = replace(given.regions[0], tracking_uid="not a uid")
    with pytest.raises(DocumentError, match="TrackingUID"):
        report.documents(replace(given, regions=(broken, given.regions[1])))


def test_a_volume_is_refused_with_words() -> None:
    given = phantom.result()
    stack = replace(given.regions[0], mask=np.repeat(given.regions[0].mask, 2, axis=0))
    with pytest.raises(DocumentError, match="one slice"):
        report.documents(replace(given, regions=(stack,)))


def test_the_request_and_accession_are_named(documents_of: Documents) -> None:
    request = read(documents_of("spacing")["SR"]).ReferencedRequestSequence[0]
    assert (request.AccessionNumber, request.RequestedProcedureID) == ("A2026-17", "RP17")
    assert "ReferencedRequestSequence" not in read(documents_of("empty")["SR"])


def test_every_model_is_contributing_equipment(documents_of: Documents, result_of: Results) -> None:
    for name in DICOM:
        items = read(documents_of("real")[name]).ContributingEquipmentSequence
        expected = [
            (one.manufacturer, one.id, f"{one.version}+{one.build}", one.device_uid) for one in result_of("real").models
        ]
        got = [(one.Manufacturer, one.ManufacturerModelName, one.SoftwareVersions, one.DeviceUID) for one in items]
        assert got == expected


def test_the_moment_is_that_of_the_image() -> None:
    header = phantom.header()
    assert moment(header) == ("19950926", "125130")
    del header.ContentDate
    header.AcquisitionDate, header.AcquisitionTime = "20040826", ""
    assert moment(header) == ("20040826", "185059")  # that of series and study, of the same day
    header.SeriesDate = header.StudyDate = header.InstanceCreationDate = "20040825"
    assert moment(header) == ("20040826", "000000")
    assert moment(Dataset()) == UNKNOWN_MOMENT
    stamped = Dataset()
    stamped.AcquisitionDateTime = "20240131121530.5"
    assert moment(stamped) == ("20240131", "121530.5")


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        ("L\\F", "1\\0\\0\\0\\0\\-1"),
        ("A\\F", "0\\-1\\0\\0\\0\\-1"),
        ("", "1\\0\\0\\0\\1\\0"),
        ("L\\R", "1\\0\\0\\0\\1\\0"),
    ],
)
def test_axes_follow_the_patient(orientation: str, expected: str) -> None:
    assert axes(orientation) == expected


def test_the_secondary_capture_is_small_and_says_so(documents_of: Documents) -> None:
    dataset = read(documents_of("real")["SC"])
    assert dataset.Rows <= 640
    assert dataset.BurnedInAnnotation == "YES"
    assert dataset.PatientOrientation == ["L", "F"]
    band = dataset.pixel_array[-55:]
    assert band.max() > 200


@pytest.mark.parametrize("count", [3, 14, 40])
def test_pictures_say_what_is_there_however_many_findings_there_are(count: int) -> None:
    """The only one that is present is the last; each line is long."""
    base = phantom.result("spacing")
    found = [
        replace(
            base.findings[0],
            code=Code(f"SITE-{number}", "99WETREAD", f"Radiological finding number {number} of the chest"),
            tracking_uid=f"2.25.7{number}",
            probability=0.9 if number == count else 0.1,
            present=number == count,
        )
        for number in range(1, count + 1)
    ]
    result = replace(base, findings=tuple(found), explanations=())
    made = {one.kind: one for one in report.documents(result, kinds=("GSPS",))}
    capture = read(made["SC"])
    assert capture.Rows <= 640
    assert capture.Columns > 300
    (text,) = read(made["GSPS"]).GraphicAnnotationSequence[-1].TextObjectSequence
    lines = text.UnformattedTextValue.split("\r\n")
    assert f"number {count} of the chest: present" in lines[1]
    assert (len(lines) == count + 1) == (count == 3)
    assert lines[-1].endswith("in the report") == (count > 3)


def test_words_on_pictures_can_be_read() -> None:
    """Many slices that are not side by side are counted: named, they made letters of two pixels, and left the GSPS."""
    base = series.result("ct")
    assert base.image is not None
    many = replace(base.findings[0], slices=tuple(range(0, 1200, 2)))
    result = replace(base, image=replace(base.image, numbers=tuple(range(1, 1201))), findings=(many,))
    (line,) = captions(result)
    assert line == "Hemorrhage: present, probability 91.0 % (threshold 50.0 %) on 600 images"
    assert "on images 1, 3, 5, " in statements(result)[0].line
    narrow = captioned(Picture("film", "", np.full((400, 100, 3), 128, np.uint8)), [line])
    assert narrow.shape[1] >= 480
    assert (narrow[:400].max((0, 2)) > 0).sum() == 100


def test_json_holds_the_result_and_no_patient(documents_of: Documents, result_of: Results) -> None:
    text = documents_of("utf8")["JSON"].data.decode()
    said, given = json.loads(text), result_of("utf8")
    assert said["notice"].endswith("not a medical device.")
    assert said["findings"][0]["probability"] == 0.973
    assert said["regions"][0]["measurements"][0]["unit"]["value"] == "%"
    assert said["models"][0]["sha256"] == given.models[0].sha256
    assert said["timings_ms"]["infer"] == 11.8
    for secret in ("Wang", "王", "9RG1", "19400305", "Müller"):
        assert secret not in text
    assert report.summary(given) == said


def test_the_room_needs_no_heavy_import() -> None:
    import subprocess
    import sys

    code = "import sys, wetread.report; print(sorted({'highdicom', 'torch', 'scipy', 'openvino'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_kinds_of_the_checker_are_those_we_write() -> None:
    assert set(checker._KIND_OF.values()) == set(DICOM)


def test_uids_that_the_source_has_wrong_do_not_stop_the_reading() -> None:
    given = phantom.result("spacing")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        given.header[keyword] = DataElement(keyword, "UI", f"1.02.{len(keyword)}x", validation_mode=config.IGNORE)
    made = {one.kind: one for one in report.documents(given)}
    assert set(made) == {*USUAL, "HTML", "JSON"}
    assert b"1.02.16x" in made["SR"].data


@pytest.mark.parametrize("given", ["ratio", "method", "both", "none"])
def test_a_lossy_source_is_said_as_far_as_it_says_itself(given: str) -> None:
    result = phantom.result()
    result.header.LossyImageCompression = "01"
    if given in ("ratio", "both"):
        result.header.LossyImageCompressionRatio = "12.5"
    if given in ("method", "both"):
        result.header.LossyImageCompressionMethod = "ISO_10918_1"
    made = {one.kind: read(one) for one in report.documents(result) if one.sop_class_uid}
    for name in ("SEG", "PM", "SC"):
        assert made[name].LossyImageCompression == "01"
        assert ("LossyImageCompressionRatio" in made[name]) == ("LossyImageCompressionMethod" in made[name])


@pytest.mark.parametrize("declared", [None, "", "00", "01"])
@pytest.mark.parametrize(
    ("syntax", "silent", "denied"),
    [
        (uid.ExplicitVRLittleEndian, "00", "00"),
        (uid.JPEGLosslessSV1, "00", "00"),
        (uid.JPEGLSLossless, "00", "00"),
        (uid.JPEG2000Lossless, "00", "00"),
        (uid.HTJ2KLossless, "00", "00"),
        (uid.JPEGBaseline8Bit, "01", "01"),
        (uid.JPEGExtended12Bit, "01", "01"),
        (uid.JPEGLSNearLossless, "01", "00"),
        (uid.JPEG2000, "01", "00"),
        (uid.HTJ2K, "01", "00"),
    ],
)
def test_a_lossy_encoding_is_said_where_the_source_does_not_say_it(
    declared: str | None, syntax: str, silent: str, denied: str
) -> None:
    header = phantom.result().header
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = syntax
    if declared is not None:
        header.LossyImageCompression = declared
    source = identify(header)
    assert source is not None
    assert source.lossy == item(LossyImageCompression={"01": "01", "00": denied}.get(declared or "", silent))


def test_documents_of_a_film_in_lossy_jpeg_say_that_it_was() -> None:
    """Old films in JPEG have no Lossy Image Compression (0028,2110)."""
    result = phantom.result()
    result.header.file_meta = FileMetaDataset()
    result.header.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    kinds = ("SEG", "LABELMAP", "PM", "SC")
    made = {one.kind: read(one) for one in report.documents(result, kinds=kinds) if one.sop_class_uid}
    assert {name: made[name].LossyImageCompression for name in kinds} == dict.fromkeys(kinds, "01")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_header_of_the_corpus_gets_its_refusal() -> None:
    folders = [Path(str(get_testdata_file(name))).parent for name in ("RG1_UNCR.dcm", "CT_small.dcm")]
    judged = 0
    for path in sorted(one for folder in folders for one in folder.glob("*.dcm")):
        try:
            header = dcmread(path, stop_before_pixels=True)
        except (InvalidDicomError, EOFError):
            continue
        given = replace(phantom.refused(), header=header, study_uid=str(header.get("StudyInstanceUID", "")))
        kinds = [one.kind for one in report.documents(given)]
        assert kinds == ["SR", "HTML", "JSON"] if given.study_uid else ["HTML", "JSON"], path.name
        judged += 1
    assert judged > 80


def test_two_models_may_say_the_same_thing_of_an_image() -> None:
    made, other = phantom.result("spacing"), phantom.model("cxr-other")
    finding, explanation, region = made.findings[0], made.explanations[0], made.regions[0]
    second = replace(finding, model=other, probability=0.21, present=False)
    doubtful = replace(explanation, model=other, inside_share=0.125, trustworthy=False, sentence="Do not trust it.")
    made = replace(
        made,
        findings=(finding, second),
        explanations=(explanation, doubtful),
        regions=(*made.regions, replace(region, model=other)),
        models=(*made.models, other),
        read_at="2026-01-02T03:04:05Z",
    )
    documents = {one.kind: one for one in report.documents(made, kinds=("ORU", "FHIR"))}
    assert [one.TrackingUID for one in read(documents["SEG"]).SegmentSequence].count(region.tracking_uid) == 2

    (measured,) = (
        one
        for one in read(documents["SR"]).ContentSequence
        if one.ConceptNameCodeSequence[0].CodeMeaning == "Imaging Measurements"
    )
    said = [group.to_json() for group in measured.ContentSequence[:2]]
    assert [("Do not trust it." in one, explanation.sentence in one) for one in said] == [(False, True), (True, False)]
    message = documents["ORU"].data.decode().split("\r")
    assert [sum("INSIDE-SHARE" in line and f".{group}|" in line for line in message) for group in (1, 2)] == [1, 1]

    bundle = json.loads(documents["FHIR"].data)
    found = [one["resource"] for one in bundle["entry"] if "valueCodeableConcept" in one["resource"]]
    assert [one["note"] for one in found] == [[{"text": explanation.sentence}], [{"text": "Do not trust it."}]]


def test_a_long_meaning_stops_no_document() -> None:
    made, long = phantom.result("real"), Code("254632001", "SCT", "Small cell carcinoma of lung " * 4)
    made = replace(
        made,
        findings=(replace(made.findings[0], code=long),),
        explanations=(replace(made.explanations[0], finding=long),),
    )
    documents = {one.kind: one for one in report.documents(made)}
    meanings = {item.value for item in read(documents["SR"]).iterall() if item.keyword == "CodeMeaning"}
    assert "Small cell carcinoma of lung Small cell carcinoma of lung .." in meanings
    assert long.meaning in json.loads(documents["JSON"].data)["findings"][0]["code"]["meaning"]
