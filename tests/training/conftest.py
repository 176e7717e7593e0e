"""Tiny runs: a few steps take a second."""

import shutil

import pytest
import torch
import yaml

from waveglow.cli.main import main
from waveglow.config import from_mapping, merged, parse_overrides
from waveglow.data.manifest import read_manifest
from waveglow.models.registry import build
from waveglow.training.config import RunConfig
from waveglow.training.distributed import world
from waveglow.training.engine import Trainer
from waveglow.training.task import VocoderTask


@pytest.fixture(autouse=True)
def always_one_thread(one_thread):
    """In all tests of this folder."""


@pytest.fixture(scope="module")
def three_steps(config_file, manifest, tmp_path_factory):
    """A run of three steps; to be read, not written."""
    run = tmp_path_factory.mktemp("three") / "run"
    given = ["--config", str(config_file), "--data", str(manifest), "--run-dir", str(run), "--device", "cpu"]
    assert main(["train", *given, "train.steps=3"]) == 0
    return run


@pytest.fixture
def begun(three_steps, tmp_path):
    """The same run where `train` goes on with it."""
    return shutil.copytree(three_steps, tmp_path / "run")


@pytest.fixture
def trainer(config_file, manifest, tmp_path):
    """A Trainer in this process, and the task it trains on."""

    def make(*overrides, **settings):
        values = merged(yaml.safe_load(config_file.read_text()), parse_overrides(overrides))
        values["train"].update(settings)
        config = from_mapping(RunConfig, values)
        torch.manual_seed(0)
        model = build(config.model_config())
        task = VocoderTask(
            read_manifest(manifest),
            config.mel_spec(),
            segment_samples=config.data.segment_samples,
            seed=0,
            group=model.group,
            valid=config.valid,
            loss=config.loss,
        )
        with world("cpu") as here:
            return Trainer(model, task, config, run=tmp_path / "run", world=here, data_hash="x", resume=None)

    (tmp_path / "run").mkdir(exist_ok=True)
    return make
