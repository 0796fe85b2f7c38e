"""An imported model on its new owner's images: figures, int8, certificate and card."""

from __future__ import annotations

import shutil
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread.errors import BadInput
from wetread.infer import calibrated, read
from wetread.lab.audit.judge import Audit
from wetread.lab.cases import Cases
from wetread.lab.certify import PARENT, document, fit_temperature, verdict
from wetread.lab.crossed import Answers, answers, tensors
from wetread.lab.folder import PRECISION, REFERENCE, engines_for, exported, passing, sha256_of, write_folder
from wetread.lab.gridded import Gridded, lay_cases
from wetread.lab.held_out import pooled
from wetread.lab.intake.proof_card import proof_card
from wetread.lab.own import cases_of
from wetread.lab.plan import recipe_of
from wetread.lab.predict import Predictor, built
from wetread.lab.quantize import quantize_onnx
from wetread.lab.subgroups import Paired
from wetread.lab.verdicts import label_figures, mask_figures, measure_answers
from wetread.lab.written import write_text
from wetread.measures import threshold_at_sensitivity
from wetread.records import Recipe, Tensor

__all__ = ["prove"]

Figures = dict[str, Any]
Floats = NDArray[np.float64]
#: Images at most that fix the ranges of int8, temperature and threshold; nothing is judged on them.
ASIDE = 256
#: The largest loss allowed to a build.
MARGINS = {"auc": 0.01, "dice": 0.005}


def prove(folder: Path, found: Audit, positive: str = "", sensitivity: float = 0.0) -> Figures:
    """Judge an imported model on audited images, make its int8 build, and write certificate and card.

    Parameters
    ----------
    folder
        The model folder, as `take_in` wrote it.
    found
        The audit of the images, with a part set aside (`apart`); its rivals stand beside the figures.
    positive
        The class of a model with one label, where it has another name.
    sensitivity
        For a classifier: fix the threshold as the highest that keeps it on the images set
        aside, and the temperature; 0: both stay as described.

    Returns
    -------
    The certificate.

    Raises
    ------
    BadInput
        The split was refused, or model and images do not fit each other.
    """
    if found.refused:
        raise BadInput(found.sentence)
    table, file = _declared(folder), read(folder).build(PARENT).path
    subject = _subject(table, found, positive)
    _see_both_classes(subject)
    parent = _one_by_one(built(file, PRECISION[PARENT], REFERENCE))
    _fix_point(subject, parent, sensitivity)
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copyfile(file, Path(scratch) / f"{PARENT}.onnx")
        quantize_onnx(Path(scratch) / f"{PARENT}.onnx", subject.samples(), Path(scratch) / "int8.onnx")
        files = exported(Path(scratch))
        rows, figures = _compared(subject, files, parent)
        told = {"what": f"the imported graph on {REFERENCE}, float32", "sha256": sha256_of(file)}
        certificate = document(str(table["id"]), told, [subject.name], rows, {"figures": figures})
        certificate["baselines"] = {key: found.document()[key] for key in ("digest", "split", "accepted", "baselines")}
        # The parent stays in any case: without a certificate it does not load, but it can be tried again.
        write_folder(folder, table, {PARENT: files[PARENT]} | passing(files, rows), certificate)
    write_text(folder / "card.md", proof_card(table, certificate))
    return certificate


def _see_both_classes(subject: Subject) -> None:
    if subject.table["task"] == "segmentation":
        return
    truth, _ = subject.truth()
    for label, column in zip(subject.labels, truth.T, strict=True):
        if len(np.unique(column)) < 2:
            raise BadInput(f"images: expected some with and some without {label} among those judged, got one kind only")


def _declared(folder: Path) -> dict[str, Any]:
    """Return a model folder's declaration as the table that `write_folder` takes."""
    told = tomllib.loads((folder / "model.toml").read_text(encoding="utf-8"))
    if told["recipe"].get("region", "image") != "image":
        raise BadInput(
            f"{folder}/model.toml: expected a recipe of the whole image, got region {told['recipe']['region']!r}"
        )
    apart = ("id", "task", "recipe", "build", "golden")
    ship = {key: value for key, value in told.items() if key not in apart}
    return {"id": told["id"], "task": told["task"], "recipe": told["recipe"], "ship": ship}


