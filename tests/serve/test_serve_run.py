"""How a server starts, and why it doesn't."""

from __future__ import annotations

import socket

import pytest

from waveglow.cli.main import main
from waveglow.distribution import how_to_get
from waveglow.serve import run
from waveglow.serve.settings import Settings


def test_a_port_that_is_taken(capsys, tiny):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "-c", str(tiny), "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert f"can't listen at 127.0.0.1, port {port} (Address already in use); give another --port" in said


def test_a_host_that_is_none(capsys):
    assert main(["serve", "--host", "no such host"]) == 2
    assert "can't listen at no such host, port 8000" in capsys.readouterr().err


def test_a_checkpoint_that_is_none(capsys, tmp_path):
    assert main(["serve", "-c", str(tmp_path / "nothing"), "--port", "0"]) == 4
    assert "nothing" in capsys.readouterr().err


def test_every_network_without_a_token_is_warned_of(capsys):
    run._say(Settings(host="0.0.0.0"), 8000, "lapglow")
    said = capsys.readouterr()
    assert "anybody there can use it" in said.err
    assert said.out == "lapglow at http://127.0.0.1:8000\n"
    run._say(Settings(host="0.0.0.0", token="a"), 8000, "lapglow")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("queue", "0", "--queue is 0; it must be a whole number, at least 1"),
        ("deadline", "nan", "--deadline is nan; it must be a finite number, at least 0.01"),
        ("port", "70000", "--port is 70000; it must be a whole number, from 0 to 65535"),
        ("max-bytes", "-1", "--max-bytes is -1"),
        ("token", " ", "the token must be printable ASCII"),
        ("allow-origin", "page.example.org", "give scheme and host"),
    ],
)
def test_settings_that_make_no_sense(capsys, option, value, says):
    assert main(["serve", f"--{option}", value]) == 2
    assert says in capsys.readouterr().err


def test_a_token_shows_in_no_representation():
    assert "hunter2" not in repr(Settings(token="hunter2"))


def test_what_is_missing_is_named():
    hint = "needs starlette, which is not installed: pip install 'waveglow-vocoders[serve]'"
    assert how_to_get("starlette.applications") == hint
