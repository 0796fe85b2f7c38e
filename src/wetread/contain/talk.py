"""What a child and the service say to each other, one message a datagram of a socket pair.

::

    service                                   child
                                        <--   READY
    job (JSON), perhaps new memory      -->
                                        <--   NEXT           the next files, please
    files (JSON), perhaps handles       -->                  [] when there are no more
                                        <--   BEGIN number   that file is read from now on
                                        <--   REMARKS number libraries had so many remarks about the files
                                        <--   PART bytes     asked for among the files: what it made so far lies in the
                                                             memory as an answer would; the child waits for more
                                        <--   DONE bytes     the answer lies in the memory: its head has so many,
                                                             and from the next page on lie its arrays
                                        <--   FAILED bytes   what went wrong lies there instead

Two pieces of shared memory come with the process, one for files and one for answers.  Files lie in
the first, one behind the other, or their open handles come with the message.  The service reads
and writes them as if they were files, so that a child that cuts them off or changes them hurts only
itself.  Large answers are not copied: their memory is sealed (fcntl(2), F_ADD_SEALS), and mapped when
nobody can change it any more; the child gets other memory with its next job.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import struct
from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import numpy.typing as npt

_WORD = struct.Struct("<II")
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
#: Most bytes of a message to a child: names and settings.
MAX_MESSAGE = 1 << 16
#: A message about files takes no more of them when it has so many bytes: with one more path it is short enough.
MOST_LETTERS = MAX_MESSAGE // 2
#: Files of one message, so that it is short, and no more handles than one may carry.
MOST_FILES = 32
#: The size that is told of a file whose handle comes instead.
HANDLE = -1
#: Exit status of a child that ran against its memory limit.
OUT_OF_MEMORY = 3
#: The arrays of an answer begin at a multiple of this.
PAGE = 4096


class Said(IntEnum):
    """What a child says."""

    READY = 1
    NEXT = 2
    BEGIN = 3
    DONE = 4
    FAILED = 5
    REMARKS = 6
    PART = 7


def say(sock: socket.socket, word: Said, number: int = 0) -> None:
    """Say one thing to the service."""
    sock.send(_WORD.pack(word, number))


def hear(sock: socket.socket) -> tuple[Said, int]:
    """Wait for what a child says.

    Raises
    ------
    ValueError
        It is none of `Said`.
    EOFError
        The child is gone.
    TimeoutError
        It says nothing within the timeout of the socket.
    """
    data = sock.recv(_WORD.size + 1)
    if not data:
        raise EOFError
    if len(data) != _WORD.size:
        raise ValueError("expected two integers")
    word, number = _WORD.unpack(data)
    return Said(word), number


def give(sock: socket.socket, message: bytes, handles: Sequence[int] = ()) -> None:
    """Give a child a message, with open files or without."""
    socket.send_fds(sock, [message], handles)


def take(sock: socket.socket) -> tuple[bytes, list[int]]:
    """Wait for a message of the service and the open files that may come with it.

    Raises
    ------
    EOFError
        The service is gone, or has no more to do.
    """
    message, handles, _, _ = socket.recv_fds(sock, MAX_MESSAGE, MOST_FILES)
    if not message:
        raise EOFError
    return message, handles


def write(memory: int, data: bytes | memoryview, offset: int = 0) -> None:
    """Write bytes into shared memory."""
    view = memoryview(data)
    while view:
        written = os.pwrite(memory, view, offset)
        view, offset = view[written:], offset + written


def read_into(memory: int, buffer: bytearray | memoryview, offset: int = 0) -> None:
    """Fill a buffer from shared memory.

    Raises
    ------
    ValueError
        The memory ends before.
    """
    view = memoryview(buffer)
    while view:
        count = os.preadv(memory, [view], offset)
        if not count:
            raise ValueError("expected more memory")
        view, offset = view[count:], offset + count


def sealed(memory: int, size: int) -> mmap.mmap:
    """Map memory that from now on nobody can change.

    Raises
    ------
    ValueError
        Somebody holds a map to which they can write.
    """
    try:
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
    except OSError as error:
        raise ValueError("expected memory that nobody writes to") from error
    if os.fstat(memory).st_size != size:
        raise ValueError("expected memory of the same size")
    return mmap.mmap(memory, size, mmap.MAP_PRIVATE, mmap.PROT_READ)


class Body:
    """Where the service takes the arrays from, each once.

    Parameters
    ----------
    memory
        A handle of shared memory, of which copies are taken; or the map of one that is sealed.
    start, end
        Where the arrays lie in it.
    """

    def __init__(self, memory: int | mmap.mmap, start: int, end: int) -> None:
        self._memory = memory
        self._start = start
        self._size = end - start
        self._next = 0

    def take(self, offset: int, size: int) -> npt.NDArray[np.uint8]:
        """Take some bytes; raises `ValueError` for what is not there, or was taken before."""
        if not self._next <= offset <= self._size - size:
            raise ValueError("expected an array within the memory, behind the one before")
        self._next = offset + size
        if isinstance(self._memory, mmap.mmap):
            return np.frombuffer(self._memory, np.uint8, size, self._start + offset)
        made = np.empty(size, np.uint8)
        read_into(self._memory, made.data, self._start + offset)
        return made
