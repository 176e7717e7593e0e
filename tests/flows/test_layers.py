"""What is particular to one layer; what all of them promise is in test_contract.py."""

import copy
import math
import warnings

import numpy as np
import pytest
import torch
from of_mps import OfMps, moved_to_mps  # beside this folder
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from waveglow.audio.io import load_audio
from waveglow.audio.mel import preset
from waveglow.audio.mel_files import read_mel
from waveglow.export.fold import folded
from waveglow.flows import lapped
from waveglow.flows.actnorm import ActNorm, ConditionalActNorm, initialize_
from waveglow.flows.compose import Chain, MultiScale, Split
from waveglow.flows.coupling import FORMS, ChannelMask, CheckerboardMask, Coupling, RowsAboveMask
from waveglow.flows.lapped import LappedSqueeze
from waveglow.flows.likelihood import STEP_16_BIT, bits_per_sample, standard_normal_log_prob
from waveglow.flows.permute import Householder, InvertibleConv, InvertibleConvLU, Swap
from waveglow.flows.reshape import Squeeze
from waveglow.models.flow_vocoder import FlowVocoder
from waveglow.models.registry import build
from waveglow.nn.image_nets import GlowNet
from waveglow.nn.separable import SeparableConv
from waveglow.nn.upsample import Repeat
from waveglow.nn.wavenet import WaveNet
from waveglow.noise import BLOCK, Purpose, dequantization_noise, latent_noise, philox

# ---- The lapped squeeze: channels are bands ------------------------------------------------------------------------


@pytest.mark.parametrize("bands", [15, 16])
def test_a_tone_lands_in_its_band(bands):
    n = torch.arange(40 * bands, dtype=torch.float64)
    for k in range(bands):
        tone = torch.sin(math.pi * (k + 0.5) / bands * n + 0.3)
        z, _ = LappedSqueeze(bands)(tone[None, None])
        energy = z[0, :, 2:-2].square().mean(1)
        assert energy.argmax() == k
        assert energy[max(0, k - 1) : k + 2].sum() > 0.95 * energy.sum()


def test_inner_places_are_the_mdct_with_a_sine_window():
    torch.manual_seed(0)
    M = 8
    x = torch.randn(1, 1, 5 * M, dtype=torch.float64)
    z, _ = LappedSqueeze(M)(x)
    n, k = torch.arange(2 * M, dtype=torch.float64)[:, None] + 0.5, torch.arange(M, dtype=torch.float64) + 0.5
    window = torch.sin(math.pi * n / (2 * M))
    half = M // 2
    basis = math.sqrt(2 / M) * window * torch.cos(math.pi / M * (n - half) * k)
    torch.testing.assert_close(z[0, :, 2], basis.T @ x[0, 0, 2 * M - half : 4 * M - half])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_its_tables_are_exact_whatever_it_was_cast_to_before(dtype):
    x = torch.randn(1, 2, 5 * 16).to(dtype)
    cast = LappedSqueeze(16)
    for before in (torch.bfloat16, torch.float32):
        cast(x.to(before))
        cast.to(before)
    assert torch.equal(cast.to(dtype)(x)[0], LappedSqueeze(16)(x)[0])


def test_a_table_is_made_once_for_each_dtype_and_device(monkeypatch):
    made, make = [], lapped.dct_basis
    monkeypatch.setattr(lapped, "dct_basis", lambda *of: made.append(of[1]) or make(*of))
    layer, x = LappedSqueeze(4), torch.randn(1, 1, 12)
    for _ in range(2):
        layer.inverse(layer(x)[0])
        layer.inverse(layer(x.double())[0])
    assert made == [torch.float32, torch.float64]
    twin = copy.deepcopy(layer)
    assert torch.equal(twin(x)[0], layer(x)[0])
    assert len(made) == 2
    assert not layer.state_dict()


def test_tables_made_for_synthesis_serve_training():
    layer, x = LappedSqueeze(4), torch.randn(1, 1, 12)
    with torch.inference_mode():
        layer(x)
    weight = torch.ones((), requires_grad=True)
    layer(weight * x)[0].square().sum().backward()
    assert weight.grad.isfinite()


