"""A training step as a CUDA graph: recorded once, then given to the GPU as one operation.

A flow is many small operations, and a GPU does one in less time than Python takes to ask for the next.
https://pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from waveglow.config import ConfigError

WARM_UPS = 3

Gradients = Callable[..., dict[str, Tensor]]


class CapturedGradients:
    """`gradients(*inputs)`, recorded at the first call and replayed with the inputs of each.

    The parameters' `.grad` must stay in place: every replay overwrites them. What is returned, too, is overwritten by
    the next call.

    Arguments:
        gradients: runs a forward and a backward pass; returns the terms of the loss.
        model: whose buffers the first passes, which prepare the recording, must not move.

    Raises ConfigError where an operation can't be recorded.
    """

    def __init__(self, gradients: Gradients, model: nn.Module) -> None:
        self.gradients, self.model = gradients, model
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: list[Tensor] = []
        self.terms: dict[str, Tensor] = {}

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        if self.graph is None:
            self.graph = self._record(inputs)
        for own, given in zip(self.inputs, inputs, strict=True):
            if own.shape != given.shape:
                raise ConfigError(
                    "train.cuda_graphs is true, and steps differ in how many crops are judged; make train.batch_size "
                    "times loss.mr_stft_share a whole number, or set it to false"
                )
            own.copy_(given)
        self.graph.replay()
        return self.terms

    def _record(self, inputs: tuple[Tensor, ...]) -> torch.cuda.CUDAGraph:
        self.inputs = [each.clone() for each in inputs]
        random, buffers = torch.cuda.get_rng_state(), [buffer.clone() for buffer in self.model.buffers()]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                self.model.zero_grad(set_to_none=True)
                self.gradients(*self.inputs)
        torch.cuda.current_stream().wait_stream(side)
        self.model.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self.terms = self.gradients(*self.inputs)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            raise ConfigError(
                f"train.cuda_graphs is true, and a step of this model can't be recorded: {reason}; set it to false"
            ) from error
        for buffer, before in zip(self.model.buffers(), buffers, strict=True):
            buffer.copy_(before)
        torch.cuda.set_rng_state(random)
        return graph
