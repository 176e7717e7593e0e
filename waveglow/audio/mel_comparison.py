"""Whether mels of one convention serve a model of another, and their conversion where they do.

F: frames. Mels are `[n_mels, F]`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from waveglow.audio.mel_spec import Array, MelSpec, from_nats, to_nats


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

    >>> from waveglow.audio.mel import preset
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
