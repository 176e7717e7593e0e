"""Optimizer, learning rate and weight averaging."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from waveglow.training.config import OptimConfig


def make_optimizer(parameters: Iterable[nn.Parameter], config: OptimConfig) -> torch.optim.Optimizer:
    """The optimizer that the configuration names.

    "adamax" is torch's, after Kingma and Ba (2014, arXiv:1412.6980, §7.1): lr / (1 − β1ᵗ) · m / max(β2·u, |g| + ε).
    OpenAI's code for Glow also multiplies by √(1 − β2ᵗ), as Adam does, so that its first steps are smaller.
    """
    classes: dict[str, Any] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "adamax": torch.optim.Adamax}
    beta1, beta2 = config.betas
    fast = {"foreach": True} if config.name == "adamax" else {"fused": True}
    return classes[config.name](
        parameters, lr=config.lr, betas=(beta1, beta2), eps=config.eps, weight_decay=config.weight_decay, **fast
    )


def learning_rate(config: OptimConfig, step: int, steps: int) -> float:
    """Learning rate of a step (from 0) of so many: a function of the step alone, so that nothing needs resuming."""
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    progress = max(0, step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    falling = {"none": 1.0, "linear": 1 - progress, "cosine": 0.5 + 0.5 * math.cos(math.pi * progress)}[config.decay]
    return config.lr * warm * (config.final_lr_ratio + (1 - config.final_lr_ratio) * falling)


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """Exponential moving average of the weights; early on it forgets faster, so as not to lag behind the start."""

    @torch.no_grad()
    def update(averages: Any, current: Any, n_averaged: Tensor | int) -> None:
        n = float(n_averaged)
        torch._foreach_lerp_(averages, current, 1 - min(decay, (1 + n) / (10 + n)))

    return AveragedModel(model, multi_avg_fn=update)
