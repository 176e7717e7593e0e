"""What an evaluation did already, so that a killed one goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from waveglow.audio.files import writing
from waveglow.audio.spans import Span
from waveglow.config import from_json
from waveglow.export.onnx_runtime import OnnxVocoder
from waveglow.vocoder import Vocoder


class Cache:
    """Results by what they depend on, one JSON line each: what a killed evaluation needn't do again.

    Each part of an evaluation writes a file of its own, `path`, and reads those of all, beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, Any] = {}
        files = sorted(file for file in path.parent.glob("cache*.jsonl") if file.is_file())
        lines = (file.read_text("utf-8", "replace").splitlines() for file in files)
        for line in chain.from_iterable(lines):
            try:
                key, value = from_json(line)
                self._known[key] = value
            except (ValueError, TypeError):  # cut off by a kill
                continue
        with path.open("a", encoding="utf-8") as file:
            file.write("\n")  # ends such a line

    def get(self, *parts: Any) -> Any:
        """What was put for equal parts, else None."""
        return self._known.get(_key(parts))

    def put(self, value: Any, *parts: Any) -> None:
        """Remember a value of JSON types, on disk too. Raises OutputError."""
        self._known[_key(parts)] = value
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([_key(parts), value]) + "\n")


def _key(parts: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def model_digest(vocoder: Vocoder | OnnxVocoder) -> str:
    """SHA-256 of a vocoder's folded weights and mel convention, wherever its checkpoint lies; of an exported file."""
    if isinstance(vocoder, OnnxVocoder):
        return file_digest(vocoder.path)
    content = hashlib.sha256(vocoder.mel_spec.fingerprint.encode())
    for name, tensor in sorted(vocoder.model.state_dict().items()):
        content.update(f"{name} {list(tensor.shape)}".encode())
        content.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return content.hexdigest()


def file_digest(path: Path | Span) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
