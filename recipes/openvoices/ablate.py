"""Held-out likelihood of every run of an ablation, as a table and a plot.

    python ablate.py RUNS

Exact NLL in nats per sample over the validation clips (the first 16, up to 5 s of each). Where the highest bands leave
first, their share is told apart: they are independent of the others given the mel.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from waveglow.cli.figures import line_chart_svg
from waveglow.config import from_mapping, read_with_base
from waveglow.data.manifest import read_manifest
from waveglow.data.speech import whole_clip
from waveglow.flows.compose import Split
from waveglow.flows.likelihood import standard_normal_log_prob
from waveglow.models import checkpoint
from waveglow.models.vocoder import FlowVocoder
from waveglow.training.config import RunConfig
from waveglow.training.log import read_metrics

CLIPS, MAX_SECONDS = 16, 5.0


def high_log_prob(model: FlowVocoder, audio: torch.Tensor, mel: torch.Tensor) -> torch.Tensor | None:
    """log p of the bands that leave first, [B]; None where none do."""
    first, *others = model.flow.parts()
    if not others or not isinstance(split := others[0], Split) or split.leaves != "last":
        return None
    squeeze, prior = first.flows()
    bands, cond = squeeze(audio.unsqueeze(1))[0], model.conditioning(mel, audio.shape[-1])
    z = prior(bands, cond)[0]
    slope = prior(bands + 1, cond)[0] - z  # the layer is affine, element by element
    high = slice(-split.channels, None)
    return standard_normal_log_prob([z[:, high]]) + slope[:, high].log().flatten(1).sum(1)


@torch.inference_mode()
def held_out(run: Path) -> tuple[float, float | None]:
    """NLL in nats per sample, and that of the bands below the split."""
    config = from_mapping(RunConfig, read_with_base(run / "config.yaml"))
    model, spec = checkpoint.load(run).model, config.mel_spec()
    manifest = Path(config.data.manifest)
    clips = read_manifest(manifest / "manifest.jsonl" if manifest.is_dir() else manifest)
    total, low, samples = 0.0, 0.0, 0
    for place, clip in enumerate([clip for clip in clips if clip.split == "valid"][:CLIPS]):
        most = round(MAX_SECONDS * spec.sample_rate)
        example = whole_clip(clip, spec, place=place, seed=0, max_samples=most, multiple=model.group)
        audio, mel = example.audio[None], example.mel[None]
        nats = -model.log_prob(audio, mel)
        high = high_log_prob(model, audio, mel)
        total += float(nats)
        low += float(nats + high) if high is not None else float("nan")
        samples += audio.shape[-1]
    return total / samples, low / samples if low == low else None


def main() -> None:
    torch.set_num_threads(1)
    root = Path(sys.argv[1])
    rows, curves = [], {}
    for run in sorted(path.parent for path in root.glob("*/DONE")):
        nll, low = held_out(run)
        train = [m for m in read_metrics(run / "metrics.jsonl") if m["kind"] == "train" and m["loss"] is not None]
        rows.append((nll, f"| {run.name} | {nll:.3f} | {'' if low is None else f'{low:.3f}'} | {train[-1]['step']} |"))
        curves[run.name] = [(m["elapsed_seconds"], m["loss"]) for m in train if m["step"] >= 30]
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
