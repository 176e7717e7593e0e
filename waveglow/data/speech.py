"""Speech for training: crops read by seeking, with the mel that the whole file has there.

Shapes: audio [T] in samples, mel [M, F] in frames, F = ⌈T / hop⌉.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from waveglow.audio.files import FileError, unusable
from waveglow.audio.io import AudioError, load_audio, read_segment
from waveglow.audio.mel import MelSpec
from waveglow.audio.mel_files import MelError, mel_frames, read_mel
from waveglow.audio.mel_spectrogram import MelSpectrogram
from waveglow.audio.remote import is_url
from waveglow.audio.spans import Span
from waveglow.config import ConfigError
from waveglow.data.beside import require_frames
from waveglow.data.manifest import Clip
from waveglow.data.sampler import clip_index, stratum
from waveglow.noise import Purpose, dequantization_noise, philox

MAX_SYNTHETIC = Fraction(1, 4)  # a voice that speech synthesis spoke has the faults of its vocoder
SAMPLED_MELS = 64  # read whole at the start of a training; of the others, which `prepare` has read, the shape
SAMPLED_ENDS = 16
VALIDATION_PLACE = 1 << 62  # noise of validation clips stands apart from that of training samples


class Example(NamedTuple):
    """audio [T], dequantized; mel [M, F]; the number that names it in messages; bandwidth as a share of the band."""

    audio: Tensor
    mel: Tensor
    number: int
    bandwidth: Tensor


class SpeechCrops(Dataset[Example]):
    """Random crops of `segment_samples`; item g is a function of (seed, g).

    Clips shorter than a crop are padded with silence, which dequantization dithers. Synthetic clips are drawn
    separately: as often as their share of the speech, in seconds, and at most one of four samples, evenly
    (`sampler.stratum`).
    """

    def __init__(self, clips: list[Clip], spec: MelSpec, *, segment_samples: int, seed: int) -> None:
        self.clips = _usable(clips, spec)
        self.recorded = [clip for clip in clips if not clip.synthetic]
        self.synthetic = [clip for clip in clips if clip.synthetic]
        self.synthetic_share = _synthetic_share(clips)
        self.spec = spec
        self.segment_samples = segment_samples
        self.seed = seed
        self.to_mel = MelSpectrogram(spec)
        self.short = sum(clip.frames < segment_samples for clip in clips)

    def __len__(self) -> int:
        return len(self.clips)

    def clip_of(self, number: int) -> Clip:
        """The clip that a training sample is cropped from."""
        is_synthetic, place = stratum(number, self.synthetic_share)
        of_its_kind = self.synthetic if is_synthetic else self.recorded
        return of_its_kind[clip_index(self.seed, place, len(of_its_kind))]

    def __getitem__(self, number: int) -> Example:
        clip = self.clip_of(number)
        T, hop = self.segment_samples, self.spec.hop
        starts = max(0, clip.frames - T) // hop + 1
        start = hop * int(philox(self.seed, Purpose.CROP, number).integers(starts))
        frames = -(-T // hop)
        audio, mel = self._whole(clip) if clip.frames < T else self._crop(clip, start)
        if clip.mel is not None:
            mel = _file_mel(clip, self.spec)[:, start // hop :]
        if mel.shape[1] < frames:
            mel = np.pad(mel, ((0, 0), (0, frames - mel.shape[1])), constant_values=self.spec.silence)
        audio = audio + dequantization_noise(self.seed, number, T)
        frames_of_crop = torch.from_numpy(np.ascontiguousarray(mel[:, :frames]))
        return Example(torch.from_numpy(audio), frames_of_crop, number, _bandwidth(clip))

    def _whole(self, clip: Clip) -> tuple[np.ndarray, np.ndarray]:
        """A clip shorter than the crop, with silence behind it."""
        audio = np.pad(read_segment(clip.source, 0, clip.frames), (0, self.segment_samples - clip.frames))
        return audio, self._mel(audio)

    def _crop(self, clip: Clip, start: int) -> tuple[np.ndarray, np.ndarray]:
        """A crop and its mel, computed with as much of the file around it as a frame reaches."""
        T, hop = self.segment_samples, self.spec.hop
        context = hop * -(-self.spec.n_fft // hop)
        first, last = max(0, start - context), min(clip.frames, start + T + context)
        audio = read_segment(clip.source, first, last - first)
        mel = self._mel(audio)[:, (start - first) // hop :]
        return audio[start - first :][:T], mel

    def _mel(self, audio: np.ndarray) -> np.ndarray:
        mel: np.ndarray = self.to_mel.of_any_length(torch.from_numpy(audio)[None])[0].numpy()
        return mel


def whole_clip(clip: Clip, spec: MelSpec, *, place: int, seed: int, max_samples: int, multiple: int) -> Example:
    """A held-out clip from its start, dequantized, at most `max_samples`, a multiple of `multiple` samples.

    Raises AudioError where the file is too short for one group.
    """
    audio = load_audio(clip.source, channel=None, strict=True).samples[:max_samples]
    with torch.inference_mode():
        own = MelSpectrogram(spec).of_any_length(torch.from_numpy(audio)[None])[0]
    mel = own if clip.mel is None else torch.from_numpy(_file_mel(clip, spec))
    T = min(len(audio), mel.shape[1] * spec.hop)
    T -= T % multiple
    if T == 0:
        raise AudioError(clip.source, f"has {clip.frames} samples, fewer than the model's group of {multiple}")
    noisy = audio[:T] + dequantization_noise(seed, VALIDATION_PLACE + place, T)
    return Example(torch.from_numpy(noisy), mel[:, : -(-T // spec.hop)].clone(), place, _bandwidth(clip))


def require_trainable(clips: Sequence[Clip], spec: MelSpec, *, multiple: int) -> None:
    """Raises ConfigError, before a step is made, for clips of train and valid that would end the training later.

    A file that isn't there, or a shard, or one that is too short or has something else at the first or last of its
    clips; a held-out clip of less than `multiple` samples, one group of the model; mels of another
    length than their recordings, or of another convention than `spec` (of `SAMPLED_MELS` of them, evenly chosen).
    """
    used = [clip for clip in clips if clip.split != "test"]
    with_mel = [clip for clip in used if clip.mel is not None]
    sampled = {clip.source for clip in with_mel[:: max(1, len(with_mel) // SAMPLED_MELS)]}
    sharded = sorted((clip for clip in used if clip.offset), key=lambda clip: (clip.path, clip.offset))
    ends = {**{clip.path: clip for clip in reversed(sharded)}, **{f"{clip.path} ": clip for clip in sharded}}
    looked_at = list(ends.values())  # of shards in stores only at some: each is a request
    remote = [clip for clip in looked_at if is_url(clip.path)]
    looked_at = [clip for clip in looked_at if not is_url(clip.path)] + remote[:: max(1, len(remote) // SAMPLED_ENDS)]
    misplaced = {clip.source: reason for clip in looked_at if (reason := _misplaced(clip))}
    problems = [
        f"{clip.source} (split {clip.split!r}): {reason}"
        for clip in used
        if (reason := misplaced.get(clip.source) or _unusable(clip, spec, multiple, whole=clip.source in sampled))
    ]
    if problems:
        raise ConfigError(
            f"{len(problems)} of {len(used)} clips can't be used, the first: {problems[0]}; run `waveglow prepare` "
            "again, or take them out of the manifest"
        )


def _unusable(clip: Clip, spec: MelSpec, multiple: int, *, whole: bool) -> str | None:
    if clip.offset is None and (reason := unusable(Path(clip.path))):
        return reason
    if clip.split == "valid" and clip.frames < multiple:
        return f"has {clip.frames} samples, fewer than the model's group of {multiple}, and can't be held out"
    if clip.mel is not None:
        try:
            frames = read_mel(clip.mel, spec).shape[1] if whole else mel_frames(clip.mel, spec)
            require_frames(clip.mel, frames, clip.frames, spec)
        except MelError as error:
            return f"its mel {error}"
    return None


def _misplaced(clip: Clip) -> str | None:
    """Why a clip can't lie where it should in its shard: of the last, whether the shard ends before."""
    assert isinstance(clip.source, Span)
    try:
        if is_url(clip.path):
            clip.source.read_bytes()
            return None
        clip.source.require_there()
        missing = clip.source.offset + clip.source.size - Path(clip.path).stat().st_size
        return f"its shard is cut short: {missing} bytes of it are missing" if missing > 0 else None
    except FileError as error:
        return error.reason
    except OSError as error:
        return f"its shard can't be read ({error.strerror})"


