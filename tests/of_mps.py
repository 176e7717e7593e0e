"""A stand-in for an Apple GPU, which has no float64."""

from __future__ import annotations

import torch
from torch import nn


class OfMps(torch.Tensor):
    """A stand-in for a tensor on an Apple GPU: it says so, has no float64, and comes to the CPU by `.cpu()`."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        if function == torch.Tensor.device.__get__:
            return torch.device("mps")
        if name == "cpu":
            return args[0].as_subclass(torch.Tensor)
        if name == "to" and not isinstance(args[0], OfMps) and any(isinstance(given, OfMps) for given in args[1:]):
            return args[0].to(args[1].dtype).as_subclass(OfMps)
        result = super().__torch_function__(function, types, args, kwargs or {})
        if isinstance(result, OfMps) and result.dtype == torch.float64 and name not in ("copy_", "__set__"):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
        return result


def moved_to_mps(model: nn.Module) -> nn.Module:
    """The model itself, its weights and buffers there."""
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None and tensor.is_floating_point():
                    moved = tensor.detach().as_subclass(OfMps)
                    tensors[name] = nn.Parameter(moved, requires_grad=tensor.requires_grad)
    return model
