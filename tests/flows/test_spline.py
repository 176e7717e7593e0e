"""Splines and couplings by them: what the paper says of the curve, and what is refused."""

import math

import pytest
import torch
from torch import nn

from waveglow.flows.coupling import ChannelMask
from waveglow.flows.spline import SplineCoupling, spline, spline_inverse, spline_knots, spline_numbers

BINS, BOUND = 5, 3.0


def bent(*, steep: float = 1.0, dtype=torch.float64):
    """Splines of 2 × 3 channels at 40 places, each of its own."""
    torch.manual_seed(0)
    return spline_knots(steep * torch.randn(2, 3, spline_numbers(BINS), 40, dtype=dtype), bound=BOUND)


def test_it_passes_its_knots_with_their_slopes():
    knots = bent()
    for k in range(1, BINS):  # those between two bins
        for side in (-1e-9, 1e-9):
            y, log_slope = spline(knots.x[:, :, k] + side, knots)
            torch.testing.assert_close(y, knots.y[:, :, k], rtol=0, atol=1e-7)
            torch.testing.assert_close(log_slope.exp(), knots.slope[:, :, k], rtol=1e-5, atol=1e-5)


def test_its_ends_are_the_bounds_where_the_slope_is_1():
    knots = bent()
    for edges in (knots.x, knots.y):
        assert (edges[:, :, 0] == -BOUND).all()
        assert (edges[:, :, -1] == BOUND).all()
        assert (edges.diff(dim=2) > 0).all()
    assert (knots.slope[:, :, [0, -1]] == 1).all()
    _, log_slope = spline(torch.full((2, 3, 40), BOUND - 1e-9, dtype=torch.float64), knots)
    torch.testing.assert_close(log_slope, torch.zeros_like(log_slope), rtol=0, atol=1e-5)


def test_beyond_the_bounds_it_is_the_identity():
    x = torch.tensor([-1e6, -3.0, 3.0, 1e6], dtype=torch.float64).expand(2, 3, 4)
    y, log_slope = spline(x, type(bent())(*(part[..., :4] for part in bent())))
    assert torch.equal(y, x)
    assert not log_slope.any()


def test_the_slope_is_that_of_the_curve():
    knots = bent(steep=2)
    x = torch.linspace(-2.99, 2.99, 40, dtype=torch.float64).expand(2, 3, 40)
    rise = (spline(x + 1e-6, knots)[0] - spline(x - 1e-6, knots)[0]) / 2e-6
    torch.testing.assert_close(spline(x, knots)[1].exp(), rise, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 5e-6)])
def test_the_inverse_undoes_it_as_far_as_rounding_lets_it(dtype, tolerance):
    """Where the curve is flat, many x have one rounded y: an error in x counts by the slope there."""
    knots = bent(steep=4, dtype=dtype)
    x = torch.linspace(-3.2, 3.2, 40, dtype=dtype).expand(2, 3, 40)
    y, log_slope = spline(x, knots)
    assert log_slope.max() > math.log(10)
    assert log_slope.min() < -math.log(1000)
    error = (spline_inverse(y, knots) - x).abs() * log_slope.exp().clamp(max=1)
    assert error.max() < tolerance


def test_gradients_are_finite_at_and_beyond_the_bounds():
    numbers = torch.randn(1, 1, spline_numbers(BINS), 5, requires_grad=True)
    values = torch.tensor([-torch.inf, -3.0, 0.0, 3.0, 1e30]).view(1, 1, 5).nan_to_num(neginf=-1e30).requires_grad_()
    for curve in (lambda x, k: sum(part.sum() for part in spline(x, k)), lambda y, k: spline_inverse(y, k).sum()):
        grads = torch.autograd.grad(curve(values, spline_knots(numbers, bound=BOUND)), (values, numbers))
        assert all(grad.isfinite().all() for grad in grads)
        assert grads[1].any()


class Zeros(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x, cond=None):
        return x.new_zeros(len(x), self.channels, *x.shape[2:])


def test_where_the_net_gives_zeros_it_is_the_identity():
    layer = SplineCoupling(Zeros(2 * spline_numbers(8)), ChannelMask(4)).double()
    x = 2 * torch.randn(2, 4, 50, dtype=torch.float64)
    z, log_det = layer(x)
    torch.testing.assert_close(z, x, rtol=0, atol=1e-12)
    torch.testing.assert_close(log_det, torch.zeros_like(log_det), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"bins": 0}, "bins is 0; a spline takes 1 to 500"),
        ({"bins": 501}, "bins is 501; a spline takes 1 to 500"),
        ({"bound": 0.0}, "bound is 0.0; it must be above 0"),
        ({"bound": float("nan")}, "bound is nan; it must be above 0"),
    ],
)
def test_what_is_no_spline_is_refused(numbers, message):
    with pytest.raises(ValueError, match=message):
        SplineCoupling(Zeros(1), ChannelMask(4), **numbers)


def test_a_net_of_other_outputs_is_refused():
    with pytest.raises(ValueError, match="gives 45 channels; splines of 8 bins need 23 for each of the 2 that move"):
        SplineCoupling(Zeros(45), ChannelMask(4))(torch.randn(1, 4, 5))
