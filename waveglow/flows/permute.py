"""Permutations of channels, fixed and learned, and of rows.

InvertibleConv is Glow's invertible 1×1 convolution (Kingma and Dhariwal 2018, arXiv:1807.03039, §3.2, eqs. 9–11), as
WaveGlow uses it in one dimension (Prenger et al. 2018, arXiv:1811.00002, §2.2).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from waveglow.flows.base import (
    Flow,
    Shape,
    full_precision,
    has_float64,
    in_float64,
    log_det_dtype,
    positions,
    zero_log_det,
)


def _mix(weight: Tensor, x: Tensor) -> Tensor:
    with full_precision(x):
        return torch.matmul(weight, x.flatten(2)).view(x.shape)


def random_rotation(channels: int) -> Tensor:
    """Random orthogonal [C, C] with determinant +1; on the meta device no more than the shape."""
    # torch would trace the decomposition there, and import its compiler for it: 1.2 s of a load's 1.4.
    if torch.get_default_device().type == "meta":
        return torch.empty(channels, channels)
    usual = torch.get_default_device()
    drawn = torch.randn(channels, channels, dtype=torch.float64, device=usual if has_float64(usual) else "cpu")
    q = torch.linalg.qr(drawn).Q
    sign = torch.linalg.slogdet(q).sign
    return torch.cat([q[:, :1] * sign, q[:, 1:]], dim=1).to(usual, torch.get_default_dtype())


class InvertibleConv(Flow):
    """`z = W x` at every place; `log_det = positions · log|det W|`; W [C, C] is free, a random rotation at the start.

    The inverse solves the linear system in every call, so that it always fits the weights. Only a folded copy
    (export/fold.py), whose weights never change, has the matrix `weight_inverse`.

    Arguments:
        channels: C of x [B, C, *S].

    >>> conv, x = InvertibleConv(4), torch.randn(2, 4, 100)
    >>> z, log_det = conv(x)
    >>> torch.allclose(conv.inverse(z), x, atol=1e-4), log_det.shape
    (True, torch.Size([2]))
    """

    weight_inverse: Tensor | None

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(random_rotation(channels))
        self.register_buffer("weight_inverse", None)

    def matrix(self) -> Tensor:
        """W, [C, C]."""
        return self.weight

    def log_abs_det(self) -> Tensor:
        """log|det W|, by slogdet: W may turn to a negative determinant in training."""
        return torch.linalg.slogdet(self.weight).logabsdet

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_det = self.log_abs_det() * positions(x)
        return _mix(self.matrix(), x), log_det.expand(x.shape[0])

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        if self.weight_inverse is None:
            return torch.linalg.solve(self.matrix(), z.flatten(2)).view(z.shape)
        return _mix(self.weight_inverse, z)

    def reach_places(self, shape: Shape) -> int:
        return 0

    @torch.no_grad()
    def require_invertible(self) -> None:
        """Raises ValueError where W is singular to float32's precision: its inverse would be rounding errors alone."""
        condition = float(torch.linalg.cond(in_float64(self.matrix()), 1))
        if not condition * torch.finfo(torch.float32).eps < 1:
            raise ValueError(
                f"its matrix of {len(self.matrix())} channels is singular (condition number {condition:.2g}), so that "
                "nothing can be inverted"
            )

    @torch.no_grad()
    def fold_(self) -> None:
        """Fill W⁻¹, inverted in float64."""
        matrix = self.matrix()
        self.weight_inverse = torch.linalg.inv(in_float64(matrix)).to(matrix)


