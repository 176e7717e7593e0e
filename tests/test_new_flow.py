"""docs/howto/new-flow.md: its code runs in order, and the layer that it writes passes the contract suite."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "howto" / "new-flow.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


def contract_suite():
    spec = importlib.util.spec_from_file_location("contract", ROOT / "tests" / "flows" / "test_contract.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CONTRACT = contract_suite()
CHECKS = [
    CONTRACT.test_log_det_is_that_of_the_jacobian,
    CONTRACT.test_latent_shapes_are_the_actual_ones,
    CONTRACT.test_every_parameter_gets_a_finite_gradient,
    CONTRACT.test_state_dict_holds_all_that_the_output_depends_on,
    CONTRACT.test_both_directions_compile_into_one_graph,
    CONTRACT.test_autocast_runs_coupling_nets_and_nothing_else_in_bfloat16,
    CONTRACT.test_the_factor_is_that_of_the_shapes,
]


@pytest.fixture(scope="module")
def layer():
    """The class that the page's first block defines."""
    names = {"__name__": "page"}
    exec(BLOCKS[0], names)
    return names["SinhArcsinhCoupling"]


@pytest.fixture(params=[((8,), 2), ((8,), 0), ((2, 4), 2), ((2, 4), 0)], ids=["1d-cond", "1d", "2d-cond", "2d"])
def case(layer, request):
    [line] = re.findall(r'^"SinhArcsinhCoupling": (.*),$', PAGE, re.M)  # what the page adds to LAYERS
    names = {"Entry": CONTRACT.Entry, "ChannelMask": CONTRACT.ChannelMask, "SinhArcsinhCoupling": layer}
    return CONTRACT.layer_case(eval(line, names), *request.param)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_layer_of_the_page_passes_the_suite(case, check):
    check(case)


@pytest.mark.parametrize("dtype", CONTRACT.TOLERANCE, ids=str)
def test_its_round_trip(case, dtype):
    CONTRACT.test_round_trip(case, dtype)


@pytest.mark.parametrize("memory", ["checkpoint", "reversible"])
def test_its_gradients_in_memory_modes(case, memory):
    CONTRACT.test_gradients_of_memory_modes_are_the_plain_ones(case, memory)


def test_the_code_of_the_page_runs_in_order(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    torch.manual_seed(0)
    names = {"__name__": "page"}
    for block in BLOCKS:
        exec(block, names)
    assert len(BLOCKS) == 5
    assert capsys.readouterr().out.startswith("Reach(before=")
    assert len(names["pieces"]) > 1


def test_the_layer_takes_forty_lines():
    [code] = re.findall(r"class SinhArcsinhCoupling.*", BLOCKS[0], re.S)
    assert len(code.splitlines()) <= 40
