"""A synthetic voice that babbles, as a corpus in LJSpeech's layout, so that the tests need no recordings.

    python demo_voice.py OUT_DIR [--clips 24] [--seed 0] [--sample-rate 22050]

Source and filter after Klatt, "Software for a cascade/parallel formant synthesizer", JASA 67(3), 1980: glottal pulses
and breath pass through a cascade of moving resonances; friction noise has a moving band of its own. The pulse is that
of Klatt and Klatt, JASA 87(2), 1990. Every random number comes from Philox keyed by (seed, clip), so a clip is bitwise
the same on every run of one machine. It is nobody's voice: nothing is recorded.

Shapes: S segments (parts of a phone), F frames of 5 ms, N samples.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile
from numpy.lib.stride_tricks import sliding_window_view

Array = npt.NDArray[np.float64]

F0_LOWEST, F0_HIGHEST = 90.0, 220.0  # Hz
CLIP_SECONDS = 2.1, 4.8
PEAK = 0.5
NOISE_FLOOR = 10 ** (-70 / 20)  # a real recording's pauses aren't digital silence either
FRAME_SECONDS = 0.005
OPEN_QUOTIENT = 0.6  # share of a period in which the glottis is open


class Segment(NamedTuple):
    """A part of a phone: what the source does and where the resonances lie."""

    seconds: float
    voice: float = 0.0  # levels: 1 is a vowel's voicing
    breath: float = 0.0
    hiss: float = 0.0
    hiss_hz: float = 3000.0  # centre and width of the friction noise
    hiss_width: float = 1500.0
    f1: float = 500.0  # formants in Hz
    f2: float = 1500.0
    f3: float = 2500.0


def _stop(hz: float, hiss_hz: float, hiss_width: float, *, murmur: float) -> tuple[Segment, ...]:
    """Closure, burst, and breath after it or (b, d, g) a murmur throughout; `hz` is the second formant's locus."""
    closure = Segment(0.06, voice=murmur, f1=200, f2=hz)
    burst = Segment(0.012, hiss=0.7, hiss_hz=hiss_hz, hiss_width=hiss_width, f1=300, f2=hz)
    release = Segment(0.01 if murmur else 0.04, voice=3 * murmur, breath=0.0 if murmur else 0.3, f1=350, f2=hz)
    return closure, burst, release


def _sound(seconds: float, voice: float, f1: float, f2: float, f3: float) -> tuple[Segment, ...]:
    return (Segment(seconds, voice=voice, breath=0.02, f1=f1, f2=f2, f3=f3),)


VOWELS = {  # formants after Peterson and Barney, JASA 24(2), 1952, men
    "a": _sound(0.13, 1.0, 730, 1090, 2440),
    "e": _sound(0.11, 1.0, 530, 1840, 2480),
    "i": _sound(0.10, 0.8, 270, 2290, 3010),
    "o": _sound(0.12, 1.0, 570, 840, 2410),
    "u": _sound(0.10, 0.8, 300, 870, 2240),
}
ONSETS = {  # x is the "sh" of "ship"
    "p": _stop(900, 900, 700, murmur=0.0),
    "t": _stop(1750, 4500, 2000, murmur=0.0),
    "k": _stop(1900, 2000, 700, murmur=0.0),
    "b": _stop(900, 900, 700, murmur=0.12),
    "d": _stop(1750, 4000, 2000, murmur=0.12),
    "g": _stop(1900, 1800, 700, murmur=0.12),
    "f": (Segment(0.09, hiss=0.15, hiss_hz=6500, hiss_width=4500, f1=300, f2=1100),),
    "s": (Segment(0.11, hiss=0.55, hiss_hz=7200, hiss_width=1800, f1=300, f2=1700),),
    "x": (Segment(0.11, hiss=0.6, hiss_hz=3600, hiss_width=1300, f1=300, f2=1900),),
    "h": (Segment(0.06, breath=0.4),),
    "v": (Segment(0.07, voice=0.3, hiss=0.08, hiss_hz=6000, hiss_width=4000, f1=280, f2=1100),),
    "z": (Segment(0.09, voice=0.3, hiss=0.35, hiss_hz=7000, hiss_width=1800, f1=280, f2=1700),),
    "w": _sound(0.06, 0.6, 300, 700, 2200),
    "y": _sound(0.06, 0.6, 280, 2250, 3000),
}
CODAS = {  # also onsets
    "m": _sound(0.07, 0.35, 260, 1000, 2200),
    "n": _sound(0.07, 0.35, 260, 1600, 2600),
    "l": _sound(0.06, 0.5, 360, 1200, 2700),
    "r": _sound(0.06, 0.6, 400, 1250, 1650),
}
PHONES = {**VOWELS, **ONSETS, **CODAS, " ": (), ",": (Segment(0.22),), ".": (Segment(0.18),)}


