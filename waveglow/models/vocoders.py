"""Builders of flow vocoders: numbers over shared layers, each a function of a published table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from waveglow.config import nearest
from waveglow.flows.actnorm import ActNorm, ConditionalActNorm
from waveglow.flows.base import Flow
from waveglow.flows.compose import MultiScale, Sequence, Split
from waveglow.flows.coupling import ChannelMask, Coupling
from waveglow.flows.lapped import LappedSqueeze
from waveglow.flows.permute import InvertibleConv, InvertibleConvLU
from waveglow.flows.reshape import Squeeze
from waveglow.models.vocoder import FlowVocoder
from waveglow.nn.upsample import BandScale, MelEncoder, TransposedConvUpsample
from waveglow.nn.wavenet import WaveNet

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
) -> FlowVocoder:
    """WaveGlow (Prenger, Valle and Catanzaro 2018, arXiv:1811.00002), as NVIDIA published it where `actnorm` is off.

    Groups of `n_group` samples pass `n_flows` steps of (ActNorm), invertible 1×1 convolution and affine coupling; every
    `n_early_every` steps the first `n_early_size` channels leave as a latent. `upsample_kernel` defaults to 4 hops.
    Raises ValueError where hop is no multiple of n_group, the early outputs use up the channels, or there are more than
    1024 layers: a configuration comes from a file that may not be one's own.
    """
    if n_flows * n_layers > 1024:
        raise ValueError(f"n_flows × n_layers is {n_flows} × {n_layers}; at most 1024 layers are built")
    if hop % n_group:
        raise ValueError(f"hop is {hop} and n_group is {n_group}; hop must be a multiple of n_group")
    n_early = (n_flows - 1) // n_early_every
    if n_group - n_early * n_early_size < 2:
        raise ValueError(
            f"{n_early} early outputs of {n_early_size} channels leave {n_group - n_early * n_early_size} of the "
            f"{n_group} in n_group; at least 2 must remain: raise n_group or n_early_every"
        )

    def step(channels: int) -> list[Flow]:
        mask = ChannelMask(channels)
        net = WaveNet(
            mask.kept_channels,
            2 * mask.moved_channels,
            cond_channels=n_mels * n_group,
            n_channels=n_channels,
            n_layers=n_layers,
            kernel_size=kernel_size,
        )
        mix = InvertibleConvLU(channels) if lu else InvertibleConv(channels)
        return [*([ActNorm(channels)] if actnorm else []), mix, Coupling(net, mask)]

    levels = _levels([Squeeze(n_group)], n_group, step, n_flows, n_early_every, n_early_size)
    upsample = TransposedConvUpsample(n_mels, hop=hop, kernel_size=upsample_kernel or 4 * hop)
    return FlowVocoder(MultiScale(levels), upsample, hop=hop, n_mels=n_mels)


def _levels(
    layers: list[Flow],
    channels: int,
    step: Callable[[int], list[Flow]],
    n_flows: int,
    n_early_every: int,
    n_early_size: int,
) -> list[Flow | Split]:
    """The first layers, then `n_flows` steps; before every `n_early_every`-th some channels leave."""
    levels: list[Flow | Split] = []
    for k in range(n_flows):
        if k and k % n_early_every == 0:
            levels += [Sequence(layers), Split(n_early_size)]
            channels -= n_early_size
            layers = []
        layers = [*layers, *step(channels)]
    return [*levels, Sequence(layers)]


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
) -> FlowVocoder:
    """This library's own: WaveGlow over a lapped squeeze, whitened by a mel-conditional ActNorm.

    An MDCT of `bands` bands; an ActNorm whose log-scales come from the mel; the `n_high` highest bands leave at once,
    as noise of known energy; the others pass `n_flows` steps as WaveGlow's do. `squeeze="reshape"` and
    `prior="actnorm"` or `"none"` are what recipes/openvoices/ablate.sh compares.
    Raises ValueError where hop is no multiple of bands, or the early outputs use up the channels.
    """
    if n_flows * n_layers > 1024:
        raise ValueError(f"n_flows × n_layers is {n_flows} × {n_layers}; at most 1024 layers are built")
    if hop % bands:
        raise ValueError(f"hop is {hop} and bands is {bands}; hop must be a multiple of bands")
    n_early = (n_flows - 1) // n_early_every
    if bands - n_high - n_early * n_early_size < 2:
        raise ValueError(
            f"n_high ({n_high}) and {n_early} early outputs of {n_early_size} channels leave "
            f"{bands - n_high - n_early * n_early_size} of {bands} bands; at least 2 must remain"
        )

    def step(channels: int) -> list[Flow]:
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
        return [ActNorm(channels), InvertibleConv(channels), Coupling(net, mask, scale="bounded")]

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
    levels: list[Flow | Split] = []
    if n_high:
        levels, layers = [Sequence(layers), Split(n_high, leaves="last")], []
    levels += _levels(layers, bands - n_high, step, n_flows, n_early_every, n_early_size)
    encoder = MelEncoder(n_mels, n_cond, places_per_frame=hop // bands)
    return FlowVocoder(MultiScale(levels), encoder, hop=hop, n_mels=n_mels)


def _chosen(key: str, name: str, options: Mapping[str, T]) -> T:
    """The option of that name. Raises ValueError with the nearest."""
    if name not in options:
        raise ValueError(f"{key} is {name!r}; it must be {' or '.join(options)}{nearest(name, options)}")
    return options[name]
