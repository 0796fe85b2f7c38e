"""The model card, written from figures: nobody types a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wetread.infer import Model
from wetread.lab.audit import markdown
from wetread.lab.certify import PARENT
from wetread.lab.evaluate import Figures
from wetread.lab.gate_page import section
from wetread.lab.written import interval_text

__all__ = ["audit_text", "card", "damage_parts", "operating_text", "standing_text"]

KERMANY_FAULTS = (
    "The test split was published with the training split by one hospital (Guangzhou, children of one to five "
    "years): it measures that hospital.",
    "Films come squashed to 224 x 224; their true aspect ratio is restored from the manifest. Full-size films of a "
    "PACS are sharper than anything the model was trained on.",
    "The original image size alone tells the label (see the rivals): the sites or devices of the two classes differ. "
    "Lung-centred crops hide the size, not the sharpness.",
    "30 groups of duplicates, none across the split. 170 person numbers stand in both splits with another class "
    "suffix (`personN_bacteria` and `personN_virus`); whether they are one child is not known.",
)
LUNG_FAULTS = (
    "The file names of the masks were reconstructed by alignment (1 mismatch in 1,566 of known size); 5 training "
    "films have no mask, 15 masks look odd.",
    "Training and outside masks were drawn by the same company (V7 Labs): another reader's lungs may differ, most of "
    "all behind the heart and the diaphragm.",
    "The outside set is 84 films of 43 adults with COVID-19 in one hospital.",
)
NIH_FAULTS = (
    "The outside labels (NIH) are text-mined; about a quarter of the positives are pneumonia alone; the view differs "
    "by class; the patients are adults.",
)


def card(model: Model, figures: Figures, certificate: Mapping[str, Any], remarks: str) -> str:
    """Return the card in Markdown.

    Parameters
    ----------
    figures
        What `evaluate` found.
    remarks
        What the recipe wants people to know, Markdown.
    """
    tables = _lung_tables if model.task == "segmentation" else _pneumonia_tables
    faults = (*KERMANY_FAULTS, *(LUNG_FAULTS if model.task == "segmentation" else NIH_FAULTS))
    parts = [
        f"# {model.id} {model.version}",
        model.summary,
        "Decision support for research and evaluation; not a certified medical device.",
        "Every figure below is written by `wetread lab evaluate " + model.id + "`; intervals are 95 %, by a bootstrap "
        "of patients (2,000 draws); builds run on OpenVINO where it is installed."
        + standing_text(figures)
        + boxes_text(figures),
        *tables(model, figures),
        audit_text(figures["audit"], _ours(model, figures)),
        *damage_parts(figures),
        "## Certificate\n\n" + certificate_text(certificate),
        "## What is known to be wrong with the data\n\n" + "\n".join(f"- {fault}" for fault in faults),
        "## How it was made\n\n" + remarks.strip(),
        "## Licence and sources\n\n" + f"{model.licence}.\n\n" + "\n".join(f"- {item}" for item in model.training_data),
    ]
    return "\n\n".join(parts) + "\n"


def _ours(model: Model, figures: Figures) -> Figures:
    """Return what the fp32 build reaches on the test split, by the names that the audit's rivals have."""
    found = figures["builds"][PARENT]["kermany test"]
    return {key: found[key] for key in (("dice",) if model.task == "segmentation" else ("auc", "accuracy"))}


def audit_text(audit: Mapping[str, Any], ours: Mapping[str, Any], whose: str = "this model") -> str:
    """Return the section of the audit: its checks, and its rivals below the model's own figures.

    Parameters
    ----------
    ours
        "auc", "accuracy", "dice": as many as the model has; rivals without any of them are left out.
    whose
        What they are of.
    """
    rivals = [one for one in audit["baselines"] if set(one) & set(ours)]
    told = f"{audit['images']} images of {audit['patients']} patients, {audit['split']}; data digest "
    told += f"`{audit['digest'][:16]}`. Asked before training; the rivals see 32 x 32 pixels or none, and their Dice "
    told += "is that of everything marked, on thumbnails of 64 x 64."
    told += f" The split was used although it fails: {audit['accepted']}." if audit["accepted"] else ""
    table = markdown({**audit, "baselines": rivals}, [{"name": f"**{whose}**", **ours}])
    return f"## Audit of the data\n\n{told}\n\n{table}"


