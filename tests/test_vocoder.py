"""Vocoder: audio is a function of the clip's mel, seed and sigma alone; copy-synthesis, likelihood, folding, errors."""

from __future__ import annotations

import copy
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import soxr
import torch

import waveglow
from waveglow.audio.mel import MelSpec, preset
from waveglow.audio.mel_spectrogram import MelSpectrogram
from waveglow.audio.refine import Refinement
from waveglow.audio.signals import hum
from waveglow.export.fold import folded
from waveglow.models import checkpoint
from waveglow.models.reach import reach
from waveglow.models.registry import build
from waveglow.noise import dequantization_noise
from waveglow.vocoder import Vocoder

HOP, RATE, N_MELS = 16, 8000, 8
CENTRED = MelSpec(  # T // hop + 1 frames, as Tacotron 2 has them
    name="small",
    sample_rate=RATE,
    n_fft=64,
    hop=HOP,
    win=64,
    n_mels=N_MELS,
    fmin=0.0,
    fmax=None,
    mel_scale="slaney",
    mel_norm="slaney",
    pad_left=32,
    pad_right=32,
)
FLOORED = replace(CENTRED, pad_left=24, pad_right=24)  # T // hop frames, as HiFi-GAN has them
NUMBERS = {"n_mels": N_MELS, "hop": HOP, "n_group": 4, "n_flows": 5, "n_early_every": 4, "n_layers": 3, "n_channels": 8}


@pytest.fixture(scope="module")
def vocoder(random_model) -> Vocoder:
    return Vocoder(random_model(**NUMBERS)[0], CENTRED)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def log_mel(*shape: int, seed: int = 0) -> torch.Tensor:
    """Values that a recording may have."""
    return noise(*shape, seed=seed) - 5


def wav(n_samples: int, seed: int = 0) -> np.ndarray:
    return 0.1 * noise(n_samples, seed=seed).numpy()


def assert_same_audio(audio: torch.Tensor, expected: torch.Tensor) -> None:
    """To 1e-6 of full scale: sums of another order, nothing more."""
    torch.testing.assert_close(audio, expected, rtol=0, atol=1e-6)


# ---- Shapes and kinds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [lambda mel: mel, lambda mel: mel.numpy(), lambda mel: mel.double().numpy()])
def test_one_mel_or_a_batch_of_any_kind(vocoder, kind):
    mel = log_mel(3, N_MELS, 5)
    batch, single = vocoder.synthesize(kind(mel)), vocoder.synthesize(kind(mel[0]))
    assert isinstance(batch, torch.Tensor)
    assert (batch.shape, batch.dtype) == ((3, 5 * HOP), torch.float32)
    assert (single.shape, single.dtype) == ((5 * HOP,), torch.float32)
    assert_same_audio(single, batch[0])
    assert batch.std() > 0.1


def test_load_gives_what_was_saved(random_model, tmp_path):
    model, config = random_model(**NUMBERS)
    checkpoint.save(tmp_path / "a", model, config, mel_spec=CENTRED)
    loaded, mel = waveglow.load(tmp_path / "a"), log_mel(N_MELS, 4)
    assert isinstance(loaded, Vocoder)
    assert loaded.mel_spec == CENTRED
    assert loaded.sample_rate == RATE
    assert torch.equal(loaded.synthesize(mel), Vocoder(model, CENTRED).synthesize(mel))
    assert torch.equal(waveglow.load(str(tmp_path / "a"), device="cpu").synthesize(mel), loaded.synthesize(mel))
    with pytest.raises(checkpoint.CheckpointError, match="does not exist"):
        waveglow.load(tmp_path / "b")


# ---- Noise -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "place"), [(1, 0), (2, 1), (5, 0), (5, 3)])
def test_the_same_seed_gives_the_same_audio_anywhere_in_a_batch(vocoder, size, place):
    mel, others = log_mel(N_MELS, 6), log_mel(size, N_MELS, 6, seed=1)
    others[place] = mel
    alone = vocoder.synthesize(mel, seed=7)
    assert_same_audio(vocoder.synthesize(others, seed=7)[place], alone)
    seeds = list(range(100, 100 + size))
    seeds[place] = 7
    assert_same_audio(vocoder.synthesize(others, seed=seeds)[place], alone)


def test_seeds_differ_and_repeat(vocoder):
    mel = log_mel(N_MELS, 6)
    batch = vocoder.synthesize(torch.stack([mel] * 4), seed=[0, 1, 0, 2**64 - 1])
    assert torch.equal(vocoder.synthesize(mel), vocoder.synthesize(mel, seed=0))
    assert_same_audio(batch[0], batch[2])
    for i, j in [(0, 1), (0, 3), (1, 3)]:
        assert (batch[i] - batch[j]).abs().max() > 0.1


def test_a_longer_mel_begins_with_the_same_noise(vocoder):
    """Noise stands at its place in time; only what reaches over the end of the shorter clip differs."""
    mel = log_mel(N_MELS, 200)
    long, short = vocoder.synthesize(mel), vocoder.synthesize(mel[:, :150])
    reach = 5 * 2**3 * 4  # samples to which five nets of three layers can carry a clip's end
    assert_same_audio(long[: 150 * HOP - reach], short[: 150 * HOP - reach])


def test_latents_are_standard_normal_times_sigma(vocoder):
    mel = log_mel(N_MELS, 1000)
    for sigma in (1.0, 0.5):
        with torch.no_grad():
            zs, _ = vocoder.model.encode(vocoder.synthesize(mel, sigma=sigma)[None], mel[None])
        for z in zs:
            assert abs(z.mean()) < 0.05
            assert z.std() == pytest.approx(sigma, rel=0.05)
        of_all = torch.cat([z.flatten(1) for z in zs]).view(-1, 4000)  # channels of both latents, in time
        assert (torch.corrcoef(of_all) - torch.eye(len(of_all))).abs().max() < 0.1