def test_tables_of_a_trace_stay_in_its_graph():
    layer, x = LappedSqueeze(4), torch.randn(1, 1, 12)
    torch._dynamo.reset()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(x)[0], LappedSqueeze(4)(x)[0])
    exported = torch.export.export(layer, (x,)).module()
    assert torch.equal(exported(x)[0], LappedSqueeze(4)(x)[0])
    with FakeTensorMode(allow_non_fake_inputs=True):
        layer(torch.randn(1, 1, 12))
    assert not layer.tables
    assert layer(x)[0].isfinite().all()


def test_a_model_without_memory_for_its_weights_has_no_tables_either():
    with torch.device("meta"):
        model = build({"name": "lapglow", "bands": 6144, "hop": 6144})
        layer = LappedSqueeze(6144)
    of_model = [part for part in model.modules() if isinstance(part, LappedSqueeze)]
    assert [len(part.tables) for part in (*of_model, layer)] == [0, 0]


def test_a_conditional_actnorm_is_initialized_once_to_a_mean_square_of_1():
    torch.manual_seed(0)
    norm = ConditionalActNorm(3, nn.Conv1d(2, 3, 1))
    nn.init.zeros_(norm.net.weight)
    nn.init.zeros_(norm.net.bias)
    x, cond = torch.randn(4, 3, 50) * torch.tensor([0.01, 1.0, 30.0])[:, None], torch.randn(4, 2, 50)
    assert initialize_(norm, x, cond) == 1
    z, _ = norm(x, cond)
    torch.testing.assert_close(z.square().mean((0, 2)), torch.ones(3))
    assert initialize_(norm, 2 * x, cond) == 0


# ---- ActNorm: data-dependent initialization ------------------------------------------------------------------------


@pytest.fixture
def vocoder():
    torch.manual_seed(0)
    model = build(
        {"name": "waveglow", "n_mels": 4, "hop": 16, "n_channels": 8, "n_layers": 2, "n_flows": 3, "n_early_every": 1}
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.15)
    return model


@pytest.fixture
def batches():
    """Three batches of unlike loudness and offset, as one: statistics of any one of them would miss the others'."""
    torch.manual_seed(1)
    audio = torch.cat([torch.randn(4, 96), 0.1 * torch.randn(4, 96) + 2, 3 * torch.randn(4, 96) - 1])
    return audio, torch.randn(12, 4, 6)


def test_initialize_gives_every_actnorm_of_a_model_mean_0_and_variance_1(vocoder, batches):
    norms = [m for m in vocoder.modules() if isinstance(m, ActNorm)]
    outputs = []
    for norm in norms:
        norm.register_forward_hook(lambda norm, x, y: outputs.append(y[0]))
    assert initialize_(vocoder, *batches) == len(norms) == 3
    outputs.clear()
    vocoder(*batches)
    for z in outputs:
        rows = z.transpose(0, 1).flatten(1)
        torch.testing.assert_close(rows.mean(1), torch.zeros(len(rows)), rtol=0, atol=1e-5)
        torch.testing.assert_close(rows.var(1, correction=0), torch.ones(len(rows)), rtol=0, atol=1e-4)


def test_a_second_initialization_changes_nothing(vocoder, batches):
    audio, mel = batches
    initialize_(vocoder, audio, mel)
    state = {name: value.clone() for name, value in vocoder.state_dict().items()}
    assert initialize_(vocoder, 5 * audio + 1, mel) == 0
    assert all(torch.equal(value, state[name]) for name, value in vocoder.state_dict().items())


def test_initialized_is_saved_with_the_state(vocoder, batches):
    norm = next(m for m in vocoder.modules() if isinstance(m, ActNorm))
    assert not norm.initialized
    initialize_(vocoder, *batches)
    fresh = ActNorm(norm.bias.numel())
    fresh.load_state_dict(norm.state_dict())
    assert fresh.initialized
    assert initialize_(fresh, torch.randn(2, 8, 5)) == 0


def test_forward_alone_initializes_nothing():
    norm = ActNorm(3)
    x = torch.randn(2, 3, 5) + 4
    z, log_det = norm(x)
    assert torch.equal(z, x)
    assert not log_det.any()
    assert not norm.initialized


def test_constant_channels_are_named_in_a_warning():
    x = torch.randn(2, 4, 50)
    x[:, [1, 3]] = 0.25
    with pytest.warns(UserWarning, match=r"layers\.0: channels \[1, 3\] are constant"):
        initialize_(Chain([ActNorm(4)]), x)


