"""A training step of a vocoder, in several forms, on synthetic audio.

Shapes: audio [B, T] in samples, mel [B, M, F] in frames.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from waveglow.audio.mel import preset
from waveglow.audio.mel_spectrogram import MelSpectrogram
from waveglow.audio.signals import hum
from waveglow.bench.measuring import require_cuda, require_positive
from waveglow.bench.plain import plain_conv1d
from waveglow.flows.base import coupling_nets
from waveglow.models.flow_vocoder import FlowVocoder
from waveglow.models.registry import build_vocoder
from waveglow.training.captured import CapturedGradients
from waveglow.vocoder import HALF

SPEC = preset("hifigan")
LR = 1e-4
PRECISION = {"plain-conv1d": "float32", "float32": "float32", "bf16": "bf16", "compiled": "bf16", "cuda-graphs": "bf16"}
FORMS = tuple(PRECISION)


def new_model(config: Mapping[str, Any]) -> FlowVocoder:
    """A vocoder of the registry with the weights that it begins with, the same ones every time."""
    torch.manual_seed(0)
    return build_vocoder(config)


def seconds_of(audio: Tensor) -> float:
    """Of a batch."""
    return audio.numel() / SPEC.sample_rate


def batch_for(model: FlowVocoder, batch: int, segment_samples: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(Audio [B, T] of synthetic hums, their mels [B, M, F]), T rounded up to whole groups and frames.

    Raises ValueError where a number isn't above 0.
    """
    require_positive("batch", batch)
    require_positive("segment_samples", segment_samples)
    unit, rate = math.lcm(model.group, model.hop), SPEC.sample_rate
    T = unit * math.ceil(segment_samples / unit)
    audio = torch.stack([torch.from_numpy(hum(T / rate, rate, voice=voice)) for voice in range(batch)])
    return audio.to(device), MelSpectrogram(SPEC)(audio).to(device)


class Step:
    """A training step of a copy of `model`, in one of FORMS."""

    def __init__(self, model: FlowVocoder, form: str, audio: Tensor, mel: Tensor) -> None:
        self.model = (plain_conv1d if form == "plain-conv1d" else copy.deepcopy)(model).train()
        self.audio, self.mel = audio, mel
        self.half = HALF.get(PRECISION[form])
        for net in coupling_nets(self.model).values() if form == "compiled" else ():
            net.compile()
        self.recorded = form == "cuda-graphs"
        if self.recorded:
            require_cuda(audio.device)
        self.gradients = CapturedGradients(self._gradients, self.model) if self.recorded else self._gradients

    def run(self) -> float:
        """Forward and backward pass; returns the loss in nats per sample."""
        if not self.recorded:
            self.model.zero_grad(set_to_none=True)
        return float(self.gradients(self.audio, self.mel)["loss"])

    def _gradients(self, audio: Tensor, mel: Tensor) -> dict[str, Tensor]:
        with torch.autocast(audio.device.type, self.half, enabled=self.half is not None):
            loss = -self.model(audio, mel).mean() / audio.shape[-1]
        loss.backward()
        return {"loss": loss.detach()}

    def losses(self, steps: int) -> list[float]:
        """Loss before each of so many steps of Adam, and after them all."""
        optimizer = torch.optim.Adam(self.model.parameters(), lr=LR)
        found = []
        for _ in range(steps):
            found.append(self.run())
            optimizer.step()
        return [*found, self.run()]
