"""Our segmentation against the one that highdicom makes of the same masks, element by element.

Left out, and why: UIDs, dates and who made it, which differ by nature; the free labels of the
dimensions; the Purpose of Reference code (121233 Source image for segmentation says more than
highdicom's 121322); the direction in which positions are counted, so frames are matched by
segment and place.
"""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from tests import phantoms, slices
from tests.report import series
from wetread import acquire
from wetread.records import Image, Mask, Result
from wetread.report import documents
from wetread.report.seg import _overlap, packed
from wetread.settings import Settings

hd = pytest.importorskip("highdicom")
SAME = (
    "SOPClassUID",
    "Modality",
    "StudyInstanceUID",
    "PatientID",
    "PatientName",
    "FrameOfReferenceUID",
    "ImageType",
    "SegmentationType",
    "SegmentsOverlap",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "LossyImageCompression",
)


def volume(rows: int, columns: int) -> tuple[list[Dataset], Image, list[Mask]]:
    """A series, its image, and two masks that share nothing, miss slices and lie askew."""
    shape = (7, rows, columns)
    made = slices.series(np.random.default_rng(3).integers(-500, 500, shape).astype(np.int16), series.FRAME)
    ((image,),) = [study.images for study in acquire.decode(slices.blobs(made), Settings())]
    rng = np.random.default_rng(4)
    masks = [rng.random(shape) < 0.4, rng.random(shape) < 0.3]
    masks[1] &= ~masks[0]
    masks[0][[0, 3]] = False
    masks[1][4:] = False
    return [dcmread(BytesIO(phantoms.to_bytes(one))) for one in made], image, masks


def ours(image: Image, masks: list[Mask]) -> Dataset:
    base: Result = series.result("ct")
    regions = tuple(replace(region, mask=mask) for region, mask in zip(base.regions, masks, strict=True))
    said = replace(base, image=image, header=image.header, regions=regions, findings=(), explanations=(), pictures=())
    (made,) = [one for one in documents(said) if one.kind == "SEG"]
    return dcmread(BytesIO(made.data))


def theirs(sources: list[Dataset], masks: list[Mask], like: Dataset) -> Dataset:
    described = []
    for number, segment in enumerate(like.SegmentSequence, 1):
        category, kind = (
            hd.sr.CodedConcept.from_dataset(segment[keyword].value[0])
            for keyword in ("SegmentedPropertyCategoryCodeSequence", "SegmentedPropertyTypeCodeSequence")
        )
        named = segment.SegmentationAlgorithmIdentificationSequence[0]
        algorithm = hd.AlgorithmIdentificationSequence(
            named.AlgorithmName,
            hd.sr.CodedConcept.from_dataset(named.AlgorithmFamilyCodeSequence[0]),
            named.AlgorithmVersion,
            named.AlgorithmSource,
        )
        described.append(
            hd.seg.SegmentDescription(
                number, segment.SegmentLabel, category, kind, "AUTOMATIC", algorithm, segment.TrackingUID,
                segment.TrackingID,
            )
        )  # fmt: skip
    made = hd.seg.Segmentation(
        sources, np.stack(masks, -1).astype(np.uint8), hd.seg.SegmentationTypeValues.BINARY, described,
        hd.UID(), 1, hd.UID(), 1, "maker", "model", "1", "2",
    )  # fmt: skip
    written = BytesIO()
    made.save_as(written)
    return dcmread(BytesIO(written.getvalue()))


