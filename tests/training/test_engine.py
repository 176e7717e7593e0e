"""What the engine does beside its steps: initialization, averaging, bad steps, locks, limits, logs."""

import itertools
import json
import math
import os
import signal

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import waveglow
from waveglow.audio.io import AudioError
from waveglow.cli.main import main
from waveglow.flows.actnorm import ActNorm
from waveglow.models import checkpoint
from waveglow.models.checkpoint import steps_of
from waveglow.training import task as tasks
from waveglow.training.engine import DivergedError
from waveglow.training.log import read_metrics


def lines(run, kind):
    return [m for m in read_metrics(run / "metrics.jsonl") if m["kind"] == kind]


def test_a_run_leaves_what_users_look_for(train):
    code, run = train("train.steps=6")
    assert code == 0
    assert [p.name for p in steps_of(run)] == ["step_00000003", "step_00000006"]
    assert [m["step"] for m in lines(run, "train")] == [1, 2, 3, 4, 5, 6]
    assert {"loss", "grad_norm", "lr", "steps_per_second", "audio_seconds_per_second"} <= lines(run, "train")[0].keys()
    valid = lines(run, "valid")[-1]
    assert valid["nll_bits"] == pytest.approx(valid["nll_nats"] / math.log(2) + 15)
    assert valid["loss_nvidia"] == pytest.approx(valid["nll_nats"] - 0.5 * math.log(2 * math.pi))
    assert -(valid["prior_nats"] + valid["log_det_nats"]) == pytest.approx(valid["nll_nats"])
    assert yaml.safe_load((run / "config.yaml").read_text())["train"]["steps"] == 6
    assert checkpoint.load(run).model_config["kernel_size"] == 3  # a default, kept should it ever change
    assert len(list((run / "samples").glob("*/*.wav"))) == 3
    assert checkpoint.load(run).info["step"] == 6
    assert checkpoint.load(run / "best").info["nll_nats"] == min(m["nll_nats"] for m in lines(run, "valid"))


def test_the_terms_of_the_loss_are_logged_one_by_one(train):
    _, run = train("train.steps=2", "loss.mr_stft=0.3", "loss.mr_stft_share=0.5", "data.segment_samples=4096")
    for step in lines(run, "train"):
        spectral = step["mr_stft"] - 0.5 * step["mr_stft_between"]
        assert step["loss"] == pytest.approx(step["nll_nats"] + 0.3 * spectral)
        assert step["mr_stft"] > step["mr_stft_between"] > 0


def test_a_limit_on_cpu_time_saves_and_ends_well(trainer):
    made = trainer(steps=1000, validate_every_steps=1000)
    sound_loss = made.task.loss

    def loss(terms):
        if made.state.step == 2:
            os.kill(os.getpid(), signal.SIGXCPU)  # what `ulimit -S -t` sends
        return sound_loss(terms)

    made.task.loss = loss
    before = signal.getsignal(signal.SIGXCPU)
    try:
        made.run()
        os.kill(os.getpid(), signal.SIGXCPU)  # the kernel repeats it every second: nobody dies of it while closing
    finally:
        signal.signal(signal.SIGXCPU, before)
    assert made.state.step == 3
    assert steps_of(made.run_dir)[-1].name == "step_00000003"


def test_tensorboard_has_curves_sound_pictures_and_histograms(three_steps):
    board = EventAccumulator(str(three_steps / "tensorboard"), size_guidance={"images": 0, "audio": 0}).Reload()
    tags = board.Tags()
    assert {"train/loss", "train/grad_norm", "train/lr", "train/audio_seconds_per_second"} <= set(tags["scalars"])
    assert {"valid/nll_nats", "valid/prior_nats", "valid/log_det_nats"} <= set(tags["scalars"])
    numbers = [tag for tag in tags["scalars"] if tag.startswith("condition_number/")]
    assert numbers == [f"condition_number/flow {number} / 1×1" for number in (1, 2, 3, 4)]
    assert "log_det_per_sample/flow 3 / coupling" in tags["scalars"]
    assert sum(tag.startswith("log_det_per_sample/") for tag in tags["scalars"]) >= 12
    assert (
        {tag.split("/")[1] for tag in tags["audio"]}
        == {"real", "synthesized"}
        == {t.split("/")[1] for t in tags["images"]}
    )
    assert tags["histograms"] == ["latent/0"]


