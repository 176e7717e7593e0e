"""The gated tanh unit of WaveNets (van den Oord et al. 2016, arXiv:1609.03499, eq. 2)."""

from __future__ import annotations

import torch
from torch import Tensor


def gated_tanh_unit(a: Tensor) -> Tensor:
    """tanh(a₁)·σ(a₂) of the halves of a [B, 2C, …]: [B, C, …]. In inference mode, a may be overwritten.

    By tanh(x) = 1 − 2σ(−2x) where that pays, for in float32 PyTorch's tanh takes five times as long as its sigmoid.
    """
    if not (eager_inference() and a.dtype == torch.float32 and a.device.type == "cpu"):
        filtered, gate = a.chunk(2, dim=1)
        return torch.tanh(filtered) * torch.sigmoid(gate)
    a.chunk(2, dim=1)[0].mul_(-2)
    r, q = a.sigmoid_().chunk(2, dim=1)
    return torch.addcmul(q, r, q, value=-2)


def eager_inference() -> bool:
    """Whether operations are run for their result alone: no gradients, and nothing compiles or exports them."""
    return not torch.compiler.is_compiling() and torch.is_inference_mode_enabled()
