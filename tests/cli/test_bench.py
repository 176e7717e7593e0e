"""The benchmark runs and prints what it says; how fast is no matter for a test."""

import json

import pytest

from waveglow.cli.main import main

BRIEF = ["--models", "waveglow-64", "--precisions", "float32", "--seconds", "0.05", "--repeats", "1"]


def test_json_has_the_machine_and_a_row_for_each_model_and_precision(capsys):
    assert main(["bench", *BRIEF, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"machine", "device", "threads", "torch"} <= found.keys()
    [row] = found["rows"]
    assert (row["model"], row["precision"]) == ("waveglow-64", "float32")
    assert row["real_time_factor"] > 0
    assert row["parameters"] == 17_595_752
    assert row["gmac_per_second_of_audio"] == pytest.approx(30.8, rel=0.02)
    assert row["training_audio_seconds_per_second"] > 0


def test_the_table_has_a_line_for_each_row(capsys):
    assert main(["bench", *BRIEF]) == 0
    _, header, row = capsys.readouterr().out.splitlines()
    assert header.split()[:2] == ["model", "precision"]
    assert row.startswith("waveglow-64")
