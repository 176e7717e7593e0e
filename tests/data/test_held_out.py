"""Which clips a run is validated on: all speakers and corpora, whatever their names and the manifest's order."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

from waveglow.data.held_out import distinct_names, fingerprint, validated
from waveglow.data.manifest import Clip


def clip(path: str, corpus: str | None = None) -> Clip:
    return Clip(path, 22050, 1000, hashlib.sha256(path.encode()).hexdigest(), "valid", corpus=corpus)


def of(*speakers: str, each: int = 30, corpus: str | None = None) -> list[Clip]:
    return [clip(f"/data/{speaker}/{number:03d}.wav", corpus) for speaker in speakers for number in range(each)]


def speakers(clips: list[Clip]) -> list[str]:
    return [Path(each.path).parent.name for each in clips]


def test_every_speaker_is_heard_equally():
    chosen = validated(of("anna", "ben", "cleo", "dora"), 16)
    assert sorted(speakers(chosen)) == ["anna"] * 4 + ["ben"] * 4 + ["cleo"] * 4 + ["dora"] * 4
    assert set(speakers(chosen)[:4]) == {"anna", "ben", "cleo", "dora"}  # those that are listened to
    names = [each.name for each in chosen]
    assert names != sorted(names)


def test_speakers_whose_names_are_in_the_file_are_mixed():
    clips = [clip(f"/data/{who}-{n:03d}.wav") for who in ("anna", "ben", "cleo", "dora") for n in range(40)]
    assert {each.name.split("-")[0] for each in validated(clips, 16)} == {"anna", "ben", "cleo", "dora"}


def test_every_corpus_is_there_before_more_speakers_of_one():
    many = of(*(f"s{n:02d}" for n in range(40)), each=2, corpus="vctk")
    chosen = validated(many + of("lj", each=3, corpus="ljspeech") + of("a", "b", each=1, corpus="small"), 6)
    assert [each.corpus for each in chosen].count("vctk") == 3
    assert {each.corpus for each in chosen} == {"vctk", "ljspeech", "small"}


def test_the_choice_is_fixed_and_follows_content():
    clips = of("anna", "ben")
    shuffled = random.Random(0).sample(clips, len(clips))
    assert validated(shuffled, 16) == validated(clips, 16)
    more = [clip("/data/anna/new.wav"), *clips]
    assert len(set(validated(more, 16)) & set(validated(clips, 16))) >= 15
    assert len(validated(clips[:3], 16)) == 3


def test_clips_of_one_name_have_distinct_names():
    clips = [clip("/a/near/010.wav"), clip("/a/far/010.wav"), clip("/a/far/011.wav")]
    assert distinct_names(clips) == ["near-010", "far-010", "011"]
    assert len(set(distinct_names([clip("/a/x/010.wav"), clip("/b/x/010.wav")]))) == 2


def test_another_set_has_another_fingerprint():
    clips = of("anna", each=3)
    known = fingerprint(clips, max_seconds=10)
    assert known == fingerprint(clips, max_seconds=10)
    assert len({known, fingerprint(clips[:2], max_seconds=10), fingerprint(clips, max_seconds=5)}) == 3
