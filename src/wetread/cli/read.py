"""Verbs that read images, and judge documents."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wetread.cli.base import (
    FAILED,
    FILE,
    NOT_READ,
    NOTICE,
    OK,
    bytes_of,
    commands,
    console,
    emit,
    extra,
    json_option,
    plain,
    settings_of,
    visible,
    write_whole,
)
from wetread.errors import BadInput
from wetread.settings import Settings

if TYPE_CHECKING:
    from wetread.contain.children import Children
    from wetread.records import Document, Reading


@commands.command()
@click.argument("paths", nargs=-1, required=True, type=FILE)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the documents.")
@click.option("--age", type=click.IntRange(1, 150), help="Age of the patient on PNGs and JPEGs, completed years.")
@json_option
@click.pass_context
def read(context: click.Context, paths: tuple[Path, ...], out: Path | None, age: int | None, as_json: bool) -> None:
    """Read DICOM files, folders, ZIPs, PNGs or JPEGs: a table, and documents under --out."""
    from wetread.contain.children import Children

    settings = settings_of(context)
    with Children(settings) as children:  # one starts while this process imports and loads the rest
        from wetread import report

        readings, passed = readings_of(paths, age, settings, children)
    if passed:
        click.echo(f"files passed over, neither DICOM nor pictures: {passed}", err=True)
    places = {id(reading): write(reading.documents, out, reading) for reading in readings} if out else {}
    if as_json:
        rows = [{**report.summary(r.result), "documents": list(map(str, places.get(id(r), [])))} for r in readings]
        emit([{**row, "passed_over": passed} for row in rows])
    else:
        show_readings(readings, places)
    context.exit(OK if all(r.result.refusal is None for r in readings) else NOT_READ)


def readings_of(
    paths: Sequence[Path], age: int | None, settings: Settings, children: Children
) -> tuple[list[Reading], int]:
    """Read what a person named, and count the files that are passed over; parsing and decoding run in the children."""
    from wetread import acquire, pipeline
    from wetread.contain.decoder import decoder
    from wetread.records import Timing

    start, passed = time.perf_counter(), [0]
    studies = decoder(children).load(list(paths), settings, acquire.Assumption(age=age), passed.append)
    decoded = Timing("acquire", (time.perf_counter() - start) * 1e3)
    reader = pipeline.open_reader(settings, images=[image for study in studies for image in study.images])
    return [reading for study in studies for reading in reader.read(study, decoded)], passed[-1]


def write(documents: tuple[Document, ...], out: Path, reading: Reading) -> list[Path]:
    """Write the documents of one reading into a folder of their own."""
    folder = out / reading.result.digest[:16]
    folder.mkdir(parents=True, exist_ok=True)
    places = [folder / document.name for document in documents]
    for place, document in zip(places, documents, strict=True):
        write_whole(place, document.data)
    return places


def show_readings(readings: list[Reading], places: dict[int, list[Path]]) -> None:
    """A table for people, one block a reading."""
    for reading in readings:
        show_reading(reading, places.get(id(reading), []))
    click.secho(NOTICE, dim=True)


def show_reading(reading: Reading, places: list[Path]) -> None:
    """One reading: what was found, or why nothing is said, and the time of each stage."""
    from rich.table import Column, Table

    from wetread.report.words import apart, measured, name

    screen, result = console(), reading.result
    columns = Column(overflow="fold"), Column(overflow="fold")  # codes and names are of use only as a whole
    table = Table(*columns, title=plain(result.source), title_justify="left", title_style="bold", show_header=False)
    if result.refusal:
        table.add_row("[bold yellow]NOT READ", f"{result.refusal.code}: {result.refusal.sentence}")
        table.add_row("", plain(result.refusal.detail))
    for finding in result.findings:
        word = "[bold red]present" if finding.present else "[green]not found"
        shown, bound = apart(finding.probability, finding.threshold, least=0)
        chance = f"{shown} (threshold {bound})".replace(" %", "%")
        slices = (
            f"  on {len(finding.slices)} of {len(result.image.pixels)} slices"
            if finding.slices and result.image
            else ""
        )
        table.add_row(plain(finding.code.meaning), f"{word}[/]  probability {chance}{slices}")
    for unread in result.not_read:
        names, why = ", ".join(code.meaning for code in unread.about), unread.refusal
        told = plain(f"{why.code}: {why.sentence} {why.detail}")
        table.add_row(plain(names), f"[bold yellow]not read[/]  {told}")
    for region in result.regions:
        sizes = ", ".join(f"{name(one.code.meaning).lower()} {measured(one)}" for one in region.measurements)
        table.add_row(plain(region.label), plain(sizes))
    for explanation in result.explanations:
        table.add_row("Heat map", plain(explanation.sentence))
    for model in result.models:
        build = f"{model.id} {model.version}+{model.build}"
        table.add_row("Model", plain(f"{build} on {model.engine} {model.engine_version}"))
    table.add_row("Time", "  ".join(f"{timing.stage} {timing.ms:.1f} ms" for timing in reading.timings))
    screen.print(table)
    for place in places:
        click.echo(visible(f"  {place}"))


@commands.command()
@click.argument("film", required=False, type=FILE)
@click.option("--out", type=click.Path(path_type=Path), default=Path("out/demo"), help="Folder for the documents.")
@json_option
@click.pass_context
def demo(context: click.Context, film: Path | None, out: Path, as_json: bool) -> None:
    """Start a node, a small PACS and a small record on loopback, send a film, show the wet read, end."""
    with extra("serve"):
        from wetread.serve.demo import run
    outcome = run(settings_of(context), film, out, say=(lambda line: None) if as_json else click.echo)
    if as_json:
        emit({"seconds": outcome.seconds, "documents": [str(place) for place in outcome.documents]})
        return
    for reading in outcome.readings:
        show_reading(reading, [])
    click.echo(f"Documents, as the receiver got them ({outcome.seconds:.2f} s after the film was sent):")
    for place in outcome.documents:
        click.echo(f"  {place}")
    click.echo(f"Open the page: {outcome.page}")
    click.secho(NOTICE, dim=True)


@commands.command()
@click.argument("paths", nargs=-1, required=True, type=FILE)
@json_option
@click.pass_context
def check(context: click.Context, paths: tuple[Path, ...], as_json: bool) -> None:
    """Judge SR, SEG, PM, SC, KOS, GSPS, PDF and label maps against our table of the standard's rules."""
    if missing := [path for path in paths if not path.is_file()]:
        raise BadInput(f"expected a file at {missing[0]}, found {'a folder' if missing[0].is_dir() else 'none'}")
    found = {str(path): judged(path) for path in paths}
    if as_json:
        emit(found)
    else:
        for path, problems in found.items():
            count = {0: "no problem", 1: "1 problem"}.get(len(problems), f"{len(problems)} problems")
            click.echo(visible(f"{path}: {count}"))
            for problem in problems:
                click.echo(visible(f"  {problem['sentence']} [{problem['clause']}]"))
    context.exit(OK if not any(found.values()) else FAILED)


def judged(path: Path) -> list[dict[str, Any]]:
    """The problems of one document."""
    from wetread import report

    try:
        return [dataclasses.asdict(problem) for problem in report.check(bytes_of(path))]
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error
