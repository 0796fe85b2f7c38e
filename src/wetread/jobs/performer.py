"""Performs work items that ask for a reading: claims them, has the study read, and says what came of it.

Every step looks at what is there, so that a process that ends in between is followed by one that goes on: the claim is
noted before it is made, and what became of the study stands in the index.

References
----------
PS3.4 Section CC.2.1.2 (a performer's behaviour); IHE RAD AIW-I, Task Performer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from wetread.errors import REFUSALS, StoreError, WireError
from wetread.jobs.addressing import destination_name
from wetread.jobs.fetching import Fetching
from wetread.jobs.lanes import Lane, requested
from wetread.jobs.loop import Loop
from wetread.jobs.moves import Job
from wetread.jobs.states import State
from wetread.jobs.store import Store
from wetread.jobs.tasks import Task
from wetread.jobs.watch import Watch
from wetread.jobs.worker import describe
from wetread.settings import Destination, Settings
from wetread.wire.dicomjson import DataSet, item, text
from wetread.wire.match import Key, Wanted
from wetread.wire.performing import (
    FAILED,
    UNAVAILABLE,
    UNSPECIFIED,
    Output,
    because,
    is_for,
    output_items,
    performed,
    progress,
    sources,
    study_of,
)
from wetread.wire.ups import StepState, StepStatus
from wetread.wire.upsevents import REASON

log = logging.getLogger("wetread.jobs")

LOOK_S = 1.0  # while something is performed
ELSEWHERE_S = 5.0  # until this process looks again whether another still performs
#: What is told of a study on its way: percent, and words.
ON_ITS_WAY = {
    State.RECEIVED: (10, "Receiving the study"),
    State.COMPLETE: (20, "Waiting to be read"),
    State.READING: (40, "Being read"),
    State.READ: (80, "Sending the results"),
}
_SCHEDULED = Wanted((Key(("00741000",), StepState.SCHEDULED.value),))


def codes_of(settings: Settings) -> frozenset[str]:
    """Return the codes of the work items that the node performs."""
    return frozenset(one.strip() for one in settings.workitem_codes.split(",") if one.strip())


class Manager(Protocol):
    """Whose list work items stand on."""

    name: str  # "": ours
    most: int  # tasks of it at a time; 0: any number

    def ready(self) -> bool:
        """Whether it may be asked now."""

    def scheduled(self, ours: Callable[[DataSet], bool]) -> Sequence[DataSet]:
        """Return work items that are SCHEDULED, at least those that are `ours`."""

    def claim(self, uid: str, transaction_uid: str, again: bool) -> DataSet | None:
        """Claim a work item; return it, or None if it is somebody else's.

        `again`: an earlier claim with this UID may have been granted, and its answer lost.
        """

    def update(self, task: Task, changes: DataSet) -> bool:
        """Change attributes; return whether the item was still ours."""

    def end(self, task: Task, state: StepState) -> bool:
        """Complete or cancel; return whether the item was still ours."""

    def base(self, uid: str) -> str:
        """Return the URL under which readers of the work item know our DICOMweb service; "" not known."""


class OwnList:
    """The list of this node."""

    name = ""
    most = 0

    def __init__(self, store: Store) -> None:
        self._worklist = store.worklist

    def ready(self) -> bool:
        """Whether it may be asked now."""
        return True

    def scheduled(self, ours: Callable[[DataSet], bool]) -> Sequence[DataSet]:
        """Return work items that are SCHEDULED and `ours`, however many others there are."""
        return self._worklist.search(_SCHEDULED, _SCHEDULED.limit, ours)

    def claim(self, uid: str, transaction_uid: str, again: bool) -> DataSet | None:
        """Claim a work item; the list itself knows whether it was claimed with this UID before."""
        answer = self._worklist.change(uid, StepState.IN_PROGRESS, transaction_uid)
        ours = answer.status in (StepStatus.SUCCESS, StepStatus.IN_PROGRESS)
        return self._worklist.item(uid) if ours else None

    def update(self, task: Task, changes: DataSet) -> bool:
        """Change attributes."""
        return self._worklist.update(task.uid, changes, task.transaction_uid).status is StepStatus.SUCCESS

    def end(self, task: Task, state: StepState) -> bool:
        """Complete or cancel."""
        return self._worklist.change(task.uid, state, task.transaction_uid).status is StepStatus.SUCCESS

    def base(self, uid: str) -> str:
        """Return the URL by which the creator called us."""
        return self._worklist.base(uid)


class Performer:
    """The work of one node, or of one of several that share an index.

    Parameters
    ----------
    settings
        `workitem_codes`, `ae_title`, `destinations` and `expect_s` are used.
    fetching
        Fetches studies that are not here.
    hastened
        Told a study that is in a faster lane now.
    managers
        Whose lists are worked off.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        fetching: Fetching,
        hastened: Callable[[str], None],
        watch: Watch,
        managers: Sequence[Manager],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._settings = settings
        self._codes = codes_of(settings)
        self._fetching = fetching
        self._hastened = hastened
        self._watch = watch
        self._managers = {one.name: one for one in managers}
        self._destinations = {destination_name(one): one for one in settings.destinations}
        self._clock = clock
        self._fresh: set[tuple[str, str]] = set()  # noted in this process, and not claimed yet
        self.loop = Loop("wetread-performer", self.step)

    def step(self) -> float | None:
        """Claim what is to be done, and bring everything that is ours on; return how long until the next look, s.

        Raises
        ------
        StoreError
            The index cannot be read or written now.
        """
        if self._idle():
            return None
        if self._store.shared and not self._store.leases.acquire("performer"):
            return ELSEWHERE_S
        for manager in self._managers.values():
            self._guarded(lambda manager=manager: self._look_for_work(manager))  # type: ignore[misc]
        tasks = self._store.tasks.all()
        for task in tasks:
            self._guarded(lambda task=task: self._advance(task))  # type: ignore[misc]
        return LOOK_S if tasks else None

    def _idle(self) -> bool:
        """Whether there is nothing to do, so that nobody has to write who does it."""
        alone = set(self._managers) <= {OwnList.name}
        return alone and not self._store.worklist.search(_SCHEDULED, 1) and not self._store.tasks.all()

    def _guarded(self, work: Callable[[], None]) -> None:
        """One list, or one work item, must not keep the others from theirs."""
        try:
            work()
        except StoreError:
            raise
        except WireError as error:
            log.warning("manager failed", extra={"reason": str(error)})
        except Exception as error:  # noqa: BLE001 - the worker's door: the next item must be brought on
            log.error("work item not brought on", extra={"reason": describe(error)})

    def _look_for_work(self, manager: Manager) -> None:
        busy = sum(task.manager == manager.name for task in self._store.tasks.all()) if manager.most else 0
        if manager.most and busy >= manager.most:
            return
        for data in filter(self._ours, manager.scheduled(self._ours)):
            uid = text(data, "SOPInstanceUID")
            if self._store.tasks.begin(manager.name, uid, data):
                self._fresh.add((manager.name, uid))
                busy += 1
            if manager.most and busy >= manager.most:
                return

    def _ours(self, data: DataSet) -> bool:
        return is_for(data, self._codes, self._settings.ae_title, self._store.now())

    def _advance(self, task: Task) -> None:
        manager = self._managers.get(task.manager)
        if manager is None or not manager.ready():  # it is in the settings no more, or away
            return
        if not task.claimed:
            again = (task.manager, task.uid) not in self._fresh
            self._fresh.discard((task.manager, task.uid))
            data = manager.claim(task.uid, task.transaction_uid, again)
            if data is None:  # another was faster: nothing has happened
                self._drop(task)
                return
            self._store.tasks.claimed(task, data)
            task = replace(task, claimed=True, content=data)
            log.info("work item claimed", extra={"destination": manager.name or "own list"})
        study_uid = study_of(task.content)
        if task.canceling is not None:
            why = item(task.canceling, REASON[1]) or UNSPECIFIED
            self._cancel(manager, task, why, text(task.canceling, REASON[0]) or "Canceled on request")
        elif not study_uid:
            self._cancel(manager, task, UNAVAILABLE, "Expected one study in the input, found none or several")
        else:
            self._work(manager, task, study_uid, self._store.tasks.latest(study_uid))

    def _work(self, manager: Manager, task: Task, study_uid: str, job: Job | None) -> None:
        """Do what the state of the study asks for."""
        if job is None:
            self._fetch(manager, task, study_uid)
            return
        self._fetching.forget(study_uid)
        if job.state in ON_ITS_WAY:
            if self._tell(manager, task, *ON_ITS_WAY[job.state]):
                self._hasten(task, study_uid)
        elif job.state is State.CANCELED:
            self._cancel(manager, task, UNSPECIFIED, "A person canceled the reading")
        elif job.state is State.FAILED:
            self._failed(manager, task, study_uid, job)
        else:
            reason = f"Not read: {job.reason}: {REFUSALS.get(job.reason, '')}" if job.state is State.REFUSED else ""
            self._complete(manager, task, study_uid, reason)

    def _failed(self, manager: Manager, task: Task, study_uid: str, job: Job) -> None:
        if job.id in self._store.withholding.undecided():
            self._tell(manager, task, 90, "Withheld: an order is about another patient, and a person must decide")
        elif not self._store.tasks.unanswered(job):  # its refusals are made, and on their way
            self._cancel(manager, task, FAILED, f"Reading or delivery failed: job {job.id}", study_uid)

    def _fetch(self, manager: Manager, task: Task, study_uid: str) -> None:
        """Fetch a study that is not here; what no archive has may still be on its way to us."""
        fetch = self._fetching.want(study_uid, sources(task.content))
        told = fetch.failure or fetch.told
        if fetch.ended_at is not None and self._clock() - fetch.ended_at >= self._settings.expect_s:
            self._cancel(manager, task, UNAVAILABLE, fetch.failure or "The archive sent the study, and nothing came")
        else:
            self._tell(manager, task, 0, f"{told}; waiting for it" if fetch.failure else told)

    def _hasten(self, task: Task, study_uid: str) -> None:
        lane = requested([text(task.content, "ScheduledProcedureStepPriority")])
        if lane < Lane.ROUTINE and self._store.studies.hasten(study_uid, lane, priors=True):
            self._hastened(study_uid)

    def _tell(self, manager: Manager, task: Task, percent: int, told: str) -> bool:
        """Tell how far it is, if that is news; return whether it was."""
        if told == task.told:
            return False
        if self._still_ours(task, manager.update(task, progress(percent, told))):
            self._store.tasks.tell(task, told)
        return True

    def _complete(self, manager: Manager, task: Task, study_uid: str, comment: str) -> None:
        changes = self._performed(manager, task, study_uid, comment) | progress(100, "Done")
        if self._still_ours(task, manager.update(task, changes)):
            self._end(manager, task, StepState.COMPLETED)

    def _cancel(self, manager: Manager, task: Task, why: DataSet, told: str, study_uid: str = "") -> None:
        """Cancel; with a study, name what was made of it."""
        changes = because(task.content, why, told)
        if study_uid:
            changes |= self._performed(manager, task, study_uid, told)
        if self._still_ours(task, manager.update(task, changes)):
            self._end(manager, task, StepState.CANCELED)

    def _end(self, manager: Manager, task: Task, state: StepState) -> None:
        if self._still_ours(task, manager.end(task, state)):
            self._drop(task)
            self._watch.performed(state)
            log.info("work item ended", extra={"state": state.value})

    def _still_ours(self, task: Task, yes: bool) -> bool:
        if not yes:
            log.warning("work item ended by somebody else")
            self._drop(task)
        return yes

    def _drop(self, task: Task) -> None:
        """It is over: nobody has to fetch for it any more; what another one waits for is wanted anew."""
        self._store.tasks.drop(task)
        self._fetching.forget(study_of(task.content))

    def _performed(self, manager: Manager, task: Task, study_uid: str, comment: str) -> DataSet:
        outputs = [self._placed(one, names) for one, names in self._store.tasks.outputs(study_uid)]
        items = output_items(study_uid, outputs, manager.base(task.uid))
        station = self._settings.ae_title
        return performed(task.content, station, task.begun_at, self._store.now(), items, comment)

    def _placed(self, output: Output, names: Sequence[str]) -> Output:
        """Say where a document can be had: destinations that are in the settings no more are not named."""
        places: list[Destination] = [self._destinations[name] for name in names if name in self._destinations]
        titles = tuple(one.ae_title for one in places if one.protocol == "dimse")
        urls = tuple(one.url.rstrip("/") for one in places if one.protocol == "dicomweb")
        return replace(output, ae_titles=titles, urls=urls)
