"""How runs end, and what they leave: nothing that was learned is lost in silence, and what is called good is."""

import contextlib
import itertools
import json
import math
import multiprocessing
import os
import shutil
import signal
import time

import pytest
import torch
from crash_product import exit_code  # beside this file

from waveglow.audio.io import AudioError
from waveglow.cli.main import main
from waveglow.config import ConfigError
from waveglow.flows.permute import InvertibleConv
from waveglow.models import checkpoint, whole_directory
from waveglow.models.checkpoint import CheckpointError, steps_of
from waveglow.models.registry import build
from waveglow.models.whole_directory import is_whole
from waveglow.training import checkpoints, state
from waveglow.training.engine import DivergedError, OutOfMemoryError, UnsavedError
from waveglow.training.log import read_metrics
from waveglow.training.task import VocoderTask
from waveglow.training.workers import as_worker, unreadable

TINY_MODEL = {"name": "waveglow", "n_mels": 4, "n_channels": 4, "n_layers": 1, "n_flows": 2}


def lines(run, kind):
    return [m for m in read_metrics(run / "metrics.jsonl") if m["kind"] == kind]


def names(run):
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def full(*_, **__):
    raise OSError(28, "No space left on device")


# ---- Nothing saved is no success -------------------------------------------------------------------------------------


def test_a_run_that_could_not_be_saved_exits_non_zero_and_says_what_is_lost(train, monkeypatch, capsys):
    monkeypatch.setattr(checkpoints, "save_state", full)
    code, run = train("train.steps=2")
    assert code == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"{run}: ends at step 2. LOST is what was learned since the start" in said
    assert "No space left on device" in said


def test_a_stopped_run_that_could_not_be_saved_promises_no_resume(trainer, monkeypatch):
    made = trainer(steps=100, checkpoint_every_steps=2, validate_every_steps=100)
    real, saved = checkpoints.save_state, []

    def full_after_the_first(*arguments, **options):
        if saved:
            full()
        saved.append(real(*arguments, **options))

    monkeypatch.setattr(checkpoints, "save_state", full_after_the_first)
    advance = made.log.advance
    made.log.advance = lambda step, **shown: (
        advance(step, **shown),
        step == 4 and os.kill(os.getpid(), signal.SIGTERM),
    )
    with pytest.raises(
        UnsavedError, match=r"ends at step 5. LOST is what was learned since step 2, the newest that is saved"
    ):
        made.run()
    assert not any("run the same command" in m["what"] for m in lines(made.run_dir, "event"))
    assert names(made.run_dir) == ["step_00000002"]


def test_best_weights_that_cannot_be_written_do_not_stop_a_run(trainer, monkeypatch):
    monkeypatch.setattr(checkpoint, "save", full)
    made = trainer(steps=1)
    made.run()
    assert any("ALARM: the best weights" in m["what"] for m in lines(made.run_dir, "event"))


# ---- What is good ----------------------------------------------------------------------------------------------------


def test_weights_that_can_learn_nothing_are_no_checkpoint_and_going_on_works(train, capsys):
    """A step far too large leaves finite weights: only the next one would show that they are no good."""
    wild = ("optim.lr=10", "optim.warmup_steps=0", "train.max_bad_steps=3", "train.checkpoint_every_steps=1")
    code, run = train(*wild, "train.steps=50")
    assert code == 5
    assert "the weights of the start are the last good ones" in capsys.readouterr().err
    assert not (run / "checkpoints").exists()
    assert any("ALARM: no checkpoint of these weights" in m["what"] for m in lines(run, "event"))
    assert train("train.steps=2", "optim.lr=1e-4")[0] == 0
    assert math.isfinite(lines(run, "valid")[-1]["nll_nats"])


def test_the_checkpoint_that_a_diverged_run_names_is_one_that_is_good(trainer, monkeypatch):
    """As of a run whose checkpoints nobody tried: the newest is finite and useless."""
    made = trainer(steps=9, max_bad_steps=2, checkpoint_every_steps=2, validate_every_steps=100)
    monkeypatch.setattr(made, "_fault", lambda: "")
    real_step = made._step

    def step(batches):
        if made.state.step == 3:
            with torch.no_grad():
                for module in (made.model, made.average.module):
                    for parameter in module.parameters():
                        parameter.mul_(1e18)
        real_step(batches)
        made.reports.kept = made.reports.kept if made.state.step != 4 else []  # nobody noticed

    monkeypatch.setattr(made, "_step", step)
    monkeypatch.setattr(made, "_last_good", lambda: monkeypatch.undo() or made._last_good())
    with pytest.raises(DivergedError, match="the weights of step_00000002 are the last good ones"):
        made.run()
    assert names(made.run_dir) == ["step_00000002", "step_00000004.diverged"]


