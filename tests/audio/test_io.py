"""Audio files as they come: every fault has a reason, no fault gives wrong samples in silence."""

import os
import pickle
import struct
import wave
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from waveglow.audio import io
from waveglow.audio.files import OutputError
from waveglow.audio.io import AudioError, load_audio, load_long, probe, read_segment, save_audio

RATE = 22_050
TONE = (0.5 * np.sin(2 * np.pi * 220 * np.arange(RATE) / RATE)).astype(np.float32)
CHANNELS_AT, RATE_AT, DATA_SIZE_AT = 22, 24, 40  # bytes of a canonical WAV header


def wav(path: Path, samples=TONE, rate=RATE, subtype="PCM_16") -> Path:
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def patched(path: Path, at: int, value: bytes) -> Path:
    content = bytearray(wav(path).read_bytes())
    content[at : at + len(value)] = value
    path.write_bytes(content)
    return path


def refused(path: Path, reason: str, **options) -> None:
    with pytest.raises(AudioError, match=reason) as error:
        load_audio(path, **options)
    assert error.value.path == path
    assert str(error.value) == f"{path}: {error.value.reason}"


def test_samples_rate_and_no_notice(tmp_path):
    audio = load_audio(wav(tmp_path / "a.wav"))
    assert audio.samples.dtype == np.float32
    assert audio.samples.shape == (RATE,)
    assert audio.sample_rate == RATE
    assert audio.notices == ()
    np.testing.assert_allclose(audio.samples, TONE, atol=1 / 32768)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_encodings(tmp_path, subtype):
    audio = load_audio(wav(tmp_path / "a.wav", subtype=subtype))
    np.testing.assert_allclose(audio.samples, TONE, atol={"PCM_U8": 8e-3, "ULAW": 2e-2}.get(subtype, 1 / 32768))


@pytest.mark.parametrize("name", ["a.flac", "a.ogg"])
def test_compressed(tmp_path, name):
    soundfile.write(tmp_path / name, TONE, RATE)
    assert np.abs(load_audio(tmp_path / name).samples - TONE).max() < 0.03


def test_fault_1_empty_file(tmp_path):
    (tmp_path / "a.wav").touch()
    refused(tmp_path / "a.wav", "empty file")


def test_fault_2_header_only(tmp_path):
    path = wav(tmp_path / "a.wav", TONE[:0])
    refused(path, "holds 0 samples")
    with pytest.raises(AudioError, match="holds 0 samples"):
        probe(path)


def test_fault_3_truncated_data(tmp_path):
    path = wav(tmp_path / "a.wav")
    path.write_bytes(path.read_bytes()[: 44 + 2000])
    audio = load_audio(path)
    assert len(audio.samples) == 1000
    assert audio.notices == (f"truncated: the header promises {2 * RATE - 2000} bytes more, 1000 samples were read",)
    refused(path, "truncated", strict=True)
    assert probe(path).missing_bytes == 2 * RATE - 2000