@pytest.mark.parametrize("spec", [CENTRED, FLOORED])
def test_refinement_brings_the_sample_closer_to_its_mel(vocoder, spec):
    refining = Vocoder(vocoder.model, spec, refine=8)
    mel = refining.mel(wav(40 * HOP), RATE)

    def error(**options) -> float:
        audio = refining.synthesize(mel, **options)
        return float((refining.mel(audio, RATE)[:, : mel.shape[1]] - mel).abs().mean())

    assert error() == error(refine=8) < error(refine=2) < error(refine=0)
    assert torch.equal(refining.synthesize(mel, refine=0), Vocoder(vocoder.model, spec).synthesize(mel))


def test_refinement_of_a_clip_does_not_depend_on_its_batch(vocoder):
    mels = vocoder.mel(0.1 * noise(3, 20 * HOP), RATE)[..., :20]
    together = vocoder.synthesize(mels, seed=[1, 2, 3], lengths=[20, 11, 20], refine=3)
    for row, frames in enumerate([20, 11, 20]):
        alone = vocoder.synthesize(mels[row, :, :frames], seed=row + 1, refine=3)
        torch.testing.assert_close(together[row, : frames * HOP], alone, rtol=0, atol=1e-4 * float(alone.abs().max()))
        assert not together[row, frames * HOP :].any()


@pytest.mark.parametrize("refine", [-1, "many", 10**6])
def test_a_checkpoint_whose_refinement_makes_no_sense_is_refused(random_model, tmp_path, refine):
    model, config = random_model(**NUMBERS)
    checkpoint.save(tmp_path / "bad", model, config, mel_spec=CENTRED, info={"refine": refine})
    with pytest.raises(checkpoint.CheckpointError, match=re.escape(f"config.json: refine is {refine!r}")):
        Vocoder.load(tmp_path / "bad")


def test_a_checkpoint_says_how_it_refines(random_model, tmp_path):
    """Whole mels by more steps than streams; those of old by one number, and by the steps of then."""
    model, config = random_model(**NUMBERS)
    own = Refinement(steps=6, stream_steps=2, scheme="accelerated", context={0: 3, 2: 5})
    for name, info in (("new", own.info()), ("old", {"refine": 4})):
        checkpoint.save(tmp_path / name, model, config, mel_spec=CENTRED, info=info)
    new, old = Vocoder.load(tmp_path / "new"), Vocoder.load(tmp_path / "old")
    assert (new.refinement, old.refinement) == (own, Refinement(4, 4, scheme="fast"))
    assert Vocoder.load(tmp_path / "new", refine=3).refinement == replace(own, steps=3, stream_steps=3)
    mel = new.mel(0.1 * noise(30 * HOP), RATE)
    assert torch.equal(new.synthesize(mel), new.synthesize(mel, refine=6))
    assert not torch.equal(new.synthesize(mel, refine=4), old.synthesize(mel, refine=4))
    pieces = [*new.stream(mel.split(8, dim=-1))]
    expected = [*new.stream(mel.split(8, dim=-1), refine=2, context=5)]
    assert [len(piece) for piece in pieces] == [len(piece) for piece in expected]
    assert torch.equal(torch.cat(pieces), torch.cat(expected))


@pytest.mark.parametrize(("steps", "frames"), [(0, 3), (1, 5), (2, 5), (3, None)])
def test_the_context_of_steps_between_is_that_of_more(steps, frames):
    assert Refinement(context={0: 3, 2: 5}).frames_around(steps) == frames


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"stream_refine": -1}, "refine is -1"),
        ({"refine_scheme": "fats"}, "'fats' is no scheme of refinement; did you mean 'fast'"),
        ({"refine_scheme": ["fast"]}, "is no scheme"),
        ({"stream_context": [30]}, r"stream_context is \[30\]"),
        ({"stream_context": {"many": 30}}, "stream_context is"),
        ({"stream_context": {"16": -1}}, "stream_context of 16 steps is -1"),
        ({"stream_context": {"16": "30"}}, "stream_context of 16 steps is '30'"),
    ],
)
def test_a_checkpoint_that_refines_nonsensically_is_refused(random_model, tmp_path, info, message):
    model, config = random_model(**NUMBERS)
    checkpoint.save(tmp_path / "bad", model, config, mel_spec=CENTRED, info={"refine": 4, **info})
    with pytest.raises(checkpoint.CheckpointError, match=f"config.json: .*{message}"):
        Vocoder.load(tmp_path / "bad")


def test_refinement_needs_a_mel_convention(vocoder):
    with pytest.raises(ValueError, match="refine is 2, and this vocoder knows no mel convention"):
        Vocoder(vocoder.model).synthesize(noise(N_MELS, 4), refine=2)


def test_sigma_zero_needs_no_seed(vocoder):
    mel = log_mel(2, N_MELS, 6)
    audio = vocoder.synthesize(mel, sigma=0, seed=[1, 2])
    assert torch.equal(audio, vocoder.synthesize(mel, sigma=0, seed=99))
    with torch.no_grad():
        zs, _ = vocoder.model.encode(audio, mel)
    assert max(z.abs().max() for z in zs) < 1e-5


