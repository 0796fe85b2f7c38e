"""How fast each model answers: the shipped builds beside ONNX Runtime, torch and the processor's own rate.

All that a row compares takes turns in one run, on all cores; ``make bench`` runs it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from wetread import infer
from wetread.evidence.figures import Figure, p95
from wetread.infer.engine import Engine, finite, installed, loader
from wetread.infer.profile import measure
from wetread.infer.signals import with_mirror
from wetread.infer.tuning import throughput
from wetread.records import Tensor

#: model -> architecture, goals against ONNX Runtime and torch eager (times), goal of the 95th percentile (ms)
GOALS: dict[str, tuple[str, float, float, float]] = {
    "cxr-lungs": ("U-Net", 8, 15, 20),
    "mr-hippocampus": ("3-D U-Net", 6, 10, 40),
    "mr-glioma": ("Transformer", 3, 4, 20),
    "cxr-pneumonia": ("EfficientNet", 2.5, 10, 20),
}
#: Share of the product rate that unpruned convolutions in bf16 should reach.
SHARE = 0.8
#: Side of the product, and answers a turn.
SIDE, TURN = 1024, 5
UNFAIR = (
    "ours is the fastest certified build, chosen in this run; theirs is float32, which a user could round too; ONNX "
    "Runtime's threads do not spin; torch runs random weights, is not compiled, and suffers most where other processes "
    "want the cores"
)


@contextmanager
def eager(model: str, shape: Sequence[int]) -> Iterator[Callable[[int], list[float]]]:
    """Torch in a process of its own; each call gives the milliseconds of so many answers."""
    sizes = ",".join(map(str, shape))
    command = [sys.executable, "-m", "wetread.lab.eager", model, sizes]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ask, tell = process.stdin, process.stdout

        def times(runs: int) -> list[float]:
            ask.write(f"{runs}\n")
            ask.flush()
            return [float(one) for one in json.loads(tell.readline())]

        try:
            yield times
        finally:
            ask.close()
            process.wait(timeout=30)


def opened(model: infer.Model) -> dict[str, Engine]:
    """Every certified build on every engine of this host, by name."""
    choices = infer.candidates(model)
    return {f"{one.build} on {one.engine}": infer.load(model, one).engine for one in choices}


def in_turn(engines: Mapping[str, Engine], image: Tensor, runs: int) -> dict[str, list[float]]:
    """Milliseconds of each engine; they take turns of `TURN` answers."""
    taken: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(-(-runs // TURN)):
        for name, engine in engines.items():
            taken[name] += measure(engine, image, TURN)
    return taken


def against_peers(model: infer.Model, runs: int) -> list[Figure]:
    """The fastest certified build against ONNX Runtime in float32 and torch eager, and how soon it answers."""
    name, times_ort, times_torch, goal_ms = GOALS[model.id]
    image, engines = infer.golden(model)["image"], opened(model)
    first = in_turn(engines, image, 2 * TURN)
    best = min(first, key=lambda key: statistics.median(first[key]))
    looked = with_mirror(image) if model.gate.mirrored else image
    parent = loader("onnxruntime")(model.build("fp32").path.read_bytes(), "fp32", 0, None)
    ours: list[float] = []
    answer: list[float] = []
    theirs: list[float] = []
    torch: list[float] = []
    with eager(model.id, image.shape) as peer:
        peer(3)
        for _ in range(-(-runs // TURN)):
            ours += measure(engines[best], image, TURN)
            answer += measure(_Checked(engines[best]), looked, TURN)
            theirs += measure(parent, image, TURN)
            torch += peer(TURN + 3)[3:]
    what = f"{model.id} ({name}), {best}"
    return [
        _ratio(f"{what} against ONNX Runtime fp32 of the unpruned parent", ours, theirs, times_ort),
        _ratio(f"{what} against torch eager", ours, torch, times_torch),
        Figure(
            f"{what}: tensor to answer{', with the second look of its gate' if model.gate.mirrored else ''}",
            f"p95 under {goal_ms:g} ms",
            f"p50 {statistics.median(answer):.1f} ms, p95 {p95(answer):.1f} ms",
            p95(answer) < goal_ms,
            len(answer),
            "one image at a time; a series asks for each of its slices",
        ),
    ]


class _Checked:
    """An engine whose answers are checked, as the node does."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name, self.version, self.device = engine.name, engine.version, engine.device

    def run(self, tensor: Tensor) -> dict[str, Tensor]:
        """Answer, if with finite numbers."""
        return finite(self._engine.run(tensor), self.name)


def _ratio(what: str, ours: Sequence[float], theirs: Sequence[float], goal: float) -> Figure:
    ratio = statistics.median(theirs) / statistics.median(ours)
    found = f"p50 {statistics.median(ours):.2f} ms against {statistics.median(theirs):.1f} ms: {ratio:.1f} times"
    for name, our, their in ("p95", p95(ours), p95(theirs)), ("best", min(ours), min(theirs)):
        found += f"; {name} {our:.2f} ms against {their:.1f} ms: {their / our:.1f} times"
    return Figure(what, f"at least {goal:g} times faster", found, ratio >= goal, len(ours), UNFAIR)


