"""Whether a model may read an image that is of its kind: what it needs to know, and the range it was made for.

What is not known is not guessed: a model that was made for some patients only would
answer for the others as surely and wrongly.
"""

from __future__ import annotations

from wetread.errors import NotRead
from wetread.infer.model import Model
from wetread.records import Image


def check_fit(model: Model, image: Image) -> None:
    """Pass an image that the model may read.

    Parameters
    ----------
    model
        Of this kind of image: see `route`.

    Raises
    ------
    NotRead
        MULTI-FRAME, SECONDARY-IMAGE, TOO-FEW-SLICES, SMALL-FIELD or OUTSIDE-AGE; MISSING-TAG where body
        part, spacing or age is not known and the model depends on it.
    """
    if len(image.pixels) > 1 and image.directions is None:
        told = f"expected one frame, or slices that tell their place, got {len(image.pixels)}."
        raise _unfit(model, "MULTI-FRAME", told)
    if image.secondary and not model.series.secondary:
        raise _unfit(model, "SECONDARY-IMAGE", "it was computed from other images.")
    if not image.body_part and model.series.needs_body_part:
        raise _unfit(model, "MISSING-TAG", f"Body Part Examined (0018,0015): expected one of {list(model.body_part)}.")
    if len(image.pixels) < model.series.min_slices:
        told = f"expected at least {model.series.min_slices}, got {len(image.pixels)}."
        raise _unfit(model, "TOO-FEW-SLICES", told)
    _check_field(model, image)
    _check_age(model, image)


def _unfit(model: Model, code: str, told: str) -> NotRead:
    return NotRead(code, f"Model {model.id}: {told}")


def _check_field(model: Model, image: Image) -> None:
    least = model.intended.field_mm
    if not least:
        return
    if image.spacing_mm is None:
        raise _unfit(model, "MISSING-TAG", "expected Pixel Spacing (0028,0030), to tell how much of the body is shown.")
    height, width = (n * mm for n, mm in zip(image.pixels.shape[1:], image.spacing_mm[1:], strict=True))
    if min(height, width) < least:
        told = f"expected at least {least:g} mm a side, got {height:.0f} x {width:.0f} mm."
        raise _unfit(model, "SMALL-FIELD", told)


def _check_age(model: Model, image: Image) -> None:
    """Ask that every age fits: two that contradict each other leave none out."""
    if model.intended.age_years is None:
        return
    low, high = model.intended.age_years
    told = f"expected a patient of {low} to {high} years, got"
    if not image.ages:
        known = "by Patient's Age (0010,1010), or by birth and study date"
        raise _unfit(model, "MISSING-TAG", f"{told} no age {known}.")
    if image.ages[0] < low or image.ages[-1] > high:
        raise _unfit(model, "OUTSIDE-AGE", f"{told} another age.")
