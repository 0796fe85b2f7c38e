"""The campaign: start a node, send, kill it, look at what it left, again; at the end let it finish and check."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wetread.errors import WireError
from wetread.evidence.torture import checks, objects
from wetread.evidence.torture.objects import CRASH, READ, REFUSE, Sent
from wetread.evidence.torture.pacs import Pacs, storescp
from wetread.evidence.torture.process import Process, acknowledged
from wetread.evidence.torture.seen import Seen
from wetread.jobs import failpoints
from wetread.jobs.instances import Arrival
from wetread.jobs.store import Store
from wetread.settings import Destination
from wetread.uids import new_uid
from wetread.wire.commit import commit
from wetread.wire.part10 import EXPLICIT_LITTLE, meta

SENDING, STARTING = "any moment", "any moment of the start"
#: Places that only a study reaches that was given up.
NEEDS_CRASH = ("set-aside",)
#: Places that are reached only when a delivered study is deleted: the disk is then said to be full.
NEEDS_DELETION = ("forgotten",)
#: Places that only orders lead to, which nobody sends here.
NOT_HERE = ("order-kept",)
#: How the lives of one cycle end: at each named place once, the rest by chance.
CYCLE = (*(name for name in failpoints.NAMES if name not in NOT_HERE), SENDING, SENDING, SENDING, STARTING)
REAL_EVERY = 20  # every so many lives a real film is read by the models that ship
PATIENCE_S = 8.0  # for a place that is not reached: then it is killed all the same
MAX_TRIES = 6


@dataclass(frozen=True, slots=True)
class Plan:
    """How hard a campaign is.

    Attributes
    ----------
    kills
        How often the node is killed.
    before
        Objects that are in its store before the first life.
    real
        Whether real films are among what is sent.
    budget_s
        No new life begins after this.
    """

    kills: int
    seed: int = 1
    before: int = 0
    real: bool = True
    associations: int = 4
    budget_s: float = 1500.0
    patience_s: float = 180.0


class Torture:
    """One campaign in a folder of its own.

    Parameters
    ----------
    folder
        Empty; what is left in it is for whoever looks for a fault.
    say
        Told how it goes, a line at a time.
    """

    def __init__(self, plan: Plan, folder: Path, say: Callable[[str], None] = lambda line: None) -> None:
        self.plan = plan
        self.state = folder / "state"
        self.folder = folder
        self.seen = Seen()
        self.pacs = Pacs()
        self.reports = folder / "storescp"
        self._say = say
        self._chance = random.Random(plan.seed)  # noqa: S311 - the same seed, the same campaign
        self._pending: list[Sent] = []
        self._scp: Destination | None = None

    def run(self) -> list[checks.Check]:
        """Run the campaign; return what was checked."""
        begin = time.monotonic()
        preload(self.state, self.plan.before)
        self.pacs.start()
        try:
            with storescp(self.reports) as self._scp:
                for number, place in enumerate(schedule(self.plan.kills, self._chance)):
                    if time.monotonic() - begin > self.plan.budget_s:
                        self.seen.faults.append(f"out of time after {number} of {self.plan.kills} kills")
                        break
                    self._life(number, place)
                    self._say(f"{number + 1} of {self.plan.kills} kills")
                self._last()
        finally:
            self.pacs.stop()
        self.seen.seconds = time.monotonic() - begin
        scp = self.reports if self._scp else None
        found = checks.check(self.state, self.seen, self.pacs.got, scp, self.plan.before)
        return [*found, *checks.commitments(self.state, self.seen, self.pacs.reports)]

    def _settings(self) -> dict[str, Any]:
        to = [self.pacs.name] + ([f"STORESCP@127.0.0.1:{self._scp.port}/SR"] if self._scp else [])
        return {
            "state": str(self.state),
            "port": 0,
            "http_port": 0,
            "destinations": ",".join(to),
            "peers": [self.pacs.line],
            "quiet_s": 0.2,
            "retry_first_s": 0.05,
            "retry_most_s": 0.2,
            "peer_timeout_s": 10.0,
            "max_tries": MAX_TRIES,
        }

    def _start(self, eager: bool, at: str = "", hit: int = 1) -> Process:
        given = self._settings() | ({"least_free_bytes": 1 << 62} if at in NEEDS_DELETION else {})
        with (self.folder / "errors.txt").open("a") as errors:
            return Process(given, at, hit, eager=eager, errors=errors)

    def _life(self, number: int, place: str) -> None:
        """One life: start, compare, send, die, compare."""
        real = self.plan.real and (number % REAL_EVERY == REAL_EVERY // 2 or self._real_waits())
        named = place in failpoints.NAMES
        hit = 1 if place in NEEDS_CRASH else self._chance.randint(1, 3)
        node = self._start(real, place if named else "", hit)
        self.seen.lives[place] += 1
        try:
            if place == STARTING:
                self.seen.reached[place] += not node.died(self._chance.uniform(0.0, 1.2) * self._typical_s())
            else:
                self._busy(node, number, place, real)
        finally:
            node.kill()
        self.seen.faults += checks.after_death(self.state, self.seen.acknowledged.values(), number)

    def _busy(self, node: Process, number: int, place: str, real: bool) -> None:
        """Send while the node works, until it kills itself or its time has come."""
        if not self._opened(node, real, place not in NEEDS_DELETION):
            self.seen.reached[place] += place in failpoints.NAMES  # the work that it took up led it there
            return
        self._pending += self._studies(number, place, real)
        with ThreadPoolExecutor(self.plan.associations) as pool:
            sending = [pool.submit(self._send, node.destination, part) for part in self._parts()]
            if place == SENDING:
                self.seen.reached[place] += not node.died(self._chance.uniform(0.0, 1.5 + 2.0 * real))
                node.process.kill()
            else:
                self.seen.reached[place] += node.died(PATIENCE_S)
                node.process.kill()
            for one in sending:
                one.result()
        self._pending = [one for one in self._pending if one.instance not in self.seen.acknowledged]

    def _opened(self, node: Process, real: bool, still: bool = True) -> bool:
        """Wait until the node is ready; look at its spool before anything new comes."""
        if not node.listening():
            return False
        orphans = checks.orphans(self.state) if still else []
        ready = node.ready()
        if ready is None:
            return False
        self.seen.faults += orphans
        (self.seen.starts_real if real else self.seen.starts).append(ready)
        return True

    def _typical_s(self) -> float:
        return self.seen.starts[-1].wall_s if self.seen.starts else 1.0

    def _studies(self, number: int, place: str, real: bool) -> list[Sent]:
        """New studies: three small ones of one to three objects, now and then one that crashes, or a real film."""
        fates = [REFUSE if self._chance.random() < 0.1 else READ for _ in range(3)]
        if place in NEEDS_CRASH:
            fates.append(CRASH)
        made = [
            objects.small(f"{self.plan.seed}-{number}-{i}", j, fate, self._chance.randrange(2000, 60000, 2))
            for i, fate in enumerate(fates)
            for j in range(1 if fate == CRASH else self._chance.randint(1, 3))
        ]
        if real and number % REAL_EVERY == REAL_EVERY // 2:
            made.append(objects.real(f"{self.plan.seed}-{number}-film"))
        self._chance.shuffle(made)
        self.seen.sent |= {one.instance: one for one in made}
        return made

    def _parts(self) -> list[list[Sent]]:
        """Deal what waits over the associations, so that studies are interleaved and split."""
        parts = [self._pending[i :: self.plan.associations] for i in range(self.plan.associations)]
        return [part for part in parts if part]

    def _send(self, to: Destination, part: list[Sent]) -> None:
        kept = set(acknowledged(to, [one.data for one in part]))
        here = {one.instance: one for one in part if one.data in kept}
        self.seen.acknowledged |= here
        if here:
            self._ask(to, {one.instance: meta(one.data).sop_class_uid for one in here.values()})

    def _ask(self, to: Destination, instances: dict[str, str]) -> None:
        """Ask the node to commit itself, as a modality does before it deletes its images."""
        transaction = new_uid()
        with suppress(WireError):
            commit(to, transaction, instances, self.pacs.ae_title, timeout_s=5.0)
            self.seen.asked[transaction] = frozenset(instances)

    def _real_waits(self) -> bool:
        """Whether a real film was sent and its report is not at the PACS yet."""
        done = {one.study for one in self.pacs.got if one.modality == "SR"}
        large = (one for one in self.seen.sent.values() if len(one.data) > objects.SMALL_BYTES)
        return any(one.study not in done for one in large)

    def _last(self) -> None:
        """The last life, which nobody cuts off: what was not acknowledged is sent again, all must end."""
        node = self._start(self.plan.real)
        try:
            if not self._opened(node, self.plan.real):
                raise RuntimeError("the last node died while it started; see errors.txt")
            end = time.monotonic() + self.plan.patience_s
            while self._pending and time.monotonic() < end:
                for part in self._parts():
                    self._send(node.destination, part)
                self._pending = [one for one in self._pending if one.instance not in self.seen.acknowledged]
            while not checks.at_rest(self.state) and time.monotonic() < end:
                time.sleep(0.1)
            self.seen.exit = node.stop()
        finally:
            if node.process.poll() is None:
                node.kill()


def schedule(kills: int, chance: random.Random) -> list[str]:
    """Return where each life ends: every named place equally often, the others by chance, in mixed order."""
    places = [CYCLE[i % len(CYCLE)] for i in range(kills)]
    chance.shuffle(places)
    return places


def preload(state: Path, number: int) -> None:
    """Fill a new store with so many objects, in studies of 200 that were read and had nothing to deliver."""
    if not number:
        return
    store = Store(state)
    for first in range(0, number, 200):
        made = [objects.small(f"before-{first}", i, size=600) for i in range(min(200, number - first))]
        uids = (objects.CR, made[0].study, EXPLICIT_LITTLE)
        store.instances.admit(
            [
                Arrival(uids[0], one.instance, uids[1], uids[2], "BEFORE", store.spool.put(one.data), len(one.data))
                for one in made
            ]
        )
        store.studies.complete(made[0].study)
        job = store.studies.take()
        assert job is not None
        store.studies.finish(job.id, [], "")
    store.close()
