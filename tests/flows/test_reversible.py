"""A reversible Chain has the gradients of a plain one, for an activation memory that does not grow with depth."""

from collections import Counter

import pytest
import torch
from torch import nn

from waveglow.flows.actnorm import ActNorm
from waveglow.flows.base import Flow, positions
from waveglow.flows.compose import Chain
from waveglow.flows.coupling import ChannelMask, Coupling
from waveglow.flows.permute import InvertibleConv, InvertibleConvLU, Shuffle, Swap
from waveglow.flows.reshape import Squeeze
from waveglow.nn.separable import SeparableWaveNet
from waveglow.nn.wavenet import WaveNet

CHANNELS, COND_CHANNELS = 4, 2


def net(channels=CHANNELS, cond_channels=COND_CHANNELS):
    return WaveNet(channels // 2, channels, cond_channels=cond_channels, n_channels=6, n_layers=2)


def coupling(shared=None, *, moves="last"):
    return Coupling(shared or net(), ChannelMask(CHANNELS, moves=moves))


def deep(depth):
    return [layer for _ in range(depth) for layer in (ActNorm(CHANNELS), InvertibleConv(CHANNELS), coupling())]


def shared_net():
    one = net()
    return [coupling(one), Swap(), coupling(one), InvertibleConv(CHANNELS), coupling(one, moves="first")]


def shared_layer():
    one = coupling()
    return [one, InvertibleConvLU(CHANNELS), one, Shuffle(CHANNELS), one]


def moving_the_cond():
    wide = [Coupling(net(2 * CHANNELS, 2 * COND_CHANNELS), ChannelMask(2 * CHANNELS)) for _ in range(2)]
    nested = Chain([coupling(), Swap(swap_cond=True)])  # it uses the cond and moves it
    return [nested, coupling(), Squeeze(2), wide[0], Swap(swap_cond=True), wide[1]]


STACKS = {"deep": lambda: deep(4), "shared_net": shared_net, "shared_layer": shared_layer, "cond": moving_the_cond}
STACK_NAMES = list(STACKS)


def sequence(layers, *, memory, dtype=torch.float64):
    module = Chain(layers, memory=memory)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.15)
    return module.to(dtype)


def twins(name):
    """The same stack twice, plain and reversible, with the same parameters."""
    torch.manual_seed(0)
    plain = sequence(STACKS[name](), memory="none")
    rebuilt = sequence(STACKS[name](), memory="reversible")
    rebuilt.load_state_dict(plain.state_dict())
    return plain, rebuilt


def inputs(dtype=torch.float64, places=8):
    torch.manual_seed(1)
    return torch.randn(2, CHANNELS, places, dtype=dtype), torch.randn(2, COND_CHANNELS, places, dtype=dtype)


def loss(z, log_det):
    return (z.square() * torch.linspace(0.5, 2, z.numel(), dtype=z.dtype).view(z.shape)).sum() - log_det.pow(2).sum()


def assert_same_gradients(plain, rebuilt, x, cond, *, x_grad=True, cond_grad=True):
    gradients = []
    for module in (plain, rebuilt):
        module.zero_grad()
        leaf_x, leaf_cond = x.clone().requires_grad_(x_grad), cond.clone().requires_grad_(cond_grad)
        loss(*module(leaf_x, leaf_cond)).backward()
        gradients.append(
            {"x": leaf_x.grad, "cond": leaf_cond.grad, **{n: p.grad for n, p in module.named_parameters()}}
        )
    expected, got = gradients
    assert {name for name, grad in got.items() if grad is None} == {n for n, grad in expected.items() if grad is None}
    for name in (name for name, grad in expected.items() if grad is not None):
        torch.testing.assert_close(
            got[name], expected[name], rtol=1e-9, atol=1e-9, msg=lambda m, name=name: f"{name}: {m}"
        )


@pytest.mark.parametrize("name", STACK_NAMES)
def test_gradients_are_those_of_the_plain_mode(name):
    assert_same_gradients(*twins(name), *inputs())


@pytest.mark.parametrize("name", STACK_NAMES)
def test_the_first_layer_needs_no_gradient_for_x_nor_cond(name):
    assert_same_gradients(*twins(name), *inputs(), x_grad=False, cond_grad=False)


def test_frozen_parameters_get_no_gradient():
    plain, rebuilt = twins("deep")
    for module in (plain, rebuilt):
        module.layers[2].requires_grad_(False)
        module.layers[3].requires_grad_(False)
    assert_same_gradients(plain, rebuilt, *inputs())
    assert all(parameter.grad is None for parameter in rebuilt.layers[2].parameters())


def test_only_x_needs_a_gradient():
    plain, rebuilt = twins("deep")
    for module in (plain, rebuilt):
        module.requires_grad_(False)
    assert_same_gradients(plain, rebuilt, *inputs(), cond_grad=False)


@pytest.mark.parametrize("used", [0, 1], ids=["z", "log_det"])
def test_a_loss_of_one_output_alone(used):
    x, cond = inputs()
    found = []
    for module in twins("deep"):
        leaf = x.clone().requires_grad_()
        module(leaf, cond)[used].square().sum().backward()
        found.append(leaf.grad)
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)


