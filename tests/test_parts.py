"""The I-th of N parts: each item in one of them, whatever divides them, and no report made of parts that don't fit."""

from __future__ import annotations

import json

import pytest

from waveglow.config import ConfigError
from waveglow.parts import WHOLE, Part, account, in_turn, part, reports


@pytest.mark.parametrize(("items", "count"), [(10, 1), (10, 3), (3, 8), (0, 2)])
def test_every_item_is_in_one_part_and_parts_are_of_one_size(items, count):
    parts = [Part(index, count).of(range(items)) for index in range(1, count + 1)]
    assert sorted(item for one in parts for item in one) == list(range(items))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert in_turn(parts) == list(range(items))


def test_a_part_divided_is_that_part():
    items = list(range(23))
    divided = [one.of(items) for one in Part(2, 3).divided(4)]
    assert sorted(item for one in divided for item in one) == Part(2, 3).of(items)
    assert [str(one) for one in Part(2, 3).divided(2)] == ["2/6", "5/6"]


SLURM = {"SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_STEP": "5"}


@pytest.mark.parametrize(
    ("text", "environment", "index", "count"),
    [
        ("3/8", {}, 3, 8),
        ("3/8", {"RANK": "0", "WORLD_SIZE": "2"}, 3, 8),
        ("auto", {"RANK": "0", "WORLD_SIZE": "2"}, 1, 2),
        ("auto", {"RANK": "1", "WORLD_SIZE": "2"}, 2, 2),
        ("auto", {**SLURM, "SLURM_ARRAY_TASK_ID": "20"}, 3, 3),
        ("auto", {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "8", "SLURM_ARRAY_TASK_MIN": "0"}, 8, 8),
        ("auto", {**SLURM, "SLURM_ARRAY_TASK_ID": "15", "RANK": "1", "WORLD_SIZE": "2"}, 5, 6),
    ],
)
def test_which_part_is_meant(text, environment, index, count):
    assert part(text, environment) == Part(index, count)


@pytest.mark.parametrize(
    ("text", "environment", "said"),
    [
        ("0/4", {}, "part 0 of 4: parts are counted from 1, so it is 1 to 4"),
        ("5/4", {}, "part 5 of 4: parts are counted from 1"),
        ("1/0", {}, "part 1 of 0"),
        ("2", {}, "'2' is no part; give I/N, such as 1/4, or auto"),
        ("-1/2", {}, "'-1/2' is no part"),
        ("auto", {}, "neither SLURM_ARRAY_TASK_ID nor RANK and WORLD_SIZE are set; give I/N"),
        ("auto", {"RANK": "2", "WORLD_SIZE": "2"}, "RANK is 2 and WORLD_SIZE 2"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "1"}, "SLURM_ARRAY_TASK_COUNT is '', which is no whole number"),
        ("auto", {**SLURM, "SLURM_ARRAY_TASK_ID": "12"}, "SLURM_ARRAY_TASK_ID is 12, which is not one of 3 numbers"),
        ("auto", {**SLURM, "SLURM_ARRAY_TASK_ID": "30"}, "SLURM_ARRAY_TASK_ID is 30, which is not one of 3 numbers"),
    ],
)
def test_what_is_no_part(text, environment, said):
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")):
        part(text, environment)


def written(folder, *parts, of=("a", "b")):
    for text in parts:
        one = part(text)
        one.named(folder / "report.json").write_text(json.dumps({"part": text, "of": account(of)}))


def test_reports_are_read_in_order(tmp_path):
    written(tmp_path, *(f"{index}/11" for index in range(1, 12)))
    (tmp_path / "report.x-of-2.json").touch()
    assert [content["part"] for content in reports(tmp_path / "report.json")] == [f"{i}/11" for i in range(1, 12)]
    assert reports(tmp_path / "other.json") == []
    assert WHOLE.named(tmp_path / "report.json") == tmp_path / "report.json"


def broken(folder):
    written(folder, "1/2")
    (folder / "report.2-of-2.json").write_text('{"part": "2/2"')


def of_others(folder):
    written(folder, "1/2")
    written(folder, "2/2", of=["a", "b", "c"])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: written(folder, "1/3", "3/3"), r"of 3 parts 1 have no report: 2/3; run those again"),
        (lambda folder: written(folder, "1/2", "2/2", "1/3"), r"has reports of 2 and of 3 parts; remove those"),
        (broken, r"report.2-of-2.json: is no report of part 2/2 \(.*\); run that part again"),
        (of_others, r"report.2-of-2.json: is a part of other inputs or options than .*report.1-of-2.json"),
    ],
)
def test_parts_that_make_no_whole(make, said, tmp_path):
    make(tmp_path)
    with pytest.raises(ConfigError, match=said):
        reports(tmp_path / "report.json")
