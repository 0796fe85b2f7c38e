"""What several threads ask goes through together, and each gets what it would have got alone."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.infer.test_engines import CPU
from wetread import infer
from wetread.errors import EngineError
from wetread.infer.host import difference, golden
from wetread.infer.joining import Joining
from wetread.records import Tensor

SHIPPED = [model for model in infer.find(Path("models")) if not model.recipe.depth]


class Slow:
    """Doubles what it is asked, when it may; breaks on images of 13."""

    name, version, device = "slow", "1", "CPU"

    def __init__(self) -> None:
        self.go, self.begun = threading.Event(), threading.Event()
        self.asked: list[list[float]] = []

    def run(self, tensor: Tensor) -> dict[str, Tensor]:
        """Wait, then answer."""
        self.asked.append([float(one) for one in tensor[:, 0, 0, 0]])
        self.begun.set()
        assert self.go.wait(10)
        if (tensor == 13.0).any():
            raise EngineError("slow: 13")
        return {"logits": tensor[:, :, 0, 0] * 2}


def images(*values: float, side: int = 2) -> Tensor:
    return np.stack([np.full((1, side, side), value, np.float32) for value in values])


def together(engine: Slow, most: int, *asked: Tensor) -> list[Future[dict[str, Tensor]]]:
    """Ask the first, and the others while the engine answers that."""
    joining = Joining(engine, most)
    with ThreadPoolExecutor(len(asked)) as pool:
        futures = [pool.submit(joining.run, asked[0])]
        assert engine.begun.wait(10)
        for number, one in enumerate(asked[1:], 2):
            futures.append(pool.submit(joining.run, one))
            while len(joining._waiting) < number - 1:
                threading.Event().wait(0.001)
        engine.go.set()
    return futures


def test_what_is_asked_meanwhile_goes_through_together() -> None:
    engine = Slow()
    found = together(engine, 16, images(1), images(2), images(3, 4), images(5))
    assert engine.asked == [[1.0], [2.0, 3.0, 4.0, 5.0]]
    assert [one.result()["logits"].ravel().tolist() for one in found] == [[2.0], [4.0], [6.0, 8.0], [10.0]]


def test_a_batch_holds_no_more_than_it_may_and_one_shape() -> None:
    engine = Slow()
    found = together(engine, 2, images(1), images(2), images(3, side=4), images(4), images(5, 6, 7))
    assert sorted(engine.asked) == [[1.0], [2.0, 4.0], [3.0], [5.0, 6.0, 7.0]]
    assert [one.result()["logits"].sum() for one in found] == [2.0, 4.0, 6.0, 8.0, 36.0]


def test_nobody_fails_for_the_image_of_another() -> None:
    engine = Slow()
    found = together(engine, 16, images(1), images(2), images(13), images(4))
    assert engine.asked == [[1.0], [2.0, 13.0, 4.0], [2.0], [13.0], [4.0]]
    assert [one.result()["logits"].item() for one in (found[1], found[3])] == [4.0, 8.0]
    with pytest.raises(EngineError, match="13"):
        found[2].result()


@pytest.mark.parametrize("name", CPU)
@pytest.mark.parametrize("model", SHIPPED, ids=lambda model: model.id)
def test_an_answer_does_not_depend_on_the_rest_of_its_batch(model: infer.Model, name: str) -> None:
    """But for rounding, in the first build that the engine runs: what is said of a study does not depend on others."""
    build = next(one.build for one in infer.candidates(model) if one.engine == name)
    engine = infer.load(model, infer.Choice(build, name, threads=2, batch=1)).engine
    noise = np.random.default_rng(0).normal(0.0, 0.1, (5, *golden(model)["image"].shape[1:]))
    asked = (golden(model)["image"][:1] + noise).astype(np.float32)
    joint = engine.run(asked)
    for number in range(len(asked)):
        for output, values in engine.run(asked[number : number + 1]).items():
            assert difference(joint[output][number], values[0]) < (0.02 if build.endswith("bf16") else 1e-4)