def test_the_log_dets_by_layer_add_up_to_the_whole(three_steps):
    """At a validation, the layers' log-determinants per sample sum to what the one clip's likelihood is made of."""
    board = EventAccumulator(str(three_steps / "tensorboard")).Reload()
    parts = [board.Scalars(t)[-1].value for t in board.Tags()["scalars"] if t.startswith("log_det_per_sample/")]
    assert sum(parts) == pytest.approx(lines(three_steps, "valid")[-1]["log_det_nats"], rel=1e-5)


def test_training_lowers_the_loss(train):
    rare = ("train.validate_every_steps=15", "train.checkpoint_every_steps=30")
    _, run = train("train.steps=30", *rare, "optim.lr=5e-3")
    losses = [m["loss"] for m in lines(run, "train")]
    assert sum(losses[-5:]) / 5 < sum(losses[:5]) / 5 - 0.1
    held_out = [m["nll_nats"] for m in lines(run, "valid")]
    assert held_out[-1] < held_out[0]


def test_actnorm_is_initialized_once_before_the_first_step(trainer):
    made = trainer(steps=1)
    made.run()
    layers = [m for m in made.model.modules() if isinstance(m, ActNorm)]
    assert all(layer.initialized for layer in layers)
    assert all(m.initialized for m in made.average.module.modules() if isinstance(m, ActNorm))
    assert float(layers[0].log_scale.detach().mean()) > 1  # speech is far quieter than N(0, 1)


def test_what_is_saved_is_the_moving_average(trainer):
    made = trainer(steps=3, ema_decay=0.9)
    made.run()
    saved = checkpoint.load(made.run_dir).model.state_dict()
    average, raw = made.average.module.state_dict(), made.model.state_dict()
    assert all(torch.equal(saved[name], average[name]) for name in saved)
    assert any(not torch.equal(saved[name], raw[name]) for name in saved)


READS = ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__")


@pytest.mark.parametrize("settings", [{}, {"accumulate": 2}, {"precision": "fp16"}], ids=str)
def test_no_step_waits_for_the_device_but_where_a_log_line_is_due(trainer, monkeypatch, settings):
    """Every way to read a tensor's value is counted, step by step; reading the batch is the data's affair."""
    made = trainer(steps=8, log_every_steps=4, validate_every_steps=100, checkpoint_every_steps=100, **settings)
    reads, at_step, next_batch = [], [], made._next

    def counting(name):
        real = getattr(torch.Tensor, name)
        return lambda self, *arguments: reads.append(name) or real(self, *arguments)

    def uncounted(batches):
        before = len(reads)
        batch = next_batch(batches)
        del reads[before:]
        return batch

    made._next = uncounted
    made.log.advance = lambda step, **shown: at_step.append(len(reads))
    made._initialize()
    for name in READS:
        monkeypatch.setattr(torch.Tensor, name, counting(name))
    made._prepare_modules()
    made._steps()
    by_step = [after - before for before, after in itertools.pairwise(at_step)]  # from step 2 on
    assert by_step == [0, 0, 2, 0, 0, 0, 2], reads  # at steps 4 and 8: reports; sums over all processes


def test_a_step_without_a_finite_gradient_is_skipped_and_its_clips_named(trainer):
    made = trainer(steps=3, max_bad_steps=2)
    sound_loss, calls = made.task.loss, []

    def loss(terms):
        calls.append(1)
        return sound_loss(terms) * (math.nan if len(calls) == 2 else 1)

    made.task.loss = loss
    made.run()
    [event] = lines(made.run_dir, "event")
    assert event["step"] == 2
    assert "step skipped" in event["what"]
    assert "DV" in event["what"]
    assert "sample 4" in event["what"]
    assert all(torch.isfinite(v).all() for v in made.model.state_dict().values())
    assert made.state.step == 3
    moments = [s["exp_avg"] for s in made.state.optimizer.state_dict()["state"].values()]
    assert all(torch.isfinite(m).all() for m in moments)


