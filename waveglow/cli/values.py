"""The values that options take, each checked with one sentence."""

import argparse
import math
from collections.abc import Callable
from typing import TypeVar

from waveglow.audio.steps import MAX_STEPS

T = TypeVar("T")


def checked(convert: Callable[[str], T]) -> Callable[[str], T]:
    """`convert` as the type of an option: argparse prints the sentence of its ValueError."""

    def converted(text: str) -> T:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return converted


def whole(text: str, least: int = 0, most: float = math.inf) -> int:
    """A whole number."""
    if not (text.isdecimal() and least <= int(text) <= most):
        limit = f">= {least}" if most == math.inf else f"from {least} to {most}"
        raise argparse.ArgumentTypeError(f"{text} is no whole number {limit}")
    return int(text)


def positive(text: str) -> int:
    """A whole number of at least 1."""
    return whole(text, 1)


def seed(text: str) -> int:
    """Of a vocoder's noise."""
    return whole(text, 0, 2**64 - 1)


def seed_of_many(text: str) -> int:
    """A seed that leaves room for those that follow it."""
    return whole(text, 0, 2**63 - 1)


def steps_of_refinement(text: str) -> int:
    """A whole number of them."""
    return whole(text, 0, MAX_STEPS)


def non_negative(text: str) -> float:
    """A finite number from 0."""
    if not 0 <= (value := _number(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no finite number >= 0")
    return value


def seconds(text: str) -> float:
    """A finite number above 0."""
    if not 0 < (value := _number(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds above 0")
    return value


def numbers(text: str) -> list[float]:
    """Finite numbers between commas, each once."""
    values = [_number(part) for part in text.split(",")]
    if not all(map(math.isfinite, values)):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of finite numbers, such as -1,0,1")
    return list(dict.fromkeys(values))


def classes(text: str) -> list[int]:
    """Classes between commas."""
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of classes, such as 3 or 3,5")
    return [int(part) for part in parts]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
