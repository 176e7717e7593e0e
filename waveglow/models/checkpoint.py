"""Checkpoints: a directory of safetensors and JSON, written whole or not at all, and read only if it is whole.

    step_00001000/
        config.json            format, model (name and numbers), mel (MelSpec), info
        model.safetensors      the weights to use
        …                      what training adds to resume from (training/state.py)
        MANIFEST.json          size and SHA-256 of every file, written last

How a directory is written so that a name without `.tmp` is whole: whole_directory.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from waveglow import __version__, hub
from waveglow.audio.mel import MelSpec
from waveglow.config import from_json
from waveglow.models.flow_image import FlowImage
from waveglow.models.flow_vocoder import FlowVocoder
from waveglow.models.registry import Model, build
from waveglow.models.shipped import IMAGE_MODELS, VOICES
from waveglow.models.weights import fill_, own_state, require_sound
from waveglow.models.whole_directory import CheckpointError as CheckpointError
from waveglow.models.whole_directory import Writer, is_whole, standing, verify, write_directory
from waveglow.models.whole_directory import sha256 as sha256

FORMAT = 1
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
STEPS = "checkpoints"

M = TypeVar("M", bound=nn.Module, covariant=True)
N = TypeVar("N", FlowVocoder, FlowImage)


@dataclass(frozen=True)
class Checkpoint(Generic[M]):
    """A model with what it was saved with."""

    model: M
    model_config: dict[str, Any]
    mel_spec: MelSpec | None
    info: dict[str, Any]
    path: Path

    def about(self) -> dict[str, Any]:
        """What it is, in JSON types: its size, model, mel convention, and what else it was saved with."""
        spec = self.mel_spec
        return {
            "checkpoint": str(self.path),
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "model": self.model_config,
            "mel": spec.to_dict() if spec else None,
            "mel_fingerprint": spec.fingerprint if spec else None,
            **self.info,
        }


def model_writers(
    model: nn.Module, model_config: Mapping[str, Any], mel_spec: MelSpec | None, info: Mapping[str, Any]
) -> dict[str, Writer]:
    """The files that make a directory loadable: config.json and model.safetensors."""
    config = {
        "format": FORMAT,
        "waveglow": __version__,
        "model": dict(model_config),
        "mel": mel_spec.to_dict() if mel_spec else None,
        "info": dict(info),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in own_state(model).items()}
    return {
        CONFIG: lambda path: write_json(path, config),
        WEIGHTS: lambda path: save_file(tensors, path),
    }


def write_json(path: Path, content: Any) -> None:
    """Write JSON for people and programs."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


def save(
    path: Path,
    model: nn.Module,
    model_config: Mapping[str, Any],
    *,
    mel_spec: MelSpec | None = None,
    info: Mapping[str, Any] | None = None,
) -> None:
    """Write a model as a checkpoint directory; an older one of that name is replaced, and nothing else is.

    Arguments:
        path: the directory.
        model: its parameters and persistent buffers are saved.
        model_config: name and numbers, from which models/registry.py builds it.
        mel_spec: the convention of the mels it was trained on; None for images.
        info: what else to tell whoever loads it, as JSON.

    Raises OSError where the disk refuses, CheckpointError where another thing than a checkpoint has that name; what
    was there is left then.

    >>> import tempfile
    >>> config = {"name": "waveglow", "n_mels": 4, "n_channels": 8, "n_layers": 1, "n_flows": 2}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(Path(folder) / "mine", build(config), config, info={"step": 7})
    ...     load(Path(folder) / "mine").info
    {'step': 7}
    """
    write_directory(path, model_writers(model, model_config, mel_spec, info or {}))


def load(path: Path | str) -> Checkpoint[Model]:
    """Checkpoint from its directory, the newest whole one of a training run, one of the package by its name, or one of
    the hub, `hf:org/name@revision`.

    The model is built from the configuration without memory for its weights, compared with the names and shapes that
    the file declares, and only then filled; half-precision weights become float32.
    Raises CheckpointError for what is missing, damaged, of a newer format, where weights and configuration differ, and
    for weights that are NaN, infinite or make a layer singular, by its name; ValueError for a malformed `hf:…`.

    >>> load("lapglow").mel_spec.sample_rate
    22050
    """
    if not str(path):
        raise CheckpointError("the path is empty; give a checkpoint directory, a training run, or a voice's name")
    directory = resolve(Path(path))
    verify(directory)
    config = read_config(directory)
    try:
        with torch.device("meta"):
            model = build(config["model"])
        mel_spec = MelSpec.from_dict(config["mel"]) if config["mel"] else None
    except ValueError as error:
        raise CheckpointError(f"{directory / CONFIG}: {error}") from error
    fill_(model, read_tensors(directory / WEIGHTS, own_state(model)), assign=True)
    try:
        require_sound(model)
    except ValueError as error:
        raise CheckpointError(f"{directory / WEIGHTS}: {error}; use a checkpoint from before it broke") from error
    return Checkpoint(model.eval(), config["model"], mel_spec, config["info"], directory)


