"""Terminals that aren't UTF-8, and machines that let a command write nowhere: every verb works all the same."""

from __future__ import annotations

import importlib
import io
import json
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import pytest

from waveglow.cli import bench, export, image
from waveglow.cli.main import VERBS, main
from waveglow.metrics import packages
from waveglow.surroundings import make_do

ROOT = Path(__file__).parents[1]
PACKAGES = {"bench": bench, "export": export, "image": image}
COMMANDS = [[], *([verb] for verb in VERBS), *([name, verb] for name, of in PACKAGES.items() for verb in of.VERBS)]


class Terminal:
    """One of that encoding, which is strict as Python's are, for what runs within."""

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self.streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict") for _ in range(2)]

    def __enter__(self) -> Terminal:
        self.before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = self.streams
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout, sys.stderr = self.before

    def printed(self) -> str:
        for stream in self.streams:
            stream.flush()
        return "".join(stream.buffer.getvalue().decode(self.encoding) for stream in self.streams)


ENCODINGS = pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])


@ENCODINGS
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_help_prints_on_any_terminal(encoding, command):
    with Terminal(encoding) as terminal, pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    assert "usage: waveglow" in terminal.printed()


@ENCODINGS
def test_every_message_prints_on_any_terminal(encoding):
    with Terminal(encoding) as terminal:
        assert main(["info", "Größe 声 \udce9 😀"]) == 4
    assert "does not exist" in terminal.printed()


@ENCODINGS
def test_json_stays_json(encoding):
    with Terminal(encoding) as terminal:
        make_do()
        print(json.dumps({"who": "Zoë 声 😀 \udce9"}, ensure_ascii=False))
    assert json.loads(terminal.printed()) == {"who": "Zoë 声 😀 \udce9"}


def run(code: str) -> str:
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120, stdout=subprocess.PIPE, check=True)
    return ran.stdout.decode()


def test_temporary_files_go_to_memory_where_no_folder_can_be_written_to(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", list)
    make_do()
    assert tempfile.gettempdir().startswith("/")


@pytest.mark.parametrize("writable", [True, False])
def test_librosa_asks_for_a_cache_where_numba_can_keep_one(monkeypatch, writable):
    """As numba and librosa do: a decorator that asks for a cache stops at once where there is no place for one."""
    asked = []

    def jit(*, cache: bool = False):
        if cache and not writable:
            raise RuntimeError("cannot cache function 'f': no locator available for file 'f.py'")
        asked.append(cache)
        return lambda function: function

    numba = types.ModuleType("numba")
    numba.jit = numba.njit = numba.vectorize = numba.guvectorize = jit
    found = types.ModuleType("librosa")
    found.version = types.SimpleNamespace(show_versions=print)
    monkeypatch.setitem(sys.modules, "numba", numba)
    monkeypatch.setitem(sys.modules, "librosa", found)
    monkeypatch.setattr(packages, "COMPILING", ("core",))
    given = importlib.import_module

    def imported(name: str) -> types.ModuleType:
        if name == "librosa.core":
            numba.jit(cache=True)(print)
        return given(name) if name != "librosa.core" else found

    monkeypatch.setattr(packages.importlib, "import_module", imported)
    assert packages.librosa() is found
    assert asked == [writable]
    assert numba.jit is numba.guvectorize is jit


@pytest.mark.slow
def test_where_numba_can_keep_no_cache_it_keeps_none():
    """As in a container that is read-only: numba has no place left, neither in the tree nor at home."""
    uncached = (
        "from numba.core import caching\n"
        "def refused(self): raise PermissionError('read-only')\n"
        "caching._CacheLocator.ensure_cache_path = refused\n"
        "from waveglow.metrics.packages import librosa\n"
        "found = librosa()\n"
        "print(found.pyin.__name__, found.util.nnls.__name__, found.feature.melspectrogram.__name__)\n"
        "import numpy\n"
        "print(int(found.util.localmax(numpy.array([1.0, 3.0, 2.0])).sum()), found.griffinlim.__name__)"
    )
    assert run(uncached) == "pyin nnls melspectrogram\n1 griffinlim\n"


WITHOUT = (
    "import sys\n"
    "from waveglow.distribution import HEAVY\n"
    "sys.modules.update(dict.fromkeys(HEAVY))\n"
    "from waveglow.cli.main import main\n"
)


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["models"], 0, "lapglow"),
        (["synth", "-c", "absent.onnx", "mel.npy", "out.wav"], 4, "absent.onnx: is no file"),
        (["info", "absent.onnx"], 4, "absent.onnx: is no file"),
        (["info", "lapglow"], 2, "which is not installed: pip install waveglow-vocoders"),
        (["train"], 2, "waveglow train: needs "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_without_the_heavy_packages_what_needs_none_works_and_the_rest_says_how_to_get_them(command, code, said):
    ran = subprocess.run(
        [sys.executable, "-c", f"{WITHOUT}sys.exit(main({command!r}))"],
        cwd=ROOT,
        timeout=60,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert ran.returncode == code
    assert said in ran.stdout.decode()
    assert "Traceback" not in ran.stdout.decode()
