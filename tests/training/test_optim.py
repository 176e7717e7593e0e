"""Learning rate, weight averaging, and steps that are skipped by a flag on the device."""

import copy
import inspect
import math
from dataclasses import replace

import pytest
import torch
from of_mps import OfMps, moved_to_mps  # beside this folder
from torch import nn

from waveglow.models.flow_image import FlowImage
from waveglow.models.registry import MODELS, build
from waveglow.training.config import OptimConfig
from waveglow.training.log import read_metrics
from waveglow.training.meter import Fault
from waveglow.training.optim import RUNNING_STATISTICS, MovingAverage, learning_rate, make_optimizer, step_unless

TINY = {"n_mels": 4, "hop": 16, "n_channels": 8, "n_layers": 1, "n_flows": 2, "n_early_every": 1, "n_group": 8}
TINY |= {"bands": 8, "n_high": 2, "n_early_size": 1, "n_cond": 4, "n_blocks": 2, "n_height": 4, "n_embedding": 3}
TINY |= {"image_size": 4, "n_couplings": 2, "n_hidden": 8, "n_levels": 2, "n_steps": 1}


def test_learning_rate_warms_up_and_falls():
    config = OptimConfig(lr=1.0, warmup_steps=10, decay="linear", final_lr_ratio=0.1)
    assert learning_rate(config, 0, 110) == pytest.approx(0.1)
    assert learning_rate(config, 9, 110) == pytest.approx(1.0)
    assert learning_rate(config, 60, 110) == pytest.approx(0.55)
    assert learning_rate(config, 110, 110) == pytest.approx(0.1)
    cosine = OptimConfig(lr=1.0, decay="cosine", final_lr_ratio=0.0)
    assert learning_rate(cosine, 50, 100) == pytest.approx(0.5)
    assert learning_rate(OptimConfig(lr=0.2), 10**6, 10) == 0.2


def test_the_average_is_the_weights_themselves_at_first_and_then_follows_slowly():
    layer, go = nn.Linear(1, 1), torch.tensor(0.0)
    average = MovingAverage(layer, 0.99)
    for value in (1.0, 2.0):
        nn.init.constant_(layer.weight, value)
        average.update(layer, skip=go)
    assert average.module.weight.item() == pytest.approx(2 / 11 * 1 + 9 / 11 * 2)  # n = 1: decay (1 + 1) / (10 + 1)


def test_a_skipped_step_counts_for_nothing_in_the_average():
    layer = nn.BatchNorm1d(1)
    average = MovingAverage(layer, 0.99)
    for value, skip in ((1.0, 0.0), (2.0, 0.0), (math.nan, 1.0)):
        layer.running_mean.fill_(value)
        if not skip:  # the optimizer skips by the same flag
            nn.init.constant_(layer.weight, value)
        average.update(layer, skip=torch.tensor(skip))
        assert layer.running_mean == average.module.running_mean == (2.0 if skip else value)
    assert average.module.weight.item() == pytest.approx(2 / 11 * 1 + 9 / 11 * 2)
    assert average.n_averaged == 2


