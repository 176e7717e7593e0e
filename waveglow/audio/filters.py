"""Multiplication by a filter bank, whose filters reach over few of the bins: by blocks, a quarter of the work."""

from __future__ import annotations

import torch
from torch import Tensor, nn

BLOCKS = 4


class Filters(nn.Module):
    """x [..., K] to x·Aᵀ, [..., M], of a matrix A [M, K] most of whose elements are 0.

    Rows are taken in blocks, each with the columns that it reaches. `columns` is how many of K, counted from the first
    one, any row reaches; of x the others are neither needed nor looked at.
    """

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.reached: list[tuple[int, int]] = []
        for i, rows in enumerate(matrix.chunk(BLOCKS)):
            columns = rows.any(0).nonzero()
            first, end = (int(columns[0]), int(columns[-1]) + 1) if len(columns) else (0, 0)
            self.reached.append((first, end))
            self.register_buffer(f"block_{i}", rows[:, first:end].T.contiguous(), persistent=False)
        self.columns = max(end for _, end in self.reached)

    def forward(self, x: Tensor) -> Tensor:
        lines = x.flatten(0, -2)
        parts = [lines[:, first:end] @ block for (first, end), block in zip(self.reached, self.buffers(), strict=True)]
        return torch.cat(parts, dim=-1).unflatten(0, x.shape[:-1])
