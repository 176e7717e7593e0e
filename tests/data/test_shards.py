"""Shards: the same recordings, splits, data order and weights as from loose files, for other libraries too."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from waveglow.audio import remote
from waveglow.audio.files import FileError
from waveglow.audio.io import AudioError, load_audio, probe, read_segment
from waveglow.audio.mel import preset
from waveglow.audio.spans import Span, members
from waveglow.cli.main import main
from waveglow.config import ConfigError
from waveglow.data.held_out import validated
from waveglow.data.importing import import_clips
from waveglow.data.manifest import content_hash, read_manifest, write_manifest
from waveglow.data.prepare import prepare
from waveglow.data.sampler import StepSampler
from waveglow.data.shards import size
from waveglow.data.speech import SpeechCrops, require_trainable
from waveglow.evaluation.clips import find_clips

RATE = 22050
SPEC = preset("nvidia/tacotron2")


@pytest.fixture(scope="module")
def corpus(ljspeech, tmp_path_factory) -> Path:
    """Seven clips of two speakers, some FLAC, with a dot and a percent sign in their names."""
    folder = tmp_path_factory.mktemp("voices") / "corpus"
    names = ["anna/a.wav", "anna/b.flac", "anna/v1.0 c.wav", "ben/a.wav", "ben/50%2E.flac", "ben/é.wav", "d.wav"]
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        samples, rate = soundfile.read(ljspeech / "wavs" / f"DV001-000{number % 4 + 1}.wav")
        soundfile.write(folder / name, samples[number * 500 :], rate)
    return folder


@pytest.fixture(scope="module")
def loose(corpus, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("loose")
    prepare(corpus, out, sample_rate=RATE, valid_fraction=0.3)
    return out


@pytest.fixture(scope="module")
def sharded(corpus, tmp_path_factory) -> Path:
    """The same in shards of at most 150 KB: two clips each or so."""
    out = tmp_path_factory.mktemp("sharded")
    prepare(corpus, out, sample_rate=RATE, valid_fraction=0.3, shard_bytes=150_000)
    return out


@pytest.fixture
def own(sharded, tmp_path) -> Path:
    """A copy of it, to be broken."""
    shutil.copytree(sharded, tmp_path / "own")
    return tmp_path / "own"


def clips(folder: Path):
    return read_manifest(folder / "manifest.jsonl")


def tars(folder: Path) -> list[Path]:
    return sorted((folder / "shards").glob("*.tar"))


def test_the_manifests_say_the_same_but_where(loose, sharded):
    assert len(tars(sharded)) >= 3
    assert max(tar.stat().st_size for tar in tars(sharded)) < 170_000
    for one, other in zip(clips(loose), clips(sharded), strict=True):
        assert (one.name, one.place.parent.name) == (other.name, other.place.parent.name) or one.name == "d"
        nowhere = {"path": "", "offset": None, "bytes": None, "member": None}
        assert dataclasses.replace(one, **nowhere) == dataclasses.replace(other, **nowhere)
        assert other.source.read_bytes() == Path(one.path).read_bytes()
    assert content_hash(clips(loose)) == content_hash(clips(sharded))
    lines = [json.loads(line) for line in (sharded / "manifest.jsonl").read_text("utf-8").splitlines()]
    assert all(line["path"].startswith("shards/") and line["offset"] % 512 == 0 for line in lines)


def test_what_is_read_is_the_same(loose, sharded):
    for one, other in zip(clips(loose), clips(sharded), strict=True):
        assert probe(one.source) == probe(other.source)
        assert np.array_equal(load_audio(one.source).samples, load_audio(other.source).samples)
        assert np.array_equal(read_segment(one.source, 777, 4096), read_segment(other.source, 777, 4096))


def test_crops_and_validation_are_the_same(loose, sharded):
    sets = [
        SpeechCrops([c for c in clips(d) if c.split == "train"], SPEC, segment_samples=4096, seed=3)
        for d in (loose, sharded)
    ]
    for number in (0, 1, 5, 17):
        one, other = sets[0][number], sets[1][number]
        assert torch.equal(one.audio, other.audio)
        assert torch.equal(one.mel, other.mel)
    for split in ("train", "valid"):
        chosen = [validated([c for c in clips(d) if c.split == split], 3) for d in (loose, sharded)]
        assert [c.sha256 for c in chosen[0]] == [c.sha256 for c in chosen[1]]


@pytest.mark.parametrize("ranks", [1, 8, 64])
def test_data_order_is_one_list_at_any_number_of_ranks(loose, sharded, ranks):
    order = []
    for data in (loose, sharded):
        crops = SpeechCrops([c for c in clips(data) if c.split == "train"], SPEC, segment_samples=4096, seed=3)
        of_ranks = [
            [n for micro in StepSampler(2, 5, batch_size=64, rank=rank, world_size=ranks) for n in micro]
            for rank in range(ranks)
        ]
        numbers = [of_ranks[n % ranks][n // ranks] for n in range(3 * 64)]  # as the global batch has them
        assert numbers == list(range(2 * 64, 5 * 64))
        order.append([crops.clip_of(number).sha256 for number in numbers])
    assert order[0] == order[1]
    assert len(set(order[0])) > 2


def test_an_evaluation_finds_the_same_clips(loose, sharded, tmp_path):
    found = [find_clips(d / "manifest.jsonl", tmp_path, "train")[0] for d in (loose, sharded)]
    assert [clip.name for clip in found[0]] == [clip.name for clip in found[1]]


def test_training_gives_the_same_weights(config_file, loose, sharded, tmp_path):
    weights = []
    for data, workers in ((loose, 0), (sharded, 0), (sharded, 2)):
        run = tmp_path / f"{data.name}-{workers}"
        options = ["--data", data, "--run-dir", run, "--device", "cpu", "train.steps=3", f"data.workers={workers}"]
        assert main(["train", "--config", str(config_file), *map(str, options)]) == 0
        weights.append((run / "checkpoints" / "step_00000003" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] == weights[2]
    options = ["--data", sharded, "--run-dir", tmp_path / f"{loose.name}-0", "--device", "cpu", "train.steps=4"]
    assert main(["train", *map(str, options)]) == 0  # and a run of loose files goes on from shards


def test_writing_again_changes_nothing_and_goes_on_where_it_stopped(corpus, own, sharded):
    whole = {path.name: path.read_bytes() for path in (own / "shards").iterdir()}
    times = {path: path.stat().st_mtime_ns for path in tars(own)}
    tars(own)[1].unlink()  # as where the writing was killed
    (own / "shards" / ".x.partial").touch()
    prepare(corpus, own, sample_rate=RATE, shard_bytes=150_000)
    (own / "shards" / ".x.partial").unlink()
    assert {path.name: path.read_bytes() for path in (own / "shards").iterdir()} == whole
    assert sum(path.stat().st_mtime_ns == times[path] for path in tars(own)) == len(times) - 1
    assert [(c.sha256, c.split) for c in clips(own)] == [(c.sha256, c.split) for c in clips(sharded)]


def test_shards_of_an_older_manifest_go_once_the_new_one_is_there(corpus, own, monkeypatch):
    before = {path.name for path in tars(own)}
    monkeypatch.setattr("waveglow.data.prepare.write", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepare(corpus, own, sample_rate=RATE, shard_bytes=1 << 20)
    require_trainable(clips(own), SPEC, multiple=8)  # the old manifest still has its shards
    monkeypatch.undo()
    prepare(corpus, own, sample_rate=RATE, shard_bytes=1 << 20)
    assert len(tars(own)) == 1
    assert not before & {path.name for path in (own / "shards").iterdir()}
    require_trainable(clips(own), SPEC, multiple=8)


# ---- What other libraries read and write -----------------------------------------------------------------------------


def test_webdataset_reads_ours(sharded):
    webdataset = pytest.importorskip("webdataset")
    read = list(webdataset.WebDataset([str(tar) for tar in tars(sharded)], shardshuffle=False))
    assert len(read) == 7
    for sample, clip in zip(read, clips(sharded), strict=True):
        assert sample[Path(clip.member).suffix[1:]] == clip.source.read_bytes()
        assert json.loads(sample["json"])["num_samples"] == clip.frames


def test_lhotse_reads_ours(sharded):
    lhotse = pytest.importorskip("lhotse")
    cuts = list(lhotse.CutSet.from_shar(in_dir=sharded / "shards"))
    assert len(cuts) == 7
    for cut, clip in zip(cuts, clips(sharded), strict=True):
        assert np.array_equal(cut.load_audio()[0], load_audio(clip.source).samples)
        assert cut.custom["split"] == clip.split


def test_ours_come_back_with_their_splits(sharded, tmp_path):
    back = import_clips([sharded / "shards"], tmp_path, sample_rate=RATE).clips
    assert sorted(back, key=str) == sorted(clips(sharded), key=str)
    assert read_manifest(tmp_path / "manifest.jsonl") == back


def test_a_webdataset_is_listed(corpus, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    (tmp_path / "web").mkdir()
    files = sorted(path for path in corpus.rglob("*") if path.is_file())
    with webdataset.TarWriter(str(tmp_path / "web" / "voices-000000.tar")) as writer:
        for number, file in enumerate(files):
            content = {file.suffix[1:]: file.read_bytes(), "txt": "what is said"}
            writer.write({"__key__": f"sample{number:03d}", **content})
    found = import_clips([tmp_path / "web"], tmp_path / "out", sample_rate=RATE)
    assert sorted(clip.name for clip in found.clips) == [f"sample{number:03d}" for number in range(7)]
    for clip, file in zip(found.clips, files, strict=True):
        assert np.array_equal(load_audio(clip.source).samples, load_audio(file).samples)


@pytest.mark.parametrize("audio_format", ["flac", "wav"])
def test_a_shar_of_lhotse_and_its_cutset_are_listed(corpus, tmp_path, audio_format):
    lhotse = pytest.importorskip("lhotse")
    files = sorted(path for path in corpus.rglob("*") if path.is_file())
    recordings = [lhotse.Recording.from_file(file, recording_id=f"r{n}") for n, file in enumerate(files)]
    cuts = lhotse.CutSet.from_cuts(recording.to_cut() for recording in recordings)
    shar, lists = tmp_path / "shar", tmp_path / "cuts.jsonl.gz"
    shar.mkdir()
    cuts.to_shar(shar, {"recording": audio_format}, shard_size=3)
    cuts.to_file(lists)
    for source in (shar, lists):
        found = import_clips([source], tmp_path / source.name.partition(".")[0] / "out", sample_rate=RATE).clips
        assert [clip.frames for clip in found] == [recording.num_samples for recording in recordings]
        for clip, file in zip(found, files, strict=True):
            assert np.array_equal(load_audio(clip.source).samples, load_audio(file).samples)
    pieces = cuts.cut_into_windows(0.5)
    pieces.to_file(tmp_path / "pieces.jsonl.gz")
    with pytest.raises(ConfigError, match="is a piece of its recording; write the cuts `to_shar` first"):
        import_clips([tmp_path / "pieces.jsonl.gz"], tmp_path / "none", sample_rate=RATE)


# ---- What can't be used ----------------------------------------------------------------------------------------------


def test_a_shard_cut_short_is_found_before_training(own):
    last = max((c for c in clips(own)), key=lambda clip: (clip.path, clip.offset))
    with open(last.path, "r+b") as tar:
        tar.truncate(last.offset + last.bytes - 1000)
    with pytest.raises(ConfigError, match="its shard is cut short: 1000 bytes of it are missing"):
        require_trainable(clips(own), SPEC, multiple=8)
    with pytest.raises(AudioError, match="its shard is cut short: 1000 bytes"):
        load_audio(last.source)
    with pytest.raises(FileError, match=r"\.tar: is (cut short|no uncompressed tar, or cut short)"):
        members(Path(last.path))


def test_an_index_that_does_not_fit_its_tar(own):
    moved = [dataclasses.replace(clip, offset=clip.offset + 512) for clip in clips(own)]
    with pytest.raises(ConfigError, match="so the manifest is of another one"):
        require_trainable(moved, SPEC, multiple=8)
    with pytest.raises(AudioError, match="so the manifest is of another one; restore the shard, or make"):
        read_segment(moved[0].source, 0, 100)
    longer = dataclasses.replace(clips(own)[0], bytes=clips(own)[0].bytes + 1)
    with pytest.raises(AudioError, match=r"its shard has there anna/a.wav of \d+ bytes, not anna/a.wav of \d+"):
        read_segment(longer.source, 0, 100)


def test_a_manifest_of_another_corpus(own):
    first, second = tars(own)[:2]
    shutil.copy(second, first)
    with pytest.raises(ConfigError, match=r"its shard has .*, so the manifest is of another one"):
        require_trainable(clips(own), SPEC, multiple=8)
    first.unlink()
    with pytest.raises(ConfigError, match="its shard doesn't exist"):
        require_trainable(clips(own), SPEC, multiple=8)


def test_a_member_twice(corpus, tmp_path):
    for mode in ("w", "a"):
        with tarfile.open(tmp_path / "x.tar", mode) as tar:
            tar.add(corpus / "d.wav", "d.wav")
    with pytest.raises(FileError, match=r"x.tar: has the member d.wav twice"):
        members(tmp_path / "x.tar")


@pytest.mark.parametrize("kept", [0, 700, 20_000, -1024, -512])
def test_a_tar_that_ends_anywhere_is_refused(own, kept):
    tar = tars(own)[0]
    content = tar.read_bytes().rstrip(b"\0")
    end = -(-len(content) // 512) * 512
    tar.write_bytes(tar.read_bytes()[: kept if kept >= 0 else end + 1024 + kept if kept == -512 else end])
    if kept == -512:
        assert members(tar)  # one of two blocks of zeros: whole enough
        return
    with pytest.raises(FileError, match="cut short"):
        members(tar)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda d: (d / "x.tar").write_bytes(b"no tar" * 200), "is no uncompressed tar, or cut short"),
        (lambda d: (d / "x.mp3").touch(), "has no tars; give a WebDataset, a lhotse Shar, or a CutSet's .jsonl.gz"),
        (lambda d: shutil.make_archive(str(d / "y"), "gztar", d).__class__, "has no tars"),
    ],
)
def test_sources_that_are_none(tmp_path, make, said):
    (tmp_path / "d").mkdir()
    make(tmp_path / "d")
    with pytest.raises(ValueError, match=said):
        import_clips([tmp_path / "d"], tmp_path / "out", sample_rate=RATE)
    assert not (tmp_path / "out").exists()


def test_a_cutset_line_by_line(corpus, tmp_path, capsys):
    def recording(source, kind="file"):
        there = {"id": "r", "sources": [{"type": kind, "channels": [0], "source": str(source)}]}
        return {**there, "sampling_rate": RATE, "num_samples": 10, "duration": 10 / RATE}

    lines = [recording(corpus / "d.wav"), recording("corpus/ben/é.wav"), recording("gone.wav"), recording("", "url")]
    lines[1]["custom"] = {"split": "valid"}
    path = corpus.parent / "list.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert main(["manifest", str(path), str(tmp_path / "out")]) == 3
    said = capsys.readouterr().err
    assert "gone.wav: doesn't exist" in said
    assert "list.jsonl, line 4: r is in no file (url)" in said
    assert [clip.name for clip in clips(tmp_path / "out")] == ["d", "é"]
    assert [clip.split for clip in clips(tmp_path / "out")] == ["train", "valid"]
    lines[1]["custom"] = {"split": "test"}
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert main(["manifest", str(path), str(tmp_path / "none")]) == 2
    assert "no clip is left for the split" in capsys.readouterr().err
    path.write_text("\n".join(map(json.dumps, lines[:2])), encoding="utf-8")
    assert main(["manifest", str(path), str(tmp_path / "out"), "--sample-rate", "16000"]) == 2
    assert "has 22050 Hz, the manifest 16000 Hz; give --sample-rate" in capsys.readouterr().err
    path.write_text('{"id": 3')
    assert main(["manifest", str(path), str(tmp_path / "out")]) == 2
    assert "list.jsonl, line 1: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "said"), [({"offset": 3}, "go together"), ({"offset": 3, "bytes": 9, "member": "a"}, "at least 512")]
)
def test_manifest_lines_that_are_none(sharded, tmp_path, line, said):
    facts = {"path": "x.tar", "sample_rate": RATE, "frames": 9, "sha256": "", "split": "train"}
    (tmp_path / "m.jsonl").write_text(json.dumps({**facts, **line}))
    with pytest.raises(ConfigError, match=f"m.jsonl, line 1: .*{said}"):
        read_manifest(tmp_path / "m.jsonl")


def test_sizes():
    assert (size("1024MB"), size("1gb"), size("2048KB")) == (1 << 30, 1 << 30, 2 << 20)
    for text in ("1024", "0MB", "-1GB", "1KB", "1.5GB"):
        with pytest.raises(ConfigError, match="is no size of a shard; give 1MB or more, such as 1024MB"):
            size(text)


def test_prepare_from_the_shell(corpus, tmp_path, capsys):
    assert main(["prepare", str(corpus), str(tmp_path), "--shards", "1MB"]) == 0
    assert len(tars(tmp_path)) == 1
    with pytest.raises(SystemExit):
        main(["prepare", str(corpus), str(tmp_path), "--shards", "1"])
    assert "'1' is no size of a shard" in capsys.readouterr().err
    write_manifest(tmp_path / "again.jsonl", clips(tmp_path))
    assert read_manifest(tmp_path / "again.jsonl") == clips(tmp_path)
    assert isinstance(clips(tmp_path)[0].source, Span)


# ---- Shards in a store -----------------------------------------------------------------------------------------------


@pytest.fixture
def in_store(sharded, tmp_path, monkeypatch) -> str:
    """The sharded corpus in fsspec's memory, as if its folder had been uploaded."""
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setenv("WAVEGLOW_REMOTE_CACHE", str(tmp_path / "kept"))
    files = fsspec.filesystem("memory")
    for path in (path for path in sharded.rglob("*") if path.is_file()):
        files.pipe(f"/bucket/corpus/{path.relative_to(sharded).as_posix()}", path.read_bytes())
    yield "memory://bucket/corpus"
    files.rm("/bucket", recursive=True)


