"""Which held-out clips a run is validated on: a few of every speaker and corpus, the same in every run."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable

from waveglow.data.manifest import Clip


def validated(clips: Iterable[Clip], most: int) -> list[Clip]:
    """At most so many clips: in each round the next one of every speaker, those of all corpora taking turns.

    A speaker is a folder, a corpus what the manifest names so. The order follows a hash of content and name, so that it
    is fixed, and clips that are added push few of the others out.
    """
    by_speaker: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    for clip in sorted(clips, key=_hash):
        by_speaker[clip.corpus or "", str(clip.place.parent)].append(clip)
    speakers: dict[str, int] = defaultdict(int)  # of each corpus, so far
    places: list[tuple[int, int, str, Clip]] = []
    for (corpus, _), spoken in by_speaker.items():
        places += [(turn, speakers[corpus], _hash(clip), clip) for turn, clip in enumerate(spoken)]
        speakers[corpus] += 1
    return [clip for *_, clip in sorted(places, key=lambda place: place[:3])[:most]]


def distinct_names(clips: Iterable[Clip]) -> list[str]:
    """A name for each clip: that of its file, behind that of its folder where two would be the same."""
    clips = list(clips)
    names = [clip.name for clip in clips]
    named = [
        f"{clip.place.parent.name}-{name}" if names.count(name) > 1 else name
        for clip, name in zip(clips, names, strict=True)
    ]
    return [f"{name}-{place}" if named.count(name) > 1 else name for place, name in enumerate(named)]


def fingerprint(clips: Iterable[Clip], *, max_seconds: float) -> str:
    """What tells one set of validated clips from another: likelihoods on different ones can't be compared."""
    facts = [max_seconds, *([clip.sha256, clip.mel_sha256, clip.bandwidth] for clip in clips)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _hash(clip: Clip) -> str:
    return hashlib.sha256(f"{clip.sha256} {clip.name}".encode()).hexdigest()
