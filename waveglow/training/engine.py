"""The training loop: one for every model and task of the library; it knows no model's name.

A step is a function of (weights, optimizer, seed, step). So a killed run that resumes from its newest checkpoint goes
on as if nothing had happened, bit by bit on a CPU.
"""

from __future__ import annotations

import math
import re
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, default_collate

from waveglow.config import ConfigError
from waveglow.data.sampler import StepSampler
from waveglow.flows.actnorm import initialize_
from waveglow.flows.base import Flow, coupling_nets
from waveglow.flows.compose import Chain, Memory
from waveglow.models import checkpoint
from waveglow.training import state as states
from waveglow.training.captured import CapturedGradients, Gradients
from waveglow.training.config import Settings, TrainConfig
from waveglow.training.distributed import World
from waveglow.training.log import RunLog
from waveglow.training.optim import averaged, learning_rate, make_optimizer
from waveglow.training.task import Task, Wording

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
STOPPING = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGXCPU") if hasattr(signal, name)]


class DivergedError(RuntimeError):
    """Too many steps in a row without a finite gradient; the weights are those of the last good checkpoint."""


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
    ) -> None:
        self.task, self.config, self.run_dir, self.world = task, config, run, world
        self.settings: TrainConfig = config.train
        self.wording: Wording = task.wording
        _require_memory_mode(model, self.settings.memory)
        _require_one_gpu(world, self.settings)
        self.stop_asked = False
        self.bad_in_a_row = 0
        self.model = model.to(world.device)
        self.objective = task.objective(self.model).to(world.device)
        self.average = averaged(self.model, self.settings.ema_decay)
        self.state = states.TrainState(
            self.model,
            self.average.module,
            make_optimizer(self.model.parameters(), config.optim),
            torch.amp.GradScaler(world.device.type, enabled=self.settings.precision == "fp16"),
        )
        self.fixed = {
            "train.seed": self.settings.seed,
            "train.batch_size": self.settings.batch_size,
            "optim.name": config.optim.name,
            self._hash_name: data_hash,
        }
        self.best = _best_so_far(run)
        self._sampler()  # refuses a batch that can't be divided, before anything is written
        if resume is not None:
            self._resume(resume, allowed={self._hash_name} if allow_data_change else set())
        self.log = RunLog(run, total_steps=self.settings.steps, start_step=self.state.step, enabled=world.is_first)
        if resume is not None:
            self.event(f"resumed from {resume.name}")

    @property
    def _hash_name(self) -> str:
        return f"{self.wording.source} (SHA-256)"

    def _resume(self, directory: Path, *, allowed: set[str]) -> None:
        fixed = {name: value for name, value in self.fixed.items() if name not in allowed}
        model_config = self.config.model_config()
        states.require_same(directory, model_config=model_config, mel_spec=self.task.spec, fixed=fixed)
        states.load_state(directory, self.state)
        self.average.n_averaged.fill_(self.state.n_averaged)

    def event(self, what: str) -> None:
        """Something that the reader of the logs should know."""
        self.log.record("event", self.state.step, {"what": what})

    def run(self) -> None:
        """Train to the last step, or until SIGTERM, SIGINT or SIGXCPU; the state is saved at the end.

        Raises DivergedError, OutOfMemoryError.
        """
        try:
            if self.state.step == 0:
                self._initialize()
            self._prepare_modules()
            with self._signals():
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
        inputs = self.task.inputs(default_collate([self.task.dataset[g] for g in range(crops)]))
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
        self.parallel: Callable[..., dict[str, Tensor]] = self.objective
        if self.world.size > 1:
            ids = [self.world.device.index] if self.world.device.type == "cuda" else None
            self.parallel = DistributedDataParallel(self.objective, device_ids=ids, gradient_as_bucket_view=True)
        self.gradients: Gradients = self._gradients
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
                self.task.dataset,
                batch_sampler=self._sampler(),
                num_workers=self.config.data.workers,
                worker_init_fn=_leave_signals_to_parent,
                pin_memory=self.world.device.type == "cuda",
            )
        )

    def _steps(self) -> None:
        settings, batches, meter = self.settings, self._loader(), _Meter(self.wording.rate)
        while self.state.step < settings.steps:
            terms, norm, amount = self._step(batches)
            if norm is None:
                self._bad_step()
            meter.add(terms, norm, amount)
            step = self.state.step
            if step % settings.log_every_steps == 0:
                lr = self.state.optimizer.param_groups[0]["lr"]
                self.log.record("train", step, {**meter.summary(self.world), "lr": lr})
            self.log.advance(step, **{name: f"{value:.3f}" for name, value in terms.items()})
            [stop] = self.world.any(self.stop_asked)
            last = stop or step == settings.steps
            save = last or (step % settings.checkpoint_every_steps == 0 and not self.bad_in_a_row)
            validate = step % settings.validate_every_steps == 0 or step == settings.steps
            if save:
                self._save()
            if validate:
                self._validate()
            if save or validate:
                meter = _Meter(self.wording.rate)
            if stop:
                self.event("stopped by a signal; run the same command to go on")
                return

    def _step(self, batches: Iterator[Any]) -> tuple[dict[str, float], float | None, float]:
        """One optimizer step: (loss and its terms, gradient norm or None if not finite, amount of material)."""
        settings, state = self.settings, self.state
        torch.manual_seed(settings.seed * 1_000_003 + state.step * self.world.size + self.world.rank)
        lr = learning_rate(self.config.optim, state.step, settings.steps)
        for group in state.optimizer.param_groups:
            group["lr"] = lr
        if not settings.cuda_graphs:
            state.optimizer.zero_grad(set_to_none=True)
        values: defaultdict[str, float] = defaultdict(float)
        amount = 0.0
        for micro in range(settings.accumulate):
            batch = self._next(batches)
            inputs = tuple(x.to(self.world.device, non_blocking=True) for x in self.task.inputs(batch))
            with self._synchronized(micro == settings.accumulate - 1):
                terms = self.gradients(*inputs)
            for name, term in terms.items():
                values[name] += float(term) / settings.accumulate
            amount += self.task.amount(inputs)
        state.scaler.unscale_(state.optimizer)
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optim.clip_norm))
        [bad] = self.world.any(not (math.isfinite(values["loss"]) and math.isfinite(norm)))
        if not bad:
            state.scaler.step(state.optimizer)
            self.average.update_parameters(self.model)
            state.n_averaged = int(self.average.n_averaged)
        state.scaler.update()
        state.step += 1
        self.bad_in_a_row = self.bad_in_a_row + 1 if bad else 0
        return dict(values), None if bad else norm, amount

    def _gradients(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Forward and backward pass of a micro-batch; the terms of its loss, and `loss`."""
        with self._autocast():
            terms = self.parallel(*inputs)
        loss = self.task.loss(terms)
        self.state.scaler.scale(loss / self.settings.accumulate).backward()
        return {name: term.detach() for name, term in {**terms, "loss": loss}.items()}

    def _next(self, batches: Iterator[Any]) -> Any:
        """The next batch. A sample that can't be read ends the run, with what was learned so far saved."""
        try:
            return next(batches)
        except (ValueError, OSError, RuntimeError) as error:
            if self.world.size == 1:  # the others are not here to save with
                self._save()
            last_line = str(error).strip().splitlines()[-1]  # a worker's error brings its traceback along
            reason = re.sub(r"^[\w.]+Error: ", "", last_line)
            raise ConfigError(
                f"a training {self.wording.sample} can't be read: {reason}; mend or drop it, and prepare again"
            ) from error

    def _bad_step(self) -> None:
        """A step that was skipped in all processes, because one had no finite loss or gradient.

        Running averages (batch norm) it has moved all the same; the averaged copy has those of the last good step.
        """
        for buffer, good in zip(self.model.buffers(), self.average.module.buffers(), strict=True):
            buffer.copy_(good)
        size = self.settings.batch_size
        batch = self.task.describe(range((self.state.step - 1) * size, self.state.step * size))
        self.event(f"step skipped: loss or gradient not finite; batch: {batch}")
        if self.bad_in_a_row < self.settings.max_bad_steps:
            return
        saved = checkpoint.steps_of(self.run_dir)
        raise DivergedError(
            f"{self.bad_in_a_row} steps in a row had no finite loss or gradient; the weights of "
            f"{saved[-1].name if saved else 'the start'} are the last good ones and stay. Lower optim.lr or "
            f"optim.clip_norm, look for {self.wording.suspects} among those named above, or set "
            "train.precision=float32; then run again"
        )

    def _validate(self) -> None:
        started = time.perf_counter()
        self.average.eval()
        metrics = self.task.validate(self.average.module, self.world)
        if self.world.is_first:
            metrics |= self.task.show(self.average.module, self.run_dir, self.state.step, self.log)
        metrics["seconds"] = round(time.perf_counter() - started, 2)
        self.log.record("valid", self.state.step, metrics)
        if self.world.is_first and metrics["nll_nats"] < self.best:
            self.log.safely(self._keep_best, metrics)
        self.world.barrier()

    def _keep_best(self, metrics: dict[str, float]) -> None:
        checkpoint.save(
            self.run_dir / "best",
            self.average.module,
            self.config.model_config(),
            mel_spec=self.task.spec,
            info={"step": self.state.step, **metrics, **self.task.info},
        )
        self.best = metrics["nll_nats"]

    def _save(self) -> None:
        if self.world.is_first:
            try:
                states.save_state(
                    self.run_dir,
                    self.state,
                    model_config=self.config.model_config(),
                    mel_spec=self.task.spec,
                    info={
                        "step": self.state.step,
                        "best_nll_nats": self.best if math.isfinite(self.best) else None,
                        **self.task.info,
                    },
                    fixed=self.fixed,
                    keep=self.settings.keep_checkpoints,
                )
            except OSError as error:
                self.event(f"ALARM: no checkpoint could be written ({error}); training goes on, make room")
        self.world.barrier()

    def _autocast(self) -> torch.autocast:
        dtype = HALF.get(self.settings.precision)
        return torch.autocast(self.world.device.type, dtype, enabled=dtype is not None)

    def _synchronized(self, last: bool) -> AbstractContextManager[None]:
        """Gradients are averaged over the processes with the last micro-batch only."""
        if last or not isinstance(self.parallel, DistributedDataParallel):
            return nullcontext()
        return self.parallel.no_sync()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM, SIGINT and SIGXCPU (`ulimit -S -t`) finish the step and save; a second SIGINT stops at once."""

        def ask(number: int, _: object) -> None:
            if self.stop_asked and number == signal.SIGINT:
                raise KeyboardInterrupt
            self.stop_asked = True

        previous = {number: signal.signal(number, ask) for number in STOPPING}
        try:
            yield
        finally:
            for number, handler in previous.items():
                once = self.stop_asked and number == getattr(signal, "SIGXCPU", None)  # it comes again every second
                signal.signal(number, signal.SIG_IGN if once else handler)

    def _memory_advice(self) -> str:
        settings = self.settings
        return (
            f"out of memory on {self.world.device}: lower train.batch_size ({settings.batch_size}) or "
            f"{self.wording.lower}, raise train.accumulate ({settings.accumulate}), which "
            f"keeps the batch, or set train.memory=checkpoint or reversible ({settings.memory}); "
            f"before the first step, train.init_crops ({settings.init_crops}) counts too"
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


def _leave_signals_to_parent(_: int) -> None:
    """Signals often reach a whole process group; the workers must outlive them until the parent has saved."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


def _best_so_far(run: Path) -> float:
    """Held-out NLL of the run's best checkpoint, infinite where there is none."""
    try:
        return float(checkpoint.read_config(run / "best")["info"]["nll_nats"])
    except checkpoint.CheckpointError:
        return math.inf


class _Meter:
    """Means since the last log line, validation or checkpoint: what a resumed run can repeat."""

    def __init__(self, rate: str) -> None:
        self.rate = rate
        self.reset()

    def reset(self) -> None:
        """Forget all steps."""
        self.terms: defaultdict[str, float] = defaultdict(float)
        self.norms: list[float] = []
        self.amount = 0.0
        self.started = time.perf_counter()

    def add(self, terms: Mapping[str, float], norm: float | None, amount: float) -> None:
        """A step of this process; `norm` is None where it was skipped."""
        self.amount += amount
        if norm is not None:
            for name, value in terms.items():
                self.terms[name] += value
            self.norms.append(norm)

    def summary(self, world: World) -> dict[str, float | None]:
        """Means of the loss and its terms over all processes, of the gradient norm, and rates; then starts anew."""
        wall = time.perf_counter() - self.started
        names, n = sorted(self.terms), len(self.norms)
        totals = [self.amount, *(self.terms[name] for name in names)]
        amount, *sums = world.sum(torch.tensor(totals, dtype=torch.float64)).tolist()
        result: dict[str, float | None] = {
            "loss": None,
            **{name: total / (n * world.size) for name, total in zip(names, sums, strict=True)},
            "grad_norm": sum(self.norms) / n if n else None,
            "steps_per_second": n / wall,
            self.rate: amount / wall,
        }
        self.reset()
        return result
