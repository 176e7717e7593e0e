"""`waveglow image`: pictures pixel by pixel, the numbers beside them, and one sentence for every fault."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from waveglow.cli.image import VERBS, negative_lists_joined
from waveglow.cli.image import prepare as image_prepare
from waveglow.cli.main import main
from waveglow.config import ConfigError
from waveglow.data.image_sources import CELEBA_TERMS, open_photo
from waveglow.data.images import Images, prepare_images
from waveglow.flows.compose import MultiScale
from waveglow.models import checkpoint
from waveglow.models.flow_image import FlowImage
from waveglow.models.registry import build
from waveglow.pictures import bits as image_bits
from waveglow.pictures import samples
from waveglow.pictures.directions import Directions, Sums
from waveglow.pictures.inputs import chosen

SIDE, CELL, GAP = 8, 64, 2
CONFIGS = {
    "glow": {"name": "glow", "n_levels": 2, "n_steps": 2, "n_hidden": 8},
    "nice": {"name": "nice", "n_hidden": 16, "n_layers": 2},
    "realnvp": {"name": "realnvp", "n_channels": 4, "n_blocks": 1},
    "classes": {"name": "glow", "n_levels": 2, "n_steps": 1, "n_hidden": 8, "n_classes": 10},
}


def run(*arguments: object) -> int:
    """The exit code, also where argparse leaves by itself."""
    try:
        return main(["image", *map(str, arguments)])
    except SystemExit as left:
        return int(left.code or 0)


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("data") / "digits"
    prepare_images("digits", None, out)
    return out


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A folder of checkpoints for 1×8×8 digits in 4 bits, by the names of CONFIGS, that are no identity anywhere."""
    folder = tmp_path_factory.mktemp("models")
    for name, numbers in CONFIGS.items():
        config = {**numbers, "image_size": SIDE, "channels": 1, "n_bits": 4}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = build(config).eval()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.05 * torch.randn_like(parameter))
            if model.n_classes:
                torch.nn.init.normal_(model.flow.levels[-1].net.of_class)
        checkpoint.save(folder / name, model, config, info={"step": 7})
    return folder


def flow(models: Path, name: str = "glow") -> FlowImage:
    return checkpoint.load_image(models / name).model.requires_grad_(False)


def images_of(digits: Path, split: str = "test") -> Images:
    return Images(digits, split, seed=0, flip=False)


def facts(path: Path) -> dict:
    return json.loads(path.read_text("utf-8"))


def cells(path: Path, columns: int) -> np.ndarray:
    """The images of a picture that has labels: [rows, columns, 8, 8], from its lower right corner."""
    with Image.open(path) as image:
        pixels = np.asarray(image)
    rows = (pixels.shape[0] - GAP) // (CELL + GAP)
    corner = pixels[-rows * (CELL + GAP) - GAP :, -columns * (CELL + GAP) - GAP :]
    assert (corner == corner[..., :1]).all()
    table = corner[GAP:, GAP:, 0].reshape(rows, CELL + GAP, columns, CELL + GAP).transpose(0, 2, 1, 3)
    assert (table[:, :, CELL:] == 255).all()
    assert (table[:, :, :, CELL:] == 255).all()
    return table[:, :, : CELL : CELL // SIDE, : CELL : CELL // SIDE]


def drawn(model: FlowImage, x: torch.Tensor) -> np.ndarray:
    """x [N, 1, 8, 8] as pixels [N, 8, 8]."""
    return model.to_pixels(x)[:, 0].numpy()


# ---- The command itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_overview(arguments, capsys):
    assert run(*arguments) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: waveglow image [-h]")
    for verb, summary in VERBS.items():
        assert re.search(rf"^  {verb} +{re.escape(summary)}$", shown, re.MULTILINE)
        assert re.search(rf"^  waveglow image {verb} ", shown, re.MULTILINE)
    assert "exit codes: 0 ok, 2 usage, 3 some inputs failed, 4 bad checkpoint" in shown


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_has_an_example_and_the_exit_codes(verb, capsys):
    assert run(verb, "--help") == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: waveglow image {verb} ")
    assert re.search(rf"^  waveglow image {verb} ", shown, re.MULTILINE)
    assert "exit codes: 0 ok, 2 usage" in shown


def test_an_unknown_verb_names_the_nearest(capsys):
    assert run("sampel") == 2
    assert capsys.readouterr().err == "waveglow image: unknown command 'sampel'; did you mean 'sample'?\n"


def test_lists_that_begin_with_a_minus():
    given = ["--alphas", "-1,-.5,0", "--seed", "-1", "-n", "-1,2", "a.png"]
    assert negative_lists_joined(given) == ["--alphas=-1,-.5,0", "--seed", "-1", "-n", "-1,2", "a.png"]


OUT, DATA = "{tmp}/out.png", ["--data", "{digits}"]
RUNS = {
    "sample": ["sample", OUT],
    "interpolate": ["interpolate", *DATA, OUT],
    "attributes": ["attributes", *DATA, "{tmp}/out"],
    "manipulate": ["manipulate", "--directions", "{tmp}", "--attribute", "3", *DATA, OUT],
    "evaluate": ["evaluate", *DATA, "{tmp}/out"],
}


@pytest.fixture
def call(digits, models, tmp_path, capsys):
    """`call(arguments, model=…)` fills in {digits}, {models} and {tmp}; returns the exit code and what stderr says."""

    def go(arguments, model: object = None) -> tuple[int, str]:
        chosen = [] if model is None else ["-c", model]
        filled = [str(a).format(digits=digits, models=models, tmp=tmp_path) for a in [*arguments, *chosen]]
        return run(*filled), capsys.readouterr().err

    return go


@pytest.mark.parametrize("verb", RUNS)
@pytest.mark.parametrize(
    ("model", "options", "code", "message"),
    [
        ("{tmp}/absent", [], 4, "absent: does not exist"),
        ("{digits}", [], 4, "is no checkpoint"),
        ("lapglow", [], 4, "is lapglow, a vocoder; `waveglow image` takes nice, realnvp and glow"),
        ("{models}/glow", ["--device", "gpu"], 2, "--device gpu can't be used"),
        ("{models}/glow", ["--threads", "0"], 2, "--threads is 0"),
        ("{models}/glow", ["--seed", "-1"], 2, "--seed: -1 is no integer"),
    ],
)
def test_what_no_verb_takes(call, tmp_path, verb, model, options, code, message):
    found, said = call([*RUNS[verb], *options], model)
    assert found == code
    assert message in said
    assert not (tmp_path / "out.png").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", ["interpolate", "attributes", "evaluate"])
def test_data_of_another_shape(call, tmp_path, verb):
    config = {**CONFIGS["glow"], "image_size": 16, "channels": 3}
    checkpoint.save(tmp_path / "large", build(config), config)
    message = "digits: holds images of 1×8×8, this model takes 3×16×16\n"
    code, said = call(RUNS[verb], tmp_path / "large")
    assert code == 2
    assert said.endswith(message)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("{tmp}/a.jpg", "pictures are written as PNG"),
        ("{tmp}/photo.png", "photo.png: exists, and isn't from this command (photo.json is missing)"),
        ("{tmp}/file", "file: is a file; name a folder"),
    ],
)
@pytest.mark.parametrize("verb", ["sample", "interpolate", "manipulate"])
def test_where_no_picture_is_written(call, tmp_path, verb, out, message):
    (tmp_path / "photo.png").write_text("mine")
    (tmp_path / "file").write_text("mine")
    code, said = call([*RUNS[verb][:-1], out], "{models}/glow")
    assert code == 2
    assert message in said
    assert (tmp_path / "photo.png").read_text() == (tmp_path / "file").read_text() == "mine"


