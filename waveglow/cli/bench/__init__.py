"""Measure speed, memory and exactness on this machine: tables, and JSON with --json.

Every figure is the median of several warm runs in one process. The rows of a table take turns, and the device is
synchronized. Measure with nothing else running.

  waveglow bench                  # all of it, in some eight minutes on two cores
  waveglow bench synthesis --models lapglow --refine 64
  waveglow bench streaming --precision bf16
  waveglow bench training --models waveglow-256
  waveglow bench input data/manifest.jsonl
  waveglow bench long --hours 10
"""

from collections.abc import Sequence

VERBS = {
    "all": "all four, in small sizes; what `waveglow bench` alone does",
    "synthesis": "speed and exactness of every form: as published, folded, half precision, compiled, ONNX",
    "streaming": "time to the first audio by chunk, and what less context costs",
    "training": "speed of a step in every form, with its losses; the memory modes",
    "input": "is training fed fast enough?",
    "serve": "a server under load: latency, first byte, refused requests, memory",
    "long": "hours through one stream: does memory stay where it is?",
}
HELP = ("-h", "--help", "--version")


def completed(given: Sequence[str]) -> list[str]:
    """Without a verb, all of them."""
    return ["all", *given] if not given or (given[0].startswith("-") and given[0] not in HELP) else list(given)
