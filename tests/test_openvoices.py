"""The recipe of open voices: one level, committed splits, three speeds, what is refused, and where apt isn't."""

from __future__ import annotations

import errno
import importlib.util
import os
import random
import re
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from waveglow.audio.files import OutputError
from waveglow.cli.main import main
from waveglow.data.manifest import Clip, read_manifest

av = pytest.importorskip("av")

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "openvoices"
RATE = 16_000
PACKAGES = ["festvox-ru", *(f"asterisk-core-sounds-{language}-g722" for language in ("en", "es", "it", "ru", "fr"))]


def module(name: str) -> ModuleType:
    """A file of the recipe, which is no module of the package."""
    spec = importlib.util.spec_from_file_location(name, RECIPE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded  # dataclasses look themselves up; reference_clips.py imports its neighbour
    spec.loader.exec_module(loaded)
    return loaded


module("wide")  # which prepare.py imports
prepare = module("prepare")
reference_clips = module("reference_clips")


def tone(seconds: float = 0.3, hz: float = 500, rate: int = RATE) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def write_g722(path: Path, samples: np.ndarray) -> None:
    """Samples [T] at 16 kHz as the packages hold them: G.722 without any header."""
    encoder = av.CodecContext.create("g722", "w")
    encoder.sample_rate, encoder.layout, encoder.format, encoder.time_base = RATE, "mono", "s16", Fraction(1, RATE)
    frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], format="s16", layout="mono")
    frame.sample_rate = RATE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)]))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The six packages, unpacked, of 20 recordings each, with folders as theirs; to be read, not written."""
    packages = tmp_path_factory.mktemp("packages")
    for corpus in prepare.CORPORA:
        folder = packages / corpus.package / corpus.folder
        folder.mkdir(parents=True)
        for number in range(20):
            samples = tone(0.2 + 0.01 * number)
            if corpus.suffix == ".wav":
                soundfile.write(folder / f"ru_{number:04d}.wav", samples, RATE, subtype="PCM_16")
            else:
                write_g722(folder / ("digits" if number % 2 else "") / f"{number}.g722", samples)
    return packages


@pytest.fixture(scope="module")
def splits(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lists of the tree's recordings: 1 of 20 each."""
    folder = tmp_path_factory.mktemp("splits")
    prepare.write_splits(folder, prepare.recordings(tree))
    return folder


