"""Judges the content tree of a structured report: TID 1500 and what it rests on.

References
----------
DICOM PS3.3 Sections C.17.3 (content tree), A.35.13.3.1 (relationships of the
Comprehensive 3D SR); PS3.16 TID 1500, 1004, 1411, 1501, 4019; IHE AIR Rev 1.3,
Section 6.5.3.1.
"""

from __future__ import annotations

from collections.abc import Iterator

from wetread.errors import REFUSALS
from wetread.records import Code
from wetread.report import codes
from wetread.report.context import KINDS
from wetread.report.elements import Item, entry_of, get, sequence
from wetread.report.problem import HABIT, Problem

_TID_1500 = "PS3.16 TID 1500"
_GROUP = "PS3.16 TID 1501"
_RELATIONS = {
    "CONTAINS",
    "HAS ACQ CONTEXT",
    "HAS CONCEPT MOD",
    "HAS OBS CONTEXT",
    "HAS PROPERTIES",
    "INFERRED FROM",
    "SELECTED FROM",
}
#: What holds the value of each value type: PS3.3 Table C.17.3-7.
_HOLDERS = {
    "CODE": "ConceptCodeSequence",
    "CONTAINER": "ContinuityOfContent",
    "DATE": "Date",
    "DATETIME": "DateTime",
    "IMAGE": "ReferencedSOPSequence",
    "COMPOSITE": "ReferencedSOPSequence",
    "NUM": "MeasuredValueSequence",
    "PNAME": "PersonName",
    "SCOORD": "GraphicData",
    "SCOORD3D": "GraphicData",
    "TABLE": "TabulatedValuesSequence",
    "TCOORD": "TemporalRangeType",
    "TEXT": "TextValue",
    "TIME": "Time",
    "UIDREF": "UID",
    "WAVEFORM": "ReferencedSOPSequence",
}
#: Value types that need a concept name.
_NAMED = frozenset(("CODE", "DATE", "DATETIME", "NUM", "PNAME", "TEXT", "TIME", "UIDREF"))
#: Relationships that our documents give each concept; another one is an error in the template.
_RELATION_OF = {
    codes.LANGUAGE: "HAS CONCEPT MOD",
    codes.OBSERVER_TYPE: "HAS OBS CONTEXT",
    codes.DEVICE_UID: "HAS OBS CONTEXT",
    codes.DEVICE_NAME: "HAS OBS CONTEXT",
    codes.DEVICE_MANUFACTURER: "HAS OBS CONTEXT",
    codes.DEVICE_MODEL: "HAS OBS CONTEXT",
    codes.DEVICE_SERIAL: "HAS OBS CONTEXT",
    codes.PROCEDURE_REPORTED: "HAS CONCEPT MOD",
    codes.TRACKING_ID: "HAS OBS CONTEXT",
    codes.TRACKING_UID: "HAS OBS CONTEXT",
    codes.FINDING: "CONTAINS",
    codes.FINDING_SITE: "HAS CONCEPT MOD",
    codes.LATERALITY: "HAS CONCEPT MOD",
    codes.ALGORITHM_NAME: "HAS CONCEPT MOD",
    codes.ALGORITHM_VERSION: "HAS CONCEPT MOD",
    codes.IMAGE_LIBRARY: "CONTAINS",
    codes.IMAGING_MEASUREMENTS: "CONTAINS",
    codes.MEASUREMENT_GROUP: "CONTAINS",
    codes.REFERENCED_SEGMENT: "CONTAINS",
    codes.SOURCE_IMAGE_FOR_SEGMENTATION: "CONTAINS",
    codes.SOURCE_SERIES_FOR_SEGMENTATION: "CONTAINS",
    codes.SOURCE_OF_MEASUREMENT: "CONTAINS",
    codes.VISUAL_EXPLANATION: "CONTAINS",
    codes.PREVIOUS_FINDINGS: "CONTAINS",
    codes.TIME_POINT: "HAS OBS CONTEXT",
    codes.STUDY_DATE: "HAS OBS CONTEXT",
    codes.STUDY_UID: "HAS OBS CONTEXT",
    codes.SERIES_UID: "CONTAINS",
    codes.DIFFERENCE: "CONTAINS",
}
#: Concepts that sound reports of others (dcmqi) give another relationship.
_EITHER_WAY = {(code.scheme, code.value) for code in (codes.TIME_POINT, codes.STUDY_DATE)}
_RELATIONS_BY_CODE = {(code.scheme, code.value): relation for code, relation in _RELATION_OF.items()}
#: Classes that a segment may be of.
_SEGMENTED = (KINDS["SEG"].sop_class_uid, KINDS["LABELMAP"].sop_class_uid)
_SCHEME = entry_of("CodingSchemeDesignator")[0]
#: One of them holds the value, by its length and kind: PS3.3 Table 8.8-1.
_CODE_VALUE, _LONG_CODE_VALUE, _URN_CODE_VALUE = (
    entry_of(keyword)[0] for keyword in ("CodeValue", "LongCodeValue", "URNCodeValue")
)
Key = tuple[str, str]


