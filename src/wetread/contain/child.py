"""The process that parses and decodes: takes jobs from its standard input, a socket, until that closes.

``python -m wetread.contain.child FILES ANSWER MEMORY CPU LARGEST``: two handles of shared memory, and the limits in
bytes, seconds and bytes (`wetread.contain.limits`).
It holds no model, no key and no database, and says nothing on its outputs.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from mmap import MAP_POPULATE, MAP_PRIVATE, PROT_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np

from wetread.acquire.content import Content
from wetread.acquire.instances import Instance
from wetread.acquire.picture import Assumption
from wetread.acquire.series import loose
from wetread.acquire.source import File, read_files
from wetread.acquire.studies import gather, given_up, read_each
from wetread.contain.handover import Shelf, pack
from wetread.contain.limits import Limits
from wetread.contain.shown import drawn, shown, told
from wetread.contain.talk import HANDLE, OUT_OF_MEMORY, PAGE, Said, say, take, write
from wetread.contain.volumes import light
from wetread.errors import NotRead
from wetread.memory import keep_freed
from wetread.records import Image
from wetread.settings import Settings


def _content(handle: int) -> bytes:
    with open(handle, "rb", buffering=0) as file:
        return file.readall()


def _mapped(handle: int) -> Content:
    """Bytes of a file that never changes: what nobody looks at is never copied."""
    with open(handle, "rb", buffering=0):
        size = os.fstat(handle).st_size
        return mmap(handle, size, MAP_PRIVATE | MAP_POPULATE, PROT_READ) if size else b""


@dataclass(slots=True)
class Service:
    """The other end of the socket."""

    sock: socket.socket
    files_memory: int
    answer_memory: int
    limits: Limits
    shelf: Shelf = field(default_factory=Shelf)  # of the present job

    def jobs(self) -> Iterator[dict[str, Any]]:
        """Yield what is to be done until the service has no more to do."""
        say(self.sock, Said.READY)
        while True:
            try:
                message, memories = take(self.sock)
            except EOFError:
                return
            if memories:
                os.close(self.answer_memory)
                (self.answer_memory,) = memories
            self.shelf = Shelf()
            yield json.loads(message)

    def files(self, content: Callable[[int], Content] = _content) -> Iterator[tuple[dict[str, Any], Any]]:
        """Yield the files of a job: what the service says of each, and its bytes.

        Parameters
        ----------
        content
            Takes them from a handle.
        """
        number = 0
        while True:
            say(self.sock, Said.NEXT)
            message, handles = take(self.sock)
            told = json.loads(message)
            if not told:
                return
            offset, opened = 0, iter(handles)
            for about, size in told:
                self.begin(number)
                if size == HANDLE:
                    yield about, content(next(opened))
                else:
                    yield about, os.pread(self.files_memory, size, offset)
                    offset += size
                number += 1

    def begin(self, number: int) -> None:
        """Say that a file is read from now on which was taken before."""
        say(self.sock, Said.BEGIN, number)
        self.limits.begin()

    def done(self, value: Any) -> None:
        """Lay an answer into its memory, and say so."""
        self._laid(value, self.shelf, Said.DONE)

    def part(self, images: list[Image], shelf: Shelf) -> None:
        """Lay what was made so far into the memory of the answer, and say so."""
        self._laid(images, shelf, Said.PART)

    def _laid(self, value: Any, shelf: Shelf, word: Said) -> None:
        """Lay records into the memory, the head first."""
        head = pack(value, shelf)
        write(self.answer_memory, head)
        start = -(-len(head) // PAGE) * PAGE
        for offset, pixels in shelf.arrays:
            write(self.answer_memory, np.ascontiguousarray(pixels).reshape(-1).view(np.uint8).data, start + offset)
        say(self.sock, word, len(head))

    def remarks(self, number: int) -> None:
        """Say how many remarks libraries had about the files."""
        if number:
            say(self.sock, Said.REMARKS, number)

    def failed(self, error: Exception) -> None:
        """Say what ended a job that should have ended well: the kind of error and the line, never its text."""
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}".encode()
        write(self.answer_memory, text)
        say(self.sock, Said.FAILED, len(text))


def _decode(job: dict[str, Any], service: Service) -> Any:
    order: list[int] = []  # the place of each file, where they come as they arrive
    read: list[Instance] = []

    def blobs() -> Iterator[tuple[str, str, Content]]:
        for about, data in service.files(_mapped):
            if "order" in about:
                order.extend(about["order"])
            elif "part" in about:
                shelf = Shelf()
                service.part(loose(read[slice(*about["part"])], shelf.piles.stack), shelf)
            else:
                yield about["name"], about["digest"], data

    settings = Settings(**job["settings"])
    for instance in read_each(blobs(), settings, Assumption(**job["assume"]), service.begin):
        read.append(light(instance))
    if order:
        read.sort(key=lambda instance: order[instance.file])
    return gather(read, settings, service.shelf.piles.stack)


def _load(job: dict[str, Any], service: Service) -> Any:
    files = ((File(path=Path(), **about), data) for about, data in service.files())
    studies, found, passed = read_files(files, Settings(**job["settings"]), Assumption(**job["assume"]))
    return studies, sorted(found), passed


def _give_up(job: dict[str, Any], service: Service) -> Any:
    files = ((about["name"], about["digest"], data) for about, data in service.files())
    return given_up(files, NotRead(job["code"], job["detail"]), Settings(**job["settings"]))


def _metadata(job: dict[str, Any], service: Service) -> Any:
    settings = Settings(**job["settings"])
    return [told(about["url"], data, settings) for about, data in service.files()]


def _show(job: dict[str, Any], service: Service) -> Any:
    ((_, data),) = list(service.files())
    return shown(job, data, Settings(**job["settings"]))


def _segmentation(job: dict[str, Any], service: Service) -> Any:
    ((_, data),) = list(service.files())
    return drawn(data, Settings(**job["settings"]))


def _question(_job: dict[str, Any], service: Service) -> Any:
    from wetread.contain.copied import question  # what most children never do loads with the first

    (_, told), (_, data) = list(service.files())
    return question(json.loads(told), data)


def _copy(job: dict[str, Any], service: Service) -> Any:
    from wetread.contain.copied import copied

    (_, told), (_, data) = list(service.files())
    return copied(json.loads(told), data, Settings(**job["settings"]))


JOBS: dict[str, Callable[[dict[str, Any], Service], Any]] = {
    "decode": _decode,
    "load": _load,
    "given_up": _give_up,
    "metadata": _metadata,
    "show": _show,
    "segmentation": _segmentation,
    "question": _question,
    "copy": _copy,
}


class Remarks(logging.Handler):
    """Counts what `wetread.acquire.quiet` tells of: nobody reads a log of this process."""

    def __init__(self) -> None:
        super().__init__()
        self._number = 0
        logger = logging.getLogger("wetread.acquire")
        logger.setLevel(logging.INFO)
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Take one in."""
        self._number += int(getattr(record, "count", 0))

    def taken(self) -> int:
        """Return how many there were since the last time."""
        number, self._number = self._number, 0
        return number


def _do(job: dict[str, Any], service: Service, remarks: Remarks) -> None:
    """Do one job; nothing of it stays for the next."""
    made = JOBS[job["do"]](job, service)
    service.remarks(remarks.taken())
    service.done(made)


def main() -> None:
    """Work until there is no more to do; whatever goes wrong ends the process."""
    limits = Limits(*map(int, sys.argv[3:6]))
    keep_freed()
    limits.set()
    files, answers = map(int, sys.argv[1:3])
    service = Service(socket.socket(fileno=0), files, answers, limits)
    remarks = Remarks()
    try:
        for job in service.jobs():
            try:
                _do(job, service, remarks)
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 - the child's door: the service learns where it happened
                service.failed(error)
                return
    except MemoryError:
        os._exit(OUT_OF_MEMORY)  # nothing that needs memory


if __name__ == "__main__":
    main()
