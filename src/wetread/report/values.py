"""Judges every value by its VR, every UID by its form, every code by its macro.

References
----------
DICOM PS3.5 Sections 6.2 (value representations) and 9.1 (UIDs), PS3.3 Section 8.8
(code sequence macro).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import date
from functools import lru_cache

from pydicom.datadict import dictionary_has_tag, dictionary_VM, dictionary_VR
from pydicom.valuerep import format_number_as_ds

from wetread.records import Code
from wetread.report import codes
from wetread.report.elements import Item, entry_of, get, item, name_of, walk
from wetread.report.problem import Problem

_VR = "PS3.5 Section 6.2"
#: Digits are those of ASCII only.
_PATTERNS = {
    vr: re.compile(pattern, re.ASCII)
    for vr, pattern in {
        "AE": r"[ -\[\]-~]{1,16}",
        "AS": r"\d{3}[DWMY]",
        "CS": r"[A-Z0-9 _]{1,16}",
        "DA": r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])",
        "DS": r" *[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)? *",
        "DT": r"\d{4}(\d{2}){0,5}(\.\d{1,6})?([+-]\d{4})?",
        "IS": r" *[+-]?\d{1,11} *",
        "TM": r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?",
        "UI": r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+",
    }.items()
}
#: How ACR-NEMA wrote a day and a time of day, which whoever reads must still know.
_FORMERLY = {
    "DA": re.compile(r"(\d{4})\.(\d\d)\.(\d\d)", re.ASCII),
    "TM": re.compile(r"(\d\d):(\d\d)(?::(\d\d(?:\.\d{1,6})?))?", re.ASCII),
}
#: The offsets from UTC that there are (PS3.5 Table 6.2-1, DT): whoever gets another refuses all that it stands in.
_OFFSET = re.compile(r"-(0\d|1[01])[0-5]\d|-1200|\+(0\d|1[0-3])[0-5]\d|\+1400", re.ASCII)
_LENGTHS = {"DS": 16, "IS": 12, "LO": 64, "LT": 10240, "SH": 16, "ST": 1024, "UI": 64}
_SINGLE = frozenset({"LT", "ST", "UR", "UT"})
#: Sequences that hold exactly one item wherever they are: PS3.3 Sections 8.8, C.7.6.16, C.17.3 and C.18.
_ONE_ITEM = frozenset(
    entry_of(keyword)[0]
    for keyword in (
        "AlgorithmFamilyCodeSequence",
        "ContentTemplateSequence",
        "FrameContentSequence",
        "FrameVOILUTSequence",
        "MeasuredValueSequence",
        "ParametricMapFrameTypeSequence",
        "PixelMeasuresSequence",
        "PixelValueTransformationSequence",
        "PlaneOrientationSequence",
        "PlanePositionSequence",
        "SegmentIdentificationSequence",
        "SharedFunctionalGroupsSequence",
        "ConceptNameCodeSequence",
        "ConceptCodeSequence",
        "MeasurementUnitsCodeSequence",
        "SegmentedPropertyCategoryCodeSequence",
        "SegmentedPropertyTypeCodeSequence",
        "PurposeOfReferenceCodeSequence",
    )
)
#: Sequences of references and the like, in which an item that comes twice is an error.
_DISTINCT = frozenset(
    entry_of(keyword)[0]
    for keyword in (
        "CodingSchemeIdentificationSequence",
        "CurrentRequestedProcedureEvidenceSequence",
        "DerivationCodeSequence",
        "DerivationImageSequence",
        "DimensionOrganizationSequence",
        "PertinentOtherEvidenceSequence",
        "RealWorldValueMappingSequence",
        "ReferencedInstanceSequence",
        "ReferencedRequestSequence",
        "ReferencedSeriesSequence",
        "ReferencedSOPSequence",
        "SegmentationAlgorithmIdentificationSequence",
        "SegmentedPropertyTypeModifierCodeSequence",
        "SourceImageSequence",
    )
)
_KNOWN = [value for value in vars(codes).values() if isinstance(value, Code)]
_MEANINGS = {(code.scheme, code.value): code.meaning.lower() for code in _KNOWN}
_VALUES = {(code.scheme, code.meaning.lower()): code.value for code in _KNOWN}


@lru_cache(maxsize=8192)
def fault_of(vr: str, value: str) -> str:
    """Say what is wrong with a text of a VR; "" when nothing is."""
    for one in [value] if vr in _SINGLE else value.split("\\"):
        if not one:
            continue
        pattern, most = _PATTERNS.get(vr), _LENGTHS.get(vr)
        if pattern is not None and not pattern.fullmatch(one):
            return f"expected a value of VR {vr}, got other characters"
        if most is not None and len(one) > most:
            return f"expected at most {most} characters for VR {vr}, got {len(one)}"
        if vr == "PN" and any(len(group) > 64 for group in one.split("=")):
            return "expected at most 64 characters a component group of VR PN, got more"
    return ""


def fitting(keyword: str, value: str) -> str:
    """Give an optional value of the source where an attribute of ours can hold it, else "": it is never shortened."""
    tag, vr = entry_of(keyword)
    several = "\\" in value and vr not in _SINGLE and dictionary_VM(tag) == "1"
    return "" if several or "�" in value or fault_of(vr, value) else value


def numbers(text: str) -> str:
    """Give numbers of the source as DS, with as many digits as 16 characters hold; "" where one is no number."""
    try:
        return "\\".join(_number(one) for one in text.split("\\"))
    except ValueError:
        return ""


def _number(text: str) -> str:
    if not _PATTERNS["DS"].fullmatch(text) or not math.isfinite(float(text)):
        raise ValueError
    return text if len(text) <= _LENGTHS["DS"] else format_number_as_ds(float(text))


def current(vr: str, text: str) -> str:
    """Give a DA or TM of the source as it is written today, "" where it is none, such as February 30.

    A leap second counts as the second before: HL7 and many programs know none.
    """
    found = _FORMERLY[vr].fullmatch(text)
    text = "".join(filter(None, found.groups())) if found else text
    if not _PATTERNS[vr].fullmatch(text) or (vr == "DA" and not _exists(text)):
        return ""
    return f"{text[:4]}59{text[6:]}" if vr == "TM" and text[4:6] == "60" else text


def offset(text: str) -> str:
    """Give a Timezone Offset From UTC of the source, "" where there is none such."""
    return text if _OFFSET.fullmatch(text) else ""


def _exists(day: str) -> bool:
    try:
        date(int(day[:4]), int(day[4:6]), int(day[6:]))
    except ValueError:
        return False
    return True


@lru_cache(maxsize=2048)
def vrs_of(tag: int) -> tuple[str, ...]:
    """Give the VRs that the data dictionary allows a tag; none when it is not in there."""
    return tuple(dictionary_VR(tag).split(" or ")) if dictionary_has_tag(tag) else ()


def misplaced(data: Item) -> Iterator[Problem]:
    """Judge that every attribute has the VR of the data dictionary; all else rests on it."""
    for path, tag, (vr, _) in walk(data):
        allowed = vrs_of(tag)
        if allowed and vr not in allowed:
            where = path + name_of(tag)
            yield Problem(where, f"expected VR {' or '.join(allowed)}, got {vr}", "PS3.6 Section 6")


def _code(where: str, code: Item) -> Iterator[Problem]:
    clause = "PS3.3 Table 8.8-1"
    value = get(code, "CodeValue") or get(code, "LongCodeValue") or get(code, "URNCodeValue")
    scheme, meaning = get(code, "CodingSchemeDesignator", ""), get(code, "CodeMeaning", "")
    if not value:
        yield Problem(where, "expected a code value, got none", clause)
    if not scheme and not get(code, "URNCodeValue"):
        yield Problem(where, "expected a Coding Scheme Designator, got none", clause)
    elif scheme and scheme not in codes.SCHEMES and not scheme.startswith("99"):
        yield Problem(where, "expected a coding scheme of PS3.16 or a private one, got another", "PS3.16 Section 8")
    if not meaning:
        yield Problem(where, "expected a Code Meaning, got none", clause)
    if not (value and scheme and meaning):
        return
    if any("\\" in one for one in (value, scheme, meaning)):
        yield Problem(where, "expected one value of each, got a backslash, which parts values", clause)
    known = _MEANINGS.get((scheme, value))
    if known is not None and scheme in ("DCM", codes.PRIVATE_SCHEME) and known != meaning.lower():
        yield Problem(where, f"expected the meaning of code {value} of {scheme}, got another", "PS3.16 Annex D")
    known = _VALUES.get((scheme, meaning.lower()))
    if known is not None and scheme not in ("UCUM", "RFC5646") and known != value:
        yield Problem(where, f"expected code {known} of {scheme} for its meaning, got {value}", "PS3.16 Annex D")


def unfit(code: Code) -> str:
    """Say why no document may hold a code of a model; "" where every one may."""
    return "; ".join(str(one) for one in problems(item(ConceptCodeSequence=codes.coded(code)), {}))


def _items(where: str, tag: int, items: list[Item]) -> Iterator[Problem]:
    if tag in _ONE_ITEM and len(items) != 1:
        yield Problem(where, f"expected exactly one item, got {len(items)}", "PS3.3 Sections 8.8, C.7.6.16, C.17.3")
    if tag in _DISTINCT and any(one in items[:number] for number, one in enumerate(items)):
        yield Problem(where, "expected each item once, got one twice", "PS3.3 Table 10-11")
    if name_of(tag).endswith("CodeSequence"):
        for number, code in enumerate(items, 1):
            yield from _code(f"{where}[{number}]", code)


def problems(data: Item, trusted: Item, uids: frozenset[str] = frozenset()) -> Iterator[Problem]:
    """Judge every value of a data set except those equal to the source's own.

    Parameters
    ----------
    data
        A whole data set.
    trusted
        Attributes of the source: where the top level repeats them, they are as the
        source has them, right or wrong.
    uids
        UIDs of the source: references repeat them, right or wrong.
    """
    own = {tag: entry for tag, entry in data.items() if trusted.get(tag) != entry}
    for path, tag, (vr, value) in walk(own):
        if vr == "SQ":
            yield from _items(path + name_of(tag), tag, value)
        elif isinstance(value, str) and value and not (vr == "UI" and value in uids):
            fault = fault_of(vr, value)
            if fault:
                yield Problem(path + name_of(tag), fault, "PS3.5 Section 9.1" if vr == "UI" else _VR)
            if "�" in value:
                yield Problem(path + name_of(tag), "expected text in the declared character set", "PS3.3 C.12.1.1.2")
