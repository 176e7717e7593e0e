"""Published vocoders other than NVIDIA's WaveGlow: their weights give their own latents, likelihood and audio.

The golden values are those of the published code (tests/golden, metadata) with random weights. They are compared to
1e-5 of their greatest magnitude. SqueezeWave's audio is compared with ours in float64: its matrices are of random
numbers, and by inverting them in float32 the published code is itself off by 6e-6.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from waveglow.cli.main import main
from waveglow.config import ConfigError
from waveglow.export.fold import folded
from waveglow.models import checkpoint
from waveglow.models.checkpoint import CheckpointError
from waveglow.models.flow_vocoder import FlowVocoder
from waveglow.models.published import convert, from_state_dict
from waveglow.models.registry import build
from waveglow.models.weights import own_state

GOLDEN = Path(__file__).parents[1] / "golden"
State = dict[str, Tensor]


class Golden(NamedTuple):
    """Published weights, what the published code made of some inputs, and its constructor's arguments."""

    state: State
    values: State
    config: dict[str, Any]


@lru_cache
def golden(name: str) -> Golden:
    with safe_open(GOLDEN / f"{name}.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        config = json.loads(file.metadata()["config"])
    state = {key.removeprefix("state."): t for key, t in tensors.items() if key.startswith("state.")}
    return Golden(state, {key: t for key, t in tensors.items() if not key.startswith("state.")}, config)


def rows_of(name: str) -> dict[str, Any]:
    return {key: golden(name).config[key] for key in ("n_height", "bipartize")}


OPTIONS: dict[str, Callable[[], dict[str, Any]]] = {
    "nvidia_waveglow_old": lambda: {"family": "nvidia-waveglow-old"},
    "squeezewave_a128": dict,
    "squeezewave_a256": dict,
    "flowavenet": dict,
    "waveflow": lambda: {"config": rows_of("waveflow")},
    "waveflow_bipartite": lambda: {"config": rows_of("waveflow_bipartite")},
}


def of(name: str) -> FlowVocoder:
    model = from_state_dict(golden(name).state, **OPTIONS[name]())
    assert isinstance(model, FlowVocoder)
    return model


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5 * float(expected.abs().max().clamp(min=1)))


AS_TRAINED_AND_FOLDED = pytest.mark.parametrize("form", [lambda model: model, folded], ids=["as trained", "folded"])

# ---- Parity ----------------------------------------------------------------------------------------------------------


@AS_TRAINED_AND_FOLDED
@torch.no_grad()
def test_glow_old_audio(form):
    values = golden("nvidia_waveglow_old").values
    zs = [0.7 * values["infer_noise.1"], 0.7 * values["infer_noise.0"]]
    assert_close(form(of("nvidia_waveglow_old")).decode(zs, values["mel"]), values["infer_audio"])


@AS_TRAINED_AND_FOLDED
@pytest.mark.parametrize("name", ["squeezewave_a128", "squeezewave_a256"])
@torch.no_grad()
def test_squeezewave_latents_log_det_and_audio(name, form):
    """Audio of its `infer`, which multiplies all noise by sigma but the one that it starts with."""
    model, values = form(of(name)), golden(name).values
    zs, log_det = model.encode(values["audio"], values["mel"])
    assert_close(torch.cat(zs, 1), values["z"])
    assert_close(log_det, values["logdet"])
    noise = [0.7 * values["infer_noise.1"].double(), values["infer_noise.0"].double()]
    assert_close(model.double().decode(noise, values["mel"].double()).float(), values["infer_audio"])


def flowavenet_latents(z: Tensor, n_blocks: int, blocks_per_split: int) -> list[Tensor]:
    """Noise as its code takes it, [B, 1, T], in the order in which latents leave: squeezed, and split behind blocks."""
    zs = []
    for block in range(1, n_blocks + 1):
        z = z.unflatten(2, (-1, 2)).transpose(2, 3).flatten(1, 2)
        if block % blocks_per_split == 0 and block < n_blocks:
            z, leaving = z.chunk(2, dim=1)
            zs.append(leaving)
    return [*zs, z]


