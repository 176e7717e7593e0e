"""The training loop: one for every model and task of the library; it knows no model's name.

A step is a function of (weights, optimizer, seed, step). So a killed run that resumes from its newest checkpoint goes
on as if nothing had happened, bit by bit on a CPU.

No step waits for the GPU. Whether its loss and gradients are finite is decided there (`_step`): the flag makes the
optimizer and the average leave everything as it was. The host reads the flags of all steps since the last time with
the next log line, validation or checkpoint (`_read_reports`), one by one and in order: so each skipped step is named,
bad steps in a row end the run, and no checkpoint is written amid them, as if every step had been read at once.
"""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, default_collate

from waveglow.config import ConfigError, is_told
from waveglow.data.sampler import StepSampler
from waveglow.flows.actnorm import initialize_
from waveglow.flows.base import Flow, coupling_nets, widest
from waveglow.flows.compose import Chain, Memory
from waveglow.models import checkpoint
from waveglow.models.whole_directory import CheckpointError
from waveglow.training.captured import CapturedGradients, Gradients
from waveglow.training.checkpoints import RunCheckpoints
from waveglow.training.config import Settings, TrainConfig
from waveglow.training.distributed import World
from waveglow.training.log import RunLog
from waveglow.training.meter import Fault, Meter, StepReport, StepReports
from waveglow.training.optim import MovingAverage, learning_rate, make_optimizer, step_unless
from waveglow.training.probe import Probe
from waveglow.training.state import TrainState, best_info
from waveglow.training.stopping import StopSignals
from waveglow.training.task import Task, Wording
from waveglow.training.workers import LeftOut, Readable, as_worker, dead_workers_wait, unreadable

QUICK_SECONDS = 10  # a validation that takes less is made at a signal too; torchrun kills what lasts over 30
LESS_AT_A_TIME = "; where memory is short, train.accumulate takes the same batch in so many smaller parts"
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class DivergedError(RuntimeError):
    """Too many steps in a row without a finite gradient; the weights are those of the last good checkpoint."""


class UnsavedError(OSError):
    """A run ended, and what it learned since its newest checkpoint is lost; the message says how much, and why."""


class OutOfMemoryError(RuntimeError):
    """The device has too little memory for the configuration; the message names the numbers to lower."""


