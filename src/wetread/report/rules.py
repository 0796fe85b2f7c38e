"""The table of rules by which the checker judges a document.

A row reads: path, type, kinds, clause, allowed values, condition.  A path is a
chain of keywords; each item of a sequence on the way is judged, and a rule below a
sequence that is not there says nothing.  Type 1 is there with a value, type 2 is
there, type 3 may be absent.  A sequence of type 1 has at least one item.  AIR is
IHE AIR Rev 1.3, Section 6.5.3.1; "Wetread documents" is what ours have beyond the
standard, by which others are not judged; other clauses are of PS3.3.
"""

from __future__ import annotations

from dataclasses import dataclass

from wetread.report.elements import entry_of
from wetread.report.problem import HABIT

ALL = ("SEG", "PM", "SR", "SC", "KOS", "GSPS", "PDF", "LABELMAP")
IMAGES = ("SEG", "PM", "SC", "LABELMAP")
FRAMES = ("SEG", "PM", "LABELMAP")
TREES = ("SR", "KOS")
_SEG, _PM, _SR, _SC = ("SEG",), ("PM",), ("SR",), ("SC",)
_KOS, _GSPS, _PDF, _MAP = ("KOS",), ("GSPS",), ("PDF",), ("LABELMAP",)
_SEGS = ("SEG", "LABELMAP")
_NUMBERED = (*FRAMES, *TREES, "PDF")
_EVIDENCE = "CurrentRequestedProcedureEvidenceSequence"
_LISTED = f"{_EVIDENCE}.ReferencedSeriesSequence.ReferencedSOPSequence"
#: Hierarchical SOP instance reference macro: PS3.3 Table C.17-3.
_HIERARCHY = (
    ".StudyInstanceUID",
    ".ReferencedSeriesSequence",
    ".ReferencedSeriesSequence.SeriesInstanceUID",
    ".ReferencedSeriesSequence.ReferencedSOPSequence",
    ".ReferencedSeriesSequence.ReferencedSOPSequence.ReferencedSOPClassUID",
    ".ReferencedSeriesSequence.ReferencedSOPSequence.ReferencedSOPInstanceUID",
)
_GROUPS = "PerFrameFunctionalGroupsSequence"
_SHARED = "SharedFunctionalGroupsSequence"
_MAPPING = f"{_SHARED}.RealWorldValueMappingSequence"
_DERIVED = "DerivationImageSequence"
_AREA = "DisplayedAreaSelectionSequence"
_DRAWN = "GraphicAnnotationSequence"
_GRAPHIC = f"{_DRAWN}.GraphicObjectSequence"
_ALGORITHM = "SegmentSequence.SegmentationAlgorithmIdentificationSequence"

Row = tuple[str, str, tuple[str, ...], str, tuple[str, ...]]

