"""Held-out likelihood of every run of an ablation, as a table and a plot.

    python ablate.py RUNS

Exact NLL in nats per sample over the validation clips (the first 16, up to 5 s of each), of the whole band. Where the
highest bands leave first, that of the bands below is told apart, and is what such a run is judged by: it trained on no
band that a recording lacks (models/bandwidth.py), while the others had to learn what an empty one is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from waveglow.config import from_mapping, read_with_base
from waveglow.data.manifest import read_manifest
from waveglow.data.speech import whole_clip
from waveglow.models import checkpoint
from waveglow.models.bandwidth import filled
from waveglow.pages.figures import line_chart_svg
from waveglow.training.config import RunConfig
from waveglow.training.log import read_metrics

CLIPS, MAX_SECONDS = 16, 5.0
PLOTTED = ("reshape-none", "reshape-mel", "mdct-none", "mdct-mel")  # each half alone, and both; the table has all


@torch.inference_mode()
def held_out(run: Path) -> tuple[float, float | None]:
    """NLL in nats per sample, and that of the bands below the split where the highest leave first."""
    config = from_mapping(RunConfig, read_with_base(run / "config.yaml"))
    model, spec = checkpoint.load_vocoder(run).model, config.mel_spec()
    manifest = Path(config.data.manifest)
    clips = read_manifest(manifest / "manifest.jsonl" if manifest.is_dir() else manifest)
    total, low, samples = 0.0, 0.0, 0
    for place, clip in enumerate([clip for clip in clips if clip.split == "valid"][:CLIPS]):
        most = round(MAX_SECONDS * spec.sample_rate)
        example = whole_clip(clip, spec, place=place, seed=0, max_samples=most, multiple=model.group)
        audio, mel = example.audio[None], example.mel[None]
        total -= float(model.log_prob(audio, mel))
        without_high, high = filled(model, audio, mel, torch.zeros(1))
        low -= float(model.log_prob(without_high, mel) - high)
        samples += audio.shape[-1]
    return total / samples, low / samples if config.model.get("n_high") else None


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, metavar="RUNS", help="folder of finished runs, as ablate.sh leaves it")
    root = parser.parse_args().runs
    finished = sorted(path.parent for path in root.glob("*/DONE"))
    if not finished:
        parser.error(f"{root} has no finished run (*/DONE); ablate.sh makes them")
    rows, curves = [], {}
    for run in finished:
        nll, low = held_out(run)
        train = [m for m in read_metrics(run / "metrics.jsonl") if m["kind"] == "train" and m["loss"] is not None]
        rows.append((nll, f"| {run.name} | {nll:.3f} | {'' if low is None else f'{low:.3f}'} | {train[-1]['step']} |"))
        if run.name in PLOTTED:
            curves[run.name] = [(m["elapsed_seconds"], m["loss"]) for m in train]
    lines = [
        "| squeeze-prior | held-out NLL, nats/sample | below the split | steps |",
        "|---|---|---|---|",
        *(line for _, line in sorted(rows, reverse=True)),
    ]
    (root / "ablation.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    svg = line_chart_svg(curves, x_label="seconds", y_label="training NLL, nats per sample")
    (root / "ablation.svg").write_text(svg, encoding="utf-8")
    print("\n".join(lines), f"{root}/ablation.md, {root}/ablation.svg", sep="\n")


if __name__ == "__main__":
    main()
