"""The published mel conventions, by name. A new one is an entry of `_SPECS`.

Each names the repository and the files that its numbers are from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from waveglow.audio.mel_spec import MelSpec
from waveglow.config import ConfigError, nearest

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


def assumed(name: str, spec: MelSpec) -> MelSpec:
    """The convention that a file is said to have: a preset, or "log10", which is `spec` in decimal logarithms.

    Raises ValueError as `preset` does.
    """
    if name != "log10":
        try:
            return preset(name)
        except ValueError as error:
            raise ValueError(f"{error}; or log10") from error
    floor = min(spec.floor_value, 1e-10)
    return replace(spec, log_base="10", floor_value=floor, mean=None, std=None, name=f"{spec.name} in log10")


def spec_of(convention: str | Mapping[str, Any]) -> MelSpec:
    """The convention of a preset's name, or of fields: all of them, or a `preset` and those that differ from it.

    Raises ValueError for an unknown preset, and for fields that are unknown, missing or don't fit.

    >>> spec_of({"preset": "hifigan", "fmax": 7600.0}).fmax
    7600.0
    """
    if isinstance(convention, str):
        return preset(convention)
    if not isinstance(convention, Mapping) or "preset" not in convention:
        try:
            return MelSpec.from_dict(convention)
        except ConfigError as error:
            raise ConfigError(f"{error}; or name the preset that it differs from, such as preset: hifigan") from error
    base = preset(str(convention["preset"]))
    changes = {key: value for key, value in convention.items() if key != "preset"}
    named = {"name": f"{base.name}, changed"} if changes else {}
    return MelSpec.from_dict({**base.to_dict(), **named, **changes})


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
    except Exception as error:  # numpy and zipfile raise nearly anything at a damaged file
        raise ValueError(f"{stats}: no ESPnet statistics with count, sum and sum_square ({error})") from error
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 1e-20))
    return replace(spec, mean=tuple(mean.ravel().tolist()), std=tuple(std.ravel().tolist()))
