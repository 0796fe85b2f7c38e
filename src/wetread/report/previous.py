"""Priors' values beside new ones: how they differ, how a report states them, and what the checker says of that.

They stand in a section of their own, (121068, DCM, "Previous Findings"), never among the Imaging Measurements: whoever
gathers what a report measured, some viewers by Tracking Unique Identifier alone, takes no old value for a new one.

References
----------
DICOM PS3.16 TID 1500 (extensible), TID 1501 (measurement group), TID 1502 (time point context), CID 7001 (headings of
diagnostic imaging reports); PS3.3 Section C.17.2.3 (Pertinent Other Evidence Sequence).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal

from wetread.records import Code, Finding, Followed, Measurement, Prior, Region, Result
from wetread.report import codes
from wetread.report.context import reference
from wetread.report.elements import Item, get, item, sequence
from wetread.report.equipment import algorithm
from wetread.report.problem import HABIT, Problem
from wetread.report.tree import key, key_of, named
from wetread.report.words import decimal, measured, percent

PERTINENT = "PertinentOtherEvidenceSequence"
_CLAUSE = "PS3.16 TID 1501, TID 1502"


def difference(result: Result, group: Followed, measured: Measurement) -> float | None:
    """Return a new value minus the earlier one, as both are printed; None where they cannot be compared.

    They can be where the very same build of a model gave both, in the same unit; others may have said the same.
    """
    for finding in result.findings:
        if key(measured.code) == key(codes.PROBABILITY) and _is_of(finding, group, codes.PERCENT, measured):
            return _difference(percent(finding.probability), measured)
    for region in result.regions:
        for one in region.measurements:
            if key(one.code) == key(measured.code) and _is_of(region, group, one.unit, measured):
                return _difference(decimal(one.value), measured)
    return None


def _is_of(one: Finding | Region, group: Followed, unit: Code, measured: Measurement) -> bool:
    build = algorithm(one.model)
    same = (group.tracking_uid, group.algorithm, group.version, key(measured.unit))
    return (one.tracking_uid, build.name, build.version, key(unit)) == same


def _difference(now: str, measured: Measurement) -> float:
    return float(decimal(float(now) - measured.value))


def day(prior: Prior) -> str:
    """Write the date of a prior as people do."""
    return f"{prior.date[:4]}-{prior.date[4:6]}-{prior.date[6:]}"


def said(result: Result, one: Finding | Region) -> list[str]:
    """Say in words what priors had of something that is followed: a line a prior and value, the newest first."""
    what = (one.tracking_uid, isinstance(one, Finding))
    # What another model says of the same is compared where that stands.
    found, drawn = ((one,), ()) if isinstance(one, Finding) else ((), (one,))
    alone = replace(result, findings=found, regions=drawn)
    return [
        _line(alone, prior, group, value)
        for prior in result.priors
        for group in prior.groups
        if (group.tracking_uid, group.present is not None) == what
        for value in group.values
    ]


def _line(result: Result, prior: Prior, group: Followed, value: Measurement) -> str:
    verdict = "" if group.present is None else " (present)" if group.present else " (not seen)"
    line = f"Prior {day(prior)}: {measured(value)}{verdict}"
    change = difference(result, group, value)
    if change is None:
        return f"{line}, by {author(group)}: not comparable"
    unit = value.unit.value.strip("{}")
    return f"{line}, difference {Decimal(f'{change:.4g}'):+f} {unit}"


def author(group: Followed) -> str:
    """Say who gave earlier values: a build, or a person."""
    return f"{group.algorithm} {group.version}".strip()


def evidence(priors: Sequence[Prior]) -> Item:
    """List the images of priors to which the tree refers."""
    studies = [
        item(
            StudyInstanceUID=prior.study_uid,
            ReferencedSeriesSequence=item(
                SeriesInstanceUID=prior.images[0][0], ReferencedSOPSequence=reference(*prior.images[0][1:])
            ),
        )
        for prior in priors
        if len(prior.images) == 1
    ]
    return item(**{PERTINENT: studies}) if studies else {}


def followed(children: Sequence[Item]) -> set[tuple[str, bool]]:
    """Return the tracking identifiers of what a tree states as measured now, each with whether it is a finding.

    A model that finds and outlines something gives both the same identifier.
    """
    return {
        (get(node, "UID"), is_finding(group))
        for measured in children
        if key_of(measured) == key(codes.IMAGING_MEASUREMENTS)
        for group in sequence(measured, "ContentSequence")
        for node in named(sequence(group, "ContentSequence"), codes.TRACKING_UID)
    }


def standing(children: Sequence[Item]) -> list[Item]:
    """Leave out of a tree what priors had of that which it states no more."""
    there, kept = followed(children), []
    for node in children:
        if key_of(node) == key(codes.PREVIOUS_FINDINGS):
            before = sequence(node, "ContentSequence")
            groups = [group for group in before if (followed_by(group), is_finding(group)) in there]
            if not groups:
                continue
            node = node | item(ContentSequence=groups)
        kept.append(node)
    return kept


def followed_by(group: Item) -> str:
    """Return the tracking identifier of a group, "" where it has none."""
    return next((get(node, "UID", "") for node in named(sequence(group, "ContentSequence"), codes.TRACKING_UID)), "")


def is_finding(group: Item) -> bool:
    """Whether a group states the probability of a finding, and not the size of a region."""
    return bool(named(sequence(group, "ContentSequence"), codes.PROBABILITY))


def problems(data: Item) -> Iterator[Problem]:
    """Judge the section of previous findings: each names its prior, its date, and something that is followed."""
    children = sequence(data, "ContentSequence")
    sections = named(children, codes.PREVIOUS_FINDINGS)
    now = followed(children)
    if len(sections) > 1:
        yield Problem("ContentSequence", "expected one section of previous findings, got more", HABIT)
    for section in sections:
        for number, group in enumerate(sequence(section, "ContentSequence"), 1):
            where = f"Previous Findings[{number}]"
            yield from _judged(where, group, now, get(data, "StudyInstanceUID", ""))
    studies = [get(one, "StudyInstanceUID") for one in sequence(data, PERTINENT)]
    if get(data, "StudyInstanceUID") in studies or len(set(studies)) != len(studies):
        yield Problem(PERTINENT, "expected other studies, each once, got this one or one twice", "PS3.3 C.17.2.3")


def _judged(where: str, group: Item, now: set[tuple[str, bool]], study_uid: str) -> Iterator[Problem]:
    inner = sequence(group, "ContentSequence")
    templates = [get(one, "TemplateIdentifier") for one in sequence(group, "ContentTemplateSequence")]
    if key_of(group) != key(codes.MEASUREMENT_GROUP) or templates != ["1501"]:
        yield Problem(where, "expected a measurement group of template 1501", _CLAUSE)
    once = (
        codes.TRACKING_ID,
        codes.TRACKING_UID,
        codes.TIME_POINT,
        codes.STUDY_DATE,
        codes.STUDY_UID,
        codes.FINDING,
        codes.COMMENT,
    )
    for concept in once:
        if len(named(inner, concept)) != 1:
            yield Problem(where, f"expected one {concept.meaning}, got another number", _CLAUSE)
    if (followed_by(group), is_finding(group)) not in now:
        yield Problem(where, "expected the tracking identifier of something that is measured now", _CLAUSE)
    if any(get(node, "UID") == study_uid for node in named(inner, codes.STUDY_UID)):
        yield Problem(where, "expected another study than this", _CLAUSE)
    if len(named(inner, codes.SERIES_UID)) + len(named(inner, codes.SOURCE_OF_MEASUREMENT)) != 1:
        yield Problem(where, "expected the image or the series of the prior", _CLAUSE)
    values = [node for node in inner if get(node, "ValueType") == "NUM" and key_of(node) != key(codes.DIFFERENCE)]
    if not values or len(named(inner, codes.DIFFERENCE)) > len(values):
        yield Problem(where, "expected values, and no more differences than values", _CLAUSE)
    said = [
        key_of(node, "ConceptCodeSequence")
        for finding in named(inner, codes.FINDING)
        for node in inner
        if get(node, "ValueType") == "CODE" and key_of(node) == key_of(finding, "ConceptCodeSequence")
    ]
    if len(said) != len(named(inner, codes.PROBABILITY)) or set(said) - {key(codes.PRESENT), key(codes.ABSENT)}:
        yield Problem(where, "expected Present or Absent beside a probability, and nowhere else", _CLAUSE)
