"""Verbs about what a node has to do, and what it holds back."""

from __future__ import annotations

import click

from wetread.cli.base import JOB, MOST, commands, desk_of, emit, json_option, say, visible


@commands.group("jobs")
def job_verbs() -> None:
    """What the node has to do: list, show, retry what failed, cancel what waits; also while it runs."""


@job_verbs.command("list")
@click.option("--state", default="", help="Only jobs in this state, e.g. FAILED.")
@click.option("--limit", type=click.IntRange(1, MOST), default=50, show_default=True, help="The newest so many.")
@json_option
@click.pass_context
def list_jobs(context: click.Context, state: str, limit: int, as_json: bool) -> None:
    """List jobs, the newest first: state, tries, documents that wait or were given up."""
    from wetread.jobs.states import State

    if state and state.upper() not in State.__members__:
        raise click.UsageError(f"--state: expected one of {', '.join(State)}, got {state!r}")
    with desk_of(context) as desk:
        rows = desk.jobs(State(state.upper()) if state else None, limit)
    if as_json:
        emit(rows)
    else:
        click.echo(
            f"{'job':>6} {'state':10} {'tries':>5} {'queued':>6} {'dead':>5} {'blocked':>7} {'age s':>9}  reason"
        )
        for row in rows:
            told = f"{row['job']:>6} {row['state']:10} {row['tries']:>5} {row['queued']:>6} {row['dead']:>5}"
            click.echo(f"{told} {row['blocked']:>7} {row['age_s']:>9}  {row['reason']}")


@job_verbs.command("show")
@click.argument("job", type=JOB)
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
            click.echo(visible(f"{key:15} {', '.join(value) if isinstance(value, list) else value}"))
    for row in found["deliveries"]:
        name = row["name"] if row["kind"] == "IMAGE" else row["kind"]
        told = " ".join(filter(None, (f"{row['tries']} rejections", row["status"], row["reason"])))
        click.echo(visible(f"  {row['state']:9} {name:5} to {row['destination']}, {told}"))


@job_verbs.command("retry")
@click.argument("job", type=JOB)
@json_option
@click.pass_context
def retry_job(context: click.Context, job: int, as_json: bool) -> None:
    """Send again what was given up or blocked, or read again what could not be read."""
    with desk_of(context) as desk:
        say(as_json, "state", {"job": job, "state": desk.retry(job)})


@job_verbs.command("cancel")
@click.argument("job", type=JOB)
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
        click.echo(visible(f"{row['job']:>6} {row['reason']}  {said}, {row['age_s']:.0f} s ago"))


@withheld_verbs.command("release")
@click.argument("job", type=JOB)
@json_option
@click.pass_context
def release_withheld(context: click.Context, job: int, as_json: bool) -> None:
    """Deliver what is withheld of a job, without the order: the study is right as it is."""
    with desk_of(context) as desk:
        say(as_json, "state", {"job": job, "state": desk.release(job)})


@withheld_verbs.command("discard")
@click.argument("job", type=JOB)
@json_option
@click.pass_context
def discard_withheld(context: click.Context, job: int, as_json: bool) -> None:
    """Never deliver what is withheld of a job; the images stay."""
    with desk_of(context) as desk:
        say(as_json, "state", {"job": job, "state": desk.discard(job)})