@AS_TRAINED_AND_FOLDED
@torch.no_grad()
def test_flowavenet_likelihood_and_audio(form):
    model, (_, values, config) = form(of("flowavenet")), golden("flowavenet")
    log_prob = model.log_prob(values["audio"][:, 0], values["mel"]) / values["audio"].shape[2]
    assert_close(log_prob.mean(), values["log_p"] + values["logdet"])
    zs = flowavenet_latents(values["z_in"], config["n_block"], config["block_per_split"])
    assert_close(model.decode(zs, values["mel"]), values["infer_audio"][:, 0])


@AS_TRAINED_AND_FOLDED
@pytest.mark.parametrize("name", ["waveflow", "waveflow_bipartite"])
@torch.no_grad()
def test_waveflow_latents_log_det_and_audio(name, form):
    model, values = form(of(name)), golden(name).values
    (z,), log_det = model.encode(values["audio"], values["mel"])
    assert_close(z, values["z"][:, 0])
    assert_close(log_det.sum(0, keepdim=True), values["logdet_sum"])
    assert_close(model.decode([values["z_in"][:, 0]], values["mel"]), values["infer_audio"])


@torch.no_grad()
def test_glow_old_read_as_the_later_version_is_another_model():
    """No tensor tells them apart: only who has the file can."""
    values = golden("nvidia_waveglow_old").values
    model = from_state_dict(golden("nvidia_waveglow_old").state)
    audio = model.decode([0.7 * values["infer_noise.1"], 0.7 * values["infer_noise.0"]], values["mel"])
    assert float((audio - values["infer_audio"]).abs().max()) > 0.1


@torch.no_grad()
def test_squeezewave_without_its_batch_norms():
    """As its authors leave it for inference: depthwise and pointwise, the norm folded in."""
    state, values, _ = golden("squeezewave_a128")
    without, shifted = dict(state), dict(state)
    for name in [name for name in state if name.endswith(".0.running_mean")]:
        layer = name.removesuffix(".0.running_mean")
        norm = {kind: without.pop(f"{layer}.0.{kind}") for kind in ("weight", "bias", "running_mean", "running_var")}
        del without[f"{layer}.0.num_batches_tracked"]
        for position in (1, 2):
            for kind in ("weight", "bias"):
                without[f"{layer}.{position - 1}.{kind}"] = without.pop(f"{layer}.{position}.{kind}")
        scale = norm["weight"] * (norm["running_var"] + 1e-5).rsqrt()
        without[f"{layer}.0.weight"] = without[f"{layer}.0.weight"] * scale[:, None, None]
        # So that the folded form is exact, the norms to be compared with shift nothing.
        shifted[f"{layer}.0.bias"] = norm["running_mean"] * scale
    model = from_state_dict(without)
    assert isinstance(model, FlowVocoder)
    zs, _ = model.encode(values["audio"], values["mel"])
    expected, _ = from_state_dict(shifted).encode(values["audio"], values["mel"])
    assert_close(torch.cat(zs, 1), torch.cat(expected, 1))


@pytest.mark.parametrize("name", ["squeezewave_a128", "flowavenet", "waveflow"])
@torch.no_grad()
def test_weights_without_their_norm(name):
    """As `remove_weightnorm` leaves them."""
    state = dict(golden(name).state)
    for key in [key for key in state if key.endswith(".weight_v")]:
        v, gain = state.pop(key), state.pop(f"{key[:-1]}g")
        state[key.removesuffix("_v")] = gain * v / v.flatten(1).norm(dim=1).view(gain.shape)
    model, expected, values = from_state_dict(state, **OPTIONS[name]()), of(name), golden(name).values
    audio = values["audio"].flatten(1)
    assert_close(model.log_prob(audio, values["mel"]), expected.log_prob(audio, values["mel"]))


