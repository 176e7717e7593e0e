"""Measure synthesis and training speed on this machine: a table, and JSON with --json.

Every row is the median of several warm runs in one process, the device synchronised; models have random weights, since
speed does not depend on them. Measure with nothing else running.

  waveglow bench
  waveglow bench --models waveglow-64 waveglow-256 --seconds 4 --threads 2
  waveglow bench --models lapglow --refine 16             # as the voice of the package is used
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from waveglow.audio.mel import preset
from waveglow.cli.common import steps_of_refinement
from waveglow.cli.devices import default_device
from waveglow.models.registry import VOCODERS, build_vocoder
from waveglow.models.vocoder import FlowVocoder
from waveglow.synthesis import HALF, Vocoder

SAMPLE_RATE = 22050
SEGMENT_SAMPLES = 8192


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--models", nargs="+", default=["lapglow", "waveglow-64", "waveglow-256"], choices=VOCODERS, metavar="NAME"
    )
    parser.add_argument("--precisions", nargs="+", default=["float32", "bf16"], choices=["float32", "bf16", "fp16"])
    parser.add_argument("--seconds", type=float, default=3.0, help="of audio to synthesize (3)")
    parser.add_argument(
        "--refine",
        type=steps_of_refinement,
        default=0,
        metavar="STEPS",
        help="of refinement of what is synthesized (0)",
    )
    parser.add_argument("--repeats", type=int, default=5, help="warm runs, of which the median counts (5)")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--device", help="cpu, cuda (default: cuda where there is one)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device or default_device())
    rows = [row for name in args.models for row in _rows(name, device, args)]
    machine = {
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "refine": args.refine,
    }
    print(json.dumps({**machine, "rows": rows}, indent=1) if args.json else _table(machine, rows))
    return 0


def _rows(name: str, device: torch.device, args: argparse.Namespace) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    model = build_vocoder({"name": name}).to(device)
    frames = round(args.seconds * SAMPLE_RATE / model.hop)
    mel, audio = torch.randn(model.n_mels, frames), 0.1 * torch.randn(2, SEGMENT_SAMPLES, device=device)
    segment_mel = torch.randn(2, model.n_mels, -(-SEGMENT_SAMPLES // model.hop), device=device)

    rows = []
    for precision in args.precisions:
        vocoder = Vocoder(model, preset("hifigan"), precision=precision, refine=args.refine)
        synthesis = _median(partial(vocoder.synthesize, mel), args.repeats, device)
        step = _median(partial(_forward_and_backward, model, audio, segment_mel, precision), args.repeats, device)
        rows.append(
            {
                "model": name,
                "precision": precision,
                "parameters": sum(p.numel() for p in model.parameters()),
                "gmac_per_second_of_audio": _gmac(vocoder, mel) / (frames * model.hop / SAMPLE_RATE),
                "real_time_factor": synthesis / (frames * model.hop / SAMPLE_RATE),
                "training_audio_seconds_per_second": audio.numel() / SAMPLE_RATE / step,
            }
        )
    return rows


def _forward_and_backward(model: FlowVocoder, audio: Tensor, mel: Tensor, precision: str) -> None:
    with torch.autocast(audio.device.type, HALF.get(precision), enabled=precision in HALF):
        loss = -model(audio, mel).mean()
    loss.backward()


def _gmac(vocoder: Vocoder, mel: Tensor) -> float:
    """10⁹ multiplications with addition of a synthesis, in convolutions and matrix products; no Fourier transforms."""
    with FlopCounterMode(display=False) as counter:
        vocoder.synthesize(mel)
    return counter.get_total_flops() / 2e9


def _median(action: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Median seconds of an action after one run to warm up."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def _table(machine: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    lines = [", ".join(f"{key} {value}" for key, value in machine.items())]
    lines.append(
        f"{'model':<14} {'precision':<10} {'parameters':>12} {'GMAC / s audio':>15} {'real-time factor':>16} "
        f"{'training, s audio / s':>22}"
    )
    for row in rows:
        size, gmac = row["parameters"], row["gmac_per_second_of_audio"]
        rate, training = row["real_time_factor"], row["training_audio_seconds_per_second"]
        lines.append(
            f"{row['model']:<14} {row['precision']:<10} {size:>12,} {gmac:>15.2f} {rate:>16.3f} {training:>22.3f}"
        )
    return "\n".join(lines)
