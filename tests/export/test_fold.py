"""Folding changes what is computed, not what comes out."""

import pytest
import torch
from torch import nn

from waveglow.export.fold import folded
from waveglow.models.registry import build
from waveglow.nn.separable import SeparableConv


def normed_by_far(channels=5):
    """A separable convolution whose norm shifts by much, as after training on something else than N(0, 1)."""
    torch.manual_seed(0)
    conv = SeparableConv(channels, 7).double().eval()
    for name in ("weight", "bias", "running_mean", "running_var"):
        nn.init.uniform_(getattr(conv.norm, name), 0.5, 3)
    return conv


@pytest.mark.parametrize("length", [1, 2, 3, 50])
@torch.no_grad()
def test_a_batch_norm_folds_exactly_up_to_the_ends(length):
    conv = normed_by_far()
    x = torch.randn(2, 5, 1, length, dtype=torch.float64)
    expected = conv(x)
    conv.fold_norm_()
    assert conv.norm is None
    torch.testing.assert_close(conv(x), expected, rtol=0, atol=1e-12)
    conv.fold_norm_()
    torch.testing.assert_close(conv(x), expected, rtol=0, atol=1e-12)


@torch.no_grad()
def test_the_ends_are_where_a_plain_fold_is_wrong():
    conv = normed_by_far()
    x = torch.randn(1, 5, 1, 20, dtype=torch.float64)
    expected = conv(x)
    conv.fold_norm_()
    conv.edges = None
    wrong = (conv(x) - expected).abs().amax((0, 1, 2)) > 1e-9
    assert wrong.nonzero().flatten().tolist() == [0, 19]


def test_the_model_itself_stays_as_it_is():
    model = build({"name": "squeezewave", "n_mels": 4, "hop": 8, "n_group": 8, "n_early_size": 1, "n_flows": 3})
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded(model).modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
