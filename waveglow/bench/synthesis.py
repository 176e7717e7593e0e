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

lapglow is the voice of the package. The others have random weights: speed does not depend on them, and their last
layers, which begin at zero, are filled too. What is spoken is the mel of a synthetic hum. SNR is against `folded`.
GMAC are those of convolutions and matrix products, refinement's Fourier transforms left out, of a compiled or exported
form those of `folded`; `of kernel` is the share of what one big convolution (256 to 512 channels, 3 taps) reaches in
the same numbers, measured in the same run and printed first.

  waveglow bench synthesis
  waveglow bench synthesis --models lapglow --refine 16 --forms folded bf16      # as the voice is used
  waveglow bench synthesis --models waveglow-64 --seconds 4 --threads 2 --forms plain-conv1d bf16 compiled
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping

import torch

from waveglow.audio.mel import preset
from waveglow.audio.signals import hum, snr
from waveglow.bench.common import (
    add_common,
    add_models,
    first_line,
    in_turns,
    opened_device,
    progress,
    seconds,
    timed,
)
from waveglow.bench.forms import FORMS, Subject, Synthesis, awaken_, default_forms
from waveglow.bench.kernels import counted, kernel_rates, kernel_table
from waveglow.bench.table import SKIPPED, Column, Row, Table, show
from waveglow.cli.common import steps_of_refinement
from waveglow.models import checkpoint
from waveglow.models.registry import build_vocoder
from waveglow.models.shipped import DEFAULT_VOICE
from waveglow.vocoder import Vocoder

RANDOM_MODELS_MEL = "nvidia/tacotron2"
COLUMNS = (
    Column("form", "form"),
    Column("precision", "numbers"),
    Column("real_time_factor", "RTF", ".4f"),
    Column("times_real_time", "x real time", ".1f"),
    Column("relative_speed", "relative", ".2f"),
    Column("snr_db", "SNR, dB", ".1f"),
    Column("gmac_per_second", "GMAC / s audio", ".2f"),
    Column("gflop_per_second", "GFLOP/s", ".0f"),
    Column("share_of_kernel", "of kernel", ".0%"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_models(parser, "lapglow", "waveglow-256")
    parser.add_argument("--forms", nargs="+", choices=FORMS, metavar="FORM", help="of those above (by model)")
    parser.add_argument("--seconds", type=seconds, default=4.0, help="of audio to synthesize (4)")
    parser.add_argument(
        "--refine", type=steps_of_refinement, default=0, metavar="STEPS", help="of refinement; 0 is the flow alone (0)"
    )
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    device = opened_device(args)
    return show(args, device, tables(args, device))


def tables(args: argparse.Namespace, device: torch.device) -> Iterator[Table]:
    """The kernels, then a table for each model."""
    rates = kernel_rates(device, args.repeats)
    yield kernel_table(rates)
    for name in args.models:
        forms = args.forms or default_forms(name, device)
        yield _table(name, _subject(name, args, device), forms, rates, args.repeats)


def _subject(name: str, args: argparse.Namespace, device: torch.device) -> Subject:
    torch.manual_seed(0)
    if name == "lapglow":
        loaded = checkpoint.load_vocoder(DEFAULT_VOICE)
        model, spec = loaded.model, loaded.mel_spec
        assert spec is not None
    else:
        model, spec = build_vocoder({"name": name}), preset(RANDOM_MODELS_MEL)
        awaken_(model)
    mel = Vocoder(model, spec).mel(hum(args.seconds, spec.sample_rate), spec.sample_rate)
    return Subject(model.to(device).requires_grad_(False), spec, mel.to(device), device, args.refine)


def _table(name: str, subject: Subject, forms: list[str], rates: Mapping[str, float], repeats: int) -> Table:
    folded = subject.vocoder()
    reference, folded_gflop = counted(lambda: folded.synthesize(subject.mel))
    audio_seconds = len(reference) / subject.spec.sample_rate
    made, reasons = _made(name, subject, forms)
    heard, gflop = {}, {}
    for form, synthesis in made.items():
        heard[form], gflop[form] = (synthesis(), folded_gflop) if FORMS[form].optional else counted(synthesis)
    progress(f"{name}: measuring")
    took = in_turns({form: timed(synthesis, subject.device) for form, synthesis in made.items()}, repeats)
    if {"compiled", "cuda-graphs"} & made.keys():
        torch.compiler.reset()  # behind a few models, the compiler would give up without a word
    first = next(iter(took.values()), [math.nan])[0]
    rows: list[Row] = []
    for form in forms:
        row: Row = {"model": name, "form": form, "precision": FORMS[form].precision}
        if form in reasons:
            rows.append({**row, SKIPPED: reasons[form]})
            continue
        [own], kernel = took[form], rates.get(FORMS[form].precision)
        rate = gflop[form] / own
        row["real_time_factor"] = own / audio_seconds
        row["times_real_time"] = audio_seconds / own
        row["relative_speed"] = first / own
        row["snr_db"] = None if form == "folded" else snr(reference, heard[form])
        row["gmac_per_second"] = gflop[form] / 2 / audio_seconds
        row["gflop_per_second"] = rate
        row["share_of_kernel"] = rate / kernel if kernel else None
        rows.append(row)
    title = f"{name}: {audio_seconds:.2f} s of audio, {subject.refine} steps of refinement"
    return Table(title, COLUMNS, rows, [_about(folded)])


def _about(vocoder: Vocoder) -> str:
    parameters, (before, after) = sum(p.numel() for p in vocoder.model.parameters()), vocoder.reach()
    frame = vocoder.model.hop / vocoder.sample_rate
    return (
        f"{parameters:,} parameters, folded; a sample depends on at most {before} mel frames before its own "
        f"({before * frame:.2f} s) and {after} after it ({after * frame:.2f} s)"
    )


def _made(name: str, subject: Subject, forms: list[str]) -> tuple[dict[str, Synthesis], dict[str, str]]:
    """(The forms, run once; why others can't be)."""
    made, reasons = {}, {}
    for form in forms:
        if FORMS[form].optional:
            progress(f"{name}: making {form}, which can take a minute or more")
        try:
            synthesis = FORMS[form].make(subject)
            synthesis()
        except Exception as error:  # compilers and exporters have no type of their own for it
            if not (FORMS[form].optional or isinstance(error, ValueError)):
                raise
            reasons[form] = first_line(error)
            continue
        made[form] = synthesis
    return made, reasons
