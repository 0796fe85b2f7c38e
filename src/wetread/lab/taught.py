"""Networks that learn from a trained one: smaller ones, and such as are used to being rounded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wetread.errors import BadInput
from wetread.lab.aware import aware, plain
from wetread.lab.builds import FLOAT_BUILDS, note_source, weights_folder
from wetread.lab.certify import shipped_segmenter
from wetread.lab.courses import read_cases, series_course
from wetread.lab.folder import sha256_of
from wetread.lab.lungs import lung_course
from wetread.lab.plan import digest_of, recipe_of
from wetread.lab.pneumonia import pneumonia_course
from wetread.lab.prune import cut, distil
from wetread.lab.train import Course, Plan, fit
from wetread.lab.weights import load_weights, save_weights

__all__ = ["check_children", "course_of", "learn_to_be_rounded", "prune"]

Table = Mapping[str, Any]


def course_of(table: Table, data: Path, out: Path, models: Path) -> Course:
    """Return what a model was trained on; of a recipe with folds, everything but the fold that ships.

    Raises
    ------
    BadInput
        The data are not there, or a classifier of films comes before cxr-lungs has shipped.
    """
    if "folds" in table:
        return series_course(table, *read_cases(table, data), int(table["ship"]["fold"]))
    cache = out / "cache"
    if table["task"] == "segmentation":
        return lung_course(table, data, cache)
    model, segmenter = shipped_segmenter(models, forked=True)
    return pneumonia_course(table, segmenter, model.recipe, data, cache)


def prune(plan: Table, data: Path, out: Path, models: Path, *, resume: bool = True) -> Path:
    """Cut channels and heads from a trained model and let it learn from its parent, by the ``[prune]`` table.

    Parameters
    ----------
    plan
        The recipe at hand, which says how to prune; the weights say how they were trained.

    Returns
    -------
    The weights' file of the pruned model.

    Raises
    ------
    BadInput
        The model was not trained in this run folder, or its recipe does not say how to prune.
    """
    folder = weights_folder(plan, out)
    table, parent = load_weights(folder / "weights.pt")
    ratio = _share(_settings(plan, "prune"), "prune", "ratio")
    course = course_of(_at_hand(plan, table), data, out, models)
    child, course = cut(parent, recipe_of(table["recipe"]), ratio, course), distil(course, parent)
    by = digest_of(table, parent=sha256_of(folder / "weights.pt"), prune=_settings(plan, "prune"))
    state = fit(child, course, _schedule(plan, "prune", table), folder / "pruned", learnt_by=by, resume=resume)
    save_weights(folder / "weights-pruned.pt", table, state.average)
    return note_source(folder / "weights-pruned.pt", folder / "weights.pt")


def learn_to_be_rounded(plan: Table, data: Path, out: Path, models: Path, *, resume: bool = True) -> list[Path]:
    """Train each network of a model, whole and pruned, as its int8 build will run it, by the ``[quantize]`` table.

    Returns
    -------
    The weights' files, ``aware-*``.

    Raises
    ------
    BadInput
        The model was not trained in this run folder, or its recipe does not say how to learn.
    """
    folder, files = weights_folder(plan, out), []
    for file in FLOAT_BUILDS:
        if file == "weights.pt" or (folder / file).exists():
            table, parent = load_weights(folder / file)
            course = distil(course_of(_at_hand(plan, table), data, out, models), parent)
            run = folder / f"aware-{Path(file).stem}"
            by = digest_of(table, parent=sha256_of(folder / file))
            state = fit(aware(parent), course, _schedule(plan, "quantize", table), run, learnt_by=by, resume=resume)
            files.append(folder / f"aware-{file}")
            save_weights(files[-1], table, plain(parent, state.average))
    return files


def check_children(table: Table) -> None:
    """See that ``[prune]`` and ``[quantize]`` can be meant, where they are: they are read when all is trained.

    Raises
    ------
    BadInput
        As `Plan.from_table`, or ``ratio`` or ``max_drop`` is no share.
    """
    for name, key in (("prune", "ratio"), ("quantize", "max_drop")):
        if name in table:
            _schedule(table, name, table)
            if name == "prune" or key in table[name]:
                _share(table[name], name, key)


def _share(settings: Table, name: str, key: str) -> float:
    value: Any = settings.get(key)
    if not (type(value) in (int, float) and 0 <= value < 1):
        raise BadInput(f"recipe, [{name}] {key}: expected a share of at least 0 and below 1, got {value!r}")
    return float(value)


def _at_hand(plan: Table, table: Table) -> dict[str, Any]:
    """Return how a network was trained, with the fold that the recipe at hand ships."""
    return {**table, "ship": plan["ship"]}


def _settings(plan: Table, name: str) -> dict[str, Any]:
    if name not in plan:
        raise BadInput(f"{plan['id']}: expected a table [{name}] in the recipe, found none; see cxr-lungs.toml")
    return dict(plan[name])


def _schedule(plan: Table, name: str, table: Table) -> Plan:
    """Return how a child learns: the recipe at hand says what differs from how its parent was trained."""
    settings = {key: value for key, value in _settings(plan, name).items() if key not in ("ratio", "max_drop")}
    return Plan.from_table(table["train"] | {"steps": 0} | settings, name)
