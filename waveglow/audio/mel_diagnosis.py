"""Can these values come from that mel convention? Looks for values that no waveform in [-1, 1] has: too
low, too loud, or cut off at another convention's floor."""

from __future__ import annotations

import math
import warnings
from functools import lru_cache

import numpy as np

from waveglow.audio.mel_spec import Array, MelSpec, filterbank, to_nats

BELOW_FLOOR_NATS = 3.0  # of amplitude; predicted mels undershoot, by less
LOUDEST_RMS = 1.5  # full scale is 1; predicted mels overshoot, by less
FLAT_BINS = 4  # bins of one frame on one value: a floor, by chance never
SLOPES = (0.6, 1.6)  # of a predicted mel against its recording's, in the same logarithm
QUIET_VALUE = -0.5  # of silence, at most, where values that are all positive tell of a missing log


def diagnose(mel: Array, spec: MelSpec) -> str | None:
    """None for values that a recording, silence, noise or a prediction may have under `spec`, else what they look like.

    Conservative: a decimal log-mel of a noisy recording passes for a natural one of a louder; `suspect` tells more.
    `mel [n_mels, F]`, finite.
    """
    log_mel = to_nats(np.asarray(mel, np.float64), spec)
    looks = _too_low(mel, log_mel, spec) or _cut_elsewhere(mel, spec) or _too_loud(mel, log_mel, spec)
    if looks is None:
        return None
    return f"looks {looks}: the values are {mel.min():.4g}..{mel.max():.4g}, that is not {_words(spec)}"


def suspect(mel: Array, spec: MelSpec) -> str | None:
    """Why a mel `[n_mels, F]` of natural logarithms may be one of decimal ones; None where nothing speaks for it.

    No more than a suspicion: in a recording even the stillest frames differ by what chance makes of noise, and decimal
    logarithms are smaller than that, but so are mels that were predicted from noisy recordings. Of what moves as speech
    does, and only there.
    """
    apart = spec.n_fft // spec.hop  # frames that share no sample
    if spec.log_base != "e" or spec.mean is not None or mel.shape[1] < apart + LEAST_FRAMES:
        return None
    above = mel > spec.silence + 0.05
    heard = (above[:, apart:] & above[:, :-apart]).mean(0) > 0.5
    if np.count_nonzero(heard) < LEAST_FRAMES:
        return None
    stillest = _stillest(np.abs(mel[:, apart:] - mel[:, :-apart])[:, heard])
    loudness = np.quantile(mel.mean(0), [0.05, 0.95])
    swing, movement = float(loudness[1] - loudness[0]), float(np.median(mel.std(1)))
    if stillest >= NEARLY * _of_noise(spec) or not SPEECH_SWING[0] <= swing <= SPEECH_SWING[1] or movement > MOVEMENT:
        return None
    return (
        f"may be log10 instead of natural log, likely but not sure: its stillest frames differ by {stillest:.2f}, "
        f"those of noise by {_of_noise(spec):.2f}; its loudness swings by {swing:.1f}, that of clean speech by 3 to 6"
    )


LEAST_FRAMES = 40
NEARLY = 0.95
SPEECH_SWING = (0.9, 3.0)  # nats between quiet and loud frames; clean speech has 3 to 6, log10 of it 1.3 to 2.8
MOVEMENT = 1.2  # nats, standard deviation of a band; clean speech has 1.4 to 2.6


def _stillest(differences: Array) -> float:
    return float(np.quantile(np.median(differences, 0), 0.1))


@lru_cache(maxsize=32)
def _of_noise(spec: MelSpec) -> float:
    """How far frames of white noise are apart where they are apart least, by `_stillest`."""
    frames = np.random.default_rng(0).standard_normal((128, spec.win)) * np.hanning(spec.win + 1)[:-1]
    magnitudes = np.abs(np.fft.rfft(frames, spec.n_fft)).T ** spec.power
    log_mel = np.log(np.maximum(filterbank(spec) @ magnitudes, 1e-12))
    return _stillest(np.abs(log_mel[:, :64] - log_mel[:, 64:]))


def require_plausible(mel: Array, spec: MelSpec) -> None:
    """Raises ValueError where `diagnose` says what a mel `[n_mels, F]` looks like instead; warns of a suspicion."""
    if looks := diagnose(mel, spec):
        raise ValueError(
            f"the mel {looks}; convert it (waveglow.audio.mel.convert), or give check=False where it is meant so"
        )
    if looks := suspect(mel, spec):
        warnings.warn(f"the mel {looks}; if so, multiply it by ln 10, if not, give check=False", stacklevel=5)


