"""Refinement (audio/refine.py) as a graph: a loop whose Fourier transform is two small matrix products.

With N = N1·N2, n = N2·n1 + n2 and k = k1 + N1·k2 (Cooley and Tukey 1965),

    X[k] = Σ_n2 exp(−2πi (k1/N + k2/N2)·n2) · Σ_n1 exp(−2πi k1·n1/N1) · x[n]

of which a real signal needs k1 = 0 … N1/2 alone: each bin or its mirror image is among those. They stay in that order,
in which the mel's filters are put once. In onnxruntime 4 s of audio go to spectra and back in 1.0 ms on a CPU's core,
by the opset's DFT in 14, by a dense convolution in 8.5 (torch's FFT: 0.7).

B: batch, T: samples, H: hops, G: frames, M: mels, K = K1·N2 bins, K1 = N1/2 + 1. Time is the last axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from waveglow.audio.mel_spec import MelSpec, filterbank
from waveglow.audio.mel_spectrogram import guarded_energy
from waveglow.audio.refine import MAX_NATS, MelRefiner, Scheme, Steps
from waveglow.audio.stft import centred_window


class FactoredSTFT(nn.Module):
    """As `STFT`, of hops [B, hop, H], H = G + ⌈N/hop⌉ − 1; a spectrum is [B, K1, 2, N2, G], real and imaginary parts.

    `bins` [K] are those of the usual transform, 0 … N/2, at their places here; some come twice.
    """

    window: Tensor
    outer: Tensor
    inner: Tensor
    back: Tensor

    def __init__(self, spec: MelSpec) -> None:
        super().__init__()
        self.hop, self.n_fft = spec.hop, spec.n_fft
        self.n2 = next(n for n in range(math.isqrt(spec.n_fft), 0, -1) if spec.n_fft % n == 0)
        self.n1 = spec.n_fft // self.n2
        self.overlap = math.ceil(spec.n_fft / spec.hop)
        n1, n2 = torch.arange(self.n1).double(), torch.arange(self.n2).double()
        k1 = n1[: self.n1 // 2 + 1]
        bins = (k1[:, None] + self.n1 * n2).flatten().long()
        self.bins = torch.minimum(bins, spec.n_fft - bins)
        outer = _turned(torch.outer(k1, n1) / self.n1)
        inner = _turned(k1[:, None, None] * n2 / spec.n_fft + torch.outer(n2, n2) / self.n2)  # (K1, k2, n2)
        both = torch.cat([torch.cat([inner.real, -inner.imag], 2), torch.cat([inner.imag, inner.real], 2)], 1)
        mirrored = (k1 > 0) & (2 * k1 < self.n1)  # these bins stand for their mirror images too
        back = (both / spec.n_fft * torch.where(mirrored, 2.0, 1.0)[:, None, None]).transpose(1, 2)
        self.register_buffer("window", centred_window(spec).float()[:, None], persistent=False)
        self.register_buffer("outer", torch.stack([outer.real, outer.imag], 1).flatten(0, 1).float(), persistent=False)
        self.register_buffer("inner", both.float(), persistent=False)  # (K1, 2·N2, 2·N2)
        self.register_buffer("back", back.float().contiguous(), persistent=False)

    def forward(self, hops: Tensor) -> Tensor:
        """`hops [B, hop, H]` to their spectrum."""
        batch, n = hops.shape[0], hops.shape[-1] - self.overlap + 1
        frames = torch.cat([hops[..., i : i + n] for i in range(self.overlap)], 1)[:, : self.n_fft] * self.window
        partly = self.outer @ frames.reshape(batch, self.n1, -1)  # (B, 2·K1, N2·G)
        both = self.inner @ partly.reshape(batch, -1, 2 * self.n2, n)
        return both.reshape(batch, -1, 2, self.n2, n)

    def power(self, X: Tensor) -> Tensor:
        """|X|², [B, K, G]."""
        return (X * X).sum(2).flatten(1, 2)

    def inverse(self, X: Tensor, gain: Tensor) -> Tensor:
        """The frames of X · gain [B, K, G], windowed again and added up: hops [B, hop, H], to be weighted."""
        batch, n = X.shape[0], X.shape[-1]
        both = X * gain.reshape(batch, -1, 1, self.n2, n)
        partly = self.back @ both.reshape(batch, -1, 2 * self.n2, n)
        frames = self.outer.T.contiguous() @ partly.reshape(batch, self.outer.shape[0], -1)  # (B, N1, N2·G)
        return self._overlap_add(frames.reshape(batch, self.n_fft, n) * self.window)

    def weights(self, frames: int) -> Tensor:
        """Sum of the squared windows that reach each sample of so many frames, hops [1, hop, H]."""
        return self._overlap_add(self.window.square().expand(1, -1, frames))

    def _overlap_add(self, frames: Tensor) -> Tensor:
        parts = F.pad(frames, (0, 0, 0, -self.n_fft % self.hop)).split(self.hop, 1)
        added = F.pad(parts[0], (0, self.overlap - 1))
        for i, part in enumerate(parts[1:], 1):
            added = added + F.pad(part, (i, self.overlap - 1 - i))
        return added


def _turned(turns: Tensor) -> Tensor:
    return torch.polar(torch.ones_like(turns), -2 * torch.pi * turns)


class GraphRefiner(nn.Module):
    """`MelRefiner` for graphs: audio [B, T], mel [B, M, F], T = F·hop, and steps, an integer tensor [], to [B, T]."""

    basis: Tensor
    share: Tensor

    def __init__(self, spec: MelSpec, *, scheme: Scheme = "accelerated") -> None:
        super().__init__()
        self.spec = spec
        self.refiner = MelRefiner(spec, scheme=scheme)
        self.stft = FactoredSTFT(spec)
        basis = torch.from_numpy(filterbank(spec)).float()  # [M, n_fft/2 + 1]
        bins = self.stft.bins
        heard = basis[:, bins] / torch.bincount(bins)[bins]  # what comes twice is heard once
        share = (basis / basis.sum(0).clamp(min=1e-12))[:, bins].T
        self.register_buffer("basis", heard.contiguous(), persistent=False)
        self.register_buffer("share", share.contiguous(), persistent=False)

    def forward(self, audio: Tensor, mel: Tensor, steps: Tensor) -> Tensor:
        """As of `MelRefiner`."""
        step = self.step_towards(mel, audio.shape[-1])
        long_enough = torch.full((), audio.shape[-1]) >= self.spec.min_samples  # in the graph, not while it is traced
        most = steps * long_enough

        def going(i: Tensor, *state: Tensor) -> Tensor:
            return i < most

        start = torch.zeros((), dtype=torch.int64)
        return torch.while_loop(going, step, (start, audio, audio.clone()))[2]

    def step_towards(self, mel: Tensor, n_samples: int) -> Callable[..., tuple[Tensor, ...]]:
        """One step, (i, where it starts, what is refined so far) to the same after it, for audio [B, n_samples]."""
        scale = 1 / self._cut(self.stft.weights(self._frames(n_samples)), n_samples)
        asked = torch.minimum(mel, self.refiner.ceiling) if self.spec.ceiling_value else mel

        def step(i: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
            return i + 1, *repeated(i, state, self._matched(state[0], asked, scale), self.refiner.repeated)

        return step

    def _frames(self, n_samples: int) -> int:
        """So many that the inverse has every sample, and the last hop is whole."""
        return (n_samples + self.spec.pad_left + self.spec.pad_right) // self.spec.hop + self.refiner._lead + 1

    def _matched(self, audio: Tensor, asked: Tensor, scale: Tensor) -> Tensor:
        """One step (`MelRefiner._matched`)."""
        spec, to_mel, lead = self.spec, self.refiner.to_mel, self.refiner._lead
        n_samples = audio.shape[-1]
        frames = self._frames(n_samples)
        padded = F.pad(audio, (spec.pad_left, spec.pad_right), mode=spec.pad_mode)
        before, total = lead * spec.hop, (frames + self.stft.overlap - 1) * spec.hop
        hops = F.pad(padded, (before, total - before - n_samples - spec.pad_left - spec.pad_right))
        X = self.stft(hops.reshape(len(audio), -1, spec.hop).transpose(1, 2))
        found = to_mel.of_mel(self.basis @ guarded_energy(self.stft.power(X), spec))
        n = n_samples // spec.hop + min(0, (spec.pad_left + spec.pad_right - spec.n_fft) // spec.hop + 1)
        lacking = (asked[..., :n] - found[..., lead : lead + n]) * self.refiner.nats
        everywhere = F.pad(lacking.clamp(-MAX_NATS, MAX_NATS), (lead, frames - lead - n), mode="replicate")
        return self._cut(self.stft.inverse(X, (self.share @ everywhere).exp()), n_samples) * scale

    def _cut(self, hops: Tensor, n_samples: int) -> Tensor:
        first = self.refiner._lead * self.spec.hop + self.spec.pad_left
        return hops.transpose(1, 2).flatten(1)[:, first : first + n_samples]


def repeated(i: Tensor, state: tuple[Tensor, ...], matched: Tensor, numbers: Steps) -> tuple[Tensor, Tensor]:
    """(where the next step starts, what is refined) after step i, from the same before it and what P made of it."""
    (ahead, before), later = state, i > 0
    refined = ahead + torch.where(later, numbers.relaxation, 1.0) * (matched - ahead)
    return refined + torch.where(later, numbers.momentum, 0.0) * (refined - before), refined
