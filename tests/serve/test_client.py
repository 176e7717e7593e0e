"""What the client gives is what the library gives, and what goes wrong is raised."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
import soundfile
import torch

from waveglow.audio.io import pcm16
from waveglow.client import AsyncClient, Client, ServerError
from waveglow.vocoder import Vocoder


@pytest.fixture(scope="module")
def vocoder(tiny):
    """The library's, on as many threads as the server has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Vocoder.load(tiny)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("wav") / "a.wav"
    soundfile.write(path, 0.3 * np.sin(np.arange(5000) / 10), 22_050)
    return path


def awaited(stream):
    """The pieces of an asynchronous iterator."""

    async def pieces():
        return [piece async for piece in stream]

    return asyncio.run(pieces())


def one_by_one(mel):
    """As an acoustic model emits frames."""
    yield from np.split(mel, mel.shape[1], axis=1)


async def one_by_one_later(mel):
    for frame in one_by_one(mel):
        await asyncio.sleep(0)
        yield frame


def test_calls_give_what_the_library_gives(server, vocoder, mel, recording):
    client, later = Client(server.url), AsyncClient(server.url)
    audio, rate = soundfile.read(recording, dtype="float32")
    whole, copy = vocoder.synthesize(mel, seed=3, sigma=0.5, refine=1), vocoder(audio, rate, seed=3)

    async def asked():
        return [
            await later.vocode(mel, seed=3, sigma=0.5, refine=1),
            await later.resynthesize(recording, seed=3),
            await later.likelihood(recording, seed=3),
            await later.models(),
        ]

    told = client.likelihood(recording, seed=3)
    for vocoded, copied, likelihood, models in (
        [
            client.vocode(mel, seed=3, sigma=0.5, refine=1),
            client.resynthesize(recording, seed=3),
            told,
            client.models(),
        ],
        asyncio.run(asked()),
    ):
        assert vocoded.dtype == np.int16
        assert np.array_equal(vocoded, pcm16(whole.numpy()))
        assert np.array_equal(copied, pcm16(copy.numpy()))
        assert likelihood == told
        assert models[0]["name"] == "tiny"
    assert np.array_equal(client.resynthesize(recording.read_bytes(), seed=3), pcm16(copy.numpy()))
    assert told["nats"] == pytest.approx(float(vocoder.log_prob(audio, rate, seed=3)), rel=1e-4)


def test_streams_give_what_the_library_gives(server, vocoder, mel):
    asked = {"seed": 3, "refine": 1, "gather": 5}
    expected = [pcm16(piece.numpy()) for piece in vocoder.stream(one_by_one(mel), **asked)]
    for pieces in (
        [*Client(server.url).stream(one_by_one(mel), **asked)],
        awaited(AsyncClient(server.url).stream(one_by_one(mel), **asked)),
        awaited(AsyncClient(server.url).stream(one_by_one_later(mel), **asked)),
    ):
        assert len(pieces) == len(expected) > 5
        assert all(map(np.array_equal, pieces, expected))


def test_audio_comes_while_the_mel_is_still_made(server, mel):
    """The acoustic model waits for the first piece; were the mel sent whole, it would wait for ever."""
    heard = 0

    def arriving():
        yield mel[:, :30]
        while not heard:
            pass
        yield mel[:, 30:]

    for piece in Client(server.url).stream(arriving(), gather=1):
        heard += len(piece)
    assert heard == mel.shape[1] * 256


def test_what_the_acoustic_model_raises_is_raised(server, mel):
    def breaking():
        yield mel
        raise KeyError("lost")

    for pieces in (
        lambda: [*Client(server.url).stream(breaking())],
        lambda: awaited(AsyncClient(server.url).stream(breaking())),
    ):
        with pytest.raises(KeyError, match="lost"):
            pieces()
    with pytest.raises(ValueError, match=r"a chunk has shape \[3\]; give \[n_mels, frames\]"):
        [*Client(server.url).stream([np.zeros(3)])]


def test_whoever_stops_listening_ends_the_stream(server, mel):
    asked = []

    def endless():
        while True:
            asked.append(1)
            yield mel

    pieces = Client(server.url).stream(endless(), gather=1)
    next(pieces)
    server.until(lambda: not grows(asked))  # a full connection would keep its reader out
    assert mel.shape[1] * len(asked) < 2000
    pieces.close()
    server.until(lambda: server.metric("waveglow_queue_length") == 0)
    server.until(lambda: not grows(asked))


def grows(asked: list) -> bool:
    before = len(asked)
    time.sleep(0.2)
    return len(asked) > before


def test_what_the_server_says_is_raised(server, mel, recording):
    client, later = Client(server.url), AsyncClient(server.url)
    for ask in (
        lambda: client.vocode(mel, sigma=-1),
        lambda: client.resynthesize(recording, sigma=-1),
        lambda: [*client.stream([mel], sigma=-1)],
        lambda: awaited(later.stream([mel], sigma=-1)),
        lambda: asyncio.run(later.vocode(mel, sigma=-1)),
    ):
        with pytest.raises(ServerError, match="sigma is -1") as error:
            ask()
        assert (error.value.status, error.value.code) == (422, "unusable")
    with pytest.raises(ServerError, match="NaN") as error:
        [*client.stream([mel, mel * np.nan])]
    assert error.value.status == 422
    with pytest.raises(ServerError, match="the body is no recording") as error:
        client.likelihood(b"RIFF")
    assert error.value.status == 415


def test_a_server_that_is_not_ours_or_not_there(server):
    with pytest.raises(ServerError) as error:
        Client(server.url + "/elsewhere").vocode(np.zeros((80, 1)))
    assert error.value.status == 404
    with pytest.raises(ServerError) as error:
        [*Client(server.url + "/elsewhere").stream([])]
    assert error.value.status in (403, 404)
    with pytest.raises(OSError, match="refused"):
        [*Client("http://127.0.0.1:9").stream([])]
