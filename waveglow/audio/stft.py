"""The short-time Fourier transform of a mel convention, twice: by FFT, and by convolutions for graphs without FFTs.

B: batch, T: samples, F: frames, K = n_fft/2 + 1 bins. A spectrum is complex [B, F, K]; in graphs, which have no complex
numbers either, it is real [2, B, F, K].
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

    def power(self, X: Tensor) -> Tensor:
        """|X|², [B, F, K]."""
        return X.real.square() + X.imag.square()

    def magnitude(self, X: Tensor) -> Tensor:
        """|X|, [B, F, K], whose gradient at 0 is 0."""
        return X.abs()

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


class ConvSTFT(nn.Module):
    """As STFT, with a real spectrum [2, B, F, K]; one set of weights serves both directions."""

    basis: Tensor
    weight: Tensor
    window: Tensor

    def __init__(self, spec: MelSpec) -> None:
        super().__init__()
        self.spec = spec
        n, k = torch.arange(spec.n_fft, dtype=torch.float64), torch.arange(spec.n_fft // 2 + 1, dtype=torch.float64)
        window = centred_window(spec)
        angles = 2 * torch.pi / spec.n_fft * torch.outer(k, n)
        basis = torch.cat([angles.cos(), -angles.sin()]) * window  # (2K, n_fft): Re, Im
        mirrored = (k > 0) & (2 * k < spec.n_fft)  # these bins stand for their complex conjugates too
        weight = torch.where(mirrored, 2.0, 1.0) / spec.n_fft
        self.register_buffer("basis", basis[:, None].float(), persistent=False)
        self.register_buffer("weight", weight.float(), persistent=False)
        self.register_buffer("window", window[None, None].float(), persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        """`wav [B, T]` to its spectrum."""
        both = F.conv1d(wav[:, None], self.basis, stride=self.spec.hop)  # (B, 2K, F)
        return torch.stack(both.transpose(1, 2).chunk(2, dim=2))

    def power(self, X: Tensor) -> Tensor:
        """As of STFT."""
        return X.square().sum(0)

    def magnitude(self, X: Tensor) -> Tensor:
        """As of STFT, but for the gradient."""
        return self.power(X).sqrt()

    def inverse(self, X: Tensor, gain: Tensor) -> Tensor:
        """As of STFT."""
        both = torch.cat((X * (gain * self.weight)).unbind(), dim=2).transpose(1, 2)  # (B, 2K, F)
        return F.conv_transpose1d(both, self.basis, stride=self.spec.hop)[:, 0]

    def weights(self, frames: int) -> Tensor:
        """As of STFT."""
        ones = self.window.new_ones(1, 1, frames)
        return F.conv_transpose1d(ones, self.window.square(), stride=self.spec.hop)[:, 0]
