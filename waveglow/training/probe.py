"""Whether weights are any good: finite, and with a finite loss and gradient.

A step too large leaves finite weights that no further step can learn from, and only the next step would show it: so
they are tried before they are saved.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from waveglow.training.optim import MovingAverage
from waveglow.training.task import Batch


class Probe:
    """Tries a model and its average on the first and the newest training batch of this process.

    Both, since a batch may itself be what is wrong: weights that serve one of them are sound.

    Arguments:
        precision: the region in which nets run, as in training.
    """

    def __init__(self, precision: Callable[[], torch.autocast]) -> None:
        self.precision = precision
        self.batches: list[Batch] = []

    def see(self, batch: Batch) -> None:
        """Remember a batch that is trained on."""
        self.batches = [*self.batches[:1], batch]

    def fault(self, objective: nn.Module, average: MovingAverage, averaged_objective: nn.Module) -> str:
        """What is wrong with the weights, in a few words; empty where nothing is, or nothing can be said: no batch was
        seen, or the device has too little memory beside the training's.
        """
        for module in (objective, average.module):
            for name, tensor in module.state_dict().items():
                if tensor.is_floating_point() and not tensor.isfinite().all():
                    return f"{name} is not finite"
        try:
            if self.batches and not any(self._serves(objective, averaged_objective, batch) for batch in self.batches):
                return "they give no finite loss and gradient"
        except torch.OutOfMemoryError:
            pass
        return ""

    def _serves(self, objective: nn.Module, averaged_objective: nn.Module, batch: Batch) -> bool:
        parameters = [p for p in objective.parameters() if p.requires_grad]
        objective.eval()  # the statistics of batch norms stay as they are
        try:
            loss = self._sum(objective, batch)
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        finally:
            objective.train()
        with torch.no_grad():
            averaged = self._sum(averaged_objective.eval(), batch)
        norms = [gradient.norm() for gradient in gradients if gradient is not None]
        return bool(torch.stack([loss.detach(), averaged, *norms]).isfinite().all())

    def _sum(self, objective: nn.Module, batch: Batch) -> Tensor:
        """Of the terms of the loss: finite if all of them are."""
        with self.precision():
            return torch.stack([*objective(*batch).values()]).sum()
