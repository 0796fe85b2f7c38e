"""What people have -> rows: a manifest, class folders, or NIfTI pairs; no pixel is read here.

A folder is taken for the first of these that it is:

1. ``manifest.csv`` with a column that names the images;
2. ``dataset.json`` of the Medical Segmentation Decathlon;
3. NIfTI pairs: ``images/`` and ``labels/`` (or ``imagesTr/`` and ``labelsTr/``), equal names;
4. class folders: ``CLASS/*`` or ``train/CLASS/*`` and ``test/CLASS/*``.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from wetread.errors import BadInput

__all__ = ["Columns", "Row", "rows_of"]

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
NIFTI = (".nii", ".nii.gz")
DICOM = (".dcm",)
#: Folders of images and of their masks.
PAIRS = (("images", "labels"), ("imagesTr", "labelsTr"))
SPLITS = ("train", "training", "val", "valid", "validation", "test", "testing")
#: What a column may be called, the likeliest first.
IMAGE = ("image", "file", "filename", "path", "case")
MASK = ("mask", "lung_mask", "segmentation", "seg", "label")
LABEL = ("label", "class", "target", "diagnosis")
PATIENT = ("patient_id", "patient", "subject_id", "subject", "participant_id")
SPLIT = ("split", "fold", "partition")
#: What is known of an image without looking at it, and must not tell its class.
FACTS = (
    *("site", "institution", "hospital", "scanner", "manufacturer", "device", "modality"),
    *("view", "position", "age", "sex", "gender", "slice", "orig_h", "orig_w", "spacing_mm"),
)
#: Facts that are numbers in no sense, even where a manifest numbers their values.
NAMES = frozenset({*FACTS, "folder"} - {"age", "slice", "orig_h", "orig_w", "spacing_mm"})


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column of the manifest means what; "" where it is to be guessed from its name."""

    label: str = ""
    positive: str = ""  # the class that counts as 1, all others as 0; "": as many classes as there are
    patient: str = ""
    patient_pattern: str = ""  # regular expression on the file's path, whose first group is the patient
    facts: tuple[str, ...] = ()  # further columns that must not tell the class


@dataclass(frozen=True, slots=True)
class Row:
    """One image and what is known about it; "" where something is not."""

    place: str  # folder and number, for messages: never a patient's name
    image: Path
    mask: Path | None
    patient: str
    label: str
    facts: Mapping[str, str] = field(default_factory=dict)  # also "split" and "folder"
    by_folder: bool = False  # the label is a folder's name


def rows_of(folders: Sequence[Path], columns: Columns) -> list[Row]:
    """Return the images of the folders, in the order of the manifest or of their names.

    Raises
    ------
    BadInput
        A folder is not there, may not be read or is none of the kinds above, or a column that was named does not exist.
    """
    rows = [row for folder in folders for row in _folder(Path(folder), columns)]
    if columns.positive and columns.positive.casefold() not in {row.label.casefold() for row in rows}:
        known = sorted({row.label for row in rows})[:10]
        raise BadInput(
            f"--positive, or `positive` in a recipe's [audit]: expected one of the classes {known}, got "
            f"{columns.positive!r}"
        )
    return rows


def _folder(folder: Path, columns: Columns) -> list[Row]:
    if not folder.is_dir():
        raise BadInput(f"expected a folder at {folder}, found none")
    if not _enterable(folder):
        raise BadInput(f"{folder}: expected a folder that may be read, got one that may not")
    if (folder / "manifest.csv").is_file():
        rows = list(_manifest(folder, columns))
    elif (folder / "dataset.json").is_file():
        rows = list(_decathlon(folder, columns))
    else:
        rows = list(_pairs(folder, columns)) or list(_classes(folder, columns))
    if not rows:
        raise BadInput(
            f"{folder}: expected manifest.csv, dataset.json, images/ with labels/ in NIfTI, or a folder a class; "
            f"found none of them; files are known by their ends, {' '.join((*PICTURES, *NIFTI, *DICOM))}; see "
            "docs/how-to/bring-your-own.md"
        )
    return rows


