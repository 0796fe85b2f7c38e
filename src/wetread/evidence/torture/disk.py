"""A model of a disk that keeps what was synced and nothing else for sure.

- Bytes survive when a sync of their file began after they were written and came to its end.  Of other writes
  each sector of 512 bytes survives or not, by chance; a sector is never torn.
- A name (of a new file or folder, after a rename, or gone) survives when its folder was synced afterwards;
  syncing a file does not save its name.  Of other changes to names each survives or not, by chance.  A rename
  may leave both names, never none.
- What a process maps into memory (SQLite's index of its log, ``-shm``) is not seen: any bytes may be in it.

That is less than ext4, XFS or APFS promise: they keep names in order, and a name with its synced file.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from wetread.evidence.torture.trace import (
    Begin,
    Create,
    Cut,
    MakeFolder,
    Operation,
    Remove,
    Rename,
    Synced,
    Told,
    Write,
)

SECTOR = 512


class Survives(StrEnum):
    """What of the writes that were not synced is there after the cut."""

    NOTHING = "nothing unsynced"
    ANYTHING = "any sectors and names"
    EVERYTHING = "everything"


@dataclass(slots=True, eq=False)
class File:
    """Bytes: those that are safe, and what was done since."""

    safe: bytearray = field(default_factory=bytearray)
    pending: list[Write | Cut] = field(default_factory=list)
    end: int = 0  # where the last bytes ended

    def sync(self, number: int) -> None:
        """The first `number` changes are safe."""
        for change in self.pending[:number]:
            _change(self.safe, change)
        del self.pending[:number]

    def after(self, survives: Survives, chance: random.Random) -> bytes:
        """Return its bytes after a power cut."""
        data = bytearray(self.safe)
        for change in self.pending if survives is not Survives.NOTHING else ():
            if survives is Survives.EVERYTHING:
                _change(data, change)
            elif isinstance(change, Cut):
                if chance.random() < 0.5:
                    _change(data, change)
            else:
                for piece in _sectors(change):
                    if chance.random() < 0.5:
                        _change(data, piece)
        return bytes(data)


@dataclass(slots=True, eq=False)
class Link:
    """A name that comes (`target`) or goes (None); one that goes by a rename goes only if the other came."""

    name: str
    target: File | Folder | None
    needs: Link | None = None
    safe: bool = False


@dataclass(slots=True, eq=False)
class Folder:
    """Names: every change since the folder was empty, and whether it is safe."""

    links: list[Link] = field(default_factory=list)

    @property
    def now(self) -> dict[str, File | Folder]:
        """What a process sees."""
        return _names(self.links)

    def sync(self, number: int) -> None:
        """The first `number` changes are safe."""
        for link in self.links[:number]:
            link.safe = True
        kept = [Link(name, target, safe=True) for name, target in _names(self.links[:number]).items()]
        self.links[:number] = kept


class Disk:
    """A folder whose changes are told one by one.

    Parameters
    ----------
    root
        The folder, empty and safe.
    """

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._top = Folder()
        self._begun: dict[int, tuple[File | Folder, int]] = {}

    def apply(self, done: Operation) -> None:
        """Take one change."""
        match done:
            case Create():
                self._create(done)
            case MakeFolder():
                folder, name = self._parent(done.path)
                folder.links.append(Link(name, Folder()))
            case Write() | Cut():
                self._write(done)
            case Rename():
                self._rename(done)
            case Remove():
                folder, name = self._parent(done.path)
                folder.links.append(Link(name, None))
            case Begin():
                if (found := self._find(done.path)) is not None:
                    changes = found.pending if isinstance(found, File) else found.links
                    self._begun[done.key] = (found, len(changes))
            case Synced():
                if done.key in self._begun:
                    found, number = self._begun.pop(done.key)
                    found.sync(number)
            case Told():
                pass

    def leave(self, to: Path, survives: Survives, chance: random.Random) -> None:
        """Write what is left after a power cut into an empty folder."""
        self._leave(self._top, to, survives, chance, {})

    def _leave(
        self, folder: Folder, to: Path, survives: Survives, chance: random.Random, fates: dict[Link, bool]
    ) -> None:
        for name, target in _names([one for one in folder.links if _fate(one, survives, chance, fates)]).items():
            path = to / name
            if isinstance(target, Folder):
                path.mkdir()
                self._leave(target, path, survives, chance, fates)
            else:
                path.write_bytes(chance.randbytes(32768) if name.endswith("-shm") else target.after(survives, chance))

    def _parent(self, path: str) -> tuple[Folder, str]:
        above, _, name = path.rpartition("/")
        folder = self._find(above)
        assert isinstance(folder, Folder), f"{above}: expected a folder that the trace made"
        return folder, name

    def _find(self, path: str) -> File | Folder | None:
        found: File | Folder | None = self._top
        for name in path.removeprefix(self._root).strip("/").split("/"):
            if name and isinstance(found, Folder):
                found = found.now.get(name)
        return found

    def _create(self, done: Create) -> None:
        folder, name = self._parent(done.path)
        file = folder.now.get(name)
        if not isinstance(file, File):
            file = File()
            folder.links.append(Link(name, file))
        elif done.empty:
            file.pending.append(Cut(done.path, 0))
        file.end = 0

    def _write(self, done: Write | Cut) -> None:
        file = self._find(done.path)
        if not isinstance(file, File):
            return  # its name is gone already
        if isinstance(done, Write):
            at = file.end if done.at is None else done.at
            done = Write(done.path, done.data, at)
            file.end = at + len(done.data)
        file.pending.append(done)

    def _rename(self, done: Rename) -> None:
        (old, name), (new, other) = self._parent(done.old), self._parent(done.new)
        came = Link(other, old.now[name])
        new.links.append(came)
        old.links.append(Link(name, None, needs=came))


def _fate(link: Link, survives: Survives, chance: random.Random, fates: dict[Link, bool]) -> bool:
    """Whether a change to a name is there after the cut; decided once."""
    if link not in fates:
        drawn = {Survives.NOTHING: False, Survives.EVERYTHING: True}.get(survives)
        kept = link.safe or (chance.random() < 0.5 if drawn is None else drawn)
        fates[link] = kept and (link.needs is None or _fate(link.needs, survives, chance, fates))
    return fates[link]


def _names(links: list[Link]) -> dict[str, File | Folder]:
    names: dict[str, File | Folder] = {}
    for link in links:
        if link.target is None:
            names.pop(link.name, None)
        else:
            names[link.name] = link.target
    return names


def _sectors(write: Write) -> list[Write]:
    at, pieces = write.at or 0, []
    for start in range(at - at % SECTOR, at + len(write.data), SECTOR):
        low, high = max(start, at), min(start + SECTOR, at + len(write.data))
        pieces.append(Write(write.path, write.data[low - at : high - at], low))
    return pieces


def _change(data: bytearray, change: Write | Cut) -> None:
    """Do to bytes what was done to a file."""
    if isinstance(change, Cut):
        del data[change.size :]
        data.extend(bytes(change.size - len(data)))
        return
    at = change.at or 0
    data.extend(bytes(max(0, at - len(data))))
    data[at : at + len(change.data)] = change.data
