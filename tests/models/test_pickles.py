"""Reading pickled checkpoints: the published layout, torch.save's formats, attacks and damage.

The golden files were made by NVIDIA/waveglow 8afb643 `glow.py` with random weights; layout_c holds the same tensors.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import re
import struct
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from waveglow.models.published import pickle_machine, pickles
from waveglow.models.published.pickles import UnreadableCheckpoint, read_tensors

GOLDEN = Path(__file__).parents[1] / "golden"
FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def save(path: Path, content: object, *, zipped: bool = True, protocol: int = 2) -> Path:
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    return path


def save_program(path: Path, program: bytes, *, zipped: bool = True, data: bytes = b"", little: bool = True) -> Path:
    """A checkpoint whose object is any pickle, with one storage named 0."""
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/byteorder", "little" if little else "big")
            archive.writestr("archive/data.pkl", program)
            archive.writestr("archive/data/0", data)
    else:
        start = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": little}]
        path.write_bytes(b"".join(pickle.dumps(part, 2) for part in start) + program + pickle.dumps([], 2))
    return path


def assert_same(tensors: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert list(tensors) == list(expected)
    for name, tensor in expected.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor), name


# ---- What is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["module", "legacy", "training"])
def test_published_layout_gives_the_tensors_of_the_state_dict(kind):
    checkpoint = read_tensors(GOLDEN / f"nvidia_waveglow_pickled_{kind}.pt")
    golden = load_file(GOLDEN / "nvidia_waveglow_layout_c.safetensors")
    expected = {key.removeprefix("state."): tensor for key, tensor in golden.items() if key.startswith("state.")}
    assert len(expected) == 326
    assert_same(dict(sorted(checkpoint.tensors.items())), dict(sorted(expected.items())))
    assert "glow" not in sys.modules


def test_training_checkpoint_keeps_the_plain_entries():
    plain = read_tensors(GOLDEN / "nvidia_waveglow_pickled_training.pt").plain
    assert set(plain) == {"iteration", "learning_rate", "optimizer"}
    assert plain["iteration"] == 7
    json.dumps(plain)


@FORMATS
@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("key", ["model", "state_dict", None])
def test_state_dict_forms(tmp_path, key, protocol, zipped):
    state = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).state_dict()
    path = save(tmp_path / "a.pt", {key: state, "epoch": 3} if key else state, zipped=zipped, protocol=protocol)
    checkpoint = read_tensors(path)
    assert_same(checkpoint.tensors, state)
    assert checkpoint.plain == ({"epoch": 3} if key else {})


@FORMATS
def test_dtypes_views_and_empty_tensors(tmp_path, zipped):
    base = torch.randn(4, 6)
    tensors = {
        "base": base,
        "transposed": base.T,
        "column": base[1:, 2],
        "steps": base[::2, 1::3],
        "scalar": base[3, 5],
    }
    tensors["empty"] = torch.empty(0, 3)
    for name in ("float16", "bfloat16", "float64", "int8", "uint8", "int16", "int32", "int64", "bool"):
        tensors[name] = torch.tensor([[0, 1, 2], [3, 4, 5]]).to(getattr(torch, name))
    read = read_tensors(save(tmp_path / "a.pt", tensors, zipped=zipped)).tensors
    assert_same(read, tensors)
    assert read["transposed"].untyped_storage().data_ptr() == read["base"].untyped_storage().data_ptr()


@FORMATS
def test_parameters_are_read_without_gradient(tmp_path, zipped):
    read = read_tensors(save(tmp_path / "a.pt", {"w": nn.Parameter(torch.ones(3))}, zipped=zipped)).tensors
    assert_same(read, {"w": torch.ones(3)})
    assert not read["w"].requires_grad


def test_cuda_storages_are_read_to_the_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
    path = save(tmp_path / "a.pt", {"w": torch.ones(3)})
    assert b"cuda:0" in path.read_bytes()
    assert read_tensors(path).tensors["w"].device.type == "cpu"


@FORMATS
def test_module_tree_has_the_names_of_its_state_dict(tmp_path, zipped):
    tied = nn.Conv1d(2, 2, 1, bias=False)
    module = nn.DataParallel(nn.Sequential(nn.BatchNorm1d(2), nn.ModuleList([tied, tied]), nn.PReLU()))
    module.module.register_buffer("temporary", torch.zeros(2), persistent=False)
    module.module.register_buffer("absent", None)
    module.module.cached = torch.ones(2)
    path = save(tmp_path / "a.pt", module, zipped=zipped)
    assert_same(read_tensors(path).tensors, dict(module.state_dict()))
    assert "module.1.1.weight" in module.state_dict()


def test_module_of_before_non_persistent_buffers(tmp_path):
    module = nn.BatchNorm1d(2)
    del module.__dict__["_non_persistent_buffers_set"]
    names = list(read_tensors(save(tmp_path / "a.pt", {"model": module})).tensors)
    assert names == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]


def test_optimizer_objects_and_tensors_are_not_plain(tmp_path):
    layer = nn.Linear(2, 2)
    content = {"model": layer, "optimizer": torch.optim.Adam(layer.parameters()), "rng": torch.zeros(2), "lr": (1, 0.5)}
    checkpoint = read_tensors(save(tmp_path / "a.pt", content))
    assert checkpoint.plain == {"lr": [1, 0.5]}
    assert_same(checkpoint.tensors, dict(layer.state_dict()))


# ---- Attacks ---------------------------------------------------------------------------------------------------------


class Call:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@FORMATS
@pytest.mark.parametrize("place", ["beside", "bare", "in the state dict"])
@pytest.mark.parametrize(("function", "code"), [(os.system, "echo > {}"), (eval, "open({!r}, 'w').close()")])
def test_code_in_the_file_is_refused_and_not_run(tmp_path, function, code, place, zipped):
    written = tmp_path / "written"
    call = Call(function, code.format(str(written)))
    content = {"beside": {"model": {"w": torch.ones(1)}, "x": call}, "bare": call, "in the state dict": {"w": call}}[
        place
    ]
    path = save(tmp_path / "a.pt", content, zipped=zipped)
    with pytest.raises(UnreadableCheckpoint, match=rf"a\.pt: .*{function.__name__}.*no code from the file was run"):
        read_tensors(path)
    assert not written.exists()
    torch.load(path, weights_only=False)
    assert written.exists()  # so the attack was real


OTHER_GLOBALS = """
    torch load; torch.serialization load; torch.hub load; torch.jit load; torch FloatTensor; torch.nnx y; numpy load
    torch._utils _rebuild_wrapper_subclass; functools partial; builtins getattr; builtins exec; __builtin__ eval
    posix system; subprocess Popen; importlib import_module; pickle loads; runpy run_path; operator attrgetter
    copy_reg _reconstructor; os glow.WaveGlow
