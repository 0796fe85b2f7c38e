"""A ZIP archive -> its files, in memory and within bounds.

Nothing is written to disk, and a hostile archive is refused as a whole.
"""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import PurePosixPath

from wetread.acquire.quiet import FOREIGN_ERRORS
from wetread.errors import NotRead

MAX_MEMBERS = 10_000
MAX_RATIO = 100
MAX_TOTAL_BYTES = 2 << 30
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_BROKEN: tuple[type[Exception], ...] = (*FOREIGN_ERRORS, zipfile.BadZipFile)


def is_archive(data: bytes) -> bool:
    """Whether the bytes start as a ZIP archive (an empty one has only its end record)."""
    return data[:4] in (b"PK\x03\x04", b"PK\x05\x06")


def members(data: bytes, max_member_bytes: int) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of each file in an archive.

    Parameters
    ----------
    data
        The archive.
    max_member_bytes
        Most bytes of one file.

    Raises
    ------
    NotRead
        DAMAGED-FILE; UNSAFE-ARCHIVE for a path that leaves the archive, a link, an
        encrypted file, a method other than deflate; TOO-LARGE for too many files, a
        ratio above 100:1 or too many bytes.
    """
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            _check(entries, len(data), max_member_bytes)
            for entry in entries:
                yield entry.filename, _content(archive, entry)
    except _BROKEN as error:
        raise NotRead("DAMAGED-FILE", "The ZIP archive cannot be unpacked.") from error


def _check(entries: list[zipfile.ZipInfo], size: int, max_member_bytes: int) -> None:
    if len(entries) > MAX_MEMBERS:
        raise NotRead("TOO-LARGE", f"Expected at most {MAX_MEMBERS} files in the archive, got {len(entries)}.")
    for entry in entries:
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or "\0" in entry.orig_filename or ":" in path.parts[0]:
            raise NotRead("UNSAFE-ARCHIVE", "A path in the archive leads out of it.")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise NotRead("UNSAFE-ARCHIVE", "The archive holds a link.")
        if entry.flag_bits & _ENCRYPTED:
            raise NotRead("UNSAFE-ARCHIVE", "The archive is encrypted.")
        if entry.compress_type not in _METHODS:
            raise NotRead("UNSAFE-ARCHIVE", "The archive uses another method than deflate.")
        if entry.file_size > max_member_bytes or entry.file_size > MAX_RATIO * max(entry.compress_size, 1):
            raise NotRead("TOO-LARGE", f"A file of {entry.compress_size} bytes inflates to {entry.file_size}.")
    total = sum(entry.file_size for entry in entries)
    if total > min(MAX_TOTAL_BYTES, MAX_RATIO * size):
        raise NotRead("TOO-LARGE", f"The archive of {size} bytes inflates to {total}.")


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Read one file, no further than its directory entry promised."""
    with archive.open(entry) as stream:
        content = stream.read(entry.file_size + 1)
    if len(content) != entry.file_size:
        raise NotRead("DAMAGED-FILE", "A file in the archive has another size than the archive's directory says.")
    return content