def test_fault_3_truncated_mp3(tmp_path):
    path = tmp_path / "a.mp3"
    soundfile.write(path, np.tile(TONE, 4), RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "truncated" in load_audio(path).notices[0]
    refused(path, "truncated", strict=True)


def test_fault_4_header_claims_4_gb(tmp_path):
    path = patched(tmp_path / "a.wav", DATA_SIZE_AT, struct.pack("<I", 4_000_000_000))
    audio = load_audio(path)
    assert len(audio.samples) == RATE
    assert "truncated" in audio.notices[0]


# SoX and espeak-ng, servers that stream, ffmpeg; each also less a header
PIPED = [0, 0x7FFFF000, 0x7FFFEFDC, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFDB]


@pytest.mark.parametrize("riff", [0, 0x7FFFF024, 0xFFFFFFFF])
@pytest.mark.parametrize("size", PIPED, ids=hex)
def test_a_wav_written_to_a_pipe_claims_nothing(tmp_path, size, riff):
    path = patched(tmp_path / "a.wav", DATA_SIZE_AT, struct.pack("<I", size))
    content = bytearray(path.read_bytes())
    content[4:8] = struct.pack("<I", riff)
    path.write_bytes(content)
    audio = load_audio(path, strict=True)
    np.testing.assert_allclose(audio.samples, TONE, atol=1 / 32768)
    assert audio.notices == ()
    assert probe(path).frames == RATE
    np.testing.assert_array_equal(read_segment(path, 1000, 100), audio.samples[1000:1100])


def test_a_wav_without_samples_but_with_chunks_behind_is_empty(tmp_path):
    path = wav(tmp_path / "a.wav", TONE[:0])
    path.write_bytes(path.read_bytes() + b"LIST" + struct.pack("<I", 4) + b"INFO")
    refused(path, "holds 0 samples")


def without_length(path: Path) -> Path:
    """A FLAC as it is written to a pipe: 0, for unknown, in the 36 bits of its number of samples."""
    soundfile.write(path, TONE, RATE)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    return path


def test_a_flac_written_to_a_pipe_claims_nothing(tmp_path):
    path = without_length(tmp_path / "a.flac")
    audio = load_audio(path, strict=True)
    np.testing.assert_allclose(audio.samples, TONE, atol=1 / 32768)
    assert audio.notices == ()
    np.testing.assert_array_equal(read_segment(path, 1000, 100), audio.samples[1000:1100])
    assert not probe(path).exact


def test_full_scale_itself_is_not_counted_as_clipped(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([1.0, -1.0, 1.5, -0.5, -2.0]), RATE, subtype="FLOAT")
    assert "2 were clipped" in load_audio(tmp_path / "a.wav").notices[0]
    assert save_audio(tmp_path / "b.wav", np.array([1.0, -1.0, 1.5, -0.5, -2.0]), RATE) == 2


@pytest.mark.parametrize(("name", "subtype"), [("a.wav", "PCM_16"), ("a.wav", "ULAW"), ("a.flac", "PCM_16")])
def test_what_can_be_cut_anywhere_is_exact(tmp_path, name, subtype):
    soundfile.write(tmp_path / name, TONE, RATE, subtype=subtype)
    assert probe(tmp_path / name).exact


def test_what_was_piped_without_a_size_is_not_exact(tmp_path):
    path = wav(tmp_path / "a.wav", TONE)
    content = path.read_bytes()
    path.write_bytes(content[:40] + bytes(4) + content[44:])
    assert not probe(path).exact


@pytest.mark.parametrize("subtype", ["GSM610", "IMA_ADPCM", "MS_ADPCM"])
def test_telephone_codecs_are_read_from_the_start(tmp_path, subtype):
    """libsndfile can't seek in GSM 6.10, which Asterisk writes."""
    path = wav(tmp_path / "a.wav", TONE[:8000], 8000, subtype)
    samples = load_audio(path, strict=True).samples
    assert np.abs(samples[:8000] - TONE[:8000]).mean() < 0.03
    np.testing.assert_array_equal(read_segment(path, 3000, 500), samples[3000:3500])
    assert not probe(path).exact


TRUNCATED = [("AIFF", "PCM_16"), ("AIFF", "FLOAT"), ("W64", "PCM_16"), ("RF64", "PCM_24"), ("AU", "PCM_16")]


@pytest.mark.parametrize(("container", "subtype"), [*TRUNCATED, ("WAV", "GSM610"), ("WAVEX", "FLOAT")])
def test_fault_3_truncated_containers(tmp_path, container, subtype):
    path = tmp_path / "a.audio"
    soundfile.write(path, TONE, RATE, format=container, subtype=subtype)
    assert load_audio(path, strict=True).notices == ()
    assert probe(path).missing_bytes == 0
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size - 1001])
    assert 900 < probe(path).missing_bytes <= 1001
    refused(path, "truncated: the header promises", strict=True)
    assert "truncated" in load_audio(path).notices[0]


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_name_that_is_no_utf_8(tmp_path, suffix):
    path = tmp_path / os.fsdecode(b"caf\xe9" + suffix.encode())
    wav(tmp_path / f"a{suffix}").rename(path)
    assert len(load_audio(path).samples) == RATE
    assert len(read_segment(path, 5, 10)) == 10
    save_audio(path.with_suffix(".wav"), TONE, RATE)
    path.write_text("no audio")
    refused(path, "no audio that can be decoded")


