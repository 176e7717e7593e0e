"""Files of models and mels that somebody broke or made up: every reader gives an object or one sentence, soon and in
little memory. What a long run found is a seed that always runs."""

from __future__ import annotations

import inspect
import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzzing import OURS, complaint, complaints
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from waveglow.audio.mel import preset
from waveglow.audio.mel_files import read_mel
from waveglow.config import ConfigError
from waveglow.models import checkpoint
from waveglow.models.checkpoint import CONFIG, WEIGHTS, model_writers
from waveglow.models.published.pickles import read_tensors
from waveglow.models.registry import MODELS, build
from waveglow.models.whole_directory import MANIFEST, sha256

SPEC = preset("hifigan")
NUMBERS = {"n_mels": 2, "hop": 8, "n_group": 4, "n_flows": 2, "n_layers": 1, "n_channels": 4}
SEEDS = range(150)  # always run
FOUND: dict[str, list[int]] = {}  # by a longer run
MINUTES = 1  # of each reader's longer run


def torch_file(content: object, *, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def numpy_file(mel: np.ndarray, *, named: bool = False) -> bytes:
    buffer = io.BytesIO()
    if named:
        np.savez(buffer, mel=mel)
    else:
        np.save(buffer, mel)
    return buffer.getvalue()


def directory(folder: Path, **contents: bytes) -> Path:
    """A checkpoint whose manifest fits its files, as someone would make who means to deceive."""
    for name, content in contents.items():
        (folder / {"config": CONFIG, "model": WEIGHTS}[name]).write_bytes(content)
    entries = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)} for name in (CONFIG, WEIGHTS)
    }
    (folder / MANIFEST).write_text(json.dumps(entries), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def readers(random_model, tmp_path_factory) -> dict[str, tuple[bytes, Callable[[bytes], object]]]:
    """By name: a small file, and how its mutations are read."""
    folder = tmp_path_factory.mktemp("fuzz")
    model, config = random_model(**NUMBERS)
    for name, write in model_writers(model, config, SPEC, {"step": 1}).items():
        write(folder / name)
    whole = {name: (folder / file).read_bytes() for name, file in (("config", CONFIG), ("model", WEIGHTS))}
    mel = np.random.default_rng(0).standard_normal((80, 6)).astype(np.float32) - 5
    tensors = {"a.weight": torch.randn(3, 4), "b": torch.ones(2, dtype=torch.float16)}

    def of_file(suffix: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
        def written(content: bytes) -> object:
            (folder / f"a{suffix}").write_bytes(content)
            return read(folder / f"a{suffix}")

        return written

    def of_mel(path: Path) -> object:
        return read_mel(path, SPEC)

    def of_part(name: str) -> Callable[[bytes], object]:
        return lambda content: checkpoint.load(directory(folder, **{**whole, name: content}))

    return {
        "pt": (torch_file({"state_dict": tensors, "lr": 0.1}), of_file(".pt", read_tensors)),
        "legacy pt": (torch_file({"model": tensors}, zipped=False), of_file(".pt", read_tensors)),
        "config": (whole["config"], of_part("config")),
        "weights": (whole["model"], of_part("model")),
        "mel npy": (numpy_file(mel), of_file(".npy", of_mel)),
        "mel npz": (numpy_file(mel, named=True), of_file(".npz", of_mel)),
        "mel pt": (torch_file(torch.from_numpy(mel)), of_file(".pt", of_mel)),
        "mel safetensors": (save({"mel": torch.from_numpy(mel)}), of_file(".safetensors", of_mel)),
    }


NAMES = ("pt", "legacy pt", "config", "weights", "mel npy", "mel npz", "mel pt", "mel safetensors")


@pytest.mark.parametrize("name", NAMES)
def test_the_file_itself_is_read(readers, name):
    content, read = readers[name]
    read(content)


@pytest.mark.parametrize("name", NAMES)
def test_mutations_give_an_object_or_a_sentence(readers, name):
    content, read = readers[name]
    assert not [*complaints(read, content, SEEDS)]
    assert not [found for seed in FOUND.get(name, []) for found in complaints(read, content, range(seed, seed + 1))]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_many_more_mutations(readers, name):
    content, read = readers[name]
    until, seed, wrong = time.monotonic() + 60 * MINUTES, len(SEEDS), []
    while time.monotonic() < until:
        wrong += complaints(read, content, range(seed, seed + 100))
        seed += 100
    assert not wrong, f"put these seeds into FOUND[{name!r}]: {wrong[:10]}"


# ---- Configurations --------------------------------------------------------------------------------------------------

NUMBER = st.integers(-2, 20) | st.sampled_from([2**15, 2**31, 2**40, 2**63, 10**30])
VALUE = NUMBER | st.booleans() | st.none() | st.floats() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, object]:
    name = draw(st.sampled_from(list(MODELS)))
    keys = st.sampled_from([*inspect.signature(MODELS[name]).parameters, "n_flow", ""])
    return {"name": name, **draw(st.dictionaries(keys, VALUE, max_size=4))}


def built(config: dict[str, object]) -> object:
    with torch.device("meta"):
        return build(config)


@pytest.mark.parametrize(
    "config",
    [
        {"name": "lapglow", "n_mels": 2**63},
        {"name": "waveglow", "n_channels": 2**31, "kernel_size": 2**31 - 1},
        {"name": "nice", "image_size": 2**12, "channels": 3},
        {"name": "nice", "image_size": 2**40},
    ],
)
def test_configurations_that_were_found_are_refused(config):
    with pytest.raises(ConfigError, match="at most"):
        built(config)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(configurations())
def test_any_configuration_is_built_or_refused_in_a_sentence(config):
    assert complaint(lambda: built(config)) is None


@pytest.mark.slow
@settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
@given(configurations())
def test_many_more_configurations(config):
    assert complaint(lambda: built(config)) is None


def test_a_complaint_is_made():
    assert "raises KeyError" in complaint(lambda: {}["a"])
    assert "takes" in complaint(lambda: [sum(range(10**6)) for _ in range(300)])
    assert complaint(lambda: (_ for _ in ()).throw(OURS[1]("a sentence"))) is None