@dataclass(frozen=True, slots=True)
class Subject:
    """A model, the images it is judged on, and those set aside."""

    table: dict[str, Any]
    recipe: Recipe
    name: str  # of the images, for the certificate
    cases: Cases  # those set aside first
    gridded: Gridded
    aside: int  # how many are set aside

    @property
    def labels(self) -> list[str]:
        """The names of the labels."""
        return [str(label["name"]) for label in self.table["ship"]["label"]]

    def rows(self, aside: bool) -> NDArray[np.int64]:
        """Return the rows on the grid of the images set aside, or of the others."""
        return np.flatnonzero((self.gridded.series < self.aside) == aside)

    def samples(self) -> list[Tensor]:
        """Return inputs that fix the ranges of int8."""
        rows = self.rows(True)
        rows = np.random.default_rng(0).permutation(rows)[:ASIDE]
        return [tensors(self.gridded, rows[at : at + 1], self.recipe) for at in range(len(rows))]

    def answers(self, predictor: Predictor, aside: bool = False) -> Answers:
        """Return what a predictor says of the images set aside, or of the others."""
        return answers(predictor, self.gridded, self.rows(aside), self.recipe, self.table["task"])

    def truth(self, aside: bool = False) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
        """Return (n, k) whether label k is in an image, and the patient of each."""
        which = np.arange(self.aside) if aside else np.arange(self.aside, len(self.cases))
        return np.array([self.cases.present[one][0] for one in which]), self.cases.patient[which]

    def told(self, answered: Answers, aside: bool = False) -> Slices:
        """Return the logits of the images set aside, or of the others, slice by slice."""
        assert answered.logits is not None
        series = np.unique(self.gridded.series[self.rows(aside)], return_inverse=True)[1]
        given = np.clip(answered.logits.astype(np.float64), -30, 30)
        return Slices(given, series, str(self.table["ship"].get("pool", "max")))


@dataclass(frozen=True, slots=True)
class Slices:
    """What a classifier says of the slices of images."""

    logits: Floats  # (slices, k)
    series: NDArray[np.int64]  # (slices,) the image of each
    pool: str

    def probability(self, temperature: float) -> Floats:
        """Return (n, k) of images, as a node pools them: from the calibrated probabilities of their slices."""
        count = int(self.series.max()) + 1
        columns = [pooled(one, self.series, self.pool, count) for one in calibrated(self.logits, temperature).T]
        return np.stack(columns, 1)

    def whole(self) -> Floats:
        """Return (n, k) logits of images, uncalibrated."""
        share = self.probability(1.0)
        return np.asarray(np.log(share) - np.log1p(-share), np.float64)


def _subject(table: dict[str, Any], found: Audit, positive: str) -> Subject:
    usable = np.array([table["task"] != "segmentation" or row.mask is not None for row in found.rows])
    tested, aside = _judged(found, usable), _set_aside(found, usable, ASIDE)
    if not len(aside) or not len(tested):
        what = "with masks, some judged and some set aside" if table["task"] == "segmentation" else "on both sides"
        raise BadInput(f"split {found.split.told}: expected images {what}, got {len(tested)} and {len(aside)}")
    recipe, labels = recipe_of(table["recipe"]), len(table["ship"]["label"])
    cases = cases_of([found.rows[at] for at in (*aside, *tested)], table, positive)
    name = f"{', '.join(found.folders)}, {found.split.told}: {len(tested)} images judged, {len(aside)} set aside"
    return Subject(table, recipe, name, cases, lay_cases(cases, recipe, labels), len(aside))


def _one_by_one(predictor: Predictor) -> Predictor:
    """Return a predictor that sees one image at a time: a foreign graph may take no more."""

    def answer(tensor: Tensor) -> dict[str, Tensor]:
        found = [predictor.answer(tensor[at : at + 1]) for at in range(len(tensor))]
        return {name: np.concatenate([one[name] for one in found]) for name in found[0]}

    return Predictor(answer, predictor.digest)


