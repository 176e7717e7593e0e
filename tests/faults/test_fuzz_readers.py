"""Files and values that somebody broke or made up: every reader gives an object or one sentence, soon and in little
memory. What a long run of fuzzing.py finds is a seed that always runs, and a test that says what it was."""

from __future__ import annotations

import itertools
import json
import os
import time

import fuzzing
import numpy as np
import onnx
import pytest
from fuzzed_files import (
    a_mel,
    metrics_file,
    of_a_run,
    onnx_file,
    picture,
    readers,
    with_checksums,
)
from fuzzed_values import ABOUT, CONFIGS, PROPERTIES, built, celeba, of_configs, of_metadata, of_seed
from fuzzing import Reader, complaint, complaints, for_minutes, mutated, turn

from waveglow.audio.files import FileError
from waveglow.config import ConfigError, parse_overrides, read_yaml
from waveglow.data.image_sources import open_photo
from waveglow.evaluation.cache import Cache
from waveglow.export.onnx_runtime import OnnxFileError, OnnxVocoder
from waveglow.models.checkpoint import CheckpointError
from waveglow.training.runs import fine_tuning

NAMES = [
    "wav", "wav of floats", "wav of ADPCM", "wav of GSM", "flac", "aiff", "au", "w64", "rf64", "ogg", "opus", "mp3",
    "shard tar", "stereo wav", "prepare wav", "prepare flac", "prepare mel", "prepare manifest", "prepare report",
    "mel npy", "mel npz", "mel pt", "mel safetensors", "mel pt of numpy", "mel statistics", "mel yaml",
    "pt", "legacy pt", "published pt", "published safetensors", "config", "weights", "checkpoint's manifest",
    "manifest", "yaml", "longer yaml", "image yaml", "metrics", "metrics of images", "metrics of info",
    "metrics of resume", "evaluation's cache", "png", "png of right checksums", "transparent png", "jpeg", "webp",
    "celeba zip", "celeba list_attr_celeba.txt", "celeba list_eval_partition.txt", "celeba list_attr_celeba.csv",
    "celeba list_eval_partition.csv", "idx", "images.json", "labels.npz", "shard npy", "directions", "onnx",
]  # fmt: skip
SEEDS = range(15)  # always run
FOUND = {  # by a longer run
    "mel statistics": [1304, 1360],
    "metrics of info": [1058, 1112],
    "webp": [1326],
    "celeba zip": [1212],
    "labels.npz": [4852, 5100],
    "onnx": [1845, 2198, 2436, 5079, 7769, 8495, 9123, 10089],
}
MINUTES = 5  # of a longer run by pytest; by the script it is an hour


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> dict[str, Reader]:
    return readers(tmp_path_factory.mktemp("fuzz"))


def test_all_readers_are_named_here(known):
    assert [*known] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_mutations_give_an_object_or_a_sentence(known, name):
    reader = known[name]
    assert not [*complaints(reader, SEEDS)]
    assert not [found for seed in FOUND.get(name, []) for found in complaints(reader, range(seed, seed + 1))]
    reader.read(reader.content)  # nothing of them is left


NOTHING = {
    "no byte": b"",
    "zeros": bytes(1000),
    "no text": b"\xff" * 1000,
    "a list in a list in a list": b"[" * 100_000,
    "a mapping in a mapping": b'{"a":' * 100_000,
    "a number of 10 000 digits": b"1" * 10_000,
    "a long list": b"[" + b"1," * 100_000 + b"1]",
    "an empty mapping": b"{}",
}


@pytest.mark.parametrize("content", NOTHING.values(), ids=NOTHING)
def test_what_is_no_file_of_any_kind_gives_an_object_or_a_sentence(known, content):
    for name, reader in known.items():
        assert complaint(lambda reader=reader: reader.read(content)) is None, name


