"""How large a pixel is and where its row and column run to, or that nobody knows."""

from __future__ import annotations

from pydicom.dataset import Dataset

from wetread.acquire.attributes import as_float, text, values
from wetread.acquire.layout import FILM_MODALITIES

#: Detector elements and CT, MR or ultrasound pixels lie well inside, in millimetres.
SMALLEST_MM, LARGEST_MM = 0.005, 20.0
#: No detector and no film is so large in both directions, mm: the widest have 430.
_WIDEST_MM = 500.0
_MOST_ASPECT = 5.0


def spacing_mm(header: Dataset) -> tuple[float, float, float] | None:
    """Return the distance between pixel centres as (z, y, x).

    Parameters
    ----------
    header
        The attributes of the image.

    Returns
    -------
    tuple or None
        Pixel Spacing, else Imager Pixel Spacing divided by the magnification, else
        Nominal Scanned Pixel Spacing.  z is the slice thickness, 1.0 for a film.
        Values that no detector has (0 among them), or that make a film larger than there are, count as missing.

    References
    ----------
    DICOM PS3.3 Section 10.7.1.3.
    """
    magnification = as_float((values(header, "EstimatedRadiographicMagnificationFactor") or [1.0])[0]) or 1.0
    if not 1.0 <= magnification <= _MOST_ASPECT:
        magnification = 1.0
    for keyword, scale in (
        ("PixelSpacing", 1.0),
        ("ImagerPixelSpacing", 1.0 / magnification),
        ("NominalScannedPixelSpacing", 1.0),
    ):
        pair = _pair(header, keyword, SMALLEST_MM, LARGEST_MM)
        if pair is not None and not _too_large(header, pair):
            return (_slice_mm(header), pair[0] * scale, pair[1] * scale)
    return None


def pixel_aspect(header: Dataset, spacing: tuple[float, float, float] | None) -> float:
    """Return the height of a pixel over its width.

    Parameters
    ----------
    header
        The attributes of the image.
    spacing
        What `spacing_mm` found: it wins over Pixel Aspect Ratio.

    References
    ----------
    DICOM PS3.3 Section C.7.6.3.1.7: vertical over horizontal.
    """
    if spacing is not None:
        return spacing[1] / spacing[2]
    ratio = _pair(header, "PixelAspectRatio", 1e-6, 1e9)
    return ratio[0] / ratio[1] if ratio is not None else 1.0


def row_direction(header: Dataset) -> str:
    """Return what of the patient a row runs to: side "L" or "R", front "A" or back "P"; "" when another or unknown.

    References
    ----------
    DICOM PS3.3 Section C.7.6.1.1.1 (Patient Orientation).
    """
    towards = text(header, "PatientOrientation")[:1]
    return towards if towards in ("L", "R", "A", "P") else ""


def column_direction(header: Dataset) -> str:
    """Return what of the patient a column runs to: "F" the feet, "H" the head, or a side; "" when another or unknown.

    References
    ----------
    DICOM PS3.3 Section C.7.6.1.1.1 (Patient Orientation).
    """
    both = values(header, "PatientOrientation")
    towards = str(both[1]).strip(" \0")[:1] if len(both) == 2 else ""
    return towards if towards in ("L", "R", "A", "P", "H", "F") else ""


def laterality(header: Dataset) -> str:
    """Return "L" or "R", the side of the paired body part that an image shows, "" when it is not told or both.

    Laterality (0020,0060) is that of the series; where it has none, Image Laterality (0020,0062) counts.

    References
    ----------
    DICOM PS3.3 Sections C.7.3.1 (Laterality), C.7.6.1 (Image Laterality).
    """
    side = text(header, "Laterality") or text(header, "ImageLaterality")
    return side if side in ("L", "R") else ""


def _pair(header: Dataset, keyword: str, low: float, high: float) -> tuple[float, float] | None:
    """Two plausible numbers: rows first."""
    numbers = [as_float(value) for value in values(header, keyword)]
    if len(numbers) != 2:
        return None
    first, second = numbers
    if first is None or second is None or not (low <= first <= high and low <= second <= high):
        return None
    return (first, second) if 1 / _MOST_ASPECT <= first / second <= _MOST_ASPECT else None


def _too_large(header: Dataset, pixel_mm: tuple[float, float]) -> bool:
    """Whether no film is as large as that: what was measured on it would be of nobody."""
    sides = (as_float((values(header, keyword) or [0])[0]) or 0.0 for keyword in ("Rows", "Columns"))
    narrow = min(count * mm for count, mm in zip(sides, pixel_mm, strict=True))
    return text(header, "Modality") in FILM_MODALITIES and narrow > _WIDEST_MM


def _slice_mm(header: Dataset) -> float:
    thickness = as_float((values(header, "SliceThickness") or [None])[0])
    return thickness if thickness is not None and SMALLEST_MM <= thickness <= 100 else 1.0