class InvertibleConvLU(InvertibleConv):
    """`W = P L (U + diag(sign · exp(log_s)))`, P and sign fixed: `log|det W| = Σ log_s` (Glow eqs. 10–11).

    W can't become singular, and its determinant keeps its sign.

    >>> conv = InvertibleConvLU(4)
    >>> torch.allclose(conv.log_abs_det(), torch.linalg.slogdet(conv.matrix()).logabsdet, atol=1e-5)
    True
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        permutation, lower, upper = torch.linalg.lu(self.weight.detach())
        del self.weight
        diagonal = upper.diagonal()
        self.register_buffer("permutation", permutation)
        self.register_buffer("sign", diagonal.sign())
        self.log_s = nn.Parameter(diagonal.abs().log())
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))

    def matrix(self) -> Tensor:
        identity = torch.eye(self.log_s.numel(), dtype=self.log_s.dtype, device=self.log_s.device)
        upper = self.upper.triu(1) + torch.diag(self.sign * self.log_s.exp())
        with full_precision(self.log_s):
            return self.permutation @ (self.lower.tril(-1) + identity) @ upper

    def log_abs_det(self) -> Tensor:
        return self.log_s.sum(dtype=log_det_dtype(self.log_s))


class Householder(Flow):
    """`z = H_1 … H_n x` at every place, `H_k = I − 2 v_k v_kᵀ / |v_k|²`: n reflections mix the channels; `log_det = 0`.

    Their product is orthogonal, whatever the v_k [C], so that its inverse is its transpose: nothing is solved, and
    rounding errors never grow. With n = C every rotation or its mirror image can be learned (J. M. Tomczak and
    M. Welling, "Improving Variational Auto-Encoders using Householder Flow", 2016, arXiv:1611.09630, §3).

    The product is made at once, as `I − Uᵀ T U` for the normed v_k in the rows of U, with T⁻¹ the upper triangle of
    U Uᵀ, its diagonal halved (T. Joffrain et al., "Accumulating Householder transformations, revisited", ACM Trans.
    Math. Softw. 32(2), 2006).

    Arguments:
        channels: C.
        reflections: n; C where None.

    Raises ValueError where there is no reflection, and for x with other channels.

    >>> layer, x = Householder(6), torch.randn(2, 6, 100)
    >>> z, log_det = layer(x)
    >>> torch.allclose(z.norm(dim=1), x.norm(dim=1), atol=1e-5), log_det
    (True, tensor([0., 0.]))
    """

    rotation: Tensor | None

    def __init__(self, channels: int, *, reflections: int | None = None) -> None:
        super().__init__()
        n = channels if reflections is None else reflections
        if n < 1:
            raise ValueError(f"reflections is {n}; at least 1 is needed, and {channels} can make every rotation")
        self.vectors = nn.Parameter(torch.randn(n, channels))
        self.register_buffer("rotation", None)

    def matrix(self) -> Tensor:
        """H_1 … H_n, [C, C], in float32 or better."""
        return _product_of_reflections(self.vectors) if self.rotation is None else self.rotation

    def _checked(self, x: Tensor) -> Tensor:
        channels = self.vectors.shape[1]
        if x.shape[1] != channels:
            raise ValueError(f"Householder of {channels} channels got {x.shape[1]}")
        return self.matrix().to(x.dtype)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return _mix(self._checked(x), x), zero_log_det(x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return _mix(self._checked(z).T, z)

    def reach_places(self, shape: Shape) -> int:
        return 0

    @torch.no_grad()
    def fold_(self) -> None:
        """Keep the product, made in float64."""
        self.rotation = _product_of_reflections(in_float64(self.vectors)).to(self.vectors)


def _product_of_reflections(vectors: Tensor) -> Tensor:
    with full_precision(vectors):
        unit = F.normalize(vectors.to(log_det_dtype(vectors)), dim=1)
        n, channels = unit.shape
        half = torch.eye(n, dtype=unit.dtype, device=unit.device) / 2
        mixed = torch.linalg.solve_triangular(torch.triu(unit @ unit.T, 1) + half, unit, upper=True)  # T U
        return torch.eye(channels, dtype=unit.dtype, device=unit.device) - unit.T @ mixed


class Shuffle(Flow):
    """A fixed permutation of the channels, random where no `order` is given; `log_det = 0`.

    Arguments:
        channels: C of x [B, C, *S].
        order: the channel of x that each channel of z is.

    >>> z, _ = Shuffle(3, order=[2, 0, 1])(torch.arange(3).view(1, 3, 1))
    >>> z.flatten().tolist()
    [2, 0, 1]
    """

    order: Tensor

    def __init__(self, channels: int, *, order: Sequence[int] | None = None) -> None:
        super().__init__()
        self.register_buffer("order", torch.randperm(channels) if order is None else torch.tensor(order))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x[:, self.order], zero_log_det(x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return z[:, self.order.argsort()]

    def reach_places(self, shape: Shape) -> int:
        return 0


class Reverse(Flow):
    """The channels in reverse order (RealNVP, arXiv:1605.08803, §3.5); `log_det = 0`.

    >>> z, _ = Reverse()(torch.arange(3).view(1, 3, 1))
    >>> z.flatten().tolist()
    [2, 1, 0]
    """

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x.flip(1), zero_log_det(x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return z.flip(1)

    def reach_places(self, shape: Shape) -> int:
        return 0


class Swap(Flow):
    """The two halves of the channels change places, and those of the conditioning too if `swap_cond` (FloWaveNet).

    `log_det = 0`. Raises ValueError for an odd number of channels.

    >>> z, _ = Swap()(torch.arange(4).view(1, 4, 1))
    >>> z.flatten().tolist()
    [2, 3, 0, 1]
    """

    def __init__(self, *, swap_cond: bool = False) -> None:
        super().__init__()
        self.swap_cond = swap_cond

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return _swap_halves(x), zero_log_det(x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return _swap_halves(z)

    def condition(self, cond: Tensor | None) -> Tensor | None:
        return _swap_halves(cond) if self.swap_cond and cond is not None else cond

    def reach_places(self, shape: Shape) -> int:
        return 0


class FlipRows(Flow):
    """The rows of [B, C, H, W] in reverse order within each of `parts` equal parts; those of the conditioning alike.

    WaveFlow's scheme (a) flips all rows in every step (1 part), its scheme (b) each half of them in the second half of
    the steps (2 parts; arXiv:1912.01219, §3.2). `log_det = 0`. Raises ValueError where H is no multiple of `parts`.

    >>> z, _ = FlipRows(2)(torch.arange(6).view(1, 1, 6, 1))
    >>> z.flatten().tolist()
    [2, 1, 0, 5, 4, 3]
    """

    def __init__(self, parts: int = 1) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._flipped(x), zero_log_det(x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return self._flipped(z)

    def condition(self, cond: Tensor | None) -> Tensor | None:
        return None if cond is None else self._flipped(cond)

    def reach_places(self, shape: Shape) -> int:
        return 0

    def _flipped(self, x: Tensor) -> Tensor:
        if x.shape[2] % self.parts:
            raise ValueError(f"FlipRows got {x.shape[2]} rows; they must be a multiple of its {self.parts} parts")
        return x.unflatten(2, (self.parts, -1)).flip(3).flatten(2, 3)


def _swap_halves(x: Tensor) -> Tensor:
    if x.shape[1] % 2:
        raise ValueError(f"Swap got {x.shape[1]} channels; it exchanges two halves and needs an even number")
    first, second = x.chunk(2, dim=1)
    return torch.cat([second, first], dim=1)
