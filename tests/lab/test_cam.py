"""The second output of the graph is Grad-CAM."""

from __future__ import annotations

import pytest
import torch

from wetread.lab.zoo.efficientnet_lite import EfficientNetLite0


def test_map_equals_grad_cam_by_gradients() -> None:
    torch.manual_seed(0)
    model = EfficientNetLite0(labels=2).eval()
    image = torch.randn(2, 1, 96, 128)
    features = model.features(image).detach().requires_grad_(True)
    _, maps = model(image)
    for label in range(2):
        score = model.head(features.mean(dim=(2, 3)))[:, label].sum()
        (gradient,) = torch.autograd.grad(score, features)
        # Selvaraju et al., ICCV 2017, equations 1 and 2, before the ReLU.
        weights = gradient.mean(dim=(2, 3), keepdim=True)
        grad_cam = (weights * features).sum(1)
        cells = features.shape[2] * features.shape[3]
        torch.testing.assert_close(maps[:, label], grad_cam * cells, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stride", [16, 32])
def test_map_has_one_cell_a_stride(stride: int) -> None:
    model = EfficientNetLite0(stride=stride).eval()
    assert model(torch.randn(1, 1, 64, 96))[1].shape == (1, 1, 64 // stride, 96 // stride)


def test_other_strides_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 16 or 32, got 8"):
        EfficientNetLite0(stride=8)


def test_mean_of_the_map_is_the_logit_without_its_offset() -> None:
    torch.manual_seed(1)
    model = EfficientNetLite0().eval()
    logits, maps = model(torch.randn(3, 1, 64, 64))
    torch.testing.assert_close(maps.mean(dim=(2, 3)) + model.head.bias, logits, rtol=1e-4, atol=1e-5)
