"""The whole dictionary of a published constructor's arguments: what the tensors tell must agree, the rest is used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from test_published_vocoders import nanoflow, waveflow_of_nanoflows_authors
from torch import Tensor

from waveglow.cli.main import main
from waveglow.models.published import ArgumentError, convert

GOLDEN = Path(__file__).parents[1] / "golden"


class Published(NamedTuple):
    """Tensors; the constructor's whole dictionary; which arguments no tensor tells; what else `convert` takes."""

    state: dict[str, Tensor]
    arguments: dict[str, Any]
    free: tuple[str, ...] = ()
    options: dict[str, Any] = {}  # noqa: RUF012


def golden(name: str, *free: str, drop: tuple[str, ...] = (), **options: Any) -> Published:
    with safe_open(GOLDEN / f"{name}.safetensors", "pt") as file:
        state = {key.removeprefix("state."): file.get_tensor(key) for key in file.keys() if key.startswith("state.")}  # noqa: SIM118
        arguments = json.loads(file.metadata()["config"])
    return Published(state, {key: value for key, value in arguments.items() if key not in drop}, free, options)


ROWS = ("n_height", "layers_per_dilation_h_cycle")
OF_NANOFLOW = {"in_channel": 1, "cin_channel": 4, "res_channel": 6, "n_height": 4, "n_flow": 2, "n_layer": 2}
OF_NANOFLOW |= {"layers_per_dilation_h_cycle": 1, "coupling_type": "affine"}
SPLINES = ("num_bin", "tail_bound")  # of another coupling_type
EMBEDDED = {"size_flow_embed": 5, "num_bin": 32, "tail_bound": 5.0, "use_weightnorm_embed": False}
FILTERS = ("filter_size",)  # of the golden files alone: the published constructor hasn't it

FAMILIES: dict[str, Callable[[], Published]] = {
    "nvidia-waveglow": lambda: golden("nvidia_waveglow_layout_c"),
    "nvidia-waveglow-old": lambda: golden("nvidia_waveglow_old", family="nvidia-waveglow-old"),
    "squeezewave": lambda: golden("squeezewave_a256"),
    "flowavenet": lambda: golden("flowavenet", "pretrained"),
    "waveflow": lambda: golden("waveflow", *ROWS, "bipartize"),
    "waveflow-bipartite": lambda: golden("waveflow_bipartite", *ROWS, "bipartize"),
    "waveflow-of-nanoflow": lambda: Published(
        waveflow_of_nanoflows_authors()[1],
        {**OF_NANOFLOW, "num_bin": 32, "tail_bound": 5.0, "bipartize": False},
        (*ROWS, *SPLINES, "bipartize"),
    ),
    "nanoflow": lambda: Published(
        nanoflow()[1], {**OF_NANOFLOW, **EMBEDDED}, (*ROWS, *SPLINES, "use_weightnorm_embed")
    ),
    "glow-rosinality": lambda: golden("glow2d_affine_lu", drop=FILTERS),
    "glow-rosinality-plain": lambda: golden("glow2d_additive_plain", drop=FILTERS),
    "realnvp-chrischute": lambda: golden("realnvp"),
}


@pytest.fixture(params=FAMILIES)
def published(request: pytest.FixtureRequest) -> Published:
    return FAMILIES[request.param]()


def test_the_whole_dictionary_is_accepted(published):
    state, arguments, free, options = published
    model, config = convert(state, config=arguments, **options)
    alone = {key: arguments[key] for key in free}
    expected, expected_config = convert(state, config=alone, **options)
    assert config == expected_config
    pairs = zip(model.state_dict().items(), expected.state_dict().items(), strict=True)
    assert all(name == other and torch.equal(a, b) for (name, a), (other, b) in pairs)


