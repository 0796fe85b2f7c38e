"""One command; its verbs are subcommands.  The only file that prints.

Exit codes: 0 done (for `read`: every image was read, by one model at least); 1 something
failed; 2 wrong usage or setting; 3 at least one image was read by none (coded reason); 4 bad input.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wetread import __version__
from wetread.errors import BadInput, NotRead, SettingsError, WetreadError
from wetread.settings import Destination, Settings, load, parse_destination

if TYPE_CHECKING:
    from rich.console import Console

    from wetread.acquire.deidentify import Ledger
    from wetread.contain.children import Children
    from wetread.infer import Profile, Trial
    from wetread.jobs.desk import Desk
    from wetread.lab.audit import Decoded
    from wetread.records import Document, Reading
    from wetread.serve.node import Node
    from wetread.serve.pull import Pulled
    from wetread.wire.worklist import Step

OK, FAILED, USAGE, NOT_READ, BAD_INPUT = 0, 1, 2, 3, 4
NOTICE = "Decision support for research and evaluation; not a certified medical device."

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


def main() -> None:
    """Run the command and turn our errors into messages and exit codes."""
    sys.modules.setdefault("gdcm", None)  # type: ignore[arg-type]  # pydicom would load it unasked
    try:
        sys.exit(commands.main(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(USAGE)
    except click.exceptions.Abort:
        sys.exit(130)
    except WetreadError as error:
        click.echo(f"wetread: {error}", err=True)
        sys.exit(exit_code(error))


def exit_code(error: WetreadError) -> int:
    """The documented exit code of an error."""
    if isinstance(error, BadInput):
        return BAD_INPUT
    if isinstance(error, NotRead):
        return NOT_READ
    return USAGE if isinstance(error, SettingsError) else FAILED


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=NOTICE)
@click.version_option(__version__, "--version", message="wetread %(version)s")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file (TOML).")
@click.option("--models", type=click.Path(path_type=Path), help="Folder of model folders.")
@click.option("--engine", help="auto, openvino, onnxruntime, openvino-gpu, cuda or tensorrt.")
@click.option("--build", help="auto, or the name of a build, such as fp32.")
@click.option("--threads", type=int, help="Inference threads; 0: all cores.")
@click.option("--state", type=click.Path(path_type=Path), help="Folder of the spool, the index and the profile.")
@click.pass_context
def commands(context: click.Context, /, config: Path | None, **given: Any) -> None:
    """Wetread gives an X-ray, CT or MRI study an AI wet read and puts it where clinicians work."""
    context.obj = lambda **more: load(config, **given, **more)


def settings_of(context: click.Context, **given: Any) -> Settings:
    """The settings in force for a verb, with what its own options give."""
    make: Callable[..., Settings] = context.obj
    return make(**given)


def console(to_error: bool = False) -> Console:
    """A console on standard output, or on standard error."""
    from rich.console import Console

    return Console(highlight=False, stderr=to_error)


def emit(value: Any) -> None:
    """Print JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


@commands.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
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

        readings = readings_of(paths, age, settings, children)
    places = {id(reading): write(reading.documents, out, reading) for reading in readings} if out else {}
    if as_json:
        emit([{**report.summary(r.result), "documents": [str(p) for p in places.get(id(r), [])]} for r in readings])
    else:
        show_readings(readings, places)
    context.exit(OK if all(r.result.refusal is None for r in readings) else NOT_READ)


def readings_of(paths: Sequence[Path], age: int | None, settings: Settings, children: Children) -> list[Reading]:
    """Read what a person named; parsing and decoding run in the children."""
    from wetread import acquire, pipeline
    from wetread.contain.decoder import decoder
    from wetread.records import Timing

    reader = pipeline.open_reader(settings, decoder=decoder(children))
    start = time.perf_counter()
    studies = reader.decoder.load(list(paths), settings, acquire.Assumption(age=age))
    decoded = Timing("acquire", (time.perf_counter() - start) * 1e3)
    return [reading for study in studies for reading in reader.read(study, decoded)]


def write(documents: tuple[Document, ...], out: Path, reading: Reading) -> list[Path]:
    """Write the documents of one reading into a folder of their own."""
    folder = out / reading.result.digest[:16]
    folder.mkdir(parents=True, exist_ok=True)
    places = [folder / document.name for document in documents]
    for place, document in zip(places, documents, strict=True):
        place.write_bytes(document.data)
    return places


def show_readings(readings: list[Reading], places: dict[int, list[Path]]) -> None:
    """A table for people, one block a reading."""
    for reading in readings:
        show_reading(reading, places.get(id(reading), []))
    click.secho(NOTICE, dim=True)


def show_reading(reading: Reading, places: list[Path]) -> None:
    """One reading: what was found, or why nothing is said, and the time of each stage."""
    from rich.table import Table

    screen, result = console(), reading.result
    table = Table(title=result.source, title_justify="left", title_style="bold", show_header=False)
    if result.refusal:
        table.add_row("[bold yellow]NOT READ", f"{result.refusal.code}: {result.refusal.sentence}")
        table.add_row("", result.refusal.detail)
    for finding in result.findings:
        word = "[bold red]present" if finding.present else "[green]not found"
        chance = f"{finding.probability:.0%} (threshold {finding.threshold:.0%})"
        slices = (
            f"  on {len(finding.slices)} of {len(result.image.pixels)} slices"
            if finding.slices and result.image
            else ""
        )
        table.add_row(finding.code.meaning, f"{word}[/]  probability {chance}{slices}")
    for unread in result.not_read:
        names, why = ", ".join(code.meaning for code in unread.about), unread.refusal
        table.add_row(names, f"[bold yellow]not read[/]  {why.code}: {why.sentence} {why.detail}")
    for region in result.regions:
        sizes = ", ".join(f"{m.value:.1f} {m.unit.value}" for m in region.measurements)
        table.add_row(region.label, sizes)
    for explanation in result.explanations:
        table.add_row("Heat map", explanation.sentence)
    for model in result.models:
        table.add_row("Model", f"{model.id} {model.version}+{model.build} on {model.engine} {model.engine_version}")
    table.add_row("Time", "  ".join(f"{timing.stage} {timing.ms:.1f} ms" for timing in reading.timings))
    screen.print(table)
    for place in places:
        click.echo(f"  {place}")


