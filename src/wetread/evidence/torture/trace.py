"""Every change that a process made to a folder, in order, as the kernel saw it (strace).

Of two threads that do something at the same time: a write, a rename and a sync take effect when the call
returns, an answer to a peer counts as sent when its call begins.  Of a sync only what was written before it
began is covered.

References
----------
strace(1): `-f`, `-y`, `-xx`; a call that another thread's interrupts is `<unfinished ...>` and `resumed`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

CALLS = (
    "openat,creat,write,pwrite64,pwritev,writev,fsync,fdatasync,sync_file_range,rename,renameat,renameat2,"
    "unlink,unlinkat,rmdir,mkdir,mkdirat,ftruncate,truncate,fallocate,link,linkat,symlink,sendto,sendmsg"
)

_LINE = re.compile(r"^(?P<pid>\d+)\s+(?P<rest>.*)$")
_CALL = re.compile(r"^(?P<name>\w+)\((?P<arguments>.*)\)\s+= (?P<result>-?\d+)")
_HANDLE = re.compile(r"^(?:AT_FDCWD|\d+)<(?P<path>[^>]*)>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_UNFINISHED, _RESUMED = " <unfinished ...>", re.compile(r"^<\.\.\. \w+ resumed>")


@dataclass(frozen=True, slots=True)
class Begin:
    """A sync begins: it will cover what was written so far."""

    key: int
    path: str


@dataclass(frozen=True, slots=True)
class Synced:
    """A sync is over."""

    key: int
    path: str


@dataclass(frozen=True, slots=True)
class Create:
    """A file is opened and made if it is missing; `empty`: and loses what it held."""

    path: str
    empty: bool


@dataclass(frozen=True, slots=True)
class MakeFolder:
    """A folder is made."""

    path: str


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes go to a place of a file; at None they go where the last ones ended."""

    path: str
    data: bytes
    at: int | None


@dataclass(frozen=True, slots=True)
class Cut:
    """A file gets another length."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Rename:
    """A name becomes another."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Remove:
    """A name goes."""

    path: str


@dataclass(frozen=True, slots=True)
class Told:
    """Bytes leave for a peer."""

    data: bytes


Operation = Begin | Synced | Create | MakeFolder | Write | Cut | Rename | Remove | Told


def command(trace: Path) -> list[str]:
    """Return the beginning of a command line whose changes to the disk are traced.

    Raises
    ------
    FileNotFoundError
        strace is not installed.
    """
    program = shutil.which("strace")
    if program is None:
        raise FileNotFoundError("strace is not installed; on Debian: apt-get install strace")
    return [program, "-f", "-y", "-xx", "-s", "100000000", "-e", f"trace={CALLS}", "-o", str(trace)]


def operations(lines: Iterable[str], folder: Path) -> Iterator[Operation]:
    """Yield what was done to a folder and told to peers.

    Parameters
    ----------
    lines
        What strace wrote.
    folder
        Paths outside are left out.

    Raises
    ------
    ValueError
        A call that this model of a disk does not know changed the folder.
    """
    begun: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(lines):
        match = _LINE.match(line.rstrip("\n"))
        if match is None:
            continue
        pid, rest = match["pid"], match["rest"]
        if _RESUMED.match(rest) and pid in begun:
            first, key = begun.pop(pid)
            yield from _done(first + _RESUMED.sub("", rest), key, folder, resumed=True)
        elif rest.endswith(_UNFINISHED):
            first = rest.removesuffix(_UNFINISHED)
            begun[pid] = (first, number)
            yield from _begins(first, number, folder)
        elif "(" in rest and not rest.startswith(("---", "+++")):
            yield from _begins(rest, number, folder)
            yield from _done(rest, number, folder, resumed=False)


def _begins(text: str, key: int, folder: Path) -> Iterator[Operation]:
    name, _, arguments = text.partition("(")
    if name in ("sendto", "sendmsg"):
        yield Told(b"".join(_texts(arguments)))
    elif name in ("fsync", "fdatasync") and (path := _handle(arguments, folder)):
        yield Begin(key, path)


def _done(text: str, key: int, folder: Path, resumed: bool) -> Iterator[Operation]:
    match = _CALL.match(text)
    if match is None or int(match["result"]) < 0:
        return
    name, arguments, result = match["name"], match["arguments"], int(match["result"])
    if name in ("sendto", "sendmsg"):
        return
    paths = [path for path in (_absolute(arguments, one) for one in _texts(arguments)) if _inside(path, folder)]
    handle = _handle(arguments, folder)
    if name == "openat":
        if paths and "O_CREAT" in arguments:
            yield Create(paths[0], "O_TRUNC" in arguments)
        elif paths and "O_TRUNC" in arguments:
            yield Cut(paths[0], 0)
    elif name in ("mkdir", "mkdirat") and paths:
        yield MakeFolder(paths[0])
    elif name in ("rename", "renameat", "renameat2") and len(paths) == 2:
        yield Rename(paths[0], paths[1])
    elif name in ("unlink", "unlinkat", "rmdir") and paths:
        yield Remove(paths[0])
    elif name in ("fsync", "fdatasync") and handle:
        yield Synced(key, handle)
    elif name in ("write", "pwrite64") and handle:
        (data,) = _texts(arguments)
        at = int(arguments.rpartition(",")[2]) if name == "pwrite64" else None
        yield Write(handle, data[:result], at)
    elif name == "ftruncate" and handle:
        yield Cut(handle, int(arguments.rpartition(",")[2]))
    elif handle or paths:
        raise ValueError(f"trace: expected calls that the model of the disk knows, got {name}; teach it to trace.py")


def _texts(arguments: str) -> list[bytes]:
    return [bytes.fromhex(found.replace("\\x", "")) for found in _TEXT.findall(arguments)]


def _absolute(arguments: str, raw: bytes) -> str:
    path = raw.decode("utf-8", "replace")
    handle = _HANDLE.match(arguments)
    return path if path.startswith("/") or handle is None else f"{_path(handle)}/{path}"


def _path(handle: re.Match[str]) -> str:
    return bytes.fromhex(handle["path"].replace("\\x", "")).decode() if "\\x" in handle["path"] else handle["path"]


def _handle(arguments: str, folder: Path) -> str:
    match = _HANDLE.match(arguments)
    path = _path(match) if match else ""
    return path if _inside(path, folder) else ""


def _inside(path: str, folder: Path) -> bool:
    return path == str(folder) or path.startswith(f"{folder}/")
