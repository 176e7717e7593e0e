"""The gated tanh unit is the same by tanh and by sigmoids alone."""

import pytest
import torch

from waveglow.nn.gate import gated_tanh_unit


@pytest.mark.parametrize("spread", [1e-3, 1.0, 30.0])
def test_inference_gives_what_training_gives(spread):
    a = spread * torch.randn(2, 6, 1, 50, generator=torch.manual_seed(0))
    exact = gated_tanh_unit(a.double())
    with torch.inference_mode():
        unit = gated_tanh_unit(a.clone())
    torch.testing.assert_close(unit.double(), exact, rtol=0, atol=3e-7)
    torch.testing.assert_close(exact, a.double()[:, :3].tanh() * a.double()[:, 3:].sigmoid(), rtol=0, atol=0)


def test_only_inference_overwrites():
    a = torch.randn(1, 4, 1, 8, generator=torch.manual_seed(0))
    before = a.clone()
    with torch.no_grad():
        gated_tanh_unit(a)
    assert torch.equal(a, before)
