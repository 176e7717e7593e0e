"""A checkpoint to one .onnx file, compared with the checkpoint once it is written. Takes up to a minute or two.

The file takes a mel [B, n_mels, F] and the latents z0, z1, ... [B, C, F·r], noise that the caller makes; the batch and
the number of frames are free. `waveglow synth -c FILE.onnx` runs it and makes the same noise as with the checkpoint, so
that seeds agree. The mel convention and what else a caller must know are in its metadata.

  waveglow export onnx lapglow voice.onnx
  waveglow export onnx lapglow fast.onnx --refine 0 --int8 recordings/   # nets in 8-bit integers
  waveglow export onnx runs/ljspeech vocoder.onnx --drawn-noise 0.7      # for sherpa-onnx: the mel alone goes in
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from waveglow.audio.files import AUDIO_SUFFIXES, find_inputs
from waveglow.audio.io import load_audio
from waveglow.audio.signals import hum, snr
from waveglow.cli.common import non_negative, steps_of_refinement
from waveglow.export.onnx import export_onnx
from waveglow.export.onnx_runtime import OnnxVocoder
from waveglow.vocoder import Vocoder

CLIPS = 8  # to measure ranges on, at most
COMPARED_SECONDS = 1.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "checkpoint", type=Path, help="checkpoint directory, training run, or a voice of the package (lapglow)"
    )
    parser.add_argument("out", type=Path, metavar="OUT.onnx")
    parser.add_argument(
        "--refine", type=steps_of_refinement, metavar="STEPS", help="in the graph (as the voice was validated)"
    )
    noise = parser.add_mutually_exclusive_group()
    noise.add_argument(
        "--drawn-noise",
        type=non_negative,
        metavar="SIGMA",
        help="the graph draws its own noise of this spread, and the mel is its only input",
    )
    noise.add_argument(
        "--int8",
        type=Path,
        metavar="RECORDINGS",
        help=f"8-bit integers in the coupling nets, whose ranges are measured on up to {CLIPS} of these recordings",
    )


def run(args: argparse.Namespace) -> int:
    """Export, compare and print."""
    if args.out.suffix != ".onnx":
        raise ValueError(f"the output is {args.out}; it must end in .onnx")
    vocoder = Vocoder.load(args.checkpoint, device="cpu")
    spec, refine = vocoder.mel_spec, vocoder.refine if args.refine is None else args.refine
    mels = _mels(vocoder, args.int8) if args.int8 else []
    print(f"exporting {args.checkpoint} with {refine} steps of refinement ...", file=sys.stderr)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    export_onnx(
        vocoder.model,
        spec,
        args.out,
        refine=refine,
        drawn_sigma=args.drawn_noise,
        int8_from=mels,
    )
    print(f"{args.out}: {args.out.stat().st_size / 2**20:.1f} MiB", end="")
    if args.drawn_noise is not None:
        print("; mel in, audio out")
        return 0
    mel = mels[0] if mels else vocoder.mel(hum(COMPARED_SECONDS, spec.sample_rate), spec.sample_rate).numpy()
    print(f"; {_compared(vocoder, OnnxVocoder(args.out), mel, refine)}")
    return 0


def _mels(vocoder: Vocoder, folder: Path) -> list[npt.NDArray[np.float32]]:
    """Mels of the first recordings. Raises ValueError where there are none."""
    files = [item.file for item in find_inputs([folder], AUDIO_SUFFIXES).found[:CLIPS]]
    if not files:
        raise ValueError(f"no {', '.join(AUDIO_SUFFIXES)} files in {folder}; --int8 measures on recordings of speech")
    return [vocoder.mel(audio.samples, audio.sample_rate).numpy() for audio in map(load_audio, files)]


def _compared(vocoder: Vocoder, exported: OnnxVocoder, mel: npt.NDArray[np.float32], refine: int) -> str:
    expected, found = vocoder.synthesize(mel, refine=refine), torch.from_numpy(exported.synthesize(mel))
    error = (found - expected).abs().max()
    return f"differs from the checkpoint by at most {error:.1e} of full scale, SNR {snr(expected, found):.0f} dB"
