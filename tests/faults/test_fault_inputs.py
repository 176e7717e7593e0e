"""Faults 1 to 24: recordings and mels as they come. The command goes on with the others and ends with exit code 3."""

from __future__ import annotations

import io
import json
import math
import os
import struct
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import waveglow
from waveglow.audio.io import read_segment
from waveglow.audio.mel_spectrogram import MelSpectrogram

fault = pytest.mark.fault
RATE = 22_050
CHANNELS_AT, RATE_AT, DATA_SIZE_AT = 22, 24, 40  # bytes of a WAV header
TO_MEL = ("mel", "--preset", "hifigan")


def patch(path: Path, at: int, value: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[at : at + len(value)] = value
    path.write_bytes(content)


def reasons(out: Path) -> dict[str, str]:
    """Of a report, the reason of each failed input by its name."""
    files = json.loads((out / "report.json").read_text("utf-8"))["files"]
    return {Path(file["input"]).name: file["reason"] for file in files if file["status"] == "failed"}


# ---- Recordings ------------------------------------------------------------------------------------------------------


@fault(1, "a recording of no bytes", "exit 3", "a.wav: empty file")
def test_fault_01_an_empty_file(promise, tmp_path, corpus):
    (corpus / "a.wav").touch()
    promise.command(*TO_MEL, corpus, tmp_path / "out")
    assert reasons(tmp_path / "out") == {"a.wav": f"{corpus / 'a.wav'}: empty file"}
    assert (tmp_path / "out" / "good2.npy").is_file()


@fault(2, "a header without samples", "exit 3", "a.wav: holds 0 samples")
def test_fault_02_a_header_alone(promise, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), RATE)
    promise.command(*TO_MEL, tmp_path / "a.wav", tmp_path / "a.npy")
    assert not (tmp_path / "a.npy").exists()


@fault(3, "samples cut short, in what is to be converted", "exit 0", "truncated: the header promises")
def test_fault_03_cut_short_is_used_with_a_notice(promise, wav, tmp_path):
    wav.write_bytes(wav.read_bytes()[:-20_000])
    promise.command(*TO_MEL, wav, tmp_path / "a.npy")
    assert np.load(tmp_path / "a.npy").shape[1] == (RATE - 10_000) // 256


@fault(3, "samples cut short, in what is to be trained on", "exit 3", "truncated: the header promises")
def test_fault_03_cut_short_is_never_trained_on(promise, wav, corpus, tmp_path):
    (corpus / "cut.wav").write_bytes(wav.read_bytes()[:-20_000])
    promise.command("prepare", corpus, tmp_path / "data")
    assert "cut.wav" not in (tmp_path / "data" / "manifest.jsonl").read_text()


@fault(4, "a header that claims 4 GB", "exit 0", "truncated: the header promises")
def test_fault_04_a_header_that_claims_4_gb(promise, wav, tmp_path):
    patch(wav, DATA_SIZE_AT, struct.pack("<I", 4_000_000_000))
    promise.command(*TO_MEL, wav, tmp_path / "a.npy")
    assert np.load(tmp_path / "a.npy").shape[1] == RATE // 256


@fault(5, "text, a web page or a zip file by the name of a recording", "exit 3", "no audio that can be decoded")
@pytest.mark.parametrize("content", [b"hello\n" * 99, b"<!DOCTYPE html><html></html>" * 50, "zip"], ids=str)
def test_fault_05_no_audio_at_all(promise, tmp_path, content):
    if content == "zip":
        with zipfile.ZipFile(tmp_path / "a.wav", "w") as archive:
            archive.writestr("inner.txt", "x" * 1000)
    else:
        (tmp_path / "a.wav").write_bytes(content)
    promise.command(*TO_MEL, tmp_path / "a.wav", tmp_path / "a.npy")