@torch.no_grad()
def test_dilations_from_row_to_row_are_those_that_are_given():
    values, rows = golden("waveflow").values, rows_of("waveflow")
    model = from_state_dict(golden("waveflow").state, config={**rows, "n_layer_per_cycle": 2})
    same = from_state_dict(golden("waveflow").state, config={**rows, "n_layer_per_cycle": 1})
    z, given = (m.encode(values["audio"], values["mel"])[0][0] for m in (model, same))
    assert_close(given, values["z"][:, 0])
    assert float((z - given).abs().max()) > 1e-3


# ---- NanoFlow, and WaveFlow by its authors: no golden values, a layout made from their code's names ------------------


def random_state(config: dict[str, Any]) -> tuple[FlowVocoder, State]:
    torch.manual_seed(0)
    model = build(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    assert isinstance(model, FlowVocoder)
    return model, own_state(model)


SMALL = {"n_mels": 4, "n_height": 4, "n_flows": 2, "n_layers": 2, "n_channels": 6}
NORM = {
    "bias": "bias",
    "weight_g": "parametrizations.weight.original0",
    "weight_v": "parametrizations.weight.original1",
}


def upsample_of(ours: State) -> State:
    return {
        f"upsample_conv.{2 * i}.{k}": ours[f"conditioner.convs.{i}.{here}"]
        for i in range(2)
        for k, here in NORM.items()
    }


def net_of(ours: State, stack: str, net: str, *, n_layers: int = 2) -> State:
    """A stack of ours under their names; the last layer's residual half, which nothing reads, is of other numbers."""
    theirs = {}
    for kind, here in NORM.items():
        theirs[f"{net}front_conv.0.conv.{kind}"] = ours[f"{stack}start.{here}"]
        for i, part in enumerate(ours[f"{stack}cond.{here}"].chunk(n_layers)):
            theirs[f"{net}res_blocks.{i}.filter_gate_conv_c.{kind}"] = part
            theirs[f"{net}res_blocks.{i}.filter_gate_conv.conv.{kind}"] = ours[f"{stack}dilated.{i}.{here}"]
            both = ours[f"{stack}res_skip.{i}.{here}"]
            unread = [torch.rand_like(both)] if i == n_layers - 1 else []
            theirs[f"{net}res_blocks.{i}.res_skip_conv.{kind}"] = torch.cat([*unread, both])
    return theirs


def last_of(ours: State, place: str, last: str) -> State:
    return {
        f"{last}conv.weight": ours[f"{place}conv.weight"],
        f"{last}conv.bias": ours[f"{place}conv.bias"],
        f"{last}scale": ours[f"{place}log_gain"][None],
    }


def nanoflow() -> tuple[FlowVocoder, State]:
    model, ours = random_state({"name": "nanoflow", **SMALL, "n_embedding": 5})
    first = "flow.levels.0.layers.2.net."
    theirs = {**upsample_of(ours), **net_of(ours, f"{first}stack.", "estimator.net.")}
    for kind, here in NORM.items():
        for i, part in enumerate(ours[f"{first}flavour.indicator.{here}"].chunk(2)):
            theirs[f"estimator.net.res_blocks.{i}.filter_gate_conv_h.{kind}"] = (
                part if kind == "bias" else part[..., None, None]
            )
    nets = [f"flow.levels.0.layers.{layer}.net." for layer in (2, 4)]
    theirs["flow_embedding.weight"] = torch.stack([ours[f"{net}flavour.embedding"] for net in nets])
    for k, net in enumerate(nets):
        theirs[f"flows.{k}.multgate"] = torch.cat([ours[f"{net}flavour.gains"], torch.rand(1, 6)])
        theirs |= last_of(ours, f"{net}end.", f"flows.{k}.proj_log_s_t.")
    return model, theirs


def waveflow_of_nanoflows_authors() -> tuple[FlowVocoder, State]:
    model, ours = random_state({"name": "waveflow", **SMALL, "bipartite": False, "all_rows": True})
    theirs = upsample_of(ours)
    for k, net in enumerate(f"flow.levels.0.layers.{layer}.net." for layer in (2, 4)):
        theirs |= net_of(ours, f"{net}stack.", f"flows.{k}.coupling.net.")
        theirs |= last_of(ours, f"{net}end.", f"flows.{k}.coupling.proj_log_s_t.")
    return model, theirs


@pytest.mark.parametrize(
    ("made", "config"),
    [(nanoflow, {"n_height": 4}), (waveflow_of_nanoflows_authors, {"n_height": 4, "bipartize": False})],
)
@torch.no_grad()
def test_a_model_under_their_names_comes_back(made, config):
    model, theirs = made()
    again = from_state_dict({f"module.{name}": t for name, t in theirs.items()}, config=config)
    audio, mel = torch.randn(2, 256), torch.randn(2, 4, 1)
    (z,), log_det = model.encode(audio, mel)
    (z_again,), log_det_again = again.encode(audio, mel)
    assert torch.equal(z, z_again)
    assert torch.equal(log_det, log_det_again)


@torch.no_grad()
def test_nanoflow_by_the_formulas_of_its_paper():
    """One flow computed with functional operations alone, from its tensors under its authors' names."""
    model, theirs = nanoflow()
    state = {name: t.double() for name, t in theirs.items()}
    audio, mel = torch.randn(1, 256, dtype=torch.float64), torch.randn(1, 4, 1, dtype=torch.float64)

    def weight(layer: str) -> Tensor:
        v, g = state[f"{layer}.weight_v"], state[f"{layer}.weight_g"]
        return g * v / v.flatten(1).norm(dim=1).view(g.shape)

    def conv(layer: str, x: Tensor, **options: Any) -> Tensor:
        return nn.functional.conv2d(x, weight(layer), state[f"{layer}.bias"], **options)

    c = mel[:, None]
    for layer in ("upsample_conv.0", "upsample_conv.2"):
        c = nn.functional.conv_transpose2d(c, weight(layer), state[f"{layer}.bias"], stride=(1, 16), padding=(1, 8))
        c = nn.functional.leaky_relu(c, 0.4)
    c = c[:, 0].view(1, 4, 64, 4).transpose(2, 3)
    x, log_det = audio.view(1, 64, 4).transpose(1, 2)[:, None], torch.zeros(1, dtype=torch.float64)
    for k in range(2):
        x, c = x.flip(2), c.flip(2)
        h = conv("estimator.net.front_conv.0.conv", nn.functional.pad(x, (0, 0, 1, 0))[:, :, :-1])
        e, skips = state["flow_embedding.weight"][k].view(1, 5, 1, 1), 0
        for i in range(2):
            block = f"estimator.net.res_blocks.{i}."
            down, across = 1, 2**i
            a = conv(f"{block}filter_gate_conv.conv", h, padding=(2 * down, across), dilation=(down, across))
            a = a[:, :, : -2 * down] + conv(f"{block}filter_gate_conv_c", c) + conv(f"{block}filter_gate_conv_h", e)
            out = conv(f"{block}res_skip_conv", torch.tanh(a[:, :6]) * torch.sigmoid(a[:, 6:]))
            h = h + out[:, :6] * state[f"flows.{k}.multgate"][i].view(1, 6, 1, 1)
            skips = skips + out[:, 6:]
        last = f"flows.{k}.proj_log_s_t."
        out = nn.functional.conv2d(skips, state[f"{last}conv.weight"], state[f"{last}conv.bias"])
        log_s, t = (out * (3 * state[f"{last}scale"]).exp()).chunk(2, 1)
        x, log_det = x * log_s.exp() + t, log_det + log_s.sum((1, 2, 3))
    (z,), ours = model.double().encode(audio, mel)
    torch.testing.assert_close(z, x[:, 0], rtol=0, atol=1e-12)
    torch.testing.assert_close(ours, log_det, rtol=0, atol=1e-12)


# ---- Files in each repository's own form, from the shell -------------------------------------------------------------


def pickled_module(state: State, module_name: str, class_name: str) -> nn.Module:
    """A module of a class that only the file names, with the state's parameters and buffers."""
    module = ModuleType(module_name)
    layer = type("Layer", (nn.Module,), {"__module__": module_name})
    whole = type(class_name, (nn.Module,), {"__module__": module_name})
    for kind in (layer, whole):
        setattr(module, kind.__name__, kind)
    sys.modules[module_name] = module
    root = whole()
    for name, tensor in state.items():
        *path, last = name.split(".")
        here = root
        for part in path:
            if part not in here._modules:
                here.add_module(part, layer())
            here = here._modules[part]
        if "running" in last or "tracked" in last:
            here.register_buffer(last, tensor)
        else:
            here.register_parameter(last, nn.Parameter(tensor))
    return root


@pytest.fixture
def squeezewave_file(tmp_path):
    root = pickled_module(golden("squeezewave_a128").state, "glow", "SqueezeWave")
    torch.save({"model": root}, tmp_path / "theirs.pt")
    del sys.modules["glow"]
    return tmp_path / "theirs.pt", []


@pytest.fixture
def glow_old_file(tmp_path):
    root = pickled_module(golden("nvidia_waveglow_old").state, "glow_old", "WaveGlow")
    with warnings.catch_warnings():  # of sources that torch can't find
        warnings.simplefilter("ignore")
        torch.save({"model": root}, tmp_path / "theirs.pt", _use_new_zipfile_serialization=False)
    del sys.modules["glow_old"]
    return tmp_path / "theirs.pt", ["--family", "nvidia-waveglow-old"]


@pytest.fixture
def deep_learning_examples_file(tmp_path):
    state = golden("nvidia_waveglow_layout_b").state
    content = {
        "epoch": 1000,
        "cuda_rng_state_all": torch.zeros(1, 8, dtype=torch.uint8),
        "random_rng_states_all": torch.zeros(8, dtype=torch.uint8),
        "config": {"n_mel_channels": 8, "WN_config": {"n_layers": 8}},
        "state_dict": state,
        "optimizer": {"state": {0: {"step": 7, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4}]},
        "scaler": {},
    }
    torch.save(content, tmp_path / "theirs.pt")
    return tmp_path / "theirs.pt", []


@pytest.fixture
def flowavenet_file(tmp_path):
    state = {f"module.{name}": t for name, t in golden("flowavenet").state.items()}
    content = {"state_dict": state, "optimizer": {"state": {}}, "scheduler": {}, "global_step": 9, "global_epoch": 1}
    torch.save(content, tmp_path / "theirs.pth")
    return tmp_path / "theirs.pth", ["--mel", "nvidia/tacotron2"]


def waveflow_file(name: str) -> Callable[[Path], tuple[Path, list[str]]]:
    @pytest.fixture
    def made(tmp_path):
        content = {"model": golden(name).state, "iteration": 5, "optimizer": {}, "scheduler": {}, "learning_rate": 2e-4}
        torch.save(content, tmp_path / "theirs")
        rows = golden(name).config
        flags = ["--set", f"n_height={rows['n_height']}", "--set", f"bipartize={str(rows['bipartize']).lower()}"]
        return tmp_path / "theirs", flags

    return made


waveflow_plain_file, waveflow_bipartite_file = waveflow_file("waveflow"), waveflow_file("waveflow_bipartite")


@pytest.fixture
def nanoflow_file(tmp_path):
    torch.save({"model": nanoflow()[1], "iteration": 5, "optimizer": {}}, tmp_path / "theirs")
    return tmp_path / "theirs", ["--set", "n_height=4"]


@pytest.mark.parametrize(
    "made",
    [
        "squeezewave_file",
        "glow_old_file",
        "deep_learning_examples_file",
        "flowavenet_file",
        "waveflow_plain_file",
        "waveflow_bipartite_file",
        "nanoflow_file",
    ],
)
def test_convert_and_synth(made, request, tmp_path, capsys):
    file, options = request.getfixturevalue(made)
    n_mels = 4 if made in ("flowavenet_file", "nanoflow_file") else 8
    flags = [*options, "--mel-set", f"n_mels={n_mels}"]
    assert main(["convert", str(file), str(tmp_path / "ours"), *flags]) == 0, capsys.readouterr().err
    spec = checkpoint.load_vocoder(tmp_path / "ours").mel_spec
    assert spec is not None
    assert (spec.n_mels, spec.hop) == (n_mels, 256)
    torch.save(-5 + torch.randn(n_mels, 12), tmp_path / "mel.pt")
    assert main(["synth", "-c", str(tmp_path / "ours"), str(tmp_path / "mel.pt"), str(tmp_path / "out.wav")]) == 0
    assert (tmp_path / "out.wav").stat().st_size == 44 + 2 * 12 * 256


def test_mels_that_are_named_must_fit(squeezewave_file, tmp_path, capsys):
    file, _ = squeezewave_file
    assert main(["convert", str(file), str(tmp_path / "ours"), "--mel", "hifigan"]) == 2
    assert "has 8 mels and hop 256, hifigan 80 and 256; --mel-set n_mels=8" in capsys.readouterr().err
    assert not (tmp_path / "ours").exists()


# ---- What can't be converted -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "parts"),
    [
        ("waveflow", {}, ["tells n_height or bipartize", "{'n_height': 16, 'bipartize': False}"]),
        ("waveflow", {"config": {"n_height": 8}}, ["tells bipartize", "{'bipartize': False}"]),
        ("waveflow", {"config": {"n_height": 8, "bipartize": 1}}, ["bipartize is 1; it must be true or false"]),
        ("waveflow", {"config": {"n_height": "8", "bipartize": True}}, ["n_height is '8'", "whole number"]),
        ("waveflow", {"config": {"n_height": True, "bipartize": True}}, ["n_height is True", "whole number"]),
        ("waveflow", {"config": {"n_height": 7, "bipartize": True}}, ["hop is 256", "n_height is 7"]),
        ("waveflow", {"config": {"n_hight": 8}}, ["n_hight", "did you mean 'n_height'?"]),
        ("flowavenet", {"family": "waveflow", "config": {"n_height": 8, "bipartize": True}}, ["lacks", "family?"]),
        ("squeezewave_a128", {"family": "flowavenet"}, ["lacks", "family?"]),
        ("squeezewave_a128", {"family": "nvidia-waveglow"}, ["WN.0.in_layers.0.0.bias", "family?"]),
        ("squeezewave_a256", {"config": {"hop": 200}}, ["hop is 200", "n_group is 256"]),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(name, options, parts):
    refused(golden(name).state, options, parts)


@pytest.mark.parametrize("name", [*OPTIONS, "nanoflow"])
def test_a_missing_or_extra_tensor_is_named(name):
    state, options = (
        (nanoflow()[1], {"config": {"n_height": 4}}) if name == "nanoflow" else (golden(name).state, OPTIONS[name]())
    )
    for missing in [key for key in state if "tracked" not in key][:: max(1, len(state) // 25)]:
        refused({key: t for key, t in state.items() if key != missing}, options, [], family=name)
    refused({**state, "speaker.weight": torch.zeros(2, 2)}, options, ["'speaker.weight'", "hasn't"])


FAMILY_OF = {"nvidia_waveglow_old": "nvidia-waveglow-old", "waveflow_bipartite": "waveflow"}


def refused(state: State, options: dict[str, Any], parts: list[str], *, family: str | None = None) -> None:
    """The message has these parts, and is one line."""
    if family:
        options = {**options, "family": FAMILY_OF.get(family, family.partition("_")[0])}
    with pytest.raises((CheckpointError, ConfigError)) as error:
        convert(state, **options)
    for part in parts:
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_a_scale_that_our_actnorm_has_not():
    state = dict(golden("flowavenet").state)
    state["blocks.1.flows.0.actnorm.scale"] = -state["blocks.1.flows.0.actnorm.scale"]
    refused(state, {}, ["blocks.1.flows.0.actnorm.scale", "<= 0"])
