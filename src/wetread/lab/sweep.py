"""Every build on every engine of this host: how fast, how large, how good; which of them are worth shipping."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wetread.errors import BadInput
from wetread.infer import engine
from wetread.infer.profile import measure
from wetread.lab.folder import BUILDS, PRECISION, exported, golden_input, passing, sha256_of
from wetread.lab.plan import recipe_of
from wetread.records import Tensor

__all__ = ["front", "in_turn", "judge", "sweep_builds"]

Figures = dict[str, Any]
#: A build and what it runs on, or a network and its precision.
Pair = tuple[str, str]
#: The builds take turns: rounds, and answers a round.
ROUNDS, RUNS = 12, 5
#: A figure that is better by less than this share of the largest loss allowed is not better.
NOTICEABLE = 0.1


def sweep_builds(table: Mapping[str, Any], out: Path, models: Path) -> Figures:
    """Measure the builds that a certificate names, on one thread of this machine, and judge them.

    Parameters
    ----------
    table
        The recipe.
    out
        Run folder: the builds that failed their certificate lie only there.
    models
        Folder of model folders: the certificate.

    Returns
    -------
    Model, input's shape, and one point a build and engine: see `judge`.

    Raises
    ------
    BadInput
        There is no certificate, or the files that it names are not there.
    """
    model = str(table["id"])
    path = models / model / "certificate.json"
    if not path.is_file():
        raise BadInput(f"expected {path}, found none; certify the model first")
    rows = json.loads(path.read_text(encoding="utf-8"))["builds"]
    files = _files(rows, [models / model, out / model / "builds"])
    image = golden_input(recipe_of(table["recipe"]))
    pairs = list(dict.fromkeys((row["build"], row["engine"]) for row in rows))
    loaded = {
        pair: engine.loader(pair[1])(files[pair[0]].read_bytes(), PRECISION[pair[0]], 1, None)
        for pair in pairs
        if pair[1] in engine.installed() and engine.natively(pair[1], PRECISION[pair[0]])
    }
    points = [
        _point(
            build, kind, files[build], times, [row for row in rows if (row["build"], row["engine"]) == (build, kind)]
        )
        for (build, kind), times in in_turn(loaded, image).items()
    ]
    kept = passing(files, rows)
    return {"model": model, "input": list(image.shape), "points": judge(points, kept)}


def in_turn(engines: Mapping[Pair, engine.Engine], image: Tensor) -> dict[Pair, list[float]]:
    """Return the milliseconds of `ROUNDS` times `RUNS` answers of each engine; they take turns."""
    taken: dict[Pair, list[float]] = {key: [] for key in engines}
    for _ in range(ROUNDS):
        for key, one in engines.items():
            taken[key] += measure(one, image, RUNS)
    return taken


def _files(rows: Sequence[Mapping[str, Any]], folders: Sequence[Path]) -> dict[str, Path]:
    """Return the very files that a certificate is about."""
    found: dict[str, Path] = {}
    for row in rows:
        here = [exported(folder)[row["build"]] for folder in folders if row["build"] in exported(folder)]
        path = next((file for file in here if sha256_of(file) == row["sha256"]), None)
        if path is None:
            name = BUILDS[row["build"]][0]
            raise BadInput(
                f"build {row['build']}: expected a file {name} with SHA-256 {row['sha256'][:16]}..., found none in "
                f"{folders[0]} and {folders[1]}; certify the model again"
            )
        found[row["build"]] = path
    return found


def _point(build: str, kind: str, path: Path, times: Sequence[float], rows: Sequence[Mapping[str, Any]]) -> Figures:
    low, high = (round(float(one), 3) for one in np.percentile(times, [50, 95]))
    keys = ("data", "metric", "parent", "value", "interval_95", "margin", "passed")
    figures = [{key: row[key] for key in keys} for row in rows]
    megabytes = round(path.stat().st_size / 1e6, 3)
    return {"build": build, "engine": kind, "p50_ms": low, "p95_ms": high, "megabytes": megabytes, "figures": figures}


def judge(points: Sequence[Figures], kept: Mapping[str, Any]) -> list[Figures]:
    """Mark the points on the accuracy-latency front, and those worth shipping.

    A point is on the front if none is as good in some figure and faster, or as fast and
    better.  A build is worth shipping if it is certified and, on some engine, on the front
    of the certified ones: on every host, or on one without bfloat16.

    Parameters
    ----------
    points
        Build, engine, p50_ms and figures.
    kept
        The builds that passed on every engine that they were tried on.

    Returns
    -------
    The points with ``front`` and ``worth``, a few words.
    """
    drawn = front(points)
    certified = [at for at, one in enumerate(points) if one["build"] in kept]
    anywhere = _builds(points, certified)
    plain = _builds(points, [at for at in certified if PRECISION[points[at]["build"]] != "bf16"])
    judged = []
    for one, on_front in zip(points, drawn, strict=True):
        worth = "no: another is as good and faster"
        if one["build"] not in kept:
            worth = "no: it failed its certificate"
        elif one["build"] in anywhere:
            worth = "yes"
        elif one["build"] in plain:
            worth = "yes, for hosts without bfloat16"
        judged.append({**one, "front": on_front, "worth": worth})
    return judged


def _builds(points: Sequence[Figures], chosen: Sequence[int]) -> set[str]:
    some = [points[at] for at in chosen]
    return {one["build"] for one, on_front in zip(some, front(some), strict=True) if on_front}


def front(points: Sequence[Figures]) -> list[bool]:
    """Return which points none dominates in at least one figure."""
    return [any(_free(one, points, at) for at in range(len(one["figures"]))) for one in points]


def _free(one: Figures, points: Sequence[Figures], at: int) -> bool:
    ours, step = one["figures"][at]["value"], NOTICEABLE * one["figures"][at]["margin"]
    for other in points:
        theirs = other["figures"][at]["value"]
        if other is not one and other["p50_ms"] < one["p50_ms"] and theirs > ours - step:
            return False
    return True