@commands.command()
@json_option
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List the models: what each reads, its builds, and which of them hold a certificate."""
    from rich.table import Table

    from wetread import infer

    settings = settings_of(context)
    found = infer.find(settings.models_dir)
    if as_json:
        emit([dataclasses.asdict(model) for model in found])
        return
    profile = infer.read_profile(settings.profile_path)
    table = Table("model", "version", "reads", "build", "certified", "fastest here, ms", "chosen")
    for model in found:
        certified = any(build.certified for build in model.builds)
        choice = infer.choose(model, profile, settings.engine, settings.build) if certified else None
        for build in model.builds:
            times = [row.median_ms for row in profile.rows if row.device_uid == build.device_uid]
            table.add_row(
                model.id,
                model.version,
                f"{'/'.join(model.modality)} {'/'.join(model.body_part[:1])}, {model.task}",
                build.name,
                "yes" if build.certified else "no: does not load",
                f"{min(times):.1f}" if times else "not measured",
                choice.engine if choice and choice.build == build.name else "",
            )
    console().print(table)


@commands.command()
@click.option("--seconds", default=0.3, show_default=True, help="How long each shape of a build is measured.")
@click.option("--certify", "certifies", is_flag=True, help="First admit graphics processors that answer as certified.")
@json_option
@click.pass_context
def tune(context: click.Context, seconds: float, certifies: bool, as_json: bool) -> None:
    """Measure every certified build on every engine of this host, and remember what is fastest.

    Exit code 1 if a model misses the setting `deadline_ms` with every build.
    """
    from rich.progress import Progress

    from wetread import infer

    settings = settings_of(context)
    found = infer.find(settings.models_dir)
    profile = dataclasses.replace(infer.read_profile(settings.profile_path), rows=(), stale="")
    if certifies:
        told = infer.certify_here(found, settings, lambda why: click.echo(why, err=True))
        profile = dataclasses.replace(profile, sites=tuple(told))
    steps = infer.plan(found, settings, profile)
    with Progress(console=console(to_error=True), disable=as_json, transient=True) as bar:
        trials = [
            infer.trial(model, option, settings, profile, seconds)
            for model, option in bar.track(steps, description="measuring")
        ]
    rows = tuple(row for one in trials for row in one.rows)
    profile = dataclasses.replace(profile, rows=rows)
    infer.write_profile(settings.profile_path, profile)
    late = {
        model.id: ms for model in found if model.builds and (ms := infer.missed(model, profile, settings)) is not None
    }
    if as_json:
        chosen = {model.id: infer.choose(model, profile, settings.engine, settings.build) for model, _ in steps}
        failed = [
            {"model": one.model.id, "build": one.choice.build, "engine": one.choice.engine, "why": one.failure}
            for one in trials
            if one.failure
        ]
        choices = {name: dataclasses.asdict(choice) for name, choice in chosen.items()}
        emit({**dataclasses.asdict(profile), "chosen": choices, "failed": failed, "late_ms": late})
    else:
        show_trials(trials, profile, settings)
        for name, ms in late.items():
            said = f"DEADLINE MISSED: {name} takes {ms:.1f} ms with its fastest certified build, expected at most "
            click.secho(f"{said}{settings.deadline_ms:g} ms", fg="red", bold=True, err=True)
        click.echo(f"Remembered in {settings.profile_path}; the node takes it from there.")
    context.exit(FAILED if late else OK)


def show_trials(trials: list[Trial], profile: Profile, settings: Settings) -> None:
    """A table with bars: each build on each engine in its best shape, what was chosen and why."""
    from rich.table import Table

    from wetread import infer

    table = Table("model", "build", "engine", "one image, ms", "", "images/s", "threads", "streams", "batch", "")
    for one in trials:
        choice = infer.choose(one.model, profile, settings.engine, settings.build, settings.threads)
        mine = [other for other in trials if other.model.id == one.model.id and other.rows]
        if not one.rows:
            table.add_row(one.model.id, one.choice.build, one.choice.engine, "[red]failed", one.failure[:80])
            continue
        best, slowest = infer.shape(one.rows), max(infer.shape(other.rows).median_ms for other in mine)
        chosen = (choice.build, choice.engine) == (one.choice.build, one.choice.engine)
        table.add_row(
            *(one.model.id, one.choice.build, one.choice.engine, f"{best.median_ms:.2f}"),
            "▇" * max(1, round(16 * best.median_ms / slowest)),
            *(f"{best.images_s:.0f}", str(best.threads or "all"), str(best.streams), str(best.batch)),
            "[green]chosen" if chosen else "",
        )
    console().print(table)
    order = ", ".join(infer.PREFERENCE)
    click.echo(f"Chosen: among the builds within {infer.NEARLY:g} times of the fastest, the first of {order}.")


@commands.command()
@json_option
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Say what is installed, which engines work, what is missing and how to get it."""
    from wetread.serve import doctor as checks

    rows = checks.examine(settings_of(context))
    if as_json:
        emit([dataclasses.asdict(row) for row in rows])
    else:
        for row in rows:
            mark = click.style("ok     ", fg="green") if row.ok else click.style("missing", fg="yellow")
            click.echo(f"{mark}  {row.what:28} {row.found}" + (f"\n         {row.remedy}" if row.remedy else ""))
    context.exit(OK if all(row.ok or row.optional for row in rows) else FAILED)


