"""How fast a vocoder speaks, in every form that it can be run in, and how near to each other the forms are.

Every form of FORMS (forms.py) has the same weights, mel, seed and sigma 0.7. "lapglow" is the voice of the package; the
other models have random weights, on which speed does not depend.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch

from waveglow.audio.mel import preset
from waveglow.audio.signals import hum, snr
from waveglow.bench.forms import FORMS, PEERS, Subject, Synthesis, awaken_, default_forms
from waveglow.bench.kernels import counted, kernel_rates, kernel_table
from waveglow.bench.measuring import CPU, first_line, in_turns, progress, require_positive, timed
from waveglow.bench.table import SKIPPED, Column, Row, Table
from waveglow.config import nearest
from waveglow.models import checkpoint
from waveglow.models.registry import build_vocoder
from waveglow.models.shipped import DEFAULT_VOICE
from waveglow.vocoder import Vocoder

MODELS = ("lapglow", "waveglow-256")
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


def tables(
    models: Sequence[str] = MODELS,
    *,
    forms: Sequence[str] | None = None,
    seconds: float = 4.0,
    refine: int = 0,
    repeats: int = 5,
    device: torch.device = CPU,
) -> Iterator[Table]:
    """What the machine's kernels reach, then a table for each model, with a row for each form.

    Arguments:
        models: names of the registry's vocoders.
        forms: names of FORMS; None are those of `default_forms`, by model.
        seconds: of audio to synthesize.
        refine: steps of refinement; 0 is the flow alone.
        repeats: warm runs, of which the median counts.
        device: where to compute.

    Yields: rows with `real_time_factor` (seconds to compute a second of audio), `snr_db` (dB, against "folded"),
    `gmac_per_second` (of audio) and `gflop_per_second` (of computing); or "skipped", why a form can't be made here.

    Raises ValueError for a model or a form of another name, and for a number that isn't above 0.
    """
    for form in forms or ():
        if form not in FORMS:
            raise ValueError(f"{form!r} is no form{nearest(form, FORMS)}")
    require_positive("seconds", seconds)
    rates = kernel_rates(device, repeats)
    yield kernel_table(rates)
    for name in models:
        chosen = forms or default_forms(name, device)
        yield _table(name, _subject(name, seconds, refine, device), chosen, rates, repeats)


def _subject(name: str, seconds: float, refine: int, device: torch.device) -> Subject:
    torch.manual_seed(0)
    if name == "lapglow":
        loaded = checkpoint.load_vocoder(DEFAULT_VOICE)
        model, spec = loaded.model, loaded.mel_spec
        assert spec is not None
    else:
        model, spec = build_vocoder({"name": name}), preset(RANDOM_MODELS_MEL)
        awaken_(model)
    mel = Vocoder(model, spec).mel(hum(seconds, spec.sample_rate), spec.sample_rate)
    return Subject(model.to(device).requires_grad_(False), spec, mel.to(device), device, refine)


def _table(name: str, subject: Subject, forms: Sequence[str], rates: Mapping[str, float], repeats: int) -> Table:
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
        row["snr_db"] = None if form in ("folded", *PEERS) else snr(reference, heard[form])
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


def _made(name: str, subject: Subject, forms: Sequence[str]) -> tuple[dict[str, Synthesis], dict[str, str]]:
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
