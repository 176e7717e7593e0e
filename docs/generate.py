"""Reference pages that are written from the program itself, before every build of the site.

    python docs/generate.py        # writes docs/reference/generated

A verb's page is what its parser says; the table of presets is what `PRESETS` holds; the table of shipped models is read
from their configurations and cards, that of faults from the marks of the tests. Nothing of it is kept in the
repository.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import pkgutil
import re
import shutil
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NoReturn
from unittest import mock

import waveglow
from waveglow.audio import mel_presets
from waveglow.audio.mel import PRESETS, MelSpec, compare, preset
from waveglow.bench.counting import size_of
from waveglow.cli.main import VERBS, main
from waveglow.models import checkpoint, shipped

ROOT = Path(__file__).parents[1]
FOLDER = Path("reference") / "generated"
API = {  # public packages and modules, in the order of a reader's way; what isn't there is left out
    "waveglow": "What `import waveglow` gives; everything else is imported by its module.",
    "waveglow.vocoder": "What users hold: a model, its mel convention, its device.",
    "waveglow.audio": "Files, mel conventions, mels, refinement and the denoiser. Depends on no other part.",
    "waveglow.flows": "Invertible layers under one contract, for flows of your own too.",
    "waveglow.nn": "The coupling networks and conditioners of the published models.",
    "waveglow.models": "Vocoders and image flows over those layers, checkpoints, readers of published files.",
    "waveglow.hub": "The Hugging Face Hub: references, its cache, fetching and sending.",
    "waveglow.metrics": "What `waveglow evaluate` measures.",
    "waveglow.evaluation": "What `waveglow evaluate` does, for Python.",
    "waveglow.training": "The training engine; `config` lists every setting.",
    "waveglow.export": "Folding for inference, ONNX, and running the exported file without torch.",
    "waveglow.pictures": "What the image verbs compute.",
    "waveglow.pages": "Self-contained HTML pages: evaluation, runs, pictures.",
    "waveglow.bench": "What `waveglow bench` measures.",
}


def write(docs: Path) -> None:
    """Write all pages below `docs`; unchanged ones keep their time, so that Sphinx doesn't read them again."""
    target = docs / FOLDER
    wanted = pages()
    for path in target.rglob("*.md") if target.exists() else ():
        if path.relative_to(target).as_posix() not in wanted:
            path.unlink()
    for name, text in wanted.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """Every page by its path below `reference/generated`."""
    verbs = {f"cli/{verb}.md": verb_page(verb) for verb in VERBS}
    api = {f"api/{name}.md": api_page(name) for name in API if _exists(name)}
    return {"presets.md": presets_page(), "shipped.md": shipped_page(), "faults.md": faults_page(), **verbs, **api}


# ---- Verbs -----------------------------------------------------------------------------------------------------------


class _BuiltError(Exception):
    """Carries the parser that a verb was about to use."""


def parser_of(*words: str) -> argparse.ArgumentParser:
    """The parser by which `waveglow WORDS…` reads its arguments, or prints the list of its verbs."""

    def stop(self: argparse.ArgumentParser, *_: object) -> NoReturn:
        raise _BuiltError(self)

    with mock.patch.object(argparse.ArgumentParser, "parse_args", stop):
        try:
            main([*words, "--help"])
        except _BuiltError as built:
            parser = built.args[0]
            assert isinstance(parser, argparse.ArgumentParser)
            return parser
    raise ValueError(f"waveglow {' '.join(words)} builds no parser")


def verbs_below(verb: str) -> Mapping[str, str]:
    """The verbs of a verb, such as those of `image`; none of most."""
    module = importlib.import_module(f"waveglow.cli.{verb.replace('-', '_')}")
    return getattr(module, "VERBS", {})


def verb_page(verb: str) -> str:
    """Reference of `waveglow VERB`, and of the verbs below it."""
    below = verbs_below(verb)
    text = f"# waveglow {verb}\n\n{_parser(parser_of(verb), with_options=not below)}"
    for name, summary in below.items():
        text += f"\n## waveglow {verb} {name}\n\n*{_capital(summary)}*\n\n{_parser(parser_of(verb, name))}"
    return text


