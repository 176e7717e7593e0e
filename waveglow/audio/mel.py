"""Log-mel spectrograms and the conventions that acoustic models and vocoders meet on.

A mel is only as good as the agreement on it: one name covers natural and decimal logarithms, two mel scales and frames
half a hop apart. `MelSpec` writes a convention down, `preset` names the published ones, `compare` tells whether two can
meet, `diagnose` whether values can come from a convention at all.

F: frames. Mels are `[n_mels, F]`.
"""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from waveglow.audio.mel_diagnosis import diagnose
from waveglow.audio.mel_spec import Array, MelSpec, filterbank, from_nats, to_nats
from waveglow.config import nearest

__all__ = [
    "PRESETS",
    "Comparison",
    "MelSpec",
    "compare",
    "convert",
    "diagnose",
    "filterbank",
    "preset",
]


_TACOTRON2 = MelSpec(  # NVIDIA/tacotron2: layers.py, stft.py, audio_processing.py
    name="nvidia/tacotron2",
    sample_rate=22_050,
    n_fft=1024,
    hop=256,
    win=1024,
    n_mels=80,
    fmin=0.0,
    fmax=8000.0,
    mel_scale="slaney",
    mel_norm="slaney",
    pad_left=512,
    pad_right=512,
)
_HIFIGAN = replace(  # jik876/hifi-gan: meldataset.py
    _TACOTRON2, name="hifigan", pad_left=384, pad_right=384, guard="add", guard_value=1e-9, peak_policy="peak 0.95"
)
# NVIDIA/BigVGAN: meldataset.py, configs/*.json
_BIGVGAN = replace(_HIFIGAN, name="bigvgan-22k-80", fmax=None)
_BIGVGAN_44K = replace(_BIGVGAN, name="bigvgan-44k-256", sample_rate=44_100, n_mels=128)
_ESPNET = replace(  # espnet: log_mel_fbank.py, log_mel.py, stft.py, egs2/ljspeech
    _TACOTRON2,
    name="espnet",
    fmin=80.0,
    fmax=7600.0,
    guard="clamp",
    guard_value=1e-10,
    log_base="10",
    floor_value=1e-10,
    layout="TC",
)
_FLOWAVENET = replace(  # ksw0306/FloWaveNet: preprocessing.py, of librosa's defaults when it padded by reflection
    _TACOTRON2,
    name="flowavenet",
    fmin=125.0,
    fmax=7600.0,
    power=2,
    log_base="10",
    floor_value=1e-4,
    ceiling_value=10.0,
    mean=(-4.0,),  # (log10(mel) + 4) / 5 is its (20·log10(mel) − 20 + 100) / 100
    std=(5.0,),
    layout="TC",
    peak_policy="peak 0.999",
)
_SPECS = (
    _TACOTRON2,
    _HIFIGAN,
    replace(_HIFIGAN, name="matcha", peak_policy="none"),  # Matcha-TTS returns mels denormalized: HiFi-GAN's
    _BIGVGAN,
    replace(_BIGVGAN, name="bigvgan-24k", sample_rate=24_000, n_mels=100),
    _BIGVGAN_44K,
    replace(_BIGVGAN_44K, name="bigvgan-44k-512", n_fft=2048, hop=512, win=2048, pad_left=768, pad_right=768),
    replace(  # gemelo-ai/vocos: feature_extractors.py, of torchaudio's defaults
        _TACOTRON2,
        name="vocos",
        sample_rate=24_000,
        n_mels=100,
        fmax=None,
        mel_scale="htk",
        mel_norm=None,
        floor_value=1e-7,
        peak_policy="random gain, peak -6 to -1 dB",
    ),
    _ESPNET,
    _FLOWAVENET,
)
_ALIASES = {
    "tacotron2": "nvidia/tacotron2",
    "waveglow": "nvidia/tacotron2",
    "speechbrain": "nvidia/tacotron2",
    "hifigan-univ": "hifigan",
}
PRESETS = tuple(spec.name for spec in _SPECS)


def preset(name: str, *, stats: Path | str | None = None) -> MelSpec:
    """A published convention; PRESETS lists them. `stats`: the feats_stats.npz of an ESPnet model, for "espnet" alone;
    from the shell it is part of the name, "espnet:feats_stats.npz".

    Raises ValueError for an unknown name, statistics that are missing, unreadable or not asked for.

    >>> preset("waveglow").name
    'nvidia/tacotron2'
    """
    if name.startswith("espnet:"):
        name, _, stats = name.partition(":")
    specs = {spec.name: spec for spec in _SPECS}
    known = specs | {alias: specs[target] for alias, target in _ALIASES.items()}
    if name not in known:
        raise ValueError(f"unknown mel preset {name!r}{nearest(name, known)}")
    if name == "espnet":
        return _with_statistics(_ESPNET, stats)
    if stats is not None:
        raise ValueError(f"mel preset {name!r} has no statistics; leave {stats} out, only 'espnet' takes such a file")
    return known[name]


