"""Mutations of small files by seed, and what reading one may do: give an object, or raise an error of ours, soon.

    python tests/faults/fuzzing.py --minutes 60           # every reader of fuzzed_files.py in turn
    python tests/faults/fuzzing.py --minutes 60 --values  # every property of fuzzed_values.py in turn

Prints what was found, with its seed, as it is found, and at the end how often each was tried. What reads is forked off,
so that a crash or a hang of a decoder is a finding too. Exit codes: 0 nothing was found, 1 something was.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import NamedTuple

from waveglow.config import is_told

MOST_SECONDS = 2.0
MOST_KIB = 512 * 1024
HANGS_SECONDS = 60.0
ROOM_BYTES = 4 << 30  # beyond what a process has when it begins: what asks for more fails, and the machine goes on
TURN_SECONDS = 10.0
EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)


class Reader(NamedTuple):
    """A small file, and how its mutations are read."""

    content: bytes
    read: Callable[[bytes], object]

    def attempt(self, seed: int) -> str | None:
        """What went wrong with the mutation by a seed."""
        changed = mutated(self.content, seed)
        return complaint(lambda: self.read(changed))


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
    except Exception as error:
        if not is_told(error):
            return f"raises {type(error).__name__}: {error}"
        if "\n" in str(error).strip():
            return f"says it in several lines: {error}"
    took, grown = time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return f"takes {took:.1f} s and {grown // 1024} MiB" if took > MOST_SECONDS or grown > MOST_KIB else None


def complaints(reader: Reader, seeds: range) -> Iterator[tuple[int, str]]:
    """(Seed, what went wrong) of the mutations by these seeds."""
    for seed in seeds:
        if said := reader.attempt(seed):
            yield seed, said


# ---- For an hour -----------------------------------------------------------------------------------------------------


class Turn(NamedTuple):
    """Some seconds of one reader or property: the first seed that was not tried, and what was found."""

    end: int
    found: list[str]


Try = Callable[[int], str | None]  # from a seed to what went wrong


def turn(attempt: Try, first: int, *, seconds: float) -> Turn:
    """Seeds from `first` on for some seconds, in a process of its own."""
    fork = multiprocessing.get_context("fork")
    seed, (ours, theirs) = fork.Value("q", first), fork.Pipe(duplex=False)
    process = fork.Process(target=_go_on, args=(attempt, seed, theirs, seconds))
    process.start()
    theirs.close()
    said, last, since = "", first, time.monotonic()
    while process.is_alive() and not ours.poll(0.5):
        if last != seed.value:
            last, since = seed.value, time.monotonic()
        elif time.monotonic() - since > HANGS_SECONDS:
            said = f"hangs for {HANGS_SECONDS:.0f} s"
            process.kill()
    try:
        return ours.recv()
    except EOFError:
        process.join()
        return Turn(seed.value + 1, [f"seed {seed.value}: {said or f'ends its process with {process.exitcode}'}"])
    finally:
        process.join()


def _go_on(attempt: Try, seed: Synchronized, result: Connection, seconds: float) -> None:
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM_BYTES, resource.RLIM_INFINITY))
    until, found = time.monotonic() + seconds, []
    while time.monotonic() < until:
        if said := attempt(seed.value):
            found.append(f"seed {seed.value}: {said}")
        seed.value += 1
    result.send(Turn(seed.value, found))


def for_minutes(attempts: dict[str, Try], *, first: int, minutes: float) -> int:
    """Try all in turn until the time is over; returns how much was found."""
    started, seeds = time.monotonic(), dict.fromkeys(attempts, first)
    found: Counter[str] = Counter()
    while (passed := (time.monotonic() - started) / 60) < minutes:
        for name, attempt in attempts.items():
            seeds[name], said = turn(attempt, seeds[name], seconds=min(TURN_SECONDS, 6 * minutes))
            found[name] += len(said)
            for line in said[:3]:
                print(f"{name}, {line[:400]}", flush=True)
        tried = sum(seeds.values()) - first * len(seeds)
        print(f"{tried} tries, {found.total()} findings, {passed:.0f} minutes before the last turn of all", flush=True)
    for name, end in seeds.items():
        print(f"{name}: {end - first} tries, seeds {first} to {end - 1}, {found[name]} findings")
    return found.total()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60, help="how long (60)")
    parser.add_argument("--values", action="store_true", help="the properties of fuzzed_values.py")
    parser.add_argument("--first", type=int, default=1000, help="the first seed (1000; the tests run those below)")
    parser.add_argument("--only", nargs="+", help="names of readers or properties")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TMPDIR"] = folder  # what a killed reader leaves is removed with it
        if args.values:
            from fuzzed_values import PROPERTIES, of_seed

            attempts = {name: of_seed(holds, Path(folder)) for name, holds in PROPERTIES.items()}
        else:
            from fuzzed_files import readers

            attempts = {name: reader.attempt for name, reader in readers(Path(folder), exported=True).items()}
        chosen = {name: attempt for name, attempt in attempts.items() if not args.only or name in args.only}
        return int(for_minutes(chosen, first=args.first, minutes=args.minutes) > 0)


if __name__ == "__main__":
    sys.exit(main())
