"""Wavs to mel files, in the mel convention of a preset or of a checkpoint.

A mel is float32 [n_mels, F]. Recordings at another sample rate are resampled, several channels mixed.

  waveglow mel --preset hifigan recordings/ mels/
  waveglow mel -c runs/ljspeech in.wav out.npy
"""

import argparse
from pathlib import Path

import torch

from waveglow.audio.files import AUDIO_SUFFIXES, MEL_SUFFIXES
from waveglow.audio.io import CHANNELS, load_long
from waveglow.audio.mel import PRESETS, preset
from waveglow.audio.mel_files import write_mel
from waveglow.audio.mel_spectrogram import MelSpectrogram
from waveglow.batch import Outcome, Work
from waveglow.cli.common import add_paths, each_file
from waveglow.export.onnx_runtime import mel_spec_of
from waveglow.models.mel_lookup import of_checkpoint


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_paths(parser, "WAV", "folder for the mels, or one mel file for one wav")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--preset", metavar="PRESET", help=f"mel convention: {', '.join(PRESETS)}")
    which.add_argument("-c", "--checkpoint", type=Path, help="take the convention of this checkpoint")
    parser.add_argument("--channel", choices=CHANNELS, default="mix", help="of several channels (mix)")
    parser.add_argument("--format", choices=MEL_SUFFIXES, help="of the mel files (.npy, or as OUT ends)")


def run(args: argparse.Namespace) -> int:
    """Compute every mel."""
    as_out_ends = args.out.suffix if args.out.suffix in MEL_SUFFIXES else ".npy"
    return each_file(args, AUDIO_SUFFIXES, args.format or as_out_ends, opened)


def opened(args: argparse.Namespace) -> Work:
    spec = preset(args.preset) if args.preset else mel_spec_of(args.checkpoint) or of_checkpoint(args.checkpoint)
    to_mel = MelSpectrogram(spec)

    def work(source: Path, target: Path, outcome: Outcome) -> None:
        audio = load_long(source, sample_rate=spec.sample_rate, channel=args.channel)
        outcome.notices += audio.notices
        write_mel(target, to_mel.of_blocks(torch.from_numpy(block)[None] for block in audio)[0].numpy())
        outcome.seconds = audio.seconds

    return work
