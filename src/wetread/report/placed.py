"""Where the frames of a person's segmentation lie on the grid of ours: the same images, or it is refused.

Our own document tells the grid: its frames name positions and images, and its referenced series all images in slice
order (`wetread.report.seg`, `wetread.report.planes`).  Frames may come in any order.

References
----------
DICOM PS3.3 Sections C.7.6.16.2.3 (plane position), C.7.6.16.2.4 (plane orientation), C.7.6.16.2.6 (derivation image).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wetread.errors import BadInput
from wetread.records import Mask, Segmentation, SegmentFrame
from wetread.report.elements import Item, get, item, sequence

PER_FRAME = "PerFrameFunctionalGroupsSequence"
#: What a position may be off, in voxels: more would be another mask.
MOST_OFF = 0.1
_NEAR = 1e-3  # of direction cosines, and of spacing relatively

#: Slice number -> mask (y, x).
Planes = dict[int, Mask]


@dataclass(frozen=True, slots=True)
class Grid:
    """The grid of one of our segmentations."""

    study_uid: str
    frame_of_reference: str
    shape: tuple[int, int, int]  # (z, y, x); of frames of one instance z is 2 for "several"
    spacing_mm: tuple[float, float, float] | None  # (z, y, x)
    cosines: npt.NDArray[np.float64]  # of rows and columns, (6,)
    uids: tuple[str, ...]  # images in slice order
    placed: bool  # whether slices have places in the patient; a film has none
    groups: dict[int, Item]  # slice -> position and derivation of a frame of ours

    @property
    def framed(self) -> bool:
        """Whether the slices are frames of one instance."""
        return any(_number(one) for one in self.groups.values())

    def slice_of(self, group: Item) -> int:
        """Return the slice of one of our own frames."""
        return _height(self, group) if self.framed else self.uids.index(_source(group))

    def offset(self, position: Any) -> npt.NDArray[np.float64]:
        """Return a place as (slices, rows, columns) away from that of the first of `groups`."""
        assert self.spacing_mm is not None
        across, down = self.cosines[:3], self.cosines[3:]
        start = np.array(_position(next(iter(self.groups.values()))))
        axes = np.stack([np.cross(across, down), down, across])
        return np.asarray(axes @ (np.array(position) - start) / np.array(self.spacing_mm))


def grid_of(data: Item) -> Grid:
    """Read the grid of one of our segmentations."""
    shared = sequence(data, "SharedFunctionalGroupsSequence")[0]
    measures = next(iter(sequence(shared, "PixelMeasuresSequence")), {})
    uids = tuple(
        get(one, "ReferencedSOPInstanceUID")
        for series in sequence(data, "ReferencedSeriesSequence")
        for one in sequence(series, "ReferencedInstanceSequence")
    )
    frames, several = sequence(data, PER_FRAME), bool(get(measures, "SpacingBetweenSlices"))
    spacing = None
    if measures:
        depth = get(measures, "SpacingBetweenSlices") or get(measures, "SliceThickness")
        row, column = _floats(get(measures, "PixelSpacing"))
        spacing = (float(depth), row, column)
    start = frames[0]
    made = Grid(
        get(data, "StudyInstanceUID"),
        get(data, "FrameOfReferenceUID"),
        (max(len(uids), 1 + several), get(data, "Rows")[0], get(data, "Columns")[0]),
        spacing,
        np.array(_floats(get(sequence(shared, "PlaneOrientationSequence")[0], "ImageOrientationPatient"))),
        uids,
        len(sequence(data, "DimensionIndexSequence")) > 1 and spacing is not None,
        {0 if _number(start) else uids.index(_source(start)): start},
    )
    made.groups.update({made.slice_of(one): one for one in frames})
    return made


def placed(grid: Grid, drawn: Segmentation) -> tuple[dict[int, Planes], dict[int, Item]]:
    """Lay the frames of a segmentation on a grid.

    Returns
    -------
    tuple
        Segment number -> its planes that are not empty; slice -> position and derivation of a frame there.

    Raises
    ------
    BadInput
        It is not of this grid.
    """
    _check(grid, drawn)
    masks: dict[int, Planes] = {one.number: {} for one in drawn.segments}
    groups: dict[int, Item] = {}
    for frame, pixels in zip(drawn.frames, drawn.pixels, strict=True):
        for number in (int(one) for one in np.flatnonzero(np.bincount(pixels.ravel())) if one):
            segment = frame.segment or number
            if segment not in masks or (frame.segment and number != 1):
                raise _misfit("frames of the segments that it describes", "another")
            slice_ = _slice(grid, frame)
            groups.setdefault(slice_, _group(grid, slice_, frame))
            mask = pixels == number
            known = masks[segment].get(slice_)
            masks[segment][slice_] = mask if known is None else known | mask
    return masks, groups


def _misfit(expected: str, got: str) -> BadInput:
    return BadInput(f"segmentation: expected {expected}, got {got}")


def _check(grid: Grid, drawn: Segmentation) -> None:
    _, rows, columns = grid.shape
    if drawn.study_uid != grid.study_uid:
        raise _misfit("one of this study", "one of another")
    if drawn.pixels.shape[1:] != (rows, columns):
        raise _misfit(f"{rows} rows and {columns} columns", f"{drawn.pixels.shape[1]} and {drawn.pixels.shape[2]}")
    if not grid.placed:
        return
    if drawn.frame_of_reference != grid.frame_of_reference:
        raise _misfit("the frame of reference of the images", "another")
    if drawn.directions and np.abs(np.array(drawn.directions) - grid.cosines).max() > _NEAR:
        raise _misfit("rows and columns that run as in the images", "an image that is turned or mirrored")
    assert grid.spacing_mm is not None
    wanted = grid.spacing_mm[1:]
    if drawn.spacing_mm and any(abs(a - b) > _NEAR * b for a, b in zip(drawn.spacing_mm, wanted, strict=True)):
        got = " x ".join(f"{one:g}" for one in drawn.spacing_mm)
        raise _misfit(f"pixels of {wanted[0]:g} x {wanted[1]:g} mm", got)


def _slice(grid: Grid, frame: SegmentFrame) -> int:
    """Tell the slice of a frame by its image and by its place, which must not contradict each other."""
    if frame.sop_uid and frame.sop_uid not in grid.uids:
        raise _misfit("frames drawn on the images of the report", "one on another image")
    told = set()
    if frame.sop_uid and not grid.framed:
        told.add(grid.uids.index(frame.sop_uid))
    if frame.sop_uid and frame.number and grid.framed:
        told |= {slice_ for slice_, one in grid.groups.items() if _number(one) == frame.number}
    if grid.placed and frame.position_mm:
        told.add(_lying(grid, frame.position_mm))
    if len(told) != 1:
        raise _misfit("frames that name their image or position", "one that names none, or two that differ")
    (slice_,) = told
    if not grid.framed and not 0 <= slice_ < len(grid.uids):
        raise _misfit(f"frames on the {len(grid.uids)} slices of the images", "one outside")
    return slice_


def _lying(grid: Grid, position_mm: tuple[float, ...]) -> int:
    """Tell the slice on which a frame lies, pixel on pixel: from the nearest of ours, as slices may be uneven."""
    here = grid.offset(position_mm)
    from_ours = {slice_: here - grid.offset(_position(one)) for slice_, one in grid.groups.items()}
    nearest, away = min(from_ours.items(), key=lambda one: abs(one[1][0]))
    if not (np.abs(away) < 1e6).all() or np.abs([away[0] - round(float(away[0])), *away[1:]]).max() > MOST_OFF:
        raise _misfit("frames that lie on the slices of the images", "one beside them")
    return nearest + round(float(away[0]))


def _height(grid: Grid, group: Item) -> int:
    return next(iter(grid.groups)) + round(float(grid.offset(_position(group))[0]))


def _group(grid: Grid, slice_: int, frame: SegmentFrame) -> Item:
    """Make position and derivation of a frame on a slice where ours has none, after the pattern of one that it has."""
    if slice_ in grid.groups:
        return grid.groups[slice_]
    pattern = next(iter(grid.groups.values()))
    derivation = sequence(pattern, "DerivationImageSequence")[0]
    source = sequence(derivation, "SourceImageSequence")[0]
    if grid.framed:
        if not frame.number:
            raise _misfit("a frame number of the image on slices that the report has no mask of", "none")
        source = source | item(ReferencedFrameNumber=str(frame.number))
    else:
        source = source | item(ReferencedSOPInstanceUID=grid.uids[slice_])
    place = frame.position_mm or _extrapolated(grid, slice_)
    at = "\\".join(f"{one:.10g}" if abs(one) >= 1e-9 else "0" for one in place)
    return item(
        PlanePositionSequence=item(ImagePositionPatient=at),
        DerivationImageSequence=derivation | item(SourceImageSequence=source),
    )


def _extrapolated(grid: Grid, slice_: int) -> list[float]:
    assert grid.spacing_mm is not None
    start, group = next(iter(grid.groups.items()))
    normal = np.cross(grid.cosines[:3], grid.cosines[3:])
    found = np.array(_position(group)) + (slice_ - start) * grid.spacing_mm[0] * normal
    return [float(one) for one in found]


def _source(group: Item) -> str:
    return str(get(_reference(group), "ReferencedSOPInstanceUID", ""))


def _number(group: Item) -> int:
    return int(get(_reference(group), "ReferencedFrameNumber", "0") or 0)


def _reference(group: Item) -> Item:
    return sequence(sequence(group, "DerivationImageSequence")[0], "SourceImageSequence")[0]


def _position(group: Item) -> list[float]:
    return _floats(get(sequence(group, "PlanePositionSequence")[0], "ImagePositionPatient"))


def _floats(text: str) -> list[float]:
    return [float(one) for one in text.split("\\")]
