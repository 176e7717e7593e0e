"""Activation normalization: an affine map per channel, fixed or a function of the conditioning.

D. P. Kingma and P. Dhariwal, "Glow: Generative Flow with Invertible 1×1 Convolutions", 2018, arXiv:1807.03039, §3.1.
"""

from __future__ import annotations

import math
import warnings
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from waveglow.flows.base import (
    Flow,
    Shape,
    full_precision,
    in_float64,
    log_det_dtype,
    net_reach,
    positions,
    require_scales,
    sum_per_place,
    sum_per_sample,
)

STD_FLOOR = 1e-4


class ActNorm(Flow):
    """`z = (x + bias) · exp(log_scale)` with a bias and a scale for each channel; `log_det = positions · Σ log_scale`.

    It starts as the identity; `initialize_` sets both parameters from data, and the buffer `initialized` tells whether
    it has.

    Arguments:
        channels: C of x [B, C, *S]. Raises ValueError where x has another number.

    >>> norm, x = ActNorm(2), 3 * torch.randn(8, 2, 1000) + 5
    >>> initialize_(norm, x)
    1
    >>> z, log_det = norm(x)
    >>> torch.allclose(z.mean((0, 2)), torch.zeros(2), atol=1e-4), torch.allclose(norm.inverse(z), x, atol=1e-4)
    (True, True)
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

    def require_invertible(self) -> None:
        require_scales(self.log_scale)

    def after(self, conv: nn.Conv2d, x: Tensor) -> Tensor:
        """`self(conv(x))[0]` with the scale put into the convolution's weights, which are far fewer than its outputs.

        For a conv without a bias and padded with zeros. Where a hook is registered on this layer, as by `initialize_`,
        the convolution's own outputs are computed, for the hook to see.
        """
        if self._forward_pre_hooks:
            return self(conv(x))[0]
        scale = self.log_scale.exp()
        weight = conv.weight * scale.view(-1, 1, 1, 1)
        return F.conv2d(x, weight, self.bias * scale, conv.stride, conv.padding, conv.dilation, conv.groups)

    @torch.no_grad()
    def set_statistics_(self, x: Tensor, name: str = "ActNorm") -> None:
        """Set the parameters so that these x [B, C, *S] come out with mean 0 and variance 1 in every channel.

        A channel whose standard deviation is below 1e-4 is scaled as if it were 1e-4, and named in a warning.
        """
        rows = in_float64(x.transpose(0, 1).flatten(1))  # (C, B*S)
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
    """`z = x · exp(log_scale)`, a factor a channel: NICE's last layer (Dinh et al. 2014, arXiv:1410.8516, §3.3).

    Arguments:
        channels: C of x [B, C, *S].
        start: the factors at first.
        learned: whether they are parameters; else they stay.

    >>> z, log_det = Scale(4)(torch.ones(2, 4, 1))  # it starts as the identity
    >>> log_det
    tensor([0., 0.], grad_fn=<ExpandBackward0>)
    """

    elementwise_affine = True

    log_scale: Tensor

    def __init__(self, channels: int, *, start: float = 1.0, learned: bool = True) -> None:
        super().__init__()
        log_scale = torch.full((channels,), math.log(start))
        if learned:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_det = self.log_scale.sum(dtype=log_det_dtype(x)) * positions(x)
        return x * per_channel(self.log_scale, x).exp(), log_det.expand(x.shape[0])

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return z * per_channel(-self.log_scale, z).exp()

    def reach_places(self, shape: Shape) -> int:
        return 0

    def require_invertible(self) -> None:
        require_scales(self.log_scale)


def per_channel(values: Tensor, x: Tensor) -> Tensor:
    """values [C] in a shape that fits x [B, C, *S]."""
    return values.view((1, -1) + (1,) * (x.dim() - 2))


class ConditionalActNorm(Flow):
    """`z = x · exp(log_scale + log_s) + t`, with (log_s, t) a function of the conditioning alone.

    Where x are the bands of a sound and the conditioning is its mel spectrogram, it brings loud and quiet bands to one
    level before any coupling runs. With `shift` it is a Gaussian prior, N(mean(cond), scale(cond)), written as a layer.
    Unlike ActNorm it has no bias before the scale: where a band is empty the scale reaches e¹¹, and so would the
    gradient of a bias.

    Arguments:
        channels: C of x [B, C, *S].
        net: maps cond [B, C_cond, *S] to log_s [B, C, *S]; with `shift` to [B, 2C, *S], log_s first. It never runs in
            half precision, since its output is the log-determinant.
        shift: whether there is a t.

    Raises ValueError without a cond, and for other numbers of channels.

    >>> norm = ConditionalActNorm(3, nn.Conv1d(80, 3, 1))
    >>> z, log_det = norm(torch.randn(2, 3, 10), torch.randn(2, 80, 10))
    >>> z.shape, log_det.shape
    (torch.Size([2, 3, 10]), torch.Size([2]))
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

    def forward_by_place(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_s, t = self._log_s_and_t(x, cond)
        return x * log_s.exp() + t, sum_per_place(log_s)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        log_s, t = self._log_s_and_t(z, cond)
        return (z - t) * (-log_s).exp()

    def reach_places(self, shape: Shape) -> int:
        return net_reach(self.net)

    def require_invertible(self) -> None:
        require_scales(self.log_scale)

    @torch.no_grad()
    def set_statistics_(self, x: Tensor, name: str = "ConditionalActNorm") -> None:
        """Set `log_scale` so that these x [B, C, *S] get a mean square of 1 in every channel while the net gives 0.

        A channel whose root mean square is below 1e-4 is scaled as if it were 1e-4: the net tells which are empty.
        """
        rows = in_float64(x.transpose(0, 1).flatten(1))  # (C, B*S)
        self.log_scale.copy_(-rows.square().mean(1).sqrt().clamp(min=STD_FLOOR).log())
        self.initialized.fill_(True)


@torch.no_grad()
def initialize_(model: nn.Module, *inputs: Tensor) -> int:
    """Data-dependent initialization (Glow §3.1): one pass of `model(*inputs)` sets every ActNorm that is not yet set.

    So it does with any layer that has a buffer `initialized` and a method `set_statistics_(x, name)`. The statistics
    are those of the whole batch, so give a large one. Each layer sees the outputs of those before it, which are set by
    then. Returns how many were set.
    """
    pending = [(name, m) for name, m in model.named_modules() if hasattr(m, "set_statistics_") and not m.initialized]

    def set_from_input(module: ActNorm | ConditionalActNorm, arguments: tuple[Tensor, ...], *, name: str) -> None:
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
