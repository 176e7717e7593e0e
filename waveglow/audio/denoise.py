"""The hum of a vocoder taken off its audio, by subtraction in the short-time spectrum.

    Y = max(|X| − strength · bias, 0) · X / |X|,   bias = mean over frames of |STFT(audio for a silent mel)|

S. F. Boll, 1979, "Suppression of acoustic noise in speech using spectral subtraction". To subtract a flow's own bias is
NVIDIA/waveglow's idea (denoiser.py), which takes it from a mel of zeros, loud in a log-mel, and from one frame.

B: batch, T: samples, K = n_fft/2 + 1 bins.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from waveglow.audio.mel_spec import MelSpec

SILENT_WINDOWS = 16  # of the STFT, over which the hum is averaged
SETTLED_FRAMES = 32  # from a clip's end; the hum of six trained models was within 1 % of its level after 12
PIECE_WINDOWS = 256  # of audio at once: memory doesn't grow with the clip


class BiasDenoiser(nn.Module):
    """Takes a stationary hum off audio. Differentiable; computes in float32, on the device of `silence`.

    Arguments:
        silence: [T], the vocoder's audio for a silent mel, without its ends, which sound different; T ≥ n_fft.
        n_fft: samples of the Hann window; frames are a quarter of it apart.

    Raises ValueError for a silence of another shape, shorter, or not finite.
    """

    window: Tensor
    bias: Tensor

    def __init__(self, silence: Tensor, *, n_fft: int = 1024) -> None:
        super().__init__()
        if silence.dim() != 1 or len(silence) < n_fft or not silence.isfinite().all():
            raise ValueError(
                f"silence has shape {list(silence.shape)}; it must be [T] of at least n_fft = {n_fft} finite samples"
            )
        self.register_buffer("window", torch.hann_window(n_fft, dtype=torch.float32, device=silence.device))
        self.register_buffer("bias", self._spectrum(silence.float(), center=False).abs().mean(-1))  # [K]

    def forward(self, audio: Tensor, strength: float) -> Tensor:
        """`audio [B, T]` of any length less `strength` times the hum: [B, T], in its dtype; strength 0 gives it back.

        Raises ValueError for another shape, no samples, or a strength that is negative or not finite.
        """
        if audio.dim() != 2 or not audio.shape[1]:
            raise ValueError(f"audio has shape {list(audio.shape)}; it must be [B, T] of at least one sample")
        if not (math.isfinite(strength) and strength >= 0):
            raise ValueError(f"strength is {strength}; it must be a finite number >= 0")
        if not strength:
            return audio
        n_fft = len(self.window)
        surrounded = F.pad(audio.float(), (n_fft, n_fft))
        length = PIECE_WINDOWS * n_fft
        pieces = [
            self._subtracted(surrounded[:, first : first + length + 2 * n_fft], strength)[:, n_fft:-n_fft]
            for first in range(0, audio.shape[1], length)
        ]
        return torch.cat(pieces, dim=1).to(audio.dtype)

    def _subtracted(self, wav: Tensor, strength: float) -> Tensor:
        """`wav [B, T]` less the hum, but for a window at its ends."""
        X = self._spectrum(wav, center=True)  # (B, K, frames)
        magnitude = X.abs()
        left = (magnitude - strength * self.bias[:, None]).clamp(min=0)
        Y = X * (left / magnitude.clamp(min=torch.finfo(magnitude.dtype).tiny))
        n_fft = len(self.window)
        return torch.istft(Y, n_fft, n_fft // 4, window=self.window, length=wav.shape[1])

    def _spectrum(self, wav: Tensor, *, center: bool) -> Tensor:
        """`wav [..., T]` to complex [..., K, frames]."""
        n_fft = len(self.window)
        return torch.stft(wav, n_fft, n_fft // 4, window=self.window, center=center, return_complex=True)


def heard_in_silence(
    spec: MelSpec, silence: Tensor, synthesize: Callable[[Tensor], Tensor], *, reach: int
) -> BiasDenoiser:
    """The denoiser of a vocoder, whose audio depends on `reach` mel frames to each side.

    `silence` [M, F] is the mel of it, `synthesize` gives the audio of a mel at sigma 0 and without refinement.
    """
    lead, frames = min(SETTLED_FRAMES, reach), math.ceil(SILENT_WINDOWS * spec.n_fft / spec.hop)
    audio = synthesize(silence[:, :1].expand(-1, lead + frames + lead))
    return BiasDenoiser(audio[lead * spec.hop : (lead + frames) * spec.hop], n_fft=spec.n_fft)
