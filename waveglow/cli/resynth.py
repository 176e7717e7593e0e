"""Copy-synthesis: wavs to mels to wavs, at the checkpoint's sample rate.

What is lost is lost by the vocoder, not by an acoustic model: the first thing to listen to.

  waveglow resynth in.wav out.wav                          # the voice that comes with the package
  waveglow resynth -c runs/ljspeech recordings/ copies/
  waveglow resynth -c runs/ljspeech in.wav out.wav --length frames
"""

import argparse
from pathlib import Path

from waveglow.audio.files import AUDIO_SUFFIXES
from waveglow.audio.io import CHANNELS, load_audio
from waveglow.batch import Outcome, Work
from waveglow.cli.common import add_denoising, add_paths, add_sampling, add_vocoder, each_file, opened_vocoder, sampling
from waveglow.opening import on_cpu


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_paths(parser, "WAV", "folder for the copies, or one .wav file for one wav")
    add_vocoder(parser)
    add_sampling(parser)
    add_denoising(parser, "--denoise", default=0.0)
    parser.add_argument(
        "--length",
        choices=("exact", "frames"),
        default="exact",
        help="as the input, or a whole number of frames (exact)",
    )
    parser.add_argument("--channel", choices=CHANNELS, default="mix", help="of several channels (mix)")
    parser.add_argument("--normalize", action="store_true", help="scale inputs, and copies above 1, to a peak of 0.95")


def run(args: argparse.Namespace) -> int:
    """Copy every recording."""
    return each_file(args, AUDIO_SUFFIXES, ".wav", opened)


def opened(args: argparse.Namespace) -> Work:
    vocoder = opened_vocoder(args)

    def work(source: Path, target: Path, outcome: Outcome) -> None:
        audio = load_audio(source, sample_rate=vocoder.sample_rate, channel=args.channel, normalize=args.normalize)
        outcome.notices += audio.notices
        if args.length == "exact":
            copy = vocoder(audio.samples, vocoder.sample_rate, **sampling(args))
        else:
            copy = vocoder.synthesize(vocoder.mel(audio.samples, vocoder.sample_rate), **sampling(args))
        if args.denoise:
            copy = vocoder.denoise(copy, args.denoise)
        outcome.keep(target, on_cpu(copy), vocoder.sample_rate, normalize=args.normalize)

    return work
