"""The checker: notices what is damaged, and says where and by which clause."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tests.report import mutation, phantom, series
from tests.report.conftest import HEADERS, WANTED
from wetread import report
from wetread.errors import DocumentError
from wetread.records import Document
from wetread.report import together
from wetread.report.checker import problems_of
from wetread.report.elements import Item, decode, encode, get, item, sequence
from wetread.report.identity import Source, identify
from wetread.report.rules import RULES, TABLE

Documents = Callable[[str], dict[str, Document]]
DICOM = ("SEG", "PM", "SR", "SC", *WANTED)


@pytest.fixture(scope="module")
def source() -> Source:
    found = identify(phantom.header("spacing"))
    assert found is not None
    return found


def judged(data: bytes | None, source: Source | None) -> bool:
    """Whether anything is noticed."""
    if data is None:
        return True
    try:
        return bool(problems_of(data, source))
    except DocumentError:
        return True


@pytest.mark.parametrize(
    "kind", [*HEADERS, "refused", "partial", "negative", "late", "followed", "reduced", *series.KINDS]
)
def test_our_documents_have_no_problem_with_or_without_source(kind: str, documents_of: Documents) -> None:
    header = phantom.header(kind if kind in HEADERS else "real")
    header = series.image(kind).header if kind in series.KINDS else header
    for name, document in documents_of(kind).items():
        if name in DICOM:
            assert report.check(document.data) == ()
            assert report.check(document.data, header) == ()


@pytest.mark.parametrize("damage", [mutation.removed, mutation.emptied])
@pytest.mark.parametrize(
    "given",
    [
        "refused",
        "followed",
        "ct",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("spacing", "partial", "late")),
    ],
)
def test_what_is_missing_is_noticed(given: str, damage: Any, documents_of: Documents) -> None:
    header = phantom.header("spacing" if given == "spacing" else "real")
    about = identify(header)
    if given == "ct":
        found = identify(series.image("ct").header)
        assert found is not None
        about = replace(found, sop_uids=series.image("ct").sop_uids)
    mutants, missed = 0, []
    for name, document in documents_of(given).items():
        if name not in DICOM or (given == "followed" and name != "SR"):  # its others are as those of "real"
            continue
        for mutant in damage(name, document.data):
            mutants += 1
            if not judged(mutant.data, about):
                missed.append(f"{name} {mutant.name}")
    assert mutants > 100
    assert len(missed) <= mutants * 0.01, missed


_KEY = "CurrentRequestedProcedureEvidenceSequence.ReferencedSeriesSequence"
_DRAWN = "GraphicAnnotationSequence[1].GraphicObjectSequence"
ALTERED: tuple[tuple[str, str, Any], ...] = (
    ("SEG", "PatientID", "9RG2"),
    ("SEG", "PatientName", "Other^"),
    ("SEG", "StudyInstanceUID", "1.2.3"),
    ("SEG", "AccessionNumber", "A2026-18"),
    ("SEG", "StudyInstanceUID", "1.02.3"),
    ("SEG", "SOPClassUID", "1.2.840.10008.5.1.4.1.1.2"),
    ("SEG", "Modality", "CT"),
    ("SEG", "Rows", (390,)),
    ("SEG", "NumberOfFrames", "3"),
    ("SEG", "HighBit", (1,)),
    ("SEG", "SegmentationType", "SOMETHING"),
    ("SEG", "ImageType", "ORIGINAL\\PRIMARY"),
    ("SEG", "ContentDate", "20261301"),
    ("SEG", "ContentLabel", "lower case"),
    ("SEG", "SeriesDescription", "x" * 65),
    ("SEG", "SegmentSequence[2].SegmentNumber", (3,)),
    ("SEG", "SegmentSequence[1].SegmentAlgorithmType", "MAGIC"),
    ("SEG", "SegmentSequence[1].SegmentAlgorithmName", "another"),
    ("SEG", "SegmentSequence[1].TrackingUID", "2.25.1001"),
    ("SEG", "SegmentSequence[1].SegmentationAlgorithmIdentificationSequence.AlgorithmVersion", "1.0.1"),
    ("SEG", "SegmentSequence[1].SegmentedPropertyTypeCodeSequence.CodingSchemeDesignator", "NOSUCH"),
    ("SEG", "SegmentSequence[1].SegmentedPropertyTypeCodeSequence", []),
    ("SEG", "SegmentSequence[1].SegmentedPropertyTypeCodeSequence.CodeMeaning", "Right\\Lung"),
    ("SEG", "PerFrameFunctionalGroupsSequence[1].SegmentIdentificationSequence.ReferencedSegmentNumber", (7,)),
    ("SEG", "PerFrameFunctionalGroupsSequence[1].FrameContentSequence.DimensionIndexValues", (2,)),
    ("SEG", "PerFrameFunctionalGroupsSequence[1].PlanePositionSequence.ImagePositionPatient", "0\\0"),
    ("SEG", "DimensionIndexSequence.DimensionOrganizationUID", "1.2.3"),
    ("SEG", "DimensionIndexSequence.DimensionIndexPointer", (0x00209057,)),
    ("SEG", "ReferencedSeriesSequence.SeriesInstanceUID", "1.2.3"),
    ("SEG", "ReferencedSeriesSequence.ReferencedInstanceSequence.ReferencedSOPInstanceUID", "1.2.3"),
    ("SEG", "ContributingEquipmentSequence[1].SoftwareVersions", "2.0.0+fp32"),
    ("SEG", "ContributingEquipmentSequence[1].PurposeOfReferenceCodeSequence.CodeValue", "109101"),
    ("PM", "BitsAllocated", (8,)),
    ("PM", "ContentQualification", "CLINICAL"),
    ("PM", "BurnedInAnnotation", "YES"),
    ("PM", "SharedFunctionalGroupsSequence.RealWorldValueMappingSequence.RealWorldValueSlope", (1.0,)),
    ("PM", "SharedFunctionalGroupsSequence.RealWorldValueMappingSequence.RealWorldValueIntercept", (0.5,)),
    ("PM", "SharedFunctionalGroupsSequence.ParametricMapFrameTypeSequence.FrameType", "DERIVED\\PRIMARY\\VOLUME\\NONE"),
    ("PM", "SharedFunctionalGroupsSequence.PlaneOrientationSequence.ImageOrientationPatient", "1\\0\\0"),
    ("PM", "FrameOfReferenceUID", ""),
    ("SC", "BurnedInAnnotation", "NO"),
    ("SC", "ConversionType", "XXX"),
    ("SC", "PhotometricInterpretation", "MONOCHROME2"),
    ("SC", "PatientOrientation", "R\\F"),
    ("SC", "SourceImageSequence.ReferencedSOPInstanceUID", "1.2.3"),
    ("SR", "VerificationFlag", "SIGNED"),
    ("SR", "CompletionFlag", "PARTIAL"),
    ("SR", "PreliminaryFlag", "DRAFT"),
    ("SR", "ContentTemplateSequence.TemplateIdentifier", "2000"),
    ("SR", "ConceptNameCodeSequence.CodeValue", "126001"),
    ("SR", "ReferencedRequestSequence.AccessionNumber", "other"),
    ("SR", "ReferencedRequestSequence.StudyInstanceUID", "1.2.3"),
    ("SR", "CurrentRequestedProcedureEvidenceSequence.StudyInstanceUID", "1.2.3"),
    (
        "SR",
        "CurrentRequestedProcedureEvidenceSequence.ReferencedSeriesSequence[2].ReferencedSOPSequence"
        ".ReferencedSOPInstanceUID",
        "1.2.3",
    ),
    ("SR", "ContentSequence[1].RelationshipType", "CONTAINS"),
    ("SR", "ContentSequence[1].ValueType", "TEXT"),
    ("SR", "ContentSequence[1].ConceptNameCodeSequence.CodeValue", "121050"),
    ("SR", "ContentSequence[3].UID", "1.2.3"),
    ("SR", "ContentSequence[6].TextValue", "another model"),
    ("SR", "CodingSchemeIdentificationSequence.CodingSchemeDesignator", "99OTHER"),
    ("KOS", "Modality", "SR"),
    ("KOS", "ConceptNameCodeSequence.CodeValue", "113001"),
    ("KOS", "ContentTemplateSequence.TemplateIdentifier", "1500"),
    ("KOS", "ContentSequence[1].RelationshipType", "CONTAINS"),
    ("KOS", "ContentSequence[3].UID", "1.2.3"),
    ("KOS", "CurrentRequestedProcedureEvidenceSequence.StudyInstanceUID", "1.2.3"),
    ("KOS", f"{_KEY}.SeriesInstanceUID", "1.2.3"),
    ("KOS", f"{_KEY}.ReferencedSOPSequence.ReferencedSOPInstanceUID", "1.2.3"),
    ("KOS", f"{_KEY}.ReferencedSOPSequence.ReferencedSOPClassUID", "1.2.3"),
    ("KOS", "ReferencedRequestSequence.AccessionNumber", "other"),
    ("GSPS", "Modality", "OT"),
    ("GSPS", "PresentationCreationDate", "20261301"),
    ("GSPS", "PresentationLUTShape", "LINEAR"),
    ("GSPS", "ReferencedSeriesSequence.SeriesInstanceUID", "1.2.3"),
    ("GSPS", "ReferencedSeriesSequence.ReferencedImageSequence.ReferencedSOPInstanceUID", "1.2.3"),
    ("GSPS", "DisplayedAreaSelectionSequence.DisplayedAreaTopLeftHandCorner", (900, 900)),
    ("GSPS", "DisplayedAreaSelectionSequence.PresentationSizeMode", "LARGE"),
    ("GSPS", "DisplayedAreaSelectionSequence.PresentationPixelAspectRatio", "1\\1"),
    ("GSPS", "SoftcopyVOILUTSequence.WindowWidth", ""),
    ("GSPS", "GraphicAnnotationSequence[1].GraphicLayer", "OTHER"),
    ("GSPS", "GraphicAnnotationSequence[1].ReferencedImageSequence.ReferencedSOPInstanceUID", "1.2.3"),
    ("GSPS", f"{_DRAWN}.NumberOfGraphicPoints", (3,)),
    ("GSPS", f"{_DRAWN}.GraphicData", (1.0, float("nan"))),
    ("GSPS", f"{_DRAWN}.GraphicType", "SQUIGGLE"),
    ("GSPS", f"{_DRAWN}.GraphicAnnotationUnits", "MM"),
    ("GSPS", "GraphicAnnotationSequence[1].TextObjectSequence.AnchorPoint", (1.0,)),
    ("GSPS", "GraphicAnnotationSequence[3].TextObjectSequence.UnformattedTextValue", "No warning"),
    ("GSPS", "GraphicLayerSequence[1].GraphicLayerOrder", "2"),
    ("PDF", "MIMETypeOfEncapsulatedDocument", "text/html"),
    ("PDF", "EncapsulatedDocument", b"%PDF-1.7 but no end "),
    ("PDF", "EncapsulatedDocument", b"<html></html> "),
    ("PDF", "EncapsulatedDocumentLength", (17,)),
    ("PDF", "BurnedInAnnotation", "NO"),
    ("PDF", "VerificationFlag", "SIGNED"),
    ("PDF", "SourceInstanceSequence.ReferencedSOPInstanceUID", "1.2.3"),
    ("LABELMAP", "SegmentationType", "BINARY"),
    ("LABELMAP", "PixelPaddingValue", (1,)),
    ("LABELMAP", "SegmentSequence[2].SegmentNumber", (7,)),
    ("LABELMAP", "SegmentSequence[2].TrackingUID", ""),
    ("LABELMAP", "SegmentSequence[2].SegmentAlgorithmName", "another"),
    ("LABELMAP", "SegmentsOverlap", "YES"),
    ("LABELMAP", "Rows", (390,)),
    ("LABELMAP", "NumberOfFrames", "2"),
)


@pytest.mark.parametrize(("kind", "path", "value"), ALTERED, ids=lambda one: str(one)[:60])
def test_what_is_altered_is_noticed(kind: str, path: str, value: Any, documents_of: Documents, source: Source) -> None:
    assert judged(mutation.altered(documents_of("spacing")[kind].data, path, value), source)


_FRAME = "PerFrameFunctionalGroupsSequence[2]"
ALTERED_SERIES: tuple[tuple[str, str, Any], ...] = (
    ("SEG", f"{_FRAME}.PlanePositionSequence.ImagePositionPatient", "1\\2\\3"),
    ("SEG", f"{_FRAME}.PlanePositionSequence.ImagePositionPatient", "1\\2\\a"),
    ("SEG", "SharedFunctionalGroupsSequence.PlaneOrientationSequence.ImageOrientationPatient", "1\\0\\0\\0\\1\\0"),
    ("SEG", f"{_FRAME}.FrameContentSequence.DimensionIndexValues", (1, 1)),
    ("SEG", f"{_FRAME}.FrameContentSequence.DimensionIndexValues", (2, 2)),
    ("SEG", f"{_FRAME}.SegmentIdentificationSequence.ReferencedSegmentNumber", (2,)),
    ("SEG", f"{_FRAME}.DerivationImageSequence.SourceImageSequence.ReferencedSOPInstanceUID", "1.2.3"),
    ("SEG", "SharedFunctionalGroupsSequence.PixelMeasuresSequence", []),
    ("SEG", "ReferencedSeriesSequence.ReferencedInstanceSequence[4].ReferencedSOPInstanceUID", "1.2.3"),
    ("SC", "SourceImageSequence[4].ReferencedSOPInstanceUID", "1.2.3"),
    (
        "SR",
        "CurrentRequestedProcedureEvidenceSequence.ReferencedSeriesSequence[1].ReferencedSOPSequence[4]"
        ".ReferencedSOPInstanceUID",
        "1.2.3",
    ),
)


@pytest.mark.parametrize(("kind", "path", "value"), ALTERED_SERIES, ids=lambda one: str(one)[:60])
def test_what_is_altered_in_a_series_is_noticed(kind: str, path: str, value: Any, documents_of: Documents) -> None:
    found = identify(series.image("ct").header)
    assert found is not None
    about = replace(found, sop_uids=series.image("ct").sop_uids)
    assert not judged(documents_of("ct")[kind].data, about)
    assert judged(mutation.altered(documents_of("ct")[kind].data, path, value), about)


def _finding_group(data: Item) -> tuple[Item, list[Item]]:
    """The node of the first measurement group, and its children."""
    measurements = sequence(data, "ContentSequence")[-1]
    group = sequence(measurements, "ContentSequence")[0]
    return group, sequence(group, "ContentSequence")


@pytest.mark.parametrize("turn", ["verdict", "probability", "twice", "no verdict", "unit"])
def test_a_verdict_must_agree_with_its_probability(turn: str, documents_of: Documents, source: Source) -> None:
    _, data = decode(documents_of("spacing")["SR"].data)
    _, children = _finding_group(data)
    numbers = [one for one in children if get(one, "ValueType") == "NUM"]
    verdict = next(one for one in children if get(one, "ValueType") == "CODE" and "Present" in str(one))
    code = sequence(verdict, "ConceptCodeSequence")[0]
    if turn == "verdict":
        code[0x00080100], code[0x00080104] = ("SH", "272519000"), ("LO", "Absent")
    elif turn == "probability":
        sequence(numbers[0], "MeasuredValueSequence")[0][0x0040A30A] = ("DS", "3.1")
    elif turn == "twice":
        children.append(verdict)
    elif turn == "no verdict":
        children.remove(verdict)
    else:
        unit = sequence(sequence(numbers[0], "MeasuredValueSequence")[0], "MeasurementUnitsCodeSequence")[0]
        unit[0x00080102] = ("SH", "SCT")
    assert judged(encode(data), source)


@pytest.mark.parametrize("kind", ["partial", "refused"])
@pytest.mark.parametrize("turn", ["absent", "no reason", "another reason", "no sentence", "neither"])
def test_what_was_not_read_needs_its_reason(kind: str, turn: str, documents_of: Documents) -> None:
    about = identify(phantom.header("real"))
    _, data = decode(documents_of(kind)["SR"].data)
    evaluations = sequence(data, "ContentSequence")[-1]
    parent = sequence(evaluations, "ContentSequence")[0] if kind == "partial" else evaluations
    children = sequence(parent, "ContentSequence")
    assert not judged(encode(data), about)
    if turn == "absent":
        state = parent if kind == "partial" else children[0]
        code = sequence(state, "ConceptCodeSequence")[0]
        code[0x00080100], code[0x00080102] = ("SH", "272519000"), ("SH", "SCT")
    elif turn == "another reason":
        sequence(children[-2], "ConceptCodeSequence")[0][0x00080100] = ("SH", "NO-SUCH-CODE")
    else:
        del children[{"no reason": slice(-2, -1), "no sentence": slice(-1, None), "neither": slice(-2, None)}[turn]]
    assert judged(encode(data), about)


def _decoded(documents: dict[str, Document]) -> dict[str, Item]:
    return {name: decode(documents[name].data)[1] for name in DICOM if name in documents}


SETS: tuple[tuple[str, str, Any], ...] = (
    ("SEG", "SOPInstanceUID", "1.2.3"),
    ("SEG", "SeriesInstanceUID", "1.2.3"),
    ("SEG", "SegmentSequence[1].TrackingUID", "1.2.3"),
    ("SEG", "SegmentSequence[1].TrackingID", "Left lung"),
    ("SEG", "SegmentSequence[1].SegmentedPropertyTypeCodeSequence.CodeValue", "1"),
    ("SEG", "ContributingEquipmentSequence[1].DeviceUID", "1.2.3"),
    ("SEG", "DeviceSerialNumber", "1"),
    ("PM", "SOPInstanceUID", "1.2.3"),
    ("PM", "PatientID", "other"),
    ("PM", "SoftwareVersions", "9.9"),
    ("SC", "StudyInstanceUID", "1.2.3"),
)


@pytest.mark.parametrize(("kind", "path", "value"), SETS, ids=lambda one: str(one)[:60])
def test_documents_must_agree_with_each_other(
    kind: str, path: str, value: Any, documents_of: Documents, source: Source
) -> None:
    made = _decoded(documents_of("spacing"))
    assert together.problems(made, source) == ()
    made[kind] = decode(mutation.altered(documents_of("spacing")[kind].data, path, value))[1]
    assert together.problems(made, source)


@pytest.mark.parametrize("kind", ["SEG", "PM"])
def test_a_missing_document_is_noticed(kind: str, documents_of: Documents, source: Source) -> None:
    made = _decoded(documents_of("spacing"))
    del made[kind]
    assert together.problems(made, source)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_random_damage_never_breaks_the_checker(documents_of: Documents, source: Source) -> None:
    rng = random.Random(20261124)
    for name in DICOM:
        whole = documents_of("spacing")[name].data[:9000]
        for _ in range(150):
            damaged = bytearray(whole)
            for _ in range(rng.randint(1, 12)):
                damaged[rng.randrange(132, len(damaged))] = rng.randrange(256)
            report.check(bytes(damaged))
            judged(bytes(damaged[: rng.randrange(len(damaged))]), source)


def test_other_objects_and_syntaxes(documents_of: Documents) -> None:
    film = dcmread(str(get_testdata_file("RG1_UNCR.dcm")))
    (problem,) = report.check(film)
    assert problem.where == "SOPClassUID"
    assert report.check(b"no dicom")[0].clause.startswith("PS3.10")
    dataset = dcmread(io.BytesIO(documents_of("real")["SR"].data))
    assert report.check(dataset) == ()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    target = io.BytesIO()
    dataset.save_as(target, implicit_vr=True, little_endian=True, enforce_file_format=True)
    assert report.check(target.getvalue(), phantom.header()) == ()
    del dataset.CompletionFlag
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    assert "CompletionFlag" in {one.where for one in report.check(dataset)}


def test_a_number_may_have_a_sign(documents_of: Documents) -> None:
    _, data = decode(documents_of("real")["SEG"].data)
    assert report.check(encode(data | item(NumberOfFrames="+2"))) == ()


def test_problems_name_place_and_clause_and_no_patient(documents_of: Documents) -> None:
    damaged = mutation.altered(documents_of("real")["SR"].data, "PatientName", "Secret^Name")
    problems = report.check(damaged, phantom.header())
    assert [one.where for one in problems] == ["PatientName"]
    assert "Secret" not in str(problems[0])
    assert "PS3.3" in str(problems[0])


def test_each_rule_names_its_clause_and_its_kinds() -> None:
    assert sum(len(rules) for rules in RULES.values()) > 200
    for path, type_, kinds, clause, _ in TABLE:
        assert type_ in "123", path
        assert kinds, path
        assert clause, path
