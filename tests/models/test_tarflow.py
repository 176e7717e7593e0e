"""TarFlow gives apple/ml-tarflow's own latents, likelihood and pictures with our layers; Jet what its paper writes.

The golden values are of ml-tarflow 313120e, with random weights far from any initialization. Its images are over
−1 … 1, ours over a domain one unit wide. Its noise is N(0, var), its loss that of N(0, 1): our latents are its / √var.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from waveglow.cli.main import main
from waveglow.config import ConfigError
from waveglow.flows.autoregressive import RowAutoregressive
from waveglow.flows.coupling import Coupling
from waveglow.flows.permute import Shuffle
from waveglow.flows.reshape import squeeze
from waveglow.models import checkpoint
from waveglow.models.flow_image import FlowImage
from waveglow.models.published import from_state_dict
from waveglow.models.registry import build

GOLDEN = Path(__file__).parents[1] / "golden"
NAMES = ["tarflow", "tarflow_classes"]
LOG_2 = math.log(2)


@lru_cache
def golden(name: str) -> dict[str, Tensor]:
    return load_file(GOLDEN / f"{name}.safetensors")


def published_state(name: str) -> dict[str, Tensor]:
    return {key.removeprefix("state."): t for key, t in golden(name).items() if key.startswith("state.")}


def loaded(name: str) -> FlowImage:
    model = from_state_dict(published_state(name), family="tarflow-apple")
    assert isinstance(model, FlowImage)
    return model


def as_theirs(zs: list[Tensor], var: Tensor) -> Tensor:
    """Our latents as theirs, [B, patches, values]."""
    return zs[0].view(len(zs[0]), var.shape[1], var.shape[0]).transpose(1, 2) * var.sqrt()


def as_ours(eps: Tensor) -> list[Tensor]:
    return [eps.transpose(1, 2).reshape(len(eps), -1, 1)]


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("with_class", [True, False])
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_it_has_their_latents_and_likelihood(name, with_class):
    file, model = golden(name), loaded(name)
    suffix = "_no_class" if not with_class and name == "tarflow_classes" else ""
    zs, log_det = model.encode(file["x"] / 2, file.get("y") if with_class else None)
    var = file["state.var"]
    assert_close(as_theirs(zs, var), file[f"z{suffix}"])
    theirs = file[f"log_det{suffix}" if suffix else "log_det_per_dim"]
    constants = LOG_2 - 0.5 * var.log().mean()
    assert_close(log_det / var.numel() - constants, theirs)


@torch.no_grad()
def test_no_class_is_minus_one_too_and_in_a_batch_with_others():
    file, model = golden("tarflow_classes"), loaded("tarflow_classes")
    y = file["y"].clone()
    y[1] = -1
    z = as_theirs(model.encode(file["x"] / 2, y)[0], file["state.var"])
    assert_close(z[1], file["z_no_class"][1])
    assert_close(z[0], file["z"][0])
    with pytest.raises(ValueError, match="a class from 0 to 4, or -1 for none, for each image"):
        model.encode(file["x"] / 2, y - 1)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_it_has_their_pictures(name):
    file, model = golden(name), loaded(name)
    assert_close(2 * model.decode(as_ours(file["eps"]), file.get("y")), file["sample"])


@torch.no_grad()
def test_it_has_their_guided_pictures():
    file, model = golden("tarflow_classes"), loaded("tarflow_classes")
    guided = 2 * model.guided(1.5).decode(as_ours(file["eps"]), file["y"])
    assert_close(guided, file["sample_guided"])
    assert (guided - file["sample"]).abs().max() > 0.1
    assert_close(2 * model.decode(as_ours(file["eps"]), file["y"]), file["sample"])  # the model stays as it is


@torch.no_grad()
def test_guidance_reaches_samples_and_shares_the_weights():
    model = loaded("tarflow_classes")
    y = torch.tensor([0, 3])
    plain, guided = (model.sample(2, temperature=0.5, y=y, guidance=w) for w in (0.0, 1.0))
    assert (plain - guided).abs().max() > 1e-3
    assert {p.data_ptr() for p in model.guided(1.0).parameters()} == {p.data_ptr() for p in model.parameters()}


@pytest.mark.parametrize(
    ("model", "guidance", "message"),
    [
        (lambda: loaded("tarflow"), 1.0, "has no classes, and there is nothing to guide by"),
        (lambda: build({"name": "glow", "n_levels": 1, "n_steps": 1, "n_classes": 3}), 1.0, "needs a class for each"),
        (lambda: loaded("tarflow_classes"), -1.0, "guidance is -1.0; it must be a finite number >= 0"),
        (lambda: loaded("tarflow_classes"), math.nan, "guidance is nan"),
    ],
)
def test_guidance_that_cannot_be_is_refused(model, guidance, message):
    with pytest.raises(ValueError, match=message):
        model().guided(guidance)


def test_patches_one_after_the_other_are_all_at_once():
    """In float64, where a wrong cache could not hide in rounding; the net is asked once a patch."""
    model = loaded("tarflow").double()
    layer = next(module for module in model.modules() if isinstance(module, RowAutoregressive))
    asked, row = [], layer.net.row
    layer.net.row = lambda x, *rest: asked.append(x.shape[2]) or row(x, *rest)
    x = golden("tarflow")["x"].double() / 2
    with torch.no_grad():
        zs, _ = model.encode(x)
        torch.testing.assert_close(model.decode(zs), x, rtol=0, atol=1e-11)
    assert asked == [1] * 15


@pytest.mark.parametrize("name", NAMES)
def test_the_command_converts_them(tmp_path, capsys, name):
    save_file(published_state(name), tmp_path / "theirs.safetensors")
    out = tmp_path / "ours"
    assert main(["convert", str(tmp_path / "theirs.safetensors"), str(out)]) == 0
    assert "tarflow" in capsys.readouterr().out
    again = checkpoint.load_image(out)
    assert again.model_config["patch_size"] == 2
    file, y = golden(name), golden(name).get("y")
    assert torch.equal(again.model.encode(file["x"] / 2, y)[0][0], loaded(name).encode(file["x"] / 2, y)[0][0])


def test_a_prior_of_ones_needs_no_layer_of_its_own():
    state = published_state("tarflow")
    model = from_state_dict({**state, "var": torch.ones_like(state["var"])})
    assert model.latent_shapes() == [(12, 16, 1)]


@pytest.mark.parametrize(
    ("config", "drop", "message"),
    [
        ({"img_size": 16}, "", "img_size is 16 in the configuration and 8 in the tensors"),
        ({"layers_per_blok": 2}, "", "layers_per_blok is no argument of TarFlow; did you mean 'layers_per_block'"),
        ({"nvp": False}, "", "nvp is False in the configuration and True in the tensors"),
        ({}, "blocks.2.attn_blocks.1.mlp.norm.bias", "lacks 'blocks.2.attn_blocks.1.mlp.norm.bias'"),
        ({}, "var", "lacks 'var'"),
    ],
)
def test_what_does_not_fit_is_named(config, drop, message):
    state = {key: tensor for key, tensor in published_state("tarflow").items() if key != drop}
    with pytest.raises(ValueError, match=message):
        from_state_dict(state, family="tarflow-apple", config=config)


def test_a_tensor_that_is_none_of_theirs_is_named():
    with pytest.raises(ValueError, match=r"has 'blocks.0.gate'"):
        from_state_dict({**published_state("tarflow"), "blocks.0.gate": torch.zeros(1)}, family="tarflow-apple")


# ---- Denoising ----------------------------------------------------------------------------------------------------


def test_denoising_gives_the_mean_of_what_noise_may_have_been_added_to():
    """Where log p is known: a flow that only scales learns noisy images N(0, a² + std²), whose mean is x · a² / (…)."""
    model = build({"name": "tarflow", "image_size": 4, "n_blocks": 1, "n_layers": 1, "n_channels": 8})
    x = torch.randn(2, 3, 4, 4)
    std, spread = 0.3, 0.5  # this untrained model's images are N(0, 0.5²): of clean ones N(0, a²) with a² = 0.16
    torch.testing.assert_close(model.denoise(x, std), x * (spread**2 - std**2) / spread**2, rtol=1e-5, atol=1e-6)
    assert torch.equal(model.denoise(x, 0.0), x)
    assert not model.denoise(x, std).requires_grad
    with pytest.raises(ValueError, match=r"the noise to take off is -0\.1; it must be a finite number >= 0"):
        model.denoise(x, -0.1)


# ---- Jet ----------------------------------------------------------------------------------------------------------

JET = {"name": "jet", "image_size": 16, "n_couplings": 32, "n_layers": 1, "n_channels": 8}


def couplings(model: FlowImage) -> list[Coupling]:
    return [module for module in model.modules() if isinstance(module, Coupling)]


def test_a_jet_begins_as_the_identity_up_to_the_order_of_values():
    """Its nets end in zeros, and 2 · sigmoid(0) is 1: only the step to −1 … 1 counts (§2)."""
    model = build(JET)
    x = torch.rand(2, 3, 16, 16) - 0.5
    (z,), log_det = model.encode(x)
    torch.testing.assert_close(z.flatten(1).sort().values, 2 * x.flatten(1).sort().values)
    torch.testing.assert_close(log_det, torch.full((2,), 3 * 16 * 16 * LOG_2))


def test_a_fifth_of_jets_couplings_move_places_in_turn():
    kinds = [(getattr(c.mask, "pattern", "channels"), c.mask.moves) for c in couplings(build(JET))]
    places = [kind for kind in kinds if kind[0] != "channels"]
    assert [i for i, (kind, _) in enumerate(kinds, 1) if kind != "channels"] == [5, 10, 15, 20, 25, 30]
    assert places == [(p, m) for p in ("checkerboard", "columns", "rows") for m in ("odd", "even")]


@torch.no_grad()
def test_jets_coupling_is_the_papers():
    """`y2 = (x2 + b(x1)) · σ(s(x1)) · m` with m = 2, and its log-determinant `Σ log σ(s) + log m`, by hand."""
    torch.manual_seed(0)
    model = build({**JET, "n_couplings": 1}).double()
    coupling, shuffle = couplings(model)[0], next(m for m in model.modules() if isinstance(m, Shuffle))
    coupling.net.last.weight.normal_()
    coupling.net.last.bias.normal_()
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64) - 0.5
    patches = squeeze(2 * x, 4)[:, shuffle.order]
    x1, x2 = patches.chunk(2, dim=1)
    s, b = coupling.net(x1).chunk(2, dim=1)
    (z,), log_det = model.encode(x)
    torch.testing.assert_close(z, torch.cat([x1, (x2 + b) * torch.sigmoid(s) * 2], dim=1))
    by_hand = (torch.sigmoid(s).log() + LOG_2).flatten(1).sum(1) + 3 * 16 * 16 * LOG_2
    torch.testing.assert_close(log_det, by_hand)


def test_numbers_that_do_not_fit_are_refused():
    for name in ("tarflow", "jet"):
        for numbers, message in [
            ({"image_size": 10, "patch_size": 4}, "image_size is 10 and patch_size is 4; it must be a multiple of 4"),
            ({"n_channels": 96}, "n_channels is 96; it must be a multiple of head_channels, 64"),
            ({"image_size": 4096, "patch_size": 2}, "4194304 patches; at most 16384"),
            ({"n_layers": 4096}, "at most 1024 are built"),
        ]:
            with pytest.raises(ConfigError, match=message):
                build({"name": name, **numbers})
