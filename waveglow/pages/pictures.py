"""One HTML file about a training run of an image flow: curves, a verdict, and all of its pictures.

The pictures are those of training (RUN/samples, the first and the newest step) and whatever other PNG files lie in the
run's directory, with the text files beside them. The file needs no network and no script.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from waveglow.audio.files import utf8, write_atomically
from waveglow.pages.look import data_url, page
from waveglow.pages.run_parts import (
    Record,
    by_step,
    config,
    curves,
    events,
    points_of,
    progress,
    records_of,
    tiles,
    validations,
    verdict,
)
from waveglow.training.log import METRICS, number

COLUMNS = {"step": "Step", "bits_per_dim": "Bits per dimension", "nll_nats": "NLL, nats per value"}


def write_report(run_dir: Path, out: Path) -> None:
    """Write the report of `run_dir` to the file `out`.

    Raises ValueError if `metrics.jsonl` is missing or empty, OSError if `out` can't be written.
    """
    records = records_of(run_dir / METRICS)
    train, valid = by_step(records, "train"), by_step(records, "valid")
    bits = {"training": points_of(train, "bits_per_dim"), "held-out": points_of(valid, "bits_per_dim")}
    name = run_dir.resolve().name
    sections = [
        f"<h1>{escape(name)}</h1>",
        _headline(records, train, valid),
        *(_result(path, run_dir) for path in results(run_dir)),
        curves(bits, y_label="bits per dimension"),
        verdict(points_of(valid, "nll_nats")),
        *(_picture(path, run_dir) for path in _of_training(run_dir / "samples")),
        validations(valid, COLUMNS),
        events(records),
        config(run_dir / "config.yaml"),
    ]
    write_atomically(out, utf8(page(f"{name}: training report", sections)))


def results(run_dir: Path) -> list[Path]:
    """PNG pictures of a run that training did not write, and the text files beside them: texts first in each folder."""
    of_training = {"samples", "tensorboard", "checkpoints", "best", "data"}
    pictures = [path for path in run_dir.rglob("*.png") if path.relative_to(run_dir).parts[0] not in of_training]
    texts = [path for folder in {picture.parent for picture in pictures} for path in folder.glob("*.txt")]
    return sorted([*pictures, *texts], key=lambda path: (path.parent, path.suffix != ".txt", path.name))


def _of_training(samples: Path) -> list[Path]:
    """The pictures of the newest step, then those of the first, to see the progress."""
    steps = sorted(path for path in samples.glob("step_*") if path.is_dir())
    return [path for step in reversed([*steps[:1], *steps[1:][-1:]]) for path in sorted(step.glob("*.png"))]


def _headline(records: Sequence[Record], train: Sequence[Record], valid: Sequence[Record]) -> str:
    scored = [record for record in valid if number(record, "bits_per_dim") is not None]
    items = [("Held-out bits per dimension", "–", "no validation yet")]
    if scored:
        best = min(scored, key=lambda record: float(record["bits_per_dim"]))
        items = [_bits_tile("Last held-out", scored[-1]), _bits_tile("Best held-out", best)]
    remark = (
        "Bits per dimension: what a code spends on each colour value of a held-out image, at most. Lower is better."
    )
    return tiles([*items, *progress(records, train, valid)], remark)


def _bits_tile(label: str, record: Record) -> tuple[str, str, str]:
    return label, f"{record['bits_per_dim']:.3f} bits", f"per dimension, step {record['step']:,.0f}"


def _result(path: Path, run_dir: Path) -> str:
    if path.suffix == ".png":
        return _picture(path, run_dir)
    text = path.read_text(encoding="utf-8", errors="replace")
    return f"<h2>{escape(str(path.relative_to(run_dir)))}</h2><pre>{escape(text)}</pre>"


def _picture(path: Path, run_dir: Path) -> str:
    name = escape(str(path.relative_to(run_dir).with_suffix("")), quote=True)
    return f'<h3>{name}</h3><p class="picture"><img alt="{name}" src="{data_url("image/png", path.read_bytes())}"></p>'
