"""A checkpoint to a graph for runtimes that know neither torch nor this library.

It is compared with the checkpoint once it is written.

  waveglow export onnx lapglow voice.onnx
"""

from __future__ import annotations

from collections.abc import Sequence

from waveglow.cli.main import dispatch

VERBS = {"onnx": "one .onnx file, in float32 or with 8-bit nets"}


def main(given: Sequence[str]) -> int:
    """Run one verb; returns the exit code."""
    return dispatch("waveglow export", list(given), VERBS, description=__doc__)
