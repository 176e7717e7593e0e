"""Refinement moves audio onto a mel, in any convention, and leaves alone what is there already."""

import math
from dataclasses import replace

import pytest
import torch

from waveglow.audio.mel import preset
from waveglow.audio.mel_spectrogram import MelSpectrogram
from waveglow.audio.refine import MelRefiner

LENGTHS = (16384, 9999)
DECIMAL = {"log_base": "10", "guard": "clamp", "guard_value": 1e-10, "mean": tuple(range(-80, 0)), "std": (2.5,)}
CONVENTIONS = {
    **{name: preset(name) for name in ("hifigan", "tacotron2", "bigvgan-44k-512", "vocos", "flowavenet")},
    "decimal, normalized": replace(preset("tacotron2"), **DECIMAL),
    "not padded": replace(preset("hifigan"), pad_left=0, pad_right=0, win=800),
}


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(seed))


def voiced(samples: int, sample_rate: int) -> torch.Tensor:
    """Ten harmonics whose pitch and loudness move."""
    t = torch.arange(samples) / sample_rate
    phase = 2 * math.pi * (130 * t + 6 * torch.sin(5 * t))
    return sum(torch.sin(k * phase) / k for k in range(1, 11))[None] * 0.1 * (1.2 + torch.sin(9 * t))


@pytest.mark.parametrize("samples", LENGTHS)
@pytest.mark.parametrize("name", CONVENTIONS)
def test_audio_that_has_the_mel_stays(name, samples):
    refiner, audio = MelRefiner(CONVENTIONS[name]), noise(samples)
    torch.testing.assert_close(refiner(audio, refiner.to_mel(audio), 3), audio, rtol=0, atol=2e-5)


