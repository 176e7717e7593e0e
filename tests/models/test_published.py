"""NVIDIA/waveglow: its weights in every layout it published give its own latents, likelihood and audio.

The golden values are those of NVIDIA/waveglow 8afb643 `glow.py` with random weights (1×1 convolutions neither
orthogonal nor of determinant 1, weight-norm gains and biases perturbed). Values are compared to 1e-5, absolutely below
1 and relatively above.
"""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from waveglow.cli.main import main
from waveglow.config import ConfigError
from waveglow.export.fold import folded
from waveglow.models import checkpoint
from waveglow.models.checkpoint import CheckpointError
from waveglow.models.flow_vocoder import FlowVocoder
from waveglow.models.published import convert, from_state_dict
from waveglow.models.published.waveglow import nvidia_state
from waveglow.models.registry import build

GOLDEN = Path(__file__).parents[1] / "golden"
State = dict[str, torch.Tensor]


@lru_cache
def golden(layout: str = "c") -> State:
    return load_file(GOLDEN / f"nvidia_waveglow_layout_{layout}.safetensors")


def published_state(layout: str = "c") -> State:
    prefix = "state."
    return {name.removeprefix(prefix): t for name, t in golden(layout).items() if name.startswith(prefix)}


def metadata() -> dict[str, str]:
    with safe_open(GOLDEN / "nvidia_waveglow_layout_c.safetensors", "pt") as file:
        return file.metadata()


def assert_close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


@torch.no_grad()
def assert_parity(model: FlowVocoder, tolerance: float = 1e-5) -> None:
    """Latents, loss and audio of the golden file."""
    file = golden()
    zs, _ = model.encode(file["audio"], file["mel"])
    assert_close(torch.cat(zs, 1), file["z"], tolerance)
    assert_close(nvidia_loss(model), file["loss"], tolerance)
    sigma = float(metadata()["sigma"])
    drawn = [file[f"infer_noise.{i}"] for i in (2, 1, 0)]  # the file has drawing order, which is leaving order reversed
    assert_close(model.decode([sigma * z for z in drawn], file["mel"]), file["infer_audio"], tolerance)


def nvidia_loss(model: FlowVocoder) -> torch.Tensor:
    """What NVIDIA's training prints: −log p per sample, without ½ log 2π, averaged over the batch."""
    file = golden()
    log_prob = model.log_prob(file["audio"], file["mel"])
    return (-log_prob / file["audio"].shape[1] - 0.5 * math.log(2 * math.pi)).mean()


@pytest.fixture(scope="module")
def model() -> FlowVocoder:
    return from_state_dict(published_state())


# ---- Parity ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fold", [False, True], ids=["as trained", "folded"])
def test_latents_loss_and_audio(model, fold):
    assert_parity(folded(model) if fold else model)


@pytest.mark.parametrize("fold", [False, True], ids=["as trained", "folded"])
@torch.no_grad()
def test_log_det_of_each_clip(model, fold):
    """The golden log_det[b] is log_det of the couplings of clip b, plus the 1×1 convolutions' part in NVIDIA's own
    count, which is that of the whole batch, B · T' · log|det W_k|, for all flows but the first. So the file has
    (B − 1) · T' · Σ_{k ≥ 1} log|det W_k| too much for one clip; the parity of the loss proves that ours has not.
    """
    file, state = golden(), published_state()
    _, log_det = (folded(model) if fold else model).encode(file["audio"], file["mel"])
    clips, groups = file["z"].shape[0], file["z"].shape[2]
    counted_again = sum(
        torch.linalg.det(state[f"convinv.{k}.conv.weight"][..., 0].double()).log() for k in range(1, 12)
    )
    assert abs(counted_again) > 1  # the relation says something
    assert_close(log_det + (clips - 1) * groups * counted_again.float(), file["logdet"])


def test_audio_comes_back_from_its_latents(model):
    file = golden()
    with torch.no_grad():
        zs, _ = model.encode(file["audio"], file["mel"])
        assert_close(model.decode(zs, file["mel"]), file["audio"])


def test_waveglow_256_is_nvidias_size():
    with torch.device("meta"):
        model = build({"name": "waveglow-256"})
    assert sum(p.numel() for p in model.parameters()) == 87_879_272


# ---- Layouts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["a", "b"])
def test_older_layouts(layout):
    state = published_state(layout)
    assert all(name.startswith("module.") for name in state) == (layout == "b")
    assert_parity(from_state_dict(state))