def test_a_constant_channel_stays_finite_and_invertible():
    norm, x = ActNorm(2), torch.full((2, 2, 8), 0.25)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        initialize_(norm, x)
    z, log_det = norm(x)
    assert not z.any()
    torch.testing.assert_close(log_det, torch.full((2,), -2 * 8 * math.log(1e-4)))
    torch.testing.assert_close(norm.inverse(z), x)


def test_initialization_leaves_no_hooks(vocoder, batches):
    initialize_(vocoder, *batches)
    assert not any(m._forward_pre_hooks for m in vocoder.modules())


# ---- Couplings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_a_coupling_with_a_new_wavenet_is_the_identity(form):
    net = WaveNet(2, 4, cond_channels=3, n_channels=6, n_layers=2)
    x = torch.randn(2, 4, 10)
    z, log_det = Coupling(net, ChannelMask(4), form=form)(x, torch.randn(2, 3, 10))
    assert torch.equal(z, x)
    assert not log_det.any()


class Constant(nn.Module):
    """log_s = 1, t = 3 whatever the input."""

    def forward(self, x, cond=None):
        return torch.cat([torch.full_like(x, 1.0), torch.full_like(x, 3.0)], dim=1)


@pytest.mark.parametrize(
    ("form", "scale", "moved", "log_det"),
    [
        ("s*x+t", "exp", 2 * math.e + 3, 1),
        ("(x+t)*s", "exp", (2 + 3) * math.e, 1),
        ("(x-t)/s", "exp", (2 - 3) / math.e, -1),
        ("s*x+t", "sigmoid", 2 / (1 + math.exp(-3)) + 3, -math.log(1 + math.exp(-3))),
    ],
)
def test_each_form_computes_what_its_name_says(form, scale, moved, log_det):
    x = torch.full((1, 2, 1), 2.0, dtype=torch.float64)
    z, got = Coupling(Constant(), ChannelMask(2), form=form, scale=scale)(x)
    assert z.flatten().tolist() == pytest.approx([2, moved])
    assert got.item() == pytest.approx(log_det)


def test_an_additive_coupling_adds_all_that_the_net_says():
    x = torch.full((1, 2, 1), 2.0)
    z, log_det = Coupling(Three(), ChannelMask(2, moves="first"), scale="additive")(x)
    assert z.flatten().tolist() == [5, 2]
    assert log_det.tolist() == [0]


class Three(nn.Module):
    def forward(self, x, cond=None):
        return torch.full_like(x, 3.0)


def test_an_unknown_form_or_scale_names_the_nearest():
    with pytest.raises(ValueError, match=r"form is '\(x\+t\)\*S', which is unknown; did you mean '\(x\+t\)\*s'"):
        Coupling(Three(), ChannelMask(2), form="(x+t)*S")
    with pytest.raises(ValueError, match="scale is 'sigmod', which is unknown; did you mean 'sigmoid'"):
        Coupling(Three(), ChannelMask(2), scale="sigmod")


def test_a_coupling_of_one_channel_is_refused():
    with pytest.raises(ValueError, match=r"1 channel .* at least 2"):
        ChannelMask(1)


# ---- Splits, squeezes, swaps -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("leaves", "expected"), [("first", [0, 1]), ("last", [2, 3])])
def test_a_split_lets_the_named_channels_leave(leaves, expected):
    x = torch.arange(4.0).view(1, 4, 1)
    z_out, x_rest, log_det = Split(2, leaves=leaves)(x)
    assert z_out.flatten().tolist() == expected
    assert sorted([*expected, *x_rest.flatten().tolist()]) == [0, 1, 2, 3]
    assert log_det.tolist() == [0]


@pytest.mark.parametrize("channels", [4, 5])
def test_a_split_that_would_take_all_channels_is_refused(channels):
    with pytest.raises(ValueError, match=rf"takes {channels} channels out of 4"):
        Split(channels)(torch.randn(1, 4, 3))


@pytest.mark.parametrize("given", [1, 3])
def test_a_wrong_number_of_latents_is_refused(given):
    flow = MultiScale([ActNorm(4), Split(2), ActNorm(2)])
    with pytest.raises(ValueError, match=f"got {given} latents; this flow has 2"):
        flow.inverse([torch.randn(1, 2, 3)] * given)


def test_squeezed_channels_are_c_g_plus_phase():
    x = torch.arange(2 * 6.0).view(1, 2, 6)
    z, _ = Squeeze(3)(x)
    for c in range(2):
        for phase in range(3):
            assert torch.equal(z[0, c * 3 + phase], x[0, c, phase::3])


