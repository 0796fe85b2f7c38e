"""The class-activation map: where a pooled classifier found its evidence.

The graph computes it as a second output: for a network whose last feature maps
are averaged and weighted by a linear head it equals Grad-CAM up to a positive
factor, because the gradient of the class score by a feature map is its weight.

References
----------
Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, eq. 2.
Selvaraju et al., "Grad-CAM", ICCV 2017, eq. 1-2 and Appendix A.
"""

from __future__ import annotations

import numpy as np

from wetread.records import Mask, Tensor

METHOD = "Class activation map (equals Grad-CAM on a pooled linear head)"


def positive(evidence: Tensor) -> Tensor:
    """The evidence for the class, scaled so that its largest value is 1.

    Parameters
    ----------
    evidence
        (y, x) float32, signed; positive speaks for the class.

    Returns
    -------
    (y, x) float32, 0..1; all zero if nothing speaks for the class.
    """
    clipped = np.asarray(np.maximum(evidence, 0.0), np.float32)
    most = float(clipped.max())
    return np.asarray(clipped / most, np.float32) if most > 0 else clipped


def inside_share(heat: Tensor, organ: Mask, step: int = 4) -> float:
    """Share of a map's mass that lies inside an organ.

    Parameters
    ----------
    heat
        (y, x) float32, 0..1, on the image's grid.
    organ
        (y, x) bool, the same grid.
    step
        Every `step`-th pixel of each axis is looked at.

    Returns
    -------
    0..1; 0 for an empty map.
    """
    sampled = heat[::step, ::step]
    total = float(sampled.sum(dtype=np.float64))
    return float(sampled[organ[::step, ::step]].sum(dtype=np.float64)) / total if total > 0 else 0.0
