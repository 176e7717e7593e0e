"""Every writer of files, killed wherever it writes: the reader finds the old or the new, whole.

Checkpoints: tests/training/test_resume.py and test_endings.py.
"""

from __future__ import annotations

import gzip
import json
import shutil
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from cutting import cuts, ends
from fuzzed_files import NUMBERS, RATE, SPEC, a_mel, metrics_file, of_random_weights, tone
from PIL import Image

from waveglow import batch
from waveglow.audio.io import load_audio, save_audio
from waveglow.audio.mel_files import read_mel, write_mel
from waveglow.config import ConfigError, dump, read_yaml
from waveglow.data.images import INDEX, prepare_images, read_images
from waveglow.data.manifest import Clip, read_manifest, write_manifest
from waveglow.data.pictures import save_png
from waveglow.data.prepare import is_of, prepare
from waveglow.data.shards import write_shards
from waveglow.evaluation.cache import Cache
from waveglow.export.onnx import export_onnx
from waveglow.export.onnx_runtime import OnnxVocoder
from waveglow.models.published.files import read_file, write_nvidia
from waveglow.pages import pictures, run
from waveglow.training.config import RunConfig
from waveglow.training.log import RunLog, read_metrics

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def everywhere(folder: Path, job: Callable[[], object], state: Callable[[], object]) -> list[tuple[str, object]]:
    """What a reader finds in the folder, as it is now, after each cut of a job; what it finds in the end comes last."""
    kept = shutil.copytree(folder, folder.with_name("kept"))

    def before() -> None:
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)

    found = [(where, state()) for where in cuts(job, before)]
    before()
    job()
    return [*found, ("in the end", state())]


def old_or_new(folder: Path, job: Callable[[], object], state: Callable[[], object]) -> None:
    """A reader finds at each cut what was there before, or what is there in the end; and both are found."""
    old = state()
    found = everywhere(folder, job, state)
    new = found[-1][1]
    assert old != new
    assert not [(where, what) for where, what in found if what not in (old, new)]
    assert old in [what for _, what in found]


def clip(name: str) -> Clip:
    return Clip(f"/{name}.wav", RATE, 300, "0" * 64, "train")


def nvidia(path: Path, number: int) -> None:
    numbers = {"n_mels": 4, "n_group": 4, "n_flows": 2, "n_layers": 1, "n_channels": 4, "actnorm": False}
    torch.manual_seed(number)
    write_nvidia(path, *of_random_weights({"name": "waveglow", **numbers}))


def report_of(kind) -> Callable[[Path, int], None]:
    def write(path: Path, number: int) -> None:
        (path.parent / f"run{number}").mkdir(exist_ok=True)
        (path.parent / f"run{number}" / "metrics.jsonl").write_bytes(metrics_file(nll_nats=number, bits_per_dim=number))
        kind.write_report(path.parent / f"run{number}", path)

    return write


def page_of(path: Path) -> object:
    text = path.read_text("utf-8")
    return text if text.rstrip().endswith("</html>") else "half a page"


def samples(path: Path) -> int:
    return len(load_audio(path, strict=True).samples)


def shape(path: Path) -> object:
    return read_mel(path, SPEC).shape if path.suffix != ".png" else np.asarray(Image.open(path)).shape


def sums(path: Path) -> object:
    return [float(tensor.sum()) for tensor in read_file(path)[0].values()]