def standing_text(figures: Mapping[str, Any]) -> str:
    """Return which builds the machine of the evaluation does not run and when their figures were made; "" if none."""
    kept: Mapping[str, str] = figures.get("not run here", {})
    days = sorted(set(kept.values()))
    told = "; ".join(f"{', '.join(name for name, day in kept.items() if day == one)} of {one}" for one in days)
    return f" Figures that stand, as the machine of this evaluation has no such precision: {told}." if told else ""


def boxes_text(told: Mapping[str, Any]) -> str:
    """Return which build of another model gave the boxes, of figures or a certificate; "" where they tell of none."""
    if "boxes" not in told:
        return ""
    one = told["boxes"]
    return f" The boxes around the lungs are those of {one['model']} on {one['engine']} (`{one['sha256'][:16]}`)."


def damage_parts(figures: Mapping[str, Any]) -> list[str]:
    """Return the section of damaged images, if the builds that ship were tried on them."""
    return [section(figures["gate"])] if figures["gate"] else []


def table_text(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def _lung_tables(model: Model, figures: Figures) -> list[str]:
    parts = []
    names = {
        "kermany test": "Test split, children, one site",
        "hannover": "Hannover, adults, outside, never trained on",
    }
    for key, title in names.items():
        rows = [
            [
                build,
                interval_text(found[key]["dice"], 4),
                f"{found[key]['dice_p05']:.3f}",
                interval_text(found[key]["hd95_percent"], 2),
                f"{found[key]['hd95_percent_median']:.2f}",
            ]
            for build, found in figures["builds"].items()
        ]
        one = next(iter(figures["builds"].values()))[key]["dice"]
        head = ["build", "Dice, mean", "worst 5 %", "HD95, mean, % of diagonal", "HD95, median"]
        parts.append(f"## {title}\n\n{one['n']} films of {one['groups']} patients.\n\n{table_text(head, rows)}")
    rivals = [[name, f"{value:.3f}"] for name, value in figures["baselines"].items()]
    parts.append("## Trivial rivals, test split\n\n" + table_text(["rival", "Dice"], rivals))
    return parts


def _pneumonia_tables(model: Model, figures: Figures) -> list[str]:
    label = model.labels[0]
    parts = [
        f"Threshold {label.threshold:g} on the calibrated probability: {label.threshold_rule}. "
        f"Temperature {model.temperature:g}, fitted on the same films."
    ]
    parts.append(operating_text(figures["operating"]))
    names = {"kermany test": "Test split, children, one site", "nih": "NIH, adults, never trained on"}
    columns = {
        "auc": "AUC",
        "accuracy": "accuracy",
        "sensitivity": "sensitivity",
        "specificity": "specificity",
        "calibration_error": "ECE",
    }
    for key, title in names.items():
        rows = [
            [build, *(interval_text(found[key][column]) for column in columns)]
            for build, found in figures["builds"].items()
        ]
        one = next(iter(figures["builds"].values()))[key]["auc"]
        told = f"{one['n']} films of {one['groups']} patients; deployment would refuse, for want of lungs, "
        told += f"{figures['refused'][key]} (here they are read whole)."
        parts.append(f"## {title}\n\n{told}\n\n{table_text(['build', *columns.values()], rows)}")
    parts.append("## Where it looks\n\n" + _looks(model, figures["looks"]))
    rivals = [
        [name, f"{right:.3f}", "-" if area is None else f"{area:.3f}"]
        for name, (right, area) in figures["baselines"].items()
    ]
    parts.append("## Trivial rivals, test split\n\n" + table_text(["rival", "accuracy", "AUC"], rivals))
    return parts


def operating_text(points: Mapping[str, Figures], picture: str = "roc.svg") -> str:
    """Return the confusion counts at the threshold, and the picture of the curves: a file beside the card."""
    keys = ("found", "missed", "false_alarms", "left_alone")
    rows = [
        [name, *(str(one[key]) for key in keys), f"{one['sensitivity']:.3f}", f"{one['specificity']:.3f}"]
        for name, one in points.items()
    ]
    head = ["fp32", "found", "missed", "false alarms", "rightly left alone", "sensitivity", "specificity"]
    return f"{table_text(head, rows)}\n\n![Sensitivity over 1 - specificity, a dot at the threshold]({picture})"


def _looks(model: Model, looks: Mapping[str, Mapping[str, Figures]]) -> str:
    told = (
        f"Share of the map's mass inside the lungs. Below {model.map_bound:g}, or below the lungs' share of the "
        "crop (chance), the page says that the map is not trustworthy. The last two columns hide pixels behind the "
        "film's median grey: an answer that survives without the lungs comes from elsewhere, or from their outline."
    )
    shares = ["share, median", "chance, median", "not trustworthy"]
    head = ["films", "build", *shares, "AUC, lungs alone", "AUC, without lungs"]
    rows = [
        [
            f"{name}, called positive",
            build,
            f"{one['share']:.2f}",
            f"{one['chance']:.2f}",
            f"{one['doubted']:.1%}",
            f"{one['auc lungs alone']:.3f}",
            f"{one['auc without lungs']:.3f}",
        ]
        for name, builds in looks.items()
        for build, one in builds.items()
    ]
    return f"{told}\n\n{table_text(head, rows)}"


def certificate_text(certificate: Mapping[str, Any]) -> str:
    """Return the certificate as a sentence and a table, a row a build, engine and metric."""
    rows = [
        [
            row["build"],
            row["engine"],
            row["data"],
            row["metric"],
            f"{row['value']:.4f}",
            f"{row['difference']:+.4f} ({row['interval_95'][0]:+.4f} to {row['interval_95'][1]:+.4f})",
            f"{row['margin']:g}",
            "yes" if row["passed"] else "no: does not ship",
        ]
        for row in certificate["builds"]
    ]
    head = ["build", "engine", "data", "metric", "value", "difference to the parent", "largest loss allowed", "passed"]
    method = f"{certificate['method'][:1].upper() + certificate['method'][1:]}."
    parts = [method + boxes_text(certificate), table_text(head, rows)]
    return "\n\n".join([*parts, *_subgroup_parts(certificate["builds"])])


def _subgroup_parts(verdicts: list[Mapping[str, Any]]) -> list[str]:
    """Return, if the data knows subgroups, the table of each on the engine where it is hardest to prove."""
    worst: dict[tuple[str, ...], Mapping[str, Any]] = {}
    for row in verdicts:
        for part in row.get("subgroups", ()):
            key = (part["subgroup"], row["data"], row["metric"], row["build"])
            if key not in worst or part["p"] > worst[key]["p"]:
                worst[key] = part
    if not worst:
        return []
    rows = [
        [
            *(key[at] for at in (0, 1, 2, 3)),
            f"{part['n']} of {part['patients']}",
            f"{part['difference']:+.4f} ({part['interval_95'][0]:+.4f} to {part['interval_95'][1]:+.4f})",
            f"{part['margin']:g}",
            f"{part['p_holm']:.3f}" if "p_holm" in part else "-",
            {True: "yes", False: "**no**", None: "not judged"}[part.get("passed")],
        ]
        for key, part in worst.items()
    ]
    head = ["subgroup", "data", "metric", "build", "samples of patients", "difference to the parent"]
    head += ["largest loss allowed", "p, adjusted", "passed"]
    told = "Each subgroup on the engine where it is hardest to prove. One of a single class stands against all of the "
    told += "other class."
    return [told, table_text(head, rows)]
