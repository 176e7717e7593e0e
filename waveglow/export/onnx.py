"""Vocoders as ONNX graphs: (mel, latents) to audio, for runtimes that know neither torch nor this library.

B: batch, M: mels, F: frames, T = F·hop samples. Latent z_i is [B, C_i, r_i·F], noise of temperature sigma and a base
density that the caller makes by its place (`noise.latent_noise`), so that a seed gives the same audio in every runtime.
Batch and frames are free. What a caller has to know is in the file's metadata (`_about`; docs/howto/runtimes.md reads
it); `OnnxVocoder` reads it from there.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from waveglow.audio.files import write_atomically
from waveglow.audio.mel_spec import MelSpec
from waveglow.audio.refine import Refinement, Scheme, require_refinable
from waveglow.distribution import install_hint
from waveglow.export.fold import folded
from waveglow.export.onnx_runtime import METADATA, SIGMA, Latent, drawn_latents, needed
from waveglow.export.refinement import GraphRefiner
from waveglow.flows.base import coupling_nets
from waveglow.flows.likelihood import BASES
from waveglow.metrics.packages import quiet
from waveglow.models.flow_vocoder import FlowVocoder
from waveglow.models.reach import reach
from waveglow.noise import BLOCK, HEAVY_TAILED

OPSET = 18
TRACED_FRAMES = 16
MIN_TORCH = "2.12"  # before, torch.export refuses lengths that it can't tell; the extra `onnx` has it
CALIBRATION_FRAMES = 256  # of a mel, at most
COLDEST = 1e-3  # sigma at which a heavy-tailed base has lost its tails to the last bit


def export_onnx(
    model: FlowVocoder,
    mel_spec: MelSpec,
    path: Path | str,
    *,
    refine: int | Refinement = 0,
    drawn_sigma: float | None = None,
    int8_from: Iterable[npt.NDArray[np.float32]] = (),
) -> None:
    """Write a vocoder as one .onnx file, of the lowest IR version that its operators allow.

    Arguments:
        mel_spec: the convention of its mels.
        refine: as of `Vocoder`; the number of steps is an optional input, `steps` []. 0 leaves refinement out of the
            graph, and the input with it.
        drawn_sigma: where given, the graph draws its own latents of that temperature, new ones in every run; the mel
            is then its only input, which is what sherpa-onnx expects, beside the optional `sigma` [].
        int8_from: mels [M, F] to measure ranges on; where given, the coupling nets compute with 8-bit integers.

    Raises ValueError where a package is missing or torch too old, weights are broken, windows overlap too little for
    refinement, or a mel frame is no whole number of a latent's time steps; OSError where the file can't be written.
    """
    onnx = needed("onnx")
    needed("onnxscript")
    if torch.__version__ < MIN_TORCH:
        raise ValueError(f"torch is {torch.__version__}, the export takes {MIN_TORCH} or newer; {install_hint('onnx')}")
    mels, latents = list(int8_from), latents_of(model)
    refinement = refine if isinstance(refine, Refinement) else Refinement.usual(refine)
    refines = bool(require_refinable(mel_spec, refinement).steps or refinement.stream_steps)
    decoder = _Decoder(folded(model)).eval()
    proto = _traced_decoder(decoder, model.n_mels, latents, "sampled" if refines else "audio")
    if mels:
        proto = _in_int8(proto, _names_of_net_weights(decoder), mels, latents)
    if refines:
        proto = _followed(proto, _traced_refiner(mel_spec, refinement.scheme))
        proto = _with_option(proto, "steps", np.array(refinement.steps))
    if drawn_sigma is not None:
        proto = _followed(_traced_noise(model.n_mels, latents), proto)
        proto = _with_option(proto, "sigma", np.array(drawn_sigma, np.float32))
    proto.ir_version = onnx.helper.find_min_ir_version_for(proto.opset_import)
    about = {**_about(decoder.vocoder, mel_spec, latents, drawn_sigma), **refinement.info(), "int8": bool(mels)}
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
    write_atomically(Path(path), proto.SerializeToString())


def _about(
    model: FlowVocoder, mel_spec: MelSpec, latents: Sequence[Latent], drawn_sigma: float | None
) -> dict[str, Any]:
    """All that a runtime needs besides the graph, in JSON types."""
    drawn = drawn_sigma is not None
    heavy_tailed = any(z.base == "heavy-tailed" for z in latents)
    return {
        "mel_spec": mel_spec.to_dict(),
        "latents": [] if drawn else latents,
        "sigma": SIGMA if drawn_sigma is None else drawn_sigma,
        "noise": None
        if drawn
        else {
            "generator": "numpy.random.Philox",
            "key": ["seed", 0],
            "counter": [0, 0, "block", "latent"],
            "block": BLOCK,
            "heavy-tailed": HEAVY_TAILED._asdict() if heavy_tailed else None,
        },
        "reach": reach(model),
        "group": model.group,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def latents_of(model: FlowVocoder) -> list[Latent]:
    """(channels C_i, time steps a mel frame r_i) of each latent. Raises ValueError where r_i is no whole number."""
    frames = math.lcm(model.hop, model.group) // model.hop
    if frames > 1:
        raise ValueError(f"the model takes groups of {model.group} samples, more than a frame of {model.hop}")
    shapes = zip(model.latent_shapes(model.hop), model.bases, strict=True)
    return [Latent(channels, places, base) for (channels, places), base in shapes]


class _Decoder(nn.Module):
    """mel [B, M, F] and latents to audio [B, T]."""

    def __init__(self, model: FlowVocoder) -> None:
        super().__init__()
        self.vocoder = model

    def forward(self, mel: Tensor, *zs: Tensor) -> Tensor:
        return self.vocoder.decode(zs, mel)


class _Noise(nn.Module):
    """mel [B, M, F] and sigma [] to latents, drawn in the graph."""

    def __init__(self, latents: Sequence[Latent]) -> None:
        super().__init__()
        self.latents = latents

    def forward(self, mel: Tensor, sigma: Tensor) -> tuple[Tensor, ...]:
        batch, _, frames = mel.shape
        shapes = [(batch, z.channels, z.places * frames) for z in self.latents]
        return tuple(sigma * _drawn(z.base, shape, sigma) for z, shape in zip(self.latents, shapes, strict=True))


def _drawn(base: str, shape: tuple[int, ...], sigma: Tensor) -> Tensor:
    """What is to be multiplied by sigma; of "heavy-tailed" by `ScaleMixture`, whose sigma is no tensor."""
    if base != "heavy-tailed":
        return BASES[base].sample(shape, 1.0, None)
    shares, scales = map(torch.tensor, HEAVY_TAILED)
    heights = (shares / scales).log()
    weights = scales * ((heights - heights.max()) / sigma.clamp(COLDEST, 1.0).square()).exp()
    below = (weights / weights.sum()).cumsum(0)
    uniform, scale = torch.rand(shape), torch.full(shape, HEAVY_TAILED.scales[0])
    for i, wider in enumerate(HEAVY_TAILED.scales[1:]):
        scale = torch.where(uniform < below[i], scale, wider)
    return scale * torch.randn(shape)


def _traced_decoder(decoder: _Decoder, n_mels: int, latents: Sequence[Latent], output: str) -> Any:
    batch, frames = _free()
    zs = [torch.zeros(2, z.channels, z.places * TRACED_FRAMES) for z in latents]
    shapes = {"mel": {0: batch, 2: frames}, "zs": tuple({0: batch, 2: z.places * frames} for z in latents)}
    names = ["mel", *(f"z{i}" for i in range(len(zs)))]
    return _traced(decoder, (torch.zeros(2, n_mels, TRACED_FRAMES), *zs), shapes, names, [output])


def _traced_refiner(spec: MelSpec, scheme: Scheme) -> Any:
    refiner = GraphRefiner(spec, scheme=scheme).eval()
    batch, frames = _free(least := math.ceil(spec.min_samples / spec.hop))
    traced = max(TRACED_FRAMES, 2 * least)
    example = torch.zeros(2, traced * spec.hop), torch.zeros(2, spec.n_mels, traced), torch.tensor(2)
    shapes = {"audio": {0: batch, 1: spec.hop * frames}, "mel": {0: batch, 2: frames}, "steps": None}
    return _prefixed(_traced(refiner, example, shapes, ["sampled", "mel", "steps"], ["audio"]), "refinement/")


def _traced_noise(n_mels: int, latents: Sequence[Latent]) -> Any:
    batch, frames = _free()
    example = torch.zeros(2, n_mels, TRACED_FRAMES), torch.tensor(1.0)
    shapes = {"mel": {0: batch, 2: frames}, "sigma": None}
    names = [f"z{i}" for i in range(len(latents))]
    return _prefixed(_traced(_Noise(latents), example, shapes, ["mel", "sigma"], names), "noise/")


def _free(least_frames: int = 1) -> tuple[Any, Any]:
    """The axes that are free: batch, and a mel's frames."""
    return torch.export.Dim("batch"), torch.export.Dim("frames", min=least_frames)


