"""Settings of a training run: frozen dataclasses, one for each subject."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from waveglow.audio.mel import MelSpec
from waveglow.audio.mel_presets import spec_of
from waveglow.audio.steps import MAX_STEPS
from waveglow.config import ConfigError, to_mapping
from waveglow.flows.compose import Memory
from waveglow.models.registry import resolved


@dataclass(frozen=True)
class DataConfig:
    """`manifest` is made by `waveglow prepare`; `segment_samples` is the length of a training crop."""

    manifest: str = ""
    segment_samples: int = 16384
    workers: int = 2

    def __post_init__(self) -> None:
        if self.segment_samples < 1 or self.workers < 0:
            raise ConfigError(
                f"data.segment_samples is {self.segment_samples} and data.workers {self.workers}; "
                "they must be at least 1 and 0"
            )


@dataclass(frozen=True)
class OptimConfig:
    """Optimizer; learning rate: linear warm-up, then constant or falling to `final_lr_ratio · lr` at the last step."""

    name: Literal["adam", "adamw", "adamax"] = "adam"
    lr: float = 1e-4
    betas: tuple[float, ...] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    warmup_steps: int = 0
    decay: Literal["none", "linear", "cosine"] = "none"
    final_lr_ratio: float = 0.1
    clip_norm: float = 5.0

    def __post_init__(self) -> None:
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"optim.betas is {list(self.betas)}; it must be two numbers from 0 to below 1")
        if self.lr <= 0 or self.clip_norm <= 0:
            raise ConfigError(f"optim.lr is {self.lr} and optim.clip_norm {self.clip_norm}; both must be above 0")


@dataclass(frozen=True)
class LossConfig:
    """Likelihood, plus `mr_stft` times a spectral loss of samples at `sigma`, on that share of a batch's crops.

    `repulsion` is the weight, within the spectral loss, of the distance between two samples of one mel; at 0.5 the loss
    is an energy distance, least where samples vary as speech does; at 0 it is least where they do not vary at all.
    `refine` is how many steps of refinement (audio/refine.py) the samples go through before they are judged.
    """

    mr_stft: float = 0.0
    mr_stft_share: float = 1.0
    repulsion: float = 0.5
    sigma: float = 1.0
    refine: int = 0

    def __post_init__(self) -> None:
        if self.mr_stft < 0 or self.sigma < 0 or not 0 < self.mr_stft_share <= 1:
            raise ConfigError(
                f"loss.mr_stft is {self.mr_stft}, loss.sigma {self.sigma} and loss.mr_stft_share "
                f"{self.mr_stft_share}; the first two must be at least 0, the third above 0 and at most 1"
            )
        if not 0 <= self.repulsion <= 0.5:
            raise ConfigError(f"loss.repulsion is {self.repulsion}; it must be from 0 (none) to 0.5 (energy distance)")
        _require_steps("loss.refine", self.refine)


def _require_steps(name: str, steps: int) -> None:
    if not 0 <= steps <= MAX_STEPS:
        raise ConfigError(f"{name} is {steps}; it must be from 0 to {MAX_STEPS} steps")


@dataclass(frozen=True)
class TrainConfig:
    """`batch_size` is global: processes and micro-batches (`accumulate`) divide it among them.

    A run ends after `steps`, or after `minutes` in all, where that is above 0. `cuda_graphs`, on one GPU, records a
    step and replays it (training/captured.py), for models of many small layers.
    """

    steps: int = 100_000
    minutes: float = 0.0
    batch_size: int = 12
    accumulate: int = 1
    seed: int = 0
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    compile: bool = False
    cuda_graphs: bool = False
    memory: Memory = "none"
    ema_decay: float = 0.999
    init_crops: int = 16
    max_bad_steps: int = 10
    log_every_steps: int = 25
    validate_every_steps: int = 1000
    checkpoint_every_steps: int = 1000
    keep_checkpoints: int = 2

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "log_every_steps", "validate_every_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"train.{name} is {getattr(self, name)}; it must be at least 1")
        if self.checkpoint_every_steps < 1 or self.keep_checkpoints < 2:
            raise ConfigError("train.checkpoint_every_steps must be at least 1 and train.keep_checkpoints at least 2")
        if not 0 <= self.minutes < float("inf"):
            raise ConfigError(f"train.minutes is {self.minutes}; it must be a finite number of at least 0 (no limit)")
        if not 0 <= self.seed < 2**64:
            raise ConfigError(f"train.seed is {self.seed}; it must be from 0 to 2**64 - 1")
        if self.batch_size % self.accumulate:
            raise ConfigError(
                f"train.batch_size is {self.batch_size} and train.accumulate {self.accumulate}; "
                f"make it a multiple of {self.accumulate}"
            )
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"train.ema_decay is {self.ema_decay}; it must be from 0 (no averaging) to below 1")
        if self.cuda_graphs and (self.accumulate > 1 or self.memory != "none"):
            raise ConfigError(
                f"train.cuda_graphs is true, train.accumulate {self.accumulate} and train.memory {self.memory}: a step "
                "is recorded whole, with all its activations; set train.accumulate=1 and train.memory=none"
            )
        if self.memory == "reversible" and self.precision != "float32":
            raise ConfigError(
                f"train.memory is reversible and train.precision is {self.precision}: rebuilt activations drift in "
                "half precision; set train.precision=float32 or train.memory=checkpoint"
            )


@dataclass(frozen=True)
class ValidConfig:
    """Held-out clips: all of them up to `clips`, each up to `max_seconds`; the first `listen` are synthesized.

    With `refine` steps of refinement, as the run's checkpoints will be by whoever loads them.
    """

    clips: int = 16
    max_seconds: float = 10.0
    listen: int = 2
    sigma: float = 0.7
    refine: int = 0

    def __post_init__(self) -> None:
        if self.clips < 1 or self.max_seconds <= 0:
            raise ConfigError(f"valid.clips ({self.clips}) and valid.max_seconds ({self.max_seconds}) must be above 0")
        if self.sigma < 0:
            raise ConfigError(f"valid.sigma is {self.sigma}; it must be at least 0")
        _require_steps("valid.refine", self.refine)


class Loading(Protocol):
    """How training samples are read."""

    @property
    def workers(self) -> int:
        """Processes that read them."""


class Settings(Protocol):
    """What the engine needs of a run's configuration: one of speech or of images."""

    @property
    def data(self) -> Loading:
        """How samples are read."""

    @property
    def optim(self) -> OptimConfig:
        """Optimizer and learning rate."""

    @property
    def train(self) -> TrainConfig:
        """Steps, batches, memory, logs."""

    def model_config(self) -> dict[str, Any]:
        """All the model's numbers, as checkpoints keep them."""

    def recipe(self) -> dict[str, Any]:
        """What training goes on best with, as checkpoints keep it: nothing of a machine, a corpus or a run's length."""


