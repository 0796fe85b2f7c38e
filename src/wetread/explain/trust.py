"""Whether an explanation deserves trust: a map that looks elsewhere than the organ does not.

The bound is the larger of two: the model's own, fixed on held-back films when it was
certified, and chance, the organ's share of what the model saw, which is what a map
without any knowledge would score on this very film.
"""

from __future__ import annotations

import numpy as np

from wetread.records import Box, Mask


def chance(organ: Mask, seen: Box, step: int = 1) -> float:
    """The organ's share, 0..1, of the box that the model saw; every `step`-th pixel is looked at."""
    return float(np.mean(organ[seen.y0 : seen.y1 : step, seen.x0 : seen.x1 : step]))


def sentence(share: float, bound: float, by_chance: float, organ: str) -> str:
    """What to tell a clinician about a map."""
    if share <= 0.0:
        return "The map holds no evidence for this finding."
    where = f"{share:.0%} of the heat map lies inside the {organ}"
    if share >= bound:
        return f"{where}, which are {by_chance:.0%} of what the model saw."
    return (
        f"Do not trust this explanation: only {where} (at least {bound:.0%} expected). "
        f"The answer may rest on something else than the {organ}, such as a marker, a device or the border."
    )
