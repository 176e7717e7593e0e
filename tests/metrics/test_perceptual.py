"""The packages' scores: right where they are there, named where not, and nothing else comes out of them."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest

from waveglow.metrics import packages, perceptual
from waveglow.metrics.packages import MissingPackageError, guarded

SILENCE = np.zeros(16_000, np.float32)


@pytest.fixture(scope="module")
def pesq():
    pytest.importorskip("pesq")
    return perceptual.load_pesq()


@pytest.fixture(scope="module")
def estoi():
    pytest.importorskip("pystoi")
    return perceptual.load_estoi()


def test_pesq(pesq, speech_16k, noisy_16k):
    assert pesq(speech_16k, speech_16k) == pytest.approx(4.644, abs=1e-3)
    assert 1 < pesq(speech_16k, noisy_16k) < 4
    assert pesq(speech_16k, noisy_16k) != pesq(noisy_16k, speech_16k)


def test_a_long_clip_is_scored_in_equal_parts(pesq, speech_16k, noisy_16k):
    """The package itself crashes on minutes."""
    reference = np.concatenate([*[speech_16k] * 7, *[speech_16k[::-1]] * 7])
    output = np.concatenate([*[noisy_16k] * 7, *[speech_16k[::-1]] * 7])
    assert 20 < len(reference) / 16_000 < 40
    halves = [pesq(*pair) for pair in zip(np.array_split(reference, 2), np.array_split(output, 2), strict=True)]
    assert pesq(reference, output) == pytest.approx(np.mean(halves))
    assert abs(halves[0] - halves[1]) > 0.5


def test_parts_without_speech_are_left_out(pesq, speech_16k, noisy_16k):
    rest = np.zeros(22 * 16_000 - len(speech_16k), np.float32)
    reference, output = (np.concatenate([clip, rest]) for clip in (speech_16k, noisy_16k))
    first = pesq(reference[: 11 * 16_000], output[: 11 * 16_000])
    assert pesq(reference, output) == pytest.approx(first)


@pytest.mark.parametrize(
    ("clip", "reason"),
    [(SILENCE, "silence"), (SILENCE[:0], "silence"), (SILENCE[:3000] + 0.1, "1/4 of a second")],
    ids=["silent", "empty", "short"],
)
def test_what_pesq_cannot_score(pesq, clip, reason):
    with pytest.raises(ValueError, match=reason):
        pesq(clip, clip)


def test_estoi(estoi, speech_16k, noisy_16k):
    assert estoi(speech_16k, speech_16k) == pytest.approx(1)
    assert 0.3 < estoi(speech_16k, noisy_16k) < 0.99
    assert estoi(speech_16k, np.random.default_rng(0).normal(0, 0.1, len(speech_16k))) < 0.2


@pytest.mark.parametrize(
    ("seconds", "reason"), [(0, "silence"), (0.01, r"\w"), (0.2, r"less than 0\.4 s of speech")], ids=str
)
def test_what_estoi_cannot_score(estoi, speech_16k, seconds, reason):
    clip = speech_16k[4000 : 4000 + int(16_000 * seconds)] if seconds else SILENCE
    with pytest.raises(ValueError, match=reason):
        estoi(clip, clip)


def test_visqol(speech_16k, noisy_16k, capfd):
    pytest.importorskip("visqol")
    pytest.importorskip("ai_edge_litert")
    visqol = perceptual.load_visqol()
    assert visqol(speech_16k, speech_16k) > 4
    assert 1 <= visqol(speech_16k, noisy_16k) < visqol(speech_16k, speech_16k) - 0.3
    for clip in (SILENCE, speech_16k[:500], speech_16k[:3000]):
        with pytest.raises(ValueError, match=r"\w"):
            visqol(clip, clip)
    assert capfd.readouterr() == ("", "")


def test_distillmos_is_the_packages_own(speech_16k, noisy_16k, capfd):
    package = pytest.importorskip("distillmos")
    torch = pytest.importorskip("torch")
    score = perceptual.load_distillmos()
    assert capfd.readouterr() == ("", "")
    long = np.concatenate([speech_16k, *[noisy_16k] * 3, *[speech_16k] * 3])[: 16_000 * 9]  # three windows
    with torch.inference_mode():
        expected = package.ConvTransformerSQAModel().eval()(torch.from_numpy(long)[None]).item()
    assert score(SILENCE, long) == pytest.approx(expected, abs=1e-4)
    assert 1 < score(SILENCE, noisy_16k) < 5
    with pytest.raises(ValueError, match="silence"):
        score(long, SILENCE)


@pytest.mark.parametrize("seconds", [5, 11])
def test_dnsmos_is_speechmos_own(speech_16k, noisy_16k, seconds):
    dnsmos = pytest.importorskip("speechmos.dnsmos", exc_type=ImportError)
    clip = np.concatenate([speech_16k, *[noisy_16k] * 7])[: int(16_000 * seconds)].clip(-1, 1)
    expected = dnsmos.run(clip, 16_000)["ovrl_mos"]
    score = perceptual.load_dnsmos()
    assert score(SILENCE, clip) == pytest.approx(expected, abs=1e-4)
    with pytest.raises(ValueError, match="silence"):
        score(clip, SILENCE)


LOADS = {
    "pesq": perceptual.load_pesq,
    "pystoi": perceptual.load_estoi,
    "visqol": perceptual.load_visqol,
    "distillmos.sqa": perceptual.load_distillmos,
    "onnxruntime": perceptual.load_dnsmos,
}


@pytest.mark.parametrize("module", LOADS)
def test_a_package_that_is_not_there(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingPackageError) as raised:
        LOADS[module]()
    assert str(raised.value).startswith(module.partition(".")[0])
    assert str(raised.value).endswith("is not installed; pip install 'waveglow-vocoders[eval]'")


def test_a_package_that_is_broken(tmp_path, monkeypatch):
    (tmp_path / "brokenpackage.py").write_text("raise OSError('libfoo.so: cannot open')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingPackageError, match=r"^brokenpackage can't be loaded \(libfoo.so: cannot open\); pip"):
        packages.required("brokenpackage")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (IndexError("list index out of range"), "list index"),
        (RuntimeError(b"No utterances"), "^No utter"),
        (KeyError(), "KeyError"),
    ],
)
def test_whatever_a_package_raises_is_a_value_error(error, reason):
    def score(reference, output):
        raise error

    with pytest.raises(ValueError, match=reason):
        guarded(score)(SILENCE, SILENCE)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_score_that_is_no_number(value):
    with pytest.raises(ValueError, match=f"the score is {value}"):
        guarded(lambda reference, output: value)(SILENCE, SILENCE)


def test_interrupts_pass():
    def score(reference, output):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        guarded(score)(SILENCE, SILENCE)


def test_what_packages_say_is_not_heard(capfd):
    def score(reference, output):
        print("weights loaded")
        warnings.warn("deprecated", stacklevel=1)
        return 1.0

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert guarded(score)(SILENCE, SILENCE) == 1
    assert capfd.readouterr() == ("", "")
