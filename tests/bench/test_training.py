"""Every form of a training step learns the same, and the memory modes keep what they say."""

import pytest
import torch

from waveglow.bench import memory, training
from waveglow.bench.memory import MODES, kept_bytes, small_waveglow
from waveglow.bench.step import batch_for

SHORT = {"batch": 1, "segment_samples": 1024, "repeats": 1}


def test_every_form_of_a_training_step_learns_the_same():
    kernels, steps = (table.rows for table in training.tables(["lapglow"], adam_steps=3, **SHORT))
    rates = {row["precision"]: row["gflop_per_second"] for row in kernels}
    assert [row["form"] for row in steps] == ["plain-conv1d", "float32", "bf16"]
    for row in steps:
        assert len(row["losses"]) == 4
        assert row["last_loss"] == row["losses"][-1] < row["first_loss"]
        assert row["audio_seconds_per_second"] == pytest.approx(1024 / 22050 / row["step_seconds"])
        gflop = row["gflop_per_second"] * row["step_seconds"]
        assert gflop == pytest.approx(3 * 2 * 0.93 * 1024 / 22050, rel=0.1)  # forward, and both gradients
        assert row["share_of_kernel"] == row["gflop_per_second"] / rates["bf16" if row["form"] == "bf16" else "float32"]
    assert steps[0]["largest_difference"] == 0
    assert steps[1]["largest_difference"] < 2e-6
    assert 0 < steps[2]["largest_difference"] < 2e-3


def test_steps_that_cannot_be_made_name_the_reason(monkeypatch):
    def no_compiler(*_, **__):
        raise RuntimeError("no compiler here\nand a long trace")

    monkeypatch.setattr(torch.nn.Module, "compile", no_compiler)
    _, steps = training.tables(["lapglow"], forms=["compiled", "cuda-graphs"], adam_steps=1, **SHORT)
    assert [row["skipped"] for row in steps.rows] == [
        "no compiler here",
        "CUDA graphs need a GPU, and this runs on cpu",
    ]


def test_memory_by_depth_and_mode():
    table = memory.table([1, 3], **SHORT)
    kept = {(row["flows"], row["memory"]): row["kept_mib_per_second"] for row in table.rows}
    assert [*kept] == [(flows, mode) for flows in (1, 3) for mode in ("none", "checkpoint", "reversible")]
    assert kept[3, "none"] > 2 * kept[1, "none"]
    assert all(row["relative_time"] == 1 for row in table.rows if row["memory"] == "none")
    assert memory.curves(table) == {mode: [(1, kept[1, mode]), (3, kept[3, mode])] for mode in MODES}


def test_a_reversible_step_keeps_no_more_of_a_deeper_model():
    audio, mel = batch_for(small_waveglow(1, "none"), 1, 1024, torch.device("cpu"))
    kept = {(n, mode): kept_bytes(small_waveglow(n, mode), audio, mel) for n in (12, 48) for mode in MODES}
    assert kept[48, "none"] > 3.5 * kept[12, "none"]
    assert kept[48, "reversible"] <= 1.1 * kept[12, "reversible"]
    assert kept[48, "reversible"] < kept[48, "checkpoint"] < kept[48, "none"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"forms": ["bf61"]}, "'bf61' is no form; did you mean 'bf16'"),
        ({"adam_steps": 0}, "adam_steps is 0; it must be above 0"),
        ({"repeats": 0}, "repeats is 0; it must be above 0"),
    ],
)
def test_what_cannot_be_measured(given, message):
    with pytest.raises(ValueError, match=message):
        next(training.tables(["lapglow"], **given))


@pytest.mark.parametrize("given", [{"flows": [0]}, {"batch": 0}, {"segment_samples": 0}])
def test_depths_and_batches_are_above_0(given):
    with pytest.raises(ValueError, match=rf"{next(iter(given))} is 0; it must be above 0"):
        memory.table(**{"flows": [1], **given})
