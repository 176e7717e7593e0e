"""`waveglow report`: where the page is written, and one sentence where there is nothing to write about."""

import json

import pytest

from waveglow.cli.main import main
from waveglow.pages.run import write_report


@pytest.fixture
def run_dir(tmp_path):
    line = {"kind": "train", "step": 1, "loss": -3.0, "elapsed_seconds": 1.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    return tmp_path


def test_the_verb_writes_the_page_into_the_run(run_dir, capsys):
    assert main(["report", str(run_dir)]) == 0
    assert str(run_dir / "report.html") in capsys.readouterr().out
    assert main(["report", str(run_dir), "--out", str(run_dir / "other.html")]) == 0
    write_report(run_dir, run_dir / "expected.html")
    for name in ("report.html", "other.html"):
        assert (run_dir / name).read_bytes() == (run_dir / "expected.html").read_bytes()


def test_a_folder_without_metrics_is_one_clear_sentence(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert message.startswith("waveglow report: ")
    assert message.count("\n") == 1
    assert "is this the directory of a run?" in message
