"""Small data sets of questions and reports: by keyword, encoded, and read as texts.

References
----------
PS3.5 Section 7.1 (data elements); PS3.6 Section 6 (keywords).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.multival import MultiValue

from wetread.errors import BadInput
from wetread.wire.glance import ESCAPE
from wetread.wire.part10 import IMPLICIT_LITTLE


def encoded(made: Dataset, transfer_syntax: str) -> bytes:
    """Return a data set in Implicit or Explicit VR Little Endian."""
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, transfer_syntax == IMPLICIT_LITTLE
    write_dataset(stream, made)
    return stream.getvalue()


def data_set(keys: Mapping[str, str]) -> Dataset:
    """Return what is asked for, by DICOM keyword; raises `BadInput` for one that is unknown."""
    made = Dataset()
    if not all(value.isascii() for value in keys.values()):
        made.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in keys.items():
        tag = tag_for_keyword(keyword)
        if tag is None:
            raise BadInput(f"query: expected a DICOM keyword, got {keyword!r}")
        made.add_new(tag, dictionary_VR(tag), value)
    return made


def texts(found: Dataset) -> dict[str, str]:
    """Return the values of a data set by keyword, without what is in sequences; several are parted by a backslash."""
    return {one.keyword: _text(one.value) for one in found if one.keyword and one.VR != "SQ"}


def _text(value: Any) -> str:
    if isinstance(value, MultiValue):
        return "\\".join(map(_text, value))
    return "" if value is None else str(value).replace(ESCAPE, "")
