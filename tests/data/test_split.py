"""Who is held out: by the hash of the place alone; copies together; each split has somebody."""

from __future__ import annotations

import pytest

from waveglow.config import ConfigError
from waveglow.data.split import Recorded, splits


def recorded(*places: str) -> list[Recorded]:
    return [Recorded(place, f"content of {place}") for place in places]


CLIPS = recorded(*(f"LJ001-{number:04d}" for number in range(400)))


def held_out(clips: list[Recorded], split: str = "valid", **shares: float) -> set[str]:
    return {clip.place for clip, found in zip(clips, splits(clips, **shares), strict=True) if found == split}


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_about_the_share_is_held_out(share):
    assert abs(len(held_out(CLIPS, valid=share)) - share * 400) < 3 * (share * 400) ** 0.5
    assert held_out(CLIPS, valid=share) == held_out(CLIPS[::-1], valid=share)
    assert min(held_out(CLIPS, valid=share)) < "LJ001-0200" < max(held_out(CLIPS, valid=share))  # no stretch of them


def test_added_clips_move_none():
    more = [*recorded(*(f"LJ002-{number:04d}" for number in range(100))), *CLIPS]
    assert held_out(CLIPS) < held_out(more)
    assert not (held_out(more) - held_out(CLIPS)) & {clip.place for clip in CLIPS}


def test_a_larger_share_holds_out_the_same_and_more():
    assert held_out(CLIPS) < held_out(CLIPS, valid=0.2)


def test_folders_count():
    """Speakers who read the same sentences: the same numbers of all of them would be held out, else."""
    near = {place.partition("/")[2] for place in held_out(recorded(*(f"near/{n:03d}" for n in range(200))), valid=0.2)}
    far = {place.partition("/")[2] for place in held_out(recorded(*(f"far/{n:03d}" for n in range(200))), valid=0.2)}
    assert len(near) > 20
    assert len(far) > 20
    assert len(near & far) < 20


def test_names_are_the_same_composed_or_not():
    assert held_out(recorded(*(f"é{n}" for n in range(50)))) == {
        place.replace("e\u0301", "é") for place in held_out(recorded(*(f"e\u0301{n}" for n in range(50))))
    }


def test_copies_are_on_one_side():
    copies = [Recorded(f"copy/{clip.place}", clip.content) for clip in CLIPS]
    found = splits([*CLIPS, *copies], valid=0.2)
    assert found[:400] == found[400:]
    assert {"train", "valid"} == set(found)


def test_where_there_are_only_copies_both_sides_have_some():
    assert set(splits([Recorded(str(n), "same") for n in range(4)])) == {"train", "valid"}


@pytest.mark.parametrize("n_clips", [2, 3])
@pytest.mark.parametrize("share", [0.001, 0.999])
def test_few_clips(n_clips, share):
    assert set(splits(CLIPS[:n_clips], valid=share)) == {"train", "valid"}


def test_a_test_split():
    found = splits(CLIPS, valid=0.1, test=0.1)
    assert all(20 < found.count(split) < 60 for split in ("valid", "test"))
    assert held_out(CLIPS, valid=0.1, test=0.1) == held_out(CLIPS, valid=0.1)
    assert set(splits(CLIPS[:3], valid=0.01, test=0.01)) == {"train", "valid", "test"}
    with pytest.raises(ConfigError, match="there are 2 clips; 3 are needed"):
        splits(CLIPS[:2], valid=0.1, test=0.1)


def test_short_clips_are_held_out_only_where_there_are_no_others():
    short = [clip._replace(long=False) for clip in CLIPS]
    assert held_out([*short[:-1], CLIPS[-1]], valid=0.5) == {CLIPS[-1].place}
    assert len(held_out(short, valid=0.5)) == 1


def test_what_has_a_split_keeps_it_and_its_copies_follow():
    first = [clip._replace(kept=split) for clip, split in zip(CLIPS[:6], ("valid", "train") * 3, strict=True)]
    copies = [Recorded(f"copy/{clip.place}", clip.content) for clip in CLIPS[:6]]
    assert splits([*first, *copies, *CLIPS[6:]])[:12] == ["valid", "train"] * 6


def test_where_the_held_out_were_lost_one_that_is_new_is_held_out():
    trained = [clip._replace(kept="train") for clip in CLIPS[:20]]
    assert splits([*trained, *CLIPS[20:22]], valid=0.001).index("valid") in (20, 21)
    assert splits(trained, valid=0.001).count("valid") == 1


def test_a_copy_of_what_was_trained_on_is_never_held_out():
    """As the rule by names alone had left it."""
    twice = [Recorded("a", "same", kept="train"), Recorded("b", "same", kept="valid"), Recorded("c", "same")]
    assert splits([*twice, *CLIPS])[:3] == ["train", "valid", "train"]


@pytest.mark.parametrize("shares", [(0, 0), (1, 0), (1.5, 0), (-0.1, 0), (0.5, 0.5), (0.1, -0.1)])
def test_shares_that_are_none(shares):
    with pytest.raises(ConfigError, match="must be between 0 and 1, together below 1"):
        splits(CLIPS, valid=shares[0], test=shares[1])
