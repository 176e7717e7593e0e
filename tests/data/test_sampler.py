"""Which clip a training sample takes: a function of (seed, number), the same at any world size and after a resume."""

from __future__ import annotations

from fractions import Fraction

import pytest

from waveglow.data.sampler import StepSampler, clip_index, permutation, stratum


def epoch_order(seed: int, epoch: int, n_clips: int) -> list[int]:
    return [clip_index(seed, epoch * n_clips + place, n_clips) for place in range(n_clips)]


@pytest.mark.parametrize("n_clips", [1, 2, 7, 100])
@pytest.mark.parametrize("epoch", [0, 1, 12345])
def test_each_epoch_visits_every_clip_once(n_clips, epoch):
    assert sorted(epoch_order(3, epoch, n_clips)) == list(range(n_clips))


def test_the_order_depends_on_seed_and_epoch_and_repeats():
    orders = {(seed, epoch): tuple(epoch_order(seed, epoch, 50)) for seed in (0, 1) for epoch in (0, 1)}
    assert len(set(orders.values())) == 4
    assert tuple(range(50)) not in orders.values()
    permutation.cache_clear()
    assert orders[1, 1] == tuple(epoch_order(1, 1, 50))


def test_the_order_is_kept_across_versions():
    """A resumed run must find the order that it began with; these are numpy's Philox and shuffle."""
    assert epoch_order(0, 0, 10) == [1, 4, 8, 7, 9, 3, 2, 5, 6, 0]


def batches(start: int, stop: int, **options: int) -> list[list[int]]:
    return list(StepSampler(start, stop, **options))


@pytest.mark.parametrize("accumulate", [1, 2, 3, 6, 12])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 12])
def test_ranks_and_micro_batches_share_the_global_batch(world_size, accumulate):
    batch_size, steps = 144, 3
    ranks = [
        batches(5, 5 + steps, batch_size=batch_size, accumulate=accumulate, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    assert {len(micro) for rank in ranks for micro in rank} == {batch_size // (world_size * accumulate)}
    for step in range(steps):
        numbers = []
        for micro in range(accumulate):
            of_micro = [n for rank in ranks for n in rank[step * accumulate + micro]]
            first = (5 + step) * batch_size + micro * (batch_size // accumulate)
            assert sorted(of_micro) == list(range(first, first + batch_size // accumulate))
            numbers += of_micro
        assert sorted(numbers) == list(range((5 + step) * batch_size, (6 + step) * batch_size))


@pytest.mark.parametrize("resume_at", [0, 1, 4, 9, 10])
def test_a_resume_continues_exactly(resume_at):
    options = {"batch_size": 8, "accumulate": 2, "rank": 1, "world_size": 2}
    whole = batches(0, 10, **options)
    assert batches(0, resume_at, **options) + batches(resume_at, 10, **options) == whole
    assert len({n for batch in whole for n in batch}) == 40  # no number twice


def test_length_and_repetition():
    sampler = StepSampler(3, 7, batch_size=8, accumulate=4)
    assert len(sampler) == len(list(sampler)) == 16
    assert list(sampler) == list(sampler)
    assert len(StepSampler(7, 7, batch_size=8)) == 0


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "world_size", "message"),
    [
        (
            10,
            1,
            4,
            "train.batch_size is 10, to be divided among 4 processes × 1 micro-batches; make it a multiple of 4",
        ),
        (10, 3, 1, "among 1 processes × 3 micro-batches; make it a multiple of 3"),
        (
            12,
            4,
            2,
            "train.batch_size is 12, to be divided among 2 processes × 4 micro-batches; make it a multiple of 8",
        ),
        (1, 1, 2, "multiple of 2"),
    ],
)
def test_a_batch_that_cannot_be_shared(batch_size, accumulate, world_size, message):
    with pytest.raises(ValueError, match=message):
        StepSampler(0, 1, batch_size=batch_size, accumulate=accumulate, world_size=world_size)


@pytest.mark.parametrize("share", [Fraction(0), Fraction(1, 3), Fraction(2, 5), Fraction(1)])
def test_a_share_is_drawn_separately_and_each_kind_is_numbered_through(share):
    drawn = [stratum(sample, share) for sample in range(30)]
    assert [number for apart, number in drawn if apart] == list(range(int(30 * share)))
    assert [number for apart, number in drawn if not apart] == list(range(30 - int(30 * share)))
