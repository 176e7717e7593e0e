"""On a GPU: the CPU's audio, streams, half precision, compiled nets and training. Skipped where there is none."""

from __future__ import annotations

import pytest
import torch
from test_vocoder import FLOORED, MODELS, snr_db

from waveglow.cli.main import main
from waveglow.training.log import read_metrics
from waveglow.vocoder import Vocoder

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

RUN = """
model: {name: waveglow, n_channels: 16, n_layers: 3, n_flows: 4}
mel: nvidia/tacotron2
data: {segment_samples: 2048, workers: 2}
optim: {lr: 1.0e-3}
train: {steps: 20, batch_size: 4, init_crops: 4, log_every_steps: 5, validate_every_steps: 20}
valid: {clips: 1, max_seconds: 0.5, listen: 1}
"""


def mel_of(frames: int) -> torch.Tensor:
    return torch.randn(3, FLOORED.n_mels, frames, generator=torch.Generator().manual_seed(0)) - 5


@pytest.fixture(params=MODELS)
def model(random_model, request):
    return random_model(**MODELS[request.param])[0]


def test_audio_and_likelihood_are_the_cpus(model):
    on_cpu, on_gpu, mel = Vocoder(model, FLOORED), Vocoder(model, FLOORED, device="cuda"), mel_of(50)
    audio = on_cpu.synthesize(mel)
    assert snr_db(audio, on_gpu.synthesize(mel).cpu()) > 80
    wav = 0.1 * mel_of(100)[0, 0].repeat(20).numpy()
    rate = FLOORED.sample_rate
    assert float(on_gpu.log_prob(wav, rate)) == pytest.approx(float(on_cpu.log_prob(wav, rate)), rel=1e-4)


def test_a_stream_is_the_whole(model):
    vocoder, mel = Vocoder(model, FLOORED, device="cuda"), mel_of(100)
    whole = vocoder.synthesize(mel)
    for chunk in (1, 7, 96):
        stream = torch.cat([*vocoder.stream(mel.split(chunk, dim=-1))], dim=-1)
        torch.testing.assert_close(stream, whole, rtol=0, atol=1e-4 * float(whole.abs().max()))


@pytest.mark.parametrize(("precision", "least_db"), [("bf16", 25), ("fp16", 40)])
def test_half_precision_is_close(model, precision, least_db):
    full, half = (Vocoder(model, FLOORED, device="cuda", precision=p) for p in ("float32", precision))
    assert snr_db(full.synthesize(mel_of(50)), half.synthesize(mel_of(50))) > least_db


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_compiled_and_as_a_cuda_graph(random_model, mode):
    vocoder = Vocoder(random_model(**MODELS["waveglow"])[0], FLOORED, device="cuda")
    whole = vocoder.synthesize(mel_of(50))
    vocoder.model.decode = torch.compile(vocoder.model.decode, dynamic=False, mode=mode)
    for _ in range(3):
        assert snr_db(whole, vocoder.synthesize(mel_of(50))) > 60


@pytest.mark.parametrize(
    "settings",
    [
        ["train.precision=float32"],
        ["train.precision=bf16"],
        ["train.precision=fp16"],
        ["train.precision=bf16", "train.compile=true"],
        ["train.cuda_graphs=true"],
        ["train.precision=bf16", "train.cuda_graphs=true"],
        ["train.precision=fp16", "train.cuda_graphs=true"],
        ["train.memory=reversible"],
        ["train.memory=checkpoint", "train.precision=bf16"],
        ["loss.mr_stft=1", "loss.sigma=0.7", "loss.refine=2", "data.segment_samples=4096", "train.precision=bf16"],
    ],
    ids=" ".join,
)
def test_training_learns_and_resumes(settings, manifest, tmp_path):
    config, run = tmp_path / "run.yaml", tmp_path / "run"
    config.write_text(RUN, encoding="utf-8")
    given = ["train", "--config", str(config), "--data", str(manifest), "--run-dir", str(run), "--device", "cuda"]
    assert main([*given, *settings]) == 0
    assert main([*given, *settings, "train.steps=25"]) == 0
    lines = list(read_metrics(run / "metrics.jsonl"))
    losses = [line["nll_nats"] for line in lines if line["kind"] == "train"]
    assert len(losses) == 5
    assert losses[-1] < losses[0]


def test_a_recorded_step_learns_what_a_step_learns(manifest, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text(RUN, encoding="utf-8")
    found = []
    for recorded in ("false", "true"):
        run = tmp_path / recorded
        given = ["train", "--config", str(config), "--data", str(manifest), "--run-dir", str(run), "--device", "cuda"]
        assert main([*given, f"train.cuda_graphs={recorded}"]) == 0
        lines = read_metrics(run / "metrics.jsonl")
        found.append([line["nll_nats"] for line in lines if line["kind"] in ("train", "valid")])
    assert found[1] == pytest.approx(found[0], rel=1e-3)
