"""Many files in, many files out: one after another with progress, going on after failures, and a report."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from waveglow.audio.files import Input, find_inputs, write_atomically


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


Work = Callable[[Path, Path, Outcome], None]


@dataclass(frozen=True)
class Batch:
    """What became of all inputs, and the report that says so, if one was written."""

    outcomes: Sequence[Outcome]
    report: Path | None

    def count(self, status: str) -> int:
        """How many are "ok", "skipped" or "failed"."""
        return sum(outcome.status == status for outcome in self.outcomes)

    def text(self) -> str:
        """Counts, speed and the report's place, in a line."""
        counts = ", ".join(f"{n} {status}" for status in STATUSES if (n := self.count(status)))
        return "; ".join(filter(None, [counts, _speed(self.outcomes), str(self.report or "")]))


STATUSES = ("ok", "skipped", "failed")


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
    gets the inputs' tree. Raises ValueError where there are no inputs, or an output is one of them.
    """
    single = out.suffix == out_suffix and len(inputs) == 1 and not inputs[0].is_dir()
    found = find_inputs(inputs, suffixes, out=None if single else out)
    outcomes = [Outcome(str(path), status="failed", reason=reason) for path, reason in found.skipped]
    if not found.found and not outcomes:
        raise ValueError(f"no {', '.join(suffixes)} files in {', '.join(map(str, inputs))}")
    targets = [out if single else out / item.stem.with_name(item.stem.name + out_suffix) for item in found.found]
    for item, target in zip(found.found, targets, strict=True):
        if target.exists() and target.samefile(item.file):
            raise ValueError(f"the output {target} is an input too; name another place")
    bar = tqdm(found.found, unit="file", disable=not sys.stderr.isatty())
    for item, target in zip(bar, targets, strict=True):
        outcomes.append(_one(item, target, work, skip_existing=skip_existing))
        bar.set_postfix_str(_speed(outcomes))
    batch = Batch(outcomes, None if single else out / "report.json")
    if batch.report:
        _write(batch, batch.report)
    return batch


def _one(item: Input, target: Path, work: Work, *, skip_existing: bool) -> Outcome:
    outcome = Outcome(str(item.file), str(target))
    if skip_existing and target.exists():
        outcome.status = "skipped"
        return outcome
    started = time.perf_counter()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work(item.file, target, outcome)
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


def _write(batch: Batch, report: Path) -> None:
    report.parent.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {
        **{status: batch.count(status) for status in STATUSES},
        "files": [asdict(outcome) for outcome in batch.outcomes],
    }
    write_atomically(report, json.dumps(content, indent=1, ensure_ascii=False).encode())