@dataclass(frozen=True)
class RunConfig:
    """A whole run. `model` is a registry name with its numbers, `mel` a preset or the fields of a MelSpec.

    Fields may be those alone that differ from a `preset`, as `mel.fmax=7600.0` says over a preset's name.
    """

    model: dict[str, Any]
    mel: Any = "nvidia/tacotron2"
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    valid: ValidConfig = field(default_factory=ValidConfig)

    def recipe(self) -> dict[str, Any]:
        """Crops, optimizer, loss, batch, averaging, sigma; how it is refined, a voice's checkpoint says beside it."""
        return {
            "data": {"segment_samples": self.data.segment_samples},
            "optim": to_mapping(self.optim),
            "loss": to_mapping(self.loss),
            "train": {"batch_size": self.train.batch_size, "ema_decay": self.train.ema_decay},
            "valid": {"sigma": self.valid.sigma},
        }

    def mel_spec(self) -> MelSpec:
        """The mel convention. Raises ConfigError where the preset or a field is unknown."""
        try:
            return spec_of(self.mel)
        except ValueError as error:
            raise ConfigError(f"mel: {error}") from error

    def model_config(self) -> dict[str, Any]:
        """All the model's numbers, hop and n_mels from the mel convention. Raises ConfigError where they clash."""
        spec = self.mel_spec()
        own = {"n_mels": spec.n_mels, "hop": spec.hop}
        for key, value in own.items():
            if self.model.get(key, value) != value:
                raise ConfigError(f"model.{key} is {self.model[key]}, the mel convention has {value}; make them equal")
        return resolved({**self.model, **own})