@pytest.mark.parametrize("name", PROPERTIES)
def test_made_up_values_give_an_object_or_a_sentence(tmp_path, name):
    assert of_seed(PROPERTIES[name], tmp_path, examples=15)(0) is None


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_many_more_mutations(tmp_path):
    attempts = {name: reader.attempt for name, reader in readers(tmp_path, exported=True).items()}
    assert for_minutes(attempts, first=1000, minutes=MINUTES) == 0, "put what was printed into FOUND"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_many_more_values(tmp_path):
    attempts = {name: of_seed(holds, tmp_path) for name, holds in PROPERTIES.items()}
    assert for_minutes(attempts, first=1000, minutes=MINUTES) == 0


# ---- What was found --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        {"name": "lapglow", "n_mels": 2**63},
        {"name": "waveglow", "n_channels": 2**31, "kernel_size": 2**31 - 1},
        {"name": "nice", "image_size": 2**12, "channels": 3},
        {"name": "nice", "image_size": 2**40},
    ],
)
def test_configurations_of_terabytes_are_refused(config):
    with pytest.raises(ConfigError, match="at most"):
        built(config)


@pytest.mark.parametrize("text", ["a: [1, 2\nb: 3\n", "a: 1\n b: 2\n", "a: 2001-13-41\n", "[" * 1000, "a: \x07\n"])
def test_what_is_no_yaml_is_said_in_a_line(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"a\.yaml: no valid YAML: [^\n]+$"):
        read_yaml(tmp_path / "a.yaml")
    with pytest.raises(ConfigError, match=r"its value is no YAML \([^\n]+\)$"):
        parse_overrides([f"a={text}"] if "\n" not in text[:-1] else ["a=[1"])


BOMB = "a: &a [1, 2]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in itertools.pairwise("abcdefghijkl")
)