def _capital(summary: str) -> str:
    return f"{summary[0].upper()}{summary[1:]}{'' if summary.endswith('?') else '.'}"


def _parser(parser: argparse.ArgumentParser, *, with_options: bool = True) -> str:
    usage = f"```text\n{_usage(parser)}\n```\n\n" if with_options else ""
    described = "\n\n".join(_described(parser.description or ""))
    return f"{usage}{described}\n\n{_options(parser) if with_options else ''}"


def _usage(parser: argparse.ArgumentParser) -> str:
    with mock.patch.dict("os.environ", {"COLUMNS": "100", "NO_COLOR": "1"}):
        return textwrap.dedent(" " * len("usage: ") + parser.format_usage().removeprefix("usage: ")).rstrip()


def _described(text: str) -> Iterator[str]:
    """Markdown of a description: prose, and below it what is indented, examples or a list of words."""
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        prose, _, _ = paragraph.partition("\n  ") if not paragraph.startswith("  ") else ("", "", "")
        block = paragraph.removeprefix(prose).strip("\n")
        if prose:
            yield _plain(prose)
        if block:
            language = "bash" if block.startswith(("  waveglow", "  torchrun")) else "text"
            yield f"```{language}\n{textwrap.dedent(block)}\n```"


def _plain(text: str) -> str:
    """Text in which only `code` means something."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if i % 2 else re.sub(r"([\\*_<>\[\]|#$])", r"\\\1", part) for i, part in enumerate(parts))


def _options(parser: argparse.ArgumentParser) -> str:
    rows = ["| argument | meaning |", "|---|---|"]
    for action in parser._actions:
        if not isinstance(action, argparse._HelpAction):
            meaning = _plain(parser._get_formatter()._expand_help(action)) if action.help else ""
            rows.append(f"| {_called(action)} | {meaning} |")
    return "\n".join(rows) + "\n"


def _called(action: argparse.Action) -> str:
    value = action.metavar or (f"{{{','.join(map(str, action.choices))}}}" if action.choices else action.dest.upper())
    if not action.option_strings:
        return f"`{value}`"
    takes = "" if action.nargs == 0 else f" {value}"
    return ", ".join(f"`{option}{takes}`".replace("|", "\\|") for option in action.option_strings)


# ---- Python ----------------------------------------------------------------------------------------------------------


def _exists(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def api_page(name: str) -> str:
    """Reference of a public package or module: its docstrings. A package's own names are those of its modules."""
    modules = _modules(name)
    text = f"# {name}\n\n{API[name]}\n{_automodule(name, members=not modules and name != 'waveglow')}"
    if name == "waveglow":
        names = "".join(f"- `{exported}`: `{home}`\n" for exported, home in sorted(waveglow.HOMES.items()))
        text += (
            f"\n```{{eval-rst}}\n.. autofunction:: waveglow.load\n```\n\nAlso here, by way of their modules:\n\n{names}"
        )
    return text + "".join(f"\n## {module}\n{_automodule(module)}" for module in modules)


def _modules(name: str) -> list[str]:
    paths = getattr(importlib.import_module(name), "__path__", None)
    found = [] if name == "waveglow" or paths is None else pkgutil.iter_modules(paths)
    return sorted(f"{name}.{module.name}" for module in found)


def _automodule(name: str, *, members: bool = True) -> str:
    options = "   :members:\n   :show-inheritance:\n" if members else ""
    return f"\n```{{eval-rst}}\n.. automodule:: {name}\n{options}```\n"


# ---- Tables ----------------------------------------------------------------------------------------------------------

