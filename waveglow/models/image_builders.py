"""Builders of image flows: NICE, RealNVP, Glow, TarFlow and Jet, as numbers over shared layers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Literal

from waveglow.config import require_known
from waveglow.flows.actnorm import ActNorm, Scale
from waveglow.flows.autoregressive import RowAutoregressive
from waveglow.flows.base import Flow
from waveglow.flows.batchnorm import FlowBatchNorm
from waveglow.flows.compose import Chain, MultiScale, Split
from waveglow.flows.coupling import (
    ChannelMask,
    CheckerboardMask,
    Coupling,
    HalfOfPlacesMask,
    Mask,
    RowsAboveMask,
    WholeMask,
)
from waveglow.flows.logit import Logit
from waveglow.flows.permute import FlipRows, InvertibleConv, InvertibleConvLU, Reverse, Shuffle
from waveglow.flows.reshape import Flatten, PlacesAsRows, Squeeze
from waveglow.models.flow_image import FlowImage
from waveglow.nn.image_nets import MLP, GlowNet, ResidualNet, ZeroConv2d
from waveglow.nn.transformer import TransformerNet

PERMUTATIONS: dict[str, Callable[[int], Flow]] = {
    "reverse": lambda channels: Reverse(),
    "shuffle": Shuffle,
    "conv": InvertibleConv,
    "conv-lu": InvertibleConvLU,
}
COUPLINGS = {"additive": "additive", "affine": "sigmoid"}


MOST_VALUES = 2**20  # of an image that is a vector
MOST_PATCHES, MOST_LAYERS = 2**14, 1024


def nice(
    *,
    image_size: int = 28,
    channels: int = 1,
    n_bits: int = 8,
    n_couplings: int = 4,
    n_hidden: int = 1000,
    n_layers: int = 5,
    partition: Literal["odd-even", "halves"] = "odd-even",
    base: Literal["logistic", "normal"] = "logistic",
) -> FlowImage:
    """NICE (Dinh, Krueger and Bengio 2014, arXiv:1410.8516, §5.1): additive couplings, then a scale for each value.

    The image is a vector. The parts are odd and even values, or the first and second half; the whole vector is
    reversed after each coupling.
    """
    require_known("partition", partition, ("odd-even", "halves"))
    shape = (channels, image_size, image_size)
    dims = math.prod(shape)
    if dims > MOST_VALUES:
        raise ValueError(f"images of {channels} × {image_size} × {image_size} are {dims} values; at most {MOST_VALUES}")
    _require_depth("n_couplings × n_layers", n_couplings, n_layers)
    layers: list[Flow] = [Flatten(shape)]
    if partition == "odd-even":
        layers.append(Shuffle(dims, order=[*range(0, dims, 2), *range(1, dims, 2)]))
    for _ in range(n_couplings):
        mask = ChannelMask(dims)
        net = MLP(mask.kept_channels, mask.moved_channels, n_hidden, n_layers)
        layers += [Coupling(net, mask, scale="additive"), Reverse()]
    flow = MultiScale([Chain([*layers, Scale(dims)])])
    return FlowImage(flow, shape=shape, n_bits=n_bits, base=base)


def realnvp(
    *,
    image_size: int = 32,
    channels: int = 3,
    n_bits: int = 8,
    n_scales: int = 2,
    n_channels: int = 64,
    n_blocks: int = 8,
    flow_batch_norm: bool = True,
) -> FlowImage:
    """RealNVP (Dinh, Sohl-Dickstein and Bengio 2016, arXiv:1605.08803, §3.6): checkerboard, then channel couplings.

    At every scale but the last, half of the values leave; the nets' width doubles from scale to scale, and channel
    couplings are twice as wide. The input is in [0, 1] and passes a logit first; latents are N(0, 1).
    """
    _require_divisible(image_size, 2 ** (n_scales - 1), "n_scales", n_scales)
    _require_depth("couplings × n_blocks", 6 * n_scales - 2, n_blocks)

    levels: list[Flow | Split] = []
    c, width = channels, n_channels
    for scale in range(n_scales):
        last = scale == n_scales - 1
        layers: list[Flow] = [Logit()] if scale == 0 else []
        boards = [
            CheckerboardMask(c, moves="even"),
            CheckerboardMask(c, moves="odd"),
            CheckerboardMask(c, moves="even"),
        ]
        for board in [*boards, *([CheckerboardMask(c, moves="odd")] if last else [])]:
            layers += _residual_step(board, c, width, n_blocks, batch_norm=flow_batch_norm)
        if last:
            levels.append(Chain(layers))
            break
        layers.append(Squeeze(2))
        for part in (ChannelMask(4 * c, moves="first"), ChannelMask(4 * c), ChannelMask(4 * c, moves="first")):
            layers += _residual_step(part, 4 * c, 2 * width, n_blocks, batch_norm=flow_batch_norm)
        levels += [Chain([*layers, Shuffle(4 * c, order=diagonals_first(c))]), Split(2 * c, leaves="last")]
        c, width = 2 * c, 2 * width
    return FlowImage(MultiScale(levels), shape=(channels, image_size, image_size), n_bits=n_bits)


def _residual_step(mask: Mask, channels: int, width: int, n_blocks: int, *, batch_norm: bool) -> list[Flow]:
    """RealNVP's coupling with a residual net, and the batch norm behind it; of a checkerboard, half the input is 0."""
    sparse = isinstance(mask, CheckerboardMask)
    net = ResidualNet(mask.kept_channels, 2 * mask.moved_channels, width, n_blocks, sparse=sparse)
    return [Coupling(net, mask, form="(x+t)*s"), *([FlowBatchNorm(channels)] if batch_norm else [])]