def _bandwidth(clip: Clip) -> Tensor:
    """Share of the band up to half the sample rate that the recording fills."""
    return torch.tensor(1.0 if clip.bandwidth is None else min(1.0, 2 * clip.bandwidth / clip.sample_rate))


def _file_mel(clip: Clip, spec: MelSpec) -> np.ndarray:
    assert clip.mel is not None
    mel: np.ndarray = read_mel(clip.mel, spec)
    require_frames(clip.mel, mel.shape[1], clip.frames, spec)
    return mel


def _synthetic_share(clips: list[Clip]) -> Fraction:
    """Share of the samples that are of synthetic clips: theirs of the speech in seconds, or the most there may be."""
    synthetic = sum(clip.frames for clip in clips if clip.synthetic)
    total = sum(clip.frames for clip in clips)
    return Fraction(synthetic, total) if synthetic == total else min(Fraction(synthetic, total), MAX_SYNTHETIC)


def _usable(clips: list[Clip], spec: MelSpec) -> list[Clip]:
    for clip in clips:
        if clip.sample_rate != spec.sample_rate:
            raise ConfigError(
                f"{clip.source} has {clip.sample_rate} Hz, the mel convention {spec.sample_rate} Hz; "
                f"run `waveglow prepare` with --sample-rate {spec.sample_rate}"
            )
    if not clips:
        raise ConfigError("the manifest has no training clips; run `waveglow prepare` again")
    return clips
