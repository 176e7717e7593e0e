"""Hours of audio through one stream: does memory stay where it is, and the speed?

A mel of a synthetic hum is repeated for so many hours and synthesized in chunks; the audio is thrown away. `peak` is
the most memory that the process ever had, so a leak shows as a number that keeps growing.

  waveglow bench long --hours 10 --refine 0 --precision bf16
"""

import argparse

from waveglow.bench import long
from waveglow.cli.bench.common import add_machine, add_voice, opened_voice, show
from waveglow.cli.values import positive, seconds, steps_of_refinement


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_voice(parser)
    parser.add_argument("--refine", type=steps_of_refinement, metavar="STEPS", help="(as the voice was validated)")
    parser.add_argument("--hours", type=seconds, default=1.0, help="of audio (1)")
    parser.add_argument("--chunk", type=positive, default=1024, metavar="FRAMES", help="(1024)")
    add_machine(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    vocoder = opened_voice(args)
    tables = long.tables(vocoder, hours=args.hours, chunk_frames=args.chunk, refine=args.refine)
    return show(args, vocoder.device, tables)
