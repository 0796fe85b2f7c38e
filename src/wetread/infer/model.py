"""A model is a folder: what `model.toml` declares, and the proof that the files are the ones it means.

::

    models/<id>/model.toml        identity, labels and thresholds, recipe, builds
    models/<id>/*.onnx            one graph a build, weights embedded
    models/<id>/golden.npz        one input and the outputs that each build must reproduce
    models/<id>/certificate.json  each build against the trained network
    models/<id>/card.md           for people
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wetread.errors import ModelDigestError, ModelError
from wetread.infer import recipe as recipes
from wetread.infer.declared import check_keys, number
from wetread.infer.gate import Gate, read_gate
from wetread.records import Code, Recipe

TASKS = ("classification", "segmentation", "segmentation+classification")
#: Planes of slices, and the axis (x, y, z) of the patient that their normal is closest to.
ORIENTATIONS = {"sagittal": 0, "coronal": 1, "axial": 2}
POOLS = ("max", "mean-top-3")
PRECISIONS = ("fp32", "bf16", "int8")
#: Lists that a declaration may leave out.
OPTIONAL = ("views", "series_description", "series_description_not")
#: What a declaration may say, beside and in its tables; recipe and gate know their own keys.
TOP = (
    *("id", "version", "task", "summary", "manufacturer", "licence", "training_data", "modality", "body_part", "views"),
    *("temperature", "map_bound", "map_bound_rule", "orientation", "series_description", "series_description_not"),
    *("min_slices", "secondary", "needs_body_part", "pool"),
    *("label", "intended", "recipe", "build", "golden", "gate"),
)
TABLES = {
    "label": (
        *("name", "code", "scheme", "meaning", "threshold", "threshold_rule", "abnormal", "largest", "one_of_pair"),
        *("plausible_ml", "plausible_share"),
    ),
    "intended": ("age_years", "field_mm", "rule"),
    "build": ("name", "file", "precision", "sha256", "device_uid"),
    "golden": ("file", "sha256", "tolerance"),
}
#: A larger file is not one of our models (bytes).
MOST_BYTES = 512 << 20
#: How an ONNX file says in which other file a weight stands: the key of an entry of TensorProto.external_data.
EXTERNAL = b"\x0a\x08location"


@dataclass(frozen=True, slots=True)
class Label:
    """One thing a model can say, with its code and the threshold that came with the model."""

    name: str
    code: Code
    threshold: float  # on the calibrated probability, 0..1
    threshold_rule: str  # how it was fixed, on which data
    abnormal: bool = False  # a region of it is altered, not normal anatomy
    largest: int = 0  # how many of the largest connected parts of its mask are kept; 0: all
    one_of_pair: bool = False  # of a paired organ, of which an image shows one: the header tells its side, or nobody
    plausible_ml: tuple[float, float] | None = None  # a volume outside is no such organ
    plausible_share: tuple[float, float] | None = None  # of the image; an area or volume outside is no such organ

    @property
    def expected(self) -> bool:
        """Whether it must be there: then an empty mask is implausible."""
        return self.plausible_ml is not None or self.plausible_share is not None


@dataclass(frozen=True, slots=True)
class Series:
    """Which series a model reads besides their modality and body part, and how slices give one answer."""

    orientation: str = ""  # plane of the slices: a key of `ORIENTATIONS`; "": any
    description: tuple[str, ...] = ()  # shell patterns, in any case; one must fit; (): any
    description_not: tuple[str, ...] = ()  # none may fit
    min_slices: int = 1
    secondary: bool = False  # whether series are read that were computed from others
    needs_body_part: bool = False  # whether an absent Body Part Examined refuses
    pool: str = "max"  # a series' probability from those of its slices: one of `POOLS`


@dataclass(frozen=True, slots=True)
class Intended:
    """The patients and images that a model was made for; on others it must not answer."""

    age_years: tuple[int, int] | None = None  # youngest and oldest, completed years, both included; None: any
    field_mm: float = 0.0  # least height and width of what an image shows; 0: any


@dataclass(frozen=True, slots=True)
class Build:
    """One way to run a model: an ONNX file, a precision, a Device UID of its own."""

    name: str
    path: Path
    precision: str  # one of `PRECISIONS`
    sha256: str
    device_uid: str
    engines: tuple[str, ...]  # those on which its certificate passed, for this very file

    @property
    def certified(self) -> bool:
        """Whether it may answer, on some engine."""
        return bool(self.engines)


@dataclass(frozen=True, slots=True)
class Model:
    """The declaration of a model folder."""

    id: str
    version: str
    task: str  # one of `TASKS`
    summary: str
    manufacturer: str
    licence: str
    training_data: tuple[str, ...]
    modality: tuple[str, ...]
    body_part: tuple[str, ...]
    views: tuple[str, ...]
    labels: tuple[Label, ...]
    temperature: float  # logits are divided by it before the sigmoid
    map_bound: float  # least share of a map inside the organ that is still trustworthy, 0..1
    recipe: Recipe
    builds: tuple[Build, ...]
    golden_path: Path
    golden_sha256: str
    golden_tolerance: float  # largest difference, as a share of the largest expected value
    folder: Path
    series: Series = Series()
    intended: Intended = Intended()
    gate: Gate = Gate()

    @property
    def segments(self) -> bool:
        """Whether it outlines something."""
        return self.task != "classification"

    @property
    def classifies(self) -> bool:
        """Whether it states findings."""
        return self.task != "segmentation"

    @property
    def mask_output(self) -> str:
        """The output that holds the mask's logits."""
        return "mask" if self.classifies else "logits"

    def build(self, name: str) -> Build:
        """The build of that name, or a ModelError that lists the names there are."""
        for build in self.builds:
            if build.name == name:
                return build
        raise ModelError(f"model {self.id}: expected a build of {[b.name for b in self.builds]}, got {name!r}")


