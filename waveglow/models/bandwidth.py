"""Recordings narrower than their sample rate: the bands that they lack are taken from the model itself.

In a lapglow the highest bands leave first, independent given the mel: z = x·s(mel). So a band that a recording lacks can
be filled as the model would, with z = ±1: its log-likelihood is then the expected one, and z² = 1 is where its gradient
by s is zero, element by element. (Drawn from N(0, 1), it is zero on average only, and where no recording says what is
right, s walked off to e⁸.) Empty bands are neither learned nor paid for; wide recordings teach what lies there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from waveglow.flows.compose import Sequence, Split
from waveglow.flows.lapped import LappedSqueeze
from waveglow.models.vocoder import FlowVocoder


def filled(model: FlowVocoder, audio: Tensor, mel: Tensor, bandwidth: Tensor) -> Tensor:
    """audio [B, T] with every first-leaving band above `bandwidth` [B] (a share of half the sample rate) filled.

    Other bands, and all of a model without a lapped squeeze, are left as they are.
    """
    whitening = _whitening(model)
    if whitening is None or bool((bandwidth >= 1).all()):
        return audio
    layers, free = whitening
    with torch.no_grad():
        cond = model.conditioning(mel, audio.shape[-1])
        z, _ = layers(audio.unsqueeze(1), cond)
        lacking = _above(z.shape[1], bandwidth) & (torch.arange(z.shape[1], device=z.device) >= z.shape[1] - free)
        signs = torch.randint_like(z, 2) * 2 - 1
        audio = layers.inverse(torch.where(lacking.unsqueeze(2), signs, z), cond).squeeze(1)
    return audio


def spliced(model: FlowVocoder, audio: Tensor, other: Tensor, bandwidth: Tensor) -> Tensor:
    """audio [B, T] below `bandwidth` [B], `other` above it; all of `audio` for a model without a lapped squeeze."""
    whitening = _whitening(model)
    if whitening is None or bool((bandwidth >= 1).all()):
        return audio
    lapped = whitening[0].flows()[0]
    low, high = lapped(audio.unsqueeze(1))[0], lapped(other.unsqueeze(1))[0]
    return lapped.inverse(torch.where(_above(low.shape[1], bandwidth).unsqueeze(2), high, low)).squeeze(1)


def _whitening(model: FlowVocoder) -> tuple[Sequence, int] | None:
    """The first layers of a lapglow, and how many of its highest bands leave after them."""
    first, split = (*model.flow.parts(), None)[:2]
    if not isinstance(split, Split) or not isinstance(first, Sequence):
        return None
    return (first, split.channels) if isinstance(first.flows()[0], LappedSqueeze) else None


def _above(bands: int, bandwidth: Tensor) -> Tensor:
    """Which of so many bands reach beyond each bandwidth [B]: [B, bands]."""
    edges = torch.arange(1, bands + 1, device=bandwidth.device) / bands
    return edges > bandwidth[:, None] + 1e-9