@pytest.mark.parametrize("prefix", ["module.", "module.1.", "module.module."])
def test_prefixes_of_wrappers(prefix):
    assert_parity(from_state_dict({prefix + name: t for name, t in published_state().items()}))


def test_new_names_of_weight_norm():
    new = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    state = {}
    for name, tensor in published_state().items():
        module, kind = name.rsplit(".", 1)
        state[f"{module}.{new.get(kind, kind)}"] = tensor
    assert any("parametrizations" in name for name in state)
    assert_parity(from_state_dict(state))


def test_half_precision():
    half = {name: tensor.half() for name, tensor in published_state().items()}
    model = from_state_dict(half)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert_parity(model, 0.03)  # what rounding the weights to 11 bits costs
    rounded = from_state_dict({name: tensor.float() for name, tensor in half.items()})
    for mine, other in zip(model.parameters(), rounded.parameters(), strict=True):
        assert torch.equal(mine, other)


def without_weight_norm(layout: str) -> State:
    state = published_state(layout)
    for name in [name for name in state if name.endswith(".weight_v")]:
        v, module = state.pop(name).double(), name.removesuffix(".weight_v")
        gain = state.pop(f"{module}.weight_g").double()
        state[f"{module}.weight"] = (gain * v / v.flatten(1).norm(dim=1).view(-1, 1, 1)).float()
    return state


@pytest.mark.parametrize("layout", ["a", "b", "c"])
def test_weights_without_their_norm(layout):
    state = without_weight_norm(layout)
    assert not any(name.endswith(("_g", "_v")) for name in state)
    assert_parity(from_state_dict(state))


def test_a_channel_of_zeros_without_its_norm_stays_zero():
    state = without_weight_norm("c")
    state["WN.3.res_skip_layers.0.weight"][2] = 0
    model = from_state_dict(state)
    with torch.no_grad():
        assert torch.isfinite(model.log_prob(golden()["audio"], golden()["mel"])).all()


# ---- Configuration ---------------------------------------------------------------------------------------------------


def test_the_constructors_arguments_are_told_from_the_shapes():
    theirs = json.loads(metadata()["config"])
    expected = {
        "name": "waveglow",
        "n_mels": theirs["n_mel_channels"],
        "hop": 256,
        "upsample_kernel": 1024,
        **{key: theirs[key] for key in ("n_flows", "n_group", "n_early_every", "n_early_size")},
        **theirs["WN_config"],
        "actnorm": False,
    }
    assert convert(published_state())[1] == expected
    assert convert(published_state(), family="nvidia-waveglow", config=theirs)[1] == expected


def test_the_configuration_builds_the_model(model):
    again = build(convert(published_state())[1])
    again.load_state_dict(model.state_dict())
    assert_parity(again)


def test_a_model_without_early_outputs():
    """Three flows of 8 channels: no size shrinks, so nothing tells when an early output would come, and none does."""
    state = {
        name: tensor
        for name, tensor in published_state().items()
        if name.startswith("upsample") or int(name.split(".")[1]) < 3
    }
    model, config = convert(state)
    assert config["n_flows"] == 3
    with torch.no_grad():
        zs, _ = model.encode(golden()["audio"], golden()["mel"])
        assert [tuple(z.shape) for z in zs] == [(2, 8, 256)]


# ---- What can't be converted -----------------------------------------------------------------------------------------


def refused(state: State, *parts: str, **options) -> None:
    """The message has these parts, and is one line."""
    with pytest.raises((CheckpointError, ConfigError)) as error:
        from_state_dict(state, **options)
    for part in parts:
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_family_names_the_nearest():
    refused(
        published_state(), "'nvidia-waveglo' is unknown", "did you mean 'nvidia-waveglow'?", family="nvidia-waveglo"
    )


@pytest.mark.parametrize("state", [{}, {"encoder.weight": torch.zeros(2, 2)}], ids=["nothing", "another model"])
def test_a_family_that_cannot_be_told(state):
    refused(state, "family can't be told", "name it", *state)


@pytest.mark.parametrize(
    "name",
    [
        "upsample.weight",
        "upsample.bias",
        "convinv.0.conv.weight",
        "convinv.11.conv.weight",
        "WN.0.start.bias",
        "WN.0.start.weight_g",
        "WN.0.in_layers.0.weight_v",
        "WN.5.cond_layer.weight_v",
        "WN.5.res_skip_layers.1.bias",
        "WN.7.end.weight",
    ],
)
def test_a_missing_tensor(name):
    state = published_state()
    del state[name]
    refused(state, "lacks", family="nvidia-waveglow")


