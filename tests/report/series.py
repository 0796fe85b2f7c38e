"""Results about series with known answers: a ball outlined, another one found, in an oblique geometry."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from pydicom.dataset import Dataset

from tests import phantoms, slices
from tests.report import phantom
from wetread import acquire, explain
from wetread.infer.regions import ABNORMAL, ANATOMY, ML, VOLUME, voxel_ml
from wetread.records import FULL_SCALE, Box, Code, Finding, Image, Mask, Measurement, Region, Result, Timing
from wetread.settings import Settings

#: CT: slices of one frame, oblique; MR: frames of one enhanced object; slice: one CT slice.
KINDS = ("ct", "mr-enhanced", "slice")
SHAPE = (9, 44, 40)
ANGLE = np.radians(17)
FRAME = slices.Frame(
    np.array([-31.25, 12.5, -407.1]),
    np.array([1.0, 0.0, 0.0]),
    np.array([0.0, np.cos(ANGLE), -np.sin(ANGLE)]),
    (2.5, 0.75, 0.8),
)
BLEED = Code("50960005", "SCT", "Hemorrhage")
PARTS = (("Liver", Code("10200004", "SCT", "Liver"), ANATOMY), ("Tumor", Code("108369006", "SCT", "Tumor"), ABNORMAL))


def volume() -> slices.Ints:
    """Two balls of 300 and 700 HU in air."""
    middle = FRAME.places(SHAPE).reshape(-1, 3).mean(0)
    centres = middle + np.array([(-4, -3, -1), (7, 4, 3)])
    return slices.balls(FRAME, SHAPE, centres, (8.0, 4.0), (300, 700))


def sources(kind: str) -> list[Dataset]:
    """The instances of the series, as they were acquired."""
    real = volume() if kind != "slice" else volume()[5:6]
    plain = {"BodyPartExamined": "ABDOMEN", "SliceThickness": "2"}
    if kind != "mr-enhanced":
        return slices.series(real, FRAME, "CT", **plain)
    made = slices.enhanced(real, FRAME, "MR", order=[8, 0, 7, 1, 6, 2, 5, 3, 4])
    made.BodyPartExamined = "ABDOMEN"
    return [made]


@lru_cache(maxsize=4)
def image(kind: str) -> Image:
    """The series, as `acquire` gives it."""
    ((found,),) = [study.images for study in acquire.decode(slices.blobs(sources(kind)), Settings())]
    return found


def _region(number: int, mask: Mask, given: Image) -> Region:
    label, code, category = PARTS[number]
    assert given.spacing_mm is not None
    site = code if category == ANATOMY else None
    size = Measurement(VOLUME, float(mask.sum()) * voxel_ml(given.spacing_mm), ML, site)
    if len(mask) == 1:
        area = float(mask.sum()) * given.spacing_mm[1] * given.spacing_mm[2] / 100
        size = Measurement(phantom.AREA, area, phantom.CM2, site)
    by = phantom.model("ct-parts")
    return Region(label, mask, category, code, None, by, f"2.25.{3000 + number}", label, (size,))


def result(kind: str) -> Result:
    """A whole result: two regions, one finding on some slices, its map, its pictures."""
    given = image(kind)
    pixels = given.pixels
    masks = [pixels == 300, pixels == 700]
    classifier = phantom.model("ct-bleed")
    share = masks[1].mean((1, 2))
    positive = tuple(int(one) for one in np.flatnonzero(share)) if len(pixels) > 1 else ()
    finding = Finding(
        BLEED, 0.91, 0.5, True, classifier, "2.25.3100", "Hemorrhage", None, positive, int(share.argmax())
    )
    heat = masks[1][finding.peak].astype(np.uint16) * np.uint16(FULL_SCALE)
    everything = Box(0, 0, *SHAPE[1:])
    judged = explain.explain(finding, heat, explain.foreground(pixels[finding.peak]), everything, 0.5, "body")
    made = Result(
        study_uid=given.study_uid,
        source=given.source,
        digest=given.digest,
        header=given.header,
        image=given,
        findings=(finding,),
        regions=tuple(_region(number, mask, given) for number, mask in enumerate(masks)),
        explanations=(judged,),
        models=(phantom.model("ct-parts"), classifier),
        timings=(Timing("acquire", 21.4), Timing("infer", 11.8)),
    )
    return replace(made, pictures=explain.drawn(given, made, (-1000.0, 1000.0)))


def uids(kind: str) -> tuple[str, ...]:
    """The instances in slice order."""
    return (phantoms.INSTANCE,) if kind == "mr-enhanced" else tuple(one.SOPInstanceUID for one in sources(kind))
