"""Hours of audio through one stream: does memory stay where it is, and the speed?

A mel of a synthetic hum is repeated for so many hours and synthesized in chunks; the audio is thrown away. `peak` is
the most memory that the process ever had, so a leak shows as a number that keeps growing.

  waveglow bench long --hours 10 --refine 0 --precision bf16
"""

from __future__ import annotations

import argparse
import itertools
import resource
import sys
import time
from collections.abc import Iterator

import torch

from waveglow.audio.signals import hum
from waveglow.bench.common import add_machine, add_voice, opened_device, positive, progress, seconds
from waveglow.bench.table import Column, Row, Table, show
from waveglow.cli.common import steps_of_refinement
from waveglow.vocoder import Vocoder

REPORTS = 10
COLUMNS = (
    Column("hours", "hours of audio", ".2f"),
    Column("peak_mib", "peak, MiB", ".0f"),
    Column("real_time_factor", "RTF since the last", ".4f"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_voice(parser)
    parser.add_argument("--refine", type=steps_of_refinement, metavar="STEPS", help="(as the voice was validated)")
    parser.add_argument("--hours", type=seconds, default=1.0, help="of audio (1)")
    parser.add_argument("--chunk", type=positive, default=1024, metavar="FRAMES", help="(1024)")
    add_machine(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    device = opened_device(args)
    return show(args, device, _tables(args, device))


def _tables(args: argparse.Namespace, device: torch.device) -> Iterator[Table]:
    vocoder = Vocoder.load(args.checkpoint, precision=args.precision, device=device)
    rate, hop = vocoder.sample_rate, vocoder.model.hop
    chunk = vocoder.mel(hum(args.chunk * hop / rate, rate), rate)[:, : args.chunk]
    chunks = max(REPORTS, round(3600 * args.hours * rate / (hop * chunk.shape[-1])))
    pieces = vocoder.stream(itertools.repeat(chunk, chunks), refine=args.refine)
    yield Table(f"{args.precision}, chunks of {chunk.shape[-1]} frames", COLUMNS, _rows(pieces, rate, chunks))


def _rows(pieces: Iterator[torch.Tensor], rate: int, chunks: int) -> list[Row]:
    rows: list[Row] = []
    done = before = 0.0
    started = time.perf_counter()
    for i, piece in enumerate(pieces, 1):
        done += len(piece) / rate
        if i % (chunks // REPORTS) == 0:
            now = time.perf_counter()
            unit = 2**20 if sys.platform == "darwin" else 2**10
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
            factor = (now - started) / (done - before)
            rows.append({"hours": done / 3600, "peak_mib": peak, "real_time_factor": factor})
            progress(f"{done / 3600:.2f} hours, peak {peak:.0f} MiB, real-time factor {factor:.4f}")
            started, before = now, done
    return rows
