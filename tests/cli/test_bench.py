"""The benchmarks run, and their forms compute the same; how fast is no matter for a test."""

import json
import math
import sys

import pytest
import torch
from waveglow.bench.common import in_turns

from waveglow.audio.io import save_audio
from waveglow.audio.mel import preset
from waveglow.audio.signals import hum, snr
from waveglow.bench import input as bench_input
from waveglow.bench import streaming as bench_streaming
from waveglow.bench import synthesis as bench_synthesis
from waveglow.bench import training as bench_training
from waveglow.bench.forms import FORMS, Subject, awaken_, default_forms
from waveglow.bench.memory import MODES, kept_bytes, small_waveglow
from waveglow.bench.step import batch_for
from waveglow.cli.bench import all as bench_all
from waveglow.cli.main import main
from waveglow.models import checkpoint
from waveglow.models.registry import build_vocoder
from waveglow.nn.wavenet import WaveNet
from waveglow.vocoder import Vocoder

ONCE = ["--repeats", "1"]
SHORT_STEP = ["--batch", "1", "--segment", "1024"]
TINY = {"n_channels": 16, "n_layers": 2, "n_flows": 2, "n_cond": 16}


@pytest.fixture
def bench(capsys):
    """`bench(verb, *options)`: the tables of its JSON, and the document itself."""

    def run(*given):
        assert main(["bench", *given, "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        return document["tables"], document

    return run


@pytest.fixture(scope="module")
def voice(tmp_path_factory, random_model):
    """A lapglow of two small flows that was validated with two steps of refinement."""
    path = tmp_path_factory.mktemp("voice") / "tiny"
    model, config = random_model(name="lapglow", **TINY)
    checkpoint.save(path, model, config, mel_spec=preset("hifigan"), info={"refine": 2})
    return path


# ---- Synthesis -------------------------------------------------------------------------------------------------------


def test_every_form_of_synthesis_computes_the_same(bench):
    forms = ["plain-conv1d", "eager", "folded", "bf16"]
    tables, document = bench("synthesis", "--models", "lapglow", "--seconds", "0.2", "--forms", *forms, *ONCE)
    assert {"machine", "device", "threads", "torch"} <= document.keys()
    kernels, table = (table["rows"] for table in tables)
    assert [row["precision"] for row in kernels] == ["float32", "bf16"]
    assert [row["form"] for row in table] == forms
    decibels = {row["form"]: row["snr_db"] for row in table}
    assert decibels["folded"] is None
    assert decibels["plain-conv1d"] > 80
    assert decibels["eager"] > 80
    assert 30 < decibels["bf16"] < 80
    for row in table:
        assert row["gmac_per_second"] == pytest.approx(0.93, rel=0.02)
        assert row["times_real_time"] == pytest.approx(1 / row["real_time_factor"])
        assert row["gflop_per_second"] == pytest.approx(2 * row["gmac_per_second"] / row["real_time_factor"])
    assert table[0]["relative_speed"] == 1


def test_every_form_of_a_normed_waveglow_computes_the_same(random_model):
    model, _ = random_model(n_channels=16, n_layers=3, n_flows=4, n_early_every=2)
    mel = -5 + torch.randn(80, 20, generator=torch.manual_seed(0))
    subject = Subject(model, preset("nvidia/tacotron2"), mel, torch.device("cpu"), 1)
    folded, *others = (FORMS[form].make(subject)() for form in ("folded", "plain-conv1d", "eager", "bf16"))
    assert snr(folded, others[0]) > 80
    assert snr(folded, others[1]) > 80
    assert 30 < snr(folded, others[2]) < 80


def test_operations_are_those_of_the_form(bench):
    """Folded, a WaveGlow's last layers go into its skips."""
    forms = ["plain-conv1d", "folded"]
    tables, _ = bench("synthesis", "--models", "waveglow-64", "--seconds", "0.1", "--forms", *forms, *ONCE)
    plain, folded = (row["gmac_per_second"] for row in tables[1]["rows"])
    assert 0.9 * plain < folded < 0.99 * plain


def test_what_takes_many_minutes_is_left_out_by_default():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert default_forms("lapglow", cpu) == [form for form in FORMS if form not in ("fp16", "fused", "fused-bf16")]
    assert set(FORMS) - set(default_forms("waveglow-256", cpu)) == {"fp16", "compiled", "onnx-int8"}
    assert set(FORMS) - set(default_forms("waveglow-256", cuda)) == {"onnx-int8"}


def test_random_models_are_no_identity():
    model = build_vocoder({"name": "waveglow", "n_channels": 8, "n_layers": 2, "n_flows": 2})
    awaken_(model)
    assert all(module.end.weight.std() > 0 for module in model.modules() if isinstance(module, WaveNet))


def test_forms_that_cannot_be_made_name_the_reason(bench, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setattr(torch, "compile", no_compiler)
    forms = ["folded", "compiled", "cuda-graphs", "onnx", "onnx-int8"]
    options = ["synthesis", "--models", "lapglow", "--seconds", "0.1", "--forms", *forms, "--device", "cpu", *ONCE]
    _, table = bench(*options)[0]
    reasons = {row["form"]: row.get("skipped") for row in table["rows"]}
    assert reasons["folded"] is None
    assert reasons["compiled"] == "no compiler here"
    assert "need a GPU" in reasons["cuda-graphs"]
    assert "onnx can't be imported" in reasons["onnx"]
    assert "onnx can't be imported" in reasons["onnx-int8"]
    assert main(["bench", *options]) == 0
    assert "compiled     skipped: no compiler here" in capsys.readouterr().out


def no_compiler(*_, **__):
    raise RuntimeError("no compiler here\nand a long trace")


def test_the_exported_form_computes_the_same(bench, voice, monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    monkeypatch.setattr(bench_synthesis, "DEFAULT_VOICE", voice)
    options = ["--models", "lapglow", "--seconds", "0.2", "--forms", "onnx", "--device", "cpu", *ONCE]
    [row] = bench("synthesis", *options)[0][1]["rows"]
    assert row["snr_db"] > 80


# ---- Streaming -------------------------------------------------------------------------------------------------------


def test_streaming(bench, voice):
    options = ["--chunks", "8", "32", "--contexts", "0", "--seconds", "1", *ONCE]
    latency, exactness = (table["rows"] for table in bench("streaming", "-c", str(voice), *options)[0])
    assert [(row["refine"], row["chunk_frames"]) for row in latency] == [(0, 8), (0, 32), (2, 8), (2, 32)]
    for row in latency:
        frames = row["mel_seconds"] * 22050 / 256
        assert frames == pytest.approx(round(frames))
        assert round(frames) % row["chunk_frames"] == 0
        assert row["first_audio_seconds"] == pytest.approx(row["mel_seconds"] + row["compute_seconds"])
        assert row["steady_real_time_factor"] > 0
    assert [(row["refine"], row["context"]) for row in exactness] == [(0, 0), (0, "exact"), (2, 0), (2, "exact")]
    assert all((row["snr_db"] > 80) == (row["context"] == "exact") for row in exactness)


def test_a_long_stream_tells_its_memory_on_the_way(bench, voice):
    [[table]] = [bench("long", "-c", str(voice), "--hours", "0.002", "--chunk", "16")[0]]
    hours, peaks = ([row[key] for row in table["rows"]] for key in ("hours", "peak_mib"))
    assert len(hours) >= 10
    assert hours == sorted(hours)
    assert hours[-1] == pytest.approx(0.002, rel=0.1)
    assert peaks == sorted(peaks)
    assert peaks[0] > 50


def test_the_first_audio_waits_for_the_frames_that_it_depends_on(bench, voice):
    vocoder = Vocoder.load(voice)
    rows = bench("streaming", "-c", str(voice), "--chunks", "1", "4", "--contexts", "0", "--seconds", "1", *ONCE)[0][0]
    frames = {(r["refine"], r["chunk_frames"]): round(r["mel_seconds"] * 22050 / 256) for r in rows["rows"]}
    for refine in (0, 2):
        needed = 1 + vocoder.reach(refine).after
        assert frames[refine, 1] == needed
        assert frames[refine, 4] == 4 * math.ceil(needed / 4)


# ---- Training --------------------------------------------------------------------------------------------------------


def test_every_form_of_a_training_step_learns_the_same(bench, tmp_path):
    plot = tmp_path / "memory.svg"
    options = ["--models", "lapglow", "--adam-steps", "3", "--flows", "1", "3", "--plot", str(plot)]
    kernels, steps, memory = (table["rows"] for table in bench("training", *options, *SHORT_STEP, *ONCE)[0])
    rates = {row["precision"]: row["gflop_per_second"] for row in kernels}
    assert [row["form"] for row in steps] == ["plain-conv1d", "float32", "bf16"]
    for row in steps:
        assert len(row["losses"]) == 4
        assert row["last_loss"] == row["losses"][-1] < row["first_loss"]
        assert row["audio_seconds_per_second"] == pytest.approx(1024 / 22050 / row["step_seconds"])
        gflop = row["gflop_per_second"] * row["step_seconds"]
        assert gflop == pytest.approx(3 * 2 * 0.93 * 1024 / 22050, rel=0.1)  # forward, and both gradients
        assert row["share_of_kernel"] == row["gflop_per_second"] / rates["bf16" if row["form"] == "bf16" else "float32"]
    assert steps[0]["largest_difference"] == 0
    assert steps[1]["largest_difference"] < 2e-6
    assert 0 < steps[2]["largest_difference"] < 2e-3
    kept = {(row["flows"], row["memory"]): row["kept_mib_per_second"] for row in memory}
    assert [*kept] == [(flows, mode) for flows in (1, 3) for mode in ("none", "checkpoint", "reversible")]
    assert kept[3, "none"] > 2 * kept[1, "none"]
    assert all(row["relative_time"] == 1 for row in memory if row["memory"] == "none")
    assert plot.read_text(encoding="utf-8").count("<polyline") == 3


def test_a_reversible_step_keeps_no_more_of_a_deeper_model():
    audio, mel = batch_for(small_waveglow(1, "none"), 1, 1024, torch.device("cpu"))
    kept = {(n, mode): kept_bytes(small_waveglow(n, mode), audio, mel) for n in (12, 48) for mode in MODES}
    assert kept[48, "none"] > 3.5 * kept[12, "none"]
    assert kept[48, "reversible"] <= 1.1 * kept[12, "reversible"]
    assert kept[48, "reversible"] < kept[48, "checkpoint"] < kept[48, "none"]


def test_steps_that_cannot_be_made_name_the_reason(bench, monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "compile", no_compiler)
    options = ["--models", "lapglow", "--adam-steps", "1", "--flows", "1", "--device", "cpu", *SHORT_STEP, *ONCE]
    rows = bench("training", "--forms", "compiled", "cuda-graphs", *options)[0][1]["rows"]
    assert [row["skipped"] for row in rows] == ["no compiler here", "CUDA graphs need a GPU, and this runs on cpu"]


# ---- Input -----------------------------------------------------------------------------------------------------------


def test_input_of_hums_and_of_a_folder(bench, tmp_path):
    size = ["--batches", "2", "--workers", "0", "1", *SHORT_STEP, *ONCE]
    for voice in range(3):
        save_audio(tmp_path / f"{voice}.wav", hum(0.5, 22050, voice=voice), 22050)
    for corpus, recordings in [([], bench_input.FILES - 1), ([str(tmp_path)], 2)]:  # one is held out
        [table] = bench("input", *corpus, *size)[0]
        assert table["title"].endswith(f"from {recordings} recordings")
        step, *rows = table["rows"]
        assert [row["what"] for row in rows] == ["input, 0 workers", "input, 1 workers"]
        for row in rows:
            ratio = row["audio_seconds_per_second"] / step["audio_seconds_per_second"]
            assert row["times_the_step"] == pytest.approx(ratio)


# ---- All of it -------------------------------------------------------------------------------------------------------


def test_bench_alone_runs_all_four(monkeypatch, voice, capsys):
    sizes = [
        (bench_synthesis, ["--models", "lapglow", "--forms", "bf16", "--seconds", "0.1"]),
        (bench_streaming, ["-c", str(voice), "--chunks", "32", "--contexts", "0", "--seconds", "0.5"]),
        (bench_training, ["--models", "lapglow", "--forms", "bf16", "--adam-steps", "1", "--flows", "1", *SHORT_STEP]),
        (bench_input, ["--batches", "1", "--workers", "0", *SHORT_STEP]),
    ]
    monkeypatch.setattr(bench_all, "SIZES", sizes)
    assert main(["bench", *ONCE]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("machine ")
    assert [block.split()[0] for block in printed.split("\n\n")[1:]] == [
        *("Kernels", "lapglow:", "float32,", "float32,", "Kernels", "lapglow:", "Memory", "Input:")
    ]


def test_the_sizes_of_all_are_options_of_their_verbs():
    for module, size in bench_all.SIZES:
        parser = bench_all.argparse.ArgumentParser()
        module.add_arguments(parser)
        parser.parse_args(size)


def test_help_names_the_benchmarks(capsys):
    with pytest.raises(SystemExit) as end:
        main(["bench", "--help"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert all(verb in printed for verb in ("synthesis", "streaming", "training", "input", "waveglow bench"))


@pytest.mark.parametrize("verb", ["all", "synthesis", "streaming", "training", "input"])
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
        (["synthesis", "--threads", "0"], "0 is no whole number >= 1"),
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


# ---- Measuring -------------------------------------------------------------------------------------------------------


def test_actions_take_turns_and_the_first_turn_does_not_count():
    calls, figures = [], iter(range(100))

    def action(name):
        def run():
            calls.append(name)
            return (float(next(figures)),)

        return run

    assert in_turns({"a": action("a"), "b": action("b")}, repeats=3) == {"a": [4.0], "b": [5.0]}
    assert calls == ["a", "b"] * 4


def test_decibels():
    wave = torch.sin(torch.arange(1000.0))
    assert snr(wave, 1.01 * wave) == pytest.approx(40)
    assert snr(wave, wave) == 200
