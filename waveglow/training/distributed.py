"""The processes of a run, as torchrun starts them; one process is a world of its own."""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")
STUCK_MINUTES = 25  # less than what the others wait for a process that has stopped


@dataclass(frozen=True)
class World:
    """This process's place among all: `rank` of `size`, computing on `device`."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process. The hosts ask each other; no GPU is waited for."""
        if self.size == 1:
            return flag
        value = torch.tensor(float(flag))
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return bool(value)

    def largest(self, value: Tensor) -> Tensor:
        """Largest value in any process, of a tensor on their devices. Nothing is read."""
        if self.size > 1:
            dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return value

    def sum(self, values: Tensor) -> Tensor:
        """Sum over all processes."""
        if self.size > 1:
            values = values.to(self.device)
            dist.all_reduce(values)
        return values

    def agree(self, value: T) -> T:
        """The first process's value, in all of them."""
        values = [value]
        if self.size > 1:
            dist.broadcast_object_list(values, src=0, device=self.device)
        return values[0]

    def alive(self) -> None:
        """This process, one of several, has got on: if it then doesn't for 25 minutes, it ends with exit code 1.

        It says where all its threads stand, and torchrun ends the others, or starts all of them anew.
        """
        if self.size > 1:
            faulthandler.dump_traceback_later(60 * STUCK_MINUTES, exit=True, file=2)

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def world(device: str | None = None, *, timeout_minutes: float = 30) -> Iterator[World]:
    """Join the processes that torchrun started (RANK, WORLD_SIZE, LOCAL_RANK), or be alone.

    NCCL on GPUs; gloo on CPUs, and between the hosts of GPUs. `device` defaults to the GPU of the local rank, where
    there is one.
    """
    size, rank, local = (int(os.environ.get(name, default)) for name, default in ENVIRONMENT)
    chosen = torch.device(device or (f"cuda:{local}" if torch.cuda.is_available() else "cpu"))
    if chosen.type == "cuda":
        chosen = torch.device("cuda", local if chosen.index is None else chosen.index)
        torch.cuda.set_device(chosen)
    if size == 1:
        yield World(0, 1, chosen)
        return
    backend = "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo"
    timeout = timedelta(minutes=timeout_minutes)
    dist.init_process_group(backend, store=_store(timeout), rank=rank, world_size=size, timeout=timeout)
    try:
        yield World(rank, size, chosen)
    finally:
        faulthandler.cancel_dump_traceback_later()
        dist.destroy_process_group()


def _store(timeout: timedelta) -> Any:
    """Where the processes find each other. On one machine each start has names of its own.

    torchrun keeps its store when it starts the processes anew, and with it the addresses of those that are gone. How
    often it has, it counts by machine: on several the names would differ.
    """
    store, _, _ = next(dist.rendezvous("env://", timeout=timeout))  # type: ignore[attr-defined]
    starts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if os.environ.get("GROUP_WORLD_SIZE") != "1":
        return store
    return dist.PrefixStore(f"start {starts}", store)  # type: ignore[attr-defined]


ENVIRONMENT = (("WORLD_SIZE", "1"), ("RANK", "0"), ("LOCAL_RANK", "0"))
