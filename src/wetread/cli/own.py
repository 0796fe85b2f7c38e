"""Verbs of the lab, for a person's own data and models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wetread.cli.base import NOT_READ, OK, console, emit, extra, json_option, say, settings_of, visible
from wetread.cli.lab import accept_option, lab, lab_commands, recipe_of, recipes_like, run_option
from wetread.errors import BadInput

if TYPE_CHECKING:
    from wetread.lab.audit import Decoded


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

    with extra("lab"):
        from wetread.lab import audit as room

    settings = settings_of(context)
    split, accepted, pattern = given.pop("split"), given.pop("accepted").strip(), given.pop("patient_from")
    columns = room.Columns(patient_pattern=pattern, **given)
    masks, met = acquire.marked(folders, settings), set[str]()

    def decode(path: Path) -> Decoded | None:
        described = acquire.described(path, settings)
        if described is None:
            return None
        pixels, patient, about, uids = described
        marks = [masks[uid] for uid in uids if uid in masks]
        met.update(uids)
        return room.Decoded(pixels, patient, about, np.stack(marks) if len(marks) == len(pixels) else None)

    found = room.audit(folders, columns, split, accepted, decode)
    if apart := len(masks.keys() - met):
        told = f"{apart} of the {len(masks)} images that DICOM SEG name are not below {', '.join(map(str, folders))}"
        if apart == len(masks):
            raise BadInput(f"expected the images of the segmentations, but {told}; copy their series there")
        click.echo(visible(f"{told}: their masks are left out"), err=True)
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
    with extra("lab"):
        from wetread.lab.intake.take import take_in
    folder = take_in(source, description, settings_of(context).models_dir)
    if as_json:
        emit({"folder": folder, "certified": False})
    else:
        click.echo(f"{folder}: imported, not certified: it does not load")


@lab.command()
@click.argument("model", shell_complete=recipes_like)
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
@accept_option
@click.option(
    "--sensitivity",
    type=click.FloatRange(0, 1),
    default=0.0,
    help="Imported classifier: fix the threshold so, on the part set aside.",
)
@json_option
@click.pass_context
def certify(
    context: click.Context, /, model: str, folders: tuple[Path, ...], folder: Path, as_json: bool, **given: Any
) -> None:
    """Compare each build of a model with its parent; those that pass go to the models folder.

    MODEL is a recipe, or the folder of an imported model, which is judged on your own images.
    """
    if not (Path(model) / "model.toml").is_file():
        try:
            recipe_of(context, None, model)
        except click.UsageError as error:
            if not Path(model).is_dir():
                raise
            raise BadInput(
                f"{model}: expected model.toml in it, found none; run `wetread lab import` first, or name a recipe"
            ) from error
        refuse_what_a_recipe_says(context, folders, given)
        say(True, "certificate", lab_commands().certify(model, folders[0], folder, settings_of(context).models_dir))
        return
    certificate = lab_commands().certify_imported(Path(model), folders, **given)
    if as_json:
        emit(certificate)
    else:
        show_certificate(certificate)
        click.echo(f"The figures beside the trivial rivals: {Path(model) / 'card.md'}")


def refuse_what_a_recipe_says(context: click.Context, folders: tuple[Path, ...], given: dict[str, Any]) -> None:
    """Refuse options of an imported model beside a recipe, which says all that itself."""
    if len(folders) > 1:
        raise click.UsageError(
            f"--data: expected one folder, below which a recipe names its data, got {len(folders)}; several are for an "
            "imported model"
        )
    if meant := [option.opts[0] for option in context.command.params if given.get(option.name or "")]:
        raise click.UsageError(f"{', '.join(meant)}: expected only with an imported model; a recipe says it itself")


def show_certificate(certificate: dict[str, Any]) -> None:
    """Print which builds answer as their parent does."""
    from rich.markup import escape
    from rich.table import Table

    title = escape(certificate["data"][0])
    table = Table("build", "engine", "metric", "value", "difference, 95 %", "passed", title=title)
    for row in certificate["builds"]:
        low, high = row["interval_95"]
        change = f"{row['difference']:+.4f} ({low:+.4f} to {high:+.4f})"
        passed = "yes" if row["passed"] else "no: does not load"
        table.add_row(escape(row["build"]), row["engine"], escape(row["metric"]), f"{row['value']:.4f}", change, passed)
    console().print(table)
