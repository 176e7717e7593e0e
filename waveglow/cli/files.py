"""The loop of the verbs that take files: one after another with progress, going on after failures, and a report."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from waveglow.audio.files import Input, find_inputs


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


def each_file(
    args: argparse.Namespace,
    suffixes: Sequence[str],
    out_suffix: str,
    work: Callable[[Path, Path, Outcome], None],
) -> int:
    """Call `work(input, output, outcome)` for every file, go on after failures, and write report.json.

    One input file and an OUT that ends in `out_suffix` is file to file; else OUT is a folder that gets the inputs'
    tree. Returns exit code 0, or 3 where an input failed.
    """
    single = args.out.suffix == out_suffix and len(args.inputs) == 1 and not args.inputs[0].is_dir()
    found = find_inputs(args.inputs, suffixes, out=None if single else args.out)
    outcomes = [Outcome(str(path), status="failed", reason=reason) for path, reason in found.skipped]
    if not found.found and not outcomes:
        raise ValueError(f"no {', '.join(suffixes)} files in {', '.join(map(str, args.inputs))}")
    for item in found.found:
        target = _target(args.out, item, out_suffix, single)
        if target.exists() and target.samefile(item.file):
            raise ValueError(f"the output {target} is an input too; name another place")
    bar = tqdm(found.found, unit="file", disable=not sys.stderr.isatty())
    for item in bar:
        outcomes.append(_one(item, _target(args.out, item, out_suffix, single), args.skip_existing, work))
        bar.set_postfix_str(_speed(outcomes))
    return _conclude(outcomes, None if single else args.out / "report.json")


def _target(out: Path, item: Input, suffix: str, single: bool) -> Path:
    return out if single else out / item.stem.with_name(item.stem.name + suffix)


def _one(item: Input, target: Path, skip_existing: bool, work: Callable[[Path, Path, Outcome], None]) -> Outcome:
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


def _conclude(outcomes: list[Outcome], report: Path | None) -> int:
    counts = {status: sum(o.status == status for o in outcomes) for status in ("ok", "skipped", "failed")}
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        content: dict[str, Any] = {**counts, "files": [asdict(outcome) for outcome in outcomes]}
        report.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    for outcome in outcomes:
        if outcome.status == "failed" and not outcome.output:
            print(f"failed: {outcome.input}: {outcome.reason}", file=sys.stderr)
    summary = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    speed = _speed(outcomes)
    print(f"{summary}{'; ' + speed if speed else ''}{f'; {report}' if report else ''}")
    return 3 if counts["failed"] else 0
