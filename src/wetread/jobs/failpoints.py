"""Named places where a test may cut the power.  In service nothing is attached to them."""

from __future__ import annotations

from collections.abc import Callable

#: Called with the name of a place when it is reached.
Failpoint = Callable[[str], None]

NAMES = (
    "blob-unsynced",  # an object's bytes are written but not fsynced
    "blob-written",  # its file is fsynced and named, its folder is not
    "folder-synced",  # its folder is fsynced, the index knows nothing
    "indexed",  # the index is committed, the peer has no answer
    "completed",  # the study is complete, nothing has begun
    "reading",  # a try is counted, the reader has begun
    "set-aside",  # a study was given up, its refusals are begun
    "documents-spooled",  # the documents' blobs are durable, the index does not know
    "documents-stored",  # documents, outbox and state are committed
    "sent",  # the destination confirmed a document, nothing is recorded
    "recorded",  # the confirmation is recorded
    "commitment-asked",  # a peer's request for commitment is recorded, it has no answer
    "commitment-reported",  # the peer took our report, that is not recorded
    "order-kept",  # an HL7 message is committed, its sender has no answer
    "forgotten",  # the index knows a study's blobs no more, they are still there
)


def none(name: str) -> None:
    """Do nothing: the fail point of a node in service."""
