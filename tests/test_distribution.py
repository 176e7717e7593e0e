"""What pip knows of us: one name in every message, bounds of what we depend on, and what the built files hold."""

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from waveglow import __version__
from waveglow.audio.mel import preset
from waveglow.distribution import DISTRIBUTION, HEAVY, install_hint
from waveglow.export.onnx import MIN_TORCH, export_onnx
from waveglow.export.onnx_runtime import OnnxVocoder

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")  # comes with pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
TEXTS = [
    path
    for path in sorted(ROOT.rglob("*"))
    if path.suffix in {".cff", ".ipynb", ".md", ".py", ".sh", ".toml", ".yaml", ".yml"}
    or path.name in {"Dockerfile", "Makefile"}
    if not {".venv", ".oldest", ".git", "runs", "build", "dist", "_build", "generated"}
    & set(path.relative_to(ROOT).parts)
]
# `waveglow`, alone or with extras, as an argument of pip: on PyPI that is another package.
SOMEBODY_ELSES = re.compile(r"pip install\b[^\n`;&|]*?[ '\"]waveglow(?![\w-])")


def test_the_name_is_that_of_pyproject():
    assert PROJECT["name"] == DISTRIBUTION
    assert install_hint("eval") == f"pip install '{PROJECT['name']}[eval]'"


@pytest.mark.parametrize(
    "command", ["pip install waveglow", "pip install -U 'waveglow[eval]'", 'pip install "waveglow"']
)
def test_the_checker_knows_the_wrong_name(command):
    assert SOMEBODY_ELSES.search(command)
    assert not SOMEBODY_ELSES.search(command.replace("waveglow", DISTRIBUTION))


def test_nothing_tells_to_install_the_package_of_somebody_else():
    assert len(TEXTS) > 200
    found = [
        f"{path}: {m.group()}" for path in TEXTS for m in SOMEBODY_ELSES.finditer(path.read_text(encoding="utf-8"))
    ]
    assert [line for line in found if not line.startswith(str(Path(__file__)))] == []


def test_extras_that_are_named_exist():
    naming = re.compile(rf"(?:{DISTRIBUTION}\[|pip install -e '\.\[|install_hint\(['\"])([\w,]+)")
    names = {
        n for path in TEXTS for found in naming.findall(path.read_text(encoding="utf-8")) for n in found.split(",")
    }
    assert {"eval", "onnx", "openvoices"} <= names <= EXTRAS.keys()


@pytest.mark.parametrize("extra", ["", "eval", "onnx", "openvoices"])
def test_what_users_install_has_a_lower_bound(extra):
    for requirement in EXTRAS[extra] if extra else PROJECT["dependencies"]:
        assert re.fullmatch(r"[\w-]+(\[\w+\])?>=[\d.]+(,<\d+)?", requirement), requirement


LIGHT = ROOT / "packaging" / "onnx"