TABLE: tuple[Row, ...] = (
    # Patient and study.
    ("PatientName", "2", ALL, "C.7.1.1", ()),
    ("PatientID", "2", ALL, "C.7.1.1", ()),
    ("PatientBirthDate", "2", ALL, "C.7.1.1", ()),
    ("PatientSex", "2", ALL, "C.7.1.1", ()),
    ("StudyInstanceUID", "1", ALL, "C.7.2.1", ()),
    ("StudyDate", "2", ALL, "C.7.2.1", ()),
    ("StudyTime", "2", ALL, "C.7.2.1", ()),
    ("ReferringPhysicianName", "2", ALL, "C.7.2.1", ()),
    ("StudyID", "2", ALL, "C.7.2.1", ()),
    ("AccessionNumber", "2", ALL, "C.7.2.1", ()),
    # Series and instance.
    ("Modality", "1", ALL, "C.7.3.1", ()),
    ("Modality", "1", _SEGS, "C.8.20.1", ("SEG",)),
    ("Modality", "1", _SR, "C.17.1", ("SR",)),
    ("Modality", "1", _KOS, "C.17.6.1", ("KO",)),
    ("Modality", "1", _GSPS, "C.11.9", ("PR",)),
    ("SeriesInstanceUID", "1", ALL, "C.7.3.1", ()),
    ("SeriesNumber", "1", _NUMBERED, "C.8.20.1, C.8.32.1, C.17.1, C.17.6.1, C.24.1", ()),
    ("SeriesNumber", "2", ("SC", "GSPS"), "C.7.3.1", ()),
    ("SOPClassUID", "1", ALL, "C.12.1", ()),
    ("SOPInstanceUID", "1", ALL, "C.12.1", ()),
    ("InstanceNumber", "1", _NUMBERED, "C.8.20.2, C.8.32.2, C.17.2, C.17.6.2, C.24.2", ()),
    ("InstanceNumber", "1", _GSPS, "Table 10-12", ()),
    ("InstanceNumber", "2", _SC, "C.7.6.1", ()),
    ("ContentDate", "1", (*FRAMES, *TREES), "C.7.6.16, C.17.2, C.17.6.2", ()),
    ("ContentTime", "1", (*FRAMES, *TREES), "C.7.6.16, C.17.2, C.17.6.2", ()),
    ("ContentDate", "2", _PDF, "C.24.2", ()),
    ("ContentTime", "2", _PDF, "C.24.2", ()),
    # Equipment.
    ("Manufacturer", "1", FRAMES, "C.7.5.2", ()),
    ("ManufacturerModelName", "1", FRAMES, "C.7.5.2", ()),
    ("DeviceSerialNumber", "1", FRAMES, "C.7.5.2", ()),
    ("SoftwareVersions", "1", FRAMES, "C.7.5.2", ()),
    ("Manufacturer", "2", ("SR", "SC", "KOS", "GSPS", "PDF"), "C.7.5.1", ()),
    ("ContributingEquipmentSequence", "1", ALL, "AIR", ()),
    ("ContributingEquipmentSequence.PurposeOfReferenceCodeSequence", "1", ALL, "AIR", ()),
    ("ContributingEquipmentSequence.PurposeOfReferenceCodeSequence.CodeValue", "1", ALL, "AIR", ("109102",)),
    ("ContributingEquipmentSequence.Manufacturer", "1", ALL, "AIR", ()),
    ("ContributingEquipmentSequence.ManufacturerModelName", "1", ALL, "AIR", ()),
    ("ContributingEquipmentSequence.SoftwareVersions", "1", ALL, "AIR", ()),
    ("ContributingEquipmentSequence.DeviceUID", "1", ALL, "AIR", ()),
    # Pixels.
    ("ImageType", "1", _PM, "C.8.32.2", ()),
    ("ImageType", "1", _SC, HABIT, ()),
    ("ImageType", "1", _SEGS, "C.8.20.2", ("DERIVED\\PRIMARY",)),
    ("SamplesPerPixel", "1", FRAMES, "C.8.20.2, C.8.32.2", ("1",)),
    ("SamplesPerPixel", "1", _SC, "C.7.6.3", ("1", "3")),
    ("PhotometricInterpretation", "1", ("SEG", "PM"), "C.8.20.2, C.8.32.2", ("MONOCHROME2",)),
    ("PhotometricInterpretation", "1", _MAP, "C.8.20.2", ("MONOCHROME2", "PALETTE COLOR")),
    ("PhotometricInterpretation", "1", _SC, "C.7.6.3", ()),
    ("Rows", "1", IMAGES, "C.7.6.3", ()),
    ("Columns", "1", IMAGES, "C.7.6.3", ()),
    ("BitsAllocated", "1", _SEG, "C.8.20.2", ("1", "8", "16")),
    ("BitsAllocated", "1", _MAP, "C.8.20.2", ("8", "16")),
    ("BitsAllocated", "1", _PM, "C.8.32.2", ("16", "32", "64")),
    ("BitsAllocated", "1", _SC, "C.7.6.3", ()),
    ("BitsAllocated", "1", _SC, HABIT, ("8", "16")),
    ("BitsStored", "1", IMAGES, "C.7.6.3", ()),
    ("HighBit", "1", IMAGES, "C.7.6.3", ()),
    ("PixelRepresentation", "1", FRAMES, "C.8.20.2, C.8.32.2", ("0",)),
    ("PixelRepresentation", "1", _SC, "C.7.6.3", ("0", "1")),
    ("PixelRepresentation", "1", _SC, HABIT, ("0",)),
    ("PixelData", "1", IMAGES, "C.7.6.3", ()),
    ("LossyImageCompression", "1", FRAMES, "C.8.20.2, C.8.32.2", ("00", "01")),
    ("LossyImageCompression", "3", _SC, "C.7.6.1", ("00", "01")),
    ("PatientOrientation", "2", _SC, "C.7.6.1", ()),
    ("BurnedInAnnotation", "1", _PM, "C.8.32.2", ("NO",)),
    ("BurnedInAnnotation", "3", _SC, "C.7.6.1", ("YES", "NO")),
    ("BurnedInAnnotation", "1", _SC, HABIT, ()),
    ("ConversionType", "1", _SC, "C.8.6.1", ("DV", "DI", "DF", "WSD", "SD", "SI", "DRW", "SYN")),
    ("SourceImageSequence", "1", _SC, HABIT, ()),
    ("SourceImageSequence.ReferencedSOPClassUID", "1", _SC, "Table 10-11", ()),
    ("SourceImageSequence.ReferencedSOPInstanceUID", "1", _SC, "Table 10-11", ()),
    # Several frames.
    ("NumberOfFrames", "1", FRAMES, "C.7.6.16", ()),
    (_SHARED, "1", FRAMES, "C.7.6.16", ()),
    (_GROUPS, "1", FRAMES, "C.7.6.16", ()),
    (f"{_GROUPS}.FrameContentSequence", "1", FRAMES, "C.7.6.16.2.2", ()),
    (f"{_GROUPS}.FrameContentSequence.DimensionIndexValues", "1", FRAMES, "C.7.6.16.2.2", ()),
    ("DimensionOrganizationSequence", "1", FRAMES, "C.7.6.17", ()),
    ("DimensionOrganizationSequence.DimensionOrganizationUID", "1", FRAMES, "C.7.6.17", ()),
    ("DimensionIndexSequence", "1", FRAMES, "C.7.6.17", ()),
    ("DimensionIndexSequence.DimensionIndexPointer", "1", FRAMES, "C.7.6.17", ()),
    ("DimensionIndexSequence.FunctionalGroupPointer", "1", FRAMES, "C.7.6.17", ()),
    ("DimensionIndexSequence.DimensionOrganizationUID", "1", FRAMES, "C.7.6.17", ()),
    ("ReferencedSeriesSequence", "1", FRAMES, "C.12.2", ()),
    ("ReferencedSeriesSequence.SeriesInstanceUID", "1", FRAMES, "C.12.2", ()),
    ("ReferencedSeriesSequence.ReferencedInstanceSequence", "1", FRAMES, "C.12.2", ()),
    ("ReferencedSeriesSequence.ReferencedInstanceSequence.ReferencedSOPClassUID", "1", FRAMES, "Table 10-11", ()),
    ("ReferencedSeriesSequence.ReferencedInstanceSequence.ReferencedSOPInstanceUID", "1", FRAMES, "Table 10-11", ()),
    ("ContentLabel", "1", (*FRAMES, "GSPS"), "Table 10-12", ()),
    ("ContentDescription", "2", (*FRAMES, "GSPS"), "Table 10-12", ()),
    ("ContentCreatorName", "2", (*FRAMES, "GSPS"), "Table 10-12", ()),
    *(
        (f"{group}.{_DERIVED}{path}", kind, kinds, "C.7.6.16.2.6" if path else HABIT, values)
        for group, kinds in ((_GROUPS, _SEGS), (_SHARED, _PM))
        for path, kind, values in (
            ("", "1", ()),
            (".DerivationCodeSequence", "1", ()),
            (".SourceImageSequence", "1", ()),
            (".SourceImageSequence.ReferencedSOPClassUID", "1", ()),
            (".SourceImageSequence.ReferencedSOPInstanceUID", "1", ()),
            (".SourceImageSequence.PurposeOfReferenceCodeSequence", "1", ()),
        )
    ),
    # Segmentation.
    ("SegmentationType", "1", _SEG, "C.8.20.2", ("BINARY", "FRACTIONAL")),
    ("SegmentationType", "1", _MAP, "C.8.20.2", ("LABELMAP",)),
    ("SegmentsOverlap", "3", _MAP, "C.8.20.2", ("NO",)),
    ("SegmentsOverlap", "3", _SEG, "C.8.20.2", ("YES", "NO", "UNDEFINED")),
    ("SegmentSequence", "1", _SEGS, "C.8.20.2", ()),
    ("SegmentSequence.SegmentNumber", "1", _SEGS, "C.8.20.4", ()),
    ("SegmentSequence.SegmentLabel", "1", _SEGS, "C.8.20.4", ()),
    ("SegmentSequence.SegmentAlgorithmType", "1", _SEGS, "C.8.20.4", ("AUTOMATIC", "SEMIAUTOMATIC", "MANUAL")),
    ("SegmentSequence.SegmentedPropertyCategoryCodeSequence", "1", _SEGS, "C.8.20.4", ()),
    ("SegmentSequence.SegmentedPropertyTypeCodeSequence", "1", _SEGS, "C.8.20.4", ()),
    ("SegmentSequence.TrackingID", "1", _SEG, HABIT, ()),
    ("SegmentSequence.TrackingUID", "1", _SEG, HABIT, ()),
    (f"{_ALGORITHM}.AlgorithmFamilyCodeSequence", "1", _SEGS, "Table 10-19", ()),
    (f"{_ALGORITHM}.AlgorithmName", "1", _SEGS, "Table 10-19", ()),
    (f"{_ALGORITHM}.AlgorithmVersion", "1", _SEGS, "Table 10-19", ()),
    (f"{_ALGORITHM}.AlgorithmSource", "1", _SEGS, "AIR", ()),
    (f"{_GROUPS}.SegmentIdentificationSequence", "1", _SEG, "C.8.20.3.1", ()),
    (f"{_GROUPS}.SegmentIdentificationSequence.ReferencedSegmentNumber", "1", _SEG, "C.8.20.3.1", ()),
    # Parametric map.
    ("ContentQualification", "1", _PM, "C.8.32.2", ("PRODUCT", "RESEARCH", "SERVICE")),
    ("RecognizableVisualFeatures", "1", _PM, "C.8.32.2", ("YES", "NO")),
    ("PresentationLUTShape", "1", _PM, "C.8.32.2", ("IDENTITY",)),
    ("FrameOfReferenceUID", "1", _PM, "C.7.4.1", ()),
    ("PositionReferenceIndicator", "2", _PM, "C.7.4.1", ()),
    ("AcquisitionContextSequence", "2", _PM, "C.7.6.14", ()),
    (f"{_SHARED}.PixelMeasuresSequence", "1", _PM, "C.7.6.16.2.1", ()),
    (f"{_GROUPS}.PlanePositionSequence", "1", _PM, "C.7.6.16.2.3", ()),
    (f"{_GROUPS}.PlanePositionSequence.ImagePositionPatient", "1", _PM, "C.7.6.16.2.3", ()),
    (f"{_SHARED}.PlaneOrientationSequence", "1", _PM, "C.7.6.16.2.4", ()),
    (f"{_SHARED}.PlaneOrientationSequence.ImageOrientationPatient", "1", _PM, "C.7.6.16.2.4", ()),
    (f"{_SHARED}.ParametricMapFrameTypeSequence", "1", _PM, "C.8.32.3.1", ()),
    (f"{_SHARED}.ParametricMapFrameTypeSequence.FrameType", "1", _PM, "C.8.32.3.1", ()),
    (f"{_SHARED}.PixelValueTransformationSequence", "1", _PM, "C.7.6.16.2.9", ()),
    (f"{_SHARED}.PixelValueTransformationSequence.RescaleIntercept", "1", _PM, "C.7.6.16.2.9", ()),
    (f"{_SHARED}.PixelValueTransformationSequence.RescaleSlope", "1", _PM, "C.7.6.16.2.9", ()),
    (f"{_SHARED}.PixelValueTransformationSequence.RescaleType", "1", _PM, "C.7.6.16.2.9", ()),
    (_MAPPING, "1", _PM, "C.7.6.16.2.11", ()),
    (f"{_MAPPING}.RealWorldValueFirstValueMapped", "1", _PM, "C.7.6.16.2.11", ()),
    (f"{_MAPPING}.RealWorldValueLastValueMapped", "1", _PM, "C.7.6.16.2.11", ()),
    (f"{_MAPPING}.RealWorldValueIntercept", "1", _PM, "C.7.6.16.2.11", ()),
    (f"{_MAPPING}.RealWorldValueSlope", "1", _PM, "C.7.6.16.2.11", ()),
    (f"{_MAPPING}.LUTExplanation", "1", _PM, "C.7.6.16.2.11", ()),
    (f"{_MAPPING}.LUTLabel", "1", _PM, "C.7.6.16.2.11", ()),
    (f"{_MAPPING}.MeasurementUnitsCodeSequence", "1", _PM, "C.7.6.16.2.11", ()),
    (f"{_MAPPING}.QuantityDefinitionSequence", "1", _PM, "AIR", ()),
    (f"{_MAPPING}.QuantityDefinitionSequence.ValueType", "1", _PM, "Table 10-2", ("CODE", "NUMERIC", "TEXT")),
    (f"{_MAPPING}.QuantityDefinitionSequence.ConceptNameCodeSequence", "1", _PM, "Table 10-2", ()),
    (f"{_SHARED}.FrameVOILUTSequence.WindowCenter", "1", _PM, "C.7.6.16.2.10", ()),
    (f"{_SHARED}.FrameVOILUTSequence.WindowWidth", "1", _PM, "C.7.6.16.2.10", ()),
    # Structured report.
    ("CompletionFlag", "1", _SR, "C.17.2", ("COMPLETE", "PARTIAL")),
    ("VerificationFlag", "1", _SR, "C.17.2", ("UNVERIFIED", "VERIFIED")),
    ("PreliminaryFlag", "3", _SR, "C.17.2", ("PRELIMINARY", "FINAL")),
    ("PreliminaryFlag", "1", _SR, HABIT, ()),
    ("ReferencedPerformedProcedureStepSequence", "2", TREES, "C.17.1", ()),
    ("PerformedProcedureCodeSequence", "2", _SR, "C.17.2", ()),
    (f"{_EVIDENCE}.StudyInstanceUID", "1", TREES, "Table C.17-3a", ()),
    (f"{_EVIDENCE}.ReferencedSeriesSequence", "1", TREES, "Table C.17-3a", ()),
    (f"{_EVIDENCE}.ReferencedSeriesSequence.SeriesInstanceUID", "1", TREES, "Table C.17-3a", ()),
    (_LISTED, "1", TREES, "Table C.17-3a", ()),
    (f"{_LISTED}.ReferencedSOPClassUID", "1", TREES, "Table 10-11", ()),
    (f"{_LISTED}.ReferencedSOPInstanceUID", "1", TREES, "Table 10-11", ()),
    *((f"PertinentOtherEvidenceSequence{path}", "1", TREES, "Table C.17-3a", ()) for path in _HIERARCHY),
    ("ReferencedRequestSequence.StudyInstanceUID", "1", TREES, "C.17.2", ()),
    ("ReferencedRequestSequence.ReferencedStudySequence", "2", TREES, "C.17.2", ()),
    ("ReferencedRequestSequence.AccessionNumber", "2", TREES, "C.17.2", ()),
    ("ReferencedRequestSequence.PlacerOrderNumberImagingServiceRequest", "2", TREES, "C.17.2", ()),
    ("ReferencedRequestSequence.FillerOrderNumberImagingServiceRequest", "2", TREES, "C.17.2", ()),
    ("ReferencedRequestSequence.RequestedProcedureID", "2", TREES, "C.17.2", ()),
    ("ReferencedRequestSequence.RequestedProcedureDescription", "2", TREES, "C.17.2", ()),
    ("ReferencedRequestSequence.RequestedProcedureCodeSequence", "2", TREES, "C.17.2", ()),
    *((f"PredecessorDocumentsSequence{path}", "1", ("SR", "PDF"), "C.17.2, C.24.2", ()) for path in _HIERARCHY),
    ("ContentTemplateSequence", "1", _SR, "AIR", ()),
    ("ContentTemplateSequence", "1", _KOS, "C.18.8", ()),
    ("ContentTemplateSequence.MappingResource", "1", TREES, "C.18.8", ("DCMR",)),
    ("ContentTemplateSequence.TemplateIdentifier", "1", _SR, "AIR", ("1500",)),
    ("ContentTemplateSequence.TemplateIdentifier", "1", _KOS, "C.17.6.2", ("2010",)),
    ("ValueType", "1", TREES, "C.17.3", ("CONTAINER",)),
    ("ConceptNameCodeSequence", "1", TREES, "C.17.3", ()),
    ("ContinuityOfContent", "1", TREES, "C.18.8", ("SEPARATE", "CONTINUOUS")),
    ("ContentSequence", "1", TREES, "C.17.3", ()),
    # Key object selection.
    (_EVIDENCE, "1", _KOS, "C.17.6.2", ()),
    # Presentation state.
    ("PresentationCreationDate", "1", _GSPS, "C.11.10", ()),
    ("PresentationCreationTime", "1", _GSPS, "C.11.10", ()),
    ("ReferencedSeriesSequence", "1", _GSPS, "C.11.11", ()),
    ("ReferencedSeriesSequence.SeriesInstanceUID", "1", _GSPS, "C.11.11", ()),
    ("ReferencedSeriesSequence.ReferencedImageSequence", "1", _GSPS, "C.11.11", ()),
    ("ReferencedSeriesSequence.ReferencedImageSequence.ReferencedSOPClassUID", "1", _GSPS, "Table 10-11", ()),
    ("ReferencedSeriesSequence.ReferencedImageSequence.ReferencedSOPInstanceUID", "1", _GSPS, "Table 10-11", ()),
    (_AREA, "1", _GSPS, "C.10.4", ()),
    (f"{_AREA}.DisplayedAreaTopLeftHandCorner", "1", _GSPS, "C.10.4", ()),
    (f"{_AREA}.DisplayedAreaBottomRightHandCorner", "1", _GSPS, "C.10.4", ()),
    (f"{_AREA}.PresentationSizeMode", "1", _GSPS, "C.10.4", ("SCALE TO FIT", "TRUE SIZE", "MAGNIFY")),
    (f"{_DRAWN}.GraphicLayer", "1", _GSPS, "C.10.5", ()),
    (f"{_DRAWN}.TextObjectSequence.UnformattedTextValue", "1", _GSPS, "C.10.5", ()),
    (f"{_DRAWN}.TextObjectSequence.BoundingBoxAnnotationUnits", "3", _GSPS, "C.10.5", ("PIXEL", "DISPLAY", "MATRIX")),
    (f"{_DRAWN}.TextObjectSequence.AnchorPointAnnotationUnits", "3", _GSPS, "C.10.5", ("PIXEL", "DISPLAY", "MATRIX")),
    (f"{_DRAWN}.TextObjectSequence.AnchorPointVisibility", "3", _GSPS, "C.10.5", ("Y", "N")),
    (f"{_GRAPHIC}.GraphicAnnotationUnits", "1", _GSPS, "C.10.5", ("PIXEL", "DISPLAY", "MATRIX")),
    (f"{_GRAPHIC}.GraphicDimensions", "1", _GSPS, "C.10.5", ("2",)),
    (f"{_GRAPHIC}.NumberOfGraphicPoints", "1", _GSPS, "C.10.5", ()),
    (f"{_GRAPHIC}.GraphicData", "1", _GSPS, "C.10.5", ()),
    (f"{_GRAPHIC}.GraphicType", "1", _GSPS, "C.10.5", ("POINT", "POLYLINE", "INTERPOLATED", "CIRCLE", "ELLIPSE")),
    (f"{_GRAPHIC}.GraphicFilled", "3", _GSPS, "C.10.5", ("Y", "N")),
    ("GraphicLayerSequence.GraphicLayer", "1", _GSPS, "C.10.7", ()),
    ("GraphicLayerSequence.GraphicLayerOrder", "1", _GSPS, "C.10.7", ()),
    ("PresentationLUTShape", "3", _GSPS, "C.11.6", ("IDENTITY", "INVERSE")),
    # Encapsulated PDF.
    ("ConversionType", "1", _PDF, "C.8.6.1", ("DV", "DI", "DF", "WSD", "SD", "SI", "DRW", "SYN")),
    ("AcquisitionDateTime", "2", _PDF, "C.24.2", ()),
    ("BurnedInAnnotation", "1", _PDF, "C.24.2", ("YES", "NO")),
    ("SourceInstanceSequence.ReferencedSOPClassUID", "1", _PDF, "Table 10-11", ()),
    ("SourceInstanceSequence.ReferencedSOPInstanceUID", "1", _PDF, "Table 10-11", ()),
    ("SourceInstanceSequence.PurposeOfReferenceCodeSequence", "1", _PDF, "C.24.2", ()),
    ("DocumentTitle", "2", _PDF, "C.24.2", ()),
    ("ConceptNameCodeSequence", "2", _PDF, "C.24.2", ()),
    ("VerificationFlag", "3", _PDF, "C.24.2", ("UNVERIFIED", "VERIFIED")),
    ("MIMETypeOfEncapsulatedDocument", "1", _PDF, "C.24.2", ("application/pdf",)),
    ("EncapsulatedDocument", "1", _PDF, "C.24.2", ()),
    ("CodingSchemeIdentificationSequence.CodingSchemeDesignator", "1", ALL, "C.12.1", ()),
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One row, with its path as tags."""

    path: str
    tags: tuple[int, ...]
    type: str  # "1", "2" or "3"
    clause: str
    values: tuple[str, ...]  # allowed values; () for any


def _rules(kind: str) -> tuple[Rule, ...]:
    made = []
    for path, type_, kinds, clause, values in TABLE:
        if kind in kinds:
            tags = tuple(entry_of(keyword)[0] for keyword in path.split("."))
            made.append(Rule(path, tags, type_, clause if clause in ("AIR", HABIT) else f"PS3.3 {clause}", values))
    return tuple(made)


#: The rules of each kind of document.
RULES: dict[str, tuple[Rule, ...]] = {kind: _rules(kind) for kind in ALL}
