"""One DICOM file for the lab: its pixels, and what its header says that must not tell a class."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from wetread.acquire.attributes import text
from wetread.acquire.source import load
from wetread.errors import BadInput
from wetread.records import Pixels
from wetread.settings import Settings

#: Name in the lab -> DICOM attribute.
FACTS = {
    "manufacturer": "Manufacturer",
    "scanner": "ManufacturerModelName",
    "institution": "InstitutionName",
    "view": "ViewPosition",
    "modality": "Modality",
    "sex": "PatientSex",
}


def described(path: Path, settings: Settings) -> tuple[Pixels, str, dict[str, str], tuple[str, ...]] | None:
    """Read one DICOM file.

    Returns
    -------
    Pixels (z, y, x); Patient ID (0010,0020), "" when absent; facts by name, only those that are there; the SOP
    Instance UIDs.  None: the file holds no image, such as a report or a segmentation.

    Raises
    ------
    BadInput
        The file is not one image that Wetread reads; the code says why.
    """
    (study,) = load([path], settings)
    if not study.images:
        refusal = study.rejected[0].refusal
        if refusal.code == "NOT-AN-IMAGE" or _is_segmentation(study.rejected[0].header):
            return None
        raise BadInput(f"expected a DICOM image, got {refusal.code}: {refusal.sentence} {refusal.detail}".strip())
    image = study.images[0]
    facts = {name: text(image.header, keyword) for name, keyword in FACTS.items()}
    known = {name: value for name, value in facts.items() if value}
    return image.pixels, text(image.header, "PatientID"), known, image.sop_uids


def _is_segmentation(header: Dataset | None) -> bool:
    return header is not None and text(header, "SOPClassUID") == SegmentationStorage
