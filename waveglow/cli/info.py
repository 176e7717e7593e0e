"""What a checkpoint is: model, size, mel convention, training and likelihood.

Of a training run, that is its newest whole checkpoint.

  waveglow info lapglow
  waveglow info runs/ljspeech
  waveglow info runs/ljspeech --json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from waveglow.models import checkpoint


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("checkpoint", type=Path, metavar="CKPT", help="checkpoint directory, training run, or voice")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print it."""
    loaded = checkpoint.load(args.checkpoint)
    spec = loaded.mel_spec
    facts = {
        "checkpoint": str(loaded.path),
        "parameters": sum(p.numel() for p in loaded.model.parameters()),
        "model": loaded.model_config,
        "mel": spec.to_dict() if spec else None,
        "mel_fingerprint": spec.fingerprint if spec else None,
        **loaded.info,
    }
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
