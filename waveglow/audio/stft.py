"""The short-time Fourier transform of a mel convention. (export/refinement.py has it for graphs without FFTs.)

B: batch, T: samples, F: frames, K = n_fft/2 + 1 bins. A spectrum is complex [B, F, K].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from waveglow.audio.mel_spec import MelSpec


def centred_window(spec: MelSpec) -> Tensor:
    """Hann window of `win` samples in the middle of n_fft, float64 [n_fft]."""
    before = (spec.n_fft - spec.win) // 2
    window = torch.hann_window(spec.win, periodic=spec.window_periodic, dtype=torch.float64)
    return F.pad(window, (before, spec.n_fft - spec.win - before))


class STFT(nn.Module):
    """Windowed frames, the first one at the first sample, and back by overlap-add."""

    window: Tensor

    def __init__(self, spec: MelSpec, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("window", centred_window(spec).to(dtype), persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        """`wav [B, T]` to its spectrum."""
        return torch.fft.rfft(wav.unfold(-1, self.spec.n_fft, self.spec.hop) * self.window)

    def inverse(self, X: Tensor, gain: Tensor) -> Tensor:
        """Windowed frames of the spectrum X · gain [B, F, K], overlapped and added, [B, (F − 1)·hop + n_fft].

        Divided by the `weights` of F frames, it is the waveform nearest to the spectrum in all frames.
        """
        return self._overlap_add(torch.fft.irfft(X * gain, self.spec.n_fft) * self.window)

    def weights(self, frames: int) -> Tensor:
        """Sum of the squared windows that reach each sample of so many frames, [1, (F − 1)·hop + n_fft]."""
        return self._overlap_add(self.window.square().expand(1, frames, -1))

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """[B, F, n_fft] to [B, (F − 1)·hop + n_fft], by hops, many at a time."""
        hop = self.spec.hop
        batch, n, length = frames.shape
        parts = F.pad(frames, (0, -length % hop)).unflatten(-1, (-1, hop))  # (B, F, n_fft/hop, hop)
        hops = frames.new_zeros(batch, n - 1 + parts.shape[2], hop)
        for i in range(parts.shape[2]):
            hops[:, i : i + n] += parts[:, :, i]
        return hops.flatten(1)[:, : (n - 1) * hop + length]
