"""Images that somebody has, as cases: what the audit takes a folder for, read as deployment would read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread.errors import BadInput
from wetread.lab.audit.adapters import DICOM, NIFTI, Columns, Row, rows_of
from wetread.lab.audit.looks import check_mask
from wetread.lab.cases import Cases, Directions, by_size
from wetread.lab.nifti import PLANES, directions_of, plane_of, read_nifti
from wetread.lab.pictures import marked, read_picture
from wetread.lab.plan import made_of
from wetread.prepare import turn_to, turned
from wetread.prepare.turn import lengths

__all__ = ["cases_of", "load_own"]

#: So far from a whole number may a label stand, as a file keeps them that scales its numbers.
WHOLE = 1e-3


def load_own(table: Mapping[str, Any], folder: Path) -> Cases:
    """Return the cases of a folder that a recipe names as its data, by its ``[audit]`` table.

    A picture is a series of one slice; a NIfTI file is a series.

    Raises
    ------
    BadInput
        The folder is none that `wetread lab data` knows, the patient of an image is not known, the recipe names no
        labels or one that is marked nowhere, all images are of one class, or as `cases_of`.
    """
    if not table.get("ship", {}).get("label"):
        raise BadInput("recipe: expected a [[ship.label]] for each label of the network, found none")
    columns = made_of(Columns, table.get("audit", {}), "audit")
    rows = rows_of([folder], columns)
    if unknown := next((row.place for row in rows if not row.patient), ""):
        raise BadInput(
            f"{unknown}: expected a patient; name the column, or a pattern of the path, in the recipe's [audit]"
        )
    cases = cases_of(rows, table, columns.positive)
    names = [str(label["name"]) for label in table["ship"]["label"]]
    _check_marked(cases.masks, names)
    if cases.present and all(one.all() for one in cases.present):
        raise BadInput(
            f"expected images with and without {names[0]!r}, got {len(cases)} with it; add some without: nothing is "
            "learnt from one class"
        )
    return cases


def _check_marked(masks: Sequence[NDArray[np.uint8]], labels: Sequence[str]) -> None:
    """See that each label is marked somewhere: who finds nothing where there is nothing agrees, with a Dice of 1."""
    for number, name in enumerate(labels, 1):
        if masks and not any((mask == number).any() for mask in masks):
            raise BadInput(
                f"expected masks in which {name!r} is marked, as {number} of {len(labels)}, got {len(masks)} without; "
                "see that the masks were written in full, or leave that label out"
            )


def cases_of(rows: Sequence[Row], table: Mapping[str, Any], positive: str) -> Cases:
    """Return rows of an audit as cases.

    Parameters
    ----------
    table
        What a model folder or a recipe declares: task, recipe, and labels and orientation in ``[ship]``.
    positive
        The class of a model with one label; "": the classes bear the labels' names.

    Raises
    ------
    BadInput
        A file cannot be read or its slices lie in another plane, a mask is missing or does not fit, the class of an
        image is not known, or no class bears a label's name.
    """
    labels = [str(label["name"]) for label in table["ship"]["label"]]
    images, drawn, spacing, directions = zip(*(_read(row, table, len(labels)) for row in rows), strict=True)
    masks = tuple(mask for mask in drawn if mask is not None)
    present: tuple[NDArray[np.int64], ...] = ()
    if table["task"] == "classification":
        if nameless := next((row.place for row in rows if not row.label), ""):
            raise BadInput(f"{nameless}: expected a class, found none; leave out the images whose class nobody knows")
        truth = _truth([row.label for row in rows], labels, positive)
        present = tuple(np.repeat(one[None], len(image), 0) for one, image in zip(truth, images, strict=True))
    # Whose image it is, is not always known: then it stands for itself.
    patient = np.array([row.patient or f"image {at}" for at, row in enumerate(rows)])
    site = np.array([row.facts.get("site", "") for row in rows])
    traits = ({"marked": by_size(masks)} if masks else {}) | ({"site": site} if site.any() else {})
    return Cases(images, masks, present, patient, site, np.array(spacing), traits, directions)


def _truth(classes: Sequence[str], labels: Sequence[str], positive: str) -> NDArray[np.int64]:
    """Return (n, k) whether label k is there."""
    wanted = [positive] if positive and len(labels) == 1 else labels
    known = sorted({one.casefold() for one in classes})
    for name in wanted:
        if name.casefold() not in known:
            raise BadInput(
                f"expected a class {name!r} for the model's label, got the classes {known[:10]}; name the column with "
                "--label, the class of a model with one label with --positive; in a recipe by `label` and `positive` "
                "in [audit]"
            )
    return np.array([[int(one.casefold() == name.casefold()) for name in wanted] for one in classes], np.int64)


Spacing = tuple[float, float, float]


def _read(
    row: Row, table: Mapping[str, Any], labels: int
) -> tuple[NDArray[Any], NDArray[np.uint8] | None, Spacing, Directions | None]:
    """Return pixels and mask (z, y, x), spacing in mm and directions: of a volume in the plane of its slices."""
    pixels, spacing = _pixels(row.image, row.place)
    mask = None if table["task"] == "classification" else _mask(row, pixels, labels)
    if not row.image.name.lower().endswith(NIFTI):
        return pixels, mask, spacing, None
    plane = _plane(row, spacing, table)
    turn = turn_to(PLANES[plane], directions_of("axial"), whole=True)
    mask = None if mask is None else np.ascontiguousarray(turned(mask, turn))
    return np.ascontiguousarray(turned(pixels, turn)), mask, lengths(spacing, turn), directions_of(plane)


def _plane(row: Row, spacing: Spacing, table: Mapping[str, Any]) -> str:
    """Return the plane of the slices of a volume: as they were taken, else as the model wants them, else axial."""
    wanted, taken = str(table["ship"].get("orientation", "")), plane_of(spacing)
    if wanted not in ("", *PLANES):
        raise BadInput(f"[ship] orientation: expected one of {', '.join(PLANES)}, got {wanted!r}")
    whole = len(table["recipe"]["grid"]) == 3
    if wanted and taken and wanted != taken and not whole:
        raise BadInput(
            f"{row.place}: expected {wanted} slices, as the orientation in [ship] says, got a volume of {taken} ones: "
            f"its voxels are {' x '.join(f'{one:g}' for one in spacing)} mm (head, back, left); leave it out"
        )
    return taken or wanted or "axial"


def _pixels(path: Path, place: str) -> tuple[NDArray[Any], Spacing]:
    """Return pixels (z, y, x) and the spacing in mm, NaN where it is not known."""
    name = path.name.lower()
    if name.endswith(NIFTI):
        return read_nifti(path, place)
    if name.endswith(DICOM):
        raise BadInput(f"{place}: expected a picture or NIfTI, got DICOM; convert it first")
    return read_picture(path, place)[None], (np.nan, np.nan, np.nan)


def _mask(row: Row, image: NDArray[Any], labels: int) -> NDArray[np.uint8]:
    """Return label k as k; of a model with one label whatever is marked."""
    if row.mask is None:
        raise BadInput(f"{row.place}: expected a mask, found none; one without anything marked is a mask too")
    mask, _ = _pixels(row.mask, row.place)
    if mask.shape != image.shape:
        raise BadInput(f"{row.place}: expected a mask of the image's shape {image.shape}, got {mask.shape}")
    name = row.mask.name.lower()
    check_mask(row)
    if name.endswith(NIFTI) and (between := np.abs(mask - np.round(mask)) > WHOLE).any():
        raise BadInput(
            f"{row.place}: expected whole numbers in its mask, got {mask[between][0]:g}; resample it by the "
            "nearest neighbour: a mean of two labels is another label"
        )
    if labels > 1:
        if name.endswith((".jpg", ".jpeg")):
            raise BadInput(
                f"{row.place}: expected the numbers of {labels} labels in its mask, got JPEG, which changes them; "
                "draw it anew from its source, as PNG or NIfTI"
            )
        if not 0 <= mask.min() <= mask.max() <= labels:
            got = f"{mask.min():g} to {mask.max():g}"
            raise BadInput(f"{row.place}: expected labels 0 to {labels} in its mask, got {got}")
        return np.round(mask).astype(np.uint8)
    return np.asarray(mask > 0 if name.endswith(NIFTI) else marked(mask, row.place), np.uint8)