def test_a_value_that_is_not_the_tensors_is_refused(published):
    state, arguments, free, options = published
    told = {key: value for key, value in arguments.items() if key not in free}
    told |= {f"WN_config.{key}": value for key, value in told.pop("WN_config", {}).items()}
    assert len(told) >= 4
    for key, value in told.items():
        wrong = "nsf" if key == "coupling_type" else not value if isinstance(value, bool) else value + 1
        whole, _, inner = key.partition(".")
        given = {whole: {**arguments[whole], inner: wrong}} if inner else {key: wrong}
        with pytest.raises(ArgumentError) as error:
            convert(state, config={**arguments, **given}, **options)
        assert f"{key} is {wrong!r}" in str(error.value)
        assert "in the tensors" in str(error.value)
        assert "--" not in str(error.value)


def test_an_unknown_argument_is_refused_with_the_nearest_name(published):
    state, arguments, _, options = published
    for key in arguments:
        with pytest.raises(ArgumentError, match=rf"^{key}x is no argument of .*; did you mean '{key}'\?$"):
            convert(state, config={**arguments, f"{key}x": 1}, **options)


def test_both_values_are_named():
    state, arguments, _, _ = FAMILIES["realnvp-chrischute"]()
    with pytest.raises(ArgumentError, match="mid_channels is 9 in the configuration and 8 in the tensors"):
        convert(state, config={**arguments, "mid_channels": 9})
    state, arguments, _, _ = FAMILIES["flowavenet"]()
    with pytest.raises(
        ArgumentError, match=r"block_per_split is 1, by which priors follow blocks \[0, 1, 2\]; .*\[1\]"
    ):
        convert(state, config={**arguments, "block_per_split": 1})


def test_early_outputs_and_splits_that_never_come_are_the_arguments_own_affair():
    """Three flows of eight channels: the first early output would come before the fifth."""
    state, arguments, _, _ = FAMILIES["nvidia-waveglow"]()
    first = {key: t for key, t in state.items() if key.startswith("upsample") or int(key.split(".")[1]) < 3}
    _, config = convert(first, config={**arguments, "n_flows": 3})
    assert (config["n_early_every"], config["n_early_size"]) == (4, 2)
    with pytest.raises(ArgumentError, match=r"n_early_every is 2 .*\[8, 8, 6\].*\[8, 8, 8\]"):
        convert(first, config={**arguments, "n_flows": 3, "n_early_every": 2})


def test_the_names_of_the_json_files_do_too():
    state, arguments, _, _ = FAMILIES["waveflow"]()
    json_names = {"cin_channels": 8, "res_channels": 8, "n_layer_per_cycle": 2, "n_height": 8, "bipartize": False}
    assert convert(state, config=json_names)[1]["height_cycle"] == 2
    with pytest.raises(ArgumentError, match="n_layer_per_cycle and layers_per_dilation_h_cycle are one argument"):
        convert(state, config={**arguments, "n_layer_per_cycle": 1})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            [],
            "no tensor of WaveFlow tells n_height or bipartize; give it, as in --set n_height=16 --set bipartize=false",
        ),
        (["--set", "n_height=8"], "no tensor of WaveFlow tells bipartize; give it, as in --set bipartize=false"),
        (["--set", "n_flow=9"], "--set: n_flow is 9 in the configuration and 4 in the tensors"),
    ],
)
def test_the_shell_says_it_in_its_own_words(flags, message, tmp_path, capsys):
    save_file(FAMILIES["waveflow"]().state, tmp_path / "theirs.safetensors")
    assert main(["convert", str(tmp_path / "theirs.safetensors"), str(tmp_path / "ours"), *flags]) == 2
    assert message in capsys.readouterr().err


def test_the_shell_asks_for_the_family(tmp_path, capsys):
    save_file({"a": torch.zeros(1)}, tmp_path / "theirs.safetensors")
    assert main(["convert", str(tmp_path / "theirs.safetensors"), str(tmp_path / "ours")]) == 2
    assert "name it with --family" in capsys.readouterr().err
