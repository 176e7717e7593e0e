"""Transformers as coupling nets: pre-norm blocks over places, causal (TarFlow) or seeing all of them (Jet).

Shapes: x [B, C, *S] with T = |S| places, which become T tokens [B, T, D] row by row. D channels are split over heads.
A. Dosovitskiy et al., "An Image is Worth 16×16 Words", 2020, arXiv:2010.11929; S. Zhai et al., "Normalizing Flows are
Capable Generative Models", 2024, arXiv:2412.06329, §3.2; A. Kolesnikov et al., "Jet", 2024, arXiv:2412.15129, §2.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Seen = tuple[Tensor, Tensor]  # keys and values [B, heads, T, D / heads] of the places before
START_STD = 0.01
MLP_FACTOR = 4


class SelfAttention(nn.Module):
    """Softmax attention of tokens [B, T, D] over themselves, or over those up to each where it is causal.

    Raises ValueError where the heads don't divide D.

    >>> attention = SelfAttention(8, n_heads=2, causal=True)
    >>> x = torch.randn(1, 3, 8)
    >>> first, seen = attention.step(x[:, :1], None)
    >>> torch.allclose(first, attention(x)[:, :1], atol=1e-6), seen[0].shape
    (True, torch.Size([1, 2, 1, 4]))
    """

    def __init__(self, n_channels: int, *, n_heads: int, causal: bool) -> None:
        super().__init__()
        if n_channels % n_heads:
            raise ValueError(f"n_channels is {n_channels}, which {n_heads} heads can't share equally")
        self.n_heads = n_heads
        self.causal = causal
        self.qkv = nn.Linear(n_channels, 3 * n_channels)
        self.out = nn.Linear(n_channels, n_channels)

    def forward(self, x: Tensor) -> Tensor:
        """All tokens at once."""
        q, k, v = self._heads(x)
        return self._joined(F.scaled_dot_product_attention(q, k, v, is_causal=self.causal))

    def step(self, x: Tensor, seen: Seen | None) -> tuple[Tensor, Seen]:
        """The next token [B, 1, D], which sees itself and those before, and what the one after it will see."""
        q, k, v = self._heads(x)
        if seen is not None:
            k, v = torch.cat([seen[0], k], dim=2), torch.cat([seen[1], v], dim=2)
        return self._joined(F.scaled_dot_product_attention(q, k, v)), (k, v)

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.qkv(x).unflatten(2, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)  # 3 × (B, heads, T, D / heads)
        return q, k, v

    def _joined(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.out(x.transpose(1, 2).flatten(2)))


class TransformerBlock(nn.Module):
    """`x + attention(norm(x))`, then `x + mlp(norm(x))`, of tokens [B, T, D] (pre-norm: Xiong et al. 2020, 2002.04745).

    nn.TransformerEncoderLayer computes the same, and can't be asked one token after the other with what it has seen.

    >>> TransformerBlock(8, n_heads=2, causal=False)(torch.randn(1, 3, 8)).shape
    torch.Size([1, 3, 8])
    """

    def __init__(self, n_channels: int, *, n_heads: int, causal: bool) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(n_channels)
        self.attention = SelfAttention(n_channels, n_heads=n_heads, causal=causal)
        self.mlp_norm = nn.LayerNorm(n_channels)
        hidden = MLP_FACTOR * n_channels
        self.mlp = nn.Sequential(nn.Linear(n_channels, hidden), nn.GELU(), nn.Linear(hidden, n_channels))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return cast(Tensor, x + self.mlp(self.mlp_norm(x)))

    def step(self, x: Tensor, seen: Seen | None) -> tuple[Tensor, Seen]:
        """As `SelfAttention.step`."""
        attended, seen = self.attention.step(self.attention_norm(x), seen)
        x = x + attended
        return x + self.mlp(self.mlp_norm(x)), seen


class TransformerNet(nn.Module):
    """A coupling net of Transformer blocks: x [B, C_in, *S] to [B, C_out, *S], zeros at first.

    Each place is a patch: a linear map embeds its channels, to which its position's own embedding is added, and that of
    the conditioning. For classes, cond is one-hot [B, n_classes, 1, …], one for all places; with the same number for
    every class, the mean of their embeddings enters (TarFlow's "no class"). Otherwise cond is on the grid of x.

    Arguments:
        sizes: S, whose places have positions; a causal net may be given fewer.
        n_channels, n_heads, n_layers: D, and how many heads and blocks there are.
        cond_channels: of cond; 0 for a net without.
        causal: whether a place sees those up to itself only. Such a net is one for RowAutoregressive, with S = (T, 1),
            as PlacesAsRows makes them.
        last_norm: whether a layer norm precedes the last linear map.

    Raises ValueError where the heads don't divide D; when it runs, where x has other places than S, and without a cond.

    >>> net = TransformerNet(3, 6, sizes=(4, 4), n_channels=16, n_heads=2, n_layers=2)
    >>> net(torch.randn(2, 3, 4, 4)).shape
    torch.Size([2, 6, 4, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        sizes: tuple[int, ...],
        n_channels: int,
        n_heads: int,
        n_layers: int,
        cond_channels: int = 0,
        causal: bool = False,
        last_norm: bool = True,
    ) -> None:
        super().__init__()
        self.sizes = sizes
        self.causal = causal
        self.embed = nn.Linear(in_channels, n_channels)
        self.position = nn.Parameter(START_STD * torch.randn(math.prod(sizes), n_channels))
        self.cond = nn.Linear(cond_channels, n_channels, bias=False) if cond_channels else None
        if self.cond is not None:
            nn.init.normal_(self.cond.weight, std=START_STD)
        self.blocks = nn.ModuleList(
            TransformerBlock(n_channels, n_heads=n_heads, causal=causal) for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(n_channels) if last_norm else None
        self.last = nn.Linear(n_channels, out_channels)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """All places."""
        places = x[0, 0].numel()
        if places > len(self.position) or (places < len(self.position) and not self.causal):
            raise ValueError(f"this net was built for {len(self.position)} places, x has {places}; they must agree")
        h = self._embedded(x, cond, self.position[:places])
        for block in self.blocks:
            h = block(h)
        return self._read(h).unflatten(2, x.shape[2:])

    def row(self, x: Tensor, cond: Tensor | None, past: list[Seen] | None) -> tuple[Tensor, list[Seen]]:
        """The next place [B, C_out, 1, 1] of x [B, C_in, 1, 1], and the `past` to give with the one after it."""
        place = past[0][0].shape[2] if past else 0
        h, seen = self._embedded(x, cond, self.position[place : place + 1]), []
        for i, block in enumerate(cast("list[TransformerBlock]", list(self.blocks))):
            h, seen_here = block.step(h, past[i] if past else None)
            seen.append(seen_here)
        return self._read(h)[..., None], seen

    def _embedded(self, x: Tensor, cond: Tensor | None, position: Tensor) -> Tensor:
        h = self.embed(x.flatten(2).transpose(1, 2)) + position  # (B, T, D)
        if self.cond is None:
            return cast(Tensor, h)
        if cond is None:
            raise ValueError(f"this net has a conditioning of {self.cond.in_features} channels, and got none")
        told = cond.flatten(2).transpose(1, 2)  # (B, T or 1, C_cond)
        return cast(Tensor, h + self.cond(told[:, -h.shape[1] :]))

    def _read(self, h: Tensor) -> Tensor:
        return cast(Tensor, self.last(h if self.norm is None else self.norm(h)).transpose(1, 2))  # (B, C_out, T)

    def reach_places(self) -> int:
        """How many places to each side, on the last axis, it looks for one: all."""
        return self.sizes[-1] - 1


class GuidedNet(nn.Module):
    """Classifier-free guidance of a net whose cond are classes: `net(x, y) + guidance · (net(x, y) − net(x, none))`.

    J. Ho and T. Salimans, 2022, arXiv:2207.12598; for flows TarFlow (2024, arXiv:2412.06329, §3.5), in sampling alone.
    No class is the mean of all. A net for RowAutoregressive remains one.

    >>> net = TransformerNet(3, 6, sizes=(4, 4), n_channels=16, n_heads=2, n_layers=2, cond_channels=5)
    >>> GuidedNet(net, 1.5)(torch.randn(2, 3, 4, 4), torch.eye(5)[[0, 3], :, None, None]).shape
    torch.Size([2, 6, 4, 4])
    """

    def __init__(self, net: nn.Module, guidance: float) -> None:
        super().__init__()
        self.net = net
        self.guidance = guidance

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        """All places."""
        return self._guided(self.net(x, cond), self.net(x, self._none(cond)))

    def row(
        self, x: Tensor, cond: Tensor, past: tuple[list[Seen], list[Seen]] | None
    ) -> tuple[Tensor, tuple[list[Seen], list[Seen]]]:
        """As of the net; the past is that of both."""
        with_class, without = past or (None, None)
        given, with_class = self.net.row(x, cond, with_class)  # type: ignore[operator]
        free, without = self.net.row(x, self._none(cond), without)  # type: ignore[operator]
        return self._guided(given, free), (with_class, without)

    def _none(self, cond: Tensor) -> Tensor:
        return cond.mean(1, keepdim=True).expand_as(cond)

    def _guided(self, given: Tensor, free: Tensor) -> Tensor:
        return given + self.guidance * (given - free)
