"""Data sets of the DICOM JSON model: made, looked into, and taken from strangers.

A data set is a dict from "00741000" to {"vr": "CS", "Value": ["SCHEDULED"]}; without "Value" where there is none.

References
----------
PS3.18 Annex F (DICOM JSON model); PS3.5 Section 6.2 (value representations).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydicom import config
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.valuerep import validate_value

from wetread.errors import BadInput

DataSet = dict[str, Any]

MOST_DEPTH = 16  # of sequences in each other
LONGEST = 10_240  # characters of a value: of ST and LT no more are allowed

_TAG = re.compile(r"[0-9A-F]{8}")
_NUMBERS = ("US", "SS", "UL", "SL", "UV", "SV", "FL", "FD")
_TEXT_OR_NUMBER = ("IS", "DS")
_BINARY = ("OB", "OD", "OF", "OL", "OV", "OW", "UN")
_BASE64 = re.compile(r"[A-Za-z0-9+/= \t\r\n]*")
_VR = re.compile(r"[A-Z]{2}")
_GROUPS = {"Alphabetic", "Ideographic", "Phonetic"}


@cache
def tag(keyword: str) -> str:
    """Return the key of an attribute, such as "00741000"."""
    found = tag_for_keyword(keyword)
    assert found is not None, keyword
    return f"{found:08X}"


def element(keyword: str, *values: Any) -> dict[str, Any]:
    """Return an element; without values an empty one."""
    vr = dictionary_VR(int(tag(keyword), 16))
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def dataset(given: Mapping[str, Any]) -> DataSet:
    """Return a data set from values by keyword: one, a list of several, or None for an empty attribute."""
    made = {}
    for keyword, value in given.items():
        values = value if isinstance(value, list) else [] if value in (None, "") else [value]
        made[tag(keyword)] = element(keyword, *values)
    return dict(sorted(made.items()))


def values(data: Mapping[str, Any], keyword: str) -> list[Any]:
    """Return the values of an attribute, or [] for none."""
    return list(data.get(tag(keyword), {}).get("Value", ()))


def text(data: Mapping[str, Any], keyword: str) -> str:
    """Return the first value of an attribute as text, or ""."""
    found = values(data, keyword)
    return str(found[0]).strip() if found and found[0] is not None else ""


def item(data: Mapping[str, Any], keyword: str) -> DataSet:
    """Return the first item of a sequence, or {}."""
    found = values(data, keyword)
    return found[0] if found and isinstance(found[0], dict) else {}


def code(value: str, scheme: str, meaning: str) -> DataSet:
    """Return an item of a code sequence (PS3.3 Section 8.8)."""
    return dataset({"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning})


def parsed(body: bytes) -> DataSet:
    """Return the one data set of a body, checked: an object, or an array of one.

    Raises
    ------
    BadInput
        It is something else, or breaks the model or a value representation; no value is repeated.
    """
    try:
        made = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadInput("DICOM JSON: expected JSON, got something else") from error
    if isinstance(made, list):
        if len(made) != 1:
            raise BadInput(f"DICOM JSON: expected one data set, got {len(made)}")
        (made,) = made
    return checked(made)


def checked(raw: Any, depth: int = 0) -> DataSet:
    """Return a data set with its keys in order and in upper case, or say what is wrong with it.

    Raises
    ------
    BadInput
        As `parsed`.
    """
    if not isinstance(raw, dict):
        raise BadInput("DICOM JSON: expected an object for a data set or item, got something else")
    if depth > MOST_DEPTH:
        raise BadInput(f"DICOM JSON: expected at most {MOST_DEPTH} sequences in each other, got more")
    made = {}
    for key, given in raw.items():
        name = key.upper()
        if not _TAG.fullmatch(name):
            raise BadInput("DICOM JSON: expected keys of eight hexadecimal digits, got another")
        made[name] = _element(name, given, depth)
    return dict(sorted(made.items()))


def _element(name: str, given: Any, depth: int) -> dict[str, Any]:
    where = f"DICOM JSON: {keyword_for_tag(int(name, 16)) or name}"
    vr = given.get("vr") if isinstance(given, dict) else None
    if not isinstance(vr, str) or not _VR.fullmatch(vr) or vr not in _allowed(name, vr):
        raise BadInput(f"{where}: expected vr {' or '.join(_allowed(name, 'one of the standard'))}, got another")
    if "BulkDataURI" in given:
        raise BadInput(f"{where}: expected no bulk data")
    if vr in _BINARY:
        binary = given.get("InlineBinary")
        if binary is not None and not (isinstance(binary, str) and _BASE64.fullmatch(binary)):
            raise BadInput(f"{where}: expected InlineBinary in base64, got something else")
        return {"vr": vr, "InlineBinary": binary} if binary else {"vr": vr}
    found = given.get("Value", [])
    if not isinstance(found, list):
        raise BadInput(f"{where}: expected an array of values, got something else")
    kept = [_value(where, vr, one, depth) for one in found]
    return {"vr": vr, "Value": kept} if any(one not in (None, "", {}) or vr == "SQ" for one in kept) else {"vr": vr}


def _allowed(name: str, vr: Any) -> tuple[str, ...]:
    """The value representations of an attribute: any of one that is private or unknown."""
    number = int(name, 16)
    return tuple(dictionary_VR(number).split(" or ")) if dictionary_has_tag(number) else (str(vr),)


def _value(where: str, vr: str, one: Any, depth: int) -> Any:
    if vr == "SQ":
        return checked({} if one is None else one, depth + 1)
    if one is None:
        return None
    if vr == "PN":
        fits = isinstance(one, dict) and set(one) <= _GROUPS and all(isinstance(part, str) for part in one.values())
        if not fits or not _valid("PN", "=".join(one.get(group, "") for group in sorted(_GROUPS)).rstrip("=")):
            raise BadInput(f"{where}: expected the groups of a person's name, got something else")
        return one
    number = isinstance(one, int | float) and not isinstance(one, bool) and abs(one) <= sys.float_info.max
    if vr in _NUMBERS or (vr in _TEXT_OR_NUMBER and number):
        if not number:
            raise BadInput(f"{where}: expected a number, got something else")
        return one
    if not isinstance(one, str) or not _valid(vr, one):
        raise BadInput(f"{where}: expected a value of VR {vr} (PS3.5 Section 6.2), got something else")
    return one


def _valid(vr: str, value: str) -> bool:
    if len(value) > LONGEST or "\0" in value:
        return False
    try:
        validate_value(vr, value, config.RAISE)
    except ValueError:
        return False
    return True
