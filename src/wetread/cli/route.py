"""The verb that says what the rules decide."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from wetread.cli.base import JOB, commands, console, desk_of, emit, extra, json_option, plain, settings_of


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
    from wetread.records import Sender

    with extra("serve"):
        from wetread.jobs.explained import explained

    settings = settings_of(context)
    sender = Sender(calling_ae, called_ae or settings.ae_title, at or datetime.now())
    rows = []
    with Children(settings) as children:
        decoding = decoder(children)
        for study in studies:
            if study.isdecimal() and not Path(study).exists():
                with desk_of(context) as desk:
                    files, senders = desk.objects(JOB(study, ctx=context))
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
    from rich.table import Column, Table

    def by(*said: str) -> str:
        rules = dict.fromkeys(row["decided"][one] for one in said if one in row["decided"])
        return plain(f"  by {', '.join(rules)}" if rules else "")

    columns = Column(overflow="fold"), Column(overflow="fold")
    table = Table(*columns, title=plain(row["source"]), title_justify="left", title_style="bold", show_header=False)
    if row["refusal"]:
        told = "{code}: {sentence} {detail}".format(**row["refusal"])
        table.add_row("[bold yellow]not read", plain(told) + by("models"))
    else:
        table.add_row("read by", plain(", ".join(row["models"])) + by("models"))
    for told in row["not_read"]:
        table.add_row(f"[bold yellow]not by {plain(told['model'])}", plain(f"{told['code']}: {told['detail']}"))
    table.add_row("lane", row["lane"] + by("lane"))
    for one in row["destinations"] or [{"name": "no destination", "documents": []}]:
        name, title = one["name"], one["name"].partition("@")[0]
        documents = ", ".join(one["documents"]) + by(f"documents {name}", f"documents {title}")
        table.add_row("to", plain(name) + by("destinations"))
        table.add_row("", documents)
    for rule in row["rules"] if explain else ():
        table.add_row(plain(rule["rule"]), plain(why(rule)))
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
