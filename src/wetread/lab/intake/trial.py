"""Run a foreign graph once, in a process of its own that may use only so much memory and time.

What a graph would allocate cannot always be inferred; this is where it shows.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from wetread.errors import EngineError, ModelError
from wetread.infer import engine

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
        It fails, takes too much memory or time, or answers with what is no finite number.
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
        raise ModelError(f"{what}: expected a finite {odd[0]}, got another")
    return {name: tuple(one["shape"]) for name, one in told.items()}


def main() -> None:
    """Answer one random image: the shape of each output, and whether all of it is finite."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
    except ImportError:  # Windows has no such limits
        pass
    shape = tuple(map(int, sys.argv[2:]))
    image = np.random.default_rng(0).random((1, *shape), np.float32)
    try:
        found = engine.loader("onnxruntime")(Path(sys.argv[1]).read_bytes(), "fp32", 1, None).run(image)
    except EngineError as error:
        sys.exit(" ".join(str(error).split()))
    told = {name: {"shape": one.shape, "finite": bool(np.isfinite(one).all())} for name, one in found.items()}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
