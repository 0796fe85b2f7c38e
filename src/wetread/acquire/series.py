"""Slices of a CT, MR or PET series -> one volume, or one coded refusal for all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from wetread.acquire.attributes import missing, number, text
from wetread.acquire.instances import Instance, reject
from wetread.acquire.pixels import Rescale, rescaled
from wetread.acquire.planes import Plane
from wetread.acquire.planes import stack as in_order
from wetread.acquire.tomography import is_slice, windows
from wetread.errors import NotRead
from wetread.records import Image, Pixels, Rejected
from wetread.threads import each

#: What must be equal in all slices of a volume, besides their orientation.
_EQUAL = ("FrameOfReferenceUID", "Modality", "SOPClassUID")
#: Makes one array of the slices of a volume, their images and instances in order: (z, y, x), read-only.
Stack = Callable[[list[Image], list[Instance]], Pixels]


def stacked(images: list[Image], members: list[Instance]) -> Pixels:
    """The slices of a volume in one array, each rescaled on its way into it."""
    made = np.empty((len(images), *images[0].pixels.shape[1:]), volume_kind(images, members))

    each(len(images), lambda index: fill(made[index], images[index].pixels[0], members[index].rescale))
    made.flags.writeable = False
    return made


def volume_kind(images: list[Image], members: list[Instance]) -> np.dtype[Any]:
    """The type that holds every value of a volume: float32 where one of its slices needs it."""
    kind = np.result_type(
        *{one.rescale.kind if one.rescale else image.pixels.dtype for image, one in zip(images, members, strict=True)}
    )
    return np.dtype(np.float32) if kind.kind == "f" else kind


def fill(place: Pixels, stored: Pixels, rescale: Rescale | None) -> None:
    """Put the pixels of one slice where they belong."""
    if rescale is None:
        place[...] = stored
    elif place.dtype.kind == "f":
        place[...] = rescaled(stored, rescale)
    else:
        rescaled(stored, rescale, place)


def loose(members: Sequence[Instance], stack: Stack = stacked) -> list[Image]:
    """Put slices of which more are to come into one image a series and kind of pixels, in the order of `members`.

    What depends on all slices is not known yet: nobody has looked whether they are in order, and whole.
    """
    groups: dict[tuple[Any, ...], list[Instance]] = {}
    for member in members:
        image = member.outcome
        if isinstance(image, Image) and is_slice(member.header) and len(image.pixels) == 1:
            alike = image.series_uid, image.pixels.shape, image.pixels.dtype, image.spacing_mm, image.directions
            groups.setdefault(alike, []).append(member)
    found = []
    for group in groups.values():
        images = [member.outcome for member in group if isinstance(member.outcome, Image)]
        found.append(replace(images[0], pixels=stack(images, group)))
    return found


def joined(members: Sequence[Instance], max_pixels: int, stack: Stack = stacked) -> list[Image | Rejected]:
    """Join the slices of each series, and leave everything else as it is.

    Parameters
    ----------
    members
        The instances of one study, in order.
    max_pixels
        Most pixels of one series.
    stack
        Makes one array of the slices of a volume.

    Returns
    -------
    One outcome a film, a localizer, a series of slices; in the order of their first instance.
    One slice that must not be read stops its whole series: a volume with a hole is none.
    """
    groups: dict[tuple[str, ...], list[Instance]] = {}
    for place, member in enumerate(members):
        groups.setdefault(_key(member, place), []).append(member)
    return [
        _series(group, max_pixels, stack) if is_slice(group[0].header) else group[0].outcome
        for group in groups.values()
    ]


def _key(member: Instance, number: int) -> tuple[str, ...]:
    if not is_slice(member.header):
        return (str(number),)
    code = member.outcome.refusal.code if isinstance(member.outcome, Rejected) else ""
    return (text(member.header, "SeriesInstanceUID"), "LOCALIZER" if code == "LOCALIZER" else "slices")


def _series(group: list[Instance], max_pixels: int, stack: Stack) -> Image | Rejected:
    first = group[0].outcome
    digest = _digest(group)
    source = first.source if len(group) == 1 else f"{first.source} and {len(group) - 1} more"
    refused = [member.outcome for member in group if isinstance(member.outcome, Rejected)]
    if refused:
        told = refused[0].refusal
        if len(group) > 1:
            told = replace(
                told, detail=f"{told.detail} {len(refused)} of {len(group)} instances of the series.".strip()
            )
        return Rejected(told, source, digest, refused[0].header, _instances(group, refused[0].header))
    try:
        if all(member.blank for member in group):
            raise NotRead("BLANK-IMAGE", "Every slice is blank.")
        return replace(_volume(group, max_pixels, stack), digest=digest, source=source)
    except NotRead as refusal:
        return replace(reject(refusal, source, digest, first.header), sop_uids=_instances(group, first.header))


def _instances(group: list[Instance], header: Dataset | None) -> tuple[str, ...]:
    """Each instance of a group that a document can refer to by the class that the header names."""
    if header is None:
        return ()
    of_class = [one for one in group if one.header.get("SOPClassUID") == header.SOPClassUID and one.sop_uid]
    return tuple(dict.fromkeys(one.sop_uid for one in of_class))


def _digest(group: list[Instance]) -> str:
    """The digest of one instance is its own; of several that of their digests, in any order of arrival."""
    if len(group) == 1:
        return group[0].outcome.digest
    digests = sorted(member.outcome.digest for member in group)
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _volume(group: list[Instance], max_pixels: int, stack: Stack) -> Image:
    images = [member.outcome for member in group if isinstance(member.outcome, Image)]
    if len(images) == 1:
        return replace(images[0], pixels=stack(images, group)) if len(images[0].pixels) == 1 else images[0]
    total = sum(image.pixels.size for image in images)
    if total > max_pixels:
        raise NotRead("TOO-LARGE", f"Expected at most {max_pixels} pixels in a series, got {total}.")
    if any(len(image.pixels) > 1 for image in images):
        raise NotRead("MIXED-SERIES", "Expected one instance of several frames in a series, got more instances.")
    _check_equal(images)
    spacing = images[0].spacing_mm
    if spacing is None:
        raise missing("PixelSpacing")
    found = in_order([_plane(image) for image in images], min(spacing[1:]))
    ordered = [images[index] for index in found.order]
    return replace(
        ordered[0],
        pixels=stack(ordered, [group[index] for index in found.order]),
        spacing_mm=(found.distance_mm, spacing[1], spacing[2]),
        sop_uids=tuple(image.sop_uids[0] for image in ordered),
        positions_mm=found.positions_mm,
        directions=found.directions,
        numbers=_numbers(ordered),
        one_rescale=len({_rescale(image.header) for image in ordered}) == 1,
        windows=windows([image.header for image in ordered]),
        secondary=any(image.secondary for image in ordered),
        laterality=ordered[0].laterality if len({image.laterality for image in ordered}) == 1 else "",
    )


def _numbers(images: list[Image]) -> tuple[int, ...]:
    """The Instance Numbers of slices, if they tell one from the other."""
    numbers = tuple(number for image in images for number in image.numbers)
    return numbers if len(set(numbers)) == len(images) else ()


def _rescale(header: Dataset) -> tuple[object, ...]:
    """What of a modality LUT may differ from slice to slice, as in PET and some MR."""
    return number(header, "RescaleSlope"), number(header, "RescaleIntercept"), "ModalityLUTSequence" in header


def _plane(image: Image) -> Plane:
    if image.directions is None or "ImagePositionPatient" not in image.header:
        oriented = "ImageOrientationPatient" in image.header
        raise missing("ImagePositionPatient" if oriented else "ImageOrientationPatient")
    _, down, across = image.directions
    return Plane(image.positions_mm[0], across, down)


def _check_equal(images: list[Image]) -> None:
    for keyword in _EQUAL:
        if len({text(image.header, keyword) for image in images}) > 1:
            raise NotRead("MIXED-SERIES", f"Expected one {keyword} in all slices, got several.")
    if len({image.pixels.shape for image in images}) > 1:
        raise NotRead("MIXED-SERIES", "Expected slices of one size, got several sizes.")
    spacings = np.array([image.spacing_mm[1:] if image.spacing_mm else (0.0, 0.0) for image in images])
    if np.ptp(spacings, axis=0).max() > 1e-3 * spacings.max():
        raise NotRead("MIXED-SERIES", "Expected one Pixel Spacing (0028,0030) in all slices, got several.")