def test_squeezed_channels_are_c_4_plus_2i_plus_j_in_2d():
    x = torch.arange(3 * 4 * 6.0).view(1, 3, 4, 6)
    z, _ = Squeeze(2)(x)
    for c in range(3):
        for i in range(2):
            for j in range(2):
                assert torch.equal(z[0, c * 4 + 2 * i + j], x[0, c, i::2, j::2])


def test_the_conditioning_is_squeezed_or_swapped_only_if_asked():
    cond = torch.randn(1, 4, 6)
    assert Squeeze(2, squeeze_cond=False).condition(cond) is cond
    assert torch.equal(Squeeze(2).condition(cond), Squeeze(2)(cond)[0])
    assert Swap().condition(cond) is cond
    assert torch.equal(Swap(swap_cond=True).condition(cond), cond[:, [2, 3, 0, 1]])
    assert Squeeze(2).condition(None) is Swap(swap_cond=True).condition(None) is None


def test_a_swap_of_an_odd_number_of_channels_is_refused():
    with pytest.raises(ValueError, match="got 3 channels"):
        Swap()(torch.randn(1, 3, 2))


# ---- Householder reflections ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "reflections"), [(5, 1), (5, 3), (5, 5), (4, 9)])
def test_reflections_are_those_of_their_vectors_one_after_the_other(channels, reflections):
    torch.manual_seed(0)
    layer = Householder(channels, reflections=reflections).double()
    expected = torch.eye(channels, dtype=torch.float64)
    for v in layer.vectors.detach():
        expected = expected @ (torch.eye(channels) - 2 * torch.outer(v, v) / v.dot(v))
    torch.testing.assert_close(layer.matrix(), expected, rtol=0, atol=1e-12)


def test_a_householder_is_orthogonal_however_alike_or_small_its_vectors_are():
    torch.manual_seed(0)
    layer = Householder(64).double()
    with torch.no_grad():
        layer.vectors.copy_(1e-3 * (torch.randn(64) + 1e-6 * torch.randn(64, 64)))
        layer.vectors[7] = 0
    q = layer.matrix()
    torch.testing.assert_close(q @ q.T, torch.eye(64, dtype=torch.float64), rtol=0, atol=1e-12)


def test_as_many_reflections_as_channels_unless_told():
    assert Householder(6).vectors.shape == (6, 6)
    assert Householder(6, reflections=2).vectors.shape == (2, 6)


def test_what_a_householder_refuses():
    with pytest.raises(ValueError, match="reflections is 0; at least 1 is needed, and 4 can make every rotation"):
        Householder(4, reflections=0)
    for direction in (Householder(4), Householder(4).inverse):
        with pytest.raises(ValueError, match="Householder of 4 channels got 3"):
            direction(torch.randn(1, 3, 5))


# ---- Invertible 1×1 convolutions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [InvertibleConv, InvertibleConvLU])
def test_the_start_is_a_rotation(kind):
    torch.manual_seed(0)
    weight = kind(6).matrix().double()
    torch.testing.assert_close(weight @ weight.T, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-6)
    assert torch.linalg.det(weight).item() == pytest.approx(1, abs=1e-6)


