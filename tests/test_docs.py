"""The pages of docs/ say what commands print, name what exists, and are all reached; generated ones are complete."""

import dataclasses
import importlib.util
import os
import re
from pathlib import Path

import pytest

from waveglow.bench.counting import size_of
from waveglow.bench.sizes import HEAD, SIZES, row
from waveglow.cli.main import EXIT_CODES, VERBS, main
from waveglow.models.published import FAMILIES
from waveglow.models.registry import VOCODERS
from waveglow.models.shipped import DEFAULT_VOICE

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *DOCS.rglob("*.md")]
    if not {"_build", "generated"} & {*path.parts}
}
MODELS = PAGES["docs/reference/models.md"]


@pytest.fixture(scope="module")
def generate():
    """docs/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- The README ------------------------------------------------------------------------------------------------------


def test_the_readme_is_a_first_screen():
    assert len(PAGES["README.md"].splitlines()) <= 150


def test_the_readmes_scores_are_the_cards():
    card = (DEFAULT_VOICE / "README.md").read_text(encoding="utf-8")
    table = card.partition("\nLJSpeech-mini, unseen:\n")[2].partition("\n\n32 clips")[0]
    rows = {
        "recordings": "ground truth",
        "**lapglow**": "vocoder",
        "its flow alone": "vocoder, not refined",
        "refined noise, no network": "refined noise",
        "HiFi-GAN universal": "HiFi-GAN universal",
        "Griffin-Lim": "Griffin-Lim",
    }
    shown_columns = ["PESQ", "ViSQOL", "DistillMOS", "DNSMOS", "MR-STFT"]
    columns = [cell.strip(" ↑↓") for cell in table.strip().splitlines()[0].split("|")[2:-1]]
    for shown, of_card in rows.items():
        cells = re.search(rf"^\| {of_card} \| (.*) \|$", table, re.M)[1].split(" | ")
        expected = [cells[columns.index(column)].split()[0] for column in shown_columns]
        found = re.search(rf"^\| {re.escape(shown)} \| (.*) \|$", PAGES["README.md"], re.M)[1]
        assert found.replace("*", "").split(" | ") == expected, shown


# ---- The table of models ---------------------------------------------------------------------------------------------


def test_the_table_of_models_has_every_one():
    assert HEAD in MODELS
    assert re.findall(r"^\| `([\w-]+)` \| [\d.]+ \|", MODELS, re.M) == list(VOCODERS)


def test_a_row_is_what_the_command_prints():
    assert list(SIZES) == list(VOCODERS)
    for size in SIZES.values():
        assert row(size) in MODELS


SLOW = [
    pytest.param(name, marks=pytest.mark.slow) if size.parameters > 2e7 or size.gmac_per_second > 130 else name
    for name, size in SIZES.items()
]


@pytest.mark.parametrize("name", SLOW)
def test_a_size_is_that_of_the_model_that_is_built(name):
    counted, known = dataclasses.asdict(size_of(name)), dataclasses.asdict(SIZES[name])
    assert counted == {key: pytest.approx(value) if isinstance(value, float) else value for key, value in known.items()}


def test_the_map_of_equations_names_what_is_there():
    for file, names in re.findall(r"`((?:flows|nn|models)/\w+\.py)(?:: ([\w, .]+))?`", MODELS):
        source = (ROOT / "waveglow" / file).read_text(encoding="utf-8")
        for name in filter(None, names.split(", ")):
            last = name.split(".")[-1]
            assert re.search(rf"\b(class|def) {last}\b|^{last}\b", source, re.M), (file, name)


# ---- All pages -------------------------------------------------------------------------------------------------------


def test_pages_name_verbs_files_and_families_that_exist():
    for name, page in PAGES.items():
        for verb in re.findall(r"(?:^|`)waveglow ([a-z][a-z-]*)", page, re.M):
            assert verb in VERBS, (name, verb)
        for path in re.findall(r"\b(?:recipes|waveglow|tests)/[\w/.-]+\w", page):
            assert (ROOT / path).exists() or (DOCS / path).exists(), (name, path)
        for family in re.findall(r"--family ([\w-]+)", page):
            assert family in FAMILIES, (name, family)


def test_links_to_files_lead_somewhere(generate):
    generated = {f"docs/{generate.FOLDER.as_posix()}/{page}" for page in generate.pages()}
    for name, page in PAGES.items():
        for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", page):
            path = os.path.normpath(Path(name).parent / target)
            assert path in generated or (ROOT / path).exists(), (name, target)


def test_every_page_is_in_a_table_of_contents(generate):
    listed = {"docs/index.md"}
    for name, page in PAGES.items():
        for body in re.findall(r"^```\{toctree\}\n(.*?)^```", page, re.M | re.S):
            entries = [line for line in body.splitlines() if line and not line.startswith(":")]
            listed |= {os.path.normpath(Path(name).parent / f"{entry}.md") for entry in entries}
    hand_written = {name for name in PAGES if name.startswith("docs/")}
    assert {page for page in hand_written if page not in listed} == set()
    for page in generate.pages():
        place = f"docs/{generate.FOLDER.as_posix()}/{page}"
        assert place in listed or os.path.join(os.path.dirname(place), "*.md") in listed, page


# ---- Generated pages -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_a_verbs_page_has_what_its_help_has(generate, verb, capsys):
    page = generate.verb_page(verb)
    below = generate.verbs_below(verb)
    for words in [[verb, name] for name in below] or [[verb]]:
        with pytest.raises(SystemExit):
            main([*words, "--help"])
        options = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out)) - {"--help"}
        assert {option for option in options if option not in page} == set()
        assert f"waveglow {' '.join(words)}" in page


def test_the_api_has_every_module_of_its_packages(generate):
    pages = generate.pages()
    for module in ("waveglow.vocoder", "waveglow.flows.lapped", "waveglow.nn.wavenet", "waveglow.evaluation.scores"):
        assert sum(f"automodule:: {module}\n" in page for page in pages.values()) == 1, module


def test_the_presets_table_says_what_fits(generate):
    page = generate.presets_page()
    given = re.search(r"^\| `matcha` \| (.*) \|$", page, re.M)[1].split(" | ")
    assert given[:3] == ["s", "=", "="]
    assert set(given[3:]) == {"·"}


def test_the_table_of_shipped_models_names_licence_and_scores(generate):
    page = generate.shipped_page()
    assert re.search(r"^\| `lapglow` \| `hifigan` \| 10\.80 \| .* \| CC-BY-SA-3\.0 \|$", page, re.M)
    assert "| vocoder | 3.91 ± 0.04 |" in page
    assert "| `demo-faces` | 3 × 32 × 32 | 5 |" in page


def test_a_card_without_a_licence_is_no_table(generate, tmp_path):
    (tmp_path / "README.md").write_text("# a voice", encoding="utf-8")
    with pytest.raises(ValueError, match="doesn't say under which licence"):
        generate.licence(tmp_path)


def test_the_table_of_faults_has_every_one_with_a_documented_end(generate):
    page = generate.faults_page()
    assert [*dict.fromkeys(map(int, re.findall(r"^\| (\d+) \| ", page, re.M)))] == [*range(1, 51)]
    ends = {row[2] for row in generate.faults()}
    codes = re.findall(r"^\| (\d+) \|", PAGES["docs/reference/exit-codes.md"], re.M)
    assert {end for end in ends if end.startswith("exit")} <= {f"exit {code}" for code in [*codes, "1"]}
    assert "| 1 | a recording of no bytes | exit 3 | …a.wav: empty file… |" in page


def test_the_exit_codes_are_the_programs():
    said = re.findall(r"(\d+) [a-z]", EXIT_CODES)
    listed = re.findall(r"^\| (\d+) \|", PAGES["docs/reference/exit-codes.md"], re.M)
    assert listed == [*said, "130", "141"]


def test_the_command_prints_rows_below_their_head(capsys):
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [*HEAD.splitlines(), row(SIZES["lapglow"])]
    assert len(lines) == 2 + len(VOCODERS)
    assert main(["models", "--json"]) == 0
    assert '"parameters": 10796736' in capsys.readouterr().out
