"""How a result is said in words, the same in every document.

References
----------
DICOM PS3.5 Section 6.2 (VR DS: at most 16 characters).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from wetread.counting import named
from wetread.records import Finding, Image, Measurement, Result, Unread
from wetread.report import codes

#: Lines of words on a picture; more would leave too little of the picture.
MOST_LINES = 12
_MOST_SLICES = 60  # characters of the numbers of the slices that show a finding
_MOST_NAMES = 120  # characters of the names of what one model did not read


@dataclass(frozen=True, slots=True)
class Statement:
    """One finding in words."""

    finding: Finding
    name: str  # "Pneumonia"
    verdict: str  # "present", "not seen"
    percent: str  # "97.3 %"
    threshold: str  # "50.0 %"
    slices: str  # of a series "on images 5 to 9, 12", else ""
    line: str  # all of it in one line


def decimal(value: float) -> str:
    """Print a number as a DS: six significant digits, at most 16 characters."""
    text = f"{value:.6g}"
    return text if text != "-0" else "0"


def reduction(image: Image | None) -> str:
    """Say that not every pixel was decoded; "" where every one was."""
    if image is None or image.reduction == 1:
        return ""
    return f"decoded at 1/{image.reduction} of rows and columns"


def percent(share: float) -> str:
    """Print a share of 0..1 as a number of percent with two decimals, as the documents do."""
    return f"{share * 100:.2f}".rstrip("0").rstrip(".")


def name(meaning: str) -> str:
    """Write the meaning of a code as people would: without SNOMED's tag in brackets."""
    return meaning.split(" (", 1)[0].strip()


def apart(probability: float, threshold: float, least: int = 1) -> tuple[str, str]:
    """Print both in percent, with as many decimals as tell one from the other, at least `least` and at most 3."""
    for digits in range(least, 4):
        shown, bound = (f"{share * 100:.{digits}f} %" for share in (probability, threshold))
        if shown != bound or probability == threshold:
            break
    return shown, bound


def statements(result: Result) -> tuple[Statement, ...]:
    """Say each finding of a result."""
    said = []
    for finding in result.findings:
        verdict = "present" if finding.present else "not seen"
        shown, threshold = apart(finding.probability, finding.threshold)
        where = f"on {named(result.image, finding.slices)}" if result.image is not None and finding.slices else ""
        line = f"{name(finding.code.meaning)}: {verdict}, probability {shown} (threshold {threshold}) {where}".rstrip()
        said.append(Statement(finding, name(finding.code.meaning), verdict, shown, threshold, where, line))
    return tuple(said)


def captions(result: Result) -> list[str]:
    """Say a result on a picture, the gravest first: what is there, what was not read, what was not seen."""
    said = statements(result)
    present = [_brief(one) for one in said if one.finding.present]
    unread = [f"{codes.shortened(names(one), _MOST_NAMES)}: NOT READ ({one.refusal.code})" for one in result.not_read]
    return [*circumstances(result), *present, *unread, *(one.line for one in said if not one.finding.present)]


def _brief(said: Statement) -> str:
    """Count slices that would take too much room to name: the line could not be read, or not be shown at all."""
    if len(said.slices) <= _MOST_SLICES:
        return said.line
    counted = said.slices.split()[1]
    return f"{said.line.removesuffix(said.slices)}on {len(said.finding.slices)} {counted}"


def fitted(lines: Sequence[str], most: int, characters: int = sys.maxsize) -> list[str]:
    """Keep the first lines, and say how many more there are where not all fit.

    Parameters
    ----------
    most
        Lines.
    characters
        Of all lines with two between each.
    """
    return next(
        kept
        for shown in range(len(lines), -1, -1)
        if len(kept := _cut(lines, shown)) <= most and sum(len(one) + 2 for one in kept) - 2 <= characters
    )


def _cut(lines: Sequence[str], shown: int) -> list[str]:
    left = len(lines) - shown
    return [*lines[:shown], *([f"and {left} more in the report"] if left else [])]


def revised(result: Result) -> str:
    """Say that a result replaces an earlier one, and why; "" where it is the first."""
    if result.revision is None:
        return ""
    late = result.revision.late
    came = f"{late} image{'s' if late > 1 else ''} came late" if late else "images of its series came late"
    return f"Revision of an earlier result, because {came}"


def reduced(result: Result) -> str:
    """Say what was left out as the node was behind its deadlines; "" where nothing was."""
    said = "; ".join(codes.STEPS[step].meaning for step in result.reduced).lower()
    return f"Reduced reading, as the node was behind its deadlines: {said}" if said else ""


def circumstances(result: Result) -> list[str]:
    """Say what a reader must know about how a result came about, where that was not as usual."""
    return [one for one in (revised(result), reduced(result)) if one]


def names(unread: Unread) -> str:
    """Name what a model would have looked for."""
    return ", ".join(name(code.meaning) for code in unread.about)


def omitted(unread: Unread) -> str:
    """Say what a model did not read, and why."""
    model, refusal = unread.model, unread.refusal
    said = f"{names(unread)} NOT READ by {model.id} {model.version}. {refusal.sentence} {refusal.detail}"
    return said.strip()


def measured(measurement: Measurement) -> str:
    """Say a measurement with its unit, for people: four significant digits, and no exponent."""
    return f"{plain(f'{measurement.value:.4g}')} {measurement.unit.value.strip('{}')}"


def plain(text: str) -> str:
    """Write a printed number without an exponent."""
    return format(Decimal(text), "f")
