"""The structured report: findings, measurements and what they rest on, as TID 1500.

References
----------
DICOM PS3.3 Sections A.35.13 (Comprehensive 3D SR), C.17 (SR modules); PS3.16
TID 1500 (imaging measurement report), TID 1204 (language), TID 1001 to 1004
(observer), TID 1600 to 1602 (image library), TID 1411 and 1501 (measurement
groups), TID 300 (measurement), TID 4019 (algorithm identification).
"""

from __future__ import annotations

from pydicom import uid

from wetread.records import Code, Explanation, Finding, Followed, Measurement, Prior, Refusal, Region, Unread
from wetread.report import codes, previous
from wetread.report.codes import coded
from wetread.report.context import (
    KINDS,
    Context,
    beginning,
    explained,
    instance_uid,
    left_out,
    place_of,
    reference,
)
from wetread.report.elements import Item, entry_of, get, item, walk
from wetread.report.equipment import Algorithm, algorithm, contributors, serial_number
from wetread.report.planes import source_reference, source_references
from wetread.report.revision import predecessors
from wetread.report.words import decimal, omitted, percent, reduction
from wetread.uids import derive

_DESIGNATOR = entry_of("CodingSchemeDesignator")[0]
#: Images whose class is not called "Image Storage".
_IMAGES = frozenset(
    (
        uid.SegmentationStorage,
        KINDS["LABELMAP"].sop_class_uid,
        uid.EnhancedUSVolumeStorage,
        uid.ParametricMapStorage,
        uid.OphthalmicThicknessMapStorage,
        uid.CornealTopographyMapStorage,
    )
)


def _node(relation: str, kind: str, name: Code | None, **value: object) -> Item:
    made = item(RelationshipType=relation, ValueType=kind, **value)
    return made | item(ConceptNameCodeSequence=coded(name)) if name is not None else made


def _code(relation: str, name: Code, value: Code | Item) -> Item:
    return _node(relation, "CODE", name, ConceptCodeSequence=coded(value) if isinstance(value, Code) else value)


def _text(relation: str, name: Code, value: str) -> Item:
    return _node(relation, "TEXT", name, TextValue=value)


def _number(name: Code, value: str, unit: Code, relation: str = "CONTAINS", **more: object) -> Item:
    measured = item(NumericValue=value, MeasurementUnitsCodeSequence=coded(unit))
    return _node(relation, "NUM", name, MeasuredValueSequence=measured, **more)


def _container(name: Code, children: list[Item], template: str = "") -> Item:
    made = _node("CONTAINS", "CONTAINER", name, ContinuityOfContent="SEPARATE")
    if template:
        made |= _template(template)
    return made | item(ContentSequence=children) if children else made


def _template(identifier: str) -> Item:
    return item(ContentTemplateSequence=item(MappingResource="DCMR", TemplateIdentifier=identifier))


def observer(one: Algorithm, serial: str) -> list[Item]:
    """Say which algorithm observed: TID 1002 and 1004."""
    context = "HAS OBS CONTEXT"
    return [
        _code(context, codes.OBSERVER_TYPE, codes.DEVICE),
        _node(context, "UIDREF", codes.DEVICE_UID, UID=one.device_uid),
        _text(context, codes.DEVICE_NAME, one.name),
        _text(context, codes.DEVICE_MANUFACTURER, one.manufacturer),
        _text(context, codes.DEVICE_MODEL, one.name),
        _text(context, codes.DEVICE_SERIAL, serial),
    ]


def _algorithm(one: Algorithm, *parameters: str) -> list[Item]:
    """Name the algorithm of a group: TID 4019."""
    relation = "HAS CONCEPT MOD"
    return [
        _code(relation, codes.ALGORITHM_FAMILY, one.family),
        _text(relation, codes.ALGORITHM_NAME, one.name),
        _text(relation, codes.ALGORITHM_VERSION, one.version),
        *(_text(relation, codes.ALGORITHM_PARAMETERS, parameter) for parameter in parameters),
    ]


def _decoded(context: Context) -> list[str]:
    """Say it among the parameters of an algorithm if it did not see every pixel."""
    said = reduction(context.result.image)
    return [f"pixels={said}"] if said else []


def procedures(context: Context) -> list[Code | Item]:
    """Give the imaging procedure: the source's own codes, else what modality and body part say."""
    source = context.source
    if source.procedures:
        return list(source.procedures)
    if source.modality in ("CR", "DX") and codes.BODY_PARTS.get(source.body_part) == codes.BODY_PARTS["CHEST"]:
        return [codes.CHEST_XRAY]
    return [codes.MODALITIES[source.modality][1] if source.modality in codes.MODALITIES else codes.IMAGING]


