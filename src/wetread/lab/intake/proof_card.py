"""The card of an imported model that was judged on its new owner's images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wetread.lab.card import certificate_text, table_text
from wetread.lab.written import interval_text

__all__ = ["proof_card"]

COLUMNS = ("auroc", "accuracy", "sensitivity", "specificity", "calibration error")


def proof_card(table: Mapping[str, Any], certificate: Mapping[str, Any]) -> str:
    """Return the card in Markdown: nobody types a number."""
    ship, found = table["ship"], certificate["baselines"]
    passed = {row["build"] for row in certificate["builds"]} - {
        row["build"] for row in certificate["builds"] if not row["passed"]
    }
    builds = f"The builds {', '.join(f'`{name}`' for name in sorted(passed))} load." if passed else "No build loads."
    accepted = f"  The split fails its audit and was accepted: {found['accepted']}." if found["accepted"] else ""
    parts = [
        f"# {table['id']} {ship['version']}",
        ship["summary"],
        "Decision support for research and evaluation; not a certified medical device.",
        f"**Imported, and judged on {certificate['data'][0]}.** {builds}  A certificate says that a build answers as "
        "the imported graph does; whether that is good enough is what the figures below say, beside the trivial rivals "
        "of the same images.",
        "Nobody here knows what its makers trained it on: if these patients were among it, the figures are too good."
        + accepted,
        "## Figures\n\nIntervals are 95 %, by a bootstrap of patients (2,000 draws).\n\n"
        + _figures(table, certificate["figures"]),
        f"## Trivial rivals, {found['split']}\n\n" + _rivals(found["baselines"]),
        "## Certificate\n\n" + certificate_text(certificate),
        "## Operating point\n\n" + "\n".join(_point(label, ship) for label in ship["label"]),
        f"## Licence and sources\n\n{ship['licence']}.\n\n" + "\n".join(f"- {item}" for item in ship["training_data"]),
    ]
    return "\n\n".join(parts) + "\n"


def _figures(table: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    if table["task"] == "segmentation":
        rows = [
            [build, label, interval_text(one["dice"]), f"{one['dice_p05']:.3f}"]
            for build, labels in figures.items()
            for label, one in labels.items()
            if label != "mean dice"
        ]
        return table_text(["build", "label", "Dice, mean", "worst 5 %"], rows)
    rows = [
        [build, label, *(interval_text(one[column]) for column in COLUMNS), f"{100 * one['prevalence']:.1f} %"]
        for build, labels in figures.items()
        for label, one in labels.items()
    ]
    return table_text(["build", "label", "AUROC", *COLUMNS[1:], "positive"], rows)


def _rivals(baselines: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for one in baselines for name in one if name != "name"))
    rows = [[one["name"], *(interval_text(one.get(name)) for name in names)] for one in baselines]
    return table_text(["what a figure must beat", *names], rows) if rows else "None could be fitted."


def _point(label: Mapping[str, Any], ship: Mapping[str, Any]) -> str:
    rule = label.get("threshold_rule") or "as described by whoever imported it"
    point = f"threshold {label.get('threshold', 0.5):g}, temperature {ship.get('temperature', 1.0):g}"
    return f"- {label['name']}: {point}; {rule}"
