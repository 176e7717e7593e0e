"""Builders of flow vocoders: numbers over shared layers, each a function of a published table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from waveglow.config import nearest
from waveglow.flows.actnorm import ActNorm, ConditionalActNorm
from waveglow.flows.autoregressive import RowAutoregressive
from waveglow.flows.base import Flow
from waveglow.flows.compose import Chain, MultiScale, Split
from waveglow.flows.coupling import ChannelMask, Coupling, RowsAboveMask
from waveglow.flows.lapped import LappedSqueeze
from waveglow.flows.permute import FlipRows, InvertibleConv, InvertibleConvLU, Swap
from waveglow.flows.reshape import Rows, RowsAsChannels, Squeeze
from waveglow.models.flow_vocoder import FlowVocoder
from waveglow.nn.separable import SeparableWaveNet
from waveglow.nn.upsample import BandScale, MelEncoder, Repeat, SmoothUpsample, TransposedConvUpsample
from waveglow.nn.wavenet import WaveNet, deep_ended_wavenet
from waveglow.nn.wavenet2d import FlavourNet, RowStack, WaveNet2d

T = TypeVar("T")


def waveglow(
    *,
    n_mels: int = 80,
    hop: int = 256,
    n_group: int = 8,
    n_flows: int = 12,
    n_early_every: int = 4,
    n_early_size: int = 2,
    n_layers: int = 8,
    n_channels: int = 256,
    kernel_size: int = 3,
    upsample_kernel: int | None = None,
    actnorm: bool = True,
    lu: bool = False,
    alternating: bool = False,
) -> FlowVocoder:
    """WaveGlow (Prenger, Valle and Catanzaro 2018, arXiv:1811.00002), as NVIDIA published it where `actnorm` is off.

    Groups of `n_group` samples pass `n_flows` steps of (ActNorm), invertible 1×1 convolution and affine coupling; every
    `n_early_every` steps the first `n_early_size` channels leave as a latent. `upsample_kernel` defaults to 4 hops;
    `alternating` moves the first half of the channels in every other step, as NVIDIA's first version did.
    Raises ValueError where hop is no multiple of n_group, the early outputs use up the channels, or there are more than
    1024 layers: a configuration comes from a file that may not be one's own.
    """
    _require_buildable(n_flows * n_layers)
    _require_multiple(hop, n_group, "n_group")
    _require_channels_left(n_group, n_flows, n_early_every, n_early_size)

    levels: list[Flow | Split] = []
    layers: list[Flow] = [Squeeze(n_group)]
    channels = n_group
    for k in range(n_flows):
        if k and k % n_early_every == 0:
            levels += [Chain(layers), Split(n_early_size)]
            channels, layers = channels - n_early_size, []
        mask = ChannelMask(channels, moves="first" if alternating and k % 2 else "last")
        net = WaveNet(
            mask.kept_channels,
            2 * mask.moved_channels,
            cond_channels=n_mels * n_group,
            n_channels=n_channels,
            n_layers=n_layers,
            kernel_size=kernel_size,
        )
        mix = InvertibleConvLU(channels) if lu else InvertibleConv(channels)
        layers += [*([ActNorm(channels)] if actnorm else []), mix, Coupling(net, mask)]
    levels.append(Chain(layers))
    upsample = TransposedConvUpsample(n_mels, hop=hop, kernel_size=upsample_kernel or 4 * hop)
    return FlowVocoder(MultiScale(levels), upsample, hop=hop, n_mels=n_mels)


def squeezewave(
    *,
    n_mels: int = 80,
    hop: int = 256,
    n_group: int = 128,
    n_flows: int = 12,
    n_early_every: int = 2,
    n_early_size: int = 16,
    n_layers: int = 8,
    n_channels: int = 256,
) -> FlowVocoder:
    """SqueezeWave (Zhai et al. 2020, arXiv:2001.05685): WaveGlow with groups as long as a hop or half of it.

    Its nets are of separable convolutions, and read the mel as it is, or every frame twice.
    Raises ValueError as `waveglow` does.
    """
    _require_buildable(n_flows * n_layers)
    _require_multiple(hop, n_group, "n_group")
    _require_channels_left(n_group, n_flows, n_early_every, n_early_size)

    levels: list[Flow | Split] = []
    layers: list[Flow] = [Squeeze(n_group, squeeze_cond=False)]
    channels = n_group
    for k in range(n_flows):
        if k and k % n_early_every == 0:
            levels += [Chain(layers), Split(n_early_size)]
            channels, layers = channels - n_early_size, []
        mix, mask = InvertibleConv(channels), ChannelMask(channels)
        net = SeparableWaveNet(
            mask.kept_channels,
            2 * mask.moved_channels,
            cond_channels=n_mels,
            n_channels=n_channels,
            n_layers=n_layers,
        )
        layers += [mix, Coupling(net, mask)]
    levels.append(Chain(layers))
    return FlowVocoder(MultiScale(levels), Repeat(hop // n_group), hop=hop, n_mels=n_mels)


def flowavenet(
    *,
    n_mels: int = 80,
    hop: int = 256,
    n_blocks: int = 8,
    n_flows: int = 6,
    n_layers: int = 2,
    n_channels: int = 256,
    blocks_per_split: int = 4,
) -> FlowVocoder:
    """FloWaveNet (Kim et al. 2019, arXiv:1811.02155): `n_blocks` blocks of a squeeze by 2 and `n_flows` steps.

    A step is ActNorm, a coupling of the second half of the channels by the first, and a swap of both halves and of
    those of the conditioning. Behind every `blocks_per_split` blocks half of the channels leave, under a learned prior.
    Raises ValueError where hop is no multiple of 2^n_blocks, or no product of two even strides.
    """
    _require_buildable(n_blocks * n_flows * n_layers)
    _require_multiple(hop, 2**n_blocks, "2 ** n_blocks")

    levels: list[Flow | Split] = []
    channels, cond_channels = 1, n_mels
    for block in range(1, n_blocks + 1):
        channels, cond_channels = 2 * channels, 2 * cond_channels
        layers: list[Flow] = [Squeeze(2)]
        for _ in range(n_flows):
            coupling = _shifted_and_divided(channels, cond_channels // 2, n_channels, n_layers)
            layers += [ActNorm(channels), coupling, Swap(swap_cond=True)]
        levels.append(Chain(layers))
        if block % blocks_per_split == 0 and block < n_blocks:
            prior = _shifted_and_divided(channels, cond_channels, n_channels, n_layers)
            levels.append(Split(channels // 2, leaves="last", prior=prior))
            channels //= 2
    return FlowVocoder(MultiScale(levels), SmoothUpsample(hop), hop=hop, n_mels=n_mels)


def _shifted_and_divided(channels: int, cond_channels: int, n_channels: int, n_layers: int) -> Coupling:
    """FloWaveNet's coupling, `(x − t) / s`: a step's, and a prior's, which standardizes the channels that leave."""
    mask = ChannelMask(channels)
    net = deep_ended_wavenet(
        mask.kept_channels,
        2 * mask.moved_channels,
        cond_channels=cond_channels,
        n_channels=n_channels,
        n_layers=n_layers,
    )
    return Coupling(net, mask, form="(x-t)/s")


