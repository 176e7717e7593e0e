"""waveglow.config: what is read is typed, what is wrong is named by its dotted path."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pytest

from waveglow.config import (
    ConfigError,
    dump,
    from_mapping,
    is_told,
    load,
    merged,
    nearest,
    parse_overrides,
    to_mapping,
)
from waveglow.data.sampler import permutation
from waveglow.noise import Purpose, philox


@dataclass(frozen=True)
class Optim:
    lr: float = 1e-3
    betas: tuple[float, ...] = (0.9, 0.999)
    clip: float | None = None
    schedule: Literal["constant", "cosine"] = "constant"


@dataclass(frozen=True)
class Train:
    steps: int = 10
    resume: bool = False
    optim: Optim = field(default_factory=Optim)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; it must be at least 1")


@dataclass(frozen=True)
class Config:
    name: str
    train: Train = field(default_factory=Train)
    model: dict[str, Any] = field(default_factory=dict)


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "config.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


FULL = """
name: tiny
train:
  steps: 5
  resume: true
  optim: {lr: 1e-4, betas: [0.8, 0.99], clip: 1, schedule: cosine}
model: {name: waveglow, n_flows: 4, sigma: 1e-1}
"""


def test_a_file_becomes_nested_dataclasses(write):
    assert load(Config, write(FULL)) == Config(
        name="tiny",
        train=Train(steps=5, resume=True, optim=Optim(1e-4, (0.8, 0.99), 1.0, "cosine")),
        model={"name": "waveglow", "n_flows": 4, "sigma": 0.1},
    )


def test_what_is_left_out_has_its_default(write):
    assert load(Config, write("name: x")) == Config("x")


def test_overrides_go_last_and_touch_only_what_they_name(write):
    config = load(Config, write(FULL), ["train.optim.lr=3e-5", "model.n_flows=6", "train.optim.betas=[0.5]", "name=y"])
    assert config.train.optim == Optim(3e-5, (0.5,), 1.0, "cosine")
    assert config.train.steps == 5
    assert config.model == {"name": "waveglow", "n_flows": 6, "sigma": 0.1}
    assert config.name == "y"


def test_an_int_is_read_as_float_where_a_float_is_wanted():
    lr = from_mapping(Optim, {"lr": 1}).lr
    assert (lr, type(lr)) == (1.0, float)


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "+1e-4", "1.e-4", "0.0001", "1.0e-4"])
def test_every_way_to_write_a_number_is_one(write, text):
    assert load(Optim, write(f"lr: {text}")).lr == 1e-4
    assert load(Optim, write("clip: 1"), [f"lr={text}"]).lr == 1e-4


@pytest.mark.parametrize("value", [None, 2.5])
def test_an_optional_is_none_or_its_type(value):
    assert from_mapping(Optim, {"clip": value}).clip == value


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "x", "train": {"optim": {"lrr": 1}}}, r"unknown key 'train\.optim\.lrr'; did you mean 'lr'\?"),
        ({"name": "x", "trian": {}}, r"unknown key 'trian'; did you mean 'train'\?"),
        ({"name": "x", "train": {"zzz": 1}}, r"unknown key 'train\.zzz'; known: optim, resume, steps"),
        ({"name": "x", 1: 2}, r"unknown key '1'"),
        ({}, r"the configuration lacks the key 'name'"),
        ({"name": 3}, r"name is 3 \(int\); it must be str"),
        ({"name": "x", "train": 3}, r"train is 3; it must be a mapping"),
        ({"name": "x", "train": None}, r"train is None; it must be a mapping"),
        ({"name": "x", "train": {"steps": 1.5}}, r"train\.steps is 1\.5 \(float\); it must be int"),
        ({"name": "x", "train": {"steps": "5"}}, r"train\.steps is '5' \(str\); it must be int"),
        ({"name": "x", "train": {"steps": True}}, r"train\.steps is True \(bool\); it must be int"),
        ({"name": "x", "train": {"steps": None}}, r"train\.steps is None \(NoneType\); it must be int"),
        ({"name": "x", "train": {"resume": 1}}, r"train\.resume is 1 \(int\); it must be bool"),
        ({"name": "x", "train": {"steps": 0}}, r"train: steps is 0; it must be at least 1"),
        ({"name": "x", "train": {"optim": {"lr": True}}}, r"train\.optim\.lr is True \(bool\); it must be float"),
        ({"name": "x", "train": {"optim": {"lr": "fast"}}}, r"train\.optim\.lr is 'fast' \(str\); it must be float"),
        ({"name": "x", "train": {"optim": {"clip": "no"}}}, r"train\.optim\.clip is 'no' \(str\); it must be float"),
        ({"name": "x", "train": {"optim": {"betas": 0.9}}}, r"train\.optim\.betas is 0\.9 \(float\); it must be tuple"),
        ({"name": "x", "train": {"optim": {"betas": [0.9, "a"]}}}, r"train\.optim\.betas\[1\] is 'a'"),
        (
            {"name": "x", "train": {"optim": {"schedule": "cosin"}}},
            r"train\.optim\.schedule is 'cosin'; allowed: 'constant', 'cosine'",
        ),
        ({"name": "x", "model": [1]}, r"model is \[1\] \(list\); it must be dict"),
    ],
)
def test_a_wrong_value_is_named_by_its_path(values, message):
    with pytest.raises(ConfigError, match=message):
        from_mapping(Config, values)


def test_what_is_dumped_is_loaded_back_equal(tmp_path):
    config = Config(
        "x", Train(3, True, Optim(1e-5, (0.1,), None, "cosine")), {"name": "waveglow", "deep": {"a": [1, 2]}}
    )
    dump(config, tmp_path / "saved.yaml")
    assert load(Config, tmp_path / "saved.yaml") == config
    assert to_mapping(config)["train"]["optim"]["betas"] == [0.1]


# ---- base: ---------------------------------------------------------------------------------------------------------


def test_a_base_is_read_first_relative_to_the_file(write):
    write("name: base\ntrain: {steps: 7, optim: {lr: 0.5, clip: 2.0}}", "shared/base.yaml")
    write("base: base.yaml\ntrain: {optim: {lr: 0.25}}", "shared/middle.yaml")
    path = write("base: ../shared/middle.yaml\nname: top\ntrain: {optim: {clip: null}}", "runs/top.yaml")
    assert load(Config, path) == Config("top", Train(7, optim=Optim(0.25, clip=None)))


def test_a_missing_base_is_named(write):
    with pytest.raises(ConfigError, match=r"none\.yaml: can't be read"):
        load(Config, write("base: none.yaml\nname: x"))


def test_bases_that_go_in_a_circle_are_refused(write):
    write("base: two.yaml", "one.yaml")
    with pytest.raises(ConfigError, match=r"two\.yaml"):
        load(Config, write("base: one.yaml\nname: x", "two.yaml"))


# ---- Files that are no configuration ---------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.mkdir [{path}]", "!!python/name:os.system", "!new {{}}"])
def test_yaml_that_names_code_is_refused_and_not_run(write, tmp_path, tag):
    made = tmp_path / "made"
    with pytest.raises(ConfigError, match="no valid YAML"):
        load(Config, write(f"name: {tag.format(path=made)}"))
    assert not made.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [1", "no valid YAML"), ("- 1", "holds list, a configuration is a mapping"), ("", "holds NoneType")],
)
def test_a_file_that_is_no_mapping_is_refused(write, text, message):
    with pytest.raises(ConfigError, match=message):
        load(Config, write(text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: can't be read \(No such file"):
        load(Config, tmp_path / "absent.yaml")


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(ConfigError, match="no valid YAML"):
        load(Config, tmp_path / "binary.yaml")


# ---- Overrides -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("override", ["name", "=1", ""])
def test_an_override_without_key_or_value_is_refused(override):
    with pytest.raises(ConfigError, match=r"not of the form key\.subkey=value"):
        parse_overrides([override])


@pytest.mark.parametrize("override", ["a.b=[1", "a.b=!!python/object/apply:os.getcwd []"])
def test_an_override_that_is_no_yaml_is_named(override):
    with pytest.raises(ConfigError, match=r"a\.b="):
        parse_overrides([override])


def test_later_overrides_win_and_values_may_hold_equals_signs():
    assert parse_overrides(["a.b=1", "a.c=x=y", "a.b=2"]) == {"a": {"b": 2, "c": "x=y"}}


def test_merging_changes_neither_side():
    base, over = {"a": {"b": 1}}, {"a": {"c": 2}}
    assert merged(base, over) == {"a": {"b": 1, "c": 2}}
    assert (base, over) == ({"a": {"b": 1}}, {"a": {"c": 2}})


def test_nearest_names_one_or_lists_all():
    assert nearest("wavglow", ["waveglow", "glow"]) == "; did you mean 'waveglow'?"
    assert nearest("q", ["b", "a"]) == "; known: a, b"


def test_our_own_sentences_are_told_from_bugs():
    """A bug keeps its traceback: what Python, numpy or a test raises is none of ours, wherever it passes through."""

    def raised(action):
        try:
            action()
        except ValueError as error:
            return error
        raise AssertionError

    assert is_told(raised(lambda: parse_overrides(["x"])))  # a class of ours
    assert is_told(raised(lambda: philox(-1, Purpose.ORDER, 0)))  # a plain ValueError that we raise
    assert not is_told(raised(lambda: philox(0, Purpose.ORDER, 0).permutation(np.float64("nan"))))
    assert not is_told(raised(lambda: permutation(0, 0, "many")))  # numpy's or Python's, from a line of ours
    assert not is_told(raised(lambda: int("three")))
    assert not is_told(ValueError("never raised"))
