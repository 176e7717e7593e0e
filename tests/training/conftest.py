"""A tiny corpus and a tiny configuration: a run of a few steps takes a second."""

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

TINY = """
model: {name: waveglow, n_channels: 8, n_layers: 2, n_flows: 4}
mel: nvidia/tacotron2
data: {segment_samples: 2048, workers: 0}
optim: {lr: 1.0e-3, warmup_steps: 2}
train:
  {steps: 6, batch_size: 4, init_crops: 4, ema_decay: 0.9, log_every_steps: 1, validate_every_steps: 3,
   checkpoint_every_steps: 3}
valid: {clips: 1, max_seconds: 0.5, listen: 1}
"""


@pytest.fixture(scope="session")
def config_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("conf") / "tiny.yaml"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def train(config_file, manifest, tmp_path):
    """Runs `waveglow train` in this process: (exit code, run directory)."""

    def run(*settings, run_dir=tmp_path / "run", config=config_file):
        given = ["--config", str(config)] if config else []
        code = main(["train", *given, "--data", str(manifest), "--run-dir", str(run_dir), "--device", "cpu", *settings])
        return code, run_dir

    return run


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
