"""Which clips are held out: those that are named, and by the hash of their place in the corpus, so that added clips
move none that are there."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import Literal, NamedTuple

from waveglow.audio.files import Input
from waveglow.config import ConfigError, nearest

Split = Literal["train", "valid", "test"]


class Recorded(NamedTuple):
    """What of a clip decides its split: its place in the corpus, `speaker/012`, and a digest of its samples.

    `long`: enough to be validated on. `kept`: the split that it has already.
    """

    place: str
    content: str
    long: bool = True
    kept: Split | None = None


def splits(clips: Sequence[Recorded], *, valid: float = 0.05, test: float = 0.0) -> list[Split]:
    """The split of each clip: held out is the share `valid`, then `test`, of smallest hashes of the places.

    A clip's hash is compared with the share itself, so that it depends on no other clip; what has a split keeps it.
    Copies of a recording are on one side, if there are other recordings. Each split that is asked for gets one at
    least, and so does train. Raises ConfigError for shares that leave nothing to train on, and for too few clips.
    """
    require_shares(valid, test, named=any(clip.kept == "valid" for clip in clips))
    groups: dict[str, list[Recorded]] = {}
    for clip in clips:
        groups.setdefault(clip.content, []).append(clip)
    wanted: list[Split] = ["valid", *(["test"] if test else []), "train"]  # type: ignore[list-item]
    if len(clips) < len(wanted):
        raise ConfigError(f"there are {len(clips)} clips; {len(wanted)} are needed, one a split")
    if len(groups) < len(wanted):  # there is nothing else than copies
        return splits([clip._replace(content=clip.place) for clip in clips], valid=valid, test=test)
    hashes = {content: min(map(_hash, group)) for content, group in groups.items()}
    found = {content: _split(group, hashes[content], valid, test) for content, group in groups.items()}
    order = sorted(groups, key=lambda content: (_kept(groups[content]), not _long(groups[content]), hashes[content]))
    given_anew = set()
    for split in wanted:
        if split not in found.values():
            # The smallest hashes are held out, of those long enough if there are any; train gets back the largest.
            among = [c for c in (order[::-1] if split == "train" else order) if _spare(found[c], split, found)]
            if not among:
                kept = ", ".join(sorted(set(found.values())))
                raise ConfigError(f"no clip is left for the split {split}: all are needed for {kept}; add clips")
            found[among[0]] = split
            given_anew.add(among[0])
    return [(clip.content not in given_anew and clip.kept) or found[clip.content] for clip in clips]


class HeldOut:
    """Recordings that are held out by name.

    Arguments:
        corpus: the folder in which they lie.
        patterns: by split, of names as a shell matches them: of a recording (`012`), of its place (`anna/012.wav`,
            also as the shell gives it), or of a folder with all below it (`anna`).
    """

    def __init__(self, corpus: Path, patterns: Mapping[Split, Sequence[str]]) -> None:
        self.corpus = corpus
        self.patterns = [(split, pattern) for split, given in patterns.items() for pattern in given]

    def require_found(self, inputs: Sequence[Input]) -> None:
        """Raises ConfigError for a pattern that names none of them, and for a recording named for two splits."""
        found: dict[str, Split] = {}
        names = [(item, self._names(item)) for item in inputs]
        for split, pattern in self.patterns:
            matched = [item for item, known in names if self._any_is(pattern, known)]
            if not matched:
                folders = {parent.as_posix() for item in inputs for parent in item.stem.parents[:-1]}
                known = folders | {item.stem.as_posix() for item in inputs}
                raise ConfigError(f"no recording below {self.corpus} is named {pattern!r}{nearest(pattern, known)}")
            for item in matched:
                if found.setdefault(str(item.stem), split) != split:
                    raise ConfigError(f"{item.file} is held out by name for valid and for test; name it for one")

    def split_of(self, item: Input) -> Split | None:
        """The split that a recording is named for."""
        known = self._names(item)
        return next((split for split, pattern in self.patterns if self._any_is(pattern, known)), None)

    def _names(self, item: Input) -> set[str]:
        inside = item.file.relative_to(self.corpus)
        paths = [path for place in (item.stem, inside) for path in (place, *place.parents[:-1])]
        return {_composed(name) for path in paths for name in (path.as_posix(), path.name)}

    def _any_is(self, pattern: str, names: set[str]) -> bool:
        path = PurePath(pattern)
        inside = path.relative_to(self.corpus) if path.is_relative_to(self.corpus) else path
        return any(fnmatchcase(name, _composed(inside.as_posix())) for name in names)


def _composed(name: str) -> str:
    """As it is compared, since file systems differ in that."""
    return unicodedata.normalize("NFC", name)


def require_shares(valid: float, test: float, *, named: bool = False) -> None:
    """Raises ConfigError for shares that leave nothing to validate, unless clips are `named` for it, or to train on."""
    if not ((0 < valid < 1 or (named and valid == 0)) and 0 <= test < 1 and valid + test < 1):
        raise ConfigError(
            f"valid_fraction is {valid} and test_fraction {test}; they must be between 0 and 1, together below 1"
        )


def _hash(clip: Recorded) -> float:
    """From 0 to 1."""
    name = _composed(clip.place).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") / 2**64


def _long(group: Sequence[Recorded]) -> bool:
    return all(clip.long for clip in group)


def _kept(group: Sequence[Recorded]) -> bool:
    return any(clip.kept for clip in group)


def _split(group: Sequence[Recorded], place: float, valid: float, test: float) -> Split:
    kept = {clip.kept for clip in group} - {None}
    if kept:  # what was trained on must not judge
        return next(split for split in ("train", "valid", "test") if split in kept)
    if not _long(group) or place >= valid + test:
        return "train"
    return "valid" if place < valid else "test"


def _spare(split: Split, wanted: Split, found: dict[str, Split]) -> bool:
    """Whether one of that split may be given to another that has none."""
    return split == "train" if wanted != "train" else list(found.values()).count(split) > 1
