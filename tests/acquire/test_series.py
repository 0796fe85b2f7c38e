"""Slices become a volume that lies in the patient as the slices did, or are refused with a code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from tests import phantoms, slices
from wetread.acquire import decode
from wetread.records import Image, Study
from wetread.settings import Settings

Floats = npt.NDArray[np.float64]
SHAPE = (9, 40, 36)
RNG = np.random.default_rng(11)
VOLUME = RNG.integers(-900, 900, SHAPE).astype(np.int16)


def read(parts: Sequence[Dataset], settings: Settings | None = None) -> Study:
    (study,) = decode(slices.blobs(parts), settings or Settings())
    return study


def image_of(parts: Sequence[Dataset]) -> Image:
    study = read(parts)
    assert study.rejected == ()
    (image,) = study.images
    return image


def code_of(parts: Sequence[Dataset], settings: Settings | None = None) -> str:
    study = read(parts, settings)
    assert study.images == ()
    (rejected,) = study.rejected
    assert rejected.header is not None
    for secret in phantoms.SECRETS:
        assert secret not in rejected.refusal.detail
    return rejected.refusal.code


def places(image: Image, mask: npt.NDArray[np.bool_]) -> Floats:
    """The centroid of a mask in the patient, (x, y, z) mm, by the geometry of the record."""
    assert image.directions is not None
    assert image.spacing_mm is not None
    centre = np.array([axis.mean() for axis in np.nonzero(mask)])
    return np.asarray(np.array(image.positions_mm[0]) + (centre * image.spacing_mm) @ np.array(image.directions))


def test_a_ball_keeps_its_place_in_five_hundred_geometries() -> None:
    """Any orientation, spacing and order of arrival: half a voxel at most, and no mirror image."""
    for seed in range(500):
        rng = np.random.default_rng(seed)
        frame = slices.random_frame(rng)
        shape = (int(rng.integers(5, 12)), int(rng.integers(32, 48)), int(rng.integers(32, 48)))
        size = np.array(shape) * frame.spacing
        axes = np.stack([frame.normal, frame.down, frame.across])
        # Two balls in general position: a mirrored or reversed volume would move or exchange them.
        middle = frame.origin + (size * (0.3, 0.35, 0.4)) @ axes
        other = frame.origin + (size * (0.65, 0.7, 0.62)) @ axes
        radius = max(2.2 * max(frame.spacing), 0.12 * float(size.min()))
        volume = slices.balls(frame, shape, np.array([middle, other]), (radius, radius), (300, 700))
        truth = [frame.places(shape)[volume == value].mean(0) for value in (300, 700)]
        parts = slices.series(volume, frame)
        if rng.random() < 0.5:
            for number, part in enumerate(reversed(parts), 1):
                part.InstanceNumber = number
        order = rng.permutation(len(parts))
        image = image_of([parts[index] for index in order])
        assert image.pixels.shape == shape
        assert image.spacing_mm == pytest.approx(frame.spacing, rel=1e-5)
        assert image.directions is not None
        np.testing.assert_allclose(np.cross(image.directions[2], image.directions[1]), image.directions[0], atol=1e-6)
        for value, wanted in zip((300, 700), truth, strict=True):
            away = (places(image, image.pixels == value) - wanted) @ axes.T
            assert np.abs(away / frame.spacing).max() <= 0.5, seed


def test_slices_are_in_the_order_of_their_place() -> None:
    parts = slices.series(VOLUME)
    image = image_of(parts[::-1])
    np.testing.assert_array_equal(image.pixels, VOLUME)
    assert image.sop_uids == tuple(part.SOPInstanceUID for part in parts)
    assert image.pixels.dtype == np.int16  # 16 bits stored and an intercept below 0, but no such value
    assert image.spacing_mm == pytest.approx((3.0, 1.0, 1.0))
    assert image.positions_mm[2] == pytest.approx((-30, -40, 16))
    np.testing.assert_array_equal(image.directions or (), np.eye(3)[::-1])
    assert image.header.SOPInstanceUID == parts[0].SOPInstanceUID
    assert not image.pixels.flags.writeable


def test_one_computed_slice_makes_a_series_secondary() -> None:
    parts = slices.series(VOLUME)
    assert not image_of(parts).secondary
    parts[4].ImageType = ["DERIVED", "SECONDARY", "REFORMATTED"]
    assert image_of(parts).secondary


def test_slices_keep_the_numbers_by_which_others_count_them() -> None:
    parts = slices.series(VOLUME)
    for number, part in enumerate(parts):
        part.InstanceNumber = 50 - 2 * number
    assert image_of(parts).numbers == tuple(range(50, 32, -2))
    parts[3].InstanceNumber = 50
    assert image_of(parts).numbers == ()
    del parts[3].InstanceNumber
    assert image_of(parts).numbers == ()
    assert image_of(parts[:1]).numbers == (50,)
    order = [*range(0, 9, 2), *range(1, 9, 2)]
    assert image_of([slices.enhanced(VOLUME, order=order)]).numbers == ()  # its frames count


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_hounsfield_units_do_not_depend_on_how_they_are_shown(photometric: str) -> None:
    np.testing.assert_array_equal(image_of(slices.series(VOLUME, photometric=photometric)).pixels, VOLUME)


def test_a_series_has_a_side_where_all_its_slices_have_it() -> None:
    parts = slices.series(VOLUME, ImageLaterality="L")
    assert image_of(parts).laterality == "L"
    parts[2].ImageLaterality = "R"
    assert image_of(parts).laterality == ""


def test_the_digest_does_not_depend_on_the_order_of_arrival() -> None:
    parts = slices.series(VOLUME)
    assert image_of(parts).digest == image_of(parts[::-1]).digest
    assert image_of(parts).digest != image_of(parts[:-1]).digest


def test_feet_first_and_head_first_end_in_the_same_place() -> None:
    """A row that runs to the right turns the normal to the feet: the array turns, the patient does not."""
    turned = slices.Frame(np.array([30.0, -40, 10]), np.array([-1.0, 0, 0]), np.array([0, 1.0, 0]), (3.0, 1.0, 1.0))
    image = image_of(slices.series(VOLUME, turned))
    np.testing.assert_array_equal(image.directions or (), ((0, 0, -1), (0, 1, 0), (-1, 0, 0)))
    np.testing.assert_array_equal(image.pixels, VOLUME)


def test_one_slice_is_a_series_too() -> None:
    (one,) = slices.series(VOLUME[:1])
    image = image_of([one])
    assert image.pixels.shape == (1, *SHAPE[1:])
    np.testing.assert_array_equal(image.directions or (), np.eye(3)[::-1])
    assert image.spacing_mm == (3.0, 1.0, 1.0)


def test_one_slice_that_does_not_tell_its_place_is_read() -> None:
    (one,) = slices.series(VOLUME[:1], ImagePositionPatient=None, ImageOrientationPatient=None)
    assert image_of([one]).directions is None


def test_blank_slices_at_the_ends_belong_to_the_volume() -> None:
    volume = VOLUME.copy()
    volume[[0, -1]] = -1000
    assert len(image_of(slices.series(volume)).pixels) == len(volume)
    assert code_of(slices.series(np.full_like(volume, -1000))) == "BLANK-IMAGE"


def test_two_series_of_one_study_are_two_volumes() -> None:
    second = slices.series(VOLUME[:4], SeriesInstanceUID=f"{phantoms.ROOT}.1.2")
    for number, part in enumerate(second):
        part.SOPInstanceUID = f"{phantoms.ROOT}.1.2.{number + 1}"
    study = read([*slices.series(VOLUME), *second])
    assert sorted(len(image.pixels) for image in study.images) == [4, 9]


def test_localizer_beside_the_slices_is_refused_once_and_the_slices_are_read() -> None:
    extra = slices.series(VOLUME[:2], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    for number, part in enumerate(extra):
        part.SOPInstanceUID = f"{phantoms.ROOT}.1.3.{number + 1}"
    study = read([*slices.series(VOLUME), *extra])
    assert [len(image.pixels) for image in study.images] == [9]
    assert [rejected.refusal.code for rejected in study.rejected] == ["LOCALIZER"]


def moved(index: int, *by: float) -> list[Dataset]:
    parts = slices.series(VOLUME)
    parts[index].ImagePositionPatient = [
        a + b for a, b in zip(map(float, parts[index].ImagePositionPatient), by, strict=True)
    ]
    return parts


def without(*indices: int) -> list[Dataset]:
    return [part for index, part in enumerate(slices.series(VOLUME)) if index not in indices]


def sheared(degrees: float) -> list[Dataset]:
    parts = slices.series(VOLUME)
    for index, part in enumerate(parts):
        x, y, z = map(float, part.ImagePositionPatient)
        part.ImagePositionPatient = [x, y + index * 3.0 * np.tan(np.radians(degrees)), z]
    return parts


def edited(index: int, **changes: Any) -> list[Dataset]:
    parts = slices.series(VOLUME)
    for keyword, value in changes.items():
        setattr(parts[index], keyword, value)
    return parts


def with_lut(kind: str) -> list[Dataset]:
    """Slices whose values a Modality LUT makes what its type says."""
    lut = Dataset()
    lut.ModalityLUTType = kind
    lut.add_new("LUTDescriptor", "US", [4096, 0, 16])
    lut.add_new("LUTData", "OW", np.arange(4096, dtype="<u2").tobytes())
    return slices.series(VOLUME, RescaleSlope=None, RescaleIntercept=None, ModalityLUTSequence=[lut])


def doubled() -> list[Dataset]:
    again = slices.series(VOLUME + 1)
    for number, part in enumerate(again):
        part.SOPInstanceUID = f"{phantoms.ROOT}.1.4.{number + 1}"
    return [*slices.series(VOLUME), *again]


def smaller_slice() -> list[Dataset]:
    (small,) = slices.series(VOLUME[:1, :, :-2])
    return [small, *slices.series(VOLUME)[1:]]


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        (lambda: without(4), "MISSING-SLICES"),
        (lambda: without(3, 4), "MISSING-SLICES"),
        (lambda: without(2, 6), "MISSING-SLICES"),
        (lambda: moved(4, 0, 0, 0.9), "UNEVEN-SLICES"),
        (lambda: moved(8, 0, 0, 1.0), "UNEVEN-SLICES"),
        (lambda: moved(4, 0, 0, 3.0), "DOUBLED-SLICES"),
        (doubled, "DOUBLED-SLICES"),
        (lambda: edited(0, ImagePositionPatient=[-30, -40, 13]), "DOUBLED-SLICES"),
        (lambda: sheared(15), "SHEARED-SLICES"),
        (lambda: sheared(-1), "SHEARED-SLICES"),
        (lambda: moved(3, 0.5, 0, 0), "SHEARED-SLICES"),
        (lambda: edited(2, ImageOrientationPatient=[1, 0, 0, 0, 0, -1]), "MIXED-SERIES"),
        (lambda: edited(2, ImageOrientationPatient=[1, 0, 0, 0, 0.995, 0.0998]), "MIXED-SERIES"),
        (lambda: edited(2, PixelSpacing=[1.1, 1.1]), "MIXED-SERIES"),
        (lambda: edited(2, FrameOfReferenceUID="1.2.3"), "MIXED-SERIES"),
        (smaller_slice, "MIXED-SERIES"),
        (lambda: edited(2, ImagePositionPatient=None), "MISSING-TAG"),
        (lambda: slices.series(VOLUME, ImageOrientationPatient=None), "MISSING-TAG"),
        (lambda: slices.series(VOLUME, PixelSpacing=None), "MISSING-TAG"),
        (lambda: edited(2, ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "BAD-TAG"),
        (lambda: edited(2, ImagePositionPatient=[1, 2]), "BAD-TAG"),
        (lambda: slices.series(VOLUME, RescaleIntercept=None), "MISSING-TAG"),
        (lambda: slices.series(VOLUME, RescaleType="US"), "NOT-HU"),
        (lambda: with_lut("OD"), "NOT-HU"),
        (lambda: with_lut(""), "MISSING-TAG"),
        (lambda: slices.series(VOLUME, Modality="DX"), "BAD-TAG"),
        (lambda: edited(2, Modality="MR"), "BAD-TAG"),
        (lambda: edited(2, PixelData=b"\0\0"), "TRUNCATED-PIXELS"),
        (lambda: edited(5, SamplesPerPixel=3), "BAD-TAG"),
    ],
)
def test_what_is_no_volume_is_refused_once(parts: Callable[[], list[Dataset]], code: str) -> None:
    assert code_of(parts()) == code


def test_a_lut_to_hounsfield_units_is_looked_up() -> None:
    np.testing.assert_array_equal(image_of(with_lut("HU")).pixels, VOLUME.astype(np.int32) + 1024)


def test_small_unevenness_is_a_scanners_own() -> None:
    """Positions rounded to a tenth of a millimetre, and a drift below half a degree."""
    assert len(image_of(moved(4, 0, 0, 0.1)).pixels) == 9
    assert len(image_of(sheared(0.5)).pixels) == 9


def test_series_larger_than_the_bound_is_refused() -> None:
    assert code_of(slices.series(VOLUME), Settings(max_series_pixels=8 * 40 * 36)) == "TOO-LARGE"


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_enhanced_object_is_the_same_volume(modality: str) -> None:
    frame = slices.random_frame(np.random.default_rng(3))
    order = [4, 0, 8, 1, 7, 2, 6, 3, 5]
    made, classic = (
        image_of([slices.enhanced(VOLUME, frame, modality, order)]),
        image_of(slices.series(VOLUME, frame, modality)),
    )
    np.testing.assert_array_equal(made.pixels, classic.pixels)
    np.testing.assert_allclose(made.positions_mm, classic.positions_mm)
    assert made.spacing_mm == pytest.approx(classic.spacing_mm)
    assert made.directions == classic.directions
    assert made.frames == tuple(order.index(index) + 1 for index in range(9))
    assert made.sop_uids == (phantoms.INSTANCE,)


def test_enhanced_object_with_a_missing_frame_is_refused() -> None:
    assert code_of([slices.enhanced(VOLUME, order=[0, 1, 2, 4, 5])]) == "MISSING-SLICES"


def test_enhanced_object_of_two_rescales_is_refused() -> None:
    made = slices.enhanced(VOLUME)
    shared = made.SharedFunctionalGroupsSequence[0]
    del shared.PixelValueTransformationSequence
    for number, group in enumerate(made.PerFrameFunctionalGroupsSequence):
        one = Dataset()
        one.RescaleSlope, one.RescaleIntercept = str(number % 2 + 1), "0"
        group.PixelValueTransformationSequence = [one]
    assert code_of([made]) == "MIXED-SERIES"


@pytest.mark.parametrize(("step", "seen"), [(0, "40"), (10, None)])
def test_enhanced_object_has_the_window_of_all_its_frames(step: int, seen: str | None) -> None:
    made = slices.enhanced(VOLUME)
    for number, group in enumerate(made.PerFrameFunctionalGroupsSequence):
        group.FrameVOILUTSequence = [Dataset()]
        group.FrameVOILUTSequence[0].WindowCenter = str(40 + step * number)
        group.FrameVOILUTSequence[0].WindowWidth = "400"
    assert image_of([made]).header.get("WindowCenter") == seen


@pytest.mark.parametrize("group", ["PixelMeasures", "PlaneOrientation", "PixelValueTransformation", "PlanePosition"])
def test_enhanced_object_of_which_a_group_is_no_sequence_is_refused(group: str) -> None:
    made = slices.enhanced(VOLUME)
    holder = made.PerFrameFunctionalGroupsSequence if group == "PlanePosition" else made.SharedFunctionalGroupsSequence
    tag = phantoms.tag_of(f"{group}Sequence")
    holder[0][tag] = DataElement(tag, "OB", b"ab")
    assert code_of([made]) == "MISSING-TAG"


def test_enhanced_object_of_many_frames_keeps_their_places() -> None:
    """Its functional groups are larger than any other sequence may be."""
    volume = np.random.default_rng(1).integers(-900, 900, (130, 32, 32)).astype(np.int16)
    made = slices.enhanced(volume)
    for group in made.PerFrameFunctionalGroupsSequence:
        content = Dataset()
        content.FrameComments = "x" * 10000
        group.FrameContentSequence = [content]
    assert image_of([made]).pixels.shape == (130, 32, 32)
