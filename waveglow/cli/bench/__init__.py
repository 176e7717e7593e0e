"""Measure speed, memory and exactness on this machine: tables, and JSON with --json.

Every figure is the median of several warm runs in one process. The rows of a table take turns, and the device is
synchronized. Measure with nothing else running.

  waveglow bench                  # all of it, in some eight minutes on two cores
  waveglow bench synthesis --models lapglow --refine 16
  waveglow bench streaming --precision bf16
  waveglow bench training --models waveglow-256
  waveglow bench input data/manifest.jsonl
  waveglow bench long --hours 10
"""

from __future__ import annotations

from collections.abc import Sequence

from waveglow.cli.main import dispatch

VERBS = {
    "all": "all four, in small sizes; what `waveglow bench` alone does",
    "synthesis": "speed and exactness of every form: as published, folded, half precision, compiled, ONNX",
    "streaming": "time to the first audio by chunk, and what less context costs",
    "training": "speed of a step in every form, with its losses; the memory modes",
    "input": "is training fed fast enough?",
    "long": "hours through one stream: does memory stay where it is?",
}
HELP = ("-h", "--help", "--version")


def main(given: Sequence[str]) -> int:
    """Run one benchmark, or all; returns the exit code."""
    if not given or (given[0].startswith("-") and given[0] not in HELP):
        given = ["all", *given]
    return dispatch("waveglow bench", list(given), VERBS, description=__doc__)
