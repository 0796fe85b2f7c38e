"""Paths -> bytes: files, folders and archives, each within bounds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wetread.acquire.archive import is_archive, members
from wetread.acquire.instances import Instance, Run, give_up, max_file_bytes, read_instance, reject, run
from wetread.acquire.parse import looks_like_dicom
from wetread.acquire.picture import Assumption, is_picture
from wetread.acquire.quiet import quiet
from wetread.acquire.studies import gather
from wetread.errors import BadInput, NotRead
from wetread.records import Study
from wetread.settings import Settings

_DIRECTORY_CLASS = b"1.2.840.10008.1.3.10\0"  # Media Storage Directory Storage


@dataclass(frozen=True, slots=True)
class File:
    """One file that a person named, or that lies in a folder that they named."""

    path: Path
    name: str  # for people; always text, whatever the bytes of the file's name
    place: int  # of the named path among all, from 0
    alone: bool  # nothing else lies there: it is always answered for
    size: int  # bytes
    crashed: str = ""  # how its decoder died; then only its header is read
    blind: bool = False  # that crashed too: not even its header


def load(
    paths: Sequence[Path],
    settings: Settings,
    assume: Assumption = Assumption(),  # noqa: B008 - frozen
    on_passed: Callable[[int], None] = lambda number: None,
) -> tuple[Study, ...]:
    """Read files, folders and ZIP archives.

    Parameters
    ----------
    paths
        What a person named.  Folders are read with everything below them.
    settings
        `max_pixels` bounds what is decoded.
    assume
        Modality, body part, view and age of PNG and JPEG pictures.
    on_passed
        Told how many files were passed over, as they are neither DICOM nor pictures.

    Returns
    -------
    tuple of Study
        As `wetread.acquire.decode`.  A file that was named is always answered for; among
        several files of a folder or archive those that are clearly no image, and are not called
        ``*.dcm``, are passed over.

    Raises
    ------
    BadInput
        A path does not exist, cannot be read, or there is nothing in it.
    """
    limit = max_file_bytes(settings)
    files = ((file, content(file, limit)) for file in named(paths))
    studies, found, passed = read_files(files, settings, assume)
    check_found(paths, found)
    on_passed(passed)
    return studies


def named(paths: Sequence[Path]) -> list[File]:
    """List the files below what a person named, in a stable order.

    Raises
    ------
    BadInput
        A path does not exist or cannot be read.
    """
    return [file for place, path in enumerate(paths) for file in _files(Path(path), place)]


def _files(path: Path, place: int) -> list[File]:
    if path.is_dir():
        files = _files_below(path)
        return [_file(one, str(one.relative_to(path)), place, alone=len(files) == 1) for one in files]
    if path.is_file():
        return [_file(path, path.name, place, alone=True)]
    found = "something else" if path.exists() else "nothing"
    raise BadInput(f"{path}: expected a file or a folder, found {found}.")


def _file(path: Path, name: str, place: int, alone: bool) -> File:
    with _readable(path):
        return File(path, name.encode(errors="backslashreplace").decode(), place, alone, path.stat().st_size)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from error


def _files_below(folder: Path) -> list[Path]:
    """Regular files in a stable order; links to folders are not followed."""

    def stop(error: OSError) -> None:
        raise BadInput(f"{error.filename}: cannot be read: {error.strerror}") from error

    found = []
    for where, folders, names in os.walk(folder, onerror=stop):
        folders.sort()
        found += [Path(where, name) for name in sorted(names)]
    return [file for file in found if file.is_file()]


def content(file: File, limit: int) -> bytes:
    """Read a file; b"" for one of more than `limit` bytes.

    Raises
    ------
    BadInput
        It cannot be read.
    """
    with _readable(file.path):
        return file.path.read_bytes() if file.size <= limit else b""


def opened(file: File) -> int:
    """Open a file and return its descriptor, for who reads it elsewhere.

    Raises
    ------
    BadInput
        It cannot be opened.
    """
    with _readable(file.path):
        return os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)


def read_files(
    files: Iterable[tuple[File, bytes]], settings: Settings, assume: Assumption
) -> tuple[tuple[Study, ...], frozenset[int], int]:
    """Read what `named` found, one file after the other, so that bytes need not stay.

    Parameters
    ----------
    files
        Each with its `content`.
    settings, assume
        As `load`.

    Returns
    -------
    The studies, the places in which something was found, and how many files were passed over.
    """
    made: list[Instance] = []
    seen: set[str] = set()
    found: set[int] = set()
    passed = 0
    with quiet(), run() as shared:
        for file, data in files:
            for instance in _read_file(file, data, settings, assume, shared):
                if instance is None:
                    passed += 1
                    continue
                found.add(file.place)
                digest = instance.outcome.digest
                if not digest or digest not in seen:
                    made.append(instance)
                seen.add(digest)
        return gather(made, settings), frozenset(found), passed


def check_found(paths: Sequence[Path], found: Collection[int]) -> None:
    """Raise `BadInput` for a path in which nothing was found."""
    for place, path in enumerate(paths):
        if place not in found:
            raise BadInput(f"{path}: expected DICOM files or pictures, found none.")


Answers = Iterator[Instance | None]  # None: a file that is passed over


def _read_file(file: File, data: bytes, settings: Settings, assume: Assumption, shared: Run) -> Answers:
    limit = max_file_bytes(settings)
    if file.size > limit:
        refusal = NotRead("TOO-LARGE", f"Expected at most {limit} bytes, got {file.size}.")
        yield Instance(reject(refusal, file.name, ""))
    elif file.crashed:
        digest = shared.digest(data)()
        yield give_up(file.name, digest, b"" if file.blind else data, NotRead("CRASHED", file.crashed), settings)
    elif is_archive(data):
        yield from _read_archive(data, file.name, settings, assume, shared)
    else:
        yield from _answer(file.name, data, file.alone, settings, assume, shared)


def _answer(name: str, data: bytes, alone: bool, settings: Settings, assume: Assumption, shared: Run) -> Answers:
    """Read one file, or pass it over; a DICOMDIR is not worth a word."""
    if alone or is_candidate(name, data):
        yield read_instance(name, data, settings, assume, shared.known, shared.digest(data))
    elif not looks_like_dicom(data):
        yield None


def _read_archive(data: bytes, name: str, settings: Settings, assume: Assumption, shared: Run) -> Answers:
    try:
        packed = members(data, max_file_bytes(settings))
        first = next(packed, None)
        second = next(packed, None)
        alone = second is None
        for item in (first, second):
            if item is not None:
                yield from _answer(f"{name}/{item[0]}", item[1], alone, settings, assume, shared)
        for inner, content in packed:
            yield from _answer(f"{name}/{inner}", content, False, settings, assume, shared)
    except NotRead as refusal:
        yield _refused_archive(data, name, refusal)


def _refused_archive(data: bytes, name: str, refusal: NotRead) -> Instance:
    """Return the instance that stands for an archive as a whole."""
    return Instance(reject(refusal, name, hashlib.sha256(data).hexdigest()))


def is_candidate(name: str, data: bytes) -> bool:
    """Whether a file that nobody named deserves an answer: DICOM but no DICOMDIR, PNG or JPEG, or damaged DICOM."""
    if is_picture(data):
        return True
    if looks_like_dicom(data):
        return _DIRECTORY_CLASS not in data[:1024]
    last = name.rpartition("/")[2]
    return last.lower().endswith(".dcm") and not last.startswith(".")  # a Mac lays "._film.dcm" beside "film.dcm"
