"""Mel files to wavs.

Mels are .npy, .npz, .pt or .safetensors, [n_mels, F] or [F, n_mels], in the mel convention of the checkpoint (see
`waveglow info`). One that looks like another convention is refused; --assume says what it is and converts it.

  waveglow synth -c runs/ljspeech mels/ wavs/
  waveglow synth -c runs/ljspeech hello.npy hello.wav --sigma 0.6 --seed 7 --denoise 0.01
  waveglow synth -c voice.onnx mels/ wavs/                # of `waveglow export onnx`; torch is never imported
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from waveglow.audio.files import MEL_SUFFIXES
from waveglow.audio.io import Samples, save_audio
from waveglow.audio.mel import PRESETS, MelSpec
from waveglow.audio.mel_files import notices, read_mel
from waveglow.audio.mel_presets import assumed
from waveglow.batch import Outcome
from waveglow.cli.common import add_denoising, add_paths, add_sampling, add_vocoder, each_file, sampling


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_paths(parser, "MEL", "folder for the wavs, or one .wav file for one mel")
    add_vocoder(parser)
    add_sampling(parser)
    add_denoising(parser, "--denoise", default=0.0)
    parser.add_argument("--layout", choices=("auto", "CT", "TC"), default="auto", help="[n_mels, F] is CT (auto)")
    parser.add_argument("--assume", metavar="PRESET", help=f"the mels' convention: log10, {', '.join(PRESETS)}")
    parser.add_argument(
        "--runtime", choices=("torch", "onnx"), help="what computes (onnx where the checkpoint is an .onnx file)"
    )


def run(args: argparse.Namespace) -> int:
    """Synthesize every mel."""
    runtime = args.runtime or ("onnx" if args.checkpoint.suffix == ".onnx" else "torch")
    spec, synthesize = _with_onnx(args) if runtime == "onnx" else _with_torch(args)
    source_spec = assumed(args.assume, spec) if args.assume else None

    def work(source: Path, target: Path, outcome: Outcome) -> None:
        mel = read_mel(source, spec, layout=args.layout, assume=source_spec)
        outcome.notices += notices(mel, spec, assume=source_spec)
        audio = synthesize(mel)
        outcome.seconds = len(audio) / spec.sample_rate
        if clipped := save_audio(target, audio, spec.sample_rate):
            outcome.notices.append(f"{clipped} samples beyond full scale were clipped; a lower --sigma helps")

    return each_file(args, MEL_SUFFIXES, ".wav", work)


def _with_torch(args: argparse.Namespace) -> tuple[MelSpec, Callable[[Samples], Samples]]:
    from waveglow.cli.devices import open_vocoder

    vocoder = open_vocoder(args)

    def synthesize(mel: Samples) -> Samples:
        audio = vocoder.synthesize(mel, **sampling(args), check=False)  # read_mel did
        return (vocoder.denoise(audio, args.denoise) if args.denoise else audio).cpu().numpy()

    return vocoder.mel_spec, synthesize


def _with_onnx(args: argparse.Namespace) -> tuple[MelSpec, Callable[[Samples], Samples]]:
    from waveglow.export.onnx_runtime import OnnxVocoder

    for name, usual in (("mel", None), ("device", None), ("precision", "float32"), ("refine", None), ("fused", False)):
        if getattr(args, name) != usual:
            raise ValueError(f"--{name} is fixed in an .onnx file, which runs on the CPU; leave it out or export anew")
    if args.denoise:
        raise ValueError("--denoise needs the checkpoint and torch; leave it out, or give the wavs to waveglow denoise")
    if args.threads is not None and args.threads < 1:
        raise ValueError(f"--threads is {args.threads}; it must be at least 1")
    vocoder = OnnxVocoder(args.checkpoint, threads=args.threads)
    return vocoder.mel_spec, lambda mel: vocoder.synthesize(mel, sigma=args.sigma, seed=args.seed, check=False)
