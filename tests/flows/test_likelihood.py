"""Base densities: they integrate to one, draws follow them at every temperature, and what is rare costs nats."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from waveglow.flows.likelihood import BASES, log_prob_by_latent
from waveglow.noise import BLOCK, DRAWS, HEAVY_TAILED, latent_noise

# From 1e-4 to 1e5 either way: the widest part of a mixture has a standard deviation of 1000.
HALF = torch.cat([torch.zeros(1), torch.logspace(-4, 5, 200_001, dtype=torch.float64)])
GRID = torch.cat([-HALF[1:].flip(0), HALF])


def density(base: str) -> torch.Tensor:
    return BASES[base].log_prob([GRID[:, None]]).exp()


def below(base: str, z: float) -> float:
    """The probability of |Z| < z."""
    inside = GRID.abs() <= z
    return float(torch.trapezoid(density(base)[inside], GRID[inside]))


@pytest.mark.parametrize("base", BASES)
def test_a_density_integrates_to_one(base):
    assert float(torch.trapezoid(density(base), GRID)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("z", [0.5, 1.0, 2.0, 4.0, 30.0, 300.0])
@pytest.mark.parametrize("base", BASES)
def test_draws_follow_the_density(base, z):
    n, shape = 400_000, (4, 100_000)
    torch.manual_seed(0)
    drawn = DRAWS[base](np.random.default_rng(0), shape, 1.0)
    assert drawn.dtype == np.float32
    for values in (drawn, BASES[base].sample(shape, 1.0, None).numpy()):
        expected = below(base, z)
        error = abs(expected * (1 - expected) / n) ** 0.5
        assert np.mean(np.abs(values) < z) == pytest.approx(expected, abs=5 * error + 1e-6)
        assert abs(np.mean(values > 0) - 0.5) < 0.005


@pytest.mark.parametrize("base", BASES)
def test_what_stands_at_the_unmoved_value_says_nothing_of_the_scale(base):
    log_s = torch.zeros(1, requires_grad=True, dtype=torch.float64)
    z = torch.tensor([[BASES[base].unmoved]], dtype=torch.float64) * log_s.exp()
    (BASES[base].log_prob([z]) + log_s).sum().backward()
    assert log_s.grad.item() == pytest.approx(0, abs=1e-9)


def test_each_latent_has_its_own_base():
    zs = [3 * torch.randn(2, 4, 5), torch.randn(2, 3, 7)]
    both = log_prob_by_latent(zs, ["heavy-tailed", "normal"])
    torch.testing.assert_close(both, BASES["heavy-tailed"].log_prob(zs[:1]) + BASES["normal"].log_prob(zs[1:]))
    assert torch.equal(log_prob_by_latent(zs, ["normal", "normal"]), BASES["normal"].log_prob(zs))
    with pytest.raises(ValueError, match="zip"):
        log_prob_by_latent(zs, ["normal"])


# ---- Heavy tails -----------------------------------------------------------------------------------------------------


def test_what_is_rare_costs_nats_and_what_is_usual_next_to_nothing():
    z = torch.tensor([[0.0], [1.0], [100.0], [2000.0]], dtype=torch.float64)
    cost = BASES["normal"].log_prob([z]) - BASES["heavy-tailed"].log_prob([z])
    assert (cost[:2] < 0.021).all()  # -log 0.98
    assert BASES["heavy-tailed"].log_prob([z])[2:].min() > -17
    assert BASES["normal"].log_prob([z])[2:].max() < -5000


@pytest.mark.parametrize("sigma", [0.5, 0.8, 0.95, 1.0])
def test_the_shares_at_a_temperature_are_those_of_the_joint_density_to_a_power(sigma):
    """By the integral over z of `(share · N(z; 0, scale²))^(1/sigma²)`, divided by that of all scales."""
    powers = [
        torch.trapezoid((share * torch.distributions.Normal(0, scale).log_prob(GRID).exp()) ** (1 / sigma**2), GRID)
        for share, scale in zip(*HEAVY_TAILED, strict=True)
    ]
    torch.testing.assert_close(torch.tensor(HEAVY_TAILED.at(sigma)).double(), torch.stack(powers) / sum(powers))


def test_the_usual_temperature_leaves_the_tails_out_and_higher_ones_add_none():
    assert HEAVY_TAILED.at(0.7)[0] > 0.99998
    assert HEAVY_TAILED.at(0) == (1, 0, 0, 0) == HEAVY_TAILED.at(1e-300)
    assert HEAVY_TAILED.at(1.5) == HEAVY_TAILED.shares
    assert sum(HEAVY_TAILED.at(0.9)) == pytest.approx(1)


@pytest.mark.parametrize("sigma", [0.0, 0.9, 1.0])
def test_a_usual_value_is_that_of_the_normal_noise_of_its_place(sigma):
    plain = latent_noise(3, 1, 96, 0, BLOCK)
    heavy = latent_noise(3, 1, 96, 0, BLOCK, base="heavy-tailed", sigma=sigma)
    ratio = np.unique((heavy / plain).round(3))
    assert set(ratio) <= set(HEAVY_TAILED.scales)
    assert np.mean(heavy == plain) == pytest.approx(HEAVY_TAILED.at(sigma)[0], abs=0.003)
    assert len(ratio) == (4 if sigma else 1)


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (5, BLOCK + 3), (BLOCK - 1, 2 * BLOCK + 1)])
def test_a_piece_of_heavy_tailed_noise_is_the_slice_of_the_whole(start, stop):
    whole = latent_noise(3, 1, 4, 0, 3 * BLOCK, base="heavy-tailed")
    piece = latent_noise(3, 1, 4, start, stop, base="heavy-tailed")
    np.testing.assert_array_equal(piece, whole[:, start:stop])
