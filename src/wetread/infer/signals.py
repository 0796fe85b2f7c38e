"""How far a model's answer to an image can be trusted, told from the image and the answer alone.

Nothing here needs a picture of what training looked like, so another hospital's good images pass.

References
----------
Wang et al., "Aleatoric uncertainty estimation with test-time augmentation for medical image
segmentation with convolutional neural networks", Neurocomputing 338 (2019): `agreement`.
Immerkaer, "Fast Noise Variance Estimation", Comput Vis Image Underst 64 (1996): the kernel of "grain".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from wetread.infer.gate import MEASURES, Gate, Signals
from wetread.infer.masks import is_pair, lungs
from wetread.infer.model import Model
from wetread.measures import dice
from wetread.records import Box, Mask, Prepared, Recipe, Tensor
from wetread.threads import each

#: Rows whose values differ by less are of one value; pixels of the grid that still are the edge.
FLAT, NEAR = 1e-3, 3
#: Further from typical than so many spreads counts no more; keeps a logarithm finite.
FAR, SMALL = 8.0, 1e-4

Outputs = Mapping[str, Tensor]


def with_mirror(tensor: Tensor) -> Tensor:
    """Images (n, c, y, x), then their mirror images: (2n, c, y, x)."""
    return np.concatenate([tensor, tensor[..., ::-1]])


def batches(tensor: Tensor, mirrored: bool, size: int) -> Iterator[Tensor]:
    """Images (n, c, y, x) in batches; of those `with_mirror`, the mirror images are made when their turn comes."""
    count = len(tensor)
    for at in range(0, 2 * count if mirrored else count, size):
        plain, turned = tensor[at : at + size], tensor[max(0, at - count) : max(0, at + size - count), ..., ::-1]
        if not mirrored or at + size <= count:
            yield plain
        else:
            yield np.concatenate([plain, turned])


def signals(model: Model, prepared: Prepared, outputs: Outputs, asked: Collection[str]) -> Signals:
    """How far the answers to an image can be trusted.

    Parameters
    ----------
    outputs
        Of the prepared images; for "mirrored" also of their mirror images, as `with_mirror` orders them.
    asked
        Names of `Signals` to take; what does not apply to the model stays 1.
    """
    found: dict[str, float] = {}
    n = len(prepared.tensor)
    if model.segments:
        masks = outputs[model.mask_output]
        if "mirrored" in asked:
            found["mirrored"] = agreement(masks)
        if "certain" in asked:
            found["certain"] = certainty(masks[:n])
        if is_pair(model):
            found |= _of_a_pair(model, prepared, masks[0, 0], asked)
    if model.classifies and "steady" in asked:
        found["steady"] = steadiness(model.gate, overall(measured(model, prepared, outputs)))
    return Signals(**found)


def _of_a_pair(model: Model, prepared: Prepared, logits: Tensor, asked: Collection[str]) -> Iterator[tuple[str, float]]:
    """Name and value of what the outline of two lungs, (y, x) logits, tells of a film."""
    content, seen = prepared.grid.content, prepared.tensor[0, 0]
    if "polarity" in asked:
        sides = lungs(logits, (content.y1 - content.y0, content.x1 - content.x0))
        if sides is not None:
            yield "polarity", polarity(*sides, seen * np.float32(model.recipe.std[0]))
    if "inside" in asked:
        yield "inside", 1 - lowest_edge(logits > 0, seen, content)


def polarity(left: Mask, right: Mask, image: Tensor) -> float:
    """Whether what lies between the lungs, heart and spine, is brighter than they are: air is dark on a film.

    Parameters
    ----------
    left, right
        (y, x) bool, the lungs at the left and at the right of the picture, on the model's grid.
    image
        (y, x) float32, what the model saw; 1 is the whole grey scale.

    Returns
    -------
    0..1, above a half where it is: half the difference of the medians, from a half.  1 where nothing lies between them.
    """
    columns, width = np.arange(left.shape[1]), left.shape[1]
    ends = np.where(left.any(1), width - 1 - left[:, ::-1].argmax(1), width)  # the inner edges, row by row
    begins = np.where(right.any(1), right.argmax(1), 0)
    between = (columns > ends[:, None]) & (columns < begins[:, None])
    if not between.any():
        return 1.0
    apart = float(np.median(image[between]) - np.median(image[left | right]))
    return float(np.clip(0.5 + apart / 2, 0.0, 1.0))


def agreement(logits: Tensor) -> float:
    """Dice of the masks of the images and of their mirror images, of a series over all its slices together.

    A network that was trained on mirrored images says the same of both where it knows what
    it sees, and something else where the image is poor, damaged, turned or of something else.

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


