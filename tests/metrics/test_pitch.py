"""F0 of signals whose F0 is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from waveglow.metrics.pitch import FMIN_HZ, HOP_SAMPLES, Track, cents, f0_error_cents, f0_track, voicing_error

RATE = 16_000


def voice(hz: np.ndarray) -> np.ndarray:
    """Ten falling harmonics of a fundamental [T]."""
    phase = 2 * math.pi * np.cumsum(hz) / RATE
    return sum(0.1 / k * np.sin(k * phase) for k in range(1, 11)).astype(np.float32)


def test_a_glide():
    """100 to 200 Hz in two seconds: within 5 cents at the frames' middles, all voiced but for the ends."""
    hz = 100 * 2 ** (np.arange(2 * RATE) / (2 * RATE))
    track = f0_track(voice(hz))
    inner = slice(4, -4)
    truth = hz[HOP_SAMPLES * np.arange(len(track.hz) - 1)][inner]
    assert track.voiced[:-1][inner].all()
    assert np.abs(cents(track.hz[:-1][inner], truth)).max() < 5


@pytest.mark.parametrize("octaves", [1, 1.5])
def test_between_the_steps_of_pyins_grid(octaves):
    """Half a step off, 5 cents, pYIN alone would be 5 cents wrong."""
    hz = FMIN_HZ * 2 ** (octaves + 5 / 1200)
    track = f0_track(voice(np.full(RATE, hz)))
    assert np.median(np.abs(cents(track.hz[track.voiced], np.array(hz)))) < 1


def test_f0_error():
    low = f0_track(voice(np.full(RATE, 110.0)))
    assert f0_error_cents(low, low) == 0
    assert f0_error_cents(low, f0_track(voice(np.full(RATE, 220.0)))) == pytest.approx(1200, abs=2)
    assert f0_error_cents(low, f0_track(voice(np.full(RATE, 110.0 * 2 ** (30 / 1200))))) == pytest.approx(30, abs=2)


def test_f0_error_is_the_median_of_frames_voiced_in_both():
    hz = np.full(5, 100.0)
    reference = Track(hz, np.array([True, True, True, True, False]))
    output = Track(hz * np.array([1, 2 ** (-1 / 12), 4, 8, 8]), np.array([True, True, True, False, True]))
    assert f0_error_cents(reference, output) == pytest.approx(100)
    with pytest.raises(ValueError, match="voiced in both"):
        f0_error_cents(reference, Track(hz, ~reference.voiced))


def test_voicing_error_is_a_share_of_all_frames():
    hz = np.full(4, 100.0)
    reference = Track(hz, np.array([True, True, False, False]))
    assert voicing_error(reference, reference) == 0
    assert voicing_error(reference, Track(hz, np.array([True, False, False, False]))) == 25
    assert voicing_error(reference, Track(hz, np.array([True, False, True, False]))) == 50


def test_noise_is_unvoiced():
    tone, rng = voice(np.full(2 * RATE, 150.0)), np.random.default_rng(0)
    half = tone.copy()
    half[RATE:] = rng.normal(0, 0.05, RATE)
    assert voicing_error(f0_track(tone), f0_track(half)) == pytest.approx(50, abs=5)


def test_too_short_for_a_pitch():
    f0_track(np.zeros(1024, np.float32))
    with pytest.raises(ValueError, match="1023 samples are too short"):
        f0_track(np.zeros(1023, np.float32))
