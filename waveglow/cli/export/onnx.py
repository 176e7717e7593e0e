"""A checkpoint to one .onnx file, compared with the checkpoint once it is written. Takes up to a minute or two.

The file takes a mel [B, n_mels, F] and the latents z0, z1, ... [B, C, F·r], noise that the caller makes; the batch and
the number of frames are free. Verbs that take checkpoints take it too and make the same noise as with the checkpoint,
so that seeds agree. The mel convention and what else a caller must know are in its metadata (docs/howto/runtimes.md).

  waveglow export onnx lapglow voice.onnx
  waveglow export onnx lapglow fast.onnx --refine 0 --int8 recordings/   # nets in 8-bit integers
  waveglow export onnx runs/ljspeech vocoder.onnx --drawn-noise 0.7      # for sherpa-onnx: the mel alone goes in
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from waveglow.cli.values import non_negative, steps_of_refinement
from waveglow.evaluation.exported import CLIPS, compared, hummed_mel, recorded_mels
from waveglow.export.onnx import export_onnx
from waveglow.export.onnx_runtime import OnnxVocoder
from waveglow.opening import torch_vocoder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help="checkpoint directory, training run, voice (lapglow), or noise")
    parser.add_argument("out", type=Path, metavar="OUT.onnx")
    parser.add_argument("--mel", metavar="CONVENTION", help="of the checkpoint noise: a preset or a YAML file")
    parser.add_argument("--refine", type=steps_of_refinement, metavar="STEPS", help="where a run names none; 0: none")
    parser.add_argument(
        "--drawn-noise", type=non_negative, metavar="SIGMA", help="the graph draws its own noise; only the mel goes in"
    )
    parser.add_argument(
        "--int8", type=Path, metavar="RECORDINGS", help=f"8-bit coupling nets, ranges from up to {CLIPS} recordings"
    )


def run(args: argparse.Namespace) -> int:
    """Export, compare and print."""
    if args.out.suffix != ".onnx":
        raise ValueError(f"the output is {args.out}; it must end in .onnx")
    vocoder = torch_vocoder(args.checkpoint, mel=args.mel, device="cpu")
    refinement, steps = vocoder.refinement, args.refine
    if steps is not None:
        refinement = replace(refinement, steps=steps, stream_steps=steps)
    mels = recorded_mels(vocoder, args.int8) if args.int8 else []
    print(f"exporting {args.checkpoint} with {refinement.steps} steps of refinement ...", file=sys.stderr)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    spec, sigma = vocoder.mel_spec, args.drawn_noise
    export_onnx(vocoder.model, spec, args.out, refine=refinement, drawn_sigma=sigma, int8_from=mels)
    told = compared(vocoder, OnnxVocoder(args.out), mels[0] if mels else hummed_mel(vocoder), refine=refinement.steps)
    print(f"{args.out}: {args.out.stat().st_size / 2**20:.1f} MiB; {told}")
    return 0
