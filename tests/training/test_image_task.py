"""The engine trains image flows: likelihood, initialization, memory modes, running averages, pictures, resuming."""

import itertools
import math

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import default_collate

from waveglow.config import ConfigError, from_mapping
from waveglow.data.images import prepare_images
from waveglow.flows.actnorm import ActNorm
from waveglow.models import checkpoint
from waveglow.models.checkpoint import steps_of
from waveglow.models.flow_image import FlowImage
from waveglow.models.registry import build
from waveglow.training.distributed import World, world
from waveglow.training.engine import Trainer
from waveglow.training.image_config import ImageRunConfig
from waveglow.training.image_task import ImageObjective, ImageTask
from waveglow.training.log import RunLog, read_metrics
from waveglow.training.task import per_flow_log_dets

GLOW = {"name": "glow", "n_levels": 2, "n_steps": 2, "n_hidden": 16, "n_bits": 4}
REALNVP = {"name": "realnvp", "n_channels": 4, "n_blocks": 1, "n_bits": 4}
NICE = {"name": "nice", "n_hidden": 32, "n_layers": 2, "n_bits": 4}
TARFLOW = {"name": "tarflow", "n_blocks": 2, "n_layers": 1, "n_channels": 16, "n_bits": 4}
JET = {"name": "jet", "n_couplings": 5, "n_layers": 1, "n_channels": 16, "patch_size": 2, "n_bits": 4}
TRAIN = {
    "steps": 6,
    "batch_size": 16,
    "init_crops": 32,
    "ema_decay": 0.9,
    "log_every_steps": 1,
    "validate_every_steps": 3,
    "checkpoint_every_steps": 3,
}
VALID = {"images": 24, "samples": 3, "temperatures": [0.0, 1.0]}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """scikit-learn's digits, 8×8 in grey, of ten classes."""
    return prepare_images("digits", None, tmp_path_factory.mktemp("data") / "digits")


def task_of(digits, *, n_bits=4, flip=False, valid=None):
    config = from_mapping(ImageRunConfig, {"model": GLOW, "valid": valid or VALID}).valid
    return ImageTask(digits, seed=0, flip=flip, n_bits=n_bits, batch_size=16, valid=config)


@pytest.fixture
def trainer(digits, tmp_path):
    """`trainer(model=…, lr=…, run=…, **train)`: a Trainer in this process, resumed from its run where that began."""

    def make(model=GLOW, *, lr=1e-3, run="run", valid=None, data=None, **settings):
        values = {
            "model": model,
            "data": {"workers": 0, **(data or {})},
            "optim": {"lr": lr, "warmup_steps": 2},
            "train": {**TRAIN, **settings},
            "valid": {**VALID, **(valid or {})},
        }
        config = from_mapping(ImageRunConfig, values).fitted(digits)
        (tmp_path / run).mkdir(exist_ok=True)
        torch.manual_seed(config.train.seed)
        built = build(config.model_config())
        noise = {"gaussian_std": config.data.gaussian_std, "drop_label": config.data.drop_label}
        numbers = {"n_bits": built.n_bits, "batch_size": 16, "valid": config.valid}
        task = ImageTask(digits, seed=0, flip=config.data.flip, **numbers, **noise)
        newest = (steps_of(tmp_path / run) or [None])[-1]
        with world("cpu") as here:
            return Trainer(
                built.train(), task, config, run=tmp_path / run, world=here, data_hash=digits.hash, resume=newest
            )

    return make


def lines(run, kind):
    return [m for m in read_metrics(run / "metrics.jsonl") if m["kind"] == kind]