# ---- prepare ---------------------------------------------------------------------------------------------------------


def test_prepare(tmp_path, capsys):
    assert run("prepare", "--dataset", "digits", tmp_path / "out") == 0
    said = capsys.readouterr()
    found = facts(tmp_path / "out" / "images.json")
    assert said.out.splitlines()[0] == f"{tmp_path / 'out'}: 1437 train, 180 valid, 180 test, of 1×8×8; 0 refused"
    assert f"version: {found['version']}\n" in said.out
    assert said.out.endswith(f"hash: {found['hash']}\n")
    assert "classes: 0, 1, 2," in said.out


def test_prepare_refuses_by_name_and_ends_with_3(tmp_path, capsys):
    source = tmp_path / "pictures"
    for i in range(8):
        (source / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 10), (30 * i, 0, 0)).save(source / "ab"[i % 2] / f"{i}.png")
    (source / "a" / "bad.png").write_text("no picture")
    arguments = ["--dataset", "imagefolder", "--size", "8", source, tmp_path / "out"]
    assert run("prepare", *arguments) == 3
    said = capsys.readouterr()
    assert re.search(r"^refused: .*bad\.png: ", said.err, re.MULTILINE)
    assert "of 3×8×8; 1 refused" in said.out
    assert "classes: a, b" in said.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "digit", "{tmp}/out"], "did you mean 'digits'?"),
        (["--dataset", "celeba", "{tmp}/out"], "celeba needs a source"),
        (["--dataset", "celeba", "{tmp}/absent", "{tmp}/out"], "absent: doesn't exist"),
        (["--dataset", "digits", "--size", "9", "{tmp}/out"], "size is 9"),
        (["--dataset", "digits", "--size", "0", "{tmp}/out"], "0 is no whole number from 1"),
        (["--dataset", "digits", "--download", "{tmp}/out"], "--download is for --dataset celeba"),
        (["--dataset", "celeba", "--download", "{tmp}/out"], "needs SOURCE"),
    ],
)
def test_what_cannot_be_prepared(call, tmp_path, arguments, message):
    code, said = call(["prepare", *arguments])
    assert code == 2
    assert message in said
    assert not (tmp_path / "out").exists()


# ---- sample ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["glow", "nice", "realnvp"])
def test_samples_by_temperature_and_noise(models, tmp_path, name, capsys):
    options = ["-n", 5, "--temperatures", "0,0.7,1", "--seed", 3]
    assert run("sample", "-c", models / name, tmp_path / "a.png", *options) == 0
    found, picture, model = facts(tmp_path / "a.json"), cells(tmp_path / "a.png", 5), flow(models, name)
    assert picture.shape == (3, 5, 8, 8)
    assert (picture[0] == picture[0, :1]).all()
    for row, temperature in enumerate((0.0, 0.7, 1.0)):
        x = model.sample(5, temperature=temperature, seed=range(3, 8))
        assert np.array_equal(picture[row], drawn(model, x))
        assert found["rows"][row] == {"temperature": temperature, "values": 320, **model.outside(x)}
    assert len(np.unique(picture[2], axis=0)) == 5
    assert found["seeds"] == [3, 4, 5, 6, 7]
    assert (found["labels"], found["step"], found["model"]["name"]) == (None, 7, name)
    assert found["weights_sha256"] == checkpoint.sha256(models / name / "model.safetensors")
    assert 0 < found["seconds_per_image"] < 1
    shown = capsys.readouterr().out
    assert re.search(rf"a\.png: 15 images, {found['seconds_per_image']:.3f} s each; a\.json\n", shown)
    assert re.search(rf"^ +0\.7 +{found['rows'][1]['out_of_range'] / 320:.2%} +0$", shown, re.MULTILINE)