def render(seed: int, clip_index: int, sample_rate: int) -> tuple[npt.NDArray[np.float32], str]:
    """Samples [N] of one clip, 2 to 5 s with peak 0.5, and the phones it speaks.

    Raises ValueError if the sample rate is under 8000 Hz, or unless 0 <= seed, clip_index < 2**64.
    """
    if sample_rate < 8000:
        raise ValueError(f"sample_rate is {sample_rate} Hz; the third formant needs at least 8000")
    if not (0 <= seed < 2**64 and 0 <= clip_index < 2**64):
        raise ValueError(f"seed {seed} and clip_index {clip_index} must lie from 0 to 2**64 - 1")
    random = np.random.Generator(np.random.Philox(key=np.array([seed, clip_index], dtype=np.uint64)))
    text = _babble(random)
    controls, f0 = _controls(text, random)
    speech = _speech(controls, f0, sample_rate, random)
    speech *= (PEAK - 4 * NOISE_FLOOR) / np.abs(speech).max()
    return (speech + NOISE_FLOOR * random.standard_normal(speech.size)).astype(np.float32), text


def _babble(random: np.random.Generator) -> str:
    """Words of one to three syllables, e.g. `taso min, be lagu.`"""
    syllables, text = int(random.integers(9, 17)), ""
    while syllables > 0:
        word = [_syllable(random) for _ in range(min(syllables, int(random.integers(1, 4))))]
        syllables -= len(word)
        text += "".join(word) + (", " if syllables and random.random() < 0.15 else " ")
    return text.strip() + "."


def _syllable(random: np.random.Generator) -> str:
    onset, vowel, coda = random.choice([*ONSETS, *CODAS]), random.choice([*VOWELS]), random.choice([*CODAS])
    return f"{onset}{vowel}{coda if random.random() < 0.2 else ''}"


def _controls(text: str, random: np.random.Generator) -> tuple[Array, Array]:
    """The source's levels and bands and the formants, [F, 8], and the fundamental frequency in Hz, [F]."""
    segments = np.array([PHONES["."][0], *(part for phone in text for part in PHONES[phone])])  # (S, 9)
    seconds = segments[:, 0] * random.uniform(0.85, 1.25, len(segments))
    seconds *= np.clip(seconds.sum(), *CLIP_SECONDS) / seconds.sum()  # a hurried or a slow speaker
    frames = np.maximum(1, np.rint(seconds / FRAME_SECONDS)).astype(int)
    steps = np.repeat(segments[:, 1:], frames, axis=0)  # (F, 8)
    sources, formants = _smooth(steps[:, :5], 0.015), _smooth(steps[:, 5:], 0.07)  # gliding formants: coarticulation
    accent = _smooth(np.repeat(random.normal(0, 4, len(segments)), frames)[:, None], 0.18)[:, 0]  # semitones
    declination = np.linspace(4, -5, len(steps))
    f0 = np.clip(140 * 2 ** ((declination + accent) / 12), F0_LOWEST, F0_HIGHEST)
    return np.concatenate([sources, formants], axis=1), f0


