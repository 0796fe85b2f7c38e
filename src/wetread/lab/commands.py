"""What `wetread lab` can do, as plain functions; a run folder holds one folder a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from wetread.errors import BadInput
from wetread.lab import zoo
from wetread.lab.audit import Columns, audit
from wetread.lab.builds import export_builds
from wetread.lab.card import card
from wetread.lab.card_series import card_series
from wetread.lab.certify import certified
from wetread.lab.clearance import audit_of, cleared
from wetread.lab.compare import COMPARISONS, compare_architectures
from wetread.lab.compare_page import write_comparisons
from wetread.lab.crossed import train_folds
from wetread.lab.evaluate import Figures, evaluate_lungs, evaluate_pneumonia
from wetread.lab.evaluate_series import evaluate_series
from wetread.lab.evidence import write_evidence
from wetread.lab.fits import check_network, check_tables
from wetread.lab.folder import IDENTITY
from wetread.lab.gate import judge_builds, kept_gate, make_gate
from wetread.lab.intake.prove import prove
from wetread.lab.plan import digest_of, load_plan
from wetread.lab.recover import recover as recovered
from wetread.lab.recover import standing_figures, with_standing_builds
from wetread.lab.roc import draw_curves_of
from wetread.lab.ship import certify as certify_film
from wetread.lab.ship import quantize as quantize_film
from wetread.lab.ship_series import certify_series, quantize_series
from wetread.lab.sweep import sweep_builds
from wetread.lab.sweep_page import write_sweep
from wetread.lab.taught import check_children, course_of, learn_to_be_rounded
from wetread.lab.taught import prune as pruned
from wetread.lab.train import Plan, fit
from wetread.lab.weights import save_weights
from wetread.lab.written import write_text

__all__ = [
    "ask",
    "certify",
    "certify_imported",
    "compare",
    "evaluate",
    "export",
    "gate",
    "prune",
    "quantize",
    "recover",
    "sweep",
    "train",
]


def ask(recipe: str | Path, data: Path, out: Path, accepted: str = "", fold: int | None = None) -> dict[str, Any]:
    """Return the audit of a recipe's data and split, which training asks first: see `wetread.lab.clearance.cleared`."""
    return cleared(_planned(recipe, fold), data, out, accepted)


def _planned(recipe: str | Path, fold: int | None) -> dict[str, Any]:
    """Return the table of a recipe whose network fits it, and of which a fold may be asked."""
    table = load_plan(recipe)
    if fold is not None and "folds" not in table:
        raise BadInput(f"fold: expected none, as {recipe} has no table [folds]; got {fold}")
    check_tables(table)
    check_network(table)
    return table


def train(
    recipe: str | Path,
    data: Path,
    out: Path,
    models: Path,
    *,
    accepted: str = "",
    resume: bool = True,
    epochs: int | None = None,
    fold: int | None = None,
) -> list[Path]:
    """Train a model by its recipe, if its data pass their audit; killed, it goes on where it stood.

    Parameters
    ----------
    recipe
        Name of a recipe that ships, or a TOML file.
    data
        Folder that holds ``xray/``, ``ct/``, ``mri/``.
    out
        Run folder: ``<id>/checkpoint.pt``, ``history.json``, ``curves.png``, ``weights.pt``;
        for a recipe with folds the same in ``<id>/fold0`` and so on; the audit in ``<id>/audit``.
    models
        Folder of model folders: a classifier of films learns in the boxes of the cxr-lungs that ships.
    accepted
        Why a split that fails its audit is used nevertheless; recorded.
    epochs
        Instead of the recipe's number.
    fold
        Train only this one, for a recipe with a ``[folds]`` table; all of them by default.

    Returns
    -------
    The weights' files.

    Raises
    ------
    BadInput
        The recipe, its fold or the data is not there, its network does not fit, the split fails its audit, or a
        classifier comes before cxr-lungs has shipped.
    """
    table = _planned(recipe, fold)
    cleared(table, data, out, accepted)
    if epochs is not None:
        table["train"] |= {"epochs": epochs, "steps": 0}
    if "folds" in table:
        return train_folds(table, data, out, fold=fold, resume=resume)
    folder, plan = out / str(table["id"]), Plan.from_table(table["train"])
    course = course_of(table, data, out, models)
    torch.manual_seed(plan.seed)
    network = zoo.build(table["model"])
    state = fit(network, course, plan, folder, learnt_by=digest_of(table), resume=resume)
    save_weights(folder / "weights.pt", table, state.average)
    return [folder / "weights.pt"]


