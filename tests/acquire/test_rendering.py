"""A frame as a picture: enhanced objects keep rescale and window of each frame in functional groups; and as bytes."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from tests import phantoms, slices
from wetread.acquire import view
from wetread.acquire.rendering import Window, rendered
from wetread.settings import Settings

GREY = np.random.default_rng(3).integers(-1000, 1000, (4, 48, 48)).astype(np.int16)


def shown(
    data: Dataset, frame: int = 1, window: Window | None = None
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return rendered(phantoms.to_bytes(data), frame, window, Settings())


def item(**attributes: str) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


@pytest.mark.parametrize("window", [Window(40, 80), Window(40, 400, "SIGMOID")])
def test_an_enhanced_frame_is_shown_as_the_same_classic_slice(window: Window) -> None:
    classic, enhanced = slices.series(GREY), slices.enhanced(GREY)
    for frame, part in enumerate(classic, 1):
        np.testing.assert_array_equal(shown(enhanced, frame, window), shown(part, 1, window))


@pytest.mark.parametrize("shared", [True, False])
def test_each_frame_has_its_own_window_and_rescale(shared: bool) -> None:
    classic, enhanced = slices.series(GREY), slices.enhanced(GREY)
    group = enhanced.SharedFunctionalGroupsSequence[0]
    if shared:
        group.FrameVOILUTSequence = [item(WindowCenter="40", WindowWidth="300", VOILUTFunction="LINEAR_EXACT")]
    else:
        del group.PixelValueTransformationSequence
        for number, own in enumerate(enhanced.PerFrameFunctionalGroupsSequence, 1):
            scale = item(RescaleSlope=str(number), RescaleIntercept="-1024", RescaleType="HU")
            own.PixelValueTransformationSequence = [scale]
            own.FrameVOILUTSequence = [item(WindowCenter=str(10 * number), WindowWidth=str(100 * number))]
    for number, part in enumerate(classic, 1):
        if shared:
            part.WindowCenter, part.WindowWidth, part.VOILUTFunction = "40", "300", "LINEAR_EXACT"
        else:
            part.WindowCenter, part.WindowWidth, part.RescaleSlope = str(10 * number), str(100 * number), str(number)
        np.testing.assert_array_equal(shown(enhanced, number), shown(part))


def test_of_several_windows_the_first_is_shown() -> None:
    one, several = slices.series(GREY)[0], slices.series(GREY)[0]
    one.WindowCenter, one.WindowWidth = "40", "80"
    several.WindowCenter, several.WindowWidth = ["40", "400"], ["80", "2000"]
    np.testing.assert_array_equal(shown(several), shown(one))


class _Cut(bytes):
    """Bytes that count how many of them are copied."""

    copied = 0

    def __getitem__(self, at):  # type: ignore[no-untyped-def]
        made = super().__getitem__(at)
        _Cut.copied += len(made) if isinstance(made, bytes) else 1
        return made


def test_many_frames_cost_no_copy_of_all_pixels_each() -> None:
    """1000 frames of 128 KB took 28 s, and the process that cut them out was ended."""
    enhanced = slices.enhanced(GREY)
    data, numbers = _Cut(phantoms.to_bytes(enhanced)), [1 + number % 4 for number in range(200)]
    got = view.frames(data, numbers, False, Settings())
    frames = np.frombuffer(enhanced.PixelData, np.uint16).reshape(4, -1)
    assert got == [frames[number - 1].tobytes() for number in numbers]
    assert _Cut.copied < 10 * len(data)


def test_a_deflated_object_is_shown_as_the_same_that_is_not() -> None:
    several = slices.enhanced(GREY)
    deflated = rendered(phantoms.deflated(several), 3, None, Settings())
    np.testing.assert_array_equal(deflated, shown(several, 3))