def test_gradients_accumulate_over_two_backward_passes():
    x, cond = inputs()
    _, rebuilt = twins("shared_layer")
    loss(*rebuilt(x, cond)).backward()
    once = [parameter.grad.clone() for parameter in rebuilt.parameters()]
    loss(*rebuilt(x, cond)).backward()
    torch.testing.assert_close([p.grad for p in rebuilt.parameters()], [2 * grad for grad in once])


def kept_bytes(depth, *, memory):
    """Bytes of activations that autograd keeps for the backward pass, each memory once, parameters excluded."""
    torch.manual_seed(0)
    module = sequence(deep(depth), memory=memory, dtype=torch.float32)
    parameters = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = module(*inputs(torch.float32, places=64))
    del output  # alive until here: what it kept could not be freed and its address used again
    return sum(kept.values())


def test_kept_activations_do_not_grow_with_depth():
    shallow, deeper = (kept_bytes(depth, memory="reversible") for depth in (4, 16))
    assert 0 < deeper <= 1.1 * shallow
    plain_shallow, plain_deeper = (kept_bytes(depth, memory="none") for depth in (4, 16))
    assert plain_deeper > 3 * plain_shallow
    assert plain_shallow > 10 * shallow


def test_the_backward_pass_evaluates_each_coupling_net_once():
    _, rebuilt = twins("deep")
    calls = Counter()
    nets = [(name, m) for name, m in rebuilt.named_modules() if isinstance(m, WaveNet)]
    for name, module in nets:
        module.register_forward_hook(lambda module, x, y, name=name: calls.update([name]))
    output = rebuilt(*inputs())
    assert calls == dict.fromkeys([name for name, _ in nets], 1)
    calls.clear()
    loss(*output).backward()
    assert calls == dict.fromkeys([name for name, _ in nets], 1)


def test_without_gradients_nothing_is_kept_and_the_output_is_the_same():
    plain, rebuilt = twins("cond")
    with torch.no_grad():
        z, log_det = rebuilt(*inputs())
        assert z.grad_fn is None
        assert all(map(torch.equal, (z, log_det), plain(*inputs())))


def test_a_layer_of_its_own_needs_no_retrace():
    """What users write, forward and inverse, is enough: Flow rebuilds through them."""

    class Scale(Flow):
        def __init__(self):
            super().__init__()
            self.log_s = nn.Parameter(torch.tensor(0.3))

        def forward(self, x, cond=None):
            return x * self.log_s.exp(), (self.log_s * x.shape[1] * positions(x)).expand(x.shape[0])

        def inverse(self, z, cond=None):
            return z * (-self.log_s).exp()

    plain, rebuilt = (Chain([Scale(), coupling(), Scale()], memory=m).double() for m in ("none", "reversible"))
    rebuilt.load_state_dict(plain.state_dict())
    assert_same_gradients(plain, rebuilt, *inputs())


def test_batch_norms_in_nets_count_a_batch_once():
    """The backward pass runs a net again; running averages are those of the plain mode, and so are gradients."""

    def layers():
        return [
            layer
            for _ in range(3)
            for layer in (
                InvertibleConv(CHANNELS),
                Coupling(
                    SeparableWaveNet(CHANNELS // 2, CHANNELS, cond_channels=COND_CHANNELS, n_channels=6, n_layers=2),
                    ChannelMask(CHANNELS),
                ),
            )
        ]

    torch.manual_seed(0)
    plain, rebuilt = sequence(layers(), memory="none"), sequence(layers(), memory="reversible")
    rebuilt.load_state_dict(plain.state_dict())
    assert_same_gradients(plain.train(), rebuilt.train(), *inputs())
    for (name, expected), (_, got) in zip(plain.named_buffers(), rebuilt.named_buffers(), strict=True):
        if "tracked" not in name:
            torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9, msg=name)


def test_second_derivatives_are_refused_where_they_would_be_wrong():
    """Rebuilt inputs are copies: a gradient of the gradient would lack what goes through them."""
    chains = {memory: sequence(deep(1), memory=memory) for memory in ("none", "checkpoint", "reversible")}
    for chain in chains.values():
        chain.load_state_dict(chains["none"].state_dict())
    x = torch.randn(1, CHANNELS, 6, dtype=torch.float64, requires_grad=True)
    cond = torch.randn(1, COND_CHANNELS, 6, dtype=torch.float64)
    second = {}
    for memory, chain in chains.items():
        z, log_det = chain(x, cond)
        if memory == "reversible":
            with pytest.raises(ValueError, match="set memory to 'checkpoint' or 'none'"):
                torch.autograd.grad(z.square().sum() + log_det.sum(), x, create_graph=True)
            continue
        (first,) = torch.autograd.grad(z.square().sum() + log_det.sum(), x, create_graph=True)
        (second[memory],) = torch.autograd.grad(first.square().sum(), x)
    torch.testing.assert_close(second["checkpoint"], second["none"])
    assert second["none"].abs().max() > 0
