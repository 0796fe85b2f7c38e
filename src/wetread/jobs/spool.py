"""Blobs on disk, named by the SHA-256 of their bytes.

A blob is written to a temporary file, fsynced, renamed, and its folder fsynced; only then may
anything refer to it.  Blobs are never changed.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import threading
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from wetread.errors import StoreError
from wetread.jobs import failpoints
from wetread.records import Stored
from wetread.wire.part10 import Meta, beginning

SIDE_BY_SIDE = 4  # blobs that are written at a time
#: Bytes that are written at a time.  For more at once Linux looks for larger pages; where its memory is in pieces, that
#: takes eight times as long as the writing.
PIECE = 1 << 18
FOLDERS = tuple(f"{number:02x}" for number in range(256))


class DamagedBlob(StoreError):
    """A blob is gone, or its bytes have changed: no further try will help."""


class UnreadableBlob(StoreError):
    """The disk, or the share, does not give the bytes of a blob now; others it may."""


class Spool:
    """A folder of blobs.

    Parameters
    ----------
    root
        The folder; it is made if it is missing.
    failpoint
        See `wetread.jobs.failpoints`.
    remembers
        So many bytes of what `put_all` wrote last are kept in memory for `take`.
    """

    def __init__(self, root: Path, failpoint: failpoints.Failpoint = failpoints.none, remembers: int = 0) -> None:
        self.root = root
        self._failpoint = failpoint
        self._process = uuid.uuid4().hex  # several hosts may share the folder
        self._names = itertools.count()
        self._remembers = remembers
        self._recent: dict[str, bytes] = {}
        self._lock = threading.Lock()  # of `_recent`
        self._temporary = root / "tmp"
        make_folder(root)
        for folder in (self._temporary, *(root / name for name in FOLDERS)):
            folder.mkdir(exist_ok=True)
        sync_folder(root)

    def put(self, data: bytes) -> str:
        """Write a blob whose name is not yet durable: call `sync` before referring to it.

        One that is there already is believed by its bytes, not by its name: where they have changed on disk, they are
        replaced.

        Returns
        -------
        str
            SHA-256 of `data`, hex.
        """
        digest = hashlib.sha256(data).hexdigest()
        path = self.path(digest)
        if _holds(path, digest):
            return digest
        temporary = self._temporary / f"{self._process}-{next(self._names)}"
        try:
            with temporary.open("wb", buffering=0) as file:
                view = memoryview(data)
                while view:
                    view = view[file.write(view[:PIECE]) :]
                self._failpoint("blob-unsynced")
                os.fsync(file.fileno())
            temporary.rename(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        self._failpoint("blob-written")
        return digest

    def put_all(self, blobs: Iterable[bytes]) -> list[str]:
        """Write blobs side by side, so that they wait for the disk together; return when all of them are durable.

        Returns
        -------
        list of str
            The SHA-256 of each, hex.
        """
        blobs = list(blobs)
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            digests = list(pool.map(self._put_durably, blobs))
        with self._lock:
            self._recent |= zip(digests, blobs, strict=True)
            while sum(map(len, self._recent.values())) > self._remembers:
                del self._recent[next(iter(self._recent))]
        return digests

    def _put_durably(self, data: bytes) -> str:
        digest = self.put(data)
        self.sync((digest,))
        return digest

    def sync(self, digests: Iterable[str]) -> None:
        """Make the names of these blobs durable."""
        for folder in sorted({digest[:2] for digest in digests}):
            sync_folder(self.root / folder)

    def get(self, digest: str) -> bytes:
        """Return a blob.

        Raises
        ------
        DamagedBlob
            It is gone, or its bytes have changed.
        StoreError
            It cannot be read now.
        """
        with _readable(digest):
            data = self.path(digest).read_bytes()
        _expect(digest, hashlib.sha256(data))
        return data

    def beginning(self, digest: str, last: int) -> tuple[memoryview, Meta]:
        """Return so much of a blob that nothing lacks up to a tag, as `wetread.wire.part10.beginning`.

        Raises
        ------
        DamagedBlob
            It is gone.
        UnreadableBlob, StoreError
            It cannot be read now.
        BadInput
            It is no DICOM file.
        """
        with _readable(digest), self.path(digest).open("rb") as file:
            return beginning(file, last)

    def take(self, digest: str) -> bytes:
        """Return a blob as `get` does; the first time from memory, if it was written a moment ago."""
        with self._lock:
            recent = self._recent.pop(digest, None)
        return self.get(digest) if recent is None else recent

    def stored(self, digest: str) -> Stored:
        """Return where a blob lies, unread.

        Raises
        ------
        DamagedBlob
            It is gone.
        StoreError
            It cannot be found now.
        """
        path = self.path(digest)
        with _readable(digest):
            return Stored(path, digest, path.stat().st_size)

    def check(self, digests: Iterable[str]) -> None:
        """Read blobs for their digests only; raises as `get`."""
        for digest in digests:
            with _readable(digest), self.path(digest).open("rb") as file:
                found = hashlib.file_digest(file, "sha256")
            _expect(digest, found)

    def remove(self, digest: str) -> None:
        """Remove a blob that nothing refers to."""
        self.path(digest).unlink(missing_ok=True)

    def set_aside(self, digest: str) -> None:
        """Move a blob that cannot be used out of the way, for a person to look at."""
        folder = self.root / "damaged"
        make_folder(folder)
        self.path(digest).rename(folder / digest)
        sync_folder(folder)

    def sweep(self) -> None:
        """Remove what writers that are gone left half written."""
        for leftover in self._temporary.iterdir():
            leftover.unlink()

    def digests(self) -> Iterator[str]:
        """Yield the names of all blobs; other files, such as a backup leaves that was cut off, are none."""
        for folder in FOLDERS:
            yield from (name for name in os.listdir(self.root / folder) if len(name) == 64 and name.startswith(folder))

    def path(self, digest: str) -> Path:
        """Where a blob lies."""
        return self.root / digest[:2] / digest


def _holds(path: Path, digest: str) -> bool:
    """Whether a blob is there, and unchanged."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest
    except OSError:  # it is not, or cannot be read any more
        return False


@contextmanager
def _readable(digest: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DamagedBlob(f"spool: blob {digest[:12]} is gone; restore it or ask for the study again") from error
    except OSError as error:
        kind = UnreadableBlob if error.errno in (errno.EIO, errno.ESTALE) else StoreError
        raise kind(f"spool: blob {digest[:12]} cannot be read: {error.strerror}") from error


def _expect(digest: str, found: hashlib._Hash) -> None:
    if found.hexdigest() != digest:
        raise DamagedBlob(f"spool: blob {digest[:12]} has changed on disk; restore it or ask for the study again")


def make_folder(folder: Path) -> None:
    """Make a folder, those above it too, whose names are durable."""
    if not folder.is_dir() and folder.parent != folder:
        make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_name(digest: str) -> str:
    """Return the name of an object for people: the beginning of its digest."""
    return f"{digest[:16]}.dcm"