def key(code: Code) -> Key:
    """Give scheme and value of a concept."""
    return code.scheme, code.value


def key_of(node: Item, keyword: str = "ConceptNameCodeSequence") -> Key:
    """Give scheme and value of a code sequence; empty texts when there is none."""
    found = sequence(node, keyword)
    if not found:
        return "", ""
    code, scheme = found[0], found[0].get(_SCHEME)
    value = code.get(_CODE_VALUE) or code.get(_LONG_CODE_VALUE) or code.get(_URN_CODE_VALUE)
    return "" if scheme is None else scheme[1], "" if value is None else value[1]


def named(nodes: list[Item], concept: Code) -> list[Item]:
    """Find the nodes with a concept name."""
    wanted = key(concept)
    return [node for node in nodes if key_of(node) == wanted]


def walk_nodes(nodes: list[Item], path: str = "ContentSequence") -> list[tuple[str, Item]]:
    """Every node of a content tree with its path, each before those below it."""
    found: list[tuple[str, Item]] = []
    for number, node in enumerate(nodes, 1):
        where = f"{path}[{number}]"
        found.append((where, node))
        below = sequence(node, "ContentSequence")
        if below:
            found += walk_nodes(below, f"{where}.ContentSequence")
    return found


def judged(where: str, node: Item) -> Iterator[Problem]:
    """Judge one node of a content tree by itself."""
    kind, relation = get(node, "ValueType", ""), get(node, "RelationshipType", "")
    clause = "PS3.3 C.17.3"
    if relation not in _RELATIONS:
        yield Problem(where, "expected a Relationship Type of PS3.3, got none or another", clause)
    if kind not in _HOLDERS:
        yield Problem(where, "expected a Value Type of PS3.3, got none or another", clause)
        return
    unknown = kind == "NUM" and sequence(node, "NumericValueQualifierCodeSequence")  # then there may be no value
    if not get(node, _HOLDERS[kind]) and not unknown:
        yield Problem(where, f"expected {_HOLDERS[kind]} for value type {kind}, got none", clause)
    name = key_of(node)
    if kind == "CONTAINER" and not sequence(node, "ContentSequence") and name[1] != codes.IMAGING_MEASUREMENTS.value:
        yield Problem(where, "expected something in the container, got nothing", HABIT)
    if kind == "CONTAINER" and get(node, "ContinuityOfContent") not in ("SEPARATE", "CONTINUOUS"):
        yield Problem(where, "expected SEPARATE or CONTINUOUS, got another value", "PS3.3 C.18.8")
    if kind != "IMAGE" and not name[1]:
        yield Problem(where, "expected a concept name, got none", clause if kind in _NAMED else HABIT)
    if _RELATIONS_BY_CODE.get(name, relation) != relation:
        by = HABIT if name in _EITHER_WAY else "PS3.16 Annex A"
        yield Problem(where, f"expected relationship {_RELATIONS_BY_CODE[name]}, got {relation}", by)
    if kind == "NUM":
        for value in sequence(node, "MeasuredValueSequence"):
            if not get(value, "NumericValue"):
                yield Problem(where, "expected a Numeric Value, got none", "PS3.3 C.18.1")
            if not sequence(value, "MeasurementUnitsCodeSequence"):
                yield Problem(where, "expected Measurement Units, got none", "PS3.3 C.18.1")
            elif key_of(value, "MeasurementUnitsCodeSequence")[0] != "UCUM":
                yield Problem(where, "expected a unit of UCUM, got another scheme", "PS3.16 CID 82")
    for reference in sequence(node, "ReferencedSOPSequence"):
        if not (get(reference, "ReferencedSOPClassUID") and get(reference, "ReferencedSOPInstanceUID")):
            yield Problem(where, "expected class and instance of a reference, got not both", "PS3.3 Table 10-11")


