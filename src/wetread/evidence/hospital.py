"""Studies as a hospital sends them, made here: a real film, and phantoms of a chest CT and of a head MR.

Nobody lies in the phantoms and their pixels are made by a formula: they serve for load
and times, and whatever is said about them means nothing.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from wetread.evidence.film import film_for_every_model

Ints = npt.NDArray[np.int16]
#: A root of the same length for every UID of a template, so that copies are a replacement of bytes.
ROOT = "2.25.1"
DIGITS = 30


@dataclass(frozen=True, slots=True)
class Template:
    """One kind of study: its files, in which the UIDs of a copy replace those of the template."""

    kind: str  # CR, CT or MR
    files: tuple[bytes, ...]
    uids: tuple[bytes, ...]  # that belong to one study, all of one length

    def copy(self, number: int) -> tuple[str, list[bytes]]:
        """Return Study Instance UID and files of copy `number`; another number gives other UIDs."""
        names = [_uid(self.kind, number, place) for place in range(len(self.uids))]
        files = []
        for place, data in enumerate(self.files):
            for which in (0, 1, 2, 3 + place):  # of study, series, frame of reference and instance
                data = data.replace(self.uids[which], names[which])
            files.append(data)
        return names[0].decode(), files


def templates(ct_slices: int = 60, mr_slices: int = 24) -> tuple[Template, ...]:
    """Return one template each of CR, CT and MR.

    Parameters
    ----------
    ct_slices, mr_slices
        How many slices the series have; the CT has 512 x 512, the MR 256 x 256 pixels.
    """
    return (
        _template("CR", [_film()]),
        _template("CT", list(_slices("CT", chest(ct_slices), (5.0, 0.7, 0.7)))),
        _template("MR", list(_slices("MR", head(mr_slices), (5.0, 0.9, 0.9)))),
    )


def chest(slices: int, side: int = 512) -> Ints:
    """Return a volume (z, y, x) in HU: a body with two lungs that taper, vessels and noise."""
    y, x = (np.mgrid[0:side, 0:side] + 0.5) / side
    rng = np.random.default_rng(1)
    volume = np.empty((slices, side, side), np.int16)
    for index in range(slices):
        size = 0.55 + 0.45 * np.sin(np.pi * (index + 1) / (slices + 1))
        plane = np.where(((x - 0.5) / 0.44) ** 2 + ((y - 0.5) / 0.32) ** 2 < 1, 40.0, -1000.0)
        for centre in (0.30, 0.70):
            lung = ((x - centre) / (0.15 * size)) ** 2 + ((y - 0.48) / (0.22 * size)) ** 2 < 1
            plane = np.where(lung, -850 + 300 * (np.sin(60 * x) * np.sin(60 * y) > 0.95), plane)
        plane = np.where(((x - 0.5) / 0.05) ** 2 + ((y - 0.72) / 0.05) ** 2 < 1, 300.0, plane)
        volume[index] = np.maximum(plane + rng.normal(0, 15, plane.shape), -1024)  # where a scanner's scale ends
    return volume


def head(slices: int, side: int = 256) -> Ints:
    """Return a volume (z, y, x) in arbitrary units, as FLAIR shows a head with one bright lesion."""
    y, x = (np.mgrid[0:side, 0:side] + 0.5) / side
    rng = np.random.default_rng(2)
    volume = np.empty((slices, side, side), np.int16)
    for index in range(slices):
        size = np.sqrt(max(0.1, 1 - (2 * (index + 0.5) / slices - 1) ** 2))
        r = ((x - 0.5) / (0.34 * size)) ** 2 + ((y - 0.5) / (0.42 * size)) ** 2
        plane = np.select([r < 0.8, r < 0.9, r < 1.05], [300.0, 60.0, 420.0], 5.0)
        plane = np.where((((x - 0.5) / 0.05) ** 2 + ((y - 0.45) / 0.15) ** 2 < 1) & (r < 0.8), 60.0, plane)
        if abs(index - slices * 0.6) < slices * 0.12:
            plane = np.where(((x - 0.63) / 0.07) ** 2 + ((y - 0.4) / 0.08) ** 2 < 1, 620.0, plane)
        volume[index] = np.clip(plane + rng.normal(0, 12, plane.shape), 0, 4095)
    return volume


def small_film() -> Template:
    """Return the CR at a quarter of its rows and columns."""
    film = _film()
    pixels = np.ascontiguousarray(film.pixel_array[::4, ::4])
    film.PixelData, (film.Rows, film.Columns) = pixels.tobytes(), pixels.shape
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        if keyword in film:
            setattr(film, keyword, [4 * float(mm) for mm in film[keyword].value])
    return _template("CR", [film])


def _film() -> Dataset:
    from pydicom import dcmread

    return dcmread(io.BytesIO(film_for_every_model()))


def _slices(modality: str, volume: Ints, spacing_mm: Sequence[float]) -> Iterator[Dataset]:
    """The slices of a volume as data sets of one axial series."""
    depth, down, across = spacing_mm
    kind: dict[str, Any] = (
        {"SOPClassUID": CTImageStorage, "BodyPartExamined": "CHEST", "SeriesDescription": "Chest 5.0"}
        | {
            "KVP": "120",
            "RescaleSlope": "1",
            "RescaleIntercept": "-1024",
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        }
        if modality == "CT"
        else {"SOPClassUID": MRImageStorage, "BodyPartExamined": "BRAIN", "SeriesDescription": "Axial FLAIR"}
        | {"ScanningSequence": "IR", "SequenceVariant": "NONE", "ScanOptions": "", "MRAcquisitionType": "2D"}
        | {"EchoTime": "100", "EchoTrainLength": "1", "RepetitionTime": "9000", "InversionTime": "2500"}
        | {"ImageType": ["ORIGINAL", "PRIMARY", "M", "FLAIR"]}
    )
    stored = (volume.astype(np.int32) + (1024 if modality == "CT" else 0)).astype(np.uint16)
    for index, plane in enumerate(stored):
        yield _with(
            Dataset(),
            Modality=modality,
            PatientName="Phantom^Load",
            PatientID="LOAD-1",
            PatientBirthDate="",
            PatientSex="O",
            PatientAge="060Y",
            StudyDate="20260101",
            StudyTime="101010",
            AccessionNumber="LOAD-1",
            ReferringPhysicianName="",
            StudyID="1",
            Manufacturer="Wetread phantom",
            SeriesNumber=1,
            InstanceNumber=index + 1,
            PatientPosition="HFS",
            PositionReferenceIndicator="",
            PixelSpacing=[down, across],
            SliceThickness=str(depth),
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            ImagePositionPatient=[-across * plane.shape[1] / 2, -down * plane.shape[0] / 2, depth * index],
            Rows=plane.shape[0],
            Columns=plane.shape[1],
            SamplesPerPixel=1,
            PhotometricInterpretation="MONOCHROME2",
            BitsAllocated=16,
            BitsStored=16,
            HighBit=15,
            PixelRepresentation=0,
            PixelData=plane.tobytes(),
            **kind,
        )


def _with(dataset: Dataset, **values: Any) -> Dataset:
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def _uid(kind: str, number: int, place: int) -> bytes:
    """A UID of fixed length: no copy of any kind shares one with another."""
    which = {"CR": 1, "CT": 2, "MR": 3}[kind]
    return f"{ROOT}{which}{number + 1:012d}{place:0{DIGITS - 13}d}".encode()


def _template(kind: str, made: list[Dataset]) -> Template:
    """Give the data sets UIDs that a copy can replace, and encode them."""
    uids = tuple(_uid(kind, -1, place) for place in range(3 + len(made)))
    files = []
    for dataset, instance in zip(made, uids[3:], strict=True):
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uids[0].decode(), uids[1].decode()
        dataset.FrameOfReferenceUID, dataset.SOPInstanceUID = uids[2].decode(), instance.decode()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        out = io.BytesIO()
        dataset.save_as(out, enforce_file_format=True)
        files.append(out.getvalue())
    return Template(kind, tuple(files), uids)
