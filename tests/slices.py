"""Phantoms of series: slices of a CT or MR volume in any geometry, with known places in the patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.dataset import Dataset

from tests import phantoms

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Frame:
    """The geometry of a volume: where its voxels lie in the patient, (x, y, z) mm."""

    origin: Floats
    across: Floats  # unit, in which columns are counted
    down: Floats  # unit, in which rows are counted
    spacing: tuple[float, float, float]  # (z, y, x), mm

    @property
    def normal(self) -> Floats:
        """Unit, in which slices are counted."""
        return np.cross(self.across, self.down)

    def places(self, shape: tuple[int, int, int]) -> Floats:
        """The centre of each voxel, (z, y, x, 3)."""
        z, y, x = (np.arange(n) * s for n, s in zip(shape, self.spacing, strict=True))
        return np.asarray(
            self.origin
            + z[:, None, None, None] * self.normal
            + y[None, :, None, None] * self.down
            + x[None, None, :, None] * self.across
        )


AXIAL = Frame(np.array([-30.0, -40.0, 10.0]), np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), (3.0, 1.0, 1.0))


def random_frame(rng: np.random.Generator) -> Frame:
    """Any orientation, any spacing a scanner may choose."""
    across, down = np.linalg.qr(rng.normal(size=(3, 3)))[0][:2]
    spacing = (rng.uniform(0.6, 6.0), rng.uniform(0.4, 1.6), rng.uniform(0.4, 1.6))
    return Frame(rng.uniform(-300, 300, 3), across, down, spacing)


def balls(frame: Frame, shape: tuple[int, int, int], centres: Floats, radii: Sequence[float], values: Any) -> Ints:
    """A volume (z, y, x) of air (-1000) with balls at places of the patient."""
    volume = np.full(shape, -1000, np.int16)
    places = frame.places(shape)
    for centre, radius, value in zip(centres, radii, values, strict=True):
        volume[np.linalg.norm(places - centre, axis=-1) < radius] = value
    return volume


def series(volume: Ints, frame: Frame = AXIAL, modality: str = "CT", **attributes: Any) -> list[Dataset]:
    """The slices of a volume in HU, in order, as data sets of one series."""
    made = []
    for index, plane in enumerate(volume):
        values: dict[str, Any] = {
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
            "SOPInstanceUID": f"{phantoms.SERIES}.{index + 1}",
            "InstanceNumber": index + 1,
            "FrameOfReferenceUID": f"{phantoms.ROOT}.9",
            "PositionReferenceIndicator": "",
            "ImagePositionPatient": _ds(frame.origin + index * frame.spacing[0] * frame.normal),
            "ImageOrientationPatient": _ds([*frame.across, *frame.down]),
            "PixelSpacing": _ds(frame.spacing[1:]),
            "SliceThickness": _ds(frame.spacing[:1])[0],
            "RescaleSlope": "1",
            "RescaleIntercept": "-1024",
            "ViewPosition": None,
            "PatientOrientation": None,
            **attributes,
        }
        stored = plane.astype(np.int64) + 1024
        made.append(phantoms.make_film(stored, bits=(16, 16, 15), modality=modality, **values))
    return made


def _ds(numbers: Any) -> list[str]:
    return [f"{number:.10g}" for number in numbers]


def blobs(slices: Sequence[Dataset]) -> list[tuple[str, bytes]]:
    """Files of the slices, in the order given."""
    return [(f"{number}.dcm", phantoms.to_bytes(one)) for number, one in enumerate(slices, 1)]


def enhanced(volume: Ints, frame: Frame = AXIAL, modality: str = "CT", order: Sequence[int] | None = None) -> Dataset:
    """The same volume as one enhanced object; `order` are the slices in the order of its frames."""
    order = list(range(len(volume))) if order is None else list(order)
    made = phantoms.make_film(
        volume[order].astype(np.int64) + 1024,
        bits=(16, 16, 15),
        modality=modality,
        ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
        FrameOfReferenceUID=f"{phantoms.ROOT}.9",
        PositionReferenceIndicator="",
        PixelSpacing=None,
        ViewPosition=None,
        PatientOrientation=None,
    )
    made.SOPClassUID = uid.EnhancedCTImageStorage if modality == "CT" else uid.EnhancedMRImageStorage
    measures, turned, rescale = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = _ds(frame.spacing[1:]), _ds(frame.spacing[:1])[0]
    turned.ImageOrientationPatient = _ds([*frame.across, *frame.down])
    rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = "1", "-1024", "HU"
    shared = Dataset()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [turned]
    shared.PixelValueTransformationSequence = [rescale]
    made.SharedFunctionalGroupsSequence = [shared]
    made.PerFrameFunctionalGroupsSequence = []
    for index in order:
        place, group = Dataset(), Dataset()
        place.ImagePositionPatient = _ds(frame.origin + index * frame.spacing[0] * frame.normal)
        group.PlanePositionSequence = [place]
        made.PerFrameFunctionalGroupsSequence.append(group)
    return made
