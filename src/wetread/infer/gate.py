"""Whether a segmenter agrees with itself on an image and on its mirror image.

A network that was trained on mirrored images says the same of both where it knows what
it sees, and something else where the image is poor, damaged, turned or of something
else.  This needs no picture of what training looked like, so another hospital's good
images pass.

References
----------
Wang et al., "Aleatoric uncertainty estimation with test-time augmentation for medical image
segmentation with convolutional neural networks", Neurocomputing 338 (2019).
"""

from __future__ import annotations

import numpy as np

from wetread.measures import dice
from wetread.records import Tensor


def with_mirror(tensor: Tensor) -> Tensor:
    """Images (n, c, y, x), then their mirror images: (2n, c, y, x)."""
    return np.concatenate([tensor, tensor[..., ::-1]])


def agreement(logits: Tensor) -> float:
    """Dice of the masks of the images and of their mirror images, of a series the median over its slices.

    Parameters
    ----------
    logits
        (2n, k, y, x) float32, as the network answers `with_mirror`.

    Returns
    -------
    0..1; 0 where one of the two masks is empty and the other is not, 1 where both are.
    """
    plain, mirrored = np.split(logits > 0, 2)
    return float(np.median([dice(one, other) for one, other in zip(plain, mirrored[..., ::-1], strict=True)]))
