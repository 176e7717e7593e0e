"""Broken weights: NaN, infinite and singular ones are refused by the layer's name, wherever a model comes from."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from waveglow.audio.mel import preset
from waveglow.audio.signals import snr
from waveglow.cli.main import main
from waveglow.export.fold import folded
from waveglow.flows import ActNorm, Chain, ConditionalActNorm, InvertibleConv, InvertibleConvLU, Scale
from waveglow.metrics import Take
from waveglow.models import checkpoint
from waveglow.models.checkpoint import CheckpointError
from waveglow.models.published.families import from_state_dict
from waveglow.models.published.waveglow import nvidia_state
from waveglow.models.weights import require_sound
from waveglow.vocoder import Vocoder

NUMBERS = {"n_mels": 80, "hop": 256, "n_flows": 2, "n_layers": 1, "n_channels": 4, "actnorm": False}
MIX = "flow.levels.0.layers.1"


def singular(model) -> None:
    model.get_parameter(f"{MIX}.weight")[1] = model.get_parameter(f"{MIX}.weight")[0]


def nearly_singular(model) -> None:
    singular(model)
    model.get_parameter(f"{MIX}.weight")[1] *= 1 + 1e-7


BREAKS = {
    "NaN": (lambda model: model.conditioner.conv.bias[3].fill_(math.nan), "conditioner.conv.bias has 1 NaN"),
    "infinite": (lambda model: model.conditioner.conv.weight[3].fill_(math.inf), "conditioner.conv.weight has"),
    "both infinities": (lambda model: model.conditioner.conv.bias[:2].copy_(Tensor2), "conditioner.conv.bias has 2"),
    "singular": (singular, f"{MIX}: its matrix of 8 channels is singular"),
    "nearly singular": (nearly_singular, f"{MIX}: its matrix of 8 channels is singular"),
    "no direction": (
        lambda model: model.get_parameter("flow.levels.0.layers.2.net.start.parametrizations.weight.original1")[
            1
        ].zero_(),
        "net.start.parametrizations.weight.original1 has a direction of length 0",
    ),
}
Tensor2 = torch.tensor([math.inf, -math.inf])


@pytest.fixture(params=BREAKS)
def broken(request, random_model):
    """(Model, its configuration, what the message says)."""
    model, config = random_model(**NUMBERS)
    damage, message = BREAKS[request.param]
    with torch.no_grad():
        damage(model)
    return model, config, message


def test_a_broken_checkpoint_is_refused_by_the_layers_name(broken, tmp_path, capsys):
    model, config, message = broken
    checkpoint.save(tmp_path / "broken", model, config, mel_spec=preset("hifigan"))
    with pytest.raises(CheckpointError) as error:
        Vocoder.load(tmp_path / "broken")
    assert message in str(error.value)
    assert "model.safetensors" in str(error.value)
    for verb in (["info"], ["export", "onnx"], ["export", "nvidia"]):
        out = [str(tmp_path / "out.onnx" if verb[-1] == "onnx" else tmp_path / "out.pt")] if len(verb) > 1 else []
        assert main([*verb, str(tmp_path / "broken"), *out]) == 4
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out.onnx").exists()


def test_a_broken_model_becomes_no_vocoder(broken):
    model, _, message = broken
    for use in (folded, lambda broken: Vocoder(broken, preset("hifigan"))):
        with pytest.raises(ValueError, match=message):
            use(model)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("WN.0.start.weight_v", math.nan, "WN.0.start.weight_v has"),
        ("convinv.1.conv.weight", 1.0, "convinv.1.conv.weight: its matrix of 8 channels is singular"),
        ("upsample.bias", -math.inf, "upsample.bias has"),
    ],
)
def test_a_broken_file_is_refused_by_its_own_names(random_model, tmp_path, capsys, name, value, message):
    state, _ = nvidia_state(*random_model(**NUMBERS))
    state[name] = torch.full_like(state[name], value)
    save_file(state, tmp_path / "broken.safetensors")
    assert main(["convert", str(tmp_path / "broken.safetensors"), str(tmp_path / "out")]) == 4
    said = capsys.readouterr().err
    assert f"broken.safetensors: the checkpoint is broken: {message}" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("layer", "value"),
    [
        (ActNorm(2), 100.0),
        (Scale(2), -100.0),
        (ConditionalActNorm(2, torch.nn.Conv1d(1, 2, 1)), 100.0),
        (InvertibleConvLU(2), -40.0),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_every_scale_that_is_nothing_or_everything_is_found(layer, value):
    flow = Chain([InvertibleConv(2), layer])
    require_sound(flow)
    with torch.no_grad():
        (layer.log_s if isinstance(layer, InvertibleConvLU) else layer.log_scale)[1] = value
    with pytest.raises(ValueError, match=r"layers.1: its matrix|layers.1: a log-scale of it is ±100"):
        require_sound(flow)


def test_a_negative_variance_is_found():
    norm = torch.nn.Sequential(torch.nn.BatchNorm1d(2))
    require_sound(norm)
    norm[0].running_var[1] = -1
    with pytest.raises(ValueError, match=r"0.running_var has -1; a variance is at least 0"):
        require_sound(norm)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_comparison_that_sees_nan_fails(broken):
    sound, odd = torch.zeros(100), torch.full((100,), broken)
    for pair in [(sound, odd), (odd, sound), (odd, odd)]:
        with pytest.raises(ValueError, match="NaN or infinite"):
            snr(*pair)
    with pytest.raises(ValueError, match="NaN or infinite"):
        Take(np.full(100, broken, np.float32), preset("hifigan"), 8)


# ---- Other people's files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapper", ["model.", "waveglow.", "module.model.", "model.module."])
def test_a_model_inside_another_is_found(random_model, wrapper):
    """Lightning's modules and NeMo's hold more than the model."""
    model, config = random_model(**NUMBERS)
    state, _ = nvidia_state(model, config)
    more = {"audio_to_melspec_precessor.fb": torch.zeros(3)} if wrapper == "waveglow." else {}
    again = from_state_dict({**{wrapper + name: tensor for name, tensor in state.items()}, **more})
    for mine, other in zip(again.parameters(), model.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_a_file_that_lacks_tensors_is_a_bad_checkpoint(random_model, tmp_path, capsys):
    state, _ = nvidia_state(*random_model(**NUMBERS))
    for missing in ("WN.1.end.weight", "WN.0.start.weight_v", "upsample.bias", "convinv.1.conv.weight"):
        save_file({name: t for name, t in state.items() if name != missing}, tmp_path / "a.safetensors")
        assert main(["convert", str(tmp_path / "a.safetensors"), str(tmp_path / "out")]) == 4
        assert "a.safetensors: the checkpoint lacks" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_told_apart_from_malice(tmp_path, capsys):
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "jit.pt")
    assert main(["convert", str(tmp_path / "jit.pt"), str(tmp_path / "out")]) == 4
    said = capsys.readouterr().err
    assert "is TorchScript" in said
    assert "state_dict()" in said
    assert "don't trust" not in said
