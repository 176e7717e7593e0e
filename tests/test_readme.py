"""What `make demo` does, and that every `sh` and `python` block of the README and of the pages of docs/ runs, in order.

Blocks marked `bash` need a GPU, a download or minutes, those marked `shell` a server (tests/serve/test_pages.py);
`make demo` and `make test` are run by newcomers and CI, the tutorials' cells by `make docs`.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from waveglow.cli.main import main
from waveglow.models.checkpoint import steps_of

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [
    README,
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if not {"_build", "generated"} & {*page.parts}),
]
TINY = ["model.n_channels=8", "model.n_layers=2", "model.n_flows=4", "data.segment_samples=4096", "data.workers=0"]
BRIEF = ["train.steps=4", "train.batch_size=2", "train.init_crops=4", "train.validate_every_steps=2"]


def blocks(page):
    """(language, code) of what can be run of a page."""
    return re.findall(r"^```(sh|python)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A folder with recipes/ in which the demo recipe has run, with a model and a number of steps far below its own."""
    folder = tmp_path_factory.mktemp("newcomer")
    for part in ("recipes", "audio_samples"):
        shutil.copytree(ROOT / part, folder / part)
    assert shell("recipes/ljspeech/train.sh --demo " + " ".join(TINY + BRIEF), folder)
    return folder


def shell(command, folder):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-euc", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def test_the_demo_recipe_ends_with_wavs_and_a_report(demo):
    run = demo / "runs" / "demo"
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.count("<audio") >= 2
    assert "Is it still improving?" in page
    assert list((run / "wavs").glob("*.wav"))
    assert [p.name for p in steps_of(run)] == ["step_00000004"]


def test_the_demo_recipe_run_again_has_nothing_left_to_do(demo):
    said = shell("recipes/ljspeech/train.sh --demo --stop-stage 2 " + " ".join(TINY + BRIEF), demo)
    assert "resumed from step_00000004" in said


def test_every_command_of_the_readme_runs_in_a_shell(tmp_path):
    beside_the_page(tmp_path)
    assert [kind for kind, _ in blocks(README)] == ["sh", "sh", "sh", "sh", "python"]
    for kind, code in blocks(README):
        if kind == "sh":
            shell(code, tmp_path)
        else:
            (tmp_path / "snippet.py").write_text(code, encoding="utf-8")
            shell("python snippet.py", tmp_path)
    for made in ("copies/report.json", "wavs/report.json", "copy.wav", "runs/my-voice/report.html", "between.png"):
        assert (tmp_path / made).is_file(), made


ELSEWHERE = ("new-flow", "stream-service")  # tests/test_new_flow.py and tests/serve/test_pages.py run them
NEEDS = {"hub": "hub"}  # of a page: a fixture


@pytest.mark.parametrize(
    "page", [page for page in PAGES[1:] if blocks(page) and page.stem not in ELSEWHERE], ids=lambda page: page.stem
)
def test_every_command_of_a_page_runs(page, tmp_path, monkeypatch, request):
    """In this process, since starting one a command would take minutes; a page's Python blocks are one program."""
    if page.stem in NEEDS:
        request.getfixturevalue(NEEDS[page.stem])
    beside_the_page(tmp_path)
    monkeypatch.chdir(tmp_path)
    program = {"__name__": "page"}
    for kind, code in blocks(page):
        if kind == "python":
            exec(compile(code, str(page), "exec"), program)
        else:
            for line in code.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                assert not words or (words[0] == "waveglow" and main(words[1:]) == 0), line


def beside_the_page(folder):
    """What a clone of the repository has, as far as pages speak of it."""
    for part in ("recipes", "audio_samples"):
        (folder / part).symlink_to(ROOT / part)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--stage x", "x is no whole number"),
        ("--gpu 2", "unknown option --gpu"),
        ("--config nowhere.yaml", "no configuration nowhere.yaml"),
        (".", "has no wavs/ and metadata.csv"),
        ("--stage 9", "stages are 1 to 4"),
        ("--demo mine", "--demo has its own corpus"),
    ],
)
def test_a_mistake_in_the_recipe_is_one_sentence_and_exit_2(arguments, message, tmp_path):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [str(ROOT / "recipes" / "ljspeech" / "train.sh"), *arguments.split()],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert message in done.stderr