# ---- Unequal lengths -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lengths",
    [[6, 6, 6], [6, 3, 1], [1, 1, 6], [300, 1, 2], [1], [40], [5, 5, 1, 5]],
    ids=lambda n: "-".join(map(str, n)),
)
@pytest.mark.parametrize("padding", [0.0, 1e4])
def test_clips_of_unequal_length_give_what_they_give_alone(vocoder, lengths, padding):
    frames = max(*lengths, 4)
    mel = log_mel(len(lengths), N_MELS, frames)
    for row, length in zip(mel, lengths, strict=True):
        row[:, length:] = padding
    seeds = list(range(len(lengths)))
    audio = vocoder.synthesize(mel, seed=seeds, lengths=lengths)
    assert audio.shape == (len(lengths), frames * HOP)
    for row, (clip, length) in enumerate(zip(audio, lengths, strict=True)):
        alone = vocoder.synthesize(mel[row, :, :length], seed=row)
        assert_same_audio(clip[: length * HOP], alone)
        assert not clip[length * HOP :].any()


def test_lengths_of_a_single_mel_and_as_tensors(vocoder):
    mel = log_mel(N_MELS, 6)
    expected = vocoder.synthesize(mel, lengths=[4])
    assert expected.shape == (6 * HOP,)
    assert not expected[4 * HOP :].any()
    assert torch.equal(vocoder.synthesize(mel, lengths=torch.tensor([4])), expected)


# ---- From audio ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [CENTRED, FLOORED], ids=["centred", "floored"])
@pytest.mark.parametrize("n_samples", [1, 15, 16, 17, 32, 33, 100, 160, 1000, 1007])
def test_copy_synthesis_has_the_inputs_length(random_model, spec, n_samples):
    vocoder = Vocoder(random_model(**NUMBERS)[0], spec)
    audio = wav(n_samples)
    copy = vocoder(audio, RATE, sigma=0.7, seed=3)
    assert copy.shape == (n_samples,)
    assert copy.dtype == torch.float32
    assert vocoder(torch.from_numpy(audio)[None], RATE).shape == (1, n_samples)
    again = vocoder.synthesize(vocoder.mel(audio, RATE), seed=3)
    shared = min(n_samples, len(again))
    assert n_samples - shared < HOP
    assert torch.equal(copy[:shared], again[:shared])
    assert not copy[shared:].any()


@pytest.mark.parametrize(("rate", "n_samples"), [(16000, 2001), (4000, 500), (11025, 1234), (44100, 100), (48000, 6)])
def test_copy_synthesis_of_another_rate_has_the_resampled_length(vocoder, rate, n_samples):
    audio = wav(n_samples)
    resampled = soxr.resample(audio, rate, RATE, quality="HQ")
    assert abs(len(resampled) - n_samples * RATE / rate) < 1
    assert vocoder(audio, rate).shape == (len(resampled),)
    assert torch.equal(vocoder(audio, rate), vocoder(resampled, RATE))


def test_the_mel_is_that_of_the_convention(vocoder):
    audio = wav(1000)
    expected = MelSpectrogram(CENTRED)(torch.from_numpy(audio)[None])
    assert torch.equal(vocoder.mel(audio, RATE), expected[0])
    assert torch.equal(vocoder.mel(np.stack([audio, audio]), RATE)[1:], expected)
    short = vocoder.mel(wav(1), RATE)
    assert short.shape == (N_MELS, CENTRED.frames(CENTRED.min_samples))


@torch.inference_mode()
def test_log_prob_is_the_models_of_dequantized_audio(vocoder, random_model):
    """The audio, cut to a multiple of the group of 4, plus uniform noise of ± half a 16-bit step from the seed.

    The noise is as small as that, so the comparison is exact.
    """
    audio = wav(1003)
    mel = MelSpectrogram(CENTRED)(torch.from_numpy(audio)[None])
    plain = vocoder.model.log_prob(torch.from_numpy(audio[None, :1000]), mel)
    for seed in (0, 5):
        dequantized = torch.from_numpy(audio[:1000] + dequantization_noise(seed, 0, 1000))[None]
        expected = vocoder.model.log_prob(dequantized, mel)
        assert not torch.equal(expected, plain)
        assert torch.equal(vocoder.log_prob(audio, RATE, seed=seed), expected[0])
        assert torch.equal(vocoder.log_prob(audio[None], RATE, seed=seed), expected)
        unfolded = random_model(**NUMBERS)[0].log_prob(dequantized, mel)
        torch.testing.assert_close(unfolded, expected, rtol=1e-5, atol=0)


def test_log_prob_ends_with_the_mel(random_model):
    """Where the mel has fewer frames than the audio needs, the last samples are left out."""
    model, _ = random_model(**NUMBERS)
    audio = wav(1007)
    mel = MelSpectrogram(FLOORED)(torch.from_numpy(audio)[None])
    n_samples = mel.shape[-1] * HOP
    assert n_samples < 1004
    with torch.no_grad():
        noisy = torch.from_numpy(audio[:n_samples] + dequantization_noise(0, 0, n_samples))[None]
        expected = model.log_prob(noisy, mel)[0]
    torch.testing.assert_close(Vocoder(model, FLOORED).log_prob(audio, RATE), expected, rtol=1e-5, atol=0)


def test_log_prob_of_a_batch_is_that_of_its_clips(vocoder):
    clips = np.stack([wav(1000, seed) for seed in range(3)])
    batch = vocoder.log_prob(clips, RATE)
    torch.testing.assert_close(batch, torch.stack([vocoder.log_prob(clip, RATE) for clip in clips]), rtol=1e-5, atol=0)
    assert len(set(batch.tolist())) == 3


# ---- Denoising -------------------------------------------------------------------------------------------------------


def said_in_silence(vocoder: Vocoder, frames: int) -> torch.Tensor:
    """The hum of the flow alone, from the mel of digital silence."""
    mel = vocoder.mel(np.zeros((frames + 4) * HOP, np.float32), RATE)[:, :frames]
    return vocoder.synthesize(mel, sigma=0, refine=0)


