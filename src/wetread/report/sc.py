"""The secondary capture: a picture for every PACS, with its warning burned in.

References
----------
DICOM PS3.3 Sections A.8.1, C.8.6.1 (SC equipment), C.7.6.1 (general image).
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from wetread.records import Picture, Result
from wetread.report.codes import IMAGE_PROCESSING, IMAGE_PROCESSING_SOURCE, coded
from wetread.report.context import Context, beginning, body_part, orientation
from wetread.report.elements import Item, item
from wetread.report.planes import source_references
from wetread.report.words import MOST_LINES, captions, fitted

WARNING = "AI result, not for primary diagnosis"
MOST_ROWS = 640
_LEAST_COLUMNS = 480  # so that the words have room beside a narrow film
_LINE = 24  # height of a line of text, pixels
_PREFERRED = ("heat", "montage", "contours", "film")


def picture_of(result: Result) -> Picture | None:
    """Choose the picture that says most: heat map, else nine slices, else contours, else the film."""
    pictures = {picture.name: picture for picture in result.pictures}
    return next((pictures[name] for name in _PREFERRED if name in pictures), None)


def _lines(result: Result) -> list[str]:
    doubt = ["Heat map is NOT trustworthy" for one in result.explanations[:1] if not one.trustworthy]
    return fitted([WARNING, *captions(result)], MOST_LINES - len(doubt)) + doubt


def captioned(picture: Picture, lines: list[str]) -> npt.NDArray[np.uint8]:
    """Give the picture, at most 640 rows high and at least 480 columns wide, with lines of text on a band below it."""
    band = 10 + _LINE * len(lines)
    rgb, most = picture.rgb, MOST_ROWS - band
    if rgb.shape[0] > most:
        columns = max(1, round(rgb.shape[1] * most / rgb.shape[0]))
        # Down to a half no pixel is passed over, in a fifth of the time.
        way = cv2.INTER_LINEAR if 2 * most >= rgb.shape[0] else cv2.INTER_AREA
        rgb = np.asarray(cv2.resize(rgb, (columns, most), interpolation=way), np.uint8)
    height, width = rgb.shape[0], max(rgb.shape[1], _LEAST_COLUMNS)
    drawn = np.zeros((height + band, width, 3), dtype=np.uint8)
    left = (width - rgb.shape[1]) // 2
    drawn[:height, left : left + rgb.shape[1]] = rgb
    for number, line in enumerate(lines):
        text = line.encode("ascii", "replace").decode()
        size = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)[0][0]
        scale = 0.5 * min(1.0, (width - 16) / max(size, 1))
        colour = (255, 196, 64) if number == 0 else (235, 235, 235)
        where = (8, height + 20 + _LINE * number)
        cv2.putText(drawn, text, where, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
    return drawn


def dataset(context: Context, picture: Picture) -> Item:
    """Make the secondary capture of a picture."""
    drawn = captioned(picture, _lines(context.result))
    made = beginning(context, "SC") | body_part(context.source, sided=True) | context.source.lossy
    made |= orientation(context.source)
    if context.source.referable:
        made |= item(
            SourceImageSequence=[
                one | item(PurposeOfReferenceCodeSequence=coded(IMAGE_PROCESSING_SOURCE))
                for one in source_references(context)
            ]
        )
    return made | item(
        ConversionType="WSD",
        ImageType="DERIVED\\SECONDARY",
        BurnedInAnnotation="YES",
        DerivationDescription=f"{picture.caption}. {WARNING}."[:1024],
        DerivationCodeSequence=coded(IMAGE_PROCESSING),
        ImageComments=WARNING,
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        Rows=drawn.shape[0],
        Columns=drawn.shape[1],
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        PixelData=_even(drawn),
    )


def _even(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    flat = pixels.reshape(-1)
    return np.append(flat, np.uint8(0)) if flat.size % 2 else flat
