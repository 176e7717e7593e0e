"""`waveglow bench`: what its verbs take, and what they print; tests/bench has what they measure."""

import json

import pytest
import torch

from waveglow.audio.mel import preset
from waveglow.bench import input as bench_input
from waveglow.bench import long, memory, streaming, synthesis, training
from waveglow.bench.table import Column, Table
from waveglow.cli.bench import all as bench_all
from waveglow.cli.main import main
from waveglow.models import checkpoint

SMALL = Table("Small", [Column("what", "what"), Column("s", "s", ".1f")], [{"what": "a", "s": 1.25}], ["a note"])
STEP = {"batch": 1, "segment_samples": 1024}


@pytest.fixture(scope="module")
def voice(tmp_path_factory, random_model):
    path = tmp_path_factory.mktemp("voice") / "tiny"
    model, config = random_model(name="lapglow", n_channels=16, n_layers=2, n_flows=2, n_cond=16)
    checkpoint.save(path, model, config, mel_spec=preset("hifigan"))
    return path


# ---- Options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "verb", "given", "expected"),
    [
        (
            synthesis,
            "synthesis",
            ["--models", "lapglow", "--forms", "bf16", "--seconds", "0.5", "--refine", "3"],
            {"models": ["lapglow"], "forms": ["bf16"], "seconds": 0.5, "refine": 3},
        ),
        (
            streaming,
            "streaming",
            ["--chunks", "8", "--contexts", "0", "2", "--seconds", "1"],
            {"chunks": [8], "contexts": [0, 2], "seconds": 1.0},
        ),
        (
            bench_input,
            "input",
            ["hums", "--workers", "3", "--batches", "2", "--batch", "4", "--segment", "512"],
            {"workers": [3], "batches": 2, "batch": 4, "segment_samples": 512},
        ),
        (long, "long", ["--hours", "0.5", "--chunk", "16", "--refine", "1"], {"hours": 0.5, "chunk_frames": 16}),
        (
            training,
            "training",
            ["--models", "waveglow-64", "--forms", "bf16", "--adam-steps", "2", "--batch", "1", "--segment", "512"],
            {"models": ["waveglow-64"], "forms": ["bf16"], "adam_steps": 2, "batch": 1, "segment_samples": 512},
        ),
    ],
)
def test_options_reach_what_measures(monkeypatch, capsys, module, verb, given, expected):
    measured = {}

    def tables(first, **numbers):
        measured.update(numbers, **({"models": first} if "models" in expected else {}))
        return iter([SMALL])

    monkeypatch.setattr(module, "tables", tables)
    monkeypatch.setattr(memory, "table", lambda flows, **_: SMALL)
    repeats = [] if verb == "long" else ["--repeats", "3"]
    assert main(["bench", verb, *given, *repeats, "--device", "cpu"]) == 0
    assert {key: measured[key] for key in expected} == expected
    assert measured.get("repeats") == (None if verb == "long" else 3)
    assert "\n\nSmall\nwhat    s\na     1.2\na note\n" in capsys.readouterr().out


def test_the_voice_speaks_as_asked(monkeypatch, voice):
    heard = []
    monkeypatch.setattr(streaming, "tables", lambda vocoder, **_: heard.append(vocoder) or iter([]))
    assert main(["bench", "streaming", "-c", str(voice), "--precision", "bf16", "--device", "cpu"]) == 0
    assert (heard[0].precision, heard[0].model.hop) == ("bf16", 256)


@pytest.mark.parametrize(
    ("given", "flows"),
    [([], (12, 48)), (["--plot", "{tmp}/a.svg"], [12, 24, 36, 48]), (["--plot", "{tmp}/a.svg", "--flows", "1"], [1])],
)
def test_depths_of_the_memory_modes(monkeypatch, tmp_path, given, flows):
    asked = []
    monkeypatch.setattr(training, "tables", lambda models, **_: iter([]))
    monkeypatch.setattr(memory, "table", lambda flows, **_: asked.append(flows) or SMALL)
    monkeypatch.setattr(memory, "curves", lambda table: {"none": [(1.0, 2.0)], "reversible": [(1.0, 1.0)]})
    assert main(["bench", "training", *(option.format(tmp=tmp_path) for option in given)]) == 0
    assert asked == [flows]
    if given:
        assert (tmp_path / "a.svg").read_text(encoding="utf-8").count("<polyline") == 2