def share_left(vocoder: Vocoder, audio: torch.Tensor) -> float:
    """Of audio that is denoised with strength 1, away from its ends."""
    inside = slice(40 * HOP, -40 * HOP)
    return float(vocoder.denoise(audio, 1)[inside].norm() / audio[inside].norm())


@pytest.mark.parametrize(
    "spec",
    [CENTRED, FLOORED, replace(CENTRED, mean=(-5.0,), std=(2.0,)), replace(CENTRED, log_base="10", pad_left=0)],
    ids=["centred", "floored", "normalized", "decimal, not padded"],
)
@pytest.mark.parametrize("refine", [0, 4])
def test_the_hum_is_what_the_flow_says_given_silence(vocoder, spec, refine):
    """Neither given a mel of zeros, which is loud, nor what refinement makes of it."""
    humming = Vocoder(vocoder.model, spec, refine=refine)
    assert share_left(humming, said_in_silence(humming, 120)) < 1e-4
    assert share_left(humming, humming.synthesize(torch.zeros(N_MELS, 120), sigma=0, refine=0, check=False)) > 0.01


def test_a_share_of_the_hum_is_taken_off(vocoder):
    hum, inside = said_in_silence(vocoder, 120), slice(40 * HOP, -40 * HOP)
    for strength in (0.01, 0.5):
        torch.testing.assert_close(
            vocoder.denoise(hum, strength)[inside], (1 - strength) * hum[inside], rtol=0, atol=1e-5
        )
    assert torch.equal(vocoder.denoise(hum), vocoder.denoise(hum, 0.1))
    assert torch.equal(vocoder.denoise(hum, 0), hum)


@pytest.mark.parametrize("n_samples", [1, 63, 64, 1000, 1007])
def test_denoised_clips_keep_their_shape(vocoder, n_samples):
    batch = np.stack([wav(n_samples, seed) for seed in range(3)])
    denoised = vocoder.denoise(batch, 0.1)
    assert (denoised.shape, denoised.dtype) == ((3, n_samples), torch.float32)
    for row in range(3):
        assert_same_audio(denoised[row], vocoder.denoise(torch.from_numpy(batch[row]).double(), 0.1))
    assert not torch.equal(denoised, torch.from_numpy(batch))


def test_the_hum_is_heard_once_and_when_it_is_needed(vocoder, monkeypatch):
    fresh, decoded = Vocoder(vocoder.model, CENTRED), []
    decode = fresh.model.decode
    monkeypatch.setattr(fresh.model, "decode", lambda zs, mel: decoded.append(mel.shape[-1]) or decode(zs, mel))
    for strength, times in [(0, 0), (0.1, 1), (0.2, 1)]:
        fresh.denoise(wav(1000), strength)
        assert len(decoded) == times


@pytest.mark.parametrize("name", ["waveglow", "lapglow"])
def test_every_model_is_denoised(random_model, name):
    """Ten mels, hops of 32 samples: nothing is of one size only."""
    groups = {"waveglow": {"n_group": 4}, "lapglow": {"bands": 16, "n_high": 4, "n_cond": 6}}[name]
    numbers = {"name": name, "n_mels": 10, "hop": 32, "n_flows": 2, "n_layers": 2, "n_channels": 8, **groups}
    model, _ = random_model(**numbers)
    humming = Vocoder(model, replace(CENTRED, n_mels=10, hop=32, n_fft=128, win=128))
    mel = humming.mel(np.zeros(9600, np.float32), RATE)
    assert share_left(humming, humming.synthesize(mel, sigma=0)) < 1e-3