@fault(6, "a damaged FLAC", "exit 3", "no audio that can be decoded")
def test_fault_06_a_damaged_flac(promise, corpus, tmp_path):
    path = corpus / "a.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, RATE), RATE)
    patch(path, path.stat().st_size // 2, bytes(3000))
    promise.command(*TO_MEL, corpus, tmp_path / "out")
    assert list(reasons(tmp_path / "out")) == ["a.flac"]
    assert (tmp_path / "out" / "good1.npy").is_file()


@fault(7, "no channels, or 65 535", "exit 3", "no audio that can be decoded")
@pytest.mark.parametrize("channels", [0, 65_535])
def test_fault_07_no_channels_or_65535(promise, wav, tmp_path, channels):
    patch(wav, CHANNELS_AT, struct.pack("<H", channels))
    promise.command(*TO_MEL, wav, tmp_path / "a.npy")


@fault(8, "stereo and surround, in what is to be converted", "exit 0", "channels, used: mix")
@pytest.mark.parametrize("channels", [2, 6])
def test_fault_08_channels_are_mixed_with_a_notice(promise, tone, tmp_path, channels):
    soundfile.write(tmp_path / "a.wav", np.stack([tone] * channels, axis=1), RATE)
    assert f"{channels} channels" in promise.command(*TO_MEL, tmp_path / "a.wav", tmp_path / "a.npy")


@fault(8, "left or right of surround", "exit 3", "has 6 channels; convert it to mono, or choose the channel 'mix'")
def test_fault_08_surround_has_no_left(promise, tone, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([tone] * 6, axis=1), RATE)
    promise.command(*TO_MEL, "--channel", "left", tmp_path / "a.wav", tmp_path / "a.npy")


@fault(8, "stereo, in what is trained on", "AudioError", "has 2 channels")
def test_fault_08_training_mixes_nothing(promise, tone, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([tone, tone], axis=1), RATE)
    with promise.raised():
        read_segment(tmp_path / "a.wav", 0, 100)


@fault(9, "sample rates of 1 Hz or 2³¹ − 1 Hz", "exit 3", "accepted: 4000..192000 Hz")
@pytest.mark.parametrize("rate", [1, 3_999, 192_001, 2**31 - 1])
def test_fault_09_impossible_sample_rates(promise, wav, tmp_path, rate):
    patch(wav, RATE_AT, struct.pack("<I", rate))
    promise.command(*TO_MEL, wav, tmp_path / "a.npy")


@fault(9, "a sample rate of 0", "exit 3", "no audio that can be decoded")
def test_fault_09_no_sample_rate(promise, wav, tmp_path):
    patch(wav, RATE_AT, bytes(4))
    promise.command(*TO_MEL, wav, tmp_path / "a.npy")


@fault(10, "another sample rate than the model's, to be converted", "exit 0", "resampled from 16000 to 22050 Hz")
def test_fault_10_another_rate_is_resampled_with_a_notice(promise, tone, tmp_path):
    soundfile.write(tmp_path / "a.wav", tone, 16_000)
    promise.command(*TO_MEL, tmp_path / "a.wav", tmp_path / "a.npy")
    assert np.load(tmp_path / "a.npy").shape[1] == round(RATE * RATE / 16_000) // 256


@fault(10, "another sample rate than the model's, in a training", "exit 2", "prepare")
def test_fault_10_training_resamples_nothing(promise, train, corpus, tmp_path, capsys):
    code = waveglow_command("prepare", corpus, tmp_path / "data", "--sample-rate", 16_000)
    assert code == 0
    capsys.readouterr()
    assert "16000 Hz" in promise.ended(train("--data", str(tmp_path / "data"))[0])


def waveglow_command(*arguments: object) -> int:
    from waveglow.cli.main import main

    return main([str(argument) for argument in arguments])


@fault(11, "8, 24 and 32 bits, float, double, µ-law and A-law", "exit 0", "7 ok")
def test_fault_11_encodings(promise, tone, tmp_path):
    (tmp_path / "in").mkdir()
    for subtype in ("PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"):
        soundfile.write(tmp_path / "in" / f"{subtype}.wav", tone, RATE, subtype=subtype)
    promise.command(*TO_MEL, tmp_path / "in", tmp_path / "out")
    peaks = [np.load(path).max() for path in (tmp_path / "out").glob("*.npy")]
    assert np.ptp(peaks) < 0.05


@fault(12, "floats beyond full scale, to be converted", "exit 0", "samples reach 1.5, full scale is 1")
def test_fault_12_beyond_full_scale_is_clipped_with_a_notice(promise, tone, tmp_path):
    soundfile.write(tmp_path / "a.wav", 3 * tone, RATE, subtype="FLOAT")
    promise.command(*TO_MEL, tmp_path / "a.wav", tmp_path / "a.npy")


@fault(12, "floats beyond full scale, to be trained on", "exit 3", "full scale is 1; scale the file to at most 1")
def test_fault_12_beyond_full_scale_is_never_trained_on(promise, tone, corpus, tmp_path):
    soundfile.write(corpus / "loud.wav", 3 * tone, RATE, subtype="FLOAT")
    promise.command("prepare", corpus, tmp_path / "data")


@fault(13, "NaN or infinite samples", "exit 3", "sample 1234 is")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_fault_13_samples_that_are_not_finite(promise, tone, tmp_path, value):
    samples = tone.copy()
    samples[1234] = value
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    promise.command(*TO_MEL, tmp_path / "a.wav", tmp_path / "a.npy")


@fault(14, "digital silence and a constant, to be converted", "exit 0", "2 ok")
def test_fault_14_silence_is_copied_as_near_silence(promise, tmp_path):
    (tmp_path / "in").mkdir()
    for name, value in {"silence": 0.0, "constant": 0.1}.items():
        soundfile.write(tmp_path / "in" / f"{name}.wav", np.full(6000, value), RATE)
    promise.command("resynth", "-c", "lapglow", "--refine", 0, tmp_path / "in", tmp_path / "out")
    assert np.abs(soundfile.read(tmp_path / "out" / "silence.wav")[0]).max() < 0.01
    assert np.abs(soundfile.read(tmp_path / "out" / "constant.wav")[0]).max() < 0.2


@fault(14, "digital silence, to be trained on", "exit 3", "silence")
def test_fault_14_silence_is_never_trained_on(promise, corpus, tmp_path):
    soundfile.write(corpus / "silent.wav", np.zeros(RATE), RATE)
    promise.command("prepare", corpus, tmp_path / "data")
    assert "silent" not in (tmp_path / "data" / "manifest.jsonl").read_text()


@fault(15, "recordings shorter than a frame of the mel, to be converted", "exit 0", "4 ok")
def test_fault_15_short_recordings_keep_their_length(promise, tone, tiny, tmp_path):
    (tmp_path / "in").mkdir()
    for n_samples in (1, 100, 384, 512):
        soundfile.write(tmp_path / "in" / f"{n_samples}.wav", tone[:n_samples], RATE)
    promise.command("resynth", "-c", tiny, tmp_path / "in", tmp_path / "out")
    for path in (tmp_path / "out").glob("*.wav"):
        assert soundfile.info(path).frames == int(path.stem)


@fault(15, "recordings shorter than a crop of the training", "exit 0", "3 shorter than a crop (padded with dithered")
def test_fault_15_short_recordings_are_padded_and_counted(promise, train):
    promise.ended(train("data.segment_samples=65536", "train.steps=1")[0])


@fault(16, "a recording of hours", "exit 0", "1 ok")
def test_fault_16_long_mels_are_synthesized_in_pieces(promise, tiny, mel, tmp_path, monkeypatch):
    """Memory depends on the piece: no more than that is ever decoded at once."""
    from waveglow.models.flow_vocoder import FlowVocoder

    monkeypatch.setattr("waveglow.vocoder.MAX_PIECE_FRAMES", 64)
    frames, decode = [], FlowVocoder.decode
    monkeypatch.setattr(
        FlowVocoder, "decode", lambda self, zs, mel: frames.append(mel.shape[-1]) or decode(self, zs, mel)
    )
    np.save(tmp_path / "a.npy", np.tile(mel, 8))
    promise.command("synth", "-c", tiny, tmp_path / "a.npy", tmp_path / "a.wav")
    assert soundfile.info(tmp_path / "a.wav").frames == 8 * mel.shape[1] * 256
    assert len(frames) > 8
    assert max(frames) < 3 * 64


@fault(16, "a recording of hours, to its mel", "exit 0", "1 ok")
def test_fault_16_mels_of_long_recordings_are_computed_block_by_block(promise, tone, tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", np.tile(tone, 30), RATE)
    long = MelSpectrogram.forward
    monkeypatch.setattr("waveglow.audio.io.BLOCK_FRAMES", RATE)
    monkeypatch.setattr("waveglow.audio.io._joined", lambda blocks: pytest.fail("the recording was held whole"))
    monkeypatch.setattr(MelSpectrogram, "forward", lambda self, wav: long(self, wav[:, : 2 * RATE]))
    promise.command(*TO_MEL, tmp_path / "a.wav", tmp_path / "a.npy")
    assert np.load(tmp_path / "a.npy").shape == (80, 30 * RATE // 256)


@fault(16, "a recording of hours, cut into clips", "exit 0", "cut into ")
def test_fault_16_long_recordings_are_cut_block_by_block(promise, tone, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "a.wav", np.tile(tone, 30), RATE)
    monkeypatch.setattr("waveglow.audio.io._joined", lambda blocks: pytest.fail("the recording was held whole"))
    promise.command("prepare", tmp_path / "in", tmp_path / "data", "--cut", 2)


@fault(17, "odd names", "exit 0", "8 ok")
def test_fault_17_odd_names(promise, tone, tmp_path):
    odd = ["a b", "é", unicodedata.normalize("NFD", "ö"), "new\nline", "-rf", "$(touch hacked)", "日本", "x" * 240]
    names = [f"{name}.wav" for name in odd]
    (tmp_path / "in").mkdir()
    for name in names:
        soundfile.write(tmp_path / "in" / name, tone[:2000], RATE)
    promise.command(*TO_MEL, tmp_path / "in", tmp_path / "out")
    assert {path.stem for path in (tmp_path / "out").glob("*.npy")} == {name[:-4] for name in names}


@fault(17, "names that differ in case alone, or in Unicode's form", "exit 2", "; rename one or run them apart")
@pytest.mark.parametrize("names", [("b.wav", "B.wav"), ("é.wav", unicodedata.normalize("NFD", "é.wav"))], ids=ascii)
def test_fault_17_names_that_clash_elsewhere(promise, tone, tmp_path, names):
    (tmp_path / "in").mkdir()
    for name in names:
        soundfile.write(tmp_path / "in" / name, tone[:2000], RATE)
    if len(os.listdir(tmp_path / "in")) < 2:
        pytest.skip("this file system takes them for the same")
    promise.command(*TO_MEL, tmp_path / "in", tmp_path / "out")


@fault(18, "pipes, loops of links, and folders that are named like files", "exit 3", "failed: ")
@pytest.mark.timeout(20)
def test_fault_18_what_is_no_regular_file_is_never_opened(promise, corpus, tmp_path):
    os.mkfifo(corpus / "fifo.wav")
    (corpus / "folder.wav").mkdir()
    (corpus / "loop").symlink_to(corpus)
    (corpus / "self.wav").symlink_to("self.wav")
    promise.command(*TO_MEL, corpus, tmp_path / "out")
    assert {"fifo.wav", "folder.wav", "self.wav"} <= reasons(tmp_path / "out").keys()
    assert {path.name for path in (tmp_path / "out").glob("*.npy")} == {"good1.npy", "good2.npy"}


@fault(19, "two inputs for one output", "exit 2", "would both be written as good1")
def test_fault_19_two_inputs_for_one_output(promise, corpus, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "good1.wav").write_bytes((corpus / "good1.wav").read_bytes())
    promise.command(*TO_MEL, corpus, tmp_path / "other", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@fault(19, "an output folder within the input's", "exit 2", "choose one outside it")
def test_fault_19_an_output_within_the_input(promise, corpus):
    promise.command(*TO_MEL, corpus, corpus / "out")
    assert not (corpus / "out").exists()


# ---- Mels ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def synthesized(promise, tiny, tmp_path):
    """`synth` of a mel file ends as is promised, and writes nothing where it fails."""

    def synthesize(name: str, *options: object) -> None:
        said = promise.command("synth", "-c", tiny, *options, tmp_path / name, tmp_path / "out.wav")
        assert (tmp_path / "out.wav").exists() == (promise.ends == "exit 0")
        assert str(tmp_path / name) in said

    return synthesize


@fault(20, "an .npy file of Python objects", "exit 3", "holds object; a mel is floating point")
def test_fault_20_objects(synthesized, tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    synthesized("a.npy")


@fault(20, "an .npy file that is cut off", "exit 3", "a.npy: no valid .npy file")
@pytest.mark.parametrize("keep", [0, 3, 7, 20])
def test_fault_20_a_cut_header_is_not_called_a_pickle(synthesized, mel, tmp_path, keep):
    np.save(tmp_path / "a.npy", mel)
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:keep])
    synthesized("a.npy")


@fault(21, "an .npy file that claims 9.6 GB, or 262 TB", "exit 3", "a.npy: the header promises")
@pytest.mark.parametrize("frames", [30_000_000, 820_000_000_000])
def test_fault_21_an_npy_that_claims_what_it_does_not_hold(synthesized, tmp_path, frames):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (80, frames)})
    (tmp_path / "a.npy").write_bytes(stream.getvalue() + bytes(1000))
    synthesized("a.npy")


@fault(22, "an .npz file of 1 MB that unpacks to 4 GB", "exit 3", "bytes; at most 1073741824 are read")
@pytest.mark.parametrize("suffix", [".npz", ".pt"])
def test_fault_22_a_zip_bomb(synthesized, tmp_path, suffix):
    with zipfile.ZipFile(tmp_path / f"a{suffix}", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mel.npy", bytes(100_000))
        archive.filelist[0].file_size = 4_000_000_000  # as its directory will claim
    synthesized(f"a{suffix}")


@fault(23, "a mel of another number of bands", "exit 3", "one side must be the 80 mel bins")
@pytest.mark.parametrize("shape", [(100, 50), (1, 1)])
def test_fault_23_other_bands(synthesized, tmp_path, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape, np.float32))
    synthesized("a.npy")


@fault(23, "a mel of no frames, or of four axes", "exit 3", "a mel is [n_mels, frames], not empty")
@pytest.mark.parametrize("shape", [(80, 0), (1, 1, 80, 50), (80,), ()])
def test_fault_23_other_shapes(synthesized, tmp_path, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape, np.float32))
    synthesized("a.npy")


