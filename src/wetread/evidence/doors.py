"""How fast files become arrays and results become documents, each beside what a user would write.

All ways of one row take turns in one process.  The peers: highdicom and PIL; what is unfair stands in the row.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from PIL import Image as Pillow
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.pixels.utils import compress

from wetread import acquire, pipeline
from wetread.evidence import series, slices
from wetread.evidence.figures import Figure, in_turn, medians, p95
from wetread.evidence.film import film_for_every_model
from wetread.records import Mask, Picture, Result
from wetread.report import seg
from wetread.report.context import context_of
from wetread.report.elements import encode
from wetread.settings import Settings

ROWS, COLUMNS, BITS = 2500, 2000, 12
#: Transfer syntax -> most milliseconds from file to all documents, 95th percentile.
GOALS = {uid.ExplicitVRLittleEndian: 80, uid.JPEGLSLossless: 150, uid.JPEG2000Lossless: 250}
JPEG_QUALITY = 88


def figures(reader: pipeline.Reader, runs: int) -> list[Figure]:
    """Every row of the doors."""
    few = max(3, runs // 4)
    return [
        *films(reader, few),
        slices.volume(reader.settings, few),
        *([segmentation(reader.settings, few)] if find_spec("highdicom") else []),
        overlays(reader, few),
    ]


def large_film(syntax: str) -> bytes:
    """The real film at 2500 x 2000 with 12 bits, in a transfer syntax."""
    film, out = dcmread(BytesIO(film_for_every_model())), BytesIO()
    stored = film.pixel_array >> (film.BitsStored - BITS)
    film.PixelData = cv2.resize(stored, (COLUMNS, ROWS), interpolation=cv2.INTER_AREA).tobytes()
    film.Rows, film.Columns = ROWS, COLUMNS
    film.BitsStored, film.HighBit = BITS, BITS - 1
    if syntax != uid.ExplicitVRLittleEndian:
        plugin = "pyjpegls" if syntax == uid.JPEGLSLossless else "pylibjpeg"
        compress(film, syntax, encoding_plugin=plugin, generate_instance_uid=False)
    film.save_as(out)
    return out.getvalue()


def films(reader: pipeline.Reader, runs: int) -> list[Figure]:
    """One film in three transfer syntaxes, from its bytes to all documents; JPEG 2000 with every pixel as well."""
    data = {syntax: large_film(syntax) for syntax in GOALS}
    whole = pipeline.Reader(reader.models, replace(reader.settings, least_side=0))
    ways: dict[str, Any] = {
        str(syntax): lambda film=film: reader.read_blobs([("film.dcm", film)]) for syntax, film in data.items()
    }
    ways["whole"] = lambda: whole.read_blobs([("film.dcm", data[uid.JPEG2000Lossless])])
    found = in_turn(ways, runs)
    middle = medians(found)
    made = []
    for syntax, goal in GOALS.items():
        times, beside = found[str(syntax)], ""
        if syntax == uid.JPEG2000Lossless:
            beside = (
                f"; with every pixel p50 {middle['whole']:.0f} ms, {middle['whole'] / middle[str(syntax)]:.1f} times"
            )
        made.append(
            Figure(
                f"film of {ROWS} x {COLUMNS}, {BITS} bit, {uid.UID(syntax).name}: bytes to all documents",
                f"p95 under {goal} ms",
                f"p50 {middle[str(syntax)]:.0f} ms, p95 {p95(times):.0f} ms{beside}",
                p95(times) < goal,
                runs,
                "the real film, enlarged from 1955 x 1841: less fine detail than one of that size has, which makes "
                "compressed ones faster to decode; JPEG 2000 is decoded at half the rows and columns",
            )
        )
    return made


def segmentation(settings: Settings, runs: int) -> Figure:
    """The segmentation of a series from masks to bytes: ours and highdicom's."""
    blobs = series.files(series.SLICES, series.SIDE)
    ((image,),) = [study.images for study in acquire.decode(blobs, settings)]
    outlined = series.masks(series.SLICES, series.SIDE)
    said = series.result(image, outlined)
    sources = [dcmread(BytesIO(data), stop_before_pixels=True) for _, data in blobs]
    found = in_turn({"ours": lambda: our_segmentation(said), "highdicom": lambda: highdicoms(sources, outlined)}, runs)
    ms = medians(found)
    return Figure(
        f"SEG of {series.SLICES} slices of {series.SIDE} x {series.SIDE} with two segments, masks to bytes",
        "at most 350 ms",
        f"{ms['ours']:.0f} ms; highdicom {ms['highdicom']:.0f} ms: {ms['highdicom'] / ms['ours']:.1f} times",
        ms["ours"] <= 350,
        runs,
        "the same content, element by element (tests/report/test_against_highdicom.py); highdicom is general and "
        "also checks what it is given; our checker, which runs before a document leaves, is not in the time",
    )


