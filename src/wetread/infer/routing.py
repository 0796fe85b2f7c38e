"""Which models are for an image of this kind, from what its header declares; else a coded refusal."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from wetread.errors import NotRead
from wetread.infer.masks import is_pair
from wetread.infer.model import ORIENTATIONS, Model
from wetread.records import Image
from wetread.routes import Decision

#: View Positions (PS3.3 Section C.8.1.1) of films that are taken from the front or the back, lying on a side too.
_FRONTAL = frozenset({"AP", "PA", "LLD", "RLD"})
#: Those of them that are shown upright.
_UPRIGHT = frozenset({"AP", "PA"})


def route(models: Sequence[Model], image: Image) -> tuple[Model, ...]:
    """The models that are for an image of this modality, body part, view or kind of series.

    An absent body part or view leaves none out: many images carry none, and the organ is
    looked for in the pixels.  A present one that a model does not name does.  Whether each of
    them may read this very image is told by `check_fit`.

    Raises
    ------
    NotRead
        WRONG-MODALITY, WRONG-BODY-PART, WRONG-VIEW, WRONG-SERIES or WRONG-PLANE: the first
        of them that leaves no model.
    """
    fits = [m for m in models if image.modality in m.modality]
    if not fits:
        expected = sorted({name for m in models for name in m.modality})
        raise NotRead("WRONG-MODALITY", f"Expected one of {expected}, got {image.modality!r}.")
    fits = _by_body_part(fits, image.body_part)
    fits = _by_side(_by_view(fits, image.view), image)
    fits = _left(
        [m for m in fits if _described(m, image.series_description)],
        "WRONG-SERIES",
        "Series Description (0008,103E) fits none of the patterns that the models ask for.",
    )
    return tuple(_by_plane(fits, image))


def permitted(models: Sequence[Model], image: Image, decision: Decision) -> tuple[Model, ...]:
    """The models that are for an image, as far as the site's rules let them read.

    A model that looks inside the lungs brings the one that outlines them; where a rule forbids
    that one, it does not read either.

    Raises
    ------
    NotRead
        NOT-ROUTED: a rule leaves no model; or as `route`.
    """
    rule = decision.by.get("models")
    if decision.models == ():
        raise NotRead("NOT-ROUTED", f"Routes, {rule.label if rule else ''}: no model is to read it.")
    fits = route(models, image)
    outliners = [m for m in fits if is_pair(m) and m.id not in decision.models_not]
    chosen = [m for m in fits if decision.permits(m.id) and (m.recipe.region != "lungs" or outliners)]
    if any(m.recipe.region == "lungs" for m in chosen):
        chosen += [m for m in outliners if m not in chosen]
    names = ", ".join(m.id for m in fits)
    why = f"Routes, {rule.label if rule else ''}: expected one of the models that are for such an image ({names})."
    return tuple(_left(chosen, "NOT-ROUTED", why))


def _left(fits: list[Model], code: str, detail: str) -> list[Model]:
    if not fits:
        raise NotRead(code, detail)
    return fits


def _by_body_part(models: list[Model], value: str) -> list[Model]:
    fits = [m for m in models if not value or value in m.body_part]
    expected = sorted({name for m in models for name in m.body_part})
    return _left(fits, "WRONG-BODY-PART", f"Body Part Examined (0018,0015): expected one of {expected}, got {value!r}.")


def _by_view(models: list[Model], value: str) -> list[Model]:
    """By the view of a projection; models of slices name none."""
    fits = [m for m in models if not value or not m.views or value in m.views]
    expected = sorted({name for m in models for name in m.views})
    return _left(fits, "WRONG-VIEW", f"View Position (0018,5101): expected one of {expected}, got {value!r}.")


def _by_side(models: list[Model], image: Image) -> list[Model]:
    """By Patient Orientation: rows of a frontal film run to a side, columns of an upright one to the feet."""
    fits = models
    if image.row_direction in ("A", "P"):
        detail = f"got {image.row_direction!r}, as of a lateral film."
        fits = _other(fits, image, _FRONTAL, f"expected rows to 'L' or 'R', {detail}")
    if image.column_direction not in ("", "F"):
        detail = f"got {image.column_direction!r}: the film lies upside down or on a side."
        fits = _other(fits, image, _UPRIGHT, f"expected columns to 'F', {detail}")
    return fits


def _other(models: list[Model], image: Image, views: frozenset[str], detail: str) -> list[Model]:
    """Those that are for other views than these."""
    fits = [m for m in models if not m.views or not views.issuperset([image.view] if image.view else m.views)]
    return _left(fits, "WRONG-VIEW", f"Patient Orientation (0020,0020): {detail}")


def _described(model: Model, description: str) -> bool:
    def fit(patterns: Sequence[str]) -> bool:
        return any(fnmatchcase(description.casefold(), pattern.casefold()) for pattern in patterns)

    wanted, unwanted = model.series.description, model.series.description_not
    return (not wanted or fit(wanted)) and not fit(unwanted)


def _by_plane(models: list[Model], image: Image) -> list[Model]:
    """By the plane of the slices; where nobody knows it, a model that asks for one does not read."""
    plane = plane_of(image)
    fits = [m for m in models if m.series.orientation in ("", plane)]
    expected = sorted({m.series.orientation for m in models})
    return _left(fits, "WRONG-PLANE", f"Expected one of {expected}, got {plane or 'none that is known'}.")


def plane_of(image: Image) -> str:
    """The plane that slices are closest to: a key of `ORIENTATIONS`, "" when not known."""
    if image.directions is None:
        return ""
    normal = [abs(part) for part in image.directions[0]]
    return next(name for name, axis in ORIENTATIONS.items() if normal[axis] == max(normal))