@fault(23, "a mel of whole numbers", "exit 3", "a mel is floating point")
def test_fault_23_whole_numbers(synthesized, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((80, 50), np.int16))
    synthesized("a.npy")


@fault(23, "a mel with NaN or infinite values", "exit 3", "holds NaN or infinite values")
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_fault_23_values_that_are_not_finite(synthesized, mel, tmp_path, value):
    broken = mel.copy()
    broken[3, 7] = value
    np.save(tmp_path / "a.npy", broken)
    synthesized("a.npy")


@fault(23, "a mel whose sides are all the number of bands", "exit 3", "say which with --layout CT or --layout TC")
def test_fault_23_a_square_mel(synthesized, mel, tmp_path):
    np.save(tmp_path / "a.npy", mel[:, :80])
    synthesized("a.npy")


@fault(23, "a mel of frames by bands, or in half precision", "exit 0", "real-time factor")
@pytest.mark.parametrize("change", [np.transpose, np.float16, lambda mel: mel[None]], ids=["TC", "float16", "batch"])
def test_fault_23_other_layouts_are_read(promise, tiny, mel, tmp_path, change):
    np.save(tmp_path / "a.npy", change(mel))
    promise.command("synth", "-c", tiny, tmp_path / "a.npy", tmp_path / "a.wav")
    assert soundfile.info(tmp_path / "a.wav").frames == mel.shape[1] * 256


