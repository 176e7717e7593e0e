"""Published image flows as tensors of ours: rosinality/glow-pytorch and chrischute/real-nvp, names and layouts only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from waveglow.models.image_builders import diagonals_first
from waveglow.models.published.parts import Converted, Part, State, log_s_first, renamed, settled
from waveglow.models.whole_directory import CheckpointError

# ---- rosinality/glow-pytorch: Glow(in_channel, n_flow, n_block, affine, conv_lu) -------------------------------------


def glow_rosinality(state: State, config: Mapping[str, Any]) -> Converted:
    """It scales by sigmoid(h + 2) and has no ActNorm inside its nets.

    Its last block's 1×1 convolutions are by LU whatever `conv_lu` says: where they differ, all become plain matrices.
    """
    n_levels = 1 + max((int(name.split(".")[1]) for name in state if name.startswith("blocks.")), default=0)
    n_steps = len({name.split(".")[3] for name in state if name.startswith("blocks.0.flows.")})
    by_lu = not any(name.endswith("invconv.weight") for name in state)
    ours: State = {}
    for level in range(n_levels):
        block = Part(state, f"blocks.{level}.")
        for k in range(n_steps):
            actnorm, mix, coupling = (f"flow.levels.{2 * level}.layers.{1 + 3 * k + i}." for i in range(3))
            step = Part(block, f"flows.{k}.")
            ours |= renamed(actnorm, _actnorm(Part(step, "actnorm.")))
            ours |= renamed(mix, _mix(Part(step, "invconv."), by_lu=by_lu))
            ours |= renamed(f"{coupling}net.", _net(Part(step, "coupling.net.")))
        place = f"flow.levels.{2 * level + 1}." + ("prior.net." if level < n_levels - 1 else "net.")
        ours |= renamed(place, {name: log_s_first(t) for name, t in _zero_conv(Part(block, "prior.")).items()})
    first = Part(state, "blocks.0.flows.0.")
    squeezed_channels = first["actnorm.loc"].numel()
    affine = first["coupling.net.4.conv.bias"].numel() == squeezed_channels
    told = {"in_channel": squeezed_channels // 4, "n_flow": n_steps, "n_block": n_levels, "affine": affine}
    if n_levels > 1:
        told["conv_lu"] = "invconv.w_p" in first
    defaults = {"image_size": 64, "n_bits": 5}
    chosen = settled(config, "rosinality's Glow", told=told, defaults=defaults, ignored=["conv_lu"])
    return {
        "name": "glow",
        "image_size": chosen["image_size"],
        "channels": told["in_channel"],
        "n_bits": chosen["n_bits"],
        "n_levels": n_levels,
        "n_steps": n_steps,
        "n_hidden": first["coupling.net.2.bias"].numel(),
        "permutation": "conv-lu" if by_lu else "conv",
        "coupling": "affine" if affine else "additive",
        "net_actnorm": False,
    }, ours


def _actnorm(part: Part) -> State:
    scale = part["scale"].flatten()
    return {"bias": part["loc"].flatten(), "log_scale": scale.abs().log(), "initialized": torch.tensor(True)}


def _mix(part: Part, *, by_lu: bool) -> State:
    if "weight" in part:
        return {"weight": part["weight"].flatten(1)}
    lower, upper = part["w_l"].tril(-1), part["w_u"].triu(1)
    if by_lu:
        ours = {"permutation": part["w_p"], "sign": part["s_sign"], "log_s": part["w_s"]}
        return {**ours, "lower": lower, "upper": upper}
    diagonal = torch.diag(part["s_sign"] * part["w_s"].exp())
    return {"weight": part["w_p"] @ (lower + torch.eye(len(lower))) @ (upper + diagonal)}


def _net(part: Part) -> State:
    convs = {f"{here}.{kind}": part[f"{i}.{kind}"] for i, here in CONVS.items() for kind in ("weight", "bias")}
    return {**convs, **renamed("last.", _zero_conv(Part(part, "4.")))}


def _zero_conv(part: Part) -> State:
    return {"conv.weight": part["conv.weight"], "conv.bias": part["conv.bias"], "log_gain": part["scale"]}


CONVS = {0: "first", 2: "second"}

# ---- chrischute/real-nvp: RealNVP(num_scales, in_channels, mid_channels, num_blocks) ---------------------------------


def realnvp_chrischute(state: State, config: Mapping[str, Any]) -> Converted:
    """It has batch norm in its nets only.

    Its z is one picture: our latents from the last to the first, each in the place from which it left.
    """
    all_of_it, first = Part(state, ""), Part(state, "flows.in_couplings.0.")
    channels, hidden = first["rescale.weight_g"].numel(), first["st_net.in_conv.conv.bias"].numel()
    n_scales = 1 + max(name.count("next_block.") for name in state)
    n_blocks = sum(bool(re.fullmatch(r"st_net\.blocks\.\d+\.in_norm\.bias", name)) for name in first)
    told = {"num_scales": n_scales, "in_channels": channels, "mid_channels": hidden, "num_blocks": n_blocks}
    chosen = settled(config, "chrischute's RealNVP", told=told, defaults={"image_size": 32, "n_bits": 8})
    ours: State = {}
    for scale in range(n_scales - 1):
        order = torch.tensor(diagonals_first(channels * 2**scale))
        ours[f"flow.levels.{2 * scale}.layers.{_first_coupling(scale) + 7}.order"] = order
    for name, tensor in state.items():
        if name.endswith("rescale.weight_g"):  # a weight-normed gain: g · v / |v|
            ours[_realnvp_name(name.replace("rescale.weight_g", "gain"))] = tensor * all_of_it[name[:-1] + "v"].sign()
        elif name != "data_constraint" and not name.endswith("rescale.weight_v"):
            ours[_realnvp_name(name)] = tensor.long() if name.endswith("num_batches_tracked") else tensor
    return {
        "name": "realnvp",
        "image_size": chosen["image_size"],
        "channels": channels,
        "n_bits": chosen["n_bits"],
        "n_scales": n_scales,
        "n_channels": hidden,
        "n_blocks": n_blocks,
        "flow_batch_norm": False,
    }, ours


COUPLING = re.compile(r"flows\.((?:next_block\.)*)(in|out)_couplings\.(\d+)\.(?:st_net\.)?(.*)")
OF_A_CONV = {
    ".conv.weight_g": ".parametrizations.weight.original0",
    ".conv.weight_v": ".parametrizations.weight.original1",
    ".conv.bias": ".bias",
}


def _realnvp_name(name: str) -> str:
    parts = COUPLING.fullmatch(name)
    if parts is None:
        raise CheckpointError(f"the checkpoint has {name!r}, which chrischute's RealNVP hasn't; is it of this family?")
    scale, rest = parts[1].count("."), parts[4]
    layer = _first_coupling(scale) + int(parts[3]) + (4 if parts[2] == "out" else 0)  # behind three and the squeeze
    for theirs, here in OF_A_CONV.items():
        rest = rest.replace(theirs, here)
    return f"flow.levels.{2 * scale}.layers.{layer}.net.{rest}"


def _first_coupling(scale: int) -> int:
    """Its place at a scale: behind the logit at the first."""
    return 1 if scale == 0 else 0
