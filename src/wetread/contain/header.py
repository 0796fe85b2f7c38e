"""The attributes of an image as JSON values, and back: what is rebuilt equals what `wetread.acquire` keeps.

The values of a child are taken for what they are, text, numbers and bytes; nothing in them is parsed
as DICOM again.

References
----------
DICOM PS3.5 Section 6.2 (value representations).
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import UID
from pydicom.valuerep import DS, IS, VR, PersonName

MAX_DEPTH = 40  # of sequences; `wetread.acquire` lets 32 through
_BYTES = "b"
_VRS = frozenset(VR)
_NUMBERS = frozenset({"FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"})

Json = Any


def told(header: Dataset | None) -> Json:
    """Return a header as JSON values: [file meta information, data set], each [[tag, VR, value], ...]."""
    if header is None:
        return None
    return [_elements(getattr(header, "file_meta", None) or Dataset()), _elements(header)]


def _elements(dataset: Dataset) -> Json:
    return [[int(element.tag), str(element.VR), _value(element.value)] for element in dataset]


def _value(value: Any) -> Json:
    if value is None or type(value) in (str, int, float):
        return value
    if isinstance(value, bytes):
        return {_BYTES: base64.b64encode(value).decode("ascii")}
    if isinstance(value, Sequence):
        return [_elements(item) for item in value]
    if isinstance(value, MultiValue | list | tuple):
        return [_value(item) for item in value]
    if isinstance(value, BaseTag):
        return int(value)
    return str(value)  # UIDs, names, and numbers as they were written


def header(value: Json) -> Dataset | None:
    """Rebuild a header.

    Raises
    ------
    ValueError, TypeError, KeyError, OverflowError
        It is none.
    """
    if value is None:
        return None
    meta, elements = value
    made = _dataset(elements, 0)
    made.file_meta = FileMetaDataset(_dataset(meta, 0))
    return made


def _dataset(elements: Json, depth: int) -> Dataset:
    if type(elements) is not list or depth > MAX_DEPTH:
        raise ValueError("expected a list of elements")
    made = Dataset()
    for tag, vr, value in elements:
        if type(tag) is not int or not 0 <= tag <= 0xFFFFFFFF or vr not in _VRS:
            raise ValueError("expected a tag and a VR")
        place = BaseTag(tag)
        made._dict[place] = DataElement(place, vr, _rebuilt(vr, value, depth), already_converted=True)
    return made


def _rebuilt(vr: str, value: Json, depth: int) -> Any:
    if vr == "SQ":
        return Sequence([_dataset(item, depth + 1) for item in value or []])
    make = _MAKERS.get(vr, _plain)
    if type(value) is list and vr in _NUMBERS:
        return [make(one) for one in value]  # as pydicom has it
    if type(value) is list:
        return MultiValue(make, value)
    return None if value is None else make(value)


def _plain(value: Json) -> Any:
    """Text, a number or bytes."""
    if type(value) is dict:
        return base64.b64decode(value[_BYTES], validate=True)
    if type(value) not in (str, int, float):
        raise TypeError("expected text, a number or bytes")
    return value


def _text(value: Json) -> str:
    if type(value) is not str:
        raise TypeError("expected text")
    return value


def _number(make: Callable[..., Any], value: Json) -> Any:
    """A number as it was written; what is none stays text, as pydicom leaves it."""
    try:
        return make(_text(value), validation_mode=config.IGNORE)
    except (ValueError, OverflowError):
        return value


_MAKERS: dict[str, Callable[[Json], Any]] = {
    "DS": lambda value: _number(DS, value),
    "IS": lambda value: _number(IS, value),
    "PN": lambda value: PersonName(_text(value), validation_mode=config.IGNORE),
    "UI": lambda value: UID(_text(value), config.IGNORE) if value else _text(value),
    "AT": lambda value: BaseTag(value) if type(value) is int else _text(value),
}