def _traced(module: nn.Module, example: tuple[Tensor, ...], shapes: Any, inputs: list[str], outputs: list[str]) -> Any:
    """The ONNX model of a module, with the axes free that `shapes` names."""
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            example,
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=inputs,
            output_names=outputs,
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    used = _used(proto.graph)  # the exporter leaves some over, of which onnxruntime warns
    kept = [tensor for tensor in proto.graph.initializer if tensor.name in used]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    return proto


def _used(graph: Any) -> set[str]:
    """The names that its nodes take, those in loops too, and its outputs."""
    names = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    return names.union(*(_used(inner) for node in graph.node for inner in _inner(node)))


def _prefixed(proto: Any, prefix: str) -> Any:
    """With that before all names but those of inputs and outputs; `onnx.compose.add_prefix` forgets a loop's."""
    kept = {"", *(value.name for value in (*proto.graph.input, *proto.graph.output))}

    def rename(graph: Any) -> None:
        named = [*graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info]
        for entry in named:
            entry.name = entry.name if entry.name in kept else prefix + entry.name
        for node in graph.node:
            node.input[:] = [name if name in kept else prefix + name for name in node.input]
            node.output[:] = [name if name in kept else prefix + name for name in node.output]
            for inner in _inner(node):
                rename(inner)

    rename(proto.graph)
    return proto