def _root(data: Item, children: list[Item]) -> Iterator[Problem]:
    if key_of(data) != ("DCM", "126000"):
        yield Problem("ConceptNameCodeSequence", "expected (126000, DCM, Imaging Measurement Report)", _TID_1500)
    for concept in (codes.LANGUAGE, codes.OBSERVER_TYPE, codes.PROCEDURE_REPORTED):
        if not named(children, concept):
            yield Problem("ContentSequence", f"expected {concept.meaning}, got none", _TID_1500)
    measured = named(children, codes.IMAGING_MEASUREMENTS)
    evaluated = named(children, codes.QUALITATIVE_EVALUATIONS)
    if not measured and not evaluated:
        yield Problem("ContentSequence", "expected measurements or qualitative evaluations, got neither", _TID_1500)
    described = {get(one, "CodingSchemeDesignator") for one in sequence(data, "CodingSchemeIdentificationSequence")}
    if _private_schemes(data) - described:
        yield Problem("CodingSchemeIdentificationSequence", "expected every private scheme", "PS3.3 C.12.1")
    unread = [one for one in evaluated if named(sequence(one, "ContentSequence"), codes.READING_STATE)]
    if (get(data, "CompletionFlag") == "PARTIAL") != bool(unread):
        yield Problem("CompletionFlag", "expected PARTIAL exactly where nothing was read", HABIT)
    if named(children, codes.IMAGING_MEASUREMENTS) and not named(children, codes.IMAGE_LIBRARY):
        yield Problem("ContentSequence", "expected the image library, got none", HABIT)


def _omissions(children: list[Item]) -> Iterator[Problem]:
    """Judge that whatever was not read, all or one thing, has its coded reason and a sentence."""
    for where, node in walk_nodes(children):
        inner = sequence(node, "ContentSequence")
        states = named(inner, codes.READING_STATE)
        reasons = [key_of(one, "ConceptCodeSequence") for one in named(inner, codes.NOT_READ_REASON)]
        said = [key_of(one, "ConceptCodeSequence") for one in states or [node]]
        if said != [key(codes.NOT_READ)] or key_of(node) == key(codes.READING_STATE):
            if reasons or states:
                yield Problem(where, "expected Not read where a reason for it stands", HABIT)
            continue
        if len(reasons) != 1 or reasons[0][0] != codes.PRIVATE_SCHEME or reasons[0][1] not in REFUSALS:
            yield Problem(where, "expected one coded reason why it was not read", HABIT)
        if len(named(inner, codes.COMMENT)) != 1:
            yield Problem(where, "expected one sentence why it was not read", HABIT)


def _reductions(children: list[Item]) -> Iterator[Problem]:
    """Judge that what was left out is said by a step that there is."""
    steps = {key(code) for code in codes.STEPS.values()}
    for where, node in walk_nodes(children):
        if key_of(node) == key(codes.REDUCED) and key_of(node, "ConceptCodeSequence") not in steps:
            yield Problem(where, "expected a step that leaves something out, got another value", HABIT)


