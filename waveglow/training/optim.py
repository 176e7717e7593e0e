"""Optimizer, learning rate and weight averaging."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from waveglow.flows.base import widest
from waveglow.training.config import OptimConfig


def make_optimizer(parameters: Iterable[nn.Parameter], config: OptimConfig) -> torch.optim.Optimizer:
    """The optimizer that the configuration names.

    "adamax" is torch's, after Kingma and Ba (2014, arXiv:1412.6980, §7.1): lr / (1 − β1ᵗ) · m / max(β2·u, |g| + ε).
    OpenAI's code for Glow also multiplies by √(1 − β2ᵗ), as Adam does, so that its first steps are smaller.
    """
    classes: dict[str, Any] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "adamax": torch.optim.Adamax}
    beta1, beta2 = config.betas
    weights = [*parameters]
    skips = config.name != "adamax" and all(weight.device.type in ("cpu", "cuda") for weight in weights)
    fast = {"fused": True} if skips else {"foreach": True}
    return classes[config.name](
        weights, lr=config.lr, betas=(beta1, beta2), eps=config.eps, weight_decay=config.weight_decay, **fast
    )


def learning_rate(config: OptimConfig, step: int, steps: int) -> float:
    """Learning rate of a step (from 0) of so many: a function of the step alone, so that nothing needs resuming."""
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    progress = max(0, step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    falling = {"none": 1.0, "linear": 1 - progress, "cosine": 0.5 + 0.5 * math.cos(math.pi * progress)}[config.decay]
    return config.lr * warm * (config.final_lr_ratio + (1 - config.final_lr_ratio) * falling)


def step_unless(optimizer: torch.optim.Optimizer, skip: Tensor) -> None:
    """A step of the optimizer, unless `skip`, a float32 scalar on the device, is 1: then weights and moments stay.

    A fused optimizer looks at the flag on the device, as it does for torch.amp.GradScaler, and the host need not know
    it. Adamax has no fused form, and Apple's GPUs none that looks: the flag is read, which waits for the gradients.
    """
    if getattr(optimizer, "_step_supports_amp_scaling", False):
        optimizer.found_inf = skip  # type: ignore[attr-defined]
        optimizer.step()
    elif not skip:
        optimizer.step()


class MovingAverage:
    """Exponential moving average of a model's weights; early on it forgets faster, so as not to lag behind the start.

    `a ← a + (1 − min(decay, (1 + n) / (10 + n))) · (w − a)` after n steps; the first step's weights are copied.

    Arguments:
        model: what is averaged; on the device where it is trained.
        decay: weight of the past, from 0 (no averaging) to below 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module, self.decay = copy.deepcopy(model), decay
        self.n_averaged = widest(next(model.parameters()).detach().new_zeros(()))  # there, as skips are known there

    @torch.no_grad()
    def update(self, model: nn.Module, *, skip: Tensor) -> None:
        """Follow the model after a step, unless `skip`, a scalar on the device, is 1.

        A skipped step has moved the running statistics of batch norms all the same: the model gets back those of the
        last good step.
        """
        n = self.n_averaged
        weight = 1 - ((1 + n) / (10 + n)).clamp(max=self.decay)
        weight = torch.where(skip > 0, 0, torch.where(n == 0, 1, weight)).float()
        averages: list[Tensor] = [*self.module.parameters()]
        torch._foreach_lerp_(averages, [*model.parameters()], [weight] * len(averages))
        for average, statistic in zip(_running(self.module), _running(model), strict=True):
            good = torch.where(skip > 0, average, statistic)
            average.copy_(good)
            statistic.copy_(good)
        self.n_averaged += 1 - skip


def _running(model: nn.Module) -> list[Tensor]:
    """Running statistics of batch norms: the only buffers that a step may move (flows/base.py)."""
    return [buffer for name, buffer in model.named_buffers() if name.rpartition(".")[2] in RUNNING_STATISTICS]


RUNNING_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
