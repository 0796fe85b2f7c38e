"""The basic profile applied: every element is kept for a stated reason, or it goes.

What Table E.1-1 does not name is kept only if its value cannot hold a person's words: numbers,
defined terms, registered UIDs, codes, and a short list of technical texts.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pydicom
from pydicom._uid_dict import UID_dictionary
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset

from wetread.acquire.deidentify import results
from wetread.acquire.deidentify.back import note_identity
from wetread.acquire.deidentify.clean import cleaned_text, moved_date
from wetread.acquire.deidentify.coded import CODE, is_code, meaning
from wetread.acquire.deidentify.ledger import Ledger
from wetread.acquire.deidentify.profile import Profile
from wetread.acquire.deidentify.table import rule_of
from wetread.acquire.quiet import FOREIGN_ERRORS, quiet
from wetread.errors import BadInput
from wetread.uids import IMPLEMENTATION_CLASS_UID

__all__ = ["Deidentified", "deidentify", "deidentify_result"]

NUMBERS = frozenset({"US", "SS", "UL", "SL", "FL", "FD", "SV", "UV", "AT"})
TEXTS = frozenset({"LO", "SH", "LT", "ST", "UT", "UC"})
TERM = re.compile(r"[A-Z0-9_ ]{0,16}")
NUMERAL = re.compile(r" *[+-]?[0-9.]+([eE][+-]?[0-9]+)? *")
TIME = re.compile(r"[0-9.+:-]*")
#: Binary values that are pixels or belong to their display; all others go.
BULK = frozenset({"PixelData", "FloatPixelData", "DoubleFloatPixelData", "LUTData", "ExtendedOffsetTable"})
BULK_GROUPS = ("PaletteColorLookupTableData",)
#: Technical texts outside the table that a receiver needs and that a maker's software writes.
KEPT_TEXT = frozenset(
    {
        *("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "CodingSchemeDesignator", "CodingSchemeVersion"),
        *("RescaleType", "LossyImageCompressionMethod", "PulseSequenceName", "SequenceName", "ScanOptions"),
        *("ConvolutionKernel", "FilterType", "ImagedNucleus", "SpecificCharacterSet", "TransmitCoilName"),
    }
)
DUMMIES = {"DA": "19000101", "DT": "19000101000000", "TM": "000000", "AS": "000Y", "PN": "Anonymous", "AE": "ANONYMOUS"}
PATIENT = ("PatientName", "PatientID")
#: Of the UIDs that DICOM itself registers, also those that are newer than our list.
STANDARD_ROOT = "1.2.840.10008."


@dataclass(frozen=True, slots=True)
class Deidentified:
    """A copy that may leave, and why what it holds was kept."""

    data: bytes  # DICOM file (PS3.10), preamble of zeros
    reasons: Counter[str] = field(default_factory=Counter)  # reason -> how many elements; no values


def deidentify(data: bytes, profile: Profile, ledger: Ledger) -> Deidentified:
    """Return a copy of an image under the basic profile and options.

    Parameters
    ----------
    data
        A DICOM file; it is not changed.

    Raises
    ------
    BadInput
        It is no DICOM image; or text may be burned into its pixels: Burned In Annotation
        (0028,0301) is YES, or is not there and nobody declared the pixels clean.

    References
    ----------
    PS3.15 Annex E: Sections E.1.1, E.2 and E.3, Table E.1-1.
    """
    with _opened(data) as source:
        _require_clean_pixels(source, profile)
        return _copied(source, profile, ledger, own=False)


def deidentify_result(data: bytes, profile: Profile, ledger: Ledger) -> Deidentified:
    """Return a copy of a result that this software made, under the basic profile and options.

    The same result gives the same bytes.

    Parameters
    ----------
    data
        A DICOM file, SR, SEG, PM, KOS, GSPS or LABELMAP; of nobody else, as its texts are trusted.

    Raises
    ------
    BadInput
        It is a capture or PDF, which may show the patient, or no DICOM file.

    References
    ----------
    PS3.15 Sections E.3.3 and E.3.4.
    """
    with _opened(data) as source:
        results.clean(source)
        return _copied(source, profile, ledger, own=True)


@contextmanager
def _opened(data: bytes) -> Iterator[FileDataset]:
    with quiet():
        try:
            source = pydicom.dcmread(io.BytesIO(data))
            source.decode()
        except FOREIGN_ERRORS as error:
            raise BadInput("de-identification: expected a DICOM file, got something that does not parse") from error
        yield source


def _copied(source: FileDataset, profile: Profile, ledger: Ledger, own: bool) -> Deidentified:
    walk = _Walk(profile, ledger, ledger.shift_days(str(source.get("PatientID", ""))), Counter(), own)
    copy = walk.dataset(source, top=True)
    note_identity(source, ledger)
    _declare(copy, profile)
    if "PixelData" in copy and not own:
        copy.setdefault("BurnedInAnnotation", "NO")
    made = Deidentified(_encoded(copy, source), walk.reasons)
    ledger.keep()  # before it leaves: what comes back must find its study
    return made


def _require_clean_pixels(source: Dataset, profile: Profile) -> None:
    if "PixelData" not in source and "FloatPixelData" not in source:
        raise BadInput("de-identification: expected an image, got an object without pixels: reports hold free text")
    burned = str(source.get("BurnedInAnnotation", ""))
    if burned == "YES" or (burned != "NO" and not profile.pixels_clean):
        raise BadInput(
            f"de-identification: expected Burned In Annotation (0028,0301) NO, got {burned or 'none'!r}; look at the "
            "pixels, and if no text is burned in, declare it (--pixels-clean); YES is never let through"
        )


@dataclass(slots=True)
class _Walk:
    profile: Profile
    ledger: Ledger
    days: int
    reasons: Counter[str]
    own: bool  # a result of ours, over which `results.clean` has been

    def dataset(self, source: Dataset, top: bool = False) -> Dataset:
        """Return the copy of a data set or of an item."""
        copy = Dataset()
        for element in source:
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
            return None, "removed: private"
        if self.own and element.keyword in results.KEPT:
            return element, "kept: words of a model or of our own software"
        rule = rule_of(element.tag)
        if rule is None:
            return self._unnamed(element, owner)
        if rule.options & self._asked:
            return self._optional(element, rule.options & self._asked)
        if element.keyword in PATIENT:
            old = str(owner.get("PatientID", "")) or str(element.value)
            return _with(element, self.ledger.pseudonym("patient", old)), "replaced: pseudonym"
        return self._basic(element, rule.action)

    @property
    def _asked(self) -> frozenset[str]:
        # Both options keep dates; which of them, `_optional` decides.
        return self.profile.options | ({"dates"} if "shifted-dates" in self.profile.options else frozenset())

    def _basic(self, element: DataElement, action: str) -> tuple[DataElement | None, str]:
        if action == "U":
            return self._renamed(element)
        if self.own and element.keyword in results.NEEDED:
            action = "D"
        if self.own and action == "Z" and element.VR == "SQ":
            return _with(element, []), "emptied: Table E.1-1"  # of type 2 in results
        if action == "X" or (action == "Z" and element.VR == "SQ"):
            return None, "removed: Table E.1-1"
        if action == "Z":
            return _with(element, None), "emptied: Table E.1-1"
        if element.VR == "SQ":
            return self._inside(element)
        return _with(element, _dummy(element)), "replaced: dummy"

    def _renamed(self, element: DataElement) -> tuple[DataElement | None, str]:
        if element.VR == "SQ":
            return self._inside(element)
        values = [self.ledger.uid(str(value)) for value in _values(element)]
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


def _declare(copy: Dataset, profile: Profile) -> None:
    """Say that and how the copy was de-identified."""
    copy.PatientIdentityRemoved = "YES"
    copy.DeidentificationMethod = "Wetread: PS3.15 Annex E"
    copy.DeidentificationMethodCodeSequence = [_code(*code) for code in profile.codes]
    copy.LongitudinalTemporalInformationModified = profile.times


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def _encoded(copy: Dataset, source: FileDataset) -> bytes:
    meta = FileMetaDataset()
    meta.ImplementationClassUID, meta.ImplementationVersionName = pydicom.uid.UID(IMPLEMENTATION_CLASS_UID), "WETREAD"
    meta.TransferSyntaxUID = source.file_meta.TransferSyntaxUID
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = copy.SOPClassUID, copy.SOPInstanceUID
    out = io.BytesIO()
    copy.file_meta = meta
    if "PixelData" in copy:
        copy["PixelData"].is_undefined_length = source["PixelData"].is_undefined_length
    copy.save_as(out, enforce_file_format=True)
    return out.getvalue()
