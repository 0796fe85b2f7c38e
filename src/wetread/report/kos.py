"""The key object selection: the images on which something was found, for the PACS to show first.

An image matters when a finding is present on it: of a series the slices that show it by
themselves, else the one where it is surest.  Where nothing was found, or nothing read,
there is nothing to select.

References
----------
DICOM PS3.3 Sections A.35.4 (Key Object Selection Document), C.17.6 (its modules);
PS3.16 TID 2010 (key object selection), CID 7010 (titles), TID 1002 and 1004 (observer).
"""

from __future__ import annotations

from wetread.records import Code
from wetread.report import codes
from wetread.report.codes import coded
from wetread.report.context import Context, beginning, reference
from wetread.report.elements import Item, get, item
from wetread.report.equipment import contributors, serial_number
from wetread.report.planes import source_reference
from wetread.report.sc import WARNING
from wetread.report.sr import observer, requests
from wetread.report.words import statements


def chosen(context: Context) -> tuple[int, ...]:
    """Give the slices that matter, counted from 0 in rising order; none where nothing was found."""
    found = [finding for finding in context.result.findings if finding.present]
    return tuple(sorted({slice_ for finding in found for slice_ in finding.slices or (finding.peak,)}))


def _node(relation: str, kind: str, name: Code | None, **value: object) -> Item:
    made = item(RelationshipType=relation, ValueType=kind, **value)
    return made if name is None else made | item(ConceptNameCodeSequence=coded(name))


def _description(context: Context) -> str:
    """Say what was found, in the words of every document."""
    said = [one.line for one in statements(context.result) if one.finding.present]
    return ". ".join([WARNING, *said])


def _tree(context: Context, references: list[Item]) -> list[Item]:
    serial = serial_number(context.result.models)
    language = item(ConceptCodeSequence=coded(codes.ENGLISH))
    made = [_node("HAS CONCEPT MOD", "CODE", codes.LANGUAGE) | language]
    for one in contributors(context.result.models):
        made += observer(one, serial)
    made.append(_node("CONTAINS", "TEXT", codes.KEY_OBJECT_DESCRIPTION, TextValue=_description(context)))
    return made + [_node("CONTAINS", "IMAGE", None, ReferencedSOPSequence=one) for one in references]


def dataset(context: Context) -> Item:
    """Make the key object selection of a result with something to select."""
    source = context.source
    references = [source_reference(context, slice_) for slice_ in chosen(context)]
    # The evidence names instances, never frames (PS3.3 Table C.17-3a).
    used = dict.fromkeys(get(one, "ReferencedSOPInstanceUID") for one in references)
    instances = [reference(source.sop_class_uid, uid) for uid in used]
    series = item(SeriesInstanceUID=source.series_uid, ReferencedSOPSequence=instances)
    return (
        beginning(context, "KOS")
        | requests(context)
        | item(
            ReferencedPerformedProcedureStepSequence=[],
            CurrentRequestedProcedureEvidenceSequence=item(
                StudyInstanceUID=source.study_uid, ReferencedSeriesSequence=series
            ),
            ValueType="CONTAINER",
            ConceptNameCodeSequence=coded(codes.OF_INTEREST),
            ContinuityOfContent="SEPARATE",
            ContentTemplateSequence=item(MappingResource="DCMR", TemplateIdentifier="2010"),
            ContentSequence=_tree(context, references),
        )
    )
