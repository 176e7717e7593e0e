"""`waveglow image`: what verbs take, write and print, and one sentence for every fault; tests/pictures has the rest."""

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
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from waveglow.cli.image import VERBS, completed
from waveglow.cli.image import prepare as image_prepare
from waveglow.cli.main import main
from waveglow.config import ConfigError
from waveglow.data.image_sources import CELEBA_TERMS
from waveglow.data.images import prepare_images
from waveglow.flows.compose import MultiScale
from waveglow.models import checkpoint
from waveglow.models.flow_image import FlowImage
from waveglow.models.registry import build
from waveglow.pictures import open_model, read_directions, sample
from waveglow.pictures.directions import FILE

GLOW = {"name": "glow", "n_levels": 2, "n_steps": 2, "n_hidden": 8}


def run(*arguments: object) -> int:
    """The exit code, also where argparse leaves by itself."""
    try:
        return main(["image", *map(str, arguments)])
    except SystemExit as left:
        return int(left.code or 0)


def facts(path: Path) -> dict:
    return json.loads(path.read_text("utf-8"))


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
    assert completed(given) == ["--alphas=-1,-.5,0", "--seed", "-1", "-n", "-1,2", "a.png"]


OUT, DATA = "{tmp}/out.png", ["--data", "{digits}"]
RUNS = {
    "sample": ["sample", OUT],
    "interpolate": ["interpolate", *DATA, OUT],
    "attributes": ["attributes", *DATA, "{tmp}/out"],
    "manipulate": ["manipulate", "--directions", "{tmp}", "--attribute", "3", *DATA, OUT],
    "evaluate": ["evaluate", *DATA, "{tmp}/out"],
}


@pytest.fixture
def call(digits, image_models, tmp_path, capsys):
    """`call(arguments, model=…)` fills in {digits}, {models} and {tmp}; returns the exit code and what stderr says."""

    def go(arguments, model: object = None) -> tuple[int, str]:
        chosen = [] if model is None else ["-c", model]
        filled = [str(a).format(digits=digits, models=image_models, tmp=tmp_path) for a in [*arguments, *chosen]]
        return run(*filled), capsys.readouterr().err

    return go


@pytest.mark.parametrize("verb", RUNS)
@pytest.mark.parametrize(
    ("model", "options", "code", "message"),
    [
        ("{tmp}/absent", [], 4, "absent: does not exist"),
        ("{digits}", [], 4, "is no checkpoint"),
        ("lapglow", [], 4, "is lapglow, a vocoder; `waveglow image` takes nice, realnvp, glow, tarflow and jet"),
        ("{models}/glow", ["--device", "gpu"], 2, "--device gpu can't be used"),
        ("{models}/glow", ["--threads", "0"], 2, "--threads is 0"),
        ("{models}/glow", ["--seed", "-1"], 2, "--seed: -1 is no whole number from 0 to"),
    ],
)
def test_what_no_verb_takes(call, tmp_path, verb, model, options, code, message):
    found, said = call([*RUNS[verb], *options], model)
    assert found == code
    assert message in said
    assert not (tmp_path / "out.png").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("model", ["tarflow", "jet"])
