"""A published checkpoint to one of ours, reading tensors only: no code of the file is run.

Reads what NVIDIA/waveglow published ({'model': pickled module}, any torch version), state dicts, and .safetensors; of
image flows rosinality/glow-pytorch and chrischute/real-nvp, which name no image_size: --set it.

  waveglow convert waveglow_256channels_universal_v5.pt universal/
  waveglow convert mine.pt out/ --mel hifigan --set WN_config='{n_layers: 8}'
  waveglow convert model_200001.pt glow/ --set image_size=64 --set n_bits=5
"""

from __future__ import annotations

import argparse
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from waveglow.audio.mel import PRESETS, MelSpec, preset
from waveglow.config import parse_overrides
from waveglow.models import checkpoint, published
from waveglow.models.pickles import read_tensors
from waveglow.models.vocoder import FlowVocoder


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
        help="an argument of the published constructor that the tensors don't tell; may be repeated",
    )
    parser.add_argument("--mel", default="nvidia/tacotron2", metavar="PRESET", help=f"one of {', '.join(PRESETS)}")


def run(args: argparse.Namespace) -> int:
    """Convert the file."""
    if args.out.exists():
        raise ValueError(f"{args.out} exists already; name a new directory")
    state, plain = _read(args.file)
    model, config = published.convert(state, family=args.family, config=parse_overrides(args.set))
    if any(".cond_layers." in name for name in state):
        print("notice: NVIDIA's older glow_old.py saved the same names; if that made the file, it can't be used yet")
    spec = _mel_spec(args.mel, model) if isinstance(model, FlowVocoder) else None
    info = {"converted_from": args.file.name, **({"iteration": plain["iteration"]} if "iteration" in plain else {})}
    checkpoint.save(args.out, model, config, mel_spec=spec, info=info)
    n_parameters = sum(p.numel() for p in model.parameters())
    numbers = ", ".join(f"{key} {value}" for key, value in config.items() if key != "name")
    print(f"{args.out}: {config['name']}, {n_parameters:,} parameters; {numbers}")
    return 0


def _mel_spec(name: str, model: FlowVocoder) -> MelSpec | None:
    """The preset of that name, or None, with a notice, where the model takes other mels."""
    spec = preset(name)
    if (spec.n_mels, spec.hop) == (model.n_mels, model.hop):
        return spec
    print(
        f"notice: the model has {model.n_mels} mels and hop {model.hop}, {name} {spec.n_mels} and {spec.hop}: "
        "no mel convention is attached; give the right one with --mel"
    )
    return None


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    if path.suffix == ".safetensors":
        try:
            return load_file(path), {}
        except (SafetensorError, OSError) as error:
            raise checkpoint.CheckpointError(f"{path}: is no readable safetensors file ({error})") from error
    pickled = read_tensors(path)
    return pickled.tensors, pickled.plain
