"""Audio as it is sent: WAV, FLAC or bare samples of 16 bits, piece by piece, of a length that is known beforehand."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator
from typing import Literal, get_args

import soundfile

from waveglow.audio.io import Samples, pcm16

Format = Literal["wav", "flac", "pcm"]
FORMATS: tuple[Format, ...] = get_args(Format)
MEDIA_TYPES = {"wav": "audio/wav", "flac": "audio/flac", "pcm": "application/octet-stream"}
WAV_HEADER_BYTES = 44


def encoded(pieces: Iterable[Samples], format: Format, *, samples: int, sample_rate: int) -> Iterator[bytes]:
    """The bytes of each piece `[T_i]`, float32 in [-1, 1]; together they are one file of so many samples."""
    if format == "flac":
        yield from _flac(pieces, samples, sample_rate)
        return
    head = wav_header(samples, sample_rate) if format == "wav" else b""
    for piece in pieces:
        yield head + pcm16(piece).tobytes()
        head = b""


def content_length(format: Format, samples: int) -> int | None:
    """Bytes of such a file; None where they are known at its end."""
    return {"wav": WAV_HEADER_BYTES + 2 * samples, "pcm": 2 * samples}.get(format)


def wav_header(samples: int, sample_rate: int) -> bytes:
    """Of so many samples of 16 bits, one channel: 44 bytes."""
    riff = struct.pack("<4sI4s", b"RIFF", 36 + 2 * samples, b"WAVE")
    kind = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, sample_rate, 2 * sample_rate, 2, 16)
    return riff + kind + struct.pack("<4sI", b"data", 2 * samples)


def _flac(pieces: Iterable[Samples], samples: int, sample_rate: int) -> Iterator[bytes]:
    """libFLAC goes back at the end to fill in what its header lacks; the length is known, so it is there at once, and
    what isn't known stays 0, which the format allows."""
    buffer, sent = io.BytesIO(), 0
    with soundfile.SoundFile(buffer, "w", sample_rate, 1, "PCM_16", format="FLAC") as file:
        for piece in pieces:
            file.write(pcm16(piece))
            written = bytearray(buffer.getbuffer()[sent:])
            if not sent:
                written[21] |= samples >> 32
                written[22:26] = (samples & 0xFFFFFFFF).to_bytes(4, "big")
            sent += len(written)
            yield bytes(written)
    yield buffer.getvalue()[sent:]
