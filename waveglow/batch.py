"""Many files in, many files out: one after another with progress, going on after failures, and a report."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from waveglow.audio.files import (
    AUDIO_SUFFIXES,
    MEL_SUFFIXES,
    OTHER_AUDIO,
    Input,
    OutputError,
    find_inputs,
    make_folder,
    utf8,
    write_atomically,
)
from waveglow.audio.io import NORMALIZED_PEAK, Samples, save_audio


@dataclass
class Outcome:
    """What became of one input; `seconds` of audio, `took` of wall clock; `measured` by names with units."""

    input: str
    output: str = ""
    status: str = "ok"
    reason: str = ""
    seconds: float = 0.0
    took: float = 0.0
    notices: list[str] = field(default_factory=list)
    measured: dict[str, float] = field(default_factory=dict)

    def keep(self, target: Path, samples: Samples, sample_rate: int, *, normalize: bool = False) -> None:
        """Write the audio of this input, and notice what becomes of samples beyond full scale.

        They are clipped; with `normalize` the whole is lowered to a peak of 0.95 instead. Raises AudioError.
        """
        self.seconds = len(samples) / sample_rate
        peak = max(float(samples.max(initial=0)), -float(samples.min(initial=0)))
        if normalize and peak > 1:
            decibels = 20 * math.log10(peak / NORMALIZED_PEAK)
            self.notices.append(f"lowered by {decibels:.1f} dB: its peak was {peak:.2f} of full scale")
            samples = samples * (NORMALIZED_PEAK / peak)
        if clipped := save_audio(target, samples, sample_rate):
            reason = f"{clipped} samples beyond full scale were clipped, the peak was {peak:.2f}"
            self.notices.append(f"{reason}; --normalize lowers the whole instead")


Work = Callable[[Path, Path, Outcome], None]


@dataclass(frozen=True)
class Batch:
    """What became of all inputs, the report that says so, if one was written, and what was passed over as no input."""

    outcomes: Sequence[Outcome]
    report: Path | None
    passed_over: str = ""

    def count(self, status: str) -> int:
        """How many are "ok", "skipped" or "failed"."""
        return sum(outcome.status == status for outcome in self.outcomes)

    def text(self) -> str:
        """Counts, speed and the report's place, in a line."""
        counts = ", ".join(f"{n} {status}" for status in STATUSES if (n := self.count(status)))
        return "; ".join(filter(None, [counts, _speed(self.outcomes), str(self.report or ""), self.passed_over]))


STATUSES = ("ok", "skipped", "failed")
FILE_SUFFIXES = {*AUDIO_SUFFIXES, *OTHER_AUDIO, *MEL_SUFFIXES, ".raw", ".pcm", ".json", ".jsonl"}


def each_file(
    inputs: Sequence[Path],
    out: Path,
    suffixes: Sequence[str],
    out_suffix: str,
    work: Work,
    *,
    skip_existing: bool = False,
) -> Batch:
    """Call `work(input, output, outcome)` for every file, go on after failures, and write OUT/report.json.

    One input file and an `out` that ends in `out_suffix` is file to file, without a report; else `out` is a folder that
    gets the inputs' tree. An output that is there and empty is a leftover, which `skip_existing` doesn't count.

    Raises ValueError where there are no inputs, an output is one of them, or `out` looks like a file that can't be
    meant; OutputError where one can't be written, after which nothing is tried.
    """
    single = out.suffix.lower() == out_suffix and len(inputs) == 1 and not inputs[0].is_dir()
    if not single:
        _require_folder(out, out_suffix)
    found = find_inputs(inputs, suffixes, out=None if single else out)
    outcomes = [Outcome(str(path), status="failed", reason=reason) for path, reason in found.skipped]
    if not found.found and not outcomes:
        raise ValueError(f"no {', '.join(suffixes)} files in {', '.join(map(str, inputs))}")
    targets = [out if single else out / item.stem.with_name(item.stem.name + out_suffix) for item in found.found]
    for item, target in zip(found.found, targets, strict=True):
        if target.exists() and target.samefile(item.file):
            raise ValueError(f"the output {target} is an input too; name another place")
    bar = tqdm(found.found, unit="file", disable=not sys.stderr.isatty())
    batch = Batch(outcomes, None if single else out / "report.json", found.passed_over_text())
    try:
        for item, target in zip(bar, targets, strict=True):
            outcomes.append(_one(item, target, work, skip_existing=skip_existing))
            bar.set_postfix_str(_speed(outcomes))
    except BaseException:  # interrupted, or the disk is full: the report says what was done, if it can be written
        with suppress(OSError):
            _write(batch)
        raise
    _write(batch)
    return batch


def _require_folder(out: Path, out_suffix: str) -> None:
    if out.is_dir():
        return
    if str(out) == "-" or out.suffix.lower() in FILE_SUFFIXES or out.exists():
        what = "is a file" if out.exists() else "looks like a file"
        raise ValueError(f"the output {out} {what}; name a folder, or for one input a file that ends in {out_suffix}")


def _one(item: Input, target: Path, work: Work, *, skip_existing: bool) -> Outcome:
    outcome = Outcome(str(item.file), str(target))
    if skip_existing and target.is_file() and target.stat().st_size:
        outcome.status = "skipped"
        return outcome
    started = time.perf_counter()
    make_folder(target.parent)
    try:
        work(item.file, target, outcome)
    except OutputError:
        raise
    except (ValueError, OSError) as error:
        outcome.status, outcome.reason = "failed", str(error)
        tqdm.write(f"failed: {error}", file=sys.stderr)
    outcome.took = round(time.perf_counter() - started, 3)
    for notice in outcome.notices:
        tqdm.write(f"{item.file}: {notice}", file=sys.stderr)
    return outcome


def _speed(outcomes: Iterable[Outcome]) -> str:
    done = [o for o in outcomes if o.status == "ok" and o.seconds]
    seconds, took = sum(o.seconds for o in done), sum(o.took for o in done)
    return f"{seconds:.1f} s of audio, real-time factor {took / seconds:.3f}" if seconds else ""


def _write(batch: Batch) -> None:
    if batch.report is None:
        return
    make_folder(batch.report.parent)
    content: dict[str, Any] = {
        **{status: batch.count(status) for status in STATUSES},
        "passed_over": batch.passed_over,
        "files": [asdict(outcome) for outcome in batch.outcomes],
    }
    write_atomically(batch.report, utf8(json.dumps(content, indent=1, ensure_ascii=False)))