@commands.command()
@click.option("--ae-title", help="Our AE title.")
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="DICOM port.")
@click.option("--http-port", type=int, help="Port of /health, /ready and /metrics.")
@click.option("--destination", "destinations", multiple=True, help="Where results go: AE@host:port; repeatable.")
@click.option("--peer", "peers", multiple=True, help="Who may call: AE@address or AE@network; repeatable.")
@json_option
@click.pass_context
def serve(
    context: click.Context,
    /,
    destinations: tuple[str, ...],
    peers: tuple[str, ...],
    as_json: bool,
    **given: Any,
) -> None:
    """Run the node: C-STORE in, wet read, results out by C-STORE."""
    from wetread.serve.node import run
    from wetread.wire.access import who_may_call

    given = {"destinations": ",".join(destinations) or None, "peers": ",".join(peers) or None, **given}
    settings = settings_of(context, **given)

    def started(node: Node) -> None:
        if as_json:
            click.echo(json.dumps({"ae_title": settings.ae_title, "port": node.port, "http_port": node.http_port}))
        else:
            click.echo(f"{settings.ae_title} listens on {settings.host}:{node.port}; ", nl=False)
            scheme = "https" if settings.http_tls else "http"
            click.echo(f"health and metrics on {scheme}://{settings.http_host}:{node.http_port}; Ctrl-C ends it.")
            click.echo(who_may_call(settings))
            click.secho(NOTICE, dim=True)

    run(settings, started)


@commands.group("jobs")
def job_verbs() -> None:
    """What the node has to do: list, show, retry what failed, cancel what waits; also while it runs."""


@contextmanager
def desk_of(context: click.Context) -> Iterator[Desk]:
    """The index of the state folder that the settings name."""
    from wetread.jobs.desk import Desk

    settings = settings_of(context)
    desk = Desk(settings.state_dir, settings.index_url)
    try:
        yield desk
    finally:
        desk.close()


@job_verbs.command("list")
@click.option("--state", default="", help="Only jobs in this state, e.g. FAILED.")
@click.option("--limit", default=50, show_default=True, help="The newest so many.")
@json_option
@click.pass_context
def list_jobs(context: click.Context, state: str, limit: int, as_json: bool) -> None:
    """List jobs, the newest first: state, tries, documents that wait or were given up."""
    from wetread.jobs.states import State

    if state and state.upper() not in State.__members__:
        raise BadInput(f"--state: expected one of {', '.join(State)}, got {state!r}")
    with desk_of(context) as desk:
        rows = desk.jobs(State(state.upper()) if state else None, limit)
    if as_json:
        emit(rows)
    else:
        click.echo(f"{'job':>6} {'state':10} {'tries':>5} {'queued':>6} {'dead':>5} {'age s':>9}  reason")
        for row in rows:
            told = f"{row['job']:>6} {row['state']:10} {row['tries']:>5} {row['queued']:>6} {row['dead']:>5}"
            click.echo(f"{told} {row['age_s']:>9}  {row['reason']}")


@job_verbs.command("show")
@click.argument("job", type=int)
@json_option
@click.pass_context
def show_job(context: click.Context, job: int, as_json: bool) -> None:
    """Show one job, its documents on their way, and what a person should know."""
    with desk_of(context) as desk:
        found = desk.show(job)
    if as_json:
        emit(found)
        return
    for key, value in found.items():
        if key != "deliveries":
            click.echo(f"{key:15} {', '.join(value) if isinstance(value, list) else value}")
    for row in found["deliveries"]:
        click.echo(
            f"  {row['state']:9} {row['kind']:5} to {row['destination']}, {row['tries']} rejections {row['status']}"
        )


@job_verbs.command("retry")
@click.argument("job", type=int)
@json_option
@click.pass_context
def retry_job(context: click.Context, job: int, as_json: bool) -> None:
    """Send again what was given up, or read again what could not be read."""
    with desk_of(context) as desk:
        say(as_json, "state", {"job": job, "state": desk.retry(job)})


@job_verbs.command("cancel")
@click.argument("job", type=int)
@json_option
@click.pass_context
def cancel_job(context: click.Context, job: int, as_json: bool) -> None:
    """End what waits of a job; what was received stays, what was sent stays sent."""
    with desk_of(context) as desk:
        say(as_json, "state", {"job": job, "state": desk.cancel(job)})


@commands.group("withheld")
def withheld_verbs() -> None:
    """Results that go nowhere, as an order is about another patient: list, and release or discard after a look."""


@withheld_verbs.command("list")
@json_option
@click.pass_context
def list_withheld(context: click.Context, as_json: bool) -> None:
    """List what is withheld: the study, and the order that contradicts it."""
    with desk_of(context) as desk:
        rows = desk.withheld()
    if as_json:
        emit(rows)
    for row in () if as_json else rows:
        said = f"{row['documents']} documents of study {row['study_uid']}, order {row['placer']} {row['accession']}"
        click.echo(f"{row['job']:>6} {row['reason']}  {said}, {row['age_s']:.0f} s ago")


@withheld_verbs.command("release")
@click.argument("job", type=int)
@json_option
@click.pass_context
def release_withheld(context: click.Context, job: int, as_json: bool) -> None:
    """Deliver what is withheld of a job, without the order: the study is right as it is."""
    with desk_of(context) as desk:
        say(as_json, "state", {"job": job, "state": desk.release(job)})