def test_bad_steps_in_a_row_stop_the_run_with_advice_and_keep_the_last_good_checkpoint(trainer):
    made = trainer(steps=50, max_bad_steps=3, checkpoint_every_steps=2, validate_every_steps=50)
    sound_loss, calls = made.task.loss, []

    def loss(terms):
        calls.append(1)
        return sound_loss(terms) * (math.inf if len(calls) > 4 else 1)

    made.task.loss = loss
    with pytest.raises(DivergedError, match=r"3 steps in a row.*step_0000000[46].*Lower optim\.lr"):
        made.run()
    weights = checkpoint.load(made.run_dir).model.state_dict()
    assert all(torch.isfinite(v).all() for v in weights.values())


def test_bad_steps_between_log_lines_are_named_one_by_one(trainer):
    made = trainer(steps=8, log_every_steps=4, validate_every_steps=100, checkpoint_every_steps=100, max_bad_steps=3)
    sound_loss, calls = made.task.loss, []

    def loss(terms):
        calls.append(1)
        return sound_loss(terms) * (math.nan if len(calls) in (2, 3, 6) else 1)

    made.task.loss = loss
    made.run()
    events = lines(made.run_dir, "event")
    assert [m["step"] for m in events] == [2, 3, 6]
    assert all(f"sample {4 * (m['step'] - 1)})" in m["what"] for m in events)
    assert all(math.isfinite(m["loss"]) for m in lines(made.run_dir, "train"))
    assert json.loads((steps_of(made.run_dir)[-1] / "train.json").read_text())["n_averaged"] == 5


def test_bad_steps_between_log_lines_end_the_run_by_the_same_rule(trainer):
    """Three in a row, then good ones again, all before the first log line; a checkpoint was due among the bad ones."""
    made = trainer(steps=50, log_every_steps=25, max_bad_steps=3, checkpoint_every_steps=5, validate_every_steps=50)
    sound_loss, calls = made.task.loss, []

    def loss(terms):
        calls.append(1)
        return sound_loss(terms) * (math.nan if len(calls) in (4, 5, 7, 8, 9) else 1)

    made.task.loss = loss
    with pytest.raises(DivergedError, match=r"^3 steps in a row.*weights of the start are"):
        made.run()
    assert [m["step"] for m in lines(made.run_dir, "event")] == [4, 5, 7, 8, 9]
    assert steps_of(made.run_dir) == []


def test_reversible_memory_gives_the_same_training(trainer, tmp_path):
    losses = {}
    for memory in ("none", "reversible"):
        made = trainer(steps=3, memory=memory, validate_every_steps=100)
        (tmp_path / "run" / "metrics.jsonl").unlink(missing_ok=True)
        made.run()
        losses[memory] = [m["loss"] for m in lines(made.run_dir, "train")]
    assert losses["none"] == pytest.approx(losses["reversible"], rel=2e-3)


def test_micro_batches_give_the_gradient_of_the_batch(trainer, tmp_path):
    norms = {}
    for accumulate in (1, 2):
        (tmp_path / "run" / "metrics.jsonl").unlink(missing_ok=True)
        made = trainer(steps=1, accumulate=accumulate, validate_every_steps=100)
        made.run()
        norms[accumulate] = lines(made.run_dir, "train")[0]["grad_norm"]
    assert norms[1] == pytest.approx(norms[2], rel=1e-4)


def test_half_precision_nets_train(train):
    code, run = train("train.precision=bf16", "train.steps=3")
    assert code == 0
    assert all(math.isfinite(m["loss"]) for m in lines(run, "train"))


