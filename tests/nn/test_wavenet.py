"""WaveNet: a narrow last layer goes into the skips."""

import pytest
import torch
from torch import Tensor, nn

from waveglow.nn import wavenet
from waveglow.nn.wavenet import WaveNet

B, T = 2, 11


def _net(out_channels: int, *, weight_norm: bool = True) -> WaveNet:
    torch.manual_seed(0)
    net = WaveNet(3, out_channels, cond_channels=5, n_channels=6, n_layers=3, weight_norm=weight_norm).double()
    for parameter in net.end.parameters():
        nn.init.normal_(parameter)
    return net


def _as_written(net: WaveNet, x: Tensor, cond: Tensor) -> Tensor:
    """The paper's order: the last layer behind the sum of the skips."""
    h, skips = net.start(x.unsqueeze(2)), 0
    for i, (dilated, res_skip) in enumerate(zip(net.dilated, net.res_skip, strict=True)):
        filtered, gate = (dilated(h) + net.cond(cond.unsqueeze(2)).chunk(3, dim=1)[i]).chunk(2, dim=1)
        *residual, skip = res_skip(filtered.tanh() * gate.sigmoid()).split(6, dim=1)
        h = h + residual[0] if residual else h
        skips = skips + skip
    return net.end(skips).squeeze(2)


@pytest.mark.parametrize("out_channels", [3, 4])
def test_the_last_layer_in_the_skips_changes_neither_values_nor_gradients(out_channels):
    net, x, cond = _net(out_channels), torch.randn(B, 3, T).double(), torch.randn(B, 5, T).double()
    found, expected = net(x, cond), _as_written(net, x, cond)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(found)
    parameters = list(net.parameters())
    gradients = (torch.autograd.grad((y * weights).sum(), parameters) for y in (found, expected))
    for own, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(own, theirs)


@pytest.mark.parametrize(("out_channels", "folded_away"), [(3, True), (4, False)])
def test_a_folded_net_multiplies_less_where_its_end_is_narrow(out_channels, folded_away):
    net, x, cond = _net(out_channels, weight_norm=False), torch.randn(B, 3, T).double(), torch.randn(B, 5, T).double()
    expected = net(x, cond)
    net.fold_()
    torch.testing.assert_close(net(x, cond), expected)
    widths = [len(layer.weight) for layer in net.res_skip]
    assert widths == ([9, 9, 3] if folded_away else [12, 12, 6])


def test_conditioning_layer_by_layer_is_conditioning_at_once(monkeypatch):
    net, x, cond = _net(3).float(), torch.randn(B, 3, T), torch.randn(B, 7, T)
    at_once = net(x, cond)
    asked = []
    net.cond.register_forward_hook(lambda *_: asked.append(1))
    monkeypatch.setattr(wavenet, "NUMBERS_IN_CACHE", 0)
    with torch.inference_mode():
        torch.testing.assert_close(net(x, cond), at_once)
    assert not asked
