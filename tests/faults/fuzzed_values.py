"""What Hypothesis makes up: headers, shapes, configurations and manifests, and what is done with each."""

from __future__ import annotations

import dataclasses
import inspect
import json
import struct
import typing
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
import yaml
from fuzzed_files import (
    NUMBERS,
    SPEC,
    celeba_folder,
    directory,
    heard,
    measured,
    of_cache,
    of_file,
    of_random_weights,
    onnx_file,
    photo,
    picture,
    with_checksums,
)
from fuzzing import Try, complaint
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from waveglow.audio.mel import PRESETS
from waveglow.audio.mel_presets import spec_of
from waveglow.config import load, merged, parse_overrides
from waveglow.data.image_sources import open_source
from waveglow.data.images import read_images
from waveglow.data.manifest import changes, content_hash, read_manifest, write_manifest
from waveglow.export.onnx_runtime import METADATA, OnnxVocoder
from waveglow.models import checkpoint
from waveglow.models.checkpoint import CONFIG, WEIGHTS
from waveglow.models.published.files import read_file
from waveglow.models.registry import MODELS, build
from waveglow.models.whole_directory import MANIFEST
from waveglow.training.config import RunConfig
from waveglow.training.image_config import ImageRunConfig
from waveglow.vocoder import Vocoder

EXAMPLES = 100  # of a seed


class Property(NamedTuple):
    """What is made up, and what is done with it in a folder."""

    values: st.SearchStrategy
    done_in: Callable[[Path], Callable[[typing.Any], object]]


def of_seed(holds: Property, folder: Path, *, examples: int = EXAMPLES) -> Try:
    """Tries so many examples of a seed."""
    do = holds.done_in(folder)

    def attempt(number: int) -> str | None:
        try:
            all_hold(holds.values, do, number, examples)()
        except Exception as error:  # Hypothesis's own too, where a complaint comes and goes
            return str(error)
        return None

    return attempt


def all_hold(
    values: st.SearchStrategy, do: Callable[[typing.Any], object], number: int, examples: int
) -> Callable[[], None]:
    checks = list(HealthCheck)

    @seed(number)
    @settings(
        max_examples=examples, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=checks
    )
    @given(values)
    def holds(value: object) -> None:
        said = complaint(lambda: do(value))
        assert said is None, f"{said[:300]}; of {value!r:.500}"

    return holds


# ---- What values are ------------------------------------------------------------------------------------------------

