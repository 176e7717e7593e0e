"""Configuration: frozen dataclasses from YAML and `a.b=c` overrides; an unknown key names its nearest relative."""

from __future__ import annotations

import dataclasses
import difflib
import dis
import json
import math
import os
import re
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

T = TypeVar("T")
MOST_CHARACTERS, MOST_VALUES = 1 << 17, 100_000  # of a YAML file: a megabyte takes ten seconds
PACKAGE = __name__.partition(".")[0]


class ConfigError(ValueError):
    """A configuration that can't be used; the message names the key, the value and the rule."""


def is_told(error: BaseException) -> bool:
    """Whether an error was raised by a `raise` of this package: a sentence for its user. One that Python or a package
    raises by itself, such as numpy for shapes that don't fit, is a bug of the program, and its traceback is wanted.
    """
    if type(error).__module__.partition(".")[0] == PACKAGE:
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] != PACKAGE:
        return False
    return trace.tb_frame.f_code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where a known name is close, else the list of known names."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"


def require_known(name: str, value: object, known: Iterable[object]) -> None:
    """Raises ValueError, with the nearest, for a word that chooses among `known` and is none of them.

    >>> require_known("moves", "Last", ("first", "last"))
    Traceback (most recent call last):
    ValueError: moves is 'Last', which is unknown; did you mean 'last'?
    """
    words = [*known]
    if value not in words:
        raise ValueError(f"{name} is {value!r}, which is unknown{nearest(str(value), map(str, words))}")


def from_json(text: str | bytes) -> Any:
    """A value of JSON. Raises ValueError for what is none, and for what is nested deeper than Python can read."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested deeper than any file of ours") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping, read by SafeLoader. Raises ConfigError if the file is missing, no YAML, or no mapping."""
    try:
        content = _yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror})") from error
    except ValueError as error:
        raise ConfigError(f"{path}: no valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds {type(content).__name__}, a configuration is a mapping of keys to values")
    return content


def _yaml(text: str) -> Any:
    """A value of YAML, by SafeLoader. Raises ValueError, in a line, for what is none, or much more than it seems."""
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"it has {len(text)} characters; a configuration has at most {MOST_CHARACTERS}")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: of its dates and numbers
        mark = getattr(error, "problem_mark", None)
        said = f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}" if mark else str(error)  # type: ignore[union-attr]
        raise ValueError(" ".join(said.split())) from error
    if _expanded(value, {}) > MOST_VALUES:
        raise ValueError(f"its aliases stand for more than {MOST_VALUES} values; write out what is meant")
    return value


def _expanded(value: Any, known: dict[int, float]) -> float:
    """How many values it holds, those of an alias each time that it is named; infinite where one holds itself."""
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) not in known:
        known[id(value)] = math.inf
        inner = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_expanded(each, known) for each in inner)
    return known[id(value)]


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over`, mappings merged key by key.

    >>> merged({"mel": "hifigan"}, {"mel": {"fmax": 7600.0}})  # fields over a name: what differs from that preset
    {'mel': {'preset': 'hifigan', 'fmax': 7600.0}}
    """
    result = dict(base)
    for key, value in over.items():
        old = {"preset": result[key]} if isinstance(result.get(key), str) else result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """`["a.b=1", "c=x"]` to `{"a": {"b": 1}, "c": "x"}`; values are YAML.

    >>> parse_overrides(["optim.lr=1e-4", "model.name=waveglow"])
    {'optim': {'lr': 0.0001}, 'model': {'name': 'waveglow'}}
    """
    result: dict[str, Any] = {}
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals or not path:
            raise ConfigError(f"override {override!r} is not of the form key.subkey=value")
        try:
            value = _number(_yaml(text))
        except ValueError as error:
            raise ConfigError(f"override {override!r}: its value is no YAML ({error})") from error
        for key in reversed(path.split(".")):
            value = {key: value}
        result = merged(result, value)
    return result


def _number(value: Any) -> Any:
    """YAML 1.1 reads `1e-4` (no dot) as text; users mean the number."""
    return float(value) if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value) else value


def from_mapping(cls: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Dataclass `cls` from a mapping, checked key by key; nested dataclasses from nested mappings.

    Raises ConfigError for an unknown key, a missing one or a value of another type, each named by its dotted path.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where or 'the configuration'} is {values!r}; it must be a mapping of keys to values")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    arguments = {}
    for key, value in values.items():
        path = f"{where}.{key}" if where else str(key)
        if key not in fields:
            raise ConfigError(f"unknown key {path!r}{nearest(str(key), fields)}")
        arguments[key] = _convert(hints[key], value, path)
    missing = [
        name
        for name, field in fields.items()
        if name not in arguments and field.default is field.default_factory is dataclasses.MISSING
    ]
    if missing:
        keys = f"key{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))}"
        raise ConfigError(f"{where or 'the configuration'} lacks the {keys}")
    try:
        return cls(**arguments)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{where}: {error}" if where else str(error)) from error


def _convert(hint: Any, value: Any, path: str) -> Any:
    options = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in options:
            return None
        inner = [option for option in options if option is not type(None)]
        return _convert(inner[0], value, path) if len(inner) == 1 else value
    if origin is typing.Literal:
        if value not in options:
            raise ConfigError(f"{path} is {value!r}; allowed: {', '.join(map(repr, options))}")
        return value
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_convert(options[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if origin is dict and isinstance(value, Mapping):
        return {str(key): _number(item) for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return from_mapping(hint, value, path)  # type: ignore[arg-type]
    if hint is Any:
        return value
    value = _number(value) if hint is float else value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    expected = origin or hint
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise ConfigError(f"{path} is {value!r} ({type(value).__name__}); it must be {expected.__name__}")
    return value


def to_mapping(config: Any) -> dict[str, Any]:
    """The mapping that `from_mapping` turns into an equal dataclass, of plain YAML and JSON types."""
    return {key: _plain(value) for key, value in dataclasses.asdict(config).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def load(cls: type[T], path: Path, overrides: Iterable[str] = ()) -> T:
    """Dataclass `cls` from a YAML file, then overrides. A file's `base: other.yaml` is read first, relative to it."""
    return from_mapping(cls, merged(read_with_base(path), parse_overrides(overrides)))


def read_with_base(path: Path, derived: tuple[Path, ...] = ()) -> dict[str, Any]:
    """What a file and its bases say, as a mapping, with no defaults filled in. Raises ConfigError."""
    if path.resolve() in derived:
        raise ConfigError(f"{path}: is its own base, by way of {', '.join(p.name for p in derived)}")
    values = read_yaml(path)
    base = values.pop("base", None)
    if base is None:
        return values
    return merged(read_with_base(path.parent / str(base), (*derived, path.resolve())), values)


def dump(config: Any, path: Path) -> None:
    """Write a dataclass as YAML that `load` reads back; a file that was there is replaced in one move."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(yaml.safe_dump(to_mapping(config), sort_keys=False), encoding="utf-8")
    os.replace(temporary, path)