def test_a_bad_batch_alone_makes_no_weights_bad(trainer):
    made = trainer(steps=1)
    made.run()
    audio, mel, bandwidth = made.probe.batches[0]
    made.probe.see((audio * math.nan, mel, bandwidth))
    assert made._fault() == ""
    with torch.no_grad():
        next(made.model.parameters()).fill_(math.nan)
    assert "is not finite" in made._fault()


def test_no_checkpoint_is_written_amid_bad_steps(trainer):
    """Steps 3 and 4 are bad though the weights are sound: one of them may be what ends the run."""
    made = trainer(steps=6, max_bad_steps=3, checkpoint_every_steps=4, validate_every_steps=100)
    sound = made.gradients

    def gradients(*inputs):
        terms = sound(*inputs)
        return {**terms, "loss": terms["loss"] * (math.nan if made.state.step in (2, 3) else 1)}

    made.gradients = gradients
    made.run()
    assert [m["step"] for m in lines(made.run_dir, "event")] == [3, 4]
    assert names(made.run_dir) == ["step_00000006"]


def test_a_validation_without_a_finite_likelihood_is_never_the_best(trainer):
    made = trainer(steps=1)
    made.run()
    before = state.best_info(made.run_dir)["nll_nats"]
    for nll in (-math.inf, math.nan):
        made._keep_best({"nll_nats": nll})
    assert state.best_info(made.run_dir)["nll_nats"] == before


# ---- Before, after, and for how long ---------------------------------------------------------------------------------


def test_a_run_is_validated_before_its_first_step_and_after_its_last(train):
    _, run = train("train.steps=2", "train.validate_every_steps=100")
    assert [m["step"] for m in lines(run, "valid")] == [0, 2]


def test_a_signal_is_followed_by_a_validation_of_what_was_saved(trainer):
    made = trainer(steps=100, validate_every_steps=100)
    advance = made.log.advance
    made.log.advance = lambda step, **shown: (advance(step, **shown), os.kill(os.getpid(), signal.SIGTERM))
    made.run()
    assert [m["step"] for m in lines(made.run_dir, "valid")] == [0, made.state.step]
    assert lines(made.run_dir, "event")[-1]["what"] == "stopped by a signal; run the same command to go on"


def test_a_long_validation_does_not_follow_a_signal(trainer):
    made = trainer(steps=100, validate_every_steps=100)
    validate = made.task.validate
    made.task.validate = lambda *given: {**validate(*given), "late": made.log.__dict__.update(start=made.log.start)}
    advance = made.log.advance

    def stop(step, **shown):
        advance(step, **shown)
        made.validation_seconds = 11
        os.kill(os.getpid(), signal.SIGTERM)

    made.log.advance = stop
    made.run()
    assert [m["step"] for m in lines(made.run_dir, "valid")] == [0]


def test_minutes_end_a_run_which_is_saved_and_stays_ended(train, capsys):
    """The minutes are those of the whole run, with what it took before it was resumed."""
    code, run = train("train.steps=1000", "train.minutes=0.0001")
    assert code == 0
    assert steps_of(run)[-1].name == "step_00000001"
    assert lines(run, "event")[-1]["what"] == (
        "stopped after 0.0001 minutes (train.minutes); run the same command to go on"
    )
    assert train("train.minutes=-1")[0] == 2
    assert "train.minutes is -1" in capsys.readouterr().err


# ---- Which branch goes on --------------------------------------------------------------------------------------------


def test_another_runs_checkpoint_is_refused_where_a_run_stands(train, begun, tmp_path, capsys):
    other = shutil.copytree(begun, tmp_path / "other")
    before = names(begun)
    code, _ = train("--resume", str(other / "checkpoints" / "step_00000003"), "train.steps=6")
    assert code == 4
    said = capsys.readouterr().err
    assert "is of another run" in said
    assert "--run-dir" in said
    assert names(begun) == before
    assert train("--resume", str(other / "checkpoints" / "step_00000003"), run_dir=tmp_path / "new")[0] == 0