FIELDS: dict[str, Callable[[MelSpec], str]] = {
    "rate, Hz": lambda s: f"{s.sample_rate}",
    "n_fft / hop / window": lambda s: f"{s.n_fft} / {s.hop} / {s.win}",
    "bands": lambda s: f"{s.n_mels}",
    "from–to, Hz": lambda s: f"{s.fmin:g}–{s.fmax_hz:g}",
    "scale, norm": lambda s: f"{s.mel_scale}, {s.mel_norm or 'none'}",
    "padding": lambda s: f"{s.pad_left} + {s.pad_right}, {s.pad_mode}",
    "sums": lambda s: "magnitudes" if s.power == 1 else "powers",
    "log": lambda s: {"e": "natural", "10": "decimal"}[s.log_base],
    "least": lambda s: f"{s.floor_value:g}",
    "most": lambda s: "–" if s.ceiling_value is None else f"{s.ceiling_value:g}",
    "mean, std": lambda s: f"{s.mean[0]:g}, {s.std[0]:g}" if s.mean and s.std else "–",
    "guard": lambda s: f"{s.guard} {s.guard_value:g}" if s.guard else "–",
    "file layout": lambda s: {"CT": "[n_mels, F]", "TC": "[F, n_mels]"}[s.layout],
    "peak of recordings": lambda s: s.peak_policy,
}
VOICE_HEAD = (
    "voice",
    "mel",
    "parameters, millions",
    "file, MB",
    "GMAC per second of audio",
    "steps of refinement",
    "held-out NLL, nats a sample",
    "licence of the weights",
)
IMAGE_HEAD = ("model", "picture", "bits", "parameters, millions", "file, MB", "bits per dimension")
SIGNS = {"equal": "=", "convertible": "c", "shifted": "s", "incompatible": "·"}


def _spec(name: str) -> MelSpec:
    """A preset; ESPnet's without the statistics that each of its models brings."""
    return next(spec for spec in mel_presets._SPECS if spec.name == name) if name == "espnet" else preset(name)


def presets_page() -> str:
    """Every preset's numbers, and which feeds which."""
    specs = [_spec(name) for name in PRESETS]
    names = [f"`{spec.name}`" for spec in specs]
    fields = [[head, *map(cell, specs)] for head, cell in FIELDS.items()]
    feeds = [[f"`{given.name}`", *(SIGNS[compare(given, wanted).kind] for wanted in specs)] for given in specs]
    return "\n".join(
        [
            "# Mel presets\n\nWritten from `waveglow.audio.mel.PRESETS`.\n",
            *_table(["", *names], fields),
            "\n## Which mel feeds which vocoder\n",
            "Row: the mel that is given; column: the convention that the vocoder was trained on. = equal, c",
            "convertible, s shifted (convertible, the audio a little later), · incompatible: what `waveglow",
            "mel-check` says, with the reason. `espnet` stands without statistics; each of its models brings them",
            "(`feats_stats.npz`).\n",
            *_table(["given", *names], feeds),
            "",
        ]
    )


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def shipped_page() -> str:
    """The models of the package: size, cost, scores, licence, from their files."""
    voices, image_models = _folders(shipped.VOICES), _folders(shipped.IMAGE_MODELS)
    lines = [
        "# Models that come with the package\n\nWritten from the models' files: configuration, weights and card.\n",
        "## Voices\n",
        *_table([*VOICE_HEAD], [_voice(folder) for folder in voices]),
        "\nHow fast it is on what: [speed](../speed.md). The weights' licence follows from the recordings'; their",
        "credits are in the voice's card and in `recipes/openvoices/README.md`.",
    ]
    for folder in voices:
        lines += [f"\n### Scores of `{folder.name}`\n", *scores(folder)]
    lines += [
        "\n## Image models\n",
        *_table([*IMAGE_HEAD], [_image_model(folder) for folder in image_models]),
        "\nThese have the repository's licence, Apache-2.0. Each card says what the pictures are that were learned.\n",
    ]
    return "\n".join(lines)


def _voice(folder: Path) -> list[str]:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    size, info = size_of(config["model"]["name"]), config["info"]
    parameters = sum(p.numel() for p in checkpoint.load_vocoder(folder).model.parameters())
    if parameters != size.parameters:
        raise ValueError(
            f"{folder} has {parameters} parameters and its builder makes {size.parameters}; count its GMAC"
        )
    return [
        f"`{folder.name}`",
        f"`{config['mel']['name']}`",
        f"{parameters / 1e6:.2f}",
        _megabytes(folder),
        f"{size.gmac_per_second:.2f}",
        str(info["refine"]),
        str(info["nll_nats"]),
        licence(folder),
    ]


