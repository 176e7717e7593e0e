"""From mel frames to audio samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from waveglow.nn.conv import conv, convolved_places, from_channels_last, to_channels_last, zero_conv

LEAK = 0.4
LOG_MEL_CENTRE, LOG_MEL_SPREAD = -5.0, 3.0  # natural log-mels lie between −11.5 (silence) and 2


class Conditioner(nn.Module):
    """What makes a vocoder's conditioning: mel [B, M, F] to [B, C, F·places_per_frame]."""

    places_per_frame: int

    def frames_seen(self) -> tuple[int, int]:
        """How many frames (before, after) its own a place depends on; synthesis in pieces gives it so many."""
        raise NotImplementedError(f"{type(self).__name__} defines no frames_seen(); it must return (before, after)")


class TransposedConvUpsample(Conditioner):
    """mel [B, M, F] to [B, M, F·hop] by one learned transposed convolution (WaveGlow, arXiv:1811.00002, §2.3).

    The kernel is longer than the hop; what it writes behind the last frame's hop is cut off, so that sample n sees
    frames n//hop − kernel//hop + 1 … n//hop.

    Arguments:
        n_mels: M.
        hop: samples per frame.
        kernel_size: in samples. Raises ValueError where it is below the hop.

    >>> TransposedConvUpsample(80, hop=256, kernel_size=1024)(torch.randn(1, 80, 10)).shape
    torch.Size([1, 80, 2560])
    """

    def __init__(self, n_mels: int, *, hop: int, kernel_size: int) -> None:
        super().__init__()
        if kernel_size < hop:
            raise ValueError(f"upsampling kernel of {kernel_size} samples leaves gaps at hop {hop}; it must be >= hop")
        self.hop = hop
        self.places_per_frame = hop
        self.conv = nn.ConvTranspose1d(n_mels, n_mels, kernel_size, stride=hop)

    def frames_seen(self) -> tuple[int, int]:
        return (self.conv.kernel_size[0] - 1) // self.hop, 0

    def forward(self, mel: Tensor) -> Tensor:
        with torch.autocast(mel.device.type, enabled=False):
            return self.conv(mel)[..., : mel.shape[-1] * self.hop]


class SmoothUpsample(Conditioner):
    """mel [B, M, F] to [B, M, F·hop] by transposed 2-D convolutions, each of 3 mels and two strides, and leaky ReLUs.

    FloWaveNet's (arXiv:1811.02155) and WaveFlow's (arXiv:1912.01219, §5): two of stride 16 for a hop of 256.

    Arguments:
        hop: samples per frame. Raises ValueError where it is no product of two even strides.

    >>> SmoothUpsample(256)(torch.randn(1, 80, 4)).shape
    torch.Size([1, 80, 1024])
    """

    def __init__(self, hop: int) -> None:
        super().__init__()
        self.places_per_frame = hop
        strides = [(s, hop // s) for s in range(2, math.isqrt(hop) + 1, 2) if hop % (2 * s) == 0]
        if not strides:
            raise ValueError(f"hop is {hop}; this model upsamples by two even strides: give 4 × a whole number")
        self.convs = nn.ModuleList(
            weight_norm(nn.ConvTranspose2d(1, 1, (3, 2 * s), stride=(1, s), padding=(1, s // 2))) for s in strides[-1]
        )

    def frames_seen(self) -> tuple[int, int]:
        first, last = 0, self.places_per_frame - 1  # the places of a frame, then what they see of a layer's input
        for up in reversed(list(self.convs)):
            assert isinstance(up, nn.ConvTranspose2d)
            taps, stride, padding = up.kernel_size[1], up.stride[1], int(up.padding[1])
            first, last = -((taps - 1 - padding - first) // stride), (last + padding) // stride
        return -first, last

    def forward(self, mel: Tensor) -> Tensor:
        with torch.autocast(mel.device.type, enabled=False):
            h = mel.unsqueeze(1)
            for up in self.convs:
                h = nn.functional.leaky_relu(up(h), LEAK)
            return h.squeeze(1)


class Repeat(Conditioner):
    """mel [B, M, F] to [B, M, F·places_per_frame], every frame repeated (SqueezeWave, arXiv:2001.05685, §3.1).

    >>> Repeat(2)(torch.tensor([[[1, 2, 3]]])).tolist()
    [[[1, 1, 2, 2, 3, 3]]]
    """

    def __init__(self, places_per_frame: int) -> None:
        super().__init__()
        self.places_per_frame = places_per_frame

    def frames_seen(self) -> tuple[int, int]:
        return 0, 0

    def forward(self, mel: Tensor) -> Tensor:
        return mel.unsqueeze(-1).expand(-1, -1, -1, self.places_per_frame).flatten(2)


class MelEncoder(Conditioner):
    """mel [B, M, F] to features [B, channels, F·places_per_frame] by convolutions, never in half precision.

    The last one gives the channels of all places of a frame at once (a sub-pixel convolution, Shi et al. 2016,
    arXiv:1609.05158).

    Arguments:
        n_mels: M; natural log-mels.
        n_layers: residual layers between the first convolution and the last.

    >>> MelEncoder(80, 32, places_per_frame=2)(torch.randn(1, 80, 10)).shape
    torch.Size([1, 32, 20])
    """

    def __init__(
        self, n_mels: int, channels: int, *, places_per_frame: int, n_layers: int = 2, kernel_size: int = 3
    ) -> None:
        super().__init__()
        self.places_per_frame = places_per_frame
        self.start = conv(n_mels, channels, kernel_size)
        self.layers = nn.ModuleList(conv(channels, channels, kernel_size) for _ in range(n_layers))
        self.end = conv(channels, channels * places_per_frame)

    def frames_seen(self) -> tuple[int, int]:
        frames = (1 + len(self.layers)) * (self.start.kernel_size[-1] // 2)
        return frames, frames

    def forward(self, mel: Tensor) -> Tensor:
        with torch.autocast(mel.device.type, enabled=False):
            h = self.start(to_channels_last((mel - LOG_MEL_CENTRE) / LOG_MEL_SPREAD))  # (B, C, 1, F)
            for layer in self.layers:
                h = h + layer(nn.functional.gelu(h))
            places = from_channels_last(self.end(nn.functional.gelu(h)))  # (B, C·r, F)
        batch, _, frames = places.shape
        r = self.places_per_frame
        return places.view(batch, -1, r, frames).transpose(2, 3).reshape(batch, -1, frames * r)


class BandScale(nn.Module):
    """Features [B, in_channels, T] to [B, out_channels, T], zeros at first: a net for ConditionalActNorm.

    >>> BandScale(32, 256)(torch.randn(1, 32, 20)).shape
    torch.Size([1, 256, 20])
    """

    def __init__(self, in_channels: int, out_channels: int, *, kernel_size: int = 3) -> None:
        super().__init__()
        self.hidden = conv(in_channels, in_channels, kernel_size)
        self.end = zero_conv(in_channels, out_channels)

    def forward(self, cond: Tensor) -> Tensor:
        h = nn.functional.gelu(self.hidden(to_channels_last(cond)))
        return from_channels_last(self.end(h))

    def reach_places(self) -> int:
        """How many places to each side it looks."""
        return convolved_places(self)
