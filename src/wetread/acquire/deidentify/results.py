"""What of our own results may leave: the words of models and software, but none that they repeat of a person's.

References
----------
PS3.15 Sections E.3.3 (Clean Graphics Option) and E.3.4 (Clean Structured Content Option); PS3.3 Section C.17.3.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset

from wetread.acquire.deidentify.coded import CODE, is_code, meaning
from wetread.errors import REFUSALS, BadInput

__all__ = ["KEPT", "NEEDED", "clean"]

#: What may leave, by SOP Class.  A capture and a PDF may not: their pixels and pages show the image with whatever is
#: burned into it, and UIDs.
_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.88.34",  # Comprehensive 3D SR
        "1.2.840.10008.5.1.4.1.1.88.59",  # Key Object Selection
        "1.2.840.10008.5.1.4.1.1.11.1",  # Grayscale Softcopy Presentation State
        "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
        "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation
        "1.2.840.10008.5.1.4.1.1.30",  # Parametric Map
    }
)
#: Texts that only models and this software write into results, once `clean` has been over them.
KEPT = frozenset(
    {
        *("AlgorithmName", "AlgorithmVersion", "AlgorithmSource", "DeviceSerialNumber", "ContributionDescription"),
        *(
            "SegmentLabel",
            "SegmentDescription",
            "SegmentAlgorithmName",
            "TrackingID",
            "StackID",
            "DimensionDescriptionLabel",
        ),
        *("CodeValue", "LongCodeValue", "CodeMeaning", "CodingSchemeDesignator", "CodingSchemeVersion"),
        *("CodingSchemeUID", "CodingSchemeName", "CodingSchemeResponsibleOrganization"),
        *("StackID", "LUTLabel", "LUTExplanation", "GraphicLayerDescription", "UnformattedTextValue", "TextValue"),
        *("ContentDescription", "SeriesDescription", "CompletionFlagDescription", "DerivationDescription"),
    }
)
#: Type 1 in a result, though Table E.1-1 removes them.
NEEDED = frozenset({"PresentationCreationDate", "PresentationCreationTime"})
#: Content items (DCM, 99WETREAD) whose text is one of these words: TID 1002, 1004, 1419, 2010 and 4019.
_SAID = frozenset(
    {
        *("121013", "121014", "121015", "121016", "112039", "111001", "111002", "111003", "113012"),
    }
)
_COMMENT, _ALGORITHM, _PREVIOUS, _PROCEDURE = "121106", "111001", "121068", "121058"
#: Sequences of codes, or with codes inside, that the image's sender chose.
_FOREIGN = (
    "ProcedureCodeSequence",
    "PatientSpeciesCodeSequence",
    "PatientBreedCodeSequence",
    "BreedRegistrationSequence",
)
_REMOVED = "REMOVED"
_OURS = "99WETREAD"  # `wetread check` knows the meaning of each of its codes


def clean(source: Dataset) -> None:
    """Take out of a result what it repeats of others: of the order, of a reviewer, of a header, of earlier reports.

    Raises
    ------
    BadInput
        It is of a kind that may show the patient.
    """
    if source.get("SOPClassUID") not in _CLASSES:
        raise BadInput("de-identification: expected SR, SEG, PM, KOS, GSPS or LABELMAP, got what may show the patient")
    source.pop("ReferencedRequestSequence", None)
    for keyword in _FOREIGN:
        for item in source.get(keyword) or ():
            _say_all_as_the_standard(item)
    for segment in source.get("SegmentSequence") or ():
        if segment.get("SegmentAlgorithmType") == "SEMIAUTOMATIC":  # named by whoever drew it
            segment.SegmentAlgorithmName = _REMOVED
    _tree(source.get("ContentSequence") or (), foreign=False)


def _tree(nodes: Sequence[Dataset], foreign: bool) -> None:
    names = [_code(node, "ConceptNameCodeSequence") for node in nodes]
    reason = _reason(nodes)
    for node, name in zip(nodes, names, strict=True):
        others = foreign or name in (_PREVIOUS, _PROCEDURE)
        if others:
            _say_all_as_the_standard(node)
        if "TextValue" in node:
            node.TextValue = _text(node.TextValue, name, reason, _ALGORITHM in names, others)
        _tree(node.get("ContentSequence") or (), others)


def _text(text: str, name: str, reason: str, by_algorithm: bool, foreign: bool) -> str:
    """Return what may stay of the text of a content item.

    A reason not to read may repeat words of the header; a person's comment anything.
    """
    if foreign:
        return _REMOVED
    if name == _COMMENT:
        return f"NOT READ. {REFUSALS[reason]}" if reason else text if by_algorithm else _REMOVED
    return text if name in _SAID else _REMOVED


def _reason(nodes: Sequence[Dataset]) -> str:
    """Return the refusal code that stands among some content items; "" where none does."""
    values = (_code(node, "ConceptCodeSequence") for node in nodes)
    return next((value for value in values if value in REFUSALS), "")


def _code(node: Dataset, keyword: str) -> str:
    return next((str(item.get("CodeValue", "")) for item in node.get(keyword) or ()), "")


def _say_all_as_the_standard(node: Dataset) -> None:
    """Take a sender's words out of every code in a node or an item, its own too."""
    node.walk(lambda owner, element: _say_as_the_standard(owner) if element.keyword == "CodeMeaning" else None)


def _say_as_the_standard(item: Dataset) -> None:
    """Take a sender's words out of a code."""
    if "CodeMeaning" not in item or item.get("CodingSchemeDesignator") == _OURS:
        return
    item.CodeMeaning = meaning(item)
    for keyword in ("CodeValue", "LongCodeValue"):
        if keyword in item and not is_code(item):
            item[keyword].value = "UNKNOWN"
    for keyword in ("CodingSchemeDesignator", "CodingSchemeVersion"):
        if keyword in item and not CODE.fullmatch(str(item[keyword].value)):
            item[keyword].value = "99UNKNOWN"