@pytest.mark.parametrize(
    ("audio", "strength", "message"),
    [
        (wav(1000), -1, "strength is -1; it must be a finite number >= 0"),
        (wav(1000), math.nan, "strength is nan"),
        (wav(1000), math.inf, "strength is inf"),
        (np.zeros(1000, np.int16), 0.1, "audio is int16"),
        (np.zeros(0, np.float32), 0.1, "at least one sample"),
        (np.array([0, np.nan], np.float32), 0.1, "NaN or infinite"),
    ],
)
def test_what_cannot_be_denoised(vocoder, audio, strength, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        vocoder.denoise(audio, strength)


# ---- Precision -------------------------------------------------------------------------------------------------------


def snr_db(signal: torch.Tensor, other: torch.Tensor) -> float:
    return float(10 * torch.log10(signal.square().mean() / (signal - other).square().mean()))


@pytest.mark.parametrize(("precision", "least_db"), [("bf16", 25), ("fp16", 40)])
def test_half_precision_is_close_and_in_the_nets_alone(random_model, precision, least_db):
    model, _ = random_model(**NUMBERS)
    full, half, mel = Vocoder(model, CENTRED), Vocoder(model, CENTRED, precision=precision), log_mel(2, N_MELS, 50)
    seen = set()
    half.model.get_submodule("flow.levels.0.layers.3.net.start").register_forward_hook(
        lambda _, __, output: seen.add(output.dtype)
    )
    expected, audio = full.synthesize(mel), half.synthesize(mel)
    assert audio.dtype == torch.float32
    assert seen == {torch.bfloat16 if precision == "bf16" else torch.float16}
    assert least_db < snr_db(expected, audio) < 100
    recording = wav(2000)
    difference = (half.log_prob(recording, RATE) - full.log_prob(recording, RATE)).abs() / 2000
    assert 0 < difference < 0.01  # nats per sample


def test_a_gpus_float32_is_no_tf32(random_model, monkeypatch):
    cudnn = torch.backends.cudnn
    fresh, seen = Vocoder(random_model(**NUMBERS)[0], CENTRED), []
    decode = fresh.model.decode
    monkeypatch.setattr(cudnn, "allow_tf32", True)
    monkeypatch.setattr(fresh.model, "decode", lambda *given: seen.append(cudnn.allow_tf32) or decode(*given))
    fresh.synthesize(log_mel(N_MELS, 5))
    assert seen == [False]
    assert cudnn.allow_tf32


# ---- Folding ---------------------------------------------------------------------------------------------------------


def test_encode_and_decode_of_the_folded_model_are_inverse(vocoder):
    audio, mel = log_mel(2, 100 * HOP), noise(2, N_MELS, 100)
    with torch.no_grad():
        zs, _ = vocoder.model.encode(audio, mel)
        assert (zs[-1] - audio[:, : zs[-1][0].numel()].view_as(zs[-1])).abs().max() > 1
        torch.testing.assert_close(vocoder.model.decode(zs, mel), audio, rtol=0, atol=1e-4)


def test_a_folded_copy_gives_the_same_and_leaves_the_model_as_it_was(random_model):
    model, _ = random_model(**NUMBERS)
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    audio, mel = log_mel(2, 10 * HOP), noise(2, N_MELS, 10)
    expected = model.log_prob(audio, mel)
    copy = folded(model)

    torch.testing.assert_close(copy.log_prob(audio, mel), expected, rtol=1e-5, atol=0)
    assert not copy.training
    assert not any(p.requires_grad for p in copy.parameters())
    assert not any("original" in name for name in copy.state_dict())
    assert sum(p.numel() for p in copy.parameters()) < sum(p.numel() for p in model.parameters())

    assert model.training
    assert list(model.state_dict()) == list(before)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    model.log_prob(audio, mel).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_a_vocoder_keeps_its_weights_and_a_new_one_has_the_new(random_model):
    model, _ = random_model(**NUMBERS)
    mel = log_mel(N_MELS, 6)
    old = Vocoder(model, CENTRED)
    before = old.synthesize(mel)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    model.log_prob(noise(1, 6 * HOP), mel[None]).sum().backward()
    optimizer.step()
    assert torch.equal(old.synthesize(mel), before)
    assert (Vocoder(model, CENTRED).synthesize(mel) - before).abs().max() > 1e-4


def test_folding_twice_changes_nothing(random_model):
    once = folded(random_model(**NUMBERS)[0])
    mel = log_mel(1, N_MELS, 6)
    zs = [noise(1, *shape) for shape in once.latent_shapes(6 * HOP)]
    assert torch.equal(folded(once).decode(zs, mel), once.decode(zs, mel))


# ---- Errors ----------------------------------------------------------------------------------------------------------

MEL = log_mel(2, N_MELS, 4)


def with_value(value: float) -> torch.Tensor:
    mel = MEL.clone()
    mel[1, 3, 2] = value
    return mel


@pytest.mark.parametrize(
    ("mel", "options", "message"),
    [
        (with_value(math.nan), {}, "the mel has NaN or infinite values"),
        (with_value(-math.inf), {}, "the mel has NaN or infinite values"),
        (noise(2, 9, 4), {}, "mel has shape [2, 9, 4]; this model takes [B, 8, F]"),
        (noise(9, 4), {}, "mel has shape [1, 9, 4]; this model takes [B, 8, F]"),
        (noise(4, 8), {}, "mel has shape [1, 4, 8]; this model takes [B, 8, F]"),
        (noise(8), {}, "mel has shape [1, 8]"),
        (noise(1, 2, 8, 4), {}, "mel has shape [1, 1, 2, 8, 4]"),
        (noise(2, 8, 0), {}, "F >= 1"),
        (noise(8, 0), {}, "F >= 1"),
        (MEL, {"lengths": [4]}, "lengths are [4]; give one a clip (2), each from 1 to 4 frames"),
        (MEL, {"lengths": [4, 4, 4]}, "lengths are [4, 4, 4]"),
        (MEL, {"lengths": [4, 0]}, "each from 1 to 4"),
        (MEL, {"lengths": [5, 4]}, "each from 1 to 4"),
        (MEL, {"lengths": [-1, 4]}, "each from 1 to 4"),
        (MEL, {"seed": [1]}, "got 1 seeds for 2 clips"),
        (MEL, {"seed": [1, 2, 3]}, "got 3 seeds for 2 clips"),
        (MEL, {"seed": []}, "got 0 seeds for 2 clips"),
        (MEL, {"seed": -1}, "seed is -1; it must be an integer from 0"),
        (MEL, {"seed": [0, -5]}, "seed is -5"),
        (MEL, {"seed": 2**64}, f"seed is {2**64}"),
        (MEL, {"sigma": -1}, "sigma is -1; it must be a finite number >= 0"),
        (MEL, {"sigma": math.nan}, "sigma is nan"),
        (MEL, {"sigma": math.inf}, "sigma is inf"),
        (MEL, {"refine": -1}, "refine is -1; it must be a whole number of steps from 0 to 1000"),
        (MEL, {"refine": 1.5}, "refine is 1.5"),
    ],
)
def test_what_cannot_be_synthesized(vocoder, mel, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        vocoder.synthesize(mel, **options)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.zeros(0, np.float32), "at least one sample"),
        (np.zeros((1, 2, 3), np.float32), "[T] or [B, T]"),
        (np.float32(1), "[T] or [B, T]"),
        (np.array([0, np.nan], np.float32), "NaN or infinite"),
        (np.array([0, np.inf], np.float32), "NaN or infinite"),
        (np.array([0, 20_000], np.int16), "int16"),
        (torch.tensor([0, 20_000], dtype=torch.int16), "int16"),
    ],
)
@pytest.mark.parametrize("method", ["__call__", "mel", "log_prob"])
def test_what_is_no_audio(vocoder, audio, message, method):
    with pytest.raises(ValueError, match=re.escape(message)):
        getattr(vocoder, method)(audio, RATE)


