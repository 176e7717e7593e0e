"""A tiny corpus and a tiny configuration: a run of a few steps takes a second."""

import pytest

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
