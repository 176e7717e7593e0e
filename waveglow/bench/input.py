"""How fast training is fed: seconds of audio a second that the input pipeline delivers, and how many a step takes.

The dataset, sampler and loader are those of `waveglow train`: crops read by seeking, their mels computed on the way.
Nothing is done with the batches. Each run counts from the first batch, when the workers are up. Beside it stands the
forward and backward pass of lapglow's likelihood in bf16, on batches of the same size, no optimizer. Each is measured
alone; in training, the workers and the step share the machine.

CORPUS is a folder of recordings (checked first, as `waveglow prepare` does) or a manifest; without one, synthetic hums
are written into a temporary folder.

  waveglow bench input
  waveglow bench input data/manifest.jsonl --workers 0 2 4 --batch 8 --segment 16384
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from waveglow.audio.io import save_audio
from waveglow.audio.signals import hum
from waveglow.bench.common import add_common, in_turns, opened_device, positive, progress, timed, whole
from waveglow.bench.step import SPEC, Step, add_batch, batch_for, new_model, seconds_of
from waveglow.bench.table import Column, Row, Table, show
from waveglow.data.manifest import Clip, prepare, read_manifest
from waveglow.data.sampler import StepSampler
from waveglow.data.speech import SpeechCrops

STEP = "lapglow step, bf16"
FILES, FILE_SECONDS = 16, 4.0
COLUMNS = (
    Column("what", "what"),
    Column("audio_seconds_per_second", "s audio / s", ".1f"),
    Column("times_the_step", "x the step", ".1f"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("corpus", nargs="?", type=Path, metavar="CORPUS", help="folder or manifest (synthetic hums)")
    parser.add_argument("--workers", nargs="+", type=whole, default=[0, 1, 2], metavar="N", help="processes (0 1 2)")
    parser.add_argument("--batches", type=positive, default=24, help="that a run counts (24)")
    add_batch(parser, batch=8, segment=8192)
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    device = opened_device(args)
    return show(args, device, tables(args, device))


def tables(args: argparse.Namespace, device: torch.device) -> Iterator[Table]:
    """One, of the pipeline at each number of workers and of a training step."""
    model = new_model({"name": "lapglow"}).to(device)
    step = Step(model, "bf16", *batch_for(model, args.batch, args.segment, device))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        clips = _clips(args.corpus, Path(folder))
        dataset = SpeechCrops(clips, SPEC, segment_samples=step.audio.shape[1], seed=0)
        deliveries = {workers: _Delivery(dataset, workers, args, device) for workers in args.workers}
        progress("measuring the input")
        actions = {n: delivery.run for n, delivery in deliveries.items()}
        took = in_turns({STEP: timed(step.run, device), **actions}, args.repeats)
    amounts = {STEP: seconds_of(step.audio), **dict.fromkeys(args.workers, args.batches * seconds_of(step.audio))}
    rates = {key: amounts[key] / own for key, (own,) in took.items()}
    rows: list[Row] = [
        {
            "what": key if key == STEP else f"input, {key} workers",
            "audio_seconds_per_second": rate,
            "times_the_step": rate / rates[STEP],
        }
        for key, rate in rates.items()
    ]
    least = min(row["times_the_step"] for row in rows[1:])
    size = f"{args.batch} x {step.audio.shape[1]} samples"
    note = f"the input is at least {least:.1f} times as fast as the step needs"
    yield Table(f"Input: batches of {size} from {len(clips)} recordings", COLUMNS, rows, [note])


def _clips(corpus: Path | None, folder: Path) -> list[Clip]:
    """What is trained on of a manifest, a folder, or of hums written below `folder`. Raises ConfigError."""
    if corpus is None:
        corpus = folder / "hums"
        corpus.mkdir()
        for voice in range(FILES):
            save_audio(corpus / f"{voice}.wav", hum(FILE_SECONDS, SPEC.sample_rate, voice=voice), SPEC.sample_rate)
    if corpus.is_dir():
        progress(f"checking the recordings below {corpus}")
        clips = prepare(corpus, folder / "prepared", sample_rate=SPEC.sample_rate).clips
    else:
        clips = read_manifest(corpus)
    return [clip for clip in clips if clip.split == "train"]


class _Delivery:
    """Batches as training gets them."""

    def __init__(self, dataset: SpeechCrops, workers: int, args: argparse.Namespace, device: torch.device) -> None:
        sampler, pinned = StepSampler(0, 1 + args.batches, batch_size=args.batch), device.type == "cuda"
        self.loader = DataLoader(dataset, batch_sampler=sampler, num_workers=workers, pin_memory=pinned)

    def run(self) -> tuple[float]:
        """Seconds from the first batch to the last."""
        batches = iter(self.loader)
        next(batches)
        started = time.perf_counter()
        for _ in batches:
            pass
        return (time.perf_counter() - started,)
