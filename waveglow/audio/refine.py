"""Refinement: a waveform moved onto the mel that it was made from, by gains in its short-time spectrum.

A vocoder's sample has the right phases and harmonics sooner than the right energies. A step compares the sample's own
mel with the one asked for and multiplies every bin of every frame by what its bands lack; overlapping frames then
disagree a little, so steps are repeated, by a scheme of the Griffin-Lim family. Unlike there, no spectrogram is guessed
from the mel: what a band doesn't tell, the sample's own fine structure, stays. GLA-Grad (Liu, Le Roux et al. 2024,
arXiv:2402.15516) steers a diffusion vocoder by Griffin-Lim in the same spirit.

B: batch, T: samples, F: frames, M: mels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from waveglow.audio.filters import Filters
from waveglow.audio.mel_spec import MelSpec, filterbank
from waveglow.audio.mel_spectrogram import MelSpectrogram
from waveglow.audio.steps import require_steps
from waveglow.config import nearest


class Steps(NamedTuple):
    """How a step P is repeated:  t = (1 − γ)c + γP(c),   c = t + α(t − t'),   t' the last t.

    Where P shrinks a deviation by λ ≥ 0, a step multiplies it by μ = 1 − γ + γλ, and the roots of
    z² − (1 + α)μz + αμ lie within the unit circle for γ < 1 + 1 / (1 + 2α): 1.36 at α = 0.9. Beyond it steps diverge.
    """

    momentum: float  # α
    relaxation: float  # γ


Scheme = Literal["fast", "accelerated"]
SCHEMES: dict[Scheme, Steps] = {
    "fast": Steps(momentum=0.99, relaxation=1.0),  # Perraudin, Balazs, Søndergaard 2013
    "accelerated": Steps(momentum=0.9, relaxation=1.2),  # Nenov et al. 2023, arXiv:2306.12504; its β is α
}
STREAM_STEPS = 8  # usual for streams, which every step delays
FRAMES_AT_ONCE = 384  # on a CPU, a clip after the other: what a step makes stays in its cache
MAX_NATS = 3.0  # of a gain in one step: a band that the sample left empty isn't filled with amplified rounding


@dataclass(frozen=True)
class Refinement:
    """How a vocoder refines where a call names no number of steps; a part of its checkpoint.

    `steps` are those of whole mels, `stream_steps` those of streams. `context` has mel frames by steps: with so many on
    both sides, a piece of a stream is what it is in the whole, as measured (evaluation/streams.py).

    Raises ValueError for steps that are no whole number from 0 to 1000, frames that are none, and a scheme of another
    name.
    """

    steps: int = 0
    stream_steps: int = 0
    scheme: Scheme = "accelerated"
    context: Mapping[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_steps(self.steps)
        require_steps(self.stream_steps)
        if self.scheme not in [*SCHEMES]:
            raise ValueError(f"{self.scheme!r} is no scheme of refinement{nearest(str(self.scheme), SCHEMES)}")
        for steps, frames in self.context.items():
            require_steps(steps)
            if type(frames) is not int or frames < 0:
                raise ValueError(f"stream_context of {steps} steps is {frames!r}; it must be a whole number of frames")

    @classmethod
    def usual(cls, steps: int) -> Refinement:
        """So many steps, and at most STREAM_STEPS in streams."""
        require_steps(steps)
        return cls(steps, min(steps, STREAM_STEPS))

    @classmethod
    def of_info(cls, info: Mapping[str, Any]) -> Refinement:
        """What a checkpoint's info says of it; those of version 0.1 tell one number, of fast steps."""
        steps, context = info.get("refine", 0), info.get("stream_context", {})
        if not isinstance(context, Mapping) or not all(str(n).isdecimal() for n in context):
            raise ValueError(f"stream_context is {context!r}; it must name frames by steps, as {{'16': 30}}")
        return cls(
            steps,
            info.get("stream_refine", steps),
            info.get("refine_scheme", "fast"),
            {int(n): frames for n, frames in context.items()},
        )

    def info(self) -> dict[str, Any]:
        """For a checkpoint's info, as JSON."""
        said = {"refine": self.steps, "stream_refine": self.stream_steps, "refine_scheme": self.scheme}
        return {**said, **({"stream_context": {str(n): f for n, f in self.context.items()}} if self.context else {})}

    def frames_around(self, steps: int) -> int | None:
        """The measured context of so many steps, or of the next larger number; None where none is known."""
        known = [n for n in self.context if n >= steps]
        return self.context[min(known)] if known else None


def require_overlap(spec: MelSpec) -> None:
    """Raises ValueError for a convention whose windows overlap by less than half: steps would not converge."""
    if 2 * spec.hop > spec.win:
        raise ValueError(
            f"refinement needs windows that overlap by half, and the mel has windows of {spec.win} samples "
            f"every {spec.hop}; set refine to 0"
        )


def require_refinable(spec: MelSpec | None, refinement: Refinement) -> Refinement:
    """Raises ValueError where a vocoder of that mel convention can't refine so."""
    steps = max(refinement.steps, refinement.stream_steps)
    if steps and spec is None:
        raise ValueError(
            f"refine is {steps}, and this vocoder knows no mel convention; give Vocoder(model, mel_spec=preset(NAME))"
        )
    if steps and spec:
        require_overlap(spec)
    return refinement


class MelRefiner(nn.Module):
    """Steps towards audio whose mel, of convention `spec`, is the one asked for. Differentiable.

    `scheme` is how they are repeated: accelerated ones reach with n steps what fast ones reach with some 2n.

    A band asked for at the convention's ceiling is raised up to it and never lowered: the mel tells nothing beyond.
    """

    nats: Tensor
    ceiling: Tensor

    def __init__(self, spec: MelSpec, *, scheme: Scheme = "accelerated") -> None:
        super().__init__()
        self.spec = spec
        self.repeated = SCHEMES[scheme]
        self.to_mel = MelSpectrogram(spec)
        basis = torch.from_numpy(filterbank(spec)).float()[:, : self.to_mel.filters.columns]  # [M, K]
        self.shares = Filters((basis / basis.sum(0).clamp(min=1e-12)).T)
        self.frames_at_once: int | None = FRAMES_AT_ONCE
        nats = (1 if spec.log_base == "e" else math.log(10)) / spec.power  # of amplitude, where std is 1
        self.register_buffer("nats", self.to_mel.std * nats, persistent=False)
        ceiling = torch.tensor(spec.ceiling_value or math.inf, dtype=torch.float32)
        self.register_buffer("ceiling", self.to_mel.of_mel(ceiling), persistent=False)  # [1 or M, 1]

    def frames_seen(self, steps: int) -> int:
        """How many frames before and after its own a sample depends on: each step reaches as far as windows overlap."""
        return math.ceil((steps + 1) * self.spec.n_fft / self.spec.hop) if steps else 0

    def forward(self, audio: Tensor, mel: Tensor, steps: int) -> Tensor:
        """`audio [B, T]` for `mel [B, M, F]`, refined: [B, T]. Audio shorter than `spec.min_samples` stays as it is.

        Frames beyond the mel's end take the gains of its last one; bins that no band covers stay as they are.
        Raises ValueError for a convention whose windows overlap by less than half.
        """
        if not steps or audio.shape[-1] < self.spec.min_samples:
            return audio
        require_overlap(self.spec)
        with torch.autocast(audio.device.type, enabled=False):
            audio, weights = audio.to(self.nats.dtype), self._weights(audio.shape[-1])
            if self._at_once(audio) is None:
                return self._repeated(audio, mel, weights, steps)
            clips = zip(audio.split(1), mel.split(1), strict=True)
            return torch.cat([self._repeated(*clip, weights, steps) for clip in clips])

    def _at_once(self, audio: Tensor) -> int | None:
        """How many frames of one clip a step takes at once; None is all of all clips."""
        return self.frames_at_once if audio.device.type == "cpu" else None

    @property
    def _lead(self) -> int:
        """Hops before the padded audio, for the inverse to reach its first sample."""
        return max(0, math.ceil((self.spec.n_fft // 2 - self.spec.pad_left) / self.spec.hop))

    def _weights(self, samples: int) -> Tensor:
        padded = samples + self.spec.pad_left + self.spec.pad_right
        return self.to_mel.stft.weights(self._lead + padded // self.spec.hop + 1)

    def _repeated(self, audio: Tensor, mel: Tensor, weights: Tensor, steps: int) -> Tensor:
        n = min(mel.shape[-1], self.spec.frames(audio.shape[-1]))
        asked = torch.minimum(mel[..., :n], self.ceiling) if self.spec.ceiling_value else mel[..., :n]
        ahead = refined = self._matched(audio, asked, weights)
        for _ in range(steps - 1):
            before, matched = refined, self._matched(ahead, asked, weights)
            refined = torch.lerp(ahead, matched, self.repeated.relaxation)
            ahead = torch.lerp(before, refined, 1 + self.repeated.momentum)
        return refined

    def _matched(self, audio: Tensor, asked: Tensor, weights: Tensor) -> Tensor:
        """One step, by gains that would give every frame its mel if the others didn't overlap it."""
        spec, lead, n = self.spec, self._lead, asked.shape[-1]
        padded = F.pad(audio, (spec.pad_left, spec.pad_right), mode=spec.pad_mode)
        behind = padded.shape[-1] // spec.hop + 1 - n  # frames after the mel's
        wav = F.pad(padded, (lead * spec.hop, spec.n_fft - padded.shape[-1] % spec.hop))
        at_once = self._at_once(audio)
        if at_once is None or n <= at_once:
            summed = self._resynthesized(wav, asked, lead, behind)
        else:
            summed = torch.zeros_like(wav)
            for first in range(0, n, at_once):
                end = min(first + at_once, n)
                before, after = (0 if first else lead), (behind if end == n else 0)
                start, stop = (first + lead - before) * spec.hop, (end + lead + after - 1) * spec.hop + spec.n_fft
                summed[:, start:stop] += self._resynthesized(wav[:, start:stop], asked[..., first:end], before, after)
        begin = lead * spec.hop + spec.pad_left
        heard = slice(begin, begin + audio.shape[-1])
        return summed[:, heard] / weights[:, heard]

    def _resynthesized(self, wav: Tensor, asked: Tensor, before: int, after: int) -> Tensor:
        """Frames of `wav [B, T]`, each with the gains that it lacks, overlapped and added: [B, T].

        Its first frames, `before`, take the gains of the first that a mel is asked for, the last, `after`, of the last.
        """
        X = self.to_mel.stft(wav)
        lacking = (asked - self.to_mel.of_spectrum(X[..., before : X.shape[-2] - after, :])) * self.nats
        everywhere = F.pad(lacking.clamp(-MAX_NATS, MAX_NATS), (before, after), mode="replicate")
        gain = self.shares(everywhere.transpose(1, 2).contiguous()).exp()  # (B, F, K)
        return self.to_mel.stft.inverse(X, F.pad(gain, (0, X.shape[-1] - gain.shape[-1]), value=1.0))