def read(folder: Path) -> Model:
    """Read the declaration of a model folder; no ONNX file is opened.

    Raises
    ------
    ModelError
        `model.toml` is missing, is not TOML, lacks or misnames a key, or has a value that a model cannot have.
    """
    path = folder / "model.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelError(f"{path}: expected a model declaration in TOML, got {error}") from error
    return declared(folder, table)


def declared(folder: Path, table: Mapping[str, Any]) -> Model:
    """What the table of a `model.toml` in a folder declares; no file but a certificate is looked for.

    Raises
    ------
    ModelError
        It lacks or misnames a key, or has a value that a model cannot have.
    """
    path = folder / "model.toml"
    try:
        return _model(folder, table)
    except (KeyError, TypeError) as error:
        raise ModelError(f"{path}: missing or misnamed key: {error}") from error
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{path}: a value that is of another type than expected: {error}") from error


def _model(folder: Path, table: Mapping[str, Any]) -> Model:
    passed, path = _certificates(folder), folder / "model.toml"
    _check_tables(table, path)
    words = {key: table[key] for key in ("id", "version", "licence", "summary", "manufacturer") if key in table}
    if odd := [key for key, value in words.items() if not isinstance(value, str)]:
        raise ModelError(f"{path}: {odd[0]}: expected text, got {words[odd[0]]!r}")
    temperature = float(table.get("temperature", 1.0))
    if not 0 < temperature < math.inf:
        raise ModelError(f"{path}: temperature: expected a number above 0, got {temperature:g}")
    return Model(
        id=table["id"],
        version=table["version"],
        task=_one_of(table["task"], TASKS, "task", path),
        summary=table.get("summary", ""),
        manufacturer=table.get("manufacturer", "Wetread"),
        licence=table["licence"],
        training_data=_texts(table, "training_data", path),
        modality=_texts(table, "modality", path),
        body_part=_texts(table, "body_part", path),
        views=_texts(table, "views", path),
        labels=tuple(_label(item, path) for item in table["label"]),
        temperature=temperature,
        map_bound=number(table.get("map_bound", 0.0), f"{path}: map_bound", 1.0),
        recipe=recipes.parse(table["recipe"]),
        builds=tuple(_build(folder, item, passed) for item in table["build"]),
        golden_path=_inside(folder, table["golden"]["file"]),
        golden_sha256=table["golden"]["sha256"],
        golden_tolerance=number(table["golden"]["tolerance"], f"{path}: [golden] tolerance", 1.0),
        folder=folder,
        series=_series(table, path),
        intended=_intended(table.get("intended", {}), path),
        gate=read_gate(table, path),
    )


def _check_tables(table: Mapping[str, Any], path: Path) -> None:
    """Refuse keys that are no declaration's."""
    check_keys(table, TOP, str(path))
    for name, known in TABLES.items():
        given = table.get(name, [])
        for one in given if isinstance(given, list) else [given]:
            check_keys(one, known, f"{path}: [{name}]")


def _label(item: Mapping[str, Any], path: Path) -> Label:
    words = {key: item[key] for key in ("name", "code", "scheme", "meaning")}
    if odd := [key for key, value in words.items() if not (isinstance(value, str) and value)]:
        raise ModelError(f"{path}: label {item['name']}: {odd[0]}: expected text, got {words[odd[0]]!r}")
    ranges = {key: tuple(map(float, item[key])) for key in ("plausible_ml", "plausible_share") if key in item}
    if any(len(ends) != 2 or not 0 <= ends[0] < ends[1] for ends in ranges.values()):
        raise ModelError(f"{path}: label {item['name']}: expected plausible values as [low, high], got {ranges}")
    threshold = float(item.get("threshold", 0.5))
    if not 0 <= threshold <= 1:
        raise ModelError(f"{path}: label {item['name']}: expected a threshold of 0 to 1, got {threshold:g}")
    return Label(
        item["name"],
        Code(item["code"], item["scheme"], item["meaning"]),
        threshold,
        item.get("threshold_rule", ""),
        bool(item.get("abnormal", False)),
        int(number(item.get("largest", 0), f"{path}: label {item['name']}: largest")),
        bool(item.get("one_of_pair", False)),
        **ranges,  # type: ignore[arg-type]
    )