NUMBER = st.integers(-2, 20) | st.sampled_from([2**15, 2**31, 2**40, 2**63, 10**30])
VALUE = NUMBER | st.booleans() | st.none() | st.floats() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
JSON = st.recursive(
    VALUE, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
SIZE = st.sampled_from([0, 1, 2, 3, 4, 7, 8, 16, 100, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
DTYPE = st.sampled_from(
    ["<f4", ">f4", "<f2", "<f8", "<i2", "|u1", "|b1", "<c8", "|O", "|S4", "<U2", "<M8[s]", "|V3", "<f16"]
)


def edited(whole: dict[str, object], value: st.SearchStrategy = JSON) -> st.SearchStrategy:
    """A mapping with some of its values changed, some keys missing, and others added."""
    keys = st.sampled_from([*whole, "a", "_target_"])
    return st.builds(
        lambda changes, lost: {key: value for key, value in {**whole, **changes}.items() if key not in lost},
        st.dictionaries(keys, value, max_size=3),
        st.sets(st.sampled_from([*whole]), max_size=1),
    )


def of_json(path: Path, read: Callable[[Path], object]) -> Callable[[object], object]:
    written = of_file(path, read)
    return lambda value: written(json.dumps(value).encode())


# ---- Configurations -------------------------------------------------------------------------------------------------


@st.composite
def model_configurations(draw: st.DrawFn) -> dict[str, object]:
    name = draw(st.sampled_from(list(MODELS)))
    keys = st.sampled_from([*inspect.signature(MODELS[name]).parameters, "n_flow", ""])
    return {"name": name, **draw(st.dictionaries(keys, VALUE, max_size=4))}


def built(config: dict[str, object]) -> object:
    with torch.device("meta"):
        return build(config)


def fields(kind: type) -> st.SearchStrategy:
    """Mappings for a dataclass: values of the right type for some fields, of any for others."""
    hints = typing.get_type_hints(kind)

    def of(hint: object) -> st.SearchStrategy:
        if dataclasses.is_dataclass(hint):
            return fields(hint)
        known = [st.sampled_from(typing.get_args(hint))] if typing.get_origin(hint) is typing.Literal else []
        right = {int: NUMBER, float: st.floats(0, 2), bool: st.booleans(), str: st.text(max_size=3)}
        return st.one_of(*known, right.get(hint, VALUE), JSON)

    return st.fixed_dictionaries({}, optional={name: of(hint) for name, hint in hints.items()})


def configured(kind: type) -> Callable[[Path], Callable[[tuple[dict, dict, list[str]]], object]]:
    def done_in(folder: Path) -> Callable[[tuple[dict, dict, list[str]]], object]:
        def read(given: tuple[dict, dict, list[str]]) -> object:
            values, model, overrides = given
            (folder / "run.yaml").write_text(yaml.safe_dump({**values, "model": model}), encoding="utf-8")
            config = load(kind, folder / "run.yaml", overrides)
            return config.model_config(), config.recipe(), getattr(config, "mel_spec", lambda: None)()

        return read

    return done_in


SETTING = st.text("abc.=[]{}:-!&*%#0123456789e, \n'\"", max_size=20) | st.sampled_from(
    ["train.steps=3", "optim.lr=1e-4", "train=3", "model.name=nice", "mel=vocos", "mel.fmax=7600", "data.workers=[1"]
)
RUN = {
    kind: st.tuples(fields(kind), model_configurations(), st.lists(SETTING, max_size=2))
    for kind in (RunConfig, ImageRunConfig)
}


def convention(fields: dict[str, object]) -> object:
    spec = spec_of(fields)
    return spec.fingerprint, spec.min_samples, spec.frames(100), spec.to_dict()


# ---- Manifests ------------------------------------------------------------------------------------------------------

CLIP = {"path": "a.wav", "sample_rate": 8000, "frames": 300, "sha256": "0" * 64, "split": "train", "mel": "a.npy"}
CLIP |= {"mel_sha256": "1" * 64, "bandwidth": 3000, "synthetic": True, "corpus": "b"}
CLIP |= {"offset": 512, "bytes": 44, "member": "a.wav"}


def clips(folder: Path) -> Callable[[list[object]], object]:
    def read(entries: list[object]) -> object:
        text = "\n".join(entry if isinstance(entry, str) else json.dumps(entry) for entry in entries)
        (folder / "manifest.jsonl").write_text(text, encoding="utf-8")
        found = read_manifest(folder / "manifest.jsonl")
        write_manifest(folder / "again.jsonl", found)
        assert content_hash(read_manifest(folder / "again.jsonl")) == content_hash(found)
        return changes(found[1:], found)

    return read


# ---- Headers --------------------------------------------------------------------------------------------------------


@st.composite
def wavs(draw: st.DrawFn) -> bytes:
    """WAV files whose numbers and chunks are anything."""
    usual = struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)
    kind = st.sampled_from([0, 1, 2, 3, 6, 7, 0x11, 0x31, 0x55, 0xFFFE])
    any_format = st.builds(
        lambda *numbers: struct.pack("<HHIIHH", *numbers), kind, *[SIZE.map(lambda n: n & 0xFFFF)], SIZE, SIZE,
        *[SIZE.map(lambda n: n & 0xFFFF)] * 2,
    )  # fmt: skip
    names = st.sampled_from([b"fmt ", b"data", b"fact", b"LIST", b"ds64", b"bext", b"\0\0\0\0"])
    content = {b"fmt ": st.just(usual) | any_format, b"data": st.binary(max_size=64)}
    data = b""
    for name in draw(st.lists(names, max_size=4) | st.just([b"fmt ", b"data"])):
        inside = draw(content.get(name, st.binary(max_size=32)))
        data += name + struct.pack("<I", draw(st.just(len(inside)) | SIZE)) + inside
    return draw(st.sampled_from([b"RIFF", b"RF64", b"FORM"])) + struct.pack("<I", draw(SIZE)) + b"WAVE" + data


@st.composite
def npys(draw: st.DrawFn) -> bytes:
    """NPY files whose headers say anything."""
    shape = draw(st.lists(st.sampled_from([0, 1, 4, 5, -1, 2**31, 2**62, 10**20]), max_size=4))
    header = {
        "descr": draw(DTYPE | st.just([("a", "<f4")])),
        "fortran_order": draw(st.booleans()),
        "shape": tuple(shape),
    }
    text = draw(st.just(repr(header)) | st.text(max_size=20) | st.just("(" * 9000)).encode() + b"\n"
    version = draw(st.sampled_from([(1, 0), (2, 0), (3, 0), (9, 9)]))
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text) & 0xFFFF)
    return b"\x93NUMPY" + bytes(version) + length + text + draw(st.binary(max_size=80))


