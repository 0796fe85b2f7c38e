"""Where the head lies in a CT series: the box around its skull.

A scan's field of view holds table, pillow and ear muffs beside the head, and the head stands off its
centre: a third of the pixels at most are brain.
"""

from __future__ import annotations

import cv2
import numpy as np

from wetread.records import Box, Pixels

#: Bone is denser than this (HU); the upper end of a brain window shows as much.
BONE_HU = 95.0
#: Share of the slices in which a place must be bone: a metal thread is in fewer.
SHARE = 0.1
#: A skull has at least so large a share of the image; less is no head.
LEAST = 0.005


def head_box(volume: Pixels) -> Box | None:
    """Return the box around the skull in all slices together, or None where there is none.

    Parameters
    ----------
    volume
        (z, y, x) in HU.
    """
    bone = ((volume >= BONE_HU).mean(0) >= SHARE).astype(np.uint8)
    _, _, found, _ = cv2.connectedComponentsWithStats(bone, connectivity=8)
    if len(found) < 2:
        return None
    x, y, width, height, area = (int(value) for value in max(found[1:], key=lambda one: one[cv2.CC_STAT_AREA]))
    return Box(y, x, y + height, x + width) if area >= LEAST * bone.size else None
