"""The model folder that ships: ONNX builds, model.toml, golden.npz and certificate.json."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread.errors import BadInput
from wetread.infer import Build, Model, engine
from wetread.lab.phantom import LUNGS, chest
from wetread.lab.plan import recipe_of
from wetread.lab.written import write_json, write_text
from wetread.prepare import prepare
from wetread.records import Pixels, Recipe, Tensor
from wetread.uids import derive

__all__ = [
    *("BUILDS", "IDENTITY", "PRECISION", "REFERENCE", "engines_for", "exported", "golden_input", "passing", "runnable"),
    *("sha256_of", "write_folder"),
]

#: Name of a build -> the ONNX file it runs, and the precision it runs it in.
BUILDS = {
    "fp32": ("fp32.onnx", "fp32"),
    "bf16": ("fp32.onnx", "bf16"),
    "int8": ("int8.onnx", "int8"),
    "pruned-fp32": ("pruned-fp32.onnx", "fp32"),
    "pruned-bf16": ("pruned-fp32.onnx", "bf16"),
    "pruned-int8": ("pruned-int8.onnx", "int8"),
}
PRECISION = {name: precision for name, (_, precision) in BUILDS.items()}


#: The engine that runs everywhere: it fixes thresholds, temperatures and golden outputs where it runs a precision.
REFERENCE = "onnxruntime"
#: Largest tolerance of a golden output, as a share of its largest value.
MOST_APART = 0.2
#: What the golden input may be multiplied with.
SHADES = (1.0, 0.9, 0.8, 0.7)
#: Keys of a recipe's ``[ship]`` table that stand in the declaration as they are.
IDENTITY = ("version", "summary", "manufacturer", "licence", "training_data")
ROUTING = (
    *("modality", "body_part", "views", "orientation", "series_description", "series_description_not"),
    *("min_slices", "secondary", "needs_body_part"),
)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def engines_for(precision: str) -> list[str]:
    """Return the installed engines that run a precision on this host without emulating it."""
    return [name for name in engine.installed() if engine.natively(name, precision)]


def runnable(model: Model) -> list[Build]:
    """Return the builds of a model that an engine runs here."""
    return [build for build in model.builds if engines_for(build.precision)]


def exported(folder: Path) -> dict[str, Path]:
    """Return the builds whose ONNX files lie in a folder: name -> file."""
    files = {name: folder / file for name, (file, _) in BUILDS.items()}
    return {name: path for name, path in files.items() if path.exists()}


def passing(builds: Mapping[str, Path], verdicts: Iterable[Mapping[str, Any]]) -> dict[str, Path]:
    """Return the builds that were compared and failed no comparison; `verdicts` are the rows of a certificate."""
    rows = list(verdicts)
    judged, failed = {row["build"] for row in rows}, {row["build"] for row in rows if not row["passed"]}
    return {name: path for name, path in builds.items() if name in judged - failed}


def write_folder(
    folder: Path, table: Mapping[str, Any], builds: Mapping[str, Path], certificate: Mapping[str, Any]
) -> Path:
    """Write a model folder; the gate of the old one is kept if it was fixed on one of the new files.

    Parameters
    ----------
    table
        The recipe of training; its ``[ship]`` table says what the model is, with
        threshold and temperature filled in.
    builds
        Name -> ONNX file, the fp32 parent first; several may run one file.  Those that ``[ship]`` is
        `without` stay in the lab.
    certificate
        What `certify` found.

    Returns
    -------
    The folder.

    Raises
    ------
    BadInput
        There is no build; the folder stays as it is.
    """
    if not builds:
        lost = [
            f"{row['build']} on {row['engine']} ({row['metric']} {row['difference']:+.4f}, {row['patients']} patients)"
            for row in certificate["builds"]
            if not row["passed"]
        ]
        raise BadInput(
            f"{folder}: expected a build that passes its certificate, got none: {', '.join(lost)}; the folder stays as "
            "it is"
        )
    folder.mkdir(parents=True, exist_ok=True)
    before = _declared(folder / "model.toml")
    builds = {name: path for name, path in builds.items() if name not in table["ship"].get("without", ())}
    kept = _kept_golden(folder, before, builds)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:  # there may be no room for them
        new = Path(scratch)
        files = {name: Path(shutil.copyfile(path, new / path.name)) for name, path in builds.items()}
        tolerance = _write_golden(new / "golden.npz", table, files, kept)
        if kept:
            tolerance = max(tolerance, float(before["golden"]["tolerance"]))
        write_json(new / "certificate.json", certificate)
        write_text(new / "model.toml", _declaration(table, files, tolerance, before.get("gate", {})))
        for old in folder.glob("*.onnx"):
            old.unlink()
        for file in new.iterdir():
            file.replace(folder / file.name)
    return folder


def _declared(path: Path) -> dict[str, Any]:
    """Return a declaration that is about to be written anew, {} without one."""
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


Golden = dict[str, NDArray[np.floating]]


def _kept_golden(folder: Path, before: Mapping[str, Any], builds: Mapping[str, Path]) -> Golden:
    """Return the golden arrays of a folder's builds that no engine runs here and that stay as they are."""
    foreign = {
        one["name"]
        for one in before.get("build", ())
        if one["name"] in builds
        and not engines_for(PRECISION[one["name"]])
        and one["sha256"] == sha256_of(builds[one["name"]])
    }
    if not foreign:
        return {}
    with np.load(folder / "golden.npz") as stored:
        return {name: stored[name] for name in stored if name == "image" or name.partition("/")[0] in foreign}