@pytest.fixture(scope="module")
def made(tree: Path, splits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What prepare.py makes of the tree; not to be written."""
    out = tmp_path_factory.mktemp("made")
    assert prepare.main([str(tree), str(out), "--splits", str(splits)]) == 0
    return out


def keys(folder: Path, split: str) -> list[str]:
    return (folder / f"{split}.txt").read_text(encoding="utf-8").split()


def stems(clips: list[Clip], split: str) -> set[str]:
    return {clip.name for clip in clips if clip.split == split}


# ---- Level -----------------------------------------------------------------------------------------------------------


def rms_db(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(samples.astype(np.float64) ** 2)))


@pytest.mark.parametrize("gain", [1e-3, 0.1, 1.0, 3.0])
def test_speech_comes_to_the_level_whatever_it_had(gain):
    speech = tone(1.0).astype(np.float32)
    assert rms_db(prepare.leveled(np.float32(gain) * speech, RATE)) == pytest.approx(-20, abs=1e-3)


def test_pauses_have_no_say_in_the_level():
    """Noise 46 dB below the speech is a pause, 34 dB below it counts."""
    speech = tone(1.0)
    for below_db, counts in [(46, False), (34, True)]:
        pause = np.random.default_rng(0).normal(0, 10 ** (-below_db / 20) * 0.3 / np.sqrt(2), 3 * RATE)
        leveled = prepare.leveled(np.concatenate([speech, pause]).astype(np.float32), RATE)
        assert (rms_db(leveled[:RATE]) > -19.9) == counts
        assert rms_db(leveled[:RATE]) == pytest.approx(-20 + (6.02 if counts else 0), abs=0.05)


def test_a_peak_is_never_pushed_beyond_its_limit():
    clicks = np.zeros(RATE, np.float32)
    clicks[::400] = 0.01
    leveled = prepare.leveled(clicks, RATE)
    assert np.abs(leveled).max() == pytest.approx(0.95)
    assert rms_db(leveled) < -20


def test_every_clip_written_has_the_level(made):
    clips = read_manifest(made / "manifest.jsonl") + read_manifest(made / "unseen.jsonl")
    for clip in clips:
        samples, rate = soundfile.read(clip.path)
        middle = samples[rate // 100 : -rate // 100]
        assert rms_db(middle) == pytest.approx(-20, abs=0.4), clip.path
        assert (rate, clip.sample_rate, clip.frames) == (22050, 22050, len(samples))


# ---- Splits ----------------------------------------------------------------------------------------------------------


def test_the_lists_are_a_function_of_the_names(tree, splits, tmp_path):
    found = prepare.recordings(tree)
    random.Random(0).shuffle(found)
    prepare.write_splits(tmp_path, found)
    assert keys(tmp_path, "test") == keys(splits, "test")
    assert keys(tmp_path, "valid") == keys(splits, "valid")


@pytest.mark.parametrize("split", ["test", "valid"])
def test_of_each_corpus_the_share_is_held_out(splits, split):
    corpora = sorted(key.split("/")[0] for key in keys(splits, split))
    assert corpora == ["en", "es", "it", "ru", "ru-nsh"]  # 5 % of 20 each; fr is in no list


def test_the_smallest_hashes_are_the_test_and_the_next_validation(tree, splits):
    for corpus in prepare.CORPORA[:-1]:
        by_hash = sorted((r for r in prepare.recordings(tree) if r.corpus == corpus), key=lambda r: r.hash)
        assert by_hash[0].key in keys(splits, "test")
        assert by_hash[1].key in keys(splits, "valid")


def test_the_committed_lists():
    committed = {split: keys(RECIPE / "splits", split) for split in ("test", "valid")}
    assert [len(committed["test"]), len(committed["valid"])] == [142, 142]
    assert not set(committed["test"]) & set(committed["valid"])
    assert {key.split("/")[0] for key in committed["test"]} == {"ru-nsh", "en", "es", "it", "ru"}
    by_name = {corpus.name: corpus for corpus in prepare.CORPORA}
    hashes: dict[tuple[str, str], list[str]] = {}
    for split, listed in committed.items():
        assert listed == sorted(listed)
        for key in listed:
            corpus, name = key.split("/", 1)
            hashes.setdefault((split, corpus), []).append(prepare.Recording(by_name[corpus], name, Path()).hash)
    for (split, corpus), of_test in hashes.items():
        if split == "test":
            assert max(of_test) < min(hashes["valid", corpus])


def test_a_recording_in_both_lists_is_refused(tmp_path):
    for split in ("test", "valid"):
        (tmp_path / f"{split}.txt").write_text("en/1\n")
    with pytest.raises(ValueError, match="en/1 is listed twice"):
        prepare.read_splits(tmp_path)


def test_the_lists_that_are_given_are_read(tree, tmp_path):
    for split, listed in {"test": "en/4\nit/digits/7\n", "valid": "ru-nsh/ru_0003\n"}.items():
        (tmp_path / f"{split}.txt").write_text(listed)
    assert prepare.main([str(tree), str(tmp_path / "out"), "--splits", str(tmp_path), "--speeds", "1.0"]) == 0
    clips = read_manifest(tmp_path / "out" / "manifest.jsonl")
    assert stems(clips, "test") == {"en-4", "it-digits-7"}
    assert stems(clips, "valid") == {"ru-nsh-ru_0003"}
    assert len(stems(clips, "train")) == 97


def test_write_splits_makes_the_lists_that_are_read_next(tree, splits, tmp_path):
    given = [str(tree), str(tmp_path / "out"), "--splits", str(tmp_path / "new"), "--speeds", "1.0"]
    assert prepare.main([*given, "--write-splits"]) == 0
    assert not (tmp_path / "out" / "manifest.jsonl").exists()
    assert keys(tmp_path / "new", "test") == keys(splits, "test")
    assert prepare.main(given) == 0
    assert len(stems(read_manifest(tmp_path / "out" / "manifest.jsonl"), "test")) == 5


def test_held_out_clips_are_never_trained_on(made, splits, tmp_path, monkeypatch):
    """What `waveglow train` draws from is asked, as it hands it to the loop that trains."""

    class TrainingStarts(Exception):  # noqa: N818
        pass

    def trainer(model, task, *_, **__):
        raise TrainingStarts(task)

    monkeypatch.setattr("waveglow.training.vocoder_run.Trainer", trainer)
    tiny = ["model.n_layers=1", "model.n_channels=4", "valid.clips=99"]
    config = str(ROOT / "recipes" / "ljspeech" / "conf" / "demo.yaml")
    with pytest.raises(TrainingStarts) as stopped:
        main(["train", "--config", config, "--data", str(made), "--run-dir", str(tmp_path), "--device", "cpu", *tiny])
    task = stopped.value.args[0]
    held_out = {split: {key.replace("/", "-") for key in keys(splits, split)} for split in ("test", "valid")}
    trained = {clip.name.split("@")[0] for clip in task.dataset.clips}
    assert len(trained) == 5 * 18
    assert not trained & (held_out["test"] | held_out["valid"])
    assert not any(name.startswith("fr-") for name in trained)
    assert {clip.name for clip in task.held_out} == held_out["valid"]


def test_the_unseen_voice_has_a_manifest_of_its_own(made):
    unseen = read_manifest(made / "unseen.jsonl")
    assert len(unseen) == 20
    assert {(Path(clip.path).parent.name, clip.split) for clip in unseen} == {("fr", "test")}
    assert not any(clip.name.startswith("fr-") for clip in read_manifest(made / "manifest.jsonl"))


def test_validation_hears_every_corpus_first(tree, tmp_path):
    """Held-out clips of one corpus stand behind 30 clips of training in its hashes, of another at the front."""
    found = prepare.recordings(tree)
    held_out = {}
    for corpus in prepare.CORPORA[:-1]:
        by_hash = sorted((r.hash, r.key) for r in found if r.corpus == corpus)
        chosen = by_hash[-3:] if corpus.name == "ru-nsh" else by_hash[:3]
        held_out |= {key: "valid" for _, key in chosen}
    order = [r.corpus.name for r in prepare.in_turn(found, held_out) if r.key in held_out]
    assert order == ["ru-nsh", "en", "es", "it", "ru"] * 3


def test_a_copy_of_a_held_out_clip_is_left_out(tree, tmp_path):
    packages = tmp_path / "packages"
    shutil.copytree(tree, packages)
    spanish = packages / "asterisk-core-sounds-es-g722" / prepare.ASTERISK / "es_MX_f_Allison"
    shutil.copy(spanish / "2.g722", spanish / "queue-seconds.g722")
    assert not [r for r in prepare.recordings(packages) if r.name == "queue-seconds"]
    assert "es/seconds" in keys(RECIPE / "splits", "test")


# ---- Speeds ----------------------------------------------------------------------------------------------------------


def test_only_training_clips_are_played_faster(made, splits):
    clips = read_manifest(made / "manifest.jsonl") + read_manifest(made / "unseen.jsonl")
    speeds: dict[str, list[tuple[str, str]]] = {}
    for clip in clips:
        name, _, speed = clip.name.partition("@")
        speeds.setdefault(name, []).append((clip.split, speed))
    for name, found in speeds.items():
        held_out = name.startswith("fr-") or found[0][0] != "train"
        assert sorted(found) == ([(found[0][0], "")] if held_out else [("train", s) for s in ("", "1.17", "1.38")])
    assert len(speeds) == 120


def test_a_speed_shortens_the_clip_and_raises_its_pitch(made):
    clips = {clip.name: clip for clip in read_manifest(made / "manifest.jsonl") if clip.split == "train"}
    names = [name for name in clips if "@" not in name]
    for name in names[:10]:
        for speed in (1.0, 1.17, 1.38):
            clip = clips[name if speed == 1 else f"{name}@{speed}"]
            samples, rate = soundfile.read(clip.path)
            spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 16))
            assert np.argmax(spectrum) * rate / (1 << 16) == pytest.approx(500 * speed, abs=2)
            seconds = 0.2 + 0.01 * int(re.search(r"\d+$", name)[0])
            assert clip.frames == pytest.approx(seconds * rate / speed, abs=8)


def test_a_clip_says_how_wide_it_is(made):
    """As wide as its corpus, times the speed; nothing is said of a clip that nearly fills the band."""
    width = {corpus.name: corpus.bandwidth for corpus in prepare.CORPORA}
    for clip in read_manifest(made / "manifest.jsonl") + read_manifest(made / "unseen.jsonl"):
        bandwidth = round(width[Path(clip.path).parent.name] * float(clip.name.partition("@")[2] or 1))
        assert clip.bandwidth == (bandwidth if bandwidth < 0.95 * 11025 else None), clip.name


@pytest.mark.parametrize("speeds", ["1.17", "0", "1.0,nan", "1.0,1.0", "1.0,3", "fast", ""])
def test_speeds_that_make_no_sense(speeds, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        prepare.main([str(tmp_path), str(tmp_path / "out"), "--speeds", speeds])
    assert exit_.value.code == 2
    assert "--speeds" in capsys.readouterr().err


# ---- Running again ---------------------------------------------------------------------------------------------------


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.*")}


def test_a_second_run_decodes_nothing_and_gives_the_same(tree, splits, made, monkeypatch):
    before = contents(made)

    def decode(file: Path) -> None:
        raise AssertionError(f"{file} is decoded again")

    monkeypatch.setattr(prepare, "decode", decode)
    assert prepare.main([str(tree), str(made), "--splits", str(splits)]) == 0
    assert contents(made) == before


def test_a_run_that_was_cut_off_goes_on(tree, splits, made, tmp_path, monkeypatch):
    real, decoded = prepare.decode, []

    def decode(file: Path) -> tuple[np.ndarray, int]:
        if len(decoded) == 30:
            raise KeyboardInterrupt
        decoded.append(file)
        return real(file)

    given = [str(tree), str(tmp_path / "out"), "--splits", str(splits)]
    monkeypatch.setattr(prepare, "decode", decode)
    with pytest.raises(KeyboardInterrupt):
        prepare.main(given)
    assert not (tmp_path / "out" / "manifest.jsonl").exists()
    monkeypatch.setattr(prepare, "decode", lambda file: decoded.append(file) or real(file))
    assert prepare.main(given) == 0
    assert len(decoded) == len(set(decoded)) == 120
    assert contents(tmp_path / "out") == contents(made)


def test_clips_of_other_rules_are_not_taken_for_these(tree, splits, tmp_path, monkeypatch, capsys):
    given = [str(tree), str(tmp_path), "--splits", str(splits), "--speeds", "1.0"]
    monkeypatch.setattr(prepare, "LEVEL_DBFS", -26.0)
    assert prepare.main(given) == 0
    monkeypatch.undo()
    assert prepare.main(given) == 2
    assert f"{tmp_path} was made by other rules" in capsys.readouterr().err


# ---- What is refused and what isn't speech ---------------------------------------------------------------------------


def test_what_cant_be_used_is_named_and_the_others_are_there(tree, splits, tmp_path, capsys):
    packages = tmp_path / "packages"
    shutil.copytree(tree, packages)
    english = packages / "asterisk-core-sounds-en-g722" / prepare.ASTERISK / "en_US_f_Allison"
    russian = packages / "festvox-ru" / prepare.FESTVOX
    (english / "is.g722").touch()
    (english / "blip.g722").write_bytes(b"\0" * 99)
    (russian / "text.wav").write_text("no audio")
    soundfile.write(russian / "still.wav", np.zeros(RATE), RATE)
    given = [str(packages), str(tmp_path / "out"), "--splits", str(splits), "--speeds", "1.0"]
    for _ in range(2):
        assert prepare.main(given) == 3
        refused = [line for line in capsys.readouterr().err.splitlines() if line.startswith("refused: ")]
        reasons = {line.split(": ")[1].rsplit("/", 1)[1]: line for line in refused}
        assert reasons.keys() == {"is.g722", "blip.g722", "text.wav", "still.wav"}
        assert "empty file" in reasons["is.g722"]
        assert "198 samples" in reasons["blip.g722"]
        assert "no audio" in reasons["text.wav"]
        assert "silence" in reasons["still.wav"]
        assert len(read_manifest(tmp_path / "out" / "manifest.jsonl")) == 100


def test_a_full_disk_is_no_refused_recording(tree, splits, tmp_path, capsys, monkeypatch):
    written = []

    def full(path, content):
        written.append(path)
        if len(written) > 3:
            raise OutputError(errno.ENOSPC, "No space left on device", str(path))
        path.write_bytes(content)

    monkeypatch.setattr("waveglow.audio.io.write_atomically", full)
    given = [str(tree), str(tmp_path / "out"), "--splits", str(splits), "--speeds", "1.0"]
    assert prepare.main(given) == 2
    said = capsys.readouterr().err
    assert said.endswith(f"prepare.py: {written[-1]}: can't be written (No space left on device)\n")
    assert "refused: " not in said
    assert not (tmp_path / "out" / "manifest.jsonl").exists()


def test_silences_and_beeps_are_no_speech(tree, tmp_path):
    packages = tmp_path / "packages"
    shutil.copytree(tree, packages)
    english = packages / "asterisk-core-sounds-en-g722" / prepare.ASTERISK / "en_US_f_Allison"
    for name in ("silence/1.g722", "beep.g722", "beeperr.g722", "vm-beep.g722", "silence.g722"):
        write_g722(english / name, tone())
    before = {r.key for r in prepare.recordings(tree)}
    assert {r.key for r in prepare.recordings(packages)} - before == {"en/vm-beep", "en/silence"}


# ---- Packages --------------------------------------------------------------------------------------------------------


def test_a_package_that_lacks_is_named(tree, tmp_path, capsys):
    packages = tmp_path / "packages"
    shutil.copytree(tree, packages)
    shutil.rmtree(packages / "festvox-ru")
    assert prepare.main([str(packages), str(tmp_path / "out")]) == 2
    assert f"{packages} has no festvox-ru; recipes/openvoices/fetch.sh {packages} gets them" in capsys.readouterr().err


def test_without_pyav_the_extra_is_named(tree, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "av", None)
    assert prepare.main([str(tree), str(tmp_path / "out")]) == 2
    assert "pip install -e '.[openvoices]'" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb")
def test_deb_files_are_unpacked(tree, splits, made, tmp_path, monkeypatch, capsys):
    packages = tmp_path / "packages"
    shutil.copytree(tree, packages)
    french = packages / "asterisk-core-sounds-fr-g722"
    (french / "DEBIAN").mkdir()
    fields = {
        "Package": french.name,
        "Version": "1",
        "Architecture": "all",
        "Maintainer": "x <x@y>",
        "Description": "x",
    }
    (french / "DEBIAN" / "control").write_text("".join(f"{key}: {value}\n" for key, value in fields.items()))
    deb = packages / f"{french.name}_1_all.deb"
    subprocess.run(["dpkg-deb", "-b", french, deb], check=True, capture_output=True)
    shutil.rmtree(french)
    given = [str(packages), str(tmp_path / "out"), "--splits", str(splits)]
    with monkeypatch.context() as without:
        without.setenv("PATH", str(tmp_path))
        assert prepare.main(given) == 2
        assert "ar x" in capsys.readouterr().err
    assert prepare.main(given) == 0
    assert contents(tmp_path / "out") == contents(made)
    shutil.rmtree(french)
    deb.write_bytes(b"no archive")
    assert prepare.main(given) == 2
    assert f"{deb} can't be unpacked" in capsys.readouterr().err
    assert not french.exists()


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """A folder of programs that is the whole PATH: no apt-get, no dpkg."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in ("bash", "env", "cat", "mkdir", "mv", "rmdir", "dirname", "wc", "touch"):
        (folder / program).symlink_to(shutil.which(program))
    return folder


def stub(system: Path, name: str, script: str) -> None:
    (system / name).write_text(f"#!/usr/bin/env bash\n{script}\n")
    (system / name).chmod(0o755)


def run(script: str, *arguments: object, system: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(RECIPE / script), *map(str, arguments)],
        env={"PATH": str(system)},
        cwd=system.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_without_apt_it_is_said_what_to_do(system):
    done = run("fetch.sh", "data/debs", system=system)
    assert done.returncode == 2
    assert "there is no apt-get" in done.stderr
    for package in PACKAGES:
        assert f"https://packages.debian.org/{package}\n" in done.stderr
    assert "put them into data/debs and run this again" in done.stderr
    assert "ar x" in done.stderr


def test_what_is_there_is_not_named_and_not_fetched(system):
    debs = system.parent / "debs"
    (debs / PACKAGES[0]).mkdir(parents=True)
    for package in PACKAGES[1:-1]:
        (debs / f"{package}_1.6.1-1_all.deb").touch()
    done = run("fetch.sh", "--narrow", debs, system=system)
    assert done.returncode == 2
    assert [p for p in PACKAGES if p in done.stderr] == [PACKAGES[-1]]
    (debs / f"{PACKAGES[-1]}_1.6.1-1_all.deb").touch()
    done = run("fetch.sh", "--narrow", debs, system=system)
    assert (done.returncode, done.stderr) == (0, "")


def test_apt_downloads_what_is_missing(system):
    debs = system.parent / "debs"
    (debs / PACKAGES[0]).mkdir(parents=True)
    stub(system, "apt-get", '[ "$1" = download ] && shift && for p; do touch "${p}_1_all.deb"; done')
    assert run("fetch.sh", "--narrow", debs, system=system).returncode == 0
    assert sorted(os.listdir(debs)) == sorted([PACKAGES[0], *(f"{p}_1_all.deb" for p in PACKAGES[1:])])


def test_without_the_archives_lists_apt_get_update_is_asked_for(system):
    stub(system, "apt-get", "touch festvox-ru_1_all.deb; echo 'E: Unable to locate package' >&2; exit 100")
    done = run("fetch.sh", "debs", system=system)
    assert done.returncode == 2
    assert "Unable to locate package" in done.stderr
    assert "run 'apt-get update' (as root" in done.stderr
    assert not (system.parent / "debs" / "festvox-ru_1_all.deb").exists()  # it may be half a file


# ---- train.sh --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--stage x", "x is no whole number"),
        ("--stage 9", "stages are 1 to 4"),
        ("--stage 3 --stop-stage 2", "stages are 1 to 4"),
        ("--data", "--data needs a value"),
        ("--speed 2", "unknown option --speed"),
        ("LJSpeech-1.1", "LJSpeech-1.1 is no option and no KEY=VALUE"),
        ("--config nowhere.yaml", "no configuration nowhere.yaml"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_2(arguments, message, system):
    stub(system, "waveglow", "exit 1")
    done = run("train.sh", *arguments.split(), system=system)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(("script", "taught"), [("train.sh", "--stop-stage N"), ("fetch.sh", "festvox-ru")])
def test_help_teaches(script, taught, system):
    done = run(script, "--help", system=system)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: recipes/openvoices/{script}")
    assert taught in done.stdout


def test_the_stages_call_the_commands(system):
    here = system.parent
    (here / "my.yaml").touch()
    stub(system, "waveglow", f'echo "waveglow $*" >>{here}/calls')
    stub(system, "python", f'echo "${{1##*/}} ${{@:2}}" >>{here}/calls; touch "$3"/{{manifest,unseen}}.jsonl; exit 3')
    for package in PACKAGES:
        (here / "speech" / "debs" / package).mkdir(parents=True)
    given = ["--config", "my.yaml", "--run-dir", "r", "--data", "speech", "--narrow", "train.steps=5"]
    assert run("train.sh", *given, system=system).returncode == 0
    expected = [
        "prepare.py speech/debs speech",
        "waveglow train --config my.yaml --data speech --run-dir r train.steps=5",
        "waveglow evaluate -c r speech/manifest.jsonl --split test r/evaluation",
        "waveglow report r",
    ]
    assert (here / "calls").read_text().splitlines() == expected
    assert run("train.sh", *given, "--stage", 1, "--stop-stage", 2, system=system).returncode == 0
    assert (here / "calls").read_text().splitlines()[4:] == [expected[1]]  # what is prepared stays


# ---- Reference clips -------------------------------------------------------------------------------------------------


def test_reference_clips_are_chosen_by_the_rule():
    def clip(corpus: str, name: str, seconds: float, split: str = "test") -> Clip:
        return Clip(f"/d/wavs/{corpus}/{corpus}-{name}.wav", 22050, round(seconds * 22050), "0", split)

    clips = [
        clip("en", "short", 1.9),
        clip("en", "trained", 3.0, "train"),
        clip("en", "first", 2.0),
        clip("en", "second", 3.0),
        clip("ru-nsh", "long", 5.1),
        *(clip("fr", name, 4.0) for name in "abc"),
    ]
    assert reference_clips.chosen(clips) == ["en-first", "fr-a", "fr-b"]


def test_the_committed_reference_clips_are_held_out_and_credited():
    folder = ROOT / "audio_samples" / "reference"
    names = (RECIPE / "reference.txt").read_text(encoding="utf-8").split()
    test = {key.replace("/", "-") for key in keys(RECIPE / "splits", "test")}
    assert sorted(f"{name}.wav" for name in names) == sorted(path.name for path in folder.glob("*.wav"))
    assert all(name in test or name.startswith("fr-") for name in names)
    rows = [line for line in (folder / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    for name, row in zip(names, rows, strict=True):
        info = soundfile.info(folder / f"{name}.wav")
        assert (info.samplerate, info.channels, info.subtype) == (22050, 1, "PCM_16")
        assert 2 <= info.duration <= 5
        assert f"| `{name}.wav` | {info.duration:.1f} |" in row
        assert "©" in row
        assert "creativecommons.org/licenses/" in row or "BSD-like" in row
    assert sum(path.stat().st_size for path in folder.glob("*.wav")) < 2_000_000


def test_a_reference_clip_is_never_a_training_clip(made, tmp_path):
    clips = read_manifest(made / "manifest.jsonl")
    trained = next(clip.name for clip in clips if clip.split == "train")
    with pytest.raises(ValueError, match=rf"{trained} of reference.txt are no test clips"):
        reference_clips.write(clips, [trained], tmp_path)
    held_out = [clip.name for clip in clips if clip.split == "test"]
    reference_clips.write(clips, held_out, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["README.md", *(f"{n}.wav" for n in held_out)])
