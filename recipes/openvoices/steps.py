"""Scores against steps of refinement, of a voice and of noise with the mel's energies: a table, and a plot a score.

    python steps.py lapglow RECORDINGS OUT [--steps 0 4 16 64] [--metrics pesq,distillmos]

The knee is what a voice's default should be. "Worth" is the voice's score less that of noise that was refined alike, in
pairs, with its 95 % interval. What was scored is remembered below OUT.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

import torch

import waveglow
from waveglow.evaluation import evaluate
from waveglow.evaluation.run import require_metrics
from waveglow.evaluation.table import REFINED_NOISE, VOCODER, Results
from waveglow.metrics import METRICS
from waveglow.pages.figures import line_chart_svg
from waveglow.vocoder import Vocoder

STEPS = (0, 4, 8, 16, 32, 64, 128, 256)


def scores(results: Results, row: str, metric: str) -> dict[str, float]:
    """By clip, of those that have one."""
    found = {clip["clip"]: clip["rows"].get(row, {}).get(metric) for clip in results["clips"]}
    return {clip: score for clip, score in found.items() if score is not None}


def with_interval(values: list[float], digits: int) -> str:
    interval = 1.96 * stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{mean(values):.{digits}f} ± {interval:.{digits}f}".replace("-", "−")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", metavar="CKPT")
    parser.add_argument("recordings", type=Path, help="folder or manifest.jsonl (its split valid)")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--metrics", default="pesq,distillmos,mel_l1")
    args = parser.parse_args()
    torch.set_num_threads(1)
    try:
        plot(waveglow.load(args.checkpoint), args.recordings, args.out, args.steps, args.metrics.split(","))
    except (ValueError, OSError) as error:
        parser.error(str(error))


def plot(vocoder: Vocoder, recordings: Path, out: Path, numbers: Sequence[int], metrics: Sequence[str]) -> None:
    """Evaluate with each of these numbers of steps; the table and the plots into `out`. Raises ValueError."""
    require_metrics(metrics)
    split = "valid" if recordings.suffix == ".jsonl" else None
    curves: dict[str, dict[str, list[tuple[float, float]]]] = {metric: {} for metric in metrics}
    lines = [f"| steps | {' | '.join(f'{METRICS[m].label}: voice | noise | worth' for m in metrics)} |"]
    lines.append("|---:|" + "---:|" * 3 * len(metrics))
    for steps in sorted(numbers):
        results = evaluate(
            vocoder, recordings, out, split=split, refine=steps, metrics=metrics, sigmas=(), tell=_missing
        )
        cells = []
        for metric in metrics:
            own, noise = (scores(results, row, metric) for row in (VOCODER, REFINED_NOISE))
            digits = METRICS[metric].digits
            worth = [own[clip] - noise[clip] for clip in own if clip in noise]
            cells += [f"{mean(own.values()):.{digits}f}", f"{mean(noise.values()):.{digits}f}" if noise else "–"]
            cells.append(with_interval(worth, digits) if worth else "–")
            for name, found in (("voice", own), ("noise", noise)):
                if found:
                    point = (math.log2(1 + steps), mean(found.values()))
                    curves[metric].setdefault(name, []).append(point)
        lines.append(f"| {steps} | {' | '.join(cells)} |")
        print("\n".join(lines), flush=True)
    (out / "steps.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for metric, series in curves.items():
        best = "highest" if METRICS[metric].better == "higher" else "lowest"
        svg = line_chart_svg(series, x_label="log₂ (1 + steps)", y_label=METRICS[metric].label, best=best)
        (out / f"steps-{metric}.svg").write_text(svg, encoding="utf-8")


def _missing(sentence: str) -> None:
    raise ValueError(sentence)


if __name__ == "__main__":
    main()
