"""The page about damaged images: every model's ``gate.json`` as tables and one picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from wetread.lab.evidence import save_svg
from wetread.lab.written import write_json, write_text

__all__ = ["gate_text", "section", "write_page", "write_section"]

TITLE = "## Damaged images"
HEAD = """# Damaged images: how every model falls, and what refuses them

Made by `wetread lab gate MODEL`; every model's figures are its `gate.json`. Single runs, no intervals.

Figures: mean Dice, or for a classifier the share of slices (films) that are called right. The truth turns with a
turned image and stays whole where the image is cut. An image has *fallen* if its Dice is more than 0.10 below that
of the same image undamaged; for a classifier, whose call of one film is right or wrong, if the probability that it
gives to the truth is; for a model that does both, if either is, the probability as the mean over the slices of a
series, which is read or refused as a whole. *Calls lost*: films that are called right undamaged and wrong damaged.
*Refused*: by the model's gate or by anything else before it in this program that looks at pixels (codes below).
Checks of the file and its header come earlier and are not counted.

The gates, each with the better of the signals that its model allows:

- *mirrored*: a segmenter outlines the image and its mirror image, and if the two agree less than a bound, the image is
  not read (INCONSISTENT).
- *certain*: an image is not read (UNCERTAIN) if the overlap that a segmenter's own probabilities expect of its
  outline, of the worst label, is below a bound. Only for organs that are always there; needs no second run.
- *steady*: a film or series is not read (UNCERTAIN) if the chance that no damage moved a classifier's answer is below
  a bound. The chance is a logistic regression on nine measures, which `model.toml` spells out: the doubt of the answer,
  and edges, grain, stripes, clipping, contrast, symmetry and brightness of the box around the lungs; of a series their
  means over the slices.
- *polarity*: of a film with lungs, what lies between them must be brighter than they are, as air is dark: the medians
  of both are compared (INVERTED), where there is a plausible pair. Its bound is fixed on no data: it is where both are
  equal.
- *inside*: a film whose lower edge cuts the lungs is not read (CUT-OFF).

{fixed}

The bounds were fixed on one build, named above each table, and hold for all of a model. *By build* says what they do
in each, on the same images (`wetread lab gate MODEL --keep`); a precision that the machine lacks has the row of an
earlier run on one that has it.

{unfair}

![Figure and share refused by grade](gate.svg)
"""
#: On what bounds and chances were fixed, and what is unfair about the figures: of anybody's models.
FIXED = """\
Bounds are fixed on patients that neither the network nor this table saw. The chance of a classifier of films was
fitted to others of those, that of a model of series to patients that it was trained on, and there the slices without
the finding were told a second time, as fallen where the whole series had."""
UNFAIR = """\
What is unfair: the damages are made, not met in a clinic; chance and bounds were fixed on the same kinds of them."""
#: The same where the page tells of `OURS`, and how their gates came about.
OURS = "mr-glioma"
FIXED_OURS = """\
Bounds are fixed on patients that neither the network nor this table saw; the chance was fitted to others of those. The
hospital that `mr-glioma` never saw has too few for that: its chance was fitted to 48 patients of the hospitals that it
was trained on, so the AUC where its bound was fixed is one of unseen patients too. Their slices without a tumour were
told a second time, as fallen where the whole series had: an image too poor to show a tumour is not to be told by there
being none, and a sound brain without one is to be read. No patient here is without one: the rows "slices without
tumour" show such slices alone."""
UNFAIR_OURS = """\
What is unfair: the damages are ours, not met in a clinic, and chance and bounds were fixed on the same kinds of them.
The signals and the nine measures were chosen while the judging patients were looked at; weights and bounds were not
fixed on them. What has fallen was at first defined by lost calls for a classifier too; the probability replaced it
because whether the call of one film is lost depends on which side of the threshold damage drives it to: both are told.
For `mr-glioma` *mirrored* was tried first (AUC 0.67 where bounds are fixed, 0.65 on other patients), then *certain*,
which tells more but would refuse every brain without a tumour. Fitted to 24 patients, its chance told the fallen with
0.93 and 0.89; more patients were taken after that was seen. All its images are of one collection, three hospitals: a
FLAIR that looks otherwise may be refused though it is sound."""


def write_page(models: Path, evidence: Path) -> None:
    """Write ``gate.md`` and ``gate.svg`` of every model folder that has a ``gate.json``."""
    told = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(models.glob("*/gate.json"))]
    evidence.mkdir(parents=True, exist_ok=True)
    ours = any(one["model"].startswith(f"{OURS} ") for one in told)
    head = HEAD.format(fixed=FIXED_OURS if ours else FIXED, unfair=UNFAIR_OURS if ours else UNFAIR)
    parts = [head, *(f"## {one['model']}\n\n{gate_text(one)}\n" for one in told)]
    (evidence / "gate.md").write_text("\n".join(parts), encoding="utf-8")
    _draw(told, evidence / "gate.svg")


def section(told: Mapping[str, Any]) -> str:
    """Return the section of a card."""
    return f"{TITLE}\n\n{gate_text(told)}"


