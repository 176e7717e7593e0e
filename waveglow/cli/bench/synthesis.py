"""How fast a vocoder speaks, in every form that it can be run in, and how near to each other the forms are.

Forms, all of the same weights, mel, seed and sigma 0.7:
  plain-conv1d  what NVIDIA's code computes, as it does: contiguous 1-D convolutions in float32, weight norm worked out
                at every call, only the inverses of the 1x1 convolutions kept
  eager         this library's model as it is trained: channels-last 2-D convolutions
  folded        what Vocoder runs: all that depends on weights alone is computed once
  fused, fused-bf16
                Vocoder(fused=True), of WaveGlows: upsampling and conditioning as one map
  bf16, fp16    Vocoder(precision=...): the coupling nets in half precision (fp16 by default on GPUs only)
  compiled      bf16 through torch.compile; takes a minute for lapglow, many for waveglow-256, which has it by default
                on GPUs only
  cuda-graphs   bf16 through torch.compile(mode="reduce-overhead"), on GPUs
  onnx          exported, in float32, run by onnxruntime on the CPU; exporting takes up to a minute
  onnx-int8     the same in 8-bit integers, whose ranges are measured on synthetic hums; by default of lapglow only
  hifigan-v1, vocos, vocos-bf16
                others' vocoders, random weights, as many seconds: pip install 'waveglow-vocoders[peers]'

lapglow is the voice of the package. The others have random weights: speed does not depend on them, and their last
layers, which begin at zero, are filled too. What is spoken is the mel of a synthetic hum. SNR is against `folded`.
GMAC are those of convolutions and matrix products, refinement's Fourier transforms left out, of a compiled or exported
form those of `folded`; `of kernel` is the share of what one big convolution (256 to 512 channels, 3 taps) reaches in
the same numbers, measured in the same run and printed first.

  waveglow bench synthesis
  waveglow bench synthesis --models lapglow --refine 64 --forms folded bf16      # as the voice is used
  waveglow bench synthesis --models waveglow-64 --seconds 4 --threads 2 --forms plain-conv1d bf16 compiled
"""

import argparse

from waveglow.bench import synthesis
from waveglow.bench.forms import FORMS
from waveglow.cli.bench.common import add_common, add_models, opened_device, show
from waveglow.cli.values import seconds, steps_of_refinement


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_models(parser, *synthesis.MODELS)
    parser.add_argument("--forms", nargs="+", choices=FORMS, metavar="FORM", help="of those above (by model)")
    parser.add_argument("--seconds", type=seconds, default=4.0, help="of audio to synthesize (4)")
    parser.add_argument("--refine", type=steps_of_refinement, default=0, metavar="STEPS", help="(0: the flow alone)")
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    device = opened_device(args)
    sizes = {name: getattr(args, name) for name in ("forms", "seconds", "refine", "repeats")}
    return show(args, device, synthesis.tables(args.models, device=device, **sizes))
