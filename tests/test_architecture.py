"""Imports go down the layers only: `config` and `noise` know nothing, `cli` may know all and computes nothing. What
synthesis needs besides a runtime imports without torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "waveglow"
LAYERS = [
    {"client", "config", "distribution", "noise", "pieces", "surroundings"},
    {"flows", "nn", "audio", "devices", "hub", "parts", "processes"},
    {"models", "data", "metrics"},
    {"training", "vocoder", "opening", "export"},
    {"batch", "evaluation", "pictures", "bench"},
    {"pages", "serve"},
    {"cli"},
]
LAYER = {package: number for number, packages in enumerate(LAYERS) for package in packages}
# (importing package, module of its own layer that it may know)
SIBLINGS = {
    ("vocoder", "export.fold"),
    ("training", "vocoder"),
    ("opening", "vocoder"),
    ("opening", "export.onnx_runtime"),
}
OF_THE_ROOT = {"__version__"}  # all that the package itself imports from waveglow/__init__.py, which is for users


def imported(tree: ast.AST, module: str, *, is_package: bool) -> Iterator[tuple[int, str]]:
    """(line, what follows `waveglow.`) of everything that a module imports from the package, relative imports too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: -node.level or None] if node.level and not is_package else module.split(".")
            parents = parents[: len(parents) - node.level + 1] if node.level and is_package else parents
            source = ".".join([*(parents if node.level else []), *([node.module] if node.module else [])])
            names = [f"{source}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((node.lineno, n.partition(".")[2]) for n in names if n.partition(".")[0] == "waveglow")


def violations(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """What a module, e.g. "waveglow.flows.base", imports and must not; one sentence each."""
    tree = ast.parse(source)
    own = module.split(".")[1] if "." in module else None
    if own is None:  # waveglow/__init__.py: imports inside functions are lazy, and free
        tree.body = [node for node in tree.body if not isinstance(node, ast.FunctionDef) and not for_types_only(node)]
        return [
            f"{module}:{line} imports {name}; the root may do so only inside functions"
            for line, name in imported(tree, module, is_package=True)
        ]
    if own not in LAYER:
        return [f"{module} is in no layer; add {own!r} to LAYERS"]
    return [
        f"{module}:{line} (layer {LAYER[own]}) imports waveglow.{name}"
        for line, name in imported(tree, module, is_package=is_package)
        if not allowed(own, name)
    ]


def for_types_only(node: ast.AST) -> bool:
    """Whether a node is `if TYPE_CHECKING:`, which never runs."""
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def allowed(own: str, name: str) -> bool:
    package = name.partition(".")[0]
    if package == own or name in OF_THE_ROOT:
        return True
    named = any(own == by and f"{name}.".startswith(f"{what}.") for by, what in SIBLINGS)
    return named or (package in LAYER and LAYER[package] < LAYER[own])


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = sorted(ROOT.rglob("*.py"))


def test_the_files_are_found():
    assert {"config.py", "noise.py", "coupling.py", "wavenet.py"} <= {path.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_file_imports_from_lower_layers_only(path):
    is_package = path.name == "__init__.py"
    assert violations(path.read_text(encoding="utf-8"), module_name(path), is_package=is_package) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("waveglow.flows.base", "from waveglow.nn.wavenet import WaveNet"),
        ("waveglow.flows.base", "import waveglow.audio.mel"),
        ("waveglow.flows.base", "from waveglow import models"),
        ("waveglow.flows.base", "from ..nn import conv"),
        ("waveglow.flows.base", "from .. import models"),
        ("waveglow.flows.base", "def f():\n    from waveglow.training.engine import train"),
        ("waveglow.flows.base", "from waveglow import load"),
        ("waveglow.cli.main", "from waveglow import load"),
        ("waveglow.cli.main", "import waveglow"),
        ("waveglow.bench.forms", "from waveglow.evaluation import evaluate"),
        ("waveglow.evaluation.scores", "from waveglow.pages.look import page"),
        ("waveglow.pages.run", "from waveglow.cli.common import add_paths"),
        ("waveglow.config", "from waveglow.noise import philox"),
        ("waveglow.noise", "import waveglow.flows.base"),
        ("waveglow.models.registry", "from waveglow.data.speech import Speech"),
        ("waveglow.training.engine", "from waveglow.export.fold import folded"),
        ("waveglow.vocoder", "from waveglow.export.onnx import export"),
        ("waveglow.export.fold", "from waveglow.vocoder import Vocoder"),
        ("waveglow.models.flow_vocoder", "from waveglow.cli.main import main"),
        ("waveglow.new.thing", ""),
        ("waveglow", "from waveglow.vocoder import Vocoder"),
        ("waveglow", "if True:\n    from .vocoder import Vocoder"),
        ("waveglow", "class A:\n    from waveglow.vocoder import Vocoder"),
    ],
)
def test_the_checker_catches(module, source):
    assert len(violations(source, module, is_package=module == "waveglow")) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("waveglow.flows.coupling", "import torch\nfrom waveglow.config import nearest"),
        ("waveglow.flows.coupling", "from waveglow.flows.base import Flow\nfrom . import base\nfrom .base import Flow"),
        ("waveglow.models.builders", "from waveglow.models.flow_vocoder import FlowVocoder\nfrom ..nn import wavenet"),
        ("waveglow.vocoder", "from waveglow.export.fold import folded\nfrom waveglow.export import fold"),
        ("waveglow.cli.main", "from waveglow import __version__, vocoder"),
        ("waveglow.audio.io", "import waveglowing.flows"),
        ("waveglow", "def __getattr__(name):\n    from waveglow.vocoder import Vocoder"),
        ("waveglow", "if TYPE_CHECKING:\n    from waveglow.vocoder import Vocoder"),
    ],
)
def test_the_checker_lets_pass(module, source):
    assert violations(source, module, is_package=module == "waveglow") == []


