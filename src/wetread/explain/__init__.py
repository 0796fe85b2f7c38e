"""Prediction -> Explanation: class-activation maps, overlays, and whether a map deserves trust.

May change freely: a method file, a faithfulness check.  Must not: call an engine's library.
"""

from __future__ import annotations

from wetread.explain.cam import METHOD, positive
from wetread.explain.overlay import display, pictures
from wetread.explain.series import drawn, montage
from wetread.explain.trust import chance, foreground, sentence
from wetread.measures import energy_inside
from wetread.records import Box, Explanation, Finding, Levels, Mask

__all__ = ["METHOD", "display", "drawn", "explain", "foreground", "montage", "pictures", "positive"]

#: Rows and columns that are enough to weigh a map by.
SAMPLES = 256


def explain(finding: Finding, heat: Levels, inside: Mask, seen: Box, bound: float, organ: str = "lungs") -> Explanation:
    """Judge a map and put it in words.

    Parameters
    ----------
    finding
        What the map speaks for; of a series the map lies on its slice `peak`.
    heat
        (y, x) uint16 on the image's grid.
    inside
        (y, x) bool: the organ, the same grid.
    seen
        The part of the image that the model saw.
    bound
        The least share inside the organ that the model's certificate expects, 0..1.
    organ
        Its name: "lungs" or "body".
    """
    step = max(1, min(inside.shape) // SAMPLES)
    share, by_chance = energy_inside(heat, inside, step), chance(inside, seen, step)
    bound = max(bound, by_chance)
    said = sentence(share, bound, by_chance, organ)
    return Explanation(
        finding.code, METHOD, heat, share, bound, share >= bound, said, finding.model, finding.peak, organ
    )
