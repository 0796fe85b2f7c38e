"""Verbs of the lab, for the models of the recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from wetread.cli.base import commands, console, emit, extra, json_option, say, settings_of
from wetread.errors import BadInput


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


fresh_option = click.option("--fresh", is_flag=True, help="Start anew instead of going on from the checkpoint.")


accept_option = click.option(
    "--accept-leakage", "accepted", default="", metavar="REASON", help="Use a split that fails its audit; recorded."
)


evidence_option = click.option(
    "--evidence",
    type=click.Path(path_type=Path),
    default=Path("docs/evidence"),
    show_default=True,
    help="Folder of the pages that hold figures.",
)


def lab_commands() -> Any:
    """The lab's functions; torch is imported here and nowhere else."""
    with extra("lab"):
        from wetread.lab import commands as lab_functions
    return lab_functions


def say_each(as_json: bool, what: str, places: list[Path]) -> None:
    """Print where several things were written; in JSON one list."""
    if as_json:
        emit(places)
        return
    for place in places:
        say(as_json, what, place)


def recipe_of(_context: click.Context, _parameter: click.Parameter | None, name: str) -> str:
    """The name of a recipe that there is, or a TOML file; another name is wrong usage."""
    with extra("lab"):
        from wetread.lab.plan import load_plan
    if not name.endswith(".toml"):
        try:
            load_plan(name)
        except BadInput as error:
            raise click.UsageError(str(error)) from error
    return name


def recipes_like(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """The names of recipes that a shell may complete, and files; the lab is not imported: each Tab would wait."""
    known = sorted(file.stem for file in Path(__file__).parents[1].glob("lab/recipes/*.toml"))
    return [CompletionItem(name) for name in known if name.startswith(begun)] + [CompletionItem(begun, type="file")]


@lab.command()
@click.argument("recipe", callback=recipe_of, shell_complete=recipes_like)
@click.option("--epochs", type=click.IntRange(1), help="Instead of the recipe's number.")
@click.option("--fold", type=int, help="Train only this fold, of a recipe with folds; all of them by default.")
@fresh_option
@accept_option
@data_option
@run_option
@json_option
@click.pass_context
def train(
    context: click.Context,
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
    with extra("lab"):
        from wetread.lab import audit as room
    told = lab_commands().ask(recipe, data, folder, accepted.strip(), fold)
    if not as_json:
        for table in room.tables(told):
            console().print(table)
    models = settings_of(context).models_dir
    weights = lab_commands().train(recipe, data, folder, models, resume=not fresh, epochs=epochs, fold=fold)
    say_each(as_json, "weights", weights)


@lab.command()
@click.argument("model", callback=recipe_of, shell_complete=recipes_like)
@fresh_option
@data_option
@run_option
@json_option
@click.pass_context
def prune(context: click.Context, model: str, fresh: bool, data: Path, folder: Path, as_json: bool) -> None:
    """Cut channels from a trained model and let it learn from its parent."""
    models = settings_of(context).models_dir
    say(as_json, "weights", lab_commands().prune(model, data, folder, models, resume=not fresh))


@lab.command()
@click.argument("names", nargs=-1, type=click.Choice(["cardiac", "kermany"]))
@fresh_option
@data_option
@run_option
@evidence_option
@json_option
@click.pass_context
def compare(
    context: click.Context,
    names: tuple[str, ...],
    fresh: bool,
    data: Path,
    folder: Path,
    evidence: Path,
    as_json: bool,
) -> None:
    """Train U-Net, EfficientNet and Transformer on the same images and measure each: figures, size, time."""
    models = settings_of(context).models_dir
    found = lab_commands().compare(names, data, folder, models, evidence, resume=not fresh)
    say(as_json, "architectures", found)


@lab.command()
@click.argument("model", callback=recipe_of, shell_complete=recipes_like)
@data_option
@run_option
@json_option
@click.pass_context
def recover(context: click.Context, model: str, data: Path, folder: Path, as_json: bool) -> None:
    """Read a model that ships back into a run folder, to prune, quantize and certify it anew without training it."""
    weights = lab_commands().recover(model, data, folder, settings_of(context).models_dir)
    say_each(as_json, "weights", weights)


@lab.command()
@click.argument("model", callback=recipe_of, shell_complete=recipes_like)
@run_option
@json_option
def export(model: str, folder: Path, as_json: bool) -> None:
    """Write the float builds of a model as ONNX."""
    say(as_json, "builds", lab_commands().export(model, folder))


@lab.command()
@click.argument("model", callback=recipe_of, shell_complete=recipes_like)
@click.option("--aware", is_flag=True, help="Train it to be rounded first: for a build that failed its certificate.")
@fresh_option
@data_option
@run_option
@json_option
@click.pass_context
def quantize(
    context: click.Context, model: str, aware: bool, fresh: bool, data: Path, folder: Path, as_json: bool
) -> None:
    """Write the int8 builds of a model, calibrated on training images."""
    models = settings_of(context).models_dir
    say(as_json, "builds", lab_commands().quantize(model, data, folder, models, aware=aware, resume=not fresh))


@lab.command()
@click.argument("model", callback=recipe_of, shell_complete=recipes_like)
@data_option
@run_option
@evidence_option
@click.option("--keep", is_flag=True, help="Leave the gate as it is; only judge every build by it.")
@json_option
@click.pass_context
def gate(
    context: click.Context, model: str, data: Path, folder: Path, evidence: Path, keep: bool, as_json: bool
) -> None:
    """Try a certified model on damaged images, and fix the gate that is to refuse those it falls on."""
    models = settings_of(context).models_dir
    say(as_json, "gate", lab_commands().gate(model, data, folder, models, evidence, keep=keep))


@lab.command()
@click.argument("model", callback=recipe_of, shell_complete=recipes_like)
@run_option
@evidence_option
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
@click.argument("model", callback=recipe_of, shell_complete=recipes_like)
@data_option
@run_option
@evidence_option
@json_option
@click.pass_context
def evaluate(context: click.Context, model: str, data: Path, folder: Path, evidence: Path, as_json: bool) -> None:
    """Compute every figure of a model and write its card; that of one that does not ship goes to --evidence."""
    models_dir = settings_of(context).models_dir
    say(as_json, "figures", lab_commands().evaluate(model, data, folder, models_dir, evidence))
