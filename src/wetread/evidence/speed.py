"""The speed figures of docs/evidence/performance.md, each against a named peer or bound in the same run.

``make bench`` runs it.  Times are of one machine under whatever load it has: read the
ratios, and the p95 only from idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from wetread import acquire, infer, pipeline
from wetread.evidence import doors, receiving, stored
from wetread.evidence import models as of_models
from wetread.evidence.figures import Figure, out_folder, p95, times_ms
from wetread.evidence.film import film_for_every_model
from wetread.infer.engine import loader
from wetread.infer.machine import machine
from wetread.records import Image
from wetread.settings import Settings, load

#: Calls at the start of a turn that do not count.
WARM = 3


@contextmanager
def peer(models: Path, film: Path) -> Iterator[Callable[[], float]]:
    """MONAI and torch eager in a process of their own; each call is one reading, milliseconds."""
    command = [sys.executable, "-m", "wetread.lab.peer", str(models), str(film)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ask, tell = process.stdin, process.stdout

        def once() -> float:
            ask.write("go\n")
            ask.flush()
            return float(json.loads(tell.readline())["ms"])

        try:
            yield once
        finally:
            ask.close()
            process.wait(timeout=30)


def against_monai(reader: pipeline.Reader, image: Image, runs: int) -> Figure:
    """Film in memory to classes, map and lung mask: ours and MONAI's in turn.

    Of each turn the first three do not count, as the caches are still the other's then;
    the first call is told beside the figure.
    """
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "film.npy"
        np.save(film, image.pixels[0].astype(np.float32))
        with peer(reader.settings.models_dir, film) as theirs:
            turns = [
                (times_ms(lambda: reader.answer(image), WARM + 3, 0), [theirs() for _ in range(WARM + 3)])
                for _ in range(runs + 3)
            ][3:]
    builds = " and ".join(sorted({item.identity.build for item in reader.models}))
    (ours, first), (monai, monai_first) = (
        (statistics.median(ms for turn in side for ms in turn[WARM:]), statistics.median(turn[0] for turn in side))
        for side in zip(*turns, strict=True)
    )
    return Figure(
        "film in memory to classes, map and lung mask",
        "at least 8 times faster than MONAI and torch eager",
        f"{ours:.1f} ms against {monai:.0f} ms: {monai / ours:.1f} times (first call of a turn {first:.1f} ms against "
        f"{monai_first:.0f} ms: {monai_first / first:.1f} times)",
        monai / ours >= 8,
        3 * runs,
        f"ours is {builds}, theirs fp32 and eager, as a user would write it; a user could compile or export; caches "
        "are warm for both but in the first call",
    )


def file_to_documents(reader: pipeline.Reader, film: bytes, runs: int) -> Figure:
    """File bytes on disk to all documents on disk, warm."""
    stages: dict[str, list[float]] = {}
    found: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "film.dcm", Path(folder) / "out"
        source.write_bytes(film)
        for _ in range(runs + 5):
            out.mkdir()
            start = time.perf_counter()
            data = source.read_bytes()
            loaded = time.perf_counter()
            (reading,) = reader.read_blobs([("film.dcm", data)])
            built = time.perf_counter()
            for document in reading.documents:
                (out / document.name).write_bytes(document.data)
            end = time.perf_counter()
            found.append((end - start) * 1e3)
            parts = {"load": loaded - start, "write": end - built}
            for timing in reading.timings:
                parts[timing.stage] = parts.get(timing.stage, 0.0) + timing.ms / 1e3
            for name, seconds in parts.items():
                stages.setdefault(name, []).append(seconds * 1e3)
            # New files each time, as on a node: to overwrite one takes its pages away first.
            shutil.rmtree(out)
    found = found[5:]
    return Figure(
        "uncompressed film file (1955 x 1841, 16 bit) to all documents written",
        "p95 under 80 ms",
        f"p50 {statistics.median(found):.1f} ms, p95 {p95(found):.1f} ms",
        p95(found) < 80,
        runs,
        "files in the page cache and not synced; compressed films take longer to decode; the film is an adult's under "
        "a child's header, so that every model reads it",
        {name: statistics.median(values[-runs:]) for name, values in stages.items()},
    )


def side_by_side(reader: pipeline.Reader, film: bytes, runs: int) -> Figure:
    """Films a second from bytes to all documents, read by one thread and by two, in turn."""
    films = [[("film.dcm", film)]] * 8
    found: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(max(3, runs // 10)):
        for readers, rates in found.items():
            start = time.perf_counter()
            with ThreadPoolExecutor(readers) as pool:
                list(pool.map(reader.read_blobs, films))
            rates.append(len(films) / (time.perf_counter() - start))
    one, two = (statistics.median(rates[1:]) for rates in found.values())
    return Figure(
        "films read by two readers side by side, against one after the other",
        "none; what it gains is told",
        f"{two:.1f} against {one:.1f} films/s: {two / one:.2f} times",
        True,
        len(found[1]) - 1,
        "the same film again and again, in threads of one process without a node: nothing is received, stored or sent; "
        "on two cores, which one reading nearly fills",
    )


def cost_of_the_map(settings: Settings, runs: int) -> Figure:
    """Classification with its map against the same graph without it, engine by engine in turn."""
    import onnx
    import onnx.utils

    model = next(m for m in infer.find(settings.models_dir) if m.task == "classification")
    profile = infer.read_profile(settings.profile_path)
    choice = infer.choose(model, profile)
    build = model.build(choice.build)
    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder) / "alone.onnx"
        onnx.utils.extract_model(str(build.path), str(alone), ["image"], ["logits"])
        engines = [loader(choice.engine)(p.read_bytes(), build.precision, 0, None) for p in (build.path, alone)]
    image = infer.golden(model)["image"]
    pairs = [[times_ms(lambda e=engine: e.run(image), 1, 0)[0] for engine in engines] for _ in range(runs + 10)]  # type: ignore[misc]
    with_map, without = (statistics.median(column) for column in zip(*pairs[10:], strict=True))
    return Figure(
        f"classification with its map ({build.name}, {choice.engine})",
        "at most 1.1 times classification alone",
        f"{with_map:.2f} ms against {without:.2f} ms: {with_map / without:.2f} times",
        with_map / without <= 1.1,
        runs,
        "none known: the same graph cut behind its logits",
    )


def cold_read(film: Path, settings: Settings, runs: int) -> Figure:
    """`wetread read` as a process, from start to exit."""
    with tempfile.TemporaryDirectory() as out:
        command = [
            sys.executable,
            "-m",
            "wetread.cli",
            "--state",
            str(settings.state_dir),
            "read",
            str(film),
            "--out",
            out,
        ]
        found = times_ms(lambda: subprocess.run(command, check=True, capture_output=True), runs, 1)
    return Figure(
        "`wetread read` of one film with documents, cold process to exit",
        "under 2 s",
        f"p50 {statistics.median(found) / 1e3:.2f} s, slowest {max(found) / 1e3:.2f} s",
        statistics.median(found) < 2000,
        runs,
        "program files are in the page cache after the first run",
    )


def node_memory(film: Path, models: Path) -> Figure:
    """Resident memory of a serving node after it has read films."""
    from wetread.evidence.node import resident_after

    with tempfile.TemporaryDirectory() as folder:
        for model in models.glob("cxr-*"):
            (Path(folder) / model.name).symlink_to(model.resolve())
        films, every = (resident_after(film, 10, where) for where in (Path(folder), models))
    return Figure(
        "node with both models for films loaded, after 10 films",
        "under 400 MB resident",
        f"{films:.0f} MB ({every:.0f} MB with every model that ships)",
        films < 400,
        1,
        "VmRSS counts shared library pages too",
    )


def measure(runs: int) -> list[Figure]:
    """Measure everything in one run on the real film of `pydicom-data`."""
    settings = load()
    data = film_for_every_model()
    reader = pipeline.open_reader(settings)
    ((image,),) = [study.images for study in acquire.decode([("film.dcm", data)], settings)]
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "film.dcm"
        film.write_bytes(data)
        return [
            against_monai(reader, image, runs),
            file_to_documents(reader, data, 4 * runs),
            side_by_side(reader, data, 4 * runs),
            cost_of_the_map(settings, 4 * runs),
            cold_read(film, settings, 5),
            node_memory(film, settings.models_dir),
            *of_models.figures(settings.models_dir, 2 * runs),
            *receiving.figures(settings.models_dir),
            *stored.figures(settings.models_dir, runs),
            *doors.figures(reader, runs),
        ]


def page(figures: list[Figure]) -> str:
    """The page for people."""
    lines = [
        "# Speed",
        "",
        "Made by `make bench`. What is unfair about a comparison stands beside it.",
        "Read the ratios: the machine is shared, and single times move with its load.",
        "",
        f"Machine: {machine()}; load average at the start {os.getloadavg()[0]:.1f}.",
        "",
        "| what | goal | found | reached | runs | what is unfair |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {f.what} | {f.goal} | {f.found} | {'yes' if f.reached else '**no**'} | {f.runs} | {f.unfair} |"
        for f in figures
    ]
    for figure in figures:
        if figure.stages:
            total = sum(figure.stages.values())
            lines += ["", f"## Stages: {figure.what}", "", "| stage | median ms | share |", "|---|---|---|"]
            lines += [f"| {name} | {ms:.1f} | {'▇' * round(40 * ms / total)} |" for name, ms in figure.stages.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write the page and its numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=out_folder, default="docs/evidence")
    parser.add_argument("--runs", type=int, default=25)
    given = parser.parse_args()
    figures = measure(given.runs)
    (given.out / "performance.md").write_text(page(figures), encoding="utf-8")
    rows = {"machine": machine(), "figures": [asdict(figure) for figure in figures]}
    (given.out / "performance.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(page(figures))


if __name__ == "__main__":
    main()