def frames(made: Dataset) -> dict[tuple[int, tuple[float, ...]], tuple[object, ...]]:
    """Of each frame, by segment and place: its pixels, what it was made from and how."""
    bits = np.unpackbits(np.frombuffer(made.PixelData, np.uint8), bitorder="little")
    size = made.Rows * made.Columns
    found: dict[tuple[int, tuple[float, ...]], tuple[object, ...]] = {}
    for number, frame in enumerate(made.PerFrameFunctionalGroupsSequence):
        segment = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        at = tuple(round(float(one), 4) for one in frame.PlanePositionSequence[0].ImagePositionPatient)
        derivation = frame.DerivationImageSequence[0]
        (source,) = derivation.SourceImageSequence
        found[segment, at] = (
            bits[number * size : (number + 1) * size].tobytes(),
            source.ReferencedSOPInstanceUID,
            source.ReferencedSOPClassUID,
            source.SpatialLocationsPreserved,
            derivation.DerivationCodeSequence[0].CodeValue,
            frame.FrameContentSequence[0].DimensionIndexValues[0],
            set(frame.dir()),
        )
    return found


@pytest.mark.parametrize("sides", [(48, 40), (33, 35)], ids=["whole bytes", "frames inside bytes"])
def test_the_segmentation_holds_what_highdicoms_holds(sides: tuple[int, int]) -> None:
    sources, image, masks = volume(*sides)
    made = ours(image, masks)
    peer = theirs(sources, masks, made)
    assert {keyword: made.get(keyword) for keyword in SAME} == {keyword: peer.get(keyword) for keyword in SAME}
    assert len(made.PixelData) == len(peer.PixelData)
    assert frames(made) == frames(peer)
    assert len(frames(made)) == 5 + 4
    for keyword in ("ReferencedSeriesSequence", "SegmentSequence"):
        assert [set(one.dir()) - {"RecommendedDisplayCIELabValue"} for one in made[keyword].value] == [
            set(one.dir()) for one in peer[keyword].value
        ]
    for one, other in zip(made.SegmentSequence, peer.SegmentSequence, strict=True):
        assert all(one[keyword] == other[keyword] for keyword in other.dir())
    named = [
        {ref.ReferencedSOPInstanceUID for ref in each.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
        for each in (made, peer)
    ]
    assert named[0] == named[1]


@pytest.mark.parametrize("sides", [(48, 40), (33, 35)])
def test_planes_and_dimensions_are_those_of_highdicom(sides: tuple[int, int]) -> None:
    sources, image, masks = volume(*sides)
    made = ours(image, masks)
    peer = theirs(sources, masks, made)
    shared = [one.SharedFunctionalGroupsSequence[0] for one in (made, peer)]
    assert shared[0].dir() == shared[1].dir()
    measures = [one.PixelMeasuresSequence[0] for one in shared]
    for keyword in ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"):
        assert np.allclose(measures[0][keyword].value, measures[1][keyword].value, atol=1e-6)
    turned = [one.PlaneOrientationSequence[0].ImageOrientationPatient for one in shared]
    assert np.allclose(turned[0], turned[1], atol=1e-9)
    pointers = [
        [(one.DimensionIndexPointer, one.FunctionalGroupPointer) for one in each.DimensionIndexSequence]
        for each in (made, peer)
    ]
    assert pointers[0] == pointers[1]


def test_bits_are_packed_as_if_all_frames_were_one() -> None:
    rng = np.random.default_rng(1)
    for rows, columns, count in ((8, 8, 3), (5, 5, 1), (5, 5, 3), (4, 2, 1), (4, 2, 2), (3, 8, 3)):
        masks = [rng.random((rows, columns)) < 0.5 for _ in range(count)]
        plain = np.packbits(np.concatenate(masks), axis=None, bitorder="little").tobytes()
        assert packed(masks).tobytes() == plain + b"\0" * (len(plain) % 2)


@pytest.mark.parametrize(("shared", "answer"), [((), False), ((0, 1), True), ((0, 2), True), ((1, 2), True)])
def test_an_overlap_is_found_wherever_it_is(shared: tuple[int, ...], answer: bool) -> None:
    masks = [np.zeros((4, 6, 3), bool) for _ in range(3)]
    for number, mask in enumerate(masks):
        mask[:, number] = True
    for number in shared:
        masks[number][3, 5, 2] = True
    assert _overlap(masks) is answer
