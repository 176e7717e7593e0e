"""How fast a vocoder learns, and that every form of the training step learns the same.

A step is the forward and backward pass of the likelihood, no optimizer, in a form of FORMS (step.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from waveglow.bench.kernels import counted, kernel_rates, kernel_table
from waveglow.bench.measuring import CPU, first_line, in_turns, progress, require_positive, timed
from waveglow.bench.step import FORMS, LR, PRECISION, Step, batch_for, new_model, seconds_of
from waveglow.bench.table import SKIPPED, Column, Row, Table
from waveglow.config import nearest
from waveglow.models.flow_vocoder import FlowVocoder

MODELS = ("lapglow", "waveglow-64")
DEFAULT = FORMS[:3]  # compiling takes minutes, recording a GPU
COLUMNS = (
    Column("form", "form"),
    Column("step_seconds", "step, s", ".3f"),
    Column("audio_seconds_per_second", "s audio / s", ".2f"),
    Column("relative_speed", "relative", ".2f"),
    Column("gflop_per_second", "GFLOP/s", ".0f"),
    Column("share_of_kernel", "of kernel", ".0%"),
    Column("first_loss", "first loss", ".5f"),
    Column("last_loss", "last loss", ".5f"),
    Column("largest_difference", "largest difference", ".1e"),
)

UNCOUNTED = ("compiled", "cuda-graphs")  # their operations are bf16's, and no counter sees them


def tables(
    models: Sequence[str] = MODELS,
    *,
    forms: Sequence[str] = DEFAULT,
    batch: int = 2,
    segment_samples: int = 16000,
    adam_steps: int = 10,
    repeats: int = 5,
    device: torch.device = CPU,
) -> Iterator[Table]:
    """What the machine's kernels reach both ways, then a table for each model, with a row for each form.

    Arguments:
        models: names of the registry's vocoders.
        forms: names of FORMS.
        batch: crops a step.
        segment_samples: of a crop, rounded up to the model's group and hop.
        adam_steps: of which losses are compared.
        repeats: warm runs, of which the median counts.
        device: where to compute.

    Yields: rows with `step_seconds`, `audio_seconds_per_second`, `gflop_per_second`, the `losses` (nats per sample,
    before each step of Adam and after them all) and `largest_difference` (to those of the first form); or "skipped",
    why a form can't be made here.

    Raises ValueError for a model or a form of another name, and for a number that isn't above 0.
    """
    for form in forms:
        if form not in FORMS:
            raise ValueError(f"{form!r} is no form{nearest(form, FORMS)}")
    require_positive("adam_steps", adam_steps)
    rates = kernel_rates(device, repeats, backward=True)
    yield kernel_table(rates, ", forward and backward")
    for name in models:
        progress(f"{name}: training steps")
        model = new_model({"name": name}).to(device)
        audio, mel = batch_for(model, batch, segment_samples, device)
        yield _table(name, model, forms, audio, mel, rates, adam_steps=adam_steps, repeats=repeats)


def _table(
    name: str,
    model: FlowVocoder,
    forms: Sequence[str],
    audio: Tensor,
    mel: Tensor,
    rates: Mapping[str, float],
    *,
    adam_steps: int,
    repeats: int,
) -> Table:
    steps, reasons = _steps(model, forms, audio, mel)
    took = in_turns({form: timed(step.run, audio.device) for form, step in steps.items()}, repeats)
    eager = {form: steps[form] if form not in UNCOUNTED else Step(model, "bf16", audio, mel) for form in steps}
    speed = {form: counted(eager[form].run)[1] / own for form, (own,) in took.items()}
    losses = {form: Step(model, form, audio, mel).losses(adam_steps) for form in steps}
    first = next(iter(steps), "")
    rows: list[Row] = [
        {
            "model": name,
            "form": form,
            "step_seconds": own,
            "audio_seconds_per_second": seconds_of(audio) / own,
            "relative_speed": took[first][0] / own,
            "gflop_per_second": speed[form],
            "share_of_kernel": speed[form] / rates[PRECISION[form]],
            "losses": losses[form],
            "first_loss": losses[form][0],
            "last_loss": losses[form][-1],
            "largest_difference": float((Tensor(losses[form]) - Tensor(losses[first])).abs().max()),  # NaN of NaN
        }
        for form, (own,) in took.items()
    ]
    rows += [{"model": name, "form": form, SKIPPED: reason} for form, reason in reasons.items()]
    title = f"{name}: forward and backward pass of {len(audio)} x {audio.shape[1]} samples, no optimizer"
    note = f"losses: nats per sample, before and after {adam_steps} steps of Adam at {LR:g}"
    return Table(title, COLUMNS, rows, [note])


def _steps(
    model: FlowVocoder, forms: Sequence[str], audio: Tensor, mel: Tensor
) -> tuple[dict[str, Step], dict[str, str]]:
    """(The forms, run once; why others can't be)."""
    steps, reasons = {}, {}
    for form in forms:
        try:
            step = Step(model, form, audio, mel)
            step.run()
        except Exception as error:  # compilers have no type of their own for it
            if form != "compiled" and not isinstance(error, ValueError):
                raise
            reasons[form] = first_line(error)
            continue
        steps[form] = step
    return steps, reasons