def convolutions(model: infer.Model, runs: int) -> Figure:
    """The unpruned graph in bf16 on all cores, as a share of what the cores reach in one large product each."""
    data, image = model.build("fp32").path.read_bytes(), infer.golden(model)["image"]
    graph = loader("openvino")(data, "bf16", 0, None)
    product = loader("openvino")(product_graph(), "bf16", 1, None)
    left = np.random.default_rng(0).random((1, 1, SIDE, SIDE), np.float32)
    times = in_turn({"graph": graph}, image, TURN), in_turn({"product": product}, left, TURN)
    for _ in range(-(-runs // TURN)):
        times[0]["graph"].extend(measure(graph, image, TURN))
        times[1]["product"].extend(measure(product, left, TURN))
    operations, cores = 2 * multiplications(data, image.shape), os.cpu_count() or 1
    roof = cores * 2 * SIDE**3 / min(times[1]["product"]) / 1e6
    rate = operations / statistics.median(times[0]["graph"]) / 1e6
    return Figure(
        f"{model.id} ({GOALS[model.id][0]}), unpruned, bf16: convolutions' share of the product rate",
        f"{SHARE:.0%}",
        f"{rate:.0f} of {roof:.0f} GOP/s: {rate / roof:.0%} (in its best answer "
        f"{operations / min(times[0]['graph']) / 1e6 / roof:.0%})",
        rate / roof >= SHARE,
        len(times[0]["graph"]),
        f"the rate is {cores} times the best product of {SIDE} x {SIDE} matrices on one thread; the whole graph's time "
        "is counted, its layers that are no convolutions too",
    )


def product_graph() -> bytes:
    """An ONNX graph that multiplies a matrix (1, 1, y, x) with a fixed one."""
    from onnx import TensorProto, helper, numpy_helper

    sizes = [1, 1, SIDE, SIDE]
    weight = numpy_helper.from_array(np.random.default_rng(1).random(sizes, np.float32), "w")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes) for name in ("image", "product")]
    node = helper.make_node("MatMul", ["image", "w"], ["product"])
    graph = helper.make_graph([node], "product", ends[:1], ends[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


def multiplications(data: bytes, shape: Sequence[int]) -> int:
    """How often the convolutions of an ONNX graph multiply, for an input of a shape."""
    import onnx

    model = onnx.load_from_string(data)
    for size, dimension in zip(shape, model.graph.input[0].type.tensor_type.shape.dim, strict=True):
        dimension.dim_value = size
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    known = {one.name: _sizes(one) for one in (*model.graph.value_info, *model.graph.output, *model.graph.input)}
    weights = {one.name: list(one.dims) for one in model.graph.initializer} | known
    total = 0
    for node in model.graph.node:
        if node.op_type == "Conv":
            total += int(np.prod(known[node.output[0]]) * np.prod(weights[node.input[1]][1:]))
        elif node.op_type == "ConvTranspose":
            total += int(np.prod(known[node.input[0]]) * np.prod(weights[node.input[1]][1:]))
    return total


def _sizes(value: Any) -> list[int]:
    return [one.dim_value for one in value.type.tensor_type.shape.dim]


def batches(model: infer.Model, seconds: float) -> Figure:
    """Whether images of several studies should go through a graph together, or in two streams."""
    cores = os.cpu_count() or 1
    choice, image = infer.choose(model, infer.Profile("")), infer.golden(model)["image"][:1]
    build = model.build(choice.build)
    data = build.path.read_bytes()
    one = loader(choice.engine)(data, build.precision, 0, None)
    several = loader(choice.engine)(data, build.precision, 0, None, cores)
    rates: dict[str, list[float]] = {}
    for _ in range(5):
        for size in (1, 4, 16):
            rate = throughput(one, np.repeat(image, size, axis=0), 1, seconds)
            rates.setdefault(f"batches of {size}", []).append(rate)
        rates.setdefault(f"{cores} streams", []).append(throughput(several, image, cores, seconds))
    plain, *others = (statistics.median(values) for values in rates.values())
    told = ", ".join(f"{name} {rate / plain:.2f} times" for name, rate in zip(list(rates)[1:], others, strict=True))
    return Figure(
        f"{model.id}, {choice.build} on {choice.engine}: images a second in batches and streams, against one by one",
        "none; what gains less than 1.1 times is not used",
        f"{plain:.0f} images/s one by one; {told}",
        True,
        5,
        "the golden image again and again; streams answer one image later than all cores together would",
    )


def figures(models: Path, runs: int) -> list[Figure]:
    """Every row about models; those of which the folder holds none are left out."""
    found = [model for model in infer.find(models) if model.id in GOALS]
    made = [line for model in found for line in against_peers(model, runs)]
    if infer.natively("openvino", "bf16"):
        made += [convolutions(model, runs) for model in found if GOALS[model.id][0].endswith("U-Net")]
    made += [batches(model, 0.3) for model in found if model.recipe.depth == 0]
    return [*made, graphics()]


def graphics() -> Figure:
    """Which graphics processors were measured."""
    here = sorted(set(installed()) & set(infer.DEVICES))
    found = f"{', '.join(here)}: in the rows above" if here else "none on this machine: not measured"
    return Figure("models on a graphics processor", "every model", found, bool(here), 0, "no figure is claimed")
