"""The folders of CT and MR as cases; the manifests are the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from wetread.errors import BadInput
from wetread.lab.cases import Cases, Directions, by_size
from wetread.lab.data import manifest
from wetread.lab.nifti import directions_of, read_nifti
from wetread.lab.own import load_own
from wetread.lab.pictures import pixels_of

__all__ = ["SUBTYPES", "load"]

Row = dict[str, str]
SUBTYPES = ("intraventricular", "intraparenchymal", "subarachnoid", "epidural", "subdural")
#: Chest CT slices whose mask, looked at, holds the air around the body (three) or one lung only (0079).
WRONG_MASKS = ("ID_0052_Z_0108", "ID_0079_Z_0072", "ID_0134_Z_0137", "ID_0254_Z_0075")
#: A voxel of lung denser than this is not air (HU).
DENSE_HU = -400


def load(table: Mapping[str, Any], data: Path) -> Cases:
    """Return the cases that a recipe names as its data: one of `LOADERS`, or anybody's folder below `data`.

    Raises
    ------
    BadInput
        It is not there, or as `wetread.lab.own.load_own`.
    """
    name = str(table["data"])
    if name in LOADERS:
        return LOADERS[name](data / name)
    if not (data / name).is_dir():
        raise BadInput(f"data: expected one of {sorted(LOADERS)} or a folder below {data}, got {name!r}")
    return load_own(table, data / name)


def _pixels(path: Path) -> NDArray[Any]:
    image = pixels_of(path)
    if image is None:
        raise BadInput(f"expected an image, got none from {path.name}")
    return image[..., 0] if image.ndim == 3 else image


def _grouped(rows: list[Row], *keys: str) -> dict[tuple[str, ...], list[Row]]:
    """Return the rows of each series, in the order of their slices."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return {key: sorted(group, key=lambda row: int(row.get("slice", 0))) for key, group in groups.items()}


def _unknown(n: int) -> NDArray[np.float64]:
    return np.full((n, 3), np.nan)


def _axial(n: int) -> tuple[Directions, ...]:
    """Return the directions of axial slices as radiologists see them; of pictures, as looking at them tells."""
    return (directions_of("axial"),) * n


def ct_lungs(folder: Path) -> Cases:
    """Return single chest CT slices in HU.

    Traits: "mask", whether it is sound; and "lung", the quarter of slices with the largest
    share of dense lung against the others.
    """
    rows = manifest(folder)
    images = tuple(_pixels(folder / row["image"]).astype(np.int16)[None] - np.int16(1024) for row in rows)
    masks = tuple((_pixels(folder / row["lung_mask"]) > 0).astype(np.uint8)[None] for row in rows)
    dense = np.array([_dense_share(image[0], mask[0]) for image, mask in zip(images, masks, strict=True)])
    spacing = np.array([(np.nan, float(row["spacing_mm"]), float(row["spacing_mm"])) for row in rows])
    disease = np.where(dense >= np.percentile(dense, 75), "dense quarter", "others")
    wrong = np.array([row["id"] in WRONG_MASKS for row in rows])
    traits = {"mask": np.where(wrong, "wrong", "sound"), "lung": np.where(wrong, "", disease)}
    name = np.array([row["id"] for row in rows])
    return Cases(images, masks, (), name, np.full(len(rows), ""), spacing, traits, _axial(len(rows)))


def _dense_share(image: NDArray[np.int16], mask: NDArray[np.uint8]) -> float:
    """Return which share of the lung, without its rim of two pixels, is denser than air."""
    inner = cv2.erode(mask, np.ones((5, 5), np.uint8)) > 0
    return float((image[inner] > DENSE_HU).mean())