def test_a_chunk_before_the_data_is_passed_over(tmp_path):
    content = wav(tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(content[:36] + b"LIST" + struct.pack("<I", 3) + b"odd\0" + content[36:])
    assert load_audio(tmp_path / "a.wav", strict=True).notices == ()
    (tmp_path / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:-10])
    assert probe(tmp_path / "a.wav").missing_bytes == 10


def test_errors_pass_from_process_to_process():
    error = pickle.loads(pickle.dumps(AudioError("a.wav", "empty file")))
    assert (str(error), error.path, error.reason) == ("a.wav: empty file", Path("a.wav"), "empty file")


@pytest.mark.parametrize("content", [b"hello, world\n" * 50, b"<!DOCTYPE html><html></html>" * 50, None])
def test_fault_5_no_audio_at_all(tmp_path, content):
    path = tmp_path / "a.wav"
    if content is None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("inner.txt", "x" * 1000)
    else:
        path.write_bytes(content)
    refused(path, "no audio that can be decoded")


def test_headerless_raw_is_refused(tmp_path):
    (tmp_path / "a.raw").write_bytes(bytes(1000))
    refused(tmp_path / "a.raw", "without a header")


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_fault_6_corrupted_flac(tmp_path, damage):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, RATE), RATE)
    content = bytearray(path.read_bytes())
    half = len(content) // 2
    path.write_bytes(content[:half] if damage == "cut" else content[:half] + bytes(3000) + content[half + 3000 :])
    refused(path, "no audio that can be decoded")


@pytest.mark.parametrize("channels", [0, 65535])
def test_fault_7_channel_counts(tmp_path, channels):
    refused(patched(tmp_path / "a.wav", CHANNELS_AT, struct.pack("<H", channels)), "no audio that can be decoded")


def test_fault_8_stereo(tmp_path):
    left, right = TONE, TONE[::-1] * 0.5
    path = wav(tmp_path / "a.wav", np.stack([left, right], axis=1), subtype="FLOAT")
    for channel, expected in {"mix": (left + right) / 2, "left": left, "right": right}.items():
        audio = load_audio(path, channel=channel)
        np.testing.assert_allclose(audio.samples, expected, atol=1e-7)
        assert audio.notices == (f"2 channels, used: {channel}",)
    refused(path, "has 2 channels", channel=None)
    with pytest.raises(AudioError, match="has 2 channels"):
        read_segment(path, 0, 10)


def test_fault_8_surround_is_mixed_or_refused(tmp_path):
    path = wav(tmp_path / "a.wav", np.stack([TONE] * 6, axis=1))
    np.testing.assert_allclose(load_audio(path).samples, TONE, atol=1 / 32768)
    refused(path, "has 6 channels", channel="left")


def test_channels_that_cancel_are_no_silence(tmp_path):
    path = wav(tmp_path / "a.wav", np.stack([TONE, -TONE], axis=1))
    refused(path, "its channels are opposite, and mixed they leave silence; choose the channel left or right")
    np.testing.assert_allclose(load_audio(path, channel="left").samples, TONE, atol=1 / 32768)
    path = wav(tmp_path / "a.wav", np.stack([TONE, -0.99 * TONE], axis=1))
    refused(path, "its channels are opposite")
    refused(wav(tmp_path / "a.wav", np.stack([TONE, -TONE] * 2, axis=1)), "leave silence; convert it to mono")


