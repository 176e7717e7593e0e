"""What a checkpoint is: model, size, mel convention, training and likelihood; of an .onnx file, what it tells of these.

Of a training run, that is its newest whole checkpoint; where its best weights are better, that is said.

  waveglow info lapglow
  waveglow info runs/ljspeech
  waveglow info runs/ljspeech --json
  waveglow info voice.onnx
"""

import argparse
import json
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, metavar="CKPT", help="checkpoint, run, voice, hf:org/name or .onnx")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print it."""
    if args.checkpoint.suffix == ".onnx":
        from waveglow.export.onnx_runtime import OnnxVocoder  # each where it is needed: this one does without torch

        facts = OnnxVocoder(args.checkpoint).about()
    else:
        from waveglow.training.runs import about

        facts = about(args.checkpoint)
    print(json.dumps(facts, indent=1, ensure_ascii=False) if args.json else _table(facts))
    return 0


def _table(facts: dict[str, object]) -> str:
    lines = []
    for name, value in facts.items():
        if isinstance(value, dict):
            lines += [f"{name}:", *(f"  {key:<18} {item}" for key, item in value.items())]
        else:
            lines.append(f"{name:<20} {value:,}" if isinstance(value, int) else f"{name:<20} {value}")
    return "\n".join(lines)
