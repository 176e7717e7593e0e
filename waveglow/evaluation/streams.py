"""How much of a mel around a piece of a stream it takes for the piece to be what it is in the whole.

Beyond the reach nothing can matter, and long before it next to nothing does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from waveglow.vocoder import ArrayLike, Vocoder

TOLERANCE = 5e-5  # of full scale; half of what `Vocoder.stream` promises
CHUNK_FRAMES = 16


def measured_context(
    vocoder: Vocoder, mels: Sequence[ArrayLike], *, refine: int, tolerance: float = TOLERANCE, seed: int = 0
) -> int:
    """The fewest mel frames on both sides of a piece with which streams of these mels are what `synthesize` gives.

    Arguments:
        mels: [M, F] of speech, a few seconds in all.
        refine: steps of refinement.
        tolerance: the largest difference of a sample, of full scale.

    For `Refinement.context` of a checkpoint. Raises ValueError as `Vocoder.synthesize` does.
    """
    at_once = [vocoder.synthesize(mel, refine=refine, seed=seed) for mel in mels]

    def difference(context: int) -> float:
        worst = 0.0
        for mel, whole in zip(mels, at_once, strict=True):
            chunks = torch.as_tensor(mel).split(CHUNK_FRAMES, dim=-1)
            pieces = vocoder.stream(chunks, refine=refine, context=context, seed=seed)
            worst = max(worst, float((torch.cat([*pieces]) - whole).abs().max()))
        return worst

    least, enough = 0, max(vocoder.reach(refine))
    while least < enough:
        middle = (least + enough) // 2
        least, enough = (least, middle) if difference(middle) <= tolerance else (middle + 1, enough)
    return enough
