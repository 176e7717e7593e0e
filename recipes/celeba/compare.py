"""Runs of image flows side by side: a table, training curves, samples.

    python recipes/celeba/compare.py RUNS

Takes every RUNS/NAME-SEED that was evaluated into RUNS/NAME-SEED/evaluation, as experiments.sh does, and writes
RUNS/table.md, curves.svg and samples.png. Time is that of a forward and backward pass of 32 images in float32:
the median of ten, the variants taking turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

from waveglow.data.pictures import grid, labelled, save_png
from waveglow.models import checkpoint
from waveglow.pages.figures import line_chart_svg
from waveglow.training.log import read_metrics

SAMPLES, TEMPERATURE = 12, 0.8
TIMED_IMAGES, TURNS = 32, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, metavar="RUNS", help="folder of evaluated runs")
    root = parser.parse_args().runs
    variants: dict[str, list[Path]] = defaultdict(list)
    for evaluation in sorted(root.glob("*-*/evaluation/evaluation.json")):
        run = evaluation.parents[1]
        variants[run.name.rpartition("-")[0]].append(run)
    if not variants:
        parser.error(f"{root} has no evaluated run (NAME-SEED/evaluation/evaluation.json); experiments.sh makes them")
    found = [(name, measured(runs)) for name, runs in variants.items()]
    took = milliseconds({name: runs[0] for name, runs in variants.items()})
    lines = [
        "| variant | parameters | steps | bits/dim, test | of each seed | ms a pass |",
        "|---|---|---|---|---|---|",
    ]
    for name, facts in sorted(found, key=lambda pair: pair[1]["mean"]):
        lines.append(f"| {name} | {facts['row']} | {took[name]:.0f} |")
    (root / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    curves = {name: curve(runs[0]) for name, runs in variants.items()}
    svg = line_chart_svg(curves, x_label="step", y_label="bits per dimension, in training")
    (root / "curves.svg").write_text(svg, encoding="utf-8")
    pictures = torch.cat([samples(runs[0]) for runs in variants.values()])
    save_png(root / "samples.png", labelled(grid(pictures, columns=SAMPLES, cell=56), rows=list(variants)))
    print("\n".join(lines), f"{root}/table.md, curves.svg, samples.png", sep="\n")


def measured(runs: list[Path]) -> dict[str, Any]:
    """`mean` bits per dimension of the seeds, and the cells of a `row`."""
    results = [json.loads((run / "evaluation" / "evaluation.json").read_text(encoding="utf-8")) for run in runs]
    bits = [result["bits_per_dim"] for result in results]
    cells = [
        f"{results[0]['parameters']:,}",
        ", ".join(f"{step:,}" for step in sorted({result["step"] for result in results})),
        f"{statistics.mean(bits):.3f}",
        ", ".join(f"{each:.3f}" for each in bits),
    ]
    return {"mean": statistics.mean(bits), "row": " | ".join(cells)}


def milliseconds(runs: dict[str, Path]) -> dict[str, float]:
    """Of a forward and backward pass of each run's model, in one thread."""
    torch.set_num_threads(1)
    models = {name: checkpoint.load_image(run).model.train() for name, run in runs.items()}
    took: dict[str, list[float]] = defaultdict(list)
    for turn in range(TURNS + 1):
        for name, model in models.items():
            pixels = torch.randint(0, 256, (TIMED_IMAGES, *model.shape), dtype=torch.uint8)
            started = time.perf_counter()
            (-model(model.dequantize(pixels, seed=0)).mean()).backward()
            if turn:  # the first warms up
                took[name].append(1000 * (time.perf_counter() - started))
    return {name: statistics.median(times) for name, times in took.items()}


def curve(run: Path) -> list[tuple[float, float]]:
    """(step, bits per dimension) in training."""
    lines = [
        m for m in read_metrics(run / "metrics.jsonl") if m["kind"] == "train" and m.get("bits_per_dim") is not None
    ]
    return [(m["step"], m["bits_per_dim"]) for m in lines]


@torch.no_grad()
def samples(run: Path) -> torch.Tensor:
    """A row of them, uint8 [N, C, H, W]."""
    model = checkpoint.load_image(run).model
    return model.to_pixels(model.sample(SAMPLES, temperature=TEMPERATURE, seed=0))


if __name__ == "__main__":
    main()