@st.composite
def safetensors(draw: st.DrawFn) -> bytes:
    """Safetensors files whose headers say anything."""
    kinds = st.sampled_from(["F32", "F16", "BF16", "F64", "I64", "U8", "BOOL", "F8_E4M3", "X"])
    shape = st.lists(st.sampled_from([0, 1, 4, 5, 2**31, 2**62]), max_size=3)
    entry = st.fixed_dictionaries(
        {"dtype": kinds, "shape": shape, "data_offsets": st.lists(SIZE, min_size=2, max_size=2)}
    )
    right = st.just({"dtype": "F32", "shape": [4, 1], "data_offsets": [0, 16]})
    names = st.sampled_from(["mel", "a", "convinv.0.conv.weight", "upsample.weight", "__metadata__"])
    header = json.dumps(draw(st.dictionaries(names, right | entry | JSON, max_size=2))).encode()
    return (
        struct.pack("<Q", draw(st.just(len(header)) | SIZE))
        + header
        + draw(st.just(bytes(16)) | st.binary(max_size=80))
    )


@st.composite
def pngs(draw: st.DrawFn) -> bytes:
    """PNG files of any size, depth and colours, their checksums right."""
    data, numbers = bytearray(picture("PNG")), st.sampled_from([0, 1, 2, 3, 4, 6, 8, 16, 255])
    data[16:29] = struct.pack(">IIBBBBB", draw(SIZE), draw(SIZE), *(draw(numbers) for _ in range(5)))
    return with_checksums(bytes(data))


def weights(folder: Path) -> Callable[[bytes], object]:
    """As a mel, as the weights of a checkpoint, and as a published file."""
    files = [of_file(folder / "a.safetensors", read) for read in (measured, read_file)]
    whole = folder / "whole"
    model, config = of_random_weights({"name": "waveglow", **NUMBERS})
    checkpoint.save(whole, model, config)

    def read(content: bytes) -> object:
        for each in (*files, lambda content: checkpoint.load(directory(whole, model=content))):
            if said := complaint(lambda each=each: each(content)):
                raise RuntimeError(said)
        return None

    return read


def fashion(folder: Path) -> Callable[[tuple[int, list[int]]], object]:
    import gzip

    folder = folder / "fashion"
    folder.mkdir()
    labels, pixels = struct.pack(">II", 2049, 1) + bytes(1), struct.pack(">IIII", 2051, 1, 28, 28) + bytes(784)

    def read(given: tuple[int, list[int]]) -> object:
        magic, shape = given
        header = struct.pack(f">I{len(shape)}I", magic, *shape)
        for name in ("train", "t10k"):
            (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels, 1))
            content = pixels if name == "train" else header + pixels[16:]
            (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(content, 1))
        return open_source("fashion-mnist", folder, 28)

    return read