def test_going_back_sets_the_later_best_aside_and_never_replaces_what_was_set_aside_before(train, begun):
    for older in (3, 4):
        train("train.steps=6", "optim.lr=1e-2")
        assert state.best_info(begun)["step"] == 6
        back = ["--resume", str(begun / "checkpoints" / f"step_0000000{older}")]
        assert train(f"train.steps={older + 1}", *back)[0] == 0
    kept = ["step_00000004", "step_00000005", "step_00000006.superseded", "step_00000006.superseded-2"]
    assert names(begun) == kept
    assert {path.name for path in begun.glob("best*")} == {"best", "best.superseded", "best.superseded-2"}
    assert state.best_info(begun)["step"] == 5
    again = ["--resume", str(begun / "checkpoints" / "step_00000006.superseded")]
    assert train("train.steps=7", *again)[0] == 0
    assert names(begun)[-1] == "step_00000007"


def test_what_is_refused_sets_nothing_aside(train, begun, capsys):
    train("train.steps=6")
    before = names(begun)
    assert train("--resume", str(begun / "checkpoints" / "step_00000003"), "train.batch_size=2")[0] == 4
    assert "train.accumulate" in capsys.readouterr().err
    assert names(begun) == before


def test_the_best_so_far_is_known_after_a_resume(train, begun, monkeypatch):
    best = state.best_info(begun)
    real = VocoderTask.validate
    monkeypatch.setattr(VocoderTask, "validate", lambda *given: {**real(*given), "nll_nats": best["nll_nats"] + 1})
    assert train("train.steps=6")[0] == 0
    assert state.best_info(begun) == best


# ---- Directories that are replaced -----------------------------------------------------------------------------------


