"""The Image Pixel Module, checked: what the pixels must be before one of them is touched."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom import uid
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from wetread.acquire.attributes import bad, missing, name, required_uid, text, values, whole
from wetread.acquire.parse import Parsed
from wetread.acquire.tomography import SLICES, is_slice
from wetread.errors import NotRead

MIN_SIDE = 32
FILM_MODALITIES = frozenset({"CR", "DX", "RG", "MG", "IO", "PX"})
#: Whose values are physical after the rescale (HU, activity): polarity is only about how they are shown.
MEASURED_MODALITIES = frozenset({"CT", "PT"})
GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = (
    "PALETTE COLOR",
    "RGB",
    "HSV",
    "ARGB",
    "CMYK",
    "YBR_FULL",
    "YBR_FULL_422",
    "YBR_PARTIAL_422",
    "YBR_PARTIAL_420",
    "YBR_ICT",
    "YBR_RCT",
    "XYB",
)
#: Objects with pixels that were made from images, not acquired: other software's answers and ours.
_MADE = frozenset(
    {
        uid.SecondaryCaptureImageStorage,
        uid.MultiFrameSingleBitSecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
        uid.SegmentationStorage,
        uid.UID("1.2.840.10008.5.1.4.1.1.66.7"),  # Label Map Segmentation Storage
        uid.ParametricMapStorage,
    }
)
#: Raw values of a detector, by their class; Presentation Intent Type (0008,0068) says the same of others.
_RAW = frozenset(
    {
        uid.DigitalXRayImageStorageForProcessing,
        uid.DigitalMammographyXRayImageStorageForProcessing,
        uid.DigitalIntraOralXRayImageStorageForProcessing,
        uid.BreastProjectionXRayImageStorageForProcessing,
        uid.IntravascularOpticalCoherenceTomographyImageStorageForProcessing,
    }
)
#: Films that are shown; others are no films, are raw, or may be of several kinds.
_FILMS = frozenset(
    {
        uid.ComputedRadiographyImageStorage,
        uid.DigitalXRayImageStorageForPresentation,
        uid.DigitalMammographyXRayImageStorageForPresentation,
        uid.DigitalIntraOralXRayImageStorageForPresentation,
    }
)
_IDENTITY = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
#: A value of these that cannot be read must not be taken for a missing one.
_SAFETY = (
    *_IDENTITY,
    "PatientID",
    "IssuerOfPatientID",
    "Modality",
    "ImageType",
    "PresentationIntentType",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)


@dataclass(frozen=True, slots=True)
class Layout:
    """How the stored pixels are laid out (PS3.3 Section C.7.6.3, PS3.5 Section 8.1)."""

    rows: int
    columns: int
    frames: int
    allocated: int  # bits: 8, 16 or 32
    stored: int  # bits
    high: int  # bit number of the most significant bit
    signed: bool
    inverse: bool  # to be mirrored: MONOCHROME1, where the values are none that were measured in a unit
    level: int = 0  # resolution levels of a JPEG 2000 frame that are left out; 0: every pixel is decoded

    @property
    def pixels(self) -> int:
        """Pixels of all frames."""
        return self.rows * self.columns * self.frames


def check_identity(header: Dataset) -> None:
    """Refuse a header whose UIDs are missing or are none.

    Raises
    ------
    NotRead
        MISSING-TAG or BAD-TAG.
    """
    for keyword in _IDENTITY:
        required_uid(header, keyword)


def _kinds(header: Dataset) -> list[str]:
    return [str(kind).strip() for kind in values(header, "ImageType")]


def is_secondary(header: Dataset) -> bool:
    """Whether an image was made after the examination (PS3.3 Section C.7.6.1.1.2); a reformat is one too."""
    return _kinds(header)[1:2] == ["SECONDARY"]


def check_kind(parsed: Parsed) -> None:
    """Refuse what is no acquired image.

    Raises
    ------
    NotRead
        NOT-AN-IMAGE, SECONDARY-IMAGE, FOR-PROCESSING, LOCALIZER, TRUNCATED-PIXELS (an
        image's header and nothing behind it), MISSING-TAG (no Modality), BAD-TAG (an attribute that
        matters cannot be read, or a slice says that it is of another kind).

    References
    ----------
    DICOM PS3.3 Sections C.7.6.1.1.2 (Image Type), C.8.11.1 (Presentation Intent Type).
    """
    header = parsed.header
    if parsed.pixel is None:
        is_image_class = uid.UID(text(header, "SOPClassUID")).name.endswith("Image Storage")
        if is_image_class or ("Rows" in header and "BitsAllocated" in header):
            raise NotRead("TRUNCATED-PIXELS", "The header declares an image; Pixel Data (7FE0,0010) is missing.")
        raise NotRead("NOT-AN-IMAGE", "The object has no Pixel Data (7FE0,0010).")
    for keyword in _SAFETY:
        if tag_for_keyword(keyword) in parsed.unreadable:
            raise bad(keyword, "a value of its VR", "one that cannot be read")
    if text(header, "SOPClassUID") in _MADE or (is_secondary(header) and not is_slice(header)):
        raise NotRead("SECONDARY-IMAGE", "It was derived or captured, not acquired.")
    _refuse_raw(header)
    if "LOCALIZER" in _kinds(header):
        raise NotRead("LOCALIZER", f"{name('ImageType')} says so.")
    if parsed.pixel.keyword != "PixelData":
        raise NotRead("NOT-AN-IMAGE", f"Expected Pixel Data (7FE0,0010), got {parsed.pixel.keyword}.")
    if not text(header, "Modality"):
        raise missing("Modality")
    _refuse_disguised(header)


def _refuse_disguised(header: Dataset) -> None:
    """Refuse a slice or film whose Modality is that of another kind: it would be read as what it is not."""
    class_uid, got = text(header, "SOPClassUID"), text(header, "Modality")
    expected = SLICES.get(class_uid)
    if expected not in (None, got) and got in (*FILM_MODALITIES, *SLICES.values()):
        raise bad("Modality", f"{expected}, as the SOP Class says", got)
    if class_uid in _FILMS and got in SLICES.values():
        raise bad("Modality", "that of a film, as the SOP Class says", got)


def _refuse_raw(header: Dataset) -> None:
    """Refuse what the detector measured before the device made an image of it: no model has learned that."""
    if text(header, "SOPClassUID") in _RAW:
        raise NotRead("FOR-PROCESSING", f"{name('SOPClassUID')} is {uid.UID(text(header, 'SOPClassUID')).name}.")
    if text(header, "PresentationIntentType").upper() == "FOR PROCESSING":
        raise NotRead("FOR-PROCESSING", f"{name('PresentationIntentType')} is FOR PROCESSING.")


def read_layout(header: Dataset, max_pixels: int) -> Layout:
    """Read and check the Image Pixel Module.

    Parameters
    ----------
    header
        The attributes of the image.
    max_pixels
        Most pixels of all frames together.

    Raises
    ------
    NotRead
        MISSING-TAG, BAD-TAG, COLOUR-IMAGE, MULTI-FRAME, TOO-LARGE, TOO-SMALL.

    References
    ----------
    DICOM PS3.3 Sections C.7.6.3.1.2 (Photometric Interpretation acts behind the modality LUT), C.11.1.
    """
    photometric = text(header, "PhotometricInterpretation")
    if not photometric:
        raise missing("PhotometricInterpretation")
    samples = whole(header, "SamplesPerPixel", default=1)
    if photometric in _COLOUR:
        raise NotRead("COLOUR-IMAGE", f"{name('PhotometricInterpretation')} is {photometric}.")
    if photometric not in GREY:
        raise bad("PhotometricInterpretation", "MONOCHROME1 or MONOCHROME2", "an unknown term")
    if samples != 1:
        raise bad("SamplesPerPixel", f"1 for {photometric}", str(samples))
    rows, columns = whole(header, "Rows"), whole(header, "Columns")
    frames = whole(header, "NumberOfFrames", default=1)
    _check_size(header, rows, columns, frames, max_pixels)
    inverse = photometric == "MONOCHROME1" and text(header, "Modality") not in MEASURED_MODALITIES
    return _bits(header, rows, columns, frames, inverse)


def _check_size(header: Dataset, rows: int, columns: int, frames: int, max_pixels: int) -> None:
    for keyword, value in (("Rows", rows), ("Columns", columns), ("NumberOfFrames", frames)):
        if value < 1:
            raise bad(keyword, "at least 1", str(value))
    if frames > 1 and text(header, "Modality") in FILM_MODALITIES:
        raise NotRead("MULTI-FRAME", f"{name('NumberOfFrames')}: expected 1, got {frames}.")
    if rows * columns * frames > max_pixels:
        raise NotRead("TOO-LARGE", f"Expected at most {max_pixels} pixels, got {rows} x {columns} x {frames}.")
    if min(rows, columns) < MIN_SIDE:
        raise NotRead("TOO-SMALL", f"Expected at least {MIN_SIDE} pixels a side, got {rows} x {columns}.")


def _bits(header: Dataset, rows: int, columns: int, frames: int, inverse: bool) -> Layout:
    allocated, stored = whole(header, "BitsAllocated"), whole(header, "BitsStored")
    high, signed = whole(header, "HighBit", default=stored - 1), whole(header, "PixelRepresentation")
    if allocated not in (8, 16, 32):
        raise bad("BitsAllocated", "8, 16 or 32", str(allocated))
    if not 1 <= stored <= allocated:
        raise bad("BitsStored", f"1 to {allocated}", str(stored))
    if not stored - 1 <= high < allocated:
        raise bad("HighBit", f"{stored - 1} to {allocated - 1}", str(high))
    if signed not in (0, 1):
        raise bad("PixelRepresentation", "0 or 1", str(signed))
    return Layout(rows, columns, frames, allocated, stored, high, bool(signed), inverse)
