"""Cut the power at many places of what a real node did to its disk, and open what is left.

At each place: every object whose acknowledgement had begun to leave is there with its bytes, the node opens
by itself, and every study then ends.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from wetread.errors import WetreadError
from wetread.evidence.torture import checks, objects, trace
from wetread.evidence.torture.cheap import Cheap
from wetread.evidence.torture.disk import Disk, Survives
from wetread.evidence.torture.pacs import Pacs
from wetread.evidence.torture.process import Process, acknowledged, rows
from wetread.evidence.torture.trace import Operation, Told
from wetread.jobs.addressing import destination_name
from wetread.jobs.delivery import Outbox
from wetread.jobs.store import Store
from wetread.jobs.watch import Watch
from wetread.jobs.worker import Worker
from wetread.settings import Destination, Settings
from wetread.wire.command import Field, decode, fragments
from wetread.wire.dimse import STORED

ASSOCIATIONS = 4
#: Of the cuts, so many come right behind an acknowledgement: the rest anywhere.
BEHIND = 0.5
ENDS_EVERY = 4  # after every so many cuts the studies are taken to their end
RESPONSE = 0x8000


@dataclass(slots=True)
class Cuts:
    """What the cuts left."""

    operations: int
    acknowledged: int
    cuts: Counter[str] = field(default_factory=Counter)  # what survived -> cuts
    adopted: int = 0  # objects that an index did not know
    rebuilt: int = 0  # indexes that were lost
    lost: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)  # stores that did not open
    ended: int = 0  # cuts after which every study was read and delivered to its end
    stuck: list[str] = field(default_factory=list)  # studies that did not end
    seconds: float = 0.0

    def checks(self, expected: int) -> list[checks.Check]:
        """Return what was promised, with what was found."""
        done = sum(self.cuts.values())
        return [
            checks.Check("G3", "cuts of the power", str(expected), str(done), done == expected),
            checks.none("G3", "acknowledged objects lost or changed", self.lost),
            checks.none("G3", "stores that did not open by themselves", self.closed),
            checks.none("G5", f"studies that did not end, after {self.ended} of the cuts", self.stuck),
        ]


def record(folder: Path, number: int) -> list[Operation]:
    """Let a node take, read and deliver so many objects in two lives; return all that it did to its disk.

    The first life ends in order, the second by SIGKILL.

    Raises
    ------
    FileNotFoundError
        strace is not installed.
    RuntimeError
        The node did not start under strace: the machine may forbid tracing.
    """
    root, done = folder / "disk", []
    root.mkdir(parents=True)
    pacs = Pacs()
    pacs.start()
    try:
        for life in range(2):
            _live(root / "a" / "state", folder / f"trace{life}", pacs, life, number // 2)
            with (folder / f"trace{life}").open() as lines:
                done += list(trace.operations(lines, root))
    finally:
        pacs.stop()
    return done


def _live(state: Path, to: Path, pacs: Pacs, life: int, number: int) -> None:
    given = {"state": str(state), "port": 0, "http_port": 0, "destinations": f"{pacs.name}/SR+SEG", "quiet_s": 0.2}
    node = Process(given, before=trace.command(to))
    try:
        if not node.listening():
            raise RuntimeError(f"the node did not start under strace: {node.process.communicate()[1][-300:]}")
        sent = [objects.small(f"cut-{life}-{i // 3}", i % 3, size=700 + 100 * (i % 40)).data for i in range(number)]
        with ThreadPoolExecutor(ASSOCIATIONS) as pool:
            parts = [sent[i::ASSOCIATIONS] for i in range(ASSOCIATIONS)]
            list(pool.map(lambda part: acknowledged(node.destination, part), parts))
        end = time.monotonic() + 60.0
        while not checks.at_rest(state) and life == 0 and time.monotonic() < end:
            time.sleep(0.1)
        if life == 0:
            node.stop()
    finally:
        if node.process.poll() is None:
            node.kill()


def told(operation: Operation) -> str:
    """Return the SOP Instance UID of the object that an operation acknowledges, or ""."""
    if not isinstance(operation, Told) or operation.data[:1] != b"\x04":
        return ""
    length = int.from_bytes(operation.data[2:6], "big")
    for _, control, fragment in fragments(memoryview(operation.data)[6 : 6 + length]):
        if control & 1:
            command = decode(bytes(fragment))
            if command.field == Field.C_STORE_RQ | RESPONSE and command.status in STORED:
                return command.sop_instance_uid
    return ""


def places(operations: Sequence[Operation], number: int, chance: random.Random) -> list[int]:
    """Return after how many operations the power is cut, in ascending order."""
    behind = [i + 1 for i, one in enumerate(operations) if told(one)]
    chosen = [
        chance.choice(behind) if chance.random() < BEHIND else chance.randint(0, len(operations)) for _ in range(number)
    ]
    return sorted(chosen)


def cut(
    operations: Sequence[Operation], root: Path, folder: Path, number: int, seed: int, say: Callable[[str], None]
) -> Cuts:
    """Cut the power at `number` places; `root` is the folder that the operations name."""
    begin, chance = time.monotonic(), random.Random(seed)  # noqa: S311 - the same seed, the same cuts
    found = Cuts(len(operations), sum(bool(told(one)) for one in operations))
    disk, done, safe = Disk(root), 0, []
    for place, survives in zip(places(operations, number, chance), _modes(number), strict=True):
        for operation in operations[done:place]:
            disk.apply(operation)
            safe += [uid for uid in (told(operation),) if uid]
        done = place
        image = folder / "image"
        image.mkdir(parents=True)
        disk.leave(image, survives, chance)
        ends = sum(found.cuts.values()) % ENDS_EVERY == 0
        _open(image / "a" / "state", safe, ends, f"cut after {place} operations, {survives}", found)
        found.cuts[survives] += 1
        shutil.rmtree(image)
        say(f"{sum(found.cuts.values())} of {number} cuts")
    found.seconds = time.monotonic() - begin
    return found


def _modes(number: int) -> list[Survives]:
    modes = (Survives.NOTHING, Survives.ANYTHING, Survives.ANYTHING, Survives.EVERYTHING)
    return [modes[i % len(modes)] for i in range(number)]


def _open(state: Path, safe: Sequence[str], ends: bool, where: str, found: Cuts) -> None:
    """Open what is left, look for what was acknowledged, and let every study end if that is asked for."""
    try:
        store = Store(state)
    except WetreadError as error:
        found.closed.append(f"{where}: {error}")
        return
    try:
        if store.found is not None:
            found.adopted += store.found.adopted
            found.rebuilt += store.found.rebuilt
        here = _objects(store)
        found.lost += [f"{where}: {uid}" for uid in safe if uid not in here]
        if ends:
            found.ended += 1
            found.stuck += [f"{where}: {study}" for study in _finish(store)]
    finally:
        store.close()


def _objects(store: Store) -> set[str]:
    """The SOP Instance UIDs of the index whose blobs have the bytes of their name."""
    known = rows(store.spool.root.parent, "SELECT sop_instance_uid, digest FROM instances")
    return {
        uid
        for uid, digest in known
        if store.spool.path(digest).exists()
        and hashlib.sha256(store.spool.path(digest).read_bytes()).hexdigest() == digest
    }


def _unopened() -> Cheap:
    raise AssertionError("no large object is sent here")


def _finish(store: Store) -> list[str]:
    """Read and deliver everything with a peer that takes all; return the studies that did not end."""
    to = Destination("PACS", "pacs.invalid", 104, ("SR", "SEG"))
    settings = Settings(destinations=(to,))
    for job, _ in store.studies.recover(settings.max_tries):
        assert job
    for study in store.studies.incomplete():
        store.studies.complete(study)
    worker = Worker(store, Cheap(_unopened), settings, Watch())
    while worker.step():
        pass
    for name in {destination_name(to), *store.parcels.destinations()}:
        outbox = Outbox(name, to, store, _take, settings, Watch())
        while outbox.step() is not None:
            pass
    ended = ("DELIVERED", "REFUSED")
    every = rows(store.spool.root.parent, "SELECT study_uid, state FROM jobs")
    return [study for study, state in every if state not in ended]


def _take(_to: Destination, files: Sequence[bytes], on_status: Callable[[int, int], None]) -> None:
    for number in range(len(files)):
        on_status(number, 0)
