"""Many files in, many files out: with progress, going on after failures, and a report.

One after another, in several processes, or a part of all on each of several machines, whose reports are merged.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from waveglow.audio.files import (
    AUDIO_SUFFIXES,
    MEL_SUFFIXES,
    OTHER_AUDIO,
    find_inputs,
    is_of_input,
    make_folder,
    utf8,
    write_atomically,
)
from waveglow.audio.io import NORMALIZED_PEAK, Samples, save_audio
from waveglow.config import ConfigError
from waveglow.parts import WHOLE, Part, account, in_turn, reports
from waveglow.processes import Killed, in_processes


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
Task = tuple[Path, Path]  # an input and its output


@dataclass(frozen=True)
class Batch:
    """What became of all inputs, the report that says so, if one was written, and what was passed over as no input.

    `part`: of all inputs these are a part; `of`: how many there are, and a digest of their names.
    """

    outcomes: Sequence[Outcome]
    report: Path | None
    passed_over: str = ""
    part: Part = WHOLE
    of: Mapping[str, Any] = field(default_factory=dict)

    def with_outcomes(self, outcomes: Iterable[Outcome | None]) -> Batch:
        """With those that there are, behind its own."""
        return replace(self, outcomes=[*self.outcomes, *filter(None, outcomes)])

    def count(self, status: str) -> int:
        """How many are "ok", "skipped" or "failed"."""
        return sum(outcome.status == status for outcome in self.outcomes)

    def text(self) -> str:
        """Counts, speed and the report's place, in a line."""
        counts = ", ".join(f"{n} {status}" for status in STATUSES if (n := self.count(status)))
        return "; ".join(filter(None, [counts, _speed(self.outcomes), str(self.report or ""), self.passed_over]))


STATUSES = ("ok", "skipped", "failed")
FILE_SUFFIXES = {*AUDIO_SUFFIXES, *OTHER_AUDIO, *MEL_SUFFIXES, ".raw", ".pcm", ".json", ".jsonl"}
REPORT = "report.json"


def each_file(
    inputs: Sequence[Path],
    out: Path,
    suffixes: Sequence[str],
    out_suffix: str,
    open_work: Callable[[], Work],
    *,
    skip_existing: bool = False,
    part: Part = WHOLE,
    jobs: int = 1,
) -> Batch:
    """Call `work(input, output, outcome)` for every file, go on after failures, and write OUT/report.json.

    One input file and an `out` that ends in `out_suffix` is file to file, without a report; else `out` is a folder that
    gets the inputs' tree. An output that is there and empty is a leftover, which `skip_existing` doesn't count.

    Arguments:
        open_work: gives the work, for it may take a model to be loaded: once, or in each of several processes.
        part: of all files, in order of their places in `out`; its report has its number, for `merge_reports`.
        jobs: so many processes of one thread, to which `open_work` must be sent: a function by its name, no closure.

    Raises ValueError where there are no inputs, an output is one of them, or `out` looks like a file that can't be
    meant; OutputError where one can't be written, and what is a bug of ours (`is_of_input`), after which nothing is
    tried.
    """
    work = open_work() if jobs == 1 else None
    single = out.suffix.lower() == out_suffix and len(inputs) == 1 and not inputs[0].is_dir()
    if not single:
        _require_folder(out, out_suffix)
    found = find_inputs(inputs, suffixes, out=None if single else out)
    if not found.found and not found.skipped:
        raise ValueError(f"no {', '.join(suffixes)} files in {', '.join(map(str, inputs))}")
    targets = [out if single else out / item.stem.with_name(item.stem.name + out_suffix) for item in found.found]
    tasks = [(item.file, target) for item, target in zip(found.found, targets, strict=True)]
    for file, target in tasks:
        if target.exists() and target.samefile(file):
            raise ValueError(f"the output {target} is an input too; name another place")
    refused = [Outcome(str(path), status="failed", reason=reason) for path, reason in found.skipped]
    batch = Batch(part.of(refused), None if single else part.named(out / REPORT), found.passed_over_text())
    if part != WHOLE:
        tasks = sorted(tasks, key=lambda task: task[1])
        of = account(task[1].relative_to(out).as_posix() if not single else out.name for task in tasks)
        batch = replace(batch, part=part, of=of)
    tasks = part.of(tasks)
    done = [_skipped(*task) if skip_existing and _is_there(task[1]) else None for task in tasks]
    todo = [place for place, outcome in enumerate(done) if outcome is None]
    bar = tqdm(total=len(todo), unit="file", disable=not sys.stderr.isatty())
    try:
        for place, outcome in _outcomes([tasks[place] for place in todo], work, open_work, jobs):
            done[todo[place]] = outcome
            _tell(outcome)
            bar.update()
            bar.set_postfix_str(_speed(filter(None, done)))
    except BaseException:  # interrupted, or the disk is full: the report says what was done, if it can be written
        with suppress(OSError):
            _write(batch.with_outcomes(done))
        raise
    batch = batch.with_outcomes(done)
    _write(batch)
    return batch