def load_vocoder(path: Path | str) -> Checkpoint[FlowVocoder]:
    """As `load`. Raises CheckpointError for a model of images too."""
    return _of_kind(load(path), FlowVocoder, "a model of images; its commands are those of `waveglow image`")


def load_image(path: Path | str) -> Checkpoint[FlowImage]:
    """As `load`. Raises CheckpointError for a vocoder too."""
    return _of_kind(load(path), FlowImage, "a vocoder; `waveglow image` takes nice, realnvp, glow, tarflow and jet")


def _of_kind(loaded: Checkpoint[Model], kind: type[N], what_it_is: str) -> Checkpoint[N]:
    if not isinstance(loaded.model, kind):
        raise CheckpointError(f"{loaded.path}: is {loaded.model_config['name']}, {what_it_is}")
    return Checkpoint(loaded.model, loaded.model_config, loaded.mel_spec, loaded.info, loaded.path)


def voices() -> dict[str, Path]:
    """The vocoders that come with the package, by name."""
    return _in(VOICES)


def image_models() -> dict[str, Path]:
    """The image flows that come with the package, by name."""
    return _in(IMAGE_MODELS)


def _in(folder: Path) -> dict[str, Path]:
    return {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{CONFIG}"))}


def resolve(path: Path) -> Path:
    """The checkpoint directory that a path means: itself, the newest whole one of a run, one of the package or the hub.

    Raises CheckpointError where there is none, ValueError for a malformed `hf:org/name@revision`.
    """
    if hub.is_reference(path):
        return _fetched(str(path))
    shipped = voices() | image_models()
    path = standing(path)
    if not path.exists() and str(path) in shipped:
        return shipped[str(path)]
    if not path.exists():
        raise CheckpointError(
            f"{path}: does not exist; give a checkpoint directory, the directory of a training run, or the name of a "
            f"model that comes with the package ({', '.join(shipped) or 'there is none'})"
        )
    if path.is_file():
        raise CheckpointError(
            f"{path}: is a file, a checkpoint is a directory; for a .pt file use `waveglow convert`, for an .onnx file "
            "`waveglow synth`"
        )
    if not (path / STEPS).is_dir():
        return path
    steps = steps_of(path)
    for step in reversed(steps):
        if is_whole(step):
            return step
    raise CheckpointError(f"{path}: none of its {len(steps)} checkpoints is whole; train on, or use another run")


def _fetched(reference: str) -> Path:
    """The folder of a checkpoint of the hub, refused by its configuration before its weights are fetched."""

    def check(folder: Path) -> None:
        try:
            read_config(folder)
        except CheckpointError as error:
            raise CheckpointError(str(error).replace(str(folder), reference)) from error

    try:
        return hub.fetch(reference, check=check)
    except hub.HubError as error:
        raise CheckpointError(str(error)) from error


def steps_of(run: Path) -> list[Path]:
    """The finished checkpoint directories of a run, oldest first."""
    found = [p for p in (run / STEPS).glob("step_*") if p.is_dir() and p.name.removeprefix("step_").isdigit()]
    return sorted(found, key=step_number)


def step_number(directory: Path) -> int:
    """How many training steps a directory of `steps_of` comes after."""
    return int(directory.name.removeprefix("step_"))


def read_config(directory: Path) -> dict[str, Any]:
    """config.json, of a format that this version knows. Raises CheckpointError."""
    try:
        config = from_json((directory / CONFIG).read_text(encoding="utf-8"))
        version, _, _ = config["format"], config["model"]["name"], config["mel"]
        config["info"] = {**(config.get("info") or {})}
    except OSError as error:
        raise CheckpointError(f"{directory}: {CONFIG} can't be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{directory / CONFIG}: is damaged or no configuration of a checkpoint") from error
    if version != FORMAT:
        raise CheckpointError(
            f"{directory / CONFIG}: has format {version}, this waveglow {__version__} reads {FORMAT}; upgrade waveglow"
        )
    return dict(config)


def read_tensors(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with the names and shapes of `expected` (which may be on the meta device), floats as float32.

    Names and shapes are compared before anything is read. Raises CheckpointError.
    """
    try:
        with safe_open(path, framework="pt") as file:
            _compare(path, {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}, expected)  # noqa: SIM118
            return {name: file.get_tensor(name).to(_whole(tensor.dtype)) for name, tensor in expected.items()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: is no valid safetensors file ({error})") from error


def _whole(dtype: torch.dtype) -> torch.dtype:
    """Not what torch's global default says."""
    return torch.float32 if dtype.is_floating_point else dtype


def _compare(path: Path, found: Mapping[str, tuple[int, ...]], expected: Mapping[str, Tensor]) -> None:
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing:
        raise CheckpointError(f"{path}: lacks {missing[0]!r} ({len(missing)} missing); config and weights don't fit")
    if extra:
        raise CheckpointError(f"{path}: has {extra[0]!r} ({len(extra)} unknown); config and weights don't fit")
    for name, tensor in expected.items():
        if found[name] != tuple(tensor.shape):
            raise CheckpointError(f"{path}: {name} is {found[name]}, the configuration asks for {tuple(tensor.shape)}")
