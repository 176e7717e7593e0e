"""What headers claim, byte by byte, beside what test_io.py reads of files that libsndfile wrote."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from waveglow.audio.containers import W64_DATA, W64_RIFF, Claim, claim

GUID = bytes(16)


def claimed(folder: Path, content: bytes) -> Claim:
    (folder / "a").write_bytes(content)
    with (folder / "a").open("rb") as raw:
        return claim(raw)


@pytest.mark.parametrize("before", [0, 1, 5, 8])
def test_chunks_of_w64_are_padded_to_8_bytes(tmp_path, before):
    head = W64_RIFF + struct.pack("<Q", 1000) + GUID
    chunk = GUID + struct.pack("<Q", 24 + before) + bytes(before + -before % 8)
    assert claimed(tmp_path, head + chunk + W64_DATA + struct.pack("<Q", 24 + 100) + bytes(90)) == Claim(missing=10)


@pytest.mark.parametrize(("size", "missing"), [(100, 10), (90, 0), (0xFFFFFFFF, 910)])
def test_the_64_bit_size_of_rf64_counts_where_the_other_has_no_room(tmp_path, size, missing):
    long_sizes = b"ds64" + struct.pack("<IQQQI", 28, 2000, 1000, 500, 0)
    content = b"RF64" + bytes(4) + b"WAVE" + long_sizes + b"data" + struct.pack("<I", size) + bytes(90)
    assert claimed(tmp_path, content) == Claim(missing=missing)


def test_the_size_of_au_has_four_bytes(tmp_path):
    content = b".snd" + struct.pack(">5I", 24, 1 << 26, 3, 22_050, 1) + bytes(90)
    assert claimed(tmp_path, content) == Claim(missing=(1 << 26) - 90)


def wav(*chunks: tuple[bytes, int, bytes]) -> bytes:
    """Chunks by name, the size that is written, and what follows."""
    return b"RIFF\0\0\0\0WAVE" + b"".join(name + struct.pack("<I", size) + inside for name, size, inside in chunks)


@pytest.mark.parametrize(("odd", "padding"), [(3, b"\0"), (4, b"")])
def test_chunks_of_odd_size_are_padded(tmp_path, odd, padding):
    content = wav((b"LIST", odd, bytes(odd) + padding), (b"data", 100, bytes(90)))
    assert claimed(tmp_path, content) == Claim(missing=10)


@pytest.mark.parametrize(
    ("size", "follows", "is_empty"),
    [(4, 4, True), (3, 4, True), (3, 3, True), (4, 3, False), (4, 5, False), (3, 5, False), (3, 2, False)],
)
def test_a_size_of_0_is_true_where_whole_chunks_follow(tmp_path, size, follows, is_empty):
    """Padded or not at the end of the file; else what follows are samples."""
    content = wav((b"data", 0, b""), (b"LIST", size, bytes(follows)))
    assert claimed(tmp_path, content) == (Claim() if is_empty else Claim(blank=16))
