"""Verbs about models, and about how fast they are here."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING

import click

from wetread.cli.base import FAILED, OK, commands, console, emit, json_option, settings_of
from wetread.settings import Settings

if TYPE_CHECKING:
    from rich.table import Table

    from wetread.infer import Model, Profile, Trial

#: How long a shape may be measured.
MOST_SECONDS = 3600


@commands.command()
@json_option
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List the models: what each reads, its builds, and which of them hold a certificate."""
    from wetread import infer

    settings = settings_of(context)
    found = infer.find(settings.models_dir)
    if as_json:
        emit([dataclasses.asdict(model) for model in found])
        return
    profile = infer.read_profile(settings.profile_path)
    for model in found:
        console().print(models_table(model, profile, settings))
    if not found:
        click.echo(f"No models in {settings.models_dir}.")


def models_table(model: Model, profile: Profile, settings: Settings) -> Table:
    """What a model reads, and its builds; narrow enough for 80 columns."""
    from rich.markup import escape
    from rich.table import Column, Table

    from wetread import infer

    reads = f"reads {'/'.join(model.modality)} {'/'.join(model.body_part[:1])}, {model.task}"
    # A build's name is never cut or broken, all else may be broken: people copy it into the settings.
    heads = ("build", "certified", "fastest here, ms", "first choice")
    columns = (Column(head, no_wrap=head == "build", overflow="fold") for head in heads)
    title = escape(f"{model.id} {model.version} {reads}")
    table = Table(*columns, title=title, title_justify="left", title_style="bold")
    certified = any(build.certified for build in model.builds)
    choice = infer.chosen_by(settings, model, profile) if certified else None
    for build in model.builds:
        times = [row.median_ms for row in profile.rows if row.device_uid == build.device_uid]
        table.add_row(
            escape(build.name),
            "yes" if build.certified else "no: does not load",
            f"{min(times):.1f}" if times else "not measured",
            choice.engine if choice and choice.build == build.name else "",
        )
    return table


def seconds_of(_context: click.Context, _parameter: click.Parameter, seconds: float) -> float:
    """A time for which a shape can be measured; with 0 it is asked three times."""
    if not 0 <= seconds <= MOST_SECONDS:  # nan is no time either
        raise click.BadParameter(f"expected 0 to {MOST_SECONDS}, got {seconds:g}")
    return seconds


@commands.command()
@click.option(
    "--seconds",
    default=0.3,
    show_default=True,
    callback=seconds_of,
    help="How long each shape of a build is measured.",
)
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
    profile = dataclasses.replace(infer.read_profile(settings.profile_path), stale="")
    if certifies:
        told = infer.certify_here(found, settings, lambda why: click.echo(why, err=True))
        profile = dataclasses.replace(profile, sites=tuple(told))
    steps = infer.plan(found, settings, profile)
    trials: list[Trial] = []
    with Progress(console=console(to_error=True), disable=as_json, transient=True) as bar:
        for at, (model, option) in enumerate(bar.track(steps, description="measuring"), 1):
            trials.append(infer.trial(model, option, settings, profile, seconds))
            if at == len(steps) or steps[at][0] is not model:  # a model is done: whoever stops here loses no other
                known = infer.merged(profile, trials, found, settings.threads)
                infer.write_profile(settings.profile_path, known)
    profile = infer.merged(profile, trials, found, settings.threads)
    late = {
        model.id: ms for model in found if model.builds and (ms := infer.missed(model, profile, settings)) is not None
    }
    if as_json:
        chosen = {model.id: infer.chosen_by(settings, model, profile) for model, _ in steps}
        failed = [
            {"model": one.model.id, "build": one.choice.build, "engine": one.choice.engine, "why": one.failure}
            for one in trials
            if one.failure
        ]
        choices = {name: dataclasses.asdict(choice) for name, choice in chosen.items()}
        emit({**dataclasses.asdict(profile), "chosen": choices, "failed": failed, "late_ms": late})
    elif not trials:
        click.echo(f"Nothing to measure: no model in {settings.models_dir} is certified for an engine of this host.")
    else:
        show_trials(trials, profile, settings)
        for name, ms in late.items():
            said = f"DEADLINE MISSED: {name} takes {ms:.1f} ms with the build chosen, expected at most "
            click.secho(f"{said}{settings.deadline_ms:g} ms", fg="red", bold=True, err=True)
        click.echo(f"Remembered in {settings.profile_path}; the node takes it from there.")
    context.exit(FAILED if late else OK)


def show_trials(trials: list[Trial], profile: Profile, settings: Settings) -> None:
    """A table a model, below it why builds failed, and how it was chosen."""
    from wetread import infer

    for _, made in itertools.groupby(trials, lambda one: one.model.id):
        mine = list(made)
        console().print(trials_table(mine, profile, settings))
        for one in mine:
            if not one.rows:
                click.echo(f"{one.choice.build} on {one.choice.engine} failed: {one.failure}")
    order = ", ".join(infer.PREFERENCE)
    click.echo(f"Chosen: among the builds within {infer.NEARLY:g} times of the fastest, the first of {order}.")


def trials_table(mine: list[Trial], profile: Profile, settings: Settings) -> Table:
    """Each build of a model on each engine in its best shape, with bars; narrow enough for 80 columns."""
    from rich.bar import Bar
    from rich.markup import escape
    from rich.table import Column, Table

    from wetread import infer

    model, late = mine[0].model, settings.deadline_ms
    choice = infer.chosen_by(settings, model, profile)
    slowest = max((infer.shape(one.rows, late).median_ms for one in mine if one.rows), default=0.0)
    heads = ("build", "engine", "one\nimage,\nms", "", "images/s", "threads,\nstreams,\nbatch", "chosen")
    # As in `models` nothing is cut; where room is short the bars, which have no head, are shorter.
    columns = (Column(head, no_wrap=bool(head), max_width=None if head else 16, overflow="fold") for head in heads)
    table = Table(*columns, title=escape(model.id), title_justify="left", title_style="bold")
    for one in mine:
        told = escape(one.choice.build), one.choice.engine
        if not one.rows:
            table.add_row(*told, "[red]failed")
            continue
        best = infer.shape(one.rows, late)
        chosen = (choice.build, choice.engine) == (one.choice.build, one.choice.engine)
        table.add_row(
            *(*told, f"{best.median_ms:.2f}"),
            Bar(slowest, 0, best.median_ms),
            *(f"{best.images_s:.0f}", f"{best.threads or 'all'}, {best.streams}, {best.batch}"),
            "[green]yes" if chosen else "",
        )
    return table
