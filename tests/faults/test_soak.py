"""Long use: what is held stays what it was, and a run that is killed again and again learns what it would have.

pytest -m slow -s tests/faults/test_soak.py    # 10 000 calls, 50 kills; prints what was measured
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzzed_files import NUMBERS, RATE, SPEC, of_random_weights
from safetensors.torch import load_file
from soaking import Held, end, held, of_session, started, waited

from waveglow.models.checkpoint import steps_of
from waveglow.training.log import read_metrics
from waveglow.vocoder import Vocoder

# ---- Calls of one vocoder ------------------------------------------------------------------------------------------

GROWTH_MIB = 24  # of memory, which allocators hold back in part
BAD: list[Callable[[Vocoder], object]] = [
    lambda vocoder: vocoder.synthesize(np.full((4, 9), np.nan, np.float32)),
    lambda vocoder: vocoder.synthesize(np.zeros((5, 9), np.float32)),
    lambda vocoder: vocoder.synthesize(np.zeros((4, 9), np.int16)),
    lambda vocoder: vocoder.synthesize(np.zeros((4, 0), np.float32)),
    lambda vocoder: vocoder.synthesize(np.full((4, 9), -5.0, np.float32), sigma=-1),
    lambda vocoder: vocoder.synthesize(np.full((4, 9), -5.0, np.float32), seed=2**70),
    lambda vocoder: vocoder.synthesize(np.full((2, 4, 9), -5.0, np.float32), lengths=[9, 10]),
    lambda vocoder: [*vocoder.stream([np.full((4, 9), -5.0, np.float32), np.zeros((3, 9), np.float32)])],
    lambda vocoder: vocoder.mel(np.zeros(0, np.float32), RATE),
    lambda vocoder: vocoder.mel(np.full(99, 9e9, np.float32), RATE),
    lambda vocoder: vocoder.log_prob(np.zeros(99, np.float32), 0),
    lambda vocoder: vocoder.denoise(np.zeros(99, np.float32), float("nan")),
]


def a_call(vocoder: Vocoder, rng: random.Random) -> None:
    """One of any kind, of any length."""
    frames, batch, refine = rng.randrange(1, 80), rng.randrange(1, 5), rng.randrange(4)
    mel = np.float32(rng.uniform(-9, -7)) + np.random.default_rng(rng.randrange(9)).standard_normal((batch, 4, frames))
    audio, rate = 0.1 * np.sin(np.arange(16 * frames)), rng.choice([RATE, 16_000, 22_050])
    seed = rng.randrange(2**32)
    match rng.choice(["synthesize", "lengths", "stream", "left", "mel", "call", "log_prob", "denoise", "bad"]):
        case "synthesize":
            vocoder.synthesize(mel[0], seed=seed, refine=refine)
        case "lengths":
            vocoder.synthesize(mel, seed=seed, lengths=[rng.randrange(1, frames + 1) for _ in mel], refine=refine)
        case "stream":
            [*vocoder.stream(np.array_split(mel[0], rng.randrange(1, frames + 1), axis=1), seed=seed, refine=refine)]
        case "left":  # a listener that goes away
            next(vocoder.stream(iter([mel[0]] * 9), seed=seed, refine=refine))
        case "mel":
            vocoder.mel(audio, rate)
        case "call":
            vocoder(audio, rate, seed=seed)
        case "log_prob":
            samples = torch.from_numpy(np.pad(audio, (0, 40))).float().requires_grad_(rng.random() < 0.5)
            value = vocoder.log_prob(samples, RATE)
            if value.requires_grad:
                value.backward()
        case "denoise":
            vocoder.denoise(audio, rng.random())
        case "bad":
            with pytest.raises(ValueError, match=r"\w"):
                rng.choice(BAD)(vocoder)


@pytest.mark.parametrize("calls", [200, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_mixed_calls_of_one_vocoder_leave_nothing(calls, one_thread):
    model, _ = of_random_weights({"name": "waveglow", **NUMBERS})
    vocoder, rng = Vocoder(model, SPEC, refine=1), random.Random(0)
    seen: list[Held] = []
    for number in range(calls):
        a_call(vocoder, rng)
        if number % (calls // 20) == 0:
            seen.append(held())
            print(f"after {number} calls: {seen[-1]}")
    warm, later = seen[5], seen[6:]  # after a quarter
    assert {(each.files, each.threads) for each in later} == {(warm.files, warm.threads)}
    assert max(each.mib for each in later) - warm.mib < GROWTH_MIB


# ---- Kills of one training -----------------------------------------------------------------------------------------


def learned(run: Path) -> tuple[str, dict[str, bytes], dict[int, float]]:
    """The name of the last checkpoint, every tensor of it, and the losses by step."""
    directory = steps_of(run)[-1]
    tensors = {
        f"{file}, {name}": tensor.numpy().tobytes()
        for file in ("train.safetensors", "model.safetensors")
        for name, tensor in load_file(directory / file).items()
    }
    return (
        directory.name,
        tensors,
        {m["step"]: m["loss"] for m in read_metrics(run / "metrics.jsonl") if m["kind"] == "train"},
    )


def entries(run: Path) -> set[str]:
    """All that a run's folder holds, but TensorBoard's file of each start, and what is heard after each signal."""
    inside = (path.relative_to(run) for path in run.rglob("*"))
    return {str(path) for path in inside if path.parts[0] not in ("tensorboard", "samples")}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kills", [int(os.environ.get("KILLS", "50"))])
def test_a_run_that_is_killed_again_and_again_learns_what_it_would_have(
    kills, config_file, manifest, tmp_path, monkeypatch
):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    steps = 8 * kills
    settings = [
        f"train.steps={steps}",
        "train.checkpoint_every_steps=4",
        "train.validate_every_steps=10",
    ]

    def training(run: Path, *, workers: int = 0):
        files = ["--config", str(config_file), "--data", str(manifest), "--run-dir", str(run), "--device", "cpu"]
        return started(["train", *files, *settings, f"data.workers={workers}"])

    rng, whole, broken, sessions = random.Random(0), tmp_path / "whole", tmp_path / "broken", []
    process = training(whole)
    process.join(600)
    assert process.exitcode == 0
    shared = os.listdir("/dev/shm")
    before, ends = held(), []
    for number in range(kills):
        process = training(broken, workers=int(number % 10 == 9))
        sessions.append(process.pid)
        done = max((m["step"] for m in read_metrics(broken / "metrics.jsonl")), default=0)
        target = done + rng.choice([0, 0, *range(1, 12)])
        waited(lambda process=process, target=target: not process.is_alive() or reached(broken, target))
        time.sleep(rng.random() * rng.choice([0.01, 0.3]))
        how = signal.SIGKILL if rng.random() < 0.6 else signal.SIGTERM
        ends.append((how.name, end(process, how)))
        assert len(list((broken / "checkpoints").glob("*.*-*"))) <= 1, "unfinished checkpoints pile up"
    process = training(broken)
    process.join(600)
    counted = {how: ends.count(how) for how in sorted(set(ends))}
    print(f"{kills} kills, ended as {counted}; {before} before, {held()} after")
    assert process.exitcode == 0
    assert learned(broken) == learned(whole)
    assert entries(broken) == entries(whole)
    assert len(os.listdir(temporary)) <= 1 + kills // 10, os.listdir(temporary)
    assert waited(lambda: not [*itertools.chain(*map(of_session, sessions))]), "workers of a killed run go on"
    assert sorted(os.listdir("/dev/shm")) <= sorted(shared)
    assert held()[1:] == before[1:]


def reached(run: Path, step: int) -> bool:
    return any(m["step"] >= step for m in read_metrics(run / "metrics.jsonl"))