def two_saves(path, crashing):
    """Save a checkpoint and replace it, by writes, fsyncs, renames and removals."""
    path.parent.mkdir()
    os.fsync, os.rename = crashing(os.fsync), crashing(os.rename)
    checkpoint.save_file, checkpoint.write_json = crashing(checkpoint.save_file), crashing(checkpoint.write_json)
    whole_directory.shutil.rmtree = crashing(shutil.rmtree)
    for step in (1, 2):
        checkpoint.save(path, build(TINY_MODEL), TINY_MODEL, info={"step": step, "nll_nats": -step})


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_kill_at_every_step_of_a_replacement_leaves_the_old_or_the_new_directory(tmp_path):
    """The reader finds it though it has no name for a moment, and changes nothing; recovery puts it back."""
    operations = exit_code(two_saves, tmp_path / "uncut" / "best", 0) - 100
    seen = []
    for crash_at in range(operations // 2 + 1, operations + 1):
        run = tmp_path / f"cut{crash_at}"
        assert exit_code(two_saves, run / "best", crash_at) == 9
        before = sorted(run.rglob("*"))
        found = checkpoint.load(run / "best").info["step"]
        assert state.best_info(run)["step"] == found
        assert sorted(run.rglob("*")) == before
        state.recover_run(run)
        assert [path.name for path in run.iterdir()] == ["best"]
        assert checkpoint.load(run / "best").info["step"] == found
        seen.append(found)
    assert seen == sorted(seen)
    assert set(seen) == {1, 2}


def test_only_a_checkpoint_is_replaced_by_a_checkpoint(tmp_path):
    for name, content in (("thesis", {"chapter.txt": "words"}), ("empty", {})):
        (tmp_path / name).mkdir()
        for file, text in content.items():
            (tmp_path / name / file).write_text(text)
    (tmp_path / "file").write_text("words")
    for name in ("thesis", "file"):
        with pytest.raises(CheckpointError, match="is no checkpoint"):
            checkpoint.save(tmp_path / name, build(TINY_MODEL), TINY_MODEL)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == (tmp_path / "file").read_text() == "words"
    for _ in range(2):
        checkpoint.save(tmp_path / "empty", build(TINY_MODEL), TINY_MODEL)


# ---- Samples that can't be read --------------------------------------------------------------------------------------


def test_a_bug_in_reading_keeps_its_traceback_and_the_work(trainer, monkeypatch):
    made = trainer(steps=50, validate_every_steps=100, checkpoint_every_steps=100)
    whole, calls = type(made.task.dataset).__getitem__, []

    def wrong(self, number):
        calls.append(number)
        return whole(self, number) if len(calls) <= 12 else torch.zeros(3) + torch.zeros(4)

    monkeypatch.setattr(type(made.task.dataset), "__getitem__", wrong)
    with pytest.raises(RuntimeError, match="size of tensor"):
        made.run()
    assert names(made.run_dir) == ["step_00000002"]


@pytest.mark.fault(38, "a process that reads samples is killed", "exit 2", "was killed, perhaps since memory was short")
@pytest.mark.slow
def test_a_killed_worker_ends_the_run_between_two_steps_with_its_work_saved(trainer):
    """torch would raise it out of whatever line the training is at."""
    made = trainer(steps=5000, validate_every_steps=10000, checkpoint_every_steps=10000, log_every_steps=1000)
    made.config = made.config.__class__(**{**made.config.__dict__, "data": made.config.data.__class__(workers=1)})
    advance = made.log.advance

    def kill(step, **shown):
        advance(step, **shown)
        if step == 3:
            for child in multiprocessing.active_children():
                os.kill(child.pid, signal.SIGKILL)
            time.sleep(0.5)  # it is dead while the training is here

    made.log.advance = kill
    with pytest.raises(ConfigError, match=r"that reads training clips was killed.*is saved; run the same command"):
        made.run()
    assert names(made.run_dir) == [f"step_{made.state.step:08d}"]
    assert made.state.step >= 3


def reads(connection):
    as_worker(0)
    connection.send(os.getpid())
    time.sleep(60)


def trains(connection):
    multiprocessing.get_context("fork").Process(target=reads, args=(connection,)).start()
    time.sleep(60)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_worker_ends_after_a_kill_9_of_its_training():
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    training = fork.Process(target=trains, args=(theirs,))
    training.start()
    theirs.close()
    worker = ours.recv()
    os.kill(worker, signal.SIGTERM)  # which is its parent's
    assert not ours.poll(0.2)
    training.kill()
    assert ours.poll(30)  # its end of the pipe is closed
    with pytest.raises(EOFError):
        ours.recv()


def test_a_seed_of_any_size_trains(train, capsys):
    assert train("train.steps=1", f"train.seed={2**45}")[0] == 0
    assert train(f"train.seed={2**64}")[0] == 2
    assert "train.seed is" in capsys.readouterr().err


# ---- What is validated -----------------------------------------------------------------------------------------------


def test_validation_measures_each_corpus_that_the_manifest_names(train, manifest, tmp_path):
    entries = [json.loads(line) for line in manifest.read_text().splitlines()]
    for number, entry in enumerate(entries):
        entry["path"] = str((manifest.parent / entry["path"]).resolve())
        entry |= {"split": "valid" if number < 3 else "train", "corpus": "near" if number < 1 else "far"}
    named = tmp_path / "named.jsonl"
    named.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    _, run = train("--data", str(named), "train.steps=1", "valid.clips=16", "valid.max_seconds=10")
    found = lines(run, "valid")[-1]
    samples = [entry["frames"] // 8 * 8 for entry in entries[:3]]
    near, far = found["nll_nats/near"], found["nll_nats/far"]
    assert near != far
    whole = (near * samples[0] + far * sum(samples[1:])) / sum(samples)
    assert found["nll_nats"] == pytest.approx(whole)


def test_the_best_is_measured_anew_where_other_clips_are_held_out(train, begun, tmp_path):
    """Else likelihoods of different clips would be compared, and the best might never be replaced."""
    before = state.best_info(begun)["nll_nats"]
    assert train("train.steps=4", "valid.max_seconds=0.3")[0] == 0
    [event] = [m["what"] for m in lines(begun, "event") if "best" in m["what"]]
    assert "on these it has" in event
    assert f"{before:.4f}" not in event


def test_info_says_where_the_best_weights_are_better_than_the_newest(train, begun, capsys):
    metrics = begun / "metrics.jsonl"
    assert main(["info", str(begun)]) == 0
    assert "better" not in capsys.readouterr().out
    train("train.steps=4", "train.validate_every_steps=100", "optim.lr=1")
    assert [m["step"] for m in lines(begun, "valid")][-1] == 4
    assert main(["info", str(begun)]) == 0
    said = capsys.readouterr().out
    assert f"-c {begun / 'best'}" in said
    assert "after step 3" in said
    metrics.unlink()
    assert main(["info", str(begun), "--json"]) == 0
    assert "better" not in json.loads(capsys.readouterr().out)


def test_a_held_out_clip_that_vanishes_ends_the_run_with_its_work_saved(trainer, monkeypatch):
    made = trainer(steps=50, validate_every_steps=3, checkpoint_every_steps=100)
    validate = made.task.validate

    def gone(model, world):
        if made.state.step:
            raise AudioError("gone.wav", "doesn't exist")
        return validate(model, world)

    made.task.validate = gone
    with pytest.raises(ConfigError, match=r"a held-out clip can't be read: gone.wav: doesn't exist.*step 3 is saved"):
        made.run()
    assert names(made.run_dir) == ["step_00000003"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), "a process that reads clips was killed"),
        (ConnectionResetError(104, "Connection reset by peer"), "a process that reads clips was killed"),
        (AudioError("a.wav", "empty file"), "a clip can't be read: a.wav: empty file; mend or drop it"),
        (FileNotFoundError(2, "No such file", "a.wav"), "a clip can't be read: [Errno 2] No such file: 'a.wav'"),
        (RuntimeError("Caught x.\nOriginal Traceback (most recent call last):\n  raise\nOSError: gone"), "read: gone;"),
        (RuntimeError("Original Traceback\nwaveglow.audio.io.AudioError: a.wav: b"), "a clip can't be read: a.wav: b;"),
        (RuntimeError("Original Traceback\nValueError: shapes (3,) and (4,)"), None),
        (ValueError("operands could not be broadcast"), None),
    ],
)
def test_what_can_not_be_read_is_told_from_bugs(error, said):
    found = unreadable(error, "clip")
    assert found is None if said is None else said in found


