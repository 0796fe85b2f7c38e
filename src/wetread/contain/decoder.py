"""The three functions by which bytes become studies, in a child; a file that is too much for it hurts nobody else.

`wetread.acquire` has the same three, in the process that calls them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from wetread import acquire
from wetread.acquire import Assumption
from wetread.acquire.instances import max_file_bytes
from wetread.acquire.source import File, check_found, named, opened
from wetread.contain.ahead import Ahead, Foresee
from wetread.contain.children import Children, job
from wetread.contain.handover import read
from wetread.contain.process import POSSIBLE, Files
from wetread.contain.talk import Body
from wetread.contain.volumes import Files as Given
from wetread.errors import DecoderDied, NotRead
from wetread.records import Image, Rejected, Stored, Study
from wetread.settings import Settings

log = logging.getLogger("wetread.contain")

_ASSUMPTION = Assumption()


class Decoder(Protocol):
    """What makes studies of bytes: the module `wetread.acquire`, or `Contained`."""

    def decode(
        self, blobs: Sequence[tuple[str, bytes | Stored]], settings: Settings, assume: Assumption = _ASSUMPTION
    ) -> tuple[Study, ...]:
        """Decode files that are in memory, or stored: `wetread.acquire.decode`."""

    def load(
        self,
        paths: Sequence[Path],
        settings: Settings,
        assume: Assumption = _ASSUMPTION,
        on_passed: Callable[[int], None] = lambda number: None,
    ) -> tuple[Study, ...]:
        """Read files, folders and archives: `wetread.acquire.load`."""

    def given_up(
        self, files: Iterable[tuple[str, str, bytes]], refusal: NotRead, settings: Settings
    ) -> tuple[Rejected, ...]:
        """Refuse files by their headers: `wetread.acquire.given_up`."""


class Contained:
    """Decodes in children.

    `decode` and `given_up` raise `wetread.errors.DecoderDied` where a child dies; `load` refuses the file
    that it died over instead, CRASHED, and reads the others.

    Parameters
    ----------
    children
        In which.
    ahead
        What is decoded while it arrives.
    """

    def __init__(self, children: Children, ahead: Ahead | None = None) -> None:
        self._children = children
        self._ahead = ahead

    def decode(
        self, blobs: Sequence[tuple[str, bytes | Stored]], settings: Settings, assume: Assumption = _ASSUMPTION
    ) -> tuple[Study, ...]:
        """As `wetread.acquire.decode`."""
        if self._ahead is not None and (made := self._ahead.studies(blobs)) is not None:
            return made
        return decoded(self._children, settings, _held(blobs), [held for _, held in blobs], assume=assume)

    def given_up(
        self, files: Iterable[tuple[str, str, bytes]], refusal: NotRead, settings: Settings
    ) -> tuple[Rejected, ...]:
        """As `wetread.acquire.given_up`."""
        told = (({"name": name, "digest": digest}, data) for name, digest, data in files)
        given = job("given_up", settings, code=refusal.code, detail=refusal.detail)
        return self._children.ask(given, told, _rejected)

    def load(
        self,
        paths: Sequence[Path],
        settings: Settings,
        assume: Assumption = _ASSUMPTION,
        on_passed: Callable[[int], None] = lambda number: None,
    ) -> tuple[Study, ...]:
        """As `wetread.acquire.load`.

        A file over which a child died is refused by its header; if that dies too, without it.
        """
        files, limit = named(paths), max_file_bytes(settings)
        given = job("load", settings, assume=asdict(assume))
        while True:
            try:
                studies, found, passed = self._children.ask(given, _opened(files, limit), _loaded)
                break
            except DecoderDied as death:
                if death.file < 0 or files[death.file].blind:
                    raise
                files[death.file] = _given_up(files[death.file], death)
        check_found(paths, found)
        on_passed(passed)
        return studies


def decoded(
    children: Children,
    settings: Settings,
    files: Files,
    held: list[bytes | Stored],
    foresee: Foresee | None = None,
    assume: Assumption = _ASSUMPTION,
) -> tuple[Study, ...]:
    """Decode files in a child.

    Parameters
    ----------
    files
        Taken one by one.
    held
        The same files, in this order, when the last one was taken.
    foresee
        Takes slices as they are decoded, where the files ask for that.
    """
    given, made = job("decode", settings, assume=asdict(assume)), partial(_studies, held)
    if foresee is None:
        return children.ask(given, files, made)
    return children.ask(given, files, made, lambda head, body: foresee(_slices(held, head, body)))


def decoder(children: Children, ahead: Ahead | None = None) -> Decoder:
    """Return what decodes in these children; where the system has no such memory, in the process itself."""
    if POSSIBLE:
        return Contained(children, ahead)
    log.warning("decoding is not contained: this system has no memfd_create")
    return acquire


def _opened(files: Sequence[File], limit: int) -> Files:
    """Give each file as it stands; one that is too large is only told of."""
    for file in files:
        about = {name: value for name, value in asdict(file).items() if name != "path"}
        yield about, opened(file) if file.size <= limit else os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


def _held(blobs: Sequence[tuple[str, bytes | Stored]]) -> Files:
    """Give what is in memory, and open what is stored."""
    for name, held in blobs:
        if isinstance(held, bytes):
            yield {"name": name, "digest": ""}, held
        else:
            yield {"name": name, "digest": held.digest}, os.open(held.path, os.O_RDONLY | os.O_CLOEXEC)


def _given_up(file: File, death: DecoderDied) -> File:
    if file.crashed:
        return replace(file, blind=True)
    return replace(file, crashed=f"Its decoder ended: {death.reason}.")


def _studies(held: Sequence[bytes | Stored], head: bytes, body: Body) -> tuple[Study, ...]:
    made: tuple[Study, ...] = read(head, tuple[Study, ...], body, Given(held))
    return made


def _slices(held: Sequence[bytes | Stored], head: bytes, body: Body) -> tuple[Image, ...]:
    made: tuple[Image, ...] = read(head, tuple[Image, ...], body, Given(held))
    return made


def _rejected(head: bytes, body: Body) -> tuple[Rejected, ...]:
    made: tuple[Rejected, ...] = read(head, tuple[Rejected, ...], body)
    return made


def _loaded(head: bytes, body: Body) -> tuple[tuple[Study, ...], tuple[int, ...], int]:
    made: tuple[tuple[Study, ...], tuple[int, ...], int]
    made = read(head, tuple[tuple[Study, ...], tuple[int, ...], int], body)
    return made
