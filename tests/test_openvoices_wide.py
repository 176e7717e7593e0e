"""Wide-band speech of the recipe: which files are taken, how wide they are, where they go, how often they are drawn."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tarfile
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from waveglow.audio.mel import preset
from waveglow.data.manifest import Clip, content_hash, read_manifest, write_manifest
from waveglow.data.sampler import stratum
from waveglow.data.speech import MAX_SYNTHETIC, SpeechCrops

RECIPE = Path(__file__).parents[1] / "recipes" / "openvoices"


def module(name: str) -> ModuleType:
    """A file of the recipe, which is no module of the package."""
    spec = importlib.util.spec_from_file_location(name, RECIPE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


wide = module("wide")
prepare = module("prepare")
module("held_out")  # which ship.py imports
ship = module("ship")

FORMATS = {  # rate, container, codec
    ".mp3": (22_050, "MP3", "MPEG_LAYER_III"),
    ".ogg": (44_100, "OGG", "VORBIS"),
    ".opus": (24_000, "OGG", "OPUS"),
    ".wav": (16_000, "WAV", None),
}
FOLDERS = {
    "audio-cmn": ("96k/hsk/cmn-", "64k/syllabs/cmn-", ".mp3"),
    "gcompris": ("gd/words/", "es/words/", ".ogg"),
    "kokoro": ("wavs/a_", "wavs/b_", ".opus"),
}


def recording(suffix: str, *, seed: int = 0, gain: float = 0.1, seconds: float = 0.7) -> bytes:
    """Noise of full bandwidth, encoded."""
    (rate, kind, subtype), content = FORMATS[suffix], io.BytesIO()
    samples = gain * np.random.default_rng(seed).standard_normal(round(seconds * rate))
    soundfile.write(content, samples, rate, format=kind, subtype=subtype)
    return content.getvalue()


def write_tar(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian packages, unpacked, of one recording each, and the three tars of 40 files each."""
    folder = tmp_path_factory.mktemp("packages")
    for corpus in prepare.CORPORA:
        place = folder / corpus.package / corpus.folder
        place.mkdir(parents=True)
        if corpus.suffix == ".wav":
            (place / "ru_0.wav").write_bytes(recording(".wav"))
        else:
            (place / "0.g722").write_bytes(np.random.default_rng(0).integers(0, 256, 8000, dtype=np.uint8).tobytes())
    for name, (one, other, suffix) in FOLDERS.items():
        kinds = [recording(suffix, seed=seed) for seed in range(4)]
        files = {f"{start}{n}{suffix}": kinds[n % 4] for start in (one, other) for n in range(20)}
        write_tar(folder / f"{name}.tar", {**files, "README.md": b"no recording", f"elsewhere/x{suffix}": kinds[0]})
    return folder