def _kind(sop_class_uid: str) -> str:
    """Return the value type that may refer to instances of a class: PS3.3 Table C.17.3-7."""
    name = uid.UID(sop_class_uid).name
    if "Image Storage" in name or sop_class_uid in _IMAGES:
        return "IMAGE"
    return "WAVEFORM" if "Waveform Storage" in name else "COMPOSITE"


def _library(context: Context) -> Item:
    """List the images that were read: TID 1600."""
    source, image = context.source, context.result.image
    children = []
    if source.modality in codes.MODALITIES:
        children.append(_code("HAS ACQ CONTEXT", codes.MODALITY, codes.MODALITIES[source.modality][0]))
    if source.body_part in codes.BODY_PARTS:
        children.append(_code("HAS ACQ CONTEXT", codes.TARGET_REGION, codes.BODY_PARTS[source.body_part]))
    entries = [_node("CONTAINS", "IMAGE", None, ReferencedSOPSequence=one) for one in source_references(context)]
    if image is not None:
        _, rows, columns = image.pixels.shape
        size = [
            _number(codes.PIXEL_ROWS, str(rows), codes.PIXELS, "HAS ACQ CONTEXT"),
            _number(codes.PIXEL_COLUMNS, str(columns), codes.PIXELS, "HAS ACQ CONTEXT"),
        ]
        # What all instances share stands once, at their group.
        if len(entries) > 1:
            children += size
        else:
            entries[0] |= item(ContentSequence=size)
    return _container(codes.IMAGE_LIBRARY, [_container(codes.IMAGE_LIBRARY_GROUP, [*children, *entries])])


def _tracking(identifier: str, unique: str) -> list[Item]:
    return [
        _text("HAS OBS CONTEXT", codes.TRACKING_ID, identifier),
        _node("HAS OBS CONTEXT", "UIDREF", codes.TRACKING_UID, UID=unique),
    ]


def _site(site: Code, laterality: Code | None = None) -> Item:
    made = _code("HAS CONCEPT MOD", codes.FINDING_SITE, site)
    if laterality is not None:
        made |= item(ContentSequence=_code("HAS CONCEPT MOD", codes.LATERALITY, laterality))
    return made


def _explained(context: Context, explanation: Explanation) -> list[Item]:
    """Refer to the map of a finding, and say whether it deserves trust."""
    trust = codes.TRUSTED if explanation.trustworthy else codes.NOT_TRUSTED
    made = [
        _code("CONTAINS", codes.TRUST, trust),
        _number(
            codes.INSIDE_SHARE if explanation.organ == "lungs" else codes.INSIDE_BODY,
            percent(explanation.inside_share),
            codes.PERCENT,
        ),
        _text("CONTAINS", codes.COMMENT, explanation.sentence),
    ]
    if (
        explanation is context.result.explanations[0]
        and context.source.referable
        and not left_out(context.result, "PM")
    ):
        map_ = reference(KINDS["PM"].sop_class_uid, instance_uid(context, "PM"))
        made.append(_node("CONTAINS", "IMAGE", codes.VISUAL_EXPLANATION, ReferencedSOPSequence=map_))
    return made


def _finding(context: Context, finding: Finding) -> Item:
    """State one finding, and name the slices of a series that show it by themselves: TID 1501."""
    site = place_of(context, finding)
    children = _tracking(finding.tracking_id, finding.tracking_uid)
    children.append(_code("CONTAINS", codes.FINDING, finding.code))
    children += [_site(site)] if site is not None else []
    children += _algorithm(algorithm(finding.model), f"threshold={decimal(finding.threshold)}", *_decoded(context))
    children.append(_number(codes.PROBABILITY, percent(finding.probability), codes.PERCENT))
    children.append(_number(codes.THRESHOLD, percent(finding.threshold), codes.PERCENT))
    children.append(_code("CONTAINS", finding.code, codes.PRESENT if finding.present else codes.ABSENT))
    if context.source.referable:
        children += [
            _node(
                "CONTAINS",
                "IMAGE",
                codes.SOURCE_OF_MEASUREMENT,
                ReferencedSOPSequence=source_reference(context, slice_),
            )
            for slice_ in finding.slices
        ]
    for explanation in explained(context.result, finding):
        children += _explained(context, explanation)
    return _container(codes.MEASUREMENT_GROUP, children, "1501")


def _measurement(measurement: Measurement, site: Code | None) -> Item:
    made = _number(measurement.code, decimal(measurement.value), measurement.unit)
    if site is not None:
        made |= item(ContentSequence=_site(site, measurement.laterality))
    return made


