"""Mel conventions: golden mels of the original code, librosa as a second opinion, and what may be mixed with what."""

import json
import math
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from waveglow.audio.mel import PRESETS, MelSpec, compare, convert, diagnose, filterbank, preset
from waveglow.audio.mel_spectrogram import MelSpectrogram
from waveglow.config import ConfigError

GOLDEN = load_file(Path(__file__).parents[1] / "golden" / "mels.safetensors")
TACOTRON2, HIFIGAN, VOCOS = preset("tacotron2"), preset("hifigan"), preset("vocos")
FLOWAVENET = preset("flowavenet")


@pytest.fixture(scope="session")
def espnet_stats(tmp_path_factory) -> Path:
    """Statistics of the form that ESPnet writes, of 1000 frames of mean -2.3 and deviation 0.9."""
    mean, std = np.linspace(-2, -2.6, 80), np.linspace(0.8, 1.0, 80)
    path = tmp_path_factory.mktemp("stats") / "feats_stats.npz"
    np.savez(path, count=np.array(1000), sum=1000 * mean, sum_square=1000 * (std**2 + mean**2))
    return path


@pytest.fixture(params=PRESETS)
def spec(request, espnet_stats) -> MelSpec:
    return preset(request.param, stats=espnet_stats if request.param == "espnet" else None)


def mel_of(spec: MelSpec, wav) -> np.ndarray:
    return MelSpectrogram(spec)(torch.as_tensor(wav, dtype=torch.float32)[None])[0].numpy()


