"""Verbs that run a node, and say what one needs and does."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wetread.cli.base import FAILED, NOTICE, OK, commands, emit, extra, json_option, settings_of
from wetread.errors import SettingsError
from wetread.settings import Settings

if TYPE_CHECKING:
    from wetread.serve.node import Node

log = logging.getLogger("wetread.cli")


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
    from wetread.serve.run import run
    from wetread.wire.access import who_may_call

    given = {"destinations": ",".join(destinations) or None, "peers": ",".join(peers) or None, **given}
    settings = settings_of(context, **given)

    def started(node: Node) -> None:
        try:
            tell(node)
        except OSError as error:  # its disk is full, or nobody reads it: no reason not to serve
            sys.stdout = io.StringIO()  # else it would be tried again at the end, and fail again
            log.warning("ports not told on standard output", extra={"reason": error.strerror})

    def tell(node: Node) -> None:
        if as_json:
            click.echo(json.dumps({"ae_title": settings.ae_title, "port": node.port, "http_port": node.http_port}))
        else:
            click.echo(f"{settings.ae_title} listens on {settings.host}:{node.port}; ", nl=False)
            scheme = "https" if settings.http_tls else "http"
            click.echo(f"health and metrics on {scheme}://{settings.http_host}:{node.http_port}; Ctrl-C ends it.")
            click.echo(who_may_call(settings))
            click.secho(NOTICE, dim=True)

    with extra("serve"):  # the node is imported while its models load
        run(settings, started)


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


@commands.command("settings")
@json_option
@click.pass_context
def show_settings(context: click.Context, as_json: bool) -> None:
    """List every setting: value in force, unit, help, and the name of its environment variable."""
    settings = settings_of(context)
    told = {f.name: getattr(settings, f.name) for f in dataclasses.fields(Settings)}
    rows = [
        {
            "name": f.name,
            # An empty path is none: as "." it would name this folder.
            "value": "" if told[f.name] == Path() else re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", str(told[f.name])),
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
@click.option("--out", type=click.Path(path_type=Path), help="Folder for its pages, instead of printing them.")
@json_option
@click.pass_context
def conformance(context: click.Context, out: Path | None, as_json: bool) -> None:
    """Give the DICOM conformance statement (PS3.2) of this node, made from its code and settings."""
    with extra("serve"):
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
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell: `eval "$(wetread completion bash)"`."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise SettingsError(f"shell: expected bash, zsh or fish, got {shell!r}")
    click.echo(kind(commands, {}, "wetread", "_WETREAD_COMPLETE").source())
