"""Layers by names that a reader knows: `flow 3 / 1×1` for `flow.levels.2.layers.1`."""

from __future__ import annotations

import re
from collections import Counter

from torch import nn

from waveglow.flows.base import Flow, coupling_nets
from waveglow.flows.compose import Chain, Split

FAMILIAR = {"InvertibleConv": "1×1", "InvertibleConvLU": "1×1", "ActNorm": "actnorm", "FlowBatchNorm": "batch norm"}


def layer_names(model: nn.Module) -> dict[Flow, str]:
    """Names of a model's layers, each once, in data order.

    A flow, counted from 1, ends with its coupling; what splits use to judge what leaves is `split 1 / …`. A coupling
    net may use a layer as a mere function: those are left out.
    """
    nets = {part for net in coupling_nets(model).values() for part in net.modules()}
    splits = [module for module in model.modules() if isinstance(module, Split)]
    of_split = {part: number for number, split in enumerate(splits, 1) for part in split.modules()}
    names: dict[Flow, str] = {}
    taken: Counter[str] = Counter()
    flow = 1
    for layer in model.modules():
        if not isinstance(layer, Flow) or isinstance(layer, Chain) or layer in nets:
            continue
        name = f"split {of_split[layer]}" if layer in of_split else f"flow {flow}"
        name += f" / {_kind(layer)}"
        taken[name] += 1
        names[layer] = name if taken[name] == 1 else f"{name} {taken[name]}"
        flow += layer not in of_split and bool(coupling_nets(layer))
    return names


def _kind(layer: Flow) -> str:
    name = type(layer).__name__
    return FAMILIAR.get(name) or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
