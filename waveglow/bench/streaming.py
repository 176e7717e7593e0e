"""How soon and how fast a voice speaks while its mel is still arriving, and what less context costs in exactness.

The first audio comes after the frames that it depends on have arrived, at the pace of speech, and have been decoded;
the pieces after it, with all their surroundings, are "steady". A mel is [M, F] in frames, audio [T] in samples.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from functools import partial
from typing import Any

import torch
from torch import Tensor

from waveglow.audio.signals import hum, snr
from waveglow.bench.measuring import in_turns, progress, require_positive, synchronize
from waveglow.bench.pace import LATENCIES, LOAD, Latency, context_of, measured_pace
from waveglow.bench.table import SKIPPED, Column, Row, Table
from waveglow.export.onnx_runtime import OnnxVocoder
from waveglow.vocoder import Vocoder

CHUNKS = (4, 8, 16, 32, 64, 128)
CONTEXTS = (0, 2, 4, 8, 16, 32, 64)
CHUNK_OF_CONTEXTS = 32
STEADY_PIECES = 4
LATENCY = (
    Column("refine", "refine"),
    Column("chunk_frames", "chunk, frames"),
    Column("mel_seconds", "mel, s", ".3f"),
    Column("compute_seconds", "compute, s", ".3f"),
    Column("first_audio_seconds", "first audio, s", ".3f"),
    Column("steady_real_time_factor", "steady RTF", ".3f"),
)
EXACTNESS = (
    Column("refine", "refine"),
    Column("context", "context, frames"),
    Column("snr_db", "SNR, dB", ".1f"),
    Column("first_audio_seconds", "first audio, s", ".3f"),
    Column("steady_real_time_factor", "steady RTF", ".3f"),
)
BY_LATENCY = (
    Column("latency", "latency"),
    Column("refine", "refine"),
    Column("context", "context, frames"),
    Column("chunk_frames", "least chunk, frames"),
    Column("snr_db", "SNR, dB", ".1f"),
    Column("first_audio_ms", "first audio, ms", ".0f"),
    Column("steady_real_time_factor", "RTF", ".3f"),
)


def tables(
    vocoder: Vocoder | OnnxVocoder,
    *,
    chunks: Sequence[int] = CHUNKS,
    contexts: Sequence[int] = CONTEXTS,
    seconds: float = 4.0,
    repeats: int = 5,
) -> Iterator[Table]:
    """Latency by chunk, exactness by context, then both of what servers offer, a frame arriving after the other.

    Without refinement and with as much as the voice's streams have, the last table also with half of it.

    Arguments:
        vocoder: the voice, on its device, in its precision; or an exported one.
        chunks: mel frames that arrive at once, for the first table.
        contexts: mel frames that are decoded on both sides of a piece, for the second; the voice's own is always there.
        seconds: of audio whose exactness is measured.
        repeats: warm runs, of which the median counts.

    Yields: rows with `mel_seconds` + `compute_seconds` = `first_audio_seconds`, and `steady_real_time_factor`; in the
    second table also `snr_db`, against synthesis at once; in the third both, for the least chunk that keeps up.

    Raises ValueError for a chunk, seconds or repeats that aren't above 0, and for a context below 0.
    """
    require_positive("chunks", *chunks)
    require_positive("seconds", seconds)
    steps = sorted({0, vocoder.refinement.stream_steps})
    progress("measuring chunks of several lengths")
    keys: list[Key] = [(refine, chunk, None) for refine in steps for chunk in chunks]
    yield Table(f"{vocoder.precision}, by chunk", LATENCY, _measured(vocoder, keys, repeats))
    progress("measuring contexts")
    exactness: list[Key] = [
        (refine, CHUNK_OF_CONTEXTS, context) for refine in steps for context in [*dict.fromkeys(contexts), None]
    ]
    rows = _measured(vocoder, exactness, repeats)
    mel = torch.as_tensor(vocoder.mel(hum(seconds, vocoder.sample_rate), vocoder.sample_rate))
    at_once = {refine: torch.as_tensor(vocoder.synthesize(mel, refine=refine, check=False)) for refine in steps}
    for row, (refine, chunk, context) in zip(rows, exactness, strict=True):
        pieces = vocoder.stream(mel.split(chunk, dim=-1), refine=refine, context=context, check=False)
        row["snr_db"] = snr(at_once[refine], _joined(pieces))
    title = f"{vocoder.precision}, chunks of {CHUNK_OF_CONTEXTS} frames, by context"
    of = f"SNR of {len(mel[0]) * vocoder.mel_spec.hop / vocoder.sample_rate:.2f} s"
    yield Table(title, EXACTNESS, rows, [of])
    progress("measuring latencies")
    keeps_up = f"least chunk: with which a stream computes at most {LOAD:.0%} of the time"
    latencies = [
        _of_latency(vocoder, mel, latency, refine, repeats)
        for refine in sorted({*steps, vocoder.refinement.stream_steps // 2})
        for latency in LATENCIES
    ]
    yield Table(f"{vocoder.precision}, a frame after the other, by latency", BY_LATENCY, latencies, [of, keeps_up])


def _of_latency(vocoder: Vocoder | OnnxVocoder, mel: Tensor, latency: Latency, refine: int, repeats: int) -> Row:
    context = context_of(vocoder, latency, refine)
    pace = measured_pace(vocoder, refine=refine, context=context, repeats=repeats)
    row: Row = {"latency": latency, "refine": refine, "context": "own" if context is None else context}
    if (chunk := pace.least_chunk()) is None:
        return {**row, SKIPPED: "no chunk keeps up"}
    after = vocoder.stream_context(refine)[1] if context is None else context
    pieces = vocoder.stream(mel.split(chunk, dim=-1), refine=refine, context=context, gather=chunk, check=False)
    return {
        **row,
        "chunk_frames": chunk,
        "snr_db": snr(torch.as_tensor(vocoder.synthesize(mel, refine=refine, check=False)), _joined(pieces)),
        "first_audio_ms": 1000 * ((after + chunk) * pace.frame_seconds + pace.seconds(chunk)),
        "steady_real_time_factor": pace.real_time_factor(chunk),
    }


Key = tuple[int, int, int | None]  # steps of refinement, frames of a chunk, frames of context


def _measured(vocoder: Vocoder | OnnxVocoder, keys: list[Key], repeats: int) -> list[Row]:
    streams = {key: _Stream(vocoder, *key) for key in keys}
    took = in_turns({key: stream.run for key, stream in streams.items()}, repeats)
    rows = []
    for (refine, chunk, context), (first, steady) in took.items():
        mel = streams[refine, chunk, context].frames_before_first * vocoder.mel_spec.hop / vocoder.sample_rate
        rows.append(
            {
                "refine": refine,
                "chunk_frames": chunk,
                "context": "own" if context is None else context,
                "mel_seconds": mel,
                "compute_seconds": first,
                "first_audio_seconds": mel + first,
                "steady_real_time_factor": steady,
            }
        )
    return rows


def _joined(pieces: Iterable[Any]) -> Tensor:
    return torch.cat([torch.as_tensor(piece) for piece in pieces])


class _Stream:
    """Chunks that keep coming; `run` gives (seconds to compute the first piece, real-time factor in stride)."""

    def __init__(self, vocoder: Vocoder | OnnxVocoder, refine: int, chunk: int, context: int | None) -> None:
        self.vocoder = vocoder
        frame = torch.as_tensor(vocoder.mel(hum(1.0, vocoder.sample_rate), vocoder.sample_rate))[:, :1]
        self.chunk = frame.repeat(1, chunk)
        self.pieces: Callable[..., Iterator[Sized]] = partial(vocoder.stream, refine=refine, context=context)
        seen = vocoder.stream_context(refine) if context is None else (context, context)
        self.chunks_seen = 1 + -(-(sum(seen) + vocoder.group // vocoder.mel_spec.hop) // chunk)
        self.frames_before_first = 0

    def run(self) -> tuple[float, float]:
        first, _ = self._took(self.pieces(self._arriving()), pieces=1)
        before = self.chunk.repeat(1, self.chunks_seen)
        in_stride = self.pieces(itertools.chain([before], itertools.repeat(self.chunk)))
        next(in_stride)
        took, samples = self._took(in_stride, pieces=STEADY_PIECES)
        return first, took * self.vocoder.sample_rate / samples

    def _arriving(self) -> Iterator[Tensor]:
        for arrived in itertools.count(1):
            self.frames_before_first = arrived * self.chunk.shape[-1]
            yield self.chunk

    def _took(self, stream: Iterator[Sized], *, pieces: int) -> tuple[float, int]:
        """(Seconds, samples) of the next pieces."""
        synchronize(torch.device(self.vocoder.device))
        started = time.perf_counter()
        samples = sum(len(next(stream)) for _ in range(pieces))
        synchronize(torch.device(self.vocoder.device))
        return time.perf_counter() - started, samples
