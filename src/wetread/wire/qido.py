"""Searches by DICOMweb: what a query asks for, and the DICOM JSON of its matches.

References
----------
PS3.18 Sections 8.3.4 (query parameters), 10.6 (search transaction) and Annex F (DICOM JSON model); PS3.4
Section C.2.2.2 (matching).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wetread.errors import BadInput
from wetread.wire.queryable import ATTRIBUTES, KEYS, Attribute, Level

#: Matches of one response.
MOST = 1000
#: Of the wild card * in one value: each more may cost the database another walk through every value.
MOST_STARS = 4
LONGEST = 256  # characters of a value

_TAGS = {f"{one.tag:08X}": one.keyword for one in ATTRIBUTES.values()} | {"00080061": "ModalitiesInStudy"}
_KNOWN = {*ATTRIBUTES, "ModalitiesInStudy"}
_UID = re.compile(r"[0-9.]{1,64}")
_UIDS = re.compile(r"[0-9.]{1,64}([,\\][0-9.]{1,64})*")
_DATES = re.compile(r"\d{8}|\d{8}-(\d{8})?|-\d{8}")
_TIME = r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?"
_TIMES = re.compile(rf"{_TIME}|{_TIME}-({_TIME})?|-{_TIME}")
_FORMS = {"UI": _UIDS, "DA": _DATES, "TM": _TIMES}


@dataclass(frozen=True, slots=True)
class Asked:
    """One search."""

    level: Level
    match: tuple[tuple[str, str], ...]  # keyword of `ATTRIBUTES` or ModalitiesInStudy, and value; all must match
    whole: bool  # attributes of the levels above, too
    limit: int | None = None
    offset: int = 0
    fuzzy: bool = False  # was asked for, and is not done


def asked(level: Level, given: Iterable[tuple[str, str]], path: Mapping[str, str]) -> Asked:
    """Understand the parameters of a query.

    Parameters
    ----------
    given
        Name and value of each query parameter, decoded.
    path
        UIDs that the path names, by keyword.

    Raises
    ------
    BadInput
        A parameter is unknown, an attribute is not kept for searches, or a value has another form.
    """
    if not all(_UID.fullmatch(value) for value in path.values()):
        raise BadInput("query: expected UIDs in the path, got something else")
    match = dict(path)
    limit, offset, fuzzy, whole = None, 0, False, not path
    for name, value in given:
        if name == "limit":
            limit = _number(name, value)
        elif name == "offset":
            offset = _number(name, value)
        elif name == "fuzzymatching":
            fuzzy = value.lower() == "true"
        elif name == "includefield":
            whole = whole or value == "all" or any(_above(one, level) for one in value.split(","))
        else:
            keyword = _TAGS.get(name.upper(), name)
            _check(name, keyword, value)
            if keyword in path and value != path[keyword]:
                raise BadInput(f"query: {keyword} contradicts the path; leave one of them out")
            match[keyword] = value
    wanted = tuple((keyword, value) for keyword, value in match.items() if value.strip("*"))
    return Asked(level, wanted, whole, limit, offset, fuzzy)


def _above(name: str, level: Level) -> bool:
    one = ATTRIBUTES.get(_TAGS.get(name.upper(), name))
    return one is not None and one.level < level


def _number(name: str, value: str) -> int:
    if not re.fullmatch(r"\d{1,9}", value):
        raise BadInput(f"query: {name}: expected a whole number, got another value")
    return int(value)


def _check(name: str, keyword: str, value: str) -> None:
    """No message repeats a value: it may name a patient."""
    if keyword not in _KNOWN:
        shown = name if re.fullmatch(r"[\w.]{1,64}", name) else "a name that is none"
        raise BadInput(f"query: expected limit, offset, fuzzymatching, includefield or one of {_known()}; got {shown}")
    form = _FORMS.get(ATTRIBUTES[keyword].vr) if keyword in ATTRIBUTES else None
    if form is not None and value.strip("*") and not form.fullmatch(value):
        raise BadInput(f"query: {keyword}: expected a value or a range of its VR (PS3.4 C.2.2.2), got another form")
    if len(value) > LONGEST or len(re.sub(r"\*+", "*", value).split("*")) - 1 > MOST_STARS or "\0" in value:
        raise BadInput(f"query: {keyword}: expected at most {LONGEST} characters and {MOST_STARS} of *, got more")


def _known() -> str:
    return ", ".join(sorted(_KNOWN))


def match_json(row: Mapping[str, Any], level: Level, whole: bool, base: str) -> dict[str, Any]:
    """Return the DICOM JSON of one match.

    Parameters
    ----------
    row
        Values by keyword, as `wetread.wire.queryable.described` gives them, and the computed ones.
    whole
        With the attributes of the levels above.
    base
        URL of the service, for Retrieve URL (0008,1190).
    """
    made = {"00080005": {"vr": "CS", "Value": ["ISO_IR 192"]}}
    for one in ATTRIBUTES.values():
        if one.level == level or (one.level < level and (whole or one.keyword in KEYS)):
            made[f"{one.tag:08X}"] = element(one, row[one.keyword])
    made["00080056"] = {"vr": "CS", "Value": ["ONLINE"]}
    made["00081190"] = {"vr": "UR", "Value": [url(base, [row[key] for key in KEYS[: level + 1]])]}
    if level == Level.STUDY:
        made["00080061"] = {"vr": "CS", **({"Value": named} if (named := row["ModalitiesInStudy"]) else {})}
        made["00201206"] = {"vr": "IS", "Value": [row["series"]]}
        made["00201208"] = {"vr": "IS", "Value": [row["instances"]]}
    if level == Level.SERIES:
        made["00201209"] = {"vr": "IS", "Value": [row["instances"]]}
    return dict(sorted(made.items()))


def url(base: str, uids: Iterable[str]) -> str:
    """Return the address of a study, series or instance."""
    return base + "".join(f"/{part}/{uid}" for part, uid in zip(("studies", "series", "instances"), uids, strict=False))


def element(one: Attribute, value: str) -> dict[str, Any]:
    """Return the DICOM JSON of one value; without "Value" where there is none, or none of its VR."""
    made: list[Any] = []
    for part in value.split("\\") if value else []:
        if one.vr == "PN":
            made.append(_person(part))
        elif one.vr in ("IS", "US"):
            made += [int(part)] if re.fullmatch(r"\s*[+-]?\d{1,12}\s*", part) else []
        else:
            made.append(part.strip())
    return {"vr": one.vr, "Value": made} if made else {"vr": one.vr}


def _person(value: str) -> dict[str, str]:
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), value.split("="), strict=False)
    return {name: group.strip() for name, group in groups if group.strip()}
