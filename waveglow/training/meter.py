"""What steps tell: kept on their device, read together when a log line is due, and averaged."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

from waveglow.flows.base import widest
from waveglow.training.distributed import World


class Fault(IntEnum):
    """Why a step changed no weights: a process had no finite loss or gradient, or, in fp16, only its scaled gradient
    overflowed, as it does until the scale has fallen far enough.
    """

    NONE = 0
    OVERFLOWN = 1
    BAD = 2


class StepReport(NamedTuple):
    """A step of this process.

    Arguments:
        step: its number, from 1.
        terms: the loss and its terms.
        grad_norm: before clipping.
        fault: why it changed no weights, if it didn't.
        amount: how much material its batch held.
    """

    step: int
    terms: dict[str, float]
    grad_norm: float
    fault: Fault
    amount: float


class StepReports:
    """Reports of steps whose numbers are still on the device.

    To read a number is to wait for everything that the GPU has yet to do: while the host waits, it prepares no further
    step. So `keep` reads nothing, and `take` reads all steps since the last time at once.
    """

    def __init__(self) -> None:
        self.kept: list[tuple[int, list[str], Tensor, float]] = []

    def keep(self, step: int, terms: Mapping[str, Tensor], *, grad_norm: Tensor, fault: Tensor, amount: float) -> None:
        """A step of this process; all tensors are scalars."""
        numbers = torch.stack([widest(x.detach()) for x in (*terms.values(), grad_norm, fault)])
        self.kept.append((step, list(terms), numbers, amount))

    def take(self) -> list[StepReport]:
        """The steps since the last call, from the first to the last, in one read of the device."""
        kept, self.kept = self.kept, []
        if not kept:
            return []
        rows = torch.stack([numbers for _, _, numbers, _ in kept]).tolist()
        return [
            StepReport(step, dict(zip(names, terms, strict=True)), grad_norm, Fault(int(fault)), amount)
            for (step, names, _, amount), (*terms, grad_norm, fault) in zip(kept, rows, strict=True)
        ]


class Meter:
    """Means since the last log line, validation or checkpoint: what a resumed run can repeat.

    Arguments:
        rate: name of the amount of material a second.
    """

    def __init__(self, rate: str) -> None:
        self.rate = rate
        self.terms: defaultdict[str, float] = defaultdict(float)
        self.norms: list[float] = []
        self.amount = 0.0
        self.started = time.perf_counter()

    def add(self, report: StepReport) -> None:
        """A step; of one that was skipped, only the material counts."""
        self.amount += report.amount
        if report.fault:
            return
        for name, value in report.terms.items():
            self.terms[name] += value
        self.norms.append(report.grad_norm)

    def summary(self, world: World) -> dict[str, float | None]:
        """Means of the loss and its terms over all processes, of the gradient norm, and rates a second.

        The means are None where every step was skipped.
        """
        wall = time.perf_counter() - self.started
        names, n = sorted(self.terms), len(self.norms)
        totals = [self.amount, *(self.terms[name] for name in names)]
        amount, *sums = world.sum(torch.tensor(totals, dtype=torch.float64)).tolist()
        return {
            "loss": None,
            **{name: total / (n * world.size) for name, total in zip(names, sums, strict=True)},
            "grad_norm": sum(self.norms) / n if n else None,
            "steps_per_second": n / wall,
            self.rate: amount / wall,
        }
