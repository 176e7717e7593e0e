"""The metrics by name: what equal takes get, and that each gets what it needs."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from waveglow.audio.mel import preset
from waveglow.metrics import METRICS, USUAL, MissingPackageError, Take, pitch

PERFECT = {
    "pesq": pytest.approx(4.644, abs=1e-3),
    "estoi": pytest.approx(1),
    "mr_stft": pytest.approx(0, abs=1e-6),
    "mel_l1": 0,
    "mcd": 0,
    "f0_cents": 0,
    "voicing": 0,
    "tones": 0,
}
OUTER = {"visqol", "distillmos", "dnsmos"}  # their packages are heavy: tests/metrics/test_perceptual.py
SLOW = {"periodicity", "voiced_f1"}  # tests/metrics/test_periodicity.py
OF_THE_VOCODER = {"nll", "rtf"}


def take(samples: np.ndarray, name: str = "hifigan", group: int = 8) -> Take:
    return Take(samples.astype(np.float32), preset(name), group)


def loaded(name: str):
    try:
        return METRICS[name].load()
    except MissingPackageError as error:
        pytest.skip(str(error))


def test_all_are_tested():
    assert set(METRICS) == {*PERFECT, *OUTER, *SLOW, *OF_THE_VOCODER}
    assert {*METRICS} - {*USUAL} == SLOW
    assert {name for name, metric in METRICS.items() if metric.load is None} == OF_THE_VOCODER


@pytest.mark.parametrize("name", PERFECT)
def test_a_copy_is_perfect_and_a_noisy_one_is_worse(name, speech):
    score, noise = loaded(name), np.random.default_rng(0).normal(0, 0.3 * speech.std(), len(speech))
    reference = take(speech)
    perfect, worse = score(reference, take(speech)), score(reference, take(speech + noise))
    assert perfect == PERFECT[name]
    if name != "tones":
        assert worse < perfect if METRICS[name].better == "higher" else worse > perfect


def test_tones_are_those_of_the_group(speech):
    tone = 0.01 * np.sin(2 * np.pi / 16 * np.arange(len(speech)))
    score = loaded("tones")
    of_16, of_8 = (score(take(speech, group=g), take(speech + tone, group=g)) for g in (16, 8))
    assert of_16 > 3 > 1 > abs(of_8)


def test_a_take_is_analysed_once(speech, monkeypatch):
    calls = []
    track = pitch.f0_track
    monkeypatch.setattr(pitch, "f0_track", lambda samples: calls.append(len(samples)) or track(samples))
    reference, output = take(speech), take(speech)
    for name in ("f0_cents", "voicing"):
        METRICS[name].load()(reference, output)
    assert calls == [24_000, 24_000]


def test_a_take_is_resampled_from_the_rate_of_its_convention(speech, speech_16k):
    np.testing.assert_allclose(take(speech).at_16k, speech_16k, atol=1e-6)
    assert len(take(speech, "vocos").at_16k) == len(speech) * 2 // 3


def test_the_mel_of_a_very_short_take():
    assert take(np.full(5, 0.1)).log_mel.shape[0] == 80


def test_a_version_names_the_package(monkeypatch):
    pytest.importorskip("pesq")
    assert METRICS["pesq"].version.split()[1] == "pesq"
    assert METRICS["mcd"].version.isdigit()


@pytest.mark.parametrize("name", ["pesq", "estoi", "mr_stft", *sorted(OUTER | SLOW)])
def test_a_missing_package_is_named(name, monkeypatch):
    modules = {"estoi": "pystoi", "mr_stft": "auraloss.freq", "distillmos": "distillmos.sqa", "dnsmos": "onnxruntime"}
    modules |= dict.fromkeys(SLOW, "torchcrepe")
    monkeypatch.setitem(sys.modules, modules.get(name, name), None)
    with pytest.raises(MissingPackageError, match=r"pip install 'waveglow-vocoders\[eval\]'"):
        METRICS[name].load()