def diagnose_beside(mel: Array, own: Array) -> str | None:
    """None for a mel that follows the one of its recording, `own`, else what it looks like. Both [n_mels, F].

    Told by the slope of the values against the recording's: predicted mels are smoother, by less.
    """
    spread = float(np.var(own))
    slope = float(np.mean((mel - mel.mean()) * (own - own.mean()))) / spread if spread else 1.0
    if SLOPES[0] <= slope <= SLOPES[1]:
        return None
    scales = {1 / math.log(10): "log10", 10 / math.log(10): "dB (10·log10)", 20 / math.log(10): "dB (20·log10)"}
    nearest = min(scales, key=lambda scale: abs(math.log(max(slope, 1e-9) / scale)))
    what = f"like {scales[nearest]}" if abs(slope / nearest - 1) < 0.2 else "normalized, or of another recording"
    return f"looks {what}: its values follow those of the recording with a slope of {slope:.2f} instead of 1"


def _words(spec: MelSpec) -> str:
    log = "natural log" if spec.log_base == "e" else "log10"
    return (
        f"{spec.name or 'the mel asked for'} ({log}{', normalized' if spec.mean else ''}, silence {spec.silence:.2f})"
    )


def _too_low(mel: Array, log_mel: Array, spec: MelSpec) -> str | None:
    """Against the lowest value of the convention; the 1st percentile, so that no single value decides."""
    if np.quantile(log_mel, 0.01) >= math.log(spec.floor_value) - spec.power * BELOW_FLOOR_NATS:
        return None
    if mel.min() < -20:
        return "like dB (20·log10)"
    if spec.mean:
        return "like a log-mel normalized otherwise, or not at all"
    if spec.log_base == "10":
        return "like a natural log"
    return "like a log-mel of a lower floor (vocos: -16.12)"


def _too_loud(mel: Array, log_mel: Array, spec: MelSpec) -> str | None:
    """Against the loudness of the waveform, which the mel implies by Parseval's theorem."""
    low, high, rms = mel.min(), mel.max(), _implied_rms(log_mel, spec)
    if low >= 0 and np.median(mel) < 0.05 * high and (spec.silence < QUIET_VALUE or rms > LOUDEST_RMS):
        return "un-logged"
    if low >= 0 and 0.5 < high <= 1 and rms > 0.8:
        return "like 0..1 normalized"
    if rms <= LOUDEST_RMS:
        return None
    if abs(mel.mean()) < 0.7 and 0.5 < mel.std() < 2:
        return "like z-normalized (mean 0, deviation 1)"
    return "like dB (20·log10)" if high > 10 or low < -20 else "louder than full scale"


def _implied_rms(log_mel: Array, spec: MelSpec) -> float:
    """RMS of the waveform, at least: Σ|X|² = n_fft Σ window² rms², |X| or |X|² averaged by each filter."""
    weights = filterbank(spec)
    area = weights.sum(1)
    bins = (weights > 0).sum(1) / 2  # each FFT bin is in two filters
    seen = area > 0
    squared = (np.exp(np.minimum(log_mel[seen], 50)) / area[seen, None]) ** (2 / spec.power)
    power = 2 * (bins[seen, None] * squared).sum(0).mean()  # both halves of the spectrum
    return float(np.sqrt(power / (spec.n_fft * 0.375 * spec.win)))  # the mean of hann² is 3/8


def _cut_elsewhere(mel: Array, spec: MelSpec) -> str | None:
    """Against the floors of other conventions: several bins of the lowest frame on exactly such a value, not all."""
    low = mel.min()
    frame = mel[:, np.unravel_index(mel.argmin(), mel.shape)[1]]
    if np.count_nonzero(frame <= low + 1e-4) < FLAT_BINS or spec.mean is not None or mel.max() <= low + 1e-4:
        return None
    floors = {
        math.log(1e-5): "like a natural log of floor 1e-5 (Tacotron 2, HiFi-GAN)",
        -5.0: "like log10 of floor 1e-5",
        -10.0: "like log10 (ESPnet/ParallelWaveGAN)",
        -4.0: "like -4..4 normalized",
    }
    nearest = min(floors, key=lambda floor: abs(floor - low))
    own = abs(low - spec.silence) < 0.1
    return floors[nearest] if abs(low - nearest) < 2e-3 and not own else None
