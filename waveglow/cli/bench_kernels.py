"""How fast this machine's convolutions are, which is what a model's speed is to be compared with."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from waveglow.cli.bench_common import in_turns, timed
from waveglow.synthesis import HALF

PLACES_CPU, PLACES_CUDA = 8192, 131072


def kernel_rates(device: torch.device, repeats: int) -> dict[str, float]:
    """GFLOP/s of a channels-last convolution of 256 to 512 channels with 3 taps, in each kind of numbers."""
    dtypes = {"float32": torch.float32, "bf16": HALF["bf16"]} | (
        {"fp16": HALF["fp16"]} if device.type == "cuda" else {}
    )
    places = PLACES_CUDA if device.type == "cuda" else PLACES_CPU
    actions = {}
    for name, dtype in dtypes.items():
        conv = nn.Conv2d(256, 512, (1, 3), padding=(0, 1)).to(device, dtype).to(memory_format=torch.channels_last)
        x = torch.randn(1, 256, 1, places, device=device).to(dtype, memory_format=torch.channels_last)
        actions[name] = timed(torch.inference_mode()(partial(conv, x)), device)
    flop = 2 * 256 * 512 * 3 * places
    return {name: flop / took / 1e9 for name, (took,) in in_turns(actions, repeats).items()}
