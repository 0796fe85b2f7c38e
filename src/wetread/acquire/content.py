"""The bytes of a file, in memory or mapped, and a stream over them that copies none but what is read."""

from __future__ import annotations

import io
from io import BytesIO
from mmap import mmap

from wetread.errors import NotRead

#: A slice of either is `bytes`.
Content = bytes | mmap
#: Reads of a header's stream: what bounds sequences of undefined length.
MAX_READS = 200_000


class Counted(BytesIO):
    """A stream that gives up on a header which needs too many reads; it only reads, seeks and tells."""

    def __init__(self, data: Content) -> None:
        super().__init__()
        self._data = data
        self._at = 0
        self.reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read so many bytes, or all that are left.

        Raises
        ------
        NotRead
            DAMAGED-FILE: it was asked too often.
        """
        self.reads += 1
        if self.reads > MAX_READS:
            raise NotRead("DAMAGED-FILE", f"The header takes more than {MAX_READS} reads.")
        end = len(self._data) if size is None or size < 0 else self._at + size
        made = self._data[self._at : end]
        self._at += len(made)
        return made

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to an offset from the beginning, from here or from the end."""
        at = (0, self._at, len(self._data))[whence] + offset
        if at < 0:
            raise ValueError("expected an offset within the file")
        self._at = at
        return at

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._at
