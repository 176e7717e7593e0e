"""A small run against a real server, and what is said where there is none."""

import pytest

from waveglow.bench import serving
from waveglow.cli.main import main


def test_a_server_under_load(voice, capsys):
    given = ["--clients", "1", "24", "--seconds", "0.3", "--level-seconds", "0.5", "--requests", "6", "--device", "cpu"]
    code = main(["bench", "serve", "-c", str(voice), *given])
    printed, said = capsys.readouterr()
    assert code == 0, said
    titles = [block.splitlines()[0] for block in printed.split("\n\n")[1:]]
    assert titles == [
        "Requests of 0.3 s by number of clients", "Streams of 0.3 s by number of clients", "Memory of the server",
    ]  # fmt: skip
    for block in printed.split("\n\n")[1:3]:
        one, many = (line.split() for line in block.splitlines()[2:4])
        p50, p95, p99, first = map(float, one[1:5])
        assert 0 < first <= p50 <= p95 <= p99
        assert float(one[6]) > 0
        assert (int(one[7]) > 0, one[8:]) == (True, ["0", "0"])
        assert int(many[8]) > 0, "24 clients of a server that takes 16"
        assert many[9] == "0"
    assert [line.split()[0] for line in printed.split("\n\n")[3].splitlines()[2:]] == ["0", "2", "4", "6"]


def test_a_server_that_does_not_start(tmp_path, capfd):
    assert main(["bench", "serve", "-c", str(tmp_path), "--device", "cpu"]) == 2
    assert "the server didn't start" in capfd.readouterr().err


@pytest.mark.parametrize("given", [{"clients": [1, 0]}, {"seconds": 0}, {"level_seconds": 0}, {"requests": 0}])
def test_sizes_that_cannot_be(voice, given):
    with pytest.raises(ValueError, match="is 0; it must be above 0"):
        next(serving.tables(voice, **given))
