"""FloWaveNet, WaveFlow and NanoFlow as tensors of ours: names and layouts only.

ksw0306/FloWaveNet (44061ca), L0SG/WaveFlow (f3a2418) and L0SG/NanoFlow (4995ecd) share the layers of their nets.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from waveglow.config import ConfigError
from waveglow.flows.actnorm import ActNorm
from waveglow.models.published.parts import (
    Converted,
    Part,
    State,
    in_two_dimensions,
    inputs_of,
    last_outputs,
    log_s_first,
    nets_of,
    normed,
    renamed,
    require_keys,
    whole_number,
)
from waveglow.models.registry import build

# ---- ksw0306/FloWaveNet: Flowavenet(in_channel, cin_channel, n_block, n_flow, n_layer, affine, block_per_split) ------


def flowavenet(state: State, config: Mapping[str, Any]) -> Converted:
    """Behind a split, latents follow a learned prior: what its authors call mean and log_sd is a coupling of ours."""
    require_keys(config, ())
    whole = Part(state)
    n_blocks, n_flows = whole.count("blocks."), whole.count("blocks.0.flows.")
    splits = [b for b in range(n_blocks) if any(name.startswith(f"blocks.{b}.prior.") for name in whole)]
    first = Part(whole, "blocks.0.flows.0.coupling.net.")
    model_config = {
        "name": "flowavenet",
        "n_mels": inputs_of(first, "res_blocks.0.filter_conv_c"),
        "hop": _hop(whole),
        "n_blocks": n_blocks,
        "n_flows": n_flows,
        "n_layers": first.count("res_blocks."),
        "n_channels": first["front_conv.0.conv.bias"].numel(),
        "blocks_per_split": splits[0] + 1 if splits else n_blocks,
    }
    model = _unfilled(model_config)
    flows: list[str] = []
    nets: list[str] = []
    for b in range(n_blocks):
        here = [f"blocks.{b}.flows.{k}." for k in range(n_flows)]
        flows += here
        nets += [*(f"{flow}coupling.net." for flow in here), *([f"blocks.{b}.prior."] if b in splits else [])]
    ours = _smooth_upsample(whole)
    for norm, theirs in zip(_actnorms(model), flows, strict=True):
        ours |= renamed(norm, _actnorm(Part(whole, f"{theirs}actnorm.")))
    for net, theirs in zip(nets_of(model), nets, strict=True):
        tensors = _deep_ended(Part(whole, theirs))
        ours |= renamed(net, _log_s_first_at_the_end(tensors) if theirs.endswith("prior.") else tensors)
    whole.require_all_read("FloWaveNet")
    return model_config, ours


def _actnorms(model: nn.Module) -> list[str]:
    return [f"{name}." for name, module in model.named_modules() if isinstance(module, ActNorm)]


def _log_s_first_at_the_end(net: State) -> State:
    return {name: log_s_first(t) if name.startswith("end.3.") else t for name, t in net.items()}


def _actnorm(part: Part) -> State:
    scale = part["scale"].flatten()
    if (scale <= 0).any():
        raise ConfigError(f"{part.prefix}scale has values <= 0, by which our ActNorm can't multiply")
    return {"bias": part["loc"].flatten(), "log_scale": scale.log(), "initialized": torch.tensor(True)}


def _deep_ended(net: Part) -> State:
    """A net of FloWaveNet's as our deep_ended_wavenet."""
    blocks = [f"res_blocks.{i}." for i in range(net.count("res_blocks."))]
    layers = {
        "start.0.": normed(net, "front_conv.0.conv"),
        "cond.": normed(net, *(f"{block}{kind}_conv_c" for block in blocks for kind in ("filter", "gate"))),
        "end.1.": normed(net, "final_conv.1.conv"),
        "end.3.conv.": {kind: net[f"final_conv.3.conv.{kind}"] for kind in ("weight", "bias")},
    }
    for i, block in enumerate(blocks):
        layers[f"dilated.{i}."] = normed(net, f"{block}filter_conv.conv", f"{block}gate_conv.conv")
        both = normed(net, f"{block}res_conv", f"{block}skip_conv")
        layers[f"res_skip.{i}."] = both if i < len(blocks) - 1 else last_outputs(both, len(both["bias"]) // 2)
    ours = {name: t for place, layer in layers.items() for name, t in renamed(place, in_two_dimensions(layer)).items()}
    return {**ours, "end.3.log_gain": net["final_conv.3.scale"].view(-1, 1, 1)}


# ---- L0SG/WaveFlow: WaveFlow(in_channel, cin_channel, res_channel, n_height, n_flow, n_layer, …, bipartize) ----------


def waveflow(state: State, config: Mapping[str, Any]) -> Converted:
    """Of that repository, or of L0SG/NanoFlow, whose WaveFlow moves all rows: its last layers have a gain."""
    require_keys(config, ("n_height", "bipartize", "n_layer_per_cycle"))
    if not {"n_height", "bipartize"} <= set(config):
        raise ConfigError(
            "no tensor of a WaveFlow tells its height or the order of its rows; give both, as its JSON file has them "
            "(false where it hasn't): --set n_height=16 --set bipartize=false"
        )
    if not isinstance(config["bipartize"], bool):
        raise ConfigError(f"--set bipartize is {config['bipartize']!r}; it must be true or false")
    whole = Part(state)
    first = Part(whole, "flows.0.coupling.net.")
    model_config = {
        "name": "waveflow",
        **_row_numbers(whole, first, config),
        "bipartite": config["bipartize"],
        "all_rows": "flows.0.coupling.proj_log_s_t.scale" in whole,
    }
    ours = _smooth_upsample(whole)
    for k, net in enumerate(nets_of(_unfilled(model_config))):
        coupling = Part(whole, f"flows.{k}.coupling.")
        ours |= renamed(f"{net}stack.", _row_stack(Part(coupling, "net.")))
        ours |= renamed(f"{net}end.", _last_layer(Part(coupling, "proj_log_s_t.")))
    whole.require_all_read("WaveFlow")
    return model_config, ours


# ---- L0SG/NanoFlow: NanoFlow(in_channel, cin_channel, res_channel, n_height, n_flow, n_layer, …, size_flow_embed) ----


def nanoflow(state: State, config: Mapping[str, Any]) -> Converted:
    """Its one estimator, with every flow's embedding, gains and last layer."""
    require_keys(config, ("n_height", "n_layer_per_cycle"))
    if "n_height" not in config:
        raise ConfigError("no tensor of a NanoFlow tells its height; give that of its JSON file: --set n_height=16")
    whole = Part(state)
    net = Part(whole, "estimator.net.")
    blocks = [f"res_blocks.{i}." for i in range(net.count("res_blocks."))]
    shared = renamed("stack.", _row_stack(net))
    indicator = normed(net, *(f"{block}filter_gate_conv_h" for block in blocks))
    shared |= renamed(
        "flavour.indicator.", {kind: t.flatten(1) if t.dim() == 4 else t for kind, t in indicator.items()}
    )
    embeddings = _embeddings(Part(whole, "flow_embedding."))
    numbers = {**_row_numbers(whole, net, config), "n_embedding": embeddings.shape[1]}
    model_config = {"name": "nanoflow", **numbers}
    ours = _smooth_upsample(whole)
    for k, place in enumerate(nets_of(_unfilled(model_config))):
        flow = Part(whole, f"flows.{k}.")
        own = {"flavour.embedding": embeddings[k], "flavour.gains": flow["multgate"][: len(blocks) - 1]}
        ours |= renamed(place, {**(shared if k == 0 else {}), **own})
        ours |= renamed(f"{place}end.", _last_layer(Part(flow, "proj_log_s_t.")))
    whole.require_all_read("NanoFlow")
    return model_config, ours


def _embeddings(part: Part) -> Tensor:
    """[flows, size], weight-normed or not."""
    if "weight" in part:
        return part["weight"]
    v = part["weight_v"]
    return part["weight_g"] * v / v.norm(dim=1, keepdim=True)


def _row_stack(net: Part) -> State:
    """A 2-D net of theirs as our RowStack."""
    blocks = [f"res_blocks.{i}." for i in range(net.count("res_blocks."))]
    ours = renamed("start.", normed(net, "front_conv.0.conv"))
    ours |= renamed("cond.", normed(net, *(f"{block}filter_gate_conv_c" for block in blocks)))
    for i, block in enumerate(blocks):
        ours |= renamed(f"dilated.{i}.", normed(net, f"{block}filter_gate_conv.conv"))
        both = normed(net, f"{block}res_skip_conv")
        layer = both if i < len(blocks) - 1 else last_outputs(both, len(both["bias"]) // 2)
        ours |= renamed(f"res_skip.{i}.", layer)
    return ours


def _last_layer(part: Part) -> State:
    conv = {kind: part[f"conv.{kind}"] for kind in ("weight", "bias")}
    return {**renamed("conv.", conv), "log_gain": part["scale"].view(-1, 1, 1)} if "scale" in part else conv


def _row_numbers(whole: Part, net: Part, config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "n_mels": inputs_of(net, "res_blocks.0.filter_gate_conv_c"),
        "hop": _hop(whole),
        "n_height": whole_number("n_height", config["n_height"]),
        "height_cycle": whole_number("n_layer_per_cycle", config.get("n_layer_per_cycle", 1)),
        "n_flows": whole.count("flows."),
        "n_layers": net.count("res_blocks."),
        "n_channels": net["front_conv.0.conv.bias"].numel(),
    }


# ---- All three -------------------------------------------------------------------------------------------------------


def _unfilled(model_config: Mapping[str, Any]) -> nn.Module:
    """The model without memory for its weights: it tells our names."""
    with torch.device("meta"):
        return build(model_config)


def _smooth_upsample(whole: Part) -> State:
    """Their upsampling, a list of layers and activations."""
    return {
        f"conditioner.convs.{i}.{kind}": tensor
        for i in range(2)
        for kind, tensor in normed(whole, f"upsample_conv.{2 * i}").items()
    }


def _hop(whole: Part) -> int:
    """The product of two strides, each half as long as its kernel."""
    return math.prod(t.shape[-1] // 2 for name, t in whole.items() if KERNELS.fullmatch(name))


KERNELS = re.compile(r"upsample_conv\.\d+\.(weight|weight_v)")
