"""What the contract does not say of the layers that images brought: which places move, what batch statistics do."""

import math

import pytest
import torch
from torch import nn

from waveglow.flows.batchnorm import EPS, FlowBatchNorm
from waveglow.flows.compose import Chain
from waveglow.flows.coupling import CheckerboardMask, Coupling, WholeMask
from waveglow.flows.logit import Logit
from waveglow.flows.permute import Shuffle
from waveglow.flows.reshape import Flatten


class Constant(nn.Module):
    """log_s = 1 and t = 1 everywhere, and a record of what was read."""

    def forward(self, x, cond=None):
        self.read = x
        return torch.ones(x.shape[0], 2 * x.shape[1], *x.shape[2:])


# ---- Masks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("moves", "parity"), [("even", 0), ("odd", 1)])
@pytest.mark.parametrize("sizes", [(6,), (4, 6)])
def test_a_checkerboard_moves_places_whose_indices_sum_to_its_parity(moves, parity, sizes):
    net = Constant()
    layer = Coupling(net, CheckerboardMask(2, moves=moves))
    x = torch.randn(1, 2, *sizes)
    z, log_det = layer(x)
    index_sum = sum(torch.meshgrid(*map(torch.arange, sizes), indexing="ij"))
    moved = (index_sum % 2 == parity).expand(2, *sizes)
    assert torch.equal(z[0] != x[0], moved)
    assert torch.equal(net.read[0] == 0, moved)
    torch.testing.assert_close(log_det, moved.sum().float().view(1))


def test_a_whole_mask_shows_the_net_nothing():
    net = Constant()
    x = torch.randn(2, 3, 4, 4)
    z, log_det = Coupling(net, WholeMask(3), form="(x-t)/s")(x)
    torch.testing.assert_close(z, (x - 1) / math.e)
    assert not net.read.any()
    torch.testing.assert_close(log_det, torch.full((2,), -48.0))


def test_an_order_is_kept_as_given():
    assert Shuffle(3, order=[2, 0, 1])(torch.arange(3.0).view(1, 3, 1))[0].flatten().tolist() == [2, 0, 1]


def test_flatten_takes_its_own_shape_only():
    with pytest.raises(ValueError, match=r"Flatten of \[1, 4, 4\] got \[1, 4, 5\]"):
        Flatten((1, 4, 4))(torch.zeros(1, 1, 4, 5))


# ---- Logit -----------------------------------------------------------------------------------------------------------


def test_the_logit_of_a_pixel():
    z, log_det = Logit()(torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64).view(3, 1, 1))
    assert z.flatten().tolist() == pytest.approx([math.log(0.05 / 0.95), 0, math.log(0.95 / 0.05)])
    at_the_ends = math.log(0.9 / (0.05 * 0.95))
    assert log_det.tolist() == pytest.approx([at_the_ends, math.log(0.9 / 0.25), at_the_ends])


def test_black_and_white_come_back_with_full_contrast():
    layer, x = Logit(), torch.tensor([0.0, 1.0], dtype=torch.float64).view(1, 2, 1)
    torch.testing.assert_close(layer.inverse(layer(x)[0]), x)


@pytest.mark.parametrize("alpha", [0.0, 0.5, -1.0])
def test_an_alpha_out_of_range_is_refused(alpha):
    with pytest.raises(ValueError, match=f"alpha is {alpha}"):
        Logit(alpha=alpha)


# ---- Batch norm ------------------------------------------------------------------------------------------------------


def batches(n):
    generator = torch.Generator().manual_seed(0)
    scale, mean = torch.tensor([0.5, 2.0]).view(1, 2, 1, 1), torch.tensor([3.0, -1.0]).view(1, 2, 1, 1)
    for _ in range(n):
        yield mean + scale * torch.randn(16, 2, 4, 4, generator=generator)


def test_running_statistics_include_the_batch_and_its_gradient():
    layer = FlowBatchNorm(2, momentum=0.5).train()
    x = next(batches(1)).requires_grad_()
    z, log_det = layer(x)
    mean, var = 0.5 * x.mean((0, 2, 3)), 0.5 + 0.5 * x.var((0, 2, 3), correction=0)
    torch.testing.assert_close(layer.running_mean, mean.detach())
    torch.testing.assert_close(layer.running_var, var.detach())
    torch.testing.assert_close(z, (x - mean.view(1, 2, 1, 1)) / (var.view(1, 2, 1, 1) + EPS).sqrt())
    torch.testing.assert_close(log_det, (-0.5 * 16 * (var + EPS).log().sum()).expand(16))
    [grad] = torch.autograd.grad(log_det.sum(), x)
    assert grad.any()


def test_it_learns_the_data_and_evaluates_with_what_it_learned():
    layer = FlowBatchNorm(2).train()
    for x in batches(100):
        layer(x)
    layer.eval()
    x = next(batches(1))
    z, _ = layer(x)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(2), atol=0.2, rtol=0)
    torch.testing.assert_close(z.std((0, 2, 3)), torch.ones(2), atol=0.1, rtol=0)
    before = layer.running_mean.clone()
    layer(x)
    assert torch.equal(layer.running_mean, before)


def test_a_reversible_sequence_refuses_it_in_training():
    stack = Chain([FlowBatchNorm(2)], memory="reversible").train()
    z, log_det = stack(next(batches(1)).requires_grad_())
    with pytest.raises(ValueError, match=r"set train\.memory=checkpoint or none"):
        (z.sum() + log_det.sum()).backward()
