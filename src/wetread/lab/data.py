"""The folders of radiographs as arrays in memory, and the split by patient.

The manifests are the truth; images are decoded once into a cache.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from wetread.errors import BadInput
from wetread.lab.pictures import pixels_of

__all__ = ["Films", "hannover", "held_back", "kermany", "manifest", "nih"]


@dataclass(frozen=True, slots=True)
class Films:
    """Radiographs of one folder, one row a film, in the manifest's order."""

    images: NDArray[np.uint8]  # (n, y, x)
    masks: NDArray[np.uint8]  # (n, y, x): 0 background, 127 ignore, 255 lung; all 127 where there is none
    aspect: NDArray[np.float64]  # (n,) height of a pixel over its width
    label: NDArray[np.int64]  # (n,) 1 pneumonia, 0 not
    patient: NDArray[np.str_]  # (n,)
    split: NDArray[np.str_]  # (n,) "train", "test"
    size: NDArray[np.int64]  # (n, 2) height, width of the original; 0 where not known
    age: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))  # (n,) years, NaN where not known; or (0,)
    traits: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)  # name -> (n,): subgroups; "" is in none

    def __len__(self) -> int:
        """Return the number of films."""
        return len(self.images)

    def masked(self) -> NDArray[np.bool_]:
        """Return (n,) which films have a mask of the lungs."""
        return np.array([bool((mask == 255).any()) for mask in self.masks])

    def take(self, rows: NDArray[np.int64]) -> Films:
        """Return the films of the given rows."""
        return Films(
            images=self.images[rows],
            masks=self.masks[rows],
            aspect=self.aspect[rows],
            label=self.label[rows],
            patient=self.patient[rows],
            split=self.split[rows],
            size=self.size[rows],
            age=self.age[rows] if len(self.age) else self.age,
            traits={name: column[rows] for name, column in self.traits.items()},
        )

    def meant(self, ages: Sequence[int] | None) -> NDArray[np.bool_]:
        """Return (n,) which films are of patients between two ages, both included; unknown ages count as such."""
        if ages is None or not len(self.age):
            return np.full(len(self), True)
        return ~((self.age < ages[0]) | (self.age >= ages[1] + 1))


def manifest(folder: Path) -> list[dict[str, str]]:
    """Return the rows of a folder's ``manifest.csv``."""
    manifest = folder / "manifest.csv"
    if not manifest.is_file():
        raise BadInput(f"expected {manifest}, found none; name the data folder by --data or WETREAD_DATA")
    with manifest.open(newline="") as stream:
        return list(csv.DictReader(stream))


def _grey(path: Path) -> NDArray[np.uint8]:
    image = pixels_of(path, cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise BadInput(f"expected an image, got none from {path.name}")
    return np.asarray(image, np.uint8)


def _mask(path: Path, side: int) -> NDArray[np.uint8]:
    """Return a mask on a square grid, each value where it covers more than half a pixel."""
    mask = _grey(path)
    out = np.zeros((side, side), np.uint8)
    for value in (255, 127):
        share = cv2.resize((mask == value).astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
        out[share > 0.5] = value
    return out


def _decode(folder: Path, rows: list[dict[str, str]], side: int, cache: Path) -> tuple[NDArray[np.uint8], ...]:
    key = hashlib.sha256((folder / "manifest.csv").read_bytes() + str(side).encode()).hexdigest()[:12]
    files = [cache / f"{folder.name}-{key}-{kind}.npy" for kind in ("images", "masks")]
    if not all(file.exists() for file in files):
        cache.mkdir(parents=True, exist_ok=True)
        images = np.zeros((len(rows), side, side), np.uint8)
        masks = np.full_like(images, 127)
        for at, row in enumerate(rows):
            images[at] = _grey(folder / row["image"])
            if row.get("lung_mask"):
                masks[at] = _mask(folder / row["lung_mask"], side)
        for file, array in zip(files, (images, masks), strict=True):
            partial = file.with_suffix(".partial.npy")
            np.save(partial, array)
            partial.rename(file)
    return tuple(np.load(file, mmap_mode="r") for file in files)


def _films(folder: Path, side: int, cache: Path, square: bool) -> Films:
    rows = manifest(folder)
    images, masks = _decode(folder, rows, side, cache)
    size = np.array([(int(row.get("orig_h") or 0), int(row.get("orig_w") or 0)) for row in rows])
    labels = [row.get("label", "").upper() == "PNEUMONIA" for row in rows]
    return Films(
        images=images,
        masks=masks,
        aspect=np.ones(len(rows)) if square else _aspect(size),
        label=np.array(labels, np.int64),
        patient=np.array([row["patient_id"] for row in rows]),
        split=np.array([row.get("split", "test") for row in rows]),
        size=size.astype(np.int64),
        age=np.array([float(age) if (age := row.get("age", "")).isdigit() else np.nan for row in rows]),
        traits=_traits(rows),
    )


#: Column of a manifest -> how the card calls the subgroups.
TRAITS = {"subtype": "kind", "sex": "sex", "view": "view"}
#: Ages, in years, that bound the subgroups of adults.
AGES = (40, 60)


def _traits(rows: list[dict[str, str]]) -> dict[str, NDArray[np.str_]]:
    """Return the subgroups that a manifest knows."""
    found = {TRAITS[key]: np.array([row[key] for row in rows]) for key in TRAITS if key in rows[0]}
    if "age" in rows[0]:
        found["age"] = np.array([_band(row["age"]) for row in rows])
    return found


def _band(age: str) -> str:
    if not age.isdigit():
        return ""
    low, high = AGES
    return f"below {low}" if int(age) < low else f"{low} to {high - 1}" if int(age) < high else f"{high} and more"


def _aspect(size: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return height over width; the median where the size is not known (5 training films)."""
    known = size[:, 1] > 0
    aspect = np.full(len(size), np.median(size[known, 0] / size[known, 1]))
    aspect[known] = size[known, 0] / size[known, 1]
    return aspect


def kermany(data: Path, cache: Path) -> Films:
    """Return the paediatric films, 224 x 224, squashed: the pixels are not square."""
    return _films(data / "xray" / "kermany", 224, cache, square=False)


def hannover(data: Path, cache: Path) -> Films:
    """Return the adult films with lung masks, 512 x 512: lungs from another hospital."""
    return _films(data / "xray" / "hannover_lungs", 512, cache, square=False)


def nih(data: Path, cache: Path) -> Films:
    """Return the adult films with text-mined labels, 512 x 512: pneumonia from another hospital."""
    return _films(data / "xray" / "nih_pneumonia", 512, cache, square=True)


def held_back(patient: NDArray[np.str_], share: float, seed: int) -> NDArray[np.bool_]:
    """Return which rows belong to the held-back patients.

    A patient's place is drawn from the hash of its id, so that it does not
    depend on which other patients there are.
    """

    def place(name: str) -> float:
        return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big") / 2**64

    return np.array([place(str(name)) < share for name in patient])
