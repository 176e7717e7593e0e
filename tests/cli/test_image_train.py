"""`waveglow image train`: what users type, what it says, and how it goes on."""

import os
import re
import signal

import filelock
import pytest
import torch
import yaml

from waveglow.cli.main import main
from waveglow.models import checkpoint
from waveglow.models.checkpoint import steps_of
from waveglow.models.registry import build
from waveglow.training.image_task import ImageTask
from waveglow.training.log import read_metrics

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = """
model: {name: glow, n_levels: 1, n_steps: 1, n_hidden: 8, n_bits: 4}
data: {workers: 0}
optim: {name: adamax, lr: 1.0e-3}
train: {steps: 2, batch_size: 8, init_crops: 16, log_every_steps: 1, validate_every_steps: 2, checkpoint_every_steps: 2}
valid: {images: 8, samples: 2, temperatures: [0.7]}
"""


@pytest.fixture
def train(digits, tmp_path):
    """Runs `waveglow image train` in this process: (exit code, run directory)."""
    config = tmp_path / "tiny.yaml"
    config.write_text(TINY, encoding="utf-8")

    def run(*settings, run_dir=tmp_path / "run", config=config, data=digits):
        given = [*(["--config", str(config)] if config else []), *(["--data", str(data)] if data else [])]
        code = main(["image", "train", *given, "--run-dir", str(run_dir), "--device", "cpu", *settings])
        return code, run_dir

    return run


def lines(run, kind):
    return [m for m in read_metrics(run / "metrics.jsonl") if m["kind"] == kind]


def test_a_run_says_what_it_trains_and_leaves_a_checkpoint(train, capsys):
    code, run = train()
    assert code == 0
    said = capsys.readouterr().err
    assert re.search(
        r"run: glow, [\d,]+ parameters; digits, 1,437 images of 1×8×8, 4 bits; 8 held out; steps 0 to 2", said
    )
    assert [p.name for p in steps_of(run)] == ["step_00000002"]
    assert checkpoint.load_image(run).info["data"]["dataset"] == "digits"
    assert lines(run, "train")[0]["images_per_second"] > 0
    assert (run / "samples" / "step_00000002" / "samples.png").exists()


def test_pixels_of_fewer_bits_than_the_model_takes_are_told(train, capsys):
    """Its likelihood would be of levels that no picture has."""
    assert train("model.n_bits=5", "train.steps=1")[0] == 0
    assert "images of 1×8×8, 5 bits (theirs have 4; set model.n_bits=4); 8 held out" in capsys.readouterr().err


def test_the_same_command_resumes_and_the_run_alone_goes_on(train):
    train()
    code, run = train("train.steps=3")
    assert code == 0
    assert [m["what"] for m in lines(run, "event")] == ["resumed from step_00000002"]
    assert train("train.steps=4", config=None, data=None)[0] == 0
    assert [m["step"] for m in lines(run, "train")] == [1, 2, 3, 4]


def test_sigterm_finishes_the_step_and_saves(train, monkeypatch):
    sound_loss, calls = ImageTask.loss, []

    def loss(self, terms):
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return sound_loss(self, terms)

    monkeypatch.setattr(ImageTask, "loss", loss)
    code, run = train("train.steps=1000", "train.checkpoint_every_steps=1000", "train.validate_every_steps=1000")
    assert code == 0
    assert [p.name for p in steps_of(run)] == ["step_00000002"]
    assert "stopped by a signal" in lines(run, "event")[-1]["what"]


def test_the_resolved_configuration_has_the_size_of_the_images(train, capsys):
    assert train("--print-config", "optim.lr=0.5")[0] == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert (config["model"]["image_size"], config["model"]["channels"], config["optim"]["lr"]) == (8, 1, 0.5)
    assert config["train"]["ema_decay"] == 0.999


def test_fine_tuning_goes_on_with_the_weights_recipe_at_a_lower_rate(train, tmp_path):
    _, first = train("train.ema_decay=0.7", "data.flip=true")
    rate = yaml.safe_load((first / "config.yaml").read_text())["optim"]["lr"]
    settings = ["train.steps=1", "train.batch_size=8", "data.workers=0", "valid.images=8", "valid.samples=1"]
    code, tuned = train("--init-from", str(first), *settings, config=None, run_dir=tmp_path / "tuned")
    assert code == 0
    config = yaml.safe_load((tuned / "config.yaml").read_text())
    assert (config["optim"]["lr"], config["model"]["n_hidden"]) == (rate / 5, 8)
    assert (config["train"]["ema_decay"], config["data"]["flip"]) == (0.7, True)
    before, after = checkpoint.load(first).model.state_dict(), checkpoint.load(tuned).model.state_dict()
    assert all((before[name].float() - after[name].float()).abs().max() < 1e-3 for name in before)