@pytest.mark.parametrize(
    ("right", "notice"),
    [
        (0 * TONE, "the right channel is silent, and the mix half as loud; choose the channel left or right"),
        (-0.7 * TONE, "mixed, its channels lose 15 dB; choose the channel left or right"),
        (0.5 * TONE, None),
        (np.random.default_rng(0).uniform(-0.5, 0.5, RATE), None),
    ],
)
def test_what_is_lost_in_the_mix_is_told(tmp_path, right, notice):
    path = wav(tmp_path / "a.wav", np.stack([TONE, right], axis=1), subtype="FLOAT")
    assert load_audio(path).notices == ("2 channels, used: mix", *([notice] if notice else []))
    assert load_audio(path, channel="left").notices == ("2 channels, used: left",)


def test_silence_in_all_channels_is_silence(tmp_path):
    assert load_audio(wav(tmp_path / "a.wav", np.zeros((1000, 2)))).notices == ("2 channels, used: mix",)


def test_mono_has_one_channel_to_choose(tmp_path):
    assert load_audio(wav(tmp_path / "a.wav"), channel="right").notices == ()
    assert load_audio(wav(tmp_path / "a.wav"), channel=None).notices == ()


@pytest.mark.parametrize("rate", [0, 1, 3_999, 192_001, 2**31 - 1, 2**32 - 1])
def test_fault_9_sample_rates(tmp_path, rate):
    path = patched(tmp_path / "a.wav", RATE_AT, struct.pack("<I", rate))
    refused(path, "4000..192000 Hz" if 0 < rate < 2**31 else "no audio that can be decoded")


@pytest.mark.parametrize("rate", [4_000, 192_000])
def test_fault_9_the_limits_are_accepted(tmp_path, rate):
    assert load_audio(wav(tmp_path / "a.wav", rate=rate)).sample_rate == rate


def test_fault_10_resampling(tmp_path):
    audio = load_audio(wav(tmp_path / "a.wav"), sample_rate=16_000)
    expected = 0.5 * np.sin(2 * np.pi * 220 * np.arange(16_000) / 16_000)
    assert audio.sample_rate == 16_000
    assert audio.samples.dtype == np.float32
    assert abs(len(audio.samples) - 16_000) <= 1
    np.testing.assert_allclose(audio.samples[500:15_500], expected[500:15_500], atol=1e-3)
    assert audio.notices == ("resampled from 22050 to 16000 Hz",)


def test_resampling_rings_within_full_scale(tmp_path):
    square = np.sign(TONE).astype(np.float32)
    audio = load_audio(wav(tmp_path / "a.wav", square, subtype="FLOAT"), sample_rate=16_000)
    assert np.abs(audio.samples).max() == 1


def test_one_sample_may_vanish_in_resampling(tmp_path):
    refused(wav(tmp_path / "a.wav", TONE[:1], rate=192_000), "none at 4000 Hz", sample_rate=4_000)


def test_fault_12_beyond_full_scale(tmp_path):
    path = wav(tmp_path / "a.wav", TONE * 3, subtype="FLOAT")
    audio = load_audio(path)
    np.testing.assert_array_equal(audio.samples, np.clip(TONE * 3, -1, 1))
    assert "samples reach 1.5" in audio.notices[0]
    scaled = load_audio(path, normalize=True)
    np.testing.assert_allclose(scaled.samples, TONE / TONE.max() * 0.95, atol=1e-6)
    assert scaled.notices == ()
    refused(path, "full scale is 1", strict=True)
    with pytest.raises(AudioError, match="full scale is 1"):
        read_segment(path, 0, 1000)


@pytest.mark.parametrize(("peak", "bits"), [(20_000, 16), (32_768, 16), (1_000_000, 24), (2e9, 32)])
@pytest.mark.parametrize("strict", [False, True])
def test_whole_numbers_as_floats_are_told_and_not_clipped(tmp_path, peak, bits, strict):
    path = wav(tmp_path / "a.wav", TONE * 2 * peak, subtype="FLOAT")
    reason = rf"full scale is 1: those of {bits} bits as whole numbers\? Divide by {2 ** (bits - 1)}"
    refused(path, reason, strict=strict)
    with pytest.raises(AudioError, match=reason):
        read_segment(path, 0, 1000)
    assert np.abs(load_audio(path, normalize=True).samples).max() == pytest.approx(0.95)


