"""Faults 32 to 43: what happens to a training. What was learned is saved, or it is said what is lost."""

from __future__ import annotations

import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import pytest
import torch

from waveglow.audio.io import AudioError
from waveglow.data.sampler import StepSampler
from waveglow.data.speech import SpeechCrops
from waveglow.models.checkpoint import steps_of
from waveglow.training import checkpoints, distributed
from waveglow.training.log import read_metrics
from waveglow.training.stopping import StopSignals
from waveglow.training.task import VocoderTask

fault = pytest.mark.fault
BRIEF = ("train.steps=4", "train.validate_every_steps=100", "train.checkpoint_every_steps=100")


def at_call(number: int, function, act):
    """`function`, before whose call of that number `act` is called; a value that it returns is returned instead."""
    calls = []

    def call(*arguments, **options):
        calls.append(1)
        instead = act() if len(calls) == number else None
        return function(*arguments, **options) if instead is None else instead

    return call


def lines(run: Path, kind: str) -> list[dict]:
    return [line for line in read_metrics(run / "metrics.jsonl") if line["kind"] == kind]


def raising(error: Exception):
    def act():
        raise error

    return act


# ---- Killed, stopped, stuck ------------------------------------------------------------------------------------------


@fault(33, "`kill -9` of one process of a training by torchrun --max-restarts", "exit 0", "resumed from step_0000000")
@pytest.mark.slow
def test_fault_33_one_of_two_processes_is_killed(promise, config_file, manifest, tmp_path):
    """torchrun ends the other and starts both anew; they go on from the newest checkpoint."""
    run, said = tmp_path / "run", tmp_path / "said"
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "--max-restarts=1"]
    paths = ["--config", config_file, "--data", manifest, "--run-dir", run, "--device", "cpu"]
    settings = ["train.steps=60", "train.checkpoint_every_steps=2", "train.validate_every_steps=1000"]
    with said.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, *launcher, "-m", "waveglow.cli.main", "train", *map(str, paths), *settings],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=errors,
        )
        while process.poll() is None and len(steps_of(run)) < 2:
            time.sleep(0.05)
        ranks = [
            int(place.parent.name)
            for place in Path("/proc").glob("[0-9]*/cmdline")
            if str(run).encode() in (content := place.read_bytes()) and b"torch.distributed" not in content
        ]
        os.kill(max(ranks), signal.SIGKILL)
        code = process.wait(timeout=200)
    killed, _, restarted = said.read_text().partition("failed (exitcode: -9)")
    assert '"resumed' not in killed
    print(restarted)
    promise.ended(code)
    assert steps_of(run)[-1].name == "step_00000060"


@fault(
    34, "SIGTERM, SIGINT, SIGHUP, SIGUSR1 or SIGUSR2", "exit 0", "stopped by a signal; run the same command to go on"
)
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2"])
def test_fault_34_a_signal_finishes_the_step_and_saves(promise, train, monkeypatch, name):
    number = getattr(signal, name)
    monkeypatch.setattr(VocoderTask, "loss", at_call(2, VocoderTask.loss, lambda: os.kill(os.getpid(), number)))
    code, run = train(*BRIEF)
    promise.ended(code)
    assert [step.name for step in steps_of(run)] == ["step_00000002"]


@pytest.mark.slow
@fault(34, "a terminal that is closed", "exit 0", "stopped by a signal; run the same command to go on")
def test_fault_34_a_terminal_that_is_closed(promise, config_file, manifest, tmp_path):
    """The bar and the lines have nowhere to go then."""
    run = tmp_path / "run"
    paths = ["--config", config_file, "--data", manifest, "--run-dir", run, "--device", "cpu"]
    given = ["train", *map(str, paths), *BRIEF, "train.steps=100000", "train.log_every_steps=1", "data.workers=1"]
    of_its_own = (
        "import fcntl, sys, termios\n"
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "from waveglow.cli.main import main\n"
        f"sys.exit(main({given}))"
    )
    keeper, terminal = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", of_its_own],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    while process.poll() is None and not any(line["step"] >= 2 for line in lines(run, "train")):
        os.read(keeper, 4096)
    os.close(keeper)
    code = process.wait(timeout=60)
    print((run / "metrics.jsonl").read_text())
    promise.ended(code)
    assert [int(step.name[-8:]) for step in steps_of(run)][-1] == lines(run, "train")[-1]["step"]


def test_fault_34_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = StopSignals()
    try:
        with stop.heard():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert not stop.asked


