"""A voice that takes no time."""

import pytest

from waveglow.audio.mel import preset
from waveglow.models import checkpoint


@pytest.fixture(scope="session")
def voice(tmp_path_factory, random_model):
    """A lapglow of two small flows that was validated with two steps of refinement."""
    path = tmp_path_factory.mktemp("voice") / "tiny"
    model, config = random_model(name="lapglow", n_channels=16, n_layers=2, n_flows=2, n_cond=16)
    checkpoint.save(path, model, config, mel_spec=preset("hifigan"), info={"refine": 2})
    return path
