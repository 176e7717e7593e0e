"""Periodicity and voicing by CREPE: of signals whose are known, and the measures of given ones."""

from __future__ import annotations

import numpy as np
import pytest

from waveglow.audio.mel import preset
from waveglow.metrics import METRICS, Take
from waveglow.metrics.periodicity import Periodicity, load_periodicity, periodicity_error, voiced_f1

RATE = 16_000


def given(*values: float) -> Periodicity:
    return Periodicity(np.array(values))


def test_the_error_is_a_root_mean_square():
    assert periodicity_error(given(1.0, 0.0), given(0.4, 0.0)) == pytest.approx(0.6 / np.sqrt(2))


def test_f1_counts_frames_from_021_on():
    reference, output = given(0.9, 0.21, 0.5, 0.1), given(0.9, 0.3, 0.2, 0.5)  # two in both, one missed, one false
    assert voiced_f1(reference, output) == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    with pytest.raises(ValueError, match="no frame of the recording or the output is voiced"):
        voiced_f1(given(0.1), given(0.0))


def test_a_voice_is_periodic_noise_and_silence_are_not():
    pytest.importorskip("torchcrepe")
    t = np.arange(RATE // 4) / RATE
    voice = sum(0.1 / k * np.sin(2 * np.pi * 150 * k * t) for k in range(1, 9)).astype(np.float32)
    voice += 0.003 * np.random.default_rng(1).standard_normal(len(t)).astype(np.float32)
    noise = 0.1 * np.random.default_rng(0).standard_normal(len(t)).astype(np.float32)
    of = load_periodicity()
    assert len(of(voice).values) == (len(t) - 1024) // 160 + 1
    assert of(voice).values.min() > 0.8
    assert of(noise).values.mean() < 0.1
    assert of(voice * 1e-4).values.max() == 0  # too quiet to be heard
    with pytest.raises(ValueError, match="too short for a periodicity"):
        of(voice[:1000])


def test_a_take_is_analysed_once_for_both(monkeypatch):
    pytest.importorskip("torchcrepe")
    calls: list[int] = []
    crepe = lambda: lambda samples: calls.append(len(samples)) or given(0.5, 0.1)  # noqa: E731
    monkeypatch.setattr("waveglow.metrics.periodicity.load_periodicity", crepe)
    takes = [Take(np.zeros(2205, np.float32), preset("hifigan"), 8) for _ in range(2)]
    assert [METRICS[name].load()(*takes) for name in ("periodicity", "voiced_f1")] == [0.0, 1.0]
    assert calls == [1600, 1600]
