"""Refinement: a waveform moved onto the mel that it was made from, by gains in its short-time spectrum.

A vocoder's sample has the right phases and harmonics sooner than the right energies. A step compares the sample's own
mel with the one asked for and multiplies every bin of every frame by what its bands lack; overlapping frames then
disagree a little, so steps are repeated, with the momentum of fast Griffin-Lim (Perraudin, Balazs, Søndergaard 2013).
Unlike there, no spectrogram is guessed from the mel: what a band doesn't tell, the sample's own fine structure, stays.
GLA-Grad (Liu, Le Roux et al. 2024, arXiv:2402.15516) steers a diffusion vocoder by Griffin-Lim in the same spirit.

B: batch, T: samples, F: frames, M: mels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from waveglow.audio.mel_spec import MelSpec
from waveglow.audio.mel_spectrogram import MelSpectrogram

MOMENTUM = 0.99
MAX_STEPS = 1000
MAX_NATS = 3.0  # of a gain in one step: a band that the sample left empty isn't filled with amplified rounding


class MelRefiner(nn.Module):
    """Steps towards audio whose mel, of convention `spec`, is the one asked for. Differentiable.

    A band asked for at the convention's ceiling is raised up to it and never lowered: the mel tells nothing beyond.
    """

    share: Tensor
    nats: Tensor
    ceiling: Tensor

    def __init__(self, spec: MelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.to_mel = MelSpectrogram(spec)
        basis = self.to_mel.basis  # [M, n_fft/2 + 1]
        self.register_buffer("share", basis / basis.sum(0).clamp(min=1e-12), persistent=False)
        nats = (1 if spec.log_base == "e" else math.log(10)) / spec.power  # of amplitude, where std is 1
        self.register_buffer("nats", self.to_mel.std * nats, persistent=False)
        ceiling = torch.tensor(spec.ceiling_value or math.inf)
        self.register_buffer("ceiling", self.to_mel.of_mel(ceiling), persistent=False)  # [1 or M, 1]

    def frames_seen(self, steps: int) -> int:
        """How many frames before and after its own a sample depends on: each step reaches as far as windows overlap."""
        return math.ceil((steps + 1) * self.spec.n_fft / self.spec.hop) if steps else 0

    def require_overlap(self) -> None:
        """Raises ValueError for a convention whose windows overlap by less than half: steps would not converge."""
        if 2 * self.spec.hop > self.spec.win:
            raise ValueError(
                f"refinement needs windows that overlap by half, and the mel has windows of {self.spec.win} samples "
                f"every {self.spec.hop}; set refine to 0"
            )

    def forward(self, audio: Tensor, mel: Tensor, steps: int) -> Tensor:
        """`audio [B, T]` for `mel [B, M, F]`, refined: [B, T]. Audio shorter than `spec.min_samples` stays as it is.

        Frames beyond the mel's end take the gains of its last one; bins that no band covers stay as they are.
        Raises ValueError for a convention whose windows overlap by less than half.
        """
        if not steps or audio.shape[-1] < self.spec.min_samples:
            return audio
        self.require_overlap()
        with torch.autocast(audio.device.type, enabled=False):
            ahead = refined = audio.to(self.share.dtype)
            padded = audio.shape[-1] + self.spec.pad_left + self.spec.pad_right
            weights = self.to_mel.stft.weights(padded // self.spec.hop + self._lead + 1)
            for step in range(steps):
                before, refined = refined, self._matched(ahead, mel, weights)
                ahead = torch.lerp(before, refined, 1 + MOMENTUM) if step else refined
            return refined

    @property
    def _lead(self) -> int:
        """Hops before the padded audio, for the inverse to reach its first sample."""
        return max(0, math.ceil((self.spec.n_fft // 2 - self.spec.pad_left) / self.spec.hop))

    def _matched(self, audio: Tensor, mel: Tensor, weights: Tensor) -> Tensor:
        """One step, by gains that would give every frame its mel if the others didn't overlap it."""
        spec, to_mel, lead = self.spec, self.to_mel, self._lead
        padded = F.pad(audio, (spec.pad_left, spec.pad_right), mode=spec.pad_mode)
        X = to_mel.stft(F.pad(padded, (lead * spec.hop, spec.n_fft)))
        n = min(mel.shape[-1], spec.frames(audio.shape[-1]))
        asked = torch.minimum(mel[..., :n], self.ceiling) if spec.ceiling_value else mel[..., :n]
        lacking = (asked - to_mel.of_spectrum(X[..., lead : lead + n, :])) * self.nats
        everywhere = F.pad(lacking.clamp(-MAX_NATS, MAX_NATS), (lead, X.shape[-2] - lead - n), mode="replicate")
        gain = (everywhere.transpose(1, 2) @ self.share).exp()  # (B, F, K)
        first = spec.pad_left + lead * spec.hop - spec.n_fft // 2
        wav = to_mel.stft.inverse(X, gain, weights)
        return wav[:, first : first + audio.shape[-1]]
