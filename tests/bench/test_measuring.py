"""Medians of actions that take turns."""

import pytest

from waveglow.bench.measuring import in_turns


def test_actions_take_turns_and_the_first_turn_does_not_count():
    calls, figures = [], iter(range(100))

    def action(name):
        def run():
            calls.append(name)
            return (float(next(figures)),)

        return run

    assert in_turns({"a": action("a"), "b": action("b")}, repeats=3) == {"a": [4.0], "b": [5.0]}
    assert calls == ["a", "b"] * 4


def test_at_least_one_run_counts():
    with pytest.raises(ValueError, match="repeats is 0; it must be above 0"):
        in_turns({"a": lambda: (1.0,)}, repeats=0)