def celeba(folder: Path) -> Callable[[tuple[str, str]], object]:
    root = celeba_folder(folder / "celeba")

    def read(texts: tuple[str, str]) -> object:
        for name, text in zip(("list_attr_celeba.txt", "list_eval_partition.txt"), texts, strict=True):
            (root / name).write_text(text, encoding="utf-8")
        source = open_source("celeba", root, 8)
        return [part.read(0) for part in source.parts.values() if part.labels.size]

    return read


LINE = st.sampled_from(
    ["0.jpg 1 -1", "6", "1", "Smiling Young", "0.jpg 1", "0.jpg 0", "../a 1", "", "\ufeff1", "0.jpg 1 2"]
)
LIST = st.lists(LINE | st.text(max_size=5), max_size=5).map("\n".join)

# ---- Checkpoints, prepared images, exported files -------------------------------------------------------------------


def a_checkpoint(folder: Path) -> Path:
    model, config = of_random_weights({"name": "waveglow", **NUMBERS})
    checkpoint.save(folder / "mine", model, config, mel_spec=SPEC, info={"step": 1, "refine": 1})
    return folder / "mine"


def of_manifests(folder: Path) -> Callable[[object], object]:
    mine = a_checkpoint(folder)
    return of_json(mine / MANIFEST, lambda path: checkpoint.load(mine))


def of_configs(folder: Path) -> Callable[[object], object]:
    mine = a_checkpoint(folder)
    return lambda value: Vocoder.load(directory(mine, config=json.dumps(value).encode())).refine


ENTRY = st.fixed_dictionaries({}, optional={"bytes": VALUE, "sha256": VALUE}) | JSON
CONFIGS = {
    "format": 1,
    "waveglow": "1",
    "model": {"name": "waveglow", **NUMBERS},
    "mel": SPEC.to_dict(),
    "info": {"refine": 1},
}


def configs() -> st.SearchStrategy:
    part = (
        model_configurations()
        | edited(SPEC.to_dict(), VALUE)
        | edited({"refine": 1, "stream_context": {"1": 2}})
        | JSON
    )
    return edited(CONFIGS, part) | JSON


def of_images(folder: Path) -> Callable[[object], object]:
    cached = folder / "prepared"
    of_cache(cached, "images.json")
    return of_json(cached / "cache" / "images.json", lambda path: read_images(path.parent, verify=True).text())


IMAGE_SET = {
    "dataset": "imagefolder",
    "source": None,
    "size": 8,
    "channels": 3,
    "version": "",
    "hash": "",
    "shard_images": 4096,
}
IMAGE_SET |= {"counts": {"train": 2, "valid": 1, "test": 1}, "class_names": [], "bits": 8}


def of_metadata(folder: Path) -> Callable[[object], object]:
    model = onnx.load_from_string(onnx_file())

    def read(value: object) -> object:
        onnx.helper.set_model_props(model, {METADATA: json.dumps(value)})
        (folder / "a.onnx").write_bytes(model.SerializeToString())
        vocoder = OnnxVocoder(folder / "a.onnx", threads=1)
        return vocoder.about(), vocoder.reach(), vocoder.refinement

    return read


ABOUT = {"mel_spec": SPEC.to_dict(), "refine": 0, "int8": False, "latents": [[1, 16]], "reach": [1, 1], "sigma": 0.7}
ABOUT |= {"stream_refine": 0, "refine_scheme": "fast", "stream_context": {"1": 2}, "group": 16, "parameters": 1}

# ---- Calls of a vocoder ---------------------------------------------------------------------------------------------


@st.composite
def arrays(draw: st.DrawFn) -> object:
    shape = draw(
        st.sampled_from([(4, 6), (2, 4, 3), (300,), (2, 200)])
        | array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9)
    )
    dtype = draw(
        st.sampled_from(["float32"] * 4 + ["float64", "float16", "int16", "bool", "complex64", "object", "str"])
    )
    scale = draw(st.sampled_from([0.0, 0.1, 1.0, 1e30, float("nan"), float("inf")]))
    with np.errstate(all="ignore"):
        values = np.asarray(np.random.default_rng(0).standard_normal(shape) * scale).astype(dtype)
    return torch.from_numpy(values) if draw(st.booleans()) and values.dtype.kind in "fib" else values


