"""Paths -> bytes: files, folders and archives, each within bounds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from wetread.acquire.archive import is_archive, members
from wetread.acquire.instances import Instance, Run, max_file_bytes, read_instance, reject, run
from wetread.acquire.parse import looks_like_dicom
from wetread.acquire.picture import Assumption, is_picture
from wetread.acquire.quiet import quiet
from wetread.acquire.studies import gather
from wetread.errors import BadInput, NotRead
from wetread.records import Study
from wetread.settings import Settings

_DIRECTORY_CLASS = b"1.2.840.10008.1.3.10\0"  # Media Storage Directory Storage


def load(
    paths: Sequence[Path],
    settings: Settings,
    assume: Assumption = Assumption(),  # noqa: B008 - frozen
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

    Returns
    -------
    tuple of Study
        As `wetread.acquire.decode`.  A file that was named is always answered for; among
        several files of a folder or archive those that are clearly no image are passed over.

    Raises
    ------
    BadInput
        A path does not exist, cannot be read, or there is nothing in it.
    """
    made: list[Instance] = []
    seen: set[str] = set()
    with quiet(), run() as shared:
        for path in paths:
            found = 0
            for instance in _read_path(Path(path), settings, assume, shared):
                found += 1
                digest = instance.outcome.digest
                if not digest or digest not in seen:
                    made.append(instance)
                seen.add(digest)
            if not found:
                raise BadInput(f"{path}: expected DICOM files or pictures, found none.")
    return gather(made, settings)


def _read_path(path: Path, settings: Settings, assume: Assumption, shared: Run) -> Iterator[Instance]:
    """Read what a person named, one instance after the other, so that bytes need not stay."""
    if path.is_dir():
        files = _files_below(path)
        for file in files:
            yield from _read_file(file, str(file.relative_to(path)), settings, assume, shared, alone=len(files) == 1)
    elif path.is_file():
        yield from _read_file(path, path.name, settings, assume, shared, alone=True)
    else:
        found = "something else" if path.exists() else "nothing"
        raise BadInput(f"{path}: expected a file or a folder, found {found}.")


def _files_below(folder: Path) -> list[Path]:
    """Regular files in a stable order; links to folders are not followed."""

    def stop(error: OSError) -> None:
        raise BadInput(f"{error.filename}: cannot be read: {error.strerror}") from error

    found = []
    for where, folders, names in os.walk(folder, onerror=stop):
        folders.sort()
        found += [Path(where, name) for name in sorted(names)]
    return [file for file in found if file.is_file()]


def _read_file(
    file: Path, name: str, settings: Settings, assume: Assumption, shared: Run, alone: bool
) -> Iterator[Instance]:
    limit = max_file_bytes(settings)
    try:
        size = file.stat().st_size
        if size > limit:
            refusal = NotRead("TOO-LARGE", f"Expected at most {limit} bytes, got {size}.")
            yield Instance(reject(refusal, name, ""))
            return
        data = file.read_bytes()
    except OSError as error:
        raise BadInput(f"{file}: cannot be read: {error.strerror}") from error
    if is_archive(data):
        yield from _read_archive(data, name, settings, assume, shared)
    elif alone or is_candidate(data):
        yield read_instance(name, data, settings, assume, shared.known, shared.digest(data))


def _read_archive(data: bytes, name: str, settings: Settings, assume: Assumption, shared: Run) -> Iterator[Instance]:
    try:
        packed = members(data, max_file_bytes(settings))
        first = next(packed, None)
        second = next(packed, None)
        alone = second is None
        for item in (first, second):
            if item is not None and (alone or is_candidate(item[1])):
                yield read_instance(
                    f"{name}/{item[0]}", item[1], settings, assume, shared.known, shared.digest(item[1])
                )
        for inner, content in packed:
            if is_candidate(content):
                yield read_instance(f"{name}/{inner}", content, settings, assume, shared.known, shared.digest(content))
    except NotRead as refusal:
        yield _refused_archive(data, name, refusal)


def _refused_archive(data: bytes, name: str, refusal: NotRead) -> Instance:
    """Return the instance that stands for an archive as a whole."""
    return Instance(reject(refusal, name, hashlib.sha256(data).hexdigest()))


def is_candidate(data: bytes) -> bool:
    """Whether a file that nobody named deserves an answer: DICOM but no DICOMDIR, PNG or JPEG."""
    if is_picture(data):
        return True
    return looks_like_dicom(data) and _DIRECTORY_CLASS not in data[:1024]
