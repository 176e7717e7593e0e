"""NVIDIA/waveglow and SqueezeWave, which is built like it, as tensors of ours: names and layouts only.

NVIDIA/waveglow saved its WN in three layouts: A (November 2018) with `res_layers`, `skip_layers` and `cond_layers.i`
for each layer, B (to August 2019; also DeepLearningExamples and torch.hub) with fused `res_skip_layers`, C with one
fused `cond_layer` too. Weight norm has one gain an output channel, so that fusing layers is concatenation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from waveglow.config import ConfigError
from waveglow.flows.permute import InvertibleConv
from waveglow.models.published.parts import (
    OURS,
    ArgumentError,
    Converted,
    Part,
    State,
    gain_and_direction,
    in_two_dimensions,
    inputs_of,
    log_s_first,
    nets_of,
    normed,
    renamed,
    settled,
)
from waveglow.models.registry import Model, build, resolved
from waveglow.models.weights import own_state
from waveglow.models.whole_directory import CheckpointError
from waveglow.nn.separable import BATCH_NORM_EPS

# ---- NVIDIA/waveglow: WaveGlow(n_mel_channels, n_flows, n_group, n_early_every, n_early_size, WN_config) -------------


def nvidia_waveglow(state: State, config: Mapping[str, Any]) -> Converted:
    """Of `glow.py`, in any layout."""
    _require_known(state)
    state = _layout_c(state)
    model_config = _waveglow_config(state, config)
    with torch.device("meta"):
        model = build(model_config)
    return model_config, _renamed(state, model)


def nvidia_waveglow_old(state: State, config: Mapping[str, Any]) -> Converted:
    """Of `glow_old.py`, whose couplings move the first half of the channels in every other flow; same names."""
    model_config, ours = nvidia_waveglow(state, config)
    return {**model_config, "alternating": True}, ours


def _require_known(state: State) -> None:
    """Names of any layout, vectors and kernels: what follows can rely on that."""
    layers = r"WN\.\d+\.(start|end|cond_layer|(in|res|skip|res_skip|cond)_layers\.\d+)\.(weight|weight_g|weight_v|bias)"
    known = re.compile(rf"upsample\.(weight|bias)|convinv\.\d+\.conv\.weight|{layers}")
    for name, tensor in state.items():
        if not known.fullmatch(name):
            raise CheckpointError(f"the checkpoint has {name!r}, which NVIDIA's WaveGlow hasn't; is it of this family?")
        rank = 1 if name.endswith(".bias") else 3
        if tensor.dim() != rank:
            raise CheckpointError(
                f"{name} has shape {list(tensor.shape)}, NVIDIA's has {rank} dimensions; is it whole?"
            )


def _layout_c(state: State) -> State:
    """Layouts A and B fused into C; a weight without its norm becomes a pair."""
    result = dict(state)
    flows = sorted({int(name.split(".")[1]) for name in state if name.startswith("WN.")})
    for k in flows:
        n_layers = Part(state).count(f"WN.{k}.in_layers.")
        for i in range(n_layers):
            _fuse(result, [f"WN.{k}.res_layers.{i}", f"WN.{k}.skip_layers.{i}"], f"WN.{k}.res_skip_layers.{i}")
        _fuse(result, [f"WN.{k}.cond_layers.{i}" for i in range(n_layers)], f"WN.{k}.cond_layer")
    for name in [n for n in result if n.startswith("WN.") and n.endswith(".weight") and ".end." not in n]:
        weight = result.pop(name)
        result |= renamed(name.removesuffix("weight"), gain_and_direction(weight))
    return result


def _fuse(state: State, parts: Iterable[str], whole: str) -> None:
    for kind in ("weight_g", "weight_v", "weight", "bias"):
        tensors = [state.pop(f"{part}.{kind}") for part in parts if f"{part}.{kind}" in state]
        if len({tensor.shape[1:] for tensor in tensors}) > 1:
            raise CheckpointError(f"the {kind} of {whole} and its like have different shapes; is the checkpoint whole?")
        if tensors:
            state[f"{whole}.{kind}"] = torch.cat(tensors)


def _waveglow_config(state: State, given: Mapping[str, Any]) -> dict[str, Any]:
    """Our builder's numbers, which the shapes tell, all but the hop."""
    n_flows = max(1, Part(state).count("convinv."), Part(state).count("WN."))
    try:
        wn = {
            "n_layers": Part(state).count("WN.0.in_layers."),
            "n_channels": state["WN.0.start.bias"].numel(),
            "kernel_size": state["WN.0.in_layers.0.weight_v"].shape[-1],
        }
        sizes = [state[f"convinv.{k}.conv.weight"].shape[0] for k in range(n_flows)]
        n_mels, _, kernel = state["upsample.weight"].shape
    except KeyError as error:
        raise CheckpointError(f"the checkpoint lacks {error}, which NVIDIA's WaveGlow has") from error
    told = {"n_mel_channels": n_mels, "n_flows": n_flows, "n_group": sizes[0], "WN_config": wn}
    early = _early(sizes)
    chosen = settled(given, "NVIDIA's WaveGlow", told=told, defaults={**early, "hop": kernel // 4})
    if early.keys() & given.keys():
        _require_early(chosen, sizes)
    return {
        "name": "waveglow",
        "n_mels": n_mels,
        "hop": chosen["hop"],
        "upsample_kernel": kernel,
        "n_flows": n_flows,
        "n_group": sizes[0],
        **{key: chosen[key] for key in early},
        **wn,
        "actnorm": False,
    }


def _early(sizes: list[int]) -> dict[str, int]:
    """When how many channels leave, from the channels of each flow; without early outputs, none ever comes."""
    for k in range(1, len(sizes)):
        if sizes[k] < sizes[k - 1]:
            return {"n_early_every": k, "n_early_size": sizes[k - 1] - sizes[k]}
    return {"n_early_every": len(sizes), "n_early_size": 1}


def _require_early(chosen: Mapping[str, Any], sizes: list[int]) -> None:
    """Raises ArgumentError where early outputs as they are given would leave other channels."""
    every, size = chosen["n_early_every"], chosen["n_early_size"]
    expected = [sizes[0] - k // every * size for k in range(len(sizes))]
    if expected != sizes:
        raise ArgumentError(
            f"n_early_every is {every} and n_early_size is {size}, by which flows have {expected} channels; in the "
            f"tensors they have {sizes}: correct them, or leave them out"
        )


def _renamed(state: State, model: Model) -> State:
    names = {**_layers(model), **{f"convinv.{k}.conv": name for k, name in enumerate(_mixes(model))}}
    result = {}
    for name, tensor in state.items():
        module, kind = name.rsplit(".", 1)
        base = re.sub(r"(?<=_layers)\.\d+$", "", module)
        if base not in names or kind not in KINDS:
            raise CheckpointError(f"the checkpoint has {name!r}, which NVIDIA's WaveGlow hasn't; is it of this family?")
        result[f"{names[base]}{module.removeprefix(base)}.{KINDS[kind]}"] = _reshaped(name, tensor)
    return result


def _mixes(model: Model) -> dict[str, InvertibleConv]:
    return {name: module for name, module in model.named_modules() if isinstance(module, InvertibleConv)}


def _layers(model: Model) -> dict[str, str]:
    """NVIDIA's names of layers, or of lists of them, to ours; all but the 1×1 convolutions."""
    nets = enumerate(nets_of(model))
    inner = {f"WN.{k}.{old}": f"{net}{new}" for k, net in nets for old, new in WN_NAMES.items()}
    return {"upsample": "conditioner.conv", **inner}


WN_NAMES = {
    "start": "start",
    "end": "end",
    "cond_layer": "cond",
    "in_layers": "dilated",
    "res_skip_layers": "res_skip",
}
KINDS = {"weight": "weight", "bias": "bias", **OURS}


def _reshaped(name: str, tensor: Tensor) -> Tensor:
    """NVIDIA's tensor in our shape: matrices of 1×1 convolutions, 2-D kernels, and (log_s, t) for its (b, log_s)."""
    if name.startswith("convinv."):
        return tensor.squeeze(-1)
    if ".end." in name:
        tensor = log_s_first(tensor)
    return tensor.unsqueeze(2) if tensor.dim() == 3 and name.startswith("WN.") else tensor


def nvidia_state(model: Model, config: Mapping[str, Any]) -> tuple[State, dict[str, Any]]:
    """A WaveGlow's tensors in NVIDIA's layout C, and their constructor's arguments: what `nvidia_waveglow` reads.

    Raises ConfigError for a model that their code can't build.
    """
    config = resolved(config)
    if config["name"].partition("-")[0] != "waveglow":
        raise ConfigError(f"the model is {config['name']}; NVIDIA's layout holds WaveGlow alone")
    config["upsample_kernel"] = config["upsample_kernel"] or 4 * config["hop"]
    for key, only in NVIDIAS_OWN.items():
        if config[key] != only:
            raise ConfigError(f"model.{key} is {config[key]}; NVIDIA's code builds WaveGlow with {only} alone")
    theirs = {f"convinv.{k}.conv.weight": mix.matrix().unsqueeze(-1) for k, mix in enumerate(_mixes(model).values())}
    kinds = {here: kind for kind, here in KINDS.items()}
    for name, tensor in own_state(model).items():
        for place, here in _layers(model).items():
            if name.startswith(f"{here}."):
                number, kind = re.fullmatch(r"(\d+\.)?(.*)", name.removeprefix(f"{here}.")).groups("")  # type: ignore[union-attr]
                tensor = log_s_first(tensor) if place.endswith(".end") else tensor
                theirs[f"{place}.{number}{kinds[kind]}"] = tensor.squeeze(2) if tensor.dim() == 4 else tensor
    wn = {key: config[key] for key in ("n_layers", "n_channels", "kernel_size")}
    numbers = {key: config[key] for key in ("n_flows", "n_group", "n_early_every", "n_early_size")}
    return {name: t.detach().contiguous() for name, t in theirs.items()}, {
        "n_mel_channels": config["n_mels"],
        **numbers,
        "WN_config": wn,
    }


NVIDIAS_OWN = {"hop": 256, "upsample_kernel": 1024, "actnorm": False, "alternating": False}


# ---- SqueezeWave: WaveGlow(n_mel_channels, n_flows, n_audio_channel, n_early_every, n_early_size, WN_config) ---------


def squeezewave(state: State, config: Mapping[str, Any]) -> Converted:
    """With its batch norms as they were trained, or without them where they were folded into what follows."""
    whole = Part(state)
    n_flows, n_layers = whole.count("convinv."), whole.count("WN.0.in_layers.")
    sizes = [len(whole[f"convinv.{k}.conv.weight"]) for k in range(n_flows)]
    n_mels, n_channels = inputs_of(whole, "WN.0.cond_layer"), whole["WN.0.start.bias"].numel()
    depthwise = "WN.0.in_layers.0.1" if "WN.0.in_layers.0.2.weight" in whole else "WN.0.in_layers.0.0"  # behind a norm
    kernel_size = whole[f"{depthwise}.weight"].shape[-1]
    wn = {"n_layers": n_layers, "n_channels": n_channels, "kernel_size": kernel_size}
    told = {"n_mel_channels": n_mels, "n_flows": n_flows, "n_audio_channel": sizes[0], "WN_config": wn}
    early = _early(sizes)
    chosen = settled(config, "SqueezeWave", told=told, defaults={**early, "hop": 256})
    if early.keys() & config.keys():
        _require_early(chosen, sizes)
    model_config = {
        "name": "squeezewave",
        "n_mels": n_mels,
        "hop": chosen["hop"],
        "n_group": sizes[0],
        "n_flows": n_flows,
        **{key: chosen[key] for key in early},
        "n_layers": n_layers,
        "n_channels": n_channels,
    }
    with torch.device("meta"):
        model = build(model_config)
    ours: State = {}
    for k, (mix, net) in enumerate(zip(_mixes(model), nets_of(model), strict=True)):
        ours[f"{mix}.weight"] = whole[f"convinv.{k}.conv.weight"].flatten(1)
        ours |= renamed(net, _separable_net(Part(whole, f"WN.{k}."), n_layers))
    whole.require_all_read("SqueezeWave")
    return model_config, ours


def _separable_net(net: Part, n_layers: int) -> State:
    layers = {
        "start.": normed(net, "start"),
        "cond.": normed(net, "cond_layer"),
        "end.": {kind: log_s_first(net[f"end.{kind}"]) for kind in ("weight", "bias")},
    }
    norms: State = {}
    for i in range(n_layers):
        inner = Part(net, f"in_layers.{i}.")
        with_norm = "2.weight" in inner
        depthwise, pointwise = ("1", "2") if with_norm else ("0", "1")
        layers[f"separable.{i}.depthwise."] = {kind: inner[f"{depthwise}.{kind}"] for kind in ("weight", "bias")}
        layers[f"separable.{i}.pointwise."] = {kind: inner[f"{pointwise}.{kind}"] for kind in ("weight", "bias")}
        layers[f"residual.{i}."] = normed(net, f"res_skip_layers.{i}")
        norms |= renamed(f"separable.{i}.norm.", _batch_norm(inner) if with_norm else _no_batch_norm(inner))
    ours = {name: t for place, layer in layers.items() for name, t in renamed(place, in_two_dimensions(layer)).items()}
    return {**ours, **norms}


def _batch_norm(inner: Part) -> State:
    norm = {kind: inner[f"0.{kind}"] for kind in ("weight", "bias", "running_mean", "running_var")}
    tracked = inner["0.num_batches_tracked"] if "0.num_batches_tracked" in inner else torch.tensor(0)
    return {**norm, "num_batches_tracked": tracked.long()}


def _no_batch_norm(inner: Part) -> State:
    """One that changes nothing."""
    zeros = torch.zeros(len(inner["0.bias"]))
    var = torch.full_like(zeros, 1 - BATCH_NORM_EPS)
    norm = {"weight": torch.ones_like(zeros), "bias": zeros, "running_mean": zeros.clone(), "running_var": var}
    return {**norm, "num_batches_tracked": torch.tensor(0)}
