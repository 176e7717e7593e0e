"""One HTML file about a training run, with its curves, a verdict and the voice as it was heard.

The file needs no network and no script: audio and pictures are inside. It is written from what the training left in the
run's directory: `metrics.jsonl`, `samples/step_<n>/<clip>.wav`, `samples/reference/<clip>.wav` and `config.yaml`.

  waveglow report runs/ljspeech
"""

from __future__ import annotations

import argparse
import base64
import io
import itertools
import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from waveglow.cli import figures
from waveglow.training.log import METRICS, read_metrics

HELP = "Write an HTML report of a training run: curves, verdict, audio"

CLIPS_SHOWN = 4
BYTES_PER_PLAYER = 480_000  # three players for each of four clips, in base64, stay under 10 MB with their pictures
DECIBELS = (-60.0, 20.0)  # darkest and brightest, the same for all pictures
NEEDED_FOR_TREND = 4
STANDARD_ERRORS = 3.0  # not 2: the scatter is itself estimated, from as few as four points

Record = Mapping[str, Any]

COLUMNS = {
    "step": "Step",
    "nll_nats": "NLL, nats per sample",
    "nll_bits": "NLL, bits per sample",
    "loss_nvidia": "NVIDIA's loss",
    "clips": "Clips",
    "seconds": "Seconds",
}

STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, CanvasText 20%, Canvas); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); gap: .75rem; margin: 0; }
.tiles div { border: 1px solid var(--line); border-radius: 8px; padding: .75rem 1rem; }
dt { font-size: .85rem; } dd { margin: 0; font-size: 1.4rem; font-variant-numeric: tabular-nums; }
dd small { display: block; font-size: .8rem; }
.verdict { border-left: 4px solid #2f7fd6; padding: .25rem 1rem; }
.takes { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figure img { width: 100%; height: 10rem; display: block; } audio { width: 100%; }
svg { width: 100%; height: auto; }
.scroll { max-height: 24rem; overflow: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .75rem; border-bottom: 1px solid var(--line); }
pre { overflow: auto; }
@media print { .scroll { max-height: none; } audio { display: none; } figure, svg, tr { break-inside: avoid; } }
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="directory that `waveglow train` wrote")
    parser.add_argument("--out", type=Path, help="the HTML file to write (RUN_DIR/report.html)")


def run(args: argparse.Namespace) -> int:
    out = args.out or args.run_dir / "report.html"
    try:
        write_report(args.run_dir, out)
    except (ValueError, OSError) as error:
        print(f"waveglow report: {error}", file=sys.stderr)
        return 2
    print(out)
    return 0


def write_report(run_dir: Path, out: Path) -> None:
    """Write the report of `run_dir` to the file `out`.

    Raises ValueError if `metrics.jsonl` is missing or holds no line of training or validation, and OSError if `out`
    can't be written.
    """
    records = records_of(run_dir / METRICS)
    train, valid = by_step(records, "train"), by_step(records, "valid")
    sections = [
        f"<h1>{escape(run_dir.resolve().name)}</h1>",
        _headline(records, train, valid),
        _curves(train, valid),
        f'<h2>Is it still improving?</h2><p class="verdict">{escape(trend(_points(valid, "nll_nats")))}</p>',
        _clips(run_dir / "samples"),
        _validations(valid),
        _events(records),
        _config(run_dir / "config.yaml"),
    ]
    out.write_text(_page(run_dir.resolve().name, sections), encoding="utf-8")


def records_of(path: Path) -> list[Record]:
    """The lines of `path` that have a step.

    Raises ValueError if the file is missing or no line tells of training or validation.
    """
    if not path.is_file():
        raise ValueError(f"{path}: can't be read (no such file); is this the directory of a run?")
    records: list[Record] = [record for record in read_metrics(path) if _number(record, "step") is not None]
    if not any(record.get("kind") in ("train", "valid") for record in records):
        raise ValueError(f"{path}: holds no line of training or validation yet; the first comes with the first log")
    return records


def by_step(records: Iterable[Record], kind: str) -> list[Record]:
    """Records of one kind in order of step; where a resumed run passed a step again, the newer one."""
    newest = {record["step"]: record for record in records if record.get("kind") == kind}
    return [newest[step] for step in sorted(newest)]


def _number(record: Record, key: str) -> float | None:
    value = record.get(key)
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable and value is not None else None


def _points(records: Iterable[Record], key: str) -> list[tuple[float, float]]:
    """(step, value) of each record that has a finite value."""
    return [(float(record["step"]), value) for record in records if (value := _number(record, key)) is not None]


def trend(points: Sequence[tuple[float, float]]) -> str:
    """A sentence on whether held-out NLL, (step, nats) in order of step, still falls.

    The slope of the least-squares line through the last third (at least four points) counts if it is over three times
    its standard error.
    """
    if len(points) < NEEDED_FOR_TREND:
        return f"Too few validations to say: {len(points)}, and {NEEDED_FOR_TREND} are needed."
    steps, nats = np.array(points[-max(NEEDED_FOR_TREND, math.ceil(len(points) / 3)) :]).T
    thousands = (steps - steps.mean()) / 1000
    slope = float(thousands @ (nats - nats.mean()) / (thousands @ thousands))
    residual = nats - nats.mean() - slope * thousands
    error = math.sqrt(float(residual @ residual / (len(nats) - 2) / (thousands @ thousands)))
    span = f"over the last {len(nats)} validations (steps {steps[0]:,.0f} to {steps[-1]:,.0f})"
    rate = f"{abs(slope):.2g} ± {error:.1g} nats per 1000 steps {span}"
    best_step = min(points, key=lambda point: point[1])[0]
    if abs(slope) <= STANDARD_ERRORS * error:
        direction = "falls" if slope < 0 else "rises"
        return f"Flat: held-out NLL {direction} by {rate}, which its scatter may explain."
    if slope < 0:
        return f"Improving: held-out NLL falls by {rate}. Training on should help."
    return f"Getting worse (overfitting): held-out NLL rises by {rate}. Use the best checkpoint, step {best_step:,.0f}."


def _headline(records: Sequence[Record], train: Sequence[Record], valid: Sequence[Record]) -> str:
    scored = [record for record in valid if _number(record, "nll_nats") is not None]
    tiles = [("Held-out NLL", "–", "no validation yet")]
    if scored:
        best = min(scored, key=lambda record: float(record["nll_nats"]))
        tiles = [_nll_tile("Last held-out NLL", scored[-1]), _nll_tile("Best held-out NLL", best)]
    recent = train[-20:]
    hours = f"{trained_seconds(records) / 3600:.2f} h"
    tiles += [
        ("Step rate", _shown(_step_rate(recent), "steps/s"), "over the last log lines"),
        ("Audio rate", _shown(_median(recent, "audio_seconds_per_second"), "s/s"), "seconds of audio per second"),
        ("Trained", hours, f"to step {max(record['step'] for record in [*train, *valid]):,.0f}"),
    ]
    items = (f"<div><dt>{escape(a)}</dt><dd>{escape(b)}<small>{escape(c)}</small></dd></div>" for a, b, c in tiles)
    return (
        f'<dl class="tiles">{"".join(items)}</dl><p>NLL is the negative log-likelihood of a sample of held-out speech: '
        "lower is better.</p>"
    )


def _nll_tile(label: str, record: Record) -> tuple[str, str, str]:
    bits = _number(record, "nll_bits")
    shown_bits = "" if bits is None else f"{bits:.3f} bits, "
    return label, f"{record['nll_nats']:.3f} nats", f"{shown_bits}per sample, step {record['step']:,.0f}"


def _shown(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{value:.3g} {unit}"


def _median(records: Iterable[Record], key: str) -> float | None:
    values = [value for _, value in _points(records, key)]
    return float(np.median(values)) if values else None


def trained_seconds(records: Iterable[Record]) -> float:
    """Sum of what `elapsed_seconds`, the time a run has lasted at a line of training, rises from line to line.

    Where a resumed run counts from zero, or from its checkpoint's time, that fall adds nothing.
    """
    seconds = [
        value for record in records if record.get("kind") == "train" and (value := _number(record, "elapsed_seconds"))
    ]
    return sum(max(0.0, after - before) for before, after in itertools.pairwise([0.0, *seconds]))


def _step_rate(train: Sequence[Record]) -> float | None:
    """Steps a second between lines of training whose clock ran on."""
    points = _points(train, "elapsed_seconds")
    moves = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(points) if b[1] > a[1]]
    return sum(steps for steps, _ in moves) / sum(seconds for _, seconds in moves) if moves else None


def _curves(train: Sequence[Record], valid: Sequence[Record]) -> str:
    series = {"training": _points(train, "nll_nats") or _points(train, "loss"), "held-out": _points(valid, "nll_nats")}
    if not any(series.values()):
        return "<h2>Loss</h2><p>No finite loss was logged.</p>"
    return "<h2>Loss</h2>" + figures.line_chart_svg(series, x_label="step", y_label="NLL, nats per sample")


def _clips(samples: Path) -> str:
    takes = _takes(samples)
    if not takes:
        return "<h2>Held-out clips</h2><p>No clips were synthesized yet.</p>"
    parts = ["<h2>Held-out clips</h2>"]
    for clip in sorted(takes)[:CLIPS_SHOWN]:
        cards = "".join(_take(f"{label}, {clip}", label, path) for label, path in takes[clip])
        parts.append(f'<h3>{escape(clip)}</h3><div class="takes">{cards}</div>')
    if len(takes) > CLIPS_SHOWN:
        parts.append(f"<p>{len(takes) - CLIPS_SHOWN} more clips are in the run's directory, left out here.</p>")
    return "".join(parts)


def _takes(samples: Path) -> dict[str, list[tuple[str, Path]]]:
    """Each clip's recordings to show: the reference, the newest synthesized, and the first, to hear the progress."""
    steps: dict[str, list[tuple[int, Path]]] = {}
    for path in samples.glob("step_*/*.wav"):
        if match := re.fullmatch(r"step_(\d+)", path.parent.name):
            steps.setdefault(path.stem, []).append((int(match[1]), path))
    takes: dict[str, list[tuple[str, Path]]] = {
        path.stem: [("Reference", path)] for path in samples.glob("reference/*.wav")
    }
    for clip, synthesized in steps.items():
        synthesized.sort()
        chosen = [synthesized[-1], *synthesized[:1]] if len(synthesized) > 1 else synthesized
        takes.setdefault(clip, []).extend((f"Step {step:,}", path) for step, path in chosen)
    return takes


def _take(name: str, label: str, path: Path) -> str:
    """One recording: its spectrogram and a player."""
    try:
        wav, png, note = _rendered(path)
    except (ValueError, OSError, soundfile.LibsndfileError):
        return f"<figure><figcaption>{escape(label)}: the file can't be read</figcaption></figure>"
    alt = escape(name, quote=True)
    return (
        f"<figure><figcaption>{escape(label)}{note}</figcaption>"
        f'<img alt="Mel spectrogram: {alt}" src="{_data_url("image/png", png)}">'
        f'<audio controls preload="metadata" aria-label="{alt}" src="{_data_url("audio/wav", wav)}"></audio></figure>'
    )


def _rendered(path: Path) -> tuple[bytes, bytes, str]:
    """16-bit WAV and spectrogram PNG of the first BYTES_PER_PLAYER of a recording, and a note if that is not all.

    Raises ValueError if the recording is empty.
    """
    import librosa  # here, for it takes a second or two to load

    audio, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)  # (T, channels)
    shown = audio.mean(axis=1)[: BYTES_PER_PLAYER // 2]
    if not shown.size:
        raise ValueError(f"{path}: holds no samples")
    note = f" (the first {shown.size / sample_rate:.1f} s)" if shown.size < len(audio) else ""
    wav = io.BytesIO()
    soundfile.write(wav, shown, sample_rate, format="WAV", subtype="PCM_16")
    window = round(0.046 * sample_rate)
    power = librosa.feature.melspectrogram(y=shown, sr=sample_rate, n_fft=window, hop_length=window // 4, n_mels=80)
    decibels = 10 * np.log10(np.maximum(power, 1e-10))
    return wav.getvalue(), figures.spectrogram_png(decibels, limits=DECIBELS), note


def _data_url(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def _validations(valid: Sequence[Record]) -> str:
    if not valid:
        return ""
    others = sorted({key for record in valid for key in record if _number(record, key) is not None} - set(COLUMNS))
    keys = [*COLUMNS, *others]
    head = "".join(f'<th scope="col">{escape(COLUMNS.get(key, key))}</th>' for key in keys)
    rows = "".join(f"<tr>{''.join(f'<td>{_cell(record, key)}</td>' for key in keys)}</tr>" for record in valid)
    return (
        '<h2>Validations</h2><div class="scroll" tabindex="0">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _cell(record: Record, key: str) -> str:
    value = _number(record, key)
    if value is None:
        return escape(str(record.get(key, "–")))
    return f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"


def _events(records: Iterable[Record]) -> str:
    items = [
        f"<li>Step {_cell(record, 'step')}: {escape(str(record.get('what', '–')))}</li>"
        for record in records
        if record.get("kind") == "event"
    ]
    return f'<h2>Events</h2><div class="scroll" tabindex="0"><ul>{"".join(items)}</ul></div>' if items else ""


def _config(path: Path) -> str:
    if not path.is_file():
        return ""
    text = path.read_text(encoding="utf-8", errors="replace")
    return f"<h2>Configuration</h2><details><summary>{path.name}</summary><pre>{escape(text)}</pre></details>"


def _page(title: str, sections: Iterable[str]) -> str:
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}: training report</title><style>{STYLE}</style></head>\n"
        f"<body><main>\n{chr(10).join(section for section in sections if section)}\n</main></body></html>\n"
    )
