"""Logs of a run: metrics.jsonl for programs, TensorBoard for people, a progress bar or lines for the shell."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from waveglow.audio.files import write_atomically
from waveglow.config import from_json

METRICS = "metrics.jsonl"
log = logging.getLogger("waveglow")


class RunLog:
    """Logs of one process; silent in all but the first. A log that can't be written never stops a training."""

    def __init__(self, run: Path, *, total_steps: int, start_step: int, enabled: bool = True) -> None:
        self.enabled = enabled
        self.path = run / METRICS
        self.start = time.perf_counter() - _elapsed(self.path, start_step)
        self.total_steps = total_steps
        self.writer: SummaryWriter | None = None
        self.bar: tqdm[Any] | None = None
        self.trouble = ""
        if not enabled:
            return
        _forget_after(self.path, start_step)
        self.safely(self._open_tensorboard, run / "tensorboard", start_step + 1)
        if sys.stderr.isatty():
            self.bar = tqdm(total=total_steps, initial=start_step, unit="step", dynamic_ncols=True)

    def minutes(self) -> float:
        """How long the run has lasted, with what it took before it was resumed."""
        return (time.perf_counter() - self.start) / 60

    def record(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """One line of metrics: `kind` is "train", "valid" or "event"; numbers also go to TensorBoard."""
        if not self.enabled:
            return
        seconds = round(time.perf_counter() - self.start, 2)
        line = json.dumps({"kind": kind, "step": step, **values, "elapsed_seconds": seconds})
        self.safely(self._append, line)
        if self.bar is None or kind != "train":
            self.say(line)
        for name, value in values.items():
            if isinstance(value, (int, float)):
                self.scalar(f"{kind}/{name}", value, step)

    def advance(self, step: int, **shown: str) -> None:
        """Move the progress bar to a step."""
        if self.bar is not None:
            self.bar.set_postfix(shown, refresh=False)
            self.safely(self.bar.update, step - self.bar.n)

    def say(self, message: str) -> None:
        """A line for the shell, above the progress bar."""
        if self.enabled:
            self.safely(tqdm.write, message, sys.stderr)

    def scalar(self, name: str, value: float, step: int) -> None:
        """A curve's next point, in TensorBoard."""
        if self.writer is not None:
            self.safely(self.writer.add_scalar, name, value, step)

    def audio(self, name: str, samples: Tensor, sample_rate: int, step: int) -> None:
        """Sound [T], in TensorBoard."""
        if self.writer is not None:
            self.safely(self.writer.add_audio, name, samples, step, sample_rate)

    def picture(self, name: str, values: Tensor, step: int) -> None:
        """A picture in TensorBoard: [H, W], [1, H, W] or [3, H, W], of values in 0..1, or uint8."""
        if self.writer is not None:
            self.safely(self.writer.add_image, name, values.view(-1, *values.shape[-2:]), step)

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        """A histogram, in TensorBoard."""
        if self.writer is not None:
            self.safely(self.writer.add_histogram, name, values.float().cpu().numpy(), step)

    def safely(self, action: Callable[..., object], *arguments: object) -> None:
        """Run an action whose failure may cost a log entry, never the training; a trouble is told once."""
        try:
            action(*arguments)
        except (OSError, ValueError) as error:
            if str(error) != self.trouble:
                log.warning("can't log: %s", error)
            self.trouble = str(error)

    def close(self) -> None:
        """Flush everything."""
        if self.bar is not None:
            self.safely(self.bar.close)
        if self.writer is not None:
            self.safely(self.writer.close)

    def _open_tensorboard(self, folder: Path, purge_step: int) -> None:
        self.writer = SummaryWriter(str(folder), purge_step=purge_step)

    def _append(self, line: str) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl that tell of a step; half-written ones are left out. Empty where there is no file."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    return [parsed for line in lines if number(parsed := _parsed(line), "step") is not None]


def number(record: Mapping[str, Any], key: str) -> float | None:
    """A finite number of a record; None where it has none of that name."""
    value = record.get(key)
    usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < sys.float_info.max
    return float(value) if usable and value is not None else None


def _parsed(line: str) -> dict[str, Any]:
    """A line's record, empty where it is none."""
    try:
        parsed = from_json(line)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _elapsed(path: Path, step: int) -> float:
    """Seconds that the run had taken up to a step: time goes on where a resumed run left off."""
    return max((number(m, "elapsed_seconds") or 0.0 for m in read_metrics(path) if m["step"] <= step), default=0.0)


def _forget_after(path: Path, step: int) -> None:
    """Drop what an interrupted run logged beyond the checkpoint that is resumed: those steps are run again."""
    kept = [m for m in read_metrics(path) if m["step"] <= step or m.get("kind") == "event"]
    if path.exists():
        write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