def pushed(model):
    """The model with weights off their start, where a Glow's couplings and priors do nothing."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


# ---- What is learned ----


@pytest.mark.parametrize("model", [GLOW, REALNVP, NICE, TARFLOW, JET], ids=lambda model: model["name"])
def test_training_lowers_the_loss(trainer, model):
    made = trainer(model, lr=3e-3, steps=40, validate_every_steps=20, checkpoint_every_steps=40)
    made.run()
    losses = [m["bits_per_dim"] for m in lines(made.run_dir, "train")]
    assert sum(losses[-5:]) / 5 < sum(losses[:5]) / 5 - 0.15
    held_out = [m["bits_per_dim"] for m in lines(made.run_dir, "valid")]
    assert held_out[-1] < held_out[0]


def test_the_objective_is_the_density_of_freshly_dequantized_pixels(digits):
    task = task_of(digits)
    model = pushed(build({**GLOW, "image_size": 8, "channels": 1}))
    pixels, label = task.inputs(default_collate([task.dataset[g] for g in range(5)]))
    objective = ImageObjective(model)
    torch.manual_seed(3)
    terms = objective(pixels, label)
    torch.manual_seed(3)
    expected = -model.log_prob(model.continuous(pixels, torch.rand(pixels.shape))).mean() / 64
    assert terms["nll_nats"].item() == pytest.approx(expected.item())
    assert terms["bits_per_dim"].item() == pytest.approx(expected.item() / math.log(2) + 4)
    assert objective(pixels, label)["nll_nats"].item() != terms["nll_nats"].item()


def test_gaussian_noise_is_about_the_middle_of_a_step_and_gives_no_bits(digits):
    task = task_of(digits)
    model = pushed(build({**GLOW, "image_size": 8, "channels": 1}))
    pixels, label = task.inputs(default_collate([task.dataset[g] for g in range(5)]))
    torch.manual_seed(3)
    terms = ImageObjective(model, gaussian_std=0.1)(pixels, label)
    torch.manual_seed(3)
    x = (pixels // 16 + 0.5) / 16 - 0.5 + 0.1 * torch.randn(pixels.shape)
    assert terms["nll_nats"].item() == pytest.approx(-model.log_prob(x).mean().item() / 64)
    assert list(terms) == ["nll_nats"]


def test_a_share_of_the_labels_is_withheld(digits):
    model = build({**TARFLOW, "image_size": 8, "channels": 1, "n_classes": 10})
    told = []
    model.register_forward_pre_hook(lambda _, arguments: told.extend(arguments[1].tolist()))
    objective = ImageObjective(model, drop_label=0.3)
    torch.manual_seed(0)
    objective(torch.zeros(200, 1, 8, 8, dtype=torch.uint8), torch.full((200,), 4))
    assert set(told) == {-1, 4}
    assert 40 < told.count(-1) < 80


def test_training_with_gaussian_noise_validates_by_bits_and_shows_denoised_samples(trainer, monkeypatch):
    """What validation says is a bound on the pixels all the same, and the checkpoint remembers the noise."""
    taken, denoise = [], FlowImage.denoise
    monkeypatch.setattr(FlowImage, "denoise", lambda *given: taken.append(given[2]) or denoise(*given))
    made = trainer({**TARFLOW, "n_classes": 10}, data={"noise": "gaussian", "noise_std": 0.1, "drop_label": 0.2})
    made.run()
    assert all("bits_per_dim" not in line for line in lines(made.run_dir, "train"))
    last = lines(made.run_dir, "valid")[-1]
    assert last["bits_per_dim"] == pytest.approx(last["nll_nats"] / math.log(2) + 4)
    assert set(taken) == {0.1}
    assert checkpoint.load_image(made.run_dir).info["data"]["gaussian_std"] == 0.1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"noise": "gauss"}, "data.noise is 'gauss'; allowed: 'uniform', 'gaussian'"),
        ({"noise_std": 0.0}, r"data.noise_std is 0.0 .* the first must be above 0"),
        ({"drop_label": 1.5}, r"data.drop_label 1.5; .* the second from 0 to 1"),
    ],
)
def test_noise_that_cannot_be_is_refused(data, message):
    with pytest.raises(ConfigError, match=message):
        from_mapping(ImageRunConfig, {"model": TARFLOW, "data": data})


def test_only_coupling_nets_run_in_half_precision(digits):
    """bf16 has steps of 2⁻⁸ near 1, as coarse as pixels: x must reach the couplings in float32."""
    model = pushed(build({**GLOW, "image_size": 8, "channels": 1}))
    seen = {}
    model.flow.register_forward_pre_hook(lambda _, arguments: seen.update(x=arguments[0].dtype))
    model.flow.levels[0].layers[3].net.last.conv.register_forward_hook(
        lambda *arguments: seen.update(net=arguments[2].dtype)
    )
    with torch.autocast("cpu", torch.bfloat16):
        terms = ImageObjective(model)(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(2))
    assert seen == {"x": torch.float32, "net": torch.bfloat16}
    assert terms["nll_nats"].dtype == torch.float32


def test_a_model_with_classes_is_told_the_labels(trainer, digits):
    made = trainer({**GLOW, "n_classes": 10}, steps=4)
    made.run()
    of_class = made.model.flow.levels[-1].net.of_class
    assert bool((of_class.detach().abs().sum(0) > 0).all())  # each of the ten has learned something
    pixels = torch.stack([made.task.dataset[g].pixels for g in range(10)])
    right, wrong = torch.arange(10), (torch.arange(10) + 1) % 10
    with torch.no_grad():
        of_class.copy_(torch.randn_like(of_class))
    losses = []
    for label in (right, wrong):
        torch.manual_seed(0)
        losses.append(made.objective(pixels, label)["nll_nats"].item())
    assert losses[0] != losses[1]
    assert {int(made.task.dataset[g].label) for g in range(100)} == set(range(10))


def test_actnorm_starts_from_the_statistics_of_all_the_initial_images(trainer):
    made = trainer(lr=1e-9, steps=1, init_crops=64)
    made.run()
    pixels = torch.stack([made.task.dataset[g].pixels for g in range(64)])
    levels = (pixels >> 4).float() + 0.5  # the middle of each pixel's cell
    x = torch.nn.functional.pixel_unshuffle(levels / 16 - 0.5, 2)
    first = made.model.flow.levels[0].layers[1]
    assert isinstance(first, ActNorm)
    torch.testing.assert_close(first.bias.detach(), -x.mean((0, 2, 3)), atol=0.005, rtol=0)
    torch.testing.assert_close(first.log_scale.detach(), -x.std((0, 2, 3)).log(), atol=0.01, rtol=0)
    assert all(m.initialized for m in made.average.module.modules() if isinstance(m, ActNorm))


# ---- Memory, running averages ----


def test_memory_modes_give_the_same_training(trainer):
    losses = {}
    for memory in ("none", "checkpoint", "reversible"):
        made = trainer(run=memory, memory=memory, steps=4, validate_every_steps=100)
        made.run()
        assert {m.memory for m in made.model.modules() if hasattr(m, "memory")} == {memory}
        losses[memory] = [m["loss"] for m in lines(made.run_dir, "train")]
    assert losses["checkpoint"] == losses["none"]
    assert losses["reversible"] == pytest.approx(losses["none"], abs=2e-4)


def test_a_second_pass_meets_the_running_averages_of_the_first(trainer):
    losses = {}
    for memory in ("none", "checkpoint"):
        made = trainer(REALNVP, run=memory, memory=memory, steps=4, validate_every_steps=100)
        made.run()
        losses[memory] = [m["loss"] for m in lines(made.run_dir, "train")]
    assert losses["checkpoint"] == losses["none"]


def test_flow_batch_norm_is_not_rebuilt(trainer, tmp_path):
    with pytest.raises(ConfigError, match=r"train.memory is reversible, and this model has FlowBatchNorm"):
        trainer(REALNVP, memory="reversible")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    trainer({**REALNVP, "flow_batch_norm": False}, memory="reversible")


def test_the_averaged_copy_has_the_running_statistics_of_the_model(trainer):
    made = trainer(REALNVP, steps=3)
    before = {name: value.clone() for name, value in made.model.named_buffers()}
    made.run()
    average = dict(made.average.module.named_buffers())
    moved = [name for name, value in made.model.named_buffers() if not torch.equal(value, before[name])]
    assert any("running_var" in name and ".net." in name for name in moved)  # BatchNorm2d in the nets
    assert any("running_var" in name and ".net." not in name for name in moved)  # FlowBatchNorm
    assert all(torch.equal(average[name], value) for name, value in made.model.named_buffers())


def test_a_skipped_step_leaves_the_running_statistics_of_the_last_good_one(trainer):
    made = trainer(REALNVP, steps=3, validate_every_steps=100)
    whole, steps = made.objective.forward, itertools.count(1)
    made.objective.forward = lambda *batch: (broken if next(steps) == 2 else plain)(whole, made.model, batch)
    made.run()
    assert [m["step"] for m in lines(made.run_dir, "event")] == [2]
    assert all(torch.isfinite(value).all() for value in made.model.buffers())
    assert lines(made.run_dir, "train")[-1]["loss"] is not None


def plain(whole, _, batch):
    return whole(*batch)


def broken(whole, model, batch):
    """The objective of a step in which an activation is no number."""
    hook = model.flow.levels[0].layers[0].register_forward_hook(lambda _, __, output: (output[0] * math.nan, output[1]))
    try:
        return whole(*batch)
    finally:
        hook.remove()


# ---- Validation and pictures ----


def test_validation_is_the_bits_per_dim_of_held_out_images_with_noise_of_their_own(digits):
    task = task_of(digits)
    model = pushed(build({**GLOW, "image_size": 8, "channels": 1}))
    with world("cpu") as here:
        metrics = task.validate(model, here)
    assert len(set(task.numbers)) == metrics["images"] == 24
    with torch.no_grad():
        bits = model.bits_per_dim(task.held_out.pixels(task.numbers), seed=task.numbers)
    assert metrics["bits_per_dim"] == pytest.approx(bits.mean().item(), rel=1e-6)
    assert metrics["nll_nats"] == pytest.approx((metrics["bits_per_dim"] - 4) * math.log(2))
    assert task.numbers != list(range(24))  # a folder of pictures begins with those of one class


def test_the_processes_divide_the_held_out_images_among_them(digits):
    class Rank(World):
        def sum(self, values):
            seen.append(values.clone())
            return values

    task = task_of(digits)
    model = pushed(build({**GLOW, "image_size": 8, "channels": 1}))
    seen = []
    for rank, size in ((0, 1), (0, 3), (1, 3), (2, 3)):
        task.validate(model, Rank(rank, size, torch.device("cpu")))
    whole, *parts = seen
    assert [int(part[1]) for part in parts] == [8, 8, 8]
    torch.testing.assert_close(sum(parts), whole, rtol=1e-6, atol=0)


def test_a_validation_leaves_grids_and_counts(trainer):
    made = trainer({**GLOW, "n_classes": 10}, steps=3, lr=3e-3, valid={"temperatures": [0.0, 0.7, 30.0]})
    made.run()
    _, valid = lines(made.run_dir, "valid")
    assert {"nll_nats", "bits_per_dim", "images", "reconstruction_error"} <= valid.keys()
    assert 0 < valid["reconstruction_error"] < 1e-3
    assert valid["sampled_values"] == 3 * 3 * 64
    assert valid["non_finite"] >= 0
    assert 0 < valid["out_of_range"] < valid["sampled_values"]
    folder = made.run_dir / "samples" / "step_00000003"
    assert {path.name for path in folder.iterdir()} == {"samples.png", "reconstruction.png"}
    with Image.open(folder / "samples.png") as samples, Image.open(folder / "reconstruction.png") as pairs:
        assert samples.height == 3 * 34 + 2  # a row a temperature, 8×8 shown as 32×32
        real, rebuilt = (pairs.crop((pairs.width - 3 * 34 - 2, y, pairs.width, y + 32)) for y in (2, 36))
        assert real.tobytes() == rebuilt.tobytes()
        assert len(real.getcolors()) > 4
    tags = EventAccumulator(str(made.run_dir / "tensorboard"), size_guidance={"images": 0}).Reload().Tags()
    assert set(tags["images"]) == {"samples", "reconstruction"}
    assert {"train/images_per_second", "train/bits_per_dim", "valid/bits_per_dim"} <= set(tags["scalars"])
    assert sum(tag.startswith("condition_number/") for tag in tags["scalars"]) == 4
    assert tags["histograms"] == ["latent/0", "latent/1"]


def test_a_column_of_samples_has_one_noise_and_one_class(digits, tmp_path, monkeypatch):
    asked = []

    def sample(n, *, temperature, y, seed=0):
        asked.append((n, temperature, y.tolist(), seed))
        return torch.zeros(n, 1, 8, 8)

    task = task_of(digits, valid={"images": 4, "samples": 12, "temperatures": [0.0, 0.5, 1.0]})
    model = build({**GLOW, "image_size": 8, "channels": 1, "n_classes": 10})
    monkeypatch.setattr(model, "sample", sample)
    task.show(model, tmp_path, 1, RunLog(tmp_path, total_steps=1, start_step=0, enabled=False))
    assert asked == [(12, t, [*range(10), 0, 1], 0) for t in (0.0, 0.5, 1.0)]


def test_the_log_dets_by_layer_add_up_to_the_whole(digits):
    """The nets of a Glow have ActNorms too, as mere functions: they don't count."""
    model = pushed(build({**GLOW, "image_size": 8, "channels": 1}))
    x = model.dequantize(task_of(digits).held_out.pixels(range(4)))
    with torch.no_grad(), per_flow_log_dets(model) as log_dets:
        _, log_det = model.encode(x)
    assert sum(log_dets.values()) == pytest.approx(log_det.mean().item(), rel=1e-5)


