"""Verbs about models, and about how fast they are here."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from wetread.cli.base import FAILED, OK, commands, console, emit, json_option, settings_of
from wetread.settings import Settings

if TYPE_CHECKING:
    from wetread.infer import Profile, Trial


@commands.command()
@json_option
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List the models: what each reads, its builds, and which of them hold a certificate."""
    from rich.markup import escape
    from rich.table import Column, Table

    from wetread import infer

    settings = settings_of(context)
    found = infer.find(settings.models_dir)
    if as_json:
        emit([dataclasses.asdict(model) for model in found])
        return
    profile = infer.read_profile(settings.profile_path)
    # Names are never cut or broken, all else may be broken: people copy them into the settings.
    heads = ("model", "version", "reads", "build", "certified", "fastest here, ms", "first choice")
    table = Table(*(Column(head, no_wrap=head in ("model", "build"), overflow="fold") for head in heads))
    for model in found:
        certified = any(build.certified for build in model.builds)
        choice = infer.chosen_by(settings, model, profile) if certified else None
        for build in model.builds:
            times = [row.median_ms for row in profile.rows if row.device_uid == build.device_uid]
            table.add_row(
                escape(model.id),
                escape(model.version),
                escape(f"{'/'.join(model.modality)} {'/'.join(model.body_part[:1])}, {model.task}"),
                escape(build.name),
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
    else:
        show_trials(trials, profile, settings)
        for name, ms in late.items():
            said = f"DEADLINE MISSED: {name} takes {ms:.1f} ms with the build chosen, expected at most "
            click.secho(f"{said}{settings.deadline_ms:g} ms", fg="red", bold=True, err=True)
        click.echo(f"Remembered in {settings.profile_path}; the node takes it from there.")
    context.exit(FAILED if late else OK)


def show_trials(trials: list[Trial], profile: Profile, settings: Settings) -> None:
    """A table with bars: each build on each engine in its best shape, what was chosen and why."""
    from rich.markup import escape
    from rich.table import Table

    from wetread import infer

    late = settings.deadline_ms
    table = Table("model", "build", "engine", "one image, ms", "", "images/s", "threads", "streams", "batch", "")
    for one in trials:
        choice = infer.chosen_by(settings, one.model, profile)
        mine = [other for other in trials if other.model.id == one.model.id and other.rows]
        if not one.rows:
            why = escape(one.failure[:80])
            table.add_row(*map(escape, (one.model.id, one.choice.build)), one.choice.engine, "[red]failed", why)
            continue
        best, slowest = infer.shape(one.rows, late), max(infer.shape(other.rows, late).median_ms for other in mine)
        chosen = (choice.build, choice.engine) == (one.choice.build, one.choice.engine)
        table.add_row(
            *(escape(one.model.id), escape(one.choice.build), one.choice.engine, f"{best.median_ms:.2f}"),
            "▇" * max(1, round(16 * best.median_ms / slowest)),
            *(f"{best.images_s:.0f}", str(best.threads or "all"), str(best.streams), str(best.batch)),
            "[green]chosen" if chosen else "",
        )
    console().print(table)
    order = ", ".join(infer.PREFERENCE)
    click.echo(f"Chosen: among the builds within {infer.NEARLY:g} times of the fastest, the first of {order}.")
