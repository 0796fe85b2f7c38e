"""Prediction -> Explanation: class-activation maps, overlays, and whether a map deserves trust.

May change freely: a method file, a faithfulness check.  Must not: call an engine's library.
"""

from __future__ import annotations

from wetread.explain.cam import METHOD, inside_share, positive
from wetread.explain.overlay import display, pictures
from wetread.explain.trust import BOUND, sentence
from wetread.records import Explanation, Finding, Mask, Tensor

__all__ = ["BOUND", "METHOD", "display", "explain", "pictures", "positive"]


def explain(finding: Finding, heat: Tensor, organ: Mask) -> Explanation:
    """Judge a map and put it in words.

    Parameters
    ----------
    finding
        What the map speaks for.
    heat
        (y, x) float32 0..1 on the image's grid.
    organ
        (y, x) bool: the lungs, the same grid.
    """
    share = inside_share(heat, organ)
    trustworthy = share >= BOUND
    return Explanation(
        finding.code, METHOD, heat, share, BOUND, trustworthy, sentence(share, BOUND, "lungs"), finding.model
    )