@withheld_verbs.command("discard")
@click.argument("job", type=int)
@json_option
@click.pass_context
def discard_withheld(context: click.Context, job: int, as_json: bool) -> None:
    """Never deliver what is withheld of a job; the images stay."""
    with desk_of(context) as desk:
        say(as_json, "state", {"job": job, "state": desk.discard(job)})


@commands.command()
@click.argument("studies", nargs=-1, required=True, metavar="STUDY...")
@click.option("--explain", is_flag=True, help="Show each rule: whether it fits, and which condition does not hold.")
@click.option("--calling-ae", default="", help="Of files: who would send them.")
@click.option("--called-ae", default="", help="Of files: by which title it would call us.")
@click.option("--at", type=click.DateTime(["%Y-%m-%dT%H:%M"]), help="Of files: when they would come; default: now.")
@json_option
@click.pass_context
def route(
    context: click.Context,
    studies: tuple[str, ...],
    explain: bool,
    calling_ae: str,
    called_ae: str,
    at: datetime | None,
    as_json: bool,
) -> None:
    """Say what the rules decide for files, folders or jobs of the node: models, lane, destinations, documents."""
    from wetread.contain.children import Children
    from wetread.contain.decoder import decoder
    from wetread.jobs.explained import explained
    from wetread.records import Sender

    settings = settings_of(context)
    sender = Sender(calling_ae, called_ae or settings.ae_title, at or datetime.now())
    rows = []
    with Children(settings) as children:
        decoding = decoder(children)
        for study in studies:
            if study.isdecimal() and not Path(study).exists():
                with desk_of(context) as desk:
                    files, senders = desk.objects(int(study))
                rows += explained(decoding.decode(files, settings), settings, senders)
            else:
                rows += explained(decoding.load([Path(study)], settings), settings, sender)
    if as_json:
        emit(rows)
        return
    for row in rows:
        show_route(row, explain)
    if not settings.routes:
        click.echo("No rules: every model may read, and every destination gets everything. Rules are [[routes]].")


def show_route(row: dict[str, Any], explain: bool) -> None:
    """A table for people: what is decided for one film or series, by which rule, and on demand why."""
    from rich.markup import escape
    from rich.table import Table

    def by(*said: str) -> str:
        rules = dict.fromkeys(row["decided"][one] for one in said if one in row["decided"])
        return escape(f"  by {', '.join(rules)}" if rules else "")

    table = Table(title=escape(row["source"]), title_justify="left", title_style="bold", show_header=False)
    if row["refusal"]:
        told = "{code}: {sentence} {detail}".format(**row["refusal"])
        table.add_row("[bold yellow]not read", escape(told) + by("models"))
    else:
        table.add_row("read by", ", ".join(row["models"]) + by("models"))
    for told in row["not_read"]:
        table.add_row(f"[bold yellow]not by {told['model']}", escape(f"{told['code']}: {told['detail']}"))
    table.add_row("lane", row["lane"] + by("lane"))
    for one in row["destinations"] or [{"name": "no destination", "documents": []}]:
        name, title = one["name"], one["name"].partition("@")[0]
        documents = ", ".join(one["documents"]) + by(f"documents {name}", f"documents {title}")
        table.add_row("to", escape(name) + by("destinations"))
        table.add_row("", documents)
    for rule in row["rules"] if explain else ():
        table.add_row(escape(rule["rule"]), escape(why(rule)))
    console().print(table)


def why(rule: dict[str, Any]) -> str:
    """Say why a rule fits or does not, and what of it counts."""
    asked = [one for one in rule["conditions"] if one["held"] == rule["fits"]]
    told = [f"{one['condition']} {one['got']!r}, asked for {' or '.join(one['expected'])}" for one in asked]
    if not rule["fits"]:
        return f"does not fit: {'; '.join(told)}"
    taken = [one for one in rule["says"] if one not in rule["counts"]]
    counts = f"decides {', '.join(rule['counts'])}" if rule["counts"] else "decides nothing"
    above = f"; a rule above said {', '.join(taken)}" if taken else ""
    return f"fits: {'; '.join(told) or 'it asks for nothing'}; {counts}{above}"


def destination_of(settings: Settings, text: str) -> Destination:
    """The destination, archive or worklist that the settings name so, or AE@host:port, or NAME@URL."""
    known = (one for one in (*settings.destinations, *settings.archives, *settings.worklists) if one.ae_title == text)
    return next(known, None) or parse_destination(text)


@commands.command()
@click.argument("destination")
@json_option
@click.pass_context
def echo(context: click.Context, destination: str, as_json: bool) -> None:
    """C-ECHO AE@host:port, try NAME@mllp://host:port or NAME@fhir+https://host, or a destination of the settings."""
    from wetread.wire.deliver import echo

    settings = settings_of(context)
    start = time.perf_counter()
    did = echo(destination_of(settings, destination), settings.ae_title, settings.peer_timeout_s)
    ms = (time.perf_counter() - start) * 1e3
    if as_json:
        emit({"destination": destination, "ok": True, "ms": round(ms, 1)})
    else:
        click.echo(f"{destination} {did} ({ms:.0f} ms)")


@commands.command()
@click.argument("destination")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@json_option
@click.pass_context
def send(context: click.Context, destination: str, paths: tuple[Path, ...], as_json: bool) -> None:
    """Send files to AE@host:port (C-STORE), NAME@URL (STOW-RS, or HL7 by mllp://) or a destination's AE title."""
    from wetread.wire.deliver import STORED, deliver

    settings = settings_of(context)
    files = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    files = [file for file in files if file.is_file()]
    if not files:
        raise BadInput(f"{paths[0]}: expected a file or a folder of them, found none")
    place, items = destination_of(settings, destination), [file.read_bytes() for file in files]
    if place.deidentify:
        raise SettingsError(f"destination {destination}: gets de-identified copies; make them by `wetread deidentify`")
    statuses = deliver(place, items, settings.ae_title, settings.peer_timeout_s)
    rows = [{"file": str(file), "status": f"0x{status:04X}"} for file, status in zip(files, statuses, strict=True)]
    if as_json:
        emit(rows)
    else:
        for row in rows:
            click.echo(f"{row['status']}  {row['file']}")
    context.exit(OK if all(status in STORED for status in statuses) else FAILED)