def _inner(node: Any) -> list[Any]:
    """A loop's body."""
    return [attribute.g for attribute in node.attribute if attribute.HasField("g")]


def _followed(first: Any, second: Any) -> Any:
    """One model of two: what `second` takes by the name of an input or output of `first` is that."""
    helper = needed("onnx").helper
    known = {value.name for value in (*first.graph.input, *first.graph.output)}
    graph = helper.make_graph(
        [*first.graph.node, *second.graph.node],
        first.graph.name,
        [*first.graph.input, *(value for value in second.graph.input if value.name not in known)],
        second.graph.output,
        [*first.graph.initializer, *second.graph.initializer],
    )
    opsets = {entry.domain: entry for entry in (*first.opset_import, *second.opset_import)}
    return helper.make_model(graph, opset_imports=[*opsets.values()], producer_name=first.producer_name)


def _with_option(proto: Any, name: str, value: npt.NDArray[Any]) -> Any:
    """With that input optional: an input that has an initializer is that where a caller gives none."""
    proto.graph.initializer.append(needed("onnx").numpy_helper.from_array(value, name))
    return proto


def _names_of_net_weights(graph: nn.Module) -> set[str]:
    """The weights that may be 8-bit: of the coupling nets, all but their last layer, whose output is log_s and t."""
    return {
        f"{name}.{inner}.weight"
        for name, net in coupling_nets(graph).items()
        for inner, module in net.named_modules()
        if isinstance(module, nn.Conv2d) and inner.split(".")[0] != "end"
    }


def _in_int8(proto: Any, weights: set[str], mels: list[npt.NDArray[np.float32]], latents: Sequence[Latent]) -> Any:
    """The graph with the convolutions that have these weights in integers, whose ranges are measured on the mels."""
    onnx, quantization = needed("onnx"), needed("onnxruntime.quantization")
    nodes = [node.name for node in proto.graph.node if weights.intersection(node.input)]
    feeds = (
        {"mel": mel, **drawn_latents(latents, mel.shape[-1], sigma=SIGMA, seeds=[0])}
        for mel in (mel[None, :, :CALIBRATION_FRAMES] for mel in mels)
    )
    with tempfile.TemporaryDirectory() as folder, quiet():
        source, target = Path(folder, "float32.onnx"), Path(folder, "int8.onnx")
        source.write_bytes(proto.SerializeToString())
        quantization.quantize_static(
            source,
            target,
            _reader(quantization, feeds),
            nodes_to_quantize=nodes,
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            activation_type=quantization.QuantType.QUInt8,
        )
        return onnx.load_model(target)


def _reader(quantization: Any, feeds: Iterator[Mapping[str, Any]]) -> Any:
    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> Mapping[str, Any] | None:
            return next(feeds, None)

    return Reader()
