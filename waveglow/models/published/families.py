"""Published checkpoints as models of this library: names and layouts only, nothing of their code."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from waveglow.config import ConfigError, nearest
from waveglow.models.published.images import glow_rosinality, realnvp_chrischute, tarflow_apple
from waveglow.models.published.parts import Converted, State
from waveglow.models.published.waveglow import nvidia_waveglow, nvidia_waveglow_old, squeezewave
from waveglow.models.published.wavenets import flowavenet, nanoflow, waveflow
from waveglow.models.registry import Model, build
from waveglow.models.weights import fill_, own_state, require_finite, require_sound
from waveglow.models.whole_directory import CheckpointError


class UnknownFamilyError(ConfigError):
    """Tensors whose names are those of no family; the user may know it."""


def from_state_dict(
    state: Mapping[str, Tensor], *, family: str | None = None, config: Mapping[str, Any] | None = None
) -> Model:
    """Model with the weights of a published state dict.

    Arguments:
        state: as the published repository saves it; `module.` prefixes, weight-norm pairs under old and new names, half
            precision; of NVIDIA/waveglow layouts A, B and C.
        family: one of FAMILIES; told from the names where it is None, but for "nvidia-waveglow-old", whose names are
            those of "nvidia-waveglow".
        config: the published repository's own constructor arguments, all of them or some. What the tensors tell needs
            not be given, and must agree with them; what no tensor tells must be: `n_height` and `bipartize` of
            WaveFlow, `n_height` of NanoFlow. Beyond those, `hop` (samples) of NVIDIA's WaveGlow and of SqueezeWave,
            `image_size` (pixels) and `n_bits` of images, where they differ from what was published.

    Raises CheckpointError where the tensors don't fit the family, or are NaN, infinite or singular; ConfigError where
    the family is unknown, ArgumentError (one of those) where `config` doesn't fit.
    """
    return convert(state, family=family, config=config)[0]


def convert(
    state: Mapping[str, Tensor], *, family: str | None = None, config: Mapping[str, Any] | None = None
) -> tuple[Model, dict[str, Any]]:
    """As `from_state_dict`, with the model's configuration for the registry."""
    state = _cleaned(state)
    family = family or _family(state)
    if family not in FAMILIES:
        raise ConfigError(f"family {family!r} is unknown{nearest(family, FAMILIES)}")
    model_config, ours = FAMILIES[family].read(state, config or {})
    with torch.device("meta"):
        model = build(model_config)
    _check(ours, own_state(model))
    fill_(model, ours, assign=True)
    _require_sound(model, state, ours)
    return model.eval(), model_config


class Family(NamedTuple):
    """Whose checkpoints: how they are read, and the names that tell them from others (none: only the user can)."""

    read: Callable[[State, Mapping[str, Any]], Converted]
    signs: tuple[str, ...] = ()


FAMILIES = {
    "nvidia-waveglow": Family(nvidia_waveglow, ("convinv.0.conv.weight", "upsample.weight")),
    "nvidia-waveglow-old": Family(nvidia_waveglow_old),
    "squeezewave": Family(squeezewave, ("convinv.0.conv.weight", "WN.0.in_layers.0.1.weight")),
    "flowavenet": Family(flowavenet, ("blocks.0.flows.0.coupling.net.front_conv.0.conv.bias",)),
    "waveflow": Family(waveflow, ("flows.0.coupling.net.front_conv.0.conv.bias",)),
    "nanoflow": Family(nanoflow, ("estimator.net.front_conv.0.conv.bias", "flows.0.multgate")),
    "glow-rosinality": Family(glow_rosinality, ("blocks.0.flows.0.invconv.*",)),
    "realnvp-chrischute": Family(realnvp_chrischute, ("flows.in_couplings.0.rescale.weight_g",)),
    "tarflow-apple": Family(tarflow_apple, ("blocks.0.attn_blocks.0.attention.qkv.weight", "var")),
}


def _family(state: State) -> str:
    for name, family in FAMILIES.items():
        if family.signs and all(fnmatch.filter(state, sign) for sign in family.signs):
            return name
    known = "; ".join(f"{name} has {' and '.join(family.signs)}" for name, family in FAMILIES.items() if family.signs)
    raise UnknownFamilyError(
        f"the family can't be told from these tensors: {known}; here are {', '.join(sorted(state)[:3])} …; name it"
    )


WRAPPED = re.compile(r"^((module|model|waveglow)\.(\d+\.)?)+")  # by DDP, as a Lightning module's `model`, by NeMo


def _cleaned(state: Mapping[str, Tensor]) -> State:
    """Float32, without wrappers and what else they hold, weight-norm pairs under their old names."""
    new_names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    result = {}
    wrapped = {name: tensor for name, tensor in state.items() if WRAPPED.match(name)}
    for name, tensor in (wrapped or state).items():
        for new, old in new_names.items():
            name = name.replace(new, old)
        result[WRAPPED.sub("", name, count=1)] = tensor.float()
    return result


def _require_sound(model: Model, state: State, ours: State) -> None:
    """Raises CheckpointError by the names that the file gives."""
    theirs = {tensor.data_ptr(): name for name, tensor in state.items()}
    try:
        for name, tensor in state.items():
            require_finite(name, tensor)
        require_sound(model, names={name: theirs.get(tensor.data_ptr(), name) for name, tensor in ours.items()})
    except ValueError as error:
        raise CheckpointError(f"the checkpoint is broken: {error}; use one from before it broke") from error


def _check(ours: State, expected: Mapping[str, Tensor]) -> None:
    for name, tensor in expected.items():
        if name not in ours:
            raise CheckpointError(f"the checkpoint lacks the tensor of our {name!r}; is it whole, and of this family?")
        if ours[name].shape != tensor.shape:
            raise CheckpointError(
                f"our {name} has shape {list(ours[name].shape)}, the checkpoint's other tensors ask for "
                f"{list(tensor.shape)}; is it whole?"
            )
