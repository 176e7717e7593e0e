"""Recordings narrower than their sample rate: the likelihood of the bands that they have.

In a lapglow the highest bands leave first, independent of the others given the mel: z = x·s(mel). So a band that a
recording lacks can be left out of its likelihood exactly: it is filled, the flow runs as ever, and the log-density of
what was filled is taken off again. It is filled with ±1 (of another base than N(0, 1), its `unmoved`), since z² = 1 is
where its gradient by s is zero, element by element. (Drawn from N(0, 1), it is zero on average only, and where no
recording says what is right, s walked off to e⁸.) Empty bands are neither learned nor paid for; wide recordings teach
what lies there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from waveglow.flows.base import Flow
from waveglow.flows.compose import Chain, Split
from waveglow.flows.likelihood import BASES
from waveglow.models.flow_vocoder import FlowVocoder


@torch.no_grad()
def filled(model: FlowVocoder, audio: Tensor, mel: Tensor, bandwidth: Tensor) -> tuple[Tensor, Tensor]:
    """audio [B, T] with the first-leaving bands above `bandwidth` [B] filled, and the log-density [B] of these in nats.

    Bandwidths are shares of half the sample rate. Other bands, and all of a model whose highest bands don't leave
    first, stay as they are. `log_prob(audio) − nats` is the log-likelihood of the bands that the recording has.
    """
    whitening = _whitening(model)
    if whitening is None or _nothing_lacks(bandwidth):
        return audio, torch.zeros(len(audio), device=audio.device)
    lapped, norm, free = whitening
    cond = model.conditioning(mel, audio.shape[-1])
    bands, _ = lapped(audio.unsqueeze(1))
    z, _ = norm(bands, cond)
    log_s = (norm(bands + 1, cond)[0] - z).log()  # affine, element by element
    lacking = _above(z.shape[1], bandwidth) & (torch.arange(z.shape[1], device=z.device) >= z.shape[1] - free)
    base = BASES[model.bases[0]]
    signs = torch.randint_like(z, 2) * 2 - 1
    z = torch.where(lacking.unsqueeze(2), base.unmoved * signs, z)
    nats_of_each = base.log_prob([z.new_full((1, 1), base.unmoved)])
    nats = torch.where(lacking.unsqueeze(2), log_s + nats_of_each, 0.0).flatten(1).sum(1)
    return lapped.inverse(norm.inverse(z, cond)).squeeze(1), nats


def spliced(model: FlowVocoder, audio: Tensor, other: Tensor, bandwidth: Tensor) -> Tensor:
    """audio [B, T] below `bandwidth` [B], `other` above it; all of `audio` where `filled` fills nothing."""
    whitening = _whitening(model)
    if whitening is None or _nothing_lacks(bandwidth):
        return audio
    lapped = whitening[0]
    low, high = lapped(audio.unsqueeze(1))[0], lapped(other.unsqueeze(1))[0]
    return lapped.inverse(torch.where(_above(low.shape[1], bandwidth).unsqueeze(2), high, low)).squeeze(1)


def _nothing_lacks(bandwidth: Tensor) -> bool:
    """A GPU isn't asked, for one would have to wait for the answer."""
    return bandwidth.device.type == "cpu" and bool((bandwidth >= 1).all())


def _whitening(model: FlowVocoder) -> tuple[Flow, Flow, int] | None:
    """The layer that makes bands, the norm behind it, and how many of the highest leave then; None for other models."""
    first, split = (*model.flow.parts(), None)[:2]
    if not isinstance(first, Chain) or not isinstance(split, Split) or split.leaves != "last":
        return None
    layers = first.flows()
    if len(layers) != 2 or not layers[0].filter_bank or not layers[1].elementwise_affine:
        return None
    return layers[0], layers[1], split.channels


def _above(bands: int, bandwidth: Tensor) -> Tensor:
    """Which of so many bands reach beyond each bandwidth [B]: [B, bands]."""
    return torch.arange(1, bands + 1, device=bandwidth.device) / bands > bandwidth[:, None]
