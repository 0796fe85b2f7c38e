"""Judges the content of a key object selection.

References
----------
DICOM PS3.3 Sections C.17.6.2.1 (evidence), C.17.3 (content); PS3.16 TID 2010, CID 7010.
"""

from __future__ import annotations

from collections.abc import Iterator

from wetread.report import codes, tree
from wetread.report.elements import Item, get, sequence
from wetread.report.problem import HABIT, Problem

_TID = "PS3.16 TID 2010"
#: Titles of CID 7010 by code; what a machine says may not hide an image, as 113001 would.
_TITLES = ("113000", *(f"1130{number:02}" for number in (*range(2, 11), 13, 18, 20, 21, 30, 31, 35, 36, 37, 38, 39)))
_REJECTED = "113001"


def problems(data: Item) -> Iterator[Problem]:
    """Judge title, words, images and observers of a key object selection."""
    children = sequence(data, "ContentSequence")
    for where, node in tree.walk_nodes(children):
        yield from tree.judged(where, node)
    scheme, title = tree.key_of(data)
    if scheme != "DCM" or title not in (*_TITLES, _REJECTED):
        yield Problem("ConceptNameCodeSequence", "expected a title of CID 7010, got another", "PS3.16 CID 7010")
    images = [one for one in children if get(one, "ValueType") in ("IMAGE", "COMPOSITE", "WAVEFORM")]
    if not images:
        yield Problem("ContentSequence", "expected at least one image, got none", _TID)
    if len(tree.named(children, codes.KEY_OBJECT_DESCRIPTION)) > 1:
        yield Problem("ContentSequence", "expected one description at most, got more", _TID)
    for number, one in enumerate(children, 1):
        if sequence(one, "ContentSequence"):
            yield Problem(f"ContentSequence[{number}]", "expected one level of content, got more", _TID)
    yield from tree.evidence(data, children)


def ours(data: Item) -> Iterator[Problem]:
    """Judge what our own selections have beyond the template."""
    children = sequence(data, "ContentSequence")
    for concept in (codes.LANGUAGE, codes.KEY_OBJECT_DESCRIPTION):
        if len(tree.named(children, concept)) != 1:
            yield Problem("ContentSequence", f"expected one {concept.meaning}, got another number", _TID)
    if tree.key_of(data) != tree.key(codes.OF_INTEREST):
        yield Problem("ConceptNameCodeSequence", "expected Of Interest, got another title", HABIT)
    yield from tree.algorithms(data, children)