def prune(model: str, data: Path, out: Path, models: Path, *, resume: bool = True) -> Path:
    """Cut channels and heads from a trained model and let it learn from its parent: see `wetread.lab.taught.prune`."""
    return pruned(load_plan(model), data, out, models, resume=resume)


def recover(model: str, data: Path, out: Path, models: Path) -> list[Path]:
    """Read a model that ships back into a run folder, as if trained there: see `wetread.lab.recover.recover`."""
    return recovered(load_plan(model), data, out, models)


def gate(model: str, data: Path, out: Path, models: Path, evidence: Path, *, keep: bool = False) -> dict[str, Any]:
    """Try a model that ships on damaged images and fix its gate, or judge its builds by the one that it has.

    See `wetread.lab.gate.make_gate` and `wetread.lab.gate.judge_builds`.
    """
    return (judge_builds if keep else make_gate)(load_plan(model), data, out, models, evidence)


def compare(
    names: Sequence[str], data: Path, out: Path, models: Path, evidence: Path, *, resume: bool = True
) -> dict[str, Figures]:
    """Train and measure the architectures of comparisons, all by default, and write ``architectures.*``.

    Raises
    ------
    BadInput
        There is no such comparison, its split fails its audit, or the models folder has no cxr-lungs, which the
        comparison on films needs.
    """
    tables = {name: load_plan(f"compare/{name}", several=True) for name in names or COMPARISONS}
    for table in tables.values():
        cleared(table, data, out)
    found = compare_architectures(tables, data, out, models, resume=resume)
    write_comparisons(found, evidence)
    return found


def sweep(model: str, out: Path, models: Path, evidence: Path) -> Figures:
    """Measure every build of a certified model on this host, and write ``sweep-<id>.*``: which are worth shipping.

    Raises
    ------
    BadInput
        The model was not certified, or its builds are not there.
    """
    found = sweep_builds(load_plan(model), out, models)
    write_sweep(found, evidence)
    return found


def export(model: str, out: Path) -> dict[str, Path]:
    """Write the float builds of a model to ``<id>/builds``; of the fold that ships, for a recipe with folds."""
    return export_builds(load_plan(model), out)


def quantize(
    model: str, data: Path, out: Path, models: Path, *, aware: bool = False, resume: bool = True
) -> dict[str, Path]:
    """Write the int8 builds of a model, calibrated on images it was trained on.

    Parameters
    ----------
    aware
        Let the network learn to be rounded first, by the recipe's ``[quantize]`` table: for
        a build that failed its certificate without.
    resume
        That goes on from its checkpoint if there is one.

    Raises
    ------
    BadInput
        The model was not exported, a classifier of films comes before cxr-lungs has shipped, or
        the recipe does not say how to learn, or as `wetread.lab.taught.check_children`.
    """
    table = load_plan(model)
    check_children(table)
    if aware:
        learn_to_be_rounded(table, data, out, models, resume=resume)
    if "folds" in table:
        return quantize_series(table, data, out, aware)
    return quantize_film(table, data, out, models, aware)