class Trainer:
    """Trains `model` on `task` in `run`, from where `run` stands.

    Arguments:
        model: what is trained, on the CPU, as built or with loaded weights.
        task: batches, loss, validation (training/task.py).
        config: the whole run's, of any kind.
        run: directory of checkpoints, logs and samples.
        world: this process among all.
        data_hash: of all data, kept in checkpoints; another one is refused at a resume unless `allow_data_change`.
        from_weights: the model is no beginner: it is heard and seen before the first step, too.

    Raises ConfigError where the settings don't fit the model or each other, CheckpointError where `resume` is another
    run's.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        config: Settings,
        *,
        run: Path,
        world: World,
        data_hash: str,
        resume: Path | None,
        allow_data_change: bool = False,
        from_weights: bool = False,
    ) -> None:
        self.task, self.config, self.run_dir, self.world = task, config, run, world
        self.settings: TrainConfig = config.train
        self.from_weights = from_weights
        self.wording: Wording = task.wording
        _require_memory_mode(model, self.settings.memory)
        _require_one_gpu(world, self.settings)
        self.model = model.to(world.device)
        self.objective = task.objective(self.model).to(world.device)
        self.parallel: Callable[..., dict[str, Tensor]] = self.objective  # wrapped for DDP when the run starts
        self.gradients: Gradients = self._gradients  # recorded where the settings say so
        self.average = MovingAverage(self.model, self.settings.ema_decay)
        self.state = TrainState(
            self.model,
            self.average,
            make_optimizer(self.model.parameters(), config.optim),
            torch.amp.GradScaler(world.device.type, enabled=self.settings.precision == "fp16"),
        )
        source = f"{self.wording.source} (SHA-256)"
        self.checkpoints = RunCheckpoints(
            run,
            self.state,
            model_config=config.model_config(),
            mel_spec=task.spec,
            info={**task.info, "recipe": config.recipe()},
            fixed={
                "train.seed": self.settings.seed,
                "train.batch_size": self.settings.batch_size,
                "optim.name": config.optim.name,
                source: data_hash,
            },
            keep=self.settings.keep_checkpoints,
        )
        self.stop = StopSignals()
        self.probe = Probe(self._autocast)
        self.reports, self.meter = StepReports(), Meter(self.wording.rate)
        self.bad_in_a_row = 0  # of the steps that were read
        self.validation_seconds = 0.0
        self.left_out = LeftOut()
        self._sampler()  # refuses a batch that can't be divided, before anything is written
        if resume is not None:
            self.checkpoints.resume(
                resume,
                may_differ=[source] if allow_data_change else [],
                advice={"train.batch_size": LESS_AT_A_TIME},
            )
            if world.is_first:
                self.checkpoints.supersede_newer()
        self.saved_step, self.unsaved = self.state.step, ""  # up to where nothing can be lost, and why not further
        self.log = RunLog(run, total_steps=self.settings.steps, start_step=self.state.step, enabled=world.is_first)
        if resume is not None:
            self.event(self.state.step, f"resumed from {resume.name}")

    def event(self, step: int, what: str) -> None:
        """Something that the reader of the logs should know, and the step that it came with."""
        self.log.record("event", step, {"what": what})

    def run(self) -> None:
        """Train to the last step, or until `train.minutes` or a signal (stopping.py); the state is saved at the end.

        Raises DivergedError, OutOfMemoryError, and UnsavedError where it could not be saved.
        """
        try:
            if self.state.step == 0:
                self._initialize()
            self._prepare_modules()
            with self.stop.heard():
                self._steps()
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
                raise OutOfMemoryError(self._memory_advice()) from error
            raise
        finally:
            self.log.close()

    def _initialize(self) -> None:
        """Data-dependent initialization on the first crops; every process sees the same."""
        crops = self.settings.init_crops
        if not crops:
            return
        samples = Readable(self.task.dataset)
        inputs = self.task.inputs(default_collate([samples[g][0] for g in range(crops)]))
        if initialize_(self.objective, *(x.to(self.world.device) for x in inputs)):
            self.average.module.load_state_dict(self.model.state_dict())

    def _prepare_modules(self) -> None:
        """Memory mode, compilation and DDP, after the averaged copy was made."""
        for module in self.model.modules():
            if isinstance(module, Chain):
                module.memory = self.settings.memory
        if self.settings.compile:
            for net in coupling_nets(self.model).values():
                net.compile()
        if self.world.size > 1:
            ids = [self.world.device.index] if self.world.device.type == "cuda" else None
            self.parallel = DistributedDataParallel(self.objective, device_ids=ids, gradient_as_bucket_view=True)
        if self.settings.cuda_graphs:
            self.gradients = CapturedGradients(self._gradients, self.model)

    def _sampler(self) -> StepSampler:
        return StepSampler(
            self.state.step,
            self.settings.steps,
            batch_size=self.settings.batch_size,
            accumulate=self.settings.accumulate,
            rank=self.world.rank,
            world_size=self.world.size,
        )

    def _loader(self) -> Iterator[Any]:
        return iter(
            DataLoader(
                Readable(self.task.dataset),
                batch_sampler=self._sampler(),
                num_workers=self.config.data.workers,
                worker_init_fn=as_worker,
                pin_memory=self.world.device.type == "cuda",
            )
        )

    def _steps(self) -> None:
        settings, batches = self.settings, self._loader()
        shown: dict[str, str] = {}
        with dead_workers_wait():
            self._measure_best_anew()
            if self.state.step == 0:
                batches = itertools.chain([self._read(batches)], batches)  # what can't be read is found first
                self._validate()
            while self.state.step < settings.steps:
                self.world.alive()
                self._step(batches)
                step = self.state.step
                stop = self.world.any(self.stop.asked or self._time_is_up())
                log_due = step % settings.log_every_steps == 0
                save_due = step % settings.checkpoint_every_steps == 0
                last = stop or step == settings.steps
                validate = step % settings.validate_every_steps == 0 or step == settings.steps
                if log_due or save_due or validate or last:
                    self._read_reports()
                if log_due:
                    shown = self._log()
                self.log.advance(step, **shown)
                save = last or (save_due and not self.bad_in_a_row)
                if save:
                    self._save()
                if validate or (last and self.validation_seconds < QUICK_SECONDS):
                    self._validate()
                if save or validate:
                    self.meter = Meter(self.wording.rate)
                if stop:
                    break
        if self.saved_step < self.state.step:
            raise UnsavedError(f"{self.run_dir}: ends at step {self.state.step}. {self._at_stake()}")
        if self.state.step < settings.steps:
            after = "by a signal" if self.stop.asked else f"after {settings.minutes:g} minutes (train.minutes)"
            self.event(self.state.step, f"stopped {after}; run the same command to go on")

    def _time_is_up(self) -> bool:
        return 0 < self.settings.minutes <= self.log.minutes()

    def _at_stake(self) -> str:
        """What is kept of this run's work, and what is not."""
        if self.saved_step == self.state.step:
            return f"What was learned up to step {self.state.step} is saved; run the same command to go on"
        since = (
            f"step {self.saved_step}, the newest that is saved" if self.saved_step else "the start; nothing is saved"
        )
        why = f": {self.unsaved}" if self.unsaved else ""
        best = best_info(self.run_dir).get("step", 0)
        there = f"; {self.run_dir / 'best'} has the weights of step {best}" if best > self.saved_step else ""
        return f"LOST is what was learned since {since}{why}{there}"

    def _step(self, batches: Iterator[Any]) -> None:
        """One optimizer step, none where a process has no finite loss or gradient; nothing of it is read."""
        settings, state = self.settings, self.state
        torch.manual_seed((settings.seed * 1_000_003 + state.step * self.world.size + self.world.rank) % 2**64)
        lr = learning_rate(self.config.optim, state.step, settings.steps)
        for group in state.optimizer.param_groups:
            group["lr"] = lr
        if not settings.cuda_graphs:
            state.optimizer.zero_grad(set_to_none=True)
        means: dict[str, Tensor] = {}
        amount = 0.0
        for micro in range(settings.accumulate):
            batch = self._next(batches)
            inputs = tuple(x.to(self.world.device, non_blocking=True) for x in self.task.inputs(batch))
            self.probe.see(inputs)
            with self._synchronized(micro == settings.accumulate - 1):
                terms = self.gradients(*inputs)
            for name, term in terms.items():
                means[name] = means.get(name, 0) + widest(term) / settings.accumulate
            amount += self.task.amount(inputs)
        state.scaler.unscale_(state.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optim.clip_norm)
        fault = self.world.largest(self._step_fault(means["loss"], norm))
        skip = fault.clamp(max=1)
        step_unless(state.optimizer, skip)
        self.average.update(self.model, skip=skip)
        state.scaler.update()
        state.step += 1
        self.reports.keep(state.step, means, grad_norm=norm, fault=fault, amount=amount)

    def _step_fault(self, loss: Tensor, norm: Tensor) -> Tensor:
        """A step's `Fault` as a float32 scalar on the device. Nothing is read."""
        scale = self.state.scaler.scale(torch.ones_like(norm))
        overflown = loss.isfinite() & (scale > 1)  # of what the loss was multiplied with, which falls with each
        bad = ~(loss.isfinite() & norm.isfinite())
        return bad * torch.where(overflown, float(Fault.OVERFLOWN), float(Fault.BAD)).float()

    def _read_reports(self) -> None:
        """Read what the steps since the last time tell. Raises DivergedError for too many bad ones in a row."""
        for report in self.reports.take():
            if report.fault is Fault.NONE:
                self.bad_in_a_row = 0
            elif report.fault is Fault.BAD:
                self.bad_in_a_row += 1
                self._bad_step(report)
            self.meter.add(report)

    def _log(self) -> dict[str, str]:
        """A line of means since the last; the loss and its terms as the progress bar shows them."""
        summary = self.meter.summary(self.world)
        lr = self.state.optimizer.param_groups[0]["lr"]
        self.log.record("train", self.state.step, {**summary, "lr": lr})
        shown = {name: f"{value:.3f}" for name in self.meter.terms if (value := summary[name]) is not None}
        self.meter = Meter(self.wording.rate)
        return shown

    def _gradients(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Forward and backward pass of a micro-batch; the terms of its loss, and `loss`."""
        with self._autocast():
            terms = self.parallel(*inputs)
        loss = self.task.loss(terms)
        self.state.scaler.scale(loss / self.settings.accumulate).backward()
        return {name: term.detach() for name, term in {**terms, "loss": loss}.items()}

    def _next(self, batches: Iterator[Any]) -> Any:
        """The next batch. What is left out of it is told once; where that is too much, the run ends as in `_read`."""
        batch, reasons = self._read(batches)
        sample = f"training {self.wording.sample}"
        for reason in self.left_out.count(reasons):
            what = f"a {sample} can't be read, and another stands for it: {reason}"
            self.event(self.state.step, what)
            if not self.world.is_first:  # whose log is the only one
                print(f"notice: {what}", file=sys.stderr)
        if self.left_out.too_many():
            self._save_alone()
            raise ConfigError(
                f"{self.left_out.missing} of {self.left_out.read} {sample}s could not be read, the first: "
                f"{self.left_out.told[0]}; mend or drop them, and prepare again. {self._at_stake()}"
            )
        return batch

    def _read(self, batches: Iterator[Any]) -> Any:
        """What the loader gives. What can't be read ends the run, what was learned being saved; a bug keeps its
        traceback.
        """
        try:
            return next(batches)
        except (ValueError, OSError, RuntimeError, EOFError) as error:
            self._end_unread(error, f"training {self.wording.sample}")
            raise

    def _end_unread(self, error: Exception, sample: str) -> None:
        """Save, and raise ConfigError where the error is of the data; of a bug, say only what is saved."""
        self._save_alone()
        if reason := unreadable(error, sample):
            raise ConfigError(f"{reason}. {self._at_stake()}") from error
        self.event(self.state.step, self._at_stake())

    def _save_alone(self) -> None:
        """Where there are other processes, they are not here to save with."""
        if self.world.size == 1:
            self._read_reports()
            self._save()

    def _bad_step(self, report: StepReport) -> None:
        """A step that was skipped in all processes. Raises DivergedError where it is one too many."""
        size = self.settings.batch_size
        batch = self.task.describe(range((report.step - 1) * size, report.step * size))
        self.event(report.step, f"step skipped: loss or gradient not finite; batch: {batch}")
        if self.bad_in_a_row < self.settings.max_bad_steps:
            return
        raise DivergedError(
            f"{self.bad_in_a_row} steps in a row had no finite loss or gradient; the weights of "
            f"{self._last_good()} are the last good ones and stay. Lower optim.lr or "
            f"optim.clip_norm, look for {self.wording.suspects} among those named above, or set "
            "train.precision=float32; then run again"
        )

    def _validate(self) -> None:
        started = time.perf_counter()
        averaged = self.average.module.eval()
        try:
            metrics = self.task.validate(averaged, self.world)
        except (ValueError, OSError) as error:
            self._end_unread(error, f"held-out {self.wording.sample}")
            raise
        if self.world.is_first and (self.state.step or self.from_weights):
            metrics |= self._shown(averaged)
        metrics["seconds"] = round(time.perf_counter() - started, 2)
        self.log.record("valid", self.state.step, metrics)
        if self.world.is_first:
            self._keep_best(metrics)
        self.validation_seconds = self.world.agree(metrics["seconds"])

    def _shown(self, averaged: nn.Module) -> dict[str, float]:
        """Show what was learned. Weights that have no inverse can't be shown, and may be mended by the next steps."""
        try:
            return self.task.show(averaged, self.run_dir, self.state.step, self.log)
        except (ValueError, torch.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
            if isinstance(error, ValueError) and not is_told(error):
                raise
            self.event(self.state.step, f"these weights can't be heard or seen: {error}")
            return {}

    def _measure_best_anew(self) -> None:
        """Where the run's best was measured on other held-out data than this run's: else none could be compared."""
        best = best_info(self.run_dir)
        if self.state.step == 0 or not best or best.get("held_out") == self.task.info.get("held_out"):
            return
        try:
            loaded = checkpoint.load(self.run_dir / "best")
        except CheckpointError as error:
            self.checkpoints.best_nll_nats = math.inf
            self.event(self.state.step, f"{error}; the next validation makes another best")
            return
        nll_nats = self.task.validate(loaded.model.to(self.world.device), self.world)["nll_nats"]
        self.checkpoints.best_nll_nats = nll_nats
        self.event(self.state.step, f"best was measured on other held-out data; on these it has {nll_nats:.4f} nats")

    def _keep_best(self, metrics: Mapping[str, float]) -> None:
        try:
            self.checkpoints.keep_best(metrics)
        except (OSError, CheckpointError) as error:
            self.event(self.state.step, f"ALARM: the best weights could not be written ({error}); training goes on")

    def _save(self) -> None:
        """Write a checkpoint, unless the disk refuses or the weights are no good: `unsaved` says why."""
        if self.saved_step == self.state.step:
            return
        if self.world.is_first:
            self.unsaved = self._fault()
            if self.unsaved:
                self.event(self.state.step, f"ALARM: no checkpoint of these weights: {self.unsaved}")
            else:
                self._write()
        self.unsaved = self.world.agree(self.unsaved)
        if not self.unsaved:
            self.saved_step = self.state.step

    def _write(self) -> None:
        try:
            self.checkpoints.save()
        except OSError as error:
            self.unsaved = f"no checkpoint could be written ({error})"
            self.event(self.state.step, f"ALARM: {self.unsaved}; training goes on, make room")

    def _fault(self) -> str:
        """What is wrong with the weights, empty where nothing is."""
        averaged_objective = self.task.objective(self.average.module).to(self.world.device)
        return self.probe.fault(self.objective, self.average, averaged_objective)

    def _last_good(self) -> str:
        """The newest checkpoint whose weights are good; those that are not are set aside."""
        return self.world.agree(self.checkpoints.last_good(self._fault) if self.world.is_first else "")

    def _autocast(self) -> torch.autocast:
        dtype = HALF.get(self.settings.precision)
        return torch.autocast(self.world.device.type, dtype, enabled=dtype is not None)

    def _synchronized(self, last: bool) -> AbstractContextManager[None]:
        """Gradients are averaged over the processes with the last micro-batch only."""
        if last or not isinstance(self.parallel, DistributedDataParallel):
            return nullcontext()
        return self.parallel.no_sync()

    def _memory_advice(self) -> str:
        settings = self.settings
        return (
            f"out of memory on {self.world.device}: lower train.batch_size ({settings.batch_size}) or "
            f"{self.wording.lower}, raise train.accumulate ({settings.accumulate}), which "
            f"keeps the batch, or set train.memory=checkpoint or reversible ({settings.memory}); "
            f"before the first step, train.init_crops ({settings.init_crops}) counts too"
            + (f". {self._at_stake()}" if self.saved_step < self.state.step else "")
        )


def _require_one_gpu(world: World, settings: TrainConfig) -> None:
    if settings.cuda_graphs and (world.device.type != "cuda" or world.size > 1):
        where = f"{world.size} GPUs" if world.device.type == "cuda" else f"the {world.device.type.upper()}"
        raise ConfigError(f"train.cuda_graphs is true, and this run is on {where}; set it to false, or take one GPU")


def _require_memory_mode(model: nn.Module, memory: Memory) -> None:
    """Raises ConfigError where the model's layers can't be run again in the backward pass."""
    layers = [module for module in model.modules() if isinstance(module, Flow) and not module.rebuildable]
    if memory == "reversible" and layers:
        raise ConfigError(
            f"train.memory is reversible, and this model has {type(layers[0]).__name__}, which can't be rebuilt in "
            "training: its output does not tell all of its input; set train.memory=checkpoint or none"
        )