def test_relative_imports_in_a_package_file_count_from_the_package():
    assert violations("from . import base", "waveglow.flows", is_package=True) == []
    assert len(violations("from .. import models", "waveglow.flows", is_package=True)) == 1
    assert len(violations("from ..nn import conv", "waveglow.flows", is_package=True)) == 1


CLI = [path for path in FILES if path.is_relative_to(ROOT / "cli")]


@pytest.mark.parametrize("path", CLI, ids=module_name)
def test_a_verb_is_arguments_one_call_and_an_exit_code(path):
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 120
    assert not modules_of(source) & {"numpy", "PIL", "scipy", "librosa"}, "what computes belongs below cli"


def test_the_command_line_is_small():
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in CLI) <= 2000


@pytest.mark.parametrize("path", [path for path in FILES if path not in CLI], ids=module_name)
def test_only_the_command_line_knows_arguments(path):
    assert "argparse" not in modules_of(path.read_text(encoding="utf-8"))


def modules_of(source: str) -> set[str]:
    """The top-level names of all that a module imports from elsewhere."""
    nodes = list(ast.walk(ast.parse(source)))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    named = {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.partition(".")[0] for name in plain | named}


WITHOUT_TORCH = [
    "waveglow",
    "waveglow.audio.io",
    "waveglow.audio.mel",
    "waveglow.audio.mel_files",
    "waveglow.audio.mel_spec",
    "waveglow.audio.steps",
    "waveglow.client",
    "waveglow.cli.common",
    "waveglow.cli.main",
    "waveglow.cli.models",
    "waveglow.cli.values",
    "waveglow.config",
    "waveglow.export.onnx_runtime",
    "waveglow.noise",
    "waveglow.opening",
]


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_what_imports_without_torch(module):
    code = f"import sys, {module}; print([n for n in ('librosa', 'torch', 'torchaudio') if n in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent, timeout=60, check=True, stdout=subprocess.PIPE)
    assert ran.stdout == b"[]\n"