Writer = Callable[[Path, int], object]
WRITERS: dict[str, tuple[str, Writer, Callable[[Path], object]]] = {
    "a manifest": ("a.jsonl", lambda path, n: write_manifest(path, [clip("a")] * 3 * n), read_manifest),
    "a recording": ("a.wav", lambda path, n: save_audio(path, tone(300 * n)[:, 0], RATE), samples),
    "a mel": ("a.npy", lambda path, n: write_mel(path, a_mel(9 * n)), shape),
    "a mel in safetensors": ("a.safetensors", lambda path, n: write_mel(path, a_mel(9 * n)), shape),
    "settings": ("a.yaml", lambda path, n: dump(RunConfig({"name": "nice", "n": n}), path), read_yaml),
    "a picture": ("a.png", lambda path, n: save_png(path, torch.zeros(3, 8, 8 * n, dtype=torch.uint8)), shape),
    "a file for NVIDIA's code": ("a.pt", nvidia, sums),
    "a report of a run": ("a.html", report_of(run), page_of),
    "a report of a run of images": ("a.html", report_of(pictures), page_of),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_is_the_old_one_or_the_new(tmp_path, kind, monkeypatch):
    name, write, read = WRITERS[kind]
    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for number in (1, 2):  # what is written beside it, too, is there before
        write(folder / name, number)
    write(folder / name, 1)
    old_or_new(folder, lambda: write(folder / name, 2), lambda: read(folder / name))


# ---- Folders, and files that grow ------------------------------------------------------------------------------------


def test_a_preparation_leaves_the_old_manifest_or_the_new_and_is_known_to_be_done_or_not(tmp_path):
    corpus, out = tmp_path / "in", tmp_path / "work" / "out"
    corpus.mkdir()
    out.parent.mkdir()
    for number in range(3):
        soundfile.write(corpus / f"{number}.wav", tone(3000 + number), 2 * RATE)  # resampled: written anew
    prepare(corpus, out, sample_rate=RATE)
    soundfile.write(corpus / "3.wav", tone(3003), 2 * RATE)

    def state() -> object:
        clips = read_manifest(out / "manifest.jsonl")
        for clip in clips:
            assert clip.frames == len(load_audio(clip.path, strict=True).samples)
        return len(clips), is_of(out, corpus)

    found = everywhere(out.parent, lambda: prepare(corpus, out, sample_rate=RATE), state)
    assert {what for _, what in found} == {(3, False), (4, False), (4, True)}
    assert found[-1][1] == (4, True)


def test_prepared_images_are_the_old_ones_or_are_prepared_again(tmp_path):
    source, cache = tmp_path / "in", tmp_path / "work" / "cache"
    source.mkdir()
    for number in range(4):
        Image.new("RGB", (9, 9), (60 * number, 0, 9)).save(source / f"{number}.png")
    old = prepare_images("imagefolder", source, cache, size=8).hash
    Image.new("RGB", (9, 9), (0, 200, 9)).save(source / "4.png")

    def state() -> object:
        there: object = None
        if (cache / INDEX).exists():
            there = read_images(cache, verify=True).hash
        else:
            with pytest.raises(ConfigError, match="holds no prepared images; prepare them first"):
                read_images(cache)
        return there, prepare_images("imagefolder", source, cache, size=8).hash

    found = everywhere(cache.parent, lambda: prepare_images("imagefolder", source, cache, size=8), state)
    new = found[-1][1][0]
    assert {what for _, what in found} == {(old, new), (None, new), (new, new)}
    assert old != new


def test_a_cache_that_is_cut_off_keeps_what_it_had(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    Cache(folder / "cache.jsonl").put(1, "a")

    def state() -> object:
        cache = Cache(folder / "cache.jsonl")
        cache.put(3, "c")
        return cache.get("a"), cache.get("b"), Cache(folder / "cache.jsonl").get("c")

    found = everywhere(folder, lambda: Cache(folder / "cache.jsonl").put([2] * 50, "b"), state)
    assert {str(what) for _, what in found} == {str((1, None, 3)), str((1, [2] * 50, 3))}


def test_metrics_that_are_cut_off_keep_what_they_had(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "metrics.jsonl").write_bytes(metrics_file(nll_nats=1.0)[:100].rpartition(b"\n")[0] + b"\n")

    def log() -> None:
        run_log = RunLog.__new__(RunLog)  # without TensorBoard
        run_log.path = folder / "metrics.jsonl"
        run_log._append(json.dumps({"kind": "train", "step": 9, "loss": "x" * 50}))

    old_or_new(folder, log, lambda: [m["step"] for m in read_metrics(folder / "metrics.jsonl")])


def test_the_report_of_a_batch_is_the_old_one_or_the_new(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    report = folder / "report.json"
    batch._write(batch.Batch([], report))

    def again() -> None:
        batch._write(batch.Batch([], report, "a passed over"))

    old_or_new(folder, again, lambda: json.loads(report.read_text("utf-8"))["passed_over"])


@pytest.mark.slow
def test_an_export_that_is_cut_off_leaves_the_old_file(tmp_path):
    model, _ = of_random_weights({"name": "waveglow", **NUMBERS})
    path = tmp_path / "a.onnx"
    path.write_bytes(b"old")
    assert ends(lambda: export_onnx(model, SPEC, path), at=0, size=3000) == -signal.SIGXFSZ
    assert path.read_bytes() == b"old"
    assert ends(lambda: export_onnx(model, SPEC, path), at=0) == 0
    assert OnnxVocoder(path).synthesize(a_mel()).shape == (96,)


def test_a_shard_that_is_there_is_whole(tmp_path):
    corpus, work = tmp_path / "in", tmp_path / "work"
    corpus.mkdir()
    work.mkdir()
    for number in range(3):
        soundfile.write(corpus / f"{number}.wav", tone(300 + number), RATE)
    clips = prepare(corpus, tmp_path / "out", sample_rate=RATE).clips

    def state() -> dict[str, object]:
        found: dict[str, object] = {}
        for path in sorted(work.rglob("[!.]*.tar")):
            with tarfile.open(path) as tar:
                found[path.name] = [(member.name, len(tar.extractfile(member).read())) for member in tar]
        for path in sorted(work.rglob("[!.]*.gz")):
            found[path.name] = gzip.decompress(path.read_bytes())
        return found

    found = everywhere(work, lambda: write_shards([(each.name, each) for each in clips], work, 4000), state)
    whole = found[-1][1]
    assert len(whole) >= 4
    assert all(what.items() <= whole.items() for _, what in found)
    assert {} in [what for _, what in found]