def test_a_picture_that_cannot_be_written_does_not_stop_the_training(trainer, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("waveglow.training.image_task.save_png", full)
    made = trainer(steps=3)
    made.run()
    assert [p.name for p in steps_of(made.run_dir)] == ["step_00000003"]


# ---- Checkpoints ----


def test_the_best_checkpoint_is_chosen_by_validation(trainer, monkeypatch):
    made = trainer(steps=3, validate_every_steps=1)
    nll = iter([4.0, 3.0, 1.0, 2.0])
    monkeypatch.setattr(made.task, "validate", lambda *_: {"nll_nats": next(nll)})
    made.run()
    info = checkpoint.load_image(made.run_dir / "best").info
    assert (info["step"], info["nll_nats"]) == (2, 1.0)


def test_a_checkpoint_says_what_it_was_trained_on(trainer, digits):
    made = trainer(steps=3)
    made.run()
    data = {"dataset": "digits", "version": digits.version, "hash": digits.hash, "n_bits": 4, "flip": False}
    for saved in (made.run_dir, made.run_dir / "best"):
        loaded = checkpoint.load_image(saved)
        assert loaded.info["data"] == data
        assert loaded.mel_spec is None
        assert loaded.model_config["image_size"] == 8


@pytest.mark.parametrize("model", [GLOW, REALNVP], ids=lambda model: model["name"])
def test_a_resumed_run_equals_an_unbroken_one_bitwise(trainer, model):
    whole = trainer(model, run="whole")
    whole.run()
    trainer(model, run="broken", steps=3).run()
    resumed = trainer(model, run="broken")
    assert resumed.state.step == 3
    resumed.run()
    assert tensors(resumed.run_dir) == tensors(whole.run_dir)
    assert [m["loss"] for m in lines(resumed.run_dir, "train")] == [m["loss"] for m in lines(whole.run_dir, "train")]
    keys = ("step", "nll_nats", "reconstruction_error", "out_of_range")
    held_out = [[{key: m[key] for key in keys} for m in lines(made.run_dir, "valid")[1:]] for made in (resumed, whole)]
    assert held_out[0] == held_out[1]


def tensors(run):
    """Every tensor of the last checkpoint, as bytes."""
    step = steps_of(run)[-1]
    found = {**load_file(step / "train.safetensors")}
    found |= {f"ema.{name}": value for name, value in load_file(step / "model.safetensors").items()}
    return {name: value.numpy().tobytes() for name, value in found.items()}


def test_bad_steps_name_their_images(digits):
    task = task_of(digits)
    [first, second] = task.describe([0, 1]).split(", ")
    assert first.endswith("(sample 0)")
    number = int(second.split()[1])
    assert torch.equal(task.dataset.at(number).pixels, task.dataset[1].pixels)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": {**GLOW, "image_size": 16}}, "model.image_size is 16, that of the images in .* is 8; leave it out"),
        ({"model": {**GLOW, "channels": 3}}, "model.channels is 3, that of the images in .* is 1"),
        ({"model": {**GLOW, "n_classes": 3}}, "model.n_classes is 3, the images in .* have 10 classes; set 10 or 0"),
        (
            {"model": {"name": "waveglow"}},
            "model.name is 'waveglow', a vocoder; models of images: nice, realnvp, glow, tarflow, jet",
        ),
        ({"model": {**GLOW, "n_step": 3}}, "unknown key 'model.n_step'; did you mean 'n_steps'"),
        ({"model": GLOW, "valid": {"temperatures": [-1.0]}}, r"valid.temperatures is \[-1.0\]"),
        ({"model": GLOW, "valid": {"samples": 0}}, "valid.samples 0; both must be at least 1"),
        ({"model": GLOW, "data": {"workers": -1}}, "data.workers is -1"),
        ({"model": GLOW, "train": {"memory": "reversible", "precision": "bf16"}}, "half precision"),
    ],
)
def test_settings_that_do_not_fit_are_refused(digits, settings, message):
    with pytest.raises(ConfigError, match=message):
        from_mapping(ImageRunConfig, settings).fitted(digits).model_config()
