"""Send a checkpoint to the Hugging Face Hub: configuration, weights, manifest, card; of a run its best.

Without --yes it lists what it would send. Needs `pip install 'waveglow-vocoders[hub]'` and a token (`hf auth login`).

  waveglow push runs/my-voice me/my-voice --license cc-by-4.0
  waveglow push runs/my-voice me/my-voice --license cc-by-4.0 --private --yes
  waveglow resynth -c hf:me/my-voice in.wav out.wav
"""

import argparse
from pathlib import Path

from waveglow.models.sending import push


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, metavar="CKPT", help="checkpoint, training run (its best), or voice")
    parser.add_argument("to", metavar="ORG/NAME", help="repository on the hub, made where there is none")
    parser.add_argument("--license", dest="licence", metavar="ID", help="of the weights (as the card names it)")
    parser.add_argument("--data", metavar="SENTENCE", help="on what they were trained on, for the card")
    parser.add_argument("--private", action="store_true", help="a repository that you alone see")
    parser.add_argument("--revision", dest="branch", metavar="BRANCH", help="made where there is none (main)")
    parser.add_argument("--yes", dest="send", action="store_true", help="send it")


def run(args: argparse.Namespace) -> int:
    """Send it."""
    names = ("licence", "data", "private", "branch", "send")
    print(push(args.checkpoint, args.to, **{name: getattr(args, name) for name in names}))
    return 0
