"""What a comparison of architectures found: a table for people, a picture, and the numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from wetread.lab.card import table_text
from wetread.lab.evidence import save_svg, stamp
from wetread.lab.written import interval_text, write_json

__all__ = ["write_comparisons"]

Figures = Mapping[str, Any]
UNFAIR = (
    "Equal is how often each network sees each image, on which grid and with which changes, and how many learning "
    "rates are tried for it: that which is best on held-back patients after a short try is its own.  "
    "EfficientNet and Transformer start from ImageNet weights, the U-Net from "
    "nothing.  The Transformer is the EfficientNet with Transformer blocks on its coarsest features: what they add is "
    "the difference between the two.  One training of each: another seed would move the figures by some of their "
    "interval.  Test patients chose nothing.  A loss far above the others' tells of a network that had not "
    "learned its task by then: that says nothing of what it could reach with more epochs."
)


def write_comparisons(found: Mapping[str, Figures], folder: Path) -> list[Path]:
    """Write ``architectures.json``, ``.md`` and ``.svg``; comparisons that are there already and not in `found` stay.

    Returns
    -------
    The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"architectures.{ending}" for ending in ("json", "md", "svg")]
    note = stamp()
    before = json.loads(files[0].read_text(encoding="utf-8")) if files[0].exists() else {}
    whole = before | {name: note | dict(figures) for name, figures in found.items()}
    write_json(files[0], whole)
    files[1].write_text("\n".join(_page(whole)) + "\n", encoding="utf-8")
    _draw(whole, files[2])
    return files


def _page(whole: Mapping[str, Figures]) -> Iterable[str]:
    yield "# When is a Transformer worth it?"
    yield ""
    yield f"Made by `wetread lab compare {' '.join(whole)}`.  {UNFAIR}"
    yield ""
    yield "![Figure over milliseconds](architectures.svg)"
    for figures in whole.values():
        shown = figures["shown"]
        yield ""
        yield f"## {figures['title']}"
        yield ""
        yield (
            f"{shown['epochs']} epochs of {shown['samples_an_epoch']} images, {shown['epochs_a_try']} in each try of a "
            f"learning rate ({', '.join(figures['architectures'][0]['tries'])}).  Milliseconds: one image, one thread, "
            f"{figures['engine']}, the builds take turns.  {figures['date']}; {figures['machine']}."
        )
        yield ""
        yield _table(figures)
        yield ""
        yield verdict(figures)
        if figures.get("remarks"):
            yield ""
            yield figures["remarks"]


def _table(figures: Figures) -> str:
    precisions = ("fp32", "int8")
    names = [name for name in figures["architectures"][0]["builds"]["fp32"] if name != "ms"]
    pairs = [(name, precision) for name in names for precision in precisions]
    head = [
        "architecture",
        "parameters",
        "GMAC",
        "learning rate",
        "loss, last epoch",
        *(" ".join(pair) for pair in pairs),
    ]
    rows = [
        [
            row["name"],
            f"{row['parameters'] / 1e6:.2f} M",
            f"{row['gmac']:.2f}",
            f"{row['learning_rate']:g}",
            f"{row['loss'][-1]:.2f}",
            *(interval_text(row["builds"][precision][name]) for name, precision in pairs),
            *(f"{row['builds'][precision]['ms']:.1f}" for precision in precisions),
        ]
        for row in figures["architectures"]
    ]
    return table_text([*head, *(f"ms {precision}" for precision in precisions)], rows)


def verdict(figures: Figures) -> str:
    """Return one sentence: what the Transformer gives over the best of the others, and at which price."""
    metric = figures["metric"]
    rows = {row["name"]: row["builds"]["fp32"] for row in figures["architectures"]}
    ours = rows.pop("Transformer")
    name, best = max(rows.items(), key=lambda item: float(item[1][metric]["value"]))
    gain, price = ours[metric]["value"] - best[metric]["value"], ours["ms"] / best["ms"]
    apart = ours[metric]["low"] > best[metric]["high"] or ours[metric]["high"] < best[metric]["low"]
    doubt = "The intervals are apart." if apart else "The intervals overlap: this is no proof."
    return f"**Transformer against the best other ({name}): {metric} {gain:+.3f}, {price:.1f} times its time.** {doubt}"


def _draw(whole: Mapping[str, Figures], path: Path) -> None:
    figure = Figure(figsize=(4.6 * len(whole), 3.4), layout="constrained")
    for axis, figures in zip(figure.subplots(1, len(whole), squeeze=False)[0], whole.values(), strict=True):
        for at, row in enumerate(figures["architectures"]):
            for precision, marker in (("fp32", "o"), ("int8", "s")):
                one = row["builds"][precision]
                told = one[figures["metric"]]
                error = [[told["value"] - told["low"]], [told["high"] - told["value"]]]
                axis.errorbar(
                    one["ms"],
                    told["value"],
                    yerr=error,
                    fmt=marker,
                    color=f"C{at}",
                    capsize=3,
                    label=f"{row['name']} {precision}",
                )
        axis.set_xlabel("ms an image, one thread")
        axis.set_ylabel(f"{figures['metric']}, 95 % interval")
        axis.set_title(figures["title"].split(" (")[0], fontsize=9, wrap=True)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    save_svg(figure, path)