def _region(context: Context, region: Region, number: int) -> Item:
    """State one region and what was measured in it: TID 1411."""
    site = place_of(context, region)
    segment = reference(KINDS["SEG"].sop_class_uid, instance_uid(context, "SEG")) | item(ReferencedSegmentNumber=number)
    children = _tracking(region.tracking_id, region.tracking_uid)
    children += [
        _code("CONTAINS", codes.FINDING_CATEGORY, region.category),
        _code("CONTAINS", codes.FINDING, region.type),
        _node("CONTAINS", "IMAGE", codes.REFERENCED_SEGMENT, ReferencedSOPSequence=segment),
        _segmented(context),
        *([_site(site, region.laterality)] if site is not None else []),
        *_algorithm(algorithm(region.model), *_decoded(context)),
        *(_measurement(one, site) for one in region.measurements),
    ]
    return _container(codes.MEASUREMENT_GROUP, children, "1411")


def _segmented(context: Context) -> Item:
    """Name what was segmented: the image, or the series if it has several instances."""
    if len(context.source.sop_uids) > 1:
        return _node("CONTAINS", "UIDREF", codes.SOURCE_SERIES_FOR_SEGMENTATION, UID=context.source.series_uid)
    only = source_references(context)
    return _node("CONTAINS", "IMAGE", codes.SOURCE_IMAGE_FOR_SEGMENTATION, ReferencedSOPSequence=only)


def _previous(context: Context) -> list[Item]:
    """State what priors say of what is followed, each group in its time point: TID 1501, TID 1502."""
    groups = [_prior(context, prior, group) for prior in context.result.priors for group in prior.groups]
    return [_container(codes.PREVIOUS_FINDINGS, groups)] if groups else []


def _prior(context: Context, prior: Prior, group: Followed) -> Item:
    children = _tracking(group.tracking_id, group.tracking_uid)
    children += [
        _text("HAS OBS CONTEXT", codes.TIME_POINT, f"Prior study of {previous.day(prior)}"),
        _node("HAS OBS CONTEXT", "DATE", codes.STUDY_DATE, Date=prior.date),
        _node("HAS OBS CONTEXT", "UIDREF", codes.STUDY_UID, UID=prior.study_uid),
        _code("CONTAINS", codes.FINDING, group.finding),
    ]
    for one in group.values:
        children.append(_number(one.code, decimal(one.value), one.unit))
        change = previous.difference(context.result, group, one)
        children += [] if change is None else [_number(codes.DIFFERENCE, decimal(change), one.unit)]
    if group.present is not None:
        children.append(_code("CONTAINS", group.finding, codes.PRESENT if group.present else codes.ABSENT))
    series_uid, *image = prior.images[0]
    if len(prior.images) == 1:
        children.append(
            _node("CONTAINS", "IMAGE", codes.SOURCE_OF_MEASUREMENT, ReferencedSOPSequence=reference(*image))
        )
    else:
        children.append(_node("CONTAINS", "UIDREF", codes.SERIES_UID, UID=series_uid))
    # In words: an algorithm that did not contribute to this report stands in no equipment (AIR).
    children.append(_text("CONTAINS", codes.COMMENT, f"Read by {previous.author(group)}"))
    return _container(codes.MEASUREMENT_GROUP, children, "1501")


def _refused(context: Context, refusal: Refusal) -> Item:
    """State that the image was not read, and why; what is none stands here, as an image library holds images."""
    text = f"NOT READ. {refusal.sentence} {refusal.detail}".strip()
    children = [_code("CONTAINS", codes.READING_STATE, codes.NOT_READ), *_reason("CONTAINS", refusal, text)]
    kind = _kind(context.source.sop_class_uid)
    if context.source.referable and kind != "IMAGE":
        only = source_references(context)
        children += [_node("CONTAINS", kind, codes.NOT_READ_OBJECT, ReferencedSOPSequence=one) for one in only]
    return _container(codes.QUALITATIVE_EVALUATIONS, children)


def _reason(relation: str, refusal: Refusal, text: str) -> list[Item]:
    return [
        _code(relation, codes.NOT_READ_REASON, codes.private(refusal.code, refusal.sentence)),
        _text(relation, codes.COMMENT, text),
    ]


def _unread(unread: Unread) -> list[Item]:
    """State of each thing that a model would have looked for that it is not known, and why.

    The model did not contribute, so it is named in words only (AIR: no algorithm
    identification without its equipment).
    """
    reason = item(ContentSequence=_reason("HAS PROPERTIES", unread.refusal, omitted(unread)))
    return [_code("CONTAINS", about, codes.NOT_READ) | reason for about in unread.about]