@pytest.mark.parametrize("samples", LENGTHS)
@pytest.mark.parametrize("name", CONVENTIONS)
def test_steps_bring_the_mel_closer(name, samples):
    spec = CONVENTIONS[name]
    refiner, audio = MelRefiner(spec), voiced(samples, spec.sample_rate)
    mel = refiner.to_mel(audio)
    errors = [float((refiner.to_mel(refiner(noise(samples)[:1], mel, n)) - mel).abs().mean()) for n in (0, 1, 4, 16)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.12 * errors[0]


@pytest.mark.parametrize("power", [1, 2])
def test_a_level_that_is_wrong_everywhere_is_right_after_one_step(power):
    spec = replace(preset("hifigan"), power=power)
    refiner, audio = MelRefiner(spec), voiced(22050, spec.sample_rate)
    refined = refiner(0.5 * audio, refiner.to_mel(audio), 1)
    assert float((refined - audio).abs().max()) < 0.03 * float(audio.abs().max())


def test_bands_at_the_ceiling_are_raised_to_it_and_never_lowered():
    refiner = MelRefiner(preset("flowavenet"))
    at_ceiling, below = torch.ones(2, 80, 65), torch.full((2, 80, 65), 0.5)
    loud, quiet = 1000 * noise(16384), 0.01 * noise(16384)
    assert refiner.to_mel(loud).min() == 1
    torch.testing.assert_close(refiner(loud, at_ceiling, 4), loud, rtol=0, atol=0.01)
    assert float((refiner.to_mel(refiner(quiet, at_ceiling, 4)) - 1).abs().mean()) < 0.01
    assert refiner(loud, below, 1).norm() < 0.6 * loud.norm()  # a third of its energy is below 125 or above 7600 Hz


def test_nothing_is_asked_beyond_the_ceiling():
    """A predicted mel may overshoot, and no sample's mel ever gets there."""
    refiner, audio = MelRefiner(preset("flowavenet")), voiced(16384, 22050)
    mel = refiner.to_mel(audio)
    assert (mel == 1).any()
    overshot = torch.where(mel == 1, 1.2, mel)
    torch.testing.assert_close(refiner(audio, overshot, 4), audio, rtol=0, atol=2e-5)


def test_a_mel_shorter_than_the_audio_goes_on_with_its_last_frame():
    refiner, audio = MelRefiner(preset("hifigan")), noise(8192)
    mel = refiner.to_mel(audio)[..., :20]
    refined = refiner(0.5 * audio, mel, 1)
    assert float(refined[:, 6000:].norm() / audio[:, 6000:].norm()) == pytest.approx(1, abs=0.2)


def test_no_step_and_too_few_samples_change_nothing():
    refiner = MelRefiner(preset("hifigan"))
    audio, short = noise(4096), noise(256)
    assert torch.equal(refiner(audio, refiner.to_mel(noise(4096, seed=1)), 0), audio)
    assert torch.equal(refiner(short, torch.zeros(2, 80, 1), 4), short)


def test_gradients_are_finite_in_silence_and_reach_the_audio():
    refiner = MelRefiner(preset("hifigan"))
    audio = torch.cat([torch.zeros(1, 4096), noise(4096)[:1]], dim=1).requires_grad_()
    target = refiner.to_mel(noise(8192, seed=1)[:1])
    refiner(audio, target, 4).square().mean().backward()
    assert torch.isfinite(audio.grad).all()
    assert audio.grad.any()


def test_the_sum_of_the_windows_is_made_once(monkeypatch):
    refiner, made = MelRefiner(preset("hifigan")), []
    weights = refiner.to_mel.stft.weights
    monkeypatch.setattr(refiner.to_mel.stft, "weights", lambda frames: made.append(frames) or weights(frames))
    refiner(noise(9999), refiner.to_mel(noise(9999, seed=1)), 5)
    assert len(made) == 1


def test_gains_of_one_step_are_bounded():
    refiner = MelRefiner(preset("hifigan"))
    audio = noise(8192)
    asked = torch.full_like(MelSpectrogram(preset("hifigan"))(audio), 100.0)
    gain = refiner(audio, asked, 1).norm() / audio.norm()
    assert 10 < gain < math.exp(3) + 0.1


@pytest.mark.parametrize("name", CONVENTIONS)
def test_frames_taken_in_blocks_are_those_taken_at_once(name):
    refiner, whole = (MelRefiner(CONVENTIONS[name]) for _ in range(2))
    refiner.frames_at_once, whole.frames_at_once = 7, None
    mel = refiner.to_mel(noise(9999, seed=1))
    torch.testing.assert_close(refiner(noise(9999), mel, 5), whole(noise(9999), mel, 5), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_accelerated_steps_are_worth_more_than_as_many_fast_ones(name):
    accelerated, fast = (MelRefiner(CONVENTIONS[name], scheme=scheme) for scheme in ("accelerated", "fast"))
    mel, start = fast.to_mel(voiced(16384, CONVENTIONS[name].sample_rate)), noise(16384)[:1]
    errors = [
        float((fast.to_mel(audio) - mel).abs().mean()) for audio in (accelerated(start, mel, 24), fast(start, mel, 30))
    ]
    assert errors[0] < errors[1]


def test_fast_steps_are_fast_griffin_lims():
    """The first of Perraudin, Balazs, Søndergaard's two lines is a step, the second what it is taken from."""
    refiner = MelRefiner(preset("hifigan"), scheme="fast")
    mel, audio = refiner.to_mel(noise(8192, seed=1)), noise(8192)
    t0 = refiner(audio, mel, 1)
    t1 = refiner(t0, mel, 1)
    t2 = refiner(t1 + 0.99 * (t1 - t0), mel, 1)
    torch.testing.assert_close(refiner(audio, mel, 3), t2, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["clicks", "square", "bursts"])
def test_many_steps_do_not_diverge(kind):
    """Also towards a mel that no audio has. With a relaxation of 1.4, beyond the bound, they do."""
    spec, t = preset("hifigan"), torch.arange(12000) / 22050
    audio = {
        "clicks": torch.where(torch.arange(12000) % 3000 == 7, 0.9, 0.0),
        "square": 0.5 * torch.sign(torch.sin(2 * math.pi * 111 * t)),
        "bursts": noise(12000)[0] * (torch.sin(2 * math.pi * 3 * t) > 0),
    }[kind][None]
    refiner = MelRefiner(spec)
    mel = refiner.to_mel(audio)
    mel = mel + 0.7 * torch.randn(mel.shape, generator=torch.Generator().manual_seed(0))
    errors = [float((refiner.to_mel(refiner(noise(12000)[:1], mel, n)) - mel).abs().mean()) for n in (16, 200)]
    assert errors[1] < 1.05 * errors[0]


@pytest.mark.parametrize("steps", [6, 9])
@pytest.mark.parametrize("name", ["hifigan", "vocos"])
def test_a_sample_depends_on_the_frames_that_it_says_and_on_most_of_them(name, steps):
    """A frame of the mel is changed: nothing moves further away than `frames_seen`, something beyond half of it."""
    spec = preset(name)
    refiner = MelRefiner(spec).double()
    audio, place = noise(64 * spec.hop)[:1].double(), 32
    mel = refiner.to_mel(audio)
    other = mel.clone()
    other[:, :, place] += 3
    moved = (refiner(audio, mel, steps) != refiner(audio, other, steps))[0].nonzero()
    first = place - int(moved.min()) / spec.hop
    assert 0.5 * refiner.frames_seen(steps) < first <= refiner.frames_seen(steps)
