"""A killed run goes on as if nothing had happened: bitwise on CPU, at any moment, for one process and for two."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from crash_product import exit_code  # beside this file
from safetensors.torch import load_file

from waveglow.audio.mel import preset
from waveglow.cli.main import main
from waveglow.models import checkpoint
from waveglow.models.checkpoint import steps_of
from waveglow.models.registry import build
from waveglow.models.whole_directory import verify
from waveglow.training import state
from waveglow.training.config import OptimConfig
from waveglow.training.log import read_metrics
from waveglow.training.optim import MovingAverage, make_optimizer

TINY_MODEL = {"name": "waveglow", "n_mels": 4, "n_channels": 4, "n_layers": 1, "n_flows": 2}
MODULE = ["-m", "waveglow.cli.main"]
TRAIN = ["train", "--threads", "1", "--device", "cpu"]


def command(config_file, manifest, run, *settings, ranks=1):
    launcher = [sys.executable]
    if ranks > 1:
        launcher += ["-m", "torch.distributed.run", f"--nproc-per-node={ranks}", "--standalone"]
    paths = ["--config", str(config_file), "--data", str(manifest), "--run-dir", str(run)]
    return [*launcher, *MODULE, *TRAIN, *paths, *settings]


def train(*arguments, ranks=1):
    """The exit code; one process trains in this one, since to start another takes ten times as long as the training."""
    if ranks > 1:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.run(command(*arguments, ranks=ranks), env=environment, timeout=240).returncode
    threads = torch.get_num_threads()
    try:
        return main(command(*arguments)[len([sys.executable, *MODULE]) :])
    finally:
        torch.set_num_threads(threads)


def killed_at_step(step, *arguments, ranks=1):
    """Start a training, kill −9 all its processes once it has logged that step."""
    run = arguments[2]
    process = subprocess.Popen(
        command(*arguments, ranks=ranks),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while process.poll() is None and not any(m["step"] >= step for m in read_metrics(run / "metrics.jsonl")):
        time.sleep(0.02)
    assert process.poll() is None, "the run ended before it could be killed"
    kill_9_everything_with(str(run))
    process.wait()


def kill_9_everything_with(argument):
    """torchrun puts its ranks into sessions of their own: look for them by their command line."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if argument.encode() in entry.read_bytes():
                os.kill(int(entry.parent.name), signal.SIGKILL)


def final(run):
    """Every tensor of the last checkpoint, and the logged losses by step."""
    directory = steps_of(run)[-1]
    tensors = {**load_file(directory / "train.safetensors")}
    tensors |= {f"ema.{name}": tensor for name, tensor in load_file(directory / "model.safetensors").items()}
    losses = {m["step"]: m["loss"] for m in read_metrics(run / "metrics.jsonl") if m["kind"] == "train"}
    return directory.name, {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}, losses


@pytest.mark.fault(32, "`kill -9` of a training, and the same command again", "exit 0", "resumed from step_00000004")
@pytest.mark.parametrize("ranks", [1, 2])
def test_kill_9_and_resume_equals_an_unbroken_run_bitwise(ranks, config_file, manifest, tmp_path, capfd):
    settings = ("data.workers=2", "train.steps=8", "train.checkpoint_every_steps=4", "train.validate_every_steps=4")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert train(config_file, manifest, whole, *settings, ranks=ranks) == 0
    killed_at_step(6, config_file, manifest, broken, *settings, "train.steps=5000", ranks=ranks)
    assert train(config_file, manifest, broken, *settings, ranks=ranks) == 0
    assert "resumed from step_00000004" in capfd.readouterr().err
    assert final(broken) == final(whole)
    assert final(whole)[0] == "step_00000008"
    assert sorted(final(whole)[2]) == list(range(1, 9))


def three_saves(run, crashing):
    """Save steps 1, 2, 3 of a tiny run, by writes, fsyncs and renames."""
    run.mkdir()
    os.fsync, os.rename = crashing(os.fsync), crashing(os.rename)
    for module in (checkpoint, state):
        module.save_file, module.write_json = crashing(module.save_file), crashing(module.write_json)
    moving = tiny_state()
    for moving.step in (1, 2, 3):
        state.save_state(run, moving, model_config=TINY_MODEL, mel_spec=preset("hifigan"), info={}, fixed={}, keep=2)


def tiny_state():
    torch.manual_seed(0)
    model = build(TINY_MODEL)
    optimizer = make_optimizer(model.parameters(), OptimConfig())
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)  # no backward pass: autograd's threads don't survive a fork
    optimizer.step()
    return state.TrainState(model, MovingAverage(model, 0.9), optimizer, torch.amp.GradScaler("cpu", enabled=False))


@pytest.mark.fault(32, "`kill -9` amid a save, at each write, fsync and rename", "exit 0", "resumed from")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_kill_at_every_write_fsync_and_rename_of_a_save_leaves_the_old_or_the_new_checkpoint(tmp_path):
    """Of the three saves, the last one is cut at each of its operations; what is left then must load whole."""
    operations = exit_code(three_saves, tmp_path / "uncut", 0) - 100
    per_save = operations // 3
    assert operations == 3 * per_save
    assert per_save == 4 + 6 + 1 + 1  # writes; fsyncs of 5 files and the directory; rename; fsync of the parent
    seen = []
    for crash_at in range(2 * per_save + 1, operations + 1):
        run = tmp_path / f"cut{crash_at}"
        assert exit_code(three_saves, run, crash_at) == 9
        seen.append(newest_loaded(run))
    assert seen == [2] * (per_save - 4) + [3] * 4  # whole once its manifest is on disk, though not by its name


def newest_loaded(run):
    """The step that a resumed run would start from. Looking leaves everything; to recover leaves nothing unfinished."""
    before = sorted(run.rglob("*"))
    found, problems = state.newest(run)
    assert problems == []
    verify(found)
    state.load_state(found, tiny_state())
    assert sorted(run.rglob("*")) == before
    assert state.recover_run(run) == []
    found, _ = state.newest(run)
    assert {p.name for p in (run / "checkpoints").iterdir()} == {p.name for p in steps_of(run)}
    return json.loads((found / "train.json").read_text())["step"]


def test_sigterm_to_the_whole_group_finishes_the_step_saves_and_exits_0(config_file, manifest, tmp_path):
    run = tmp_path / "run"
    never = ("train.validate_every_steps=100000", "train.checkpoint_every_steps=100000")
    process = subprocess.Popen(
        command(config_file, manifest, run, *never, "train.steps=100000", "data.workers=1"),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    while process.poll() is None and not any(m["step"] >= 2 for m in read_metrics(run / "metrics.jsonl")):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "stopped by a signal" in said
    last = read_metrics(run / "metrics.jsonl")[-1]["step"]
    assert [p.name for p in steps_of(run)] == [f"step_{last:08d}"]
