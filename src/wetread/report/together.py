"""Judges the documents of one result against each other, and ours against our own habits.

References
----------
DICOM PS3.3 Section C.17.2.3 (evidence); PS3.16 TID 1411 (tracking); IHE AIR Rev 1.3,
Section 6.5.3.1 (equal algorithm identification).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from wetread.report import codes, enclosed, numbered, presented, revision, selected
from wetread.report.context import KINDS, orientation
from wetread.report.elements import Item, entry_of, get, sequence
from wetread.report.equipment import MANUFACTURER, MODEL_NAME
from wetread.report.identity import Source
from wetread.report.problem import HABIT, Problem
from wetread.report.tree import key_of, named, walk_nodes

_EVIDENCE = "CurrentRequestedProcedureEvidenceSequence"
_EQUAL = ("StudyInstanceUID", "PatientID", "PatientName", "Manufacturer", "SoftwareVersions", "DeviceSerialNumber")
#: What our own documents of a kind have beyond the standard.
_OURS = {"KOS": selected.ours, "GSPS": presented.ours, "PDF": enclosed.ours, "LABELMAP": numbered.ours}


def _listed(report: Item) -> dict[str, tuple[str, str]]:
    """Give class and series of each instance in the evidence of a report."""
    return {
        get(one, "ReferencedSOPInstanceUID", ""): (
            get(one, "ReferencedSOPClassUID", ""),
            get(series, "SeriesInstanceUID", ""),
        )
        for study in sequence(report, _EVIDENCE)
        for series in sequence(study, "ReferencedSeriesSequence")
        for one in sequence(series, "ReferencedSOPSequence")
    }


def _evidence(made: Mapping[str, Item], source: Source) -> Iterator[Problem]:
    listed = _listed(made["SR"])
    listed = {uid: said for uid, said in listed.items() if uid not in source.sop_uids}
    wanted = {
        get(made[kind], "SOPInstanceUID"): (get(made[kind], "SOPClassUID"), get(made[kind], "SeriesInstanceUID"))
        for kind in ("SEG", "PM")
        if kind in made
    }
    if listed != wanted:
        yield Problem(_EVIDENCE, "expected exactly the SEG and PM of this result", "PS3.3 C.17.2.3")


def _segments(made: Mapping[str, Item]) -> Iterator[Problem]:
    segments = {get(one, "SegmentNumber"): one for one in sequence(made.get("SEG", {}), "SegmentSequence")}
    found = set()
    for where, node in walk_nodes(sequence(made["SR"], "ContentSequence")):
        inner = sequence(node, "ContentSequence")
        for segment in named(inner, codes.REFERENCED_SEGMENT):
            number = get((sequence(segment, "ReferencedSOPSequence") or [{}])[0], "ReferencedSegmentNumber")
            found.add(number)
            described = segments.get(number, {})
            said = [
                [get(one, "UID") for one in named(inner, codes.TRACKING_UID)],
                [get(one, "TextValue") for one in named(inner, codes.TRACKING_ID)],
                [key_of(one, "ConceptCodeSequence") for one in named(inner, codes.FINDING)],
            ]
            tracked = [
                [get(described, "TrackingUID")],
                [get(described, "TrackingID")],
                [key_of(described, "SegmentedPropertyTypeCodeSequence")],
            ]
            if said != tracked:
                yield Problem(where, "expected tracking and type of the referenced segment", "PS3.16 TID 1411")
    if found != set(segments):
        yield Problem("ContentSequence", "expected a measurement group for every segment", "PS3.16 TID 1411")


def _explanation(made: Mapping[str, Item]) -> Iterator[Problem]:
    nodes = [node for _, node in walk_nodes(sequence(made["SR"], "ContentSequence"))]
    named_maps = {
        get(one, "ReferencedSOPInstanceUID")
        for node in named(nodes, codes.VISUAL_EXPLANATION)
        for one in sequence(node, "ReferencedSOPSequence")
    }
    if named_maps != ({get(made["PM"], "SOPInstanceUID")} if "PM" in made else set()):
        yield Problem("ContentSequence", "expected the map as visual explanation of its finding", "PS3.16 TID 1501")


def _described(data: Item) -> dict[object, tuple[object, ...]]:
    return {
        get(one, "SegmentNumber"): (
            get(one, "TrackingUID"),
            get(one, "TrackingID"),
            key_of(one, "SegmentedPropertyTypeCodeSequence"),
        )
        for one in sequence(data, "SegmentSequence")
        if get(one, "SegmentNumber") != (0,)
    }


def _numbers(made: Mapping[str, Item]) -> Iterator[Problem]:
    if "LABELMAP" in made and _described(made["LABELMAP"]) != _described(made.get("SEG", {})):
        yield Problem("SegmentSequence", "expected the segments of the segmentation in the label map", "AIR")


def _selection(made: Mapping[str, Item]) -> Iterator[Problem]:
    """A selected image is one that the report knows."""
    if "KOS" not in made:
        return
    known = set(_listed(made["SR"]))
    if not set(_listed(made["KOS"])) <= known:
        yield Problem(_EVIDENCE, "expected images that the report lists, got others", "PS3.3 C.17.6.2.1")


def problems(made: Mapping[str, Item], source: Source) -> tuple[Problem, ...]:
    """Judge the documents of one result together.

    Parameters
    ----------
    made
        Kind to decoded data set; "SR" is always there.
    source
        The source they are about.
    """
    found = [*_evidence(made, source), *_segments(made), *_explanation(made), *_numbers(made), *_selection(made)]
    report = made["SR"]
    for kind, data in made.items():
        for keyword in _EQUAL:
            if get(data, keyword) != get(report, keyword):
                found.append(Problem(keyword, f"expected the same value in {kind} and SR", "AIR"))
        if get(data, "ContributingEquipmentSequence") != get(report, "ContributingEquipmentSequence"):
            found.append(Problem("ContributingEquipmentSequence", f"expected the same in {kind} and SR", "AIR"))
    uids = [get(data, keyword) for data in made.values() for keyword in ("SOPInstanceUID", "SeriesInstanceUID")]
    if len(set(uids)) != len(uids):
        found.append(Problem("SOPInstanceUID", "expected a UID of its own for each instance and series", "PS3.5 9.1"))
    return tuple(found)


def habits(kind: str, data: Item, source: Source) -> Iterator[Problem]:
    """Judge a document that says it is ours by what all of ours have in common."""
    if get(data, "Manufacturer") != MANUFACTURER and get(data, "ManufacturerModelName") != MODEL_NAME:
        return
    facts, (date, time) = KINDS[kind], source.moment
    expected = {
        "Manufacturer": MANUFACTURER,
        "ManufacturerModelName": MODEL_NAME,
        "Modality": facts.modality or source.modality or "OT",
        "SeriesNumber": str(facts.series_number),
        "SeriesDescription": facts.description,
        "SeriesDate": date if source.dated else None,
        "SeriesTime": time if source.dated else None,
        f"{'PresentationCreation' if kind == 'GSPS' else 'Content'}Date": date,
        f"{'PresentationCreation' if kind == 'GSPS' else 'Content'}Time": time,
        "InstanceNumber": "1",
    }
    if kind in ("SEG", "SC", "LABELMAP"):
        expected["PatientOrientation"] = get(orientation(source), "PatientOrientation")
    if kind not in ("SR", "KOS", "PDF") and source.body_part:
        expected["BodyPartExamined"] = source.body_part
    if kind in ("SC", "PDF"):
        expected["BurnedInAnnotation"] = "YES"
    for keyword, value in expected.items():
        if data.get(entry_of(keyword)[0], ("", None))[1] != value:
            yield Problem(keyword, "expected what all our documents have there, got another value", HABIT)
    if kind in _OURS:
        yield from _OURS[kind](data)
    if kind in revision.CHAINED:
        yield from revision.ours(kind, data)
    for keyword in ("DeviceSerialNumber", "SoftwareVersions"):
        if not get(data, keyword):
            yield Problem(keyword, "expected a value, got none", HABIT)