def test_a_rerun_is_the_same_to_the_byte_at_any_batch_size(models, tmp_path):
    for name, batch_size in (("a", 64), ("b", 64), ("c", 3)):
        options = ["-n", "8", "--batch-size", batch_size]
        assert run("sample", "-c", models / "glow", tmp_path / f"{name}.png", *options) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes() == (tmp_path / "c.png").read_bytes()


def test_a_folder_gets_each_image_by_itself(models, tmp_path):
    options = ["-n", "3", "--temperatures", "0.5", "--seed", 8]
    assert run("sample", "-c", models / "glow", tmp_path / "out", *options) == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["samples.json", "samples.png", "t0.5_10.png", "t0.5_8.png", "t0.5_9.png"]
    model = flow(models)
    with Image.open(tmp_path / "out" / "t0.5_9.png") as image:
        assert np.array_equal(np.asarray(image), drawn(model, model.sample(1, temperature=0.5, seed=[9]))[0])
    with Image.open(tmp_path / "out" / "samples.png") as image:  # one temperature: as square as can be
        assert image.size == (2 * (CELL + GAP) + GAP, 2 * (CELL + GAP) + GAP)


@pytest.mark.parametrize(("option", "labels"), [([], [0, 1, 2]), (["--label", "4"], [4, 4, 4])])
def test_samples_of_classes(models, tmp_path, option, labels):
    options = ["-n", "3", "--temperatures", "0.5,1", *option]
    assert run("sample", "-c", models / "classes", tmp_path / "a.png", *options) == 0
    model = flow(models, "classes")
    x = model.sample(3, temperature=1, y=torch.tensor(labels), seed=range(3))
    assert np.array_equal(cells(tmp_path / "a.png", 3)[1], drawn(model, x))
    assert facts(tmp_path / "a.json")["labels"] == labels


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("glow", ["--label", "1"], "--label is 1; this model has no classes"),
        ("classes", ["--label", "10"], "--label is 10; this model has classes 0 to 9"),
        ("glow", ["--temperatures", "-1,1"], "temperature is -1.0; it must be a finite number >= 0"),
        ("glow", ["--temperatures", "0.7;1"], "'0.7;1' is no list of finite numbers"),
        ("glow", ["--temperatures", "nan"], "no list of finite numbers"),
        ("glow", ["-n", "0"], "0 is no whole number from 1"),
    ],
)
def test_what_cannot_be_sampled(call, tmp_path, model, options, message):
    code, said = call([*RUNS["sample"], *options], f"{{models}}/{model}")
    assert code == 2
    assert message in said
    assert not (tmp_path / "out.png").exists()


def test_values_that_are_no_numbers_are_counted_and_said(models, tmp_path, monkeypatch, capsys):
    def broken(opened, temperature, *_):
        x = torch.zeros(2, 1, 8, 8)
        x[0, 0, 0, :3] = torch.tensor([torch.nan, torch.inf, 0.5])  # 0.5 is one step beyond white
        return x

    monkeypatch.setattr(samples, "_drawn", broken)
    assert run("sample", "-c", models / "glow", tmp_path / "a.png", "-n", "2", "--temperatures", "0.7") == 0
    row = {"temperature": 0.7, "values": 128, "non_finite": 2, "out_of_range": 1}
    assert facts(tmp_path / "a.json")["rows"] == [row]
    assert "notice: temperature 0.7: 2 of 128 values aren't finite" in capsys.readouterr().err


# ---- interpolate -----------------------------------------------------------------------------------------------------


@pytest.fixture
def far_too_bright(monkeypatch):
    """Every decoded value is beyond white."""
    inverse = MultiScale.inverse
    monkeypatch.setattr(MultiScale, "inverse", lambda *args: inverse(*args) + 9)


def test_every_verb_tells_how_many_values_are_out_of_range(
    attributes, digits, models, tmp_path, far_too_bright, capsys
):
    moved = ["--directions", attributes, "--attribute", "3"]
    for verb in (["interpolate"], ["manipulate", *moved], ["attributes", "--images", "50", "--faces", "1"]):
        assert run(*verb, "-c", models / "glow", "--data", digits, tmp_path / verb[0]) == 0
        assert "100.00% of values out of range, 0 not finite" in capsys.readouterr().out
    assert run("sample", "-c", models / "glow", tmp_path / "sample", "--temperatures", "1") == 0
    assert re.search(r"^ +1 +100.00% +0$", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize("name", ["glow", "nice", "realnvp"])
def test_interpolation_of_held_out_images(digits, models, tmp_path, name):
    options = ["--data", digits, "--pairs", "2", "--steps", "4", "--seed", "1"]
    assert run("interpolate", "-c", models / name, *options, tmp_path / "a.png") == 0
    found, picture, model = facts(tmp_path / "a.json"), cells(tmp_path / "a.png", 6), flow(models, name)
    assert picture.shape == (4, 6, 8, 8)
    images = images_of(digits)
    for row, entry in enumerate(found["rows"]):
        assert entry["way"] == ("linear", "spherical")[row % 2]
        places = [int(entry[end].removeprefix("test-")) for end in ("from", "to")]
        pixels = images.pixels(places)
        x = model.dequantize(pixels, seed=places)
        between = model.interpolate(x[0], x[1], 4, spherical=row % 2 == 1)
        assert np.array_equal(picture[row, [0, 5]], pixels[:, 0].numpy())
        assert np.array_equal(picture[row, 1:5], drawn(model, between))
        decoded = drawn(model, model.decode(model.encode(x)[0]))
        assert np.mean(picture[row, [1, 4]] == decoded) > 0.95  # at the edge of a pixel's cell, rounding decides
        counts = {key: entry[key] for key in ("non_finite", "out_of_range")}
        assert counts == model.outside(between)
    ends = {entry[end] for entry in found["rows"] for end in ("from", "to")}
    assert len(ends) == 4
    assert found["data_hash"] == images.set.hash


@pytest.fixture
def photos(tmp_path) -> list[Path]:
    """Two pictures, not square, and in colour."""
    made = []
    for i in range(2):
        noise = np.random.default_rng(i).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"photo{i}.png")
        made.append(tmp_path / f"photo{i}.png")
    return made


