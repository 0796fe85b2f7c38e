"""Judges an encapsulated PDF: that it is one, whole, and does nothing when it is opened.

References
----------
DICOM PS3.3 Section C.24.2 (encapsulated document); ISO 32000-1 Sections 7.5.2 and 7.5.5.
"""

from __future__ import annotations

from collections.abc import Iterator

from wetread.report.elements import Item, get
from wetread.report.problem import HABIT, Problem

_CLAUSE = "PS3.3 C.24.2"
#: What makes a viewer act, by the names of ISO 32000-1 Section 12.6.
_ACTIONS = (b"/JavaScript", b"/JS ", b"/Launch", b"/AA ", b"/EmbeddedFile")


def problems(data: Item) -> Iterator[Problem]:
    """Judge the document inside."""
    document = bytes(get(data, "EncapsulatedDocument", b""))
    length = get(data, "EncapsulatedDocumentLength")
    if length and not length[0] <= len(document) <= length[0] + 1:
        yield Problem("EncapsulatedDocumentLength", f"expected {len(document)}, got {length[0]}", _CLAUSE)
    if not document.startswith(b"%PDF-"):
        yield Problem("EncapsulatedDocument", "expected a PDF, got something else", _CLAUSE)
    elif b"%%EOF" not in document[-1024:]:
        yield Problem("EncapsulatedDocument", "expected a whole PDF, got one without its end", "ISO 32000-1 7.5.5")
    if any(action in document for action in _ACTIONS):
        yield Problem("EncapsulatedDocument", "expected a PDF that starts nothing, got one with an action", _CLAUSE)


def ours(data: Item) -> Iterator[Problem]:
    """Judge what our own have: their length, title and state, and PDF/A."""
    for keyword in ("EncapsulatedDocumentLength", "DocumentTitle", "VerificationFlag"):
        if not get(data, keyword):
            yield Problem(keyword, "expected a value, got none", _CLAUSE)
    if b'pdfaid:part="2"' not in bytes(get(data, "EncapsulatedDocument", b"")):
        yield Problem("EncapsulatedDocument", "expected PDF/A-2, got no such claim", HABIT)
