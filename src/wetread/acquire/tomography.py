"""Which objects are slices: CT, MR and PET images, one frame an instance or many.

Enhanced objects keep what the classic ones have at the top in functional groups.  `classic`
lifts it, where it is the same for all frames, so that everything behind reads one kind of header.

References
----------
DICOM PS3.3 Sections A.36, A.38 (enhanced MR and CT), C.7.6.16 (functional groups).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydicom import uid
from pydicom.dataset import Dataset

from wetread.acquire.attributes import as_float, missing, name, text, values
from wetread.errors import NotRead
from wetread.records import Shown

#: SOP Class -> Modality (0008,0060) of its images.
CLASSIC: dict[str, str] = {
    uid.CTImageStorage: "CT",
    uid.MRImageStorage: "MR",
    uid.PositronEmissionTomographyImageStorage: "PT",
}
ENHANCED: dict[str, str] = {
    uid.EnhancedCTImageStorage: "CT",
    uid.EnhancedMRImageStorage: "MR",
    uid.EnhancedPETImageStorage: "PT",
    uid.LegacyConvertedEnhancedCTImageStorage: "CT",
    uid.LegacyConvertedEnhancedMRImageStorage: "MR",
    uid.LegacyConvertedEnhancedPETImageStorage: "PT",
}
SLICES = CLASSIC | ENHANCED
#: Functional group -> its attributes that must be the same in all frames.
_SHARED = {
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "RescaleType"),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
}


def is_slice(header: Dataset | None) -> bool:
    """Whether an object is one slice, or several, of a tomographic series."""
    return header is not None and text(header, "SOPClassUID") in SLICES


def is_enhanced(header: Dataset) -> bool:
    """Whether an object keeps its slices as frames with functional groups."""
    return text(header, "SOPClassUID") in ENHANCED


def check_units(header: Dataset) -> None:
    """Refuse a CT image whose values are not known to be Hounsfield units.

    Raises
    ------
    NotRead
        MISSING-TAG: no Rescale Slope or Intercept, or no Modality LUT Type where there is a LUT; NOT-HU: Rescale Type
        or Modality LUT Type names another unit.

    References
    ----------
    DICOM PS3.3 Sections C.8.2.1 (CT image), C.11.1 (Modality LUT Type, which has no default), C.11.1.1.2 (Rescale
    Type).
    """
    if text(header, "Modality") != "CT":
        return
    holder, needed, unit = header, ["RescaleSlope", "RescaleIntercept"], "RescaleType"
    if luts := values(header, "ModalityLUTSequence"):
        holder, needed, unit = luts[0], ["ModalityLUTType"], "ModalityLUTType"
    for keyword in needed:
        if not text(holder, keyword):
            raise missing(keyword)
    if text(holder, unit) not in ("", "HU"):
        raise NotRead("NOT-HU", f"{name(unit)} names another unit: a map that was computed.")


def _groups(header: Dataset, group: str) -> list[Any]:
    """The items of a functional group: the shared one, else one a frame."""
    for holder in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        found = [values(frame, group) for frame in values(header, holder)]
        if found and all(found):
            return [items[0] for items in found]
    return []


def classic(header: Dataset) -> Dataset:
    """Lift what all frames share to where a single-frame object has it.

    Parameters
    ----------
    header
        Of an enhanced object; it is not changed.

    Raises
    ------
    NotRead
        MIXED-SERIES: the frames differ in size of a pixel, rescale or orientation.
    """
    made = Dataset()
    made.update(header)
    if hasattr(header, "file_meta"):
        made.file_meta = header.file_meta
    for group, keywords in _SHARED.items():
        items = _groups(header, group)
        for keyword in keywords:
            found = [item[keyword] for item in items if keyword in item]
            if any(one.value != found[0].value for one in found):
                raise NotRead("MIXED-SERIES", f"Expected one {keyword} in all frames, got several.")
            if found:
                made[keyword] = found[0]
    shown = _groups(header, "FrameVOILUTSequence")  # may differ, and then stays where it is
    if shown and all(one == shown[0] for one in shown):
        made.update(shown[0])
    return made


def windows(headers: Sequence[Dataset]) -> tuple[Shown, ...]:
    """Return the first window of each slice, as many MR have one of their own; () where all have the same.

    References
    ----------
    DICOM PS3.3 Section C.11.2.1.2.
    """
    found = []
    for header in headers:
        centre, width = (as_float(text(header, keyword)) for keyword in ("WindowCenter", "WindowWidth"))
        found.append((centre, width, text(header, "VOILUTFunction")))
    return tuple(found) if len(set(found)) > 1 else ()


def frame_windows(header: Dataset, order: Sequence[int]) -> tuple[Shown, ...]:
    """Return the windows of frames as `windows`; `order` are the frames, counted from 0, in slice order."""
    shown = _groups(header, "FrameVOILUTSequence")
    return windows([shown[index] for index in order]) if len(shown) == len(order) else ()


def shown_header(header: Dataset, frame: int) -> Dataset:
    """What turns one frame's stored values into a picture, at the top as of a single-frame object.

    Parameters
    ----------
    header
        Of any object; it is not changed.
    frame
        The first is 1.

    References
    ----------
    DICOM PS3.3 Sections C.7.6.16.2.9 (Pixel Value Transformation), C.7.6.16.2.10 (Frame VOI LUT).
    """
    own = values(header, "PerFrameFunctionalGroupsSequence")[frame - 1 : frame]
    groups = [*values(header, "SharedFunctionalGroupsSequence"), *own]
    if not groups:
        return header
    made = Dataset()
    made.update(header)
    for group in groups:
        for name_ in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for item in values(group, name_)[:1]:
                made.update(item)
    return made


def frame_headers(header: Dataset) -> list[Dataset]:
    """One small header a frame, with its position and orientation."""
    made = []
    for item in _groups(header, "PlanePositionSequence"):
        frame = Dataset()
        for keyword, holder in (("ImagePositionPatient", item), ("ImageOrientationPatient", header)):
            if keyword in holder:
                frame[keyword] = holder[keyword]
        made.append(frame)
    return made
