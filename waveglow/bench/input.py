"""How fast training is fed: seconds of audio a second that the input pipeline delivers, and how many a step takes.

The dataset, sampler and loader are those of training. Each is measured alone; in training, the workers and the step
share the machine.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from waveglow.audio.io import save_audio
from waveglow.audio.signals import hum
from waveglow.bench.measuring import CPU, in_turns, progress, require_positive, timed
from waveglow.bench.step import SPEC, Step, batch_for, new_model, seconds_of
from waveglow.bench.table import Column, Row, Table
from waveglow.data.manifest import Clip, read_manifest
from waveglow.data.prepare import prepare
from waveglow.data.sampler import StepSampler
from waveglow.data.speech import SpeechCrops

STEP = "lapglow step, bf16"
FILES, FILE_SECONDS = 16, 4.0
COLUMNS = (
    Column("what", "what"),
    Column("audio_seconds_per_second", "s audio / s", ".1f"),
    Column("times_the_step", "x the step", ".1f"),
)


def tables(
    corpus: Path | None = None,
    *,
    workers: Sequence[int] = (0, 1, 2),
    batches: int = 24,
    batch: int = 8,
    segment_samples: int = 8192,
    repeats: int = 5,
    device: torch.device = CPU,
) -> Iterator[Table]:
    """One, of the pipeline at each number of workers and of a forward and backward pass of lapglow in bf16.

    Arguments:
        corpus: a folder of recordings or a manifest; None are synthetic hums in a temporary folder.
        workers: processes that read.
        batches: that a run counts, after the first, which comes when the workers are up.
        batch: crops of a batch.
        segment_samples: of a crop, rounded up to the model's group and hop.
        repeats: warm runs, of which the median counts.
        device: where the step is computed.

    Yields: rows with `audio_seconds_per_second`, and `times_the_step`, how many times as fast as the step.

    Raises ConfigError for a corpus that can't be read, ValueError for a number that isn't above 0.
    """
    require_positive("batches", batches)
    model = new_model({"name": "lapglow"}).to(device)
    step = Step(model, "bf16", *batch_for(model, batch, segment_samples, device))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        clips = _clips(corpus, Path(folder))
        dataset = SpeechCrops(clips, SPEC, segment_samples=step.audio.shape[1], seed=0)
        pinned = device.type == "cuda"
        deliveries = {
            f"input, {n} workers": _Delivery(dataset, batch, batches, workers=n, pinned=pinned).run for n in workers
        }
        progress("measuring the input")
        took = in_turns({STEP: timed(step.run, device), **deliveries}, repeats)
    amounts = {**dict.fromkeys(took, batches * seconds_of(step.audio)), STEP: seconds_of(step.audio)}
    rates = {what: amounts[what] / own for what, (own,) in took.items()}
    rows: list[Row] = [
        {"what": what, "audio_seconds_per_second": rate, "times_the_step": rate / rates[STEP]}
        for what, rate in rates.items()
    ]
    least = min(row["times_the_step"] for row in rows[1:])
    size = f"{batch} x {step.audio.shape[1]} samples"
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

    def __init__(self, dataset: SpeechCrops, batch: int, batches: int, *, workers: int, pinned: bool) -> None:
        sampler = StepSampler(0, 1 + batches, batch_size=batch)
        self.loader = DataLoader(dataset, batch_sampler=sampler, num_workers=workers, pin_memory=pinned)

    def run(self) -> tuple[float]:
        """Seconds from the first batch to the last."""
        batches = iter(self.loader)
        next(batches)
        started = time.perf_counter()
        for _ in batches:
            pass
        return (time.perf_counter() - started,)
