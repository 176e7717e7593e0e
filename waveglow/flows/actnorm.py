"""Activation normalization: an affine map per channel, fixed or a function of the conditioning.

D. P. Kingma and P. Dhariwal, "Glow: Generative Flow with Invertible 1×1 Convolutions", 2018, arXiv:1807.03039, §3.1.
"""

from __future__ import annotations

import warnings
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from waveglow.flows.base import Flow, Shape, full_precision, log_det_dtype, net_reach, positions, sum_per_sample

STD_FLOOR = 1e-4


class ActNorm(Flow):
    """`z = (x + bias) · exp(log_scale)`, `log_det = positions · Σ log_scale`. Starts as the identity.

    `initialized` is a buffer: it tells whether `initialize_` has set the two parameters from data.
    """

    initialized: Tensor
    elementwise_affine = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.bias = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.register_buffer("initialized", torch.tensor(False))

    def _shaped(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.shape[1] != self.channels:
            raise ValueError(f"ActNorm of {self.channels} channels got {x.shape[1]}")
        return per_channel(self.bias, x), per_channel(self.log_scale, x)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        bias, log_scale = self._shaped(x)
        log_det = self.log_scale.sum(dtype=log_det_dtype(x)) * positions(x)
        return (x + bias) * log_scale.exp(), log_det.expand(x.shape[0])

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        bias, log_scale = self._shaped(z)
        return z * (-log_scale).exp() - bias

    def reach_places(self, shape: Shape) -> int:
        return 0

    def after(self, conv: nn.Conv2d, x: Tensor) -> Tensor:
        """z of `conv(x)`, for a conv without bias and padded with zeros: the weights are scaled, outputs are many more.

        Those outputs are made all the same where a hook waits to see them before, as that of `initialize_` does.
        """
        if self._forward_pre_hooks:
            return self(conv(x))[0]
        scale = self.log_scale.exp()
        weight = conv.weight * scale.view(-1, 1, 1, 1)
        return F.conv2d(x, weight, self.bias * scale, conv.stride, conv.padding, conv.dilation, conv.groups)

    @torch.no_grad()
    def set_statistics_(self, x: Tensor, name: str = "ActNorm") -> None:
        """Set the parameters so that every channel of these x [B, C, *S] leaves with mean 0 and variance 1.

        A channel whose standard deviation is below 1e-4 is scaled as if it were 1e-4, and named in a warning.
        """
        rows = x.transpose(0, 1).flatten(1).double()  # (C, B*S)
        std = rows.std(1, correction=0)
        constant = (std < STD_FLOOR).nonzero().flatten().tolist()
        if constant:
            warnings.warn(
                f"{name}: channels {constant} are constant in the initialization data (standard deviation below "
                f"{STD_FLOOR:g}); their scale is limited. Is the data silent or empty?",
                stacklevel=2,
            )
        self.bias.copy_(-rows.mean(1))
        self.log_scale.copy_(-std.clamp(min=STD_FLOOR).log())
        self.initialized.fill_(True)


class Scale(Flow):
    """`z = x · exp(log_scale)`, a factor a channel: NICE's last layer (Dinh et al. 2014, arXiv:1410.8516, §3.3)."""

    elementwise_affine = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_det = self.log_scale.sum(dtype=log_det_dtype(x)) * positions(x)
        return x * per_channel(self.log_scale, x).exp(), log_det.expand(x.shape[0])

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return z * per_channel(-self.log_scale, z).exp()

    def reach_places(self, shape: Shape) -> int:
        return 0


def per_channel(values: Tensor, x: Tensor) -> Tensor:
    """values [C] in a shape that fits x [B, C, *S]."""
    return values.view((1, -1) + (1,) * (x.dim() - 2))


class ConditionalActNorm(Flow):
    """`z = x · exp(log_scale + log_s) + t`, with (log_s, t) a function of the conditioning alone.

    With a mel as the conditioning it states every band's energy before any coupling runs. It is the density by which
    Glow reads its split priors, N(mean(cond), scale(cond)), written as a layer. There is no bias before the scale:
    whitening multiplies by e¹¹ where a band is empty, and so it would the bias's gradient.

    Arguments:
        channels: C of x.
        net: cond [B, C_cond, *S] to log_s [B, C, *S], or to [B, 2C, *S], log_s first, with `shift`. Never in half
            precision: its output is the log-determinant.
        shift: whether there is a t.
    """

    initialized: Tensor
    elementwise_affine = True

    def __init__(self, channels: int, net: nn.Module, *, shift: bool = False) -> None:
        super().__init__()
        self.channels = channels
        self.net = net
        self.shift = shift
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.register_buffer("initialized", torch.tensor(False))

    def _log_s_and_t(self, x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor | float]:
        if cond is None:
            raise ValueError("ConditionalActNorm got no conditioning; without one, use ActNorm")
        with full_precision(x):
            output = self.net(cond)
        expected = self.channels * (2 if self.shift else 1)
        if (x.shape[1], output.shape[1]) != (self.channels, expected):
            raise ValueError(
                f"ConditionalActNorm of {self.channels} channels got {x.shape[1]}, and {output.shape[1]} from its net, "
                f"which must give {expected}"
            )
        log_s, t = output.chunk(2, dim=1) if self.shift else (output, 0.0)
        return log_s + per_channel(self.log_scale, x), t

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_s, t = self._log_s_and_t(x, cond)
        return x * log_s.exp() + t, sum_per_sample(log_s)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        log_s, t = self._log_s_and_t(z, cond)
        return (z - t) * (-log_s).exp()

    def reach_places(self, shape: Shape) -> int:
        return net_reach(self.net)

    @torch.no_grad()
    def set_statistics_(self, x: Tensor, name: str = "ConditionalActNorm") -> None:
        """Set `log_scale` so that every channel of these x [B, C, *S] has a mean square of 1 before the net learns.

        A channel whose root mean square is below 1e-4 is scaled as if it were 1e-4: the net tells which are empty.
        """
        rows = x.transpose(0, 1).flatten(1).double()  # (C, B*S)
        self.log_scale.copy_(-rows.square().mean(1).sqrt().clamp(min=STD_FLOOR).log())
        self.initialized.fill_(True)


@torch.no_grad()
def initialize_(model: nn.Module, *inputs: Tensor) -> int:
    """Data-dependent initialization (Glow §3.1): one explicit pass of `model(*inputs)` sets every ActNorm not yet set.

    Give several batches concatenated along dimension 0: the statistics are those of all of them together. Each ActNorm
    sees what the ones before it, already set, let through. Returns how many were set.
    """
    kinds = (ActNorm, ConditionalActNorm)
    pending = [(name, m) for name, m in model.named_modules() if isinstance(m, kinds) and not m.initialized]

    def set_from_input(module: nn.Module, arguments: tuple[Tensor, ...], *, name: str) -> None:
        assert isinstance(module, kinds)
        if not module.initialized:  # a layer may run more than once
            module.set_statistics_(arguments[0], name)

    hooks = [m.register_forward_pre_hook(partial(set_from_input, name=name)) for name, m in pending]
    try:
        if pending:
            model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return len(pending)