def _with_statistics(spec: MelSpec, stats: Path | str | None) -> MelSpec:
    """ESPnet's global normalization: `count`, `sum` and `sum_square` of every bin over the training data."""
    if stats is None:
        raise ValueError(
            "mel preset 'espnet' needs the model's statistics, the file feats_stats.npz that ESPnet keeps with it; "
            "give its path in the name: espnet:feats_stats.npz"
        )
    try:
        with np.load(stats, allow_pickle=False) as file:
            count, total, squares = (np.asarray(file[key], np.float64) for key in ("count", "sum", "sum_square"))
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{stats}: no ESPnet statistics with count, sum and sum_square ({error})") from error
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 1e-20))
    return replace(spec, mean=tuple(mean.ravel().tolist()), std=tuple(std.ravel().tolist()))


@dataclass(frozen=True)
class Comparison:
    """Whether mels of one convention serve a model of another, and why.

    kind: "equal"; "convertible" exactly by `convert`; "shifted", convertible but for the frames' position, which
    delays the audio by `shift_samples`; "incompatible".
    """

    kind: Literal["equal", "convertible", "shifted", "incompatible"]
    reason: str
    shift_samples: int = 0


_PADDING = ("pad_left", "pad_right", "pad_mode")
_CONVERTIBLE = ("log_base", "mean", "std", "layout")


def compare(a: MelSpec, b: MelSpec) -> Comparison:
    """Can a model of mels `b` be fed mels `a`? The direction counts for floor and ceiling: what `a` cut off is lost.

    Measured on HiFi-GAN against Tacotron 2: mean difference 0.15 nats as they are, 0.000 after a shift by hop / 2.

    >>> compare(preset("tacotron2"), preset("hifigan")).kind
    'shifted'
    """
    if a.fingerprint == b.fingerprint:
        return Comparison("equal", "the same convention")
    left, right = a._canonical(), b._canonical()
    differing = [name for name in left if left[name] != right[name]]
    harmless = {*_PADDING, *_CONVERTIBLE, *_harmless_levels(a, b)}
    fatal = [name for name in differing if name not in harmless]
    if fatal:
        return Comparison("incompatible", _difference(a, b, fatal))
    reason = _difference(a, b, differing)
    if not set(differing) & set(_PADDING):
        return Comparison("convertible", reason)
    shift = b.pad_left - a.pad_left
    position = f"frames shifted by {shift} samples" + (" (hop/2)" if 2 * abs(shift) == a.hop else "")
    return Comparison("shifted", f"{position}; {reason}", shift)


def _harmless_levels(a: MelSpec, b: MelSpec) -> set[str]:
    """The fields of guard, floor and ceiling whose difference `convert` makes up for, or that no value shows."""
    names = set()
    if a.floor == b.floor == "clamp" and a.floor_value <= b.floor_value:
        names.add("floor_value")
    if _ceiling(a) >= _ceiling(b):
        names.add("ceiling_value")
    if _guard_is_hidden(a) and _guard_is_hidden(b):
        names |= {"guard", "guard_value"}
    return names


def _guard_is_hidden(spec: MelSpec) -> bool:
    """Whether silence lies on the floor, guard or not."""
    return bool(spec._silent_mel().max() <= spec.floor_value)


def _ceiling(spec: MelSpec) -> float:
    return math.inf if spec.ceiling_value is None else spec.ceiling_value


def _difference(a: MelSpec, b: MelSpec, names: list[str]) -> str:
    return f"{a.name or 'a'} against {b.name or 'b'}: " + "; ".join(
        f"{name} {_short(getattr(a, name))} against {_short(getattr(b, name))}" for name in names
    )


def _short(value: Any) -> str:
    return f"{len(value)} values" if isinstance(value, tuple) and len(value) > 1 else f"{value}"


def convert(mel: Array, a: MelSpec, b: MelSpec) -> Array:
    """Values and layout of `a` to those of `b`, `mel [..., n_mels, F]` or as the layouts say.

    Raises ValueError where `compare` finds them incompatible. A shift is left in: it costs position, not quality.
    """
    found = compare(a, b)
    if found.kind == "incompatible":
        raise ValueError(f"a mel can't be converted: {found.reason}")
    if found.kind == "equal":
        return mel
    log_mel = to_nats(mel.swapaxes(-1, -2) if a.layout == "TC" else mel, a)
    low = math.log(b.floor_value) if a.floor_value < b.floor_value else -math.inf
    high = math.log(_ceiling(b)) if _ceiling(a) > _ceiling(b) else math.inf
    result = from_nats(np.clip(log_mel, low, high), b).astype(mel.dtype, copy=False)
    return result.swapaxes(-1, -2) if b.layout == "TC" else result
