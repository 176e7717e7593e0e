"""A WaveGlow to NVIDIA's own layout, for code that was written around theirs.

What is written is {"state_dict": tensors, "config": their constructor's arguments}, or the tensors alone where OUT ends
in .safetensors. Their names are those of NVIDIA/waveglow since August 2019. A WaveGlow with ActNorm, and other models,
are none that their code could build.

  waveglow export nvidia runs/ljspeech waveglow.pt

  checkpoint = torch.load("waveglow.pt")                       # with NVIDIA's glow.py
  model = glow.WaveGlow(**checkpoint["config"])
  model.load_state_dict(checkpoint["state_dict"])
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import torch
from safetensors.torch import save

from waveglow.audio.files import write_atomically
from waveglow.models import checkpoint
from waveglow.models.published.waveglow import nvidia_state


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("checkpoint", type=Path, metavar="CKPT", help="checkpoint directory or training run")
    parser.add_argument("out", type=Path, metavar="OUT", help=".pt or .safetensors")


def run(args: argparse.Namespace) -> int:
    """Write the file."""
    if args.out.suffix not in (".pt", ".safetensors"):
        raise ValueError(f"the output is {args.out}; it must end in .pt or .safetensors")
    loaded = checkpoint.load_vocoder(args.checkpoint)
    tensors, config = nvidia_state(loaded.model, loaded.model_config)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(args.out, save(tensors) if args.out.suffix == ".safetensors" else _pickled(tensors, config))
    count = sum(tensor.numel() for tensor in tensors.values())
    print(f"{args.out}: WaveGlow in NVIDIA's layout, {count:,} parameters")
    return 0


def _pickled(tensors: dict[str, torch.Tensor], config: dict[str, object]) -> bytes:
    buffer = io.BytesIO()
    torch.save({"state_dict": tensors, "config": config}, buffer)
    return buffer.getvalue()