def _image_model(folder: Path) -> list[str]:
    model = checkpoint.load_image(folder).model
    bits = re.search(r"([\d.]+) bits per dimension", _card(folder))
    parameters = sum(p.numel() for p in model.parameters())
    shape = " × ".join(map(str, model.shape))
    facts = [shape, str(model.n_bits), f"{parameters / 1e6:.2f}", _megabytes(folder), bits[1] if bits else "–"]
    return [f"`{folder.name}`", *facts]


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if (path / "config.json").is_file())


def _card(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def _megabytes(folder: Path) -> str:
    return f"{(folder / 'model.safetensors').stat().st_size / 1e6:.1f}"


def licence(folder: Path) -> str:
    """The licence that a card gives the weights. Raises ValueError where it gives none."""
    found = re.search(r"weights are released under\s+([\w.-]+[\w])", _card(folder))
    if not found:
        raise ValueError(f"{folder}: its card doesn't say under which licence the weights are released")
    return found[1]


def scores(folder: Path) -> list[str]:
    """The tables of a card, each under its name, without the definitions."""
    lines = []
    for name, table in re.findall(r"^([^\n|]+):\n\n((?:\|[^\n]*\n)+)", _card(folder), re.M):
        lines += ["", f"{name[0].upper()}{name[1:]}:", "", *table.splitlines()]
    return lines[1:]


# ---- Faults ----------------------------------------------------------------------------------------------------------

FAULT_GROUPS = {
    "Recordings and mels": range(1, 25),
    "Checkpoints and configurations": range(25, 32),
    "Training": range(32, 44),
    "The server": range(44, 51),
}


def faults(tests: Path = ROOT / "tests") -> list[tuple[int, str, str, str]]:
    """(number, title, how it ends, words that are said) of every `pytest.mark.fault` in the tests, by number."""
    found = []
    for path in sorted(tests.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("fault", "pytest.mark.fault"):
                number, title, ends, words = map(ast.literal_eval, node.args)
                found.append((number, title, ends, words))
    return sorted(found, key=lambda row: row[0])


FAULTS_SOUGHT = """
Faults that nobody thought of are sought by programs. `python tests/faults/fuzzing.py --minutes 60` reads mutations of
small files of every kind (recordings, mels, checkpoints, published weights, ONNX, configurations, manifests, pictures,
what was prepared), and with `--values` what Hypothesis makes up (headers, shapes, configurations, calls): each must
give an object or one sentence of ours, in 2 seconds and 512 MiB. An hour of each, from seed 1000 on, tried 975 000
files and 404 000 values; what was found is mended and has a test in `tests/faults/test_fuzz_readers.py`.
`pytest -m slow -s tests/faults/test_soak.py` gives one vocoder 10 000 calls (files and threads stayed the same, memory
grew by 10 MiB, oneDNN's cache of shapes) and one training 50 kills (it learned what it would have, to the last bit).
`tests/faults/test_crashes.py` kills every writer of files wherever it writes; `python tests/mutate.py` breaks the
program at random places, to see that a test goes red.
"""


def faults_page() -> str:
    """What happens at every fault that is tested."""
    rows = faults()
    lines = [
        "# Faults\n\nWhat goes wrong on machines, how it ends, and words of the sentence that is said then. Written",
        "from the tests (`tests/faults`, `tests/serve`), which hold the program to it. [Exit codes](../exit-codes.md).",
        FAULTS_SOUGHT,
    ]
    for group, numbers in FAULT_GROUPS.items():
        lines += [f"\n## {group}\n", *_table(["", "fault", "ends with", "says"], _fault_rows(rows, numbers))]
    return "\n".join([*lines, ""])


def _fault_rows(rows: Iterable[tuple[int, str, str, str]], numbers: range) -> list[list[str]]:
    return [
        [
            str(number),
            _plain(title),
            ends,
            _plain(f"…{words}…"),
        ]
        for number, title, ends, words in rows
        if number in numbers
    ]


if __name__ == "__main__":
    shutil.rmtree(Path(__file__).parent / FOLDER, ignore_errors=True)
    write(Path(__file__).parent)
