"""Every configuration of the recipes is found, resolves, and builds, tiny."""

import json
from pathlib import Path

import pytest
import torch

from waveglow.bench.image_sizes import IMAGE_SIZES
from waveglow.cli.main import main
from waveglow.config import load
from waveglow.models.registry import build, build_vocoder
from waveglow.training.config import RunConfig
from waveglow.training.image_config import ImageRunConfig

RECIPES = Path(__file__).parents[1] / "recipes"
CONFIGS = sorted(RECIPES.rglob("*.yaml"))
OF_IMAGES = [path for path in CONFIGS if path.is_relative_to(RECIPES / "celeba")]
OF_SPEECH = [path for path in CONFIGS if path not in OF_IMAGES]


def test_all_configurations_are_found():
    assert (len(OF_SPEECH), len(OF_IMAGES)) == (12, 17)


TINY_IMAGES = {
    "glow": ["model.n_hidden=4", "model.n_steps=1"],
    "realnvp": ["model.n_channels=2", "model.n_blocks=1"],
    "nice": ["model.n_hidden=4", "model.n_layers=1"],
    "tarflow": ["model.n_channels=4", "model.n_layers=1", "model.n_blocks=1"],
    "jet": ["model.n_channels=4", "model.n_layers=1", "model.n_couplings=5"],
}


@pytest.mark.parametrize("path", OF_IMAGES, ids=lambda path: path.stem)
def test_a_configuration_of_images_resolves_and_its_model_builds(path):
    whole = load(ImageRunConfig, path, [])
    config = load(ImageRunConfig, path, [*TINY_IMAGES[whole.model["name"]], "model.image_size=64"])
    model = build(config.model_config())
    assert model.n_bits == whole.model_config()["n_bits"]


@pytest.mark.parametrize("size", IMAGE_SIZES, ids=lambda size: size.configuration)
def test_the_table_of_the_papers_counts_what_the_configuration_builds(size):
    config = load(ImageRunConfig, RECIPES / "celeba" / "conf" / f"{size.configuration}.yaml", []).model_config()
    with torch.device("meta"):
        model = build(config)
    assert (sum(p.numel() for p in model.parameters()), model.n_bits) == (size.parameters, size.n_bits)


def test_the_table_of_the_papers_is_printed(capsys):
    assert main(["models", "--images"]) == 0
    assert "| `tarflow-imagenet64` | ImageNet 64×64 | 8 | 460.1 | 2.99 | Zhai et al. 2024 |" in capsys.readouterr().out
    assert main(["models", "--images", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == len(IMAGE_SIZES) == 8


@pytest.mark.parametrize("path", OF_SPEECH, ids=lambda path: path.stem)
def test_a_configuration_resolves_and_its_model_builds(path):
    config = load(RunConfig, path, ["model.n_layers=1", "model.n_channels=4"])
    model = build_vocoder(config.model_config())
    assert model.hop == config.mel_spec().hop
    assert config.data.segment_samples % model.group == 0


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_says_what_it_costs(path):
    header = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert header
    varies_another = path in OF_SPEECH and "base:" in path.read_text(encoding="utf-8")
    assert "Cost:" in " ".join(header) or varies_another
