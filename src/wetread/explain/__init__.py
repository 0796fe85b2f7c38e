"""Prediction -> Explanation: class-activation maps, overlays, and whether a map deserves trust.

May change freely: a method file, a faithfulness check.  Must not: call an engine's library.
"""

from __future__ import annotations

from wetread.explain.cam import METHOD, positive
from wetread.explain.overlay import display, pictures
from wetread.explain.trust import chance, sentence
from wetread.measures import energy_inside
from wetread.records import Box, Explanation, Finding, Levels, Mask

__all__ = ["METHOD", "display", "explain", "pictures", "positive"]

#: Rows and columns that are enough to weigh a map by.
SAMPLES = 256


def explain(finding: Finding, heat: Levels, organ: Mask, seen: Box, bound: float) -> Explanation:
    """Judge a map and put it in words.

    Parameters
    ----------
    finding
        What the map speaks for.
    heat
        (y, x) uint16 on the image's grid.
    organ
        (y, x) bool: the lungs, the same grid.
    seen
        The part of the image that the model saw.
    bound
        The least share inside the organ that the model's certificate expects, 0..1.
    """
    step = max(1, min(organ.shape) // SAMPLES)
    share, by_chance = energy_inside(heat, organ, step), chance(organ, seen, step)
    bound = max(bound, by_chance)
    said = sentence(share, bound, by_chance, "lungs")
    return Explanation(finding.code, METHOD, heat, share, bound, share >= bound, said, finding.model)
