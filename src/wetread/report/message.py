"""Judges an ORU^R01 before it may leave: by its bytes, against the image that it is about.

References
----------
HL7 v2.5.1 Sections 7.3.1 (the order of the segments), 2.15.9 (MSH), 3.4.2 (PID), 4.5.1 (ORC), 7.4.1 (OBR),
7.4.2 (OBX), 2.A.47 (NM), 2.A.22 (DTM).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from wetread.report.codes import STUDY
from wetread.report.context import Context
from wetread.report.elements import get
from wetread.report.problem import Problem
from wetread.wire import hl7

_ORDER = re.compile(r"MSH PID ORC OBR( NTE)*( TQ1)?( OBX( NTE)*)+")
_TYPES = frozenset(("CWE", "ED", "NM", "RP", "ST", "TX"))
_NM = re.compile(r"[+-]?\d+(\.\d+)?")
_DTM = re.compile(r"\d{4}(\d\d){0,5}(\.\d{1,4})?([+-]\d{4})?")
_REQUIRED = {
    "MSH": {3: 1, 7: 1, 9: 3, 10: 1, 11: 1, 12: 1, 18: 1},
    "PID": {3: 1},
    "ORC": {1: 1, 3: 1},
    "OBR": {3: 1, 4: 1, 25: 1},
    "OBX": {2: 1, 3: 3, 4: 1, 5: 1, 11: 1},
}
_FIXED = {
    ("MSH", 9): ("ORU", "R01", "ORU_R01"),
    ("MSH", 12): ("2.5.1",),
    ("ORC", 1): ("RE",),
}
_MOST = {("MSH", 10): 20, ("OBX", 4): 20, ("OBR", 18): 60}
_TIMES = (("MSH", 7), ("PID", 7), ("OBR", 7), ("OBR", 22), ("OBX", 14))


def problems(data: bytes, context: Context) -> list[Problem]:
    """Judge a message that is about a result; an empty list when nothing is wrong."""
    return formed(data) or list(_subject(hl7.parse(data), context))


def formed(data: bytes) -> list[Problem]:
    """Judge a message by itself."""
    try:
        message = hl7.parse(data)
    except hl7.BadMessage as error:
        return [Problem("message", str(error), "HL7 v2.5.1 2.5")]
    return list(_structure(message)) or list(_values(message))


def _structure(message: hl7.Message) -> Iterator[Problem]:
    if not _ORDER.fullmatch(" ".join(one.name for one in message.segments)):
        yield Problem("message", "expected MSH PID ORC OBR, notes, timing, observations, got another order", "7.3.1")
    for segment in message.segments:
        for number, components in _REQUIRED.get(segment.name, {}).items():
            if not all(_there(segment, number, component) for component in range(1, components + 1)):
                yield Problem(f"{segment.name}-{number}", "expected a value, got none", "HL7 v2.5.1 Chapters 2 to 7")
    for (name, number), expected in _FIXED.items():
        for one in message.all(name):
            if tuple(one.text(number, place) for place in range(1, len(expected) + 1)) != expected:
                yield Problem(f"{name}-{number}", f"expected {'^'.join(expected)}, got another", "7.3.1")


def _there(segment: hl7.Segment, number: int, component: int) -> bool:
    first = segment.raw(number).split("~", 1)[0].split("^")
    if segment.name == "OBX" and number == 5:
        return segment.raw(5) != ""
    return len(first) >= component and first[component - 1] != ""


def _values(message: hl7.Message) -> Iterator[Problem]:
    for (name, number), most in _MOST.items():
        if any(len(one.text(number)) > most for one in message.all(name)):
            yield Problem(f"{name}-{number}", f"expected at most {most} characters, got more", "HL7 v2.5.1 2.5.3.2")
    for name, number in _TIMES:
        if any(one.raw(number) and not _DTM.fullmatch(one.raw(number)) for one in message.all(name)):
            yield Problem(f"{name}-{number}", "expected YYYYMMDD[HHMM[SS]][+ZZZZ], got another form", "2.A.22")
    for count, one in enumerate(message.all("OBX"), 1):
        kind, where = one.text(2), f"OBX[{count}]"
        if one.text(1) != str(count):
            yield Problem(f"{where}-1", "expected the next number, got another", "7.4.2.1")
        if kind not in _TYPES:
            yield Problem(f"{where}-2", f"expected one of {', '.join(sorted(_TYPES))}, got another", "7.4.2.2")
        if kind == "NM" and (not _NM.fullmatch(one.raw(5)) or one.text(6, 3) != "UCUM" or not one.text(6)):
            yield Problem(f"{where}-5", "expected a number with its UCUM unit, got another", "2.A.47, 7.4.2.6")
        if kind == "CWE" and not (one.text(5) and one.text(5, 2) and one.text(5, 3)):
            yield Problem(f"{where}-5", "expected code, text and system, got less", "2.A.13")
        if one.text(11) not in ("P", "F", "C", "O", "W"):
            yield Problem(f"{where}-11", "expected P, F, C, O or W, got another", "7.4.2.11")


def _subject(message: hl7.Message, context: Context) -> Iterator[Problem]:
    """Judge that it is about this patient, and about this study."""
    header, order = context.source.modules, context.result.order
    known = [one.value for one in order.patient if one.value] if order is not None else []
    expected = known or [str(get(header, "PatientID", "")).strip()]
    patient = message.first("PID")
    if patient is None or [one[0][0] for one in patient.repetitions(3)] != expected:
        yield Problem("PID-3", "expected the identifiers of the patient, got others", "3.4.2.3")
    studies = [one.text(5) for one in message.all("OBX") if one.text(3) == STUDY.value]
    if studies != [context.source.study_uid]:
        yield Problem("OBX", "expected the study of the image once, got another", "IHE RAD TF-2 Table 4.7-7")
