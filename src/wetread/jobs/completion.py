"""When a study is complete: all of it is here, or its associations were released; a quiet timer as the fallback."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

log = logging.getLogger("wetread.jobs")

#: An association that stays open without bringing objects delays its studies by so many quiet times.
OPEN_FACTOR = 12


@dataclass(slots=True)
class _Arriving:
    last: float
    open: set[int] = field(default_factory=set)  # associations that brought objects
    ours: bool = False  # an association of this process brought objects
    here: bool = True  # something of it is here: not all was refused
    lacks: int | None = None  # association of which an object was refused; its sender will try again
    hold_s: float = 0.0  # more of it was announced: so long after the last object it is waited for
    sliced: bool = False  # what came last is one of many slices


class Completion:
    """Watches the studies that still take objects.

    Parameters
    ----------
    complete
        Declares a study complete; called from the thread of an association or of this object.
    quiet_s
        Silence after which a study is complete although its association was not released.
    clock
        Monotonic seconds.
    elsewhere
        Whether another process may be receiving a study just now; asked before a timer declares one complete of which
        no association of this process brought objects.  By default there is no other process.
    """

    def __init__(
        self,
        complete: Callable[[str], None],
        quiet_s: float,
        clock: Callable[[], float] = time.monotonic,
        elsewhere: Callable[[str], bool] = lambda _: False,
        received: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._complete = complete
        self._quiet_s = quiet_s
        self._clock = clock
        self._elsewhere = elsewhere
        self._received = received
        self._arriving: dict[str, _Arriving] = {}
        #: association -> studies of which it brought objects, in order -> how many that are durable
        self._brought: dict[int, dict[str, int]] = {}
        self._changed = threading.Condition()
        self._ended = False
        self._wakes = float("inf")  # when the timers look again by themselves
        self._thread = threading.Thread(target=self._run, name="wetread-completion", daemon=True)

    def start(self) -> None:
        """Start the quiet timers."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the quiet timers; studies that wait are taken up at the next start."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()

    def touch(self, study_uid: str, association: int | None = None, sliced: bool | None = None) -> None:
        """An object of a study arrives by an association, or the study was found after a start.

        Parameters
        ----------
        sliced
            It is durable now: whether it is one of the slices of a series; None: it is not yet.
        """
        with self._changed:
            arriving = self._arriving.setdefault(study_uid, _Arriving(0.0))
            arriving.last, arriving.here = self._clock(), True
            if association is not None:
                brought = self._brought.setdefault(association, {})
                brought[study_uid] = brought.get(study_uid, 0) + (sliced is not None)
                arriving.open.add(association)
                arriving.ours, arriving.sliced = True, bool(sliced)
            if association != arriving.lacks:
                arriving.lacks = None
            self._hasten(arriving)

    def refused(self, study_uid: str, association: int) -> None:
        """An object of a study was not taken: its association's release does not complete the study.

        Another association that brings more of it does, or the timer, after `OPEN_FACTOR` quiet times.
        """
        with self._changed:
            arriving = self._arriving.setdefault(study_uid, _Arriving(self._clock(), here=False))  # it may be the first
            self._brought.setdefault(association, {}).setdefault(study_uid, 0)
            arriving.lacks = association
            self._hasten(arriving)

    def expect(self, study_uid: str, hold_s: float) -> None:
        """More of a study was announced than is here: no release completes it, but silence for `hold_s` seconds.

        0 takes that back: then it is as if nothing had been announced.
        """
        with self._changed:
            arriving = self._arriving.get(study_uid)
            if arriving is not None and arriving.hold_s != hold_s:
                arriving.hold_s = hold_s
                self._hasten(arriving)

    def fulfil(self, study_uid: str) -> None:
        """All of a study is here: it is complete, whatever is open."""
        self.forget(study_uid)
        self._complete(study_uid)

    def forget(self, study_uid: str) -> None:
        """Watch a study no longer: somebody else declares it complete."""
        with self._changed:
            self._arriving.pop(study_uid, None)

    def waits(self, study_uid: str) -> bool:
        """Whether a study is watched: not declared complete, nor on its way to it."""
        with self._changed:
            return study_uid in self._arriving

    def of(self, association: int) -> list[str]:
        """Return the studies of which an association brought objects and that are not complete."""
        with self._changed:
            brought = [(study_uid, self._arriving.get(study_uid)) for study_uid in self._brought.get(association, ())]
            return [study_uid for study_uid, known in brought if known is not None and association in known.open]

    def adopt(self, study_uid: str, patient: bool) -> None:
        """The store holds objects of a study of which nobody here knows.

        Parameters
        ----------
        patient
            Another process may be receiving it: give it as long as an association that stays open.
        """
        with self._changed:
            if study_uid not in self._arriving:
                extra = self._quiet_s * (OPEN_FACTOR - 1) if patient else 0.0
                self._arriving[study_uid] = _Arriving(self._clock() + extra)
                self._hasten(self._arriving[study_uid])
            self._arriving[study_uid].here = True

    def end(self, association: int, released: bool) -> None:
        """An association is over; studies that only waited for its release are complete.

        One of which it brought a single slice waits for the timer: some senders open an association for each.  One that
        another process still receives is left to that one, and watched.
        """
        done = []
        with self._changed:
            for study_uid, number in self._brought.pop(association, {}).items():
                arriving = self._arriving.get(study_uid)
                if arriving is None:
                    continue
                if not arriving.here and arriving.lacks == association:
                    del self._arriving[study_uid]  # nothing of it is here that could be complete
                elif association in arriving.open:
                    arriving.open.discard(association)
                    waits = arriving.open or arriving.lacks is not None or arriving.hold_s
                    if released and not waits and not (number == 1 and arriving.sliced):
                        done.append(study_uid)
                        del self._arriving[study_uid]
                    else:
                        self._hasten(arriving)
        for study_uid in done:
            if self._received(study_uid):
                self.adopt(study_uid, patient=True)
            else:
                self._complete(study_uid)

    def due(self) -> list[str]:
        """Return the studies whose silence is long enough, and forget them.

        One that another process may be receiving is watched for as long again.
        """
        now = self._clock()
        with self._changed:
            silent = [study_uid for study_uid, arriving in self._arriving.items() if self._until(arriving) <= now]
            ours = {study_uid: self._arriving.pop(study_uid).ours for study_uid in silent}
        done = []
        for study_uid in silent:
            others = self._received if ours[study_uid] else self._elsewhere
            if others(study_uid):
                self.adopt(study_uid, patient=True)
            else:
                done.append(study_uid)
        return done

    def _hasten(self, arriving: _Arriving) -> None:
        """Wake the timers if they would look too late: to wake them for each object would cost each a switch."""
        if self._until(arriving) < self._wakes:
            self._changed.notify()

    def _until(self, arriving: _Arriving) -> float:
        quiet_s = self._quiet_s * (OPEN_FACTOR if arriving.open or arriving.lacks is not None else 1)
        return arriving.last + max(quiet_s, arriving.hold_s)

    def _run(self) -> None:
        while self._wait():
            for study_uid in self.due():
                try:
                    self._complete(study_uid)
                except Exception as error:  # noqa: BLE001 - the timers' door: the other studies have theirs
                    log.error("study not completed", extra={"reason": type(error).__name__})
                    self.touch(study_uid)  # again after the quiet time

    def _wait(self) -> bool:
        """Sleep until the next study may be due; return False at the end."""
        with self._changed:
            if not self._ended:
                self._wakes = min(map(self._until, self._arriving.values()), default=self._clock() + 3600.0)
                self._changed.wait(max(0.001, self._wakes - self._clock()))
            return not self._ended