@pytest.mark.parametrize("name", ["adam", "adamw", "adamax"])
def test_an_optimizer_skips_a_step_as_if_it_had_not_come(name):
    """Weights and moments, bitwise: with a bad step between two good ones, and without it."""
    found = []
    for values in ([1.0, math.nan, 2.0], [1.0, 2.0]):
        torch.manual_seed(0)
        layer = nn.Linear(2, 2)
        optimizer = make_optimizer(layer.parameters(), OptimConfig(name=name, weight_decay=0.1))
        for value in values:
            for parameter in layer.parameters():
                parameter.grad = torch.full_like(parameter, value)
            step_unless(optimizer, torch.tensor(float(math.isnan(value))))
        moments = [tensor for values in optimizer.state.values() for tensor in values.values()]
        found.append([*layer.parameters(), *moments])
    assert len(found[0]) == 2 + 2 * 3
    assert all(torch.equal(with_it, without) for with_it, without in zip(*found, strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_a_training_step_moves_no_buffers_but_running_statistics(name):
    """The averaged copy follows these alone, and a skipped step puts back these alone."""
    known = inspect.signature(MODELS[name]).parameters
    model = build({"name": name, **{key: value for key, value in TINY.items() if key in known}}).train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    if isinstance(model, FlowImage):
        model(torch.rand(2, *model.shape)).mean().backward()
    else:
        model(torch.randn(2, 96), torch.randn(2, 4, 6)).mean().backward()
    moved = [name for name, buffer in model.named_buffers() if not torch.equal(buffer, before[name])]
    assert [name for name in moved if name.rpartition(".")[2] not in RUNNING_STATISTICS] == []
    assert bool(moved) == (name.startswith("squeezewave") or name == "realnvp")


# ---- What the settings say reaches the weights -----------------------------------------------------------------------


def test_the_first_step_moves_weights_by_its_own_learning_rate(trainer):
    """Adam's first step is lr in every weight that has a gradient; the warm-up's is half of `optim.lr` here."""
    made = trainer(steps=1, init_crops=0, validate_every_steps=100)
    before = [p.detach().clone() for p in made.model.parameters()]
    made.run()
    moved = [(p.detach() - q).abs().max() for p, q in zip(made.model.parameters(), before, strict=True)]
    assert made.config.optim.warmup_steps == 2
    assert float(max(moved)) == pytest.approx(made.config.optim.lr / 2, rel=1e-3)


def test_gradients_are_clipped_before_the_step(trainer):
    """Adam's step hides their size: its first moment, a tenth of the gradient, shows it."""
    made = trainer(steps=1, validate_every_steps=100)
    made.config = replace(made.config, optim=replace(made.config.optim, clip_norm=1e-3))
    made.run()
    moments = [values["exp_avg"] for values in made.state.optimizer.state.values()]
    norm = torch.stack([m.norm() for m in moments]).norm()
    assert float(norm) == pytest.approx(0.1 * 1e-3, rel=1e-3)


@pytest.mark.parametrize("name", ["adam", "adamw", "adamax"])
def test_weight_decay_shrinks_weights(name):
    """AdamW takes lr · decay of a weight without a gradient; the others follow decay · w as if it were one."""
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 2.0)
    optimizer = make_optimizer(layer.parameters(), OptimConfig(name=name, lr=0.1, weight_decay=0.5))
    layer.weight.grad = torch.zeros_like(layer.weight)
    optimizer.step()
    assert layer.weight.item() == pytest.approx(2 - 0.1 * 0.5 * 2 if name == "adamw" else 2 - 0.1)


def test_an_overflow_of_fp16s_scaled_gradients_is_no_bad_step(trainer):
    """The scale begins where it overflows, and falls until it doesn't: no word, no count, and nothing learned then."""
    made = trainer(steps=4, precision="fp16", max_bad_steps=2, validate_every_steps=100, init_crops=4)
    scaler = torch.amp.GradScaler("cpu", enabled=True, init_scale=2.0**127)
    made.state.scaler = scaler
    made.run()
    events = [m for m in read_metrics(made.run_dir / "metrics.jsonl") if m["kind"] == "event"]
    assert events == []
    assert scaler.get_scale() < 2.0**127
    assert made.average.n_averaged < 4


def test_a_gradient_that_is_not_finite_at_a_scale_of_one_is_bad(trainer):
    made = trainer(steps=4, precision="fp16", max_bad_steps=2, validate_every_steps=100)
    for loss, norm, scale, fault in (
        (1.0, 1.0, 8.0, Fault.NONE),
        (1.0, math.inf, 8.0, Fault.OVERFLOWN),
        (math.nan, math.nan, 8.0, Fault.BAD),
        (1.0, math.inf, 1.0, Fault.BAD),
    ):
        made.state.scaler = torch.amp.GradScaler("cpu", enabled=True, init_scale=scale)
        assert made._step_fault(torch.tensor(loss), torch.tensor(norm)) == fault


# ---- Devices without float64 -----------------------------------------------------------------------------------------


def test_steps_and_validations_take_no_float64_where_there_is_none(trainer, monkeypatch):
    """On a stand-in for Apple's GPUs, whose optimizers don't look at a flag on the device either."""
    made = trainer(steps=1, init_crops=0)
    its_copy = moved_to_mps(copy.deepcopy(made.model))
    model = moved_to_mps(made.model)
    monkeypatch.setattr("waveglow.training.optim.copy.deepcopy", lambda model: its_copy)
    made.average = made.state.average = MovingAverage(model, 0.9)
    assert made.average.n_averaged.dtype == torch.float32
    made.state.optimizer = make_optimizer(model.parameters(), made.config.optim)
    assert not getattr(made.state.optimizer, "_step_supports_amp_scaling", False)
    norm = nn.utils.clip_grad_norm_  # gradients of the stand-in are none
    monkeypatch.setattr(nn.utils, "clip_grad_norm_", lambda *given: norm(*given).as_subclass(OfMps))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    made._step(made._loader())
    (report,) = made.reports.take()
    assert math.isfinite(report.terms["loss"])
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    assert math.isfinite(made.task.validate(made.average.module.eval(), made.world)["nll_nats"])