def test_no_scale_at_all(tmp_path):
    refused(
        wav(tmp_path / "a.wav", TONE.astype(np.float64) * 1e12, subtype="DOUBLE"), "full scale is 1; scale the file"
    )


def test_fault_12_rounding_beyond_full_scale_is_no_error(tmp_path):
    path = wav(tmp_path / "a.wav", TONE * 2.0005, subtype="FLOAT")
    assert np.abs(load_audio(path, strict=True).samples).max() == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_fault_13_not_finite(tmp_path, value):
    samples = TONE.copy()
    samples[1234] = value
    path = wav(tmp_path / "a.wav", samples, subtype="FLOAT")
    refused(path, "sample 1234 is -?(nan|inf)")
    with pytest.raises(AudioError, match="sample 1234 is"):
        read_segment(path, 1000, 500)
    assert len(read_segment(path, 0, 1000)) == 1000


@pytest.mark.parametrize("normalize", [False, True])
def test_fault_14_silence(tmp_path, normalize):
    audio = load_audio(wav(tmp_path / "a.wav", np.zeros(1000)), normalize=normalize)
    assert not audio.samples.any()
    assert audio.notices == ()


@pytest.mark.timeout(10)
def test_fault_18_what_is_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "fifo.wav")
    (tmp_path / "folder.wav").mkdir()
    refused(tmp_path / "fifo.wav", "no regular file")
    refused(tmp_path / "folder.wav", "folder")
    refused(tmp_path / "absent.wav", "doesn't exist")
    refused(tmp_path / ("x" * 300 + ".wav"), "doesn't exist")
    refused(Path("/dev/zero"), "no regular file")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_cannot_be_read(tmp_path):
    path = wav(tmp_path / "a.wav")
    path.chmod(0)
    refused(path, "Permission denied")


def test_probe_reads_the_header(tmp_path):
    info = probe(wav(tmp_path / "a.wav", np.stack([TONE, TONE], axis=1), subtype="PCM_24"))
    assert (info.sample_rate, info.frames, info.channels, info.encoding) == (RATE, RATE, 2, "PCM_24")
    assert info.seconds == 1


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_a_segment_is_that_of_the_whole(tmp_path, name):
    soundfile.write(tmp_path / name, TONE, RATE)
    whole = load_audio(tmp_path / name).samples
    for start, frames in [(0, 1), (1000, 4096), (RATE - 7, 7), (0, RATE)]:
        np.testing.assert_array_equal(read_segment(tmp_path / name, start, frames), whole[start : start + frames])


@pytest.mark.parametrize(("start", "frames"), [(-1, 10), (RATE - 5, 10), (RATE, 1), (0, 0)])
def test_a_segment_outside_the_file(tmp_path, start, frames):
    with pytest.raises(AudioError, match=f"has {RATE} samples"):
        read_segment(wav(tmp_path / "a.wav"), start, frames)


def test_saved_and_loaded_is_the_same(tmp_path):
    exact = np.arange(-32768, 32768, dtype=np.float32) / 32768
    assert save_audio(tmp_path / "a.wav", exact, RATE) == 0
    np.testing.assert_array_equal(load_audio(tmp_path / "a.wav").samples, exact)
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getparams()[:4] == (1, 2, RATE, 65536)


def test_saving_clips_and_never_wraps(tmp_path):
    assert save_audio(tmp_path / "a.wav", np.array([1.0, -1.0, 1.2, -1.2, 1e30, 0.5]), RATE) == 3
    pcm = soundfile.read(tmp_path / "a.wav", dtype="int16")[0]
    assert pcm.tolist() == [32767, -32768, 32767, -32768, 32767, 16384]