@pytest.mark.parametrize("rate", [0, -8000])
def test_what_is_no_sample_rate(vocoder, rate):
    with pytest.raises(ValueError, match=r"(?i)sample rate"):
        vocoder(wav(100), rate)


@pytest.mark.parametrize("method", ["__call__", "mel", "log_prob"])
def test_audio_that_vanishes_in_resampling(vocoder, method):
    assert soxr.resample(wav(1), 192_000, RATE, quality="HQ").size == 0
    with pytest.raises(ValueError, match="1 samples at 192000 Hz are none at 8000 Hz"):
        getattr(vocoder, method)(wav(1), 192_000)


def test_a_likelihood_needs_a_group_of_samples(vocoder):
    assert torch.isfinite(vocoder.log_prob(wav(4), RATE))
    with pytest.raises(ValueError, match=r"3 samples is too short.*groups of 4"):
        vocoder.log_prob(wav(3), RATE)


def test_a_vocoder_without_a_mel_convention_only_synthesizes(random_model):
    vocoder = Vocoder(random_model(**NUMBERS)[0])
    assert vocoder.synthesize(noise(N_MELS, 3)).shape == (3 * HOP,)
    for use in (
        lambda: vocoder.mel_spec,
        lambda: vocoder.sample_rate,
        lambda: vocoder.mel(wav(100), RATE),
        lambda: vocoder(wav(100), RATE),
        lambda: vocoder.log_prob(wav(100), RATE),
        lambda: vocoder.denoise(wav(100)),
    ):
        with pytest.raises(ValueError, match="knows no mel convention"):
            use()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"hop": 8}, "hop 8 and 8 mels, the model hop 16 and 8"), ({"n_mels": 9}, "hop 16 and 9 mels, the model hop 16")],
)
def test_a_mel_convention_of_another_hop_or_size_is_refused(random_model, change, message):
    with pytest.raises(ValueError, match=message):
        Vocoder(random_model(**NUMBERS)[0], replace(CENTRED, **change))


def test_an_unknown_precision(random_model):
    with pytest.raises(ValueError, match="precision is 'int8', which is unknown; known: bf16, float32, fp16"):
        Vocoder(random_model(**NUMBERS)[0], precision="int8")


# ---- Heavy tails -----------------------------------------------------------------------------------------------------

TAILED = {"name": "lapglow", "n_mels": N_MELS, "hop": HOP, "bands": 16, "n_high": 6, "n_flows": 2, "n_channels": 8}


def test_a_heavy_tailed_base_changes_a_voice_only_where_it_draws_what_is_rare(random_model):
    plain, tailed = (Vocoder(random_model(**TAILED, high_base=base)[0], FLOORED) for base in ("normal", "heavy-tailed"))
    mel = speech_mels(plain, 1, 400)[0]
    assert torch.equal(plain.synthesize(mel, sigma=0.5), tailed.synthesize(mel, sigma=0.5))
    with torch.no_grad():
        zs, _ = tailed.model.encode(tailed.synthesize(mel, sigma=1.0)[None], mel[None])
        expected, _ = plain.model.encode(plain.synthesize(mel, sigma=1.0)[None], mel[None])
    drawn = (zs[0] / expected[0]).abs()
    assert ((drawn - 1).abs() < 0.1).float().mean() == pytest.approx(0.98, abs=0.01)
    assert drawn.max() > 9
    torch.testing.assert_close(zs[1], expected[1], rtol=1e-2, atol=1e-2)


def test_a_click_in_the_top_bands_costs_nats_and_not_thousands(random_model):
    """High-passed by the model's own bands, so that the others stay as they are."""
    plain, tailed = (Vocoder(random_model(**TAILED, high_base=base)[0], FLOORED) for base in ("normal", "heavy-tailed"))
    quiet = 0.01 * noise(1, 1, 256 * HOP)
    lapped = plain.model.flow.parts()[0].flows()[0]
    bands, _ = lapped(quiet)
    bands[..., -6:, 100] += 100.0
    click, quiet = lapped.inverse(bands)[0, 0].numpy(), quiet[0, 0].numpy()
    mel = plain.mel(quiet, RATE)[None, :, :256]

    def cost(vocoder: Vocoder) -> float:
        with torch.no_grad():
            before, after = (vocoder.model.log_prob(torch.from_numpy(wav)[None], mel) for wav in (quiet, click))
        return float(before - after) / 6

    assert 1 < cost(tailed) < 15
    assert cost(plain) > 1000


def test_the_base_of_bands_that_are_not_there(random_model):
    with pytest.raises(ValueError, match=r"high_base is 'heavy-tailed' and n_high is 0.*set n_high, or drop high_base"):
        random_model(**{**TAILED, "n_high": 0, "high_base": "heavy-tailed"})
    with pytest.raises(ValueError, match="high_base is 'heavy'; it must be normal or heavy-tailed"):
        random_model(**TAILED, high_base="heavy")


# ---- In pieces -------------------------------------------------------------------------------------------------------

