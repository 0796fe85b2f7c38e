"""Copies under the basic profile and its options, of images and of our own results."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset

from wetread.acquire.deidentify import results
from wetread.acquire.deidentify.back import identity_of, note_identity
from wetread.acquire.deidentify.bits import clear_unused, may_hold_more, overlays_pixels
from wetread.acquire.deidentify.ledger import Ledger
from wetread.acquire.deidentify.names import Answers, Names, Wanted, whose
from wetread.acquire.deidentify.pixels import black_out, rule_for
from wetread.acquire.deidentify.profile import Profile
from wetread.acquire.deidentify.streams import keep_only_pixels
from wetread.acquire.deidentify.walk import Walk
from wetread.acquire.escapes import decode
from wetread.acquire.plain import explicit
from wetread.acquire.quiet import FOREIGN_ERRORS, quiet
from wetread.errors import Blocked, NotRead
from wetread.routes.burned import BurnedIn, Rectangle
from wetread.settings import Settings
from wetread.uids import IMPLEMENTATION_CLASS_UID

__all__ = ["Asked", "Deidentified", "answered", "asked", "deidentify", "deidentify_result"]

_SETTINGS = Settings()
_OVERLAY = "an overlay in the bits of its pixels"


@dataclass(frozen=True, slots=True)
class Deidentified:
    """A copy that may leave, and why what it holds was kept."""

    data: bytes  # DICOM file (PS3.10), preamble of zeros
    reasons: Counter[str] = field(default_factory=Counter)  # reason -> how many elements; no values


@dataclass(frozen=True, slots=True)
class Asked:
    """What the ledger must be asked before a copy of an image can be made without it."""

    uids: tuple[str, ...]
    patients: tuple[str, ...]  # as `names.whose` tells them
    patient: str  # whose dates move
    study_uid: str
    identity: str  # of the study, JSON, for the way back


def deidentify(data: bytes, profile: Profile, ledger: Ledger, settings: Settings = _SETTINGS) -> Deidentified:
    """Return a copy of an image under the basic profile and options.

    Its pixels stay as they are encoded, unless a rule has rectangles blacked out in them or something lies in the bits
    beside their values, which goes; what was compressed is Explicit VR Little Endian then. Words in codestreams and
    whatever stands behind the pixels go too.

    Parameters
    ----------
    data
        A DICOM file; it is not changed.
    settings
        `max_pixels` bounds what is decoded.

    Raises
    ------
    Blocked
        NO-PIXELS: it is no DICOM image; NOT-READABLE, also where it names no study; BURNED-IN: text may be burned into
        its pixels, as Burned In Annotation (0028,0301) is YES, or is not there and nobody declared the pixels clean,
        or as an overlay lies in the bits of their values, and no rule says where.

    References
    ----------
    PS3.15 Annex E: Sections E.1.1, E.2 and E.3, Table E.1-1.
    """
    with _opened(data) as source:
        made = _image(source, data, profile, ledger, settings)
        # Last: earlier studies say who had an identifier first.
        note_identity(_study_uid(source), identity_of(source), ledger)
    ledger.keep()  # before it leaves: what comes back must find its study
    return made


def asked(data: bytes, profile: Profile) -> Asked:
    """Return what the ledger must be asked for a copy of an image; for whoever must not hold the ledger.

    Raises
    ------
    Blocked
        As `deidentify`.
    """
    with _opened(data) as source:
        _require_clean_pixels(source, profile)
        wanted = Wanted()
        Walk(profile, wanted, 0, Counter(), own=False).dataset(source, top=True)
        known = whose(source), _study_uid(source), identity_of(source)
        return Asked(tuple(wanted.uids), tuple(wanted.patients), *known)


def answered(data: bytes, profile: Profile, answers: Answers, settings: Settings) -> bytes:
    """Return the copy of an image for which the ledger has answered.

    Raises
    ------
    Blocked
        As `deidentify`.
    """
    with _opened(data) as source:
        return _image(source, data, profile, answers, settings).data


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
        walk = _walk(source, profile, ledger, own=True)
        copy = walk.dataset(source, top=True)
        _declare(copy, profile)
        note_identity(_study_uid(source), identity_of(source), ledger)
        made = Deidentified(_encoded(copy, source), walk.reasons)
    ledger.keep()
    return made


@contextmanager
def _opened(data: bytes) -> Iterator[FileDataset]:
    with quiet():
        try:
            source = pydicom.dcmread(io.BytesIO(data))
            decode(source)
        except FOREIGN_ERRORS as error:
            raise Blocked("NOT-READABLE", "Expected a DICOM file, got something that does not parse.") from error
        yield source


def _study_uid(source: Dataset) -> str:
    study_uid = str(source.get("StudyInstanceUID") or "")
    if not study_uid:
        raise Blocked("NOT-READABLE", "Expected a Study Instance UID (0020,000D), got none.")
    return study_uid


def _walk(source: Dataset, profile: Profile, names: Names, own: bool) -> Walk:
    return Walk(profile, names, names.shift_days(whose(source)), Counter(), own)


def _image(source: FileDataset, data: bytes, profile: Profile, names: Names, settings: Settings) -> Deidentified:
    rule = _require_clean_pixels(source, profile)
    source = _only_pixels(source, data, rule.rectangles if rule is not None else (), settings)
    try:
        walk = _walk(source, profile, names, own=False)
        copy = walk.dataset(source, top=True)
        _declare(copy, profile)
        copy.BurnedInAnnotation = "NO"
        return Deidentified(_encoded(copy, source), walk.reasons)
    except FOREIGN_ERRORS as error:
        raise Blocked("NOT-READABLE", f"It cannot be written ({type(error).__name__}).") from error


def _only_pixels(
    source: FileDataset, data: bytes, rectangles: tuple[Rectangle, ...], settings: Settings
) -> FileDataset:
    """Return an image with nothing beside its pixels in their words, and black where a rule says that text stands.

    It is the source where its pixels stay as they are encoded.
    """
    try:
        keep_only_pixels(source)
        if "PixelData" not in source and not rectangles:
            return source
        made, compressed = source, source.file_meta.TransferSyntaxUID.is_compressed
        if compressed and (rectangles or may_hold_more(source)):
            made = pydicom.dcmread(io.BytesIO(explicit(data, settings)))
            decode(made)
            compressed = False
        changed = not compressed and clear_unused(made)
        if rectangles:
            black_out(made, rectangles)
    except NotRead as error:
        seen = f"{error.sentence} {error.detail} So it cannot be seen to that they show nobody."
        raise Blocked("NOT-READABLE", seen) from error
    except FOREIGN_ERRORS as error:
        raise Blocked("NOT-READABLE", f"Its pixels cannot be cleaned ({type(error).__name__}).") from error
    return made if changed or rectangles else source


def _require_clean_pixels(source: Dataset, profile: Profile) -> BurnedIn | None:
    """Return the rule by which the pixels of an image are clean, or become it; None if the image says so itself."""
    if "PixelData" not in source and "FloatPixelData" not in source:
        raise Blocked("NO-PIXELS", "Expected an image, got an object without pixels: reports hold free text.")
    try:
        rule = rule_for(source, profile.burned_in)
        burned = _OVERLAY if overlays_pixels(source) else str(source.get("BurnedInAnnotation", ""))
    except NotRead as error:
        raise Blocked("NOT-READABLE", error.detail) from error
    if burned == "NO" or (rule is not None and rule.rectangles):
        return rule
    sure = burned in ("YES", _OVERLAY)
    if sure or (rule is None and not profile.pixels_clean):
        raise Blocked(
            "BURNED-IN",
            f"Expected Burned In Annotation (0028,0301) NO, got {burned if sure else 'none'}; look at the "
            "pixels, and say by a rule [[burned_in]] what is burned in where, or that nothing is (a rule without "
            "rectangles, or --pixels-clean; neither holds for YES or an overlay).",
        )
    return rule


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
