"""Every vocoder learns: a short run of each on the recordings of the demo."""

from pathlib import Path

import pytest

from waveglow.cli.main import main
from waveglow.data.prepare import prepare
from waveglow.training.log import read_metrics

ROOT = Path(__file__).parents[2]
SMALL = {
    "waveglow": "n_channels: 32, n_layers: 4, n_flows: 6, n_early_every: 2",
    "waveglow-old": "n_channels: 32, n_layers: 4, n_flows: 6, n_early_every: 2",
    "squeezewave": "n_channels: 64, n_layers: 4, n_flows: 6",
    "flowavenet": "n_channels: 32, n_flows: 2",
    "waveflow": "n_channels: 16, n_layers: 4, n_flows: 4",
    "nanoflow": "n_channels: 16, n_layers: 4, n_flows: 4, n_embedding: 16",
    "lapglow": "n_channels: 64, n_layers: 3, n_flows: 3",
}
RUN = """
model: {{name: {name}, {numbers}}}
mel: nvidia/tacotron2
data: {{segment_samples: 4096, workers: 0}}
optim: {{lr: 1.0e-3}}
train: {{steps: 60, batch_size: 4, ema_decay: 0.9, log_every_steps: 10, validate_every_steps: 30}}
valid: {{clips: 2, max_seconds: 1.0, listen: 1}}
"""


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    prepare(ROOT / "audio_samples" / "reference", folder, sample_rate=22050)
    return folder / "manifest.jsonl"


@pytest.mark.training
@pytest.mark.parametrize("name", SMALL)
def test_the_loss_falls(name, manifest, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text(RUN.format(name=name, numbers=SMALL[name]), encoding="utf-8")
    run = tmp_path / "run"
    given = ["--config", str(config), "--data", str(manifest), "--run-dir", str(run), "--device", "cpu"]
    assert main(["train", *given]) == 0
    lines = list(read_metrics(run / "metrics.jsonl"))
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    held_out = [line["nll_nats"] for line in lines if line["kind"] == "valid"]
    assert losses[-1] < losses[0] - 0.3
    assert held_out[-1] < held_out[0]
    assert list((run / "samples").glob("*/*.wav"))
