"""Mel files to wavs.

Mels are .npy, .npz, .pt or .safetensors, [n_mels, F] or [F, n_mels], in the mel convention of the checkpoint (see
`waveglow info`). One that looks like another convention is refused; --assume says what it is and converts it.

  waveglow synth -c runs/ljspeech mels/ wavs/
  waveglow synth -c runs/ljspeech hello.npy hello.wav --sigma 0.6 --seed 7 --denoise 0.01
  waveglow synth -c voice.onnx mels/ wavs/                # of `waveglow export onnx`; torch is never imported
"""

import argparse
from pathlib import Path

from waveglow.audio.files import MEL_SUFFIXES
from waveglow.audio.mel import PRESETS
from waveglow.audio.mel_files import notices, read_mel
from waveglow.audio.mel_presets import assumed
from waveglow.batch import Outcome, Work
from waveglow.cli.common import add_denoising, add_paths, add_sampling, add_vocoder, each_file, opened_vocoder, sampling
from waveglow.opening import on_cpu


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_paths(parser, "MEL", "folder for the wavs, or one .wav file for one mel")
    add_vocoder(parser)
    add_sampling(parser)
    add_denoising(parser, "--denoise", default=0.0)
    parser.add_argument("--normalize", action="store_true", help="lower clips beyond full scale instead of clipping")
    parser.add_argument("--layout", choices=("auto", "CT", "TC"), default="auto", help="[n_mels, F] is CT (auto)")
    parser.add_argument("--assume", metavar="PRESET", help=f"the mels' convention: log10, {', '.join(PRESETS)}")
    parser.add_argument("--runtime", choices=("torch", "onnx"), help="what computes (onnx where -c is an .onnx file)")


def run(args: argparse.Namespace) -> int:
    """Synthesize every mel."""
    return each_file(args, MEL_SUFFIXES, ".wav", opened)


def opened(args: argparse.Namespace) -> Work:
    vocoder = opened_vocoder(args)
    spec = vocoder.mel_spec
    source_spec = assumed(args.assume, spec) if args.assume else None

    def work(source: Path, target: Path, outcome: Outcome) -> None:
        mel = read_mel(source, spec, layout=args.layout, assume=source_spec)
        outcome.notices += notices(mel, spec, assume=source_spec)
        audio = vocoder.synthesize(mel, **sampling(args), check=False)  # read_mel did
        samples = on_cpu(vocoder.denoise(audio, args.denoise) if args.denoise else audio)
        outcome.keep(target, samples, spec.sample_rate, normalize=args.normalize)

    return work
