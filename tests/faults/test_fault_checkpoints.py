"""Faults 25 to 31: checkpoints and configurations. Exit code 4 for the former, 2 for the latter; nothing runs code."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import waveglow
from waveglow.models.checkpoint import CONFIG, WEIGHTS
from waveglow.models.whole_directory import MANIFEST, sha256, write_directory

fault = pytest.mark.fault
Tensors = dict[str, torch.Tensor]


@pytest.fixture
def mine(tiny, tmp_path) -> Path:
    """A checkpoint that may be damaged."""
    return shutil.copytree(tiny, tmp_path / "mine")


def with_weights(directory: Path, edit: Callable[[Tensors], object]) -> None:
    """Other tensors, under a manifest that fits them."""
    tensors = load_file(directory / WEIGHTS)
    edit(tensors)
    _rewrite(directory, WEIGHTS, lambda path: save_file(tensors, path))


def with_config(directory: Path, edit: Callable[[dict], object]) -> None:
    """Another configuration, under a manifest that fits it."""
    config = json.loads((directory / CONFIG).read_text("utf-8"))
    edit(config)
    _rewrite(directory, CONFIG, lambda path: path.write_text(json.dumps(config)))


def _rewrite(directory: Path, name: str, write: Callable[[Path], object]) -> None:
    other = ({CONFIG, WEIGHTS} - {name}).pop()
    write_directory(directory, {name: write, other: lambda path: shutil.copyfile(directory / other, path)})


# ---- Damaged files ---------------------------------------------------------------------------------------------------


@fault(25, "weights with a flipped byte, or cut off", "exit 4", "model.safetensors: differs from its manifest")
@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_fault_25_damaged_weights(promise, mine, damage):
    content = bytearray((mine / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (mine / WEIGHTS).write_bytes(content if damage == "flipped" else content[:-100])
    promise.command("info", mine)


@fault(25, "a file or the manifest that is missing", "exit 4", "is missing")
@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_fault_25_missing_files(promise, mine, name):
    (mine / name).unlink()
    promise.command("info", mine)


@fault(25, "a damaged newest checkpoint of a run that is resumed", "exit 0", "resumed from step_00000003")
def test_fault_25_a_run_goes_on_from_the_one_before(promise, train):
    _, run = train("train.steps=4")
    weights = run / "checkpoints" / "step_00000004" / "train.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    said = promise.ended(train("train.steps=4")[0])
    assert "train.safetensors: differs from its manifest" in said
    assert (run / "checkpoints" / "step_00000004.corrupt").is_dir()


# ---- Code ------------------------------------------------------------------------------------------------------------


class Touch:
    """What a malicious pickle would run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@fault(26, "a .pt checkpoint that runs code", "exit 4", "system")
def test_fault_26_convert_runs_no_code(promise, tmp_path):
    torch.save({"model": {"weight": torch.zeros(2)}, "extra": Touch(tmp_path / "touched")}, tmp_path / "evil.pt")
    promise.command("convert", tmp_path / "evil.pt", tmp_path / "out")
    assert not (tmp_path / "touched").exists()
    assert not (tmp_path / "out").exists()
    torch.load(tmp_path / "evil.pt", weights_only=False)
    assert (tmp_path / "touched").exists()  # it would have


@fault(26, "a .pt mel that runs code", "exit 3", "evil.pt: no valid .pt file")
def test_fault_26_a_mel_runs_no_code(promise, tiny, tmp_path):
    torch.save({"mel": Touch(tmp_path / "touched")}, tmp_path / "evil.pt")
    promise.command("synth", "-c", tiny, tmp_path / "evil.pt", tmp_path / "out.wav")
    assert not (tmp_path / "touched").exists()


@fault(26, "a .pt file as the checkpoint to use", "exit 4", "for a .pt file use `waveglow convert`")
def test_fault_26_a_pt_file_is_no_checkpoint(promise, tmp_path):
    torch.save({"weight": Touch(tmp_path / "touched")}, tmp_path / "evil.pt")
    promise.command("info", tmp_path / "evil.pt")
    assert not (tmp_path / "touched").exists()


# ---- Tensors and configurations that don't fit -----------------------------------------------------------------------

MISFITS: dict[str, Callable[[Tensors], object]] = {
    "missing": lambda tensors: tensors.pop("conditioner.conv.bias"),
    "extra": lambda tensors: tensors.update(extra=torch.zeros(3)),
    "renamed": lambda tensors: tensors.update(elsewhere=tensors.pop("conditioner.conv.bias")),
    "100 000": lambda tensors: tensors.update({f"t{i}": torch.zeros(0) for i in range(100_000)}),
}


@fault(27, "tensors that are missing, unknown, renamed or 100 000", "exit 4", "config and weights don't fit")
@pytest.mark.parametrize("misfit", MISFITS)
def test_fault_27_other_tensors(promise, mine, misfit):
    with_weights(mine, MISFITS[misfit])
    promise.command("info", mine)


@fault(27, "a tensor of another shape", "exit 4", "the configuration asks for (80,)")
def test_fault_27_a_huge_tensor(promise, mine):
    with_weights(mine, lambda tensors: tensors.update({"conditioner.conv.bias": torch.zeros(10_000_000)}))
    promise.command("info", mine)


