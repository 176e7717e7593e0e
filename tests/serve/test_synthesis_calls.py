"""Audio over HTTP is the library's, bit for bit, however many ask at once."""

from __future__ import annotations

import io
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
import torch
from safetensors.numpy import save

from waveglow.audio.io import pcm16
from waveglow.audio.mel import convert, preset
from waveglow.vocoder import Vocoder

HEADER = 44


@pytest.fixture(scope="module")
def vocoder(tiny):
    """The library's, on as many threads as the server has: how sums are cut up depends on it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Vocoder.load(tiny)
    torch.set_num_threads(threads)


def samples(wav: bytes) -> np.ndarray:
    assert struct.unpack("<I", wav[4:8])[0] == len(wav) - 8
    assert struct.unpack("<I", wav[40:44])[0] == len(wav) - HEADER
    return np.frombuffer(wav[HEADER:], "<i2")


def test_a_mel_becomes_what_the_library_makes_of_it(server, vocoder, mel, npy):
    answer = server.post("/v1/vocode?sigma=0.6&seed=7&refine=2", npy)
    assert answer.status_code == 200
    assert (samples(answer.content) == pcm16(vocoder.synthesize(mel, sigma=0.6, seed=7, refine=2).numpy())).all()
    told = {name: answer.headers[f"X-{name}"] for name in ("Sample-Rate", "Seed", "Refine")}
    assert told == {"Sample-Rate": "22050", "Seed": "7", "Refine": "2"}
    assert float(answer.headers["X-Real-Time-Factor"]) > 0
    assert int(answer.headers["Content-Length"]) == HEADER + 2 * mel.shape[1] * 256


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_safetensors_hold_a_mel_too(server, vocoder, mel, dtype):
    if dtype == "bfloat16":
        from safetensors.torch import save as save_torch

        tensor = torch.from_numpy(mel).bfloat16()
        body, given = save_torch({"mel": tensor}), tensor.float().numpy()
    else:
        body, given = save({"mel": mel.astype(dtype)}), mel.astype(dtype).astype(np.float32)
    answer = server.post("/v1/vocode?format=pcm", body)
    assert (np.frombuffer(answer.content, "<i2") == pcm16(vocoder.synthesize(given).numpy())).all()


def test_a_flac_says_how_long_it_is_before_it_is_done(server, vocoder, mel, npy):
    answer = server.post("/v1/vocode?format=flac", npy)
    with soundfile.SoundFile(io.BytesIO(answer.content)) as file:
        assert (file.frames, file.samplerate) == (mel.shape[1] * 256, 22_050)
        assert (file.read(dtype="int16") == pcm16(vocoder.synthesize(mel).numpy())).all()


def test_those_who_ask_at_once_get_what_each_would_get_alone(server, vocoder, mel, npy):
    def ask(seed: int) -> bytes:
        return server.post(f"/v1/vocode?format=pcm&refine=1&seed={seed}", npy).content

    with ThreadPoolExecutor(8) as pool:
        together = [*pool.map(ask, range(8))]
    alone = [pcm16(vocoder.synthesize(mel, seed=seed, refine=1).numpy()).tobytes() for seed in range(8)]
    assert together == alone


def test_a_recording_is_copied_at_its_length(server, vocoder, tone, wav):
    answer = server.post("/v1/resynthesize?seed=1", wav, "audio/wav")
    assert (samples(answer.content) == pcm16(vocoder(tone, 22_050, seed=1).numpy())).all()
    assert len(samples(answer.content)) == len(tone)


@pytest.mark.parametrize(
    ("kind", "subtype", "rate"),
    [("WAV", "PCM_24", 22_050), ("WAV", "PCM_32", 22_050), ("WAV", "FLOAT", 22_050), ("FLAC", "PCM_16", 22_050),
     ("WAVEX", "PCM_24", 22_050), ("WAV", "PCM_16", 44_100)],
)  # fmt: skip
def test_recordings_of_every_coding_that_is_taken(server, tone, wav, as_audio, kind, subtype, rate):
    body = as_audio(tone if rate == 22_050 else np.repeat(tone, 2), rate, kind=kind, subtype=subtype)
    answer = server.post("/v1/resynthesize?format=pcm", body)
    assert (answer.status_code, len(answer.content)) == (200, 2 * len(tone))
    if rate == 22_050:
        assert answer.content == server.post("/v1/resynthesize?format=pcm", wav).content
    else:
        assert answer.headers["X-Notice"] == "resampled from 44100 to 22050 Hz"


def test_the_likelihood_is_exact_and_says_where_it_is(server, vocoder, tone, wav):
    told = server.post("/v1/likelihood?window=0.1&seed=3", wav, "audio/wav").json()
    nats = vocoder.log_prob(tone, 22_050, seed=3)
    assert told["nats"] == pytest.approx(float(nats), rel=1e-5)
    assert sum(told["nats_by_window"]) == pytest.approx(told["nats"])
    assert len(told["nats_by_window"]) == 5
    assert told["bits_per_sample"] == pytest.approx(-told["nats"] / told["samples"] / np.log(2) + 15)


def test_a_mel_of_another_convention_is_refused_or_converted(server, vocoder, mel, as_npy):
    ours, theirs = preset("nvidia/tacotron2"), preset("hifigan")
    other = np.full((80, 44), theirs.silence, np.float32) + np.maximum(0, mel - mel.min())
    assert server.post("/v1/vocode?mel=vocos", as_npy(mel)).json()["message"].startswith("body: its assumed convention")
    refused = server.post("/v1/vocode", as_npy((mel / np.log(10)).astype(np.float32) * 20))
    assert refused.status_code == 422
    assert "name its convention with mel=PRESET" in refused.json()["message"]
    answer = server.post("/v1/vocode?mel=hifigan&format=pcm", as_npy(other))
    converted = convert(other, theirs, ours).astype(np.float32)
    assert answer.status_code == 200
    assert (np.frombuffer(answer.content, "<i2") == pcm16(vocoder.synthesize(converted, check=False).numpy())).all()


def test_a_square_mel_needs_its_layout(server, mel, as_npy):
    square = np.tile(mel, 2)[:, :80]
    assert "layout=CT" in server.post("/v1/vocode", as_npy(square)).json()["message"]
    upright = server.post("/v1/vocode?layout=TC&format=pcm", as_npy(square.T)).content
    assert upright == server.post("/v1/vocode?layout=CT&format=pcm", as_npy(square)).content


@pytest.mark.slow
def test_an_exported_file_is_served_too(serving, tiny, mel, npy, wav, tmp_path):
    from waveglow.cli.main import main
    from waveglow.export.onnx_runtime import OnnxVocoder

    path = tmp_path / "voice.onnx"
    assert main(["export", "onnx", str(tiny), str(path)]) == 0
    with serving(tmp_path, "-c", str(path)) as running:
        answer = running.post("/v1/vocode?seed=2&format=pcm", npy)
        expected = OnnxVocoder(path, threads=1).synthesize(mel, seed=2)
        assert (np.frombuffer(answer.content, "<i2") == pcm16(expected)).all()
        assert len(samples(running.post("/v1/resynthesize", wav, "audio/wav").content)) == (len(wav) - HEADER) // 2
        told = running.post("/v1/likelihood", wav, "audio/wav").json()["message"]
        assert told == "voice.onnx only synthesizes; a likelihood takes its checkpoint"
