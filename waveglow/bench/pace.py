"""What a piece of a stream costs on this machine, and so how long pieces have to be for a stream to keep up.

A piece of n frames is decoded with those around it: seconds = a + b·(n + around).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch

from waveglow.audio.signals import hum
from waveglow.bench.measuring import require_positive, synchronize
from waveglow.config import require_known
from waveglow.export.onnx_runtime import OnnxVocoder
from waveglow.pieces import Stream
from waveglow.vocoder import Vocoder

Latency = Literal["exact", "low"]
LATENCIES: tuple[Latency, ...] = get_args(Latency)
# Frames. In pieces of 7, what so few leave out is 34 to 45 dB below the voice (16 steps, six reference clips), and PESQ
# stays at 3.72; with 12 it is 3.65, with 8 3.37. With 8 steps of refinement instead of 16 it would be 3.21.
LOW_CONTEXT = 16

LOAD = 0.5  # share of the time that a stream may compute: the rest is for what else the machine does
SHORT, LONG = 1, 128  # frames of the pieces that are measured


def context_of(vocoder: Vocoder | OnnxVocoder, latency: Latency, refine: int | None = None) -> int | None:
    """Frames of context for a stream of that latency: None, the vocoder's own, is exact.

    Raises ValueError for another latency, and where refine doesn't fit.
    """
    require_known("latency", latency, LATENCIES)
    return LOW_CONTEXT if latency == "low" and max(vocoder.stream_context(refine)) > LOW_CONTEXT else None


class Pace(NamedTuple):
    """Seconds that pieces take, `a` each and `b` a frame, and the seconds of audio that a frame is."""

    a: float
    b: float
    around: int
    frame_seconds: float

    def seconds(self, frames: int) -> float:
        """To decode a piece of so many frames."""
        return self.a + self.b * (frames + self.around)

    def real_time_factor(self, frames: int) -> float:
        """Of a stream in pieces of so many frames: seconds of computing by seconds of audio."""
        return self.seconds(frames) / (frames * self.frame_seconds)

    def least_chunk(self, *, load: float = LOAD) -> int | None:
        """The fewest frames a piece with which a stream computes at most the share `load` of the time.

        None where the machine can't do it with pieces of any length. Raises ValueError for a load that isn't above 0.

        >>> Pace(a=0.01, b=0.001, around=60, frame_seconds=0.0116).least_chunk()
        15
        """
        require_positive("load", load)
        left = load * self.frame_seconds - self.b
        return max(1, math.ceil((self.a + self.b * self.around) / left - 1e-9)) if left > 0 else None


@dataclass(frozen=True)
class Paces:
    """Those of a vocoder's streams by steps of refinement, of which each costs alike."""

    plain: Pace
    refined: Pace
    steps: int

    def of(self, refine: int, around: int) -> Pace:
        """With so many steps, and so many frames decoded around a piece."""
        share = refine / self.steps if self.steps else 0.0
        a, b = (max(0.0, p + share * (r - p)) for p, r in zip(self.plain[:2], self.refined[:2], strict=True))
        return self.plain._replace(a=a, b=b, around=around)


def measured_paces(vocoder: Vocoder | OnnxVocoder) -> Paces:
    """Without refinement, and with as much as the vocoder's streams have. Raises ValueError as its `stream` does."""
    steps = vocoder.refinement.stream_steps
    plain = measured_pace(vocoder, refine=0)
    return Paces(plain, measured_pace(vocoder, refine=steps) if steps else plain, steps)


def measured_pace(
    vocoder: Vocoder | OnnxVocoder, *, refine: int | None = None, context: int | None = None, repeats: int = 3
) -> Pace:
    """The pace of a vocoder's streams with so many steps of refinement and frames of context, None being its own.

    The fastest of `repeats` counts: what else runs makes computing slower, never faster. Raises ValueError as
    `Vocoder.stream` does, and for repeats that aren't above 0.
    """
    require_positive("repeats", repeats)
    rate, hop = vocoder.sample_rate, vocoder.mel_spec.hop
    before, after = vocoder.stream_context(refine) if context is None else (context, context)
    frame = torch.as_tensor(vocoder.mel(hum(1.0, rate), rate))[:, :1].cpu()
    stream = vocoder.open_stream(refine=refine, context=context)
    stream.feed(np.asarray(frame.repeat(1, before + after + stream.missing)))
    device = torch.device(vocoder.device)
    shortest = stream.missing  # as many frames as groups of samples take
    lengths = shortest * SHORT, shortest * LONG
    short, long = (_fastest(device, stream, np.asarray(frame.repeat(1, n)), repeats) for n in lengths)
    b = max(0.0, (long - short) / (lengths[1] - lengths[0]))
    around = before + after
    return Pace(max(0.0, short - b * (lengths[0] + around)), b, around, hop / rate)


def _fastest(device: torch.device, stream: Stream[Any], chunk: npt.NDArray[np.float32], repeats: int) -> float:
    took = []
    for _ in range(repeats + 1):  # the first warms up
        synchronize(device)
        started = time.perf_counter()
        stream.feed(chunk)
        synchronize(device)
        took.append(time.perf_counter() - started)
    return min(took[1:])
