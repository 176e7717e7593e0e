"""A small file of each kind that is read, made here, and its reader: what fuzzing.py mutates."""

from __future__ import annotations

import gzip
import io
import json
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import soundfile
import torch
from fuzzing import Reader
from onnx import TensorProto, helper
from PIL import Image
from safetensors.torch import save

from waveglow.audio.io import load_audio, probe, read_segment
from waveglow.audio.mel import preset
from waveglow.audio.mel_files import mel_frames, notices, read_mel
from waveglow.audio.mel_spectrogram import MelSpectrogram
from waveglow.audio.spans import Span
from waveglow.config import load
from waveglow.data.image_sources import open_photo, open_source
from waveglow.data.images import Images, prepare_images, read_images
from waveglow.data.manifest import changes, content_hash, read_manifest
from waveglow.data.prepare import is_of, prepare
from waveglow.data.shards import write_shards
from waveglow.evaluation.cache import Cache
from waveglow.export.onnx import export_onnx
from waveglow.export.onnx_runtime import METADATA, OnnxVocoder
from waveglow.models import checkpoint
from waveglow.models.checkpoint import CONFIG, WEIGHTS, model_writers
from waveglow.models.mel_lookup import named
from waveglow.models.published.files import convert_file, write_nvidia
from waveglow.models.published.pickles import read_tensors
from waveglow.models.registry import build
from waveglow.models.whole_directory import MANIFEST, sha256
from waveglow.pages import pictures, run
from waveglow.pictures.directions import FILE, KEY, read_directions
from waveglow.pictures.inputs import open_model
from waveglow.training.config import RunConfig
from waveglow.training.image_config import ImageRunConfig
from waveglow.training.log import RunLog, _forget_after
from waveglow.training.runs import about
from waveglow.vocoder import Vocoder

CONF = Path(__file__).parents[2] / "recipes"
RATE = 8000
SPEC = replace(preset("hifigan"), name="small", sample_rate=RATE, n_fft=64, hop=16, win=64, n_mels=4, fmax=None)
SPEC = replace(SPEC, pad_left=24, pad_right=24)
NUMBERS = {"n_mels": 4, "hop": 16, "n_group": 4, "n_flows": 2, "n_layers": 1, "n_channels": 4, "upsample_kernel": 32}
GLOW = {"name": "glow", "n_levels": 1, "n_steps": 1, "n_hidden": 2, "image_size": 8, "channels": 1}
Content = Callable[[bytes], object]


def readers(folder: Path, *, exported: bool = False) -> dict[str, Reader]:
    """By name; `folder` is theirs. `exported`: with a file of `waveglow export onnx`, whose making takes seconds."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = sounds(folder) | mels(folder) | models(folder) | tables(folder) | images(folder)
    found["onnx"] = Reader(onnx_file(), of_onnx(folder))
    if exported:
        model, _ = of_random_weights({"name": "waveglow", **NUMBERS})
        export_onnx(model, SPEC, folder / "exported.onnx", refine=1)
        found["exported onnx"] = Reader((folder / "exported.onnx").read_bytes(), of_onnx(folder))
    return found


def of_file(path: Path, read: Callable[[Path], object]) -> Content:
    """Reads a file of this name with the content given."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def written(content: bytes) -> object:
        path.write_bytes(content)
        return read(path)

    return written