def _write_golden(path: Path, table: Mapping[str, Any], files: Mapping[str, Path], kept: Golden) -> float:
    """Write the phantom's negative and each build's answers; return the tolerance.

    The negative, because a classifier is undecided about the drawn chest itself, and
    a difference is judged by the size of the answer; and of its shades the one on which
    the engines agree best.  The tolerance is twice the largest difference between the
    engines on this machine, so that a host of another kind passes and another network
    does not; but at most `MOST_APART`: an engine that is further off here computes something
    else, and is not to load.

    Parameters
    ----------
    kept
        The arrays of builds that nothing runs here; then the image is theirs.
    """
    image = golden_input(recipe_of(table["recipe"]))
    shades = [kept["image"]] if kept else [(image * share).astype(np.float16) for share in SHADES]
    tried = [_answered(shade, files) for shade in shades]
    worst, arrays = min(tried, key=lambda one: one[0])
    np.savez_compressed(path, **arrays | kept)  # type: ignore[arg-type]
    return round(min(max(0.02, 2 * worst), MOST_APART), 3)


def _answered(stored: NDArray[np.floating], files: Mapping[str, Path]) -> tuple[float, Golden]:
    """Return the largest difference between the engines, and the golden arrays."""
    arrays: Golden = {"image": stored}
    worst = 0.0
    for name, file in files.items():
        answers = [
            engine.loader(kind)(file.read_bytes(), PRECISION[name], 1, None).run(stored.astype(np.float32))
            for kind in sorted(engines_for(PRECISION[name]), key=lambda kind: kind != REFERENCE)
        ]
        if not answers:
            continue
        for output, value in answers[0].items():
            arrays[f"{name}/{output}"] = _packed(value)
            spread = max(float(np.abs(other[output] - value).max()) for other in answers)
            worst = max(worst, spread / max(float(np.abs(value).max()), 1e-6))
    return worst, arrays


def _packed(values: Tensor) -> NDArray[np.floating]:
    """Return values in steps of at most a thousandth of the largest, which float16 holds exactly and zlib packs well.

    An answer that floats16 do not reach stays as it is.
    """
    largest = float(np.abs(values).max())
    if not 2.0**-10 < largest < 2.0**15:
        return values
    step = 2.0 ** (np.floor(np.log2(largest)) - 10)
    return np.asarray(np.round(values / step) * step, np.float16)


def golden_input(recipe: Recipe) -> Tensor:
    """Return the phantom's negative, prepared: in a window its grey values span it, in a volume its slices fade."""
    film: Pixels = 4095 - chest()
    if recipe.window is not None:
        low, high = recipe.window
        film = (low + film * ((high - low) / 4095)).astype(np.float32)
    if recipe.depth:
        film = film[::20, ::20] * np.linspace(0.5, 1.0, recipe.depth, dtype=np.float32)[:, None, None]
    spacing = (1.0, 1.0, 1.0)
    return prepare(film, 1.0, recipe, LUNGS if recipe.region == "lungs" else None, spacing).tensor


def _declaration(table: Mapping[str, Any], files: Mapping[str, Path], tolerance: float, gate: Mapping[str, Any]) -> str:
    ship = table["ship"]
    plain = [*IDENTITY, *ROUTING, "temperature", "map_bound", "map_bound_rule", "pool"]
    lines = ["# Written by `wetread lab`; what is known about it is in card.md.", *_pairs(table, ("id", "task"))]
    lines += _pairs(ship, [key for key in plain if key in ship])
    for label in ship["label"]:
        lines += ["", "[[label]]", *_pairs(label, label)]
    if "intended" in ship:
        lines += ["", "[intended]", *_pairs(ship["intended"], ship["intended"])]
    lines += ["", "[recipe]", *_pairs(table["recipe"], table["recipe"])]
    for name, file in files.items():
        digest = sha256_of(file)
        build = {"name": name, "file": file.name, "precision": PRECISION[name], "sha256": digest}
        build["device_uid"] = derive("build", digest, PRECISION[name])
        lines += ["", "[[build]]", *_pairs(build, build)]
    golden = {"file": "golden.npz", "sha256": sha256_of(next(iter(files.values())).parent / "golden.npz")}
    lines += ["", "[golden]", *_pairs(golden, golden), f"tolerance = {tolerance}", ""]
    # A gate belongs to the bytes that it was fixed on.
    if gate.get("sha256") in {sha256_of(file) for file in files.values()}:
        lines += ["[gate]", *_pairs(gate, gate), ""]
    return "\n".join(lines)


def _pairs(table: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
    # JSON's strings, numbers and flat lists are TOML's.
    return [f"{key} = {json.dumps(table[key], ensure_ascii=False)}" for key in keys]