def test_the_small_distribution_takes_the_same_versions_and_nothing_heavy():
    light = tomllib.loads((LIGHT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert light["name"] == f"{DISTRIBUTION}-onnx"
    assert {*light["dependencies"]} <= {*PROJECT["dependencies"], *EXTRAS["onnx"]}
    assert not {re.split("[>=<]", requirement)[0] for requirement in light["dependencies"]} & {*HEAVY}
    for key in ("license", "requires-python", "scripts"):
        assert light[key] == PROJECT[key]
    assert (LIGHT / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_torch_of_the_onnx_extra_is_the_one_that_the_export_asks_for():
    assert f"torch>={MIN_TORCH}" in EXTRAS["onnx"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist and the wheel made of it, as `python -m build` makes them."""
    pytest.importorskip("build")
    out = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--outdir", out, ROOT], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.name for path in out.iterdir()) == [
        f"waveglow_vocoders-{__version__}-py3-none-any.whl",
        f"waveglow_vocoders-{__version__}.tar.gz",
    ]
    return out


def tracked():
    """What git knows; the sdist, from which the tests run too, has no history to compare with."""
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {name for name in names.split("\0") if (ROOT / name).is_file()}


@pytest.mark.slow
def test_the_sdist_holds_the_repository_and_nothing_else(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        files = {member.name.partition("/")[2] for member in sdist.getmembers() if member.isfile()}
    made = {"PKG-INFO", "setup.cfg"} | {name for name in files if name.startswith("waveglow_vocoders.egg-info/")}
    assert {"tests/conftest.py", "tests/golden/mels.safetensors", "recipes/stages.sh", "Makefile"} <= files
    assert files - made == tracked()


@pytest.mark.slow
def test_the_wheel_holds_the_package_its_voices_and_nothing_else(built):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        files = set(wheel.namelist())
        (about,) = (name for name in files if name.endswith(".dist-info/METADATA"))
        metadata = wheel.read(about).decode("utf-8")
    assert {
        "waveglow/py.typed",
        "waveglow/voices/lapglow/model.safetensors",
        "waveglow/image_models/demo-faces/model.safetensors",
    } <= files
    info = about.rpartition("/")[0]
    assert {name for name in files if not name.startswith(f"{info}/")} == {
        name for name in tracked() if name.startswith("waveglow/")
    }
    assert f"{info}/licenses/LICENSE" in files
    assert f"\nName: {DISTRIBUTION}\n" in metadata
    assert "\nProject-URL: Homepage, https://" in metadata


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    """The small wheel, and `waveglow` of an environment that has nothing else and what it asks for."""
    pytest.importorskip("build")
    uv = pytest.importorskip("uv").find_uv_bin()
    folder = tmp_path_factory.mktemp("light")
    for command in (
        [sys.executable, "-m", "build", "--wheel", "--outdir", folder, LIGHT],
        [uv, "venv", "--quiet", "--python", sys.executable, folder / "bare"],
        [uv, "pip", "install", "--quiet", "--python", folder / "bare" / "bin" / "python", folder / WHEEL],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(LIGHT / "build")
    return folder / WHEEL, folder / "bare" / "bin" / "waveglow"


WHEEL = f"waveglow_vocoders_onnx-{__version__}-py3-none-any.whl"


@pytest.mark.slow
def test_the_small_wheel_holds_the_code_and_no_weights(light):
    wheel, _ = light
    with zipfile.ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if name.startswith("waveglow/")}
    assert files == {name for name in tracked() if re.fullmatch(r"waveglow/(.+\.py|py\.typed)", name)}
    assert wheel.stat().st_size < 1e6


@pytest.mark.slow
def test_the_small_distribution_synthesizes_without_torch(light, random_model, tmp_path):
    pytest.importorskip("onnxscript")
    _, waveglow = light
    model, _ = random_model(n_mels=80, n_channels=8, n_layers=2, n_flows=4)
    export_onnx(model, preset("hifigan"), tmp_path / "voice.onnx", refine=2)
    mel = np.full((80, 20), -5, np.float32)
    np.save(tmp_path / "a.npy", mel)

    def run(*arguments):
        return subprocess.run([waveglow, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60)

    done = run("synth", "-c", "voice.onnx", "a.npy", "a.wav")
    assert done.returncode == 0, done.stderr
    expected = OnnxVocoder(tmp_path / "voice.onnx").synthesize(mel).clip(-1, 1)
    np.testing.assert_allclose(soundfile.read(tmp_path / "a.wav")[0], expected, rtol=0, atol=1e-4)
    assert run("info", "voice.onnx").returncode == run("models").returncode == 0
    for verb in (["resynth", "-c", "voice.onnx", "a.wav", "b.wav"], ["synth", "a.npy", "b.wav"], ["train"]):
        done = run(*verb)
        assert done.returncode == 2
        assert f"needs torch, which is not installed: pip install {DISTRIBUTION}" in done.stderr
