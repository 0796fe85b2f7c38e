"""The elements of a data set in little endian, in one pass; what earlier files held is not even taken apart.

The slices of a series share most of their elements byte for byte.  Whatever is unusual is left to pydicom: it reads
the sequences of undefined length, and every data set of which this pass cannot make sense.

References
----------
DICOM PS3.5 Sections 7.1 (data elements) and 7.5 (sequences).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO

from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataelem import DataElement, RawDataElement, empty_value_for_VR
from pydicom.dataset import Dataset
from pydicom.filereader import data_element_generator
from pydicom.tag import BaseTag
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, STANDARD_VR
from pydicom.values import convert_string

from wetread.acquire.attributes import interned
from wetread.acquire.content import Content
from wetread.acquire.quiet import FOREIGN_ERRORS
from wetread.acquire.settle import CHARACTER_SET, MAX_KNOWN_BYTES, Key, Known, Recalled, is_plain

UNDEFINED = 0xFFFFFFFF
#: VR as it is encoded -> itself, and whether its length has four bytes.
_VRS = {str(vr).encode(): (str(vr), vr in EXPLICIT_VR_LENGTH_32) for vr in STANDARD_VR}
_IMPLICIT, _LONG, _SHORT = struct.Struct("<HHL"), struct.Struct("<L"), struct.Struct("<H")


class Unusual(Exception):
    """A data set of which this pass cannot make sense."""


class Walk:
    """One pass over a data set.

    Attributes
    ----------
    end
        Where the next element begins.
    recalled
        What `wetread.acquire.settle.settle` need not look up again.

    Parameters
    ----------
    stream
        The file.
    data
        The same bytes.
    start
        Where the data set begins.
    implicit
        Whether its VRs are implicit.
    known
        Elements of earlier files.
    """

    def __init__(self, stream: BytesIO, data: Content, start: int, implicit: bool, known: Known) -> None:
        self.end = start
        self.recalled = Recalled()
        self._stream = stream
        self._data = data
        self._implicit = implicit
        self._known = known
        self._charset = b""  # Specific Character Set as it stands
        self._elements: dict[BaseTag, DataElement | RawDataElement] = {}

    def run(self, stop: Callable[[int], bool], most: int) -> Dataset:
        """Take the elements apart, up to the first that `stop` names.

        Raises
        ------
        Unusual
            Something is wrong, or more than `most` elements are there.
        """
        vr = self._data[self.end + 4 : self.end + 6]
        if self._implicit == (vr.isalpha() and vr.isupper()):
            raise Unusual
        try:
            while self.end < len(self._data) and self._element(stop):
                if len(self._elements) > most:
                    raise Unusual
            made = Dataset(self._elements)
            made.set_original_encoding(self._implicit, True, _encoding(self._charset))
        except FOREIGN_ERRORS as error:
            raise Unusual from error
        return made

    def _element(self, stop: Callable[[int], bool]) -> bool:
        """Take one element; return False in front of the first that is not wanted."""
        at, data = self.end, self._data
        vr: str | None = None
        group, number, length = _IMPLICIT.unpack_from(data, at)
        tag, begin = group << 16 | number, at + 8
        if stop(tag):
            return False
        if not self._implicit:
            vr, long = _VRS[data[at + 4 : at + 6]]
            (length,) = (_LONG if long else _SHORT).unpack_from(data, begin if long else at + 6)
            begin += 4 * long
        if tag in self._elements:
            raise Unusual
        if length == UNDEFINED:
            self._leave_to_pydicom()
            return True
        self.end = begin + length
        if self.end > len(data) or group == 0xFFFE:
            raise Unusual
        self._take(tag, vr, begin, length)
        return True

    def _take(self, tag: int, vr: str | None, begin: int, length: int) -> None:
        value = self._data[begin : begin + length]
        if tag == CHARACTER_SET:
            if self._elements:  # it would not have held for those before it
                raise Unusual
            self._charset = value
        key: Key | None = None
        if length <= MAX_KNOWN_BYTES and is_plain(tag, vr):
            key = (tag, str(vr), value, True, self._charset)
            found = self._known.get(key)
            if found is not None:
                self._elements[found.tag] = found
                self.recalled.done.add(found.tag)
                return
        raw = value if length else empty_value_for_VR(vr, raw=True)
        name = interned(tag)
        self._elements[name] = RawDataElement(name, vr, length, raw, begin, self._implicit, True)  # type: ignore[arg-type]
        if key is not None:
            self.recalled.fresh[name] = key

    def _leave_to_pydicom(self) -> None:
        """Take an element whose end nobody knows, most often a sequence."""
        self._stream.seek(self.end)
        elements = data_element_generator(self._stream, self._implicit, True, encoding=_encoding(self._charset))
        element = next(elements)
        self._elements[element.tag] = element
        self.end = self._stream.tell()


@lru_cache(maxsize=64)
def _encoding(charset: bytes) -> str | list[str]:
    """Return Python's names of a Specific Character Set."""
    return convert_encodings(convert_string(charset, True)) if charset else default_encoding