def _private_schemes(data: Item) -> set[str]:
    nodes = [node for _, node in walk_nodes(sequence(data, "ContentSequence"))]
    used = {
        key_of(node, keyword)[0] for node in nodes for keyword in ("ConceptNameCodeSequence", "ConceptCodeSequence")
    }
    return {scheme for scheme in used if scheme.startswith("99")}


def algorithms(data: Item, children: list[Item]) -> Iterator[Problem]:
    """Compare observers and algorithms with the contributing equipment."""
    equipment = sequence(data, "ContributingEquipmentSequence")
    names = ("DeviceUID", "Manufacturer", "ManufacturerModelName")
    contributed = {tuple(get(one, name, "") for name in names) for one in equipment}
    versions = {(get(one, "ManufacturerModelName", ""), get(one, "SoftwareVersions", "")) for one in equipment}
    columns = [
        [get(node, keyword, "") for node in named(children, concept)]
        for concept, keyword in (
            (codes.DEVICE_UID, "UID"),
            (codes.DEVICE_MANUFACTURER, "TextValue"),
            (codes.DEVICE_MODEL, "TextValue"),
        )
    ]
    told = any(columns) or not named(children, codes.PERSON_NAME)  # a person's report names no device
    if told and (len({len(column) for column in columns}) != 1 or set(zip(*columns, strict=False)) != contributed):
        yield Problem("ContentSequence", "expected device observers equal to the contributing equipment", "AIR")
    if len(named(children, codes.DEVICE_NAME)) != len(equipment) or len(named(children, codes.OBSERVER_TYPE)) < 1:
        yield Problem("ContentSequence", "expected a type and a name for every device observer", HABIT)
    for where, node in walk_nodes(children):
        inner = sequence(node, "ContentSequence")
        for name in named(inner, codes.ALGORITHM_NAME):
            found = [get(one, "TextValue", "") for one in named(inner, codes.ALGORITHM_VERSION)]
            if len(found) != 1 or (get(name, "TextValue", ""), found[0]) not in versions:
                yield Problem(where, "expected algorithm name and version equal to the contributing equipment", "AIR")


def _verdict(where: str, group: list[Item]) -> Iterator[Problem]:
    """Judge that present or absent agrees with probability and threshold."""
    numbers = []
    for concept in (codes.PROBABILITY, codes.THRESHOLD):
        for node in named(group, concept):
            for value in sequence(node, "MeasuredValueSequence"):
                try:
                    numbers.append(float(get(value, "NumericValue", "")))
                except ValueError:
                    return
    said = [
        key_of(node, "ConceptCodeSequence")[1]
        for finding in named(group, codes.FINDING)
        for node in group
        if get(node, "ValueType") == "CODE" and key_of(node) == key_of(finding, "ConceptCodeSequence")
    ]
    if not numbers and not said:
        return
    if len(numbers) != 2 or len(said) != 1:
        yield Problem(where, "expected a probability, a threshold and one verdict on the finding", HABIT)
        return
    if any(not 0 <= number <= 100 for number in numbers):
        yield Problem(where, "expected percentages of 0 to 100", _GROUP)
    if said[0] not in (codes.PRESENT.value, codes.ABSENT.value):
        yield Problem(where, "expected Present or Absent", HABIT)
    elif numbers[0] != numbers[1] and (numbers[0] > numbers[1]) != (said[0] == codes.PRESENT.value):
        yield Problem(where, "expected a verdict that agrees with probability and threshold", HABIT)


