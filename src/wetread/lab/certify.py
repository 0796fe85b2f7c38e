"""A build ships only if it is provably as good as the network it was made of: a paired comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread.errors import BadInput
from wetread.infer import Choice, Model, candidates, read
from wetread.lab.data import Films
from wetread.lab.folder import PRECISION, engines_for, sha256_of
from wetread.lab.lungs import film_dice
from wetread.lab.predict import Predictor, built, lung_boxes, predict_lungs
from wetread.lab.subgroups import DRAWS, FACTOR, SEED, SMALLEST, Paired, subgroup_rows
from wetread.records import Recipe

__all__ = [
    *("PARENT", "boxes_of", "certified", "document", "film_scores", "fit_temperature", "network", "shipped_boxes"),
    *("shipped_segmenter", "standing", "verdict"),
]

PARENT = "fp32"
Scores = NDArray[np.float64]


def verdict(build: str, engine: str, path: Path, paired: Paired, margin: float) -> dict[str, Any]:
    """Return one row of the certificate.

    It passes if the loss is below the margin with 97.5 % confidence, over all patients, two at least, and
    in each subgroup that is judged (`wetread.lab.subgroups`).
    """
    change, _ = paired.change(margin)
    parts = subgroup_rows(paired, margin)
    parent = paired.of_parent
    return {
        "build": build,
        "engine": engine,
        "sha256": sha256_of(path),
        "metric": paired.metric,
        "parent": parent,
        "value": parent + change.value,
        "difference": change.value,
        "interval_95": [change.low, change.high],
        "margin": margin,
        "n": change.n,
        "patients": change.groups,
        "subgroups": parts,
        "passed": change.groups > 1 and bool(change.low >= -margin) and all(row.get("passed", True) for row in parts),
    }


def standing(folder: Path, files: Mapping[str, Path], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of a folder's certificate that this machine cannot make again, and that still hold.

    They are of a file that is still the same, on an engine that does not run its precision here, on the data and with
    the margin of the comparison at hand: without them a model would lose its bfloat16 builds wherever it is certified
    on a processor without bfloat16.

    Parameters
    ----------
    rows
        Those of the comparison at hand.
    """
    path = folder / "certificate.json"
    known = json.loads(path.read_text(encoding="utf-8"))["builds"] if path.is_file() else []
    asked = {(row["data"], row["metric"], row["margin"]) for row in rows}
    return [
        row
        for row in known
        if row["build"] in files
        and row["sha256"] == sha256_of(files[row["build"]])
        and row["engine"] not in engines_for(PRECISION[row["build"]])
        and (row["data"], row["metric"], row["margin"]) in asked
    ]


def fit_temperature(truth: NDArray[Any], logits: Scores) -> float:
    """Return what to divide the logits by so that probabilities fit best (Guo 2017, Section 4.2)."""

    def loss(temperature: float) -> float:
        scaled = logits / temperature
        return float(np.mean(np.logaddexp(0, scaled) - truth * scaled))

    candidates = np.exp(np.linspace(np.log(0.1), np.log(10), 400))
    return float(candidates[int(np.argmin([loss(float(value)) for value in candidates]))])


def certified(models: Path, name: str) -> Model:
    """Return the declaration of a model that was certified.

    Raises
    ------
    BadInput
        It is not there.
    """
    if not (models / name / "model.toml").is_file():
        raise BadInput(
            f"expected a certified {name} in {models}, found none; run `wetread lab certify` first, or name its folder "
            "of models by --models"
        )
    return read(models / name)


def shipped_segmenter(models: Path, forked: bool = False) -> tuple[Model, Predictor]:
    """Return the segmenter as this host would choose it before it has measured.

    Parameters
    ----------
    forked
        Processes are forked while it is open, and would die of an engine's threads: float32, on one that has none.

    Raises
    ------
    BadInput
        No segmenter has shipped yet.
    """
    model, choice = _segmenter(models)
    if forked:
        return model, built(model.build("fp32").path, "fp32", "onnxruntime", threads=1)
    best = model.build(choice.build)
    return model, built(best.path, best.precision, choice.engine)


def _segmenter(models: Path) -> tuple[Model, Choice]:
    model = certified(models, "cxr-lungs")
    return model, candidates(model)[0]


def boxes_of(models: Path, recipe: Recipe) -> dict[str, dict[str, str]]:
    """Return, for certificate and card, which build gives a model of the region `lungs` its `boxes`; else {}."""
    if recipe.region != "lungs":
        return {}
    model, choice = _segmenter(models)
    told = {"model": f"{model.id} {model.version}+{choice.build}", "engine": choice.engine}
    return {"boxes": told | {"sha256": model.build(choice.build).sha256}}


def shipped_boxes(
    models: Path, films: Films, recipe: Recipe, cache: Path
) -> tuple[NDArray[np.float64], NDArray[np.uint8], NDArray[np.bool_]]:
    """Return lung boxes (n, 4) and masks (n, y, x) of the segmenter that ships, and which films it refuses."""
    model, predictor = shipped_segmenter(models)
    return lung_boxes(predictor, model.recipe, films, recipe.region_margin, cache)


def film_scores(predictor: Predictor, films: Films, rows: NDArray[np.int64], recipe: Recipe) -> Scores:
    """Return one Dice a film."""
    logits = predict_lungs(predictor, films, rows, recipe)
    return np.array([film_dice(one, films, int(row), recipe) for one, row in zip(logits, rows, strict=True)])


def network(predictor: Predictor, table: Mapping[str, Any]) -> dict[str, str]:
    """Return the parent of a certificate: the trained network as torch runs it, or the one that was recovered."""
    graph = str(table.get("recovered", ""))
    whence = f"the network read back from the graph of fp32 ({graph[:16]})" if graph else "the trained network"
    return {"what": f"{whence} in torch, float32", "sha256": predictor.digest}


def document(
    model: str, parent: Mapping[str, str], data: list[str], rows: list[dict[str, Any]], notes: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the certificate as it is written.

    Parameters
    ----------
    parent
        What the builds are compared with: ``what``, for people, and ``sha256`` of its weights.
    """
    return {
        "model": model,
        "parent": dict(parent),
        "data": data,
        "method": f"paired bootstrap of patients, percentile interval, {DRAWS} draws, seed {SEED}; each build on every "
        f"engine that runs its precision on the machine of the comparison, against {parent['what']}; subgroups with "
        f"{SMALLEST} patients or more for whom the model is made (of each class, for an area) must pass too, at "
        f"{FACTOR:g} times the loss allowed: a subgroup may lose more than the whole before the build fails, as few "
        "patients prove less; the p-values of one comparison are adjusted together (Holm, one-sided 2.5 %), those of "
        "several builds, engines and data are not; smaller subgroups are told and not judged; the row of an engine "
        "that the machine does not run in the build's precision is the one that stood for the same file",
        "builds": rows,
    } | dict(notes)
