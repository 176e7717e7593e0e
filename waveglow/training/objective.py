"""What a vocoder is trained on: the exact likelihood of speech, and how its samples sound.

Shapes: audio [B, T] in [-1, 1], mel [B, M, F].
"""

from __future__ import annotations

import torch
from auraloss.freq import MultiResolutionSTFTLoss
from torch import Tensor, nn

from waveglow.audio.mel import MelSpec
from waveglow.audio.refine import MelRefiner
from waveglow.flows.base import full_precision
from waveglow.flows.likelihood import BASES
from waveglow.models.bandwidth import filled, spliced
from waveglow.models.flow_vocoder import FlowVocoder
from waveglow.training.config import LossConfig

# Windows of 5 to 109 ms: the short ones hear the pulses of a voice, the longest one tells 10 Hz apart.
RESOLUTIONS = {
    "fft_sizes": [4096, 2048, 1024, 512, 256],
    "win_lengths": [2400, 1200, 600, 240, 120],
    "hop_sizes": [480, 240, 120, 50, 25],
}
LONGEST_FFT = max(RESOLUTIONS["fft_sizes"])


class VocoderObjective(nn.Module):
    """Terms of the loss, by name; the module that DDP wraps.

    `nll_nats` is −log p(audio | mel) in nats per sample, all constants included, of the bands that the recordings have
    (models/bandwidth.py). `mr_stft`, where `config` gives it a weight, is the mean distance of log-magnitudes at five
    STFT resolutions (Yamamoto, Song and Kim 2020, arXiv:1910.11480, eqs. 8–9) between the audio and samples at
    `config.sigma`, drawn through the inverse; `mr_stft_between`, where `config.repulsion` has one, is that between two
    samples of one mel. The first less half the second is a spectral energy distance (Gritsenko et al. 2020,
    arXiv:2008.01160): without the second, the best sample is the same one every time, with pulses in step with the
    frames of the mel. Spectral convergence (eq. 7) is left out: with it, training diverges. Samples are
    refined first where `config` says so, to the mel of the crop itself, so that the model learns what refinement can't.
    """

    def __init__(self, model: FlowVocoder, config: LossConfig, spec: MelSpec) -> None:
        super().__init__()
        self.model = model
        self.refiner = MelRefiner(spec) if config.refine else None
        self.config = config
        self.mr_stft = MultiResolutionSTFTLoss(**RESOLUTIONS, w_sc=0.0)

    def forward(self, audio: Tensor, mel: Tensor, bandwidth: Tensor, judged: Tensor | None = None) -> dict[str, Tensor]:
        """The terms, each averaged over the batch; `bandwidth` [B] is the recordings' share of half the sample rate.

        `judged` [J] are the places of the crops whose samples are judged, of a batch that may be a part of one: their
        sum is divided by the share of the part's size, so that parts together weigh as the whole. None takes the first.
        """
        audio, lacking = filled(self.model, audio, mel, bandwidth)
        terms = {"nll_nats": (lacking - self.model(audio, mel)).mean() / audio.shape[-1]}
        if self.config.mr_stft:
            share = self.config.mr_stft_share
            if judged is None:
                judged = torch.arange(max(1, round(share * len(audio))), device=audio.device)
                share = len(judged) / len(audio)
            found = self._spectral(audio[judged], mel[judged], bandwidth[judged])
            terms |= {name: term * (len(judged) / (share * len(audio))) for name, term in found.items()}
        return terms

    def _spectral(self, audio: Tensor, mel: Tensor, bandwidth: Tensor) -> dict[str, Tensor]:
        samples = 2 if self.config.repulsion else 1
        if not len(audio):
            return dict.fromkeys(["mr_stft", "mr_stft_between"][:samples], audio.new_zeros(()))
        audio, mel, bandwidth = (each.repeat_interleave(samples, 0) for each in (audio, mel, bandwidth))
        shapes = zip(self.model.bases, self.model.latent_shapes(audio.shape[-1]), strict=True)
        zs = [BASES[base].sample((len(audio), *shape), self.config.sigma, audio.device) for base, shape in shapes]
        sampled = self.model.decode(zs, mel)
        with full_precision(audio):
            sampled = spliced(self.model, sampled, audio, bandwidth)
            if self.refiner:
                sampled = self.refiner(sampled, self.refiner.to_mel(audio), self.config.refine)
            sampled, audio = sampled[:, None], audio[:, None]
            terms = {"mr_stft": self.mr_stft(sampled, audio)}
            if samples == 2:
                terms["mr_stft_between"] = self.mr_stft(sampled[::2], sampled[1::2])
        return terms
