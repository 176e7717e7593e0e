"""A model's tensors, each once: flows may share a net, and its tensors then have a name in every one of them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from waveglow.flows.base import Flow


def own_state(model: nn.Module) -> dict[str, Tensor]:
    """What `state_dict()` holds, every tensor under the first of its names."""
    first = {name for name, _ in [*model.named_parameters(), *model.named_buffers()]}
    return {name: tensor for name, tensor in model.state_dict().items() if name in first}


def fill_(model: nn.Module, tensors: Mapping[str, Tensor], *, assign: bool = False) -> None:
    """Load what `own_state` gave; `assign` as of `load_state_dict`. Raises KeyError for other names."""
    if odd := tensors.keys() ^ own_state(model).keys():
        raise KeyError(f"{sorted(odd)[0]} is in only one of the tensors and the model")
    model.load_state_dict(tensors, strict=False, assign=assign)


@torch.no_grad()
def require_sound(model: nn.Module, *, names: Mapping[str, str] | None = None) -> None:
    """Raises ValueError, which names the layer, for weights with which nothing that is computed means anything.

    Those are NaN or infinite, directions of length 0 under weight norm, negative variances, and what makes a flow no
    invertible map. `names`: of the tensors, for messages, where they aren't the model's.
    """
    if any(tensor.is_meta for tensor in own_state(model).values()):
        return  # it has no weights yet
    names = names or {}
    for name, tensor in own_state(model).items():
        require_finite(names.get(name, name), tensor)
        if name.endswith("running_var") and (tensor < 0).any():
            raise ValueError(f"{names.get(name, name)} has {float(tensor.min()):.4g}; a variance is at least 0")
        if name.endswith("parametrizations.weight.original1") and not tensor.flatten(1).any(1).all():
            raise ValueError(f"{names.get(name, name)} has a direction of length 0, which weight norm divides by")
    for name, module in model.named_modules():
        if isinstance(module, Flow):
            try:
                module.require_invertible()
            except ValueError as error:
                raise ValueError(f"{names.get(f'{name}.weight', name)}: {error}") from error


def require_finite(name: str, tensor: Tensor) -> None:
    """Raises ValueError where a tensor has NaN or infinite values."""
    if tensor.is_floating_point() and not tensor.sum().isfinite() and (odd := int((~tensor.isfinite()).sum())):
        raise ValueError(f"{name} has {odd} NaN or infinite values of {tensor.numel()}")
