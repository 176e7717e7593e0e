"""From a name and numbers to a model: the only place where configuration meets models."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from waveglow.config import ConfigError, nearest
from waveglow.models import builders, image_builders
from waveglow.models.flow_image import FlowImage
from waveglow.models.flow_vocoder import FlowVocoder

Model = FlowVocoder | FlowImage

VOCODERS: dict[str, Callable[..., FlowVocoder]] = {
    "lapglow": builders.lapglow,
    "waveglow": builders.waveglow,
    "waveglow-64": partial(builders.waveglow, n_channels=64, actnorm=False),
    "waveglow-128": partial(builders.waveglow, n_channels=128, actnorm=False),
    "waveglow-256": partial(builders.waveglow, n_channels=256, actnorm=False),
    "waveglow-512": partial(builders.waveglow, n_channels=512, actnorm=False),
    "waveglow-old": partial(builders.waveglow, n_channels=512, actnorm=False, alternating=True),
    "squeezewave": builders.squeezewave,
    "squeezewave-a128-c128": partial(builders.squeezewave, n_group=128, n_channels=128),
    "squeezewave-a128-c256": partial(builders.squeezewave, n_group=128, n_channels=256),
    "squeezewave-a256-c128": partial(builders.squeezewave, n_group=256, n_channels=128),
    "squeezewave-a256-c256": partial(builders.squeezewave, n_group=256, n_channels=256),
    "flowavenet": builders.flowavenet,
    "waveflow": builders.waveflow,
    "waveflow-64": partial(builders.waveflow, n_channels=64),
    "waveflow-96": partial(builders.waveflow, n_channels=96),
    "waveflow-128": partial(builders.waveflow, n_channels=128),
    "nanoflow": builders.nanoflow,
}

IMAGES: dict[str, Callable[..., FlowImage]] = {
    "nice": image_builders.nice,
    "realnvp": image_builders.realnvp,
    "glow": image_builders.glow,
    "tarflow": image_builders.tarflow,
    "jet": image_builders.jet,
}
MODELS: dict[str, Callable[..., Model]] = {**VOCODERS, **IMAGES}

MAY_BE_0 = ("n_high", "n_classes")
MOST = 2**16  # of any number: a configuration comes from a file that may not be one's own
MOST_OF = {"image_size": 2**12}


def build(config: Mapping[str, Any]) -> Model:
    """Model from `{"name": NAME, **numbers}`.

    Raises ConfigError for an unknown name or key, a value of another type, or numbers that don't fit each other.
    """
    name, numbers = _checked(config)
    try:
        return MODELS[name](**numbers)
    except ValueError as error:
        raise ConfigError(f"model {name}: {error}") from error


def build_vocoder(config: Mapping[str, Any]) -> FlowVocoder:
    """As `build`. Raises ConfigError for an image model too."""
    model = build(config)
    if not isinstance(model, FlowVocoder):
        raise ConfigError(f"model.name is {config['name']!r}, a model of images; vocoders: {', '.join(VOCODERS)}")
    return model


def resolved(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with every number that it leaves to the builder: what a run keeps, whatever defaults become.

    Raises ConfigError as `build` does for names, keys and types.
    """
    name, numbers = _checked(config)
    defaults = {key: parameter.default for key, parameter in inspect.signature(MODELS[name]).parameters.items()}
    return {"name": name, **defaults, **numbers}


def _checked(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    numbers = dict(config)
    name = numbers.pop("name", None)
    if not isinstance(name, str) or name not in MODELS:
        raise ConfigError(f"model.name is {name!r}, which is unknown{nearest(str(name), MODELS)}")
    parameters = inspect.signature(MODELS[name]).parameters
    for key, value in numbers.items():
        if key not in parameters:
            raise ConfigError(f"unknown key 'model.{key}'{nearest(key, parameters)}")
        _check_type(key, value, parameters[key].default)
    return name, numbers


def _check_type(key: str, value: Any, default: Any) -> None:
    expected = int if default is None else type(default)
    if value is None and default is None:
        return
    if not isinstance(value, expected) or isinstance(value, bool) != (expected is bool):
        raise ConfigError(f"model.{key} is {value!r}; it must be {expected.__name__}")
    least = 0 if key in MAY_BE_0 else 1
    if expected is int and value < least:
        raise ConfigError(f"model.{key} is {value}; it must be at least {least}")
    if expected is int and value > (most := MOST_OF.get(key, MOST)):
        raise ConfigError(f"model.{key} is {value}; it must be at most {most}")