def test_interpolation_of_photos(models, photos, tmp_path):
    options = ["--steps", "3", "--way", "spherical"]
    assert run("interpolate", "-c", models / "glow", *photos, tmp_path / "out", *options) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    frames = {f"pair1_spherical_00{i}.png" for i in range(3)}
    assert names == {"interpolation.json", "interpolation.png", *frames}
    found = facts(tmp_path / "out" / "interpolation.json")
    assert found["photos"] == [str(photo) for photo in photos]
    assert [(row["from"], row["to"]) for row in found["rows"]] == [("photo0", "photo1")]
    picture = cells(tmp_path / "out" / "interpolation.png", 5)
    originals = [open_photo(photo, 8, 1)[0].numpy() for photo in photos]
    assert np.array_equal(picture[0, [0, 4]], originals)  # of 8 bits; the model's have 4
    assert np.mean(picture[0, [1, 3]] == [original & 0xF0 for original in originals]) > 0.95


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{tmp}/photo0.png", OUT], "1 photos are given; it takes two"),
        ([OUT], "give either photos, or --data"),
        ([*DATA, "{tmp}/photo0.png", "{tmp}/photo1.png", OUT], "give either photos, or --data"),
        (["{tmp}/photo0.png", "{tmp}/absent.png", OUT], "absent.png: doesn't exist"),
        ([*DATA, OUT, "--steps", "1"], "--steps is 1; it must be at least 2"),
        ([*DATA, OUT, "--pairs", "91"], "its test split has 180 images; 182 are asked for"),
        (["--data", "{tmp}", OUT], "holds no prepared images"),
    ],
)
def test_what_cannot_be_interpolated(call, photos, tmp_path, arguments, message):
    code, said = call(["interpolate", *arguments], "{models}/glow")
    assert code == 2
    assert message in said
    assert not (tmp_path / "out.png").exists()


# ---- attributes ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def attributes(models, digits, tmp_path_factory) -> Path:
    """What `attributes` makes of 300 images, in batches of unequal size."""
    out = tmp_path_factory.mktemp("attributes") / "out"
    options = ["--images", "300", "--batch-size", "77", "--faces", "2", "--alphas", "-1,0,2"]
    assert run("attributes", "-c", models / "glow", "--data", digits, out, *options) == 0
    return out


def encoded_by(attributes: Path, digits: Path, model: FlowImage) -> tuple[torch.Tensor, torch.Tensor]:
    """x of the images that were encoded, and their labels."""
    found = facts(attributes / "directions.json")
    images = images_of(digits, "train")
    places = chosen(len(images), found["images"], seed=0)
    return model.dequantize(images.pixels(places), seed=places), images.labels[places]


def test_directions_are_differences_of_means_at_all_levels(attributes, models, digits):
    model, found = flow(models), facts(attributes / "directions.json")
    x, labels = encoded_by(attributes, digits, model)
    assert len(x) == found["images"] == 300
    file = load_file(attributes / "directions.safetensors")
    assert [tuple(file[f"directions.{i}"].shape) for i in range(2)] == [(10, 2, 4, 4), (10, 8, 2, 2)]
    for digit, entry in enumerate(found["attributes"]):
        expected = model.attribute_direction(x[labels == digit], x[labels != digit])
        for level, direction in enumerate(expected):
            torch.testing.assert_close(file[f"directions.{level}"][digit], direction, atol=1e-5, rtol=1e-4)
        n = int((labels == digit).sum())
        norm = sum(float(d.square().sum()) for d in expected) ** 0.5
        assert entry == {"name": str(digit), "with": n, "without": 300 - n, "norm": pytest.approx(norm, rel=1e-4)}
    assert found["method"] == "difference of means"
    assert found["weights_sha256"] == checkpoint.sha256(models / "glow" / "model.safetensors")


def test_sliders(attributes, models, digits):
    model, found = flow(models), facts(attributes / "directions.json")["drawn"]
    picture = cells(attributes / "attributes.png", 7)
    assert picture.shape == (10, 7, 8, 8)
    assert (picture[:, 3] == 255).all()
    assert (found["split"], found["alphas"], len(found["images"])) == ("test", [-1, 0, 2], 2)
    x = model.dequantize(images_of(digits).pixels(found["images"]), seed=found["images"])
    file = load_file(attributes / "directions.safetensors")
    for attribute in (0, 7):
        direction = [file[f"directions.{level}"][attribute] for level in range(2)]
        for column, alpha in enumerate(found["alphas"]):
            expected = drawn(model, model.manipulate(x, direction, alpha))
            assert np.array_equal(picture[attribute, [column, column + 4]], expected)
    assert [row["name"] for row in found["rows"]] == [str(digit) for digit in range(10)]


