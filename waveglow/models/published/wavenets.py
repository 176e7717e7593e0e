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

from waveglow.flows.actnorm import ActNorm
from waveglow.models.published.parts import (
    ArgumentError,
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
    settled,
)
from waveglow.models.registry import build
from waveglow.models.whole_directory import CheckpointError

# ---- ksw0306/FloWaveNet: Flowavenet(in_channel, cin_channel, n_block, n_flow, n_layer, affine, block_per_split) ------


def flowavenet(state: State, config: Mapping[str, Any]) -> Converted:
    """Behind a split, latents follow a learned prior: what its authors call mean and log_sd is a coupling of ours."""
    whole = Part(state)
    n_blocks, n_flows = whole.count("blocks."), whole.count("blocks.0.flows.")
    splits = [b for b in range(n_blocks) if any(name.startswith(f"blocks.{b}.prior.") for name in whole)]
    first = Part(whole, "blocks.0.flows.0.coupling.net.")
    n_mels, n_inputs = inputs_of(first, "res_blocks.0.filter_conv_c"), inputs_of(first, "front_conv.0.conv")
    told = {
        "in_channel": n_inputs,
        "cin_channel": n_mels,
        "n_block": n_blocks,
        "n_flow": n_flows,
        "n_layer": first.count("res_blocks."),
        "affine": first["final_conv.3.conv.bias"].numel() == 2 * n_inputs,
    }
    per_split = {"block_per_split": splits[0] + 1 if splits else n_blocks}
    chosen = settled(config, "FloWaveNet", told=told, defaults=per_split, ignored=["pretrained"])
    if per_split.keys() & config.keys():
        _require_splits(chosen["block_per_split"], n_blocks, splits)
    model_config = {
        "name": "flowavenet",
        "n_mels": n_mels,
        "hop": _hop(whole),
        "n_blocks": n_blocks,
        "n_flows": n_flows,
        "n_layers": told["n_layer"],
        "n_channels": first["front_conv.0.conv.bias"].numel(),
        "blocks_per_split": chosen["block_per_split"],
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


def _require_splits(per_split: int, n_blocks: int, splits: list[int]) -> None:
    """Raises ArgumentError where so many blocks a split would split elsewhere than behind these (from 0)."""
    expected = [b for b in range(n_blocks - 1) if (b + 1) % per_split == 0]
    if expected != splits:
        raise ArgumentError(
            f"block_per_split is {per_split}, by which priors follow blocks {expected}; in the tensors they follow "
            f"blocks {splits}: correct it, or leave it out"
        )


def _actnorms(model: nn.Module) -> list[str]:
    return [f"{name}." for name, module in model.named_modules() if isinstance(module, ActNorm)]


def _log_s_first_at_the_end(net: State) -> State:
    return {name: log_s_first(t) if name.startswith("end.3.") else t for name, t in net.items()}


def _actnorm(part: Part) -> State:
    scale = part["scale"].flatten()
    if (scale <= 0).any():
        raise CheckpointError(f"{part.prefix}scale has values <= 0, by which our ActNorm can't multiply")
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
    whole = Part(state)
    first = Part(whole, "flows.0.coupling.net.")
    chosen, numbers = _row_numbers(whole, first, config, "WaveFlow", needed={"n_height": 16, "bipartize": False})
    model_config = {
        "name": "waveflow",
        **numbers,
        "bipartite": chosen["bipartize"],
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
    whole = Part(state)
    net = Part(whole, "estimator.net.")
    blocks = [f"res_blocks.{i}." for i in range(net.count("res_blocks."))]
    shared = renamed("stack.", _row_stack(net))
    indicator = normed(net, *(f"{block}filter_gate_conv_h" for block in blocks))
    shared |= renamed(
        "flavour.indicator.", {kind: t.flatten(1) if t.dim() == 4 else t for kind, t in indicator.items()}
    )
    embeddings = _embeddings(Part(whole, "flow_embedding."))
    told = {"size_flow_embed": embeddings.shape[1]}
    _, numbers = _row_numbers(whole, net, config, "NanoFlow", needed={"n_height": 16}, told=told)
    model_config = {"name": "nanoflow", **numbers, "n_embedding": embeddings.shape[1]}
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


def _row_numbers(
    whole: Part,
    net: Part,
    config: Mapping[str, Any],
    whose: str,
    *,
    needed: Mapping[str, Any],
    told: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments that no tensor tells, and our builders' numbers that both families share."""
    cycle = "layers_per_dilation_h_cycle"
    told = {
        "in_channel": inputs_of(net, "front_conv.0.conv"),
        "cin_channel": inputs_of(net, "res_blocks.0.filter_gate_conv_c"),
        "res_channel": net["front_conv.0.conv.bias"].numel(),
        "n_flow": whole.count("flows."),
        "n_layer": net.count("res_blocks."),
        "coupling_type": "affine",  # NanoFlow's repository knows splines too, whose tensors have other names
        **(told or {}),
    }
    chosen = settled(
        _of_the_constructor(config),
        whose,
        told=told,
        needed=needed,
        defaults={cycle: 1},
        ignored=["num_bin", "tail_bound", "use_weightnorm_embed"],
    )
    return chosen, {
        "n_mels": told["cin_channel"],
        "hop": _hop(whole),
        "n_height": chosen["n_height"],
        "height_cycle": chosen[cycle],
        "n_flows": told["n_flow"],
        "n_layers": told["n_layer"],
        "n_channels": told["res_channel"],
    }


IN_JSON = {  # the configuration files of both repositories call some arguments otherwise
    "cin_channels": "cin_channel",
    "res_channels": "res_channel",
    "n_layer_per_cycle": "layers_per_dilation_h_cycle",
}


def _of_the_constructor(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments by the constructor's names. Raises ArgumentError where one is given by both of its names."""
    for theirs, name in IN_JSON.items():
        if theirs in config and name in config:
            raise ArgumentError(f"{theirs} and {name} are one argument; give one of them")
    return {IN_JSON.get(key, key): value for key, value in config.items()}


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
