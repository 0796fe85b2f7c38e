"""Damages documents, one attribute at a time: the harness that tests the checker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from wetread.report.elements import Item, decode, encode, entry_of, name_of

Path = tuple[tuple[int, int], ...]  # (tag of a sequence, index of its item), from the top down

#: What may be missing or empty without breaking a rule, and why nothing else notices.
OPTIONAL = {
    "AcquisitionContextSequence": "type 2: may be empty",
    "AcquisitionDateTime": "type 2: may be empty",
    "CodingSchemeName": "type 3",
    "CodingSchemeResponsibleOrganization": "type 3",
    "CodingSchemeUID": "type 1C: only of registered schemes",
    "CompletionFlagDescription": "type 3",
    "ContentCreatorName": "type 2: may be empty",
    "ContentDescription": "type 2: may be empty",
    "ContributionDescription": "type 3",
    "DerivationDescription": "type 3",
    "DimensionDescriptionLabel": "type 3",
    "GraphicLayerDescription": "type 3",
    "GraphicLayerRecommendedDisplayCIELabValue": "type 3",
    "SoftcopyVOILUTSequence": "type 1C: an image may be shown without a window",
    "FrameVOILUTSequence": "an optional functional group",
    "ImageComments": "type 3",
    "PixelMeasuresSequence": "optional beside the derivation image",
    "RecommendedDisplayCIELabValue": "type 3",
    "SegmentedPropertyTypeModifierCodeSequence": "type 3: not every segment has a side",
    "SegmentsOverlap": "type 3",
    "SpatialLocationsPreserved": "type 3",
    "SpecificCharacterSet": "type 1C: not needed for pure ASCII",
    "StackID": "type 3",
    "StudyDescription": "type 3: may be left out, never changed",
}
#: As above, where only one kind of document may leave it out.
OPTIONAL_IN = {
    ("SC", "DerivationCodeSequence"): "type 3",
    ("SC", "LossyImageCompression"): "type 3",
    ("SC", "PurposeOfReferenceCodeSequence"): "type 3 in the source image sequence",
}
#: Concepts whose node may stand without children: sides, sites and sizes are optional.
LEAVES = {"CODE", "NUM", "IMAGE"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One damaged document."""

    kind: str
    name: str  # path of keywords
    data: bytes | None  # None: it cannot even be encoded


def sites(data: Item, path: Path = ()) -> Iterator[tuple[Path, int]]:
    for tag, (vr, value) in list(data.items()):
        yield path, tag
        if vr == "SQ":
            for index, child in enumerate(value):
                yield from sites(child, (*path, (tag, index)))


def parent_of(data: Item, path: Path) -> Item:
    for tag, index in path:
        data = data[tag][1][index]
    return data


def spared(kind: str, parent: Item, tag: int) -> bool:
    keyword = name_of(tag)
    if keyword == "ContentSequence":
        return parent.get(entry_of("ValueType")[0], ("", ""))[1] in LEAVES
    return keyword in OPTIONAL or (kind, keyword) in OPTIONAL_IN


def _encoded(data: Item) -> bytes | None:
    needed = (entry_of(keyword)[0] for keyword in ("SOPClassUID", "SOPInstanceUID"))
    return encode(data) if all(tag in data for tag in needed) else None


def _mutants(kind: str, document: bytes, change: Any) -> Iterator[Mutant]:
    _, data = decode(document)
    for path, tag in list(sites(data)):
        parent = parent_of(data, path)
        kept = parent[tag]
        if spared(kind, parent, tag) or not change(parent, tag):
            continue
        yield Mutant(kind, ".".join(name_of(one) for one in (*(step for step, _ in path), tag)), _encoded(data))
        parent[tag] = kept


def removed(kind: str, document: bytes) -> Iterator[Mutant]:
    """Every attribute, at any depth, taken away in turn."""

    def change(parent: Item, tag: int) -> bool:
        del parent[tag]
        return True

    return _mutants(kind, document, change)


def emptied(kind: str, document: bytes) -> Iterator[Mutant]:
    """Every attribute that has a value left without one in turn."""

    def change(parent: Item, tag: int) -> bool:
        vr, value = parent[tag]
        if len(value) == 0:
            return False
        parent[tag] = (
            vr,
            "" if isinstance(value, str) else [] if vr == "SQ" else () if isinstance(value, tuple) else b"",
        )
        return True

    return _mutants(kind, document, change)


def altered(document: bytes, path: str, value: Any) -> bytes:
    """Change one attribute; steps of the path are ``Keyword`` or ``Keyword[number]``."""
    _, data = decode(document)
    parent = data
    *steps, last = path.split(".")
    for step in steps:
        keyword, _, number = step.rstrip("]").partition("[")
        parent = parent[entry_of(keyword)[0]][1][int(number or 1) - 1]
    tag, vr = entry_of(last)
    parent[tag] = (parent[tag][0] if tag in parent else vr, value)
    return encode(data)
