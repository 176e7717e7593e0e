"""How fast this machine's convolutions are, which is what a model's speed is to be compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from waveglow.bench.measuring import in_turns, timed
from waveglow.bench.table import Row, Table
from waveglow.vocoder import HALF

T = TypeVar("T")

PLACES_CPU, PLACES_CUDA = 8192, 131072


def counted(action: Callable[[], T]) -> tuple[T, float]:
    """What an action gives; 10⁹ operations of its convolutions and matrix products, backward passes included."""
    with FlopCounterMode(display=False) as counter:
        result = action()
    return result, counter.get_total_flops() / 1e9


def kernel_rates(device: torch.device, repeats: int, *, backward: bool = False) -> dict[str, float]:
    """GFLOP/s of a channels-last convolution of 256 to 512 channels with 3 taps, in each kind of numbers.

    `backward`: with the gradients of its input and its weight, as in training.
    """
    dtypes = {"float32": torch.float32, "bf16": HALF["bf16"]} | (
        {"fp16": HALF["fp16"]} if device.type == "cuda" else {}
    )
    places = PLACES_CUDA if device.type == "cuda" else PLACES_CPU
    actions = {}
    for name, dtype in dtypes.items():
        conv = nn.Conv2d(256, 512, (1, 3), padding=(0, 1)).to(device, dtype).to(memory_format=torch.channels_last)
        x = torch.randn(1, 256, 1, places, device=device).to(dtype, memory_format=torch.channels_last)
        actions[name] = _both_ways(conv, x) if backward else _forward(conv, x)
    gflop = (3 if backward else 1) * 2 * 256 * 512 * 3 * places / 1e9
    in_time = {name: timed(action, device) for name, action in actions.items()}
    return {name: gflop / took for name, (took,) in in_turns(in_time, repeats).items()}


def kernel_table(rates: Mapping[str, float], ways: str = "") -> Table:
    """The rates in one line; `ways` ends it."""
    said = " and ".join(f"{rate:.0f} ({precision})" for precision, rate in rates.items())
    rows: list[Row] = [{"precision": name, "gflop_per_second": rate} for name, rate in rates.items()]
    return Table(f"Kernels reach {said} GFLOP/s here{ways}", (), rows)


def _forward(conv: nn.Module, x: Tensor) -> Callable[[], object]:
    return torch.inference_mode()(lambda: conv(x))


def _both_ways(conv: nn.Module, x: Tensor) -> Callable[[], object]:
    with torch.no_grad():
        grad = conv(x)
    inputs = (x.requires_grad_(), *conv.parameters())
    return lambda: torch.autograd.grad(conv(x), inputs, grad)
