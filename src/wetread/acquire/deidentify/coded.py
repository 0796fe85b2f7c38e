"""Codes: their values may stay, their meanings only in the standard's own words."""

from __future__ import annotations

import re
from functools import cache

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as known_codes

__all__ = ["CODE", "is_code", "meaning"]

CODE = re.compile(r"[A-Za-z0-9._-]{1,16}")


@cache
def _meanings(scheme: str) -> dict[str, str]:
    """Return code value -> meaning, as the standard has it; {} of a scheme that it does not know."""
    if scheme not in known_codes.schemes():
        return {}
    return {code.value: code.meaning for code in getattr(known_codes, scheme).concepts.values()}


def is_code(item: Dataset) -> bool:
    """Whether the value of a code is one that the standard knows, or can hold no sentence."""
    return bool(_known(item) or CODE.fullmatch(_value(item)))


def meaning(item: Dataset) -> str:
    """Return the standard's own meaning of a code, or the code, as a sender's words may say anything."""
    return _known(item) or (_value(item) if is_code(item) else "UNKNOWN")


def _known(item: Dataset) -> str:
    return _meanings(str(item.get("CodingSchemeDesignator", ""))).get(_value(item), "")


def _value(item: Dataset) -> str:
    return str(item.get("CodeValue") or item.get("LongCodeValue") or "")
