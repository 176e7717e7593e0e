"""A layer of one's own: what it says of itself is enough for folding, streams, ONNX and training; silence is refused.

The vocoder here is of layers that no builder uses: Householder rotations and spline couplings.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from waveglow.audio.mel import preset
from waveglow.export.fold import folded
from waveglow.export.onnx import export_onnx
from waveglow.export.onnx_runtime import OnnxVocoder
from waveglow.flows.actnorm import ActNorm, initialize_
from waveglow.flows.base import Flow, coupling_nets, zero_log_det
from waveglow.flows.compose import Chain, MultiScale, Split
from waveglow.flows.coupling import ChannelMask, Coupling
from waveglow.flows.permute import Householder
from waveglow.flows.reshape import Squeeze
from waveglow.flows.spline import SplineCoupling, spline_numbers
from waveglow.models.flow_vocoder import FlowVocoder
from waveglow.models.reach import reach
from waveglow.nn.upsample import TransposedConvUpsample
from waveglow.nn.wavenet import WaveNet
from waveglow.vocoder import Vocoder

HOP, MELS, GROUP, BINS = 16, 4, 8, 4
SMALL = {"sample_rate": 8000, "n_fft": 64, "hop": HOP, "win": 64, "n_mels": MELS, "fmax": None}
SPEC = replace(preset("hifigan"), name="small", **SMALL, pad_left=24, pad_right=24)


def step(channels: int) -> list[Flow]:
    mask = ChannelMask(channels)
    outputs = mask.moved_channels * spline_numbers(BINS)
    net = WaveNet(mask.kept_channels, outputs, cond_channels=MELS * GROUP, n_channels=8, n_layers=2)
    return [ActNorm(channels), Householder(channels), SplineCoupling(net, mask, bins=BINS, bound=1.0)]


def vocoder_of(*levels: nn.Module) -> FlowVocoder:
    upsample = TransposedConvUpsample(MELS, hop=HOP, kernel_size=2 * HOP)
    return FlowVocoder(MultiScale(levels), upsample, hop=HOP, n_mels=MELS)


@pytest.fixture
def model() -> FlowVocoder:
    torch.manual_seed(0)
    levels = Chain([Squeeze(GROUP), *step(GROUP)]), Split(2), Chain([*step(GROUP - 2), *step(GROUP - 2)])
    made = vocoder_of(*levels)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return made


def mels(clips: int, frames: int) -> Tensor:
    return torch.randn(clips, MELS, frames, generator=torch.Generator().manual_seed(frames)) - 5


@torch.no_grad()
def test_a_vocoder_of_splines_folds(model):
    model, one = model.double(), folded(model.double())
    audio, mel = torch.randn(2, 10 * HOP).double(), mels(2, 10).double()
    zs, log_det = model.encode(audio, mel)
    torch.testing.assert_close(one.encode(audio, mel), (zs, log_det), rtol=0, atol=1e-9)
    torch.testing.assert_close(one.decode(zs, mel), audio, rtol=0, atol=1e-9)
    assert [layer.rotation is None for layer in one.modules() if isinstance(layer, Householder)] == [False] * 3
    assert not any("parametrizations" in name for name in one.state_dict())
    halved = folded(model.float(), nets=torch.bfloat16)
    assert {p.dtype for net in coupling_nets(halved).values() for p in net.parameters()} == {torch.bfloat16}
    assert halved.flow.parts()[0].flows()[2].rotation.dtype is torch.float32


@pytest.mark.parametrize("chunk", [1, 7])
def test_a_stream_of_it_is_what_it_synthesizes_at_once(model, chunk):
    vocoder, mel = Vocoder(model, SPEC), mels(2, 60)
    assert vocoder.reach() == (5 + 1, 5)  # 3 nets see 1 + 2 places of 8 samples each, and the upsampling a frame
    whole = vocoder.synthesize(mel, sigma=0.8, seed=[1, 2])
    pieces = [*vocoder.stream(mel.split(chunk, dim=-1), sigma=0.8, seed=[1, 2])]
    assert len(pieces) > 3
    torch.testing.assert_close(torch.cat(pieces, -1), whole, rtol=0, atol=1e-4 * float(whole.abs().max()))


def test_it_is_the_same_in_onnx(model, tmp_path):
    export_onnx(model, SPEC, tmp_path / "spline.onnx")
    for frames in (4, 50):
        mel = mels(2, frames)
        expected = Vocoder(model, SPEC).synthesize(mel, sigma=0.8, seed=[7, 8]).numpy()
        audio = OnnxVocoder(tmp_path / "spline.onnx").synthesize(mel.numpy(), sigma=0.8, seed=[7, 8])
        np.testing.assert_allclose(audio, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_its_nets_are_quantized_and_nothing_else(model, tmp_path):
    mel = mels(1, 50)
    export_onnx(model, SPEC, tmp_path / "int8.onnx", int8_from=[mel[0].numpy()])
    expected = Vocoder(model, SPEC).synthesize(mel, sigma=0.8).numpy()
    error = OnnxVocoder(tmp_path / "int8.onnx").synthesize(mel.numpy(), sigma=0.8) - expected
    assert 0 < error.std() < 0.1 * expected.std()


@pytest.mark.parametrize("memory", ["none", "checkpoint"])
def test_a_step_under_autocast_trains_it(model, memory):
    for layer in model.modules():
        if isinstance(layer, Chain):
            layer.memory = memory
    audio, mel = 0.3 * torch.randn(4, 20 * HOP), mels(4, 20)
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=3e-3), []
    for _ in range(8):
        with torch.autocast("cpu", torch.bfloat16):
            loss = -model(audio, mel).mean() / audio.shape[-1]
        assert loss.dtype is torch.float32
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.1


# ---- A layer that says too little ----------------------------------------------------------------------------------


class Silent(Flow):
    """Shifts places in time, and says nothing of it."""

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x.roll(1, -1), zero_log_det(x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return z.roll(-1, -1)


class Halved(Silent):
    """Makes two places one, and says that it looks nowhere else."""

    def out_shape(self, shape):
        return (2 * shape[0], shape[1] // 2)

    def reach_places(self, shape):
        return 0


class Centred(nn.Module):
    """Has its own idea of data-dependent initialization."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("initialized", torch.tensor(False))

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x, zero_log_det(x)

    def set_statistics_(self, x: Tensor, name: str) -> None:
        self.seen = (name, x.mean().item())
        self.initialized.fill_(True)