SMALL = {"n_mels": N_MELS, "hop": HOP, "n_channels": 8}
MODELS = {
    "waveglow": {**SMALL, "n_group": 8, "n_flows": 5, "n_layers": 3, "n_early_every": 2},
    "waveglow, lu": {**SMALL, "n_group": 8, "n_flows": 3, "n_layers": 4, "lu": True, "upsample_kernel": 17},
    "waveglow, fused": {**SMALL, "n_flows": 4, "n_layers": 3, "n_early_every": 2},
    "lapglow": {**SMALL, "name": "lapglow", "bands": 16, "n_high": 4, "n_flows": 3, "n_layers": 3, "n_cond": 6},
    "lapglow, heavy-tailed": {**SMALL, "name": "lapglow", "bands": 16, "n_high": 4, "n_flows": 2, "n_layers": 2}
    | {"high_base": "heavy-tailed"},
    "lapglow, two places a frame": {**SMALL, "name": "lapglow", "bands": 8, "n_high": 2, "n_flows": 2, "n_layers": 3},
    "waveglow, alternating": {**SMALL, "n_flows": 4, "n_layers": 3, "n_early_every": 2, "alternating": True},
    "squeezewave": {**SMALL, "name": "squeezewave", "n_group": 16, "n_flows": 4, "n_layers": 4, "n_early_size": 2},
    "flowavenet": {**SMALL, "name": "flowavenet", "n_blocks": 4, "n_flows": 3, "blocks_per_split": 2},
    "waveflow": {**SMALL, "name": "waveflow", "n_height": 4, "n_flows": 4, "n_layers": 3},
    "nanoflow": {**SMALL, "name": "nanoflow", "n_height": 8, "n_flows": 2, "n_layers": 2, "n_embedding": 4},
}


@pytest.fixture(scope="module", params=MODELS)
def piecewise(request, random_model) -> Vocoder:
    return Vocoder(random_model(**MODELS[request.param])[0], FLOORED, fused="fused" in request.param)


def speech_mels(vocoder: Vocoder, clips: int, frames: int) -> torch.Tensor:
    return vocoder.mel(0.1 * noise(clips, frames * HOP), RATE)[..., :frames]


@pytest.mark.parametrize("refine", [0, 2])
@pytest.mark.parametrize("chunk", [1, 7, 96])
def test_pieces_are_what_is_synthesized_at_once(piecewise, chunk, refine):
    mels = speech_mels(piecewise, 3, 100 if chunk > 1 else 40)
    options = {"seed": [1, 2, 3], "sigma": 0.8, "refine": refine}
    if "heavy-tailed" in piecewise.model.bases:
        options["sigma"] = 1.0  # which draws the tails too
    whole = piecewise.synthesize(mels, **options)
    pieces = list(piecewise.stream(mels.split(chunk, dim=-1), **options))
    torch.testing.assert_close(torch.cat(pieces, -1), whole, rtol=0, atol=1e-4 * float(whole.abs().max()))
    assert len(pieces) > 1 or mels.shape[-1] - chunk < piecewise.reach(refine).after


def test_a_piece_comes_as_soon_as_the_frames_behind_it_are_there(piecewise):
    after, frames = piecewise.reach(0).after, 120
    asked = []

    def arriving():
        for number, frame in enumerate(speech_mels(piecewise, 1, frames)[0].split(1, dim=-1), 1):
            asked.append(number)
            yield frame

    heard = 0
    for piece in piecewise.stream(arriving(), refine=0):
        assert not torch.is_inference_mode_enabled()
        heard += len(piece) // HOP
        assert heard == asked[-1] - after or heard == frames
    assert heard == frames > after


