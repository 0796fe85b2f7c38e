"""Training that can be killed at any moment and goes on where it stood."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from wetread.errors import BadInput
from wetread.infer import natively
from wetread.lab.curves import draw_curves
from wetread.lab.data import held_back
from wetread.lab.plan import digest_of, made_of
from wetread.lab.samples import Batches
from wetread.lab.weights import put_saved, read_saved
from wetread.lab.written import write_json

__all__ = [
    *("Answer", "Aside", "Course", "Plan", "State", "all_logits", "autocast", "channels_last", "device_of"),
    *("fit", "layout_of", "logits"),
]

#: What a network answers: logits, logits and maps, or masks, logits and maps.
Answer = Tensor | tuple[Tensor, ...]
Loss = Callable[[Answer, Tensor], Tensor]
Validate = Callable[[nn.Module], dict[str, float]]


#: Least and most of what `Plan` holds besides epochs, batch and rate.
RANGES: dict[str, tuple[int, float]] = {
    **dict.fromkeys(("weight_decay", "warmup_steps", "workers", "views"), (0, math.inf)),
    **dict.fromkeys(("guidance", "steps", "patience"), (0, math.inf)),
    **dict.fromkeys(("repeat_positive", "checkpoint_steps"), (1, math.inf)),
    **dict.fromkeys(("ema", "held_back", "mixup", "aside"), (0, 1)),
    "label_smoothing": (0, 0.5),
    "seed": (0, 2**63 - 1),  # what torch and numpy both take
}


@dataclass(frozen=True, slots=True)
class Plan:
    """The ``[train]`` table of a recipe."""

    epochs: int  # how often every row is shown
    batch: int  # rows a step
    learning_rate: float  # the highest, after the warm-up; then it falls as a cosine
    weight_decay: float = 1e-4  # of weights, not of norms and biases
    warmup_steps: int = 100  # steps in which the learning rate rises
    ema: float = 0.998  # decay of the averaged weights, a step
    held_back: float = 0.1  # share of training patients kept for validation; not with folds
    seed: int = 7  # of weights, order and changes
    repeat_positive: int = 1  # how often an epoch shows what holds a label
    bf16: bool = True  # products in bfloat16, where the device has them
    workers: int = 1  # processes that make samples
    checkpoint_steps: int = 100  # steps from one checkpoint to the next
    label_smoothing: float = 0.0  # distance of the targets from 0 and 1
    mixup: float = 0.0  # share of batches that are mixed
    views: int = 0  # changed views a row that pass the frozen blocks once, for all epochs; 0: new ones each epoch
    guidance: float = 0.0  # weight of the share of a map's evidence outside the lungs
    steps: int = 0  # more epochs where they are fewer steps: who has few rows learns as long as who has many
    device: str = "auto"  # "cuda", "cpu", or CUDA where there is any
    patience: int = 0  # epochs without a lower loss on the patients aside after which training stops; 0: never
    aside: float = 0.1  # share of training patients who are only asked when to stop; with `patience`

    @classmethod
    def from_table(cls, table: Mapping[str, Any], where: str = "train") -> Plan:
        """Return the record of a recipe's table, by default ``[train]``.

        Raises
        ------
        BadInput
            As `made_of`; there is nothing to do, or a number is none that can be meant.
        """
        plan = made_of(cls, table, where)
        if min(plan.epochs, plan.batch) < 1 or not 0 < plan.learning_rate < math.inf:
            told = f"epochs {plan.epochs}, batch {plan.batch}, learning_rate {plan.learning_rate}"
            raise BadInput(
                f"recipe, [{where}]: expected epochs and batch of at least 1 and a learning_rate above 0, got {told}"
            )
        for name, (least, most) in RANGES.items():
            if not least <= (value := getattr(plan, name)) <= most:
                wanted = f"{least} to {most:g}" if math.isfinite(most) else f"{least} or more"
                raise BadInput(f"recipe, [{where}] {name}: expected {wanted}, got {value}")
        return plan

    def learnt(self) -> Plan:
        """Return the same plan but for what weights do not depend on."""
        return replace(self, workers=0, checkpoint_steps=0, device="")

    def asked(self, patient: NDArray[np.str_], fold: int = 0) -> NDArray[np.bool_]:
        """Return (n,) which rows are of patients who only say when the network of a fold stops."""
        return held_back(patient, self.aside if self.patience else 0.0, self.seed + 1 + fold)


@dataclass(frozen=True, slots=True)
class Aside:
    """Patients who say when to stop: nothing is learnt from them, and no threshold or figure is taken on them.

    Raises
    ------
    BadInput
        There are none.
    """

    samples: Dataset[tuple[Tensor, Tensor]]  # without random changes
    rows: NDArray[np.int64]

    def __post_init__(self) -> None:
        """See that there are some."""
        if not len(self.rows):
            raise BadInput("recipe, [train] aside: expected a share that leaves patients to ask when to stop, got none")


@dataclass(frozen=True, slots=True)
class Course:
    """What a network is trained on, and how it is judged."""

    samples: Dataset[tuple[Tensor, Tensor]]
    rows: NDArray[np.int64]  # of `samples`, to train on
    loss: Loss  # (answer, targets) -> scalar
    validate: Validate  # averaged model -> named figures on held-back patients
    teacher: nn.Module | None = None  # whose soft answers are learnt beside the labels
    aside: Aside | None = None  # of a plan with `patience`
    of: str = ""  # digest of what is learnt from

    def some(self, most: int, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches of so many rows at most, drawn without repetition, changed as in training."""
        rows = np.random.default_rng(0).choice(self.rows, min(most, len(self.rows)), replace=False)
        keys = [[(0, int(row)) for row in rows[at : at + batch]] for at in range(0, len(rows), batch)]
        yield from DataLoader(self.samples, batch_sampler=keys)


