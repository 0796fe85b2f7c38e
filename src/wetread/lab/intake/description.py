"""What a foreign model is, in the owner's words: a TOML file beside it, because no weights file says it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from wetread.errors import BadInput, ModelError
from wetread.lab.intake.graph import GIVES, LAYOUTS, Meaning
from wetread.lab.plan import ID, UNKNOWN, check_apart, recipe_of
from wetread.records import Recipe

__all__ = ["Description", "read_description"]

SHIP = ("version", "summary", "licence", "training_data", "modality", "body_part", "views")
LABEL = ("name", "code", "scheme", "meaning")
TASKS = ("classification", "segmentation")


@dataclass(frozen=True, slots=True)
class Description:
    """A description that holds everything a model folder must say."""

    table: Mapping[str, Any]  # as a training recipe: id, task, [recipe], [ship], and [model] for weights alone
    recipe: Recipe
    meaning: Meaning


def read_description(path: Path, known: Mapping[str, Any]) -> Description:
    """Read a description; what the file leaves out of ``[ship]`` is taken from `known`.

    Parameters
    ----------
    known
        What the model says about itself: a bundle's metadata.

    Raises
    ------
    BadInput
        The file is not there or no TOML, or a key is missing, unknown or impossible.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInput(
            f"{path}: expected a description in TOML (docs/how-to/bring-your-own.md), got {error}"
        ) from error
    for key in ("graph", "model", "recipe", "ship"):
        if not isinstance(table.get(key, {}), dict):
            raise BadInput(f"{path}: expected a table [{key}], got {table[key]!r}")
    ship = {**known, **table.get("ship", {})}
    missing = [f"ship.{key}" for key in SHIP if key not in ship]
    missing += [key for key in ("id", "task", "recipe") if key not in table]
    labels = ship.get("label", [])
    if not isinstance(labels, list) or not all(isinstance(label, dict) for label in labels):
        raise BadInput(f"{path}: expected a table [[ship.label]] for each label, got {labels!r}")
    missing += ["[[ship.label]]"] if not labels else []
    missing += [f"ship.label {key}" for label in labels for key in LABEL if key not in label]
    if missing:
        raise BadInput(f"{path}: expected {', '.join(missing)}, found none; see docs/how-to/bring-your-own.md")
    check_apart(labels, f"{path}, ship.label")
    if not re.fullmatch(ID, str(table["id"])):
        raise BadInput(f"{path}: id: expected small letters, digits and hyphens, at most 64, got {table['id']!r}")
    if table["task"] not in TASKS:
        raise BadInput(f"{path}: task: expected one of {TASKS}, got {table['task']!r}")
    try:
        recipe = recipe_of(table["recipe"])
    except (ModelError, TypeError, ValueError) as error:
        raise BadInput(f"{path}: {error}") from error
    meaning = _meaning(path, table.get("graph", {}))
    # A stranger's model must not be taken for ours.
    usual = {"temperature": 1.0, "manufacturer": UNKNOWN}
    return Description({**table, "ship": {**usual, **ship}}, recipe, meaning)


def _meaning(path: Path, table: Mapping[str, Any]) -> Meaning:
    known = {item.name for item in fields(Meaning)}
    if set(table) - known:
        raise BadInput(f"{path}: [graph]: expected any of {sorted(known)}, got {sorted(set(table) - known)}")
    keep, words = table.get("keep", []), {key: value for key, value in table.items() if key != "keep"}
    if not isinstance(keep, list) or not all(type(one) is int for one in keep):
        raise BadInput(f"{path}: [graph] keep: expected a list of channels, such as [1], got {keep!r}")
    if odd := [key for key, value in words.items() if not isinstance(value, str)]:
        raise BadInput(f"{path}: [graph] {odd[0]}: expected text, got {words[odd[0]]!r}")
    meaning = Meaning(**words, keep=tuple(keep))
    if meaning.layout not in LAYOUTS or meaning.gives not in GIVES:
        got = f"{meaning.layout!r} and {meaning.gives!r}"
        raise BadInput(f"{path}: [graph]: expected layout one of {LAYOUTS} and gives one of {GIVES}, got {got}")
    return meaning