def of_random_weights(config: dict[str, object]) -> tuple[torch.nn.Module, dict[str, object]]:
    model = build(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model, config


# ---- Sounds ----------------------------------------------------------------------------------------------------------


def tone(samples: int = 300, *, channels: int = 1) -> np.ndarray:
    return np.tile(0.5 * np.sin(np.arange(samples))[:, None], channels)


def sound(suffix: str, subtype: str, *, channels: int = 1) -> bytes:
    kinds = {"w64": "W64", "rf64": "RF64", "au": "AU", "aiff": "AIFF", "ogg": "OGG", "mp3": "MP3", "flac": "FLAC"}
    content = io.BytesIO()
    soundfile.write(content, tone(channels=channels), RATE, format=kinds.get(suffix, "WAV"), subtype=subtype)
    return content.getvalue()


def heard(path: Path | Span) -> object:
    """Whole as in conversion, as in training, and in part."""
    info = probe(path)
    for strict in (False, True):
        try:
            load_audio(path, sample_rate=RATE, strict=strict)
        except ValueError:
            if strict:
                raise
    return read_segment(path, info.frames // 2, 1) if info.channels == 1 else None


def sounds(folder: Path) -> dict[str, Reader]:
    kinds = {
        "wav": ("wav", "PCM_16"), "wav of floats": ("wav", "FLOAT"), "wav of ADPCM": ("wav", "IMA_ADPCM"),
        "wav of GSM": ("wav", "GSM610"), "flac": ("flac", "PCM_16"), "aiff": ("aiff", "PCM_24"), "au": ("au", "ULAW"),
        "w64": ("w64", "PCM_16"), "rf64": ("rf64", "PCM_16"), "ogg": ("ogg", "VORBIS"),
        "opus": ("ogg", "OPUS"), "mp3": ("mp3", "MPEG_LAYER_III"),
    }  # fmt: skip
    found = {
        name: Reader(sound(suffix, subtype), of_file(folder / "sounds" / f"a.{suffix}", heard))
        for name, (suffix, subtype) in kinds.items()
    }
    stereo = of_file(folder / "sounds" / "stereo.wav", heard)
    clips = prepare(a_corpus(folder / "sharded") / "in", folder / "sharded" / "out", sample_rate=RATE).clips
    shard = write_shards([(each.name, each) for each in clips], folder / "sharded", 1 << 20)[1].source
    of_shard = of_file(Path(shard.shard), lambda path: heard(shard))
    found["shard tar"] = Reader(Path(shard.shard).read_bytes(), of_shard)
    found["stereo wav"] = Reader(sound("wav", "PCM_16", channels=2), stereo)
    return found | {
        "prepare wav": Reader(sound("wav", "PCM_16"), of_corpus(folder / "corpus", "a.wav")),
        "prepare flac": Reader(sound("flac", "PCM_16"), of_corpus(folder / "flacs", "a.flac")),
        "prepare mel": Reader(numpy_file(true_mel(300)), of_corpus(folder / "beside", "a.npy")),
        "prepare manifest": Reader(*of_what_was_prepared(folder / "known", "manifest.jsonl")),
        "prepare report": Reader(*of_what_was_prepared(folder / "reported", "report.json")),
    }


def true_mel(samples: int) -> np.ndarray:
    """Of a tone, [4, F]."""
    return MelSpectrogram(SPEC).of_any_length(torch.from_numpy(tone(samples)[:, 0]).float()[None])[0].numpy()


def a_corpus(folder: Path) -> Path:
    (folder / "in").mkdir(parents=True)
    for number in range(4):
        soundfile.write(folder / "in" / f"{number}.wav", tone(300 + number), RATE)
    return folder


def of_corpus(folder: Path, name: str) -> Content:
    """Prepares sound recordings and the one given; or sound ones with a mel each, one of them given."""
    a_corpus(folder)
    mel = Path(name).suffix == ".npy"
    if mel:
        soundfile.write(folder / "in" / "a.wav", tone(300), RATE)
        for path in (folder / "in").glob("*.wav"):
            np.save(folder / f"{path.stem}.npy", true_mel(len(soundfile.read(path)[0])))

    def read(path: Path) -> object:
        beside = {"mels": folder, "mel_spec": SPEC} if mel else {}
        return prepare(folder / "in", folder / "out", sample_rate=RATE, **beside)

    return of_file(folder / name if mel else folder / "in" / name, read)


def of_what_was_prepared(folder: Path, name: str) -> tuple[bytes, Content]:
    """A file of what was prepared before, and a preparation that finds it."""
    corpus, out = a_corpus(folder) / "in", folder / "out"
    prepare(corpus, out, sample_rate=RATE)
    content = (out / name).read_bytes()
    return content, of_file(out / name, lambda path: is_of(out, corpus) or prepare(corpus, out, sample_rate=RATE))


# ---- Mels ------------------------------------------------------------------------------------------------------------


def a_mel(frames: int = 6) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((4, frames)).astype(np.float32) - 5


def numpy_file(mel: np.ndarray, *, named: bool = False) -> bytes:
    buffer = io.BytesIO()
    if named:
        np.savez(buffer, mel=mel)
    else:
        np.save(buffer, mel)
    return buffer.getvalue()


def torch_file(content: object, *, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def measured(path: Path) -> object:
    frames, mel = mel_frames(path, SPEC), read_mel(path, SPEC)
    assert mel.shape == (4, frames)
    return notices(mel, SPEC)


def mels(folder: Path) -> dict[str, Reader]:
    mel = a_mel()
    files = {
        "npy": numpy_file(mel),
        "npz": numpy_file(mel, named=True),
        "pt": torch_file(torch.from_numpy(mel)),
        "safetensors": save({"mel": torch.from_numpy(mel)}),
    }
    found = {
        f"mel {kind}": Reader(content, of_file(folder / "mels" / f"a.{kind}", measured))
        for kind, content in files.items()
    }
    statistics = io.BytesIO()
    np.savez(statistics, count=np.float64(9), sum=np.ones(80), sum_square=np.ones(80))
    espnet = of_file(folder / "mels" / "stats.npz", lambda path: preset(f"espnet:{path}"))
    return found | {
        "mel pt of numpy": Reader(torch_file({"mel": mel}), of_file(folder / "mels" / "n.pt", measured)),
        "mel statistics": Reader(statistics.getvalue(), espnet),
        "mel yaml": Reader(
            mel_yaml(), of_file(folder / "mels" / "own.yaml", lambda path: named(str(path)).fingerprint)
        ),
    }


def mel_yaml() -> bytes:
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in SPEC.to_dict().items()).encode()


# ---- Models ----------------------------------------------------------------------------------------------------------


def directory(folder: Path, **contents: bytes) -> Path:
    """A checkpoint whose manifest fits its files, as someone would make who means to deceive."""
    for name, content in contents.items():
        (folder / {"config": CONFIG, "model": WEIGHTS}[name]).write_bytes(content)
    entries = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)} for name in (CONFIG, WEIGHTS)
    }
    (folder / MANIFEST).write_text(json.dumps(entries), encoding="utf-8")
    return folder


