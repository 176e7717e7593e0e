"""Row by row is what all rows at once are, for every height, dilation and order of rows."""

import copy

import pytest
import torch

from waveglow.flows.autoregressive import RowAutoregressive
from waveglow.flows.coupling import RowsAboveMask
from waveglow.flows.permute import FlipRows
from waveglow.models.registry import build
from waveglow.models.weights import own_state
from waveglow.nn.wavenet2d import RowStack, WaveNet2d


def awake(module, push=0.15):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=push)
    return module.double().eval()


def net_of(dilations):
    return awake(WaveNet2d(RowStack(1, cond_channels=3, n_channels=4, dilations=dilations), 2))


@pytest.mark.parametrize("dilations", [[(1, 1)], [(2, 1), (1, 4)], [(8, 2), (1, 1), (4, 1)], [(32, 1)]], ids=str)
@torch.no_grad()
def test_a_net_gives_row_by_row_what_it_gives_of_all_rows(dilations):
    net = net_of(dilations)
    x, cond = torch.randn(2, 1, 24, 7, dtype=torch.float64), torch.randn(2, 3, 24, 7, dtype=torch.float64)
    past, rows = None, []
    for h in range(24):
        row, past = net.row(x[:, :, h : h + 1], cond[:, :, h : h + 1], past)
        rows.append(row)
    torch.testing.assert_close(torch.cat(rows, 2), net(x, cond), rtol=0, atol=1e-12)


@torch.no_grad()
def test_a_row_depends_on_no_row_behind_it():
    net = net_of([(1, 1), (2, 1)])
    x, cond = torch.randn(1, 1, 8, 5, dtype=torch.float64), torch.randn(1, 3, 8, 5, dtype=torch.float64)
    before = net(x, cond)
    x[:, :, 5], cond[:, :, 6] = 9.0, 9.0
    changed = (net(x, cond) != before).any(1).any(2)[0]
    assert changed.tolist() == [False] * 5 + [True] * 3


@pytest.mark.parametrize("first", ["kept", "moved"])
@torch.no_grad()
def test_the_inverse_asks_the_net_once_a_row(first):
    flow = RowAutoregressive(net_of([(1, 1)]), RowsAboveMask(1, first=first))
    z, cond = torch.randn(1, 1, 8, 5, dtype=torch.float64), torch.randn(1, 3, 8, 5, dtype=torch.float64)
    asked, row = [], flow.net.row
    flow.net.row = lambda x, *rest: asked.append(x.shape[2]) or row(x, *rest)
    x = flow.inverse(z, cond)
    assert asked == [1] * (7 if first == "kept" else 8)
    assert torch.equal(x[:, :, :1], z[:, :, :1]) == (first == "kept")
    torch.testing.assert_close(flow(x, cond)[0], z, rtol=0, atol=1e-12)


@pytest.mark.parametrize("all_rows", [False, True])
@pytest.mark.parametrize("height", [8, 16, 32, 64, 128])
@torch.no_grad()
def test_waveflow_inverts_at_every_height_of_its_paper(height, all_rows):
    """From 32 rows on layers are up to 64 rows apart, which a queue of the last two rows could not serve."""
    numbers = {"hop": height, "n_height": height, "n_mels": 3, "n_flows": 2, "n_channels": 4}
    model = awake(build({"name": "waveflow", **numbers, "all_rows": all_rows}), push=0.05)
    assert (max(conv.down for conv in model.modules() if hasattr(conv, "down")) > 1) == (height >= 32)
    audio, mel = torch.randn(1, 3 * height, dtype=torch.float64), torch.randn(1, 3, 3, dtype=torch.float64)
    (z,), _ = model.encode(audio, mel)
    assert (z - audio.view(1, 3, height).transpose(1, 2)).abs().max() > 0.1
    torch.testing.assert_close(model.decode([z], mel), audio, rtol=0, atol=1e-9)


def test_rows_are_flipped_within_halves():
    rows = torch.arange(8.0).view(1, 1, 8, 1)
    assert FlipRows()(rows)[0].flatten().tolist() == [7, 6, 5, 4, 3, 2, 1, 0]
    assert FlipRows(2)(rows)[0].flatten().tolist() == [3, 2, 1, 0, 7, 6, 5, 4]
    with pytest.raises(ValueError, match="got 7 rows; they must be a multiple of its 2 parts"):
        FlipRows(2)(rows[:, :, :7])


def test_no_conditioning_is_told():
    flow = RowAutoregressive(net_of([(1, 1)]), RowsAboveMask(1))
    for direction in (flow.forward, flow.inverse):
        with pytest.raises(ValueError, match="no conditioning"):
            direction(torch.zeros(1, 1, 4, 2, dtype=torch.float64))


def test_a_shared_stack_stays_shared_and_is_kept_once():
    model = build({"name": "nanoflow", "hop": 16, "n_height": 4, "n_mels": 3, "n_flows": 3, "n_channels": 4})
    copied = copy.deepcopy(model)
    stacks = {id(module) for module in copied.modules() if isinstance(module, RowStack)}
    assert len(stacks) == 1
    assert sum(t.numel() for t in own_state(model).values()) == sum(p.numel() for p in model.parameters())
    assert len(own_state(model)) < len(model.state_dict())
