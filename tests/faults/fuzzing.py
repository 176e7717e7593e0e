"""Mutations of small files by seed, and what reading one may do: give an object, or raise an error of ours, soon."""

from __future__ import annotations

import random
import resource
import struct
import time
from collections.abc import Callable, Iterator

from waveglow.audio.files import FileError
from waveglow.config import ConfigError
from waveglow.models.checkpoint import CheckpointError
from waveglow.models.published.pickles import UnreadableCheckpoint

OURS = (FileError, ConfigError, CheckpointError, UnreadableCheckpoint)
MOST_SECONDS = 2.0
MOST_KIB = 512 * 1024
EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)


def mutated(content: bytes, seed: int) -> bytes:
    """The file with one to four of its parts changed, cut, doubled or overwritten by the numbers that break readers."""
    rng, data = random.Random(seed), bytearray(content)
    for _ in range(rng.randint(1, 4)):
        # The ends of a file hold its headers and directories.
        at = rng.choice((rng.randrange(len(data) + 1), rng.randrange(min(200, len(data) + 1))))
        at = rng.choice((at, max(0, len(data) - at)))
        size = rng.choice((1, 2, 4, 8, 64))
        match rng.randrange(7):
            case 0:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                data[at : at + 8] = struct.pack("<Q", rng.choice(EDGES))[: rng.choice((1, 2, 4, 8))]
            case 2:
                del data[at:]
            case 3:
                del data[at : at + size]
            case 4:
                data[at:at] = data[at : at + size] * rng.choice((1, 100))
            case 5:
                other = rng.randrange(len(data) + 1)
                data[at : at + size] = data[other : other + size]
            case 6:
                digits = str(rng.choice((-1, 0, 2**31, 2**63, 10**30))).encode()
                data[at : at + len(digits)] = digits
    return bytes(data)


def complaint(read: Callable[[], object]) -> str | None:
    """What reading did that it mustn't; None where it gave an object or one of our errors."""
    started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read()
    except OURS as error:
        if "\n" in str(error).strip():
            return f"says it in several lines: {error}"
    except Exception as error:
        return f"raises {type(error).__name__}: {error}"
    took, grown = time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return f"takes {took:.1f} s and {grown // 1024} MiB" if took > MOST_SECONDS or grown > MOST_KIB else None


def complaints(read: Callable[[bytes], object], content: bytes, seeds: range) -> Iterator[tuple[int, str]]:
    """(Seed, what went wrong) of the mutations by these seeds."""
    for seed in seeds:
        changed = mutated(content, seed)
        if said := complaint(lambda changed=changed: read(changed)):
            yield seed, said