def test_the_same_command_resumes_and_says_so(train, begun):
    code, run = train("train.steps=6")
    assert code == 0
    assert [m["what"] for m in lines(run, "event")] == ["resumed from step_00000003"]
    assert [m["step"] for m in lines(run, "train")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        (["--resume", "never"], 2, "has checkpoints, and --resume is never"),
        (["model.n_channels=16"], 4, "model.n_channels is 8 there, 16 here"),
        (["mel=hifigan"], 4, "another mel convention"),
        (["train.batch_size=2"], 4, "train.batch_size was 4 and is now 2"),
        (["optim.name=adamax"], 4, "optim.name was 'adam' and is now 'adamax'"),
        (["--resume", "nowhere"], 4, "nowhere: does not exist"),
        (["train.seed=1"], 4, "train.seed was 0 and is now 1"),
    ],
)
def test_a_resume_that_would_not_be_the_same_run_is_refused(train, begun, capsys, settings, code, message):
    assert train(*settings)[0] == code
    assert message in capsys.readouterr().err


def test_a_changed_manifest_is_refused_unless_allowed(train, begun, manifest, tmp_path, capsys):
    changed = tmp_path / "changed.jsonl"
    changed.write_text("".join(sorted(manifest.read_text().splitlines(keepends=True), reverse=True)))
    text = [json.loads(line) for line in changed.read_text().splitlines()]
    for entry in text:
        entry["path"] = str((manifest.parent / entry["path"]).resolve())
    changed.write_text("".join(json.dumps(entry) + "\n" for entry in text))
    again = ["--data", str(changed), "train.steps=4"]
    assert train(*again)[0] == 4
    assert "data.manifest (SHA-256) was" in capsys.readouterr().err
    assert train(*again, "--allow-data-change")[0] == 0


def test_resuming_from_an_older_checkpoint_sets_the_newer_ones_aside(train, begun):
    _, run = train("train.steps=6")
    older = ["--resume", str(run / "checkpoints" / "step_00000003")]
    assert train("train.steps=5", *older)[0] == 0
    assert [p.name for p in steps_of(run)] == ["step_00000003", "step_00000005"]
    assert (run / "checkpoints" / "step_00000006.superseded").is_dir()
    assert train("train.steps=6")[0] == 0
    assert lines(run, "event")[-1]["what"] == "resumed from step_00000005"


def test_weights_alone_are_no_place_to_resume_from(train, begun, capsys):
    assert train("--resume", str(begun / "best"))[0] == 4
    assert "use it with --init-from" in capsys.readouterr().err


@pytest.mark.parametrize("setting", ["model.n_channels=16", "model.lu=true", "mel=hifigan"])
def test_fine_tuning_another_model_than_that_of_the_weights_is_refused(train, three_steps, tmp_path, capsys, setting):
    code, _ = train("--init-from", str(three_steps), setting, run_dir=tmp_path / "tuned")
    assert code == 2
    assert "--init-from" in capsys.readouterr().err


def test_a_sample_that_cannot_be_written_does_not_stop_the_training(trainer, monkeypatch):
    def full(*_):
        raise AudioError("x.wav", "can't be written (No space left on device)")

    monkeypatch.setattr(tasks, "save_audio", full)
    made = trainer(steps=3)
    made.run()
    assert [p.name for p in steps_of(made.run_dir)] == ["step_00000003"]


def test_the_logged_loss_of_a_resumed_run_is_that_of_the_unbroken_one(train, tmp_path):
    settings = ("train.log_every_steps=4", "train.checkpoint_every_steps=6", "train.validate_every_steps=100")
    _, whole = train("train.steps=8", *settings, run_dir=tmp_path / "whole")
    train("train.steps=6", *settings)
    _, broken = train("train.steps=8", *settings)
    assert [m["loss"] for m in lines(broken, "train")] == [m["loss"] for m in lines(whole, "train")]