@pytest.mark.parametrize("prefix", ["convinv.", "WN.", "upsample."])
def test_a_missing_part(prefix):
    state = {name: t for name, t in published_state().items() if not name.startswith(prefix)}
    refused(state, "lacks", prefix, family="nvidia-waveglow")


@pytest.mark.parametrize(
    "name", ["WN.0.start.running_mean", "speaker.weight", "step", "WN.x.start.bias", "WN", "WN.0.in_layers.9.bias"]
)
def test_an_extra_tensor_is_named(name):
    refused({**published_state(), name: torch.zeros(4, 4, 1)}, name)


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        ({"n_flow": 12}, ["n_flow is no argument", "did you mean 'n_flows'?"]),
        ({"WN_config": {"n_chanels": 16}}, ["n_chanels", "did you mean 'n_channels'?"]),
        ({"WN_config": 3}, ["WN_config is 3", "mapping"]),
        ({"n_flows": "twelve"}, ["n_flows is 'twelve'", "12 in the tensors"]),
        ({"n_early_every": 0}, ["n_early_every is 0", "at least 1"]),
        ({"hop": 250}, ["250", "8", "multiple"]),
    ],
)
def test_arguments_that_are_none(config, parts):
    refused(published_state(), *parts, config=config)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("WN.2.start.weight_v", (16, 5, 1)),
        ("WN.2.end.bias", (3,)),
        ("convinv.4.conv.weight", (6, 5, 1)),
        ("convinv.4.conv.weight", ()),
        ("convinv.0.conv.weight", ()),
        ("upsample.weight", (8, 8)),
        ("upsample.bias", (9,)),
        ("WN.0.in_layers.0.weight_v", ()),
    ],
)
def test_shapes_that_do_not_fit(name, shape):
    refused({**published_state(), name: torch.zeros(shape)}, "has shape", *map(str, shape[:2]))


def test_layers_to_be_fused_must_be_of_one_shape():
    state = published_state("a")
    state["WN.1.cond_layers.2.weight_v"] = torch.zeros(32, 63, 1)
    refused(state, "weight_v of WN.1.cond_layer", "different shapes")


# ---- And back --------------------------------------------------------------------------------------------------------


def test_the_layout_that_goes_out_is_the_one_that_came_in(model):
    state, config = nvidia_state(model, convert(published_state())[1])
    published = published_state()
    assert state.keys() == published.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in published.items())
    assert config == json.loads(metadata()["config"])


@torch.no_grad()
def test_matrices_by_lu_go_out_whole():
    config = {"name": "waveglow", "n_mels": 8, "n_channels": 8, "n_layers": 2, "lu": True, "actnorm": False}
    model = build(config).eval()
    state, theirs = nvidia_state(model, config)
    again = from_state_dict(state, config=theirs)
    audio, mel = torch.randn(2, 512), torch.randn(2, 8, 2)
    assert_close(again.log_prob(audio, mel), model.log_prob(audio, mel))


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ({"name": "waveglow"}, "model.actnorm is True"),
        ({"name": "waveglow-old"}, "model.alternating is True"),
        ({"name": "waveglow-64", "hop": 200}, "model.hop is 200; NVIDIA's code builds WaveGlow with 256 alone"),
        ({"name": "waveglow-64", "upsample_kernel": 800}, "model.upsample_kernel is 800"),
        ({"name": "lapglow"}, "the model is lapglow"),
    ],
)
def test_what_nvidias_code_cannot_build(config, part):
    with torch.device("meta"), pytest.raises(ConfigError, match=part):
        nvidia_state(build(config), config)


@pytest.mark.parametrize("name", ["out.pt", "out.safetensors"])
def test_from_the_shell_and_back(model, name, tmp_path, capsys):
    checkpoint.save(tmp_path / "ours", model, convert(published_state())[1])
    assert main(["export", "nvidia", str(tmp_path / "ours"), str(tmp_path / name)]) == 0
    assert main(["convert", str(tmp_path / name), str(tmp_path / "again")]) == 0, capsys.readouterr().err
    assert_parity(checkpoint.load_vocoder(tmp_path / "again").model)
    if name.endswith(".pt"):
        content = torch.load(tmp_path / name, weights_only=True)
        assert content["config"] == json.loads(metadata()["config"])


def test_an_output_of_another_suffix_is_refused(model, tmp_path, capsys):
    checkpoint.save(tmp_path / "ours", model, convert(published_state())[1])
    assert main(["export", "nvidia", str(tmp_path / "ours"), str(tmp_path / "out.bin")]) == 2
    assert "must end in .pt or .safetensors" in capsys.readouterr().err