def _enterable(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.X_OK)


def _manifest(folder: Path, columns: Columns) -> Iterator[Row]:
    table = _table(folder / "manifest.csv")
    names = list(table[0])
    for given in (columns.label, columns.patient, *columns.facts):
        if given and given not in names:
            raise BadInput(f"{folder}/manifest.csv: expected a column {given!r}, got {names}")
    first = table[0]
    image = next((name for name in IMAGE if name in names and _found(folder, "images", first[name])), "")
    if not image:
        raise BadInput(
            f"{folder}/manifest.csv: expected a column of {IMAGE} whose files exist, got {names} "
            f"and in the first row no file{_separated(names)}"
        )
    mask = next((name for name in MASK if any(_found(folder, "labels", row.get(name)) for row in table[:50])), "")
    mask = mask or (image if _found(folder, "labels", first[image]) != _found(folder, "images", first[image]) else "")
    label = columns.label or next((name for name in LABEL if name in names and name != mask), "")
    patient = columns.patient or next((name for name in PATIENT if name in names), "")
    split = next((name for name in SPLIT if name in names), "")
    wanted = [name for name in names if name.lower() in FACTS or name in columns.facts]
    for number, row in enumerate(table, 1):
        file = _found(folder, "images", row[image])
        if file is None:
            raise BadInput(f"{folder}/manifest.csv row {number}: expected a file inside the folder, found none")
        drawn = _found(folder, "labels", row[mask]) if mask else None
        if mask and (row[mask] or "").strip() and drawn is None:
            raise BadInput(
                f"{folder}/manifest.csv row {number}, {mask}: expected a file inside the folder, or an empty cell, got "
                "the name of none"
            )
        facts = {name.lower(): row[name] for name in wanted} | {"split": row.get(split) or "", "folder": folder.name}
        yield Row(
            place=f"{folder} row {number}",
            image=file,
            mask=drawn,
            patient=_patient(row.get(patient) or "", file.relative_to(folder), columns),
            label=(row.get(label) or "").strip(),
            facts={name: value for name, value in facts.items() if value} | _all_columns(row),
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: expected a file that can be read, got another: {error.strerror}") from error


def _table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a manifest."""
    data = _read(path)
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        table, names = list(reader), list(reader.fieldnames or ())
    except UnicodeDecodeError as error:
        place = f"{path} line {data[: error.start].count(10) + 1}"
        got = "UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else f"the byte 0x{data[error.start]:02x}"
        raise BadInput(f"{place}: expected UTF-8, got {got}; save the table as CSV in UTF-8") from error
    except csv.Error as error:
        raise BadInput(f"{path}: expected a table, got what is none: {error}; save it as CSV in UTF-8") from error
    if not table:
        raise BadInput(f"{path}: expected rows, found none")
    if twice := [name for at, name in enumerate(names) if name in names[:at]]:
        raise BadInput(f"{path}: expected columns of different names, got {twice[0]!r} twice; rename one")
    for number, row in enumerate(table, 1):
        if None in row:
            raise BadInput(
                f"{path} row {number}: expected {len(row) - 1} cells, as in the first line, got more; put a cell that "
                "holds a comma in quotes"
            )
    return table


def _separated(names: Sequence[str]) -> str:
    """Return what to do if the whole line was taken for one column."""
    return "; put commas between the cells" if len(names) == 1 and re.search("[;\t|]", names[0]) else ""


def _all_columns(row: Mapping[str, str]) -> dict[str, str]:
    """Every column by ``=name``: a split may be made by any of them, the rivals do not see them."""
    return {f"={name}": value or "" for name, value in row.items()}


def _found(folder: Path, below: str, name: str | None) -> Path | None:
    """The file that a cell names: as a path, or as the bare name of a file in images/ or labels/."""
    if not name:
        return None
    for start in (folder, folder / below):
        for end in ("", ".nii.gz", ".nii"):
            path = start / f"{name}{end}"
            with suppress(OSError):  # a text that is too long for a name
                if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
                    return path
    return None


def _decathlon(folder: Path, columns: Columns) -> Iterator[Row]:
    try:
        table = json.loads(_read(folder / "dataset.json"))
        pairs = [(str(item["image"]), str(item["label"])) for item in table["training"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInput(
            f"{folder}/dataset.json: expected the Decathlon's list `training` of image and label, got {error!r}"
        ) from error
    for number, (image, label) in enumerate(pairs, 1):
        file, mask = _found(folder, "images", image), _found(folder, "labels", label)
        if file is None or mask is None:
            raise BadInput(f"{folder}/dataset.json training {number}: expected two files inside the folder, found less")
        yield Row(
            f"{folder} training {number}", file, mask, _volume(file, columns, folder), "", {"folder": folder.name}
        )


def _pairs(folder: Path, columns: Columns) -> Iterator[Row]:
    for images, labels in PAIRS:
        files = sorted(file for file in (folder / images).glob("*") if file.name.lower().endswith(NIFTI))
        for number, file in enumerate(files, 1):
            mask = folder / labels / file.name
            if not mask.is_file():
                raise BadInput(
                    f"{folder}/{images} file {number}: expected {labels}/ with a file of its name, found none"
                )
            yield Row(
                f"{folder}/{images} file {number}",
                file,
                mask,
                _volume(file, columns, folder),
                "",
                {"folder": folder.name},
            )


def _classes(folder: Path, columns: Columns) -> Iterator[Row]:
    below_it = sorted(folder.rglob("*"))
    if any(one.is_symlink() and one.is_dir() for one in below_it):
        raise BadInput(f"{folder}: expected folders, got a link to one, whose files would be left out; copy it there")
    if shut := sum(one.is_dir() and not _enterable(one) for one in below_it):
        raise BadInput(
            f"{folder}: expected folders that may be read, got {shut} that may not, whose files would be left out"
        )
    for pair in (*PAIRS, ("images", "masks")):
        if all(any(one.name.lower().endswith(PICTURES) for one in (folder / part).glob("*")) for part in pair):
            raise BadInput(
                f"{folder}: expected NIfTI, or a folder a class, got pictures in {pair[0]}/ and {pair[1]}/; name "
                "pictures and their masks in a manifest.csv with the columns image, mask and patient_id"
            )
    files = [file for file in below_it if file.name.lower().endswith((*PICTURES, *NIFTI, *DICOM))]
    for number, file in enumerate(files, 1):
        above = file.relative_to(folder).parts[:-1]
        split = above[0] if above and above[0].lower() in SPLITS else ""
        below = above[1:] if split else above
        facts = {"folder": folder.name} | ({"split": split} if split else {})
        yield Row(
            place=f"{folder} file {number} by name",
            image=file,
            mask=None,
            patient=_patient("", file.relative_to(folder), columns),
            label=below[0] if below else "",
            facts=facts,
            by_folder=True,
        )


def _volume(file: Path, columns: Columns, folder: Path) -> str:
    """A volume is one patient, unless the file's name says otherwise."""
    return _patient(file.name.lower().split(".nii")[0], file.relative_to(folder), columns)


def _patient(given: str, file: Path, columns: Columns) -> str:
    if not columns.patient_pattern:
        return given.strip().casefold()
    try:
        found = re.search(columns.patient_pattern, file.as_posix())
    except re.error as error:
        raise BadInput(
            f"--patient-from, or `patient_pattern` in a recipe's [audit]: expected a regular expression, got "
            f"{columns.patient_pattern!r}: {error}"
        ) from error
    if found is None or not found.groups():
        return ""
    return str(found.group(1)).strip().casefold()
