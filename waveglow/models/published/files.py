"""The files that published checkpoints come in."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from waveglow.audio.files import write_atomically
from waveglow.audio.mel import MelSpec
from waveglow.audio.mel_presets import spec_of
from waveglow.models.checkpoint import CheckpointError
from waveglow.models.checkpoint import save as save_checkpoint
from waveglow.models.flow_vocoder import FlowVocoder
from waveglow.models.published.families import convert
from waveglow.models.published.pickles import read_tensors
from waveglow.models.published.waveglow import nvidia_state
from waveglow.models.registry import Model


def read_file(path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """The tensors of a .pt, .pth or .safetensors file, and what else of plain types a pickle has; no code of it is run.

    Raises CheckpointError, or UnreadableCheckpoint where a pickle holds what is not only data.
    """
    if path.suffix == ".safetensors":
        try:
            return load_file(path), {}
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path}: is no readable safetensors file ({error})") from error
    pickled = read_tensors(path)
    return pickled.tensors, pickled.plain


def convert_file(
    path: Path,
    out: Path,
    *,
    family: str | None = None,
    config: Mapping[str, Any] | None = None,
    mel: str | None = None,
    changes: Mapping[str, Any] | None = None,
) -> str:
    """Write a published file as a checkpoint directory of ours; returns what it is, in some lines, notices first.

    Arguments:
        path: a file that `read_file` reads.
        out: the directory, which must not exist yet.
        family, config: as of `published.from_state_dict`.
        mel, changes: the preset of its mels (None: as published), and the fields that differ from it.

    Raises ValueError where `out` exists or the mels named don't fit the model, CheckpointError, ConfigError.
    """
    if out.exists():
        raise ValueError(f"{out} exists already; name a new directory")
    state, plain = read_file(path)
    try:
        model, numbers = convert(state, family=family, config=config)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    lines = []
    if family is None and "config" not in plain and any(".cond_layers." in name for name in state):
        lines.append(
            "notice: NVIDIA's older glow_old.py saved the same names; if that made the file, convert it with "
            "--family nvidia-waveglow-old"
        )
    spec = None
    if isinstance(model, FlowVocoder):
        spec, notice = _mel_spec(model, numbers["name"], mel, changes or {})
        lines += [f"notice: {notice}"] if notice else []
    info = {"converted_from": path.name, **({"iteration": plain["iteration"]} if "iteration" in plain else {})}
    save_checkpoint(out, model, numbers, mel_spec=spec, info=info)
    n_parameters = sum(p.numel() for p in model.parameters())
    said = ", ".join(f"{key} {value}" for key, value in numbers.items() if key != "name")
    return "\n".join([*lines, f"{out}: {numbers['name']}, {n_parameters:,} parameters; {said}"])


PUBLISHED_MELS = {"flowavenet": "flowavenet"}  # the others' are NVIDIA/tacotron2's


def _mel_spec(
    model: FlowVocoder, builder: str, mel: str | None, changes: Mapping[str, Any]
) -> tuple[MelSpec | None, str]:
    """The convention of a preset with changes; None, and why, where the model takes other mels than were published.

    Raises ValueError where one was named that doesn't fit.
    """
    name = mel or PUBLISHED_MELS.get(builder, "nvidia/tacotron2")
    spec = spec_of({"preset": name, **changes})
    if (spec.n_mels, spec.hop) == (model.n_mels, model.hop):
        return spec, ""
    differs = f"the model has {model.n_mels} mels and hop {model.hop}, {name} {spec.n_mels} and {spec.hop}"
    if mel or changes:
        raise ValueError(f"{differs}; --mel-set n_mels={model.n_mels} --mel-set hop={model.hop} would make it fit")
    return None, f"{differs}: no mel convention is attached; give the right one with --mel and --mel-set"


def write_nvidia(path: Path, model: Model, config: Mapping[str, Any]) -> int:
    """Write a WaveGlow as NVIDIA's code loads it; returns how many numbers its tensors have.

    A .pt file holds {"state_dict": tensors, "config": their constructor's arguments}, a .safetensors file the tensors.
    Raises ValueError for another suffix, ConfigError for a model that their code can't build, OSError.
    """
    if path.suffix not in (".pt", ".safetensors"):
        raise ValueError(f"the output is {path}; it must end in .pt or .safetensors")
    tensors, arguments = nvidia_state(model, config)
    content = io.BytesIO()
    if path.suffix == ".safetensors":
        content.write(save(tensors))
    else:
        torch.save({"state_dict": tensors, "config": arguments}, content)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.getvalue())
    return sum(tensor.numel() for tensor in tensors.values())
