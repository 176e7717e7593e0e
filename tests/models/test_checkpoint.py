"""Checkpoints: what is saved comes back bitwise, a directory is whole or refused with one clear sentence."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from waveglow.audio.mel import preset
from waveglow.models import checkpoint
from waveglow.models.checkpoint import CONFIG, WEIGHTS, CheckpointError, load, save
from waveglow.models.whole_directory import MANIFEST, sha256, verify, write_directory

NUMBERS = {"n_mels": 2, "hop": 8, "n_group": 4, "n_flows": 2, "n_layers": 2, "n_channels": 4}


@pytest.fixture
def directory(tmp_path, random_model) -> Path:
    """A sound checkpoint."""
    model, config = random_model(**NUMBERS)
    save(tmp_path / "step_00000010", model, config, mel_spec=preset("hifigan"), info={"step": 10, "who": "Zoë"})
    return tmp_path / "step_00000010"


def refused(path: Path, *parts: str) -> None:
    """One line that names the checkpoint and has these parts."""
    with pytest.raises(CheckpointError) as error:
        load(path)
    message = str(error.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    for part in parts:
        assert part in message


def rewrite(directory: Path, **contents: bytes | Callable[[Path], None]) -> None:
    """Other contents under a manifest that fits them, as someone would make who means to deceive."""
    writers = {
        name: lambda path, name=name: shutil.copyfile(directory / name, path)
        for name in (CONFIG, WEIGHTS)
        if name.split(".")[0] not in contents
    }
    names = {"config": CONFIG, "model": WEIGHTS}
    for key, content in contents.items():
        write = content if callable(content) else lambda path, content=content: path.write_bytes(content)
        writers[names[key]] = write
    write_directory(directory, writers)


def edited_config(directory: Path, **changes: object) -> bytes:
    return json.dumps({**json.loads((directory / CONFIG).read_text("utf-8")), **changes}).encode()


def edit_weights(directory: Path, edit: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(directory / WEIGHTS)
    edit(tensors)
    rewrite(directory, model=lambda path: save_file(tensors, path))


# ---- Round trip ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("numbers", [{}, {"lu": True}, {"actnorm": False}], ids=str)
def test_everything_comes_back(tmp_path, random_model, numbers):
    model, config = random_model(**NUMBERS, **numbers)
    spec = preset("bigvgan-44k-512")
    save(tmp_path / "a", model, config, mel_spec=spec, info={"step": 3, "who": "Zoë"})
    loaded = load(tmp_path / "a")
    state = loaded.model.state_dict()
    assert list(state) == list(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert state[name].dtype == tensor.dtype
        assert torch.equal(state[name], tensor), name
    assert loaded.model_config == config
    assert loaded.mel_spec == spec
    assert loaded.mel_spec.fingerprint == spec.fingerprint
    assert loaded.info == {"step": 3, "who": "Zoë"}
    assert loaded.path == tmp_path / "a"
    assert not loaded.model.training
    assert all(p.requires_grad and p.device.type == "cpu" for p in loaded.model.parameters())


def test_a_text_path_and_no_mel_convention(tmp_path, random_model):
    model, config = random_model(**NUMBERS)
    save(tmp_path / "a", model, config)
    loaded = load(str(tmp_path / "a"))
    assert loaded.mel_spec is None
    assert loaded.info == {}


def test_the_directory_holds_these_files_and_no_other(directory):
    assert sorted(os.listdir(directory)) == [MANIFEST, CONFIG, WEIGHTS]
    assert os.listdir(directory.parent) == [directory.name]
    manifest = json.loads((directory / MANIFEST).read_text())
    assert {name: entry["bytes"] for name, entry in manifest.items()} == {
        name: (directory / name).stat().st_size for name in (CONFIG, WEIGHTS)
    }


def test_half_precision_loads_as_float32(directory):
    before = load(directory).model.state_dict()

    def halve(tensors):
        for name, tensor in tensors.items():
            tensors[name] = tensor.half() if tensor.is_floating_point() else tensor

    edit_weights(directory, halve)
    after = load(directory).model
    assert {p.dtype for p in after.parameters()} == {torch.float32}
    for name, tensor in after.state_dict().items():
        assert torch.equal(tensor, before[name].half().to(tensor.dtype)), name


def test_a_checkpoint_may_be_moved_and_hold_a_name_with_spaces(directory, tmp_path):
    directory.rename(tmp_path / "my best (really)")
    assert load(tmp_path / "my best (really)").info["step"] == 10


# ---- Damage ----------------------------------------------------------------------------------------------------------


def test_what_is_no_checkpoint(tmp_path):
    refused(tmp_path / "absent", "does not exist", "training run")
    (tmp_path / "a.pt").write_bytes(b"PK")
    refused(tmp_path / "a.pt", "is a file", "waveglow convert")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no checkpoint", MANIFEST)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_flipped_byte(directory, name):
    content = bytearray((directory / name).read_bytes())
    content[len(content) // 2] ^= 1
    (directory / name).write_bytes(content)
    refused(directory, name, "differs from its manifest", "use another")


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
@pytest.mark.parametrize("keep", [0, 0.5, -1])
def test_a_truncated_file(directory, name, keep):
    content = (directory / name).read_bytes()
    (directory / name).write_bytes(content[: int(len(content) * keep) if keep >= 0 else keep])
    refused(directory, name, "differs from its manifest")


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_missing_file(directory, name):
    (directory / name).unlink()
    refused(directory, f"{name} is missing")


def test_a_missing_manifest(directory):
    (directory / MANIFEST).unlink()
    refused(directory, "no checkpoint", f"{MANIFEST} can't be read")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"3", b'{"config.json": {}}', b'{"config.json": 5}', b"\xff\xfe", b'{"a": null}']
)
def test_a_damaged_manifest(directory, content):
    (directory / MANIFEST).write_bytes(content)
    refused(directory, MANIFEST, "damaged")


def test_an_edited_config(directory):
    text = (directory / CONFIG).read_text("utf-8")
    (directory / CONFIG).write_text(text.replace('"n_channels": 4', '"n_channels": 8'), "utf-8")
    refused(directory, CONFIG, "damaged or edited")


@pytest.mark.parametrize(
    "name",
    ["../outside", "../step_00000010/config.json", "/etc/hostname", "sub/inside", "..", ".", "", "a\0b", "x" * 300],
)
def test_a_manifest_leads_nowhere_else(directory, name):
    """Also where the file is there, with the size and hash that the manifest says."""
    (directory.parent / "outside").write_bytes(b"secret")
    (directory / "sub").mkdir()
    (directory / "sub" / "inside").write_bytes(b"secret")
    manifest = json.loads((directory / MANIFEST).read_text())
    manifest[name] = {"bytes": 6, "sha256": sha256(directory.parent / "outside")}
    (directory / MANIFEST).write_text(json.dumps(manifest))
    refused(directory, "is missing")


# ---- Whole directories that don't fit --------------------------------------------------------------------------------


@pytest.mark.parametrize("left_out", [CONFIG, WEIGHTS])
def test_a_manifest_that_lists_too_little(directory, left_out):
    others = {n: lambda path, n=n: shutil.copyfile(directory / n, path) for n in {CONFIG, WEIGHTS} - {left_out}}
    write_directory(directory.parent / "other", others)
    refused(directory.parent / "other", left_out)


@pytest.mark.parametrize("version", [2, 99, "1", None, 1.5])
def test_another_format(directory, version):
    rewrite(directory, config=edited_config(directory, format=version))
    refused(directory, CONFIG, f"has format {version}", "reads 1", "upgrade")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'"text"', b"\xff", b'{"format": 1}', b'{"format": 1, "model": "x", "mel": null}'],
)
def test_no_configuration(directory, content):
    rewrite(directory, config=content)
    refused(directory, CONFIG, "damaged or no configuration")


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        ({"name": "waveglov"}, ["'waveglov'", "did you mean 'waveglow'?"]),
        ({"name": None}, ["None"]),
        ({"name": ["waveglow"]}, ["['waveglow']", "unknown"]),
        ({"name": "waveglow", "n_chanels": 4}, ["model.n_chanels", "did you mean 'n_channels'?"]),
        ({"name": "waveglow", "n_channels": "4"}, ["n_channels", "'4'", "int"]),
        ({"name": "waveglow", "n_channels": -4}, ["n_channels", "-4"]),
        ({"name": "waveglow", "hop": 9, "n_group": 4}, ["9", "4", "multiple"]),
    ],
)
def test_a_model_that_cannot_be_built(directory, model, parts):
    rewrite(directory, config=edited_config(directory, model=model))
    refused(directory, CONFIG, *parts)


@pytest.mark.parametrize(
    ("mel", "part"), [({"sample_rat": 1}, "sample_rate"), ([1], "mapping"), ("tacotron2", "mapping"), ({}, "lacks")]
)
def test_a_mel_convention_that_cannot_be_read(directory, mel, part):
    if mel == {}:
        mel = {"sample_rate": 22050}
    rewrite(directory, config=edited_config(directory, mel=mel))
    refused(directory, CONFIG, part)


def rename(tensors: dict[str, torch.Tensor]) -> None:
    tensors["elsewhere"] = tensors.pop(next(iter(tensors)))


def grow(tensors: dict[str, torch.Tensor]) -> None:
    tensors["conditioner.conv.bias"] = torch.zeros(1_000_000)


@pytest.mark.parametrize(
    ("edit", "parts"),
    [
        (lambda tensors: tensors.pop("conditioner.conv.bias"), ["lacks 'conditioner.conv.bias'", "1 missing"]),
        (lambda tensors: tensors.clear(), ["lacks", "missing"]),
        (lambda tensors: tensors.update(extra=torch.zeros(3)), ["has 'extra'", "1 unknown"]),
        (rename, ["lacks"]),
        (grow, ["conditioner.conv.bias is (1000000,)", "asks for (2,)"]),
        (
            lambda tensors: tensors.update({f"t{i}": torch.zeros(1) for i in range(10_000)}),
            ["has 't0'", "10000 unknown"],
        ),
    ],
    ids=["missing", "empty", "extra", "renamed", "huge", "10 000"],
)
def test_other_tensors_are_refused_before_any_is_read(directory, edit, parts, monkeypatch):
    edit_weights(directory, edit)
    opened = checkpoint.safe_open

    class NamesOnly:
        """A safetensors file whose tensors can't be read, only their names and shapes."""

        def __init__(self, path, framework):
            self.file = opened(path, framework=framework)

        def __enter__(self):
            inner = self.file.__enter__()
            self.keys, self.get_slice = inner.keys, inner.get_slice
            return self

        def __exit__(self, *error):
            return self.file.__exit__(*error)

    monkeypatch.setattr(checkpoint, "safe_open", NamesOnly)
    refused(directory, WEIGHTS, *parts, "don't fit" if "asks" not in parts[-1] else "")