@dataclass(slots=True)
class State:
    """Everything that a run needs to go on."""

    model: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)  # of `average`, where the loss on the patients aside is least

    def save(self, path: Path, learnt_by: str) -> None:
        """Write the state, and by what it was learnt: as `put_saved`."""
        told = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "history": self.history,
            "best": self.best,
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all(),
            "learnt_by": learnt_by,
        }
        put_saved(path, told)

    def load(self, path: Path, learnt_by: str) -> None:
        """Restore what `save` wrote.

        Raises
        ------
        BadInput
            It was learnt by something else, or is damaged.
        """
        saved = read_saved(path)
        if saved.get("learnt_by") != learnt_by:
            raise BadInput(
                f"{path.parent.name}/{path.name}: expected a checkpoint of this recipe, got one of another, or of "
                "other weights; begin anew with --fresh, or take another --run"
            )
        self.model.load_state_dict(saved["model"])
        self.average.load_state_dict(saved["average"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.step, self.history, self.best = saved["step"], saved["history"], saved["best"]
        torch.set_rng_state(saved["rng"])
        if len(saved["cuda_rng"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(saved["cuda_rng"])

    def waited(self) -> int:
        """Return the epochs since the loss on the patients aside was least; 0 without any."""
        losses = np.nan_to_num([epoch["loss_aside"] for epoch in self.history if "loss_aside" in epoch], nan=np.inf)
        return len(losses) - 1 - int(np.argmin(losses)) if len(losses) else 0


def device_of(plan: Plan) -> torch.device:
    """Return where a plan trains.

    Raises
    ------
    BadInput
        It asks for CUDA and there is none, or for something else.
    """
    if plan.device not in ("auto", "cpu", "cuda"):
        raise BadInput(f"recipe, [train] device: expected auto, cpu or cuda, got {plan.device!r}")
    there = torch.cuda.is_available()
    if plan.device == "cuda" and not there:
        raise BadInput("recipe, [train] device: expected a CUDA device and a torch made for it, found none; say auto")
    return torch.device("cuda" if there and plan.device != "cpu" else "cpu")


def autocast(device: torch.device, bf16: bool) -> torch.autocast:
    """Return the context in which products are made in bfloat16, if asked for and the device does not emulate them."""
    if device.type == "cpu":
        bf16 = bf16 and natively("openvino", "bf16")
    elif device.type == "cuda":
        bf16 = bf16 and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)


def channels_last(model: nn.Module) -> nn.Module:
    """Return the model with its weights laid out as the CPU's convolutions like them."""
    deepest = max(weight.ndim for weight in model.parameters())
    layout = torch.channels_last_3d if deepest == 5 else torch.channels_last
    return model.to(memory_format=layout)  # type: ignore[call-overload,no-any-return]


def layout_of(images: Tensor) -> torch.memory_format:
    """Return the memory layout that convolutions of slices [N, C, H, W] or volumes [N, C, D, H, W] like."""
    return torch.channels_last_3d if images.ndim == 5 else torch.channels_last


def logits(answer: Answer) -> Tensor:
    """Return the logits in float32; a classifier's maps are left out."""
    return (answer[0] if isinstance(answer, tuple) else answer).float()


def all_logits(answer: Answer) -> list[Tensor]:
    """Return every logits in float32, of masks and of classes; the maps, which stand last, are left out."""
    return [one.float() for one in (answer[:-1] if isinstance(answer, tuple) else (answer,))]


def mixed(images: Tensor, targets: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Return a batch blended with its own reverse, in the given share of the batches.

    References
    ----------
    Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018, arXiv:1710.09412.
    """
    if not share or float(torch.rand(())) >= share:
        return images, targets
    part = torch.distributions.Beta(0.4, 0.4).sample((len(images), *[1] * (images.ndim - 1)))
    images = part * images + (1 - part) * images.flip(0)
    part = part.reshape(len(images), *[1] * (targets.ndim - 1))
    return images, part * targets + (1 - part) * targets.flip(0)


def learning_rate(plan: Plan, step: int, steps: int) -> float:
    """Return the rate at a step: linear warm-up, then a half cosine to a hundredth."""
    if step < plan.warmup_steps:
        return plan.learning_rate * (step + 1) / plan.warmup_steps
    share = (step - plan.warmup_steps) / max(1, steps - plan.warmup_steps)
    return plan.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


def _start(model: nn.Module, plan: Plan, device: torch.device) -> State:
    model = channels_last(model).to(device)
    # Norms and biases are not decayed: their size carries no complexity.
    decayed = [p for p in model.parameters() if p.ndim > 1]
    free = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": plan.weight_decay}, {"params": free, "weight_decay": 0.0}]
    average = copy.deepcopy(model).eval().requires_grad_(False)
    return State(model, average, torch.optim.AdamW(groups, lr=plan.learning_rate))


def _average(state: State, decay: float) -> None:
    # Early on the average must follow: the first weights are not worth keeping.
    decay = min(decay, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        for kept, new in zip(state.average.state_dict().values(), state.model.state_dict().values(), strict=True):
            if kept.dtype.is_floating_point:
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)


def fit(
    model: nn.Module,
    course: Course,
    plan: Plan,
    out: Path,
    *,
    learnt_by: str = "",
    resume: bool = True,
    stop_at: int | None = None,
) -> State:
    """Train, validate each epoch, and leave ``checkpoint.pt``, ``history.json`` and curves in `out`.

    With patients aside it ends when their loss has not fallen for `Plan.patience` epochs, and the averaged weights
    of the epoch where it was least are kept.

    Parameters
    ----------
    learnt_by
        What the weights depend on besides `plan` and the course: `wetread.lab.plan.digest_of`.
    resume
        Go on from ``checkpoint.pt`` if there is one.
    stop_at
        Stop after this step, as a kill would: for tests.

    Returns
    -------
    The state, on the processor; its `average` is the model to keep.

    Raises
    ------
    BadInput
        The checkpoint is one of another plan, or of other weights; there are fewer rows than a batch; the loss is no
        number; or as `device_of`.
    """
    learnt_by = digest_of({}, plan=plan.learnt(), by=learnt_by, of=course.of)
    device = device_of(plan)
    torch.manual_seed(plan.seed)
    out.mkdir(parents=True, exist_ok=True)
    state, checkpoint = _start(model, plan, device), out / "checkpoint.pt"
    if resume and checkpoint.exists():
        state.load(checkpoint, learnt_by)
    teacher = None if course.teacher is None else course.teacher.to(device)
    batches = Batches(course.rows, plan.batch, plan.epochs, plan.seed, state.step, plan.steps)
    if not batches.per_epoch:
        raise BadInput(
            f"recipe, [train] batch: expected at least {plan.batch} images to learn from, got {len(course.rows)}"
        )
    steps = batches.per_epoch * batches.epochs
    loader: Iterable[tuple[Tensor, Tensor]] = DataLoader(
        course.samples,
        batch_sampler=batches,
        num_workers=plan.workers,
        prefetch_factor=8 if plan.workers else None,
        # Its own, or starting the loader would advance the generator that dropout and mixup draw from.
        generator=torch.Generator().manual_seed(plan.seed),
        pin_memory=device.type == "cuda",
    )
    running: list[float] = []
    if _stopped(state, plan):
        loader = ()
    with _bar() as progress:
        bar = progress.add_task(out.name, total=steps, completed=state.step, loss=0.0)
        for images, targets in loader:
            rate = learning_rate(plan, state.step, steps)
            running.append(float(learn(state, plan, course.loss, teacher, mixed(images, targets, plan.mixup), rate)))
            if not math.isfinite(running[-1]):
                raise BadInput(
                    f"{out.name}, step {state.step}: expected a loss that is a number, got {running[-1]}; look for "
                    "pixels that are none, or take a smaller [train] learning_rate, and begin anew with --fresh"
                )
            progress.update(bar, advance=1, loss=float(np.mean(running[-50:])))
            if state.step % batches.per_epoch == 0:
                figures = {"epoch": state.step / batches.per_epoch, "loss": float(np.mean(running))}
                if course.aside is not None:
                    figures["loss_aside"] = _loss_on(course.aside, state.average, course.loss, plan)
                state.history.append(figures | course.validate(state.average))
                running.clear()
                if course.aside is not None and not state.waited():
                    state.best = {name: value.clone() for name, value in state.average.state_dict().items()}
                write_json(out / "history.json", state.history)
                draw_curves(state.history, out / "curves.png")
                state.save(checkpoint, learnt_by)
            elif state.step % plan.checkpoint_steps == 0:
                state.save(checkpoint, learnt_by)
            if _stopped(state, plan) or (stop_at is not None and state.step >= stop_at):
                break
    if state.best:
        state.average.load_state_dict(state.best)
    state.model.cpu()
    state.average.cpu()
    return state


def _stopped(state: State, plan: Plan) -> bool:
    return bool(plan.patience) and state.waited() >= plan.patience


def learn(
    state: State, plan: Plan, loss: Loss, teacher: nn.Module | None, batch: tuple[Tensor, Tensor], rate: float
) -> Tensor:
    """Take one step on a batch, wherever the model lies, and return its loss."""
    state.model.train()
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    device = next(state.model.parameters()).device
    images, targets = (part.to(device, non_blocking=True) for part in batch)
    images = images.contiguous(memory_format=layout_of(images))
    with autocast(device, plan.bf16):
        answer: Answer = state.model(images)
        value = loss(answer, targets)
        if teacher is not None:
            with torch.no_grad():
                wanted = [torch.sigmoid(one) for one in all_logits(teacher(images))]
            for ours, soft in zip(all_logits(answer), wanted, strict=True):
                value = value + functional.binary_cross_entropy_with_logits(ours, soft)
    state.optimiser.zero_grad(set_to_none=True)
    value.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(state.model.parameters(), 5.0)
    state.optimiser.step()
    state.step += 1
    _average(state, plan.ema)
    return value.detach()


def _loss_on(aside: Aside, model: nn.Module, loss: Loss, plan: Plan) -> float:
    """Return the mean loss of a model on the patients aside."""
    device, total = next(model.parameters()).device, 0.0
    keys = [[(0, int(row)) for row in aside.rows[at : at + plan.batch]] for at in range(0, len(aside.rows), plan.batch)]
    for (images, targets), part in zip(DataLoader(aside.samples, batch_sampler=keys), keys, strict=True):
        images = images.to(device).contiguous(memory_format=layout_of(images))
        with torch.no_grad(), autocast(device, plan.bf16):
            total += float(loss(model(images), targets.to(device))) * len(part)
    return total / len(aside.rows)


def _bar() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
    )
    return Progress(*columns, console=Console(stderr=True), refresh_per_second=2)
