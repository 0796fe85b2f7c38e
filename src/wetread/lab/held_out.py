"""What each fold's network says of the patients it never saw, put together over the folds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread import infer
from wetread.errors import BadInput
from wetread.files import replacing
from wetread.lab.cases import Cases, used_folds
from wetread.lab.courses import rows_digest
from wetread.lab.crossed import OUTPUTS, Answers, answers, fold_folder
from wetread.lab.gridded import Gridded
from wetread.lab.plan import digest_of, recipe_of
from wetread.lab.predict import Predictor, eager
from wetread.lab.train import Plan
from wetread.lab.weights import load_weights
from wetread.measures import dice, hausdorff95
from wetread.prepare import back_mask_stack
from wetread.records import Mask

__all__ = ["fold_answers", "found_masks", "held_out", "overlaps", "pooled", "trained_network"]

Floats = NDArray[np.float64]
#: The recipe that a network was trained by, and the network.
Trained = tuple[dict[str, Any], Predictor]


def held_out(
    table: Mapping[str, Any], gridded: Gridded, folds: NDArray[np.int64], out: Path
) -> tuple[NDArray[np.int64], Answers]:
    """Return the rows of the folds in use, and the answers to them, each by the network that left its patient out.

    They are kept beside the weights, under the weights' digest.

    Raises
    ------
    BadInput
        A fold was not trained, or by another recipe than the first, or as `fold_answers`.
    """
    rows, parts, used = [], [], used_folds(table["folds"], folds)
    folders = [fold_folder(out, str(table["id"]), fold) for fold in used]
    networks = [trained_network(table, folder) for folder in folders]
    _check_alike(folders, [trained for trained, _ in networks])
    for fold, folder, network in zip(used, folders, networks, strict=True):
        rows.append(np.flatnonzero(folds[gridded.series] == fold))
        parts.append(fold_answers(table, rows[-1], gridded, folder, network))
    whole = np.concatenate(rows)
    masks = [part.masks for part in parts if part.masks is not None]
    logits = [part.logits for part in parts if part.logits is not None]
    together = Answers(np.concatenate(masks) if masks else None, np.concatenate(logits) if logits else None)
    order = np.argsort(whole, kind="stable")
    return whole[order], together.take(order)


def _check_alike(folders: Sequence[Path], tables: Sequence[Mapping[str, Any]]) -> None:
    """See that the networks of all folds learnt by one recipe: figures put together are of no network otherwise."""
    learnt = [digest_of(table, train=Plan.from_table(table["train"]).learnt()) for table in tables]
    for folder, digest in zip(folders, learnt, strict=True):
        if digest != learnt[0]:
            raise BadInput(
                f"{folder.parent.name}, {folder.name}: expected a network that learnt by the recipe of "
                f"{folders[0].name}, got one of another recipe or number of epochs; train one of them again with "
                "--fresh --fold"
            )


def trained_network(table: Mapping[str, Any], folder: Path) -> Trained:
    """Return the recipe that a fold's network was trained by, and the network in torch, float32."""
    trained, network = load_weights(folder / "weights.pt")
    return trained, eager(network, OUTPUTS[table["task"]], bf16=False)


def fold_answers(
    table: Mapping[str, Any], rows: NDArray[np.int64], gridded: Gridded, folder: Path, network: Trained
) -> Answers:
    """Return what the network of one fold says of the rows that it never saw; kept beside its weights.

    Parameters
    ----------
    network
        As `trained_network` gives it of that folder.

    Raises
    ------
    BadInput
        The rows are not those that were left out when it was trained.
    """
    trained, predictor = network
    apart = rows_digest(gridded, rows)
    if trained.get("apart") != apart:
        raise BadInput(
            f"{table['id']}, {folder.name}: expected a network that was trained without the images that it is judged "
            "on, got one of other folds or images; train it again with --fresh"
        )
    digest = hashlib.sha256(repr((predictor.digest, trained["recipe"], apart)).encode()).hexdigest()
    file = folder / "held-out.npz"
    if file.exists():
        with np.load(file) as kept:
            if str(kept["digest"]) == digest:
                return Answers(kept.get("masks"), kept.get("logits"))
    found = answers(predictor, gridded, rows, recipe_of(trained["recipe"]), table["task"])
    columns = {"masks": found.masks, "logits": found.logits}
    given = {name: column for name, column in columns.items() if column is not None}
    with replacing(file) as stream:
        np.savez(stream, digest=np.array(digest), **given)  # type: ignore[arg-type]
    return found


def found_masks(
    answered: Answers, gridded: Gridded, series: int, rows: NDArray[np.int64], table: Mapping[str, Any]
) -> Mask:
    """Return the masks (k, z, y, x) of one series on its own pixels, as deployment draws them.

    Parameters
    ----------
    rows
        Those of the gridded cases that were answered, in their order.
    table
        The recipe, whose ``[[ship.label]]`` says how many of the largest parts of each label stay.
    """
    assert answered.masks is not None
    values = answered.masks[gridded.series[rows] == series].astype(np.float32)
    grid = gridded.grids[series]
    stacks = values[0] if grid.span is not None else values.swapaxes(0, 1)
    told = table.get("ship", {}).get("label", ())
    counts = [int(label.get("largest", 0)) for label in told] or [0] * len(stacks)
    drawn = [infer.kept(stack, count) for stack, count in zip(stacks, counts, strict=True)]
    return np.stack([back_mask_stack(stack, grid) for stack in drawn])


def overlaps(found: Mask, cases: Cases, series: int, whole: bool) -> tuple[Floats, Floats]:
    """Return Dice and 95th percentile Hausdorff distance of each label of one series.

    Parameters
    ----------
    found
        (k, z, y, x) bool.
    whole
        Add the union of all labels at the end.

    Returns
    -------
    dice, hd95
        (k,) or (k + 1,); the distance in mm where the spacing is known, else in pixels;
        per slice and then averaged where the spacing along z is not known.
    """
    truth = np.stack([cases.masks[series] == label for label in range(1, len(found) + 1)])
    if whole:
        found = np.concatenate([found, found.any(0, keepdims=True)])
        truth = np.concatenate([truth, truth.any(0, keepdims=True)])
    spacing = np.nan_to_num(cases.spacing_mm[series], nan=1.0)
    volume = not np.isnan(cases.spacing_mm[series, 0])
    overlap = np.array([dice(ours, theirs) for ours, theirs in zip(found, truth, strict=True)])
    far = [
        hausdorff95(ours, theirs, tuple(spacing)) if volume else _slice_distance(ours, theirs, spacing[1:])
        for ours, theirs in zip(found, truth, strict=True)
    ]
    return overlap, np.array(far)


def _slice_distance(found: Mask, truth: Mask, spacing: Floats) -> float:
    """Mean over the slices that hold both outlines; 0 for two empty masks, infinite if no slice holds both."""
    if not found.any() and not truth.any():
        return 0.0
    far = [hausdorff95(a, b, tuple(spacing)) for a, b in zip(found, truth, strict=True) if a.any() and b.any()]
    return float(np.mean(far)) if far else float("inf")


def pooled(scores: NDArray[Any], series: NDArray[np.int64], pool: str, n: int) -> Floats:
    """Return one score a series from those of its slices: "max", or "mean-top-3"."""
    best = [np.sort(scores[series == one])[::-1] for one in range(n)]
    return np.array([values[0] if pool == "max" else values[:3].mean() for values in best], np.float64)
