"""Mutated HL7 messages at the port of a node, good ones between them: what is answered, kept, logged and lost."""

from __future__ import annotations

import logging
import socket
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from wetread.errors import WireError
from wetread.evidence.ehr.mutants import CANARY, INJECTED, Sent, campaign
from wetread.evidence.ehr.page import Section
from wetread.evidence.torture.process import rows
from wetread.jobs.ordering import Ordering
from wetread.jobs.store import Store
from wetread.jobs.watch import Watch
from wetread.settings import Settings
from wetread.wire.acknowledge import acknowledgement
from wetread.wire.hl7 import BadMessage
from wetread.wire.mllp import Unframe
from wetread.wire.mllp_listen import Listener

MESSAGES = 120_000
PATIENCE_S = 30.0  # after that a message counts as hanging


class Log(logging.Handler):
    """What the log says that it must not."""

    def __init__(self) -> None:
        super().__init__()
        self.failed: list[str] = []
        self.leaks = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Look at one line."""
        told = str(record.__dict__)
        self.leaks += CANARY in told or record.exc_info is not None
        if record.levelno >= logging.ERROR:
            self.failed.append(record.getMessage())


class Peer:
    """A sender with one connection, opened anew when it was cut off."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None
        self._unframe = Unframe()

    def send(self, data: bytes) -> list[bytes]:
        """Send bytes; return the answers that come, none if the connection ended.

        Raises
        ------
        TimeoutError
            Neither came.
        """
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE_S)
            self._unframe = Unframe()
        try:
            self._socket.sendall(data)
            while True:
                got = self._socket.recv(1 << 16)
                found = list(self._unframe.feed(got))
                if found or not got:
                    if not got:
                        self.close()
                    return found
        except ConnectionError:
            self.close()
            return []

    def close(self) -> None:
        """End the connection."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None


@dataclass(slots=True)
class Found:
    """What happened."""

    sent: Counter[str] = field(default_factory=Counter)  # by mutation
    answers: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    hangs: int = 0
    unanswered: int = 0  # whole blocks without an answer
    leaks: int = 0  # answers with content or a trace
    lost: int = 0  # good messages that were not acknowledged, or are not in the index
    injected: int = 0  # orders of the patient whom nobody but a free text names
    failed: list[str] = field(default_factory=list)  # lines of the log
    slowest_s: float = 0.0


@contextmanager
def node(folder: Path) -> Iterator[int]:
    """The HL7 port of a node with a store, on loopback; yields the port."""
    settings = Settings(peer_timeout_s=5.0, idle_timeout_s=5.0)
    store = Store(folder)
    ordering = Ordering(store, lambda study: None, Watch())
    listener = Listener(settings, ordering.take)
    listener.start()
    try:
        yield listener.port
    finally:
        listener.stop()
        store.close()


def attack(folder: Path, sent: Iterable[Sent]) -> Found:
    """Send messages to a node in an empty folder; return what happened."""
    found, log, kept = Found(), Log(), []
    logger = logging.getLogger("wetread")
    before = logger.level
    logger.addHandler(log)
    logger.setLevel(logging.INFO)
    try:
        with node(folder) as port:
            good, bad = Peer(port), Peer(port)
            for one in sent:
                _one(found, one, bad if one.kind else good)
                if not one.kind:
                    kept.append(one.accession)
            good.close()
            bad.close()
        here = dict(rows(folder, "SELECT accession, detail FROM orders"))
        found.lost += sum(one not in here for one in kept)
        found.injected = sum(INJECTED in detail for detail in here.values())
    finally:
        logger.removeHandler(log)
        logger.setLevel(before)
    found.leaks += log.leaks
    found.failed = log.failed
    return found


def _one(found: Found, one: Sent, peer: Peer) -> None:
    kind = one.kind or "none: a good message"
    found.sent[kind] += 1
    begin = time.monotonic()
    try:
        answers = peer.send(one.data)
    except (TimeoutError, WireError):
        found.hangs += 1
        peer.close()
        return
    found.slowest_s = max(found.slowest_s, time.monotonic() - begin)
    codes = [_code(answer) for answer in answers]
    found.leaks += sum(CANARY.encode() in answer or b"Traceback" in answer or b".py" in answer for answer in answers)
    found.answers[kind].update(codes or ["cut off"])
    if one.kind:
        found.unanswered += not one.broken and not answers
    else:
        found.lost += codes != ["AA"]


def _code(answer: bytes) -> str:
    try:
        return acknowledgement(answer)[0]
    except BadMessage:
        return "no acknowledgement"


def run(number: int = MESSAGES) -> Section:
    """Send so many mutated messages."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = attack(Path(folder) / "state", campaign(number))
    codes = ("AA", "AE", "AR", "cut off")
    table: list[list[object]] = [["mutation", "messages", *codes]]
    for kind in sorted(found.sent):
        table.append([kind, found.sent[kind], *(found.answers[kind][code] for code in codes)])
    checks = {
        "no crash: nothing failed unexpectedly, and the port serves to the end": not found.failed,
        f"no hang: every message is answered or its connection ended within {PATIENCE_S:g} s": not found.hangs,
        "every message in whole framing is answered": not found.unanswered,
        "no good message is lost: each is acknowledged with AA, and in the index": not found.lost,
        "no answer and no line of the log holds content, or a stack trace": not found.leaks,
        "no order is about the patient whom only an injected segment names": not found.injected,
    }
    about = (
        f"{number:,} mutated messages at the HL7 port of a node, one mutation each, on one connection, and a good one "
        f"before each twentieth on another; the slowest answer took {found.slowest_s:.2f} s. A mutation may leave a "
        "message good: it is then acknowledged and kept. Unfair: the mutations are ours, and sender and node share "
        "one process."
    )
    return Section("hostile", "Hostile HL7", about, checks, table, time.monotonic() - begin)
