"""The pages of docs/ say what commands print, and name what exists."""

import re
from pathlib import Path

import pytest

from waveglow.bench.sizes import HEAD, row, size_of
from waveglow.cli.main import VERBS, main
from waveglow.models.published import FAMILIES
from waveglow.models.registry import VOCODERS

ROOT = Path(__file__).parents[1]
PAGES = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}


def test_the_table_of_models_has_every_one():
    assert HEAD in PAGES["models.md"]
    assert re.findall(r"^\| `([\w-]+)` \| [\d.]+ \|", PAGES["models.md"], re.M) == list(VOCODERS)


@pytest.mark.parametrize("name", ["lapglow", "waveglow-64", "squeezewave-a256-c128", "waveflow-64"])
def test_a_row_is_what_the_command_prints(name):
    assert row(size_of(name)) in PAGES["models.md"]


def test_the_command_prints_rows_below_their_head(monkeypatch, capsys):
    monkeypatch.setattr("waveglow.cli.models.VOCODERS", {"lapglow": None})
    assert main(["models"]) == 0
    assert capsys.readouterr().out == f"{HEAD}\n{row(size_of('lapglow'))}\n"
    assert main(["models", "--json"]) == 0
    assert '"parameters": 10796736' in capsys.readouterr().out


def test_pages_name_verbs_files_and_families_that_exist():
    for name, page in PAGES.items():
        for verb in re.findall(r"(?:^|`)waveglow ([a-z-]+)", page, re.M):
            assert verb in VERBS, (name, verb)
        for path in re.findall(r"\b(?:recipes|waveglow|tests)/[\w/.-]+\w", page):
            assert (ROOT / path).exists(), (name, path)
        for family in re.findall(r"--family ([\w-]+)", page):
            assert family in FAMILIES, (name, family)


def test_the_map_of_equations_names_what_is_there():
    for file, names in re.findall(r"`((?:flows|nn|models)/\w+\.py)(?:: ([\w, .]+))?`", PAGES["models.md"]):
        source = (ROOT / "waveglow" / file).read_text(encoding="utf-8")
        for name in filter(None, names.split(", ")):
            last = name.split(".")[-1]
            assert re.search(rf"\b(class|def) {last}\b|^{last}\b", source, re.M), (file, name)