def certainty(logits: Tensor) -> float:
    """Overlap that a network's own probabilities expect of its masks, of the label of which it is least.

    It is the Dice of the mask and the probabilities: twice what they hold inside the mask
    over their sum and the mask's size.  Where they are about right it is near the Dice
    with the truth; it needs no second run.

    Parameters
    ----------
    logits
        (n, k, [z,] y, x) float32, of a series all its slices.

    Returns
    -------
    0..1; 0 where a mask is empty.
    """
    found = np.empty((*logits.shape[:2], 2))

    def add(at: int) -> None:
        """Sum one slice or volume, a label at a time: what is summed then stays in the processor's cache."""
        for label, given in enumerate(logits[at]):
            probability, mask = 1 / (1 + np.exp(-np.clip(given, -30, 30))), given > 0
            common = (probability * mask).sum(dtype=np.float64)
            found[at, label] = common, probability.sum(dtype=np.float64) + mask.sum()

    each(len(logits), add)
    common, both = found.sum(0).T
    return float((2 * common / both).min())


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


def pictures(prepared: Prepared, recipe: Recipe) -> Tensor:
    """What a model of films or slices saw: (n, y, x), 0..1, without the padding."""
    content = prepared.grid.content
    seen = prepared.tensor[:, 0, content.y0 : content.y1, content.x0 : content.x1]
    return np.asarray(seen * np.float32(recipe.std[0]) + np.float32(recipe.mean[0]))


def chances(model: Model, outputs: Outputs) -> Tensor:
    """What a classifier says of the first label in each image: (n,) float64, calibrated, 0..1."""
    logits = outputs["logits"][:, 0].astype(np.float64)
    return np.asarray(1 / (1 + np.exp(-logits / model.temperature)))


def measured(model: Model, prepared: Prepared, outputs: Outputs) -> list[dict[str, float]]:
    """`measures` of each image that a classifier saw and of its answer, of a series one a slice."""
    pairs = zip(pictures(prepared, model.recipe), chances(model, outputs), strict=False)  # mirror images come last
    return [measures(one, float(chance)) for one, chance in pairs]


def overall(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of the measures of a series' slices, without those of one grey; of all where none shows anything."""
    shown = [one for one in found if one["contrast"] > FLAT] or found
    return {name: float(np.mean([one[name] for one in shown])) for name in MEASURES}


def measures(picture: Tensor, probability: float) -> dict[str, float]:
    """What tells an image that is poor, damaged, turned or inverted, and an answer that little moves.

    Parameters
    ----------
    picture
        (y, x) float32, 0..1, the box around the lungs or a whole slice, at least 5 pixels a side.
    probability
        What the model says of it, 0..1.

    Returns
    -------
    ``doubt``: p (1 - p), the slope of the answer.  ``edges``: logarithm of the mean difference
    of neighbours.  ``grain``: logarithm of the median second difference along both axes, less
    ``edges``.  ``rows``: logarithm of the differences between rows over those between columns.
    ``white``: share of clipped pixels.  ``contrast``: standard deviation.  ``symmetry``:
    correlation with the mirror image.  ``top``: mean of the upper quarter less that of the
    lower.  ``middle``: mean of the middle fifth of the columns less that of all.
    """
    height, width = picture.shape
    rows, columns = np.diff(picture, axis=0), np.diff(picture, axis=1)
    down, across = np.log(np.abs(rows).mean() + SMALL), np.log(np.abs(columns).mean() + SMALL)
    grain = np.log(np.median(np.abs(np.diff(np.diff(rows, axis=0), n=2, axis=1))) + 10 * SMALL)
    centred = picture - picture.mean()
    power = float((centred * centred).sum())
    quarter = max(1, height // 4)
    found = {
        "doubt": probability * (1 - probability),
        "edges": (down + across) / 2,
        "grain": grain - (down + across) / 2,
        "rows": down - across,
        "white": (picture > 1 - FLAT).mean(),
        "contrast": picture.std(),
        "symmetry": (centred * centred[:, ::-1]).sum() / power if power else 0.0,
        "top": picture[:quarter].mean() - picture[-quarter:].mean(),
        "middle": centred[:, width * 2 // 5 : width * 3 // 5].mean(),
    }
    return {name: float(value) for name, value in found.items()}


def steadiness(gate: Gate, measured: Mapping[str, float]) -> float:
    """Chance that an answer is that of a sound image: a logistic regression on `measures`.

    It was fitted by `wetread lab gate` on images that were damaged on purpose; 1 without a fit.
    """
    if not gate.terms:
        return 1.0
    logit = gate.constant
    for term in gate.terms:
        away = float(np.clip((measured[term.measure] - term.typical) / term.spread, -FAR, FAR))
        logit += term.weight * away + term.square * away * away
    return float(1 / (1 + np.exp(np.clip(logit, -50, 50))))