def test_what_cannot_be_saved(tmp_path):
    for samples, reason in [(np.array([0, np.nan]), "sample 1"), (np.zeros((2, 3)), "shape"), (np.zeros(0), "shape")]:
        with pytest.raises(AudioError, match=reason):
            save_audio(tmp_path / "a.wav", samples, RATE)
    with pytest.raises(AudioError, match="only WAV"):
        save_audio(tmp_path / "a.mp3", TONE, RATE)
    with pytest.raises(OutputError, match=r"absent/a.wav: can't be written \(No such file"):
        save_audio(tmp_path / "absent/a.wav", TONE, RATE)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".aiff", ".w64", ".rf64", ".au"])
def test_damaged_files_give_samples_or_an_audio_error(tmp_path, suffix):
    random, path = np.random.default_rng(0), tmp_path / f"a{suffix}"
    soundfile.write(path, TONE[:4000], RATE)
    content = np.frombuffer(path.read_bytes(), np.uint8)
    refusals = 0
    for _ in range(60):
        damaged = content.copy()
        damaged[random.integers(0, min(len(content), 100), 3)] = random.integers(0, 256, 3)
        path.write_bytes(damaged[: random.integers(1, len(content) + 1)].tobytes())
        try:
            samples = load_audio(path).samples
        except AudioError:
            refusals += 1
        else:
            assert np.isfinite(samples).all()
            assert np.abs(samples).max() <= 1
    assert refusals > 5


# ---- Long recordings -------------------------------------------------------------------------------------------------


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(io, "BLOCK_FRAMES", 1000)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("rate", "wanted"), [(22050, 22050), (44100, 22050), (8000, 22050)])
@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_block_by_block_is_what_is_read_at_once(tmp_path, channels, rate, wanted, subtype, small_blocks):
    samples = 1.02 * np.sin(np.arange(5432 * channels).reshape(-1, channels) * 0.05)
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype=subtype)
    at_once = load_audio(tmp_path / "a.wav", sample_rate=wanted)
    long = load_long(tmp_path / "a.wav", sample_rate=wanted)
    blocks = [*long]
    assert max(map(len, blocks)) < len(at_once.samples) / 2
    assert np.array_equal(np.concatenate(blocks), at_once.samples)
    assert np.array_equal(np.concatenate([*long]), at_once.samples)  # a second time
    assert long.notices == at_once.notices
    assert (long.seconds, long.silent) == (5432 / rate, False)


def test_what_is_wrong_in_any_block_is_told_before_the_first(tmp_path, small_blocks):
    samples = np.zeros(3500, np.float32)
    soundfile.write(tmp_path / "silent.wav", samples, 22050)
    assert load_long(tmp_path / "silent.wav", sample_rate=22050).silent
    samples[3210] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, 22050, subtype="FLOAT")
    for read in (load_long, load_audio):
        with pytest.raises(AudioError, match="sample 3210 is nan"):
            read(tmp_path / "nan.wav", sample_rate=22050)
    samples[3210] = 1.5
    soundfile.write(tmp_path / "loud.wav", samples, 22050, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"samples reach 1\.5"):
        load_long(tmp_path / "loud.wav", sample_rate=22050, strict=True)
    assert "1 were clipped" in load_long(tmp_path / "loud.wav", sample_rate=22050).notices[0]
    opposite = np.sin(np.arange(3500) * 0.1)[:, None] * [1, -1]
    soundfile.write(tmp_path / "opposite.wav", opposite, 22050)
    with pytest.raises(AudioError, match="its channels are opposite"):
        load_long(tmp_path / "opposite.wav", sample_rate=22050)


def test_what_is_long_is_written_block_by_block(tmp_path, small_blocks):
    samples = np.linspace(-1.2, 1.2, 2500, dtype=np.float32)
    assert save_audio(tmp_path / "a.wav", samples, 22050) == np.count_nonzero(np.abs(samples) > 1)
    back, rate = soundfile.read(tmp_path / "a.wav")
    assert rate == 22050
    assert np.abs(back - np.clip(samples, -1, 1)).max() <= 1 / 32768