def test_every_verb_takes_the_flows_of_transformers(call, tmp_path, model):
    chosen = ["-c", "{models}/" + model]
    verbs = {
        "samples.png": ["sample", "-n", "2", "--temperatures", "0.7"],
        "between.png": ["interpolate", *DATA, "--pairs", "1", "--steps", "2"],
        "scores": ["evaluate", *DATA, "--images", "10"],
        "found": ["attributes", *DATA, "--images", "100", "--faces", "1", "--alphas", "0,1"],
        "moved.png": ["manipulate", *DATA, "--directions", "{tmp}/found", "--attribute", "3", "--images", "2"],
    }
    for out, arguments in verbs.items():
        code, said = call([*arguments, "{tmp}/" + out, *chosen])
        assert (code, "notice" in said) == (0, False), said
        assert (tmp_path / out).exists()


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("glow", ["--guidance", "1"], "this model has no classes, and there is nothing to guide by; leave it out"),
        ("classes", ["--guidance", "1"], "this model needs a class for each image, and there is nothing to guide by"),
        ("tarflow", ["--guidance", "-1"], "guidance is -1.0; it must be a finite number >= 0"),
        ("tarflow", ["--denoise", "nan"], "the noise to take off is nan; it must be a finite number >= 0"),
    ],
)
def test_guidance_and_denoising_that_cannot_be(call, tmp_path, model, options, message):
    code, said = call([*RUNS["sample"], *options, "-n", "1"], "{models}/" + model)
    assert code == 2
    assert message in said
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("verb", ["interpolate", "attributes", "evaluate"])
def test_data_of_another_shape(call, tmp_path, verb):
    config = {**GLOW, "image_size": 16, "channels": 3}
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
        (["--dataset", "digits", "--size", "0", "{tmp}/out"], "0 is no whole number >= 1"),
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


def test_samples_and_their_numbers(image_models, tmp_path, capsys):
    options = ["-n", 5, "--temperatures", "0,0.7,1", "--seed", 3]
    assert run("sample", "-c", image_models / "glow", tmp_path / "a.png", *options) == 0
    found, shown = facts(tmp_path / "a.json"), capsys.readouterr().out
    assert (found["seeds"], found["seed"], found["step"]) == ([3, 4, 5, 6, 7], 3, 7)
    assert re.search(rf"a\.png: 15 images, {found['seconds_per_image']:.3f} s each; a\.json\n", shown)
    assert re.search(rf"^ +0\.7 +{found['rows'][1]['out_of_range'] / 320:.2%} +0$", shown, re.MULTILINE)
    assert run("sample", "-c", image_models / "glow", tmp_path / "b.png", *options, "--batch-size", "2") == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_folder_gets_each_image_by_itself(image_models, tmp_path):
    options = ["-n", "3", "--temperatures", "0.5", "--seed", 8]
    assert run("sample", "-c", image_models / "glow", tmp_path / "out", *options) == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["samples.json", "samples.png", "t0.5_10.png", "t0.5_8.png", "t0.5_9.png"]
    expected = sample(open_model(image_models / "glow", device="cpu", seed=9), 1, temperatures=[0.5]).images["t0.5_9"]
    with Image.open(tmp_path / "out" / "t0.5_9.png") as image:
        assert np.array_equal(np.asarray(image), expected[0].numpy())


def test_samples_of_a_class(image_models, tmp_path):
    assert run("sample", "-c", image_models / "classes", tmp_path / "a.png", "-n", "2", "--label", "4") == 0
    assert facts(tmp_path / "a.json")["labels"] == [4, 4]


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("glow", ["--label", "1"], "--label is 1; this model has no classes"),
        ("classes", ["--label", "10"], "--label is 10; this model has classes 0 to 9"),
        ("glow", ["--temperatures", "-1,1"], "temperature is -1.0; it must be a finite number >= 0"),
        ("glow", ["--temperatures", "0.7;1"], "'0.7;1' is no list of finite numbers"),
        ("glow", ["--temperatures", "nan"], "no list of finite numbers"),
        ("glow", ["-n", "0"], "0 is no whole number >= 1"),
    ],
)
def test_what_cannot_be_sampled(call, tmp_path, model, options, message):
    code, said = call([*RUNS["sample"], *options], f"{{models}}/{model}")
    assert code == 2
    assert message in said
    assert not (tmp_path / "out.png").exists()


# ---- interpolate -----------------------------------------------------------------------------------------------------


@pytest.fixture
def far_too_bright(monkeypatch):
    """Every decoded value is beyond white."""
    inverse = MultiScale.inverse
    monkeypatch.setattr(MultiScale, "inverse", lambda *args: inverse(*args) + 9)


