"""What several test files share: small models with weights far from their start, and the synthetic voice."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import soundfile
import torch
from local_hub import TOKEN, Hub, served  # beside this file

from waveglow.cli.main import main
from waveglow.data.images import prepare_images
from waveglow.data.prepare import prepare
from waveglow.models import checkpoint
from waveglow.models.flow_vocoder import FlowVocoder
from waveglow.models.registry import build

ROOT = Path(__file__).parents[1]

# Two processes that fill one of numba's caches at once can crash (numba issue 10128): each test worker has its own.
os.environ["NUMBA_CACHE_DIR"] = str(
    Path(tempfile.gettempdir(), f"waveglow-numba-{os.getuid()}", os.environ.get("PYTEST_XDIST_WORKER", "alone"))
)


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
    """tests/demo_voice.py, a script as well as a fixture."""
    spec = importlib.util.spec_from_file_location("demo_voice", ROOT / "tests" / "demo_voice.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def ljspeech(demo_voice: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus in LJSpeech's layout: four clips of the synthetic voice, 1.2 to 1.5 s; to be read, not written."""
    corpus = tmp_path_factory.mktemp("corpus") / "LJSpeech-tiny"
    (corpus / "wavs").mkdir(parents=True)
    rows = []
    for number in range(1, 5):
        samples, text = demo_voice.render(0, number, 22050)
        name = f"DV001-{number:04d}"
        soundfile.write(corpus / "wavs" / f"{name}.wav", samples[: 26_000 + 1501 * number], 22050, subtype="PCM_16")
        rows.append(f"{name}|{text}|{text}\n")
    (corpus / "metadata.csv").write_text("".join(rows), encoding="utf-8")
    return corpus


@pytest.fixture(scope="session")
def manifest(ljspeech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """manifest.jsonl of four clips of the demo voice, one of them held out."""
    folder = tmp_path_factory.mktemp("data")
    prepare(ljspeech, folder, sample_rate=22050)
    return folder / "manifest.jsonl"


IMAGE_FLOWS = {
    "glow": {"name": "glow", "n_levels": 2, "n_steps": 2, "n_hidden": 8},
    "nice": {"name": "nice", "n_hidden": 16, "n_layers": 2},
    "realnvp": {"name": "realnvp", "n_channels": 4, "n_blocks": 1},
    "classes": {"name": "glow", "n_levels": 2, "n_steps": 1, "n_hidden": 8, "n_classes": 10},
    "tarflow": {"name": "tarflow", "n_blocks": 2, "n_layers": 1, "n_channels": 8, "n_classes": 10},
    "jet": {"name": "jet", "n_couplings": 5, "n_layers": 1, "n_channels": 8, "patch_size": 2},
}


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared digits, images of 1×8×8; to be read, not written."""
    return prepare_images("digits", None, tmp_path_factory.mktemp("data") / "digits").folder


@pytest.fixture(scope="session")
def image_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of checkpoints for digits in 4 bits, by the names of IMAGE_FLOWS, that are no identity anywhere."""
    folder = tmp_path_factory.mktemp("models")
    for name, numbers in IMAGE_FLOWS.items():
        config = {**numbers, "image_size": 8, "channels": 1, "n_bits": 4}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = build(config).eval()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.05 * torch.randn_like(parameter))
            if name == "classes":
                torch.nn.init.normal_(model.flow.levels[-1].net.of_class)
        checkpoint.save(folder / name, model, config, info={"step": 7})
    return folder


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


TINY = """
model: {name: waveglow, n_channels: 8, n_layers: 2, n_flows: 4, upsample_kernel: 256}
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


@pytest.fixture
def train(config_file, manifest, tmp_path):
    """Runs `waveglow train` in this process: (exit code, run directory)."""

    def run(*settings, run_dir=tmp_path / "run", config=config_file):
        given = ["--config", str(config)] if config else []
        code = main(["train", *given, "--data", str(manifest), "--run-dir", str(run_dir), "--device", "cpu", *settings])
        return code, run_dir

    return run


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub on the loopback, where huggingface_hub, which reads its environment when imported, finds it."""
    pytest.importorskip("huggingface_hub")
    with served() as hub, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]:
            patch.delitem(sys.modules, name)
        patch.setenv("HF_ENDPOINT", hub.url)
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
        patch.setenv("HF_HUB_DISABLE_XET", "1")
        patch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
            patch.delenv(name, raising=False)
        from huggingface_hub import constants

        assert hub.url == constants.ENDPOINT
        yield hub


@pytest.fixture
def hub(endpoint: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The hub, empty, asked by nobody yet; an empty cache in `tmp_path / "cache"`; its token is in HF_TOKEN."""
    from huggingface_hub import constants

    url = endpoint.url
    endpoint.__init__()  # type: ignore[misc]
    endpoint.url = url
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)  # between attempts
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return endpoint
