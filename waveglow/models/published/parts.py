"""What readers of published state dicts share: named parts, weight norm, and the published constructor's arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from waveglow.config import ConfigError, nearest
from waveglow.flows.base import coupling_nets
from waveglow.models.whole_directory import CheckpointError

State = dict[str, Tensor]
Converted = tuple[dict[str, Any], State]  # model configuration, our tensors

OURS = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}


class Part(State):
    """The tensors under a prefix, and a note of which were read, of this part and of parts of it.

    Raises CheckpointError, with the whole name, for what isn't there.
    """

    def __init__(self, state: Mapping[str, Tensor], prefix: str = "") -> None:
        super().__init__({name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)})
        self.prefix = getattr(state, "prefix", "") + prefix
        self.read: set[str] = getattr(state, "read", set())

    def __getitem__(self, name: str) -> Tensor:
        self.read.add(self.prefix + name)
        return super().__getitem__(name)

    def __missing__(self, name: str) -> Tensor:
        raise CheckpointError(f"the checkpoint lacks {self.prefix + name!r}; is it whole, and of this family?")

    def count(self, prefix: str) -> int:
        """How many numbers follow the prefix."""
        return len({name[len(prefix) :].split(".")[0] for name in self if name.startswith(prefix)})

    def require_all_read(self, whose: str) -> None:
        """Raises CheckpointError for a tensor of which nothing was made."""
        for name in self:
            if self.prefix + name not in self.read:
                raise CheckpointError(f"the checkpoint has {name!r}, which {whose} hasn't; is it of this family?")


def nets_of(model: nn.Module) -> list[str]:
    """Our names of the coupling nets, in data order, with a dot behind."""
    return [f"{name}." for name in coupling_nets(model)]


def renamed(place: str, tensors: State) -> State:
    """The tensors under another prefix."""
    return {place + name: tensor for name, tensor in tensors.items()}


def normed(state: State, *layers: str) -> State:
    """Weight-normed layers as one, side by side in their outputs, under torch's new names.

    Since weight norm has a gain an output channel, that is exact. A weight without its norm becomes a pair.
    """
    parts = [_pair(state, layer) for layer in layers]
    shapes = {tuple(part["weight_v"].shape[1:]) for part in parts}
    if len(shapes) > 1:
        raise CheckpointError(
            f"{layers[0]} and {layers[-1]} have weights of different shapes; is the checkpoint whole?"
        )
    fused = {kind: torch.cat([part[kind] for part in parts]) for kind in ("bias", "weight_g", "weight_v")}
    return {OURS.get(kind, kind): tensor for kind, tensor in fused.items()}


def inputs_of(state: State, layer: str) -> int:
    """How many channels a layer reads, weight-normed or not."""
    return _pair(state, layer)["weight_v"].shape[1]


def _pair(state: State, layer: str) -> State:
    bias = state[f"{layer}.bias"]
    if f"{layer}.weight" in state:
        return {"bias": bias, **gain_and_direction(state[f"{layer}.weight"])}
    return {kind: state[f"{layer}.{kind}"] for kind in ("bias", "weight_g", "weight_v")}


def gain_and_direction(weight: Tensor) -> State:
    """The pair of weight norm that gives this weight."""
    gain = weight.flatten(1).norm(dim=1).view(-1, *[1] * (weight.dim() - 1))
    return {"weight_g": gain, "weight_v": torch.where(gain == 0, 1.0, weight)}  # 0 has no direction: any will do


def last_outputs(layer: State, n: int) -> State:
    """The last n output channels of a layer."""
    return {kind: tensor[-n:] for kind, tensor in layer.items()}


def in_two_dimensions(layer: State) -> State:
    """Kernels of one dimension [out, in, k] as of two, [out, in, 1, k]."""
    return {kind: tensor.unsqueeze(2) if tensor.dim() == 3 else tensor for kind, tensor in layer.items()}


def log_s_first(tensor: Tensor) -> Tensor:
    """Outputs (t, log_s) as (log_s, t), of weights and biases [2C, ...] and of gains [1, 2C, 1, 1]."""
    axis = 1 if tensor.shape[0] == 1 else 0
    return tensor.roll(tensor.shape[axis] // 2, axis)


class ArgumentError(ConfigError):
    """An argument of a published constructor that is missing or unknown, or says other than the tensors.

    Arguments:
        reason: what is wrong, without how to give arguments: that differs between Python and the shell.
        missing: arguments that must be given, with example values.
    """

    def __init__(self, reason: str, *, missing: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"{reason}; give what is true of it, such as config={dict(missing)}" if missing else reason)
        self.reason, self.missing = reason, dict(missing or {})


def settled(
    given: Mapping[str, Any],
    whose: str,
    *,
    told: Mapping[str, Any],
    needed: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
    ignored: Iterable[str] = (),
) -> dict[str, Any]:
    """Values of the `needed` arguments and of those with `defaults`, once all that are given were checked.

    Arguments:
        given: any of the published constructor's arguments.
        whose: constructor, for messages.
        told: what the tensors say of an argument; mappings are compared key by key.
        needed: example values of arguments that no tensor tells and that have no default.
        defaults: of arguments that no tensor tells, whole numbers.
        ignored: arguments that say nothing of the model.

    Raises ArgumentError.
    """
    needed, defaults = needed or {}, defaults or {}
    _require_agreement(given, whose, {**told, **needed, **defaults, **dict.fromkeys(ignored)}, told=told)
    missing = {key: example for key, example in needed.items() if key not in given}
    if missing:
        raise ArgumentError(f"no tensor of {whose} tells {' or '.join(missing)}", missing=missing)
    open_to_choice = {**needed, **defaults}
    return {key: _like(key, given[key], value) if key in given else value for key, value in open_to_choice.items()}


def _require_agreement(
    given: Mapping[str, Any], whose: str, known: Iterable[str], *, told: Mapping[str, Any], where: str = ""
) -> None:
    for key, value in given.items():
        if key not in known:
            raise ArgumentError(f"{where}{key} is no argument of {whose}{nearest(str(key), known)}")
        if isinstance(expected := told.get(key, value), Mapping):
            if not isinstance(value, Mapping):
                raise ArgumentError(f"{where}{key} is {value!r}; it must be a mapping, such as {dict(expected)}")
            _require_agreement(value, whose, expected, told=expected, where=f"{where}{key}.")
        elif value != expected or isinstance(value, bool) != isinstance(expected, bool):
            raise ArgumentError(
                f"{where}{key} is {value!r} in the configuration and {expected!r} in the tensors; correct it, or leave "
                "it out"
            )


def _like(key: str, value: Any, example: Any) -> Any:
    """The value. Raises ArgumentError where it is of another type than the example."""
    if isinstance(example, bool):
        if not isinstance(value, bool):
            raise ArgumentError(f"{key} is {value!r}; it must be true or false")
    elif not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ArgumentError(f"{key} is {value!r}; it must be a whole number, at least 1")
    return value
