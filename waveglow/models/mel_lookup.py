"""Mel conventions by the names that users give them."""

from __future__ import annotations

from pathlib import Path

from waveglow import hub
from waveglow.audio.mel import MelSpec, preset
from waveglow.audio.mel_presets import spec_of
from waveglow.config import ConfigError, read_yaml
from waveglow.models.checkpoint import CheckpointError, read_config, resolve, voices

YAML_SUFFIXES = (".yaml", ".yml")


def named(name: str) -> MelSpec:
    """The convention of a preset, a checkpoint, a training run, a voice, one of the hub, or a YAML file of one's own.

    The file holds the fields of MelSpec; where it names a `preset`, those that differ from it are enough.
    Raises ValueError where there is none of that name, ConfigError for a file that makes none.
    """
    path = Path(name)
    if path.suffix in YAML_SUFFIXES:
        return _of_file(path)
    known = path.exists() or name in voices() or hub.is_reference(name)
    return of_checkpoint(path) if known else preset(name)


def of_checkpoint(path: Path) -> MelSpec:
    """The convention of a checkpoint, a training run or a voice. Raises CheckpointError."""
    directory = resolve(path)
    fields = read_config(directory)["mel"]
    if fields is None:
        raise CheckpointError(f"{directory}: says nothing of its mel convention; name one with --preset")
    return MelSpec.from_dict(fields)


def _of_file(path: Path) -> MelSpec:
    try:
        return spec_of({"name": path.stem, **read_yaml(path)})
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