@fault(34, "a second SIGINT", "exit 130", "interrupted")
def test_fault_34_a_second_interruption_ends_at_once(promise, train, monkeypatch):
    def twice():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(VocoderTask, "loss", at_call(2, VocoderTask.loss, twice))
    promise.ended(train(*BRIEF)[0])


@fault(39, "one process of several gets on no more for 25 minutes", "exit 1", "most recent call first")
def test_fault_39_a_process_that_is_stuck_says_where(promise):
    stuck = (
        "import time, torch\n"
        "from waveglow.training import distributed\n"
        "distributed.STUCK_MINUTES = 0.005\n"
        "def here():\n"
        "    time.sleep(60)\n"
        "world = distributed.World(0, 2, torch.device('cpu'))\n"
        "world.alive()\n"
        "here()\n"
    )
    done = subprocess.run([sys.executable, "-c", stuck], capture_output=True, text=True, timeout=60)
    print(done.stderr)
    assert "in here" in promise.ended(done.returncode)


def test_fault_39_a_training_says_at_every_step_that_it_gets_on(train, monkeypatch):
    calls = []
    monkeypatch.setattr(distributed.World, "alive", lambda self: calls.append(1))
    train(*BRIEF)
    assert len(calls) == 4


# ---- The disk, the memory --------------------------------------------------------------------------------------------

FULL = OSError(28, "No space left on device")


@fault(35, "a full disk during a save", "exit 0", "ALARM: ")
@pytest.mark.parametrize("error", [FULL, OSError(30, "Read-only file system"), OSError(116, "Stale file handle")])
def test_fault_35_a_failed_save_stops_no_training(promise, train, monkeypatch, error):
    monkeypatch.setattr(checkpoints, "save_state", at_call(2, checkpoints.save_state, raising(error)))
    code, run = train(*BRIEF, "train.checkpoint_every_steps=1")
    assert error.strerror in promise.ended(code)
    assert [step.name[-1] for step in steps_of(run)] == ["1", "3", "4"][-len(steps_of(run)) :]


@fault(35, "a full disk at the end of a training", "exit 2", "LOST is what was learned since the start")
def test_fault_35_a_run_that_ends_unsaved_is_no_success(promise, train, monkeypatch):
    def full(*_, **__):
        raise FULL

    monkeypatch.setattr(checkpoints, "save_state", full)
    promise.ended(train(*BRIEF)[0])


@fault(36, "a step without a finite loss", "exit 0", "step skipped: loss or gradient not finite; batch: DV001-")
def test_fault_36_a_bad_step_is_skipped_and_its_clips_named(promise, train, monkeypatch):
    bad = at_call(2, VocoderTask.loss, lambda: torch.tensor(math.nan, requires_grad=True))
    monkeypatch.setattr(VocoderTask, "loss", bad)
    code, run = train(*BRIEF)
    promise.ended(code)
    assert json.loads((run / "checkpoints" / "step_00000004" / "train.json").read_text())["n_averaged"] == 3


@fault(36, "several such steps in a row", "exit 5", "2 steps in a row had no finite loss or gradient")
def test_fault_36_a_diverged_run_names_what_is_good(promise, train, monkeypatch):
    monkeypatch.setattr(VocoderTask, "loss", lambda self, terms: terms["nll_nats"] * math.nan)
    assert "Lower optim.lr" in promise.ended(train(*BRIEF, "train.max_bad_steps=2")[0])


@fault(37, "too little memory", "exit 2", "train.batch_size (4)")
def test_fault_37_out_of_memory_names_what_to_lower(promise, train, monkeypatch):
    full = at_call(2, VocoderTask.loss, raising(torch.OutOfMemoryError("CUDA out of memory")))
    monkeypatch.setattr(VocoderTask, "loss", full)
    said = promise.ended(train(*BRIEF)[0])
    assert "data.segment_samples (2048)" in said
    assert "train.memory=checkpoint" in said


# ---- The data --------------------------------------------------------------------------------------------------------


def vanishing(gone):
    """Training samples, of which those of these numbers can't be read."""
    read = SpeechCrops.__getitem__

    def sample(self, number):
        if gone(number):
            raise AudioError("gone.wav", "doesn't exist")
        return read(self, number)

    return sample


@fault(38, "one recording of many that can't be read in training", "exit 0", "another stands for it: gone.wav: doesn't")
@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_fault_38_for_one_recording_that_cannot_be_read_another_stands(promise, train, monkeypatch, workers):
    monkeypatch.setattr(SpeechCrops, "__getitem__", vanishing(lambda number: number in (5, 9)))
    code, run = train(*BRIEF, f"data.workers={workers}")
    assert promise.ended(code).count("gone.wav") == 1
    assert [step.name for step in steps_of(run)] == ["step_00000004"]


