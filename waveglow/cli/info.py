"""What a checkpoint is: model, size, mel convention, training and likelihood; of an .onnx file, what it tells of these.

Of a training run, that is its newest whole checkpoint.

  waveglow info lapglow
  waveglow info runs/ljspeech
  waveglow info runs/ljspeech --json
  waveglow info voice.onnx
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("checkpoint", type=Path, metavar="CKPT", help="checkpoint, training run, voice, or .onnx file")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print it."""
    facts = _of_onnx(args.checkpoint) if args.checkpoint.suffix == ".onnx" else _of_checkpoint(args.checkpoint)
    print(json.dumps(facts, indent=1, ensure_ascii=False) if args.json else _table(facts))
    return 0


def _of_onnx(path: Path) -> dict[str, object]:
    from waveglow.export.onnx_runtime import OnnxVocoder

    vocoder = OnnxVocoder(path)
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "refine": vocoder.refine,
        "int8": vocoder.int8,
        "latents": {f"z{i}": f"{z.channels} channels, {z.places} a frame" for i, z in enumerate(vocoder.latents)},
        "mel": vocoder.mel_spec.to_dict(),
        "mel_fingerprint": vocoder.mel_spec.fingerprint,
    }


def _of_checkpoint(path: Path) -> dict[str, object]:
    from waveglow.models import checkpoint

    loaded = checkpoint.load(path)
    spec = loaded.mel_spec
    return {
        "checkpoint": str(loaded.path),
        "parameters": sum(p.numel() for p in loaded.model.parameters()),
        "model": loaded.model_config,
        "mel": spec.to_dict() if spec else None,
        "mel_fingerprint": spec.fingerprint if spec else None,
        **loaded.info,
    }


def _table(facts: dict[str, object]) -> str:
    lines = []
    for name, value in facts.items():
        if isinstance(value, dict):
            lines += [f"{name}:", *(f"  {key:<18} {item}" for key, item in value.items())]
        else:
            lines.append(f"{name:<20} {value:,}" if isinstance(value, int) else f"{name:<20} {value}")
    return "\n".join(lines)