def test_a_model_of_other_numbers_than_its_weights(directory):
    rewrite(directory, config=edited_config(directory, model={"name": "waveglow", **NUMBERS, "n_channels": 8}))
    refused(directory, WEIGHTS, "the configuration asks for")


def test_a_header_that_promises_a_terabyte(directory):
    """Neither the file's claim nor a configuration that agrees with it allocates it."""
    n_mels = 1 << 16  # the most that a configuration may say; with 32 taps half a terabyte
    header = json.dumps(
        {
            "conditioner.conv.weight": {
                "dtype": "F32",
                "shape": [n_mels, n_mels, 32],
                "data_offsets": [0, 4 * n_mels**2 * 32],
            }
        }
    ).encode()
    config = edited_config(directory, model={"name": "waveglow", **NUMBERS, "n_mels": n_mels})
    rewrite(directory, model=len(header).to_bytes(8, "little") + header + bytes(64), config=config)
    refused(directory, WEIGHTS, "no valid safetensors")


@pytest.mark.parametrize("content", [b"", b"\0" * 8, b"\xff" * 16, b"PK\x03\x04" + b"\0" * 60, b"{}" * 40])
def test_weights_that_are_no_safetensors(directory, content):
    rewrite(directory, model=content)
    refused(directory, WEIGHTS, "no valid safetensors")


