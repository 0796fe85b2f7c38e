"""DICOM segmentations as training masks: which pixels of which image somebody marked.

References
----------
DICOM PS3.3 Sections A.51, C.8.20.2 (segmentation image), C.7.6.16.2.6 (derivation
image), PS3.5 Section 8.1.1 (bits are packed without a gap between frames).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, SegmentationStorage

from wetread.acquire.instances import max_file_bytes
from wetread.acquire.parse import Parsed, looks_like_dicom, parse
from wetread.acquire.quiet import FOREIGN_ERRORS, quiet
from wetread.errors import BadInput, NotRead
from wetread.records import Mask
from wetread.settings import Settings

__all__ = ["marked"]

_BROKEN: tuple[type[Exception], ...] = (*FOREIGN_ERRORS, NotRead)
_PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


def marked(folders: Sequence[Path], settings: Settings) -> dict[str, Mask]:
    """Read every binary segmentation below the folders.

    Returns
    -------
    SOP Instance UID of the image -> (y, x) bool, whatever any segment marks on it.

    Raises
    ------
    BadInput
        A file cannot be read; a segmentation is compressed, not binary, names no source images, is damaged, or of
        another size than another one of its image.
    """
    masks: dict[str, Mask] = {}
    with quiet():
        for folder in folders:
            for number, file in enumerate(sorted(Path(folder).rglob("*.dcm")), 1):
                place = f"{folder} *.dcm {number} by name"
                for uid, mask in _segmented(file, place, settings):
                    if (known := masks.get(uid, mask)).shape != mask.shape:
                        raise BadInput(
                            f"{place}: expected a DICOM SEG of {known.shape} pixels, as another of the same image, got "
                            f"one of {mask.shape}; export it again"
                        )
                    masks[uid] = known | mask
    return masks


def _segmented(file: Path, place: str, settings: Settings) -> list[tuple[str, Mask]]:
    """Return what a file marks: nothing, if it is no segmentation."""
    most = max_file_bytes(settings)
    try:
        data = file.read_bytes() if file.stat().st_size <= most else b""
    except OSError as error:
        raise BadInput(f"{place}: expected a DICOM file, got one that cannot be read: {error.strerror}") from error
    if SegmentationStorage.encode() not in data[:1024] or not looks_like_dicom(data):
        return []
    try:
        return list(_frames(parse(data, most), settings))
    except BadInput as error:
        raise BadInput(f"{place}: {error}") from error
    except _BROKEN as error:
        got = str(error) if isinstance(error, NotRead) else type(error).__name__
        raise BadInput(f"{place}: a DICOM SEG: expected a readable one, got {got}; export it again") from error


def _frames(parsed: Parsed, settings: Settings) -> Iterator[tuple[str, Mask]]:
    header, pixel = parsed.header, parsed.pixel
    if header.SegmentationType != "BINARY" or parsed.syntax not in _PLAIN or pixel is None:
        raise BadInput("a DICOM SEG: expected binary and uncompressed frames, got others; convert it first")
    count, rows, columns = int(header.NumberOfFrames), int(header.Rows), int(header.Columns)
    if not 0 < count * rows * columns <= 8 * settings.max_pixels:
        raise BadInput(f"a DICOM SEG: expected at most {8 * settings.max_pixels} bits, got {count * rows * columns}")
    raw = np.frombuffer(parsed.data, np.uint8, offset=pixel.offset, count=-(-count * rows * columns // 8))
    frames = np.unpackbits(raw, bitorder="little")[: count * rows * columns].reshape(count, rows, columns)
    groups = header.PerFrameFunctionalGroupsSequence
    if len(groups) != count:
        raise BadInput(f"a DICOM SEG: expected {count} per-frame groups, got {len(groups)}")
    for frame, group in zip(frames, groups, strict=True):
        for uid in _sources(group):
            yield uid, frame.astype(bool)


def _sources(group: Any) -> list[str]:
    """The images that one frame was drawn on."""
    uids = [
        str(source.ReferencedSOPInstanceUID)
        for derivation in group.get("DerivationImageSequence", [])
        for source in derivation.get("SourceImageSequence", [])
    ]
    if not uids:
        raise BadInput("a DICOM SEG: expected each frame to name its source image, got one without; convert it first")
    return uids
