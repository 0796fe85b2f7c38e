"""Masks on the image's grid -> segmented regions with side, size and a tracking identity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wetread.errors import NotRead
from wetread.infer.host import Loaded
from wetread.infer.masks import is_pair
from wetread.infer.model import Label
from wetread.measures import extent
from wetread.records import Code, Image, Mask, Measurement, Region
from wetread.uids import derive

ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
ABNORMAL = Code("49755003", "SCT", "Morphologically Altered Structure")
SIDES = {"R": Code("24028007", "SCT", "Right"), "L": Code("7771000", "SCT", "Left")}
AREA = Code("42798000", "SCT", "Area")
VOLUME = Code("118565006", "SCT", "Volume")
SHARE = Code("AREA-SHARE", "99WETREAD", "Share of the image area")
CM2, PERCENT = Code("cm2", "UCUM", "square centimeter"), Code("%", "UCUM", "percent")
ML = Code("ml", "UCUM", "milliliter")
#: Unit -> what is measured in it, and the unit's code.
_SIZES = {"ml": (VOLUME, ML), "cm2": (AREA, CM2), "%": (SHARE, PERCENT)}


def regions(loaded: Loaded, image: Image, masks: Sequence[Mask]) -> tuple[Region, ...]:
    """Name what a model outlined.

    Parameters
    ----------
    masks
        (z, y, x) bool on the image's grid: one a label; for a model of lungs on a film one a side.

    Returns
    -------
    One region a label, none for a label whose mask is empty and may be.

    Raises
    ------
    NotRead
        IMPLAUSIBLE-MASK: a label's mask is empty, or smaller or larger than the organ can be.
    """
    if is_pair(loaded.model):
        return pair(loaded, image, (masks[0], masks[1]))
    made = []
    for label, mask in zip(loaded.model.labels, masks, strict=True):
        _check_plausible(loaded, label, mask, image)
        if mask.any():
            made.append(_region(loaded, image, label, mask, image.laterality if label.one_of_pair else ""))
    return tuple(made)


def _check_plausible(loaded: Loaded, label: Label, mask: Mask, image: Image) -> None:
    """Refuse a mask that is no such organ, by what the model says of it."""
    voxels = int(np.count_nonzero(mask))
    share = voxels / mask.size
    if label.plausible_share is not None and not label.plausible_share[0] <= share <= label.plausible_share[1]:
        low, high = label.plausible_share
        raise NotRead("IMPLAUSIBLE-MASK", _told(loaded, label, f"{low:.1%} to {high:.1%} of the image", f"{share:.1%}"))
    if label.plausible_ml is None or (voxels and image.spacing_mm is None):
        return
    volume, (low, high) = voxels * voxel_ml(image.spacing_mm or (0.0, 0.0, 0.0)), label.plausible_ml
    if not low <= volume <= high:
        raise NotRead("IMPLAUSIBLE-MASK", _told(loaded, label, f"{low:g} to {high:g} ml", f"{volume:.3g} ml"))


def _told(loaded: Loaded, label: Label, expected: str, got: str) -> str:
    return f"Model {loaded.model.id}, {label.name}: expected {expected}, got {got}."


def voxel_ml(spacing_mm: tuple[float, float, float]) -> float:
    """The volume of a voxel."""
    return spacing_mm[0] * spacing_mm[1] * spacing_mm[2] / 1000.0


def pair(loaded: Loaded, image: Image, sides: tuple[Mask, Mask]) -> tuple[Region, ...]:
    """Name the two lungs of a film.

    Which is the right one is told by Patient Orientation (0020,0020), PS3.3
    C.7.6.1.1.1.  Without it nobody knows: then both are one region without a side.

    Parameters
    ----------
    sides
        (z, y, x) bool on the image's grid: at the left and at the right of the picture.
    """
    label = loaded.model.labels[0]
    if image.row_direction not in SIDES:
        return (_region(loaded, image, label, np.logical_or(*sides), ""),)
    names = ("R", "L") if image.row_direction == "L" else ("L", "R")
    made = [_region(loaded, image, label, mask, name) for mask, name in zip(sides, names, strict=True)]
    return tuple(sorted(made, key=lambda region: region.label != "Right lung"))


def _region(loaded: Loaded, image: Image, label: Label, mask: Mask, side: str) -> Region:
    laterality = SIDES.get(side)
    name = f"{laterality.meaning} {label.name}" if laterality else label.name.capitalize()
    uid, identifier = tracking(image, label, side)
    size = measure(mask, image, None if label.abnormal else label.code, laterality)  # a tumour is no place
    category = ABNORMAL if label.abnormal else ANATOMY
    return Region(name, mask, category, label.code, laterality, loaded.identity, uid, identifier, (size,))


def measure(mask: Mask, image: Image, site: Code | None, laterality: Code | None) -> Measurement:
    """Measure a mask: `wetread.measures.extent`."""
    value, unit = extent(int(np.count_nonzero(mask)), mask.shape, image.spacing_mm)
    code, coded = _SIZES[unit]
    return Measurement(code, value, coded, site, laterality)


def tracking(image: Image, label: Label, side: str = "") -> tuple[str, str]:
    """The tracking unique identifier and identifier of what a label names on an image.

    It stays the same on a patient's follow-ups: what is tracked is the organ or finding of
    a person, of which a label names one.  Where nobody knows the person, or which of a pair an
    image shows, it is that of the image: else the left one would be taken for the right.  The
    model is no part of it: another build that says the same thing of the same image says it of
    the same thing.
    """
    known = image.person and (side or not label.one_of_pair)
    whose = (image.person,) if known else image.sop_uids
    uid = derive("tracking", *whose, label.code.scheme, label.code.value, side)
    return uid, f"{side}{'-' if side else ''}{label.name}"
