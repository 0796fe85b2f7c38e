"""What a child answers a viewer: texts, and bytes as plain arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wetread.acquire import plain, rendering, view
from wetread.acquire.rendering import Window
from wetread.acquire.segmentation import segmentation
from wetread.errors import REFUSALS, NotRead
from wetread.records import Pixels, Refusal, Segmentation
from wetread.settings import Settings


@dataclass(frozen=True, slots=True)
class Plane:
    """Bytes or a picture on their way from a child."""

    pixels: Pixels  # (1, 1, bytes), or (y, x, samples); uint8


#: Refusal code or "", and what is shown.
Shown = tuple[str, tuple[Plane, ...]]

#: What is in a segmentation, or why it cannot be read.
Drawn = tuple[Refusal | None, Segmentation | None]


def told(url: str, data: bytes, settings: Settings) -> str:
    """Return the attributes of one object as JSON, or "" if it cannot be parsed."""
    try:
        return view.metadata(data, url, settings)
    except NotRead:
        return ""


def shown(job: Mapping[str, Any], data: bytes, settings: Settings) -> Shown:
    """Do what a viewer asks for with one object.

    Parameters
    ----------
    job
        `what` is a key of `WHAT`, the rest are its arguments.
    """
    try:
        return "", tuple(Plane(one) for one in WHAT[job["what"]](job, data, settings))
    except NotRead as refusal:
        return refusal.code, ()


def drawn(data: bytes, settings: Settings) -> Drawn:
    """Read a segmentation: `wetread.acquire.segmentation.segmentation`."""
    try:
        return None, segmentation(data, settings)
    except NotRead as refusal:
        return Refusal(refusal.code, REFUSALS[refusal.code], refusal.detail), None


def _bulk(job: Mapping[str, Any], data: bytes, settings: Settings) -> list[Pixels]:
    return _flat(view.bulk(data, job["tag"], settings))


def _frames(job: Mapping[str, Any], data: bytes, settings: Settings) -> list[Pixels]:
    return _flat(view.frames(data, job["numbers"], job["stored"], settings))


def _explicit(_job: Mapping[str, Any], data: bytes, settings: Settings) -> list[Pixels]:
    return _flat([plain.explicit(data, settings)])


def _picture(job: Mapping[str, Any], data: bytes, settings: Settings) -> list[Pixels]:
    window = Window(*job["window"]) if job["window"] else None
    return [rendering.rendered(data, job["frame"], window, settings)]


def _flat(values: Sequence[bytes]) -> list[Pixels]:
    return [np.frombuffer(value, np.uint8).reshape(1, 1, -1) for value in values]


WHAT: dict[str, Callable[[Mapping[str, Any], bytes, Settings], list[Pixels]]] = {
    "bulk": _bulk,
    "explicit": _explicit,
    "frames": _frames,
    "picture": _picture,
}