def of_part(folder: Path, name: str, whole: dict[str, bytes]) -> Content:
    return lambda content: Vocoder.load(directory(folder, **{**whole, name: content}))


def models(folder: Path) -> dict[str, Reader]:
    folder = folder / "models"
    folder.mkdir()
    model, config = of_random_weights({"name": "waveglow", **NUMBERS})
    for name, write in model_writers(model, config, SPEC, {"step": 1, "refine": 1}).items():
        write(folder / name)
    whole = {name: (folder / file).read_bytes() for name, file in (("config", CONFIG), ("model", WEIGHTS))}
    of_manifest = shutil.copytree(directory(folder, **whole), folder.with_name("of manifest"))
    tensors = {"a.weight": torch.randn(3, 4), "b": torch.ones(2, dtype=torch.float16)}

    def converted(path: Path) -> object:
        shutil.rmtree(folder / "converted", ignore_errors=True)
        return convert_file(path, folder / "converted")

    numbers = {"n_mels": 4, "n_group": 4, "n_flows": 2, "n_layers": 1, "n_channels": 4, "actnorm": False}
    for suffix in ("pt", "safetensors"):
        write_nvidia(folder / f"nvidia.{suffix}", *of_random_weights({"name": "waveglow", **numbers}))
    return {
        "pt": Reader(torch_file({"state_dict": tensors, "lr": 0.1}), of_file(folder / "a.pt", read_tensors)),
        "legacy pt": Reader(torch_file({"model": tensors}, zipped=False), of_file(folder / "a.pt", read_tensors)),
        **{
            f"published {suffix}": Reader(
                (folder / f"nvidia.{suffix}").read_bytes(), of_file(folder / f"p.{suffix}", converted)
            )
            for suffix in ("pt", "safetensors")
        },
        "config": Reader(whole["config"], of_part(folder, "config", whole)),
        "weights": Reader(whole["model"], of_part(folder, "model", whole)),
        "checkpoint's manifest": Reader(
            (of_manifest / MANIFEST).read_bytes(),
            of_file(of_manifest / MANIFEST, lambda path: checkpoint.load(of_manifest)),
        ),
    }


