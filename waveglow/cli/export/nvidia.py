"""A WaveGlow to NVIDIA's own layout, for code that was written around theirs.

What is written is {"state_dict": tensors, "config": their constructor's arguments}, or the tensors alone where OUT ends
in .safetensors. Their names are those of NVIDIA/waveglow since August 2019. A WaveGlow with ActNorm, and other models,
are none that their code could build.

  waveglow export nvidia runs/ljspeech waveglow.pt

  checkpoint = torch.load("waveglow.pt")                       # with NVIDIA's glow.py
  model = glow.WaveGlow(**checkpoint["config"])
  model.load_state_dict(checkpoint["state_dict"])
"""

import argparse
from pathlib import Path

from waveglow.models import checkpoint
from waveglow.models.published.files import write_nvidia


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, metavar="CKPT", help="checkpoint directory or training run")
    parser.add_argument("out", type=Path, metavar="OUT", help=".pt or .safetensors")


def run(args: argparse.Namespace) -> int:
    """Write the file."""
    loaded = checkpoint.load_vocoder(args.checkpoint)
    count = write_nvidia(args.out, loaded.model, loaded.model_config)
    print(f"{args.out}: WaveGlow in NVIDIA's layout, {count:,} parameters")
    return 0
