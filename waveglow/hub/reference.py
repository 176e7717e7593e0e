"""How a checkpoint on the hub is named, and which files it has."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PREFIX = "hf:"
CONFIG, WEIGHTS = REQUIRED = ("config.json", "model.safetensors")
FILES = (CONFIG, "MANIFEST.json", "README.md", WEIGHTS)  # all that is ever fetched or sent, in that order

# What the hub takes, less names that it has reserved and git's rarer signs.
_NAME = re.compile(r"(?![-.])(?!.*(?:--|\.\.))[A-Za-z0-9_.-]{1,96}(?<![-.])(?<!\.git)")
_REVISION = re.compile(r"(?![-./])(?!.*(?:\.\.|//))[A-Za-z0-9_./+-]{1,200}(?<![./])")
COMMIT = re.compile("[0-9a-f]{40}")


class HubError(ValueError):
    """What the hub doesn't give or take; the message names the repository, the fault and what to do."""


@dataclass(frozen=True)
class Reference:
    """A repository of the hub, and a branch, a tag or a commit of it.

    >>> Reference.parse("hf:org/name@v1")
    Reference(repository='org/name', revision='v1')
    >>> Reference.parse("hf:../name")
    Traceback (most recent call last):
    ValueError: 'hf:../name' names no model of the hub; it is hf:org/name or hf:org/name@revision
    """

    repository: str
    revision: str = "main"

    @classmethod
    def parse(cls, text: str) -> Reference:
        """From `hf:org/name` or `hf:org/name@revision`. Raises ValueError."""
        repository, at, revision = text.removeprefix(PREFIX).partition("@")
        if not text.startswith(PREFIX) or not _is_repository(repository) or (at and not _REVISION.fullmatch(revision)):
            raise ValueError(f"{text!r} names no model of the hub; it is hf:org/name or hf:org/name@revision")
        return cls(repository, revision) if at else cls(repository)

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}@{self.revision}"

    @property
    def is_commit(self) -> bool:
        """Whether it names one commit, and so never changes."""
        return COMMIT.fullmatch(self.revision) is not None


def is_reference(path: str | Path) -> bool:
    """Whether a checkpoint's name is meant for the hub, well formed or not."""
    return str(path).startswith(PREFIX)


def repository_named(text: str) -> str:
    """The `org/name` that a model is sent to, with or without `hf:`. Raises ValueError."""
    name = text.removeprefix(PREFIX)
    if not _is_repository(name):
        raise ValueError(
            f"{text!r} names no repository; it is org/name, both of letters, digits, '-', '_' and '.', 96 at most"
        )
    return name


def _is_repository(text: str) -> bool:
    parts = text.split("/")
    return len(parts) == 2 and all(map(_NAME.fullmatch, parts))