@pytest.mark.parametrize("gather", [1, 5, 32])
def test_a_piece_has_as_many_frames_as_are_to_be_gathered(piecewise, gather):
    """However the mel arrives; the first comes as soon as so many frames and those behind them are there."""
    after, frames = piecewise.reach(0).after, 120
    step = math.lcm(piecewise.model.hop, piecewise.model.group) // piecewise.model.hop
    least = math.ceil(gather / step) * step
    mel, arrived = speech_mels(piecewise, 1, frames)[0], 0
    stream, pieces = piecewise.open_stream(refine=0, gather=gather), []
    for frame in mel.split(1, dim=-1):
        missing, arrived = stream.missing, arrived + 1
        piece = stream.feed(frame)
        assert (piece is not None) == (missing == 1)
        if piece is not None:
            pieces.append(piece)
            assert sum(map(len, pieces)) == (arrived - math.ceil(after / step) * step) * HOP
    assert {len(piece) // HOP for piece in pieces} <= {least}
    if (last := stream.end()) is not None:
        pieces.append(last)
    assert stream.end() is None
    whole = piecewise.synthesize(mel, refine=0)
    torch.testing.assert_close(torch.cat(pieces), whole, rtol=0, atol=1e-4 * float(whole.abs().max()))
    again = [*piecewise.stream(mel.split(1, dim=-1), refine=0, gather=gather)]
    assert all(map(torch.equal, again, pieces))


def test_a_chunk_that_is_refused_leaves_a_stream_as_it_was(vocoder):
    mel = log_mel(N_MELS, 60)
    stream, heard = vocoder.open_stream(seed=3), []
    for chunk in mel.split(20, dim=-1):
        for wrong in (chunk[1:], chunk + torch.inf, torch.stack([chunk, chunk])[:, :, :0]):
            with pytest.raises(ValueError, match="mel has"):
                stream.feed(wrong)
        heard += [stream.feed(chunk)]
        with pytest.raises(ValueError, match="a chunk has 2 clips, those before it 1"):
            stream.feed(torch.stack([chunk, chunk]))
    heard += [stream.end()]
    assert torch.equal(
        torch.cat([p for p in heard if p is not None]), torch.cat([*vocoder.stream(mel.split(20, -1), seed=3)])
    )


def test_a_producer_may_use_its_buffer_again(piecewise):
    mel, buffer = speech_mels(piecewise, 1, 40)[0], torch.empty(N_MELS, 8)

    def refilled():
        for chunk in mel.split(8, dim=-1):
            yield buffer.copy_(chunk)

    whole = piecewise.synthesize(mel)
    torch.testing.assert_close(
        torch.cat([*piecewise.stream(refilled())]), whole, rtol=0, atol=1e-4 * float(whole.abs().max())
    )


def test_the_reach_is_that_of_the_model(piecewise):
    """A frame changes nothing beyond its reach, and what it changes, however little, is more than a quarter of that.

    In float64: what comes back through many rows is less than float32 rounds off.
    """
    before, after = piecewise.reach(0)
    frames = before + after + 40
    model = copy.deepcopy(piecewise.model).double()
    torch.manual_seed(0)
    zs = [torch.randn(1, *shape).double() for shape in model.latent_shapes(frames * HOP)]
    mel = speech_mels(piecewise, 1, frames).double()
    at = after + 20
    other = mel.clone()
    other[..., at] += 1
    with torch.no_grad():
        changed = (model.decode(zs, mel) - model.decode(zs, other)).view(-1, HOP).abs().amax(1)
    touched = changed.nonzero().flatten()
    assert at - after <= touched.min() <= touched.max() <= at + before
    assert touched.max() - touched.min() > (before + after) / 4


def test_the_reach_of_the_published_model_is_the_papers():
    """12 flows, 255 groups of 8 samples to each side in each: 24 480 samples, 96 frames; 3 more by the upsampling."""
    assert reach(build({"name": "waveglow-64"})) == (96 + 3, 96)


def test_less_context_is_allowed_and_closer_with_more(piecewise):
    mel = speech_mels(piecewise, 1, 200)[0]
    whole = piecewise.synthesize(mel)

    def error(context: int) -> float:
        return float((torch.cat([*piecewise.stream(mel.split(10, dim=-1), context=context)]) - whole).norm())

    assert error(0) > error(2) > error(max(piecewise.reach()))


def test_a_long_mel_is_synthesized_in_pieces(piecewise, monkeypatch):
    mels = speech_mels(piecewise, 2, 90)
    whole = piecewise.synthesize(mels, lengths=[90, 33], refine=1)
    monkeypatch.setattr("waveglow.vocoder.MAX_PIECE_FRAMES", 32)
    decoded, decode = [], piecewise.model.decode
    monkeypatch.setattr(piecewise.model, "decode", lambda zs, mel: decoded.append(mel.shape[-1]) or decode(zs, mel))
    again = piecewise.synthesize(mels, lengths=[90, 33], refine=1)
    torch.testing.assert_close(again, whole, rtol=0, atol=1e-4 * float(whole.abs().max()))
    assert len(decoded) > 3


def test_the_pieces_of_a_mel_are_what_synthesize_joins(piecewise, monkeypatch):
    mels = speech_mels(piecewise, 2, 90)
    (short,) = piecewise.pieces(mels[0], seed=3)
    assert torch.equal(short, piecewise.synthesize(mels[0], seed=3))
    monkeypatch.setattr("waveglow.vocoder.MAX_PIECE_FRAMES", 32)
    pieces = [*piecewise.pieces(mels, sigma=0.5, seed=[1, 2], refine=1)]
    assert len(pieces) > 2
    assert torch.equal(torch.cat(pieces, dim=-1), piecewise.synthesize(mels, sigma=0.5, seed=[1, 2], refine=1))
    with pytest.raises(ValueError, match="sigma is -1"):
        next(piecewise.pieces(mels, sigma=-1))


@pytest.mark.parametrize(
    ("chunks", "options", "message"),
    [
        ([noise(N_MELS, 4)], {"context": -1}, "context is -1; it must be at least 0 frames"),
        ([noise(N_MELS, 4)], {"gather": 0}, "gather is 0; it must be a whole number of frames from 1"),
        ([noise(N_MELS, 4)], {"gather": 1.5}, "gather is 1.5; it must be a whole number of frames from 1"),
        ([], {"seed": -1}, "seed is -1; it must be an integer from 0 to 2**64 - 1"),
        ([log_mel(2, N_MELS, 4), log_mel(3, N_MELS, 4)], {}, "a chunk has 3 clips, those before it 2"),
        ([log_mel(N_MELS, 4), log_mel(N_MELS - 1, 4)], {}, "mel has shape [1, 7, 4]"),
        ([noise(N_MELS, 4)], {"sigma": -1}, "sigma is -1"),
    ],
)
def test_what_cannot_be_streamed(vocoder, chunks, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        list(vocoder.stream(chunks, **options))


def test_a_stream_of_nothing_is_nothing(vocoder):
    assert list(vocoder.stream([])) == []


# ---- Without weights -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nvidia/tacotron2", "vocos", "bigvgan-44k-512", "flowavenet"])
def test_noise_moves_onto_a_mel_of_any_convention(name):
    spec = preset(name)
    vocoder = Vocoder.of_noise(spec)
    mel = vocoder.mel(hum(0.6, spec.sample_rate), spec.sample_rate)

    def distance(refine: int) -> float:
        again = vocoder.mel(vocoder.synthesize(mel, refine=refine), spec.sample_rate)
        return float((again[:, : mel.shape[1]] - mel).abs().mean())

    assert distance(64) < 0.1
    assert distance(64) < 0.5 * distance(4) < 0.5 * distance(0)


def test_refined_noise_in_pieces_is_that_at_once():
    spec = preset("hifigan")
    vocoder = Vocoder.of_noise(spec, refine=4)
    mel = vocoder.mel(hum(0.9, spec.sample_rate), spec.sample_rate)
    streamed = torch.cat(list(vocoder.stream(mel.split(13, dim=-1), seed=3)))
    torch.testing.assert_close(streamed, vocoder.synthesize(mel, seed=3), rtol=0, atol=1e-4)


def test_windows_that_hardly_overlap_are_refused_at_once():
    with pytest.raises(ValueError, match="windows that overlap by half"):
        Vocoder.of_noise(replace(preset("hifigan"), hop=640))
