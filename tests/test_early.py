"""A real JPEG 2000 film read early and whole: the shipped models' answers and the documents agree."""

from __future__ import annotations

import json
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.pixels.utils import compress

from wetread.evidence.film import film_for_every_model
from wetread.measures import dice
from wetread.pipeline import open_reader
from wetread.records import Reading
from wetread.settings import Settings

pytest.importorskip("data_store")
#: What docs/reference/documents.md promises of an answer on half the rows and columns.
LEAST_DICE, MOST_PROBABILITY = 0.99, 0.02


@pytest.fixture(scope="module")
def readings() -> tuple[Reading, Reading]:
    """Of every pixel, and of every second."""
    film, packed = dcmread(BytesIO(film_for_every_model())), BytesIO()
    compress(film, uid.JPEG2000Lossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    film.save_as(packed)
    made = []
    for side in (0, 900):
        (one,) = open_reader(Settings(least_side=side)).read_blobs([("film.dcm", packed.getvalue())])
        made.append(one)
    return made[0], made[1]


def documents(reading: Reading) -> dict[str, Dataset]:
    return {one.kind: dcmread(BytesIO(one.data)) for one in reading.documents if one.sop_class_uid}


def test_the_models_answer_the_same_within_the_tolerance(readings: tuple[Reading, Reading]) -> None:
    every, early = (one.result for one in readings)
    assert every.image is not None
    assert early.image is not None
    assert (every.image.reduction, early.image.reduction) == (1, 2)
    assert [one.label for one in every.regions] == [one.label for one in early.regions]
    for one, other in zip(every.regions, early.regions, strict=True):
        assert dice(one.mask, other.mask) >= LEAST_DICE
    assert every.findings
    for one_, other_ in zip(every.findings, early.findings, strict=True):
        assert abs(one_.probability - other_.probability) <= MOST_PROBABILITY
        assert one_.present == other_.present


def test_the_documents_stay_on_the_grid_of_the_film(readings: tuple[Reading, Reading]) -> None:
    every, early = map(documents, readings)
    assert set(every) == set(early) == {"SEG", "PM", "SR", "SC"}
    for kind in ("SEG", "PM", "SC"):
        for keyword in ("Rows", "Columns", "NumberOfFrames", "FrameOfReferenceUID", "ReferencedSeriesSequence"):
            assert every[kind].get(keyword) == early[kind].get(keyword)
        assert every[kind].get("SharedFunctionalGroupsSequence") == early[kind].get("SharedFunctionalGroupsSequence")
    grey = [one["SC"].pixel_array.astype(float) for one in (every, early)]
    assert np.abs(grey[0] - grey[1]).mean() < 1.0  # of 255; half the film is still more than the capture shows


def test_the_reports_say_that_not_every_pixel_was_decoded(readings: tuple[Reading, Reading]) -> None:
    for reading, said in zip(readings, (False, True), strict=True):
        made = {one.kind: one.data for one in reading.documents}
        assert (b"pixels=decoded at 1/2 of rows and columns" in made["SR"]) is said
        assert (b"decoded at 1/2 of rows and columns" in made["HTML"]) is said
        assert json.loads(made["JSON"])["image"].get("decoded_at") == ("1/2" if said else None)
