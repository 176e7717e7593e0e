"""Published image flows as tensors of ours: names and layouts only.

Of rosinality/glow-pytorch, chrischute/real-nvp and apple/ml-tarflow.
"""

from __future__ import annotations

import math
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


# ---- apple/ml-tarflow: Model(in_channels, img_size, patch_size, channels, num_blocks, layers_per_block, …) -----------


def tarflow_apple(state: State, config: Mapping[str, Any]) -> Converted:
    """Its noise is that of a N(0, var), and its loss that of a N(0, 1): ours is the former, where they differ.

    Blocks of odd number see the patches in reverse order; our FlipRows brings them there, so positions are reversed.
    """
    n_blocks, whole = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks.")), Part(state)
    first = Part(whole, "blocks.0.")
    n_layers, n_channels = first.count("attn_blocks."), first["proj_in.bias"].numel()
    patches, patch_values = whole["var"].shape
    affine = first["proj_out.bias"].numel() == 2 * patch_values
    n_classes = len(first["class_embed"]) if "class_embed" in first else 0
    told = {"channels": n_channels, "num_blocks": n_blocks, "layers_per_block": n_layers, "nvp": affine}
    told |= {"num_classes": n_classes}
    arguments = {"in_channels": 3, "n_bits": 8}
    chosen = settled(config, "TarFlow", told=told, defaults=arguments, ignored=["img_size", "patch_size"])
    patch_size = math.isqrt(patch_values // chosen["in_channels"])
    image_size = math.isqrt(patches) * patch_size
    settled(config, "TarFlow", told={**told, "img_size": image_size, "patch_size": patch_size}, defaults=arguments)
    ours: State = {}
    for k in range(n_blocks):
        block = Part(whole, f"blocks.{k}.")
        ours |= renamed(f"flow.levels.0.layers.{3 + 2 * k}.net.", _causal_net(block, n_layers, reverse=k % 2 == 1))
    ours["flow.levels.0.layers.0.log_scale"] = torch.full((chosen["in_channels"],), math.log(2.0))
    learned = not torch.equal(whole["var"], torch.ones_like(whole["var"]))
    if learned:
        var = whole["var"] if n_blocks % 2 == 0 else whole["var"].flip(0)  # (patches, values)
        ours[f"flow.levels.0.layers.{4 + 2 * n_blocks}.log_scale"] = -0.5 * var.T.flatten().log()
    whole.require_all_read("apple's TarFlow")
    return {
        "name": "tarflow",
        "image_size": image_size,
        "channels": chosen["in_channels"],
        "n_bits": chosen["n_bits"],
        "patch_size": patch_size,
        "n_blocks": n_blocks,
        "n_layers": n_layers,
        "n_channels": n_channels,
        "coupling": "affine" if affine else "additive",
        "learned_prior": learned,
        "n_classes": n_classes,
    }, ours


def _causal_net(block: Part, n_layers: int, *, reverse: bool) -> State:
    block.read.add(f"{block.prefix}attn_mask")  # a causal one, always
    position = block["pos_embed"]
    ours = {"position": position.flip(0) if reverse else position}
    if "class_embed" in block:
        ours["cond.weight"] = block["class_embed"].squeeze(1).T.contiguous()
    for theirs, here in OF_A_TARFLOW.items():
        ours |= {f"{here}.{kind}": block[f"{theirs}.{kind}"] for kind in ("weight", "bias")}
    for i in range(n_layers):
        for theirs, here in OF_A_BLOCK.items():
            for kind in ("weight", "bias"):
                ours[f"blocks.{i}.{here}.{kind}"] = block[f"attn_blocks.{i}.{theirs}.{kind}"]
    return ours


OF_A_TARFLOW = {"proj_in": "embed", "proj_out": "last"}
OF_A_BLOCK = {
    "attention.norm": "attention_norm",
    "attention.qkv": "attention.qkv",
    "attention.proj": "attention.out",
    "mlp.norm": "mlp_norm",
    "mlp.main.0": "mlp.0",
    "mlp.main.2": "mlp.2",
}
