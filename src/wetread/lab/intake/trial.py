"""Run a foreign graph, in a process of its own that may use only so much memory and time.

What a graph would allocate cannot always be inferred; this is where it shows.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np

from wetread.errors import EngineError, ModelError
from wetread.infer import engine
from wetread.records import Tensor

__all__ = ["try_once"]

#: Most address space of the process (bytes), and most time of its processors (seconds).
MOST_MEMORY = 8 << 30
MOST_SECONDS = 120
#: Most time by the clock (seconds): a host that is busy or was asleep is no fault of the graph.
LONGEST_WAIT = 1800


def try_once(what: str, file: Path, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each output that a graph answers to one image of the shape (c, y, x).

    Raises
    ------
    ModelError
        It fails, takes too much memory or time, answers with what is no finite number, or answers two images otherwise
        together than each alone.
    """
    command = [sys.executable, "-P", "-m", __name__, str(file), *map(str, shape)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_WAIT, check=False)
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"{what}: expected an answer within {LONGEST_WAIT} s, got none") from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"the process ended with {done.returncode}"])[-1][:200]
        raise ModelError(
            f"{what}: the graph does not run within {MOST_MEMORY >> 30} GiB and {MOST_SECONDS} s: {reason}"
        )
    told = json.loads(done.stdout)
    if odd := [name for name, one in told.items() if not one["finite"]]:
        raise ModelError(f"{what}: expected numbers in its {odd[0]}, got NaN or infinite ones")
    if odd := [name for name, one in told.items() if not one["together"]]:
        raise ModelError(
            f"{what}: expected of two images the {odd[0]} of each, got another or none: a node reads the slices of a "
            "series together; export it with a free batch size (torch: dynamic_axes), without 1 in a Reshape"
        )
    return {name: tuple(one["shape"]) for name, one in told.items()}


def main() -> None:
    """Answer random images: the shape of each output, and whether all of it is finite and the same in a batch."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
    except ImportError:  # Windows has no such limits
        pass
    shape = tuple(map(int, sys.argv[2:]))
    images = np.random.default_rng(0).random((2, *shape), np.float32)
    try:
        loaded = engine.loader("onnxruntime")(Path(sys.argv[1]).read_bytes(), "fp32", 1, None)
        found, other = loaded.run(images[:1]), loaded.run(images[1:])
    except EngineError as error:
        sys.exit(" ".join(str(error).split()))
    both: dict[str, Tensor] = {}
    with suppress(EngineError):
        both = loaded.run(images)
    told = {
        name: {
            "shape": one.shape,
            "finite": bool(np.isfinite(one).all()),
            "together": _same(both.get(name), one, other[name]),
        }
        for name, one in found.items()
    }
    sys.stdout.write(json.dumps(told))


def _same(both: Tensor | None, one: Tensor, other: Tensor) -> bool:
    """Whether the answer to two images is that to each."""
    if both is None or not one.shape == other.shape == (1, *both.shape[1:]) or len(both) != 2:
        return False
    return np.allclose(both, np.concatenate([one, other]), 1e-3, 1e-3)


if __name__ == "__main__":
    main()
