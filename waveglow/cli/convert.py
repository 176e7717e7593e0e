"""A published checkpoint to one of ours, reading tensors only: no code of the file is run.

Reads pickled modules of any torch version, state dicts, and .safetensors, of NVIDIA/waveglow (all its layouts, and
DeepLearningExamples and torch.hub), SqueezeWave, FloWaveNet, L0SG's WaveFlow and NanoFlow; of image flows
rosinality/glow-pytorch, chrischute/real-nvp and apple/ml-tarflow. What the tensors don't tell, it asks for: --family
or --set.

  waveglow convert waveglow_256channels_universal_v5.pt universal/
  waveglow convert waveglow_old.pt old/ --family nvidia-waveglow-old
  waveglow convert waveflow-h16-r64 waveflow/ --set n_height=16 --set bipartize=false
  waveglow convert mine.pt out/ --mel hifigan --mel-set fmax=7600.0 --set hop=256
  waveglow convert model_200001.pt glow/ --set image_size=64 --set n_bits=5
"""

import argparse
from pathlib import Path

from waveglow.audio.mel import PRESETS
from waveglow.config import ConfigError, parse_overrides
from waveglow.models import published
from waveglow.models.published.files import convert_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help=".pt, .pth or .safetensors")
    parser.add_argument("out", type=Path, metavar="OUT", help="checkpoint directory to write; must not exist yet")
    parser.add_argument("--family", choices=published.FAMILIES, help="whose checkpoint it is (told from the tensors)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of the published constructor; repeatable"
    )
    parser.add_argument("--mel", metavar="PRESET", help=f"of its mels (as published): {', '.join(PRESETS)}")
    parser.add_argument(
        "--mel-set", action="append", default=[], metavar="KEY=VALUE", help="of its mels, as fmax=7600.0; repeatable"
    )


def run(args: argparse.Namespace) -> int:
    """Convert the file."""
    config, changes = parse_overrides(args.set), parse_overrides(args.mel_set)
    try:
        print(convert_file(args.file, args.out, family=args.family, config=config, mel=args.mel, changes=changes))
    except published.UnknownFamilyError as error:
        raise ConfigError(f"{error} with --family") from error
    except published.ArgumentError as error:
        flags = " ".join(f"--set {key}={str(example).lower()}" for key, example in error.missing.items())
        raise ConfigError(f"{error.reason}; give it, as in {flags}" if flags else f"--set: {error.reason}") from error
    return 0
