"""The attributes of the objects that we create: found in objects made on the spot, so that none can be forgotten.

References
----------
PS3.2 Annex N (created SOP instances; presence and source of a value), PS3.3 (modules), PS3.16 (templates).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from wetread import report
from wetread.records import Result
from wetread.report.context import KINDS
from wetread.report.elements import Item, decode, entry_of, get, name_of, sequence
from wetread.serve.conformance.names import class_name
from wetread.serve.conformance.specimens import INSTITUTION, specimens
from wetread.wire import part10
from wetread.wire.attributes import encoded
from wetread.wire.part10 import EXPLICIT_LITTLE

#: Modules of PS3.3 and their attributes, where they stand in one module of every kind.
MODULES = {
    "Patient": "PatientName PatientID PatientBirthDate PatientSex IssuerOfPatientID",
    "General Study": "StudyInstanceUID StudyDate StudyTime StudyID StudyDescription AccessionNumber "
    "ReferringPhysicianName ProcedureCodeSequence",
    "Patient Study": "PatientAge",
    "Series": "Modality SeriesInstanceUID SeriesNumber SeriesDescription SeriesDate SeriesTime BodyPartExamined "
    "Laterality ReferencedPerformedProcedureStepSequence",
    "Frame of Reference": "FrameOfReferenceUID PositionReferenceIndicator",
    "General Equipment": "Manufacturer ManufacturerModelName SoftwareVersions DeviceSerialNumber InstitutionName "
    "PixelPaddingValue",
    "SC Equipment": "ConversionType",
    "General Image": "ImageType PatientOrientation ImageComments LossyImageCompression LossyImageCompressionRatio "
    "LossyImageCompressionMethod",
    "General Reference": "SourceImageSequence DerivationDescription DerivationCodeSequence",
    "Image Pixel": "SamplesPerPixel PhotometricInterpretation PlanarConfiguration Rows Columns BitsAllocated "
    "BitsStored HighBit PixelRepresentation PixelData",
    "Common Instance Reference": "ReferencedSeriesSequence",
    "Multi-frame Functional Groups": "SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence NumberOfFrames",
    "Multi-frame Dimension": "DimensionOrganizationSequence DimensionIndexSequence",
    "Acquisition Context": "AcquisitionContextSequence",
    "Segmentation Image": "SegmentationType SegmentsOverlap SegmentSequence",
    "Parametric Map Image": "ContentQualification RecognizableVisualFeatures",
    "SR Document General": "CompletionFlag CompletionFlagDescription PreliminaryFlag ReferencedRequestSequence "
    "CurrentRequestedProcedureEvidenceSequence PertinentOtherEvidenceSequence PerformedProcedureCodeSequence",
    "SR Document Content": "ValueType ContinuityOfContent ContentTemplateSequence ContentSequence",
    "Presentation State Identification": "PresentationCreationDate PresentationCreationTime",
    "Displayed Area": "DisplayedAreaSelectionSequence",
    "Graphic Annotation": "GraphicAnnotationSequence",
    "Graphic Layer": "GraphicLayerSequence",
    "Modality LUT": "RescaleIntercept RescaleSlope RescaleType",
    "Softcopy VOI LUT": "SoftcopyVOILUTSequence",
    "Encapsulated Document": "AcquisitionDateTime SourceInstanceSequence DocumentTitle "
    "MIMETypeOfEncapsulatedDocument EncapsulatedDocument EncapsulatedDocumentLength",
    "SOP Common": "SOPClassUID SOPInstanceUID SpecificCharacterSet TimezoneOffsetFromUTC InstanceNumber "
    "ContributingEquipmentSequence CodingSchemeIdentificationSequence",
}
_LABELS = "ContentLabel ContentDescription ContentCreatorName"
_MOMENT = "ContentDate ContentTime"
#: Attributes whose module depends on the kind of document.
MOVED = {
    "SEG": {"General Image": _MOMENT, "Segmentation Image": _LABELS},
    "PM": {
        "General Image": _MOMENT,
        "Parametric Map Image": f"{_LABELS} BurnedInAnnotation PresentationLUTShape",
    },
    "SR": {
        "SR Document General": f"{_MOMENT} VerificationFlag PredecessorDocumentsSequence",
        "SR Document Content": "ConceptNameCodeSequence",
    },
    "SC": {"General Image": f"{_MOMENT} BurnedInAnnotation"},
    "KOS": {
        "Key Object Document": f"{_MOMENT} ReferencedRequestSequence CurrentRequestedProcedureEvidenceSequence",
        "SR Document Content": "ConceptNameCodeSequence",
    },
    "GSPS": {
        "Presentation State Identification": _LABELS,
        "Presentation State Relationship": "ReferencedSeriesSequence",
        "Softcopy Presentation LUT": "PresentationLUTShape",
        "none (extended)": _MOMENT,
    },
    "PDF": {
        "Encapsulated Document": f"{_MOMENT} BurnedInAnnotation VerificationFlag ConceptNameCodeSequence "
        "PredecessorDocumentsSequence",
    },
    "LABELMAP": {"General Image": f"{_MOMENT} PresentationLUTShape", "Segmentation Image": _LABELS},
}
_USUAL = {name: module for module, names in MODULES.items() for name in names.split()}
_LONGEST = 48  # characters of a value that is shown
_BULK = ("OB", "OW")
_CODE = {entry_of(name)[0] for name in ("CodeValue", "LongCodeValue", "CodingSchemeDesignator", "CodeMeaning")}


@dataclass(frozen=True, slots=True)
class Attribute:
    """What was seen of one attribute of a kind of document."""

    path: str  # keywords, outermost first
    vr: str
    values: tuple[Any, ...]  # one an item in which it stands
    parents: int  # items in which it could stand
    copied: bool  # always the value of the source, where it has one

    @property
    def presence(self) -> str:
        """ALWAYS, VNAP (the value may be absent), ANAP (the attribute may be) or EMPTY."""
        if not any(len(value) for value in self.values):
            return "EMPTY"
        if len(self.values) < self.parents:
            return "ANAP"
        return "ALWAYS" if all(len(value) for value in self.values) else "VNAP"

    @property
    def source(self) -> str:
        """COPY (from the image), CONFIG (a setting), FIXED and the value, or AUTO."""
        values = {_shown(self.vr, value) for value in self.values if len(value)}
        if values == {INSTITUTION}:
            return "CONFIG `institution`"
        if not values or self.copied or "" in values:
            return "COPY" if values and self.copied else ""
        (value, *more) = sorted(values)
        fixed = not more and self.vr not in _BULK and len(self.values) > 1
        return f"FIXED `{value}`" if fixed and len(value) <= _LONGEST else "AUTO"


def _shown(vr: str, value: Any) -> str:
    """A value as text; of a coded concept its code, of other sequences nothing."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(_concept(one) for one in value) if _is_coded(value) else ""
    if isinstance(value, bytes | memoryview):
        return f"{len(value)} bytes"
    return "\\".join(_number(one) if vr == "AT" else str(one) for one in value)