def noise(spec: MelSpec, *, seconds=1.0, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(int(seconds * spec.sample_rate))


def librosa_mel(spec: MelSpec, wav: np.ndarray) -> np.ndarray:
    """The formula again, with nothing of ours: librosa's padding-free STFT and filters."""
    padded = np.pad(wav, (spec.pad_left, spec.pad_right), mode=spec.pad_mode)
    window = "hann" if spec.window_periodic else np.hanning(spec.win)
    X = librosa.stft(padded, n_fft=spec.n_fft, hop_length=spec.hop, win_length=spec.win, window=window, center=False)
    power = np.abs(X) ** 2
    power = {"add": power + spec.guard_value, "clamp": np.maximum(power, spec.guard_value), None: power}[spec.guard]
    filters = librosa.filters.mel(
        sr=spec.sample_rate,
        n_fft=spec.n_fft,
        n_mels=spec.n_mels,
        fmin=spec.fmin,
        fmax=spec.fmax,
        htk=spec.mel_scale == "htk",
        norm=spec.mel_norm,
        dtype=np.float64,
    )
    log_mel = np.log(np.clip(filters @ power ** (spec.power / 2), spec.floor_value, spec.ceiling_value))
    log_mel = log_mel / math.log(10) if spec.log_base == "10" else log_mel
    if spec.mean is None:
        return log_mel
    return (log_mel - np.array(spec.mean)[:, None]) / np.array(spec.std)[:, None]


@pytest.mark.parametrize("name", ["nvidia/tacotron2", "hifigan", "bigvgan-22k-80", "vocos"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_golden_mels_of_the_published_code(name, dtype):
    wav = GOLDEN["audio_24k" if name == "vocos" else "audio"]
    mel = MelSpectrogram(preset(name), dtype=dtype)(wav)
    assert mel.dtype == dtype
    torch.testing.assert_close(mel.float(), GOLDEN[name], atol=2e-5, rtol=0)


def test_every_preset_against_librosa(spec):
    wav = 0.1 * noise(spec)
    mel = MelSpectrogram(spec, dtype=torch.float64)(torch.from_numpy(wav)[None])[0].numpy()
    expected = librosa_mel(spec, wav)
    assert mel.shape == expected.shape == (spec.n_mels, spec.frames(len(wav)))
    np.testing.assert_allclose(mel, expected, atol=1e-9)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize("norm", ["slaney", None])
@pytest.mark.parametrize(("fmin", "fmax"), [(0, None), (80, 7600), (1200, 3000)])
def test_filterbank_against_librosa(scale, norm, fmin, fmax):
    spec = replace(TACOTRON2, n_mels=40, mel_scale=scale, mel_norm=norm, fmin=fmin, fmax=fmax)
    expected = librosa.filters.mel(
        sr=22050, n_fft=1024, n_mels=40, fmin=fmin, fmax=fmax, htk=scale == "htk", norm=norm, dtype=np.float64
    )
    np.testing.assert_allclose(filterbank(spec), expected, atol=1e-12)


@pytest.mark.parametrize(
    "change",
    [
        {"win": 800},
        {"window_periodic": False},
        {"pad_mode": "constant"},
        {"pad_left": 0, "pad_right": 100},
        {"power": 2},
        {"power": 2, "guard": "add", "guard_value": 1e-2},
        {"power": 2, "guard": "clamp", "guard_value": 1e-1},
        {"ceiling_value": 0.3},
    ],
)
def test_other_windows_padding_powers_and_limits_against_librosa(change):
    spec, wav = replace(TACOTRON2, **change), 0.1 * noise(TACOTRON2)
    mel = MelSpectrogram(spec, dtype=torch.float64)(torch.from_numpy(wav)[None])[0].numpy()
    np.testing.assert_allclose(mel, librosa_mel(spec, wav), atol=1e-9)


def flowavenet_of(wav: np.ndarray) -> np.ndarray:
    """What ksw0306/FloWaveNet's preprocessing.py computes, of librosa as it was in 2018, without the transpose."""
    mel = librosa.feature.melspectrogram(
        y=wav, sr=22_050, n_fft=1024, hop_length=256, n_mels=80, fmin=125, fmax=7600, pad_mode="reflect"
    )
    return np.clip((20 * np.log10(np.maximum(1e-4, mel)) - 20 + 100) / 100, 0, 1)


@pytest.mark.parametrize(("peak", "limits"), [(0.999, {0, 1}), (0.01, {0})])
def test_flowavenet_is_its_own_formula(peak, limits):
    """At full scale a voice reaches the ceiling and its pauses the floor; a quiet one stays below the ceiling."""
    wav = recordings(FLOWAVENET)["voiced with pauses"]
    wav = wav / np.abs(wav).max() * peak
    mel, expected = mel_of(FLOWAVENET, wav), flowavenet_of(wav)
    np.testing.assert_allclose(mel, expected, atol=1e-5, rtol=0)
    assert {0, 1} & set(expected.ravel()) == limits
    assert mel.max() <= 1


def test_an_added_floor():
    spec = replace(TACOTRON2, floor="add", floor_value=1e-3)
    assert spec.silence == pytest.approx(math.log(1e-3))
    low = mel_of(replace(TACOTRON2, floor_value=1e-12), 0.1 * noise(spec))
    np.testing.assert_allclose(mel_of(spec, 0.1 * noise(spec)), np.log(np.exp(low) + 1e-3), atol=1e-5)
    limited = np.log(np.minimum(np.exp(low) + 1e-3, 0.3))
    np.testing.assert_allclose(mel_of(replace(spec, ceiling_value=0.3), 0.1 * noise(spec)), limited, atol=1e-5)


def test_the_frame_rules_of_the_originals():
    for samples in [513, 1024, 22_050, 22_272, 25_600]:
        assert TACOTRON2.frames(samples) == VOCOS.frames(samples) == samples // 256 + 1
        assert HIFIGAN.frames(samples) == samples // 256
        assert preset("bigvgan-44k-512").frames(2 * samples) == 2 * samples // 512
    assert HIFIGAN.frames(0) == 0


def test_the_shortest_waveform(spec):
    mel = mel_of(spec, np.zeros(spec.min_samples))
    assert mel.shape == (spec.n_mels, spec.frames(spec.min_samples))
    with pytest.raises(ValueError, match=rf"\[1, {spec.min_samples - 1}\].* at least {spec.min_samples} samples"):
        mel_of(spec, np.zeros(spec.min_samples - 1))


def test_the_shortest_waveforms_of_the_originals():
    assert (TACOTRON2.min_samples, HIFIGAN.min_samples) == (513, 385)
    assert replace(HIFIGAN, pad_mode="constant").min_samples == 256
    with pytest.raises(ValueError, match=r"must be \[B, T\]"):
        MelSpectrogram(HIFIGAN)(torch.zeros(1000))


def test_silence_is_what_silence_gives(spec):
    mel = mel_of(spec, np.zeros(5000))
    assert mel.mean() == pytest.approx(spec.silence, abs=1e-5)


def test_silence_of_the_originals():
    assert TACOTRON2.silence == HIFIGAN.silence == pytest.approx(-11.5129, abs=1e-4)
    assert VOCOS.silence == pytest.approx(-16.1181, abs=1e-4)
    assert FLOWAVENET.silence == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    "change",
    [
        {"power": 2, "guard": "add", "guard_value": 0.5},
        {"power": 2, "guard": "clamp", "guard_value": 0.5},
        {"guard_value": 0.5, "ceiling_value": 0.03},
    ],
)
def test_silence_where_the_guard_shows(change):
    spec = replace(HIFIGAN, **change)
    assert mel_of(spec, np.zeros(5000)).mean() == pytest.approx(spec.silence, abs=1e-5)
    assert spec.silence > HIFIGAN.silence + 5


def test_gradients_are_finite_in_silence(spec):
    wav = torch.zeros(1, 2048, requires_grad=True)
    (gradient,) = torch.autograd.grad(MelSpectrogram(spec)(wav).sum(), wav)
    assert gradient.isfinite().all()


def test_gradient_against_finite_differences():
    spec = replace(HIFIGAN, n_fft=64, win=64, hop=16, pad_left=24, pad_right=24, n_mels=8)
    wav = torch.randn(1, 80, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(MelSpectrogram(spec, dtype=torch.float64), wav)


def test_nothing_to_save_and_no_autocast():
    module, wav = MelSpectrogram(HIFIGAN), GOLDEN["audio"]
    assert module.state_dict() == {}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = module(wav)
    assert torch.equal(under_autocast, module(wav))
    assert torch.equal(module(wav.double()), module(wav))


def test_a_batch_is_its_items():
    wav = torch.randn(3, 4000, generator=torch.Generator().manual_seed(0)) * 0.1
    one_by_one = torch.cat([MelSpectrogram(HIFIGAN)(row[None]) for row in wav])
    torch.testing.assert_close(MelSpectrogram(HIFIGAN)(wav), one_by_one, atol=1e-5, rtol=0)


# --- MelSpec ---


def test_to_dict_and_back(spec):
    again = MelSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert hash(again) == hash(spec)
    assert again.fingerprint == spec.fingerprint
    assert again.name == spec.name


def test_the_fingerprint_is_that_of_the_convention():
    assert len(HIFIGAN.fingerprint) == 64
    assert replace(HIFIGAN, name="mine", peak_policy="none").fingerprint == HIFIGAN.fingerprint
    assert replace(HIFIGAN, fmax=8000, fmin=0).fingerprint == HIFIGAN.fingerprint
    assert replace(HIFIGAN, fmax=11025.0).fingerprint == replace(HIFIGAN, fmax=None).fingerprint
    others = [replace(HIFIGAN, **{name: value}) for name, value in CHANGES.items()]
    assert len({spec.fingerprint for spec in [HIFIGAN, *others]}) == len(CHANGES) + 1


def test_fingerprints_are_kept_in_checkpoints_so_they_must_not_change():
    assert {name: preset(name).fingerprint[:8] for name in FINGERPRINTS} == FINGERPRINTS


def test_fields_younger_than_checkpoints_are_written_where_they_say_something():
    younger = {"power": 1, "ceiling_value": None}
    assert not younger.keys() & HIFIGAN.to_dict().keys()
    said = MelSpec.from_dict({**HIFIGAN.to_dict(), **younger})
    assert said == HIFIGAN
    assert said.fingerprint == HIFIGAN.fingerprint
    assert {name: FLOWAVENET.to_dict()[name] for name in younger} == {"power": 2, "ceiling_value": 10.0}


CHANGES = {
    "sample_rate": 24_000,
    "n_fft": 2048,
    "hop": 128,
    "win": 512,
    "n_mels": 100,
    "fmin": 20.0,
    "fmax": 7600.0,
    "mel_scale": "htk",
    "mel_norm": None,
    "pad_left": 0,
    "pad_right": 0,
    "pad_mode": "constant",
    "window_periodic": False,
    "guard": "clamp",
    "guard_value": 1e-3,
    "power": 2,
    "log_base": "10",
    "floor": "add",
    "floor_value": 1e-7,
    "ceiling_value": 10.0,
    "layout": "TC",
}
FINGERPRINTS = {"tacotron2": "ce9820c8", "hifigan": "13fc948d", "bigvgan-44k-512": "c314ef97", "vocos": "4cc6cf39"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fmax": 12_000.0}, r"fmax is 12000.0; it must be at most sample_rate / 2 = 11025; None means that"),
        ({"fmin": 8000.0}, r"fmin is 8000.0; it must be in 0..fmax = 8000"),
        ({"fmin": math.nan}, r"fmin is nan"),
        ({"win": 2048}, r"win is 2048; it must be at most n_fft = 1024"),
        ({"hop": 2000}, r"hop is 2000; it must be at most win = 1024"),
        ({"hop": 0}, r"hop is 0; it must be positive"),
        ({"sample_rate": -1}, r"sample_rate is -1"),
        ({"mel_scale": "bark"}, r"mel_scale is 'bark'; allowed: 'slaney', 'htk'"),
        ({"mel_norm": "l2"}, r"mel_norm is 'l2'; allowed: 'slaney', None"),
        ({"log_base": 10}, r"log_base is 10; allowed: 'e', '10'"),
        ({"layout": "BCT"}, r"layout is 'BCT'"),
        ({"pad_left": -1}, r"pad_left is -1"),
        ({"guard_value": 2.0}, r"guard_value is 2.0"),
        ({"floor_value": 0.0}, r"floor_value is 0.0"),
        ({"power": 3}, r"power is 3; allowed: 1, 2"),
        ({"ceiling_value": 1e-5}, r"ceiling_value is 1e-05; it must be finite, above floor_value = 1e-05; None"),
        ({"ceiling_value": math.inf}, r"ceiling_value is inf"),
        ({"ceiling_value": math.nan}, r"ceiling_value is nan"),
        ({"mean": (0.0, 1.0), "std": (1.0,)}, r"mean is \(0.0, 1.0\); it needs 1 or n_mels = 80 values"),
        ({"mean": (0.0,)}, r"std is None; mean and std go together"),
        ({"mean": (0.0,), "std": (0.0,)}, r"std is \(0.0,\); its values must be positive"),
        ({"mean": (math.inf,), "std": (1.0,)}, r"its values must be finite"),
    ],
)
def test_an_impossible_spec_names_field_value_and_rule(change, message):
    with pytest.raises(ValueError, match=message):
        replace(HIFIGAN, **change)


def test_from_dict_names_the_unknown_key():
    with pytest.raises(ConfigError, match="hop_size"):
        MelSpec.from_dict({**HIFIGAN.to_dict(), "hop_size": 256})


# --- presets ---


def test_presets_and_aliases():
    assert len(PRESETS) == 10
    assert preset("waveglow") is preset("tacotron2") is preset("speechbrain") is preset("nvidia/tacotron2")
    assert preset("hifigan-univ") == preset("hifigan")
    assert preset("matcha").fingerprint == preset("hifigan").fingerprint
    with pytest.raises(ValueError, match="'hifigen'; did you mean 'hifigan'"):
        preset("hifigen")


def test_espnet_needs_its_statistics(espnet_stats, tmp_path):
    spec = preset("espnet", stats=espnet_stats)
    np.testing.assert_allclose(spec.mean, np.linspace(-2, -2.6, 80), atol=1e-9)
    np.testing.assert_allclose(spec.std, np.linspace(0.8, 1.0, 80), atol=1e-9)
    with pytest.raises(ValueError, match=r"espnet:feats_stats.npz"):
        preset("espnet")
    assert preset(f"espnet:{espnet_stats}") == spec
    with pytest.raises(ValueError, match="only 'espnet' takes"):
        preset("hifigan", stats=espnet_stats)
    (tmp_path / "text.npz").write_text("no zip")
    np.savez(tmp_path / "other.npz", mean=np.zeros(80))
    for name in ("text.npz", "other.npz", "absent.npz"):
        with pytest.raises(ValueError, match=f"{name}: no ESPnet statistics"):
            preset("espnet", stats=tmp_path / name)


# --- compare and convert ---


def test_every_preset_equals_itself(spec):
    assert compare(spec, replace(spec, name="other")).kind == "equal"
    mel = mel_of(spec, 0.1 * noise(spec))
    assert convert(mel, spec, spec) is mel


def test_hifigan_and_tacotron2_are_shifted_by_half_a_hop():
    there, back = compare(TACOTRON2, HIFIGAN), compare(HIFIGAN, TACOTRON2)
    assert (there.kind, there.shift_samples) == ("shifted", -128)
    assert (back.kind, back.shift_samples) == ("shifted", 128)
    assert "hop/2" in there.reason
    assert "pad_left 512 against 384" in there.reason


def test_a_shift_is_all_that_differs():
    wav = 0.1 * noise(HIFIGAN)
    tacotron2 = convert(mel_of(TACOTRON2, wav[128:]), TACOTRON2, HIFIGAN)  # frame f is centred at 128 + 256 f of wav
    np.testing.assert_allclose(tacotron2[:, 4:80], mel_of(HIFIGAN, wav)[:, 4:80], atol=2e-3)


@pytest.mark.parametrize("field", ["sample_rate", "n_fft", "hop", "win", "n_mels", "fmin", "fmax", "mel_scale"])
def test_an_incompatible_field_is_named_with_both_values(field):
    other = replace(HIFIGAN, name="theirs", **{field: CHANGES[field]})
    found = compare(other, HIFIGAN)
    assert found.kind == "incompatible"
    assert found.reason.startswith("theirs against hifigan: ")
    assert f"{field} {CHANGES[field]} against {getattr(HIFIGAN, field)}" in found.reason
    with pytest.raises(ValueError, match="can't be converted"):
        convert(np.zeros((80, 3)), other, HIFIGAN)


def test_presets_of_other_bands_are_incompatible(espnet_stats):
    espnet = preset("espnet", stats=espnet_stats)
    for a, b in [(espnet, TACOTRON2), (VOCOS, preset("bigvgan-24k")), (preset("bigvgan-22k-80"), HIFIGAN)]:
        assert compare(a, b).kind == "incompatible"
    assert "fmin 80.0 against 0.0; fmax 7600.0 against 8000.0" in compare(espnet, TACOTRON2).reason


def test_powers_and_magnitudes_are_incompatible():
    for a, b, reason in [(FLOWAVENET, HIFIGAN, "power 2 against 1"), (HIFIGAN, FLOWAVENET, "power 1 against 2")]:
        found = compare(a, b)
        assert found.kind == "incompatible"
        assert reason in found.reason
    assert compare(replace(HIFIGAN, power=2), HIFIGAN).reason == "hifigan against hifigan: power 2 against 1"


@pytest.mark.parametrize(
    "change",
    [
        {"log_base": "10"},
        {"layout": "TC"},
        {"mean": (-5.5,), "std": (2.1,)},
        {"mean": tuple(range(80)), "std": tuple(range(1, 81)), "log_base": "10", "layout": "TC"},
        {"floor_value": 1e-7},
        {"guard": None},
    ],
)
def test_conversion_is_the_mel_of_the_other_spec(change):
    other, wav = replace(HIFIGAN, **change), 1e-2 * noise(HIFIGAN)
    wav[8000:12_000] = 0
    mel = mel_of(other, wav)
    assert compare(other, HIFIGAN).kind == "convertible"
    converted = convert(mel.T if other.layout == "TC" else mel, other, HIFIGAN)
    assert converted.dtype == np.float32
    np.testing.assert_allclose(converted, mel_of(HIFIGAN, wav), atol=2e-3)


def test_conversion_there_and_back():
    other = replace(HIFIGAN, log_base="10", mean=(-2.0,), std=(0.9,), layout="TC")
    mel = mel_of(HIFIGAN, 0.1 * noise(HIFIGAN))
    np.testing.assert_allclose(convert(convert(mel, HIFIGAN, other), other, HIFIGAN), mel, atol=1e-5)


def test_what_a_floor_cut_off_is_lost():
    found = compare(HIFIGAN, replace(HIFIGAN, floor_value=1e-7))
    assert found.kind == "incompatible"
    assert "floor_value 1e-05 against 1e-07" in found.reason


@pytest.mark.parametrize("ceiling", [None, 50.0])
def test_what_a_ceiling_cut_off_is_lost(ceiling):
    wav = 0.9 * recordings(FLOWAVENET)["sine"]
    plain = {"log_base": "e", "mean": None, "std": None, "floor_value": 1e-5, "layout": "CT"}
    higher = replace(FLOWAVENET, name="higher", ceiling_value=ceiling, **plain)
    assert compare(higher, FLOWAVENET).kind == "convertible"
    mel = mel_of(FLOWAVENET, wav)
    np.testing.assert_allclose(convert(mel_of(higher, wav), higher, FLOWAVENET).T, mel, atol=1e-5)
    assert (mel == 1).any()
    back = compare(FLOWAVENET, replace(higher, floor_value=1e-4))
    assert back.kind == "incompatible"
    assert back.reason == f"flowavenet against higher: ceiling_value 10.0 against {ceiling}"


def test_a_guard_that_shows_is_incompatible():
    assert compare(replace(HIFIGAN, power=2, guard=None), replace(HIFIGAN, power=2)).kind == "convertible"
    assert compare(replace(HIFIGAN, power=2, guard_value=1e-2), replace(HIFIGAN, power=2)).kind == "incompatible"
    assert compare(replace(HIFIGAN, guard_value=1e-3), HIFIGAN).kind == "incompatible"


# --- diagnose ---


def recordings(spec: MelSpec) -> dict[str, np.ndarray]:
    """What may be fed: voiced, silent, loud, stationary, clipped."""
    time = np.arange(spec.sample_rate // 2) / spec.sample_rate
    white = noise(spec, seconds=0.5)
    pink = np.fft.irfft(np.fft.rfft(white) / np.sqrt(np.arange(1, len(white) // 2 + 2)))
    voiced = np.sign(np.sin(2 * np.pi * 130 * time)) * np.maximum(0, np.sin(2 * np.pi * 4 * time)) * 0.3
    return {
        "silence": 0 * time,
        "dc": 0 * time + 0.5,
        "dither": white / 32768,
        "noise": 0.1 * white,
        "loud noise": np.clip(white, -1, 1),
        "random signs": np.sign(white),
        "loud pink noise": np.clip(pink / pink.std(), -1, 1),
        "sine": np.sin(2 * np.pi * 440 * time),
        "stationary sine": np.sin(2 * np.pi * time * spec.sample_rate / 256),
        "square": np.sign(np.sin(2 * np.pi * 100 * time)),
        "click": np.eye(1, len(time), 5000)[0],
        "clicks": (np.arange(len(time)) % 256 == 0) * 1.0,
        "voiced with pauses": voiced,
        "voiced in noise": voiced + 1e-3 * white,
        "half silent": np.where(time < 0.25, 0, 0.1 * white),
        "loud, half silent": np.where(time < 0.25, 0, np.sign(white)),
    }


def test_true_mels_are_plausible(spec):
    for name, wav in recordings(spec).items():
        assert diagnose(mel_of(spec, wav), spec) is None, name


def test_predicted_mels_are_plausible(spec):
    """Smoothed, off the floor by up to two nats, noisy, rounded to half precision: what acoustic models give."""
    nat = spec.power / ((math.log(10) if spec.log_base == "10" else 1) * float(np.mean(spec.std or (1,))))
    module = MelSpectrogram(spec)
    for name, wav in recordings(spec).items():
        mel = module(torch.as_tensor(wav, dtype=torch.float32)[None])[0].numpy()
        smooth = np.apply_along_axis(np.convolve, 1, mel, np.ones(5) / 5, mode="same")[:, 4:-4]
        rough = mel + 0.3 * nat * np.random.default_rng(1).standard_normal(mel.shape)
        for predicted in [smooth, mel - nat, mel - 2 * nat, mel + 0.3 * nat, rough, np.maximum(mel, mel.min() + nat)]:
            assert diagnose(predicted.astype(np.float16).astype(np.float32), spec) is None, name


def test_golden_and_shifted_mels_are_plausible():
    for name in ("nvidia/tacotron2", "hifigan"):
        for spec in (TACOTRON2, HIFIGAN):
            assert diagnose(GOLDEN[name][0].numpy(), spec) is None
    assert diagnose(GOLDEN["vocos"][0].numpy(), VOCOS) is None


@pytest.mark.parametrize("level", [0.03, 0.3, 1.0])
def test_other_conventions_are_named(level):
    wav = level * recordings(HIFIGAN)["voiced with pauses"] / 0.3
    log_mel = mel_of(HIFIGAN, wav)
    log10 = log_mel / math.log(10)
    pwg = np.maximum(mel_of(replace(TACOTRON2, log_base="10", floor_value=1e-10), wav), -10)
    magnitude = np.exp(log_mel)
    unit = (log_mel - log_mel.min()) / np.ptp(log_mel)
    for values, words in [
        (log10, "looks like log10"),
        (pwg, "looks like log10 (ESPnet/ParallelWaveGAN)"),
        (magnitude, "looks un-logged"),
        (magnitude * 32768, "looks un-logged"),
        (unit, "looks like 0..1 normalized"),
        (8 * unit - 4, "looks like -4..4 normalized"),
        ((log_mel - log_mel.mean()) / log_mel.std(), "looks like z-normalized"),
        (20 * log10, "looks like dB"),
        (20 * log10 - 20, "looks like dB"),
        (mel_of(replace(TACOTRON2, floor_value=1e-7), wav), "looks like a log-mel of a lower floor"),
    ]:
        found = diagnose(values, HIFIGAN)
        assert found is not None, words
        assert found.startswith(words), found
        assert "hifigan (natural log, silence -11.51)" in found


def test_other_conventions_are_no_flowavenet():
    log_mel = mel_of(HIFIGAN, recordings(HIFIGAN)["voiced with pauses"])
    magnitude, log10 = np.exp(log_mel), log_mel / math.log(10)
    for values, words in [
        (log_mel, "looks like a log-mel normalized otherwise, or not at all"),
        (2 * log10, "looks like a log-mel normalized otherwise, or not at all"),
        (20 * log10, "looks like dB"),
        (magnitude, "looks un-logged"),
        (magnitude**2, "looks un-logged"),
    ]:
        found = diagnose(values, FLOWAVENET)
        assert found is not None, words
        assert found.startswith(words), found
        assert "flowavenet (log10, normalized, silence 0.00)" in found


def test_a_floor_shows_in_some_bins_of_a_frame():
    log10 = mel_of(HIFIGAN, recordings(HIFIGAN)["sine"]) / math.log(10)
    assert (log10.max(axis=0) > -1).all()
    assert "looks like log10" in diagnose(log10, HIFIGAN)


def test_a_natural_log_is_named_where_another_is_asked_for():
    log_mel = mel_of(HIFIGAN, recordings(HIFIGAN)["voiced with pauses"])
    log10_spec = replace(HIFIGAN, log_base="10")
    assert "looks like a natural log" in diagnose(log_mel, log10_spec)
    assert "natural log of floor 1e-5" in diagnose(log_mel, replace(HIFIGAN, floor_value=1e-7))


# ---- Long waveforms --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hifigan", "tacotron2", "flowavenet", "vocos"])
@pytest.mark.parametrize("size", [999, 5000, 20_000])
def test_the_mel_of_blocks_is_that_of_the_whole(name, size):
    spec = preset(name)
    wav = torch.randn(2, 23_456, generator=torch.Generator().manual_seed(1)) * 0.1
    to_mel = MelSpectrogram(spec)
    longest = []
    to_mel.register_forward_hook(lambda module, given, result: longest.append(given[0].shape[-1]))
    mel = to_mel.of_blocks(wav.split(size, dim=-1))
    assert max(longest) <= size + 8 * (spec.n_fft + spec.hop)
    assert mel.shape == to_mel(wav).shape
    torch.testing.assert_close(mel, to_mel(wav), rtol=1e-4, atol=1e-4)


def test_a_long_waveforms_spectrum_is_never_held_whole(monkeypatch):
    monkeypatch.setattr("waveglow.audio.mel_spectrogram.BLOCK_SAMPLES", 5000)
    to_mel, longest = MelSpectrogram(preset("hifigan")), []
    to_mel.register_forward_hook(lambda module, given, result: longest.append(given[0].shape[-1]))
    assert to_mel.of_any_length(torch.randn(1, 50_000)).shape == (1, 80, 195)
    assert max(longest) < 20_000
