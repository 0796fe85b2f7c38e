"""What the site's rules may look at, out of a header; never logged, as free text may hold a name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wetread.acquire.attributes import text
from wetread.records import Image, Rejected, Sender
from wetread.routes import Facts


def facts_of(item: Image | Rejected, senders: Mapping[str, Sender]) -> Facts:
    """Return what rules may look at, of one film or series, read or rejected.

    Parameters
    ----------
    senders
        SOP Instance UID -> who sent it; of several that sent a series the first counts.
    """
    header = item.header
    sender = _first([senders[uid] for uid in _instances(item) if uid in senders])
    told = Facts(sender.calling_ae, sender.called_ae, at=sender.at)
    if header is None:
        return told
    priorities = (text(header, key) for key in ("RequestedProcedurePriority", "ScheduledProcedureStepPriority"))
    return Facts(
        sender.calling_ae,
        sender.called_ae,
        text(header, "Modality"),
        text(header, "BodyPartExamined"),
        text(header, "StudyDescription"),
        text(header, "SeriesDescription"),
        text(header, "StationName"),
        tuple(term for term in priorities if term),
        sender.at,
    )


def _instances(item: Image | Rejected) -> tuple[str, ...]:
    uids = item.sop_uids
    return uids or ((text(item.header, "SOPInstanceUID"),) if item.header is not None else ())


def _first(senders: list[Sender]) -> Sender:
    dated: Any = [one for one in senders if one.at is not None]
    return min(dated, key=lambda one: one.at, default=senders[0] if senders else Sender())