@pytest.fixture(scope="module")
def lists(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lists of the two sources that have one, without their 19th files."""
    folder = tmp_path_factory.mktemp("lists")
    for name in ("audio-cmn", "gcompris"):
        with tarfile.open(packages / f"{name}.tar") as tar:
            chosen = [m for m in tar if m.name.startswith(FOLDERS[name][:2]) and not m.name.startswith("elsewhere")]
            lines = [
                f"{hashlib.sha256(tar.extractfile(m).read()).hexdigest()}  {m.name}\n"  # type: ignore[union-attr]
                for m in chosen
                if "19." not in m.name
            ]
        (folder / f"{name}.sha256").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def splits(packages: Path, lists: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("splits")
    prepare.write_splits(folder, [])
    prepare.write_splits(folder, prepare.wide_recordings(packages, lists), prepare.WIDE, "wide-")
    return folder


@pytest.fixture(scope="module")
def made(packages: Path, lists: Path, splits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What prepare.py makes of it all; not to be written."""
    out = tmp_path_factory.mktemp("made")
    assert prepare.main([str(packages), str(out), "--splits", str(splits), "--lists", str(lists)]) == 0
    return out


def of_corpus(clips: list[Clip], *names: str) -> list[Clip]:
    return [clip for clip in clips if Path(clip.path).parent.name in names]


WIDE = ("zh", "zh-syllables", "gd", "es-words", "en-words", "kokoro")

# ---- Sources ---------------------------------------------------------------------------------------------------------


def test_the_committed_lists_have_every_chosen_file_once():
    counts = {}
    for source in wide.SOURCES:
        hashes = wide.listed(source)
        counts[source.name] = len(hashes)
        assert all(len(digest) == 64 for digest in hashes.values())
        folders = [corpus.folder + "/" for corpus in prepare.WIDE if corpus.package == source.name]
        assert all(name.startswith(tuple(folders)) for name in hashes)
    assert counts == {"audio-cmn": 5274, "gcompris": 1552, "kokoro": 0}


def test_the_committed_splits_hold_out_a_twentieth_of_what_is_recorded():
    found = {
        split: (RECIPE / "splits" / f"wide-{split}.txt").read_text(encoding="utf-8").split()
        for split in ("test", "valid")
    }
    files = {
        f"{corpus.name}/{name.removeprefix(corpus.folder + '/').rpartition('.')[0]}"
        for source in wide.SOURCES
        for name in wide.listed(source)
        for corpus in prepare.WIDE
        if corpus.package == source.name and name.startswith(corpus.folder + "/")
    }
    assert not set(found["test"]) & set(found["valid"])
    for keys in found.values():
        assert set(keys) <= files
        assert len(keys) == pytest.approx(0.05 * len(files), abs=3)


def test_only_listed_files_are_taken(packages, lists):
    taken = prepare.wide_recordings(packages, lists)
    counts = {name: sum(r.corpus.name == name for r in taken) for name in WIDE}
    assert counts == {"zh": 19, "zh-syllables": 19, "gd": 19, "es-words": 19, "en-words": 0, "kokoro": 40}
    assert not any(r.name.endswith("19") and not r.corpus.synthetic for r in taken)
    assert not list((packages / "gcompris").rglob("*19.ogg"))


def test_a_file_that_is_not_the_lists_is_refused(packages, lists, tmp_path, capsys):
    shutil.copytree(packages / "gcompris", tmp_path / "gcompris")
    source = wide.SOURCES[1]
    assert len(wide.chosen(tmp_path, source, lists)) == 38
    (tmp_path / "gcompris" / "gd" / "words" / "3.ogg").write_bytes(b"another")
    (tmp_path / "gcompris" / "es" / "words" / "7.ogg").unlink()
    with pytest.raises(ValueError, match=r"3\.ogg is missing, or isn't the file of the list \(2 of 38 such files\)"):
        wide.chosen(tmp_path, source, lists)


def test_a_tar_writes_nothing_beside_its_folder(tmp_path):
    ogg = recording(".opus")
    write_tar(
        tmp_path / "kokoro.tar", {"../out.opus": ogg, "/abs.opus": ogg, "wavs/../../up.opus": ogg, "in.opus": ogg}
    )
    assert [p.name for p in wide.chosen(tmp_path, wide.SOURCES[2], tmp_path)] == ["in.opus"]
    assert sorted(os.listdir(tmp_path)) == ["kokoro", "kokoro.tar"]
    (tmp_path / "b").mkdir()
    write_tar(tmp_path / "b" / "kokoro.tar", {"README.md": b""})
    with pytest.raises(ValueError, match="holds no recordings of kokoro"):
        wide.chosen(tmp_path / "b", wide.SOURCES[2], tmp_path)


def test_what_is_not_there_is_left_out_and_named(packages, lists, splits, tmp_path, capsys):
    narrow = tmp_path / "narrow"
    shutil.copytree(packages, narrow, ignore=shutil.ignore_patterns("*.tar", *FOLDERS))
    assert prepare.main([str(narrow), str(tmp_path / "out"), "--splits", str(splits), "--lists", str(lists)]) == 0
    said = capsys.readouterr().err
    assert all(f"has no {name}; its wide-band speech is left out" in said for name in FOLDERS)
    assert not (tmp_path / "out" / "wide.jsonl").exists()
    train = [c for c in read_manifest(tmp_path / "out" / "manifest.jsonl") if c.split == "train"]
    assert {c.bandwidth for c in of_corpus(train, "ru-nsh")} == {7000, 8190, 9660}  # faster is wider


# ---- Clips -----------------------------------------------------------------------------------------------------------


def test_wide_clips_are_at_the_rate_and_one_level_and_are_never_played_faster(made):
    clips = of_corpus(read_manifest(made / "manifest.jsonl"), *WIDE)
    assert len(clips) > 80
    for clip in clips:
        samples, rate = soundfile.read(clip.path)
        assert (rate, clip.sample_rate, clip.frames) == (22_050, 22_050, len(samples))
        assert 10 * np.log10(np.mean(samples**2)) == pytest.approx(-20, abs=0.5)
        assert "@" not in clip.name


def test_bandwidth_is_measured(made):
    """Noise in Vorbis and Opus fills the band, and nothing is said of such clips."""
    clips = of_corpus(read_manifest(made / "manifest.jsonl"), "gd", "kokoro")
    assert {clip.bandwidth for clip in clips} == {None}
    noise = np.random.default_rng(0).standard_normal(22_050)
    spectrum, hz = np.fft.rfft(noise), np.fft.rfftfreq(22_050, 1 / 22_050)
    for cut in (4_000, 10_050):
        cut_off = np.fft.irfft(np.where(hz < cut, spectrum, 0)).astype(np.float32)
        assert cut - 100 <= wide.bandwidth(cut_off, 22_050) <= cut + 100
    assert wide.bandwidth(noise[:300].astype(np.float32), 22_050) >= 10_800


def test_beside_wide_speech_a_faster_clip_of_a_narrow_one_is_no_wider(made):
    train = [c for c in read_manifest(made / "manifest.jsonl") if c.split == "train"]
    assert {c.bandwidth for c in of_corpus(train, "ru-nsh")} == {7000}
    assert {c.bandwidth for c in of_corpus(train, "en")} == {7600}
    assert len(of_corpus(train, "en")) == 3


def test_peaks_beyond_full_scale_are_scaled_and_not_cut(packages, tmp_path):
    (tmp_path / "a.ogg").write_bytes(recording(".ogg", gain=0.5))
    decoded, _ = soundfile.read(tmp_path / "a.ogg", dtype="float32")
    assert np.abs(decoded).max() > 1.2
    samples, rate = prepare.decode(tmp_path / "a.ogg")
    assert rate == 44_100
    np.testing.assert_allclose(samples / np.abs(samples).max(), decoded / np.abs(decoded).max(), atol=1e-6)


# ---- Splits ----------------------------------------------------------------------------------------------------------


def test_nothing_synthetic_is_held_out_and_each_recording_stands_on_one_side(made):
    clips = read_manifest(made / "manifest.jsonl") + read_manifest(made / "wide.jsonl")
    assert {clip.split for clip in of_corpus(clips, "kokoro")} == {"train"}
    assert all(clip.synthetic == (clip in of_corpus(clips, "kokoro")) for clip in clips)
    assert len({clip.path for clip in clips}) == len(clips)
    sides: dict[str, set[str]] = {}
    for clip in clips:
        sides.setdefault(clip.name.partition("@")[0], set()).add(clip.split)
    assert all(len(found) == 1 for found in sides.values())


def test_the_old_test_stays_as_it_is_and_the_wide_one_is_beside_it(made):
    manifest, test = read_manifest(made / "manifest.jsonl"), read_manifest(made / "wide.jsonl")
    assert not [clip for clip in of_corpus(manifest, *WIDE) if clip.split == "test"]
    assert {clip.split for clip in test} == {"test"}
    assert {Path(clip.path).parent.name for clip in test} == {"zh", "zh-syllables", "gd", "es-words"}
    valid = [clip for clip in of_corpus(manifest, *WIDE) if clip.split == "valid"]
    assert len(valid) == len(test) == 4  # 5 % of 19 each


# ---- How often synthetic speech is drawn -----------------------------------------------------------------------------


@pytest.mark.parametrize("share", [Fraction(0), Fraction(1, 4), Fraction(3, 31), Fraction(7, 50), Fraction(1)])
def test_a_stratum_is_spread_evenly_and_numbers_each_kind(share):
    found = [stratum(n, share) for n in range(1000)]
    for apart in (True, False):
        assert [place for kind, place in found if kind == apart] == list(range(sum(k == apart for k, _ in found)))
    for first in range(0, 992):
        of_eight = sum(kind for kind, _ in found[first : first + 8])
        assert abs(of_eight - 8 * share) < 1


@pytest.mark.parametrize(("recorded", "synthetic"), [(60, 6), (60, 200), (5, 0), (0, 5)])
def test_synthetic_clips_are_drawn_by_their_share_of_seconds_and_never_above_the_most(tmp_path, recorded, synthetic):
    clips = [
        Clip(f"/{kind}{n}.wav", 22_050, 10_000 * (2 if kind == "s" else 1), "", "train", synthetic=kind == "s")
        for kind, count in (("r", recorded), ("s", synthetic))
        for n in range(count)
    ]
    crops = SpeechCrops(clips, preset("hifigan"), segment_samples=8192, seed=3)
    drawn = [crops.clip_of(number) for number in range(12_000)]
    share = 2 * synthetic / (recorded + 2 * synthetic)
    expected = share if share in (0, 1) else min(share, 0.25)
    assert sum(clip.synthetic for clip in drawn) == pytest.approx(12_000 * expected, abs=1)
    most = max(sum(clip.synthetic for clip in drawn[n : n + 8]) for n in range(0, 12_000, 8))
    assert most <= (8 if share == 1 else 8 * MAX_SYNTHETIC)
    for kind in (True, False):
        counts = [sum(clip is c for clip in drawn) for c in clips if c.synthetic == kind]
        assert not counts or max(counts) - min(counts) <= 1  # each once before any twice


def test_without_synthetic_clips_the_order_is_as_ever():
    from waveglow.data.sampler import clip_index

    clips = [Clip(f"/{n}.wav", 22_050, 9000, "", "train") for n in range(7)]
    crops = SpeechCrops(clips, preset("hifigan"), segment_samples=8192, seed=5)
    assert [crops.clip_of(n) for n in range(50)] == [clips[clip_index(5, n, 7)] for n in range(50)]


def test_the_manifest_keeps_what_is_synthetic_and_old_ones_keep_their_hash(tmp_path):
    recorded = Clip(str(tmp_path / "a.wav"), 22_050, 9000, "x", "train")
    spoken = Clip(str(tmp_path / "a.wav"), 22_050, 9000, "x", "train", synthetic=True)
    write_manifest(tmp_path / "m.jsonl", [recorded, spoken])
    assert read_manifest(tmp_path / "m.jsonl") == [recorded, spoken]
    assert (tmp_path / "m.jsonl").read_text().count("synthetic") == 1
    assert content_hash([recorded]) != content_hash([spoken])
    assert content_hash([recorded]) == hashlib.sha256(b'[["x", 9000, 22050, "train", null]]').hexdigest()


# ---- fetch.sh --------------------------------------------------------------------------------------------------------


def fetch(folder: Path, *, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1"} if home else {})}
    command = [str(RECIPE / "fetch.sh"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def test_sources_are_those_of_the_script():
    script = (RECIPE / "fetch.sh").read_text(encoding="utf-8")
    for source in wide.SOURCES:
        folders = sorted(corpus.folder for corpus in prepare.WIDE if corpus.package == source.name)
        if source.url:
            line = next(line for line in script.splitlines() if line.startswith(f'  "{source.name} '))
            _, url, commit, *listed = line.strip(' "').split()
            assert (url, commit, sorted(listed)) == (source.url, source.commit, folders)


@pytest.fixture
def debs(tmp_path) -> Path:
    """A folder with all the Debian packages."""
    for corpus in prepare.CORPORA:
        (tmp_path / "debs" / corpus.package).mkdir(parents=True)
    return tmp_path / "debs"


def test_folders_of_a_repository_are_fetched_at_the_commit(debs, tmp_path):
    """Two local repositories stand for the remote ones, and their last commits for those of the script."""
    script = (RECIPE / "fetch.sh").read_text(encoding="utf-8")
    for source in wide.SOURCES[:2]:
        origin = tmp_path / source.name
        for path in ("96k/hsk/a.mp3", "64k/syllabs/a.mp3", "gd/a.ogg", "es/a.ogg", "en/a.ogg", "other/big.bin"):
            (origin / path).parent.mkdir(parents=True, exist_ok=True)
            (origin / path).write_bytes(b"x")
        git = ["git", "-C", str(origin), "-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run([*git, "init", "-q"], check=True)
        subprocess.run([*git, "config", "uploadpack.allowFilter", "true"], check=True)
        subprocess.run([*git, "config", "uploadpack.allowAnySHA1InWant", "true"], check=True)
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "-qm", "a"], check=True)
        head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
        script = script.replace(source.url, f"file://{origin}").replace(source.commit, head)
    (tmp_path / "fetch.sh").write_text(script)
    done = subprocess.run(["bash", str(tmp_path / "fetch.sh"), str(debs)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert (debs / "audio-cmn" / "96k" / "hsk" / "a.mp3").is_file()
    assert (debs / "gcompris" / "gd" / "a.ogg").is_file()
    assert not (debs / "audio-cmn" / "other").exists()
    assert not (debs / "audio-cmn" / "gd").exists()


def test_where_no_repository_can_be_reached_it_is_said_what_to_do(debs, tmp_path):
    (tmp_path / ".gitconfig").write_text('[url "file:///nowhere/"]\n  insteadOf = https://github.com/\n')
    done = fetch(debs, home=tmp_path)
    assert done.returncode == 2
    assert "https://github.com/hugolpz/audio-cmn/archive/ff9ed3d0c631195bd2c06f39450f3264c7124040.tar.gz" in done.stderr
    assert "--narrow" in done.stderr
    (debs / "audio-cmn.tar").touch()
    (debs / "gcompris").mkdir()
    assert fetch(debs, home=tmp_path).returncode == 0


# ---- continue.sh -----------------------------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Path:
    """A folder of work with data, where waveglow, python and timeout only write down how they were called."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("waveglow", "python"):
        script = f'#!/bin/sh\necho "{name} $*" >>{tmp_path}/calls\ncat {tmp_path}/cuda 2>/dev/null || true\n'
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    (programs / "timeout").write_text(f'#!/bin/sh\necho "$1 $2 $3 $4" >>{tmp_path}/calls\nshift 4; exec "$@"\n')
    (programs / "timeout").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    (tmp_path / "data").mkdir()
    lines = [f'{{"path": "{n}.wav", "split": "{"valid" if n % 2 else "train"}"}}\n' for n in range(9)]
    (tmp_path / "data" / "manifest.jsonl").write_text("".join(lines))
    return tmp_path


def go_on(machine: Path, *arguments: str) -> tuple[list[str], str]:
    command = [str(RECIPE / "continue.sh"), "--data", "data", "--run-dir", "run", *arguments]
    done = subprocess.run(command, cwd=machine, capture_output=True, text=True, timeout=60, check=False)
    calls = (machine / "calls").read_text().splitlines() if (machine / "calls").exists() else []
    return calls, done.stderr


def test_it_starts_from_the_voice_and_then_goes_on_with_the_run(machine):
    calls, said = go_on(machine, "--minutes", "7", "--device", "cpu", "--clips", "2", "optim.lr=1e-4")
    assert said == ""
    config = f"--config {RECIPE / 'conf' / 'lapglow.yaml'}"
    train = f"waveglow train {config} --data data --run-dir run --device cpu"
    own = "--threads 1 data.workers=0 optim.lr=1e-4"
    assert calls[0] == f"python {RECIPE}/held_out.py lapglow data/manifest.jsonl"
    assert calls[1].startswith("waveglow evaluate -c lapglow data/valid-2.jsonl --split valid run/scores/before-")
    assert calls[2:4] == ["--preserve-status --signal TERM 7m", f"{train} --init-from lapglow {own}"]
    assert calls[4] == f"python {RECIPE}/held_out.py run data/manifest.jsonl"
    assert calls[5].startswith("waveglow evaluate -c run data/valid-2.jsonl")
    assert (machine / "data" / "valid-2.jsonl").read_text().count("valid") == 2
    (machine / "run" / "checkpoints" / "step_00000500").mkdir(parents=True)
    (machine / "calls").unlink()
    calls, _ = go_on(machine, "--minutes", "7", "--device", "cpu", "--clips", "0", "optim.lr=1e-4")
    assert calls == [
        f"python {RECIPE}/held_out.py run data/manifest.jsonl",
        "--preserve-status --signal TERM 7m",
        f"{train} {own}",
        f"python {RECIPE}/held_out.py run data/manifest.jsonl",
    ]


def test_on_a_gpu_steps_are_recorded(machine):
    (machine / "cuda").write_text("cuda\n")
    calls, _ = go_on(machine, "--minutes", "1", "--clips", "0", "--from", "other")
    assert "--device cuda --init-from other train.cuda_graphs=true train.batch_size=32" in calls[-2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--minutes is missing"),
        (["--minutes"], "--minutes needs a value"),
        (["--minutes", "x"], "x is no whole number"),
        (["--minutes", "0"], "--minutes is 0; it must be at least 1"),
        (["--minutes", "1", "--device", "tpu"], "--device is tpu; it is cpu or cuda"),
        (["--minutes", "1", "--hours", "1"], "unknown option --hours"),
        (["--minutes", "1", "--data", "nowhere"], "no nowhere/manifest.jsonl; run recipes/openvoices/train.sh"),
    ],
)
def test_what_cannot_go_on(machine, arguments, message):
    calls, said = go_on(machine, *arguments)
    assert calls == []
    assert message in said
    assert len(said.splitlines()) == 1


# ---- ship.py ---------------------------------------------------------------------------------------------------------


def test_another_likelihood_changes_its_own_table_alone():
    table = "\n{title}:\n\n| vocoder | 3.4 |\n\n7 clips; NLL {nll} ± 0.1 nats per sample.\n\n- NLL, nats: exact\n"
    card = table.format(title="test split", nll="−5.3") + table.format(title="unseen", nll="4.65")
    changed = ship.with_nll(card, "unseen", "|  |\n1 clips; NLL −4.61 ± 0.06 nats per sample.\n")
    assert changed == card.replace("4.65 ± 0.1", "−4.61 ± 0.06")
    assert ship.with_nll(card, "test split", "NLL −5.2 ± 0.2 nats per sample") == card.replace(
        "−5.3 ± 0.1", "−5.2 ± 0.2"
    )
    for title, evaluation in (("LJSpeech", "NLL −5.2 ± 0.2 nats per sample"), ("unseen", "no likelihood")):
        with pytest.raises(ValueError, match=f"'{title}' has no NLL"):
            ship.with_nll(card, title, evaluation)


@pytest.mark.parametrize(("spoken", "words"), [(False, ["audio-cmn", "Smart4Kids"]), (True, ["Kokoro", "synthetic"])])
def test_the_card_credits_what_the_run_was_trained_on(tmp_path, spoken, words):
    """And the shipped voice, which knows no wide-band speech, credits none."""
    clips = [Clip(f"/w/{c}/a.wav", 22_050, 9000, "x", "train") for c in ("ru-nsh", "zh")]
    clips += [Clip("/w/kokoro/a.wav", 22_050, 9000, "x", "train", synthetic=True)] if spoken else []
    write_manifest(tmp_path / "data" / "manifest.jsonl", clips)
    (tmp_path / "config.yaml").write_text(f"data:\n  manifest: {tmp_path / 'data'}\n")
    lines = ['{"kind": "train", "step": 5, "elapsed_seconds": 7200}', '{"kind": "valid", "step": 5, "nll_nats": -3.0}']
    lines[1] = lines[1].replace("}", ', "elapsed_seconds": 7200}')
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    info = ship.training_facts(tmp_path, {"step": 5, "refine": 16, "recipe": {"train": {"batch_size": 8}}})
    assert (info["wide"], info["synthetic"], info["training_hours"], info["nll_nats"]) == (True, spoken, 2.0, -3.0)
    assert info["recipe"] == {"train": {"batch_size": 8}}
    assert all(word in ship.credits(info) for word in words)
    assert "CC-BY-SA-3.0" in ship.credits(info)
    assert ("Kokoro" in ship.credits(info)) == spoken
    assert "audio-cmn" not in ship.credits({})
