"""What a training step keeps in memory for its backward pass, by depth and memory mode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import torch
from torch import Tensor, nn

from waveglow.bench.measuring import CPU, in_turns, progress, require_positive, timed
from waveglow.bench.step import Step, batch_for, new_model, seconds_of
from waveglow.bench.table import Column, Row, Table
from waveglow.flows.compose import Chain, Memory
from waveglow.models.flow_vocoder import FlowVocoder

FLOWS = (12, 48)
MODES: tuple[Memory, ...] = get_args(Memory)
COLUMNS = (
    Column("flows", "flows"),
    Column("memory", "memory"),
    Column("kept_mib_per_second", "MiB kept / s audio", ".2f"),
    Column("step_seconds", "step, s", ".3f"),
    Column("relative_time", "time, none = 1", ".2f"),
)


def small_waveglow(flows: int, memory: Memory) -> FlowVocoder:
    """32 channels, 4 layers, no early outputs: only the depth differs."""
    numbers = {"n_channels": 32, "n_layers": 4, "n_flows": flows, "n_early_every": flows, "actnorm": False}
    model = new_model({"name": "waveglow", **numbers})
    for module in model.modules():
        if isinstance(module, Chain):
            module.memory = memory
    return model


def kept_bytes(model: nn.Module, *inputs: Tensor) -> int:
    """What autograd keeps of `model(*inputs)` for the backward pass, each memory once, parameters excluded."""
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(*inputs)
    del output
    return sum(kept.values())


def table(
    flows: Sequence[int] = FLOWS,
    *,
    batch: int = 2,
    segment_samples: int = 16000,
    repeats: int = 5,
    device: torch.device = CPU,
) -> Table:
    """Memory and time of a step in each mode at each depth.

    Arguments:
        flows: depths of the small WaveGlow.
        batch: crops a step.
        segment_samples: of a crop, rounded up to the model's group and hop.
        repeats: warm runs, of which the median counts.
        device: where to compute.

    Returns rows with `kept_mib_per_second` (MiB that autograd keeps, counted exactly, per second of audio),
    `step_seconds`, and `relative_time`, that of mode "none" being 1. Raises ValueError for a number not above 0.
    """
    require_positive("flows", *flows)
    progress("memory modes")
    steps: dict[tuple[int, Memory], Step] = {}
    for n_flows in flows:
        for mode in MODES:
            model = small_waveglow(n_flows, mode).to(device)
            audio, mel = batch_for(model, batch, segment_samples, device)
            steps[n_flows, mode] = Step(model, "float32", audio, mel)
    took = in_turns({key: timed(step.run, device) for key, step in steps.items()}, repeats)
    rows: list[Row] = [
        {
            "flows": n_flows,
            "memory": mode,
            "kept_mib_per_second": kept_bytes(step.model, step.audio, step.mel) / 2**20 / seconds_of(step.audio),
            "step_seconds": took[n_flows, mode][0],
            "relative_time": took[n_flows, mode][0] / took[n_flows, "none"][0],
        }
        for (n_flows, mode), step in steps.items()
    ]
    return Table("Memory modes: a WaveGlow of 32 channels and 4 layers a flow, float32", COLUMNS, rows)


def curves(by_depth: Table) -> dict[str, list[tuple[float, float]]]:
    """What to plot of a `table`: by mode, (flows, MiB kept per second of audio)."""
    return {
        mode: [(float(r["flows"]), r["kept_mib_per_second"]) for r in by_depth.rows if r["memory"] == mode]
        for mode in MODES
    }
