"""What a training of an image flow is told: frozen dataclasses, one group a subject."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from waveglow.config import ConfigError, to_mapping
from waveglow.data.images import ImageSet
from waveglow.models.registry import IMAGES, VOCODERS, resolved
from waveglow.training.config import OptimConfig, TrainConfig


@dataclass(frozen=True)
class ImageDataConfig:
    """`folder` is made by `waveglow image prepare`; with `flip`, half of the training images are mirrored.

    `noise` is what training adds to pixels: uniform noise of one step of the model's bits, whose likelihood bounds that
    of the pixels; or Gaussian noise of standard deviation `noise_std`, black to white being 1 (TarFlow, 2024,
    arXiv:2412.06329, §3.3: 0.05 of −1 … 1). That makes better samples, which are then denoised, and worse
    bits per dimension.
    `drop_label` is the share of training images whose class is withheld, so that samples can be guided by it.
    """

    folder: str = ""
    flip: bool = False
    workers: int = 2
    noise: Literal["uniform", "gaussian"] = "uniform"
    noise_std: float = 0.025
    drop_label: float = 0.0

    @property
    def gaussian_std(self) -> float:
        """Of the noise that samples are denoised of; 0 for uniform noise."""
        return self.noise_std if self.noise == "gaussian" else 0.0

    def __post_init__(self) -> None:
        if not 0 < self.noise_std < 1 or not 0 <= self.drop_label <= 1:
            raise ConfigError(
                f"data.noise_std is {self.noise_std} and data.drop_label {self.drop_label}; the first must be above 0 "
                "and below 1 (black to white), the second from 0 to 1"
            )
        if self.workers < 0:
            raise ConfigError(f"data.workers is {self.workers}; it must be at least 0")


@dataclass(frozen=True)
class ImageTrainConfig(TrainConfig):
    """As for speech; `init_crops` is how many images set the ActNorms at the start (OpenAI's Glow: 256)."""

    batch_size: int = 64
    init_crops: int = 256
    log_every_steps: int = 50


@dataclass(frozen=True)
class ImageValidConfig:
    """Held-out images: `images` of them, the same in every run; `samples` pictures at each of `temperatures`."""

    images: int = 512
    samples: int = 8
    temperatures: tuple[float, ...] = (0.0, 0.25, 0.5, 0.7, 0.8, 0.9, 1.0)

    def __post_init__(self) -> None:
        if self.images < 1 or self.samples < 1:
            raise ConfigError(
                f"valid.images is {self.images} and valid.samples {self.samples}; both must be at least 1"
            )
        if not self.temperatures or not all(0 <= each < float("inf") for each in self.temperatures):
            raise ConfigError(f"valid.temperatures is {list(self.temperatures)}; give finite numbers of at least 0")


@dataclass(frozen=True)
class ImageRunConfig:
    """A whole run. `model` is a registry name with its numbers; its size and channels are those of the images."""

    model: dict[str, Any]
    data: ImageDataConfig = field(default_factory=ImageDataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: ImageTrainConfig = field(default_factory=ImageTrainConfig)
    valid: ImageValidConfig = field(default_factory=ImageValidConfig)

    def model_config(self) -> dict[str, Any]:
        """All the model's numbers. Raises ConfigError for a vocoder, and for an unknown name, key or type."""
        if self.model.get("name") in VOCODERS:
            raise ConfigError(f"model.name is {self.model['name']!r}, a vocoder; models of images: {', '.join(IMAGES)}")
        return resolved(self.model)

    def recipe(self) -> dict[str, Any]:
        """Flips, noise, optimizer, batch and averaging."""
        return {
            "data": {key: getattr(self.data, key) for key in ("flip", "noise", "noise_std", "drop_label")},
            "optim": to_mapping(self.optim),
            "train": {"batch_size": self.train.batch_size, "ema_decay": self.train.ema_decay},
        }

    def fitted(self, images: ImageSet) -> ImageRunConfig:
        """This run with the size and channels of the images. Raises ConfigError where the model has others."""
        own = {"image_size": images.size, "channels": images.channels}
        for key, value in own.items():
            if self.model.get(key, value) != value:
                raise ConfigError(
                    f"model.{key} is {self.model[key]}, that of the images in {images.folder} is {value}; leave it out"
                )
        classes = len(images.class_names)
        if self.model.get("n_classes", 0) not in (0, classes):
            raise ConfigError(
                f"model.n_classes is {self.model['n_classes']}, the images in {images.folder} have {classes} classes; "
                f"set {f'{classes} or ' if classes else ''}0"
            )
        return dataclasses.replace(self, model={**self.model, **own})
