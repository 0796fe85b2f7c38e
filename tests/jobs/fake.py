"""A reader that makes small true documents without any model: the same objects give the same bytes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tests.wire.objects import SR, film
from wetread import pipeline
from wetread.errors import REFUSALS
from wetread.records import USUAL, Circumstances, Document, Reading, Refusal, Result, Stored, Timing
from wetread.settings import Settings
from wetread.uids import derive
from wetread.wire.part10 import identify, meta

#: An object of this size is read as a refusal, one of the next size crashes the reader, one of the last its process.
REFUSED_BYTES, CRASHING_BYTES, KILLING_BYTES = 666, 668, 670
KINDS = ("SR", "SEG")


def document_uids(instance: str) -> tuple[str, ...]:
    """The SOP Instance UIDs of what `read` makes for an object."""
    return tuple(derive("fake", instance, kind) for kind in KINDS)


def read(files: Sequence[tuple[str, bytes]]) -> tuple[Reading, ...]:
    """Return one reading an object, with an SR, a SEG (in name) and a page."""
    return tuple(_reading(name, data) for name, data in files)


@dataclass(frozen=True)
class Fake:
    """Reads as it is told; what is set aside is set aside by the real row, which needs no model for that."""

    read: Callable[[Sequence[tuple[str, bytes]]], tuple[Reading, ...]] = read

    def read_blobs(
        self, blobs: Sequence[tuple[str, bytes | Stored]], given: Circumstances = USUAL
    ) -> tuple[Reading, ...]:
        return self.read([(name, content(held)) for name, held in blobs])

    def set_aside(
        self,
        study_uid: str,
        files: Iterable[tuple[str, str, bytes]],
        detail: str,
        given: Circumstances = USUAL,
    ) -> tuple[Reading, ...]:
        return pipeline.Reader((), Settings()).set_aside(study_uid, files, detail, given)


READER = Fake()


def content(held: bytes | Stored) -> bytes:
    """Return the file of an object."""
    return held if isinstance(held, bytes) else held.path.read_bytes()


def _reading(name: str, data: bytes) -> Reading:
    head = meta(data)
    found = identify(memoryview(data)[head.offset :], head.transfer_syntax)
    pixels = len(data) - len(film(found.study_uid, found.sop_instance_uid, 0))
    if pixels == CRASHING_BYTES:
        raise ValueError("Canary^Patient cannot be read")
    if pixels == KILLING_BYTES:
        os.kill(os.getpid(), signal.SIGKILL)
    refusal = Refusal("WRONG-VIEW", REFUSALS["WRONG-VIEW"]) if pixels == REFUSED_BYTES else None
    documents = [
        Document(kind, f"{kind}.dcm", film(found.study_uid, made, 32, SR), SR, made)
        for kind, made in zip(KINDS, document_uids(found.sop_instance_uid), strict=True)
    ]
    page = Document("HTML", "page.html", f"<p>{found.sop_instance_uid}</p>".encode())
    result = Result(found.study_uid, name, "0" * 64, None, None, refusal=refusal)
    return Reading(result, (*documents, page), (Timing("infer", 12.5), Timing("report", 3.0)))