def test_a_layer_of_ones_own_is_initialized_from_data():
    layers = nn.Sequential(Centred())
    assert initialize_(layers, torch.full((2, 3, 4), 5.0)) == 1
    assert layers[0].seen == ("0", 5.0)
    assert initialize_(layers, torch.zeros(2, 3, 4)) == 0


class SilentNet(nn.Module):
    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return torch.cat([x, x], dim=1)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Silent(), r"Silent does not say how far it looks; define reach_places\(shape\)"),
        (
            Coupling(SilentNet(), ChannelMask(8)),
            r"the network SilentNet does not say how far it looks; define reach_places",
        ),
        (SplineCoupling(SilentNet(), ChannelMask(8)), "the network SilentNet does not say how far it looks"),
    ],
)
def test_a_layer_that_does_not_say_how_far_it_looks_is_not_streamed(layer, message):
    for levels in ([Chain([Squeeze(8), layer])], [Squeeze(8), Split(2, prior=layer)]):
        vocoder = Vocoder(vocoder_of(*levels), SPEC)
        with pytest.raises(NotImplementedError, match=message):
            next(vocoder.stream([mels(1, 20)]))


def test_a_factor_that_is_not_that_of_the_shapes_is_refused():
    with pytest.raises(ValueError, match="Halved makes 2 places of 4, and its factor is 1; set factor to 2"):
        reach(vocoder_of(Squeeze(2), Chain([Halved(), Squeeze(4)])))


@pytest.mark.parametrize("method", ["forward", "inverse"])
def test_a_layer_without_a_direction_says_so(method):
    with pytest.raises(NotImplementedError, match=rf"Flow defines no {method}\("):
        getattr(Flow(), method)(torch.randn(1, 2, 3))
