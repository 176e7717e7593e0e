"""The process that decodes one picture from stdin, and writes a line of JSON and its pixels to stdout.

Image decoders have had memory errors, too (CVE-2023-4863: WebP); so it has little memory, little time, and no torch.
"""

from __future__ import annotations

import io
import sys
import warnings
from pathlib import Path
from typing import Any

from waveglow.serve.decoding import limit, tell

MAX_PIXELS = 25_000_000
MEMORY_BYTES = 1 << 30
CPU_SECONDS = 10


def main() -> None:
    """`argv`: pixels a side, channels. Answers {"status", "message"}, or {"status": 200} and [C, size, size] bytes."""
    from waveglow.audio.files import FileError
    from waveglow.data.image_sources.picture import fitted

    limit(MEMORY_BYTES, CPU_SECONDS)
    size, channels = int(sys.argv[1]), int(sys.argv[2])
    content, sink = sys.stdin.buffer.read(), sys.stdout.buffer
    try:
        width, height = shape(content)
        if width * height > MAX_PIXELS:
            most = f"the most is {MAX_PIXELS // 1_000_000} million: make it smaller first"
            tell(sink, {"status": 413, "message": f"the picture has {width}×{height} pixels; {most}"})
            return
        pixels = fitted(content, Path("the picture"), size=size, channels=channels)
    except FileError as error:
        tell(sink, {"status": 422, "message": f"the picture {error.reason}"})
    except MemoryError:
        tell(sink, {"status": 413, "message": "the picture takes more memory to decode than it may"})
    else:
        tell(sink, {"status": 200})
        sink.write(pixels.tobytes())
        sink.flush()


def shape(content: bytes) -> tuple[int, int]:
    """Width and height by the head of a file, before anything is decoded; (0, 0) of what is no picture."""
    from PIL import Image

    formats: Any = ("PNG", "JPEG", "WEBP")
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(content), formats=formats) as image:
            return image.size
    except Exception:  # decoders raise all kinds; `fitted` says which
        return 0, 0