def _fix_point(subject: Subject, parent: Predictor, sensitivity: float) -> None:
    """Fix temperature and thresholds in the table on the images set aside, if a sensitivity is asked for."""
    if not sensitivity or subject.table["task"] == "segmentation":
        return
    (truth, _), ship = subject.truth(True), subject.table["ship"]
    told = subject.told(subject.answers(parent, True), True)
    for label, here in zip(subject.labels, truth.T, strict=True):
        if here.min() == here.max():
            raise BadInput(
                f"expected images with and without {label!r} among those set aside, got {int(here.sum())} with"
            )
    ship["temperature"] = round(fit_temperature(truth.ravel(), told.whole().ravel()), 4)
    probability = told.probability(ship["temperature"])
    for label, here, given in zip(ship["label"], truth.T, probability.T, strict=True):
        label["threshold"] = float(np.floor(threshold_at_sensitivity(here, given, sensitivity) * 1e4) / 1e4)
        label["threshold_rule"] = f"the highest that keeps sensitivity {sensitivity:g} on {len(here)} images set aside"


def _compared(subject: Subject, files: Mapping[str, Path], parent: Predictor) -> tuple[list[Figures], Figures]:
    """Return the rows of the certificate, and the figures of each build on its first engine."""
    wanted = _scores(subject, subject.answers(parent))
    rows: list[Figures] = []
    figures: Figures = {}
    for name, path in files.items():
        for kind in engines_for(PRECISION[name]):
            answered = subject.answers(_one_by_one(built(path, PRECISION[name], kind)))
            figures.setdefault(name, _figures(subject, answered))
            for (metric, ours), (_, theirs) in zip(_scores(subject, answered), wanted, strict=True):
                truth, scores, patient = ours
                name_of, *_ = metric.split(",")
                paired = Paired(name_of, truth, theirs[1], scores, patient)
                told = verdict(name, kind, path, paired, MARGINS[name_of])
                rows.append({"data": subject.name, **told, "metric": metric})
    return rows, figures


Scored = tuple[NDArray[np.int64], Floats, NDArray[np.str_]]


def _scores(subject: Subject, answered: Answers) -> list[tuple[str, Scored]]:
    """Return metric, then truth, score and patient of each image: one area a label, or Dice."""
    if subject.table["task"] == "segmentation":
        overlap = measure_answers(answered, subject.cases, subject.gridded, subject.rows(False), subject.table)
        patient = subject.cases.patient[overlap.series]
        return [("dice", (np.zeros(len(patient), np.int64), overlap.dice.mean(1), patient))]
    (truth, patient), logits = subject.truth(), subject.told(answered).whole()
    several = len(subject.labels) > 1
    return [
        (f"auc, {label}" if several else "auc", (truth[:, at], logits[:, at], patient))
        for at, label in enumerate(subject.labels)
    ]


def _figures(subject: Subject, answered: Answers) -> Figures:
    """Return the figures of each label, with intervals by patient."""
    if subject.table["task"] == "segmentation":
        overlap = measure_answers(answered, subject.cases, subject.gridded, subject.rows(False), subject.table)
        return mask_figures(overlap, subject.cases, subject.labels)
    truth, patient = subject.truth()
    probability = subject.told(answered).probability(float(subject.table["ship"].get("temperature", 1.0)))
    return {
        str(label["name"]): label_figures(here, given, float(label.get("threshold", 0.5)), patient)
        for label, here, given in zip(subject.table["ship"]["label"], truth.T, probability.T, strict=True)
    }


def _judged(found: Audit, usable: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the usable rows that the audit's rivals were judged on: a model is judged on the same."""
    rows = np.unique(np.concatenate([test for _, test in found.split.folds]))
    return np.asarray(rows[usable[rows]], np.int64)


def _set_aside(found: Audit, usable: NDArray[np.bool_], most: int) -> NDArray[np.int64]:
    """Return usable rows that nothing is judged on, at most so many, drawn at random."""
    tests = np.concatenate([test for _, test in found.split.folds])
    others = np.setdiff1d(np.flatnonzero(usable), tests)
    return np.sort(np.random.default_rng(0).permutation(others)[:most])
