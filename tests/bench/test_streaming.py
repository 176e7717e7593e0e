"""Latency by chunk, exactness by context, and hours in one stream."""

import math

import pytest

from waveglow.bench import long, pace, streaming
from waveglow.vocoder import Vocoder


@pytest.fixture(scope="module")
def vocoder(voice):
    return Vocoder.load(voice)


def test_streaming(vocoder):
    tables = streaming.tables(vocoder, chunks=[8, 32], contexts=[0], seconds=1, repeats=1)
    latency, exactness, offered = (table.rows for table in tables)
    assert [(row["refine"], row["chunk_frames"]) for row in latency] == [(0, 8), (0, 32), (2, 8), (2, 32)]
    for row in latency:
        frames = row["mel_seconds"] * 22050 / 256
        assert frames == pytest.approx(round(frames))
        assert round(frames) % row["chunk_frames"] == 0
        assert row["first_audio_seconds"] == pytest.approx(row["mel_seconds"] + row["compute_seconds"])
        assert row["steady_real_time_factor"] > 0
    assert [(row["refine"], row["context"]) for row in exactness] == [(0, 0), (0, "own"), (2, 0), (2, "own")]
    assert all((row["snr_db"] > 80) == (row["context"] == "own") for row in exactness)
    assert [(row["latency"], row["refine"]) for row in offered] == [(n, r) for r in (0, 1, 2) for n in ("exact", "low")]
    for exact, low in zip(offered[::2], offered[1::2], strict=True):
        assert exact["snr_db"] > 80
        assert low["context"] == (16 if max(vocoder.stream_context(low["refine"])) > 16 else "own")
        waits = (vocoder.stream_context(exact["refine"]).after + exact["chunk_frames"]) * 256 / 22050
        assert exact["first_audio_ms"] > 1000 * waits
        assert exact["steady_real_time_factor"] <= 0.5


def test_the_first_audio_waits_for_the_frames_that_it_depends_on(vocoder):
    rows = next(streaming.tables(vocoder, chunks=[1, 4], contexts=[0], seconds=1, repeats=1)).rows
    frames = {(r["refine"], r["chunk_frames"]): round(r["mel_seconds"] * 22050 / 256) for r in rows}
    for refine in (0, 2):
        needed = 1 + vocoder.reach(refine).after
        assert frames[refine, 1] == needed
        assert frames[refine, 4] == 4 * math.ceil(needed / 4)


def test_tables_name_the_precision(voice):
    half = Vocoder.load(voice, precision="bf16")
    [table] = long.tables(half, hours=1e-5, chunk_frames=16)
    assert table.title == "bf16, chunks of 16 frames"


def test_a_long_stream_tells_its_memory_on_the_way(vocoder):
    [table] = long.tables(vocoder, hours=0.002, chunk_frames=16)
    hours, peaks = ([row[key] for row in table.rows] for key in ("hours", "peak_mib"))
    assert len(hours) >= 10
    assert hours == sorted(hours)
    assert hours[-1] == pytest.approx(0.002, rel=0.1)
    assert peaks == sorted(peaks)
    assert peaks[0] > 50


@pytest.mark.parametrize("given", [{"chunks": [8, 0]}, {"seconds": 0.0}, {"repeats": 0}])
def test_what_cannot_be_streamed(vocoder, given):
    with pytest.raises(ValueError, match=rf"{next(iter(given))} is 0(\.0)?; it must be above 0"):
        next(streaming.tables(vocoder, **{"chunks": [8], **given}))


@pytest.mark.parametrize("given", [{"hours": 0.0}, {"chunk_frames": 0}])
def test_no_hours_and_no_frames(vocoder, given):
    with pytest.raises(ValueError, match=rf"{next(iter(given))} is 0(\.0)?; it must be above 0"):
        next(long.tables(vocoder, **given))


def test_a_piece_costs_what_was_measured(vocoder, monkeypatch):
    """With a clock by which decoding takes 10 ms and 0.1 ms a frame."""
    now, decode = 0.0, vocoder.model.decode

    def decoding(zs, mel):
        nonlocal now
        now += 0.01 + 1e-4 * mel.shape[-1]
        return decode(zs, mel)

    monkeypatch.setattr(vocoder.model, "decode", decoding)
    monkeypatch.setattr(pace.time, "perf_counter", lambda: now)
    measured = pace.measured_pace(vocoder, refine=0, context=20)
    assert (measured.a, measured.b, measured.around) == pytest.approx((0.01, 1e-4, 40))
    chunk = measured.least_chunk()
    assert measured.real_time_factor(chunk) <= 0.5 < measured.real_time_factor(chunk - 1)
    assert measured.least_chunk(load=0.005) is None
    with pytest.raises(ValueError, match="load is 0; it must be above 0"):
        measured.least_chunk(load=0)


def test_low_latency_is_less_context_where_there_is_less(vocoder):
    assert pace.context_of(vocoder, "exact") is None
    assert pace.context_of(vocoder, "low", 64) == pace.LOW_CONTEXT
    assert pace.context_of(Vocoder.of_noise(vocoder.mel_spec), "low", 0) is None
    with pytest.raises(ValueError, match="latency is 'lowest'"):
        pace.context_of(vocoder, "lowest")
