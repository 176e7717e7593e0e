"""Work in parts: the I-th of N, for machines that know nothing of each other, and their reports read together.

A part is every N-th item, so that all parts are of one size within one, whatever the order means. Which items there are
must be the same for all: each report says how many there were and a digest of their names, and `reports` compares them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from waveglow.config import ConfigError, from_json

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """The `index`-th of `count` parts, counted from 1. Raises ConfigError where there is no such part."""

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise ConfigError(
                f"part {self.index} of {self.count}: parts are counted from 1, so it is 1 to {self.count}"
            )

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def of(self, items: Sequence[T]) -> list[T]:
        """The items of this part."""
        return list(items[self.index - 1 :: self.count])

    def divided(self, count: int) -> list[Part]:
        """The parts of this part: `Part(2, 3).divided(2)` is 2/6 and 5/6, which together are 2/3."""
        return [Part(self.index + number * self.count, self.count * count) for number in range(count)]

    def named(self, path: Path) -> Path:
        """The file of this part: of `report.json` it is `report.2-of-3.json`, of all in one part `report.json`."""
        return path if self.count == 1 else path.with_name(f"{path.stem}.{self.index}-of-{self.count}{path.suffix}")


WHOLE = Part()
AUTO = "auto"
AUTO_HELP = f"{AUTO}: as SLURM or torchrun says"
FROM_ENVIRONMENT = "neither SLURM_ARRAY_TASK_ID nor RANK and WORLD_SIZE are set; give I/N, such as 1/4"


def part(text: str, environment: Mapping[str, str] = os.environ) -> Part:
    """The part that "3/8" means, or "auto": that of a SLURM array's task, of a torchrun's process, of both.

    Raises ConfigError.
    """
    if text != AUTO:
        if not (found := re.fullmatch(r"(\d+)/(\d+)", text)):
            raise ConfigError(f"{text!r} is no part; give I/N, such as 1/4, or {AUTO}")
        return Part(int(found[1]), int(found[2]))
    chosen = WHOLE
    if "SLURM_ARRAY_TASK_ID" in environment:
        chosen = _of_an_array(environment)
    elif not {"RANK", "WORLD_SIZE"} <= environment.keys():
        raise ConfigError(f"{AUTO}: {FROM_ENVIRONMENT}")
    if {"RANK", "WORLD_SIZE"} <= environment.keys():
        rank, size = (_number(environment, name) for name in ("RANK", "WORLD_SIZE"))
        if rank >= size:
            raise ConfigError(f"{AUTO}: RANK is {rank} and WORLD_SIZE {size}; the rank must be below it")
        chosen = chosen.divided(size)[rank]
    return chosen


def _of_an_array(environment: Mapping[str, str]) -> Part:
    """SLURM counts an array's tasks, whose numbers may begin anywhere and go up in steps."""
    task = _number(environment, "SLURM_ARRAY_TASK_ID")
    count, first = (_number(environment, f"SLURM_ARRAY_TASK_{name}") for name in ("COUNT", "MIN"))
    step = _number({"SLURM_ARRAY_TASK_STEP": "1", **environment}, "SLURM_ARRAY_TASK_STEP") or 1
    place, beside = divmod(task - first, step)
    if beside or not 0 <= place < count:
        raise ConfigError(
            f"{AUTO}: SLURM_ARRAY_TASK_ID is {task}, which is not one of {count} numbers from {first} on without a "
            "gap; give --shard I/N"
        )
    return Part(place + 1, count)


def _number(environment: Mapping[str, str], name: str) -> int:
    value = environment.get(name, "")
    if not value.isdecimal():
        raise ConfigError(f"{AUTO}: {name} is {value!r}, which is no whole number; give --shard I/N")
    return int(value)


def account(names: Iterable[str]) -> dict[str, Any]:
    """What all items are, of which a part is one, for its report: how many, and a digest of their names in order."""
    listed = list(names)
    return {"inputs": len(listed), "sha256": hashlib.sha256(json.dumps(listed).encode()).hexdigest()}


def in_turn(parts: Sequence[Sequence[T]]) -> list[T]:
    """The items of all parts in the order that they had before they were parted."""
    most = max(map(len, parts), default=0)
    return [items[place] for place in range(most) for items in parts if place < len(items)]


def reports(path: Path) -> list[dict[str, Any]]:
    """The contents of all parts' files beside `path` (of `report.json`: `report.1-of-2.json`, …), in order; maybe none.

    Raises ConfigError where one is missing or broken, there are parts of two divisions, or of different inputs.
    """
    found: dict[Part, Path] = {}
    for file in path.parent.glob(f"{path.stem}.*-of-*{path.suffix}"):
        if numbers := re.fullmatch(rf"{re.escape(path.stem)}\.(\d+)-of-(\d+){re.escape(path.suffix)}", file.name):
            found[Part(int(numbers[1]), int(numbers[2]))] = file
    counts = sorted({one.count for one in found})
    if len(counts) > 1:
        listed = " and of ".join(map(str, counts))
        raise ConfigError(f"{path.parent}: has reports of {listed} parts; remove those of the run that doesn't count")
    wanted = [Part(number, count) for count in counts for number in range(1, count + 1)]
    if missing := [str(one) for one in wanted if one not in found]:
        some = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
        raise ConfigError(
            f"{path.parent}: of {counts[0]} parts {len(missing)} have no report: {some}; run those again, with the "
            "same options, and then this"
        )
    contents = [_read(found[one], one) for one in wanted]
    for one, content in zip(wanted, contents, strict=True):
        if content["of"] != contents[0]["of"]:
            raise ConfigError(
                f"{found[one]}: is a part of other inputs or options than {found[wanted[0]]}; run all parts with the "
                "same ones"
            )
    return contents


def _read(file: Path, one: Part) -> dict[str, Any]:
    try:
        content = from_json(file.read_text("utf-8"))
        if content["part"] != str(one) or "of" not in content:
            raise ValueError("it says that it is another part")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file}: is no report of part {one} ({error}); run that part again") from error
    return dict(content)
