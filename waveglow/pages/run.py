"""The page about a training run of a vocoder: curves, a verdict, and the voice as it was heard.

It is written from what the training left in the run's directory: `metrics.jsonl`, `samples/step_<n>/<clip>.wav`,
`samples/reference/<clip>.wav` and `config.yaml`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

import soundfile
import torch

from waveglow.audio.files import utf8, write_atomically
from waveglow.audio.mel_spec import MelSpec
from waveglow.audio.mel_spectrogram import MelSpectrogram
from waveglow.pages import figures
from waveglow.pages.look import data_url, page
from waveglow.pages.run_parts import (
    Record,
    by_step,
    config,
    curves,
    events,
    median,
    points_of,
    progress,
    records_of,
    shown,
    tiles,
    validations,
    verdict,
)
from waveglow.training.log import METRICS, number

CLIPS_SHOWN = 4
BYTES_PER_PLAYER = 480_000  # three players for each of four clips, in base64, stay under 10 MB with their pictures
DECIBELS = (-60.0, 20.0)  # darkest and brightest, the same for all pictures

COLUMNS = {
    "step": "Step",
    "nll_nats": "NLL, nats per sample",
    "nll_bits": "NLL, bits per sample",
    "loss_nvidia": "NVIDIA's loss",
    "clips": "Clips",
    "seconds": "Seconds",
}


def write_report(run_dir: Path, out: Path) -> None:
    """Write the report of `run_dir` to the file `out`.

    Raises ValueError if `metrics.jsonl` is missing or holds no line of training or validation, and OSError if `out`
    can't be written.
    """
    records = records_of(run_dir / METRICS)
    train, valid = by_step(records, "train"), by_step(records, "valid")
    nll = {
        "training": points_of(train, "nll_nats") or points_of(train, "loss"),
        "held-out": points_of(valid, "nll_nats"),
    }
    sections = [
        f"<h1>{escape(run_dir.resolve().name)}</h1>",
        _headline(records, train, valid),
        curves(nll, y_label="NLL, nats per sample"),
        verdict(nll["held-out"]),
        _clips(run_dir / "samples"),
        validations(valid, COLUMNS),
        events(records),
        config(run_dir / "config.yaml"),
    ]
    write_atomically(out, utf8(page(f"{run_dir.resolve().name}: training report", sections)))


def _headline(records: Sequence[Record], train: Sequence[Record], valid: Sequence[Record]) -> str:
    scored = [record for record in valid if number(record, "nll_nats") is not None]
    items = [("Held-out NLL", "–", "no validation yet")]
    if scored:
        best = min(scored, key=lambda record: float(record["nll_nats"]))
        items = [_nll_tile("Last held-out NLL", scored[-1]), _nll_tile("Best held-out NLL", best)]
    audio_rate = shown(median(train[-20:], "audio_seconds_per_second"), "s/s")
    items += [*progress(records, train, valid), ("Audio rate", audio_rate, "seconds of audio per second")]
    return tiles(items, "NLL is the negative log-likelihood of a sample of held-out speech: lower is better.")


def _nll_tile(label: str, record: Record) -> tuple[str, str, str]:
    bits = number(record, "nll_bits")
    shown_bits = "" if bits is None else f"{bits:.3f} bits, "
    return label, f"{record['nll_nats']:.3f} nats", f"{shown_bits}per sample, step {record['step']:,.0f}"


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
        f'<img alt="Mel spectrogram: {alt}" src="{data_url("image/png", png)}">'
        f'<audio controls preload="metadata" aria-label="{alt}" src="{data_url("audio/wav", wav)}"></audio></figure>'
    )


def _rendered(path: Path) -> tuple[bytes, bytes, str]:
    """16-bit WAV and spectrogram PNG of the first BYTES_PER_PLAYER of a recording, and a note if that is not all.

    Raises ValueError if the recording is empty.
    """

    audio, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)  # (T, channels)
    shown = audio.mean(axis=1)[: BYTES_PER_PLAYER // 2]
    if not shown.size:
        raise ValueError(f"{path}: holds no samples")
    note = f" (the first {shown.size / sample_rate:.1f} s)" if shown.size < len(audio) else ""
    wav = io.BytesIO()
    soundfile.write(wav, shown, sample_rate, format="WAV", subtype="PCM_16")
    window = round(0.046 * sample_rate)
    spec = MelSpec(
        sample_rate=sample_rate,
        n_fft=window,
        hop=window // 4,
        win=window,
        n_mels=80,
        fmin=0.0,
        fmax=None,
        mel_scale="slaney",
        mel_norm="slaney",
        pad_left=window // 2,
        pad_right=window // 2,
        pad_mode="constant",
        power=2,
        log_base="10",
        floor_value=1e-10,
    )
    bels = MelSpectrogram(spec).of_any_length(torch.from_numpy(shown)[None])[0].numpy()
    return wav.getvalue(), figures.spectrogram_png(10 * bels, limits=DECIBELS), note
