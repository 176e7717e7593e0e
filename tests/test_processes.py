"""Several processes: what they give is what one gives, and one that is killed loses nothing."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from waveglow.audio.files import OutputError
from waveglow.config import ConfigError
from waveglow.processes import Killed, in_processes


def doubling():
    return double


def double(number: int) -> int:
    return 2 * number


def killing(folder: Path, times: int):
    return partial(killed_at_three, folder, times)


def killed_at_three(folder: Path, times: int, number: int) -> int:
    """Its process dies so many times before it finishes 3; each death leaves a file."""
    if number == 3 and len(list(folder.iterdir())) < times:
        (folder / str(os.getpid())).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * number


def raising(kind: str):
    return partial(fail, kind)


def fail(kind: str, number: int) -> int:
    if number == 2:
        raise {
            "told": ConfigError("two is bad"),
            "full": OutputError(28, "No space left", "/out/x"),
            "bug": KeyError("lost"),
        }[kind]
    return number


def environment():
    return os.environ.get


def test_results_are_those_of_one_process():
    assert dict(in_processes(doubling, range(7), jobs=2)) == {n: 2 * n for n in range(7)}
    assert list(in_processes(doubling, [], jobs=2)) == []


@pytest.mark.parametrize("times", [1, 2])
def test_a_process_that_is_killed_loses_nothing(tmp_path, times):
    done = dict(in_processes(partial(killing, tmp_path, times), range(6), jobs=2))
    kept = Killed("killed by signal 9") if times == 2 else 6
    assert done == {**{n: 2 * n for n in range(6)}, 3: kept}


def test_where_all_are_killed_it_ends(tmp_path):
    with pytest.raises(
        ConfigError, match=r"4 processes in a row were killed by signal 9, .* lower --jobs or make room"
    ):
        dict(in_processes(partial(killing, tmp_path, 99), [3] * 9, jobs=1))


@pytest.mark.parametrize(
    ("kind", "error", "said"),
    [("told", ConfigError, "two is bad"), ("full", OutputError, "/out/x: can't be written"), ("bug", KeyError, "lost")],
)
def test_what_they_raise_is_raised(kind, error, said):
    with pytest.raises(error, match=said):
        dict(in_processes(partial(raising, kind), range(4), jobs=2))


def test_each_has_one_thread_and_the_parent_as_many_as_before(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert dict(in_processes(environment, ["OMP_NUM_THREADS"], jobs=2)) == {0: "1"}
    assert os.environ["OMP_NUM_THREADS"] == "7"
