"""The log-mel spectrogram of a waveform, in any convention, differentiable.

B: batch, T: samples, F: frames.

    mel = log min(ceiling, max(floor, basis · |STFT(wav)|^power)),   |X| = √(Re² + Im²), guarded
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from waveglow.audio.filters import Filters
from waveglow.audio.mel_spec import MelSpec, filterbank
from waveglow.audio.stft import STFT

BLOCK_SAMPLES = 1 << 21  # whose spectrum takes some 100 MB


class MelSpectrogram(nn.Module):
    """The log-mel of `spec`, differentiable. Computes in `dtype`, also under autocast."""

    mean: Tensor
    std: Tensor

    def __init__(self, spec: MelSpec, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.spec = spec
        self.stft = STFT(spec, dtype=dtype)
        self.filters = Filters(torch.from_numpy(filterbank(spec)).to(dtype))
        self.register_buffer("mean", torch.tensor(spec.mean or (0.0,), dtype=dtype)[:, None], persistent=False)
        self.register_buffer("std", torch.tensor(spec.std or (1.0,), dtype=dtype)[:, None], persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        """`wav [B, T]` in [-1, 1] to `[B, n_mels, F]`. Raises ValueError where T is less than `spec.min_samples`."""
        if wav.dim() != 2 or wav.shape[1] < self.spec.min_samples:
            raise ValueError(
                f"wav has shape {list(wav.shape)}; it must be [B, T] of at least {self.spec.min_samples} samples, "
                f"shorter ones padded with zeros"
            )
        spec = self.spec
        with torch.autocast(wav.device.type, enabled=False):
            wav = F.pad(wav.to(self.mean.dtype), (spec.pad_left, spec.pad_right), mode=spec.pad_mode)
            return self.of_spectrum(self.stft(wav))

    def of_any_length(self, wav: Tensor) -> Tensor:
        """As `forward`, of `wav [B, T]` that may be too short for a frame: zeros follow it then. Of long ones, the
        spectrum is never held whole.
        """
        return self.of_blocks(wav.split(BLOCK_SAMPLES, dim=-1))

    def of_blocks(self, blocks: Iterable[Tensor]) -> Tensor:
        """The mel of audio that comes in blocks `[B, T_i]`, as `of_any_length` of all of it: `[B, n_mels, F]`."""
        spec = self.spec
        around = -(-(spec.n_fft + spec.pad_left + spec.pad_right) // spec.hop)  # frames that a sample is in, and more
        mels: list[Tensor] = []
        held: list[Tensor] = []
        first = done = 0  # frame that `held` begins with; frames that are out
        for block in blocks:
            if held:
                wav = torch.cat(held, dim=-1)
                ready = first + wav.shape[-1] // spec.hop - around
                if ready > done:
                    mels.append(self(wav)[..., done - first : ready - first])
                    kept = max(0, ready - around)
                    wav, first, done = wav[..., (kept - first) * spec.hop :], kept, ready
                held = [wav]
            held.append(block)
        wav = torch.cat(held, dim=-1)
        last = self(F.pad(wav, (0, max(0, spec.min_samples - wav.shape[-1]))))
        return torch.cat([*mels, last[..., done - first :]], dim=-1) if mels else last

    def of_spectrum(self, X: Tensor) -> Tensor:
        """The log-mel of a spectrum of `stft`: `[B, n_mels, F]`."""
        heard = self._energy(X[..., : self.filters.columns])
        return self.of_mel(self.filters(heard).transpose(1, 2).contiguous())

    def of_mel(self, mel: Tensor) -> Tensor:
        """The log-mel of a mel without log, floor and ceiling: `[B, n_mels, F]`, or what spreads to that."""
        spec = self.spec
        raised = mel if spec.floor == "clamp" else mel + spec.floor_value
        limited = raised.clamp(spec.floor_value, spec.ceiling_value)
        log_mel = limited.log() if spec.log_base == "e" else limited.log10()
        return (log_mel - self.mean) / self.std

    def _energy(self, X: Tensor) -> Tensor:
        """What the mel sums, `[B, F, K]`."""
        if self.spec.guard is None and self.spec.power == 1:
            return X.abs()  # whose gradient at 0 is 0
        return guarded_energy(X.real.square() + X.imag.square(), self.spec)


def guarded_energy(power: Tensor, spec: MelSpec) -> Tensor:
    """|X| or |X|², guarded, of |X|²."""
    if spec.guard is not None:
        power = power + spec.guard_value if spec.guard == "add" else power.clamp(min=spec.guard_value)
    return power.sqrt() if spec.power == 1 else power
