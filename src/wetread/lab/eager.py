"""The named peer of the models' speed: a network of a recipe in torch, eager, float32, as a user would run it.

A process of its own that answers each line on standard input, a number of calls, with their
milliseconds in JSON: the benchmark takes turns with it and never imports torch.  The weights are
random: time does not depend on them.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence

import torch

from wetread.lab.plan import load_plan
from wetread.lab.zoo import build

__all__ = ["answers"]


def answers(recipe: str, shape: Sequence[int], lines: Iterator[str]) -> Iterator[str]:
    """Yield, for every number of calls that comes, their milliseconds.

    Parameters
    ----------
    recipe
        Name of a training recipe.
    shape
        Of the input: (n, c, y, x) or (n, c, z, y, x).
    """
    table = dict(load_plan(recipe)["model"])
    if "pretrained" in table:
        table["pretrained"] = False
    network = build(table).eval()
    image = torch.rand(*shape)
    for line in lines:
        times = []
        for _ in range(int(line)):
            start = time.perf_counter()
            with torch.no_grad():
                network(image)
            times.append((time.perf_counter() - start) * 1e3)
        yield json.dumps(times)


if __name__ == "__main__":
    for answer in answers(sys.argv[1], [int(size) for size in sys.argv[2].split(",")], iter(sys.stdin)):
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()