CALL = st.fixed_dictionaries(
    {"name": st.sampled_from(["synthesize", "stream", "mel", "log_prob", "denoise", "__call__"]), "array": arrays()},
    optional={
        "sample_rate": st.sampled_from([8000, 8000, 22050, 0, -1, 1, 2**31, 10**30]),
        "sigma": st.floats() | st.sampled_from([0, 1]),
        "seed": NUMBER,
        "seeds": st.lists(NUMBER, max_size=3),
        "refine": NUMBER | st.none(),
        "lengths": st.lists(NUMBER, max_size=3),
        "context": NUMBER | st.none(),
        "strength": st.floats(),
        "check": st.booleans(),
    },
)


def of_calls(folder: Path) -> Callable[[dict[str, typing.Any]], object]:
    model, _ = of_random_weights({"name": "waveglow", **NUMBERS})
    (folder / "called.onnx").write_bytes(onnx_file())
    vocoders = Vocoder(model, SPEC, refine=1), OnnxVocoder(folder / "called.onnx", threads=1)

    def call(given: dict[str, typing.Any]) -> object:
        for vocoder in vocoders:
            method = getattr(vocoder, given["name"])
            known = inspect.signature(method).parameters
            options = {key: value for key, value in given.items() if key in known}
            if "seeds" in given and "sigma" in known:
                options["seed"] = given["seeds"]
            if "sample_rate" in known:
                options.setdefault("sample_rate", 8000)
            array = iter([given["array"]] * 2) if given["name"] == "stream" else given["array"]
            said = complaint(lambda method=method, array=array, options=options: _drained(method(array, **options)))
            if said:
                raise RuntimeError(f"{type(vocoder).__name__}: {said}")
        return None

    return call


def _drained(result: object) -> object:
    return [*result] if inspect.isgenerator(result) else result


PROPERTIES = {
    "model configurations": Property(model_configurations(), lambda folder: built),
    "training configurations": Property(RUN[RunConfig], configured(RunConfig)),
    "image training configurations": Property(RUN[ImageRunConfig], configured(ImageRunConfig)),
    "settings": Property(
        st.lists(SETTING, max_size=3), lambda folder: lambda given: merged({"a": 1}, parse_overrides(given))
    ),
    "mel conventions": Property(
        edited(SPEC.to_dict(), VALUE) | edited({"preset": "hifigan"}, VALUE) | st.sampled_from(PRESETS),
        lambda folder: convention,
    ),
    "manifests": Property(st.lists(edited(CLIP) | st.text(max_size=5) | JSON, max_size=3), clips),
    "wav headers": Property(wavs(), lambda folder: of_file(folder / "a.wav", heard)),
    "npy headers": Property(npys(), lambda folder: of_file(folder / "a.npy", measured)),
    "safetensors headers": Property(safetensors(), weights),
    "png headers": Property(pngs(), lambda folder: of_file(folder / "a.png", photo)),
    "idx headers": Property(st.tuples(st.sampled_from([2051, 2049, 0]) | SIZE, st.lists(SIZE, max_size=4)), fashion),
    "celeba lists": Property(st.tuples(LIST, LIST), celeba),
    "checkpoints' manifests": Property(
        st.dictionaries(st.sampled_from([CONFIG, WEIGHTS, "../a", ""]), ENTRY) | JSON, of_manifests
    ),
    "checkpoints' configurations": Property(configs(), of_configs),
    "images.json": Property(edited(IMAGE_SET, VALUE | st.dictionaries(st.text(max_size=3), VALUE)) | JSON, of_images),
    "onnx metadata": Property(
        edited(ABOUT) | edited({**ABOUT, "mel_spec": 0}, edited(SPEC.to_dict(), VALUE)) | JSON, of_metadata
    ),
    "calls": Property(CALL, of_calls),
}
