"""Studies of slices that are decoded while more of them arrive: when the last is here, little is left to do.

A child takes the files of a job one by one; here it gets each as it comes.  What it makes counts only if the study
turns out to be of exactly these files.  Whatever goes wrong, the study is decoded as if nothing had been begun.

Where time is to spare, the slices that are decoded go on at once, a part at a time, to whoever looks at them early.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue

from wetread.contain.process import POSSIBLE, Files
from wetread.errors import DecoderDied, WetreadError
from wetread.records import Image, Stored, Study

log = logging.getLogger("wetread.contain")

#: A study of which nothing came for so long, and that nobody asked for, gives its place to another, s.
IDLE_S = 60.0
#: So long the end waits for slices that are being looked at, s.
END_S = 5.0
#: Larger studies are decoded when they are complete.
MOST_FILES = 8192
#: So many studies are remembered that killed a child: no other begins with them.
MOST_DEADLY = 64
#: Slices that go on at a time, where they come no faster than one in so long, s.
PART, EVERY_S = 8, 0.01

#: Takes slices of a study of which more are to come, in the order in which they came.
Foresee = Callable[[tuple[Image, ...]], None]
#: Decodes files as they come; the list is of those that were given so far, in this order.
Decode = Callable[[Files, list[bytes | Stored], Foresee], tuple[Study, ...]]


@dataclass(frozen=True, slots=True)
class Early:
    """Who looks at slices before their study is complete."""

    look: Foresee
    spare: Callable[[], bool]  # whether there is time for it now


_NOBODY = Early(lambda images: None, lambda: False)


class _Dropped(WetreadError):
    """Nobody wants what is made of a study."""


@dataclass(slots=True)
class _Arriving:
    """A study that is decoded, and its files on their way to a child."""

    waiting: SimpleQueue[tuple[str, Stored] | list[int] | None] = field(default_factory=SimpleQueue)
    taken: list[str] = field(default_factory=list)  # digests, in the order in which the child gets their files
    given: list[bytes | Stored] = field(default_factory=list)
    came: deque[float] = field(default_factory=partial(deque, maxlen=PART))  # when the last of them did, s
    begun: bool = False  # a child takes files
    dropped: bool = False  # nobody wants what is made
    seen: int = 0  # slices that went on
    asked: bool = False  # for some that did not come yet
    made: Future[tuple[Study, ...]] = field(default_factory=Future)

    def take(self, name: str, file: Stored) -> None:
        """Let a child have a file."""
        self.taken.append(file.digest)
        self.came.append(time.monotonic())
        self.waiting.put((name, file))

    def files(self, spare: Callable[[], bool]) -> Files:
        """Yield files as they come, and at the end the place of each among all.

        Parameters
        ----------
        spare
            Whether slices that are decoded may go on now.
        """
        self.begun = True
        while True:
            if self.waiting.empty():
                yield None
                if len(self.given) >= self.seen + PART and self._leisurely() and spare():
                    self.asked = True
                    yield {"part": [self.seen, self.seen + PART]}, b""
                    self.seen += PART
                    yield None  # the child waits until that was taken
            what = self.waiting.get(timeout=IDLE_S)
            if self.dropped and self.given:
                raise _Dropped("the study is another, or the node ends")
            if self.dropped or what is None:  # a child that got nothing need not end for that
                return
            if isinstance(what, list):
                yield {"order": what}, b""
                continue
            name, file = what
            self.given.append(file)
            yield {"name": name, "digest": file.digest}, os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)

    def see(self, look: Foresee, images: tuple[Image, ...]) -> None:
        """Let somebody look at a part, if it is what was asked for: a child that was taken over may show anything.

        Raises
        ------
        ValueError
            It is not.
        """
        if not self.asked or sum(len(image.pixels) for image in images) > PART:
            raise ValueError("expected the slices that were asked for")
        self.asked = False
        look(images)

    def _leisurely(self) -> bool:
        """Whether whoever sends leaves time between slices: one in a hurry needs the cores itself."""
        return self.came[-1] - self.came[0] >= EVERY_S * (len(self.came) - 1)

    def drop(self) -> None:
        """Want it no more."""
        self.dropped = True
        self.waiting.put(None)

    def end(self, blobs: Sequence[tuple[str, Stored]]) -> None:
        """Say that these are all files; those that did not come yet come now."""
        there = set(self.taken)
        for name, file in blobs:
            if file.digest not in there:
                self.take(name, file)
        place = {file.digest: number for number, (_, file) in enumerate(blobs)}
        self.waiting.put([place[digest] for digest in self.taken])
        self.waiting.put(None)


class Ahead:
    """Up to `studies` of them at a time; the first that come."""

    def __init__(self, studies: int) -> None:
        self._most = studies if POSSIBLE else 0
        self._lock = threading.Lock()  # of what follows
        self._threads: set[threading.Thread] = set()
        self._arriving: dict[str, _Arriving] = {}
        self._deadly: deque[str] = deque(maxlen=MOST_DEADLY)
        self._decode: Decode | None = None
        self._classes: Collection[str] = ()
        self._early = _NOBODY

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def decode_with(self, decode: Decode, classes: Collection[str]) -> None:
        """Begin with studies whose first object is of one of these SOP Classes."""
        with self._lock:
            self._decode, self._classes = decode, classes

    def look_with(self, early: Early) -> None:
        """Let somebody look at slices before their study is complete."""
        with self._lock:
            self._early = early

    def close(self) -> None:
        """Drop whatever arrives; nothing is taken any more.  A look that takes longer than `END_S` is cut off."""
        with self._lock:
            self._decode = None
            for one in self._arriving.values():
                one.drop()
            left = tuple(self._threads)
        end = time.monotonic() + END_S
        for thread in left:
            thread.join(max(0.0, end - time.monotonic()))

    def take(self, study_uid: str, sop_class_uid: str, name: str, file: Stored) -> None:
        """An object of a study is here, and more may come; returns at once."""
        with self._lock:
            if self._decode is None:
                return
            if study_uid not in self._arriving:
                if len(self._arriving) >= self._most or sop_class_uid not in self._classes:
                    return
                if study_uid in self._deadly:
                    return
                one = _Arriving()
                given = study_uid, one, self._decode, self._early
                thread = threading.Thread(target=self._run, args=given, name="wetread-ahead", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # the system has none left: the study is decoded when it is complete
                    log.warning("not decoded ahead", extra={"reason": str(error)})
                    return
                self._threads.add(thread)
                self._arriving[study_uid] = one
            self._arriving[study_uid].take(name, file)

    def _run(self, study_uid: str, one: _Arriving, decode: Decode, early: Early) -> None:
        try:
            one.made.set_result(decode(one.files(early.spare), one.given, partial(one.see, early.look)))
        except Exception as error:  # noqa: BLE001 - the thread's door: the study is decoded anew
            one.made.set_exception(error)
            if isinstance(error, DecoderDied):
                with self._lock:
                    self._deadly.append(study_uid)
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())
                if self._arriving.get(study_uid) is one:
                    del self._arriving[study_uid]

    def studies(self, blobs: Sequence[tuple[str, bytes | Stored]]) -> tuple[Study, ...] | None:
        """What was made of exactly these files, in this order; None where they must be decoded.

        Parameters
        ----------
        blobs
            All files of a study.
        """
        files = [(name, file) for name, file in blobs if isinstance(file, Stored)]
        digests = {file.digest for _, file in files}
        with self._lock:
            found = next((uid for uid, one in self._arriving.items() if not digests.isdisjoint(one.taken)), None)
            if found is None:
                return None
            one = self._arriving.pop(found)
        if not one.begun or not digests.issuperset(one.taken) or len(digests) != len(blobs) or len(blobs) > MOST_FILES:
            one.drop()
            return None
        one.end(files)
        try:
            return one.made.result()
        except Exception as error:  # noqa: BLE001 - whatever it was, decoding anew meets it or does not
            log.warning("decoded anew", extra={"reason": type(error).__name__})
            return None