@pytest.mark.parametrize("text", [BOMB, "model: &a {name: *a}\n"], ids=["a bomb", "within itself"])
def test_yaml_that_stands_for_much_more_than_it_seems(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match="aliases stand for more than 100000 values"):
        read_yaml(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("a: &a [1, 2]\nb: *a\nc: [*a, *a]\n")
    assert read_yaml(tmp_path / "a.yaml")["c"] == [[1, 2], [1, 2]]


def test_yaml_names_the_line(tmp_path):
    (tmp_path / "a.yaml").write_text("train:\n  steps: 3\n  batch_size 4\n")
    with pytest.raises(ConfigError, match=r"no valid YAML: line 4, column 1: could not find expected ':'"):
        read_yaml(tmp_path / "a.yaml")


def test_a_small_file_that_claims_a_huge_picture(tmp_path):
    png = bytearray(picture("PNG"))
    png[16:24] = (9000).to_bytes(4, "big") * 2
    (tmp_path / "a.png").write_bytes(with_checksums(bytes(png)))
    with pytest.raises(FileError, match=rf"claims 9000×9000 pixels in {len(png)} bytes"):
        open_photo(tmp_path / "a.png", 8, 3)


@pytest.mark.parametrize(
    "line", ['{"kind": "valid"}', '{"kind": "valid", "step": "6"}', "[[" * 9000, '{"step": 1e999}']
)
def test_a_line_of_metrics_without_a_step_counts_for_nothing(tmp_path, line):
    content, read = of_a_run(tmp_path)
    expected = read(content)["better"]
    assert "-3.0000 after step 6" in expected
    assert read(line.encode() + b"\n" + content + line.encode())["better"] == expected


def test_metrics_of_a_run_without_numbers(tmp_path):
    _, read = of_a_run(tmp_path)
    assert "better" not in read(metrics_file(nll_nats="a lot"))


def test_an_evaluations_cache_that_is_no_text(tmp_path):
    Cache(tmp_path / "cache.jsonl").put(3.5, "a")
    content = (tmp_path / "cache.jsonl").read_bytes()
    (tmp_path / "cache.jsonl").write_bytes(b'["\xff", 1]\n' + content)
    assert Cache(tmp_path / "cache.jsonl").get("a") == 3.5


def test_an_onnx_file_whose_graph_cannot_be_run(tmp_path):
    model = onnx.load_from_string(onnx_file())
    model.graph.initializer[0].int64_data[:] = [2]  # it squeezes the axis of time
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(OnnxFileError, match=r"a\.onnx: its graph can't be run \([^\n]*Squeeze[^\n]*\)$"):
        OnnxVocoder(tmp_path / "a.onnx").synthesize(a_mel())


@pytest.mark.parametrize(
    ("shape", "says"), [((), "give [T] or [B, T]"), ((2, 3, 40), "give [T] or"), ((90, 2), "wav.T")]
)
def test_an_exported_vocoder_takes_audio_as_the_other_does(tmp_path, shape, says):
    (tmp_path / "a.onnx").write_bytes(onnx_file())
    vocoder = OnnxVocoder(tmp_path / "a.onnx")
    for call in (vocoder.mel, vocoder):
        with pytest.raises(ValueError, match="audio") as caught:
            call(np.zeros(shape, np.float32), 8000)
        assert says in str(caught.value)
    with pytest.raises(ValueError, match="the sample rate is 10 Hz; it must be from 4000 to 192000"):
        vocoder.mel(np.zeros(90, np.float32), 10)


@pytest.mark.parametrize("info", [3, [1], True, "a"])
def test_a_checkpoint_whose_info_is_no_mapping(tmp_path, info):
    with pytest.raises(CheckpointError, match="no configuration of a checkpoint"):
        of_configs(tmp_path)({**CONFIGS, "info": info})
    assert of_configs(tmp_path)({**CONFIGS, "info": None}) == 0


@pytest.mark.parametrize("recipe", ["lapglow", {"optim": 3}, {"optim": {"lr": "fast"}}, {"optim": {"rate": 1e-4}}])
def test_a_recipe_of_weights_that_says_nothing(recipe):
    with pytest.raises(ConfigError, match="recipe"):
        fine_tuning({"recipe": recipe})
    assert fine_tuning({"recipe": {"optim": {"lr": 1e-3}}})["optim"]["lr"] == pytest.approx(2e-4)


def test_a_list_of_no_attributes(tmp_path):
    with pytest.raises(ConfigError, match="names no attribute in its second line"):
        celeba(tmp_path)(("1\n\n0.jpg", "0.jpg 0"))


def test_an_onnx_files_words_stay_in_a_line(tmp_path):
    with pytest.raises(OnnxFileError, match=r"^[^\n]*latents follow 'a\\nb', which is unknown[^\n]*$"):
        of_metadata(tmp_path)({**ABOUT, "latents": [[1, 16, "a\nb"]]})


# ---- The fuzzer ------------------------------------------------------------------------------------------------------


def test_a_complaint_is_made(monkeypatch):
    assert "raises KeyError" in complaint(lambda: {}["a"])
    monkeypatch.setattr(fuzzing, "MOST_SECONDS", 0.1)
    assert "takes 0." in complaint(lambda: [sum(range(10**6)) for _ in range(20)])
    assert complaint(lambda: built({"name": "glow", "n_levels": "many"})) is None
    (seed, said), *_ = complaints(Reader(b'{"a": [1, 2]}', json.loads), SEEDS)
    assert "raises" in said
    assert mutated(b"abc", seed) == mutated(b"abc", seed)


def test_a_crash_and_a_hang_are_findings(monkeypatch):
    monkeypatch.setattr(fuzzing, "HANGS_SECONDS", 0.5)
    found = turn(lambda seed: os._exit(11) if seed == 3 else None, 1, seconds=60)
    assert (found.end, found.found) == (4, ["seed 3: ends its process with 11"])
    assert turn(lambda seed: time.sleep(60), 1, seconds=60).found == ["seed 1: hangs for 0 s"]
    assert turn(lambda seed: f"is {seed}" if seed == 2 else time.sleep(0.01), 1, seconds=0.3).found == ["seed 2: is 2"]
