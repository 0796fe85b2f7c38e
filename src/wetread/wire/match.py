"""Which work items a search or a filtered subscription means: one matching for both, as the standard demands.

References
----------
PS3.4 Sections C.2.2.2 (matching) and CC.2.3.3.1 (filtered subscriptions match as searches do); PS3.18 Section 8.3.4.1
(attributes in query parameters: keyword, tag, or a path of them through sequences).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from pydicom.datadict import tag_for_keyword

from wetread.errors import BadInput
from wetread.wire import moments
from wetread.wire.dicomjson import DataSet, tag

#: Matches of one response, and where none is asked for.
MOST = 1000
MOST_KEYS = 32
LONGEST = 256  # characters of a value
MOST_STARS = 4  # of one value

_HEX = re.compile(r"[0-9A-Fa-f]{8}")
_RANGED = ("DA", "TM", "DT")
_WILD = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT")
#: What a search returns without `includefield` beside what it matches.
RETURNED = tuple(
    tag(keyword)
    for keyword in (
        "SpecificCharacterSet",
        "SOPClassUID",
        "SOPInstanceUID",
        "PatientName",
        "PatientID",
        "IssuerOfPatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyInstanceUID",
        "AdmissionID",
        "IssuerOfAdmissionIDSequence",
        "ReferencedRequestSequence",
        "ScheduledProcedureStepStartDateTime",
        "ScheduledProcedureStepModificationDateTime",
        "ExpectedCompletionDateTime",
        "ScheduledWorkitemCodeSequence",
        "InputInformationSequence",
        "ScheduledStationNameCodeSequence",
        "ScheduledStationClassCodeSequence",
        "ScheduledStationGeographicLocationCodeSequence",
        "ScheduledHumanPerformersSequence",
        "InputReadinessState",
        "ProcedureStepState",
        "ProcedureStepProgressInformationSequence",
        "ScheduledProcedureStepPriority",
        "WorklistLabel",
        "ProcedureStepLabel",
        "ScheduledProcessingParametersSequence",
        "ReplacedProcedureStepSequence",
    )
)


@dataclass(frozen=True, slots=True)
class Key:
    """One matching key: where the attribute is, outermost first, and what it must be."""

    path: tuple[str, ...]
    value: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """One search of work items."""

    keys: tuple[Key, ...] = ()  # all must match
    fields: tuple[str, ...] = ()  # attributes to return beside `RETURNED`
    whole: bool = False  # all attributes
    limit: int = MOST
    offset: int = 0
    fuzzy: bool = False  # was asked for, and is not done

    def value(self, keyword: str) -> str:
        """Return what an outermost attribute must be, without any pattern, or ""."""
        found = [key.value for key in self.keys if key.path == (tag(keyword),)]
        return found[0] if found and not set("*?\\,") & set(found[0]) else ""


def wanted(given: Iterable[tuple[str, str]]) -> Wanted:
    """Understand the parameters of a search.

    Raises
    ------
    BadInput
        A parameter is unknown, or its value has another form; no value is repeated.
    """
    keys: list[Key] = []
    fields: list[str] = []
    numbers = {"limit": MOST, "offset": 0}
    whole = fuzzy = False
    for name, value in given:
        if name in numbers:
            numbers[name] = _number(name, value)
        elif name == "fuzzymatching":
            fuzzy = value.lower() == "true"
        elif name == "includefield":
            whole = whole or value == "all"
            fields += [_path(one)[0] for one in value.split(",") if value != "all"]
        elif value.strip("*"):  # else it matches everything
            keys.append(key(name, value))
    if len(keys) > MOST_KEYS:
        raise BadInput(f"query: expected at most {MOST_KEYS} matching keys, got more")
    return Wanted(tuple(keys), tuple(fields), whole, min(MOST, numbers["limit"]), numbers["offset"], fuzzy)


def key(name: str, value: str) -> Key:
    """Return a matching key.

    Raises
    ------
    BadInput
        As `wanted`.
    """
    path = _path(name)
    if len(value) > LONGEST or len(re.sub(r"\*+", "*", value).split("*")) - 1 > MOST_STARS:
        raise BadInput(f"query: expected values of at most {LONGEST} characters and {MOST_STARS} of *, got more")
    return Key(path, value)


def _number(name: str, value: str) -> int:
    if not re.fullmatch(r"\d{1,9}", value):
        raise BadInput(f"query: {name}: expected a whole number, got another value")
    return int(value)


def _path(name: str) -> tuple[str, ...]:
    """The tags that a parameter names; Transaction UID is nobody's to search."""
    parts = name.split(".")
    tags = tuple(part.upper() if _HEX.fullmatch(part) else _tag(part) for part in parts)
    if len(tags) > 4 or not all(tags) or tag("TransactionUID") in tags:
        shown = name if re.fullmatch(r"[\w.]{1,64}", name) else "a name that is none"
        raise BadInput(
            f"query: expected limit, offset, fuzzymatching, includefield, or attributes as keyword or tag; got {shown}"
        )
    return tags


def _tag(keyword: str) -> str:
    found = tag_for_keyword(keyword)
    return "" if found is None else f"{found:08X}"


def matches(data: DataSet, keys: Iterable[Key]) -> bool:
    """Whether a work item is what all the keys say; "" and * say nothing (PS3.4 Section C.2.2.2.3)."""
    said = (key for key in keys if key.value.strip("*"))
    return all(any(_fits(vr, one, key.value) for vr, one in _found(data, key.path)) for key in said)


def _found(data: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Yield the values at a path, in every item of the sequences on it."""
    one = data.get(path[0], {})
    for value in one.get("Value", ()):
        if len(path) == 1:
            yield one["vr"], value
        elif isinstance(value, dict):
            yield from _found(value, path[1:])


def _fits(vr: str, value: Any, asked: str) -> bool:
    if vr == "SQ" or value is None:
        return False
    if vr == "PN":
        return any(_alike(group.lower(), asked.lower()) for group in value.values())
    known = str(value).strip()
    if vr == "UI":
        return known in asked.replace(",", "\\").split("\\")
    if vr in _RANGED:
        return moments.fits(vr, known, asked)
    return _alike(known, asked) if vr in _WILD else known == asked


def _alike(known: str, asked: str) -> bool:
    """Wild card matching: * is any characters, ? is one."""
    return fnmatchcase(known, asked.replace("[", "[[]"))


def shown(data: DataSet, asked: Wanted) -> DataSet:
    """Return of a work item what a search returns."""
    if asked.whole:
        return data
    fields = {*RETURNED, *asked.fields, *(key.path[0] for key in asked.keys)}
    return {name: one for name, one in data.items() if name in fields}
