"""The context of a stream is the least that keeps the promise: measured, and it doesn't hold with less."""

import torch

from waveglow.audio.signals import hum
from waveglow.evaluation.streams import measured_context
from waveglow.vocoder import Vocoder


def test_the_measured_context_is_enough_and_less_is_not():
    vocoder = Vocoder.load("lapglow")
    mel = vocoder.mel(hum(1.5, vocoder.sample_rate), vocoder.sample_rate)
    frames = measured_context(vocoder, [mel], refine=2, tolerance=1e-3)
    assert 0 < frames < max(vocoder.reach(2))
    whole = vocoder.synthesize(mel, refine=2)

    def difference(context: int) -> float:
        pieces = vocoder.stream(mel.split(16, dim=-1), refine=2, context=context)
        return float((torch.cat([*pieces]) - whole).abs().max())

    assert difference(frames) <= 1e-3 < difference(frames - 1)
