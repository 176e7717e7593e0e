"""The flow contract, checked on every layer and on every registered model: the first file to read.

A new layer is one line of LAYERS, a new model is tested by registering it; one that no case has fails the last tests
here. Every check runs on non-identity parameters and, unless it is about precision, in float64, where a missing term
can't hide in rounding.
"""

import copy
import importlib
import inspect
import math
import pkgutil
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import waveglow.flows
import waveglow.nn
from waveglow.flows.actnorm import ActNorm, ConditionalActNorm, Scale
from waveglow.flows.autoregressive import RowAutoregressive
from waveglow.flows.base import Flow, coupling_nets
from waveglow.flows.batchnorm import FlowBatchNorm
from waveglow.flows.compose import Chain, MultiScale, Split
from waveglow.flows.coupling import (
    FORMS,
    SCALES,
    ChannelMask,
    CheckerboardMask,
    Coupling,
    HalfOfPlacesMask,
    Mask,
    RowsAboveMask,
    WholeMask,
)
from waveglow.flows.lapped import LappedSqueeze
from waveglow.flows.logit import Logit
from waveglow.flows.permute import FlipRows, Householder, InvertibleConv, InvertibleConvLU, Reverse, Shuffle, Swap
from waveglow.flows.reshape import Flatten, PlacesAsRows, Rows, RowsAsChannels, Squeeze
from waveglow.flows.spline import SplineCoupling, spline_numbers
from waveglow.models.flow_image import FlowImage
from waveglow.models.flow_vocoder import FlowVocoder
from waveglow.models.registry import IMAGES, MODELS, VOCODERS, build
from waveglow.nn.transformer import TransformerNet
from waveglow.nn.upsample import BandScale
from waveglow.nn.wavenet import WaveNet
from waveglow.nn.wavenet2d import RowStack, WaveNet2d

BATCH = 2
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}

# ---- The cases --------------------------------------------------------------------------------------------------


class ConvNet2d(nn.Module):
    """The smallest coupling net for images: [B, in, H, W], cond [B, cond, H, W] to [B, out, H, W]."""

    def __init__(self, in_channels: int, out_channels: int, cond_channels: int) -> None:
        super().__init__()
        self.start = nn.Conv2d(in_channels + cond_channels, 6, 3, padding=1)
        self.end = nn.Conv2d(6, out_channels, 1)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.end(torch.tanh(self.start(x if cond is None else torch.cat([x, cond], dim=1))))

    def reach_places(self) -> int:
        return 1


