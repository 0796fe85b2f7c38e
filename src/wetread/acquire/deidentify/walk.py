"""One walk over a data set: every element is kept for a stated reason, or it goes.

What Table E.1-1 does not name is kept only if its value cannot hold a person's words: numbers,
defined terms, registered UIDs, codes, and a short list of technical texts.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pydicom
from pydicom._uid_dict import UID_dictionary
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from wetread.acquire.deidentify import results
from wetread.acquire.deidentify.clean import cleaned_text, moved_date
from wetread.acquire.deidentify.coded import CODE, is_code, meaning
from wetread.acquire.deidentify.names import Names, whose
from wetread.acquire.deidentify.private import is_safe
from wetread.acquire.deidentify.profile import Profile
from wetread.acquire.deidentify.table import rule_of
from wetread.acquire.person import patient

__all__ = ["Walk"]

NUMBERS = frozenset({"US", "SS", "UL", "SL", "FL", "FD", "SV", "UV", "AT"})
TEXTS = frozenset({"LO", "SH", "LT", "ST", "UT", "UC"})
TERM = re.compile(r"[A-Z0-9_ ]{0,16}")
NUMERAL = re.compile(r" *[+-]?[0-9.]+([eE][+-]?[0-9]+)? *")
TIME = re.compile(r"[0-9.+:-]*")
#: Binary values that are pixels or belong to their display; all others go.
BULK = frozenset({"PixelData", "FloatPixelData", "DoubleFloatPixelData", "LUTData", "ExtendedOffsetTable"})
#: An item's are a thumbnail or another image's: whether a name is burned in there, nothing tells.
ITEM_PIXELS = frozenset({"PixelData", "FloatPixelData", "DoubleFloatPixelData"})
BULK_GROUPS = ("PaletteColorLookupTableData",)
#: Technical texts outside the table that a receiver needs and that a maker's software writes.
KEPT_TEXT = frozenset(
    {
        *("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "CodingSchemeDesignator", "CodingSchemeVersion"),
        *("RescaleType", "LossyImageCompressionMethod", "PulseSequenceName", "SequenceName", "ScanOptions"),
        *("ConvolutionKernel", "FilterType", "ImagedNucleus", "SpecificCharacterSet", "TransmitCoilName"),
    }
)
#: Texts of type 1 in Real World Value Mapping Sequence (PS3.3 Table C.7.6.16-12b) that a person may have written.
TYPE_1 = frozenset({"LUTLabel", "LUTExplanation"})
NUMBER = re.compile(r"[0-9]{1,4}")
DUMMIES = {"DA": "19000101", "DT": "19000101000000", "TM": "000000", "AS": "000Y", "PN": "Anonymous", "AE": "ANONYMOUS"}
PATIENT = ("PatientName", "PatientID")
#: Of the UIDs that DICOM itself registers, also those that are newer than our list.
STANDARD_ROOT = "1.2.840.10008."


@dataclass(slots=True)
class Walk:
    """One file under a profile; `names` says what stands for identifiers, `reasons` counts why elements stay or go."""

    profile: Profile
    names: Names
    days: int
    reasons: Counter[str]
    own: bool  # a result of ours, over which `results.clean` has been

    def dataset(self, source: Dataset, top: bool = False) -> Dataset:
        """Return the copy of a data set or of an item."""
        copy = Dataset()
        for element in source:
            if element.keyword in ITEM_PIXELS and not top:
                made, reason = None, "removed: pixels of an item"
            else:
                made, reason = self._element(element, source)
            self.reasons[reason] += 1
            if made is not None:
                copy.add(made)
        if top:
            copy.SpecificCharacterSet = "ISO_IR 192"
        return copy

    def _element(self, element: DataElement, owner: Dataset) -> tuple[DataElement | None, str]:
        """Return what stands for an element, None if it goes, and the reason."""
        if element.tag.is_private:
            if "safe-private" in self.profile.options and is_safe(element, owner):
                return element, "kept: safe private (Table E.3.10-1)"
            return None, "removed: private"
        if self.own and element.keyword in results.KEPT:
            return element, "kept: words of a model or of our own software"
        rule = rule_of(element.tag)
        if rule is None:
            return self._unnamed(element, owner)
        if rule.options & self._asked:
            return self._optional(element, rule.options & self._asked)
        if element.keyword in PATIENT:
            return self._patient(element, owner)
        return self._basic(element, rule.action)

    def _patient(self, element: DataElement, owner: Dataset) -> tuple[DataElement, str]:
        """Exchange a patient's identifier or name; two without an identifier never get one between them."""
        identifier, _, *named = patient(owner)
        if not identifier and (element.keyword == "PatientID" or not named[0]):
            return _with(element, None), "emptied: nobody's identifier"
        return _with(element, self.names.pseudonym("patient", whose(owner))), "replaced: pseudonym"

    @property
    def _asked(self) -> frozenset[str]:
        # Both options keep dates; which of them, `_optional` decides.
        return self.profile.options | ({"dates"} if "shifted-dates" in self.profile.options else frozenset())

    def _basic(self, element: DataElement, action: str) -> tuple[DataElement | None, str]:
        if action == "U":
            return self._renamed(element)
        if self.own and element.keyword in results.NEEDED:
            action = "D"
        if action == "X":
            return None, "removed: Table E.1-1"
        if action == "Z":
            return _with(element, [] if element.VR == "SQ" else None), "emptied: Table E.1-1"
        if element.VR == "SQ":
            return self._inside(element)
        return _with(element, _dummy(element)), "replaced: dummy"

    def _renamed(self, element: DataElement) -> tuple[DataElement | None, str]:
        if element.VR == "SQ":
            return self._inside(element)
        values = [self.names.uid(str(value)) for value in _values(element)]
        return _with(element, values if element.VM > 1 else (values[0] if values else None)), "replaced: UID"

    def _optional(self, element: DataElement, named: frozenset[str]) -> tuple[DataElement | None, str]:
        """Keep or clean an attribute that options of the profile name."""
        if element.VR == "SQ":
            return self._inside(element)
        if "dates" in named:
            return self._time(element)
        if element.VR in TEXTS and named <= {"descriptors", "patient"}:
            return _with(element, "\\".join(cleaned_text(str(value)) for value in _values(element))), "cleaned: words"
        if element.VR == "PN":
            return None, "removed: a name under an option"
        return element, "kept: option"

    def _time(self, element: DataElement) -> tuple[DataElement | None, str]:
        """Keep a date or time that is one, moved if the profile asks for it."""
        values = [str(value) for value in _values(element)]
        if not all(map(TIME.fullmatch, values)):
            return None, "removed: no date or time"
        if element.VR in ("DA", "DT") and "dates" not in self.profile.options:
            moved = [moved_date(value, self.days) for value in values]
            return _with(element, moved if len(moved) > 1 else (moved[0] if moved else None)), "moved: date"
        return element, "kept: option"

    def _inside(self, element: DataElement) -> tuple[DataElement, str]:
        items = [self.dataset(item) for item in element.value]
        return DataElement(element.tag, "SQ", pydicom.Sequence(items)), "kept: items looked at"

    def _unnamed(self, element: DataElement, owner: Dataset) -> tuple[DataElement | None, str]:
        """Keep what the table does not name only if it cannot hold a person's words."""
        if element.VR == "SQ":
            return self._inside(element)
        values = [str(value) for value in _values(element)]
        if element.VR in NUMBERS:
            return element, "kept: number"
        if element.VR in ("DS", "IS"):
            return (element, "kept: number") if all(map(NUMERAL.fullmatch, values)) else (None, "removed: no number")
        if element.VR == "CS":
            return (element, "kept: term") if all(map(TERM.fullmatch, values)) else (None, "removed: no term")
        if element.VR == "UI":
            registered = all(value in UID_dictionary or value.startswith(STANDARD_ROOT) for value in values)
            return (element, "kept: registered UID") if registered else self._renamed(element)
        if element.keyword in BULK or element.keyword.endswith(BULK_GROUPS):
            return element, "kept: pixels"
        return self._text(element, owner)

    def _text(self, element: DataElement, owner: Dataset) -> tuple[DataElement | None, str]:
        if element.keyword in ("CodeValue", "LongCodeValue"):
            sound = is_code(owner)
            return (element, "kept: code") if sound else (_with(element, "UNKNOWN"), "replaced: no code")
        if element.keyword == "CodeMeaning":
            return _with(element, meaning(owner)), "replaced: meaning of the code"
        if element.keyword in ("CodingSchemeDesignator", "CodingSchemeVersion"):
            sound = bool(CODE.fullmatch(str(element.value)))
            return (element, "kept: code") if sound else (_with(element, "99UNKNOWN"), "replaced: no code")
        if element.keyword in KEPT_TEXT:
            return element, "kept: technical text of the maker"
        if element.keyword in TYPE_1:
            return _with(element, "REMOVED"), "replaced: text of type 1"
        if element.keyword == "StackID" and NUMBER.fullmatch(str(element.value)):
            return element, "kept: number"
        if element.keyword == "PositionReferenceIndicator":
            return _with(element, None), "emptied: text of type 2"
        return None, "removed: text that Table E.1-1 does not name"


def _values(element: DataElement) -> list[Any]:
    if element.is_empty:
        return []
    return list(element.value) if element.VM > 1 else [element.value]


def _with(element: DataElement, value: Any) -> DataElement:
    return DataElement(element.tag, element.VR, value)


def _dummy(element: DataElement) -> Any:
    if element.VR in NUMBERS or element.VR in ("DS", "IS"):
        return 0
    if element.VR.startswith("O") or element.VR == "UN":
        return b""
    return DUMMIES.get(element.VR, "REMOVED")
