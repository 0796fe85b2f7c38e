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

from wetread.records import FULL_SCALE, Levels, Tensor

METHOD = "Class activation map (equals Grad-CAM on a pooled linear head)"


def positive(evidence: Tensor) -> Levels:
    """The evidence for the class, scaled so that its largest value is full scale.

    Sixteen bits are what the parametric map stores, and half the bytes of float32.

    Parameters
    ----------
    evidence
        (y, x) float32, signed; positive speaks for the class.

    Returns
    -------
    (y, x) uint16; all zero if nothing speaks for the class.
    """
    clipped = np.maximum(evidence, 0.0)
    most = float(clipped.max())
    return np.asarray(np.rint(clipped * (FULL_SCALE / most if most > 0 else 0.0)), np.uint16)