HEIGHT_CYCLES = {32: 3, 64: 5, 128: 7}  # the WaveFlow paper's table 2; 1, neighbouring rows in every layer, elsewhere


def waveflow(
    *,
    n_mels: int = 80,
    hop: int = 256,
    n_height: int = 16,
    n_flows: int = 8,
    n_layers: int = 8,
    n_channels: int = 64,
    height_cycle: int | None = None,
    bipartite: bool = True,
    all_rows: bool = False,
) -> FlowVocoder:
    """WaveFlow (Ping et al. 2020, arXiv:1912.01219): audio folded to `n_height` rows, each moved given those above.

    `height_cycle`: layers until dilations from row to row, 1, 2, 4, …, begin anew; by the paper's table where None.
    `bipartite`: in the second half of the flows the rows are flipped within each half of them, the paper's scheme (b);
    else all of them in every flow, (a). `all_rows`: as NanoFlow's authors built it: the first row moves too, flips come
    before couplings, and the sum that a layer hands on is scaled by √½.
    Raises ValueError where hop is no multiple of n_height, or no product of two even strides; n_height is odd or 1.
    """
    _require_rows(hop, n_height, n_flows, n_layers)

    cycle = height_cycle or HEIGHT_CYCLES.get(n_height, 1)
    gain = 0.5**0.5 if all_rows else 1.0
    steps: list[Flow] = []
    for k in range(n_flows):
        flip = FlipRows(2 if bipartite and k >= n_flows // 2 else 1)
        stack = _row_stack(n_mels, cycle, n_layers, n_channels, residual_gain=gain)
        mask = RowsAboveMask(1, first="moved" if all_rows else "kept")
        move = RowAutoregressive(WaveNet2d(stack, 2, gained=all_rows), mask)
        steps += [flip, move] if all_rows else [move, flip]
    return _of_rows(steps, n_height, hop, n_mels)


def nanoflow(
    *,
    n_mels: int = 80,
    hop: int = 256,
    n_height: int = 16,
    n_flows: int = 8,
    n_layers: int = 8,
    n_channels: int = 128,
    height_cycle: int | None = None,
    n_embedding: int = 512,
) -> FlowVocoder:
    """NanoFlow (Lee et al. 2020, arXiv:2006.06280): a WaveFlow whose flows share one net.

    Each flow has an embedding, from which every layer's bias is made, a gain a channel and layer, and a last layer.
    Raises ValueError as `waveflow` does.
    """
    _require_rows(hop, n_height, n_flows, n_layers)
    stack = _row_stack(n_mels, height_cycle or HEIGHT_CYCLES.get(n_height, 1), n_layers, n_channels)
    indicator = weight_norm(nn.Linear(n_embedding, 2 * n_channels * n_layers))
    steps: list[Flow] = []
    for _ in range(n_flows):
        net = WaveNet2d(stack, 2, gained=True, flavour=FlavourNet(stack, indicator))
        steps += [FlipRows(), RowAutoregressive(net, RowsAboveMask(1, first="moved"))]
    return _of_rows(steps, n_height, hop, n_mels)


def _row_stack(n_mels: int, cycle: int, n_layers: int, n_channels: int, *, residual_gain: float = 1.0) -> RowStack:
    dilations = [(2 ** (i % cycle), 2**i) for i in range(n_layers)]
    return RowStack(1, cond_channels=n_mels, n_channels=n_channels, dilations=dilations, residual_gain=residual_gain)


def _of_rows(steps: list[Flow], n_height: int, hop: int, n_mels: int) -> FlowVocoder:
    flow = MultiScale([Chain([Rows(n_height), *steps, RowsAsChannels()])])
    return FlowVocoder(flow, SmoothUpsample(hop), hop=hop, n_mels=n_mels)


def lapglow(
    *,
    n_mels: int = 80,
    hop: int = 256,
    bands: int = 256,
    n_high: int = 96,
    n_flows: int = 6,
    n_early_every: int = 6,
    n_early_size: int = 12,
    n_layers: int = 5,
    n_channels: int = 192,
    n_cond: int = 128,
    kernel_size: int = 3,
    dilation_cycle: int = 4,
    squeeze: str = "mdct",
    prior: str = "mel",
    high_base: str = "normal",
) -> FlowVocoder:
    """This library's own: WaveGlow over a lapped squeeze, whitened by a mel-conditional ActNorm.

    An MDCT of `bands` bands; an ActNorm whose log-scales come from the mel; the `n_high` highest bands leave at once,
    as noise of known energy; the others pass `n_flows` steps as WaveGlow's do. `squeeze="reshape"` and
    `prior="actnorm"` or `"none"` are what recipes/openvoices/ablate.sh compares. `high_base` is the density of the
    highest bands' latents: with "heavy-tailed", what the mel doesn't tell of them costs nats and not thousands.
    Raises ValueError where hop is no multiple of bands, the early outputs use up the channels, or `high_base` is given
    for no bands.
    """
    _require_buildable(n_flows * n_layers)
    _require_multiple(hop, bands, "bands")
    n_early = (n_flows - 1) // n_early_every
    if bands - n_high - n_early * n_early_size < 2:
        raise ValueError(
            f"n_high ({n_high}) and {n_early} early outputs of {n_early_size} channels leave "
            f"{bands - n_high - n_early * n_early_size} of {bands} bands; at least 2 must remain"
        )

    squeezes: dict[str, Callable[[], Flow]] = {
        "mdct": lambda: LappedSqueeze(bands),
        "reshape": lambda: Squeeze(bands, squeeze_cond=False),
    }
    priors: dict[str, Callable[[], list[Flow]]] = {
        "mel": lambda: [ConditionalActNorm(bands, BandScale(n_cond, bands))],
        "actnorm": lambda: [ActNorm(bands)],
        "none": lambda: [],
    }
    layers = [_chosen("squeeze", squeeze, squeezes)(), *_chosen("prior", prior, priors)()]
    base = _chosen("high_base", high_base, {name: name for name in ("normal", "heavy-tailed")})
    if base != "normal" and not n_high:
        raise ValueError(f"high_base is {base!r} and n_high is 0: no bands leave first; set n_high, or drop high_base")
    levels: list[Flow | Split] = []
    channels = bands - n_high
    if n_high:
        levels, layers = [Chain(layers), Split(n_high, leaves="last")], []
    for k in range(n_flows):
        if k and k % n_early_every == 0:
            levels += [Chain(layers), Split(n_early_size)]
            channels, layers = channels - n_early_size, []
        mask = ChannelMask(channels)
        net = WaveNet(
            mask.kept_channels,
            2 * mask.moved_channels,
            cond_channels=n_cond,
            n_channels=n_channels,
            n_layers=n_layers,
            kernel_size=kernel_size,
            dilation_cycle=dilation_cycle,
            weight_norm=False,
        )
        layers += [ActNorm(channels), InvertibleConv(channels), Coupling(net, mask, scale="bounded")]
    levels.append(Chain(layers))
    encoder = MelEncoder(n_mels, n_cond, places_per_frame=hop // bands)
    flow = MultiScale(levels)
    bases = [base, *["normal"] * (flow.n_latents - 1)]
    return FlowVocoder(flow, encoder, hop=hop, n_mels=n_mels, bases=bases)


MAX_LAYERS = 1024


def _require_buildable(layers: int) -> None:
    if layers > MAX_LAYERS:
        raise ValueError(f"the nets of all flows have {layers} layers; at most {MAX_LAYERS} layers are built")


def _require_multiple(hop: int, factor: int, name: str) -> None:
    if hop % factor:
        raise ValueError(f"hop is {hop} and {name} is {factor}; hop must be a multiple of {name}")


def _require_channels_left(n_group: int, n_flows: int, n_early_every: int, n_early_size: int) -> None:
    n_early = (n_flows - 1) // n_early_every
    if n_group - n_early * n_early_size < 2:
        raise ValueError(
            f"{n_early} early outputs of {n_early_size} channels leave {n_group - n_early * n_early_size} of the "
            f"{n_group} in n_group; at least 2 must remain: raise n_group or n_early_every"
        )


def _require_rows(hop: int, n_height: int, n_flows: int, n_layers: int) -> None:
    _require_buildable(n_flows * n_layers)
    _require_multiple(hop, n_height, "n_height")
    if n_height % 2:
        raise ValueError(f"n_height is {n_height}; it must be even, for rows are flipped by halves")


def _chosen(key: str, name: str, options: Mapping[str, T]) -> T:
    """The option of that name. Raises ValueError with the nearest."""
    if name not in options:
        raise ValueError(f"{key} is {name!r}; it must be {' or '.join(options)}{nearest(name, options)}")
    return options[name]
