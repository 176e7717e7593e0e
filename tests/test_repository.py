"""The habits that the repository's own files promise: no machine's paths, no big files, targets that exist."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from waveglow import __version__

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z]+):", MAKEFILE, re.M))


@pytest.fixture(scope="module")
def check_files():
    """.ci/check_files.py, a hook of pre-commit."""
    spec = importlib.util.spec_from_file_location("check_files", ROOT / ".ci" / "check_files.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_file_is_too_big_or_names_a_path_of_a_machine(check_files, capsys):
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout")
    assert len(check_files.tracked()) > 300
    assert check_files.main([]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("path", ["home/ann/x", "root/x", "tmp/x", "Users/ann/x", "work/main"])
@pytest.mark.parametrize("before", ["", "see ", '"', "file://", "(", "PYTHONPATH="])
def test_paths_of_machines_are_found(check_files, path, before):
    (fault,) = check_files.faults("docs/a.md", f"first\n{before}/{path}\n".encode())
    assert fault.startswith(f"docs/a.md:2: names a path of a machine, /{path.rpartition('/')[0]}")


@pytest.mark.parametrize(
    "text", ["/home/waveglow", "runs/tmp/x", "./work/x", "https://a.b/root/x", "$(ROOT)/tmp", "a/b"]
)
def test_other_paths_pass(check_files, text):
    assert list(check_files.faults("a.md", text.encode())) == []


@pytest.mark.parametrize(
    ("name", "size", "bad"),
    [("a.png", 2**19, 0), ("a.png", 2**19 + 1, 1), ("tests/golden/a.pt", 2**20, 0), ("tests/golden/a.pt", 2**22, 1)],
)
def test_big_files_are_found(check_files, name, size, bad):
    assert [fault.partition(":")[0] for fault in check_files.faults(name, bytes(size))] == [name] * bad


@pytest.mark.parametrize("file", ["CONTRIBUTING.md", ".github/workflows/ci.yml", ".github/pull_request_template.md"])
def test_make_targets_that_are_named_exist(file):
    named = set(re.findall(r"\bmake ([a-z]+)", (ROOT / file).read_text(encoding="utf-8")))
    assert named
    assert named <= TARGETS


def test_every_target_tells_what_it_does():
    assert {"demo", "docs", "fmt", "lint", "oldest", "release", "test"} <= TARGETS
    assert set(re.findall(r"^([a-z]+):.*##", MAKEFILE, re.M)) == TARGETS
    assert set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.M)[1].split()) >= TARGETS


def test_ci_tests_the_pythons_that_the_metadata_names():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]
    named = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text("utf-8"))
    assert jobs["tests"]["strategy"]["matrix"]["python"] == named
    assert jobs["oldest"]["steps"][1]["with"]["python-version"] == named[0]


def test_the_citation_is_of_this_version_and_names_the_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "title", "message", "authors"} <= citation.keys()
    assert citation["version"] == __version__
    assert [paper["identifiers"][0]["value"] for paper in citation["references"]] == [
        "arXiv:1811.00002",
        "arXiv:1807.03039",
    ]


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_forms_and_workflows_are_yaml_with_a_name(path):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert content.keys() & {"name", "blank_issues_enabled"}
    for part in content.get("body", []):
        assert part["attributes"]["label"]
