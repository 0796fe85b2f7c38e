"""Masks on the image's grid -> segmented regions with side, size and a tracking identity."""

from __future__ import annotations

import numpy as np

from wetread.infer.host import Loaded
from wetread.infer.model import Label
from wetread.records import Code, Image, Mask, Measurement, Region
from wetread.uids import derive

ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
SIDES = {"R": Code("24028007", "SCT", "Right"), "L": Code("7771000", "SCT", "Left")}
AREA = Code("42798000", "SCT", "Area")
SHARE = Code("AREA-SHARE", "99WETREAD", "Share of the image area")
CM2, PERCENT = Code("cm2", "UCUM", "square centimeter"), Code("%", "UCUM", "percent")


def pair(loaded: Loaded, image: Image, sides: tuple[Mask, Mask]) -> tuple[Region, ...]:
    """Name the two lungs of a film.

    Which is the right one is told by Patient Orientation (0020,0020), PS3.3
    C.7.6.1.1.1.  Without it nobody knows: then both are one region without a side.

    Parameters
    ----------
    sides
        (y, x) bool on the image's grid: at the left and at the right of the picture.
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
    size = measure(mask, image, label.code, laterality)
    whole = mask[None]
    return Region(name, whole, ANATOMY, label.code, laterality, loaded.identity, uid, identifier, (size,))


def measure(mask: Mask, image: Image, site: Code, laterality: Code | None) -> Measurement:
    """Area in cm2 where the pixel spacing is known, else the share of the image in %."""
    pixels = int(np.count_nonzero(mask))
    if image.spacing_mm is None:
        return Measurement(SHARE, 100.0 * pixels / mask.size, PERCENT, site, laterality)
    _, row, column = image.spacing_mm
    return Measurement(AREA, pixels * row * column / 100.0, CM2, site, laterality)


def tracking(image: Image, label: Label, side: str = "") -> tuple[str, str]:
    """The tracking unique identifier and identifier of what a label names on an image.

    The model is no part of it: another build that says the same thing of the same
    image says it of the same thing.
    """
    uid = derive("tracking", *image.sop_uids, label.code.scheme, label.code.value, side)
    return uid, f"{side}{'-' if side else ''}{label.name}"
