"""Examples in docstrings say what happens: every `>>>` of the package runs, and what it prints is compared.

An example that would take seconds, or files, is marked `# doctest: +SKIP`.
"""

import doctest
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest
import torch

import waveglow.flows
import waveglow.nn

ROOT = Path(__file__).parents[1]
FILES = [path for path in sorted((ROOT / "waveglow").rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]
NO_EXAMPLE = {"Mask", "Memory", "RowNet", "Shape", "Conditioner"}  # what others have to be like


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("name", [module_name(path) for path in FILES])
def test_examples_print_what_they_say(name):
    torch.manual_seed(0)
    examples = [found for found in doctest.DocTestFinder().find(importlib.import_module(name)) if found.examples]
    assert examples, f"doctest finds none of the examples in {name}"
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for example in examples:
        runner.run(example, out=said.append)
    assert not said, "".join(said)


def test_the_package_has_examples():
    assert len(FILES) > 20


@pytest.mark.parametrize("package", [waveglow.flows, waveglow.nn], ids=lambda package: package.__name__)
def test_every_public_class_shows_how_it_is_used(package):
    classes = {name: value for name in package.__all__ if inspect.isclass(value := getattr(package, name))}
    assert len(classes) > 10
    assert [name for name, value in classes.items() if ">>> " not in (value.__doc__ or "")] == [
        name for name in classes if name in NO_EXAMPLE
    ]


@pytest.mark.parametrize("package", [waveglow.flows, waveglow.nn], ids=lambda package: package.__name__)
def test_everything_public_says_what_it_does(package):
    functions = [value for name in package.__all__ if inspect.isroutine(value := getattr(package, name))]
    assert len(functions) > 5
    assert [value.__name__ for value in functions if not value.__doc__] == []


@pytest.mark.parametrize("package", [waveglow.flows, waveglow.nn], ids=lambda package: package.__name__)
def test_no_public_name_hides_a_module(package):
    """`import waveglow.nn.conv as conv` would give the function, were it exported."""
    assert {module.name for module in pkgutil.iter_modules(package.__path__)}.isdisjoint(package.__all__)
