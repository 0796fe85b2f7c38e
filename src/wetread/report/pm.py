"""The parametric map: where a classifier looked, on the grid of the film or of the slice that it is about.

References
----------
DICOM PS3.3 Sections A.75, C.8.32 (parametric map), C.7.6.16.2.11 (real world value
mapping), PS3.16 CID 7180.
"""

from __future__ import annotations

from wetread.records import FULL_SCALE, Code, Explanation
from wetread.report import codes
from wetread.report.codes import coded
from wetread.report.context import Context, beginning, body_part, image_pixel, labelled
from wetread.report.elements import Item, item
from wetread.report.equipment import algorithm
from wetread.report.planes import derivation, direction, pixel_measures, place, position, referenced_series
from wetread.uids import derive

_IN_STACK_POSITION = (0x00209057,)
_FRAME_CONTENT = (0x00209111,)
_FRAME_TYPE = "DERIVED\\PRIMARY\\STATIC\\NONE"


def _text(name: Code, value: str) -> Item:
    return item(ValueType="TEXT", ConceptNameCodeSequence=coded(name), TextValue=value)


def _real_world(explanation: Explanation) -> Item:
    named = algorithm(explanation.model)
    return item(
        RealWorldValueMappingSequence=item(
            LUTExplanation=f"Saliency by {explanation.method}"[:64],
            LUTLabel="SALIENCY",
            RealWorldValueFirstValueMapped=0,
            RealWorldValueLastValueMapped=FULL_SCALE,
            RealWorldValueIntercept=0.0,
            RealWorldValueSlope=1.0 / FULL_SCALE,
            MeasurementUnitsCodeSequence=coded(codes.RATIO),
            QuantityDefinitionSequence=[
                item(
                    ValueType="CODE",
                    ConceptNameCodeSequence=coded(codes.QUANTITY),
                    ConceptCodeSequence=coded(codes.VISUAL_EXPLANATION),
                ),
                item(
                    ValueType="CODE",
                    ConceptNameCodeSequence=coded(codes.FINDING),
                    ConceptCodeSequence=coded(explanation.finding),
                ),
                _text(codes.ALGORITHM_NAME, named.name),
                _text(codes.ALGORITHM_VERSION, named.version),
            ],
        )
    )


def _groups(context: Context, explanation: Explanation) -> Item:
    """Make the functional groups that the one frame has, as shared ones."""
    groups = pixel_measures(context) or item(PixelMeasuresSequence=[{}])
    groups |= _real_world(explanation) | direction(context)
    groups |= derivation(context, codes.IMAGE_PROCESSING, codes.IMAGE_PROCESSING_SOURCE, explanation.slice)
    return groups | item(
        ParametricMapFrameTypeSequence=item(FrameType=_FRAME_TYPE),
        PixelValueTransformationSequence=item(RescaleIntercept="0", RescaleSlope="1", RescaleType="US"),
        FrameVOILUTSequence=item(WindowCenter="32768", WindowWidth="65536"),
    )


def dataset(context: Context, explanation: Explanation) -> Item:
    """Make the parametric map of one explanation."""
    rows, columns = explanation.map.shape
    dimension = derive(context.fingerprint, "PM", "dimension")
    made = beginning(context, "PM") | body_part(context.source, sided=True) | context.source.lossy
    made |= place(context) | referenced_series(context) | image_pixel(rows, columns, 16)
    made |= labelled("SALIENCY", "Where a classifier looked; not a medical device")
    return made | item(
        ImageType=_FRAME_TYPE,
        ContentQualification="RESEARCH",
        BurnedInAnnotation="NO",
        RecognizableVisualFeatures="NO",
        PresentationLUTShape="IDENTITY",
        NumberOfFrames="1",
        AcquisitionContextSequence=[],
        DimensionOrganizationSequence=item(DimensionOrganizationUID=dimension),
        DimensionIndexSequence=item(
            DimensionOrganizationUID=dimension,
            DimensionIndexPointer=_IN_STACK_POSITION,
            FunctionalGroupPointer=_FRAME_CONTENT,
            DimensionDescriptionLabel="In-Stack Position",
        ),
        SharedFunctionalGroupsSequence=_groups(context, explanation),
        PerFrameFunctionalGroupsSequence=item(
            FrameContentSequence=item(DimensionIndexValues=1, StackID="1", InStackPositionNumber=1)
        )
        | position(context, explanation.slice),
        PixelData=explanation.map,
    )
