"""Loss and metric curves as a picture beside the checkpoint."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

__all__ = ["draw_curves"]


def draw_curves(history: list[dict[str, float]], path: Path) -> None:
    """Draw one panel a figure over the epochs.

    Parameters
    ----------
    history
        One mapping an epoch: "epoch", "loss" and the figures of validation.
    path
        PNG to write.
    """
    names = [name for name in history[-1] if name != "epoch"]
    figure = Figure(figsize=(3.2 * len(names), 2.6), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        axis.plot([row["epoch"] for row in history], [row[name] for row in history], marker=".")
        axis.set_xlabel("epoch")
        axis.set_title(name)
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