def diagonals_first(channels: int) -> list[int]:
    """Order of squeezed channels by place, top left, bottom right, top right, bottom left: half of it is a diagonal."""
    return [4 * channel + place for place in (0, 3, 1, 2) for channel in range(channels)]


def glow(
    *,
    image_size: int = 32,
    channels: int = 3,
    n_bits: int = 8,
    n_levels: int = 3,
    n_steps: int = 32,
    n_hidden: int = 512,
    permutation: Literal["reverse", "shuffle", "conv", "conv-lu"] = "conv-lu",
    coupling: Literal["additive", "affine"] = "affine",
    net_actnorm: bool = True,
    learned_top: bool = True,
    n_classes: int = 0,
) -> FlowImage:
    """Glow (Kingma and Dhariwal 2018, arXiv:1807.03039): L levels of K steps of ActNorm, permutation and coupling.

    Between levels the second half of the channels leaves, standardized by a prior that the other half tells. The top's
    prior is N(0, 1), learned, or learned for each class.
    """
    require_known("permutation", permutation, PERMUTATIONS)
    require_known("coupling", coupling, COUPLINGS)
    _require_divisible(image_size, 2**n_levels, "n_levels", n_levels)
    _require_depth("n_levels × n_steps", n_levels, n_steps)
    if n_classes and not learned_top:
        raise ValueError(f"n_classes is {n_classes} and learned_top is off; classes enter by the learned top prior")

    scale = COUPLINGS[coupling]
    levels: list[Flow | Split] = []
    c = channels
    for level in range(1, n_levels + 1):
        c *= 4
        layers: list[Flow] = [Squeeze(2, squeeze_cond=False)]
        for _ in range(n_steps):
            mask = ChannelMask(c)
            outputs = mask.moved_channels * (1 if scale == "additive" else 2)
            net = GlowNet(mask.kept_channels, outputs, n_hidden, norm=ActNorm if net_actnorm else None)
            layers += [ActNorm(c), PERMUTATIONS[permutation](c), Coupling(net, mask, form="(x+t)*s", scale=scale)]
        levels.append(Chain(layers))
        if level < n_levels:
            prior = Coupling(ZeroConv2d(c // 2, c), ChannelMask(c), form="(x-t)/s")
            levels.append(Split(c // 2, leaves="last", prior=prior))
            c //= 2
    if learned_top:
        levels.append(Coupling(ZeroConv2d(c, 2 * c, n_classes=n_classes), WholeMask(c), form="(x-t)/s"))
    shape = (channels, image_size, image_size)
    return FlowImage(MultiScale(levels), shape=shape, n_bits=n_bits, lowest=-0.5, n_classes=n_classes)


def tarflow(
    *,
    image_size: int = 64,
    channels: int = 3,
    n_bits: int = 8,
    patch_size: int = 2,
    n_blocks: int = 8,
    n_layers: int = 8,
    n_channels: int = 768,
    head_channels: int = 64,
    coupling: Literal["additive", "affine"] = "affine",
    learned_prior: bool = False,
    n_classes: int = 0,
) -> FlowImage:
    """TarFlow (Zhai et al. 2024, arXiv:2412.06329, §3): causal Transformers move each patch given those before it.

    Every block of flow goes through the patches in the other direction. Images are brought to −1 … 1 first. With
    `learned_prior`, each latent value has a variance of its own.
    """
    require_known("coupling", coupling, COUPLINGS)
    side, n_heads = _patches(image_size, patch_size, n_channels, head_channels)
    c, places = channels * patch_size**2, (side * side, 1)
    layers: list[Flow] = [
        Scale(channels, start=FROM_UNIT, learned=False),
        Squeeze(patch_size, squeeze_cond=False),
        PlacesAsRows((side, side)),
    ]
    _require_depth("n_blocks × n_layers", n_blocks, n_layers)
    for _ in range(n_blocks):
        net = TransformerNet(
            c,
            c * (1 if coupling == "additive" else 2),
            sizes=places,
            n_channels=n_channels,
            n_heads=n_heads,
            n_layers=n_layers,
            cond_channels=n_classes,
            causal=True,
            last_norm=False,
        )
        scale = "additive" if coupling == "additive" else "exp"
        layers += [RowAutoregressive(net, RowsAboveMask(c), form="(x-t)/s", scale=scale), FlipRows()]
    if learned_prior:
        layers += [Flatten((c, *places)), Scale(c * side * side)]
    return _of_patches(layers, (channels, image_size, image_size), n_bits, n_classes)


def jet(
    *,
    image_size: int = 64,
    channels: int = 3,
    n_bits: int = 8,
    patch_size: int = 4,
    n_couplings: int = 64,
    n_layers: int = 5,
    n_channels: int = 512,
    head_channels: int = 64,
    n_classes: int = 0,
) -> FlowImage:
    """Jet (Kolesnikov et al. 2024, arXiv:2412.15129, §2): couplings of patches, moved by vision Transformers.

    Four couplings move half of the channels, shuffled before each, and a fifth half of the patches; s = 2 · sigmoid.
    There is no ActNorm and no multi-scale. Classes, which the paper leaves out, enter as TarFlow's.
    """
    side, n_heads = _patches(image_size, patch_size, n_channels, head_channels)
    c = channels * patch_size**2
    _require_depth("n_couplings × n_layers", n_couplings, n_layers)
    layers: list[Flow] = [Scale(channels, start=FROM_UNIT, learned=False), Squeeze(patch_size, squeeze_cond=False)]
    halves = itertools.cycle(itertools.product(("checkerboard", "columns", "rows"), ("odd", "even")))
    for number in range(1, n_couplings + 1):
        mask: Mask
        if number % 5:
            layers.append(Shuffle(c))
            mask = ChannelMask(c)
        else:
            pattern, moves = next(halves)
            mask = HalfOfPlacesMask(c, pattern=pattern, moves=moves)  # type: ignore[arg-type]
        net = TransformerNet(
            mask.kept_channels,
            2 * mask.moved_channels,
            sizes=(side, side),
            n_channels=n_channels,
            n_heads=n_heads,
            n_layers=n_layers,
            cond_channels=n_classes,
        )
        layers.append(Coupling(net, mask, form="(x+t)*s", scale="double-sigmoid"))
    return _of_patches(layers, (channels, image_size, image_size), n_bits, n_classes)


FROM_UNIT = 2.0  # from a domain one unit wide about 0 to −1 … 1


def _of_patches(layers: list[Flow], shape: tuple[int, int, int], n_bits: int, n_classes: int) -> FlowImage:
    flow = MultiScale([Chain(layers)])
    return FlowImage(flow, shape=shape, n_bits=n_bits, lowest=-0.5, n_classes=n_classes, unlabelled=n_classes > 0)


def _patches(image_size: int, patch_size: int, n_channels: int, head_channels: int) -> tuple[int, int]:
    """(Patches a side, heads): a narrower net than a head has one. Raises ValueError where they don't fit."""
    _require_divisible(image_size, patch_size, "patch_size", patch_size)
    side = image_size // patch_size
    if side * side > MOST_PATCHES:
        raise ValueError(
            f"image_size is {image_size} and patch_size {patch_size}: {side * side} patches; at most {MOST_PATCHES}"
        )
    head_channels = min(head_channels, n_channels)
    if n_channels % head_channels:
        raise ValueError(f"n_channels is {n_channels}; it must be a multiple of head_channels, {head_channels}")
    return side, n_channels // head_channels


def _require_depth(name: str, flows: int, layers: int) -> None:
    if flows * layers > MOST_LAYERS:
        raise ValueError(f"{name} is {flows} × {layers}; at most {MOST_LAYERS} are built")


def _require_divisible(image_size: int, factor: int, name: str, value: int) -> None:
    if image_size % factor:
        raise ValueError(f"image_size is {image_size} and {name} is {value}; it must be a multiple of {factor}")
