"""The short-time Fourier transform of a mel convention, twice: by FFT, and by convolutions for graphs without FFTs.

B: batch, T: samples, F: frames, K = n_fft/2 + 1 bins. A spectrum is complex [B, K, F]; in graphs, which have no complex
numbers either, it is real [2, B, K, F].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from waveglow.audio.mel_spec import MelSpec


class STFT(nn.Module):
    """Windowed frames, the first one at the first sample, and back by overlap-add."""

    window: Tensor

    def __init__(self, spec: MelSpec, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.spec = spec
        window = torch.hann_window(spec.win, periodic=spec.window_periodic, dtype=torch.float64)
        self.register_buffer("window", window.to(dtype), persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        """`wav [B, T]` to its spectrum."""
        spec = self.spec
        return torch.stft(wav, spec.n_fft, spec.hop, spec.win, self.window, center=False, return_complex=True)

    def inverse(self, X: Tensor) -> Tensor:
        """Spectrum to the waveform that is nearest in all frames, without the n_fft/2 samples at both of its ends."""
        spec = self.spec
        return torch.istft(X, spec.n_fft, spec.hop, spec.win, self.window, center=True)


class ConvSTFT(nn.Module):
    """As STFT, with a real spectrum [2, B, K, F]; one set of weights serves both directions."""

    basis: Tensor
    weight: Tensor
    window: Tensor

    def __init__(self, spec: MelSpec) -> None:
        super().__init__()
        self.spec = spec
        n, k = torch.arange(spec.n_fft, dtype=torch.float64), torch.arange(spec.n_fft // 2 + 1, dtype=torch.float64)
        margin = (spec.n_fft - spec.win) // 2
        window = torch.hann_window(spec.win, periodic=spec.window_periodic, dtype=torch.float64)
        window = F.pad(window, (margin, spec.n_fft - spec.win - margin))
        angles = 2 * torch.pi / spec.n_fft * torch.outer(k, n)
        basis = torch.cat([angles.cos(), -angles.sin()]) * window  # (2K, n_fft): Re, Im
        mirrored = (k > 0) & (2 * k < spec.n_fft)  # these bins stand for their complex conjugates too
        weight = torch.where(mirrored, 2.0, 1.0) / spec.n_fft
        self.register_buffer("basis", basis[:, None].float(), persistent=False)
        self.register_buffer("weight", weight[:, None].float(), persistent=False)
        self.register_buffer("window", window[None, None].float(), persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        """`wav [B, T]` to its spectrum."""
        both = F.conv1d(wav[:, None], self.basis, stride=self.spec.hop)  # (B, 2K, F)
        return torch.stack(both.chunk(2, dim=1))

    def inverse(self, X: Tensor) -> Tensor:
        """As of STFT."""
        hop, cut = self.spec.hop, self.spec.n_fft // 2
        both = torch.cat((X * self.weight).unbind(), dim=1)
        wav = F.conv_transpose1d(both, self.basis, stride=hop)
        weights = F.conv_transpose1d(torch.ones_like(both[:1, :1]), self.window.square(), stride=hop)
        return wav[:, 0, cut:-cut] / weights[:, 0, cut:-cut]
