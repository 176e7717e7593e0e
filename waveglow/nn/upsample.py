"""From mel frames to audio samples."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TransposedConvUpsample(nn.Module):
    """mel [B, M, F] to [B, M, F·hop] by one learned transposed convolution (WaveGlow, arXiv:1811.00002, §2.3).

    The kernel is longer than the hop; what it writes behind the last frame's hop is cut off, so that sample n sees
    frames n//hop − kernel//hop + 1 … n//hop.
    """

    def __init__(self, n_mels: int, *, hop: int, kernel_size: int) -> None:
        super().__init__()
        if kernel_size < hop:
            raise ValueError(f"upsampling kernel of {kernel_size} samples leaves gaps at hop {hop}; it must be >= hop")
        self.hop = hop
        self.conv = nn.ConvTranspose1d(n_mels, n_mels, kernel_size, stride=hop)

    def forward(self, mel: Tensor) -> Tensor:
        with torch.autocast(mel.device.type, enabled=False):
            return self.conv(mel)[..., : mel.shape[-1] * self.hop]
