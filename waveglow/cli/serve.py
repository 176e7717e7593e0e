"""Serve a vocoder over HTTP, with a page to hear it: POST a mel, get audio.

Open the printed address in a browser. Programs call it:

  waveglow serve                                          # the voice that comes with the package
  curl -H 'Content-Type: application/octet-stream' --data-binary @mel.npy localhost:8000/v1/vocode > out.wav
  curl -H 'Content-Type: audio/wav' --data-binary @in.wav 'localhost:8000/v1/resynthesize?format=flac' > copy.flac

It listens to this machine alone. For others, name the networks, ask for a token and say what the server is called:

  WAVEGLOW_TOKEN=$(openssl rand -hex 32) waveglow serve -c runs/ljspeech --host 0.0.0.0 --allow-host tts.example.org

SIGTERM: nothing new is taken, what runs is finished, exit 0. Without --threads, one core is left to the connections.
"""

import argparse
import os
from dataclasses import fields
from functools import partial
from typing import Any

from waveglow.cli.common import add_vocoder, opened_vocoder
from waveglow.serve.settings import Settings

TYPES = {"int": int, "int | None": int, "float": float}
TOKEN = "WAVEGLOW_TOKEN"  # options can be seen by everybody on the machine, the environment can't


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_vocoder(parser)
    for option in fields(Settings):
        several = isinstance(option.default, tuple)
        parser.add_argument(
            f"--{option.name.replace('_', '-')}",
            type=TYPES.get(str(option.type), str),
            action="append" if several else "store",
            default=option.default or None,
            help=option.metadata["about"] + (f" ({option.default})" if option.default else ""),
        )


def run(args: argparse.Namespace) -> int:
    """Serve until a signal."""
    from waveglow.serve.run import serve

    if args.threads is None and "OMP_NUM_THREADS" not in os.environ:
        args.threads = max(1, (os.cpu_count() or 1) - 1)  # one core is for the connections
    given = {option.name: getattr(args, option.name) for option in fields(Settings)}
    given["token"] = given["token"] or os.environ.get(TOKEN)
    chosen: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in given.items() if v is not None}
    return serve(partial(opened_vocoder, args), Settings(**chosen), name=args.checkpoint.name)