#: What selects a study of an archive, and its DICOM keyword.
SELECTS = {
    "study": "StudyInstanceUID",
    "accession": "AccessionNumber",
    "patient": "PatientID",
    "date": "StudyDate",
    "modality": "ModalitiesInStudy",
}


@commands.command()
@click.argument("archive")
@click.option("--study", default="", help="Study Instance UID.")
@click.option("--accession", default="", help="Accession number.")
@click.option("--patient", default="", help="Patient ID; its studies, priors too.")
@click.option("--date", default="", help="Study Date: 20261128, or a range such as 20250101-20261128 or -20261128.")
@click.option("--modality", default="", help="Only studies with this modality.")
@click.option("--most", default=20, show_default=True, help="With more studies than these nothing is pulled.")
@click.option("--to", "folder", type=click.Path(path_type=Path), help="Into this folder; without it, into the node.")
@click.option("--dry-run", is_flag=True, help="Only list what would come.")
@json_option
@click.pass_context
def pull(
    context: click.Context, /, archive: str, folder: Path | None, dry_run: bool, as_json: bool, **given: Any
) -> None:
    """Fetch studies from an archive: AE@host:port, NAME@URL of DICOMweb, or the AE title of one in the settings.

    Into the node by C-MOVE: the archive must know its AE title, host and port.  Into a folder by C-GET.  From a
    URL by WADO-RS, into the node through its HTTP port.
    """
    from rich.progress import Progress

    from wetread.acquire import SYNTAXES
    from wetread.serve.pull import matching, way
    from wetread.wire.retrieve import Archive

    settings = settings_of(context)
    limits = settings.idle_timeout_s, settings.max_object_bytes
    peer = Archive(destination_of(settings, archive), settings.ae_title, *limits)
    bring = way(peer, settings, folder, tuple(SYNTAXES))
    studies = matching(peer, {keyword: given[name] for name, keyword in SELECTS.items()}, given["most"])
    with Progress(console=console(to_error=True), disable=as_json or dry_run, transient=True) as bar:
        for study in () if dry_run else studies:
            task = bar.add_task(f"{study.study_date} {study.modalities}", total=study.expected or None)

            def tell(now: Pulled, task: Any = task) -> None:
                bar.update(task, completed=now.completed + now.failed, total=now.expected or None)

            bring(study, tell)
    if as_json:
        emit([dataclasses.asdict(study) for study in studies])
    else:
        show_pulled(studies, dry_run)
    missing = not dry_run and any(one.failed or one.completed < one.expected or not one.completed for one in studies)
    context.exit(FAILED if missing or not studies else OK)


#: What selects scheduled steps of a worklist, and its DICOM keyword.
STEPS = {
    "study": "StudyInstanceUID",
    "accession": "AccessionNumber",
    "date": "ScheduledProcedureStepStartDate",
    "modality": "Modality",
    "station": "ScheduledStationAETitle",
}


@commands.command()
@click.argument("archive")
@click.option("--date", default="", help="20261128, a range such as 20261128-20261205, or any; without it, today.")
@click.option("--modality", default="", help="Only steps of this modality.")
@click.option("--station", default="", help="Only steps for the device with this AE title.")
@click.option("--accession", default="", help="Only those of this accession number, of any date.")
@click.option("--study", default="", help="Only those of this Study Instance UID, of any date.")
@click.option("--most", default=200, show_default=True, help="No more answers than these are taken.")
@json_option
@click.pass_context
def worklist(context: click.Context, /, archive: str, most: int, as_json: bool, **given: str) -> None:
    """List the scheduled procedure steps of a worklist: AE@host:port, or an AE title in the settings.

    Nothing of the patient is asked for.
    """
    from wetread.wire.worklist import scheduled

    settings = settings_of(context)
    if not given["date"] and not given["accession"] and not given["study"]:
        given["date"] = time.strftime("%Y%m%d")
    keys = {keyword: given[name] for name, keyword in STEPS.items() if given[name] not in ("", "any")}
    asked = destination_of(settings, archive)
    if asked.url:
        raise click.UsageError("expected AE@host:port: scheduled steps are asked for by C-FIND; got a url")
    steps, whole = scheduled(asked, keys, settings.ae_title, settings.peer_timeout_s, most)
    if as_json:
        emit([dataclasses.asdict(step) for step in steps])
    else:
        show_steps(steps)
    if not whole:
        click.echo(f"There are more than {most}; narrow them, or raise --most.", err=True)


def show_steps(steps: list[Step]) -> None:
    """A table for people: what is scheduled."""
    from rich.table import Table

    if not steps:
        click.echo("Nothing is scheduled that matches.")
        return
    table = Table("date", "time", "modality", "station", "priority", "accession", "step", "study")
    for one in steps:
        urgent = f"[red]{one.priority}" if one.priority in ("STAT", "HIGH") else one.priority
        what = one.description or one.procedure
        table.add_row(one.date, one.time[:4], one.modality, one.station_ae, urgent, one.accession, what, one.study_uid)
    console().print(table)


