"""Audio files to float32 samples and back. libsndfile decodes; broken files are refused by name.

T: samples. Samples are float32 in [-1, 1], one channel.
"""

from __future__ import annotations

import io
import math
import os
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from waveglow.audio.containers import Claim, claim
from waveglow.audio.files import FileError, unusable, write_atomically
from waveglow.audio.resampling import SAMPLE_RATES
from waveglow.audio.spans import Span
from waveglow.config import require_known

Samples = npt.NDArray[np.float32]
File = Path | str | Span
Channel = Literal["mix", "left", "right"]
CHANNELS: tuple[Channel, ...] = get_args(Channel)

NORMALIZED_PEAK = 0.95  # as HiFi-GAN scales its recordings
OVERSHOOT = 1e-3  # above 1, what strict reading still takes for rounding
CANCELLED_DB, QUIETER_DB = 40.0, 12.0  # what mixing takes off: recordings lose 0 to 3 dB, unrelated channels 3
UNSCALED = 8.0  # 18 dB above full scale, where no program leaves audio: a peak above is of another scale
BLOCK_FRAMES = 1 << 18
UNKNOWN_FRAMES = 1 << 62  # libsndfile's number for a FLAC that was written to a pipe is beyond
CUT_ANYWHERE = {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}


class AudioError(FileError):
    """A file that can't be used as audio."""


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says. `missing_bytes`: what it promises beyond the file's end. `exact`: any segment can be
    read by seeking, and is that of the whole."""

    sample_rate: int
    frames: int
    channels: int
    encoding: str
    missing_bytes: int = 0
    exact: bool = True

    @property
    def seconds(self) -> float:
        return self.frames / self.sample_rate


@dataclass(frozen=True)
class Audio:
    """`samples [T]` at `sample_rate` Hz; `notices` tell what was done to them beyond decoding."""

    samples: Samples
    sample_rate: int
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class LongAudio:
    """A file that was decoded and found usable, and is decoded again, block by block, by whoever iterates over it:
    the blocks [T_i] are together the samples that `load_audio` gives, in the memory of one of them.
    """

    path: Path
    sample_rate: int
    channel: Channel | None
    seconds: float
    silent: bool
    notices: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Samples]:
        with _opened(self.path) as (sound, info):
            to_rate = soxr.ResampleStream(info.sample_rate, self.sample_rate, 1, dtype="float32", quality="HQ")
            one_channel = (_one_channel(self.path, block, self.channel) for block in _blocks(sound, info.frames))
            blocks = (np.clip(block, -1, 1) for block in one_channel)
            if info.sample_rate == self.sample_rate:
                yield from blocks
                return
            for block in blocks:
                yield np.clip(to_rate.resample_chunk(block), -1, 1)
            yield np.clip(to_rate.resample_chunk(np.empty(0, np.float32), last=True), -1, 1)


def probe(path: File) -> AudioInfo:
    """The header of an audio file, with no sample decoded. Raises AudioError."""
    with _opened(path) as (_, info):
        return info


def load_audio(
    path: File,
    *,
    sample_rate: int | None = None,
    channel: Channel | None = "mix",
    normalize: bool = False,
    strict: bool = False,
) -> Audio:
    """Decode a whole file to mono.

    Args:
        sample_rate: Hz to resample to (soxr, HQ); None keeps the file's.
        channel: which of several to take, "mix" their mean; None refuses a file of more than one.
        normalize: scale to a peak of 0.95; else samples beyond [-1, 1] are clipped, with a notice.
        strict: refuse, instead of a notice, a file shorter than its header says or samples beyond 1.001.

    Raises:
        AudioError: no regular file, empty, undecodable, NaN or infinite, channels that leave nothing when mixed,
            samples of an integer's range, or out of the limits above.
    """
    require_known("channel", channel, (*get_args(Channel), None))
    with _opened(path) as (sound, info):
        heard = _Heard(Path(path), info, channel)
        samples = _joined([heard.one_channel(block) for block in _blocks(sound, info.frames)])
    notices = heard.notices(sample_rate, normalize=normalize, strict=strict)
    if normalize:
        samples *= NORMALIZED_PEAK / heard.peak if heard.peak else 1
    else:
        np.clip(samples, -1, 1, out=samples)
    if sample_rate is not None and sample_rate != info.sample_rate:
        samples = _resampled(path, samples, info.sample_rate, sample_rate)
        # Resampling rings beyond full scale next to an edge: no fault of the file, so no notice.
        samples = _scaled(samples) if normalize else np.clip(samples, -1, 1, out=samples)
    return Audio(samples, sample_rate or info.sample_rate, tuple(notices))


def load_long(path: File, *, sample_rate: int, channel: Channel | None = "mix", strict: bool = False) -> LongAudio:
    """What `load_audio` gives and refuses, for recordings of hours: the file is decoded twice, and never held whole."""
    require_known("channel", channel, (*get_args(Channel), None))
    with _opened(path) as (sound, info):
        heard = _Heard(Path(path), info, channel)
        for block in _blocks(sound, info.frames):
            heard.one_channel(block)
    notices = heard.notices(sample_rate, normalize=False, strict=strict)
    seconds = heard.frames / info.sample_rate
    return LongAudio(Path(path), sample_rate, channel, seconds, heard.peak == 0, tuple(notices))


def read_segment(path: File, start: int, frames: int) -> Samples:
    """`frames` samples from `start` of a mono file, read by seeking. Returns [frames].

    Raises AudioError where the file ends before, has more channels, or holds what `load_audio(strict=True)` refuses.
    """
    with _opened(path) as (sound, info):
        if start < 0 or frames < 1 or start + frames > info.frames:
            raise AudioError(path, f"has {info.frames} samples, none for the segment {start}..{start + frames}")
        _seek(sound, start)
        heard = _Heard(Path(path), info, None, start=start)
        segment = _joined([heard.one_channel(block) for block in _blocks(sound, frames)])
    if len(segment) != frames:
        raise AudioError(path, f"ends {frames - len(segment)} samples before the end of {start}..{start + frames}")
    heard.over_full_scale(strict=True)
    return np.clip(segment, -1, 1, out=segment)


def save_audio(path: Path | str, samples: npt.NDArray[Any], sample_rate: int) -> int:
    """Write `samples [T]` as 16-bit PCM WAV, whole or not at all. Returns how many beyond [-1, 1] were clipped.

    Raises AudioError for a suffix that isn't .wav, another shape, NaN or infinity; OutputError where it can't be
    written.
    """
    path, samples = Path(path), np.asarray(samples)
    if path.suffix.lower() != ".wav":
        raise AudioError(path, "only WAV is written; end the name in .wav")
    if samples.ndim != 1 or not samples.size:
        raise AudioError(path, f"samples of shape {samples.shape} can't be written; one channel [T] is needed")
    _require_finite(path, samples)
    buffer, clipped = io.BytesIO(), 0
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, sample_rate, len(samples), "NONE", ""))
        for start in range(0, len(samples), BLOCK_FRAMES):  # hours of audio are not copied several times over
            block = samples[start : start + BLOCK_FRAMES]
            file.writeframesraw(pcm16(block).tobytes())
            clipped += int(np.count_nonzero(np.abs(block) > 1))
    write_atomically(path, buffer.getbuffer())
    return clipped


def pcm16(samples: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    """Samples in [-1, 1] to the nearest of 16 bits, little-endian; what is beyond is clipped."""
    return np.clip(np.rint(samples * 32768.0), -32768, 32767).astype("<i2")


@contextmanager
def _opened(path: File) -> Iterator[tuple[soundfile.SoundFile, AudioInfo]]:
    content = _content(path) if isinstance(path, Span) else None
    if content is None and (reason := unusable(Path(path))):  # before opening: a FIFO would block
        raise AudioError(path, reason)
    if Path(path).suffix.lower() == ".raw":
        raise AudioError(path, "samples without a header can't be read; convert the file to WAV")
    try:
        with open(path, "rb") if content is None else io.BytesIO(content) as raw:
            claimed = claim(raw)
        with soundfile.SoundFile(_source(path, content, claimed)) as sound:
            known = sound.frames < UNKNOWN_FRAMES
            if not known:
                sound.seekable = lambda: False  # libsndfile says it can, and then can't
            exact = known and claimed.blank is None and sound.subtype in CUT_ANYWHERE and sound.seekable()
            info = AudioInfo(sound.samplerate, sound.frames, sound.channels, sound.subtype, claimed.missing, exact)
            _require_usable(path, info)
            yield sound, info
    except OSError as error:
        raise AudioError(path, f"can't be read ({error.strerror})") from error
    except soundfile.LibsndfileError as error:
        said = error.error_string.strip(" .")
        size = os.path.getsize(path) if content is None else len(content)
        reason = "empty file" if size == 0 else f"no audio that can be decoded ({said})"
        raise AudioError(path, reason) from error


def _content(span: Span) -> bytes:
    """Of a file in a shard. Raises AudioError."""
    try:
        return span.read_bytes()
    except FileError as error:
        raise AudioError(span, error.reason) from error
    except OSError as error:
        raise AudioError(span, f"can't be read ({error.strerror})") from error


def _source(path: File, content: bytes | None, claimed: Claim) -> str | bytes | BinaryIO:
    """What libsndfile opens: the file by its name's bytes, which need be no UTF-8, or its content with a blank filled.

    By Unicode on Windows alone, where names are that.
    """
    if claimed.blank is None and content is not None:
        return io.BytesIO(content)
    if claimed.blank is None:
        return os.fspath(path) if os.name == "nt" else os.fsencode(path)
    filled = bytearray(Path(path).read_bytes() if content is None else content)
    filled[claimed.blank : claimed.blank + 4] = min(len(filled) - claimed.blank - 4, 0xFFFFFFFF).to_bytes(4, "little")
    return io.BytesIO(filled)


def _require_usable(path: File, info: AudioInfo) -> None:
    if info.sample_rate not in SAMPLE_RATES:
        limits = f"{SAMPLE_RATES[0]}..{SAMPLE_RATES[-1]} Hz"
        raise AudioError(path, f"the header says {info.sample_rate} Hz; accepted: {limits}")
    if info.frames < 1:
        raise AudioError(path, "holds 0 samples")


def _blocks(sound: soundfile.SoundFile, frames: int) -> Iterator[Samples]:
    """The next [T_i, channels], together at most `frames`: what a header claims is not allocated before it is there."""
    while frames > 0 and len(block := sound.read(min(frames, BLOCK_FRAMES), dtype="float32", always_2d=True)):
        yield block
        frames -= len(block)


def _seek(sound: soundfile.SoundFile, start: int) -> None:
    if sound.seekable():
        sound.seek(start)
    else:
        for _ in _blocks(sound, start):
            pass


def _joined(blocks: list[Samples]) -> Samples:
    """One array; each block is given back as soon as it is copied."""
    at = sum(map(len, blocks))
    samples = np.empty(at, np.float32)
    while blocks:
        block = blocks.pop()
        samples[at - len(block) : at] = block
        at -= len(block)
    return samples


class _Heard:
    """What is to be known of a recording, once all of its blocks were heard, from frame `start` on."""

    def __init__(self, path: Path, info: AudioInfo, channel: Channel | None, *, start: int = 0) -> None:
        self.path, self.info, self.channel, self.start = path, info, channel, start
        self.frames, self.peak, self.beyond = 0, 0.0, 0
        self.energy = np.zeros(info.channels)  # of each channel
        self.mixed_energy = 0.0

    def one_channel(self, frames: Samples) -> Samples:
        """[T_i, channels] to [T_i]. Raises AudioError."""
        samples = _one_channel(self.path, frames, self.channel)
        _require_finite(self.path, samples, start=self.start + self.frames)
        self.frames += len(frames)
        self.peak = max(self.peak, float(samples.max()), -float(samples.min()))
        self.beyond += int(np.count_nonzero(np.abs(samples) > 1)) if self.peak > 1 else 0
        if self.info.channels > 1:
            self.energy += np.square(frames, dtype=np.float64).sum(axis=0)
            self.mixed_energy += float(np.square(samples, dtype=np.float64).sum())
        return samples

    def notices(self, sample_rate: int | None, *, normalize: bool, strict: bool) -> list[str]:
        """Of the whole, at this rate. Raises AudioError."""
        if not self.frames:
            raise AudioError(self.path, "holds 0 samples")
        notices = _shortfall(self.path, self.info, self.frames, strict=strict)
        if self.info.channels > 1:
            notices.append(f"{self.info.channels} channels, used: {self.channel}")
        if self.info.channels > 1 and self.channel == "mix":
            notices += self._lost_in_the_mix()
        if not normalize:
            notices += self.over_full_scale(strict=strict)
        if sample_rate is not None and sample_rate != self.info.sample_rate:
            notices.append(f"resampled from {self.info.sample_rate} to {sample_rate} Hz")
        return notices

    def over_full_scale(self, *, strict: bool) -> list[str]:
        """Whether samples are beyond it. Raises AudioError where they are of another scale."""
        if self.peak <= 1:
            return []
        reason = f"samples reach {self.peak:.4g}, full scale is 1"
        if self.peak > UNSCALED:
            bits = next((n for n in (16, 24, 32) if self.peak <= 2 ** (n - 1)), None)
            whole = (
                f": those of {bits} bits as whole numbers? Divide by {2 ** (bits - 1)}" if bits else "; scale the file"
            )
            raise AudioError(self.path, f"{reason}{whole}")
        if strict and self.peak > 1 + OVERSHOOT:
            raise AudioError(self.path, f"{reason}; scale the file to at most 1")
        return [f"{reason}: {self.beyond} were clipped; scale the file to at most 1 instead"]

    def _lost_in_the_mix(self) -> list[str]:
        """What the mean of channels lacks of them: opposite ones leave nothing. Raises AudioError."""
        power, mixed = self.energy / self.frames, self.mixed_energy / self.frames
        loss = 10 * math.log10(max(power.mean(), 1e-30) / max(mixed, 1e-30))
        way_out = "choose the channel left or right" if len(power) == 2 else "convert it to mono"
        if power.any() and loss > CANCELLED_DB:
            raise AudioError(self.path, f"its channels are opposite, and mixed they leave silence; {way_out}")
        if len(power) == 2 and power.any() and not power.all():
            return [f"the {'left' if power[1] else 'right'} channel is silent, and the mix half as loud; {way_out}"]
        return [f"mixed, its channels lose {loss:.0f} dB; {way_out}"] if loss > QUIETER_DB else []


def _shortfall(path: Path, info: AudioInfo, read: int, *, strict: bool) -> list[str]:
    if not info.missing_bytes and (read >= info.frames or info.frames >= UNKNOWN_FRAMES):
        return []
    promised = f"{info.missing_bytes} bytes more" if info.missing_bytes else f"{info.frames} samples"
    reason = f"truncated: the header promises {promised}, {read} samples were read"
    if strict:
        raise AudioError(path, reason)
    return [reason]


def _one_channel(path: File, frames: Samples, channel: Channel | None) -> Samples:
    """[T, channels] to [T]."""
    channels = frames.shape[1]
    if channels == 1:
        return frames[:, 0]
    if channel is None or (channels > 2 and channel != "mix"):
        raise AudioError(path, f"has {channels} channels; convert it to mono, or choose the channel 'mix'")
    return frames.mean(axis=1) if channel == "mix" else frames[:, ("left", "right").index(channel)]


def _require_finite(path: File, samples: npt.NDArray[Any], *, start: int = 0) -> None:
    if not np.isfinite(samples).all():
        index = int(np.argmin(np.isfinite(samples)))
        raise AudioError(path, f"sample {start + index} is {samples[index]}; all must be finite")


def _scaled(samples: Samples) -> Samples:
    peak = np.abs(samples).max()
    return samples * (NORMALIZED_PEAK / peak) if peak > 0 else samples


def _resampled(path: File, samples: Samples, old_hz: int, new_hz: int) -> Samples:
    result: Samples = soxr.resample(samples, old_hz, new_hz, quality="HQ")
    if not result.size:
        raise AudioError(path, f"its {len(samples)} samples at {old_hz} Hz are none at {new_hz} Hz")
    return result
