"""Whether an explanation deserves trust: a map that looks elsewhere than the organ does not.

The bound is the larger of two: the model's own, fixed on held-back films when it was
certified, and chance, the organ's share of what the model saw, which is what a map
without any knowledge would score on this very film.
"""

from __future__ import annotations

import cv2
import numpy as np

from wetread.records import Box, Mask, Pixels


def chance(organ: Mask, seen: Box, step: int = 1) -> float:
    """The organ's share, 0..1, of the box that the model saw; every `step`-th pixel is looked at."""
    return float(np.mean(organ[seen.y0 : seen.y1 : step, seen.x0 : seen.x1 : step]))


def foreground(pixels: Pixels) -> Mask:
    """The body on a slice: what is brighter than Otsu's threshold, with what it encloses.

    Parameters
    ----------
    pixels
        (y, x), any real dtype, air or background darkest.

    References
    ----------
    Otsu, "A threshold selection method from gray-level histograms", IEEE SMC 9 (1979).
    """
    values = pixels.astype(np.float32)
    low, high = np.percentile(values, (0.5, 99.5))
    grey = np.clip((values - low) * (255.0 / max(float(high - low), 1e-6)), 0, 255).astype(np.uint8)
    _, bright = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    lines, _ = cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros_like(bright), lines, -1, 1, cv2.FILLED), bool)


def sentence(share: float, bound: float, by_chance: float, organ: str) -> str:
    """What to tell a clinician about a map."""
    if share <= 0.0:
        return "The map holds no evidence for this finding."
    if share >= bound:
        verb = "are" if organ.endswith("s") else "is"
        return (
            f"{share:.0%} of the heat map lies inside the {organ}, which {verb} {by_chance:.0%} of what the model saw."
        )
    digits = next((n for n in range(3) if f"{share:.{n}%}" != f"{bound:.{n}%}"), 3)
    return (
        f"Do not trust this explanation: only {share:.{digits}%} of the heat map lies inside the {organ} "
        f"(at least {bound:.{digits}%} expected). "
        f"The answer may rest on something else than the {organ}, such as a marker, a device or the border."
    )
