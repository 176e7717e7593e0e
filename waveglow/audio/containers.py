"""What the header of an audio file promises, against the bytes that are there: libsndfile cuts short in silence.

Of the formats that state the size of their samples: WAV and RF64 (little-endian chunks), W64 (GUIDs and 64-bit sizes),
AIFF (big-endian chunks) and AU. A size that a program wrote to a pipe, where it couldn't go back to fill it in, is a
placeholder, and claims nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO, Literal, NamedTuple

PLACEHOLDER_ROOM = 1 << 16  # 0x7ffff000 (SoX), 0xffffffff (ffmpeg), either less a header: near below 2³¹ and 2³²
W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")


class Claim(NamedTuple):
    """`missing`: bytes promised beyond the end of the file. `blank`: where a WAV's size of 0 stands, behind which
    samples follow all the same."""

    missing: int = 0
    blank: int | None = None


def claim(raw: BinaryIO) -> Claim:
    """Of an opened file, read from its start."""
    end = raw.seek(0, os.SEEK_END)
    raw.seek(0)
    head = raw.read(16)
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return _of_wav(raw, end)
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return Claim(next((_missing(size, at, end) for name, size, at in chunks(raw, "big") if name == b"SSND"), 0))
    if head == W64_RIFF:
        return Claim(_of_w64(raw, end))
    if head[:4] == b".snd":
        return Claim(_missing(int.from_bytes(head[8:12], "big"), int.from_bytes(head[4:8], "big"), end))
    return Claim()


def _of_wav(raw: BinaryIO, end: int) -> Claim:
    long_size = 0
    for name, size, at in chunks(raw, "little"):
        if name == b"ds64":
            long_size = int.from_bytes(raw.read(16)[8:], "little")
        elif name == b"data" and size == 0 and at < end and not _ends_in_chunks(raw, at, end):
            return Claim(blank=at - 4)
        elif name == b"data":
            return Claim(_missing(long_size if size == 0xFFFFFFFF and long_size else size, at, end))
    return Claim()


def _of_w64(raw: BinaryIO, end: int) -> int:
    at = 40  # riff, the size of all, wave
    while at < end and raw.seek(at) and len(head := raw.read(24)) == 24:
        size = int.from_bytes(head[16:], "little")  # its own 24 bytes included
        if head[:16] == W64_DATA:
            return _missing(size - 24, at + 24, end)
        at += max(24, size + -size % 8)
    return 0


def chunks(raw: BinaryIO, order: Literal["little", "big"], at: int = 12) -> Iterator[tuple[bytes, int, int]]:
    """(name, size, where its content begins) of each chunk."""
    raw.seek(at)
    while len(head := raw.read(8)) == 8:
        size, at = int.from_bytes(head[4:], order), raw.tell()
        yield head[:4], size, at
        raw.seek(at + size + size % 2)


def _ends_in_chunks(raw: BinaryIO, at: int, end: int) -> bool:
    """Whether well-formed chunks fill the rest of the file: then what was before them is truly empty."""
    return any(end in (start + size, start + size + size % 2) for _, size, start in chunks(raw, "little", at))


def _missing(size: int, at: int, end: int) -> int:
    """Bytes of the claimed `size` from `at` that the file of `end` bytes lacks."""
    placeholder = size <= 0 or size >= 1 << 62 or any(0 <= top - size <= PLACEHOLDER_ROOM for top in (1 << 31, 1 << 32))
    return 0 if placeholder else max(0, at + size - end)
