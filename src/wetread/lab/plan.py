"""Recipes of training as readable files: what to train, on which grid, how long."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from wetread.errors import BadInput, ModelError
from wetread.infer.model import declared
from wetread.infer.recipe import parse as recipe_of
from wetread.lab.points import rule_words

__all__ = ["ID", "UNKNOWN", "check_apart", "digest_of", "load_plan", "made_of", "recipe_of"]

RECIPES = Path(__file__).parent / "recipes"
TASKS = ("classification", "segmentation", "segmentation+classification")
#: What every recipe says, besides `model` or, to compare several, `architecture`.
NEEDED = ("id", "task", "data", "recipe", "train")
#: The films that have a split of their own, and outside films beside them.
FILMS = "xray/kermany"
#: What of them is trained on, by the task.
REGIONS = {"segmentation": "image", "classification": "lungs"}
#: What a model may be called: it is a folder's name too.
ID = r"[a-z0-9][a-z0-9-]{0,63}"
#: Who made a model that does not say it.
UNKNOWN = "unknown"
#: What is a table where a recipe has it.
TABLES = ("model", "recipe", "train", "folds", "audit", "augment", "operating_point", "prune", "quantize", "ship")
#: What else a recipe may say, and what one that compares several does.
MORE = ("labels", "whole", "rivals", "published", "faults", "remarks", *TABLES)
COMPARED = ("architecture", "title", "search")
#: Trivial rivals, and the one that draws no masks.
RIVALS = ("threshold", "average mask", "brightness", "labels")
NO_MASKS = "labels"
#: Annotation of a field -> the types of its values.
KINDS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (float, int), "bool": (bool,), "str": (str,)}

#: What a recipe need not say: what is known of the data and its makers' figures, and how a threshold is fixed.
USUAL = {"rivals": [], "published": [], "faults": [], "remarks": "", "operating_point": {"balanced_accuracy": 1}}
#: The tables that weights depend on, besides how long and how fast they learn.
LEARNT_BY = ("data", "model", "recipe", "augment", "labels")

#: What builds must not lose, by the task.
METRICS = {"segmentation": {"dice"}, "classification": {"auc"}, "segmentation+classification": {"dice", "auc"}}
#: Keys of ``[ship]`` that a declaration does not hold.
OURS = ("fold", "withheld", "without", "margins", "metric", "margin")
#: Builds that may stay in the lab though they pass; all are certified against fp32.
LEFT_OUT = ("bf16", "int8", "pruned-fp32", "pruned-bf16", "pruned-int8")

Record = TypeVar("Record")


def load_plan(name: str | Path, several: bool = False) -> dict[str, Any]:
    """Return a training recipe by its name, or from a TOML file.

    Parameters
    ----------
    several
        It compares several networks, and ships none.

    Raises
    ------
    BadInput
        There is no such recipe, it lacks what every recipe says, or says what none does.
    """
    path = Path(name) if str(name).endswith(".toml") else RECIPES / f"{name}.toml"
    if not path.is_file():
        known = sorted(file.stem for file in RECIPES.glob("*.toml"))
        raise BadInput(f"expected one of {known} or a .toml file, got {str(name)!r}")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise BadInput(f"{path.name}: expected TOML: {error}") from error
    needed = (*NEEDED, "architecture" if several else "model")
    if missing := [key for key in needed if key not in table]:
        raise BadInput(f"{path.name}: expected {', '.join(needed)}, found no {', '.join(missing)}")
    keys = dict.fromkeys((*needed, *MORE, *(COMPARED if several else ())))
    if unknown := sorted(set(table) - set(keys)):
        raise BadInput(f"{path.name}: expected some of {', '.join(keys)}, got {', '.join(unknown)}")
    _check(table, path.name)
    _check_told(table, path.name)
    table = USUAL | {"labels": [one["name"] for one in table.get("ship", {}).get("label", [])]} | table
    if not several:
        _check_split(table, path.name)
        _check_ship(table, path.name)
        if path.resolve().parent != RECIPES.resolve():  # a stranger's model must not be taken for ours
            table["ship"] = {"manufacturer": UNKNOWN} | table["ship"]
    return table


def _check(table: Mapping[str, Any], name: str) -> None:
    """See that what every recipe says is of the right kind, and names no folder but its own."""
    if not isinstance(table["id"], str) or not re.fullmatch(ID, table["id"]):
        raise BadInput(f"{name}, id: expected small letters, digits and hyphens, got {table['id']!r}")
    if table["task"] not in TASKS:
        raise BadInput(f"{name}, task: expected one of {', '.join(TASKS)}, got {table['task']!r}")
    if not isinstance(table["data"], str) or ".." in Path(table["data"]).parts or Path(table["data"]).is_absolute():
        raise BadInput(f"{name}, data: expected a folder below --data, got {table['data']!r}")
    for key in TABLES:
        if not isinstance(table.get(key, {}), dict):
            raise BadInput(f"{name}, {key}: expected a table [{key}], got {table[key]!r}")
    labels = table.get("ship", {}).get("label", [])
    if not isinstance(labels, list) or not all(isinstance(one, dict) and one.get("name") for one in labels):
        raise BadInput(f"{name}, ship.label: expected tables [[ship.label]], each with a name")
    check_apart(labels, f"{name}, ship.label")
    if "folds" in table and type(table.get("ship", {}).get("fold", 0)) is not int:
        raise BadInput(f"{name}, [ship] fold: expected the number of a fold, got {table['ship']['fold']!r}")
    outputs = table.get("model", {}).get("labels", 1)
    if table["task"] != "segmentation" and outputs != 1:
        raise BadInput(
            f"{name}, [model] labels: expected 1 for a {table['task']}, got {outputs!r}: threshold, figures and "
            "certificate are of one label; train a model for each"
        )
    if labels and outputs != len(labels):
        raise BadInput(f"{name}, [model] labels: expected {len(labels)}, as there are [[ship.label]], got {outputs!r}")
    if "operating_point" in table:
        rule_words(table["operating_point"])
    try:
        recipe_of(table["recipe"])
    except ModelError as error:
        raise BadInput(f"{name}, {error}") from error


def check_apart(labels: Sequence[Mapping[str, Any]], where: str) -> None:
    """See that no two labels have one name: figures, cards and regions could not tell them apart."""
    names = [one["name"] for one in labels]
    if twice := [one for at, one in enumerate(names) if one in names[:at]]:
        raise BadInput(f"{where}: expected a name of its own for each label, got {twice[0]!r} twice")


def _check_told(table: Mapping[str, Any], name: str) -> None:
    """See that what the card is to tell can be told: it is read when all is trained."""
    for key in ("labels", "rivals", "published", "faults"):
        given = table.get(key, [])
        if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
            raise BadInput(f"{name}, {key}: expected a list of texts, got {given!r}")
    for key, kind, told in (("remarks", str, "a text"), ("whole", bool, "true or false")):
        if not isinstance(table.get(key, kind()), kind):
            raise BadInput(f"{name}, {key}: expected {told}, got {table[key]!r}")
    outputs, names = table.get("model", {}).get("labels", 1), table.get("labels")
    if "model" in table and names is not None and len(names) != outputs:
        raise BadInput(f"{name}, labels: expected {outputs}, as [model] labels says, got {names}")
    fit = [one for one in RIVALS if one != "threshold" or outputs == 1]
    fit = [NO_MASKS] if table["task"] == "classification" else fit
    if strange := [one for one in table.get("rivals", []) if one not in fit]:
        told = f"{table['task']} of {outputs} label{'s' * (outputs != 1)}"
        raise BadInput(f"{name}, rivals: expected some of {', '.join(fit)} of a {told}, got {strange[0]!r}")


def _check_split(table: Mapping[str, Any], name: str) -> None:
    """See that data that are split without folds are films, and laid in training as a node will lay them."""
    if "folds" in table:
        return
    if table["data"] != FILMS:
        raise BadInput(f"{name}: expected [folds], as only {FILMS} is split without; got data {table['data']!r}")
    if table["task"] not in REGIONS:
        raise BadInput(f"{name}, task: expected one of {', '.join(REGIONS)} of {FILMS}, got {table['task']!r}")
    wanted, got = REGIONS[table["task"]], recipe_of(table["recipe"]).region
    if got != wanted:
        raise BadInput(
            f"{name}, [recipe] region: expected {wanted!r}, in which a {table['task']} of {FILMS} is trained, got "
            f"{got!r}"
        )


def _check_ship(table: Mapping[str, Any], name: str) -> None:
    """See that a node could read what is declared: a folder that it cannot read keeps all others from loading."""
    if "ship" not in table:
        raise BadInput(f"{name}: expected a [[ship.label]] for each label of the network, found no table [ship]")
    ship, wanted = table["ship"], METRICS[table["task"]]
    if "withheld" in ship:
        return
    needed = ["summary", "label", *(["fold", "margins"] if "folds" in table else ["metric", "margin"])]
    if missing := [key for key in needed if key not in ship]:
        raise BadInput(f"{name}, [ship]: expected {', '.join(needed)}, found no {', '.join(missing)}")
    margins = ship["margins"] if "folds" in table else {ship["metric"]: ship["margin"]}
    if not (
        isinstance(margins, dict)
        and set(margins) == wanted
        and all(type(one) in (int, float) and 0 < one <= 1 for one in margins.values())
    ):
        told = " and ".join(sorted(wanted))
        raise BadInput(
            f"{name}, [ship.margins]: expected {told} of a {table['task']}, above 0 and at most 1, got {margins!r}"
        )
    without = ship.get("without", [])
    if not isinstance(without, list) or any(one not in LEFT_OUT for one in without):
        raise BadInput(f"{name}, [ship] without: expected some of {', '.join(LEFT_OUT)}, got {without!r}")
    whole = {key: value for key, value in ship.items() if key not in OURS}
    whole |= {key: table[key] for key in ("id", "task", "recipe")}
    folder = Path(name)
    try:
        declared(folder, whole | {"build": [], "golden": {"file": "golden.npz", "sha256": "", "tolerance": 0}})
    except ModelError as error:
        said = str(error).removeprefix(f"{folder / 'model.toml'}: ")
        raise BadInput(f"{name}, [ship]: {said}; see docs/reference/model-folder.md") from error


def digest_of(table: Mapping[str, Any], **more: Any) -> str:
    """SHA-256, hex, of what a recipe says that weights depend on, and of what else they do."""
    told = {key: table[key] for key in LEARNT_BY if key in table} | more
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def made_of(kind: type[Record], table: Mapping[str, Any], where: str) -> Record:
    """Make a dataclass of a recipe's table.

    Parameters
    ----------
    where
        The table's name, for people.

    Raises
    ------
    BadInput
        A key is unknown or missing, or a value is of another type.
    """
    known = {one.name: one for one in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(table) - set(known)):
        raise BadInput(f"recipe, [{where}]: expected some of {', '.join(known)}, got {', '.join(unknown)}")
    needed = [name for name, one in known.items() if one.default is MISSING]
    if missing := [name for name in needed if name not in table]:
        raise BadInput(f"recipe, [{where}]: expected {', '.join(needed)}, found no {', '.join(missing)}")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in table.items()}
    for name, value in values.items():
        if type(value) not in KINDS.get(str(known[name].type), (tuple,)):
            raise BadInput(f"recipe, [{where}] {name}: expected {known[name].type}, got {table[name]!r}")
    return kind(**values)
