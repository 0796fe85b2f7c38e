"""Verbs that speak with archives, worklists and records."""

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
    OK,
    bytes_of,
    commands,
    console,
    dicom_of,
    emit,
    files_of,
    json_option,
    plain,
    settings_of,
    visible,
)
from wetread.errors import BadInput, SettingsError
from wetread.settings import Destination, Settings, parse_destination

if TYPE_CHECKING:
    from wetread.serve.pull import Pulled
    from wetread.wire.worklist import Step


def destination_of(settings: Settings, text: str, first: Sequence[Destination] = ()) -> Destination:
    """The destination, archive or worklist that the settings name so, or AE@host:port, or NAME@URL.

    Parameters
    ----------
    first
        Those that a verb is about: a RIS may be a worklist and, at another address, a destination.

    Raises
    ------
    SettingsError
        It is none of these.
    """
    known = (*first, *settings.destinations, *settings.archives, *settings.worklists)
    for one in known:
        if one.ae_title == text:
            return one
    if "@" not in text:
        titles = ", ".join(dict.fromkeys(one.ae_title for one in known)) or "none"
        told = f"expected AE@host:port, NAME@URL or a title of the settings file (--config), which has {titles}"
        raise SettingsError(f"destination: {told}; got {text!r}")
    return parse_destination(text)


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
@click.argument("paths", nargs=-1, required=True, type=FILE)
@json_option
@click.pass_context
def send(context: click.Context, destination: str, paths: tuple[Path, ...], as_json: bool) -> None:
    """Send files to AE@host:port (C-STORE), NAME@URL (STOW-RS, or HL7 by mllp://) or a destination's AE title."""
    from wetread.wire.deliver import STORED, deliver

    settings = settings_of(context)
    place = destination_of(settings, destination)
    if place.deidentify:
        raise SettingsError(f"destination {destination}: gets de-identified copies; make them by `wetread deidentify`")
    files = dicom_of(paths) if place.protocol in ("dimse", "dicomweb") else files_of(paths)
    items = proven(place, files, paths)
    statuses = deliver(place, list(items.values()), settings.ae_title, settings.peer_timeout_s)
    rows = [{"file": str(file), "status": f"0x{status:04X}"} for file, status in zip(items, statuses, strict=True)]
    if as_json:
        emit(rows)
    else:
        for row in rows:
            click.echo(visible(f"{row['status']}  {row['file']}"))
    context.exit(OK if len(items) == len(files) and all(status in STORED for status in statuses) else FAILED)


def proven(place: Destination, files: Sequence[Path], named: Sequence[Path]) -> dict[Path, bytes]:
    """What is sent, before anything is connected; what is wrong is told by its name, and ends it if a person named it.

    Raises
    ------
    BadInput
        A file that was named, or every one, cannot be read or is no document of the destination's protocol.
    """
    from wetread.wire.deliver import proof

    items = {}
    for file in files:
        try:
            data = bytes_of(file)
            proof(place, data)
            items[file] = data
        except BadInput as error:
            if file in named or (file == files[-1] and not items):
                raise BadInput(f"{file}: {error}") from error
            click.echo(visible(f"{file}: not sent: {error}"), err=True)
    return items


def date_of(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    """A date or a range of them as DICOM has it; what an archive makes of another text nobody knows."""
    days = [day for day in text.split("-", 1) if day]
    try:
        for day in days:
            time.strptime(day, "%Y%m%d")
    except ValueError:
        days = [""]
    if text and (not days or any(len(day) != 8 for day in days)):
        raise click.BadParameter(f"expected 20261128, or a range such as 20250101-20261128, got {text!r}")
    return text


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
@click.option(
    "--date",
    default="",
    callback=date_of,
    help="Study Date: 20261128, or a range such as 20250101-20261128 or -20261128.",
)
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
    from wetread.serve.pull import SELECTION, matching, selective, way
    from wetread.wire.retrieve import Archive

    keys = {keyword: given[name] for name, keyword in SELECTS.items()}
    if not selective(keys):
        raise click.UsageError(SELECTION)
    settings = settings_of(context)
    limits = settings.idle_timeout_s, settings.max_object_bytes
    peer = Archive(destination_of(settings, archive, settings.archives), settings.ae_title, *limits)
    bring = way(peer, settings, folder, tuple(SYNTAXES))
    studies = matching(peer, keys, given["most"])
    with Progress(console=console(to_error=True), disable=as_json or dry_run, transient=True) as bar:
        for study in () if dry_run else studies:
            task = bar.add_task(plain(f"{study.study_date} {study.modalities}"), total=study.expected or None)

            def tell(now: Pulled, task: Any = task) -> None:
                bar.update(task, completed=now.completed + now.failed, total=now.expected or None)

            bring(study, tell)
    if as_json:
        emit([dataclasses.asdict(study) for study in studies])
    else:
        show_pulled(studies, dry_run)
    missing = not dry_run and any(one.failed or one.completed < one.expected or not one.completed for one in studies)
    context.exit(FAILED if missing or not studies else OK)


def show_pulled(studies: list[Pulled], dry_run: bool) -> None:
    """A table for people: what came of each study, or would come."""
    from rich.table import Column, Table

    if not studies:
        click.echo("No study matches.")
        return
    columns = () if dry_run else ("came", "failed")
    study = Column("study", overflow="fold")  # a UID is of use only as a whole
    table = Table("date", "modalities", "description", "objects", *columns, study)
    for one in studies:
        came = () if dry_run else (str(one.completed), f"[red]{one.failed}" if one.failed else "0")
        told = map(plain, (one.study_date, one.modalities, one.description, str(one.expected or "?")))
        table.add_row(*told, *came, plain(one.study_uid))
    console().print(table)


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
@click.option(
    "--date",
    default="",
    callback=lambda context, option, text: text if text == "any" else date_of(context, option, text),
    help="20261128, a range such as 20261128-20261205, or any; without it, today.",
)
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
    asked = destination_of(settings, archive, settings.worklists)
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
    from rich.table import Column, Table

    if not steps:
        click.echo("Nothing is scheduled that matches.")
        return
    study = Column("study", overflow="fold")
    table = Table("date", "time", "modality", "station", "priority", "accession", "step", study)
    for one in steps:
        urgent = f"[red]{one.priority}" if one.priority in ("STAT", "HIGH") else plain(one.priority)
        what = one.description or one.procedure
        told = map(plain, (one.date, one.time[:4], one.modality, one.station_ae))
        table.add_row(*told, urgent, *map(plain, (one.accession, what, one.study_uid)))
    console().print(table)


@commands.command()
@click.argument("key", type=click.Path(path_type=Path))
@json_option
def jwks(key: Path, as_json: bool) -> None:
    """Print the public half of a client key, always as JSON, to register us with a record's authorization server."""
    from wetread.wire.smart import jwks as public

    emit(public(key))
