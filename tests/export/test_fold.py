"""Folding changes what is computed, not what comes out."""

import pytest
import torch
from torch import nn

from waveglow.export import fold as fold_module
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
    conv.fold_()
    assert conv.norm is None
    torch.testing.assert_close(conv(x), expected, rtol=0, atol=1e-12)
    conv.fold_()
    torch.testing.assert_close(conv(x), expected, rtol=0, atol=1e-12)


@torch.no_grad()
def test_the_ends_are_where_a_plain_fold_is_wrong():
    conv = normed_by_far()
    x = torch.randn(1, 5, 1, 20, dtype=torch.float64)
    expected = conv(x)
    conv.fold_()
    conv.edges = None
    wrong = (conv(x) - expected).abs().amax((0, 1, 2)) > 1e-9
    assert wrong.nonzero().flatten().tolist() == [0, 19]


def test_the_model_itself_stays_as_it_is():
    model = build({"name": "squeezewave", "n_mels": 4, "hop": 8, "n_group": 8, "n_early_size": 1, "n_flows": 3})
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded(model).modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@torch.no_grad()
def test_half_precision_rounds_what_is_folded_and_not_what_is_folded_from():
    torch.manual_seed(0)
    model = build({"name": "waveglow", "n_mels": 4, "hop": 8, "n_flows": 2, "n_layers": 2, "n_channels": 8})
    exact, halved = folded(model).state_dict(), folded(model, nets=torch.bfloat16).state_dict()
    assert all(torch.equal(halved[name], exact[name].to(halved[name].dtype)) for name in exact)
    assert torch.bfloat16 in {tensor.dtype for tensor in halved.values()}


@torch.no_grad()
def test_embeddings_become_biases():
    torch.manual_seed(0)
    model = build({"name": "nanoflow", "n_mels": 3, "hop": 16, "n_height": 4, "n_flows": 3, "n_channels": 4}).eval()
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.1)
    audio, mel = torch.randn(2, 64), torch.randn(2, 3, 4)
    copied = folded(model)
    assert not any(isinstance(module, nn.Linear) for module in copied.modules())
    torch.testing.assert_close(copied.log_prob(audio, mel), model.log_prob(audio, mel))


# ---- Conditioning as one map -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [None, 300, 256], ids=["4 hops", "more than a hop", "a hop"])
@torch.no_grad()
def test_one_map_gives_what_upsampling_and_convolutions_give(kernel):
    torch.manual_seed(0)
    numbers = {"n_mels": 5, "n_channels": 8, "n_layers": 3, "n_flows": 4, "n_early_every": 2, "upsample_kernel": kernel}
    model = build({"name": "waveglow", **numbers}).eval()
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.05)
    model.double()
    one = folded(model, fused=True)
    audio, mel = torch.randn(2, 7 * 256 - 24).double(), torch.randn(2, 5, 7).double()
    zs, log_det = model.encode(audio, mel)
    torch.testing.assert_close(one.encode(audio, mel), (zs, log_det), rtol=0, atol=1e-9)
    torch.testing.assert_close(one.decode(zs, mel), audio, rtol=0, atol=1e-9)
    assert model.conditioner.frames_seen() == one.conditioner.frames_seen()


@pytest.mark.parametrize("name", ["lapglow", "squeezewave", "waveflow"])
def test_other_models_have_no_such_map(name):
    with torch.device("meta"):
        model = build({"name": name})
    with pytest.raises(ValueError, match="only a WaveGlow's conditioning can be fused"):
        fold_module._fuse_conditioning_(model, None)
