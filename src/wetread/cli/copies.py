"""Verbs that take identity away, and give it back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wetread.cli.base import (
    BAD_INPUT,
    FILE,
    OK,
    bytes_of,
    commands,
    dicom_of,
    emit,
    files_of,
    json_option,
    settings_of,
    visible,
    write_whole,
)
from wetread.errors import BadInput
from wetread.settings import KEPT

if TYPE_CHECKING:
    from wetread.acquire.deidentify import Ledger


def ledger_of(context: click.Context, path: Path | None) -> Ledger:
    """The ledger that a verb names, or that of the state folder."""
    from wetread.acquire.deidentify import Ledger

    return Ledger(path or settings_of(context).ledger_path)


ledger_option = click.option(
    "--ledger", type=click.Path(path_type=Path), help="Secret and way back; by default in the state folder. Keep it."
)


@commands.command()
@click.argument("paths", nargs=-1, required=True, type=FILE)
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

    settings = settings_of(context)
    try:
        profile = Profile(frozenset(keep or KEPT), pixels_clean, settings.burned_in)
    except BadInput as error:
        raise click.UsageError(f"--keep: {error}") from error
    with ledger_of(context, ledger) as book:
        rows = rewritten(files_of(paths), paths, out, lambda data: copied(data, profile, book, settings).data)
    told_rewritten(context, rows, as_json)


@commands.command()
@click.argument("paths", nargs=-1, required=True, type=FILE)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the results.")
@ledger_option
@json_option
@click.pass_context
def reidentify(context: click.Context, paths: tuple[Path, ...], out: Path, ledger: Path | None, as_json: bool) -> None:
    """Give results that were made on de-identified copies the identity of their study."""
    from wetread.acquire.deidentify import reidentify as returned

    place = ledger or settings_of(context).ledger_path
    if not place.is_file():
        raise BadInput(f"expected the ledger by which the copies were made, found none at {place}; name it by --ledger")
    with ledger_of(context, ledger) as book:
        rows = rewritten(dicom_of(paths), paths, out, lambda data: returned(data, book))
    told_rewritten(context, rows, as_json)


def rewritten(
    files: list[Path], paths: tuple[Path, ...], out: Path, change: Callable[[bytes], bytes]
) -> list[dict[str, str]]:
    """Write what becomes of each file under a number, as its old name may hold a patient's; what is there stays."""
    check_apart(paths, out)
    out.mkdir(parents=True, exist_ok=True)
    there = [int(place.stem) for place in out.glob("*.dcm") if place.stem.isdecimal()]
    rows = []
    for number, file in enumerate(files, 1 + max(there, default=0)):
        place = out / f"{number:06d}.dcm"
        try:
            data = change(bytes_of(file))
            write_whole(place, data, "xb")
            rows.append({"file": str(file), "copy": str(place), "refused": ""})
        except BadInput as error:
            rows.append({"file": str(file), "copy": "", "refused": str(error)})
    return rows


def check_apart(paths: tuple[Path, ...], out: Path) -> None:
    """Raise `BadInput` where copies would lie among what they are made of: nobody could tell them apart."""
    place = out.resolve()
    for path in map(Path.resolve, paths):
        if place == path or place in path.parents or path in place.parents:
            raise BadInput(f"--out {out}: expected a folder apart from what is copied, got one in or above {path}")


def told_rewritten(context: click.Context, rows: list[dict[str, str]], as_json: bool) -> None:
    """Say what was written and what was not; exit 4 if anything was refused."""
    refused = [row for row in rows if row["refused"]]
    if as_json:
        emit(rows)
    else:
        for row in refused:
            click.echo(visible(f"{row['file']}: {row['refused']}"), err=True)
        click.echo(f"{len(rows) - len(refused)} written, {len(refused)} refused")
    context.exit(BAD_INPUT if refused else OK)
