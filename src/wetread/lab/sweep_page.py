"""What a sweep found: a picture of the accuracy-latency front, a table for people, and the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from wetread.lab.card import table_text
from wetread.lab.evidence import save_svg, stamp
from wetread.lab.written import write_json

__all__ = ["write_sweep"]

Figures = Mapping[str, Any]
MARKERS = {"openvino": "o", "onnxruntime": "s"}
UNFAIR = (
    "Times are of this machine, which others were using, and of one image on one thread: another processor may order "
    "the builds otherwise, and `wetread tune` measures it.  The builds took turns.  The figures and their paired "
    "intervals are those of the certificate, on patients that the network never saw; a figure that is better by less "
    "than a tenth of the largest loss allowed counts as equal.  The gate's second look and the rest of the row are not "
    "in the times."
)


def write_sweep(found: Figures, folder: Path) -> list[Path]:
    """Write ``sweep-<id>.json``, ``.md`` and ``.svg``.

    Returns
    -------
    The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"sweep-{found['model']}.{ending}" for ending in ("json", "md", "svg")]
    note = stamp()
    write_json(files[0], {**note, **found})
    files[1].write_text("\n\n".join(_page(found, note)) + "\n", encoding="utf-8")
    _draw(found["points"], files[2])
    return files


def _page(found: Figures, note: Mapping[str, str]) -> Iterator[str]:
    yield f"# Builds of {found['model']}: accuracy and latency"
    yield f"Made by `wetread lab sweep {found['model']}`, {note['date']}; {note['machine']}."
    yield UNFAIR
    yield f"![Accuracy over latency](sweep-{found['model']}.svg)"
    titles = [f"{one['metric']}, {one['data']}" for one in found["points"][0]["figures"]]
    rows = [
        [
            one["build"],
            one["engine"],
            f"{one['p50_ms']:.1f}",
            f"{one['p95_ms']:.1f}",
            f"{one['megabytes']:.2f}",
            *(f"{figure['value']:.4f}" for figure in one["figures"]),
            "yes" if one["front"] else "no",
            one["worth"],
        ]
        for one in sorted(found["points"], key=lambda one: float(one["p50_ms"]))
    ]
    yield table_text(["build", "engine", "p50, ms", "p95, ms", "MB", *titles, "on the front", "worth shipping"], rows)
    yield (
        "Worth shipping: certified, and no certified build is as good and faster, on every host or on one without "
        "bfloat16.  `fp32` and `bf16` run the same file.  The front is drawn over all builds, certified or not."
    )


def _draw(points: Sequence[Figures], path: Path) -> None:
    """Draw each figure over the median time; the bars are the paired interval and the 95th percentile of the time."""
    count = len(points[0]["figures"])
    colours = {build: f"C{at}" for at, build in enumerate(dict.fromkeys(one["build"] for one in points))}
    figure = Figure(figsize=(5.2 * count, 3.8), layout="constrained")
    for at, axis in enumerate(figure.subplots(1, count, squeeze=False)[0]):
        for one in points:
            told, worth = one["figures"][at], one["worth"].startswith("yes")
            low, high = (told["parent"] + end for end in told["interval_95"])
            axis.errorbar(
                one["p50_ms"],
                told["value"],
                xerr=[[0], [one["p95_ms"] - one["p50_ms"]]],
                yerr=[[max(0, told["value"] - low)], [max(0, high - told["value"])]],
                fmt=MARKERS.get(one["engine"], "^"),
                color=colours[one["build"]],
                markerfacecolor=colours[one["build"]] if worth else "white",
                capsize=2,
                linewidth=0.8,
                label=f"{one['build']}, {one['engine']}{'' if worth else ' (not worth shipping)'}",
            )
        _line(axis, points, at)
        axis.axhline(told["parent"] - told["margin"], color="grey", linestyle=":", linewidth=0.8)
        axis.set_xlabel("ms an image, one thread: median to 95th percentile")
        axis.set_ylabel(f"{told['metric']} (dotted: least allowed)")
        axis.set_title(told["data"], fontsize=8, wrap=True)
        axis.grid(alpha=0.3)
    axis.legend(fontsize=6)
    save_svg(figure, path)


def _line(axis: Any, points: Sequence[Figures], at: int) -> None:
    """Draw the front: at each time the best figure so far."""
    best: list[tuple[float, float]] = []
    for one in sorted(points, key=lambda one: float(one["p50_ms"])):
        if not best or one["figures"][at]["value"] > best[-1][1]:
            best.append((one["p50_ms"], one["figures"][at]["value"]))
    axis.step(*zip(*best, strict=True), where="post", color="black", linewidth=0.8, zorder=0)
