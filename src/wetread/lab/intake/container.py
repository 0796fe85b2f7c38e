"""A folder or a ZIP archive as named bytes, within bounds; nothing is written to disk."""

from __future__ import annotations

import stat
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath

from wetread.errors import ModelError
from wetread.infer.model import MOST_BYTES

__all__ = ["Container", "bounded_bytes", "open_folder", "open_zip"]

MOST_MEMBERS = 10_000
#: Weights hardly compress; text compresses up to this.
MOST_RATIO = 100
#: A member this small may compress better: it cannot fill anything (bytes).
SMALL = 1 << 20
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 0x1


@dataclass(frozen=True, slots=True)
class Container:
    """Files by their relative names, checked but not yet read."""

    what: str  # for messages
    names: tuple[str, ...]
    _source: Path | bytes

    def read(self, name: str) -> bytes:
        """Return one file.

        Raises
        ------
        ModelError
            It is not there, is larger than its own entry says, or is damaged.
        """
        if name not in self.names:
            raise ModelError(f"{self.what}: expected a file {name}, found none among {sorted(self.names)[:10]}")
        if isinstance(self._source, Path):
            return bounded_bytes(self._source / name)
        try:
            with zipfile.ZipFile(BytesIO(self._source)) as archive:
                entry = archive.getinfo(name)
                with archive.open(entry) as stream:
                    data = stream.read(entry.file_size + 1)
        except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError) as error:
            raise ModelError(f"{self.what}: {name} is damaged: {type(error).__name__}; fetch it again") from error
        if len(data) != entry.file_size:
            raise ModelError(f"{self.what}: {name}: expected {entry.file_size} bytes, got {len(data)}; fetch it again")
        return data


def bounded_bytes(path: Path) -> bytes:
    """Return a file of at most MOST_BYTES.

    Raises
    ------
    ModelError
        It is no regular file or too large.
    """
    if not path.is_file():
        raise ModelError(f"{path}: expected a file, found none")
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ModelError(f"{path.name}: expected at most {MOST_BYTES} bytes, got {size}")
    return path.read_bytes()


def open_folder(folder: Path) -> Container:
    """Return the files below a folder.

    Raises
    ------
    ModelError
        A link leads out of the folder, or there are too many files.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in files:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ModelError(f"{path}: a link leads out of {folder}; copy the file in its place")
    if len(files) > MOST_MEMBERS:
        raise ModelError(f"{folder}: expected at most {MOST_MEMBERS} files, got {len(files)}")
    return Container(folder.name, tuple(path.relative_to(folder).as_posix() for path in files), folder)


def open_zip(what: str, data: bytes) -> Container:
    """Return the members of an archive; a hostile one is refused as a whole, before any is unpacked.

    Raises
    ------
    ModelError
        It is damaged or encrypted, a name or link leads out of it, a name comes twice, it
        uses a method other than deflate, or it would become too large.
    """
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ModelError(f"{what}: expected a ZIP archive, got a damaged one; fetch it again") from error
    names = [entry.filename for entry in entries]
    if len(names) > MOST_MEMBERS or len(set(names)) != len(names):
        raise ModelError(f"{what}: expected at most {MOST_MEMBERS} different names, got {len(names)}; do not use it")
    total = sum(entry.file_size for entry in entries)
    if total > MOST_BYTES:
        raise ModelError(f"{what}: expected at most {MOST_BYTES} bytes unpacked, got {total}; do not use it")
    for entry in entries:
        _check(what, entry)
    return Container(what, tuple(names), data)


def _check(what: str, entry: zipfile.ZipInfo) -> None:
    name = PurePosixPath(entry.filename)
    if name.is_absolute() or ".." in name.parts or "\\" in entry.filename or ":" in entry.filename:
        raise ModelError(f"{what}: expected names inside the archive, got one that leads out of it; do not use it")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise ModelError(f"{what}: expected files, got a link; do not use it")
    if entry.flag_bits & ENCRYPTED or entry.compress_type not in METHODS:
        raise ModelError(f"{what}: expected members that are stored or deflated and not encrypted; pack it again")
    if entry.file_size > max(SMALL, MOST_RATIO * entry.compress_size):
        raise ModelError(
            f"{what}: expected at most {MOST_RATIO} times the packed size, got {entry.file_size} bytes from "
            f"{entry.compress_size}: a bomb; do not use it"
        )
