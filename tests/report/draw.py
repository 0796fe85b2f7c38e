"""Draws what a PACS shows of our documents, from a phantom: the picture of docs/how-to/choose-documents.md.

``python -m tests.report.draw docs/how-to/documents.png`` makes it again.  The presentation state
and the label map are read back from their bytes.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydicom import Dataset, dcmread

from tests.report import series
from wetread import report
from wetread.records import Result

SIDE = 480
Sheet = np.ndarray[Any, Any]


def image(result: Result, slice_: int) -> Sheet:
    """The slice as the state's window shows it, enlarged."""
    assert result.image is not None
    grey = np.clip((result.image.pixels[slice_].astype(float) + 1000) / 1700, 0, 1) * 255
    return np.asarray(
        cv2.cvtColor(cv2.resize(grey.astype(np.uint8), (SIDE, SIDE), interpolation=0), cv2.COLOR_GRAY2BGR)
    )


def state(result: Result, data: Dataset, slice_: int) -> Sheet:
    """The slice with what the presentation state lays over it."""
    made, (rows, columns) = image(result, slice_), result.image.pixels.shape[1:]  # type: ignore[union-attr]
    scale, uid = np.array([SIDE / columns, SIDE / rows]), result.image.sop_uids[slice_]  # type: ignore[union-attr]
    for one in data.GraphicAnnotationSequence:
        where = one.get("ReferencedImageSequence")
        if where and where[0].ReferencedSOPInstanceUID != uid:
            continue
        for graphic in one.get("GraphicObjectSequence", []):
            points = (np.array(graphic.GraphicData).reshape(-1, 2) * scale).astype(np.int32)
            cv2.polylines(made, [points], False, (233, 180, 86), 2, cv2.LINE_AA)
        for text in one.TextObjectSequence:
            corner = text.get("BoundingBoxTopLeftHandCorner")
            at = np.array(corner) * SIDE if corner else np.array(text.AnchorPoint) * scale
            for number, line in enumerate(text.UnformattedTextValue.split("\r\n")):
                place = (int(at[0]), int(at[1]) + 14 * (number + (1 if corner else 0)))
                cv2.putText(made, line, place, cv2.FONT_HERSHEY_SIMPLEX, 0.36, (90, 230, 240), 1, cv2.LINE_AA)
    return made


def labels(result: Result, data: Dataset, slice_: int) -> Sheet:
    """The slice with the label map coloured over it."""
    made, uid = image(result, slice_), result.image.sop_uids[slice_]  # type: ignore[union-attr]
    frames = [
        one.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        for one in data.PerFrameFunctionalGroupsSequence
    ]
    numbers = cv2.resize(data.pixel_array[frames.index(uid)], (SIDE, SIDE), interpolation=0)
    for number, colour in ((1, (150, 160, 0)), (2, (60, 160, 255))):
        made[numbers == number] = made[numbers == number] // 2 + np.array(colour, np.uint8) // 2
    return made


def main(target: Path) -> None:
    result = series.result("ct")
    made = {one.kind: one.data for one in report.documents(result, kinds=("GSPS", "LABELMAP"))}
    read = {kind: dcmread(io.BytesIO(made[kind])) for kind in ("SC", "GSPS", "LABELMAP")}
    slice_ = result.findings[0].peak
    capture = cv2.cvtColor(read["SC"].pixel_array, cv2.COLOR_RGB2BGR)
    capture = cv2.resize(capture, (round(capture.shape[1] * SIDE / capture.shape[0]), SIDE), interpolation=3)
    parts = [capture, state(result, read["GSPS"], slice_), labels(result, read["LABELMAP"], slice_)]
    titled = [cv2.copyMakeBorder(one, 26, 4, 4, 4, cv2.BORDER_CONSTANT, value=(30, 30, 30)) for one in parts]
    for sheet, name in zip(titled, ("SC", "GSPS over the slice", "LABELMAP over the slice"), strict=True):
        cv2.putText(sheet, name, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (240, 240, 240), 1, cv2.LINE_AA)
    cv2.imwrite(str(target), np.hstack(titled), (cv2.IMWRITE_PNG_COMPRESSION, 9))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
