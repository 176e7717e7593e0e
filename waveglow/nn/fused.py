"""WaveGlow's conditioning as one linear map: upsampling, grouping and the nets' 1×1 convolutions are linear.

A place depends on the frames that its upsampling kernel covers: 4 × 80 numbers in NVIDIA's WaveGlow, where the 1×1
convolutions read 640. Half the multiplications, for half as many weights for each of a frame's 32 places.

B: batch, M: mels, F: frames, J: frames that a kernel covers, P: places a frame, C: channels of a net.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from waveglow.nn.upsample import Conditioner, TransposedConvUpsample


class FrameContext(Conditioner):
    """mel [B, M, F] to [B, J·M, F]: each frame with those before it, zeros before the first."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.places_per_frame = 1
        self.frames = frames

    def frames_seen(self) -> tuple[int, int]:
        return self.frames - 1, 0

    def forward(self, mel: Tensor) -> Tensor:
        padded = F.pad(mel, (self.frames - 1, 0))
        return torch.cat([padded[..., self.frames - 1 - j :][..., : mel.shape[-1]] for j in range(self.frames)], dim=1)


class FusedConditioning(nn.Module):
    """What a WaveNet's layers are given, made of a FrameContext: n_layers × [B, 2C, 1, T], T ≤ F·P.

    Arguments:
        upsample: the upsampling that it replaces.
        weight, bias: [2C·n_layers, M·group] and [2C·n_layers], the net's 1×1 convolution over grouped, upsampled mels.
        group: samples a place.
    """

    def __init__(
        self, upsample: TransposedConvUpsample, weight: Tensor, bias: Tensor, *, group: int, n_layers: int
    ) -> None:
        super().__init__()
        self.channels = len(weight) // n_layers
        kernel, hop = upsample.conv.weight, upsample.hop
        context = -(-kernel.shape[2] // hop)
        taps = F.pad(kernel, (0, context * hop - kernel.shape[2])).view(*kernel.shape[:2], context, hop // group, group)
        by_place = taps.permute(3, 1, 4, 2, 0).reshape(hop // group, weight.shape[1], -1)  # [P, M·group, J·M]
        assert upsample.conv.bias is not None
        bias = bias + weight @ upsample.conv.bias.repeat_interleave(group)
        self.weights = nn.ParameterList(
            torch.cat([part @ taps_here for taps_here in by_place]) for part in weight.chunk(n_layers)
        )
        self.biases = nn.ParameterList(part.repeat(hop // group) for part in bias.chunk(n_layers))

    def forward(self, cond: Tensor, places: int) -> Iterator[Tensor]:
        """cond [B, J·M, F] to what each layer is given at so many places, made when it is asked for."""
        frames = cond.transpose(1, 2)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            part = F.linear(frames, weight, bias).reshape(len(cond), -1, self.channels)
            yield part[:, :places].transpose(1, 2).unsqueeze(2)
