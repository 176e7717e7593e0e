"""One vocoder in every form that it can be run in: as published, folded, in half precision, compiled, exported."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from waveglow.audio.mel import MelSpec
from waveglow.audio.signals import hum
from waveglow.bench import peers
from waveglow.bench.measuring import require_cuda
from waveglow.bench.plain import cache_inverses_, plain_conv1d
from waveglow.export.onnx import export_onnx
from waveglow.export.onnx_runtime import OnnxVocoder
from waveglow.models.flow_vocoder import FlowVocoder
from waveglow.vocoder import Precision, Vocoder


@torch.no_grad()
def awaken_(model: nn.Module) -> None:
    """Random numbers for the last layers that begin at zero, so that a net computed wrongly sounds wrong."""
    for name, parameter in model.named_parameters():
        if ".net.end." in name and name.endswith("weight"):
            nn.init.normal_(parameter, std=0.01)


@dataclass(frozen=True)
class Subject:
    """What is synthesized by every form: a model and a mel [M, F]."""

    model: FlowVocoder
    spec: MelSpec
    mel: Tensor
    device: torch.device
    refine: int

    def vocoder(self, precision: Precision = "float32", *, fused: bool = False) -> Vocoder:
        """What a user has: folded."""
        return Vocoder(self.model, self.spec, precision=precision, device=self.device, refine=self.refine, fused=fused)


Synthesis = Callable[[], Tensor]


@dataclass(frozen=True)
class Form:
    """A way to run a model: in which numbers, how it is made, and whether that may fail (and takes a minute).

    A `peer` is another vocoder, for as many seconds.
    """

    precision: str
    make: Callable[[Subject], Synthesis]
    optional: bool = False
    peer: bool = False


def _unfolded(subject: Subject, model: FlowVocoder) -> Synthesis:
    vocoder = subject.vocoder()
    vocoder.model = model.eval()
    return partial(vocoder.synthesize, subject.mel)


def _plain(subject: Subject) -> Synthesis:
    model = plain_conv1d(subject.model)
    cache_inverses_(model)
    return _unfolded(subject, model)


def _eager(subject: Subject) -> Synthesis:
    return _unfolded(subject, subject.model)


def _folded(subject: Subject, precision: Precision = "float32", *, fused: bool = False) -> Synthesis:
    return partial(subject.vocoder(precision, fused=fused).synthesize, subject.mel)


def _compiled(subject: Subject, mode: str | None = None) -> Synthesis:
    if mode:
        require_cuda(subject.device)
    vocoder = subject.vocoder("bf16")
    decode = torch.compile(vocoder.model.decode, dynamic=False, mode=mode)
    vocoder.model.decode = decode  # type: ignore[method-assign]
    return partial(vocoder.synthesize, subject.mel)


def _onnx(subject: Subject, int8: bool = False) -> Synthesis:
    if subject.device.type != "cpu":
        raise ValueError(f"onnxruntime is measured on a CPU, and this runs on {subject.device}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder, "vocoder.onnx")
        mels = calibration_mels(subject) if int8 else ()
        export_onnx(subject.model, subject.spec, path, refine=subject.refine, int8_from=mels)
        vocoder = OnnxVocoder(path, threads=torch.get_num_threads())
    mel = subject.mel.numpy()
    return lambda: torch.from_numpy(vocoder.synthesize(mel))


def _peer(subject: Subject, make: Callable[[float], peers.Peer], *, bf16: bool = False) -> Synthesis:
    peer = make(subject.mel.shape[-1] * subject.model.hop / subject.spec.sample_rate).to(subject.device)
    return partial(peer, bf16=bf16)


def calibration_mels(subject: Subject) -> Sequence[Any]:
    """Mels of two seconds of each of four hums, none of which is that which is measured."""
    vocoder = subject.vocoder()
    rate = subject.spec.sample_rate
    return [vocoder.mel(hum(2.0, rate, voice=voice), rate).cpu().numpy() for voice in range(1, 5)]


FORMS = {
    "plain-conv1d": Form("float32", _plain),
    "eager": Form("float32", _eager),
    "folded": Form("float32", _folded),
    "bf16": Form("bf16", partial(_folded, precision="bf16")),
    "fused": Form("float32", partial(_folded, fused=True)),
    "fused-bf16": Form("bf16", partial(_folded, precision="bf16", fused=True)),
    "fp16": Form("fp16", partial(_folded, precision="fp16")),
    "compiled": Form("bf16", _compiled, optional=True),
    "cuda-graphs": Form("bf16", partial(_compiled, mode="reduce-overhead"), optional=True),
    "onnx": Form("float32", _onnx, optional=True),
    "onnx-int8": Form("int8", partial(_onnx, int8=True), optional=True),
    "hifigan-v1": Form("float32", partial(_peer, make=peers.hifigan_v1), peer=True),
    "vocos": Form("float32", partial(_peer, make=peers.vocos), peer=True),
    "vocos-bf16": Form("bf16", partial(_peer, make=peers.vocos, bf16=True), peer=True),
}

PEERS = tuple(name for name, form in FORMS.items() if form.peer)


def default_forms(model: str, device: torch.device) -> list[str]:
    """Those whose making takes no many minutes: WaveGlow is neither compiled for a CPU nor quantized."""
    left_out = {"fp16"} if device.type != "cuda" else set()
    if model == "lapglow":
        left_out |= {"fused", "fused-bf16"}
    else:
        left_out |= {"onnx-int8", *PEERS} | ({"compiled"} if device.type == "cpu" else set())
    return [form for form in FORMS if form not in left_out]