def _series(table: Mapping[str, Any], path: Path) -> Series:
    return Series(
        orientation=_one_of(table.get("orientation", ""), ("", *ORIENTATIONS), "orientation", path),
        description=_texts(table, "series_description", path),
        description_not=_texts(table, "series_description_not", path),
        min_slices=int(table.get("min_slices", 1)),
        secondary=bool(table.get("secondary", False)),
        needs_body_part=bool(table.get("needs_body_part", False)),
        pool=_one_of(table.get("pool", "max"), POOLS, "pool", path),
    )


def _intended(table: Mapping[str, Any], path: Path) -> Intended:
    ages, field_mm = table.get("age_years"), number(table.get("field_mm", 0.0), f"{path}: [intended] field_mm")
    if ages is not None and not (len(ages) == 2 and all(type(age) is int for age in ages) and 0 <= ages[0] <= ages[1]):
        raise ModelError(f"{path}: [intended] age_years: expected [youngest, oldest] in whole years, got {ages}")
    return Intended((ages[0], ages[1]) if ages is not None else None, field_mm)


def _texts(table: Mapping[str, Any], key: str, path: Path) -> tuple[str, ...]:
    """A list of texts: one text alone would be read letter by letter."""
    value = table.get(key, []) if key in OPTIONAL else table[key]
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ModelError(f"{path}: {key}: expected a list of texts, got {value!r}")
    return tuple(value)


def _one_of(value: str, allowed: Sequence[str], key: str, path: Path) -> str:
    if value not in allowed:
        raise ModelError(f"{path}: {key}: expected one of {tuple(allowed)}, got {value!r}")
    return value


def _build(folder: Path, item: Mapping[str, Any], passed: Mapping[tuple[str, str], str]) -> Build:
    engines = tuple(kind for (name, kind), sha256 in passed.items() if (name, sha256) == (item["name"], item["sha256"]))
    path = _inside(folder, item["file"])
    precision = _one_of(item["precision"], PRECISIONS, f"build {item['name']}: precision", folder / "model.toml")
    return Build(item["name"], path, precision, item["sha256"], item["device_uid"], engines)


def _inside(folder: Path, name: str) -> Path:
    """A file of the folder by its bare name: a path could leave the folder."""
    if Path(name).name != name or name.startswith("."):
        raise ModelError(f"{folder}/model.toml: expected a bare file name, got {name!r}")
    return folder / name


def _certificates(folder: Path) -> dict[tuple[str, str], str]:
    """SHA-256 by build and engine of what passed on all data that it was tried on; engines stand for themselves."""
    path = folder / "certificate.json"
    if not path.is_file():
        return {}
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["builds"]
        failed = {(row["build"], row["engine"]) for row in rows if row["passed"] is not True}
        tried = {(row["build"], row["engine"]): row["sha256"] for row in rows}
        return {pair: sha256 for pair, sha256 in tried.items() if pair not in failed}
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: expected a certificate with a list `builds`, got {error}") from error


def read_verified(path: Path, sha256: str) -> bytes:
    """The bytes of a file whose digest is the declared one; nothing is parsed before.

    Raises
    ------
    ModelError
        The file is missing or too large.
    ModelDigestError
        The digest differs.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ModelError(f"{path.name}: expected at most {MOST_BYTES} bytes, got {size}")
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}; install the model again") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ModelDigestError(
            f"{path}: expected SHA-256 {sha256[:16]}..., got {found[:16]}...; install the model again"
        )
    return data


def read_graph(build: Build) -> bytes:
    """The bytes of a build's ONNX file, with every weight in them.

    An engine would look for weights that stand elsewhere in the current folder, also when it
    is given the graph from memory; no digest covers those.

    Raises
    ------
    ModelError
        The file is missing or too large, or names another file.
    ModelDigestError
        The digest differs.
    """
    data = read_verified(build.path, build.sha256)
    if EXTERNAL in data:
        raise ModelError(
            f"{build.path}: expected all weights in the file, got the location of others; export with embedded weights"
        )
    return data


def find(folder: Path) -> tuple[Model, ...]:
    """All models below a folder, by id.

    Raises
    ------
    ModelError
        The folder does not exist, one of the models is ill declared, or two declare one id.
    """
    if not folder.is_dir():
        raise ModelError(f"models folder {folder}: does not exist; name one with --models")
    found: dict[str, Model] = {}
    for path in sorted(folder.glob("*/model.toml")):
        model = read(path.parent)
        other = found.setdefault(model.id, model)
        if other is not model:  # both would answer under one name, and their regions bear the same UIDs
            both = f"{other.folder} and {model.folder}"
            raise ModelError(f"{both}: expected one folder of the model {model.id}, got two; move one away")
    return tuple(sorted(found.values(), key=lambda model: model.id))