def test_lu_is_the_plain_convolution_by_its_matrix():
    torch.manual_seed(0)
    lu, plain = InvertibleConvLU(5).double(), InvertibleConv(5).double()
    with torch.no_grad():
        for parameter in lu.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
        plain.weight.copy_(lu.matrix())
    x = torch.randn(2, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(lu(x), plain(x))
    torch.testing.assert_close(lu.inverse(x), plain.inverse(x))


def test_a_negative_determinant_is_no_nan():
    conv = InvertibleConv(3).double()
    with torch.no_grad():
        conv.weight[0] *= -2
    assert torch.linalg.det(conv.weight) < 0
    x = torch.randn(2, 3, 7, dtype=torch.float64)
    z, log_det = conv(x)
    torch.testing.assert_close(log_det, torch.full((2,), 7 * math.log(2), dtype=torch.float64), rtol=0, atol=1e-5)
    torch.testing.assert_close(conv.inverse(z), x)


def test_the_inverse_follows_the_weight():
    conv, x = InvertibleConv(3).double(), torch.randn(1, 3, 4, dtype=torch.float64)
    conv.inverse(x)
    with torch.no_grad():
        conv.weight.mul_(2)
    torch.testing.assert_close(conv.inverse(conv(x)[0]), x)


# ---- Likelihood --------------------------------------------------------------------------------------------------


def test_standard_normal_log_prob_is_that_of_torch_distributions():
    zs = [torch.randn(3, 2, 5, dtype=torch.float64), torch.randn(3, 4, 2, 2, dtype=torch.float64)]
    expected = sum(torch.distributions.Normal(0.0, 1.0).log_prob(z).flatten(1).sum(1) for z in zs)
    torch.testing.assert_close(standard_normal_log_prob(zs), expected)
    assert standard_normal_log_prob([z.bfloat16() for z in zs]).dtype == torch.float32


def test_uniform_16_bit_audio_costs_exactly_16_bits():
    assert bits_per_sample(math.log(2)) == pytest.approx(16, abs=1e-12)  # density 1/2 over [-1, 1)
    assert bits_per_sample(0.0, step=2**-8) == pytest.approx(8, abs=1e-12)  # density 1 over [0, 1), 8 bits


def test_a_sharp_normal_density_costs_its_entropy_in_bits():
    std = 100 * STEP_16_BIT
    flow = ActNorm(1).double()
    with torch.no_grad():
        flow.log_scale.fill_(-math.log(std))
    torch.manual_seed(0)
    z, log_det = flow(std * torch.randn(1, 1, 100_000, dtype=torch.float64))
    nats = -(standard_normal_log_prob([z]) + log_det).item() / z.numel()
    assert bits_per_sample(nats) == pytest.approx(math.log2(100 * math.sqrt(2 * math.pi * math.e)), abs=0.02)


# ---- Noise -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 1), (0, BLOCK), (5, BLOCK + 3), (BLOCK, 2 * BLOCK), (BLOCK - 1, 2 * BLOCK + 1), (7, 7)]
)
def test_a_piece_of_noise_is_the_slice_of_the_whole(start, stop):
    whole = latent_noise(3, 1, 4, 0, 3 * BLOCK)
    piece = latent_noise(3, 1, 4, start, stop)
    assert piece.shape == (4, stop - start)
    assert piece.dtype == np.float32
    np.testing.assert_array_equal(piece, whole[:, start:stop])


def test_latent_noise_is_standard_normal_and_blocks_differ():
    noise = latent_noise(0, 0, 2, 0, 32 * BLOCK)
    assert noise.mean() == pytest.approx(0, abs=0.02)
    assert noise.var() == pytest.approx(1, abs=0.03)
    assert (noise**4).mean() == pytest.approx(3, abs=0.25)
    blocks = np.concatenate(np.split(noise, 32, axis=1))  # (2*32, BLOCK)
    correlations = np.corrcoef(blocks) - np.eye(len(blocks))
    assert abs(correlations).max() < 6 / math.sqrt(BLOCK)


def test_noise_of_seeds_latents_and_purposes_is_independent():
    streams = [latent_noise(seed, latent, 1, 0, BLOCK)[0] for seed in (0, 1, 2**64 - 1) for latent in (0, 1, 2)]
    streams += [philox(0, purpose, 0).standard_normal(BLOCK) for purpose in Purpose if purpose != Purpose.LATENT]
    correlations = np.corrcoef(np.stack(streams)) - np.eye(len(streams))
    assert abs(correlations).max() < 6 / math.sqrt(BLOCK)


def test_dequantization_noise_is_half_a_step_each_way():
    noise = dequantization_noise(0, 0, 100_000)
    half_step = STEP_16_BIT / 2
    assert noise.dtype == np.float32
    assert abs(noise).max() <= half_step
    assert noise.min() < -0.999 * half_step
    assert noise.max() > 0.999 * half_step
    assert noise.var() == pytest.approx(STEP_16_BIT**2 / 12, rel=0.02)
    assert not np.array_equal(noise, dequantization_noise(0, 1, 100_000))


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5])
def test_a_seed_that_is_no_64_bit_integer_is_refused(seed):
    with pytest.raises(ValueError, match=rf"seed is {seed}; it must be an integer from 0"):
        latent_noise(seed, 0, 1, 0, 1)


# ---- ActNorm behind a convolution ----------------------------------------------------------------------------------