def _number(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def module_of(kind: str, keyword: str) -> str:
    """Return the module of a kind of document that an attribute stands in.

    Raises
    ------
    KeyError
        None is known: enter the attribute in `MODULES`, or in `MOVED` if that depends on the kind.
    """
    moved = (module for module, names in MOVED.get(kind, {}).items() if keyword in names.split())
    return next(moved, None) or _USUAL[keyword]


@cache
def created() -> dict[str, list[tuple[Item, Item]]]:
    """Return the objects of each kind, each beside the header of its source."""
    made: dict[str, list[tuple[Item, Item]]] = {kind: [] for kind in KINDS}
    for result in specimens():
        source = _header(result)
        institution = INSTITUTION if "AccessionNumber" in result.header else ""
        for document in report.documents(result, institution, tuple(KINDS)):
            if document.kind in KINDS:
                made[document.kind].append((decode(document.data)[1], source))
    return made


def _header(result: Result) -> Item:
    """The header of a source, as values travel."""
    about = result.header
    head = part10.header(about.SOPClassUID, about.SOPInstanceUID, EXPLICIT_LITTLE)
    return decode(head + encoded(about, EXPLICIT_LITTLE))[1]


def attributes(pairs: list[tuple[Item, Item]], path: str = "") -> Iterator[Attribute]:
    """Yield what items of one place have, in the order of the tags, an item's attributes behind its sequence.

    Parameters
    ----------
    pairs
        Each item, and its source's of that place, or an empty one.
    path
        Of the place, ending in " > ".
    """
    for tag in sorted({tag for data, _ in pairs for tag in data}):
        with_it = [(data[tag], source.get(tag)) for data, source in pairs if tag in data]
        vr = with_it[0][0][0]
        copied = any(source for _, source in with_it) and all(
            not source or not len(source[1]) or _same(given, source) for given, source in with_it
        )
        values = tuple(value for (_, value), _ in with_it)
        yield Attribute(path + name_of(tag), vr, values, len(pairs), copied)
        below: list[tuple[Item, Item]] = [(one, {}) for value in values for one in value] if vr == "SQ" else []
        if not (copied or _is_coded([one for one, _ in below]) or name_of(tag) == "ContentSequence"):
            yield from attributes(below, f"{path}{name_of(tag)} > ")


def _is_coded(items: list[Item]) -> bool:
    """Whether items are coded concepts and nothing else (PS3.3 Table 8.8-1)."""
    return bool(items) and all(set(one) <= _CODE for one in items)


def _concept(one: Item) -> str:
    return f"({get(one, 'CodeValue')}, {get(one, 'CodingSchemeDesignator')}, {get(one, 'CodeMeaning')})"


def _same(given: Any, source: Any) -> bool:
    return bool(given[1] == source[1])


#: A content tree (PS3.3 Section C.17.3): relationship, value type, concept name and template of each node -> below it.
Tree = dict[tuple[str, str, str, str], "Tree"]


def merge(tree: Tree, data: Item) -> None:
    """Add to a tree what an object has below one of its nodes."""
    for child in sequence(data, "ContentSequence"):
        named = sequence(child, "ConceptNameCodeSequence")
        template = get(next(iter(sequence(child, "ContentTemplateSequence")), {}), "TemplateIdentifier", "")
        node = (get(child, "RelationshipType"), get(child, "ValueType"), "".join(map(_concept, named)), template)
        merge(tree.setdefault(node, {}), child)


def _branches(tree: Tree, depth: int = 0) -> Iterator[str]:
    for (relation, kind, concept, template), below in tree.items():
        yield f"| {'> ' * depth}{relation} | {kind} | {concept} | {template} |"
        yield from _branches(below, depth + 1)


def _cells(kind: str, one: Attribute) -> str:
    module = module_of(kind, one.path.partition(" > ")[0])
    tag = _number(entry_of(one.path.rpartition(" > ")[2])[0])
    return f"| {module} | {one.path} | {tag} | {one.vr} | {one.presence} | {one.source} |"


_HEAD = "| module | attribute | tag | VR | presence | source |\n|---|---|---|---|---|---|\n"
_TREE = "| relationship | value type | concept name | TID |\n|---|---|---|---|\n"


def tables() -> str:
    """Return the tables of all kinds: first what all have alike."""
    made = created()
    rows = {kind: [_cells(kind, one) for one in attributes(pairs)] for kind, pairs in made.items()}
    common = set.intersection(*map(set, rows.values()))
    first = next(iter(rows.values()))
    parts = ["## In every object\n\n", _HEAD, *_lines(row for row in first if row in common)]
    for kind, facts in KINDS.items():
        parts += [f"\n## {kind}: {class_name(facts.sop_class_uid)} `{facts.sop_class_uid}`\n\n", _HEAD]
        parts += _lines(row for row in rows[kind] if row not in common)
        tree: Tree = {}
        for data, _ in made[kind]:
            merge(tree, data)
        if tree:
            parts += ["\nIts content tree:\n\n", _TREE, *_lines(_branches(tree))]
    return "".join(parts)


def _lines(rows: Iterable[str]) -> Iterator[str]:
    return (f"{row}\n" for row in rows)
