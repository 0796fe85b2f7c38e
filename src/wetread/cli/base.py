"""What all verbs share: the group, its settings, and how something is printed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wetread import __version__
from wetread.errors import BadInput, SettingsError
from wetread.settings import Settings, load

if TYPE_CHECKING:
    from rich.console import Console

    from wetread.jobs.desk import Desk

OK, FAILED, USAGE, NOT_READ, BAD_INPUT = 0, 1, 2, 3, 4
NOTICE = "Decision support for research and evaluation; not a certified medical device."

#: What an index can hold.
MOST = 2**63 - 1
#: The number of a job.
JOB = click.IntRange(0, MOST)
#: A file or folder that a verb reads; one that cannot be read is bad input, no wrong usage.
FILE = click.Path(readable=False, path_type=Path)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=NOTICE)
@click.version_option(__version__, "--version", message="wetread %(version)s")
@click.option("--config", type=click.Path(path_type=Path), help="Settings file (TOML).")
@click.option("--models", type=click.Path(), help="Folder of model folders.")
@click.option("--engine", help="auto, openvino, onnxruntime, openvino-gpu, cuda or tensorrt.")
@click.option("--build", help="auto, or the name of a build, such as fp32.")
@click.option("--threads", type=int, help="Inference threads; 0: all cores.")
@click.option("--state", type=click.Path(path_type=Path), help="Folder of the spool, the index and the profile.")
@click.pass_context
def commands(context: click.Context, /, config: Path | None, **given: Any) -> None:
    """Wetread gives an X-ray, CT or MRI study an AI wet read and puts it where clinicians work."""
    if os.environ.get("NO_COLOR"):  # as https://no-color.org asks, and Rich does by itself
        context.color = False
    context.obj = lambda **more: load(config, **given, **more)


def settings_of(context: click.Context, **given: Any) -> Settings:
    """The settings in force for a verb, with what its own options give."""
    make: Callable[..., Settings] = context.obj
    return make(**given)


def console(to_error: bool = False) -> Console:
    """A console on standard output, or on standard error."""
    from rich.console import Console

    return Console(highlight=False, stderr=to_error)


_CONTROL = re.compile("[\0-\x1f\x7f-\x9f]")


def visible(text: str) -> str:
    """Return a line in which others may have written: no control characters in it do anything to the terminal."""
    return _CONTROL.sub(lambda found: rf"\x{ord(found[0]):02x}", text)


def plain(text: str) -> str:
    """Return a text of others for a table: neither markup nor control characters in it do anything to the terminal."""
    from rich.markup import escape

    return escape(visible(text))


#: What stands in a text for bytes of a file's name that are no UTF-8, and cannot be encoded.
_SURROGATE = re.compile("[\ud800-\udfff]")


def emit(value: Any) -> None:
    """Print JSON, always in UTF-8 that everybody can read: a file's name need not be."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    click.echo(_SURROGATE.sub(lambda found: rf"\\u{ord(found[0]):04x}", text))


def say(as_json: bool, what: str, outcome: Any) -> None:
    """Print where something was written, or what was found."""
    if as_json or not isinstance(outcome, Path):
        emit(outcome)
    else:
        click.echo(visible(f"{what}: {outcome}"))


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Say how to get the libraries of an extra when one is missing."""
    try:
        yield
    except ImportError as error:
        raise SettingsError(f"{name}: {error.name} is not installed; pip install 'wetread[{name}]'") from error


@contextmanager
def desk_of(context: click.Context) -> Iterator[Desk]:
    """The index of the state folder that the settings name."""
    with extra("serve"):
        from wetread.jobs.desk import Desk

    settings = settings_of(context)
    desk = Desk(settings.state_dir, settings.index_url)
    try:
        yield desk
    finally:
        desk.close()


def files_of(paths: Sequence[Path]) -> list[Path]:
    """The files that a person named, and those in the folders; what is not there or cannot be entered is refused."""
    from wetread.acquire.source import named

    files = [file.path for file in named(paths)]
    if not files:
        raise BadInput(f"{paths[0]}: expected a file or a folder of them, found none")
    return files


def dicom_of(paths: Sequence[Path]) -> list[Path]:
    """As `files_of`; what is no DICOM in a folder is passed over, and named on standard error."""
    found = []
    for file in files_of(paths):
        if file in paths or _begins_as_dicom(file):
            found.append(file)
        else:
            click.echo(visible(f"{file}: passed over: no DICOM file"), err=True)
    if not found:
        raise BadInput(f"{paths[0]}: expected DICOM files, found none")
    return found


def _begins_as_dicom(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:  # not passed over: `bytes_of` says why
        return True


def bytes_of(file: Path) -> bytes:
    """What a file holds.

    Raises
    ------
    BadInput
        It cannot be read; whoever asked says which.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}") from error


def write_whole(place: Path, data: bytes, mode: str = "wb") -> None:
    """Write a file, or leave none: one that is cut off, as on a full disk, would pass for a document.

    Raises
    ------
    OSError
        It cannot be written; with the mode "xb" also where there is one, which stays.
    """
    with place.open(mode) as file:
        try:
            file.write(data)
            file.flush()
        except BaseException:
            place.unlink(missing_ok=True)
            raise
