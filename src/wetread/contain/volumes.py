"""Volumes that the service puts together itself: a child only says where their slices lie.

The slices of most series are plain words in their files.  To copy them into memory that is shared, page by page,
took longer than all the rest; so a child names file and offset of each, and the service reads them from there.
Those that it had to decode it lays into its answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from mmap import mmap
from typing import Any

import numpy as np

from wetread.acquire.instances import Instance
from wetread.acquire.pixels import Rescale
from wetread.acquire.series import fill, volume_kind
from wetread.contain.talk import Body, read_into
from wetread.records import Image, Pixels, Stored
from wetread.threads import each

#: Types of stored values, and of what becomes of them.
STORED = ("|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<f4")
MADE = ("|u1", "<u2", "<i2", "<i4", "<f4")
#: Larger slopes and intercepts than what a pixel holds are none.
_MOST = 1 << 32
#: The number of the file of a slice that lies in the answer.
ANSWER = -1

#: File number, offset, type, and the rescale that it waits for: slope, intercept and type; or None.
Slice = list[Any]
#: Gives an array its place in the answer: its type, shape and offset.
Lay = Callable[[Pixels], list[Any]]


def light(instance: Instance) -> Instance:
    """Let go of the file, whose map takes a descriptor, and a child has few.

    Pixels whose place in the file is known keep their shape and type, and take no memory; others that lie there,
    as those of plain films, are copied.
    """
    image = instance.outcome
    if not isinstance(image, Image):
        return instance
    if instance.at is not None:
        pixels = _empty(image.pixels.shape, image.pixels.dtype)
    elif _is_mapped(image.pixels):
        pixels = image.pixels.copy()
    else:
        return instance
    return replace(instance, outcome=replace(image, pixels=pixels))


def _is_mapped(pixels: Pixels) -> bool:
    """Whether an array is a view of a file."""
    owner: Any = pixels
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return isinstance(owner, memoryview) and isinstance(owner.obj, mmap)


def _empty(shape: Sequence[int], kind: np.dtype[Any]) -> Pixels:
    return np.broadcast_to(np.zeros((), kind), shape)


class Piles:
    """The volumes of a child's answer, each as what stands for it until the answer is packed."""

    def __init__(self) -> None:
        self._piles: dict[int, tuple[Pixels, list[Image], list[Instance]]] = {}

    def stack(self, images: list[Image], members: list[Instance]) -> Pixels:
        """Make what stands for a volume: `wetread.acquire.series.Stack`."""
        made = _empty((len(images), *images[0].pixels.shape[1:]), volume_kind(images, members))
        self._piles[id(made)] = (made, images, members)  # which keeps the array, and so its number
        return made

    def told(self, pixels: Pixels, lay: Lay) -> list[Slice] | None:
        """Say where the slices of a volume lie, in order; None for an array that is none of these."""
        if id(pixels) not in self._piles:
            return None
        _, images, members = self._piles[id(pixels)]
        return [_slice(image.pixels, one, lay) for image, one in zip(images, members, strict=True)]


def _slice(pixels: Pixels, one: Instance, lay: Lay) -> Slice:
    rescale = None if one.rescale is None else [one.rescale.slope, one.rescale.intercept, one.rescale.kind.str]
    if one.at is not None:
        return [one.file, one.at, pixels.dtype.str, rescale]
    kind, _, offset = lay(pixels)
    return [ANSWER, offset, kind, rescale]


class Files:
    """The files of a job, from each of which one slice is taken.

    Parameters
    ----------
    held
        In the order in which they were given.
    """

    def __init__(self, held: Sequence[bytes | Stored]) -> None:
        self._held = held
        self._left = set(range(len(held)))

    def volume(self, kind: str, shape: Sequence[int], told: Sequence[Slice], body: Body) -> Pixels:
        """Make a volume of slices.

        Parameters
        ----------
        kind, shape
            Of the volume, (z, y, x).
        told
            What a child says of each slice.
        body
            Where those lie that it decoded.

        Raises
        ------
        ValueError
            It cannot be so.
        OSError
            A file cannot be read.
        """
        if kind not in MADE or len(told) != shape[0]:
            raise ValueError("expected pixels, and as many slices as the volume has")
        slices = [self._checked(one, shape[1] * shape[2], kind, body) for one in told]
        made = np.empty(shape, kind)
        each(len(slices), lambda index: self._fill(made[index], slices[index]))
        made.flags.writeable = False
        return made

    def _checked(self, one: Slice, pixels: int, made: str, body: Body) -> tuple[Any, ...]:
        """What a slice is made of: bytes or a file, offset, type and rescale."""
        file, offset, stored, told = one
        if type(file) is not int or type(offset) is not int or offset < 0 or stored not in STORED:
            raise ValueError("expected where a slice lies")
        rescale, bytes_ = _rescale(told, made), pixels * np.dtype(stored).itemsize
        if file == ANSWER:
            return body.take(offset, bytes_), 0, stored, rescale
        if file not in self._left:
            raise ValueError("expected a file of which nothing was taken yet")
        self._left.discard(file)
        held = self._held[file]
        if offset + bytes_ > (len(held) if isinstance(held, bytes) else held.size):
            raise ValueError("expected a slice within its file")
        return held, offset, stored, rescale

    def _fill(self, place: Pixels, one: tuple[Any, ...]) -> None:
        held, offset, kind, rescale = one
        if isinstance(held, Stored):
            stored = np.empty(place.size, kind)
            handle = os.open(held.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                read_into(handle, stored.view(np.uint8).data, offset)
            finally:
                os.close(handle)
        else:
            stored = np.frombuffer(held, kind, place.size, offset)
        fill(place, stored.reshape(place.shape), rescale)


def _rescale(told: Any, made: str) -> Rescale | None:
    """The rescale of a slice, one that its volume can hold."""
    if told is None:
        return None
    slope, intercept, kind = told
    if [type(slope), type(intercept)] != [int, int] or max(abs(slope), abs(intercept)) > _MOST or kind not in MADE:
        raise ValueError("expected slope, intercept and type of a rescale")
    if np.dtype(kind).kind == "f":
        raise ValueError("expected a rescale to whole numbers")
    return Rescale(slope, intercept, np.dtype(kind))
