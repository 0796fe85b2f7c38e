"""One walk over a data set: every element is kept for a stated reason, or it goes.

A public element counts as what the standard says that it is, whatever VR the file declares for it: words under another
one would pass for numbers or terms.  What Table E.1-1 does not name is kept only if its value cannot hold a person's
words: numbers, defined terms, registered UIDs, codes, and a short list of technical texts.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pydicom
from pydicom._uid_dict import UID_dictionary
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import STR_VR

from wetread.acquire.deidentify import results
from wetread.acquire.deidentify.clean import cleaned_text, is_time, moved_date
from wetread.acquire.deidentify.coded import CODE, is_code, meaning
from wetread.acquire.deidentify.names import Names, whose
from wetread.acquire.deidentify.private import is_safe
from wetread.acquire.deidentify.profile import Profile
from wetread.acquire.deidentify.table import Rule, rule_of
from wetread.acquire.person import patient
from wetread.acquire.quiet import FOREIGN_ERRORS

__all__ = ["Walk"]

NUMBERS = frozenset({"US", "SS", "UL", "SL", "FL", "FD", "SV", "UV", "AT"})
TEXTS = frozenset({"LO", "SH", "LT", "ST", "UT", "UC"})
TERM = re.compile(r"[A-Z0-9_ ]{0,16}")
AGE = re.compile(r"[0-9]{3}[DWMY]")
NUMERAL = re.compile(r" *[+-]?[0-9.]+([eE][+-]?[0-9]+)? *")
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
        named = _as_named(element)
        return (None, "removed: no value of its VR") if named is None else self._public(named, owner)

    def _public(self, element: DataElement, owner: Dataset) -> tuple[DataElement | None, str]:
        if self.own and element.keyword in results.KEPT:
            return element, "kept: words of a model or of our own software"
        rule = rule_of(element.tag)
        if rule is None:
            return self._unnamed(element, owner)
        if rule.options & self._asked:
            return self._optional(element, owner, rule)
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

    def _optional(self, element: DataElement, owner: Dataset, rule: Rule) -> tuple[DataElement | None, str]:
        """Keep or clean an attribute that options of the profile name."""
        named = rule.options & self._asked
        if element.VR == "SQ":
            return self._inside(element)
        if "dates" in named:
            return self._time(element)
        if named <= {"descriptors", "patient"}:
            if element.VR in TEXTS:
                words = "\\".join(cleaned_text(str(value)) for value in _values(element))
                return _with(element, words), "cleaned: words"
            made, reason = self._unnamed(element, owner)
            return self._basic(element, rule.action) if made is None else (made, reason)
        if element.VR == "PN":
            return None, "removed: a name under an option"
        return element, "kept: option"

    def _time(self, element: DataElement) -> tuple[DataElement | None, str]:
        """Keep a date or time that is one, moved if the profile asks for it."""
        values = [str(value) for value in _values(element)]
        full = "dates" in self.profile.options
        if element.VR in ("DA", "DT"):
            moved = [moved_date(value, 0 if full else self.days) for value in values]
            made = _with(element, moved if len(moved) > 1 else (moved[0] if moved else None))
            return made, "kept: option" if full else "moved: date"
        return (element, "kept: option") if all(map(is_time, values)) else (None, "removed: no date or time")

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
        if element.VR == "AS":
            return (element, "kept: age") if all(map(AGE.fullmatch, values)) else (None, "removed: no age")
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


def _as_named(element: DataElement) -> DataElement | None:
    """Return a public element under the VR that the dictionary names, None if its value is none of that VR."""
    try:
        named = dictionary_VR(element.tag)
    except KeyError:  # newer than the dictionary
        return element
    known = {named, *named.split(" or ")}
    if element.VR in known or (element.VR in NUMBERS and known & NUMBERS):
        return element
    if element.VR not in STR_VR or named not in STR_VR:
        return None
    try:
        return DataElement(element.tag, named, "\\".join(map(str, _values(element))))
    except FOREIGN_ERRORS:
        return None


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
