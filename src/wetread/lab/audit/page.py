"""The audit for people: tables for the terminal, Markdown, and two pictures.

`baselines.svg` holds figures only.  `pairs.png` shows images of patients: it stays
where the data is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from rich.markup import escape
from rich.table import Table

from wetread.lab.audit.judge import Audit
from wetread.lab.written import interval_text

__all__ = ["draw_baselines", "draw_pairs", "markdown", "tables"]

FIGURES = ("auc", "accuracy", "balanced accuracy", "dice")
HEADS = {"auc": "AUC", "accuracy": "accuracy", "balanced accuracy": "balanced accuracy", "dice": "Dice of the mask"}
COLOURS = {"pass": "green", "note": "blue", "warn": "yellow", "fail": "bold red"}
#: Pairs in the picture, at most.
MOST_PAIRS = 8


def tables(told: Mapping[str, Any]) -> list[Table]:
    """Return what was asked of the data, and what must be beaten.

    Parameters
    ----------
    told
        An ``audit.json``, or `Audit.document`.
    """
    title = escape(f"{', '.join(told['folders'])}: {told['images']} images, split {told['split']}")
    checks = Table("check", "", "found", title=title, title_justify="left", title_style="bold")
    for check in told["checks"]:
        checks.add_row(check["name"], f"[{COLOURS[check['verdict']]}]{check['verdict']}", escape(check["found"]))
    shown = _shown(told)
    rivals = Table("what a figure must beat", *(HEADS[name] for name in shown), title_justify="left")
    for rival in told["baselines"]:
        rivals.add_row(rival["name"], *(interval_text(rival.get(name)) for name in shown))
    return [checks, rivals] if shown else [checks]


def markdown(told: Mapping[str, Any], before: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return the same as Markdown, without a heading.

    Parameters
    ----------
    before
        What stands above the rivals: name, and figures as they have them.
    """
    shown = _shown(told)
    rows = [
        (c["name"], f"**{c['verdict']}**" if c["verdict"] == "fail" else c["verdict"], c["found"])
        for c in told["checks"]
    ]
    lines = ["| check | verdict | found |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    if shown:
        lines += ["", f"| what a figure must beat | {' | '.join(HEADS[name] for name in shown)} |"]
        lines += ["|---|" + "---|" * len(shown)]
        for one in (*before, *told["baselines"]):
            lines.append(f"| {one['name']} | {' | '.join(interval_text(one.get(name)) for name in shown)} |")
    return "\n".join(lines)


def _shown(told: Mapping[str, Any]) -> list[str]:
    return [name for name in FIGURES if any(name in rival for rival in told["baselines"])]


def draw_baselines(audits: Sequence[tuple[str, Audit]], path: Path) -> None:
    """Draw each rival's AUC, or Dice, with its interval: one panel a data set.

    Parameters
    ----------
    audits
        Title and audit.
    path
        SVG or PNG to write.
    """
    panels = [
        (title, [r for r in audit.rivals if "auc" in r.figures or "dice" in r.figures]) for title, audit in audits
    ]
    panels = [(title, rivals) for title, rivals in panels if rivals]
    heights = [len(rivals) + 1.5 for _, rivals in panels]
    figure = Figure(figsize=(8.0, 0.24 * sum(heights) + 0.6), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axis, (title, rivals) in zip(axes, panels, strict=True):
        for at, rival in enumerate(rivals):
            name, colour = ("auc", "tab:blue") if "auc" in rival.figures else ("dice", "tab:green")
            one = rival.figures[name]
            axis.plot([one.low, one.high], [at, at], color=colour, linewidth=2)
            axis.plot(one.value, at, "o", color=colour, markersize=4)
        axis.set_yticks(range(len(rivals)), [rival.name for rival in rivals], fontsize=7)
        axis.set_ylim(len(rivals) - 0.4, -0.6)
        axis.set_title(title, fontsize=8, loc="left", fontweight="bold")
        axis.axvline(0.5, color="grey", linewidth=0.6, linestyle=":")
        axis.grid(axis="x", alpha=0.3)
    axes[-1].set_xlim(0, 1)
    axes[-1].set_xlabel("AUC (blue), Dice of the mask (green), with 95 % interval", fontsize=8)
    # Text stays text, and the same figures make the same file.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "wetread"}):
        figure.savefig(path, dpi=120, metadata={"Date": None} if path.suffix == ".svg" else None)


def draw_pairs(audit: Audit, path: Path) -> bool:
    """Draw the worst pairs of copies, those across parts and patients first; False if there is none to draw."""
    part, worst = audit.split.part, audit.apart[:MOST_PAIRS]
    if not worst:
        return False
    figure = Figure(figsize=(1.6 * len(worst), 4.0), layout="constrained")
    for column, pair in zip(figure.subplots(2, len(worst), squeeze=False).T, worst, strict=True):
        for axis, row in zip(column, (pair.first, pair.second), strict=True):
            axis.imshow(audit.looks.thumbnail[row], cmap="gray")
            axis.set_title(f"{part[row]}\nrow {row}", fontsize=7)
            axis.set_axis_off()
        column[1].text(
            0.5, -0.12, f"{pair.kind} {pair.detail:.2f}", fontsize=7, ha="center", transform=column[1].transAxes
        )
    figure.savefig(path, dpi=120)
    return True
