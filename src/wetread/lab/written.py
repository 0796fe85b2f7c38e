"""Figures as JSON that every reader takes, and as words."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wetread.files import replacing

__all__ = ["interval_text", "write_json", "write_text"]


def write_text(path: Path, text: str) -> None:
    """Write a file of text in UTF-8, or leave the old one: one cut off, as on a full disk, would pass for whole.

    Raises
    ------
    OSError
        It cannot be written, with its name.
    """
    try:
        with replacing(path) as file:
            file.write(text.encode("utf-8", "backslashreplace"))  # names of files need not be UTF-8
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_json(path: Path, told: Mapping[str, Any] | Sequence[Any], **more: Any) -> None:
    """Write a file of JSON, RFC 8259, as `write_text`: a figure that is not defined (NaN) is null.

    Parameters
    ----------
    more
        As of `json.dumps`.
    """
    write_text(path, json.dumps(_defined(told), indent=1, allow_nan=False, **more) + "\n")


def _defined(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _defined(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_defined(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def interval_text(figure: Mapping[str, Any] | None, digits: int = 3) -> str:
    """Return "0.953 (0.949 to 0.957)" of an interval's fields; "-" where there is no figure, or none is defined."""
    ends = [] if figure is None else [figure[key] for key in ("value", "low", "high")]
    if not ends or any(end is None or math.isnan(end) for end in ends):
        return "-"
    value, low, high = (f"{end:.{digits}f}" for end in ends)
    return f"{value} ({low} to {high})"
