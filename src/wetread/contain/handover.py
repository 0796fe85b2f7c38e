"""Studies on their way from a child: a head of JSON, and arrays as they lie in shared memory.

In JSON a record is the list of its fields, and an array is [type, shape, offset], or [type, shape, slices]
of a volume (`wetread.contain.volumes`).  Whoever reads it
expects a child to lie: every value must be of the type that `wetread.records` declares, and every array
must lie within the memory, from which it is copied, or within the files.
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from wetread.contain.header import header, told
from wetread.contain.talk import Body
from wetread.contain.volumes import Files, Piles
from wetread.errors import REFUSALS
from wetread.records import Pixels, Refusal

#: Of the pixels of an image (`wetread.records.Image`).
KINDS = ("|u1", "<u2", "<i2", "<i4", "<f4")
ALIGN = 64
MAX_TEXT = 1 << 16
MAX_ITEMS = 100_000  # of a tuple

#: What is raised on the way to a record that cannot be.
_LIES: tuple[type[Exception], ...] = (ValueError, TypeError, LookupError, OverflowError, AttributeError, RecursionError)


class Shelf:
    """Where a child lays its arrays, one behind the other."""

    def __init__(self) -> None:
        self.arrays: list[tuple[int, Pixels]] = []
        self.size = 0
        self.piles = Piles()

    def lay(self, pixels: Pixels) -> list[Any]:
        """Give an array its place; return its type, shape and offset, or those of its slices."""
        if (slices := self.piles.told(pixels, self.lay)) is not None:
            return [pixels.dtype.str, list(pixels.shape), slices]
        offset = -(-self.size // ALIGN) * ALIGN
        self.arrays.append((offset, pixels))
        self.size = offset + pixels.nbytes
        return [pixels.dtype.newbyteorder("=").str, list(pixels.shape), offset]


def pack(value: Any, shelf: Shelf) -> bytes:
    """Return records as JSON; their arrays get places on the shelf."""
    return json.dumps(_packed(value, shelf)).encode("ascii")


def _packed(value: Any, shelf: Shelf) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, tuple | list):
        return [_packed(item, shelf) for item in value]
    if isinstance(value, np.ndarray):
        return shelf.lay(value)
    return [
        told(getattr(value, item.name)) if item.name == "header" else _packed(getattr(value, item.name), shelf)
        for item in fields(value)
    ]


@dataclass(frozen=True, slots=True)
class Arrays:
    """Where the arrays of an answer may lie."""

    body: Body
    files: Files


def read(head: bytes, hint: Any, body: Body, files: Files | None = None) -> Any:
    """Make records of what a child says.

    Parameters
    ----------
    head
        What `pack` made.
    hint
        The type that is expected, such as ``tuple[Study, ...]``.
    body
        The arrays.
    files
        Of the job, where a child may refer to what lies in them.

    Raises
    ------
    ValueError
        It is not what a child in its right mind says.
    """
    try:
        return _read(json.loads(head), hint, Arrays(body, files or Files(())))
    except _LIES as error:
        raise ValueError("expected records of studies") from error


def _read(value: Any, hint: Any, arrays: Arrays) -> Any:
    """Make a value of the declared type."""
    if is_dataclass(hint):
        return _record(value, hint, arrays)  # type: ignore[arg-type]
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return None if value is None else _read(value, next(one for one in inner if one is not type(None)), arrays)
    if origin is tuple:
        return _tuple(value, inner, arrays)
    return _PLAIN[hint](value)


def _tuple(value: Any, inner: tuple[Any, ...], arrays: Arrays) -> tuple[Any, ...]:
    if type(value) is not list or len(value) > MAX_ITEMS:
        raise TypeError("expected a list")
    if inner[-1] is Ellipsis:
        return tuple(_read(item, inner[0], arrays) for item in value)
    return tuple(_read(item, hint, arrays) for item, hint in zip(value, inner, strict=True))


def _record(value: Any, kind: type[Any], arrays: Arrays) -> Any:
    if type(value) is not list:
        raise TypeError("expected the fields of a record")
    given: dict[str, Any] = {}
    for item, (name, hint) in zip(value, _hints(kind), strict=True):  # type: ignore[arg-type]
        if name == "header":
            given[name] = header(item)
        elif hint == Pixels:
            given[name] = _pixels(item, arrays)
        else:
            given[name] = _read(item, hint, arrays)
    if kind is Refusal and given["code"] not in REFUSALS:
        raise ValueError("expected a refusal code")
    return kind(**given)


@lru_cache
def _hints(kind: type[Any]) -> tuple[tuple[str, Any], ...]:
    hints = get_type_hints(kind)
    return tuple((item.name, hints[item.name]) for item in fields(kind))


def _pixels(value: Any, arrays: Arrays) -> Pixels:
    """What lies where the child says."""
    kind, shape, place = value
    whole = type(shape) is list and len(shape) == 3 and all(type(side) is int and side > 0 for side in shape)
    if kind not in KINDS or not whole:
        raise ValueError("expected the type and shape of an image")
    if type(place) is list:
        return arrays.files.volume(kind, shape, place, arrays.body)
    if type(place) is not int or place < 0 or place % ALIGN:
        raise ValueError("expected the place of an image")
    made: Pixels = arrays.body.take(place, math.prod(shape) * np.dtype(kind).itemsize).view(kind).reshape(shape)
    made.flags.writeable = False
    return made


def _text(value: Any) -> str:
    if type(value) is not str or len(value) > MAX_TEXT:
        raise TypeError("expected text")
    return value


def _number(value: Any) -> float:
    if type(value) is not float or not math.isfinite(value):
        raise TypeError("expected a finite number")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError("expected a whole number")
    return value


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError("expected true or false")
    return value


_PLAIN: dict[Any, Callable[[Any], Any]] = {str: _text, float: _number, int: _whole, bool: _truth}
