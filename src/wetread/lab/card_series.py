"""The card of a model that reads series, written from its figures: nobody types a number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from wetread.lab.card import audit_text, certificate_text, damage_parts, operating_text, standing_text, table_text
from wetread.lab.written import interval_text

__all__ = ["card_series"]

Figures = Mapping[str, Any]
LABEL_COLUMNS = ("auroc", "sensitivity at 0.90 specificity", "accuracy", "sensitivity", "specificity")


def card_series(
    table: Mapping[str, Any], figures: Figures, certificate: Mapping[str, Any] | None, picture: str = "roc.svg"
) -> str:
    """Return the card in Markdown.

    Parameters
    ----------
    table
        The recipe: what the model is, the faults of its data, what was published.
    figures
        What `evaluate_series` found.
    certificate
        None for a model that does not ship.
    picture
        Of a classifier: the file beside the card that holds its curve.
    """
    ship, table = table["ship"], {**table, "unit": figures["unit"]}
    parts = [
        f"# {table['id']} {ship['version']}",
        ship["summary"],
        "Decision support for research and evaluation; not a certified medical device."
        + (f" This model does not ship: {ship['withheld']}." if "withheld" in ship else ""),
        f"Every figure below is written by `wetread lab evaluate {table['id']}`; intervals are 95 %, by a bootstrap of "
        "patients (2,000 draws). There is no external set: every figure is from the sites of the training data.",
        _folds(table, figures["folds"]) + _kept(figures),
        *_results("Patients that the network never saw, all folds together, fp32", figures["crossed"], table),
        *_traits(figures["crossed"], table),
        operating_text(figures["crossed"]["operating"], picture) if "operating" in figures["crossed"] else "",
        _by_fold(figures, table),
        *_rivals(figures["rivals"], table),
        audit_text(figures["audit"], _ours(figures["crossed"]), _whose(table)),
        _told("Published", _items(table["published"])),
    ]
    if certificate:
        parts += [_builds(figures, table), *damage_parts(figures)]
        parts.append("## Certificate\n\n" + certificate_text(certificate))
    parts += [
        _told("What is known to be wrong with the data", _items(table["faults"])),
        _told("How it was made", table["remarks"].strip()),
        f"## Licence and sources\n\n{ship['licence']}.\n\n" + _items(ship["training_data"]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _whose(table: Mapping[str, Any]) -> str:
    apart = len(table["labels"]) > 1 and "segmentation" in table["task"] and not table.get("whole")
    return "this model, mean of its labels" if apart else "this model"


def _ours(crossed: Figures) -> dict[str, Any]:
    """Return what the networks of all folds reach, by the names that the audit's rivals have.

    Their Dice is that of everything marked, as ours is where the union of several labels was measured.
    """
    masks = crossed.get("masks", {})
    ours = {"dice": masks["whole"]["dice"] if "whole" in masks else masks["mean dice"]} if masks else {}
    if "slices" in crossed:
        ours |= {"auc": crossed["slices"]["auroc"], "accuracy": crossed["slices"]["accuracy"]}
    return ours


def _told(heading: str, text: str) -> str:
    """Return a section; "" where there is nothing to tell."""
    return f"## {heading}\n\n{text}" if text else ""


def _items(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _folds(table: Mapping[str, Any], folds: list[Figures]) -> str:
    by = table["folds"]["by"]
    total = {key: sum(fold[key] for fold in folds) for key in ("patients", "series", "slices")}
    kind = "volumes" if len(table["recipe"]["grid"]) == 3 else "slices"
    count = f"{table['folds']['n']} folds" if by == "patient" else "Folds"
    more = " What else was tried stands at the end." if table["remarks"].strip() else ""
    if "used" in table["folds"]:
        count += f", of which {len(folds)} trained so far"
    return (
        f"{count} by {by}: {total['patients']} patients, {total['series']} series, "
        f"{total['slices']} {kind}. Each network trains as long as the recipe says; nothing stops early "
        f"on the patients that it answers for.{more}"
    )


def _kept(figures: Figures) -> str:
    """Say so where the folds' figures are older than those of the builds."""
    if "told" not in figures:
        return ""
    return (
        f" The figures of all folds and of the trivial rivals are of {figures['told']}; of the networks only the one "
        "that ships was at hand when its builds were made anew, and it still reaches what they say of its fold."
    )