def test_a_damaged_best_is_set_aside_and_named_and_another_takes_its_place(train, begun, capsys):
    weights = begun / "best" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert train("train.steps=4")[0] == 0
    assert "best/model.safetensors: differs from its manifest" in capsys.readouterr().err
    assert (begun / "best.corrupt").is_dir()
    assert state.best_info(begun)["step"] == 4


def test_weights_without_an_inverse_do_not_stop_a_validation(trainer):
    made = trainer(steps=3, validate_every_steps=2, checkpoint_every_steps=100)
    step = made._step

    def singular(batches):
        step(batches)
        if made.state.step == 2:
            conv = next(m for m in made.average.module.modules() if isinstance(m, InvertibleConv))
            with torch.no_grad():
                conv.weight.zero_()

    made._step = singular
    made.run()
    assert any("can't be heard or seen" in m["what"] for m in lines(made.run_dir, "event"))
    assert made.state.step == 3


def test_going_back_that_is_cut_off_loses_nothing_and_is_done_the_second_time(tmp_path, monkeypatch):
    rename, done = os.rename, 0
    for cut in itertools.count(1):
        run = tmp_path / str(cut)
        for name in ("checkpoints/step_00000003", "checkpoints/step_00000006", "checkpoints/step_00000009", "best"):
            checkpoint.save(run / name, build(TINY_MODEL), TINY_MODEL, info={"step": 9, "nll_nats": 1.0})
        renames = itertools.count(1)

        def cut_off(*paths, renames=renames, cut=cut):
            if next(renames) == cut:
                raise KeyboardInterrupt
            rename(*paths)

        monkeypatch.setattr(os, "rename", cut_off)
        with contextlib.suppress(KeyboardInterrupt):
            state.supersede(run, 3)
            done = cut
        monkeypatch.setattr(os, "rename", rename)
        whole = [path for path in run.rglob("MANIFEST.json") if is_whole(path.parent)]
        assert len(whole) == 4
        assert state.newest(run)[0] is not None
        state.supersede(run, 3)
        assert [path.name for path in steps_of(run)] == ["step_00000003"]
        assert not (run / "best").exists()
        if done:
            break
    assert done == 4  # after three renames


def test_running_out_of_memory_late_says_what_is_lost(trainer):
    made = trainer(steps=9, checkpoint_every_steps=2, validate_every_steps=100)
    sound = made.task.loss

    def loss(terms):
        if made.state.step == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return sound(terms)

    made.task.loss = loss
    with pytest.raises(OutOfMemoryError, match=r"counts too\. LOST is what was learned since step 2, the newest"):
        made.run()
