"""One process that decodes, as the service sees it: given jobs, watched, and ended when it goes wrong."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from wetread.contain.talk import (
    HANDLE,
    MAX_MESSAGE,
    MOST_FILES,
    MOST_LETTERS,
    OUT_OF_MEMORY,
    PAGE,
    Body,
    Said,
    give,
    hear,
    read_into,
    sealed,
    write,
)
from wetread.errors import DecoderDied
from wetread.settings import Settings

log = logging.getLogger("wetread.contain")

#: Most bytes of the head of an answer: the groups of all frames of an enhanced object alone may have 16 MiB.
MAX_HEAD_BYTES = 64 << 20
#: Whether this system has what it takes; so far Linux.
POSSIBLE = hasattr(os, "memfd_create")
#: How long a new process may take until it listens.
START_S = 120.0
#: Shared memory up to this size stays for the next job, and what lies in it is copied.
KEPT_BYTES = 16 << 20
_FAILURE = re.compile(rb"\w{1,64} at [\w.-]{1,64}:\d{1,6}")
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")

Made = TypeVar("Made")
#: What is said of a file, and its bytes or an open handle, which is closed once it was given; None: the next one may
#: take a while, and the child need not wait for it.
Files = Iterator[tuple[Mapping[str, Any], bytes | int] | None]
#: Makes records of the head and the body of an answer.
Read = Callable[[bytes, Body], Made]


class Process:
    """A child, and the socket to it.

    Parameters
    ----------
    settings
        `decoder_*`, and `max_series_pixels`, which bounds an answer.
    module
        What it runs.

    Raises
    ------
    DecoderDied
        START: the system has no process for it now.
    """

    def __init__(self, settings: Settings, module: str) -> None:
        self._wall_s = settings.decoder_wall_s
        self._largest = 8 * settings.max_series_pixels + MAX_HEAD_BYTES
        self._listens = False
        self._at = -1  # the file that it reads
        self.jobs = 0
        limits = (settings.decoder_memory_bytes, max(1, round(settings.decoder_cpu_s)), self._largest)
        self._memories: tuple[int, ...] = ()
        self._new = False  # the child does not have the last one yet
        try:
            self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with ExitStack() as undo, theirs:
                undo.callback(self._let_go)
                for of in ("files", "answers"):
                    self._memories += (_memory(of),)
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", module, *map(str, (*self._memories, *limits))],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=self._memories,
                    env=_environment(),
                    start_new_session=True,  # Ctrl-C in a terminal is for the service
                )
                undo.pop_all()
        except OSError as error:
            raise DecoderDied("START", detail=errno.errorcode.get(error.errno or 0, "")) from error

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it, whatever it does; who waits for its answer waits no longer."""
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """End it, and let go of what is shared with it; a second call does nothing."""
        self.kill()
        self._let_go()

    def _let_go(self) -> None:
        self._sock.close()
        for memory in self._memories:
            os.close(memory)
        self._memories = ()

    def ask(self, job: Mapping[str, Any], files: Files, read: Read[Made], part: Read[None] | None = None) -> Made:
        """Have a job done.

        Parameters
        ----------
        job
            What to do, as JSON values.
        files
            With what; taken one by one.
        read
            Makes records of the answer; its `ValueError` is the child's fault.
        part
            Takes what was made so far, where the files ask for that.

        Raises
        ------
        DecoderDied
            It ended, took too long or said what cannot be.  After this or any other error it must be ended.
        """
        self.jobs, self._at = self.jobs + 1, -1
        try:
            if not self._listens:
                self._expect_ready()
            self._give(job, self._memories[1:] if self._new else ())
            self._new = False
            made = self._made(self._wait(files, part), read)
        except ValueError as error:
            raise DecoderDied("LIE", self._at) from error
        if os.fstat(self._memories[0]).st_size > KEPT_BYTES:
            os.ftruncate(self._memories[0], 0)
        return made

    def _expect_ready(self) -> None:
        self._sock.settimeout(START_S)
        try:
            said, _ = hear(self._sock)
        except (EOFError, OSError) as error:
            raise DecoderDied("START", detail=self._epitaph()) from error
        if said is not Said.READY:
            raise ValueError("expected READY")
        self._listens = True

    def _wait(self, files: Files, part: Read[None] | None) -> int:
        """Give files until the answer is there; return the size of its head, negative if it tells of an error."""
        given = words = 0
        while True:
            said, number = self._hear()
            words += 1
            if said is Said.NEXT and words <= 3 * given + 2:
                given += self._give_files(files)
            elif said is Said.BEGIN and number < given and words <= 3 * given + 2:
                self._at = number
            elif said is Said.REMARKS and words <= 3 * given + 3:
                log.info("remarks of libraries", extra={"count": number})
            elif said is Said.PART and part is not None and words <= 3 * given + 2:
                head, start, whole = self._answer(number)
                part(head, Body(self._memories[1], start, whole))
            elif said in (Said.DONE, Said.FAILED):
                return number if said is Said.DONE else -number
            else:
                raise ValueError("expected another word")

    def _hear(self) -> tuple[Said, int]:
        self._sock.settimeout(self._wall_s)
        try:
            return hear(self._sock)
        except TimeoutError as error:
            raise DecoderDied("WALL-TIME", self._at) from error
        except (EOFError, OSError) as error:
            raise self._died() from error

    def _give_files(self, files: Files) -> int:
        """Give as many files at a time as the memory and a message hold; return how many."""
        told: list[tuple[Mapping[str, Any], int]] = []
        handles: list[int] = []
        offset = letters = 0
        try:
            while offset < KEPT_BYTES and letters < MOST_LETTERS and len(told) < MOST_FILES:
                try:
                    found = next(files)
                except StopIteration:
                    break
                if found is None and told:
                    break
                if found is None:
                    continue
                about, content = found
                letters += len(_encoded(about))
                if isinstance(content, int):
                    handles.append(content)
                    told.append((about, HANDLE))
                    continue
                write(self._memories[0], content, offset)
                told.append((about, len(content)))
                offset += len(content)
            self._give(told, handles)
        finally:
            for handle in handles:
                os.close(handle)
        return len(told)

    def _give(self, message: Any, handles: Sequence[int] = ()) -> None:
        data = _encoded(message)
        assert len(data) <= MAX_MESSAGE, "a message to a child is short"
        try:
            give(self._sock, data, handles)
        except TimeoutError as error:
            raise DecoderDied("WALL-TIME", self._at) from error
        except OSError as error:
            raise self._died() from error

    def _made(self, size: int, read: Read[Made]) -> Made:
        """Make records of an answer."""
        answers = self._memories[1]
        head, start, whole = self._answer(abs(size))
        if size < 0:
            raise DecoderDied("ERROR", self._at, head.decode() if _FAILURE.fullmatch(head) else "")
        if whole <= KEPT_BYTES:
            return read(head, Body(answers, start, whole))
        body = Body(sealed(answers, whole), start, whole)
        self._memories, self._new = (self._memories[0], _memory("answers")), True
        os.close(answers)
        return read(head, body)

    def _answer(self, size: int) -> tuple[bytes, int, int]:
        """The head of what lies in the memory, where its arrays begin, and where it ends."""
        whole = os.fstat(self._memories[1]).st_size
        if not 0 < size <= min(MAX_HEAD_BYTES, whole) or whole > self._largest:
            raise ValueError("expected an answer of another size")
        head = bytearray(size)
        read_into(self._memories[1], head)
        return bytes(head), -(-size // PAGE) * PAGE, whole

    def _died(self) -> DecoderDied:
        """Say what ended a child that is gone."""
        code = self._process.wait(self._wall_s)
        if code == OUT_OF_MEMORY:
            return DecoderDied("MEMORY", self._at)
        if code == -signal.SIGXCPU:
            return DecoderDied("CPU-TIME", self._at)
        return DecoderDied("SIGNAL" if code < 0 else "ERROR", self._at, self._epitaph())

    def _epitaph(self) -> str:
        code = self._process.poll()
        if code is None or code >= 0:
            return "" if code is None else f"exit {code}"
        return next((one.name for one in signal.Signals if one == -code), f"signal {-code}")


def _encoded(message: Any) -> bytes:
    """JSON as `json.loads` reads it, also with what file names have for bytes that are not UTF-8."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _memory(of: str) -> int:
    """Return a handle of memory that can be shared, and sealed."""
    return os.memfd_create(f"wetread-{of}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def _environment() -> dict[str, str]:
    """What a child needs of the environment: where Python's modules lie, and one thread."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    return kept | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