@fault(27, "a safetensors file whose header promises a terabyte", "exit 4", "is no valid safetensors file")
def test_fault_27_a_header_that_promises_a_terabyte(promise, mine):
    header = json.dumps({"weight": {"dtype": "F32", "shape": [1 << 38], "data_offsets": [0, 1 << 40]}}).encode()
    _rewrite(mine, WEIGHTS, lambda path: path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(100)))
    promise.command("info", mine)


@fault(28, "a checkpoint of a newer version", "exit 4", "reads 1; upgrade waveglow")
def test_fault_28_a_newer_format(promise, mine):
    with_config(mine, lambda config: config.update(format=2))
    promise.command("info", mine)


@fault(28, "a misspelt key in a checkpoint", "exit 4", "did you mean 'n_channels'?")
def test_fault_28_an_unknown_key_of_a_checkpoint(promise, mine):
    with_config(mine, lambda config: config["model"].update(n_chanels=4))
    promise.command("info", mine)


@fault(28, "a misspelt key in a configuration", "exit 2", "unknown key 'train.batchsize'; did you mean 'batch_size'?")
def test_fault_28_an_unknown_key(promise, train):
    promise.ended(train("train.batchsize=3")[0])


@fault(28, "a value of the wrong type", "exit 2", "train.steps is 'many' (str); it must be int")
def test_fault_28_a_wrong_type(promise, train):
    promise.ended(train("train.steps=many")[0])


@fault(28, "a configuration that names a class to call", "exit 2", "unknown key")
@pytest.mark.parametrize("key", ["_target_", "class_path"])
def test_fault_28_a_class_to_call(promise, train, key):
    assert key in promise.ended(train(f"optim.{key}=os.system")[0])


@fault(28, "YAML that runs code", "exit 2", "no valid YAML")
def test_fault_28_yaml_that_runs_code(promise, tmp_path, train):
    (tmp_path / "evil.yaml").write_text(f"optim: !!python/object/apply:os.system ['touch {tmp_path / 'touched'}']")
    promise.ended(train(config=tmp_path / "evil.yaml")[0])
    assert not (tmp_path / "touched").exists()


# ---- Names that lead elsewhere ---------------------------------------------------------------------------------------


@fault(29, "a manifest whose names lead out of its directory", "exit 4", "is missing")
@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "C:\\outside", "a\0b"], ids=ascii)
def test_fault_29_a_manifest_leads_nowhere_else(promise, mine, name):
    (mine.parent / "outside").write_bytes(b"secret")
    manifest = json.loads((mine / MANIFEST).read_text())
    manifest[name] = {"bytes": 6, "sha256": sha256(mine.parent / "outside")}
    (mine / MANIFEST).write_text(json.dumps(manifest))
    promise.command("info", mine)


@fault(29, "a checkpoint's name with a NUL", "exit 4", "does not exist")
def test_fault_29_a_name_with_a_nul(promise):
    promise.command("info", "a\0b")


@fault(29, "a zip file of pictures whose members lead out of it", "exit 2", "has 0 pictures")
def test_fault_29_members_of_an_archive_are_written_nowhere(promise, tmp_path):
    import io
    import zipfile

    from PIL import Image

    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        for number in range(4):
            picture = io.BytesIO()
            Image.new("RGB", (8, 8), (60 * number, 9, 9)).save(picture, "PNG")
            archive.writestr(f"../../evil{number}.png", picture.getvalue())
    out = tmp_path / "deep" / "deeper" / "out"
    promise.command("image", "prepare", "--dataset", "imagefolder", "--size", 8, tmp_path / "evil.zip", out)
    assert not list(tmp_path.parent.rglob("evil*.png"))


@fault(30, "the name of a model that isn't here", "CheckpointError", "does not exist; give a checkpoint directory")
def test_fault_30_nothing_is_downloaded(promise, monkeypatch):
    monkeypatch.setattr(socket, "socket", None)
    with promise.raised():
        waveglow.load("someone/voice")


@fault(30, "a partial download", "exit 4", "no readable safetensors")
def test_fault_30_a_partial_download(promise, tiny, tmp_path):
    content = (tiny / WEIGHTS).read_bytes()
    (tmp_path / "half.safetensors").write_bytes(content[: len(content) // 2])
    promise.command("convert", tmp_path / "half.safetensors", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---- Weights that mean nothing ---------------------------------------------------------------------------------------


@fault(31, "NaN or infinite weights", "exit 4", "has 1 NaN or infinite values of")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_fault_31_weights_that_are_not_finite(promise, mine, value):
    with_weights(mine, lambda tensors: tensors["conditioner.conv.bias"].view(-1)[:1].fill_(value))
    promise.command("info", mine)


@fault(
    31, "weight norm of a direction of length 0", "exit 4", "has a direction of length 0, which weight norm divides by"
)
def test_fault_31_a_direction_of_no_length(promise, mine):
    name = "flow.levels.0.layers.3.net.start.parametrizations.weight.original1"
    with_weights(mine, lambda tensors: tensors[name][0].zero_())
    promise.command("info", mine)


@fault(31, "a 1×1 convolution without an inverse", "exit 4", "flow.levels.0.layers.2")
def test_fault_31_a_singular_convolution(promise, mine):
    with_weights(mine, lambda tensors: tensors["flow.levels.0.layers.2.weight"][0].zero_())
    promise.command("info", mine)