def test_a_slope_tells_apart_what_goes_together():
    """Two attributes that mostly come together, of which the second alone moves z_1."""
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(4000, generator=generator) < 0.5
    b = torch.where(torch.rand(4000, generator=generator) < 0.9, a, ~a)
    y = torch.stack([a, b], dim=1).double()
    true = torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, -1.0]])
    z = (y.float() @ true + 0.1 * torch.randn(4000, 3, generator=generator))[:, :, None]
    sums = Sums(2, 3)
    for start in range(0, 4000, 900):
        sums.add([z[start : start + 900, :1], z[start : start + 900, 1:]], y[start : start + 900])
    assert (sums.slopes() - true).abs().max() < 0.05
    assert (sums.differences() - true).abs().max() > 0.5
    expected = z[a].mean(0) - z[~a].mean(0)
    torch.testing.assert_close(sums.differences()[0].float(), expected[:, 0], atol=1e-5, rtol=1e-5)


def test_the_regression_is_asked_for(attributes, models, digits, tmp_path):
    options = ["--images", "300", "--faces", "1", "--regress"]
    assert run("attributes", "-c", models / "glow", "--data", digits, tmp_path, *options) == 0
    assert facts(tmp_path / "directions.json")["method"] == "least-squares fit to all attributes"
    both = [load_file(folder / "directions.safetensors") for folder in (attributes, tmp_path)]
    assert torch.equal(both[0]["mean.1"], both[1]["mean.1"])
    assert not torch.allclose(both[0]["directions.1"], both[1]["directions.1"], rtol=0.01)


def test_an_attribute_of_all_images_has_no_direction(models, digits, tmp_path, capsys):
    options = ["--images", "6", "--faces", "1"]
    assert run("attributes", "-c", models / "glow", "--data", digits, tmp_path / "out", *options) == 0
    kept = [entry["name"] for entry in facts(tmp_path / "out" / "directions.json")["attributes"]]
    said = capsys.readouterr().err
    assert 1 <= len(kept) <= 6
    for digit in "0123456789":
        assert (f"notice: {digit}: all or none of 6 images have it" in said) == (digit not in kept)


def test_data_without_attributes_or_classes(call, tmp_path):
    for i in range(8):
        noise = np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray(noise).save(tmp_path / "in" / f"{i}.png")
    prepare_images("imagefolder", tmp_path / "in", tmp_path / "data", size=8)
    config = {**CONFIGS["glow"], "image_size": 8, "channels": 3}
    checkpoint.save(tmp_path / "model", build(config), config)
    code, said = call(["attributes", "--data", "{tmp}/data", "{tmp}/out"], tmp_path / "model")
    assert code == 2
    assert "imagefolder has neither attributes nor classes" in said


# ---- manipulate ------------------------------------------------------------------------------------------------------


def test_manipulation_of_held_out_images(attributes, digits, models, tmp_path):
    options = ["--attribute", "3=2", "--attribute", "5=-1", "--alphas", "-.5,0,1", "--images", "3"]
    given = ["--directions", attributes, "--data", digits, tmp_path / "a.png"]
    assert run("manipulate", "-c", models / "glow", *given, *options) == 0
    found, picture, model = facts(tmp_path / "a.json"), cells(tmp_path / "a.png", 5), flow(models)
    assert picture.shape == (3, 5, 8, 8)
    assert found["weights"] == {"3": 2.0, "5": -1.0}
    file = load_file(attributes / "directions.safetensors")
    direction = [2 * file[f"directions.{level}"][3] - file[f"directions.{level}"][5] for level in range(2)]
    places = [int(row["image"].removeprefix("test-")) for row in found["rows"]]
    pixels = images_of(digits).pixels(places)
    x = model.dequantize(pixels, seed=places)
    assert np.array_equal(picture[:, 0], pixels[:, 0].numpy())
    assert np.array_equal(picture[:, 1], drawn(model, model.decode(model.encode(x)[0])))
    assert np.array_equal(picture[:, 3], picture[:, 1])
    again = model.decode(model.encode(x)[0])
    assert [row["decoded"] for row in found["rows"]] == [{"values": 64, **model.outside(each)} for each in again]
    for column, alpha in ((2, -0.5), (4, 1.0)):
        moved = model.manipulate(x, direction, alpha)
        assert np.array_equal(picture[:, column], drawn(model, moved))
        for i, row in enumerate(found["rows"]):
            counts = {"alpha": alpha, "values": 64, **model.outside(moved[i])}
            assert row["alphas"][column - 2] == counts


def test_amounts_are_0_without_and_1_with(attributes, models, digits):
    model, found = flow(models), facts(attributes / "directions.json")
    file = load_file(attributes / "directions.safetensors")
    directions = Directions(*([file[f"{kind}.{i}"] for i in range(2)] for kind in ("directions", "mean")), found)
    x, labels = encoded_by(attributes, digits, model)
    amounts = directions.amounts(model.encode(x)[0])
    for digit in range(10):
        assert float(amounts[labels == digit, digit].mean()) == pytest.approx(1, abs=1e-3)
        assert float(amounts[labels != digit, digit].mean()) == pytest.approx(0, abs=1e-3)


def test_manipulation_of_photos(attributes, models, photos, tmp_path, capsys):
    given = ["--directions", attributes / "directions.safetensors", "--attribute", "3", "--alphas", "1"]
    (tmp_path / "bad.png").write_text("no picture")
    sources = [photos[0], tmp_path / "bad.png", photos[1]]
    assert run("manipulate", "-c", models / "glow", *given, *sources, tmp_path / "out") == 3
    said = capsys.readouterr()
    assert "failed: " in said.err
    assert "bad.png: is no picture" in said.err
    assert "2 pictures, 3 × 1" in said.out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"1_photo0_+1.png", "2_photo1_+1.png", "manipulated.json", "manipulated.png"}
    both = cells(tmp_path / "out" / "manipulated.png", 3)
    assert run("manipulate", "-c", models / "glow", *given, photos[1], tmp_path / "one.png") == 0
    assert np.array_equal(cells(tmp_path / "one.png", 3)[0], both[1])  # whatever stands before it
    assert np.array_equal(both[:, 0], [open_photo(photo, 8, 1)[0].numpy() for photo in photos])
    had = facts(tmp_path / "one.json")["rows"][0]["had"]
    assert had == {"3": pytest.approx(facts(tmp_path / "out" / "manipulated.json")["rows"][1]["had"]["3"], rel=1e-4)}


