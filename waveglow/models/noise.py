"""A vocoder without weights: noise with the energies that a mel tells, of any mel convention.

It is white in the bands of a lapped squeeze of one frame, each scaled by what the mel says at its centre. Above the
highest filter it goes on at the level of that one, below the lowest alike. The phases, of which a mel says nothing, are
noise's; refinement (audio/refine.py) makes the best of them.

M: mels, F: frames, K: bands.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from waveglow.audio.mel_spec import Array, MelSpec, filterbank
from waveglow.flows.actnorm import ConditionalActNorm
from waveglow.flows.compose import Chain, MultiScale
from waveglow.flows.lapped import LappedSqueeze
from waveglow.models.flow_vocoder import FlowVocoder
from waveglow.nn.upsample import Repeat

FLOOR_WIDTH, BELOW_FLOOR = 0.01, 5.0  # nats of amplitude: what lies on a mel's floor may be as quiet as one likes
RAYLEIGH_MEAN = math.sqrt(math.pi / 4)  # of a magnitude whose mean square is 1


class BandLevels(nn.Module):
    """A mel [B, M, F] to −log σ of each band, [B, K, F]: the net of a ConditionalActNorm."""

    weight: Tensor
    bias: Tensor

    def __init__(self, spec: MelSpec, bands: int) -> None:
        super().__init__()
        nats = (1 if spec.log_base == "e" else math.log(10)) / spec.power * max(spec.std or (1.0,))
        self.floor, self.below_floor = spec.silence + FLOOR_WIDTH / nats, BELOW_FLOOR / nats
        weight, bias = band_levels(spec, bands)
        self.register_buffer("weight", torch.from_numpy(-weight).float()[..., None])  # (K, M, 1)
        self.register_buffer("bias", torch.from_numpy(-bias).float())

    def forward(self, mel: Tensor) -> Tensor:
        mel = torch.where(mel > self.floor, mel, mel - self.below_floor)
        return F.conv1d(mel, self.weight, self.bias)

    def reach_places(self) -> int:
        """How many places to each side it looks."""
        return 0


def band_levels(spec: MelSpec, bands: int) -> tuple[Array, Array]:
    """(A [K, M], b [K]): noise of standard deviations σ, log σ = A·mel + b, in K equal bands has that mel on average.

    A filter of gains g over a flat spectrum of noise gives Σ g·E|X|^power. Between the filters' centres log σ is
    interpolated, outside of them it is that of the nearest.
    """
    gains = filterbank(spec)  # (M, n_fft // 2 + 1)
    hz = np.linspace(0, spec.sample_rate / 2, gains.shape[1])
    heard = gains.sum(1) > 0  # not where filters are narrower than the transform's bins
    centres = (gains[heard] @ hz) / gains[heard].sum(1)
    at = (np.arange(bands) + 0.5) / bands * spec.sample_rate / 2
    interpolation = np.zeros((bands, len(gains)))
    interpolation[:, heard] = np.stack([np.interp(at, centres, row) for row in np.eye(len(centres))], axis=1)

    nats = np.full(len(gains), (1 if spec.log_base == "e" else math.log(10)) / spec.power)
    std, mean = np.array(spec.std or (1.0,)), np.array(spec.mean or (0.0,))
    window = np.hanning(spec.win + 1)[:-1] if spec.window_periodic else np.hanning(spec.win)
    of_unit_noise = math.sqrt(np.square(window).sum()) * (RAYLEIGH_MEAN if spec.power == 1 else 1.0)
    offset = nats * mean - np.log(np.maximum(gains.sum(1), 1e-12)) / spec.power - math.log(of_unit_noise)
    return interpolation * (nats * std), interpolation @ offset


def noise_model(spec: MelSpec) -> FlowVocoder:
    """The flow of that noise: exact likelihood, streams and ONNX as of any other."""
    norm = ConditionalActNorm(spec.hop, BandLevels(spec, spec.hop))
    flow = MultiScale([Chain([LappedSqueeze(spec.hop), norm])])
    return FlowVocoder(flow, Repeat(1), hop=spec.hop, n_mels=spec.n_mels)