@fault(23, "a decimal log-mel with pauses where a natural one is due", "exit 3", "looks like log10")
def test_fault_23_decimal_logarithms(synthesized, mel, tmp_path):
    paused = np.pad(mel, ((0, 0), (10, 0)), constant_values=math.log(1e-5))
    np.save(tmp_path / "a.npy", paused / math.log(10))
    synthesized("a.npy")


@fault(23, "a mel without a logarithm", "exit 3", "looks un-logged")
def test_fault_23_no_logarithm(synthesized, mel, tmp_path):
    np.save(tmp_path / "a.npy", np.exp(mel))
    synthesized("a.npy")


@fault(23, "a mel in decibels", "exit 3", "looks like dB")
def test_fault_23_decibels(synthesized, mel, tmp_path):
    np.save(tmp_path / "a.npy", mel * 20 / math.log(10))
    synthesized("a.npy")


@fault(23, "such values in Python", "ValueError", "looks un-logged")
def test_fault_23_python_checks_too(promise, tiny, mel):
    with promise.raised():
        waveglow.load(tiny).synthesize(torch.from_numpy(np.exp(mel)))


@fault(24, "conventions that don't fit each other", "exit 3", "fmax None against 8000.0")
def test_fault_24_two_conventions_that_do_not_fit(promise):
    promise.command("mel-check", "bigvgan-22k-80", "hifigan")


@fault(
    24, "a mel of a convention that doesn't serve the model", "exit 3", "against nvidia/tacotron2: fmax None against"
)
def test_fault_24_a_mel_that_does_not_serve_the_model(synthesized, mel, tmp_path):
    np.save(tmp_path / "a.npy", mel)
    synthesized("a.npy", "--assume", "bigvgan-22k-80")


@fault(24, "a mel of a convention that is nearly the model's", "exit 0", "shifted: frames shifted by 128")
def test_fault_24_what_is_nearly_the_same_is_taken_with_a_notice(promise, tiny, mel, tmp_path):
    np.save(tmp_path / "a.npy", mel)
    promise.command("synth", "-c", tiny, "--assume", "hifigan", tmp_path / "a.npy", tmp_path / "a.wav")