def _smooth(values: Array, seconds: float) -> Array:
    """Moving average of [F, channels] over time, with a raised cosine of the given length."""
    window = np.hanning(2 * round(seconds / FRAME_SECONDS / 2) + 3)[1:-1]
    padded = np.pad(values, ((window.size // 2, window.size // 2), (0, 0)), mode="edge")
    smooth: Array = (sliding_window_view(padded, window.size, axis=0) * window).sum(axis=2) / window.sum()
    return smooth


def _speech(controls: Array, f0: Array, sample_rate: int, random: np.random.Generator) -> Array:
    """Samples [N] at any level: the sources, filtered in overlapping frames as their filters move."""
    hop = round(FRAME_SECONDS * sample_rate)
    size = 2 ** int(np.ceil(np.log2(9 * hop)))  # 4 hops of signal and 5 for the filter to ring
    at = np.arange(len(f0) * hop) / hop  # samples' places in frames
    voice, breath, hiss, hiss_hz, hiss_width, *_ = controls.T
    pulses, opening = _glottis(np.interp(at, np.arange(len(f0)), f0), sample_rate, random)
    level = [np.interp(at, np.arange(len(f0)), values) for values in (voice, breath, hiss)]
    noise = random.standard_normal((2, at.size))
    throat = level[0] * pulses + level[1] * (0.3 + opening) * noise[0]
    frequencies = np.fft.rfftfreq(size, 1 / sample_rate)
    band = np.exp(-0.5 * ((frequencies - hiss_hz[:, None]) / hiss_width[:, None]) ** 2)
    tract = _tract(controls[:, 5:], frequencies, sample_rate)
    spectrum = tract * _frames(throat, hop, size) + band * _frames(level[2] * noise[1], hop, size)
    speech = np.zeros(at.size + size)
    for index, frame in enumerate(np.fft.irfft(spectrum, size)):
        speech[index * hop : index * hop + size] += frame
    return speech[2 * hop : 2 * hop + at.size]


def _glottis(f0: Array, sample_rate: int, random: np.random.Generator) -> tuple[Array, Array]:
    """Pulses (the flow's slope) and the opening itself, [N] each, with jitter of 0.7 % and shimmer of 4 %."""
    phase = np.cumsum(f0) / sample_rate
    cycles = np.arange(int(phase[-1]) + 3)
    phase = np.interp(phase, cycles + 0.005 * random.standard_normal(cycles.size), cycles)
    cycle = phase.astype(int)
    open_part = np.minimum((phase - cycle) / OPEN_QUOTIENT, 1)
    flow = 6.75 * open_part**2 * (1 - open_part) * (1 + 0.04 * random.standard_normal(cycles.size))[cycle]
    # A difference of the flow, not its derivative: the mean over a sample, which aliases less at the closure.
    return np.diff(flow, append=flow[-1]) * sample_rate / f0 / 10, flow


def _frames(signal: Array, hop: int, size: int) -> npt.NDArray[np.complex128]:
    """Spectra [F, size // 2 + 1] of windowed frames, frame i centred on sample i · hop, that add up to the signal."""
    window = np.hanning(4 * hop + 1)[:-1] / 2
    windows = sliding_window_view(np.pad(signal, (2 * hop, hop)), 4 * hop)[::hop]
    return np.fft.rfft(windows * window, size)


def _tract(formants: Array, frequencies: npt.NDArray[np.floating], sample_rate: int) -> npt.NDArray[np.complex128]:
    """Response [F, len(frequencies)] of a cascade: the formants [F, 3] and a uniform tube's above them."""
    upper = np.arange(3500.0, sample_rate / 2, 1000) * (formants[:, 2:] / 2500) ** 0.25
    delay = np.exp(-2j * np.pi * frequencies / sample_rate)
    response = np.ones((len(formants), frequencies.size), dtype=np.complex128)
    for centre in np.concatenate([formants, upper], axis=1).T[:, :, None]:
        radius = np.exp(-np.pi * (60 + 0.04 * centre) / sample_rate)
        pole = 2 * radius * np.cos(2 * np.pi * centre / sample_rate)
        response *= (1 - pole * delay + radius**2 * delay**2) / (1 - pole + radius**2)
    return 1 / response


def write_corpus(out: Path, clips: int, *, seed: int, sample_rate: int) -> None:
    """`out/wavs/DV001-0001.wav` ... and `out/metadata.csv` with `id|text|normalized text`, as LJSpeech has them."""
    (out / "wavs").mkdir(parents=True, exist_ok=True)
    rows = []
    for clip in range(1, clips + 1):
        samples, text = render(seed, clip, sample_rate)
        name = f"DV001-{clip:04d}"
        soundfile.write(out / "wavs" / f"{name}.wav", samples, sample_rate, subtype="PCM_16")
        rows.append(f"{name}|{text}|{text}\n")
    (out / "metadata.csv").write_text("".join(rows), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sample-rate", type=int, default=22050, help="in Hz (%(default)s)")
    args = parser.parse_args()
    write_corpus(args.out, args.clips, seed=args.seed, sample_rate=args.sample_rate)


if __name__ == "__main__":
    main()
