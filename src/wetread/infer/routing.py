"""Which models may read an image, from what its header declares; else a coded refusal."""

from __future__ import annotations

from collections.abc import Sequence

from wetread.errors import NotRead
from wetread.infer.model import Model
from wetread.records import Image


def route(models: Sequence[Model], image: Image) -> tuple[Model, ...]:
    """The models that read an image of this modality, body part and view.

    An absent body part or view does not refuse: many films carry none, and the
    pair of lungs is looked for in the pixels.  A present one that no model names does.

    Raises
    ------
    NotRead
        WRONG-MODALITY, WRONG-BODY-PART or WRONG-VIEW.
    """
    fits = [m for m in models if image.modality in m.modality]
    if not fits:
        expected = sorted({name for m in models for name in m.modality})
        raise NotRead("WRONG-MODALITY", f"Expected one of {expected}, got {image.modality!r}.")
    fits = _narrow(fits, image.body_part, "WRONG-BODY-PART", "body_part", "Body Part Examined (0018,0015)")
    fits = _narrow(fits, image.view, "WRONG-VIEW", "views", "View Position (0018,5101)")
    return tuple(fits)


def _narrow(models: list[Model], value: str, code: str, field: str, tag: str) -> list[Model]:
    if not value:
        return models
    fits = [m for m in models if value in getattr(m, field)]
    if not fits:
        expected = sorted({name for m in models for name in getattr(m, field)})
        raise NotRead(code, f"{tag}: expected one of {expected}, got {value!r}.")
    return fits