def _groups(children: list[Item]) -> Iterator[Problem]:
    for where, node in walk_nodes(children):
        if key_of(node) != ("DCM", codes.MEASUREMENT_GROUP.value):
            continue
        inner = sequence(node, "ContentSequence")
        if any(get(one, "ValueType") == "IMAGE" and not key_of(one)[1] for one in inner):
            yield Problem(where, "expected a concept name for an image in a group, got none", _GROUP)
        for concept, clause in ((codes.TRACKING_ID, _GROUP), (codes.TRACKING_UID, _GROUP), (codes.FINDING, HABIT)):
            if len(named(inner, concept)) != 1:
                yield Problem(where, f"expected one {concept.meaning}, got another number", clause)
        for concept in (codes.ALGORITHM_NAME, codes.ALGORITHM_FAMILY):
            if not named(inner, concept) and not named(inner, codes.PERSON_NAME):
                yield Problem(where, f"expected {concept.meaning} of the algorithm", HABIT)
        templates = [get(one, "TemplateIdentifier", "") for one in sequence(node, "ContentTemplateSequence")]
        resources = [get(one, "MappingResource", "") for one in sequence(node, "ContentTemplateSequence")]
        if not templates or templates[0] not in ("1410", "1411", "1501") or resources != ["DCMR"]:
            yield Problem(where, "expected template 1410, 1411 or 1501 of DCMR", "PS3.3 C.18.8")
        elif templates[0] == "1411":
            yield from _segment(where, inner)
        elif named(inner, codes.TRUST) and not named(inner, codes.COMMENT):
            yield Problem(where, "expected the sentence about the explanation", HABIT)
        else:
            yield from _verdict(where, inner)


def _segment(where: str, inner: list[Item]) -> Iterator[Problem]:
    clause = "PS3.16 TID 1411"
    nodes = named(inner, codes.REFERENCED_SEGMENT)
    references = [one for node in nodes for one in sequence(node, "ReferencedSOPSequence")]
    if len(references) != 1:
        drawn = any(get(one, "ValueType") in ("SCOORD", "SCOORD3D", "COMPOSITE") for one in inner)
        if nodes or not drawn:
            yield Problem(where, "expected one referenced segment, or a region, got another number", clause)
        return
    if get(references[0], "ReferencedSOPClassUID") not in _SEGMENTED:
        yield Problem(where, "expected a reference to a Segmentation, got another class", clause)
    if not get(references[0], "ReferencedSegmentNumber"):
        yield Problem(where, "expected a Referenced Segment Number, got none", "PS3.3 C.18.4")
    if not named(inner, codes.SOURCE_IMAGE_FOR_SEGMENTATION) + named(inner, codes.SOURCE_SERIES_FOR_SEGMENTATION):
        yield Problem(where, "expected the source image or series of the segment, got none", clause)
    if not any(get(node, "ValueType") == "NUM" for node in inner):
        yield Problem(where, "expected a measurement of the region, got none", HABIT)


def evidence(data: Item, children: list[Item]) -> Iterator[Problem]:
    """Judge that the evidence lists what the tree names, and nothing else."""
    listed = {
        (get(one, "ReferencedSOPInstanceUID"), get(one, "ReferencedSOPClassUID"))
        for keyword in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
        for study in sequence(data, keyword)
        for series in sequence(study, "ReferencedSeriesSequence")
        for one in sequence(series, "ReferencedSOPSequence")
    }
    named_in_tree = set()
    for where, node in walk_nodes(children):
        for one in sequence(node, "ReferencedSOPSequence"):
            pair = (get(one, "ReferencedSOPInstanceUID"), get(one, "ReferencedSOPClassUID"))
            named_in_tree.add(pair)
            if pair not in listed:
                yield Problem(where, "expected the referenced instance in the evidence, got none", "PS3.3 C.17.2.3")
    if listed - named_in_tree:
        where = "CurrentRequestedProcedureEvidenceSequence"
        yield Problem(where, "expected every listed instance in the tree, got more", HABIT)


def problems(data: Item) -> Iterator[Problem]:
    """Judge the content tree of a structured report."""
    children = sequence(data, "ContentSequence")
    for where, node in walk_nodes(children):
        yield from judged(where, node)
    yield from evidence(data, children)
    templates = [get(one, "TemplateIdentifier") for one in sequence(data, "ContentTemplateSequence")]
    if templates != ["1500"]:  # of another template nothing is known here
        return
    yield from _root(data, children)
    yield from _omissions(children)
    yield from _reductions(children)
    yield from algorithms(data, children)
    yield from _groups([node for node in children if key_of(node) != key(codes.PREVIOUS_FINDINGS)])