def certify(model: str, data: Path, out: Path, models: Path) -> dict[str, Any]:
    """Compare each build with its parent on patients it never saw; write the folder of those that pass.

    A gate belongs to the bytes that it was fixed on: if they are still there it is kept, else it is
    fixed again, so that no folder loses its gate in silence.

    Raises
    ------
    BadInput
        The model was not exported, or its data do not allow it to ship.
    """
    table = load_plan(model)
    if "withheld" in table["ship"]:
        raise BadInput(f"{model}: expected a model that may ship, but {table['ship']['withheld']}")
    found = certify_series(table, data, out, models) if "folds" in table else certify_film(table, data, out, models)
    if kept_gate(models / str(table["id"])) is None:
        make_gate(table, data, out, models)
    return found


def certify_imported(
    folder: Path,
    data: Sequence[Path],
    *,
    split: str = "",
    accepted: str = "",
    positive: str = "",
    sensitivity: float = 0.0,
    **columns: str,
) -> dict[str, Any]:
    """Audit somebody's images, judge an imported model on them, and write its certificate: see `prove`.

    Parameters
    ----------
    split, accepted
        As of `wetread.lab.audit.audit`; the first of several folds is set aside.
    columns
        ``label``, ``patient`` and ``patient_from``: where the manifest or the paths say them.
    """
    told = Columns(columns["label"], positive, columns["patient"], columns["patient_from"])
    found = audit(data, told, split, accepted.strip(), apart=True)
    return prove(folder, found, positive, sensitivity)


def evaluate(model: str, data: Path, out: Path, models: Path, evidence: Path) -> Figures:
    """Compute every figure of a model and write its ``card.md`` and ``figures.json``.

    They carry the audit of the data, which is made if training did not.  Of a model that
    does not ship they are ``<id>.md`` and ``<id>.json`` in the folder `evidence`.

    Parameters
    ----------
    out
        Run folder: the folds' weights and the cache of decoded films.
    models
        Folder of model folders.

    Returns
    -------
    The figures.

    Raises
    ------
    BadInput
        The split fails its audit and nobody took that on.
    """
    table, cache = load_plan(model), out / "cache"
    name = str(table["id"])
    audited = {"audit": audit_of(cleared(table, data, out)), "gate": kept_gate(models / name)}
    if "folds" in table:
        return _evaluate_series(table, data, out, audited, evidence if "withheld" in table["ship"] else models)
    declared = certified(models, name)
    if declared.task == "segmentation":
        figures = evaluate_lungs(declared, data, cache)
    else:
        figures = evaluate_pneumonia(declared, models, data, cache, Plan.from_table(table["train"]))
        draw_curves_of(figures["operating"], models / name / "roc.svg")
    figures = with_standing_builds(figures, declared, models / name) | audited
    certificate = json.loads((models / name / "certificate.json").read_text(encoding="utf-8"))
    told = card(declared, figures, certificate, str(table["remarks"]))
    write_text(models / name / "card.md", told)
    write_evidence(models / name / "figures.json", table, data, figures)
    return figures


def _evaluate_series(table: dict[str, Any], data: Path, out: Path, audited: Figures, place: Path) -> Figures:
    """Evaluate into a model folder of `place`, or, if the model is withheld, into files there."""
    name, declared, certificate = str(table["id"]), None, None
    pages = (place / f"{name}.md", place / f"{name}.json", place / f"{name}-roc.svg")
    if "withheld" not in table["ship"]:
        pages = (place / name / "card.md", place / name / "figures.json", place / name / "roc.svg")
        declared = certified(place, name)
        # The recipe may have moved on since; the card tells of what ships.
        table["ship"] |= {key: getattr(declared, key) for key in IDENTITY}
        certificate = json.loads((place / name / "certificate.json").read_text(encoding="utf-8"))
    standing = None if declared is None else standing_figures(table, out, declared)
    figures = evaluate_series(table, declared, data, out, standing) | audited
    if declared is not None:
        figures = with_standing_builds(figures, declared, place / name)
    write_text(pages[0], card_series(table, figures, certificate, pages[2].name))
    if "operating" in figures["crossed"]:
        draw_curves_of(figures["crossed"]["operating"], pages[2])
    write_evidence(pages[1], table, data, figures)
    return figures