def test_photos_get_the_zeros_around_that_the_models_data_had(tmp_path):
    config = {**CONFIGS["glow"], "image_size": 32, "channels": 1}
    checkpoint.save(tmp_path / "model", build(config), config, info={"data": {"dataset": "fashion-mnist"}})
    for shade in (100, 200):
        Image.new("L", (40, 40), shade).save(tmp_path / f"{shade}.png")
    photos = tmp_path / "100.png", tmp_path / "200.png"
    assert run("interpolate", "-c", tmp_path / "model", *photos, tmp_path / "out", "--steps", 2) == 0
    pictures = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "out").glob("*.png"))]
    expected = [open_photo(photo, 32, 1, dataset="fashion-mnist")[0].numpy() for photo in photos]
    assert np.array_equal([each for each in pictures if each.shape == (32, 32)], [*expected, *expected])  # both ways


@pytest.mark.parametrize(
    ("directions", "options", "model", "message"),
    [
        ("{at}", ["--attribute", "smile"], "glow", "unknown attribute 'smile'; known: 0, 1, 2"),
        ("{at}", ["--attribute", "33"], "glow", "unknown attribute '33'; did you mean '3'?"),
        ("{at}", ["--attribute", "3=x"], "glow", "'3=x' is neither NAME nor NAME=WEIGHT"),
        ("{at}", [], "glow", "the following arguments are required: --attribute"),
        ("{at}", ["--attribute", "3"], "nice", "was made with another checkpoint"),
        ("{tmp}/absent", ["--attribute", "3"], "glow", "absent: not found; `waveglow image attributes` makes it"),
        ("{tmp}/text", ["--attribute", "3"], "glow", "text: is no whole file of directions"),
        ("{tmp}/half", ["--attribute", "3"], "glow", "half: is no whole file of directions"),
        ("{models}/glow/model.safetensors", ["--attribute", "3"], "glow", "is no whole file of directions"),
    ],
)
def test_directions_that_cannot_be_used(call, attributes, tmp_path, directions, options, model, message):
    (tmp_path / "text").write_text("no tensors")
    (tmp_path / "half").write_bytes((attributes / "directions.safetensors").read_bytes()[:-64])
    path = directions.replace("{at}", str(attributes))
    code, said = call(["manipulate", "--directions", path, *options, *DATA, OUT], f"{{models}}/{model}")
    assert code == 2
    assert message in said
    assert not (tmp_path / "out.png").exists()


def test_terms_are_told_before_a_download(tmp_path, monkeypatch, capsys):
    def refuse(folder):
        assert CELEBA_TERMS in capsys.readouterr().err
        raise ConfigError("the server refused")

    monkeypatch.setattr(image_prepare, "download_celeba", refuse)
    assert run("prepare", "--dataset", "celeba", "--download", tmp_path, tmp_path / "out") == 2
    assert "the server refused" in capsys.readouterr().err


# ---- TensorBoard -----------------------------------------------------------------------------------------------------


@pytest.fixture
def trained(models, tmp_path) -> Path:
    """A training run with a TensorBoard, whose best checkpoint is `glow`."""
    shutil.copytree(models / "glow", tmp_path / "run" / "best")
    (tmp_path / "run" / "tensorboard").mkdir()
    return tmp_path / "run"


def test_the_pictures_of_a_run_are_in_its_tensorboard(attributes, digits, trained, tmp_path):
    of_data = ["-c", trained / "best", "--data", digits]
    moved = ["--directions", attributes, "--attribute", "3", "--images", "2"]
    assert run("sample", "-c", trained / "best", tmp_path / "samples.png", "-n", "2") == 0
    assert run("interpolate", *of_data, tmp_path / "between.png", "--pairs", "1", "--steps", "2") == 0
    assert run("manipulate", *of_data, *moved, tmp_path / "moved.png") == 0
    assert run("attributes", *of_data, tmp_path, "--images", "50", "--faces", "1") == 0
    assert run("evaluate", *of_data, tmp_path, "--images", "10") == 0
    board = EventAccumulator(str(trained / "tensorboard" / "pictures"), size_guidance={"images": 0}).Reload()
    names = ["samples", "between", "moved", "attributes", "reconstruction"]
    assert sorted(board.Tags()["images"]) == sorted(names)
    for name in names:
        [event] = board.Images(name)
        assert event.step == 7
        with Image.open(io.BytesIO(event.encoded_image_string)) as shown, Image.open(tmp_path / f"{name}.png") as kept:
            assert np.array_equal(np.asarray(shown), np.asarray(kept))


def test_a_tensorboard_that_cannot_be_written_costs_no_picture(trained, tmp_path, capsys):
    (trained / "tensorboard" / "pictures").write_text("a file")
    assert run("sample", "-c", trained / "best", tmp_path / "a.png", "-n", "1") == 0
    assert (tmp_path / "a.png").is_file()
    assert "notice: not in TensorBoard: " in capsys.readouterr().err


# ---- A model of classes ----------------------------------------------------------------------------------------------


def places_of(names: list[str]) -> list[int]:
    return [int(name.removeprefix("test-")) for name in names]