@fault(38, "one recording of a hundred and more can't be read", "exit 2", "of 44 training clips could not be read")
def test_fault_38_many_that_cannot_be_read_end_the_run_with_its_work_saved(promise, train, monkeypatch):
    monkeypatch.setattr(SpeechCrops, "__getitem__", vanishing(lambda number: number % 4 == 1))
    code, run = train(*BRIEF, "train.steps=100", "train.init_crops=0")
    promise.ended(code)
    assert [step.name for step in steps_of(run)] == ["step_00000010"]


@fault(38, "all recordings vanish during a training", "exit 2", "a training clip can't be read: gone.wav")
def test_fault_38_where_nothing_can_be_read_the_run_ends_with_its_work_saved(promise, train, monkeypatch):
    monkeypatch.setattr(SpeechCrops, "__getitem__", vanishing(lambda number: number >= 12))
    code, run = train(*BRIEF)
    promise.ended(code)
    assert [step.name for step in steps_of(run)] == ["step_00000003"]


def without_one(manifest: Path, to: Path) -> Path:
    """The manifest less one clip, which isn't held out."""
    clips = [json.loads(line) for line in manifest.read_text().splitlines()]
    clips.remove(next(clip for clip in clips if clip["split"] == "train"))
    for clip in clips:
        clip["path"] = str((manifest.parent / clip["path"]).resolve())
    to.write_text("".join(json.dumps(clip) + "\n" for clip in clips))
    return to


@fault(40, "recordings that were changed, added or lost between two runs", "exit 2", "aren't those that this run has")
def test_fault_40_changed_recordings_are_refused(promise, train, manifest, tmp_path, capsys):
    train("train.steps=1")
    other = ["--data", str(without_one(manifest, tmp_path / "other.jsonl")), "train.steps=2"]
    capsys.readouterr()
    assert "give --allow-data-change" in promise.ended(train(*other)[0])
    assert train(*other, "--allow-data-change")[0] == 0


@fault(41, "two trainings in one run's directory", "exit 2", "is in use by another training")
def test_fault_41_a_second_training_is_refused(promise, train, tmp_path):
    (tmp_path / "run").mkdir()
    with filelock.FileLock(tmp_path / "run" / ".lock"):
        promise.ended(train(*BRIEF)[0])


@fault(42, "a log or TensorBoard that can't be written, and a clock that jumps back", "exit 0", "can't log: ")
def test_fault_42_logs_and_clocks_stop_no_training(promise, train, monkeypatch):
    def full(*_, **__):
        raise FULL

    for name in ("add_scalar", "add_audio", "add_image", "add_histogram"):
        monkeypatch.setattr(f"torch.utils.tensorboard.SummaryWriter.{name}", full)
    monkeypatch.setattr("waveglow.training.log.RunLog._append", full)
    monkeypatch.setattr("waveglow.training.log.tqdm.write", full)  # as where the terminal is gone
    clock = iter(range(2**40, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    code, run = train(*BRIEF)
    promise.ended(code)
    assert [step.name for step in steps_of(run)] == ["step_00000004"]


@fault(42, "TensorBoard's folder can't be made", "exit 0", "can't log: ")
def test_fault_42_no_tensorboard(promise, train, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tensorboard").write_text("no folder")
    code, run = train(*BRIEF)
    promise.ended(code)
    assert [step.name for step in steps_of(run)] == ["step_00000004"]


@fault(43, "another number of reading processes at a resume", "exit 0", "resumed from step_00000002")
def test_fault_43_other_workers_read_the_same(promise, train, tmp_path, capsys):
    _, whole = train(*BRIEF, run_dir=tmp_path / "whole")
    train(*BRIEF, "train.steps=2")
    capsys.readouterr()
    code, run = train(*BRIEF, "data.workers=1")
    promise.ended(code)
    assert [line["loss"] for line in lines(run, "train")] == [line["loss"] for line in lines(whole, "train")]


@pytest.mark.parametrize("size", [2, 4])
def test_fault_43_other_numbers_of_processes_read_the_same(size):
    def of(rank: int, size: int) -> list[list[int]]:
        return list(StepSampler(3, 9, batch_size=8, accumulate=1, rank=rank, world_size=size))

    together = [
        sorted(itertools.chain(*batches)) for batches in zip(*(of(rank, size) for rank in range(size)), strict=True)
    ]
    assert together == [sorted(batch) for batch in of(0, 1)]