# ---- Printing --------------------------------------------------------------------------------------------------------


def test_json_has_the_machine_and_the_tables(monkeypatch, capsys):
    monkeypatch.setattr(bench_input, "tables", lambda corpus, **_: iter([SMALL]))
    assert main(["bench", "input", "--json", "--device", "cpu", "--threads", str(torch.get_num_threads())]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["tables"] == [{"title": "Small", "rows": [{"what": "a", "s": 1.25}], "notes": ["a note"]}]
    assert (document["device"], document["threads"]) == ("cpu", torch.get_num_threads())
    assert {"machine", "vectors", "torch"} <= document.keys()


def test_bench_alone_runs_all_four(monkeypatch, voice, capsys):
    def in_small(module, name, **numbers):
        whole = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, **sizes: whole(*given, **{**sizes, **numbers}))

    in_small(synthesis, "tables", models=["lapglow"], forms=["bf16"], seconds=0.1)
    in_small(streaming, "tables", chunks=[32], contexts=[0], seconds=0.5)
    in_small(training, "tables", models=["lapglow"], forms=["bf16"], adam_steps=1, **STEP)
    in_small(memory, "table", flows=[1], **STEP)
    in_small(bench_input, "tables", batches=1, workers=[0], **STEP)
    monkeypatch.setattr(bench_all, "DEFAULT_VOICE", voice)
    assert main(["bench", "--repeats", "1"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("machine ")
    assert [block.split()[0] for block in printed.split("\n\n")[1:]] == [
        *("Kernels", "lapglow:", "float32,", "float32,", "float32,", "Kernels", "lapglow:", "Memory", "Input:")
    ]


# ---- Help and mistakes -----------------------------------------------------------------------------------------------


def test_help_names_the_benchmarks(capsys):
    with pytest.raises(SystemExit) as end:
        main(["bench", "--help"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert all(verb in printed for verb in ("synthesis", "streaming", "training", "input", "waveglow bench"))


@pytest.mark.parametrize("verb", ["all", "synthesis", "streaming", "training", "input", "serve", "long"])
def test_help_has_an_example_and_the_exit_codes(verb, capsys):
    with pytest.raises(SystemExit):
        main(["bench", verb, "--help"])
    printed = capsys.readouterr().out
    assert f"\n  waveglow bench {'' if verb == 'all' else verb}" in printed
    assert "exit codes: 0 ok" in printed


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["synthesis", "--models", "wavglow-64"], "'wavglow-64' is no vocoder; did you mean 'waveglow-64'?"),
        (["training", "--models", "glow"], "'glow' is no vocoder"),
        (["synthesis", "--forms", "fast"], "invalid choice: 'fast'"),
        (["synthesis", "--seconds", "0"], "0 is no number of seconds above 0"),
        (["streaming", "--chunks", "0"], "0 is no whole number >= 1"),
        (["streaming", "--contexts", "-1"], "-1 is no whole number >= 0"),
        (["--repeats", "0"], "0 is no whole number >= 1"),
        (["synthesis", "--threads", "0"], "threads is 0; it must be at least 1"),
        (["synthesis", "--device", "abacus"], "--device abacus can't be used"),
        (["input", "nowhere.jsonl"], "nowhere.jsonl: can't be read"),
        (["training", "--plot", "nowhere/memory.svg"], "there is no folder nowhere"),
        (["sinthesis"], "unknown command 'sinthesis'; did you mean 'synthesis'?"),
    ],
)
def test_bad_input_is_a_usage_error(given, message, capsys):
    try:
        code = main(["bench", *given])
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert message in capsys.readouterr().err


def test_a_checkpoint_that_is_none(tmp_path, capsys):
    assert main(["bench", "streaming", "-c", str(tmp_path)]) == 4
    assert str(tmp_path) in capsys.readouterr().err
