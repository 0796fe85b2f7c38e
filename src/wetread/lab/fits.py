"""Whether a recipe can be meant, and its network fits its images and its task: asked before anything is learnt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from wetread.errors import BadInput
from wetread.lab import zoo
from wetread.lab.audit import Columns
from wetread.lab.augment import Augment
from wetread.lab.cases import Folds
from wetread.lab.courses import labels_of
from wetread.lab.crossed import OUTPUTS
from wetread.lab.plan import made_of, recipe_of
from wetread.lab.taught import check_children
from wetread.lab.train import Plan, device_of

__all__ = ["check_network", "check_tables"]


def check_tables(table: Mapping[str, Any]) -> None:
    """See that the tables by which a recipe's networks learn can be meant, also those that are read after a training.

    Raises
    ------
    BadInput
        As `wetread.lab.train.Plan.from_table`, `device_of`, `made_of`, and `wetread.lab.taught.check_children`.
    """
    device_of(Plan.from_table(table["train"]))
    made_of(Columns, table.get("audit", {}), "audit")
    if "folds" in table:
        made_of(Folds, table["folds"], "folds")
    check_children(table)


def check_network(table: Mapping[str, Any]) -> None:
    """See that a recipe's network takes its images, and the parts that `[augment] window` shows, and answers its task.

    Raises
    ------
    BadInput
        It does not, or that part is none of the image; or as `wetread.lab.zoo.build`.
    """
    recipe, window = recipe_of(table["recipe"]), Augment.from_table(table.get("augment", {})).window
    whole = (recipe.depth, *recipe.grid) if recipe.depth else recipe.grid
    if window and not (len(window) == len(whole) and all(map(_part, window, whole))):
        raise BadInput(f"recipe, [augment] window: expected sizes of at most the grid's, {whole}, got {window}")
    for key, sizes in ("[recipe] grid", whole), *((("[augment] window", window),) if window else ()):
        _check_answer(table, (recipe.channels, *sizes), key)


def _check_answer(table: Mapping[str, Any], image: tuple[int, ...], key: str) -> None:
    """See that a network runs on an image (c, [z,] y, x) and answers as many outputs of the sizes that its task has."""
    model, task, labels = dict(table["model"]), str(table["task"]), labels_of(table)
    try:
        with torch.no_grad():
            network = zoo.build(model | ({"pretrained": False} if "pretrained" in model else {})).eval()
            answer = network(torch.zeros(1, *image))
    except (RuntimeError, ValueError) as error:
        said = str(error).partition("\n")[0]
        raise BadInput(
            f"recipe, [model]: expected a network for images of {_told(image)} (channels, then {key}), got one that "
            f"fails on them: {said}; most networks halve the sizes several times: take some that divide by 32"
        ) from error
    found = [tuple(one.shape[1:]) for one in (answer if isinstance(answer, tuple) else (answer,))]
    masks = (labels, *image[1:])
    shapes = {"mask": masks, "logits": masks if task == "segmentation" else (labels,)}
    if found != [shapes.get(name, found[-1]) for name in OUTPUTS[task]]:  # a map has any size
        wanted = ", ".join(f"{name} of {_told(shapes[name])}" if name in shapes else name for name in OUTPUTS[task])
        raise BadInput(
            f"recipe, [model]: expected for a {task} of images of {_told(image)} (channels, then {key}) {wanted}, "
            f"got outputs of {', '.join(map(_told, found))}; see the options of {model['architecture']} in lab/zoo, "
            "such as outline or classify, or take sizes that divide by 32"
        )


def _part(size: object, whole: int) -> bool:
    return isinstance(size, int) and 0 < size <= whole


def _told(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
