"""FlowVocoder: the exact likelihood of audio given a mel spectrogram, and its inverse.

Shapes: audio [B, T] in [-1, 1], mel [B, M, F], T ≤ F·hop samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from waveglow.config import require_known
from waveglow.flows.base import Shape
from waveglow.flows.compose import MultiScale
from waveglow.flows.likelihood import BASES, log_prob_by_latent, log_prob_by_place
from waveglow.nn.upsample import Conditioner


class FlowVocoder(nn.Module):
    """A flow over audio [B, 1, T] conditioned on an upsampled mel (WaveGlow, arXiv:1811.00002, eqs. 1–6).

    Arguments:
        flow: MultiScale whose x is [B, 1, T] and whose cond is the conditioner's output.
        conditioner: mel [B, M, F] to the conditioning of the flow's first layer, `places_per_frame` places a frame.
        hop: samples per mel frame.
        n_mels: M.
        bases: density of each latent, in the order in which they leave (flows/likelihood.py); None is N(0, 1) for all.

    Raises ValueError for an unknown base, and another number of them than of latents.
    """

    def __init__(
        self,
        flow: MultiScale,
        conditioner: Conditioner,
        *,
        hop: int,
        n_mels: int,
        bases: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.flow = flow
        self.conditioner = conditioner
        self.hop = hop
        self.n_mels = n_mels
        self.bases = tuple(bases or ["normal"] * flow.n_latents)
        for base in self.bases:
            require_known("bases", base, BASES)
        if len(self.bases) != flow.n_latents:
            raise ValueError(f"bases are {', '.join(self.bases)}; the flow has {flow.n_latents} latents, each with one")

    @property
    def group(self) -> int:
        """T must be a multiple of this many samples: the product of the flow's squeezes."""
        return self.flow.factor

    def forward(self, audio: Tensor, mel: Tensor) -> Tensor:
        """Same as `log_prob`."""
        return self.log_prob(audio, mel)

    def log_prob(self, audio: Tensor, mel: Tensor) -> Tensor:
        """log p(audio | mel), [B], in nats with all constants; divide by T for nats per sample."""
        zs, log_det = self.encode(audio, mel)
        return self.prior_log_prob(zs) + log_det

    def log_prob_by_sample(self, audio: Tensor, mel: Tensor) -> Tensor:
        """`log_prob` as it accrues with time: [B, T] nats, whose sum is log p(audio | mel).

        A latent, and a layer's log-scale, counts where its place is; the samples of a place share what it has.
        """
        cond = self.conditioning(mel, audio.shape[-1])
        zs, log_det = self.flow.forward_by_place(audio.unsqueeze(1), cond)
        return log_prob_by_place(zs, self.bases, places=audio.shape[-1]) + log_det

    def prior_log_prob(self, zs: Iterable[Tensor]) -> Tensor:
        """log p(z) over all latents, [B], in nats."""
        return log_prob_by_latent(zs, self.bases)

    def encode(self, audio: Tensor, mel: Tensor) -> tuple[list[Tensor], Tensor]:
        """audio [B, T], mel [B, M, F] to (zs in the order in which they leave, log_det [B]).

        Raises ValueError where the shapes don't fit each other or T is no multiple of the squeeze.
        """
        cond = self.conditioning(mel, audio.shape[-1])
        return self.flow(audio.unsqueeze(1), cond)

    def decode(self, zs: Sequence[Tensor], mel: Tensor) -> Tensor:
        """zs as `encode` gives them, mel [B, M, F] to audio [B, T]; T follows from the latents."""
        n_samples = sum(z[0].numel() for z in zs)
        return self.flow.inverse(zs, self.conditioning(mel, n_samples)).squeeze(1)

    def latent_shapes(self, n_samples: int) -> list[Shape]:
        """(C_i, T_i) of each latent for audio of n_samples."""
        return self.flow.latent_shapes((1, n_samples))

    def conditioning(self, mel: Tensor, n_samples: int) -> Tensor:
        """What the flow's first layer is given for n_samples of audio: mel [B, M, F] to [B, C_cond, places].

        Raises ValueError where the mel has other channels than the model takes, or too few frames.
        """
        if mel.dim() != 3 or mel.shape[1] != self.n_mels:
            raise ValueError(f"mel has shape {list(mel.shape)}; this model takes [B, {self.n_mels}, F]")
        frames = mel.shape[-1]
        if n_samples > frames * self.hop:
            raise ValueError(
                f"{n_samples} samples need {-(-n_samples // self.hop)} mel frames of {self.hop} samples; got {frames}"
            )
        places = math.ceil(n_samples * self.conditioner.places_per_frame / self.hop)
        return self.conditioner(mel)[..., :places]
