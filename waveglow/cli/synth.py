"""Mel files to wavs.

Mels are .npy, .npz, .pt or .safetensors, [n_mels, F] or [F, n_mels], in the mel convention of the checkpoint (see
`waveglow info`). One that looks like another convention is refused; --assume says what it is and converts it.

  waveglow synth -c runs/ljspeech mels/ wavs/
  waveglow synth -c runs/ljspeech hello.npy hello.wav --sigma 0.6 --seed 7
"""

from __future__ import annotations

import argparse
from pathlib import Path

from waveglow.audio.io import save_audio
from waveglow.audio.mel import PRESETS, compare, preset
from waveglow.audio.mel_files import read_mel
from waveglow.cli.common import (
    MEL_SUFFIXES,
    Outcome,
    add_paths,
    add_sampling,
    add_vocoder,
    each_file,
    sampling,
)
from waveglow.cli.devices import open_vocoder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_paths(parser, "MEL", "folder for the wavs, or one .wav file for one mel")
    add_vocoder(parser)
    add_sampling(parser)
    parser.add_argument("--layout", choices=("auto", "CT", "TC"), default="auto", help="[n_mels, F] is CT (auto)")
    parser.add_argument("--assume", metavar="PRESET", help=f"the mels' convention: {', '.join(PRESETS)}")


def run(args: argparse.Namespace) -> int:
    """Synthesize every mel."""
    vocoder = open_vocoder(args)
    assumed = preset(args.assume) if args.assume else None

    def work(source: Path, target: Path, outcome: Outcome) -> None:
        if assumed and (found := compare(assumed, vocoder.mel_spec)).kind != "equal":
            outcome.notices.append(f"{found.kind}: {found.reason}")
        mel = read_mel(source, vocoder.mel_spec, layout=args.layout, assume=assumed)
        audio = vocoder.synthesize(mel, **sampling(args)).cpu().numpy()
        outcome.seconds = len(audio) / vocoder.sample_rate
        if clipped := save_audio(target, audio, vocoder.sample_rate):
            outcome.notices.append(f"{clipped} samples beyond full scale were clipped; a lower --sigma helps")

    return each_file(args, MEL_SUFFIXES, ".wav", work)
