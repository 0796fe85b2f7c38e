"""The groups of a structured report about regions that a person outlined: the person's size, and no algorithm any more.

References
----------
DICOM PS3.16 TID 1411 (volumetric ROI measurements), TID 1003 (person observer), TID 4019 (algorithm identification).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wetread.records import Code
from wetread.report import codes
from wetread.report.codes import coded
from wetread.report.elements import Item, item, sequence
from wetread.report.previous import followed_by, is_finding
from wetread.report.redrawn import Redrawn, Size
from wetread.report.tree import key, key_of

_BY_ALGORITHM = frozenset(
    key(one)
    for one in (codes.ALGORITHM_FAMILY, codes.ALGORITHM_NAME, codes.ALGORITHM_VERSION, codes.ALGORITHM_PARAMETERS)
)


def renamed(data: Item, before: str, after: str) -> Item:
    """Replace a UID wherever a data set names it."""

    def told(value: Any) -> Any:
        return [renamed(one, before, after) for one in value] if isinstance(value, list) else value

    return {tag: (vr, after if vr == "UI" and value == before else told(value)) for tag, (vr, value) in data.items()}


def measured(group: Item, drawn: Redrawn, name: str) -> Item:
    """State the size of a person's mask in its group, by the person; other groups stay.

    What a model finds and outlines is followed by one identifier: its probability stays the algorithm's.
    """
    size = None if is_finding(group) else drawn.sizes.get(followed_by(group))
    if size is None:
        return group
    person = [
        _observed("CODE", codes.OBSERVER_TYPE) | item(ConceptCodeSequence=coded(codes.PERSON)),
        _observed("PNAME", codes.PERSON_NAME) | item(PersonName=name),
    ]
    inner = [made for one in sequence(group, "ContentSequence") if (made := _sized(one, size))]
    return group | item(ContentSequence=[*person, *inner])


def compared(node: Item, drawn: Redrawn) -> Item:
    """Take the differences from a person's mask out of previous findings: only what one build said is compared."""
    if key_of(node) != key(codes.PREVIOUS_FINDINGS):
        return node
    return node | item(ContentSequence=[_alone(one, drawn.sizes) for one in sequence(node, "ContentSequence")])


def _alone(group: Item, sizes: Mapping[str, Size]) -> Item:
    if is_finding(group) or followed_by(group) not in sizes:
        return group
    kept = [one for one in sequence(group, "ContentSequence") if key_of(one) != key(codes.DIFFERENCE)]
    return group | item(ContentSequence=kept)


def _sized(node: Item, size: Size) -> Item:
    """Return a node of a group as it stands from now on; empty where it is of the algorithm alone."""
    if key_of(node) in _BY_ALGORITHM:
        return {}
    for value in sequence(node, "MeasuredValueSequence"):
        if key_of(value, "MeasurementUnitsCodeSequence") != ("UCUM", size.unit):
            return {}
        return node | item(MeasuredValueSequence=value | item(NumericValue=size.value))
    return node


def _observed(kind: str, name: Code) -> Item:
    return item(RelationshipType="HAS OBS CONTEXT", ValueType=kind, ConceptNameCodeSequence=coded(name))