# ---- Which checkpoint of a run ---------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, random_model) -> Path:
    """A run with steps 9, 10 and 200."""
    model, config = random_model(**NUMBERS)
    for step in (9, 10, 200):
        save(tmp_path / "run" / "checkpoints" / f"step_{step:08d}", model, config, info={"step": step})
    return tmp_path / "run"


def test_a_run_is_its_newest_step(run):
    assert load(run).info == {"step": 200}
    assert load(run / "checkpoints" / "step_00000009").info == {"step": 9}


def test_a_damaged_step_is_passed_over(run):
    (run / "checkpoints" / "step_00000200" / WEIGHTS).write_bytes(b"")
    assert load(run).info == {"step": 10}
    shutil.rmtree(run / "checkpoints" / "step_00000010")
    assert load(run).info == {"step": 9}


@pytest.mark.parametrize("name", ["step_00000300.tmp-17", "step_00000300.replaced-17", "step_x", "best", ".tmp-300"])
def test_unfinished_and_other_directories_are_never_taken(run, name):
    shutil.copytree(run / "checkpoints" / "step_00000009", run / "checkpoints" / name)
    (run / "checkpoints" / "step_00000400").write_text("no directory")
    assert load(run).info == {"step": 200}


def test_a_run_without_a_whole_checkpoint(run):
    for step in (run / "checkpoints").iterdir():
        (step / MANIFEST).unlink()
    refused(run, "none of its 3 checkpoints is whole")