def test_images_of_the_data_have_their_own_classes(digits, models, tmp_path):
    model, images = flow(models, "classes"), images_of(digits)
    given = ["-c", models / "classes", "--data", digits]
    assert run("attributes", *given, tmp_path, "--images", "300", "--faces", "2", "--alphas", "0,1") == 0
    x, labels = encoded_by(tmp_path, digits, model)
    of_3 = labels == 3
    expected = model.attribute_direction(x[of_3], x[~of_3], y_pos=labels[of_3], y_neg=labels[~of_3])
    file = load_file(tmp_path / "directions.safetensors")
    direction = [file[f"directions.{level}"][3] for level in range(2)]
    torch.testing.assert_close(direction, expected, atol=1e-5, rtol=1e-4)

    def of(places: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        return model.dequantize(images.pixels(places), seed=places), images.labels[places]

    x, y = of(facts(tmp_path / "directions.json")["drawn"]["images"])
    slid = drawn(model, model.manipulate(x, direction, 1.0, y=y))
    assert np.array_equal(cells(tmp_path / "attributes.png", 5)[3, [1, 4]], slid)

    options = ["--directions", tmp_path, "--attribute", "3", "--alphas", "1", "--images", "4"]
    assert run("manipulate", *given, *options, tmp_path / "m.png") == 0
    found = facts(tmp_path / "m.json")
    x, y = of(places_of([row["image"] for row in found["rows"]]))
    assert found["labels"] == y.tolist()
    assert np.array_equal(cells(tmp_path / "m.png", 3)[:, 2], drawn(model, model.manipulate(x, direction, 1.0, y=y)))

    assert run("interpolate", *given, "--pairs", "2", "--steps", "3", tmp_path / "i.png") == 0
    picture = cells(tmp_path / "i.png", 5)
    for i, row in enumerate(facts(tmp_path / "i.json")["rows"]):
        x, y = of(places_of([row["from"], row["to"]]))
        between = model.interpolate(x[0], x[1], 3, spherical=row["way"] == "spherical", y=y)
        assert np.array_equal(picture[i, 1:4], drawn(model, between))


@pytest.mark.parametrize(("label", "y"), [("4", [4, 4]), ("4,7", [4, 7])])
def test_photos_are_of_the_classes_that_are_said(models, photos, tmp_path, label, y):
    model = flow(models, "classes")
    options = ["--label", label, "--way", "linear", "--steps", "3"]
    assert run("interpolate", "-c", models / "classes", *photos, tmp_path / "a.png", *options) == 0
    x = model.dequantize(torch.stack([open_photo(photo, 8, 1) for photo in photos]), seed=[0, 0])
    expected = model.interpolate(x[0], x[1], 3, y=torch.tensor(y))
    assert np.array_equal(cells(tmp_path / "a.png", 5)[0, 1:4], drawn(model, expected))
    assert facts(tmp_path / "a.json")["labels"] == y


def test_a_photo_that_cannot_be_read_takes_its_class_with_it(digits, models, photos, tmp_path):
    given = ["-c", models / "classes", "--data", digits]
    assert run("attributes", *given, tmp_path, "--images", "300", "--faces", "1") == 0
    (tmp_path / "bad.png").write_text("no picture")
    options = ["--directions", tmp_path, "--attribute", "3", "--label", "1,2,3"]
    sources = [photos[0], tmp_path / "bad.png", photos[1]]
    assert run("manipulate", "-c", models / "classes", *options, *sources, tmp_path / "a.png") == 3
    assert facts(tmp_path / "a.json")["labels"] == [1, 3]


PHOTOS = ["{tmp}/photo0.png", "{tmp}/photo1.png"]


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("classes", [*PHOTOS, OUT], "classes: a model of 10 classes; --label K says the photos'"),
        ("classes", [*PHOTOS, OUT, "--label", "10"], "--label is 10; this model has classes 0 to 9"),
        ("classes", [*PHOTOS, OUT, "--label", "1,2,3"], "--label has 3 classes, there are 2 photos"),
        ("classes", [*PHOTOS, OUT, "--label", "cat"], "'cat' is no list of classes"),
        ("classes", [*DATA, OUT, "--label", "1"], "images of --data have their own"),
        ("glow", [*PHOTOS, OUT, "--label", "1"], "--label is 1; this model has no classes"),
    ],
)
def test_classes_that_are_not_there(call, photos, tmp_path, model, arguments, message):
    code, said = call(["interpolate", *arguments], f"{{models}}/{model}")
    assert code == 2
    assert message in said
    assert not (tmp_path / "out.png").exists()


# ---- evaluate --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["glow", "nice", "realnvp", "classes"])
def test_bits_per_dim_of_a_split(digits, models, tmp_path, name, capsys):
    assert run("evaluate", "-c", models / name, "--data", digits, tmp_path, "--batch-size", "50") == 0
    found, model, images = facts(tmp_path / "evaluation.json"), flow(models, name), images_of(digits)
    pixels = images.pixels(range(180))
    y = images.labels if name == "classes" else None
    bits = model.bits_per_dim(pixels, y, seed=range(180)).double()
    assert found["bits_per_dim"] == pytest.approx(float(bits.mean()), rel=1e-5)
    assert found["standard_error"] == pytest.approx(float(bits.std()) / 180**0.5, rel=1e-3)
    assert found["median_bits_per_dim"] == pytest.approx(float(bits.median()), rel=1e-5)
    assert found["images_beyond_raw"] == int((bits > 4).sum())
    assert (found["images"], found["images_not_finite"], found["n_bits"], found["split"]) == (180, 0, 4, "test")
    assert (found["data_hash"], found["data_version"]) == (images.set.hash, images.set.version)
    assert found["parameters"] == sum(p.numel() for p in model.parameters())
    x = model.dequantize(pixels, seed=range(180))
    again = model.decode(model.encode(x, y)[0], y)
    errors = found["reconstruction"]
    assert errors["max_abs"] == pytest.approx(float((again - x).abs().max()), rel=0.5, abs=1e-7)
    assert errors["mean_abs"] == pytest.approx(float((again - x).abs().mean()), rel=0.1, abs=1e-8)
    assert (errors["values"], errors["values_not_finite"]) == (180 * 64, 0)
    assert errors["values_changed"] <= 180 * 64 * 1e-3
    picture = cells(tmp_path / "reconstruction.png", 10)
    assert np.array_equal(picture[0], pixels[:10, 0].numpy())
    assert np.mean(picture[0] == picture[1]) > 0.99
    shown = capsys.readouterr().out
    assert f"{found['bits_per_dim']:.4f} ± {found['standard_error']:.4f}" in shown
    assert (tmp_path / "evaluation.txt").read_text("utf-8") in shown
    assert "bits_per_original_dim" not in found


