"""The processes that decode: started when they are needed, kept for the next study, replaced when they went wrong.

They are started anew, never forked: the service holds threads, engines and keys.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from wetread.contain.process import POSSIBLE, Files, Process, Read
from wetread.errors import DecoderDied
from wetread.settings import Settings

log = logging.getLogger("wetread.contain")

#: Jobs after which a child is replaced: what libraries leak goes with it.
MOST_JOBS = 1000

Made = TypeVar("Made")


class Children:
    """Up to `most` processes; more jobs than that wait for their turn.

    Parameters
    ----------
    settings
        `decoders` or, if that is 0, one more than `readers`; `decoder_*` and what bounds an answer.
    on_end
        Told the key of `wetread.errors.DECODER_ENDS` when a child died over a job.
    module
        What they run; a test gives one that goes wrong.
    """

    def __init__(
        self,
        settings: Settings,
        on_end: Callable[[str], None] = lambda why: None,
        module: str = "wetread.contain.child",
    ) -> None:
        self._settings = settings
        self._on_end = on_end
        self._module = module
        self.most = settings.decoders or settings.readers + 1
        self._turn = threading.BoundedSemaphore(self.most)
        self._lock = threading.Lock()  # of the next four
        self._wanted = 0
        self._idle: list[Process] = []
        self._all: set[Process] = set()
        self._closed = False

    def __enter__(self) -> Children:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def start(self, count: int = 1) -> None:
        """Have so many processes from now on, ahead of their jobs: one that dies has one to follow it at once."""
        with self._lock:
            self._wanted = max(self._wanted, count)
            while POSSIBLE and not self._closed and len(self._all) < self._wanted:
                self._idle.insert(0, self._started())  # it is taken last: the others are ready

    def close(self) -> None:
        """End all of them; a job that one has in hand ends with `DecoderDied`, and lets go of what it shares."""
        with self._lock:
            self._closed = True
            for process in self._all:
                process.kill()
            while self._idle:
                self._ended(self._idle.pop())

    def ask(self, job: Mapping[str, Any], files: Files, read: Read[Made], part: Read[None] | None = None) -> Made:
        """Have a job done by the next child that is free; see `wetread.contain.process.Process.ask`.

        Raises
        ------
        DecoderDied
            The child ended over it.  The next job gets another one.
        """
        with self._turn:
            process = self._taken()
            try:
                made = process.ask(job, files, read, part)
            except BaseException as error:
                self._buried(process)
                if self._closed and isinstance(error, DecoderDied):
                    raise _ends() from error
                if isinstance(error, DecoderDied):
                    log.warning("decoder ended", extra={"why": error.why, "reason": str(error)})
                    self._on_end(error.why)
                raise
            self._laid_back(process)
            return made

    def _taken(self) -> Process:
        with self._lock:
            if self._closed:
                raise _ends()
            while self._idle:
                process = self._idle.pop()
                if process.alive:
                    return process
                self._ended(process)
            return self._started()

    def _started(self) -> Process:
        process = Process(self._settings, self._module)
        self._all.add(process)
        return process

    def _laid_back(self, process: Process) -> None:
        with self._lock:
            if process.jobs < MOST_JOBS and not self._closed:
                self._idle.append(process)
                return
        self._buried(process)

    def _buried(self, process: Process) -> None:
        """End a child, and start another in its place, or leave that to the next job."""
        with self._lock:
            self._ended(process)
        try:
            self.start(self._wanted)
        except DecoderDied as error:
            log.warning("decoder not started", extra={"reason": str(error)})

    def _ended(self, process: Process) -> None:
        process.end()
        self._all.discard(process)


def _ends() -> DecoderDied:
    return DecoderDied("START", detail="the service ends")


class OneChild:
    """One process for one kind of question, beside those that decode studies; it starts with the first.

    Parameters
    ----------
    settings
        `decoder_*` and what bounds an image and an answer.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._children = Children(replace(settings, decoders=1))

    def close(self) -> None:
        """End the child."""
        self._children.close()

    def _ask(self, do: str, files: Files, read: Read[Made], **more: Any) -> Made:
        return self._children.ask(job(do, self._settings, **more), files, read)


def job(do: str, settings: Settings, **more: Any) -> dict[str, Any]:
    """Return what a child is told to do, with the settings that bound it."""
    used = ("max_pixels", "max_series_pixels", "least_side")
    return {"do": do, "settings": {name: getattr(settings, name) for name in used}, **more}
