"""recipes/celeba: a folder in CelebA's layout goes the whole way; depth costs no memory where it shouldn't."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = Path(__file__).parents[1] / "recipes" / "celeba"


def run(*command, folder):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [str(part) for part in command], cwd=folder, env=environment, capture_output=True, text=True, timeout=280
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with drawn faces in CelebA's layout, through which the recipe has gone."""
    place = tmp_path_factory.mktemp("celeba")
    drawn = run(sys.executable, RECIPE / "demo_faces.py", "CelebA", "--faces", 200, folder=place)
    assert drawn.returncode == 0, drawn.stderr
    done = run(RECIPE / "train.sh", "CelebA", "--size", 8, "--config", "debug.yaml", *BRIEF, folder=place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "version: faces drawn by recipes/celeba/demo_faces.py, and nobody's" in done.stdout
    assert "non-commercial" not in done.stdout + done.stderr
    return place


BRIEF = (
    "train.steps=4",
    "train.log_every_steps=2",
    "train.validate_every_steps=2",
    "train.checkpoint_every_steps=2",
    "valid.images=3",
)


def test_it_ends_with_pictures_and_a_report(folder):
    ended = folder / "runs" / "celeba"
    page = (ended / "report.html").read_text(encoding="utf-8")
    for picture in ("pictures/samples", "pictures/interpolation", "attributes/attributes", "evaluation/reconstruction"):
        assert (ended / f"{picture}.png").is_file()
        assert f'alt="{picture}"' in page
    assert (ended / "tensorboard" / "pictures").is_dir()
    assert json.loads((ended / "evaluation" / "evaluation.json").read_text(encoding="utf-8"))["n_bits"] == 5
    assert "Is it still improving?" in page


def test_run_again_it_has_nothing_left_to_do(folder):
    command = (RECIPE / "train.sh", "CelebA", "--size", 8, "--config", "debug.yaml", *BRIEF)
    again = run(*command, "--stop-stage", 2, folder=folder)
    assert again.returncode == 0, again.stderr
    assert "resumed from step_00000004" in again.stderr


def test_a_zip_does_as_well_and_celebas_terms_are_told(folder, tmp_path):
    shutil.copytree(folder / "CelebA", tmp_path / "zipped", ignore=shutil.ignore_patterns("origin.txt"))
    shutil.make_archive(tmp_path / "zipped/img_align_celeba", "zip", tmp_path / "zipped", "img_align_celeba")
    shutil.rmtree(tmp_path / "zipped/img_align_celeba")
    done = run(RECIPE / "train.sh", "zipped", "--size", 8, "--data", "data", "--stop-stage", 1, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "notice: CelebA is for non-commercial research only" in done.stderr
    zipped, unpacked = (data / "images.json" for data in (tmp_path / "data", folder / "runs/celeba/data"))
    assert json.loads(zipped.read_text("utf-8"))["hash"] == json.loads(unpacked.read_text("utf-8"))["hash"]


def test_runs_are_compared_in_a_table_curves_and_samples(folder):
    for name in ("a-0", "a-1", "b-0"):
        shutil.copytree(folder / "runs" / "celeba", folder / "several" / name)
    done = run(sys.executable, RECIPE / "compare.py", "several", folder=folder)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith(("| a", "| b"))]
    bits = json.loads((folder / "runs/celeba/evaluation/evaluation.json").read_text("utf-8"))["bits_per_dim"]
    assert [row[3:5] for row in rows] == [[f"{bits:.3f}", f"{bits:.3f}, {bits:.3f}"], [f"{bits:.3f}", f"{bits:.3f}"]]
    assert all(float(row[5].strip(" |")) > 0 for row in rows)
    assert {"table.md", "curves.svg", "samples.png"} <= {path.name for path in (folder / "several").iterdir()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say which: figure3 or models"),
        (["figure4"], "unknown argument figure4"),
        (["models", "--seconds", "0"], "--seconds is 0; it must be a whole number above 0"),
        (["figure3", "--data", "none"], "no none/images.json; prepare pictures first"),
    ],
)
def test_a_mistake_in_an_experiment_gets_one_sentence(tmp_path, arguments, message):
    done = run(RECIPE / "experiments.sh", *arguments, folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("experiments.sh: ")
    assert message in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stage", "5"], "stages are 1 to 4"),
        (["--config", "none.yaml"], "no configuration none.yaml; there are: .*glow-64.yaml"),
        (["a", "b"], "two sources given"),
        (["--demo", "CelebA"], "--demo has its own pictures"),
        (["--size"], "--size needs a value"),
        (["--bogus"], "unknown option --bogus"),
        (["NOWHERE"], "NOWHERE"),
    ],
)
def test_a_mistake_gets_one_sentence(tmp_path, arguments, message):
    done = run(RECIPE / "train.sh", *arguments, folder=tmp_path)
    assert done.returncode == 2
    assert re.search(message, done.stderr)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("measure.py", ["--data", "none", "--directions", "none"], "measure.py: none: not found"),
        ("compare.py", ["none"], "none has no evaluated run"),
        ("ship.py", ["none", "--data", "none"], "ship.py: none/images.json: not found"),
        ("memory.py", ["--steps", "0"], "0 is no whole number >= 1"),
        ("demo_faces.py", ["faces", "--faces", "3"], "faces is 3"),
    ],
)
def test_a_mistake_in_a_script_gets_one_sentence(tmp_path, script, arguments, message):
    done = run(sys.executable, RECIPE / script, *arguments, folder=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_reversible_memory_does_not_grow_with_depth(tmp_path):
    small = ["--image-size", 8, "--n-hidden", 8, "--batch-size", 1, "--repeats", 1, "--steps", 2, 8]
    done = run(sys.executable, RECIPE / "memory.py", *small, "--out", "memory", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    rows = [[float(cell) for cell in line.split("|")[1:-1]] for line in lines]
    assert rows[1][1] > 3 * rows[0][1]
    assert rows[1][5] <= 1.1 * rows[0][5] + 0.01
    assert (tmp_path / "memory.svg").is_file()
