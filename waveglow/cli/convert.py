"""A published checkpoint to one of ours, reading tensors only: no code of the file is run.

Reads pickled modules of any torch version, state dicts, and .safetensors, of NVIDIA/waveglow (all its layouts, and
DeepLearningExamples and torch.hub), SqueezeWave, FloWaveNet, L0SG's WaveFlow and NanoFlow; of image flows
rosinality/glow-pytorch and chrischute/real-nvp. What the tensors don't tell, it asks for: --family or --set.

  waveglow convert waveglow_256channels_universal_v5.pt universal/
  waveglow convert waveglow_old.pt old/ --family nvidia-waveglow-old
  waveglow convert waveflow-h16-r64 waveflow/ --set n_height=16 --set bipartize=false
  waveglow convert mine.pt out/ --mel hifigan --mel-set fmax=7600.0 --set hop=256
  waveglow convert model_200001.pt glow/ --set image_size=64 --set n_bits=5
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from waveglow.audio.mel import PRESETS, MelSpec, preset
from waveglow.config import ConfigError, parse_overrides
from waveglow.models import checkpoint, published
from waveglow.models.flow_vocoder import FlowVocoder
from waveglow.models.published.pickles import read_tensors
from waveglow.models.registry import Model

PUBLISHED_MELS = {"flowavenet": "flowavenet"}  # the others' are NVIDIA/tacotron2's


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", type=Path, metavar="FILE", help=".pt, .pth or .safetensors")
    parser.add_argument("out", type=Path, metavar="OUT", help="checkpoint directory to write; must not exist yet")
    parser.add_argument("--family", choices=published.FAMILIES, help="whose checkpoint it is (told from the tensors)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an argument of the published constructor; those that the tensors tell must agree; may be repeated",
    )
    parser.add_argument("--mel", metavar="PRESET", help=f"of its mels (as published): {', '.join(PRESETS)}")
    parser.add_argument(
        "--mel-set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="what its mels have otherwise than the preset, e.g. fmax=7600.0; may be repeated",
    )


def run(args: argparse.Namespace) -> int:
    """Convert the file."""
    if args.out.exists():
        raise ValueError(f"{args.out} exists already; name a new directory")
    state, plain = _read(args.file)
    model, config = _converted(state, args)
    if args.family is None and "config" not in plain and any(".cond_layers." in name for name in state):
        print(
            "notice: NVIDIA's older glow_old.py saved the same names; if that made the file, convert it with "
            "--family nvidia-waveglow-old"
        )
    spec = _mel_spec(args, model, config["name"]) if isinstance(model, FlowVocoder) else None
    info = {"converted_from": args.file.name, **({"iteration": plain["iteration"]} if "iteration" in plain else {})}
    checkpoint.save(args.out, model, config, mel_spec=spec, info=info)
    n_parameters = sum(p.numel() for p in model.parameters())
    numbers = ", ".join(f"{key} {value}" for key, value in config.items() if key != "name")
    print(f"{args.out}: {config['name']}, {n_parameters:,} parameters; {numbers}")
    return 0


def _converted(state: dict[str, Tensor], args: argparse.Namespace) -> tuple[Model, dict[str, Any]]:
    """The model and its configuration. Raises ConfigError, which names the option that would help."""
    try:
        return published.convert(state, family=args.family, config=parse_overrides(args.set))
    except published.UnknownFamilyError as error:
        raise ConfigError(f"{error} with --family") from error
    except published.ArgumentError as error:
        flags = " ".join(f"--set {key}={str(example).lower()}" for key, example in error.missing.items())
        raise ConfigError(f"{error.reason}; give it, as in {flags}" if flags else f"--set: {error.reason}") from error


def _mel_spec(args: argparse.Namespace, model: FlowVocoder, builder: str) -> MelSpec | None:
    """The convention that the options name; None, with a notice, where the model takes other mels than were published.

    Raises ValueError where the options name one that doesn't fit.
    """
    name = args.mel or PUBLISHED_MELS.get(builder, "nvidia/tacotron2")
    spec = MelSpec.from_dict({**preset(name).to_dict(), **parse_overrides(args.mel_set)})
    if (spec.n_mels, spec.hop) == (model.n_mels, model.hop):
        return spec
    differs = f"the model has {model.n_mels} mels and hop {model.hop}, {name} {spec.n_mels} and {spec.hop}"
    if args.mel or args.mel_set:
        raise ValueError(f"{differs}; --mel-set n_mels={model.n_mels} --mel-set hop={model.hop} would make it fit")
    print(f"notice: {differs}: no mel convention is attached; give the right one with --mel and --mel-set")
    return None


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    if path.suffix == ".safetensors":
        try:
            return load_file(path), {}
        except (SafetensorError, OSError) as error:
            raise checkpoint.CheckpointError(f"{path}: is no readable safetensors file ({error})") from error
    pickled = read_tensors(path)
    return pickled.tensors, pickled.plain