def our_segmentation(said: Result) -> bytes:
    """Write the segmentation of a result."""
    context = context_of(said, "")
    assert context is not None
    return encode(seg.dataset(context))


def highdicoms(sources: Sequence[Dataset], outlined: tuple[Mask, ...]) -> bytes:
    """Write the same with highdicom."""
    import highdicom as hd

    liver = hd.sr.CodedConcept("10200004", "SCT", "Liver")
    anatomy = hd.sr.CodedConcept("123037004", "SCT", "Anatomical Structure")
    family = hd.sr.CodedConcept("113060", "DCM", "Artificial Intelligence")
    by = hd.AlgorithmIdentificationSequence("speed", family, "1.0.0")
    described = [
        hd.seg.SegmentDescription(number, f"Ball {number}", anatomy, liver, "AUTOMATIC", by)
        for number in range(1, len(outlined) + 1)
    ]
    labels = np.zeros(outlined[0].shape, np.uint8)
    for number, mask in enumerate(outlined, 1):
        labels[mask] = number
    kind, out = hd.seg.SegmentationTypeValues.BINARY, BytesIO()
    made = hd.seg.Segmentation(
        sources, labels, kind, described,
        hd.UID(), 1, hd.UID(), 1, "Wetread", "speed", "1.0.0", "1",
    )  # fmt: skip
    made.save_as(out)
    return out.getvalue()


def overlays(reader: pipeline.Reader, runs: int) -> Figure:
    """The pictures of one film's page: our JPEGs, OpenCV's PNG and PIL's."""
    (reading,) = reader.read_blobs([("film.dcm", film_for_every_model())])
    shown = reading.result.pictures
    found = in_turn(
        {
            "jpeg": lambda: [jpeg(one) for one in shown],
            "cv2": lambda: [cv2.imencode(".png", one.rgb[..., ::-1]) for one in shown],
            "pil": lambda: [pil_png(one) for one in shown],
        },
        4 * runs,
    )
    ms = medians(found)
    return Figure(
        f"the {len(shown)} pictures of a film's page, encoded",
        "not PIL's PNG",
        f"JPEG {ms['jpeg']:.1f} ms; PNG by OpenCV {ms['cv2']:.1f} ms, by PIL {ms['pil']:.1f} ms: "
        f"{ms['pil'] / ms['jpeg']:.1f} times",
        ms["jpeg"] < statistics.fmean((ms["cv2"], ms["pil"])),
        4 * runs,
        f"JPEG at quality {JPEG_QUALITY} loses what the eye does not see, PNG nothing; the capture for the PACS is "
        "not compressed at all",
    )


def pil_png(picture: Picture) -> bytes:
    """Encode a picture as PIL's PNG."""
    out = BytesIO()
    Pillow.fromarray(picture.rgb).save(out, "PNG")
    return out.getvalue()


def jpeg(picture: Picture) -> bytes:
    """Encode a picture as the page does."""
    _, data = cv2.imencode(".jpg", picture.rgb[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    return bytes(data.tobytes())