def test_fine_tuning_goes_on_with_the_recipe_of_the_weights_at_a_lower_rate_on_any_folder(train, manifest, tmp_path):
    recipe = ("loss.mr_stft=0.5", "data.segment_samples=4096", "train.ema_decay=0.8", "optim.clip_norm=2")
    _, first = train("train.steps=3", "valid.refine=5", *recipe)
    tuned = tmp_path / "tuned"
    voice = json.loads(manifest.read_text().splitlines()[0])["path"]
    folder = (manifest.parent / voice).parent
    brief = ["train.steps=1", "train.batch_size=2", "data.workers=0", "valid.clips=1", "optim.clip_norm=3"]
    given = ["--init-from", str(first), "--data", str(folder), "--run-dir", str(tuned), "--device", "cpu"]
    assert main(["train", *given, *brief]) == 0
    config = yaml.safe_load((tuned / "config.yaml").read_text())
    assert config["optim"]["lr"] == pytest.approx(1e-3 / 5)
    assert (config["loss"]["mr_stft"], config["data"]["segment_samples"]) == (0.5, 4096)
    assert (config["train"]["ema_decay"], config["train"]["batch_size"], config["optim"]["clip_norm"]) == (0.8, 2, 3)
    assert config["model"]["n_channels"] == 8
    assert config["valid"]["refine"] == checkpoint.load(tuned).info["refine"] == waveglow.load(tuned).refine == 5
    before, after = checkpoint.load(first).model.state_dict(), checkpoint.load(tuned).model.state_dict()
    assert all((before[name].float() - after[name].float()).abs().max() < 1e-3 for name in before)
    assert len(list((tuned / "samples").glob("step_*/*.wav"))) == 2  # before and after
    assert main(["train", *given, *brief, "train.steps=2"]) == 0
    assert [m["what"] for m in lines(tuned, "event")] == ["resumed from step_00000001"]


def test_weights_without_a_recipe_are_fine_tuned_gently(train, three_steps, tmp_path):
    old = tmp_path / "old"
    loaded = checkpoint.load(three_steps)
    checkpoint.save(old, loaded.model, loaded.model_config, mel_spec=loaded.mel_spec, info={"step": 3})
    assert train("--init-from", str(old), "train.steps=1", run_dir=tmp_path / "tuned", config=None)[0] == 0
    config = yaml.safe_load((tmp_path / "tuned" / "config.yaml").read_text())
    assert (config["optim"]["lr"], config["loss"]["mr_stft"]) == (1e-5, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["train.batchsize=3"], "unknown key 'train.batchsize'; did you mean 'batch_size'?"),
        (["train.batch_size=3", "train.accumulate=2"], "make it a multiple of 2"),
        (["train.memory=reversible", "train.precision=bf16"], "half precision"),
        (["train.cuda_graphs=true"], "this run is on the CPU; set it to false, or take one GPU"),
        (["train.cuda_graphs=true", "train.accumulate=2"], "set train.accumulate=1"),
        (["train.cuda_graphs=true", "train.memory=checkpoint"], "train.memory=none"),
        (["mel=hifigann"], "mel: "),
        (["model.name=waveglo"], "did you mean 'waveglow'?"),
        (["model.hop=100"], "model.hop is 100, the mel convention has 256"),
        (["data.segment_samples=2047"], "2047"),
        (["loss.mr_stft=1", "data.segment_samples=2048"], "loss.mr_stft needs data.segment_samples of at least 4096"),
        (["--data", "nowhere"], "nowhere; give a manifest or a folder"),
        (["optim.betas=[0.9]"], "two numbers"),
        (["valid.clips=0"], "valid.clips (0)"),
        (["model.n_flows=2000"], "at most 1024 layers"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_2(train, capsys, settings, message):
    assert train(*settings)[0] == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_without_a_configuration_the_command_says_what_to_give(train, capsys):
    assert train(config=None)[0] == 2
    assert "give --config FILE" in capsys.readouterr().err


def test_the_resolved_configuration_is_printed(train, capsys):
    assert train("--print-config", "optim.lr=0.5")[0] == 0
    assert yaml.safe_load(capsys.readouterr().out)["optim"]["lr"] == 0.5


@pytest.mark.slow
def test_compiled_nets_train_alike(train, tmp_path):
    settings = ("train.steps=3", "train.validate_every_steps=100")
    losses = {}
    for compiled in ("false", "true"):
        _, run = train(*settings, f"train.compile={compiled}", run_dir=tmp_path / compiled)
        losses[compiled] = [m["loss"] for m in lines(run, "train")]
    assert losses["true"] == pytest.approx(losses["false"], rel=1e-2)
