"""How slices and sides are named to people: slices as a PACS counts them, else by their place and from which end.

Inside, slices are counted from 0 in the order of their place; no viewer shows that number.
"""

from __future__ import annotations

from collections.abc import Sequence

from wetread.records import Image, Vector

#: Axis of the patient (x, y, z) -> where a direction against it runs to, and one along it.
_ENDS = (("right", "left"), ("front", "back"), ("feet", "head"))
#: Where the rows of a film run to (`Image.row_direction`), in words.
_TOWARDS = {"L": "left", "R": "right", "A": "front", "P": "back"}


def named(image: Image, slices: Sequence[int]) -> str:
    """Name slices, given from 0 in rising order: "images 2 to 7, 9", "slices 6 to 11 of 12, counted from the feet".

    A range holds all slices of the series whose number lies in it, in whichever direction they are numbered.

    References
    ----------
    DICOM PS3.3 Sections C.7.6.1 (Instance Number), C.7.6.6 (frames are numbered from 1).
    """
    word, numbers = _counted(image)
    ranks = sorted(numbers)
    rank = {number: place for place, number in enumerate(ranks)}
    runs: list[list[int]] = []
    for place in sorted(rank[numbers[slice_]] for slice_ in slices):
        if runs and place == runs[-1][1] + 1:
            runs[-1][1] = place
        else:
            runs.append([place, place])
    said = ", ".join(str(ranks[a]) if a == b else f"{ranks[a]} to {ranks[b]}" for a, b in runs)
    return f"{word}{'s' if len(slices) > 1 else ''} {said}{_end(image)}"


def listed(image: Image, slices: Sequence[int]) -> str:
    """Name slices one by one, in the order given: "images 7, 5, 2"."""
    word, numbers = _counted(image)
    said = ", ".join(str(numbers[slice_]) for slice_ in slices)
    return f"{word}{'s' if len(slices) > 1 else ''} {said}{_end(image)}"


def _counted(image: Image) -> tuple[str, Sequence[int]]:
    """What slices are called, and the number of each."""
    if image.frames:
        return "frame", image.frames
    return ("image", image.numbers) if image.numbers else ("slice", range(1, len(image.pixels) + 1))


def _end(image: Image) -> str:
    """Where slices are counted from, and how many there are, when only we count them so."""
    if image.frames or image.numbers:
        return ""
    if image.directions is None or len(image.pixels) == 1:
        return f" of {len(image.pixels)}"
    x, y, z = image.directions[0]
    return f" of {len(image.pixels)}, counted from the {towards((-x, -y, -z))}"


def facing(image: Image) -> str:
    """Say which side of the patient is on the right of the pictures, "" where that is not known."""
    end = towards(image.directions[2]) if image.directions is not None else _TOWARDS.get(image.row_direction)
    return f"The picture's right is the patient's {end}" if end else ""


def towards(direction: Vector) -> str:
    """Name where in the patient a direction runs to most: "left", "back", "head"."""
    axis = max(range(3), key=lambda one: abs(direction[one]))
    return _ENDS[axis][direction[axis] > 0]