def test_every_verb_tells_how_many_values_are_out_of_range(
    attributes, digits, image_models, tmp_path, far_too_bright, capsys
):
    moved = ["--directions", attributes, "--attribute", "3"]
    for verb in (["interpolate"], ["manipulate", *moved], ["attributes", "--images", "50", "--faces", "1"]):
        assert run(*verb, "-c", image_models / "glow", "--data", digits, tmp_path / verb[0]) == 0
        assert "100.00% of values out of range, 0 not finite" in capsys.readouterr().out
    assert run("sample", "-c", image_models / "glow", tmp_path / "sample", "--temperatures", "1") == 0
    assert re.search(r"^ +1 +100.00% +0$", capsys.readouterr().out, re.MULTILINE)


@pytest.fixture
def photos(tmp_path) -> list[Path]:
    """Two pictures, not square, and in colour."""
    made = []
    for i in range(2):
        noise = np.random.default_rng(i).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"photo{i}.png")
        made.append(tmp_path / f"photo{i}.png")
    return made


def test_interpolation_of_photos(image_models, photos, tmp_path, capsys):
    options = ["--steps", "3", "--way", "spherical", "--label", "4,7"]
    assert run("interpolate", "-c", image_models / "classes", *photos, tmp_path / "out", *options) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    frames = {f"pair1_spherical_00{i}.png" for i in range(3)}
    assert names == {"interpolation.json", "interpolation.png", *frames}
    found = facts(tmp_path / "out" / "interpolation.json")
    assert (found["photos"], found["labels"]) == ([str(photo) for photo in photos], [4, 7])
    assert "interpolation.png: 1 rows of 3 steps; " in capsys.readouterr().out


def test_interpolation_of_data(image_models, digits, tmp_path, capsys):
    options = ["--data", digits, "--split", "valid", "--pairs", "2", "--steps", "4", "--seed", "1"]
    assert run("interpolate", "-c", image_models / "glow", *options, tmp_path / "a.png") == 0
    found = facts(tmp_path / "a.json")
    assert (found["split"], found["steps"], found["seed"]) == ("valid", 4, 1)
    assert [row["way"] for row in found["rows"]] == ["linear", "spherical"] * 2
    assert "a.png: 4 rows of 4 steps; " in capsys.readouterr().out


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
def attributes(image_models, digits, tmp_path_factory) -> Path:
    """What `attributes` makes of 300 images, in batches of unequal size."""
    out = tmp_path_factory.mktemp("attributes") / "out"
    options = ["--images", "300", "--batch-size", "77", "--faces", "2", "--alphas", "-1,0,2"]
    assert run("attributes", "-c", image_models / "glow", "--data", digits, out, *options) == 0
    return out


def test_what_attributes_writes(attributes, image_models):
    found = facts(attributes / "directions.json")
    assert {path.name for path in attributes.iterdir()} == {"attributes.png", "directions.json", FILE}
    assert (found["images"], found["method"]) == (300, "difference of means")
    assert (found["drawn"]["alphas"], len(found["drawn"]["images"])) == ([-1, 0, 2], 2)
    directions = read_directions(attributes, open_model(image_models / "glow", device="cpu"))
    assert directions.facts == {key: value for key, value in found.items() if key != "drawn"}


def test_the_regression_is_asked_for(image_models, digits, tmp_path, capsys):
    options = ["--images", "300", "--faces", "1", "--regress"]
    assert run("attributes", "-c", image_models / "glow", "--data", digits, tmp_path, *options) == 0
    found = facts(tmp_path / "directions.json")
    assert found["method"] == "least-squares fit to all attributes"
    assert capsys.readouterr().out.splitlines()[4].split()[:2] == ["3", str(found["attributes"][3]["with"])]


def test_an_attribute_of_all_images_has_no_direction(image_models, digits, tmp_path, capsys):
    options = ["--images", "6", "--faces", "1"]
    assert run("attributes", "-c", image_models / "glow", "--data", digits, tmp_path / "out", *options) == 0
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
    config = {**GLOW, "image_size": 8, "channels": 3}
    checkpoint.save(tmp_path / "model", build(config), config)
    code, said = call(["attributes", "--data", "{tmp}/data", "{tmp}/out"], tmp_path / "model")
    assert code == 2
    assert "imagefolder has neither attributes nor classes" in said


