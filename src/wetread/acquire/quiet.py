"""pydicom's remarks about odd files stay inside: neither warnings nor log lines leave.

A remark may quote the value of an attribute, so it may quote a patient's name.
What matters about an odd file is said by a coded refusal instead; the log gets the
number of warnings by category, never their text.
"""

from __future__ import annotations

import logging
import struct
import threading
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from pydicom.errors import BytesLengthException, InvalidDicomError

#: What pydicom, its plug-ins, zlib, zipfile and Pillow raise over damaged bytes.
FOREIGN_ERRORS: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,  # Pillow's word for a broken PNG chunk
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
    BytesLengthException,
    InvalidDicomError,
)

log = logging.getLogger("wetread.acquire")

_NEVER = logging.CRITICAL + 1
_SPEAKERS = ("pydicom", "PIL", "libjpeg", "openjpeg", "rle", "jpeg_ls", "pylibjpeg")


class _Hush:
    """Counts who wants silence: `warnings.catch_warnings` alone is not safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted = 0
        self._catcher: warnings.catch_warnings[None] | None = None
        self._levels: dict[str, int] = {}
        self._said: Counter[str] = Counter()  # warnings by category

    def enter(self) -> None:
        with self._lock:
            self._wanted += 1
            if self._wanted > 1:
                return
            self._catcher = warnings.catch_warnings()
            self._catcher.__enter__()
            warnings.simplefilter("always")
            warnings.showwarning = self._count
            for name in _SPEAKERS:
                logger = logging.getLogger(name)
                self._levels[name] = logger.level
                logger.setLevel(_NEVER)  # their children inherit it

    def leave(self) -> None:
        with self._lock:
            self._wanted -= 1
            if self._wanted or self._catcher is None:
                return
            self._catcher.__exit__(None, None, None)
            self._catcher = None
            for name, level in self._levels.items():
                logging.getLogger(name).setLevel(level)
            said, self._said = self._said, Counter()
        for category, count in sorted(said.items()):
            log.info("remarks of libraries", extra={"category": category, "count": count})

    def _count(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """Stand in for `warnings.showwarning`."""
        self._said[category.__name__] += 1


_HUSH = _Hush()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the libraries that read bytes, from any number of threads at once."""
    _HUSH.enter()
    try:
        yield
    finally:
        _HUSH.leave()