def onnx_file() -> bytes:
    """What `export onnx` writes, but two nodes: each place of noise is a sample, and the mel counts for nothing."""
    mel = helper.make_tensor_value_info("mel", TensorProto.FLOAT, ["batch", 4, "frames"])
    noise = helper.make_tensor_value_info("z0", TensorProto.FLOAT, ["batch", 1, "places"])
    audio = helper.make_tensor_value_info("audio", TensorProto.FLOAT, ["batch", "samples"])
    first = helper.make_tensor("first", TensorProto.INT64, [1], [1])
    half = helper.make_tensor("half", TensorProto.FLOAT, [1], [0.5])
    nodes = [helper.make_node("Squeeze", ["z0", "first"], ["z"]), helper.make_node("Mul", ["z", "half"], ["audio"])]
    graph = helper.make_graph(nodes, "decoder", [mel, noise], [audio], [first, half])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    about = {
        "mel_spec": SPEC.to_dict(),
        "refine": 0,
        "int8": False,
        "latents": [[1, 16]],
        "reach": [1, 1],
        "sigma": 0.7,
    }
    helper.set_model_props(model, {METADATA: json.dumps(about)})
    onnx.checker.check_model(model)
    return model.SerializeToString()


def of_onnx(folder: Path) -> Content:
    def run(path: Path) -> object:
        vocoder = OnnxVocoder(path, threads=1)
        vocoder.about()
        return vocoder.synthesize(a_mel(), seed=1)

    return of_file(folder / "onnx" / "a.onnx", run)


# ---- Settings, manifests and records of runs -------------------------------------------------------------------------


def manifest_file() -> bytes:
    clip = {"path": "a.wav", "sample_rate": 8000, "frames": 300, "sha256": "0" * 64, "split": "train"}
    others = [{**clip, "split": "valid", "mel": "a.npy", "mel_sha256": "1" * 64}, {**clip, "bandwidth": 3000}]
    return "".join(json.dumps(line) + "\n" for line in [clip, *others, {**clip, "synthetic": True}]).encode()


def metrics_file(**measured: float) -> bytes:
    lines = [
        {"kind": "train", "step": step, "loss": 1.5, "lr": 1e-3, "elapsed_seconds": step, **measured}
        for step in range(1, 7)
    ]
    lines += [{"kind": "valid", "step": step, "clips": 2, "seconds": 0.5, **measured} for step in (3, 6)]
    lines += [{"kind": "event", "step": 4, "text": "a step was skipped"}]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def tables(folder: Path) -> dict[str, Reader]:
    def clips(path: Path) -> object:
        found = read_manifest(path)
        return content_hash(found), changes(found, found[1:])

    def configured(kind: type) -> Callable[[Path], object]:
        def read(path: Path) -> object:
            config = load(kind, path, ["train.steps=7"])
            return config.model_config(), config.recipe(), getattr(config, "mel_spec", lambda: None)()

        return read

    def with_base(path: Path) -> bytes:
        """A recipe and what it is based on, in one."""
        text = path.read_text("utf-8")
        base = re.search(r"^base: (.+)$", text, re.M)
        return (with_base(path.parent / base[1]) if base else b"") + text.replace(
            base[0] if base else "\0", ""
        ).encode()

    runs = folder / "runs"
    page = of_file(runs / "metrics.jsonl", lambda path: run.write_report(runs, runs / "report.html"))
    image_page = of_file(runs / "metrics.jsonl", lambda path: pictures.write_report(runs, runs / "report.html"))
    cache = json.dumps(["0" * 64, {"pesq": 3.5}]) + "\n"
    return {
        "manifest": Reader(manifest_file(), of_file(folder / "tables" / "manifest.jsonl", clips)),
        "yaml": Reader(
            (CONF / "ljspeech/conf/waveglow-small.yaml").read_bytes(),
            of_file(folder / "tables" / "a.yaml", configured(RunConfig)),
        ),
        "longer yaml": Reader(
            with_base(CONF / "openvoices/conf/lapglow.yaml"),
            of_file(folder / "tables" / "b.yaml", configured(RunConfig)),
        ),
        "image yaml": Reader(
            with_base(CONF / "celeba/conf/glow-64.yaml"),
            of_file(folder / "tables" / "c.yaml", configured(ImageRunConfig)),
        ),
        "metrics": Reader(metrics_file(nll_nats=-3.0), page),
        "metrics of images": Reader(metrics_file(bits_per_dim=3.0, nll_nats=9.0), image_page),
        "metrics of info": Reader(*of_a_run(folder / "trained")),
        "metrics of resume": Reader(metrics_file(nll_nats=-3.0), of_file(runs / "metrics.jsonl", resumed_log)),
        "evaluation's cache": Reader(cache.encode() * 3, of_file(folder / "tables" / "cache.jsonl", Cache)),
    }