"""


@FORMATS
@pytest.mark.parametrize("name", [name.strip() for name in OTHER_GLOBALS.strip().replace("\n", ";").split(";")])
def test_every_other_global_is_refused_by_name(tmp_path, name, zipped):
    module, attribute = name.encode().split()
    strings = b"".join(b"\x8c" + bytes([len(part)]) + part for part in (module, attribute))
    for program in (b"\x80\x02c" + module + b"\n" + attribute + b"\n.", b"\x80\x04" + strings + b"\x93."):
        with pytest.raises(UnreadableCheckpoint, match=re.escape(repr(name.replace(" ", ".")))):
            read_tensors(save_program(tmp_path / "a.pt", program, zipped=zipped))


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"(S'x'\nios\nsystem\n.", "opcode"),
        (b"(cglow\nWaveGlow\no.", "opcode OBJ"),
        (b"\x82\x01.", "opcode EXT1"),
        (b"Pos\n.", "opcode PERSID"),
        (b"N)R.", "calls what is no function"),
        (b"ctorch\nFloatStorage\n)R.", "calls what is no function"),
        (b"]}b.", "sets attributes"),
        (b"]NNs.", "no dictionary"),
        (b"}Na.", "no list"),
        (b"NQ.", "refers to data in an unknown way"),
        (b"cglow\nWaveGlow\n)\x81}X\x0b\x00\x00\x00__setstate__Nsb.", "damaged|no torch module"),
        (b"cglow\nWaveGlow\n.", "neither a dictionary nor a module"),
    ],
)
def test_opcodes_that_could_do_something_are_refused(tmp_path, program, message):
    with pytest.raises(UnreadableCheckpoint, match=message):
        read_tensors(save_program(tmp_path / "a.pt", b"\x80\x02" + program))


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"}(" + b"\x85" * 5000 + b".", "damaged"),
        (b"]r\xff\xff\xff\xff.", "neither a dictionary nor a module"),
        (b"\x8b\xff\xff\xff\x7f.", "damaged"),
        (b"\x8d" + b"\xff" * 7 + b"\x0f.", "damaged"),
    ],
    ids=["tuples", "memo", "long", "text"],
)
def test_programs_that_would_exhaust_an_unpickler(tmp_path, program, message):
    with pytest.raises(UnreadableCheckpoint, match=message):
        read_tensors(save_program(tmp_path / "a.pt", b"\x80\x02" + program))


def nested(value: object, *, times: int = 60) -> object:
    """A few bytes of pickle that describe 2**times values."""
    for _ in range(times):
        value = [value, value]
    return value


def test_billions_of_plain_values_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "MAX_PLAIN_VALUES", 1000)
    with pytest.raises(UnreadableCheckpoint, match="more than 1000 values"):
        read_tensors(save(tmp_path / "a.pt", {"w": torch.ones(1), "x": nested(1)}))


def test_billions_of_modules_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "MAX_TENSORS", 1000)
    module: nn.Module = nn.ReLU()
    for _ in range(60):
        module = nn.ModuleList([module, module])
    with pytest.raises(UnreadableCheckpoint, match="more than 1000 tensors or modules"):
        read_tensors(save(tmp_path / "a.pt", module))


def test_endless_module_is_refused(tmp_path):
    module = nn.ReLU()
    module._modules["again"] = module
    with pytest.raises(UnreadableCheckpoint, match=r"name that is no text|nested deeper"):
        read_tensors(save(tmp_path / "a.pt", module))


def test_tuple_as_a_key_is_refused_before_it_is_hashed(tmp_path):
    program = b"\x80\x02})" + b"q\x00h\x00\x86" * 60 + b"Ns."
    with pytest.raises(UnreadableCheckpoint, match="tuple as a dictionary's key"):
        read_tensors(save_program(tmp_path / "a.pt", program))


@FORMATS
def test_too_many_tensors_are_refused(tmp_path, monkeypatch, zipped):
    monkeypatch.setattr(pickles, "MAX_TENSORS", 3)
    read_tensors(save(tmp_path / "a.pt", {str(n): torch.ones(1) for n in range(3)}, zipped=zipped))
    with pytest.raises(UnreadableCheckpoint, match="more than 3 tensors"):
        read_tensors(save(tmp_path / "a.pt", {str(n): torch.ones(1) for n in range(4)}, zipped=zipped))


@FORMATS
def test_too_long_pickle_is_refused(tmp_path, monkeypatch, zipped):
    monkeypatch.setattr(pickle_machine, "MAX_PICKLE_BYTES", 1000)
    with pytest.raises(UnreadableCheckpoint, match="pickle over 1000 bytes"):
        read_tensors(save(tmp_path / "a.pt", {"w": torch.ones(1), "x": [None] * 2000}, zipped=zipped))


# ---- Sizes and damage ------------------------------------------------------------------------------------------------


class Storage:
    """What torch.save makes a persistent id of."""

    def __init__(self, elements: int):
        self.elements = elements


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return ("storage", torch.FloatStorage, "0", "cpu", value.elements) if isinstance(value, Storage) else None


def program(content: object) -> bytes:
    buffer = io.BytesIO()
    Pickler(buffer, 2).dump(content)
    return buffer.getvalue()


def tensor_program(*, elements: int = 4, offset: object = 0, size: object = (4,), stride: object = (1,)) -> bytes:
    return program({"w": Call(torch._utils._rebuild_tensor, Storage(elements), offset, size, stride)})


def test_tensor_program_is_right_unless_changed(tmp_path):
    path = save_program(tmp_path / "a.pt", tensor_program(), data=struct.pack("<4f", 1, 2, 3, 4))
    assert read_tensors(path).tensors["w"].tolist() == [1, 2, 3, 4]


def test_stubbed_calls_are_recorded_only(tmp_path):
    """Modules of torch <= 1.2 name a function for their backend, which torch no longer has."""
    call = b"ctorch.nn.backends.thnn\n_get_thnn_function_backend\n)R"
    nesting = tensor_program().removesuffix(b".") + b"X\x01\x00\x00\x00a" + call + b"s."
    checkpoint = read_tensors(save_program(tmp_path / "a.pt", nesting, data=bytes(16)))
    assert list(checkpoint.tensors) == ["w"]
    assert checkpoint.plain == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"elements": 5}, "lacks the data"),
        ({"elements": 2**60}, "lacks the data"),
        ({"elements": -4}, "refers to data"),
        ({"offset": 1}, "larger than its data"),
        ({"offset": -1}, "without a valid shape"),
        ({"offset": 2**200}, "without a valid shape"),
        ({"size": (5,)}, "larger than its data"),
        ({"size": (2**62, 4), "stride": (0, 1)}, "larger than its data"),
        ({"size": (-1,)}, "without a valid shape"),
        ({"size": ("4",)}, "without a valid shape"),
        ({"size": (2, 2)}, "without a valid shape"),
        ({"size": (1,) * 65, "stride": (1,) * 65}, "without a valid shape"),
        ({"stride": (2,)}, "larger than its data"),
        ({"stride": (-1,)}, "without a valid shape"),
        ({"size": 4}, "damaged"),
    ],
)
def test_tensors_outside_their_data_are_refused(tmp_path, change, message):
    path = save_program(tmp_path / "a.pt", tensor_program(**change), data=bytes(16))
    with pytest.raises(UnreadableCheckpoint, match=message):
        read_tensors(path)


def test_endless_nesting_is_refused(tmp_path):
    nesting = tensor_program().removesuffix(b".") + b"X\x01\x00\x00\x00a" + b"]" * 5000 + b"a" * 4999 + b"s."
    with pytest.raises(UnreadableCheckpoint, match="nested deeper"):
        read_tensors(save_program(tmp_path / "a.pt", nesting, data=bytes(16)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Call(torch._utils._rebuild_tensor, 1, 0, (4,), (1,)), "tensor without data"),
        (Call(torch._utils._rebuild_tensor_v2, Storage(4), 0, (4,), (1,), False, {}, {"neg": True}), "lazy"),
        (Call(OrderedDict, [["w", 1]]), "Python 2"),
        ([Storage(4), Storage(3)], "in two ways"),
    ],
)
def test_other_descriptions_of_tensors_are_refused(tmp_path, content, message):
    with pytest.raises(UnreadableCheckpoint, match=message):
        read_tensors(save_program(tmp_path / "a.pt", program(content), data=bytes(16)))


def test_legacy_sizes_are_compared_before_reading(tmp_path):
    path = save(tmp_path / "a.pt", {"w": torch.ones(4)}, zipped=False)
    content = path.read_bytes()
    for elements in (3, 5, 2**60, -1):
        path.write_bytes(content[:-24] + struct.pack("<q", elements) + content[-16:])
        with pytest.raises(UnreadableCheckpoint, match="lacks the data"):
            read_tensors(path)


def test_compressed_zip_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", tensor_program(elements=2**22, size=(2**22,)))
        archive.writestr("archive/data/0", bytes(2**24))
    with pytest.raises(UnreadableCheckpoint, match="compressed"):
        read_tensors(tmp_path / "a.pt")


def test_compression_is_refused_whatever_it_saves(tmp_path):
    with zipfile.ZipFile(save_program(tmp_path / "a.pt", tensor_program(), data=bytes(16)), "a") as archive:
        archive.writestr("archive/version", b"3", zipfile.ZIP_DEFLATED)
    with pytest.raises(UnreadableCheckpoint, match="is compressed"):
        read_tensors(tmp_path / "a.pt")


def test_zip_that_claims_more_data_than_it_has_is_refused(tmp_path):
    path = save_program(tmp_path / "a.pt", tensor_program(elements=2**30, size=(2**30,)), data=bytes(16))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/version", b"3")
        archive.getinfo("archive/data/0").file_size = archive.getinfo("archive/data/0").compress_size = 2**32
    with pytest.raises(UnreadableCheckpoint, match="claims more data than it has"):
        read_tensors(path)


def test_zip_file_around_a_checkpoint_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("folder/waveglow.pt", b"")
    with pytest.raises(UnreadableCheckpoint, match="unpack it"):
        read_tensors(tmp_path / "a.pt")


@FORMATS
def test_big_endian_is_refused(tmp_path, zipped):
    path = save_program(tmp_path / "a.pt", b"\x80\x02}.", zipped=zipped, little=False)
    with pytest.raises(UnreadableCheckpoint, match="big-endian"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no file of torch.save, or an empty one"),
        (b"version https://git-lfs.github.com/spec/v1\n", "no file of torch.save"),
        (b"<!DOCTYPE html>", "no file of torch.save"),
        (b"\x80\x02", "damaged"),
        (pickle.dumps({"w": 1}, 2), "none of torch.save"),
        (b"PK\x03\x04", "damaged"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    with pytest.raises(UnreadableCheckpoint, match=message):
        read_tensors(path)


def test_missing_file_and_folder_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "missing.pt"):
        with pytest.raises(UnreadableCheckpoint, match=f"{path}: can't be read"):
            read_tensors(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "no module and no state dict"),
        ({"model": {"epoch": 1}}, "'epoch', which is no tensor"),
        ({"iteration": 1}, "no module and no state dict"),
        ([torch.ones(1)], "neither a dictionary nor a module"),
        ({"model": torch.nn.ReLU}, "no module and no state dict"),
        ({1: torch.ones(1)}, "no text"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path, content, message):
    with pytest.raises(UnreadableCheckpoint, match=message):
        read_tensors(save(tmp_path / "a.pt", content))


def sample(path: Path, *, zipped: bool) -> bytes:
    content = {"model": nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), "iteration": 3, "config": {"a": [1, 2.5]}}
    return save(path, content, zipped=zipped).read_bytes()


def test_legacy_file_without_its_last_byte_lacks_data(tmp_path):
    path = tmp_path / "a.pt"
    path.write_bytes(sample(path, zipped=False)[:-1])
    with pytest.raises(UnreadableCheckpoint, match="lacks the data"):
        read_tensors(path)


@FORMATS
def test_truncated_files_are_refused(tmp_path, zipped):
    path = tmp_path / "a.pt"
    content = sample(path, zipped=zipped)
    for length in [*range(0, len(content), len(content) // 100), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(UnreadableCheckpoint, match=r"a\.pt: "):
            read_tensors(path)


@FORMATS
def test_flipped_bytes_give_an_error_or_tensors(tmp_path, zipped):
    path = tmp_path / "a.pt"
    content = sample(path, zipped=zipped)
    source = random.Random(0)
    refused = 0
    for _ in range(200):
        damaged = bytearray(content)
        for _ in range(source.choice([1, 1, 2, 8])):
            damaged[source.randrange(len(damaged))] = source.randrange(256)
        path.write_bytes(damaged)
        try:
            tensors = read_tensors(path).tensors
        except UnreadableCheckpoint:
            refused += 1
        else:
            assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())
    assert 50 < refused < 200