def show_pulled(studies: list[Pulled], dry_run: bool) -> None:
    """A table for people: what came of each study, or would come."""
    from rich.table import Table

    if not studies:
        click.echo("No study matches.")
        return
    columns = ("", "") if dry_run else ("came", "failed")
    table = Table("date", "modalities", "description", "objects", *columns, "study")
    for one in studies:
        came = ("", "") if dry_run else (str(one.completed), f"[red]{one.failed}" if one.failed else "0")
        table.add_row(one.study_date, one.modalities, one.description, str(one.expected or "?"), *came, one.study_uid)
    console().print(table)


@commands.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@json_option
@click.pass_context
def check(context: click.Context, paths: tuple[Path, ...], as_json: bool) -> None:
    """Judge SR, SEG, PM, SC, KOS, GSPS, PDF and label maps against our table of the standard's rules."""
    from wetread import report

    found = {str(path): [dataclasses.asdict(p) for p in report.check(path.read_bytes())] for path in paths}
    if as_json:
        emit(found)
    else:
        for path, problems in found.items():
            click.echo(f"{path}: {'no problem' if not problems else f'{len(problems)} problems'}")
            for problem in problems:
                click.echo(f"  {problem['sentence']} [{problem['clause']}]")
    context.exit(OK if not any(found.values()) else FAILED)


@commands.command()
@click.option("--out", type=click.Path(path_type=Path), help="Folder for its pages, instead of printing them.")
@json_option
@click.pass_context
def conformance(context: click.Context, out: Path | None, as_json: bool) -> None:
    """Give the DICOM conformance statement (PS3.2) of this node, made from its code and settings."""
    from wetread.serve.conformance import pages

    made = pages(settings_of(context))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in made.items():
            (out / name).write_text(text, encoding="utf-8")
    if as_json:
        emit(made)
    elif out is None:
        click.echo("\n".join(made.values()))


@commands.command()
@click.argument("film", required=False, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=Path("out/demo"), help="Folder for the documents.")
@json_option
@click.pass_context
def demo(context: click.Context, film: Path | None, out: Path, as_json: bool) -> None:
    """Start a node, a small PACS and a small record on loopback, send a film, show the wet read, end."""
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
@click.argument("key", type=click.Path(path_type=Path))
@json_option
def jwks(key: Path, as_json: bool) -> None:
    """Print the public half of a client key, always as JSON, to register us with a record's authorization server."""
    from wetread.wire.smart import jwks as public

    emit(public(key))


@commands.group(epilog="Needs the extra `lab`: pip install 'wetread[lab]'.")
def lab() -> None:
    """Train, prune, quantize, export, certify and evaluate models; long work goes on where it was cut off."""


data_option = click.option(
    "--data",
    envvar="WETREAD_DATA",
    default="../shared/data",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder that holds the training images.",
)
run_option = click.option(
    "--run",
    "folder",
    default="out/lab",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder of checkpoints, curves and builds.",
)
accept_option = click.option(
    "--accept-leakage", "accepted", default="", metavar="REASON", help="Use a split that fails its audit; recorded."
)


@contextmanager
def lab_extra() -> Iterator[None]:
    """Say how to get the lab's libraries when one is missing."""
    try:
        yield
    except ImportError as error:
        raise SettingsError(f"lab: {error.name} is not installed; pip install 'wetread[lab]'") from error


def lab_commands() -> Any:
    """The lab's functions; torch is imported here and nowhere else."""
    with lab_extra():
        from wetread.lab import commands as lab_functions
    return lab_functions


def say(as_json: bool, what: str, outcome: Any) -> None:
    """Print where something was written, or what was found."""
    if as_json or not isinstance(outcome, Path):
        emit(outcome)
    else:
        click.echo(f"{what}: {outcome}")


@lab.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--label", default="", help="Column of the class.")
@click.option("--positive", default="", help="The class that counts; all others are one.")
@click.option("--patient", default="", help="Column of the patient.")
@click.option("--patient-from", default="", help="Pattern of the file's path; its first group is the patient.")
@click.option("--fact", "facts", multiple=True, help="Column that must not tell the class, e.g. ward; repeatable.")
@click.option("--split", default="", help="patients:K, images:K, folders, or a column; default: split, or patients:5.")
@accept_option
@click.option("--out", type=click.Path(path_type=Path), default=Path("out/lab/audit"), show_default=True)
@json_option
@click.pass_context
def data(context: click.Context, /, folders: tuple[Path, ...], out: Path, as_json: bool, **given: Any) -> None:
    """Audit data before training: leaks across the split, shortcuts, and what trivial rivals reach."""
    import numpy as np

    from wetread import acquire

    with lab_extra():
        from wetread.lab import audit as room

    settings = settings_of(context)
    split, accepted, pattern = given.pop("split"), given.pop("accepted").strip(), given.pop("patient_from")
    columns = room.Columns(patient_pattern=pattern, **given)
    masks = acquire.marked(folders, settings)

    def decode(path: Path) -> Decoded | None:
        described = acquire.described(path, settings)
        if described is None:
            return None
        pixels, patient, about, uids = described
        marks = [masks[uid] for uid in uids if uid in masks]
        return room.Decoded(pixels, patient, about, np.stack(marks) if len(marks) == len(pixels) else None)

    found = room.audit(folders, columns, split, accepted, decode)
    files = room.write_audit(found, out)
    if as_json:
        emit({**found.document(), "files": [str(file) for file in files]})
    else:
        for table in room.tables(found.document()):
            console().print(table)
        click.echo(f"Written to {out}: {', '.join(file.name for file in files)}")
        click.secho(found.sentence, fg="red" if found.refused else "green")
    context.exit(NOT_READ if found.refused else OK)


