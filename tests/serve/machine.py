"""`waveglow serve` on a machine that does as its tests ask: pieces are short, and a request's seed says how they go.

Seed 13 runs out of memory, 14 loses the GPU, 15 meets a fault of the program; 1000 + n takes n ms a piece. After such a
loss the model is half a second in loading.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from waveglow import vocoder
from waveglow.cli.main import main

PIECE_FRAMES = 16

if __name__ == "__main__":
    decode, load, loads = vocoder.Vocoder._decode, vocoder.Vocoder.load, []

    def decode_or_not(self: vocoder.Vocoder, mels: Any, draw: Any, first: int) -> Any:
        (seed,) = draw.seeds
        if seed == 13:
            raise MemoryError
        if seed == 14:
            raise RuntimeError("CUDA error: device-side assert triggered")
        if seed == 15:
            raise KeyError("a fault of the program's own")
        if seed > 1000:
            time.sleep((seed - 1000) / 1000)
        return decode(self, mels, draw, first)

    def load_slowly(path: Any, **options: Any) -> vocoder.Vocoder:
        time.sleep(0.5 if loads else 0)
        loads.append(path)
        return load(path, **options)

    vocoder.MAX_PIECE_FRAMES = PIECE_FRAMES
    vocoder.Vocoder._decode = decode_or_not  # type: ignore[method-assign, assignment]
    vocoder.Vocoder.load = load_slowly  # type: ignore[method-assign, assignment]
    sys.exit(main(["serve", *sys.argv[1:]]))
