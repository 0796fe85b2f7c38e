"""What a person draws: a segmentation by highdicom, of the images that a phantom's result is about."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import highdicom as hd
import numpy as np
from pydicom import Dataset, dcmread, uid
from pydicom.sr.coding import Code as Concept

from tests import phantoms
from tests.report import series
from wetread.acquire.segmentation import segmentation
from wetread.records import Code, Mask, Region, Segmentation
from wetread.settings import Settings


def _concept(code: Code) -> Concept:
    return Concept(code.value, code.scheme, code.meaning)


def description(region: Region, number: int, kind: str = "MANUAL", tracked: bool = True, **given: Any) -> Any:
    """One segment that says which region it is."""
    more: dict[str, Any] = {"tracking_uid": region.tracking_uid, "tracking_id": region.tracking_id} if tracked else {}
    if kind != "MANUAL":
        more["algorithm_identification"] = hd.AlgorithmIdentificationSequence(
            "Grow from seeds", Concept("123110", "DCM", "Artificial Intelligence"), "5.6"
        )
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=given.get("label", region.label),
        segmented_property_category=_concept(region.category),
        segmented_property_type=_concept(given.get("type", region.type)),
        algorithm_type=kind,
        **more,
    )


def drawn(
    images: Sequence[Dataset], masks: Sequence[Mask], described: Sequence[Any], kind: str = "BINARY", **given: Any
) -> bytes:
    """The file; masks (z, y, x) in the order of the images."""
    stack = np.stack(masks, axis=-1)
    made = hd.seg.Segmentation(
        source_images=[dcmread(BytesIO(phantoms.to_bytes(one))) for one in images],
        pixel_array=stack.astype(np.uint8) if stack.shape[-1] > 1 else masks[0].astype(np.uint8),
        segmentation_type=kind,
        segment_descriptions=list(described),
        series_instance_uid=uid.generate_uid(),
        series_number=77,
        sop_instance_uid=given.pop("sop", uid.generate_uid()),
        instance_number=1,
        manufacturer="Viewer",
        manufacturer_model_name="Drawing",
        software_versions="1",
        device_serial_number="1",
        **given,
    )
    file = BytesIO()
    made.save_as(file)
    return file.getvalue()


def read(data: bytes) -> Segmentation:
    return segmentation(data, Settings())


def grown(mask: Mask, slices: int = 1) -> Mask:
    """A mask that is larger on every side, also by slices."""
    made = mask.copy()
    for axis in (1, 2):
        made |= np.roll(mask, 1, axis) | np.roll(mask, -1, axis)
    if len(mask) > 1:
        for step in range(1, slices + 1):
            made |= np.roll(mask, step, 0)
    return made


def of_series(kind: str = "ct") -> list[Dataset]:
    return series.sources(kind)