def test_weights_of_another_model_or_kind_are_refused(train, tmp_path, capsys):
    _, first = train()
    assert train("--init-from", str(first), "model.n_hidden=16", run_dir=tmp_path / "new")[0] == 2
    assert "model.n_hidden is 16, the weights of --init-from have 8" in capsys.readouterr().err
    numbers = {"name": "waveglow", "n_channels": 4, "n_layers": 1, "n_flows": 1}
    checkpoint.save(tmp_path / "voice", build(numbers), numbers)
    assert train("--init-from", str(tmp_path / "voice"), run_dir=tmp_path / "new")[0] == 4
    assert "is waveglow, a vocoder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        (["--resume", "never"], 2, "has checkpoints, and --resume is never"),
        (["model.n_hidden=16"], 4, "model.n_hidden is 8 there, 16 here"),
        (["train.seed=1"], 4, "train.seed was 0 and is now 1"),
    ],
)
def test_a_resume_that_would_not_be_the_same_run_is_refused(train, capsys, settings, code, message):
    train()
    assert train(*settings)[0] == code
    assert message in capsys.readouterr().err


def test_changed_images_are_refused_unless_allowed(train, digits, tmp_path, capsys):
    train()
    other = tmp_path / "other"
    other.mkdir()
    for path in digits.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    index = (digits / "images.json").read_text(encoding="utf-8")
    (other / "images.json").write_text(re.sub('"hash": "....', '"hash": "0000', index), encoding="utf-8")
    assert train("train.steps=3", data=other)[0] == 4
    assert "data.folder (SHA-256) was" in capsys.readouterr().err
    assert train("train.steps=3", "--allow-data-change", data=other)[0] == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model.image_size=16"], "model.image_size is 16, that of the images in"),
        (["model.name=realnvp"], "unknown key 'model.n_levels'"),
        (["train.memory=reversible", "train.precision=bf16"], "half precision"),
        (["train.batch_size=3", "train.accumulate=2"], "make it a multiple of 2"),
        (["data.flips=true"], "unknown key 'data.flips'; did you mean 'flip'?"),
        (["--threads", "0"], "--threads is 0"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_2(train, capsys, settings, message):
    assert train(*settings)[0] == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_flow_batch_norm_in_reversible_memory_is_refused_before_the_training(train, tmp_path, capsys):
    config = tmp_path / "realnvp.yaml"
    config.write_text(TINY.replace("glow, n_levels: 1, n_steps: 1, n_hidden: 8", "realnvp, n_channels: 4"))
    code, run = train("train.memory=reversible", config=config)
    assert code == 2
    assert "this model has FlowBatchNorm, which can't be rebuilt" in capsys.readouterr().err
    assert not (run / "metrics.jsonl").exists()


def test_without_data_or_configuration_the_command_says_what_to_give(train, tmp_path, capsys):
    assert train(data=None)[0] == 2
    assert (
        "--data (data.folder) is not given; give a folder made by `waveglow image prepare`" in capsys.readouterr().err
    )
    assert train(config=None, run_dir=tmp_path / "new")[0] == 2
    assert "give --config FILE for a new run (recipes/celeba/conf has some)" in capsys.readouterr().err
    assert train(data=tmp_path / "nowhere")[0] == 2
    assert "holds no prepared images" in capsys.readouterr().err


def test_two_trainings_in_one_directory_are_refused(train, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    with filelock.FileLock(tmp_path / "run" / ".lock"):
        code, _ = train()
    assert code == 2
    assert "in use by another training" in capsys.readouterr().err


def test_running_out_of_memory_names_the_numbers_to_lower(train, monkeypatch, capsys):
    def no_memory(self, terms):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(ImageTask, "loss", no_memory)
    assert train()[0] == 2
    said = capsys.readouterr().err
    assert "train.batch_size (8) or the width of the model's nets" in said
    assert "train.init_crops (16)" in said


def test_an_image_that_cannot_be_read_is_named_as_one(train, digits, monkeypatch, capsys):
    def vanished(self, i):
        raise OSError(f"image {i} is gone")

    monkeypatch.setattr("waveglow.data.images.Images.at", vanished)
    assert train("train.init_crops=0")[0] == 2
    assert re.search(r"a training image can't be read: image \d+ is gone", capsys.readouterr().err)


def test_what_noise_and_withheld_labels_mean_is_said(train, capsys):
    assert train("data.noise=gaussian", "data.noise_std=0.1")[0] == 0
    said = capsys.readouterr().err
    assert "noise of 0.1: the training's nll_nats are those of noisy images and give no bits; bits_per_dim" in said
    assert "is higher than without it; steps 0 to 2" in said


def test_labels_are_withheld_only_where_a_model_can_do_without(train, capsys, tmp_path):
    code, _ = train("data.drop_label=0.1", "model.n_classes=10", run_dir=tmp_path / "other")
    assert code == 2
    assert "data.drop_label is 0.1; a glow of 10 classes can't do without them, only tarflow and jet" in (
        capsys.readouterr().err
    )