def test_actnorm_in_a_convolutions_weights_is_actnorm_on_its_outputs():
    conv, norm, x = (
        nn.Conv2d(3, 5, 3, padding=1, bias=False).double(),
        ActNorm(5).double(),
        torch.randn(2, 3, 6, 4).double(),
    )
    with torch.no_grad():
        norm.bias.copy_(torch.randn(5))
        norm.log_scale.copy_(torch.randn(5))
    torch.testing.assert_close(norm.after(conv, x), norm(conv(x))[0], rtol=1e-12, atol=1e-12)


def test_actnorm_in_a_convolutions_weights_is_initialized_from_its_outputs():
    net, x = GlowNet(3, 2, 8, norm=ActNorm), 3 * torch.randn(4, 3, 8, 8) + 1
    assert initialize_(net, x) == 2
    first = net.norms[0].after(net.first, x)
    torch.testing.assert_close(first.mean((0, 2, 3)), torch.zeros(8), rtol=0, atol=1e-5)
    torch.testing.assert_close(first.var((0, 2, 3), correction=0), torch.ones(8), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ChannelMask(4, moves="Last"), "moves is 'Last', which is unknown; did you mean 'last'"),
        (lambda: CheckerboardMask(1, moves="evn"), "moves is 'evn', which is unknown; did you mean 'even'"),
        (lambda: RowsAboveMask(1, first="Kept"), "first is 'Kept', which is unknown; did you mean 'kept'"),
        (lambda: Split(2, leaves="First"), "leaves is 'First', which is unknown; did you mean 'first'"),
        (lambda: Chain([], memory="Reversible"), "memory is 'Reversible', which is unknown; did you mean 'reversible'"),
        (lambda: FlowVocoder(MultiScale([]), Repeat(1), hop=1, n_mels=1, bases=["Normal"]), "did you mean 'normal'"),
        (lambda: FlowVocoder(MultiScale([]), Repeat(1), hop=1, n_mels=1, bases=["normal"] * 2), "has 1 latents"),
        (lambda: read_mel("a.npy", preset("hifigan"), layout="ct"), "layout is 'ct', which is unknown; known: CT, TC"),
        (lambda: load_audio("a.wav", channel="Left"), "channel is 'Left', which is unknown; did you mean 'left'"),
    ],
)
def test_a_misspelt_word_takes_no_other_branch(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ---- Devices without float64 -----------------------------------------------------------------------------------------


def test_the_stand_in_has_no_float64():
    with pytest.raises(TypeError, match="float64"):
        torch.ones(2).as_subclass(OfMps).double()


@pytest.mark.parametrize("make", [lambda: ActNorm(3), lambda: ConditionalActNorm(3, nn.Conv1d(1, 3, 1))])
def test_actnorm_is_set_on_a_device_without_float64(make):
    x, here, there = 3 * torch.randn(4, 3, 50) + 1, make(), make()
    here.set_statistics_(x)
    there.set_statistics_(x.as_subclass(OfMps))
    assert torch.equal(here.log_scale, there.log_scale)
    assert here.log_scale.abs().max() > 0.1


@pytest.mark.parametrize(
    "make",
    [lambda: InvertibleConv(4), lambda: Householder(4), lambda: SeparableConv(4, 4)],
    ids=["matrix", "householder", "separable"],
)
def test_layers_fold_on_a_device_without_float64(make):
    layer = make().eval()
    there = moved_to_mps(copy.deepcopy(layer))
    layer.fold_()
    if hasattr(there, "require_invertible"):
        there.require_invertible()
    there.fold_()
    for (name, mine), (_, other) in zip(layer.state_dict().items(), there.state_dict().items(), strict=True):
        torch.testing.assert_close(other.as_subclass(torch.Tensor), mine, rtol=1e-6, atol=1e-6, msg=name)


def test_a_lapped_squeeze_without_memory_has_none_for_its_tables(monkeypatch):
    """6144 bands' cosines would take 300 MB in float64."""
    made, arange = [], torch.arange
    monkeypatch.setattr(torch, "arange", lambda *given, **options: made.append(options) or arange(*given, **options))
    with torch.device("meta"):
        squeeze = folded(LappedSqueeze(6144))
        z, _ = squeeze(torch.zeros(1, 1, 3 * 6144))
    assert (z.shape, squeeze.inverse(z).shape) == ((1, 6144, 3), (1, 1, 3 * 6144))
    assert {str(options["device"]) for options in made} == {"meta"}


def test_a_model_is_folded_on_its_device():
    assert folded(InvertibleConv(4)).weight_inverse.device.type == "cpu"
