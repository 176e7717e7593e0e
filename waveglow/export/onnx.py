"""Vocoders as ONNX graphs: (mel, latents) to audio, for runtimes that know neither torch nor this library.

B: batch, M: mels, F: frames, T = F·hop samples. Latent z_i is [B, C_i, r_i·F], noise of temperature sigma and a base
density that the caller makes by its place (`noise.latent_noise`), so that a seed gives the same audio in every runtime.
Batch and frames are free. What a caller has to know is in the file's metadata: `OnnxVocoder` reads it from there.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from waveglow.audio.files import write_atomically
from waveglow.audio.mel_spec import MelSpec
from waveglow.audio.refine import MelRefiner
from waveglow.audio.stft import ConvSTFT
from waveglow.distribution import install_hint
from waveglow.export.fold import folded
from waveglow.export.onnx_runtime import METADATA, Latent, OnnxVocoder, needed
from waveglow.flows.base import coupling_nets
from waveglow.flows.likelihood import BASES
from waveglow.metrics.packages import quiet
from waveglow.models.flow_vocoder import FlowVocoder
from waveglow.models.reach import reach

OPSET = 18
TRACED_FRAMES = 16
MIN_TORCH = "2.12"  # before, torch.export refuses lengths that it can't tell; the extra `onnx` has it
CALIBRATION_FRAMES = 256  # of a mel, at most


def export_onnx(
    model: FlowVocoder,
    mel_spec: MelSpec,
    path: Path | str,
    *,
    refine: int = 0,
    drawn_sigma: float | None = None,
    int8_from: Iterable[npt.NDArray[np.float32]] = (),
) -> None:
    """Write a vocoder as one .onnx file.

    Arguments:
        mel_spec: the convention of its mels.
        refine: steps of refinement, a part of the graph.
        drawn_sigma: where given, the graph draws its own latents of that standard deviation, new ones in every run; the
            mel is then its only input, which is what sherpa-onnx expects.
        int8_from: mels [M, F] to measure ranges on; where given, the coupling nets compute with 8-bit integers.

    Raises ValueError where a package is missing or torch too old, a mel frame is no whole number of a latent's time
    steps, or the noise is drawn and int8 is asked for; OSError where the file can't be written.
    """
    onnx = needed("onnx")
    needed("onnxscript")
    if torch.__version__ < MIN_TORCH:
        raise ValueError(f"torch is {torch.__version__}, the export takes {MIN_TORCH} or newer; {install_hint('onnx')}")
    mels = list(int8_from)
    if mels and drawn_sigma is not None:
        raise ValueError("int8 needs the latents as inputs, to measure with the same noise; leave the drawn noise out")
    latents = latents_of(model)
    graph = _Graph(folded(model), _graph_refiner(mel_spec) if refine else None, refine)
    whole, inputs = (graph, latents) if drawn_sigma is None else (_WithNoise(graph, latents, drawn_sigma), [])
    least_frames = math.ceil(mel_spec.min_samples / model.hop) if refine else 1
    program = _traced(whole.eval(), model.n_mels, inputs, least_frames)
    proto = program.model_proto
    about = {
        "mel_spec": mel_spec.to_dict(),
        "latents": inputs,
        "least_frames": least_frames,
        "reach": _reach(model, mel_spec, refine),
        "refine": refine,
        "int8": bool(mels),
    }
    onnx.helper.set_model_props(
        proto,
        {
            METADATA: json.dumps(about),
            "model_type": "hifigan",  # what sherpa-onnx calls "one mel in, one waveform out"
            "sample_rate": str(mel_spec.sample_rate),
            "hop_length": str(mel_spec.hop),
            "num_mels": str(mel_spec.n_mels),
        },
    )
    content = proto.SerializeToString()
    write_atomically(Path(path), _in_int8(content, _names_of_net_weights(whole), mels) if mels else content)


def latents_of(model: FlowVocoder) -> list[Latent]:
    """(channels C_i, time steps a mel frame r_i) of each latent. Raises ValueError where r_i is no whole number."""
    frames = math.lcm(model.hop, model.group) // model.hop
    if frames > 1:
        raise ValueError(f"the model takes groups of {model.group} samples, more than a frame of {model.hop}")
    shapes = zip(model.latent_shapes(model.hop), model.bases, strict=True)
    return [Latent(channels, places, base) for (channels, places), base in shapes]


def _reach(model: FlowVocoder, mel_spec: MelSpec, refine: int) -> list[int]:
    """Frames before and after a piece that it depends on, refinement included."""
    seen = MelRefiner(mel_spec).frames_seen(refine)
    return [frames + seen for frames in reach(model)]


class _Graph(nn.Module):
    """mel [B, M, F] and latents to audio [B, T]."""

    def __init__(self, model: FlowVocoder, refiner: MelRefiner | None, steps: int) -> None:
        super().__init__()
        self.vocoder = model
        self.refiner = refiner
        self.steps = steps

    def forward(self, mel: Tensor, *zs: Tensor) -> Tensor:
        audio = self.vocoder.decode(zs, mel)
        return self.refiner(audio, mel, self.steps) if self.refiner else audio


class _WithNoise(nn.Module):
    """mel [B, M, F] to audio [B, T], the latents drawn in the graph."""

    def __init__(self, inner: _Graph, latents: list[Latent], sigma: float) -> None:
        super().__init__()
        self.inner = inner
        self.latents = latents
        self.sigma = sigma

    def forward(self, mel: Tensor) -> Tensor:
        batch, _, frames = mel.shape
        zs = [BASES[base].sample((batch, c, r * frames), self.sigma, None) for c, r, base in self.latents]
        return self.inner(mel, *zs)


def _graph_refiner(spec: MelSpec) -> MelRefiner:
    refiner = MelRefiner(spec)
    refiner.to_mel.stft, refiner.frames_at_once = ConvSTFT(spec), None
    return refiner


def _traced(graph: nn.Module, n_mels: int, latents: list[Latent], least_frames: int) -> Any:
    """torch's ONNXProgram, with batch and frames free."""
    batch, frames = torch.export.Dim("batch"), torch.export.Dim("frames", min=least_frames)
    mel = torch.zeros(2, n_mels, max(TRACED_FRAMES, 2 * least_frames))
    zs = [torch.zeros(2, c, r * mel.shape[2]) for c, r, _ in latents]
    free: dict[str, Any] = {"mel": {0: batch, 2: frames}}
    if latents:
        free["zs"] = tuple({0: batch, 2: r * frames} for _, r, _ in latents)
    with quiet(), torch.no_grad():
        return torch.onnx.export(
            graph,
            (mel, *zs),
            dynamo=True,
            dynamic_shapes=free,
            input_names=["mel", *(f"z{i}" for i in range(len(zs)))],
            output_names=["audio"],
            opset_version=OPSET,
            verbose=False,
        )