def resumed_log(path: Path) -> object:
    """Opened as a run does that goes on from step 3."""
    _forget_after(path, 3)
    return RunLog(path.parent, total_steps=9, start_step=3, enabled=False).minutes()


def of_a_run(folder: Path) -> tuple[bytes, Content]:
    """The metrics of a run with a best checkpoint, of which `info` tells."""
    model, config = of_random_weights({"name": "waveglow", **NUMBERS})
    for path, step in ((folder / "checkpoints" / "step_00000006", 6), (folder / "best", 3)):
        checkpoint.save(path, model, config, mel_spec=SPEC, info={"step": step, "nll_nats": -4.0})
    return metrics_file(nll_nats=-3.0), of_file(folder / "metrics.jsonl", lambda path: about(folder))


# ---- Images ----------------------------------------------------------------------------------------------------------


def picture(kind: str, *, size: tuple[int, int] = (12, 9), mode: str = "RGB") -> bytes:
    content = io.BytesIO()
    values = np.random.default_rng(0).integers(0, 255, (*size[::-1], len(mode)), dtype=np.uint8).squeeze()
    Image.fromarray(values, mode).save(content, kind)
    return content.getvalue()


def with_checksums(png: bytes) -> bytes:
    """The file with its chunks' checksums mended, without which decoders look no further."""
    data, at = bytearray(png), 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        data[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(data)


def photo(path: Path) -> object:
    return open_photo(path, 8, 3, dataset="imagefolder"), open_photo(path, 8, 1)


def celeba_folder(root: Path) -> Path:
    root.mkdir(parents=True)
    names = [f"{number}.jpg" for number in range(6)]
    with zipfile.ZipFile(root / "img_align_celeba.zip", "w") as archive:
        for name in names:
            archive.writestr(f"img_align_celeba/{name}", picture("PNG"))
    rows = "".join(f"{name} 1 -1\n" for name in names)
    (root / "list_attr_celeba.txt").write_text(f"6\nSmiling Young\n{rows}")
    (root / "list_eval_partition.txt").write_text("".join(f"{name} {min(2, i // 2)}\n" for i, name in enumerate(names)))
    return root


def of_celeba(root: Path, name: str, *, csv: bool = False) -> Reader:
    celeba_folder(root)
    if csv:
        lines = (root / "list_attr_celeba.txt").read_text().splitlines()
        rows = ["image_id " + lines[1], *lines[2:]] if "attr" in name else ["image_id partition"]
        rows += [] if "attr" in name else (root / "list_eval_partition.txt").read_text().splitlines()
        (root / name).write_text("".join(row.replace(" ", ",") + "\n" for row in rows))
        (root / name).with_suffix(".txt").unlink()
    return Reader((root / name).read_bytes(), of_file(root / name, prepared("celeba", root)))


def prepared(dataset: str, source: Path) -> Callable[[Path], object]:
    def read(path: Path) -> object:
        out = source.parent / f"{source.name}-out"
        shutil.rmtree(out, ignore_errors=True)
        return prepare_images(dataset, source, out, size=8 if dataset != "fashion-mnist" else 28)

    return read


def of_cache(folder: Path, name: str) -> Reader:
    """A file of prepared images, all of which are read."""
    source = folder / "source"
    source.mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (9, 9), (60 * number, 0, 9)).save(source / f"{number}.png")
    prepare_images("imagefolder", source, folder / "cache", size=8)

    def read(path: Path) -> object:
        read_images(folder / "cache", verify=False)
        found = read_images(folder / "cache", verify=True)
        return [Images(found, split, seed=0, flip=True)[0] for split in ("train", "valid")], found.text()

    return Reader((folder / "cache" / name).read_bytes(), of_file(folder / "cache" / name, read))


