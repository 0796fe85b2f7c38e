"""A multipart body taken apart while it arrives: strictly, and never more of it in memory than one part.

References
----------
RFC 2046 Section 5.1.1 (syntax), RFC 2387 (multipart/related); PS3.18 Section 8.6.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from wetread.errors import BadInput

MAX_HEADERS = 8192  # bytes of the headers of one part
MAX_PARTS = 10_000
MAX_EPILOGUE = 1024  # bytes behind the last boundary

#: RFC 2046 allows 70 characters; Orthanc's plug-in takes 73.
MOST_BOUNDARY = 128

_BOUNDARY = re.compile(rf"[\w'()+,./:=? -]{{0,{MOST_BOUNDARY - 1}}}[\w'()+,./:=?-]", re.ASCII)
_FIRST = "expected the body to begin with the boundary that Content-Type names"
_PADDING = re.compile(rb"[ \t]*\r\n")


class TooLarge(BadInput):
    """More came than is taken."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part, as it came."""

    headers: dict[str, str]  # names in lower case
    body: bytearray


class Multipart:
    """Takes a body apart.

    Parameters
    ----------
    boundary
        Of the Content-Type header.
    most_bytes
        Of one part.
    most_parts
        Of the body.

    Raises
    ------
    BadInput
        The boundary is missing or malformed.
    """

    def __init__(self, boundary: str, most_bytes: int, most_parts: int = MAX_PARTS) -> None:
        if not _BOUNDARY.fullmatch(boundary):
            raise BadInput(
                f"multipart: expected a boundary of 1 to {MOST_BOUNDARY} characters in Content-Type, got another"
            )
        self._delimiter = f"\r\n--{boundary}".encode("ascii", "replace")
        self._most = most_bytes
        self._most_parts = most_parts
        self._buffer = bytearray(b"\r\n")  # the first delimiter may begin the body
        self._searched = 0  # up to here no delimiter begins
        self._headers: dict[str, str] | None = None  # of the part that arrives; None: none has begun
        self._inside = False  # behind the first delimiter
        self._ended = False
        self.count = 0

    def feed(self, data: bytes) -> Iterator[Part]:
        """Yield the parts that these bytes complete.

        Raises
        ------
        BadInput
            The body breaks the syntax.
        TooLarge
            A part, its headers or the number of parts is larger than is taken.
        """
        self._buffer += data
        while not self._ended:
            if self._inside and self._headers is None and not self._begin():
                return
            at = self._buffer.find(self._delimiter, self._searched)
            end = self._behind(at) if at >= 0 else None
            if (at if at >= 0 else len(self._buffer) - len(self._delimiter)) > self._limit():
                if not self._inside:
                    raise BadInput(f"multipart: {_FIRST} within {MAX_HEADERS} bytes, got none")
                raise TooLarge(f"multipart: a part has more than {self._limit()} bytes")
            if end is None:
                self._searched = at if at >= 0 else max(0, len(self._buffer) - len(self._delimiter) + 1)
                return
            yield from self._part(at, end)
        if len(self._buffer) > MAX_EPILOGUE:
            raise BadInput("multipart: expected nothing behind the last boundary, got more")

    def end(self) -> None:
        """Say that nothing more comes.

        Raises
        ------
        BadInput
            The first or the last boundary has not come.
        """
        if not self._ended:
            expected = "expected the last boundary (-- behind it)" if self._inside else _FIRST
            raise BadInput(f"multipart: {expected}, the body ends before")

    def _limit(self) -> int:
        return self._most if self._inside else MAX_HEADERS

    def _behind(self, at: int) -> int | None:
        """Where what follows a delimiter begins; None if that has not come yet."""
        start = at + len(self._delimiter)
        rest = bytes(self._buffer[start : start + 64])
        if rest[:2] == b"--":
            self._ended = True
            return start + 2
        if found := _PADDING.match(rest):
            return start + found.end()
        if len(rest) == 64 or rest.strip(b" \t\r-"):
            raise BadInput("multipart: expected a line end or -- behind a boundary, got something else")
        return None

    def _part(self, at: int, end: int) -> Iterator[Part]:
        """Take what lies before a delimiter off the buffer."""
        if self._inside:
            body = self._buffer[:at]
            yield Part(self._headers or {}, body)
        del self._buffer[:end]
        self._inside, self._headers, self._searched = True, None, 0

    def _begin(self) -> bool:
        """Read the headers of a part; return whether they are all there."""
        at = 0 if self._buffer[:2] == b"\r\n" else self._buffer.find(b"\r\n\r\n", 0, MAX_HEADERS + 4) + 2
        size = len(self._delimiter)
        rest = bytes(self._buffer[at : at + size])  # an empty line, which may be the beginning of the delimiter
        if at == 1 or (len(rest) < size and self._delimiter.startswith(rest)):
            if len(self._buffer) > MAX_HEADERS + size:
                raise TooLarge(f"multipart: the headers of a part have more than {MAX_HEADERS} bytes")
            return False
        self.count += 1
        if self.count > self._most_parts:
            raise TooLarge(f"multipart: more than {self._most_parts} parts; send them in several requests")
        lines = bytes(self._buffer[:at]).decode("latin-1").split("\r\n")[:-1]
        self._headers = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or not name.strip():
                raise BadInput("multipart: expected headers in front of a part, got something else")
            self._headers[name.strip().lower()] = value.strip()
        del self._buffer[: at if rest == self._delimiter else at + 2]
        self._searched = 0
        return True
