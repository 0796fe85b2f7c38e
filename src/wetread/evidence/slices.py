"""How fast a received CT series becomes one checked array: raw reads, digests, pydicom one by one, and a node's way."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.uid import CTImageStorage

from wetread.acquire.tomography import CLASSIC
from wetread.contain.ahead import Ahead
from wetread.contain.children import Children
from wetread.contain.decoder import Contained, decoded
from wetread.evidence import series
from wetread.evidence.figures import Figure, medians, times_ms
from wetread.records import Stored
from wetread.settings import Settings

#: How often a slice comes where they are decoded as they come, s.
EVERY_S = 0.005
GOAL = 2

Files = Sequence[tuple[str, Stored]]


@contextmanager
def stored() -> Iterator[Files]:
    """The files of a series, as the spool of a node has them."""
    with tempfile.TemporaryDirectory() as place:
        made = []
        for name, data in series.files(series.SLICES, series.SIDE):
            path = Path(place, name)
            path.write_bytes(data)
            made.append((name, Stored(path, hashlib.sha256(data).hexdigest(), len(data))))
        yield made


def check(files: Files) -> None:
    """Take the digest of every file, as a node does while it decodes."""
    for _, stored_ in files:
        with stored_.path.open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == stored_.digest


def volume(settings: Settings, runs: int) -> Figure:
    """A CT series from stored files to one array; all ways take turns, the first turn does not count."""
    with (
        stored() as files,
        Children(settings) as children,
        closing(Children(settings)) as arriving,
        Ahead(1) as ahead,
        ThreadPoolExecutor(1) as beside,
    ):
        ahead.decode_with(partial(decoded, arriving, settings), CLASSIC)
        node = Contained(children, ahead)

        def read() -> None:
            sound = beside.submit(check, files)
            assert node.decode(files, settings)[0].images
            sound.result()

        paths = [file.path for _, file in files]
        ways: dict[str, Callable[[], float]] = {
            "raw": lambda: _ms(lambda: [path.read_bytes() for path in paths]),
            "digest": lambda: _ms(lambda: check(files)),
            "pydicom": lambda: _ms(lambda: np.stack([dcmread(path).pixel_array for path in paths])),
            "ours": lambda: _ms(read),
            "left": lambda: _left(ahead, files, read),
        }
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(runs + 1):
            for name, way in ways.items():
                found[name].append(way())
    ms = medians({name: times[1:] for name, times in found.items()})
    raw = ms["raw"]
    return Figure(
        f"CT of {series.SLICES} slices of {series.SIDE} x {series.SIDE}, files to one checked array in HU",
        f"at most {GOAL} times the raw read of the bytes",
        f"{ms['ours']:.0f} ms: {ms['ours'] / raw:.1f} times the raw read ({raw:.0f} ms), "
        f"{ms['ours'] / ms['pydicom']:.1f} times pydicom one by one ({ms['pydicom']:.0f} ms); decoded while it "
        f"arrives, {ms['left']:.0f} ms are left behind the last slice, {ms['left'] / raw:.1f} times; the SHA-256 of "
        f"every byte alone, which runs beside it, {ms['digest']:.0f} ms, {ms['digest'] / raw:.1f} times",
        ms["ours"] <= GOAL * raw,
        runs,
        "files in the page cache; ours, parsed in a process with limits, also takes a SHA-256 of every byte, checks "
        "identity and geometry, puts the slices in order and gives HU in 32 bits, pydicom's way does none of it; "
        f"a slice arrives every {EVERY_S * 1e3:.0f} ms",
    )


def _ms(run: Callable[[], object]) -> float:
    return times_ms(run, 1, 0)[0]


def _left(ahead: Ahead, files: Files, read: Callable[[], None]) -> float:
    """What is left to do when the last slice has come."""
    for name, file in files:
        ahead.take(series.STUDY, CTImageStorage, name, file)
        time.sleep(EVERY_S)
    return _ms(read)
