"""Recordings that come over the network: looked at by ourselves, then decoded by a process that may die.

WAV of PCM with 16, 24 or 32 bits or of float32, and FLAC. libsndfile has had memory errors in the codecs that a WAV may
hold (CVE-2022-33065, CVE-2026-37555: IMA ADPCM), so it sees a header of 44 bytes that is written here and the samples,
or FLAC, and nothing else, in a process that has little memory, little time, and no torch.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from waveglow.audio.containers import chunks

FLAC, WAV_PCM, WAV_FLOAT, WAV_EXTENSIBLE = b"fLaC", 1, 3, 0xFFFE
SUBFORMAT_TAIL = bytes.fromhex("000000001000800000aa00389b71")  # of the GUIDs whose first bytes are a format's number
MAX_CHUNKS = 64
MAX_CHANNELS = 8
BITS = {WAV_PCM: (16, 24, 32), WAV_FLOAT: (32,)}
ACCEPTED = "WAV (PCM of 16, 24 or 32 bits, or float of 32) and FLAC are taken"


class UnsupportedError(ValueError):
    """A container or coding that isn't taken."""


class Wav(NamedTuple):
    """A WAV's coding, and where its samples are."""

    coding: int
    channels: int
    sample_rate: int
    bits: int
    start: int
    size: int

    def header(self) -> bytes:
        """44 bytes that say the same, and nothing else."""
        block = self.channels * self.bits // 8
        numbers = ((16, 4), (self.coding, 2), (self.channels, 2), (self.sample_rate, 4),
                   (self.sample_rate * block & 0xFFFFFFFF, 4), (block, 2), (self.bits, 2))  # fmt: skip
        kind = b"fmt " + b"".join(value.to_bytes(width, "little") for value, width in numbers)
        sizes = [(36 + self.size).to_bytes(4, "little"), self.size.to_bytes(4, "little")]
        return b"RIFF" + sizes[0] + b"WAVE" + kind + b"data" + sizes[1]


def looked_at(content: bytes | bytearray) -> Wav | None:
    """Where the samples of a WAV are; None of a FLAC.

    Raises UnsupportedError for anything else, ValueError for a WAV that is cut short or contradicts itself.
    """
    if content[:4] == FLAC:
        return None
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise UnsupportedError(f"the body is no recording that is taken, by its first bytes; {ACCEPTED}")
    kind: bytes | None = None
    for number, (name, size, at) in enumerate(chunks(io.BytesIO(content), "little")):
        if number >= MAX_CHUNKS:
            break
        if name == b"fmt " and kind is not None:
            raise ValueError("the WAV has two format chunks; one is needed")
        if name == b"fmt ":
            kind = bytes(content[at : at + min(size, 40)])
        elif name == b"data":
            return _wav(kind, at, size, len(content))
    raise ValueError("the WAV has no samples: its data chunk is missing")


def _wav(kind: bytes | None, start: int, claimed: int, end: int) -> Wav:
    if kind is None or len(kind) < 16:
        raise ValueError("the WAV has no format chunk before its samples")
    coding, channels = _number(kind, 0, 2), _number(kind, 2, 2)
    sample_rate, block, bits = _number(kind, 4, 4), _number(kind, 12, 2), _number(kind, 14, 2)
    if coding == WAV_EXTENSIBLE and kind[26:] == SUBFORMAT_TAIL:
        coding = _number(kind, 24, 2)
    if bits not in BITS.get(coding, ()):
        raise UnsupportedError(f"the WAV's coding is {coding:#x} with {bits} bits; {ACCEPTED}")
    if not 1 <= channels <= MAX_CHANNELS or block != channels * bits // 8:
        raise ValueError(f"the WAV has {channels} channels in blocks of {block} bytes; 1 to {MAX_CHANNELS} are taken")
    held = end - start
    piped = claimed == 0 or 0 <= 0x7FFFFFFF - claimed <= 1 << 16 or 0 <= 0xFFFFFFFF - claimed <= 1 << 16
    if claimed > held and not piped:
        raise ValueError(f"the WAV is cut short: its header promises {claimed - held} bytes more")
    size = held if piped else claimed
    return Wav(coding, channels, sample_rate, bits, start, size - size % block)


def _number(content: bytes, at: int, width: int) -> int:
    return int.from_bytes(content[at : at + width], "little")


# ---- The process that decodes: a line of JSON and a body in, a line of JSON and samples out --------------------------


def main() -> None:
    """Decode one recording from stdin to stdout, at most `argv[1]` bytes of memory and `argv[2]` seconds of CPU."""
    # Imported while there is nothing to do yet.
    from waveglow.audio.io import UNKNOWN_FRAMES, AudioError, load_audio, probe

    limit(int(sys.argv[1]), int(sys.argv[2]))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    line = source.readline()
    if not line:
        return  # never needed
    asked = json.loads(line)
    try:
        with _as_file(source) as path:
            info = probe(path)
            if info.frames >= UNKNOWN_FRAMES:
                raise AudioError(path, "its header doesn't say how long it is; write it to a file, not to a pipe")
            if info.seconds > asked["max_seconds"]:
                raise OverflowError(
                    f"the recording has {info.seconds:.6g} s; at most {asked['max_seconds']:g} are taken"
                )
            audio = load_audio(path, sample_rate=asked["sample_rate"], channel=asked["channel"], strict=True)
    except AudioError as error:
        tell(sink, {"status": 422, "message": f"the recording: {error.reason}"})
    except OverflowError as error:
        tell(sink, {"status": 413, "message": str(error)})
    except MemoryError:
        tell(sink, {"status": 413, "message": "the recording takes more memory to decode than it may"})
    else:
        tell(sink, {"status": 200, "samples": len(audio.samples), "notices": audio.notices, "source": info.sample_rate})
        sink.write(audio.samples.tobytes())
        sink.flush()


def tell(sink: Any, said: Mapping[str, Any]) -> None:
    sink.write(json.dumps(said).encode() + b"\n")
    sink.flush()


def limit(memory_bytes: int, cpu_seconds: int) -> None:
    """Of this process, from now on. `memory_bytes` are those beyond what it has."""
    with suppress(ImportError):  # Windows
        import resource

        with suppress(OSError, ValueError):  # macOS refuses some
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
            limit = _address_space() + memory_bytes
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _address_space() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 1 << 30


@contextmanager
def _as_file(source: Any) -> Iterator[str]:
    """What is left of a stream as a file without a name, in memory where the system can."""
    handle = os.memfd_create("recording") if hasattr(os, "memfd_create") else None
    with open(handle, "w+b") if handle is not None else tempfile.NamedTemporaryFile() as file:
        while part := source.read(1 << 20):
            file.write(part)
        file.flush()
        yield f"/proc/self/fd/{handle}" if handle is not None else file.name