def _tree(context: Context) -> list[Item]:
    result = context.result
    children = [_code("HAS CONCEPT MOD", codes.LANGUAGE, codes.ENGLISH)]
    serial = serial_number(result.models)
    for one in contributors(result.models):
        children += observer(one, serial)
    children += [_code("HAS CONCEPT MOD", codes.PROCEDURE_REPORTED, one) for one in procedures(context)]
    if context.source.referable and (result.refusal is None or _kind(context.source.sop_class_uid) == "IMAGE"):
        children.append(_library(context))
    if result.refusal is not None:
        return [*children, _refused(context, result.refusal)]
    groups = [_finding(context, finding) for finding in result.findings]
    if context.source.referable:
        groups += [_region(context, region, number) for number, region in enumerate(result.regions, 1)]
    children.append(_container(codes.IMAGING_MEASUREMENTS, groups))
    children += _previous(context)
    said = [_code("CONTAINS", codes.REDUCED, codes.STEPS[step]) for step in result.reduced]
    said += [node for unread in result.not_read for node in _unread(unread)]
    return [*children, _container(codes.QUALITATIVE_EVALUATIONS, said)] if said else children


def _evidence(context: Context) -> Item:
    """List every instance that the tree refers to (PS3.3 Section C.17.2.3)."""
    source, result = context.source, context.result
    if not source.referable:
        return {}
    series = [item(SeriesInstanceUID=source.series_uid, ReferencedSOPSequence=source_references(context))]
    for kind, used in (("SEG", result.regions), ("PM", result.explanations)):
        if used and result.refusal is None and not left_out(result, kind):
            made = reference(KINDS[kind].sop_class_uid, instance_uid(context, kind))
            series.append(
                item(SeriesInstanceUID=derive(context.fingerprint, kind, "series"), ReferencedSOPSequence=made)
            )
    return item(
        CurrentRequestedProcedureEvidenceSequence=item(
            StudyInstanceUID=source.study_uid, ReferencedSeriesSequence=series
        )
    )


def requests(context: Context) -> Item:
    """Name the requests that the study fulfils, when the source knows any."""
    source = context.source
    if not get(source.modules, "AccessionNumber") and not source.requests:
        return {}
    unknown = item(
        ReferencedStudySequence=[],
        PlacerOrderNumberImagingServiceRequest="",
        FillerOrderNumberImagingServiceRequest="",
        RequestedProcedureCodeSequence=[],
    )
    return item(ReferencedRequestSequence=[item(**told) | unknown for told in source.asked])


def _schemes(tree: list[Item]) -> Item:
    """Identify our own coding scheme and name the other private ones of a tree: of those nobody told us more."""
    used = {value for _, tag, (_, value) in walk(item(ContentSequence=tree)) if tag == _DESIGNATOR}
    others = sorted(scheme for scheme in used - {codes.PRIVATE_SCHEME} if scheme.startswith("99"))
    ours = item(
        CodingSchemeDesignator=codes.PRIVATE_SCHEME,
        CodingSchemeUID=codes.PRIVATE_SCHEME_UID,
        CodingSchemeName="Wetread codes",
        CodingSchemeResponsibleOrganization="Wetread",
    )
    return item(CodingSchemeIdentificationSequence=[ours, *(item(CodingSchemeDesignator=one) for one in others)])


def dataset(context: Context) -> Item:
    """Make the structured report of a result, read or refused.

    The document is complete as to what the algorithms said and did not read, preliminary
    because no person has seen it, and unverified.  Where none read it is partial, with its code.
    """
    made = beginning(context, "SR") | _evidence(context) | requests(context) | _template("1500")
    made |= previous.evidence(context.result.priors)
    made |= predecessors(context, "SR")
    refusal, tree = context.result.refusal, _tree(context)
    made |= _schemes(tree)
    return made | item(
        ReferencedPerformedProcedureStepSequence=[],
        PerformedProcedureCodeSequence=[],
        CompletionFlag="COMPLETE" if refusal is None else "PARTIAL",
        CompletionFlagDescription="AI result; not a medical device" if refusal is None else f"Not read: {refusal.code}",
        VerificationFlag="UNVERIFIED",
        PreliminaryFlag="PRELIMINARY",
        ValueType="CONTAINER",
        ConceptNameCodeSequence=coded(codes.IMAGING_MEASUREMENT_REPORT),
        ContinuityOfContent="SEPARATE",
        ContentSequence=tree,
    )