@lab.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("description", type=click.Path(path_type=Path))
@json_option
@click.pass_context
def take_in(context: click.Context, source: Path, description: Path, as_json: bool) -> None:
    """Make a model folder of a MONAI bundle, an ONNX file or weights; a TOML file says what it is."""
    with lab_extra():
        from wetread.lab.intake.take import take_in
    folder = take_in(source, description, settings_of(context).models_dir)
    if as_json:
        emit({"folder": folder, "certified": False})
    else:
        click.echo(f"{folder}: imported, not certified: it does not load")


@lab.command()
@click.argument("recipe")
@click.option("--epochs", type=int, help="Instead of the recipe's number.")
@click.option("--fold", type=int, help="Train only this fold, of a recipe with folds; all of them by default.")
@click.option("--fresh", is_flag=True, help="Start anew instead of going on from the checkpoint.")
@accept_option
@data_option
@run_option
@json_option
def train(
    recipe: str,
    epochs: int | None,
    fold: int | None,
    fresh: bool,
    accepted: str,
    data: Path,
    folder: Path,
    as_json: bool,
) -> None:
    """Train a model by its recipe, a name such as ct-lungs or a TOML file; its data are audited first."""
    from wetread.lab import audit as room

    told = lab_commands().ask(recipe, data, folder, accepted.strip())
    if not as_json:
        for table in room.tables(told):
            console().print(table)
    for weights in lab_commands().train(recipe, data, folder, resume=not fresh, epochs=epochs, fold=fold):
        say(as_json, "weights", weights)


@lab.command()
@click.argument("model")
@data_option
@run_option
@json_option
def prune(model: str, data: Path, folder: Path, as_json: bool) -> None:
    """Cut channels from a trained model and let it learn from its parent."""
    say(as_json, "weights", lab_commands().prune(model, data, folder))


@lab.command()
@click.argument("names", nargs=-1, type=click.Choice(["cardiac", "kermany"]))
@data_option
@run_option
@click.option("--evidence", type=click.Path(path_type=Path), default=Path("docs/evidence"), show_default=True)
@json_option
def compare(names: tuple[str, ...], data: Path, folder: Path, evidence: Path, as_json: bool) -> None:
    """Train U-Net, EfficientNet and Transformer on the same images and measure each: figures, size, time."""
    say(as_json, "architectures", lab_commands().compare(names, data, folder, evidence))


@lab.command()
@click.argument("model")
@run_option
@json_option
def export(model: str, folder: Path, as_json: bool) -> None:
    """Write the float builds of a model as ONNX."""
    say(as_json, "builds", lab_commands().export(model, folder))


@lab.command()
@click.argument("model")
@click.option("--aware", is_flag=True, help="Train it to be rounded first: for a build that failed its certificate.")
@data_option
@run_option
@json_option
@click.pass_context
def quantize(context: click.Context, model: str, aware: bool, data: Path, folder: Path, as_json: bool) -> None:
    """Write the int8 builds of a model, calibrated on training images."""
    models = settings_of(context).models_dir
    say(as_json, "builds", lab_commands().quantize(model, data, folder, models, aware=aware))


@lab.command()
@click.argument("model")
@data_option
@run_option
@click.option("--evidence", type=click.Path(path_type=Path), default=Path("docs/evidence"), show_default=True)
@json_option
@click.pass_context
def gate(context: click.Context, model: str, data: Path, folder: Path, evidence: Path, as_json: bool) -> None:
    """Try a certified model on damaged images, and fix the gate that is to refuse those it falls on."""
    say(as_json, "gate", lab_commands().gate(model, data, folder, settings_of(context).models_dir, evidence))


@lab.command()
@click.argument("model")
@run_option
@click.option("--evidence", type=click.Path(path_type=Path), default=Path("docs/evidence"), show_default=True)
@json_option
@click.pass_context
def sweep(context: click.Context, model: str, folder: Path, evidence: Path, as_json: bool) -> None:
    """Measure every build of a certified model here: the accuracy-latency front, and what is worth shipping."""
    from rich.table import Table

    found = lab_commands().sweep(model, folder, settings_of(context).models_dir, evidence)
    if as_json:
        emit(found)
        return
    table = Table("build", "engine", "p50, ms", "p95, ms", "MB", "front", "worth shipping")
    for one in sorted(found["points"], key=lambda one: one["p50_ms"]):
        times = [f"{one[key]:.1f}" for key in ("p50_ms", "p95_ms")]
        front = "yes" if one["front"] else "no"
        table.add_row(one["build"], one["engine"], *times, f"{one['megabytes']:.2f}", front, one["worth"])
    console().print(table)
    click.echo(f"Written to {evidence}: sweep-{found['model']}.json, .md, .svg; times are of this machine")


@lab.command()
@click.argument("model")
@click.option(
    "--data",
    "folders",
    envvar="WETREAD_DATA",
    default=("../shared/data",),
    show_default=True,
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder that holds the training images; for an imported model your images, repeatable.",
)
@run_option
@click.option("--label", default="", help="Imported model: column of the class.")
@click.option("--positive", default="", help="Imported model with one label: the class that it means.")
@click.option("--patient", default="", help="Imported model: column of the patient.")
@click.option("--patient-from", default="", help="Imported model: pattern of the path; its first group is the patient.")
@click.option("--split", default="", help="Imported model: as of `lab data`; nothing is judged on the first part.")
@click.option("--accept-leakage", "accepted", default="", metavar="REASON", help="Use a split that fails; recorded.")
@click.option("--sensitivity", default=0.0, help="Imported classifier: fix the threshold so, on the part set aside.")
@json_option
@click.pass_context
def certify(
    context: click.Context, /, model: str, folders: tuple[Path, ...], folder: Path, as_json: bool, **given: Any
) -> None:
    """Compare each build of a model with its parent; those that pass go to the models folder.

    MODEL is a recipe, or the folder of an imported model, which is judged on your own images.
    """
    if not (Path(model) / "model.toml").is_file():
        say(True, "certificate", lab_commands().certify(model, folders[0], folder, settings_of(context).models_dir))
        return
    certificate = lab_commands().certify_imported(Path(model), folders, **given)
    if as_json:
        emit(certificate)
    else:
        show_certificate(certificate)
        click.echo(f"The figures beside the trivial rivals: {Path(model) / 'card.md'}")