def _results(title: str, found: Figures, table: Mapping[str, Any]) -> list[str]:
    parts = [f"## {title}"]
    if "masks" in found:
        parts.append(_mask_table({"": found["masks"]}, table))
    for kind in ("slices", "series"):
        if kind in found:
            one = found[kind]["auroc"]
            series = "series (patient)" if one["n"] == one["groups"] else "series"
            told = f"By {series if kind == 'series' else 'slice'}: {one['n']} of {one['groups']} patients, "
            told += f"{100 * found[kind]['prevalence']:.1f} % positive."
            parts.append(told + "\n\n" + _label_table({"": found[kind]}))
    return parts


def _mask_table(found: Mapping[str, Figures], table: Mapping[str, Any]) -> str:
    unit = table["unit"]
    rows = []
    for name, masks in found.items():
        for label, one in masks.items():
            if label != "mean dice":
                row = [
                    interval_text(one["dice"]),
                    f"{one['dice_p05']:.3f}",
                    interval_text(one["hd95"], 2) if one["hd95"] else "-",
                ]
                rows.append([name, label, *row, str(one["hd95_undefined"])])
        if len(masks) > 2:
            rows.append([name, _mean_of(table), interval_text(masks["mean dice"]), "", "", ""])
    head = ["", "label", "Dice, mean", "worst 5 %", f"HD95, mean, {unit}", "one mask empty"]
    return table_text(head, rows)


def _mean_of(table: Mapping[str, Any]) -> str:
    return "mean of the labels and the whole" if table.get("whole") else "mean of the labels"


def _label_table(found: Mapping[str, Figures]) -> str:
    rows = [
        [name, *(interval_text(one[column]) for column in LABEL_COLUMNS), interval_text(one["calibration error"])]
        for name, one in found.items()
    ]
    return table_text(["", *LABEL_COLUMNS, "ECE"], rows)


def _traits(found: Figures, table: Mapping[str, Any]) -> list[str]:
    if not found.get("masks by trait"):
        return []
    return ["### By subgroup", _mask_table(found["masks by trait"], table)]


def _by_fold(figures: Figures, table: Mapping[str, Any]) -> str:
    found, names = figures["crossed"], [fold["name"] for fold in figures["folds"]]
    columns: dict[str, list[str]] = {}
    if "masks by fold" in found:
        column = "Dice, mean" if len(table["labels"]) == 1 else f"Dice, {_mean_of(table)}"
        columns[column] = [interval_text(one) for one in found["masks by fold"]]
    if "by fold" in found:
        for column in ("auroc", "accuracy"):
            columns[f"{column}, slices"] = [interval_text(one[column]) for one in found["by fold"]]
    sizes = [str(fold["patients"]) for fold in figures["folds"]]
    rows = [list(row) for row in zip(names, sizes, *columns.values(), strict=True)]
    return "### By fold\n\n" + table_text(["fold tested", "patients", *columns], rows)


def _rivals(rivals: Figures, table: Mapping[str, Any]) -> list[str]:
    parts = ["## Trivial rivals, the same folds"] if rivals else []
    if masks := {name: one["masks"] for name, one in rivals.items() if "masks" in one}:
        parts.append(_mask_table(masks, table))
    for name, one in rivals.items():
        if "ours minus theirs" in one:
            rows = [
                [group, interval_text(found["dice"], 4), interval_text(found["hd95"], 2)]
                for group, found in {"all": one["ours minus theirs"], **one["ours minus theirs by trait"]}.items()
            ]
            told = f"The network minus {name}, paired; a larger Dice and a smaller distance are better:"
            parts.append(told + "\n\n" + table_text(["", "Dice", "HD95, mm, where both are defined"], rows))
    if labels := {name: one["slices"] for name, one in rivals.items() if "slices" in one}:
        rows = [
            [name, *("-" if one[key] is None else f"{one[key]:.3f}" for key in ("accuracy", "balanced", "auroc"))]
            for name, one in labels.items()
        ]
        parts.append(table_text(["rival", "accuracy, slices", "balanced accuracy", "AUROC"], rows))
    return parts


def _builds(figures: Figures, table: Mapping[str, Any]) -> str:
    fold = next(one for one in figures["folds"] if one["fold"] == int(table["ship"]["fold"]))
    parts = [
        f"## The builds that ship\n\nThey are the network of fold {fold['name']}, here on OpenVINO where it is "
        f"installed, on the {fold['patients']} patients of that fold: it saw the others in training."
        + standing_text(figures)
    ]
    builds = figures["builds"]
    if masks := {name: found["masks"] for name, found in builds.items() if "masks" in found}:
        parts.append(_mask_table(masks, table))
    for kind in ("slices", "series"):
        if labels := {name: found[kind] for name, found in builds.items() if kind in found}:
            parts.append(f"By {kind}:\n\n" + _label_table(labels))
    return "\n\n".join(parts)