def test_training_from_a_store_gives_the_same_weights(config_file, in_store, sharded, tmp_path):
    weights = []
    for data in (sharded, in_store):
        run = tmp_path / str(len(weights))
        options = ["--data", data, "--run-dir", run, "--device", "cpu", "train.steps=2"]
        assert main(["train", "--config", str(config_file), *map(str, options)]) == 0
        weights.append((run / "checkpoints" / "step_00000002" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    account = read_manifest(tmp_path / "1" / "data" / "clips.jsonl")
    assert all(clip.path.startswith("memory://bucket/corpus/shards/recording.") for clip in account)


def test_a_store_without_them(config_file, in_store, tmp_path, capsys, monkeypatch):
    import fsspec

    monkeypatch.setattr(remote, "FIRST_WAIT_SECONDS", 0.01)

    def train(data):
        options = ["--data", data, "--run-dir", tmp_path / "run", "--device", "cpu"]
        return main(["train", "--config", str(config_file), *map(str, options)])

    assert train("memory://bucket/nothing") == 2
    assert "isn't in the store; is the manifest of another one?" in capsys.readouterr().err
    files = fsspec.filesystem("memory")
    shard = sorted(name for name in files.ls("/bucket/corpus/shards", detail=False) if name.endswith(".tar"))[0]
    content = files.cat_file(shard)
    files.pipe(shard, content[: len(content) // 2])
    assert train(in_store) == 2
    assert re.search(r"bytes came where \d+ were asked for|is of another one", capsys.readouterr().err)
    files.rm(shard)
    assert train(in_store) == 2
    assert "isn't in the store" in capsys.readouterr().err
    line = {"path": "a.wav", "sample_rate": RATE, "frames": 9, "sha256": "", "split": "train"}
    files.pipe("/bucket/loose/manifest.jsonl", json.dumps(line).encode())
    assert train("memory://bucket/loose/manifest.jsonl") == 2
    assert (
        "memory://bucket/loose/a.wav: of a store only shards are read; make them with --shards"
        in capsys.readouterr().err
    )


@pytest.mark.slow
def test_workers_read_from_a_server(config_file, sharded, tmp_path, monkeypatch):
    pytest.importorskip("aiohttp")
    monkeypatch.setenv("WAVEGLOW_REMOTE_CACHE", str(tmp_path / "kept"))
    command = [sys.executable, "-c", SERVER, str(sharded)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as served:
        assert served.stdout is not None
        weights = []
        for data in (str(sharded), f"http://127.0.0.1:{int(served.stdout.readline())}"):
            run = tmp_path / str(len(weights))
            options = ["--data", data, "--run-dir", str(run), "--device", "cpu", "train.steps=3", "data.workers=2"]
            assert main(["train", "--config", str(config_file), *options]) == 0
            weights.append((run / "checkpoints" / "step_00000003" / "model.safetensors").read_bytes())
        served.kill()
    assert weights[0] == weights[1]


SERVER = """
import re, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
class Files(BaseHTTPRequestHandler):
    def do_HEAD(self): self.do_GET()
    def do_GET(self):
        content = (Path(sys.argv[1]) / self.path[1:]).read_bytes()
        found = re.match("bytes=([0-9]+)-([0-9]+)", self.headers.get("Range", ""))
        part = content[int(found[1]) : int(found[2]) + 1] if found else content
        self.send_response(206 if found else 200)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if self.command == "GET": self.wfile.write(part)
server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
print(server.server_port, flush=True)
server.serve_forever()
"""