def write_section(folder: Path, told: Mapping[str, Any]) -> None:
    """Write a model's figures into its card and its ``figures.json``, which `evaluate` made with older ones."""
    card, figures = folder / "card.md", folder / "figures.json"
    if card.is_file() and f"\n{TITLE}\n" in (text := card.read_text(encoding="utf-8")):
        before, after = text.split(f"{TITLE}\n", 1)
        write_text(card, before + section(told) + "\n\n## " + after.split("\n## ", 1)[1])
    if figures.is_file():
        noted = json.loads(figures.read_text(encoding="utf-8"))
        noted["figures"]["gate"] = told
        write_json(figures, noted)


def _digest(data: Mapping[str, str]) -> str:
    kind = "manifest" if "manifest_sha256" in data else "files"
    return f"{kind} of {data['folder']} `{data[f'{kind}_sha256'][:16]}`"


def gate_text(told: Mapping[str, Any]) -> str:
    """Return one model's figures in Markdown, without a heading."""
    auc, digest = told["auc"], _digest(told["data"])
    lines = [
        f"`{told['command']}`, {told['date']}, seed {told['seed']}, {digest}, build `{told['sha256'][:16]}`.",
        "",
        _gate(told),
        "",
        f"AUC of the signal for the {auc['n_fallen']} fallen against all others: {_text(auc['fallen'])}; for every "
        f"damaged image against sound ones, harmless damage included: {_text(auc['damaged'])} (goal: 0.90). Refused: "
        f"{_share(auc['fallen_refused'])} of the fallen, {_share(auc['others_refused'])} of all others, "
        f"{_share(told['damages'][0]['refused'])} of the sound (goal: at most 5 %).{_lost(auc)}",
        "",
        "| by build | fallen | AUC | refused of the fallen | of all others | of the sound | run on |",
        "|---|---|---|---|---|---|---|",
        *map(_build, told["builds"]),
        "",
        f"| images | n | {told['figure']} | AUC | fallen | refused | {told['figure']}, let through | refused by |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = [(f"{one['damage']} {one['grade']}".strip(), one) for one in told["damages"]]
    for name, one in [*rows, *told["outside"].items()]:
        codes = ", ".join(f"{code} {count}" for code, count in sorted(one["codes"].items()))
        cells = [name, str(one["n"]), _text(one["figure"]), _text(one["auc"]), _share(one.get("fell"))]
        lines.append(f"| {' | '.join([*cells, _share(one['refused']), _text(one['figure_kept']), codes or '-'])} |")
    return "\n".join(lines)


def _build(one: Mapping[str, Any]) -> str:
    shares = [_share(one[key]) for key in ("fallen_refused", "others_refused", "sound_refused")]
    return f"| {' | '.join([one['build'], str(one['n_fallen']), _text(one['fallen']), *shares, one['date']])} |"


def _lost(auc: Mapping[str, Any]) -> str:
    if not auc.get("n_lost"):
        return ""
    return f" Calls lost: {auc['n_lost']}, AUC for them {_text(auc['lost'])}, refused {_share(auc['lost_refused'])}."


#: Bound -> how it is told.
ASKED: Mapping[str, Callable[[float], str]] = {
    "mirrored": lambda bound: f"agreement with the mirror image at least {bound:g}" if bound else "",
    "polarity": lambda bound: "what lies between the lungs brighter than they are" if bound else "",
    "certain": lambda bound: f"overlap that it expects itself at least {bound:g}" if bound else "",
    "steady": lambda bound: f"chance that no damage moved the answer at least {bound:g}" if bound else "",
    "lungs_cut": lambda bound: f"lower edge cuts at most {bound:.0%} of the lungs' width" if bound < 1 else "",
}


def _gate(told: Mapping[str, Any]) -> str:
    signals = told["signals"]
    worth = ", ".join(f"{name} {one['auc']:.3f} ({one['fell']} of {one['n']} fell)" for name, one in signals.items())
    asked = [ASKED[name](bound) for name, bound in told["bounds"].items()]
    gate = "; ".join(filter(None, asked)) or "none, as no signal tells the fallen well enough or none is needed"
    return f"Gate: {gate}. AUC of each signal where the bounds were fixed: {worth}."


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _draw(told: Sequence[Mapping[str, Any]], path: Path) -> None:
    figure = Figure(figsize=(3.0 * max(1, len(told)) + 1.5, 5.0), layout="constrained")
    for column, one in zip(figure.subplots(2, len(told), squeeze=False).T, told, strict=True):
        sound, names = one["damages"][0], dict.fromkeys(row["damage"] for row in one["damages"][1:])
        for name in names:
            rows = [sound, *(row for row in one["damages"] if row["damage"] == name)]
            for axis, key in zip(column, ("figure", "refused"), strict=True):
                axis.plot(range(len(rows)), [row[key] for row in rows], "o-", markersize=3, linewidth=1, label=name)
        column[0].set_title(one["model"], fontsize=8)
        column[0].set_ylabel(one["figure"], fontsize=8)
        column[1].set_ylabel("refused", fontsize=8)
        column[1].set_xlabel("grade of the damage, 0: none", fontsize=8)
        for axis in column:
            axis.set_ylim(-0.03, 1.03)
            axis.set_xticks(range(4))
            axis.grid(alpha=0.3)
    figure.legend(*column[0].get_legend_handles_labels(), loc="outside right center", fontsize=7)
    save_svg(figure, path)
