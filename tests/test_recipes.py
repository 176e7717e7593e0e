"""Every configuration of the recipes is found, resolves, and builds, tiny."""

from pathlib import Path

import pytest

from waveglow.config import load
from waveglow.models.registry import build
from waveglow.training.config import RunConfig

RECIPES = Path(__file__).parents[1] / "recipes"
CONFIGS = sorted(RECIPES.rglob("*.yaml"))


def test_all_configurations_are_found():
    assert len(CONFIGS) == 8


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_resolves_and_its_model_builds(path):
    config = load(RunConfig, path, ["model.n_layers=1", "model.n_channels=4"])
    model = build(config.model_config())
    assert model.hop == config.mel_spec().hop
    assert config.data.segment_samples % model.group == 0


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_says_what_it_costs(path):
    header = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert header
    assert "Cost:" in " ".join(header) or "base:" in path.read_text(encoding="utf-8")
