"""Wavs that a vocoder made, less its hum, and how far its tones stand out before and after.

Flows that squeeze samples into groups are prone to tones at the multiples of sample rate / group. What the checkpoint's
model says in silence is subtracted from the wavs' spectra, --strength times: too much of it takes speech along. The
tones' figure is their mean level above the frequencies around them; recordings have about 0 dB.

  waveglow denoise -c runs/ljspeech wavs/ denoised/
  waveglow denoise -c runs/ljspeech hello.wav quiet.wav --strength 0.5
"""

import argparse
from pathlib import Path

from waveglow.audio.files import AUDIO_SUFFIXES
from waveglow.audio.io import Samples, load_audio
from waveglow.batch import Outcome, Work
from waveglow.cli.common import add_denoising, add_paths, add_vocoder, each_file, opened_vocoder
from waveglow.metrics.spectral import tone_prominence
from waveglow.opening import on_cpu


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_paths(parser, "WAV", "folder for the denoised, or one .wav file for one wav")
    add_vocoder(parser)
    add_denoising(parser, "--strength", default=0.1)
    parser.add_argument("--normalize", action="store_true", help="lower clips beyond full scale instead of clipping")


def run(args: argparse.Namespace) -> int:
    """Denoise every wav."""
    return each_file(args, AUDIO_SUFFIXES, ".wav", opened)


def opened(args: argparse.Namespace) -> Work:
    vocoder = opened_vocoder(args)

    def work(source: Path, target: Path, outcome: Outcome) -> None:
        audio = load_audio(source, sample_rate=vocoder.sample_rate)
        outcome.notices += audio.notices
        denoised = on_cpu(vocoder.denoise(audio.samples, args.strength))
        outcome.keep(target, denoised, vocoder.sample_rate, normalize=args.normalize)
        _measure(audio.samples, load_audio(target).samples, vocoder.group, outcome)

    return work


def _measure(before: Samples, after: Samples, group: int, outcome: Outcome) -> None:
    try:
        tones_before, tones_after = tone_prominence(before, group), tone_prominence(after, group)
    except ValueError as error:
        outcome.notices.append(f"tones not measured: {error}")
        return
    outcome.measured |= {"tones_before_db": tones_before, "tones_after_db": tones_after}
    outcome.notices.append(f"tones stand out by {tones_before:.1f} dB before, {tones_after:.1f} dB after")