def of_fashion(folder: Path) -> Reader:
    """An idx file, packed after its mutation."""
    folder.mkdir(parents=True)
    for name, count in (("train", 5002), ("t10k", 2)):
        labels = struct.pack(">II", 2049, count) + bytes(count)
        pixels = struct.pack(">IIII", 2051, count, 28, 28) + bytes(count * 784)
        for kind, content in (("labels-idx1", labels), ("images-idx3", pixels)):
            (folder / f"{name}-{kind}-ubyte.gz").write_bytes(gzip.compress(content, 1))
    path = folder / "t10k-images-idx3-ubyte.gz"
    read = of_file(path, lambda path: open_source("fashion-mnist", folder, 28))
    return Reader(gzip.decompress(path.read_bytes()), lambda content: read(gzip.compress(content, 1)))


def of_directions(folder: Path) -> Reader:
    model, config = of_random_weights(GLOW)
    checkpoint.save(folder / "glow", model, config)
    opened = open_model(folder / "glow", device="cpu")
    facts = {
        "weights_sha256": opened.weights_sha256,
        "attributes": [{"name": "a", "with": 1, "without": 2, "norm": 1.0}],
    }
    facts |= {"method": "m", "images": 3}
    tensors = {}
    for i, shape in enumerate(opened.model.latent_shapes()):
        tensors |= {f"directions.{i}": torch.ones(1, *shape), f"mean.{i}": torch.zeros(shape)}
    content = save(tensors, metadata={KEY: json.dumps(facts)})
    return Reader(content, of_file(folder / FILE, lambda path: read_directions(path, opened).names))


def images(folder: Path) -> dict[str, Reader]:
    folder = folder / "images"
    png, photos = picture("PNG"), folder / "photos"
    read_png = of_file(photos / "a.png", photo)
    names = ("list_attr_celeba", "list_eval_partition")
    return {
        "png": Reader(png, read_png),
        "png of right checksums": Reader(png, lambda content: read_png(with_checksums(content))),
        "transparent png": Reader(picture("PNG", mode="RGBA"), lambda content: read_png(with_checksums(content))),
        "jpeg": Reader(picture("JPEG"), of_file(photos / "a.jpg", photo)),
        "webp": Reader(picture("WEBP"), of_file(photos / "a.webp", photo)),
        "celeba zip": of_celeba(folder / "zip", "img_align_celeba.zip"),
        **{f"celeba {name}.txt": of_celeba(folder / name, f"{name}.txt") for name in names},
        **{f"celeba {name}.csv": of_celeba(folder / f"{name}-csv", f"{name}.csv", csv=True) for name in names},
        "idx": of_fashion(folder / "fashion"),
        "images.json": of_cache(folder / "of-json", "images.json"),
        "labels.npz": of_cache(folder / "of-labels", "labels.npz"),
        "shard npy": of_cache(folder / "of-shard", "train-00000.npy"),
        "directions": of_directions(folder / "directions"),
    }