def _names_of_net_weights(graph: nn.Module) -> set[str]:
    """The weights that may be 8-bit: of the coupling nets, all but their last layer, whose output is log_s and t."""
    return {
        f"{name}.{inner}.weight"
        for name, net in coupling_nets(graph).items()
        for inner, module in net.named_modules()
        if isinstance(module, nn.Conv2d) and inner.split(".")[0] != "end"
    }


def _in_int8(content: bytes, weights: set[str], mels: list[npt.NDArray[np.float32]]) -> bytes:
    """The graph with the convolutions that have these weights in integers, whose ranges are measured on the mels."""
    onnx, quantization = needed("onnx"), needed("onnxruntime.quantization")
    nodes = [node for node in onnx.load_from_string(content).graph.node if weights.intersection(node.input)]
    with tempfile.TemporaryDirectory() as folder, quiet():
        source, target = Path(folder, "float32.onnx"), Path(folder, "int8.onnx")
        source.write_bytes(content)
        feeds = (OnnxVocoder(source).feed(mel[None, :, :CALIBRATION_FRAMES]) for mel in mels)
        quantization.quantize_static(
            source,
            target,
            _reader(quantization, feeds),
            nodes_to_quantize=[node.name for node in nodes],
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            activation_type=quantization.QuantType.QUInt8,
        )
        return target.read_bytes()


def _reader(quantization: Any, feeds: Iterator[Mapping[str, Any]]) -> Any:
    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> Mapping[str, Any] | None:
            return next(feeds, None)

    return Reader()
