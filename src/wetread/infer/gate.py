"""Whether a segmenter agrees with itself on an image and on its mirror image, and whether it sees the whole lungs.

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
from wetread.records import Box, Mask, Tensor

#: Rows whose values differ by less are of one value; pixels of the grid that still are the edge.
FLAT, NEAR = 1e-3, 3


def with_mirror(tensor: Tensor) -> Tensor:
    """Images (n, c, y, x), then their mirror images: (2n, c, y, x)."""
    return np.concatenate([tensor, tensor[..., ::-1]])


def agreement(logits: Tensor) -> float:
    """Dice of the masks of the images and of their mirror images, of a series over all its slices together.

    Parameters
    ----------
    logits
        (2n, k, [z,] y, x) float32, as the network answers `with_mirror`.

    Returns
    -------
    0..1; 0 where one of the two masks is empty and the other is not, 1 where both are.
    """
    plain, mirrored = np.split(logits > 0, 2)
    return dice(plain, mirrored[..., ::-1])


def lowest_edge(mask: Mask, image: Tensor, content: Box) -> float:
    """Share of a mask's columns that reach the lower edge of the picture: lungs that end before their bases do.

    Parameters
    ----------
    mask
        (y, x) bool, on the model's grid.
    image
        (y, x) float32, what the model saw; rows of one value at the lower end of the content are no picture.
    content
        Where the image lies on the grid.
    """
    place = slice(content.y0, content.y1), slice(content.x0, content.x1)
    mask, picture = mask[place], np.ptp(image[place], axis=1) > FLAT
    columns = mask.any(0)
    if not (columns.any() and picture.any()):
        return 0.0
    lowest = len(mask) - 1 - mask[::-1].argmax(0)
    return float((lowest[columns] >= np.flatnonzero(picture)[-1] - NEAR).mean())
