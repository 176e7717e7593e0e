"""Memory and time of a training step of Glow against its depth, in the three memory modes, side by side in one run.

    python recipes/celeba/memory.py [--steps 2 4 8 16] [--out runs/memory]

Writes OUT.md, a table, and OUT.svg, a plot. Bytes are those of the activations that are kept for the backward pass.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from waveglow.bench.memory import MODES, kept_bytes
from waveglow.cli.values import positive
from waveglow.flows.compose import Chain
from waveglow.models.flow_image import FlowImage
from waveglow.models.image_builders import glow
from waveglow.pages.figures import line_chart_svg


def model_of(n_steps: int, memory: Any, *, image_size: int, n_hidden: int) -> FlowImage:
    """Glow of L = 2 levels of K = n_steps."""
    torch.manual_seed(0)
    model = glow(image_size=image_size, n_levels=2, n_steps=n_steps, n_hidden=n_hidden)
    for module in model.modules():
        if isinstance(module, Chain):
            module.memory = memory
    return model


def step_seconds(model: FlowImage, x: Tensor) -> float:
    """Forward and backward pass."""
    started = time.perf_counter()
    (-model(x).mean()).backward()
    return time.perf_counter() - started


def measured(n_steps: int, args: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Mode to (MiB an image, median seconds a step), the modes taking turns."""
    size, batch = args.image_size, args.batch_size
    x = torch.rand(batch, 3, size, size) - 0.5
    models = {mode: model_of(n_steps, mode, image_size=size, n_hidden=args.n_hidden) for mode in MODES}
    seconds: dict[str, list[float]] = {mode: [] for mode in MODES}
    for turn in range(args.repeats + 1):
        for mode, model in models.items():
            took = step_seconds(model, x)
            if turn:  # the first warms up
                seconds[mode].append(took)
    return {m: (kept_bytes(models[m], x) / batch / 2**20, statistics.median(seconds[m])) for m in MODES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=positive, nargs="+", default=[2, 4, 8, 16], help="K, steps a level")
    parser.add_argument("--image-size", type=positive, default=32)
    parser.add_argument("--n-hidden", type=positive, default=128)
    parser.add_argument("--batch-size", type=positive, default=4)
    parser.add_argument("--repeats", type=positive, default=5, help="of which medians are taken")
    parser.add_argument("--out", type=Path, default=Path("runs/memory"))
    args = parser.parse_args()
    rows, curves = [], {mode: [] for mode in MODES}
    for n_steps in args.steps:
        found = measured(n_steps, args)
        plain = found["none"][1]
        cells = [f"{mib:.2f} | {seconds / plain:.2f}" for mib, seconds in found.values()]
        rows.append(f"| {n_steps} | {' | '.join(cells)} |")
        print(rows[-1], flush=True)
        for mode, (mib, _) in found.items():
            curves[mode].append((float(n_steps), mib))
    head = ["| K | " + " | ".join(f"{mode}: MiB an image | time, none = 1" for mode in MODES) + " |", "|---" * 7 + "|"]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_suffix(".md").write_text("\n".join([*head, *rows]) + "\n", encoding="utf-8")
    svg = line_chart_svg(curves, x_label="K, steps a level", y_label="MiB kept for an image")
    args.out.with_suffix(".svg").write_text(svg, encoding="utf-8")
    print(f"{args.out}.md, {args.out}.svg")


if __name__ == "__main__":
    main()