# ---- Writing ---------------------------------------------------------------------------------------------------------


def text(content: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(content)


def contents(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir() if path.name != MANIFEST}


def test_an_older_directory_is_replaced(tmp_path):
    write_directory(tmp_path / "a", {"one": text("1"), "two": text("2")})
    write_directory(tmp_path / "a", {"one": text("3")})
    verify(tmp_path / "a")
    assert contents(tmp_path / "a") == {"one": "3"}
    assert os.listdir(tmp_path) == ["a"]


def test_parents_are_made(tmp_path):
    write_directory(tmp_path / "a" / "b" / "c", {"one": text("1")})
    verify(tmp_path / "a" / "b" / "c")


def fail(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def fail_at(monkeypatch: pytest.MonkeyPatch, name: str, call: int) -> None:
    """os.`name` fails at that call, counted from 1, and works before and after."""
    original, calls = getattr(os, name), iter(range(1, 1000))
    monkeypatch.setattr(os, name, lambda *args: fail() if next(calls) == call else original(*args))


FLUSHES = [("fsync", call) for call in (1, 2, 3, 4)]  # two files, the manifest, the directory


@pytest.mark.parametrize(
    ("existing", "function", "call"),
    [
        *[(False, *flush) for flush in FLUSHES],
        *[(True, *flush) for flush in FLUSHES],
        (False, "rename", 1),
        (True, "rename", 1),  # the old directory is moved away,
        (True, "rename", 2),  # the new one into its place
    ],
)
def test_an_error_leaves_the_old_and_nothing_beside_it(tmp_path, monkeypatch, existing, function, call):
    if existing:
        write_directory(tmp_path / "a", {"one": text("old")})
    fail_at(monkeypatch, function, call)
    with pytest.raises(OSError, match="No space"):
        write_directory(tmp_path / "a", {"one": text("new"), "two": text("new")})
    assert os.listdir(tmp_path) == ["a"] * existing
    if existing:
        verify(tmp_path / "a")
        assert contents(tmp_path / "a") == {"one": "old"}


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (OSError(28, "No space left on device"), OSError),
        (SafetensorError("I/O error: No space left on device (os error 28)"), OSError),  # what save_file raises there
        (ValueError("no JSON"), ValueError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=["disk", "safetensors", "value", "interrupt"],
)
def test_a_writer_that_fails_leaves_nothing(tmp_path, error, becomes):
    write_directory(tmp_path / "a", {"one": text("old")})

    def write(path: Path) -> None:
        path.write_text("half")
        raise error

    with pytest.raises(becomes):
        write_directory(tmp_path / "a", {"one": text("new"), "two": write})
    assert os.listdir(tmp_path) == ["a"]
    assert contents(tmp_path / "a") == {"one": "old"}


def test_to_load_a_voice_imports_no_compiler():
    """Of torch's operations on the meta device some import sympy and dynamo, five times the time of the load itself.

    Old versions of torch import sympy by themselves.
    """
    code = "import sys, waveglow; waveglow.load('lapglow'); print({'torch._dynamo'} & sys.modules.keys())"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "set()\n"