def test_images_that_cost_more_than_raw_are_told_apart(digits, models, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        image_bits, "bits_per_dim", lambda log_prob, **_: torch.where(log_prob == log_prob.max(), 1000.0, 3.0)
    )
    assert run("evaluate", "-c", models / "glow", "--data", digits, tmp_path, "--batch-size", "180") == 0
    found = facts(tmp_path / "evaluation.json")
    assert (found["images_beyond_raw"], found["bits_per_dim_within_raw"]) == (1, 3.0)
    assert (found["median_bits_per_dim"], found["bits_per_dim"]) == (3.0, pytest.approx(3 + 997 / 180))
    assert "1 images cost more than the 4 bits" in capsys.readouterr().out


def test_some_images_of_another_split(digits, models, tmp_path):
    options = ["--split", "valid", "--images", "20", "--seed", "4"]
    assert run("evaluate", "-c", models / "glow", "--data", digits, tmp_path, *options) == 0
    found = facts(tmp_path / "evaluation.json")
    assert (found["images"], found["split"]) == (20, "valid")
    assert run("evaluate", "-c", models / "glow", "--data", digits, tmp_path / "b", *options, "--batch-size", "7") == 0
    again = facts(tmp_path / "b" / "evaluation.json")
    assert again["bits_per_dim"] == pytest.approx(found["bits_per_dim"], rel=1e-6)
    assert run("evaluate", "-c", models / "glow", "--data", digits, tmp_path / "c", *options[:-1], "5") == 0
    assert facts(tmp_path / "c" / "evaluation.json")["bits_per_dim"] != pytest.approx(found["bits_per_dim"], rel=1e-6)


def test_bits_per_original_value_of_padded_images(digits, models, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(image_bits.PADDED, "digits", 4)
    assert run("evaluate", "-c", models / "glow", "--data", digits, tmp_path, "--images", "5") == 0
    found = facts(tmp_path / "evaluation.json")
    assert found["bits_per_original_dim"] == pytest.approx(4 * found["bits_per_dim"])
    assert f"{found['bits_per_original_dim']:.4f} per value of 4×4" in capsys.readouterr().out
    assert image_bits.PADDED == {"fashion-mnist": 28, "mnist-5k": 28, "digits": 4}


def test_what_is_not_finite_is_counted_and_left_out(digits, models, tmp_path, monkeypatch, capsys):
    true = image_bits.bits_per_dim

    def with_infinity(log_prob, **numbers):
        bits = true(log_prob, **numbers)
        return torch.where(torch.arange(len(bits)) == 1, torch.inf, bits)

    monkeypatch.setattr(image_bits, "bits_per_dim", with_infinity)
    decode = FlowImage.decode
    monkeypatch.setattr(FlowImage, "decode", lambda *args: decode(*args).index_fill(0, torch.tensor([2]), torch.nan))
    assert run("evaluate", "-c", models / "glow", "--data", digits, tmp_path) == 3
    found, model = facts(tmp_path / "evaluation.json"), flow(models)
    bits = model.bits_per_dim(images_of(digits).pixels(range(180)), seed=range(180)).double()
    kept = torch.tensor([place % 64 != 1 for place in range(180)])
    assert found["images_not_finite"] == 3
    assert found["bits_per_dim"] == pytest.approx(float(bits[kept].mean()), rel=1e-5)
    assert found["reconstruction"]["values_not_finite"] == 3 * 64
    assert found["reconstruction"]["mean_abs"] < 1e-3
    said = capsys.readouterr()
    assert "notice: some results aren't finite" in said.err
    assert "3 images, left out of the mean" in said.out


def test_decoded_values_out_of_range_are_counted(digits, models, tmp_path, monkeypatch, capsys):
    decode = FlowImage.decode
    monkeypatch.setattr(FlowImage, "decode", lambda *args: decode(*args) + 9)
    assert run("evaluate", "-c", models / "glow", "--data", digits, tmp_path, "--images", "10") == 0
    assert facts(tmp_path / "evaluation.json")["reconstruction"]["values_out_of_range"] == 640
    assert " 640 out of range, 0 not finite" in capsys.readouterr().out


def test_a_broken_model_has_no_bits(digits, models, tmp_path):
    model, config = build(checkpoint.load(models / "glow").model_config), checkpoint.load(models / "glow").model_config
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    checkpoint.save(tmp_path / "model", model, config)
    assert run("evaluate", "-c", tmp_path / "model", "--data", digits, tmp_path / "out", "--images", "4") == 3
    found = facts(tmp_path / "out" / "evaluation.json")
    assert (found["images_not_finite"], found["bits_per_dim"], found["standard_error"]) == (4, None, None)