# ---- manipulate ------------------------------------------------------------------------------------------------------


def test_manipulation_of_photos(attributes, image_models, photos, tmp_path, capsys):
    given = ["--directions", attributes / "directions.safetensors", "--attribute", "3", "--alphas", "1"]
    (tmp_path / "bad.png").write_text("no picture")
    sources = [photos[0], tmp_path / "bad.png", photos[1]]
    assert run("manipulate", "-c", image_models / "glow", *given, *sources, tmp_path / "out") == 3
    said = capsys.readouterr()
    assert "failed: " in said.err
    assert "bad.png: is no picture" in said.err
    assert "2 pictures, 3 × 1" in said.out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"1_photo0_+1.png", "2_photo1_+1.png", "manipulated.json", "manipulated.png"}
    found = facts(tmp_path / "out" / "manipulated.json")
    assert found["directions"] == str(attributes / "directions.safetensors")
    assert [row["image"] for row in found["rows"]] == ["photo0", "photo1"]
    assert len(found["failed"]) == 1


def test_manipulation_of_data(attributes, image_models, digits, tmp_path):
    options = ["--attribute", "3=2", "--attribute", "5=-1", "--alphas", "-.5,0", "--images", "3", "--split", "valid"]
    given = ["--directions", attributes, "--data", digits, tmp_path / "a.png"]
    assert run("manipulate", "-c", image_models / "glow", *given, *options) == 0
    found = facts(tmp_path / "a.json")
    assert (found["weights"], found["split"], len(found["rows"])) == ({"3": 2.0, "5": -1.0}, "valid", 3)
    assert [alpha["alpha"] for alpha in found["rows"][0]["alphas"]] == [-0.5, 0]


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
def trained(image_models, tmp_path) -> Path:
    """A training run with a TensorBoard, whose best checkpoint is `glow`."""
    shutil.copytree(image_models / "glow", tmp_path / "run" / "best")
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


def test_what_evaluate_writes_and_prints(image_models, digits, tmp_path, capsys):
    options = ["--images", "20", "--split", "valid", "--seed", "4", "--batch-size", "7"]
    assert run("evaluate", "-c", image_models / "glow", "--data", digits, tmp_path, *options) == 0
    found, said = facts(tmp_path / "evaluation.json"), capsys.readouterr()
    assert (found["images"], found["split"], found["seed"]) == (20, "valid", 4)
    assert f"{found['bits_per_dim']:.4f} ± {found['standard_error']:.4f}" in said.out
    assert (tmp_path / "evaluation.txt").read_text("utf-8") in said.out
    assert "notice" not in said.err
    assert (tmp_path / "reconstruction.png").is_file()


def test_results_that_are_not_finite_end_with_3(image_models, digits, tmp_path, monkeypatch, capsys):
    decode = FlowImage.decode
    monkeypatch.setattr(FlowImage, "decode", lambda *args: decode(*args).index_fill(0, torch.tensor([2]), torch.nan))
    assert run("evaluate", "-c", image_models / "glow", "--data", digits, tmp_path, "--images", "20") == 3
    assert facts(tmp_path / "evaluation.json")["reconstruction"]["values_not_finite"] == 64
    assert "notice: some results aren't finite" in capsys.readouterr().err


# ---- report ----------------------------------------------------------------------------------------------------------


def test_report(tmp_path, capsys):
    line = {"kind": "train", "step": 1, "bits_per_dim": 3.0, "elapsed_seconds": 1.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    assert run("report", tmp_path) == 0
    assert run("report", tmp_path, "--out", tmp_path / "other.html") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'report.html'}\n{tmp_path / 'other.html'}\n"
    assert (tmp_path / "report.html").read_bytes() == (tmp_path / "other.html").read_bytes()
    assert "bits per dimension" in (tmp_path / "report.html").read_text("utf-8")