def merge_reports(out: Path) -> Batch | None:
    """Make OUT/report.json of the reports of all parts, in order; None where there are none.

    Raises ConfigError where one is missing or broken, or they are parts of different things; OutputError.
    """
    contents = reports(out / REPORT)
    if not contents:
        return None
    try:
        of_parts = [[Outcome(**file) for file in content["files"]] for content in contents]
        refused, done = (
            in_turn([[outcome for outcome in files if bool(outcome.output) == tried] for files in of_parts])
            for tried in (False, True)
        )
        if lacking := contents[0]["of"]["inputs"] - len(done):
            raise ValueError(f"{lacking} of their inputs are in none: a part was interrupted; run it again")
        batch = Batch([*refused, *done], out / REPORT, contents[0]["passed_over"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{out}: the parts' reports can't be merged ({error})") from error
    _write(batch)
    return batch


def tell(done: Batch) -> int:
    """Print what became of a batch, also of what was no file to work on; returns 3 where one failed, else 0."""
    for outcome in done.outcomes:
        if outcome.status == "failed" and not outcome.output:
            print(f"failed: {outcome.input}: {outcome.reason}", file=sys.stderr)
    print(done.text())
    return 3 if done.count("failed") else 0


def _outcomes(
    tasks: Sequence[Task], work: Work | None, open_work: Callable[[], Work], jobs: int
) -> Iterator[tuple[int, Outcome]]:
    """(place, outcome) of every task, as they are done: here, or in processes."""
    if work is not None:
        yield from ((place, _one(work, task)) for place, task in enumerate(tasks))
        return
    for place, outcome in in_processes(partial(_opened, open_work), tasks, jobs=jobs):
        if isinstance(outcome, Killed):
            reason = (
                f"{tasks[place][0]}: two processes that worked on it were {outcome.how}; is it too long for memory?"
            )
            outcome = Outcome(str(tasks[place][0]), str(tasks[place][1]), status="failed", reason=reason)
        yield place, outcome


def _opened(open_work: Callable[[], Work]) -> Callable[[Task], Outcome]:
    return partial(_one, open_work())


def _require_folder(out: Path, out_suffix: str) -> None:
    if out.is_dir():
        return
    if str(out) == "-" or out.suffix.lower() in FILE_SUFFIXES or out.exists():
        what = "is a file" if out.exists() else "looks like a file"
        raise ValueError(f"the output {out} {what}; name a folder, or for one input a file that ends in {out_suffix}")


def _one(work: Work, task: Task) -> Outcome:
    """What becomes of one input. Raises OutputError."""
    outcome = Outcome(str(task[0]), str(task[1]))
    started = time.perf_counter()
    make_folder(task[1].parent)
    try:
        work(*task, outcome)
    except (ValueError, OSError) as error:
        if not is_of_input(error):
            raise
        outcome.status, outcome.reason = "failed", str(error)
    outcome.took = round(time.perf_counter() - started, 3)
    return outcome


def _is_there(target: Path) -> bool:
    return target.is_file() and target.stat().st_size > 0


def _skipped(source: Path, target: Path) -> Outcome:
    return Outcome(str(source), str(target), status="skipped")


def _tell(outcome: Outcome) -> None:
    if outcome.status == "failed":
        tqdm.write(f"failed: {outcome.reason}", file=sys.stderr)
    for notice in outcome.notices:
        tqdm.write(f"{outcome.input}: {notice}", file=sys.stderr)


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
        **({} if batch.part == WHOLE else {"part": str(batch.part), "of": batch.of}),
        "files": [asdict(outcome) for outcome in batch.outcomes],
    }
    write_atomically(batch.report, utf8(json.dumps(content, indent=1, ensure_ascii=False)))
