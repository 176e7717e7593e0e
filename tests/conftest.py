"""What several test files share: small models with weights far from their start, and the synthetic voice."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from waveglow.models.registry import build
from waveglow.models.vocoder import FlowVocoder

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def random_model() -> Callable[..., tuple[FlowVocoder, dict[str, Any]]]:
    """`random_model(seed=0, **numbers)`: a vocoder that is no identity anywhere, and its configuration."""

    def make(seed: int = 0, **numbers: Any) -> tuple[FlowVocoder, dict[str, Any]]:
        config = {"name": "waveglow", **numbers}
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = build(config).eval()
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    # The last convolution of a coupling net starts at zero; the rest need only a push.
                    scale = 0.1 if ".end." in name else 0.05
                    parameter.add_(scale * torch.randn_like(parameter))
        return model, config

    return make


@pytest.fixture(scope="session")
def demo_voice() -> ModuleType:
    """recipes/ljspeech/demo_voice.py, which is no module of the package."""
    spec = importlib.util.spec_from_file_location("demo_voice", ROOT / "recipes" / "ljspeech" / "demo_voice.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
