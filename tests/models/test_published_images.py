"""Image flows published elsewhere give their own latents, likelihood and pictures with our layers.

The golden values are those of rosinality/glow-pytorch 97081ff and chrischute/real-nvp df51ad5, with random weights far
from any initialization. Values are compared to 1e-5, absolutely below 1 and relatively above.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from waveglow.cli.main import main
from waveglow.config import ConfigError
from waveglow.flows.permute import Shuffle
from waveglow.flows.reshape import unsqueeze
from waveglow.models import checkpoint
from waveglow.models.checkpoint import CheckpointError
from waveglow.models.flow_image import FlowImage
from waveglow.models.published import convert, from_state_dict
from waveglow.models.registry import build

GOLDEN = Path(__file__).parents[1] / "golden"
GLOWS = ["affine_lu", "affine_plain", "additive_lu", "additive_plain"]
State = dict[str, torch.Tensor]


@lru_cache
def golden(name: str) -> State:
    return load_file(GOLDEN / f"{name}.safetensors")


def published_state(name: str) -> State:
    return {key.removeprefix("state."): t for key, t in golden(name).items() if key.startswith("state.")}


def loaded(name: str, image_size: int) -> FlowImage:
    model = from_state_dict(published_state(name), config={"image_size": image_size})
    assert isinstance(model, FlowImage)
    return model


def assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", GLOWS)
@torch.no_grad()
def test_glow_has_rosinalitys_likelihood_and_pictures(kind):
    file, model = golden(f"glow2d_{kind}"), loaded(f"glow2d_{kind}", 16)
    assert_close(model.log_prob(file["x"]), file["log_p_sum"] + file["logdet"])
    assert_close(model.decode([file["eps.0"], file["eps.1"]]), file["sample"])


@torch.no_grad()
def test_realnvp_has_chrischutes_latents_likelihood_and_pictures():
    """Its z is one picture: the last level's latent takes the places whose values stayed, and so on inwards."""
    file, model = golden("realnvp"), loaded("realnvp", 8)
    x = (255 * file["x"] + file["dequantization_noise"]) / 256
    (left, stayed), log_det = model.encode(x)
    order = next(module for module in model.modules() if isinstance(module, Shuffle))
    assert_close(unsqueeze(order.inverse(torch.cat([stayed, left], dim=1)), 2), file["z"])
    assert_close(log_det, file["sldj"])


@torch.no_grad()
def test_realnvp_undoes_what_chrischute_leaves_in():
    """Its samples are before the sigmoid; ours go through it, and the contraction to 0.05 … 0.95 is undone."""
    file, model = golden("realnvp"), loaded("realnvp", 8)
    order = next(module for module in model.modules() if isinstance(module, Shuffle))
    squeezed, _ = order(torch.nn.functional.pixel_unshuffle(file["z_in"], 2))
    stayed, left = squeezed.chunk(2, dim=1)
    expected = (torch.sigmoid(file["sample_logit"]) - 0.05) / 0.9
    assert_close(model.decode([left, stayed]), expected)


@pytest.mark.parametrize("name", ["glow2d_affine_plain", "realnvp"])
def test_the_configuration_builds_the_model_again(name):
    model, config = convert(published_state(name), config={"image_size": 16, "n_bits": 5})
    assert (config["image_size"], config["n_bits"]) == (16, 5)
    build(config).load_state_dict(model.state_dict())


@pytest.mark.parametrize(
    ("name", "family", "drop", "config", "message"),
    [
        ("realnvp", "glow-rosinality", "", {}, "lacks 'blocks.0.prior.conv.weight'"),
        ("glow2d_affine_lu", "realnvp-chrischute", "", {}, "lacks 'flows.in_couplings.0.rescale.weight_g'"),
        ("glow2d_affine_lu", None, "blocks.1.prior.scale", {}, "lacks 'blocks.1.prior.scale'"),
        ("glow2d_affine_lu", None, "blocks.0.flows.1.actnorm.loc", {}, "lacks 'blocks.0.flows.1.actnorm.loc'"),
        ("realnvp", None, "flows.in_couplings.1.st_net.in_conv.conv.bias", {}, "lacks the tensor of our"),
        ("realnvp", None, "flows.in_couplings.1.rescale.weight_v", {}, "lacks 'flows.in_couplings.1.rescale.weight_v'"),
        ("realnvp", None, "", {"image_sise": 8}, "image_sise is no argument .* did you mean 'image_size'"),
        ("realnvp", None, "", {"image_size": "big"}, "image_size is 'big'"),
    ],
)
def test_what_does_not_fit_is_named(name, family, drop, config, message):
    state = {key: tensor for key, tensor in published_state(name).items() if key != drop}
    with pytest.raises((CheckpointError, ConfigError), match=message):
        convert(state, family=family, config=config)


@pytest.mark.parametrize(("name", "image_size"), [("glow2d_affine_lu", 16), ("realnvp", 8)])
def test_the_command_converts_them(tmp_path, capsys, name, image_size):
    save_file(published_state(name), tmp_path / "theirs.safetensors")
    out = tmp_path / "ours"
    assert main(["convert", str(tmp_path / "theirs.safetensors"), str(out), "--set", f"image_size={image_size}"]) == 0
    assert f"image_size {image_size}" in capsys.readouterr().out
    loaded = checkpoint.load_image(out)
    assert loaded.mel_spec is None
    assert loaded.model.shape == (3, image_size, image_size)
