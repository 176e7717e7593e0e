"""FlowImage: bits, pixels, and what one does with latents."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from waveglow.config import ConfigError
from waveglow.flows.base import Flow, zero_log_det
from waveglow.flows.compose import MultiScale
from waveglow.models import image_builders
from waveglow.models.flow_image import FlowImage
from waveglow.models.registry import build

SHAPE = (3, 8, 8)
TINY = {
    "nice": {"n_couplings": 3, "n_hidden": 8, "n_layers": 1},
    "realnvp": {"n_channels": 4, "n_blocks": 1},
    "glow": {"n_levels": 2, "n_steps": 2, "n_hidden": 8},
}


def made(name: str, *, push: float = 0.05, **numbers: object) -> FlowImage:
    torch.manual_seed(0)
    model = build({"name": name, "image_size": 8, "channels": 3, **TINY[name], **numbers})
    assert isinstance(model, FlowImage)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=push)
    return model.eval()


@pytest.fixture(params=TINY)
def model(request) -> FlowImage:
    return made(request.param)


@pytest.fixture
def pixels() -> Tensor:
    torch.manual_seed(1)
    return torch.randint(0, 256, (4, *SHAPE), dtype=torch.uint8)


class Identity(Flow):
    def forward(self, x, cond=None):
        return x, zero_log_det(x)

    def inverse(self, z, cond=None):
        return z


class ToUniform(FlowImage):
    """An identity flow under a uniform density on the domain, which is one unit wide."""

    def log_prob(self, x, y=None):
        inside = (x >= self.lowest) & (x < self.lowest + 1)
        return torch.where(inside, 0.0, -math.inf).flatten(1).sum(1)


# ---- Pixels and bits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lowest", [0.0, -0.5])
@pytest.mark.parametrize("n_bits", range(1, 9))
def test_who_knows_nothing_needs_n_bits(pixels, n_bits, lowest):
    model = ToUniform(MultiScale([Identity()]), shape=SHAPE, n_bits=n_bits, lowest=lowest)
    assert torch.equal(model.bits_per_dim(pixels), torch.full((4,), float(n_bits)))


def test_bits_are_those_of_the_density_and_the_width_of_a_level(model, pixels):
    x = model.dequantize(pixels, seed=5)
    expected = -model.log_prob(x) / (3 * 8 * 8 * math.log(2)) + 8
    torch.testing.assert_close(model.bits_per_dim(pixels, seed=5), expected)


@pytest.mark.parametrize("n_bits", [1, 5, 8])
def test_dequantizing_keeps_the_upper_bits(pixels, n_bits):
    model = made("glow", n_bits=n_bits)
    x = model.dequantize(pixels)
    assert x.min() >= -0.5
    assert x.max() < 0.5
    assert torch.equal(model.to_pixels(x), pixels >> (8 - n_bits) << (8 - n_bits))
    offsets = (x + 0.5) * 2**n_bits % 1
    assert offsets.min() < 0.02
    assert offsets.max() > 0.98


def test_the_noise_of_an_image_is_its_own(model, pixels):
    same = pixels[:1].expand(4, -1, -1, -1)
    x = model.dequantize(same, seed=3)
    assert not torch.equal(x[0], x[1])
    assert torch.equal(model.dequantize(same[:2], seed=3), x[:2])
    assert torch.equal(model.dequantize(same[:1], seed=[3]), x[:1])
    assert not torch.equal(model.dequantize(same[:1], seed=[4]), x[:1])


def test_pixels_of_what_is_no_picture():
    model = made("glow")
    x = torch.tensor([math.nan, math.inf, -math.inf, 7.0, -7.0, 0.5, -0.5, 0.4999]).view(8, 1, 1, 1)
    assert model.to_pixels(x).flatten().tolist() == [0, 255, 0, 255, 0, 255, 0, 255]
    assert model.outside(x) == {"non_finite": 3, "out_of_range": 3}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.zeros(2, *SHAPE), r"pixels are torch.float32 of \[2, 3, 8, 8\]; .* uint8 of \[B, 3, 8, 8\]"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), r"of \[2, 1, 8, 8\]"),
    ],
)
def test_other_pixels_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        made("glow").dequantize(wrong)


# ---- Latents ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_an_image_is_its_latents(model, pixels):
    x = model.dequantize(pixels)
    zs, _ = model.encode(x)
    assert sum(z[0].numel() for z in zs) == 3 * 8 * 8
    torch.testing.assert_close(model.decode(zs), x, atol=1e-5, rtol=0)


@torch.no_grad()
def test_glows_latents_are_standardized_by_the_learned_priors(pixels):
    """The priors shift and scale; what comes out are the eps, and the log-determinant counts the scaling."""
    model = made("glow")
    x = model.dequantize(pixels)
    before, log_det = model.encode(x)
    prior = model.flow.levels[1].prior.net.conv
    prior.bias[:6] += math.log(2)  # log_s of the leaving channels: twice as wide
    after, wider_log_det = model.encode(x)
    gain = (3 * model.flow.levels[1].prior.net.log_gain[0, :6, 0, 0]).exp()
    shrunk = before[0] * torch.exp(-math.log(2) * gain)[:, None, None]
    torch.testing.assert_close(after[0], shrunk, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(wider_log_det, log_det - math.log(2) * gain.sum() * 16)


def test_a_logistic_base(pixels):
    nice = made("nice")
    x = nice.dequantize(pixels)
    zs, log_det = nice.encode(x)
    expected = torch.distributions.TransformedDistribution(
        torch.distributions.Uniform(0, 1, validate_args=False),
        [torch.distributions.SigmoidTransform().inv],
    ).log_prob(zs[0])
    torch.testing.assert_close(nice.log_prob(x), expected.flatten(1).sum(1) + log_det, rtol=1e-4, atol=1e-2)
    assert not torch.equal(nice.log_prob(x), made("nice", base="normal").log_prob(x))


# ---- Samples ---------------------------------------------------------------------------------------------------------


def test_a_sample_depends_on_its_number_alone(model):
    many = model.sample(5, seed=2)
    torch.testing.assert_close(model.sample(3, seed=2), many[:3], atol=1e-5, rtol=1e-5)
    assert not torch.equal(many[0], many[1])
    assert not torch.equal(model.sample(5, seed=3), many)


@torch.no_grad()
def test_temperature_scales_the_latents_of_every_level(model):
    warm, cool = (model.encode(model.sample(64, temperature=t, seed=2))[0] for t in (1.0, 0.5))
    spread = {"normal": 1.0, "logistic": math.pi / math.sqrt(3)}[model.base]
    for w, c in zip(warm, cool, strict=True):
        torch.testing.assert_close(c, 0.5 * w, atol=1e-3, rtol=1e-3)
        assert w.std().item() == pytest.approx(spread, rel=0.1)
    frozen = model.sample(2, temperature=0.0)
    assert torch.equal(frozen[0], frozen[1])


@pytest.mark.parametrize("temperature", [-1.0, math.nan, math.inf])
def test_a_temperature_out_of_range_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature is"):
        made("glow").sample(1, temperature=temperature)


# ---- Between and beyond ----------------------------------------------------------------------------------------------


def test_a_path_begins_and_ends_at_its_images(model, pixels):
    x = model.dequantize(pixels)
    for spherical in (False, True):
        path = model.interpolate(x[0], x[1], 5, spherical=spherical)
        torch.testing.assert_close(path[[0, -1]], x[:2], atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="steps is 1"):
        model.interpolate(x[0], x[1], 1)


@torch.no_grad()
def test_a_linear_path_is_straight_in_the_latents_and_a_spherical_one_is_round(pixels):
    model = made("glow")
    x = model.dequantize(pixels)

    def flat(images: Tensor) -> Tensor:
        return torch.cat([z.flatten(1) for z in model.encode(images)[0]], dim=1).double()

    start, end = flat(x[:2])
    straight, around = (flat(model.interpolate(x[0], x[1], 3, spherical=s))[1] for s in (False, True))
    torch.testing.assert_close(straight, (start + end) / 2, atol=1e-3, rtol=1e-3)
    cosine = torch.nn.functional.cosine_similarity
    angle = torch.acos(cosine(start, end, dim=0))
    assert torch.acos(cosine(start, around, dim=0)).item() == pytest.approx(angle.item() / 2, rel=1e-2)
    assert straight.norm() < around.norm()


def test_a_path_between_equal_images_stands_still(pixels):
    model = made("glow")
    x = model.dequantize(pixels)[0]
    path = model.interpolate(x, x, 3, spherical=True)
    torch.testing.assert_close(path, x.expand(3, -1, -1, -1), atol=1e-4, rtol=0)


@torch.no_grad()
def test_an_attribute_is_a_difference_of_mean_latents(model, pixels):
    x = model.dequantize(pixels)
    direction = model.attribute_direction(x[:2], x[2:])
    zs, _ = model.encode(x)
    for d, z in zip(direction, zs, strict=True):
        torch.testing.assert_close(d, z[:2].mean(0) - z[2:].mean(0))
    torch.testing.assert_close(model.manipulate(x, direction, 0.0), x, atol=1e-4, rtol=0)
    moved, _ = model.encode(model.manipulate(x, direction, 0.5))
    for m, z, d in zip(moved, zs, direction, strict=True):
        torch.testing.assert_close(m, z + 0.5 * d, atol=1e-3, rtol=1e-3)


# ---- Classes ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_class_moves_the_top_prior_alone(pixels):
    model = made("glow", n_classes=3)
    x = model.dequantize(pixels)
    zeros, ones = (model.encode(x, torch.full((4,), y))[0] for y in (0, 1))
    assert torch.equal(zeros[0], ones[0])
    assert not torch.equal(zeros[1], ones[1])
    y = torch.tensor([0, 1, 2, 1])
    torch.testing.assert_close(model.decode(model.encode(x, y)[0], y), x, atol=1e-4, rtol=0)
    assert torch.equal(model.encode(x, y)[0][1][1], ones[1][1])


def told_apart(n_classes: int = 3) -> FlowImage:
    """A Glow to which each class is something else."""
    model = made("glow", n_classes=n_classes)
    torch.nn.init.normal_(model.flow.levels[-1].net.of_class)
    return model


@torch.no_grad()
def test_a_path_leads_from_class_to_class(pixels):
    model = told_apart()
    x, y = model.dequantize(pixels)[:2], torch.tensor([0, 2])
    (z0, z1), _ = model.encode(x, y)
    path = model.interpolate(x[0], x[1], 3, y=y)
    torch.testing.assert_close(path[[0, 2]], x, atol=1e-4, rtol=0)
    middles = [z.mean(0, keepdim=True) for z in (z0, z1)]
    half_each = torch.tensor([0.5, 0, 0.5]).view(1, 3, 1, 1)
    torch.testing.assert_close(path[1:2], model.flow.inverse(middles, half_each), atol=1e-4, rtol=0)
    other = model.interpolate(x[0], x[1], 3, y=torch.tensor([0, 1]))
    assert (other[1] - path[1]).abs().max() > 1e-2
    with pytest.raises(ValueError, match="takes a class from 0 to 2 for each image"):
        model.interpolate(x[0], x[1], 3)


@torch.no_grad()
def test_a_manipulated_image_keeps_its_class(pixels):
    model = told_apart()
    x, y = model.dequantize(pixels), torch.tensor([0, 1, 2, 1])
    zs, _ = model.encode(x, y)
    direction = model.attribute_direction(x[:2], x[2:], y_pos=y[:2], y_neg=y[2:])
    for d, z in zip(direction, zs, strict=True):
        torch.testing.assert_close(d, z[:2].mean(0) - z[2:].mean(0))
    torch.testing.assert_close(model.manipulate(x, direction, 0.0, y=y), x, atol=1e-4, rtol=0)
    moved, _ = model.encode(model.manipulate(x, direction, 0.5, y=y), y)
    for m, z, d in zip(moved, zs, direction, strict=True):
        torch.testing.assert_close(m, z + 0.5 * d, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("y", [None, torch.tensor([0, 1, 2, 3]), torch.tensor([0, -1, 0, 0]), torch.tensor([0])])
def test_a_class_that_is_missing_or_unknown_is_refused(pixels, y):
    model = made("glow", n_classes=3)
    with pytest.raises(ValueError, match="takes a class from 0 to 2 for each image"):
        model.encode(model.dequantize(pixels), y)


def test_a_class_that_is_not_wanted_is_refused(pixels):
    model = made("glow")
    with pytest.raises(ValueError, match="has no classes"):
        model.encode(model.dequantize(pixels), torch.zeros(4, dtype=torch.long))


# ---- Builders --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "millions"),
    [
        ({"n_levels": 3, "n_steps": 32}, 43.8),
        ({"n_levels": 4, "n_steps": 48, "image_size": 64}, 110.6),
        ({"n_levels": 3, "n_steps": 8, "n_hidden": 128}, 1.6),
        ({"n_levels": 6, "n_steps": 32, "image_size": 256}, 223.8),
    ],
)
def test_glow_has_the_published_number_of_parameters(numbers, millions):
    with torch.device("meta"):
        model = image_builders.glow(permutation="conv", **numbers)
    total = sum(parameter.numel() for parameter in model.parameters())
    assert total / 1e6 == pytest.approx(millions, rel=0.04)


@pytest.mark.parametrize("permutation", image_builders.PERMUTATIONS)
@pytest.mark.parametrize("coupling", image_builders.COUPLINGS)
@torch.no_grad()
def test_every_kind_of_glow_starts_as_nearly_nothing_and_inverts(permutation, coupling, pixels):
    model = made("glow", permutation=permutation, coupling=coupling, push=0.0)
    x = model.dequantize(pixels)
    zs, log_det = model.encode(x)
    torch.testing.assert_close(model.decode(zs), x, atol=1e-5, rtol=0)
    shrunk = 3 * 8 * 8 * math.log(1 / (1 + math.exp(-2))) * (0.5 + 0.25) * 2  # halves of two levels, two steps each
    assert log_det.numpy() == pytest.approx(np.full(4, shrunk if coupling == "affine" else 0.0), abs=1e-2)


@pytest.mark.parametrize("partition", ["odd-even", "halves"])
@torch.no_grad()
def test_nice_moves_the_part_that_it_names(partition, pixels):
    model = made("nice", partition=partition, n_couplings=1, push=0.0)
    last = model.flow.levels[0].layers[-3].net.last
    last.bias.fill_(1.0)
    x = torch.zeros(1, *SHAPE)
    z = model.encode(x)[0][0].flatten().flip(0)
    back = model.decode([torch.zeros(1, 3 * 8 * 8, 1)]).flatten()
    assert z.tolist() == [0.0] * 96 + [1.0] * 96
    moved = (back == -1).nonzero().flatten().tolist()
    assert moved == (list(range(1, 192, 2)) if partition == "odd-even" else list(range(96, 192)))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "glow", "image_size": 12}, "image_size is 12 and n_levels is 3; it must be a multiple of 8"),
        ({"name": "glow", "permutation": "shufle"}, "permutation is 'shufle'.*did you mean 'shuffle'"),
        ({"name": "glow", "coupling": "affin"}, "coupling is 'affin'.*did you mean 'affine'"),
        ({"name": "glow", "n_bits": 9}, "n_bits is 9; it must be from 1 to 8"),
        ({"name": "glow", "n_classes": 3, "learned_top": False}, "classes enter by the learned top prior"),
        ({"name": "glow", "n_levels": 1000, "image_size": 8}, "must be a multiple of"),
        ({"name": "glow", "n_steps": 1000, "n_levels": 3}, "at most 1024 are built"),
        ({"name": "realnvp", "n_blocks": 2000}, "couplings × n_blocks is 10 × 2000; at most 1024 are built"),
        ({"name": "nice", "n_couplings": 2000}, "at most 1024 are built"),
        ({"name": "realnvp", "image_size": 7}, "image_size is 7 and n_scales is 2"),
        ({"name": "nice", "base": "gauss"}, "base is 'gauss'"),
        ({"name": "nice", "partition": "half"}, "partition is 'half'.*did you mean 'halves'"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        build(config)