def show_certificate(certificate: dict[str, Any]) -> None:
    """Print which builds answer as their parent does."""
    from rich.table import Table

    table = Table("build", "engine", "metric", "value", "difference, 95 %", "passed", title=certificate["data"][0])
    for row in certificate["builds"]:
        low, high = row["interval_95"]
        change = f"{row['difference']:+.4f} ({low:+.4f} to {high:+.4f})"
        passed = "yes" if row["passed"] else "no: does not load"
        table.add_row(row["build"], row["engine"], row["metric"], f"{row['value']:.4f}", change, passed)
    console().print(table)


@lab.command()
@click.argument("model")
@data_option
@run_option
@click.option("--evidence", type=click.Path(path_type=Path), default=Path("docs/evidence"), show_default=True)
@json_option
@click.pass_context
def evaluate(context: click.Context, model: str, data: Path, folder: Path, evidence: Path, as_json: bool) -> None:
    """Compute every figure of a model and write its card; that of one that does not ship goes to --evidence."""
    models_dir = settings_of(context).models_dir
    say(as_json, "figures", lab_commands().evaluate(model, data, folder, models_dir, evidence))


def ledger_of(context: click.Context, path: Path | None) -> Ledger:
    """The ledger that a verb names, or that of the state folder."""
    from wetread.acquire.deidentify import Ledger

    return Ledger(path or settings_of(context).ledger_path)


ledger_option = click.option(
    "--ledger", type=click.Path(path_type=Path), help="Secret and way back; by default in the state folder. Keep it."
)


@commands.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the copies.")
@click.option(
    "--keep", multiple=True, help="Option of the profile; repeatable. Without: shifted-dates, descriptors, patient."
)
@click.option("--pixels-clean", is_flag=True, help="You looked: no text is burned in where the object does not say so.")
@ledger_option
@json_option
@click.pass_context
def deidentify(
    context: click.Context,
    paths: tuple[Path, ...],
    out: Path,
    keep: tuple[str, ...],
    pixels_clean: bool,
    ledger: Path | None,
    as_json: bool,
) -> None:
    """Copy DICOM images without what identifies (PS3.15 Annex E), for research or a cloud."""
    from wetread.acquire.deidentify import Profile
    from wetread.acquire.deidentify import deidentify as copied

    profile = dataclasses.replace(Profile(), pixels_clean=pixels_clean)
    profile = dataclasses.replace(profile, options=frozenset(keep)) if keep else profile
    with ledger_of(context, ledger) as book:
        rows = rewritten(paths, out, lambda data: copied(data, profile, book).data)
    told_rewritten(context, rows, as_json)


@commands.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the results.")
@ledger_option
@json_option
@click.pass_context
def reidentify(context: click.Context, paths: tuple[Path, ...], out: Path, ledger: Path | None, as_json: bool) -> None:
    """Give results that were made on de-identified copies the identity of their study."""
    from wetread.acquire.deidentify import reidentify as returned

    with ledger_of(context, ledger) as book:
        rows = rewritten(paths, out, lambda data: returned(data, book))
    told_rewritten(context, rows, as_json)


def rewritten(paths: tuple[Path, ...], out: Path, change: Callable[[bytes], bytes]) -> list[dict[str, str]]:
    """Write what becomes of each file under a number; its old name may hold a patient's."""
    files = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    files = [file for file in files if file.is_file()]
    if not files:
        raise BadInput(f"{paths[0]}: expected a DICOM file or a folder of them, found no file")
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, file in enumerate(files, 1):
        place = out / f"{number:06d}.dcm"
        try:
            place.write_bytes(change(file.read_bytes()))
            rows.append({"file": str(file), "copy": str(place), "refused": ""})
        except BadInput as error:
            rows.append({"file": str(file), "copy": "", "refused": str(error)})
    return rows


def told_rewritten(context: click.Context, rows: list[dict[str, str]], as_json: bool) -> None:
    """Say what was written and what was not; exit 4 if anything was refused."""
    refused = [row for row in rows if row["refused"]]
    if as_json:
        emit(rows)
    else:
        for row in refused:
            click.echo(f"{row['file']}: {row['refused']}", err=True)
        click.echo(f"{len(rows) - len(refused)} written, {len(refused)} refused")
    context.exit(BAD_INPUT if refused else OK)


@commands.command("settings")
@json_option
@click.pass_context
def show_settings(context: click.Context, as_json: bool) -> None:
    """List every setting: value in force, unit, help, and the name of its environment variable."""
    settings = settings_of(context)
    rows = [
        {
            "name": f.name,
            "value": re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", str(getattr(settings, f.name))),
            "unit": f.metadata["unit"],
            "help": f.metadata["help"],
        }
        for f in dataclasses.fields(Settings)
    ]
    if as_json:
        emit(rows)
        return
    for row in rows:
        click.echo(f"WETREAD_{row['name'].upper():20} {row['value']:28} {row['help']}")


@commands.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell: `eval "$(wetread completion bash)"`."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise SettingsError(f"shell: expected bash, zsh or fish, got {shell!r}")
    click.echo(kind(commands, {}, "wetread", "_WETREAD_COMPLETE").source())


if __name__ == "__main__":
    main()