def haemorrhage(folder: Path) -> Cases:
    """Return head CTs, one a patient, as far as a brain window keeps their HU; labels: any haemorrhage."""
    groups = _grouped(manifest(folder), "patient")
    images = tuple(_hounsfield(np.stack([_pixels(folder / row["file"]) for row in rows])) for rows in groups.values())
    present = tuple(np.array([[int(row["hemorrhage"])] for row in rows], np.int64) for rows in groups.values())
    bleeding = np.array(["positive" if labels.any() else "negative" for labels in present])
    kinds = np.array([_kinds(rows) for rows in groups.values()])
    patient = np.array([key[0] for key in groups])
    n, traits = len(groups), {"bleeding": bleeding, "kind": kinds}
    return Cases(images, (), present, patient, np.full(n, ""), _unknown(n), traits, _axial(n))


def _hounsfield(grey: NDArray[np.uint8]) -> NDArray[np.float16]:
    """Return what the grey values stood for: a window of 120 HU around 40 (Hssayeni 2020)."""
    return (grey.astype(np.float32) * (120 / 255) - 20).astype(np.float16)


def _kinds(rows: list[Row]) -> str:
    return ", ".join(kind for kind in SUBTYPES if any(row[kind] == "1" for row in rows)) or "none"


def glioma(folder: Path) -> Cases:
    """Return FLAIR series with tumour masks, one a patient; the site is the institution."""
    groups = _grouped(manifest(folder), "patient_id", "site")
    images = tuple(np.stack([_pixels(folder / row["image"]) for row in rows]) for rows in groups.values())
    masks = tuple(
        np.stack([_mask(folder, row["mask"], image.shape[1:]) for row in rows])
        for image, rows in zip(images, groups.values(), strict=True)
    )
    present = tuple(np.array([[int(row["tumour"])] for row in rows], np.int64) for rows in groups.values())
    patient, site = (np.array([key[at] for key in groups]) for at in (0, 1))
    n, traits = len(groups), {"site": site, "tumour": by_size(masks)}
    return Cases(images, masks, present, patient, site, _unknown(n), traits, _axial(n))


def _mask(folder: Path, name: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    if not name:
        return np.zeros(shape, np.uint8)
    return (_pixels(folder / name) > 0).astype(np.uint8)


#: Ranges of patients of each group, as the challenge numbered them.
GROUPS = ("DCM", "HCM", "MINF", "normal", "RV")


def cardiac(folder: Path) -> Cases:
    """Return short-axis cine MR, one series a patient and phase; labels 1 RV, 2 myocardium, 3 LV."""
    groups = _grouped(manifest(folder), "patient_id", "phase")
    images = tuple(np.stack([_pixels(folder / row["image"]) for row in rows]) for rows in groups.values())
    masks = tuple(np.stack([_pixels(folder / row["label"]) for row in rows]) for rows in groups.values())
    patient, phase = (np.array([key[at] for key in groups]) for at in (0, 1))
    group = np.array([GROUPS[(int(name) - 1) // 20] for name in patient])
    n = len(groups)
    return Cases(images, masks, (), patient, np.full(n, ""), _unknown(n), {"phase": phase, "group": group})


def hippocampus(folder: Path) -> Cases:
    """Return T1 crops around a hippocampus; labels 1 anterior, 2 posterior."""
    names = [row["case"] for row in manifest(folder)]
    read = [read_nifti(folder / "images" / f"{name}.nii.gz") for name in names]
    masks = tuple(read_nifti(folder / "labels" / f"{name}.nii.gz")[0].astype(np.uint8) for name in names)
    spacing = np.array([spacing for _, spacing in read])
    images = tuple(pixels for pixels, _ in read)
    n, traits = len(names), {"hippocampus": by_size(masks)}
    return Cases(images, masks, (), np.array(names), np.full(n, ""), spacing, traits, _axial(n))


#: Folder, as recipes spell it, -> what reads it.
LOADERS: dict[str, Callable[[Path], Cases]] = {
    "ct/haemorrhage": haemorrhage,
    "ct/lungs": ct_lungs,
    "mri/cardiac": cardiac,
    "mri/glioma": glioma,
    "mri/hippocampus": hippocampus,
}