class Grid(NamedTuple):
    """What a layer is built for: the sizes S of x and the channels of its cond (0: without)."""

    sizes: tuple[int, ...]
    cond: int

    @property
    def cell(self) -> int:
        """How many places Squeeze(2) makes one."""
        return 2 ** len(self.sizes)

    def squeezed(self) -> "Grid":
        return Grid(tuple(size // 2 for size in self.sizes), self.cond * self.cell)

    def net(self, in_channels: int, out_channels: int) -> nn.Module:
        if len(self.sizes) == 2:
            return ConvNet2d(in_channels, out_channels, self.cond)
        return WaveNet(in_channels, out_channels, cond_channels=self.cond, n_channels=6, n_layers=2)


MASKS = {
    "last": lambda channels: ChannelMask(channels),
    "first": lambda channels: ChannelMask(channels, moves="first"),
    "even": lambda channels: CheckerboardMask(channels),
    "odd": lambda channels: CheckerboardMask(channels, moves="odd"),
    "whole": WholeMask,
}


def coupling(grid: Grid, channels: int, *, form: str = "s*x+t", scale: str = "exp", moves: str = "last") -> Coupling:
    mask: Mask = MASKS[moves](channels)
    outputs = mask.moved_channels if scale == "additive" else 2 * mask.moved_channels
    return Coupling(grid.net(mask.kept_channels, outputs), mask, form=form, scale=scale)


def spline_coupling(grid: Grid, channels: int, *, moves: str) -> SplineCoupling:
    """With a bound that many of the values are beyond."""
    mask: Mask = MASKS[moves](channels)
    net = grid.net(mask.kept_channels, mask.moved_channels * spline_numbers(4))
    return SplineCoupling(net, mask, bins=4, bound=1.5)


def step(grid: Grid, channels: int) -> list[Flow]:
    return [ActNorm(channels), InvertibleConv(channels), coupling(grid, channels)]


def fixed_prior(g: Grid) -> MultiScale:
    c, low = 2 * g.cell, g.squeezed()
    first, second = Chain([Squeeze(2), *step(low, c)]), Chain(step(low, c - 1))
    return MultiScale([first, Split(1), second, Split(1, leaves="last"), coupling(low, c - 2)])


def conditional_prior(g: Grid) -> MultiScale:
    c, low = 2 * g.cell, g.squeezed()
    first = Split(c // 2, prior=coupling(low, c, moves="first"))
    last = Split(c // 4, leaves="last", prior=coupling(low, c // 2, moves="last"))
    return MultiScale([Squeeze(2), *step(low, c), first, Swap(swap_cond=True), last, ActNorm(c // 4)])


class CondNet(nn.Module):
    """The smallest net of a ConditionalActNorm: cond [B, cond, *S] to [B, out, *S]."""

    def __init__(self, cond_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, cond_channels))

    def forward(self, cond: Tensor) -> Tensor:
        return torch.tanh(torch.einsum("oc,bc...->bo...", self.weight, cond))

    def reach_places(self) -> int:
        return 0


def conditional_actnorm(g: Grid, *, shift: bool) -> Flow:
    return ConditionalActNorm(3, CondNet(g.cond, 6 if shift else 3), shift=shift) if g.cond else ActNorm(3)


def batch_norm_of_a_trained_flow(channels: int) -> Flow:
    norm = FlowBatchNorm(channels)
    norm.running_mean.copy_(torch.linspace(-1, 1, channels))
    norm.running_var.copy_(torch.linspace(0.5, 2, channels))
    return norm


def logit_of_a_picture() -> Flow:
    """Behind a layer that brings x near 0.5: a logit has a domain."""
    to_unit = ActNorm(3)
    nn.init.constant_(to_unit.bias, 5.0)
    nn.init.constant_(to_unit.log_scale, -2.3)
    return Chain([to_unit, Logit()])


class Entry(NamedTuple):
    channels: int
    make: Callable[[Grid], nn.Module]
    places_per_cond: int = 1


LAYERS = (
    {
        "ActNorm": Entry(3, lambda g: ActNorm(3)),
        "ConditionalActNorm": Entry(3, lambda g: conditional_actnorm(g, shift=False)),
        "ConditionalActNorm_shift": Entry(3, lambda g: conditional_actnorm(g, shift=True)),
        "InvertibleConv": Entry(4, lambda g: InvertibleConv(4)),
        "InvertibleConvLU": Entry(4, lambda g: InvertibleConvLU(4)),
        "Householder": Entry(4, lambda g: Householder(4)),
        "Householder_of_2": Entry(5, lambda g: Householder(5, reflections=2)),
        "Scale": Entry(3, lambda g: Scale(3)),
        "Scale_that_stays": Entry(3, lambda g: Scale(3, start=2.0, learned=False)),
        "Places": Entry(3, lambda g: Chain([PlacesAsRows(g.sizes), causal_transformer(g, 3), FlipRows()])),
        "FlowBatchNorm": Entry(3, lambda g: batch_norm_of_a_trained_flow(3)),
        "Logit": Entry(3, lambda g: logit_of_a_picture()),
        "Flatten": Entry(2, lambda g: Chain([Flatten((2, *g.sizes)), Reverse()])),
        "Shuffle": Entry(6, lambda g: Shuffle(6)),
        "Shuffle_of_an_order": Entry(4, lambda g: Shuffle(4, order=[2, 0, 3, 1])),
        "Reverse": Entry(3, lambda g: Reverse()),
        "Swap": Entry(4, lambda g: Swap()),
        "Swap_with_cond": Entry(4, lambda g: Chain([Swap(swap_cond=True), coupling(g, 4)])),
        "Squeeze": Entry(3, lambda g: Squeeze(2)),
        "Squeeze_with_cond": Entry(2, lambda g: Chain([Squeeze(2), coupling(g.squeezed(), 2 * g.cell)])),
        "Squeeze_without_cond": Entry(
            2, lambda g: Chain([Squeeze(2, squeeze_cond=False), coupling(g, 2 * g.cell)]), places_per_cond=2
        ),
        "Chain": Entry(4, lambda g: Chain([Chain([*step(g, 4), Swap(swap_cond=True)]), *step(g, 4)])),
        "Chain_checkpointed": Entry(4, lambda g: Chain([*step(g, 4), Reverse(), *step(g, 4)], memory="checkpoint")),
        "Chain_reversible": Entry(4, lambda g: Chain([*step(g, 4), Reverse(), *step(g, 4)], memory="reversible")),
        "MultiScale_fixed_prior": Entry(2, fixed_prior),
        "MultiScale_conditional_prior": Entry(2, conditional_prior),
    }
    | {
        f"Coupling_{form}_{scale}_{moves}": Entry(
            5, lambda g, form=form, scale=scale, moves=moves: coupling(g, 5, form=form, scale=scale, moves=moves)
        )
        for form in FORMS
        for scale in (*SCALES, "additive")
        for moves in ("first", "last")
    }
    | {
        f"Coupling_{form}_sigmoid_{moves}": Entry(
            2, lambda g, form=form, moves=moves: coupling(g, 2, form=form, scale="sigmoid", moves=moves)
        )
        for form in FORMS
        for moves in ("even", "odd", "whole")
    }
    | {
        f"SplineCoupling_{moves}": Entry(3, lambda g, moves=moves: spline_coupling(g, 3, moves=moves))
        for moves in MASKS
    }
)

ONE_DIMENSIONAL = {
    f"LappedSqueeze_{bands}": Entry(2, lambda g, bands=bands: LappedSqueeze(bands), places_per_cond=bands)
    for bands in (2, 3, 4, 6, 12)
} | {
    f"LappedSqueeze_{bands}_coupling": Entry(
        2, lambda g, bands=bands: Chain([LappedSqueeze(bands), coupling(g, 2 * bands)]), places_per_cond=bands
    )
    for bands in (3, 4)
}
ONE_DIMENSIONAL["ConditionalActNorm_of_neighbours"] = Entry(
    3, lambda g: ConditionalActNorm(3, BandScale(g.cond, 3)) if g.cond else ActNorm(3)
)
ONE_DIMENSIONAL["Rows"] = Entry(
    2, lambda g: Chain([Rows(4), *(autoregressive(g, "s*x+t", "kept") for _ in range(bool(g.cond)))])
)

TWO_DIMENSIONAL = (
    {
        "RowsAsChannels": Entry(1, lambda g: Chain([RowsAsChannels(), Reverse()])),
        "FlipRows": Entry(3, lambda g: FlipRows()),
        "FlipRows_within_halves": Entry(2, lambda g: Chain([FlipRows(2), coupling(g, 2)])),
    }
    | {
        f"RowAutoregressive_{form}_{first}": Entry(2, lambda g, form=form, first=first: autoregressive(g, form, first))
        for form in FORMS
        for first in ("kept", "moved")
    }
    | {
        f"HalfOfPlaces_{pattern}_{moves}": Entry(
            4, lambda g, pattern=pattern, moves=moves: half_of_places(g, 4, pattern=pattern, moves=moves)
        )
        for pattern in ("checkerboard", "columns", "rows")
        for moves in ("even", "odd")
    }
)


def all_places_of_one_class() -> Flow:
    grid = Grid((2, 4), 2)
    return Chain([PlacesAsRows(grid.sizes), causal_transformer(grid, 3, first="moved")])


def causal_transformer(g: Grid, channels: int, *, first: str = "kept") -> Flow:
    places = (math.prod(g.sizes), 1)
    numbers = {"n_channels": 8, "n_heads": 2, "n_layers": 2, "cond_channels": g.cond}
    net = TransformerNet(channels, 2 * channels, sizes=places, causal=True, last_norm=False, **numbers)
    return RowAutoregressive(net, RowsAboveMask(channels, first=first), form="(x-t)/s")


def half_of_places(g: Grid, channels: int, *, pattern: str, moves: str) -> Flow:
    mask = HalfOfPlacesMask(channels, pattern=pattern, moves=moves)
    numbers = {"n_channels": 8, "n_heads": 2, "n_layers": 1, "cond_channels": g.cond}
    net = TransformerNet(channels // 2, channels, sizes=g.sizes, **numbers)
    return Coupling(net, mask, form="(x+t)*s", scale="double-sigmoid")


def autoregressive(g: Grid, form: str, first: str) -> Flow:
    stack = RowStack(2, cond_channels=g.cond, n_channels=4, dilations=[(1, 1), (2, 2)], residual_gain=0.7)
    return RowAutoregressive(WaveNet2d(stack, 4), RowsAboveMask(2, first=first), form=form)


TINY = {"n_mels": 4, "hop": 16, "n_channels": 8, "n_layers": 2, "n_flows": 3, "n_early_every": 1}
TINY |= {"bands": 8, "n_high": 2, "n_early_size": 1, "n_cond": 4}  # of lapglow
TINY |= {"n_group": 8, "n_blocks": 2, "blocks_per_split": 1, "n_height": 4, "n_embedding": 3}
TINY_IMAGE = {"image_size": 4, "channels": 3, "n_couplings": 3, "n_hidden": 8, "n_layers": 1, "n_scales": 2}
TINY_IMAGE |= {"n_channels": 4, "n_blocks": 1, "n_levels": 2, "n_steps": 2}


class Case(NamedTuple):
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]  # of x, without the batch
    cond_shape: tuple[int, ...] | None
    of_pixels: bool = False  # x from 0 to 1, and weights pushed less far: depth explodes inverses

    def module(self, dtype: torch.dtype = torch.float64, *, seed: int = 0) -> nn.Module:
        """One with random parameters: far from the identity, 1×1 matrices neither orthogonal nor of determinant 1."""
        torch.manual_seed(seed)
        module = self.make()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.05 if self.of_pixels else 0.15)
        return module.to(dtype).eval()

    def inputs(self, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor | None]:
        torch.manual_seed(2)
        cond = torch.randn(BATCH, *(self.cond_shape or ()))
        x = torch.rand(BATCH, *self.shape) if self.of_pixels else torch.randn(BATCH, *self.shape)
        return x.to(dtype), cond.to(dtype) if self.cond_shape else None


def layer_case(entry: Entry, sizes: tuple[int, ...], cond: int) -> Case:
    cond_shape = (cond, *(size // entry.places_per_cond for size in sizes)) if cond else None
    return Case(lambda: entry.make(Grid(sizes, cond)), (entry.channels, *sizes), cond_shape)


def tiny(name: str, numbers: dict[str, int]) -> nn.Module:
    known = inspect.signature(MODELS[name]).parameters
    return build({"name": name, **{k: v for k, v in numbers.items() if k in known}})


def model_case(name: str) -> Case:
    if name in IMAGES:
        return Case(lambda: tiny(name, TINY_IMAGE), (3, 4, 4), None, of_pixels=True)
    return Case(lambda: tiny(name, TINY), (24,), (4, 2))


CASES = (
    {
        f"{name}-{len(sizes)}d-{'cond' if cond else 'plain'}": layer_case(entry, sizes, cond)
        for name, entry in LAYERS.items()
        for sizes in ((8,), (2, 4))
        for cond in (2, 0)
    }
    | {
        f"{name}-1d-{'cond' if cond else 'plain'}": layer_case(entry, (12,), cond)
        for name, entry in ONE_DIMENSIONAL.items()
        for cond in (2, 0)
    }
    | {f"{name}-2d-cond": layer_case(entry, (4, 6), 2) for name, entry in TWO_DIMENSIONAL.items()}
    | {"Places_of_one_class-2d-cond": Case(all_places_of_one_class, (3, 2, 4), (2, 1, 1))}
    | {f"{name}-model": model_case(name) for name in MODELS if not re.search(r"\d$", name)}  # they differ in size alone
)


def over(cases: dict[str, Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", list(cases.values()), ids=list(cases))


def where(holds: Callable[[str, nn.Module], bool]) -> dict[str, Case]:
    return {name: case for name, case in CASES.items() if holds(name, case.make())}


def has(kind: type[nn.Module] | tuple[type[nn.Module], ...]) -> Callable[[str, nn.Module], bool]:
    return lambda name, module: any(isinstance(part, kind) for part in module.modules())


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """For tensors this small a second thread costs far more than it gives."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# ---- One way to call them all: x to ([z, ...], log_det) and back ---------------------------------------------------


def encode(module: nn.Module, x: Tensor, cond: Tensor | None) -> tuple[list[Tensor], Tensor]:
    z, log_det = module.encode(x, cond) if isinstance(module, (FlowVocoder, FlowImage)) else module(x, cond)
    return (z if isinstance(z, list) else [z]), log_det


def decode(module: nn.Module, zs: list[Tensor], cond: Tensor | None) -> Tensor:
    if isinstance(module, (FlowVocoder, FlowImage)):
        return module.decode(zs, cond)
    return module.inverse(zs if isinstance(module, MultiScale) else zs[0], cond)


def latent_shapes(module: nn.Module, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    if isinstance(module, FlowImage):
        return module.latent_shapes()
    if isinstance(module, FlowVocoder):
        return module.latent_shapes(*shape)
    return module.latent_shapes(shape) if isinstance(module, MultiScale) else [module.out_shape(shape)]


def saving(module: nn.Module, memory: str) -> nn.Module:
    """A twin whose backward pass makes its activations anew."""
    twin = copy.deepcopy(module)
    for part in twin.modules():
        if isinstance(part, Chain):
            part.memory = memory
    return Chain([twin], memory=memory) if isinstance(twin, Flow) else twin


def gradients(module: nn.Module, x: Tensor, cond: Tensor | None) -> list[Tensor | None]:
    """Of −log N(z; 0, 1) − log_det up to a constant, by x, cond and every parameter."""
    leaves = [t.requires_grad_() for t in (x.clone(), cond if cond is None else cond.clone()) if t is not None]
    zs, log_det = encode(module, leaves[0], leaves[1] if len(leaves) > 1 else None)
    loss = sum(0.5 * z.square().sum() for z in zs) - log_det.sum()
    return list(torch.autograd.grad(loss, [*leaves, *module.parameters()], allow_unused=True))


def assert_close(got: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    torch.testing.assert_close(list(got), list(expected), rtol=tolerance, atol=tolerance)


# ---- The contract ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@over(CASES)
def test_round_trip(case, dtype):
    module, (x, cond) = case.module(dtype), case.inputs(dtype)
    zs, _ = encode(module, x, cond)
    assert len(zs) > 1 or zs[0].shape != x.shape or not torch.equal(zs[0], x), "the identity proves nothing"
    assert_close([decode(module, zs, cond)], [x], TOLERANCE[dtype])
    noise = [torch.randn_like(z) for z in zs]
    assert_close(encode(module, decode(module, noise, cond), cond)[0], noise, TOLERANCE[dtype])


@over(CASES)
def test_log_det_is_that_of_the_jacobian(case):
    module, (x, cond) = case.module(), case.inputs()
    _, log_det = encode(module, x, cond)
    for i in range(BATCH):

        def flat_z(row, alone=cond if cond is None else cond[i : i + 1]):
            return torch.cat([z.flatten() for z in encode(module, row.unsqueeze(0), alone)[0]])

        jacobian = torch.autograd.functional.jacobian(flat_z, x[i]).flatten(1)
        assert_close([log_det[i]], [torch.linalg.slogdet(jacobian).logabsdet], 1e-9)


@over(CASES)
def test_log_det_by_place_adds_up_to_it(case):
    module, (x, cond) = case.module(), case.inputs()
    zs, log_det = encode(module, x, cond)
    if isinstance(module, FlowVocoder):
        by_sample = module.log_prob_by_sample(x, cond)
        assert by_sample.shape == x.shape
        assert_close([by_sample.sum(1)], [module.log_prob(x, cond)], 1e-9)
        return
    if isinstance(module, FlowImage):
        return
    found, by_place = module.forward_by_place(x, cond)
    assert by_place.shape == (BATCH, x.shape[-1])
    assert_close(found if isinstance(found, list) else [found], zs, 1e-9)
    assert_close([by_place.sum(1)], [log_det], 1e-9)


def one_layer(name: str, module: nn.Module) -> bool:
    return isinstance(module, Flow) and not isinstance(module, Chain) and "-1d" in name


@over(where(lambda name, module: one_layer(name, module) and module.out_shape((4, 12)) == (4, 12)))
def test_log_det_of_a_place_is_that_of_its_block_of_the_jacobian(case):
    module, (x, cond) = case.module(), case.inputs()
    alone = cond if cond is None else cond[:1]
    jacobian = torch.autograd.functional.jacobian(lambda row: module(row[None], alone)[0][0], x[0])  # (C, T, C, T)
    blocks = jacobian.diagonal(dim1=1, dim2=3).permute(2, 0, 1)  # (T, C, C)
    assert_close([module.forward_by_place(x[:1], alone)[1][0]], [torch.linalg.slogdet(blocks).logabsdet], 1e-9)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
@over(CASES)
def test_log_det_is_one_number_a_sample_in_float32_or_better(case, dtype):
    module, (x, cond) = case.module(dtype), case.inputs(dtype)
    if dtype is torch.bfloat16 and any(type(m) is InvertibleConv for m in module.modules()):
        pytest.skip("slogdet has no bfloat16")
    _, log_det = encode(module, x, cond)
    assert log_det.shape == (BATCH,)
    assert log_det.dtype == torch.promote_types(dtype, torch.float32)


@over(CASES)
def test_latent_shapes_are_the_actual_ones(case):
    module, (x, cond) = case.module(), case.inputs()
    assert latent_shapes(module, case.shape) == [tuple(z.shape[1:]) for z in encode(module, x, cond)[0]]


@over(where(lambda name, module: "_whole" not in name))  # there the net sees zeros: its first kernel is of no use
def test_every_parameter_gets_a_finite_gradient(case):
    module, (x, cond) = case.module(), case.inputs()
    names = ["x", *(["cond"] if case.cond_shape else []), *(name for name, _ in module.named_parameters())]
    found = dict(zip(names, gradients(module, x, cond), strict=True))
    if cond is not None and all(map(torch.equal, encode(module, x, cond)[0], encode(module, x, cond + 1)[0])):
        found.pop("cond")  # of no use to this layer
    assert [n for n, g in found.items() if g is None or not g.isfinite().all() or not g.any()] == []


@pytest.mark.parametrize("memory", ["checkpoint", "reversible"])
@over(CASES)
def test_gradients_of_memory_modes_are_the_plain_ones(case, memory):
    module, inputs = case.module(), case.inputs()
    plain = [torch.zeros(()) if g is None else g for g in gradients(module, *inputs)]
    rebuilt = [torch.zeros(()) if g is None else g for g in gradients(saving(module, memory), *inputs)]
    assert_close(rebuilt, plain, 1e-9)


@over(CASES)
def test_state_dict_holds_all_that_the_output_depends_on(case):
    module, fresh, (x, cond) = case.module(), case.module(seed=1), case.inputs()
    fresh.load_state_dict(module.state_dict())
    zs, log_det = encode(module, x, cond)
    loaded_zs, loaded_log_det = encode(fresh, x, cond)
    assert all(map(torch.equal, [*loaded_zs, loaded_log_det], [*zs, log_det]))


def first_factor(module: nn.Module) -> int:
    """Of the first layer in it that squeezes; 1 without one, and in a flow that takes one length only."""
    layers = [part for part in module.modules() if isinstance(part, Flow) and not isinstance(part, Chain)]
    return (
        1 if has((Flatten, PlacesAsRows))("", module) else next((part.factor for part in layers if part.factor > 1), 1)
    )


@over(where(lambda name, module: first_factor(module) > 1 and not isinstance(module, FlowImage)))
def test_a_length_that_is_no_multiple_of_the_group_is_refused(case):
    module, (x, cond) = case.module(), case.inputs()
    group = first_factor(module)
    for axis in range(-len(x.shape[2:]) or -1, 0):
        size = x.shape[axis] + 1
        longer = torch.cat([x, x.narrow(axis, 0, 1)], dim=axis)
        with pytest.raises(ValueError, match=rf"\b{size}\b.*\b{group}\b"):
            encode(module, longer, cond)


# ---- Compiled ----------------------------------------------------------------------------------------------------

INDUCTOR = [
    "Coupling_s*x+t_exp_last-1d-cond",
    "SplineCoupling_last-1d-cond",
    "Householder-1d-plain",
    "MultiScale_conditional_prior-2d-cond",
    "waveglow-model",
]


def compiled_always(name: str) -> bool:
    """Each layer once and each builder; the rest, which differs in numbers or in the net, is slow."""
    model = MODELS.get(name.removesuffix("-model"))
    return inspect.isfunction(model) or (
        (name.endswith("-2d-cond") or name.startswith("LappedSqueeze_3")) and "_first-" not in name
    )


@torch.no_grad()
def check_compiled(case: Case, backend: str) -> None:
    def there_and_back(x: Tensor, cond: Tensor | None):
        zs, log_det = encode(module, x, cond)
        return zs, log_det, decode(module, zs, cond)

    torch._dynamo.reset()
    module, (x, cond) = case.module(torch.float32), case.inputs(torch.float32)
    zs, log_det, back = torch.compile(there_and_back, backend=backend, fullgraph=True)(x, cond)
    eager_zs, eager_log_det, _ = there_and_back(x, cond)
    assert_close([*zs, log_det, back], [*eager_zs, eager_log_det, x], 1e-4)


@over({name: case for name, case in CASES.items() if compiled_always(name)})
def test_both_directions_compile_into_one_graph(case):
    check_compiled(case, "aot_eager")


@pytest.mark.slow
@over({name: case for name, case in CASES.items() if not compiled_always(name)})
def test_both_directions_of_the_rest_compile_into_one_graph(case):
    check_compiled(case, "aot_eager")


@pytest.mark.slow
@over({name: CASES[name] for name in INDUCTOR})
def test_both_directions_compile_with_inductor(case):
    check_compiled(case, "inductor")


# ---- Under autocast ------------------------------------------------------------------------------------------------


def with_autocast(function: Callable, *arguments):
    with torch.autocast("cpu", torch.bfloat16):
        return function(*arguments)


@over(where(lambda name, module: not coupling_nets(module)))
def test_autocast_does_not_touch_what_has_no_coupling_net(case):
    module, (x, cond) = case.module(torch.float32), case.inputs(torch.float32)
    zs, log_det = encode(module, x, cond)
    cast_zs, cast_log_det = with_autocast(encode, module, x, cond)
    assert all(map(torch.equal, [*cast_zs, cast_log_det], [*zs, log_det]))
    assert torch.equal(with_autocast(decode, module, zs, cond), decode(module, zs, cond))


@over(where(lambda name, module: coupling_nets(module)))
def test_autocast_runs_coupling_nets_and_nothing_else_in_bfloat16(case):
    module, (x, cond) = case.module(torch.float32), case.inputs(torch.float32)
    nets = tuple(coupling_nets(module))
    seen = {}
    for name, part in module.named_modules():
        part.register_forward_hook(lambda part, x, y, name=name: seen.update({name: y}))
    with torch.no_grad():
        zs, log_det = with_autocast(encode, module, x, cond)
    low = {name for name, y in seen.items() if isinstance(y, Tensor) and y.dtype is torch.bfloat16}
    assert {net for net in nets if not any(name.startswith(net) for name in low)} == set()
    assert {name for name in low if not name.startswith(nets)} == set()
    assert {tensor.dtype for tensor in [*zs, log_det]} == {torch.float32}
    if (
        isinstance(module, Flow) and module.half_precision_nets()
    ):  # the net reads what did not move: bit for bit the same both ways
        assert_close([with_autocast(decode, module, zs, cond)], [x], 1e-5)


@over({name: case for name, case in CASES.items() if name in ("Chain_reversible-1d-cond", "waveglow-model")})
def test_autocast_with_reversible_is_refused(case):
    module, (x, cond) = saving(case.module(torch.float32), "reversible"), case.inputs(torch.float32)
    with pytest.raises(ValueError, match="reversible training needs float32"):
        with_autocast(encode, module, x, cond)


# ---- How far it looks ----------------------------------------------------------------------------------------------


def long_cases() -> dict[str, Case]:
    """Layers and flows of models on x so long that what they reach has room to both sides of the middle."""
    layers = {name: entry for name, entry in (LAYERS | ONE_DIMENSIONAL).items() if name not in ("Flatten", "Places")}
    cases = {f"{name}-1d": layer_case(entry, (192,), 2) for name, entry in layers.items()}
    cases |= {f"{name}-2d": layer_case(entry, (4, 48), 2) for name, entry in TWO_DIMENSIONAL.items()}
    for name in MODELS:
        if name in ("realnvp", "glow"):
            cases[f"{name}-model"] = Case(lambda name=name: tiny(name, TINY_IMAGE).flow, (3, 4, 192), None, True)
        elif name in VOCODERS and not re.search(r"\d$", name):
            model = tiny(name, TINY)
            cond = tuple(model.conditioning(torch.zeros(1, 4, 40), 640).shape[1:])
            cases[f"{name}-model"] = Case(lambda name=name: tiny(name, TINY).flow, (1, 640), cond)
    return cases


def distances(grad: Tensor, place: int, own: int, other: int) -> Iterator[tuple[int, int]]:
    """Of each place of an input whose grad [B, C, *S] is not 0: (to its near end, to its far end) from `place`.

    Both in places of x, of which an output's place is `own` and an input's `other`.
    """
    for q in grad.flatten(0, -2).any(0).nonzero().flatten().tolist():
        near = max(q * other - (place + 1) * own + 1, place * own - (q + 1) * other + 1, 0)
        yield near, abs(q * other // max(own, other) - place * own // max(own, other)) * max(own, other)


def looks(outputs: list[Tensor], inputs: list[Tensor], size: int) -> tuple[int, int]:
    """How far the middle of any output looks into any input: (to the near end of what it sees, to the far end)."""
    found = [(0, 0)]
    for output in outputs:
        middle = output.shape[-1] // 2
        for place in range(middle, min(middle + 4, output.shape[-1])):  # one of each row, and of a checkerboard's two
            grads = torch.autograd.grad(output[..., place].sum(), inputs, retain_graph=True, allow_unused=True)
            for grad in grads:
                if grad is not None:
                    found += distances(grad, place, size // output.shape[-1], size // grad.shape[-1])
    return max(near for near, _ in found), max(far for _, far in found)


@over(long_cases())
def test_it_looks_as_far_as_it_says(case):
    """Never further, in either direction, and no less than half of that."""
    module, (x, cond) = case.module(), case.inputs()
    given = [t.requires_grad_() for t in (x, cond) if t is not None]
    zs, _ = encode(module, x, cond)
    noise = [z.detach().requires_grad_() for z in zs]
    back = decode(module, noise, cond)
    size = x.shape[-1]
    there_and_back = looks(zs, given, size), looks([back], [*noise, *given[1:]], size)
    said = module.reach_places(case.shape)
    assert max(near for near, _ in there_and_back) <= said <= 2 * max(far for _, far in there_and_back)


@over(where(lambda name, module: isinstance(module, (Flow, MultiScale))))
def test_the_factor_is_that_of_the_shapes(case):
    module = case.module()
    assert latent_shapes(module, case.shape)[-1][-1] * module.factor == case.shape[-1]


def claims_to_be_affine(module: nn.Module) -> list[Flow]:
    return [part for part in module.modules() if isinstance(part, Flow) and part.elementwise_affine]


@over(where(lambda name, module: not name.endswith("-model") and claims_to_be_affine(module)))
def test_an_elementwise_affine_layer_is_that(case):
    module, given, seen = case.module(), case.inputs(), []
    for part in claims_to_be_affine(module):
        part.register_forward_pre_hook(lambda part, inputs: seen.append((part, inputs)))
    encode(module, *given)
    for part, (x, cond) in [*seen]:
        slope = part(x + 1, cond)[0] - part(x, cond)[0]
        assert (slope > 0).all()
        assert_close([part(3 * x, cond)[0]], [part(x, cond)[0] + slope * 2 * x], 1e-9)


# ---- Nothing is left out -------------------------------------------------------------------------------------------

OF_NO_FLOW = {
    "Flow": "the contract itself",
    "Conditioner": "the contract of what reads the mel",
    "GuidedNet": "made in sampling alone: tests/models/test_tarflow.py",
    "FrameContext": "made by folding alone: tests/export/test_fold.py",
    "FusedConditioning": "made by folding alone: tests/export/test_fold.py",
}


def modules_defined_in(package: ModuleType) -> set[type[nn.Module]]:
    files = [
        importlib.import_module(f"{package.__name__}.{info.name}") for info in pkgutil.iter_modules(package.__path__)
    ]
    found = {value for file in files for value in vars(file).values() if inspect.isclass(value)}
    return {kind for kind in found if issubclass(kind, nn.Module) and kind.__module__.startswith(package.__name__)}


@pytest.mark.parametrize("package", [waveglow.flows, waveglow.nn], ids=lambda package: package.__name__)
def test_every_layer_and_every_net_is_in_a_case(package):
    parts = [part for case in CASES.values() for part in case.make().modules()]
    tested = {type(part).__base__ if parametrize.is_parametrized(part) else type(part) for part in parts}
    defined = {kind for kind in modules_defined_in(package) if kind.__name__ not in OF_NO_FLOW}
    assert len(defined) > 15
    assert sorted(kind.__name__ for kind in defined - tested) == []


def test_what_is_in_no_case_is_there_and_says_why():
    defined = {kind.__name__ for package in (waveglow.flows, waveglow.nn) for kind in modules_defined_in(package)}
    assert OF_NO_FLOW.keys() <= defined
