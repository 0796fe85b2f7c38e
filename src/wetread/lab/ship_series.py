"""From the weights of one fold to certified builds: quantize, certify on the patients it never saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread.errors import BadInput
from wetread.lab.builds import float_builds, int8_builds, judged_builds, weights_folder
from wetread.lab.cases import Cases
from wetread.lab.certify import certified, document, network, standing, verdict
from wetread.lab.courses import read_cases
from wetread.lab.crossed import Answers, answers, calibration
from wetread.lab.evaluate_series import told_by_others
from wetread.lab.folder import PRECISION, engines_for, passing, write_folder
from wetread.lab.gridded import Gridded
from wetread.lab.held_out import fold_answers, held_out, trained_network
from wetread.lab.plan import recipe_of
from wetread.lab.points import rule_words
from wetread.lab.predict import built
from wetread.lab.subgroups import Paired
from wetread.lab.verdicts import Scores, measure_answers, operating_point

__all__ = ["certify_series", "quantize_series"]

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]
#: Inputs that fix the ranges of the activations; a volume holds as many values as dozens of slices.
CALIBRATION = {"slices": 256, "volumes": 48}


def quantize_series(table: Mapping[str, Any], data: Path, out: Path, aware: bool = False) -> dict[str, Path]:
    """Write the int8 build of each float build, calibrated on patients of the other folds.

    Raises
    ------
    BadInput
        The model was not exported.
    """
    float_builds(table, out)
    _, gridded, folds = read_cases(table, data)
    recipe = recipe_of(table["recipe"])
    rows = np.flatnonzero(folds[gridded.series] != int(table["ship"]["fold"]))
    count = CALIBRATION["volumes" if recipe.depth else "slices"]
    return int8_builds(table, out, calibration(gridded, rows, recipe, count), aware)


def certify_series(table: dict[str, Any], data: Path, out: Path, models: Path) -> dict[str, Any]:
    """Compare each build with the network on the fold that it never saw; write the folder of those that pass.

    Temperature and threshold come from what the other folds' networks say of the patients
    that this one was trained on.  A build with a mask and a label must not lose in either,
    on any engine that runs its precision here.

    Returns
    -------
    The certificate, also of the builds that did not pass and do not ship.

    Raises
    ------
    BadInput
        As `judged_builds`.
    """
    place = weights_folder(table, out)
    trained, predictor = trained_network(table, place)
    # The recipe at hand says what ships; the weights say how they were trained.
    preparation = table["recipe"] | trained["recipe"]
    dealt = table["folds"] | trained["folds"]
    kept = {key: trained[key] for key in ("task", "model", "train")}
    table = table | kept | {"recipe": preparation, "folds": dealt}
    cases, gridded, folds = read_cases(table, data)
    aside = np.flatnonzero(folds[gridded.series] == int(table["ship"]["fold"]))
    files = judged_builds(table, out)
    notes: dict[str, Any] = {}
    if table["task"] != "segmentation":
        recovered = "recovered" in trained
        point = _kept_point(table, models) if recovered else _fixed_point(table, cases, gridded, folds, out)
        notes = _set_point(table, *point)
    name = f"{table['data']}, fold {table['ship']['fold']}, which the network never saw"
    ground = Ground(name, table, cases, gridded, aside)
    parent = fold_answers(table, aside, gridded, place, (trained, predictor))
    verdicts = [
        row
        for build, path in files.items()
        for kind in engines_for(PRECISION[build])
        for row in ground.compare(build, kind, path, parent)
    ]
    verdicts += standing(models / str(table["id"]), files, verdicts)
    certificate = document(str(table["id"]), network(predictor, trained), [ground.name], verdicts, notes)
    write_folder(models / str(table["id"]), table, passing(files, verdicts), certificate)
    return certificate


@dataclass(frozen=True, slots=True)
class Ground:
    """What builds are compared on: patients that the network never saw."""

    name: str  # in the certificate
    table: Mapping[str, Any]
    cases: Cases
    gridded: Gridded
    rows: Rows

    def answers(self, path: Path, name: str, kind: str) -> Answers:
        """Return what a build says on an engine."""
        recipe = recipe_of(self.table["recipe"])
        return answers(built(path, PRECISION[name], kind), self.gridded, self.rows, recipe, self.table["task"])

    def compare(self, name: str, kind: str, path: Path, parent: Answers) -> list[dict[str, Any]]:
        """Return one row of the certificate a metric."""
        found, rows = self.answers(path, name, kind), []
        for metric, margin in self.table["ship"]["margins"].items():
            truth, scores, series = self._scored(metric, (parent, found))
            traits = {trait: column[series] for trait, column in self.cases.traits.items()}
            paired = Paired(metric, truth, *scores, self.cases.patient[series], traits)
            rows.append({"data": self.name, **verdict(name, kind, path, paired, float(margin))})
        return rows

    def _scored(self, metric: str, pair: tuple[Answers, Answers]) -> tuple[Rows, tuple[Floats, Floats], Rows]:
        """Return truth, both scores and the series: a row a series for Dice, a row a slice for the area."""
        if metric == "auc":
            series, truth = self.gridded.series[self.rows], self.gridded.present[self.rows, 0]
            if len(np.unique(truth)) < 2:
                raise BadInput(f"[ship] fold: expected images with and without the label in {self.name}, got one kind")
            return truth, (_logits(pair[0]), _logits(pair[1])), series
        ours = [measure_answers(one, self.cases, self.gridded, self.rows, self.table) for one in pair]
        none = np.zeros(len(ours[0].series), np.int64)
        return none, (ours[0].dice.mean(1), ours[1].dice.mean(1)), ours[0].series


def _logits(answered: Answers) -> NDArray[np.float64]:
    assert answered.logits is not None
    return answered.logits[:, 0].astype(np.float64)


def _fixed_point(
    table: Mapping[str, Any], cases: Cases, gridded: Gridded, folds: Rows, out: Path
) -> tuple[float, float, str]:
    """Fix temperature and threshold, by what the other folds' networks say; return them and the rule."""
    ship, rule = table["ship"], table["operating_point"]
    rows, answered = held_out(table, gridded, folds, out)
    scores = Scores(gridded.present[rows, 0], _logits(answered), gridded.series[rows], ship.get("pool", "max"))
    others = told_by_others(table, cases, scores, folds, int(ship["fold"]))
    temperature, threshold = operating_point(others, rule)
    words = (
        f"{rule_words(rule)}, on {len(others.truth)} slices of {len(np.unique(others.series))} "
        "series, each answered by the network of the fold that left its patient out"
    )
    return round(temperature, 4), float(np.floor(threshold * 1e4) / 1e4), words


def _kept_point(table: Mapping[str, Any], models: Path) -> tuple[float, float, str]:
    """Return temperature, threshold and rule of the model that ships: the other folds' networks are gone."""
    model = certified(models, str(table["id"]))
    return model.temperature, model.labels[0].threshold, model.labels[0].threshold_rule


def _set_point(table: Mapping[str, Any], temperature: float, threshold: float, rule: str) -> dict[str, Any]:
    """Set temperature and threshold in the table's ``[ship]``, and return what was set."""
    ship = table["ship"]
    ship["temperature"] = temperature
    for label in ship["label"]:
        label["threshold"], label["threshold_rule"] = threshold, rule
    return {"operating_point": {"temperature": ship["temperature"], "threshold": ship["label"][0]["threshold"]}}
