"""A model's tensors, each once: flows may share a net, and its tensors then have a name in every one of them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


def own_state(model: nn.Module) -> dict[str, Tensor]:
    """What `state_dict()` holds, every tensor under the first of its names."""
    first = {name for name, _ in [*model.named_parameters(), *model.named_buffers()]}
    return {name: tensor for name, tensor in model.state_dict().items() if name in first}


def fill_(model: nn.Module, tensors: Mapping[str, Tensor], *, assign: bool = False) -> None:
    """Load what `own_state` gave; `assign` as of `load_state_dict`. Raises KeyError for other names."""
    if odd := tensors.keys() ^ own_state(model).keys():
        raise KeyError(f"{sorted(odd)[0]} is in only one of the tensors and the model")
    model.load_state_dict(tensors, strict=False, assign=assign)
