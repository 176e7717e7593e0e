"""An exported vocoder gives the audio of the vocoder, for every model of the registry, without torch."""

from __future__ import annotations

import inspect
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
import torch

from waveglow.audio.io import load_audio
from waveglow.audio.mel import preset
from waveglow.audio.signals import hum, snr
from waveglow.cli.main import main
from waveglow.evaluation.exported import compared
from waveglow.export.onnx import _drawn, export_onnx
from waveglow.export.onnx_runtime import Latent, OnnxFileError, OnnxVocoder
from waveglow.models import checkpoint
from waveglow.models.registry import VOCODERS, build_vocoder
from waveglow.noise import HEAVY_TAILED, LEAST_REFINED_SIGMA
from waveglow.vocoder import Vocoder

SMALL = {"sample_rate": 8000, "n_fft": 64, "hop": 16, "win": 64, "n_mels": 4, "fmax": None}
SPEC = replace(preset("hifigan"), name="small", **SMALL, pad_left=24, pad_right=24)
TINY = {"n_mels": 4, "hop": 16, "n_channels": 8, "n_layers": 1, "n_flows": 2, "n_early_every": 1, "upsample_kernel": 32}
TINY |= {"bands": 8, "n_high": 2, "n_early_size": 1, "n_cond": 4}  # of lapglow
TINY |= {"n_group": 8, "n_blocks": 2, "blocks_per_split": 1, "n_height": 4, "n_embedding": 3}
NAMES = [name for name in VOCODERS if not re.search(r"\d$", name)]  # they differ in size alone
NAMES.append("lapglow, heavy-tailed")


def config_of(title: str) -> dict:
    name, _, base = title.partition(", ")
    known = inspect.signature(VOCODERS[name]).parameters
    config = {"name": name, **{key: value for key, value in TINY.items() if key in known}}
    return config | ({"high_base": base} if base else {})


@pytest.fixture(scope="module")
def file_of(tmp_path_factory):
    """Title to (vocoder of random weights, its file), each made once; lapglow has two steps of refinement."""

    @cache
    def made(title):
        torch.manual_seed(0)
        model = build_vocoder(config_of(title))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
        refine = 2 if title == "lapglow" else 0
        export_onnx(model, SPEC, path, refine=refine)
        return Vocoder(model, SPEC, refine=refine), path

    return made


@pytest.fixture(scope="module", params=NAMES)
def exported(request, file_of):
    """(vocoder, its file) of each model."""
    return file_of(request.param)


@pytest.fixture(scope="module")
def lapglow(file_of):
    """(vocoder, its file) that refines."""
    return file_of("lapglow")


@pytest.fixture(scope="module")
def of_lapglow(tmp_path_factory):
    """Checkpoint directory of a lapglow."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("lapglow")
    config = config_of("lapglow")
    model = build_vocoder(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    checkpoint.save(folder / "ckpt", model, model_config=config, mel_spec=SPEC, info={"refine": 1})
    return folder / "ckpt"


def recordings(folder):
    """A folder of two, of noise."""
    (folder / "wavs").mkdir()
    for seed in range(2):
        samples = 0.1 * np.random.default_rng(seed).standard_normal(16 * 60)
        soundfile.write(folder / "wavs" / f"{seed}.wav", samples, SPEC.sample_rate)
    return folder / "wavs"


def mel_of(frames: int, batch: int = 1) -> np.ndarray:
    return np.random.default_rng(frames).standard_normal((batch, SPEC.n_mels, frames)).astype(np.float32) - 4


@pytest.mark.parametrize(("batch", "frames"), [(1, 4), (3, 7), (2, 50)])
def test_audio_is_the_vocoders(exported, batch, frames):
    vocoder, path = exported
    mel, seeds = mel_of(frames, batch), list(range(7, 7 + batch))
    for sigma in (0.8, 1.0):  # at 1 a heavy-tailed base draws its tails
        expected = vocoder.synthesize(mel, sigma=sigma, seed=seeds).numpy()
        assert expected.std() > 1e-3
        given = OnnxVocoder(path).synthesize(mel, sigma=sigma, seed=seeds)
        np.testing.assert_allclose(given, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_the_file_names_the_base_of_each_latent_and_older_ones_have_the_normal(exported):
    vocoder, path = exported
    runtime = OnnxVocoder(path)
    assert tuple(latent.base for latent in runtime.latents) == vocoder.model.bases
    assert Latent(*[8, 1]).base == "normal"


def test_info_tells_what_the_file_is(exported, capsys):
    vocoder, path = exported
    assert main(["info", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["refine"], facts["int8"], facts["bytes"]) == (vocoder.refine, False, path.stat().st_size)
    assert facts["mel_fingerprint"] == vocoder.mel_spec.fingerprint
    assert len(facts["latents"]) == len(vocoder.model.latent_shapes(SPEC.hop))


def test_a_long_mel_is_synthesized_in_pieces(exported, monkeypatch):
    _, path = exported
    runtime, mel = OnnxVocoder(path), mel_of(230, 2)
    whole = runtime.synthesize(mel, seed=[3, 4])
    monkeypatch.setattr("waveglow.export.onnx_runtime.MAX_PIECE_FRAMES", 64)
    asked, feed = [], runtime.feed
    monkeypatch.setattr(
        runtime, "feed", lambda mels, *rest, **first: asked.append(mels.shape[-1]) or feed(mels, *rest, **first)
    )
    pieces = runtime.synthesize(mel, seed=[3, 4])
    np.testing.assert_allclose(pieces, whole, rtol=0, atol=1e-4 * np.abs(whole).max())
    assert (np.concatenate([*runtime.pieces(mel, seed=[3, 4])], axis=-1) == pieces).all()
    del asked[len(asked) // 2 :]
    assert len(asked) == 5  # the last one, of what no frame follows
    assert max(asked) < 230


@pytest.mark.parametrize("frames", [1, 2])
def test_a_mel_of_a_frame_or_two(exported, frames):
    vocoder, path = exported
    assert SPEC.hop < SPEC.min_samples  # one frame is shorter than refinement takes
    expected = vocoder.synthesize(mel_of(frames)[0], seed=5).numpy()
    given = OnnxVocoder(path).synthesize(mel_of(frames)[0], seed=5)
    np.testing.assert_allclose(given, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_one_file_whose_metadata_tells_all(exported):
    vocoder, path = exported
    file = onnx.load(path, load_external_data=False)
    assert file.opset_import[0].version == 18
    assert file.ir_version == 8  # the lowest of opset 18: onnxruntime reads it from 1.14 on
    assert {prop.key for prop in file.metadata_props} >= {"waveglow", "model_type", "sample_rate"}
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert OnnxVocoder(path).mel_spec == vocoder.mel_spec


def test_runs_without_torch(exported, tmp_path):
    _, path = exported
    np.save(tmp_path / "mel.npy", mel_of(9)[0])
    arguments = ["synth", "-c", str(path), str(tmp_path / "mel.npy"), str(tmp_path / "a.wav"), "--refine", "0"]
    script = (
        f"import sys; from waveglow.cli.main import main; code = main({arguments!r}); "
        "sys.exit(code or 7 * ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.wav").is_file()


def test_steps_are_the_callers(lapglow):
    vocoder, path = lapglow
    runtime, mel = OnnxVocoder(path), mel_of(20)[0]
    for refine in (0, 1, 5, None):
        expected = vocoder.synthesize(mel, seed=3, refine=refine).numpy()
        given = runtime.synthesize(mel, seed=3, refine=refine)
        np.testing.assert_allclose(given, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
        assert runtime.reach(refine) == vocoder.reach(refine)
    loops = [node for node in onnx.load(path).graph.node if node.op_type == "Loop"]
    assert len(loops) == 1
    with pytest.raises(ValueError, match="whole number of steps"):
        runtime.synthesize(mel, refine=-1)


def test_at_sigma_0_empty_bands_are_not_filled_with_rounding(lapglow):
    vocoder, path = lapglow
    for voice in (vocoder, OnnxVocoder(path)):
        least = voice.synthesize(mel_of(20)[0], sigma=LEAST_REFINED_SIGMA)
        assert np.array_equal(voice.synthesize(mel_of(20)[0], sigma=0), least)
        assert not np.array_equal(voice.synthesize(mel_of(20)[0], sigma=0, refine=0), least)


@pytest.mark.parametrize("batch", [0, 2])
def test_a_stream_is_what_synthesis_gives(lapglow, batch):
    runtime = OnnxVocoder(lapglow[1])
    mel = mel_of(150, 2) if batch else mel_of(150)[0]
    options = {"sigma": 0.8, "seed": [1, 2] if batch else 1, "refine": 1}
    pieces = [*runtime.stream(np.split(mel, [1, 60, 110], axis=-1), **options)]
    whole = runtime.synthesize(mel, **options)
    assert len(pieces) > 1
    np.testing.assert_allclose(np.concatenate(pieces, -1), whole, rtol=0, atol=1e-4 * np.abs(whole).max())
    assert [*runtime.stream([])] == []
    runtime._context = {4: 10}  # as measured for a checkpoint: with fewer frames around them, pieces come earlier
    assert len([*runtime.stream(np.split(mel, [20, 60, 110], axis=-1), **options)]) == 5
    gathered = runtime.stream(np.split(mel, 15, axis=-1), gather=32, check=False, **options)
    assert [piece.shape[-1] // SPEC.hop for piece in gathered] == [40, 40, 40, 30]
    with pytest.raises(ValueError, match="gather is 0"):
        next(runtime.stream([mel], gather=0))
    with pytest.raises(ValueError, match="context is -1"):
        next(runtime.stream([mel], context=-1))
    with pytest.raises(ValueError, match="those before it"):
        [*runtime.stream([mel_of(5, 2), mel_of(5, 3)])]


def test_verbs_take_a_file_as_a_checkpoint(lapglow, tmp_path, capsys):
    vocoder, path = lapglow
    wav, out = tmp_path / "a.wav", tmp_path / "out.wav"
    samples = 0.1 * np.random.default_rng(0).standard_normal(5000)
    soundfile.write(wav, samples, 9000)
    assert main(["resynth", "-c", str(path), str(wav), str(out), "--refine", "1", "--seed", "4"]) == 0
    recording = load_audio(wav, sample_rate=SPEC.sample_rate).samples
    expected = vocoder(recording, SPEC.sample_rate, seed=4, refine=1).numpy().clip(-1, 1)
    copy, rate = soundfile.read(out)
    assert rate == SPEC.sample_rate
    np.testing.assert_allclose(copy, expected, rtol=0, atol=1e-4)
    assert main(["denoise", "-c", str(path), str(wav), str(out)]) == 0
    np.testing.assert_allclose(soundfile.read(out)[0], vocoder.denoise(recording).numpy(), rtol=0, atol=2e-4)
    assert main(["mel", "-c", str(path), str(wav), str(tmp_path / "a.npy")]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "a.npy"), vocoder.mel(recording, SPEC.sample_rate), atol=1e-4)
    assert main(["mel-check", str(path), str(path)]) == 0
    synth = ["synth", "-c", str(path), str(tmp_path / "a.npy"), str(out), "--denoise", "0.2"]
    assert main(synth) == 0
    expected = vocoder.denoise(vocoder.synthesize(np.load(tmp_path / "a.npy")), 0.2).numpy().clip(-1, 1)
    np.testing.assert_allclose(soundfile.read(out)[0], expected, rtol=0, atol=3e-4)
    assert "equal" in capsys.readouterr().out


def test_a_files_streams_are_measured(lapglow, capsys):
    """One piece of the stream is exact with the file's own context, and not without any."""
    _, path = lapglow
    short = ["-c", str(path), "--threads", "1", "--json"]
    assert (
        main(["bench", "streaming", *short, "--chunks", "8", "--contexts", "0", "--seconds", "1", "--repeats", "1"])
        == 0
    )
    latency, exactness, _ = (table["rows"] for table in json.loads(capsys.readouterr().out)["tables"])
    assert {row["chunk_frames"] for row in latency} == {8}
    assert all((row["snr_db"] > 80) == (row["context"] == "own") for row in exactness)
    assert main(["bench", "long", *short, "--hours", "0.0005", "--chunk", "16"]) == 0
    assert json.loads(capsys.readouterr().out)["tables"][0]["rows"]
    assert main(["bench", "long", *short, "--precision", "bf16"]) == 2
    assert "--precision is fixed in an .onnx file" in capsys.readouterr().err


def test_a_file_is_evaluated(lapglow, tmp_path, capsys):
    (tmp_path / "wavs").mkdir()
    soundfile.write(tmp_path / "wavs" / "a.wav", hum(0.5, SPEC.sample_rate), SPEC.sample_rate)
    arguments = ["-c", str(lapglow[1]), str(tmp_path / "wavs"), str(tmp_path / "scores")]
    against = ["--against", str(lapglow[1])]
    assert main(["evaluate", *arguments, "--metrics", "mr_stft,nll,rtf", "--sigmas", "none", *against]) == 0
    results = json.loads((tmp_path / "scores" / "evaluation.json").read_text())
    assert results["rows"]["vocoder"]["scores"]["mr_stft"]["mean"] > 0
    assert results["rows"]["vocoder, not refined"]["scores"]["mr_stft"]["mean"] > 0
    assert results["against"]["paired"]["mr_stft"]["mean"] == 0
    assert results["model"]["parameters"] == lapglow[0].parameters
    assert "an .onnx file only synthesizes" in capsys.readouterr().err


def test_from_the_shell_in_8_bits_with_the_noise_drawn(of_lapglow, tmp_path, capsys):
    path = tmp_path / "a.onnx"
    arguments = [str(of_lapglow), str(path), "--drawn-noise", "0.5", "--int8", str(recordings(tmp_path))]
    assert main(["export", "onnx", *arguments]) == 0
    assert "without its noise it differs from the checkpoint" in capsys.readouterr().out
    weights = {w.name: w.data_type for w in onnx.load(path).graph.initializer}
    in_int8 = {name for name, kind in weights.items() if kind == onnx.TensorProto.INT8}
    assert any(".dilated." in name for name in in_int8)
    assert not any(".end." in name or "conditioner" in name for name in in_int8)

    session = onnxruntime.InferenceSession(path)
    assert [entry.name for entry in session.get_inputs()] == ["mel"]
    assert session.get_modelmeta().custom_metadata_map["model_type"] == "hifigan"
    first, second = (session.run(None, {"mel": mel_of(20)})[0] for _ in range(2))
    assert first.shape == (1, 20 * SPEC.hop)
    assert np.abs(first - second).std() > 0.01
    assert main(["info", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["latents"], facts["sigma"], facts["int8"]) == ("drawn in the graph", 0.5, True)
    assert facts["refine_scheme"] == "fast"  # as of checkpoints that name none

    runtime, mel = OnnxVocoder(path), mel_of(60)[0]
    expected = Vocoder.load(of_lapglow).synthesize(mel, sigma=0, refine=0)
    assert 15 < snr(expected, torch.from_numpy(runtime.synthesize(mel, sigma=0, refine=0))) < 100
    quiet, loud = (runtime.synthesize(mel, sigma=sigma, refine=0).std() for sigma in (0.1, 3.0))
    assert quiet < loud
    np.save(tmp_path / "mel.npy", mel)
    synth = ["synth", "-c", str(path), str(tmp_path / "mel.npy"), str(tmp_path / "a.wav")]
    assert main(synth) == 0
    assert main([*synth, "--seed", "3"]) == 3
    assert "draws its own noise; leave the seed out" in capsys.readouterr().err
    with pytest.raises(ValueError, match="draws its own noise, other in every piece"):
        next(runtime.stream([mel]))


def test_noise_drawn_in_a_graph_has_the_bases_tails():
    """As `ScaleMixture.at` has them, whose sigma is no tensor."""
    torch.manual_seed(0)
    for sigma in (0.0, 0.7, 1.0, 1.5):
        drawn = _drawn("heavy-tailed", (4, 250_000), torch.tensor(sigma)).abs()
        for limit in (8.0, 60.0):
            tails = [math.erfc(limit / scale / math.sqrt(2)) for scale in HEAVY_TAILED.scales]
            share = sum(weight * tail for weight, tail in zip(HEAVY_TAILED.at(sigma), tails, strict=True))
            assert float((drawn > limit).double().mean()) == pytest.approx(share, rel=0.1, abs=5e-6)


@pytest.mark.parametrize("title", ["lapglow", "lapglow, heavy-tailed", "waveglow"])
@pytest.mark.parametrize("sigma", [0.7, 1.5])
def test_the_client_of_the_docs_gives_the_vocoders_audio(file_of, tmp_path, monkeypatch, title, sigma):
    vocoder, path = file_of(title)
    page = (Path(__file__).parents[2] / "docs" / "howto" / "runtimes.md").read_text(encoding="utf-8")
    [client] = [code for code in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S) if "Philox" in code]
    assert "waveglow." not in client
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mels").mkdir()
    np.save(tmp_path / "mels" / "en-followme-sorry.npy", mel := mel_of(600)[0])  # 1 200 places: more than a block
    program = {}
    client = client.replace('"voice.onnx"', repr(str(path))).replace(
        'about["sigma"]', f'{sigma} * about["sigma"] / 0.7'
    )
    exec(client, program)
    expected = vocoder.synthesize(mel, sigma=sigma).numpy()
    np.testing.assert_allclose(program["audio"][0], expected, rtol=0, atol=1e-4 * np.abs(expected).max())


# ---- What goes wrong -------------------------------------------------------------------------------------------------


ABOUT = {"refine": 0, "int8": False, "mel_spec": SPEC.to_dict()}


def graph_with(metadata: dict[str, str]) -> bytes:
    value = onnx.helper.make_tensor_value_info("mel", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["mel"], ["audio"])], "g", [value], [
        onnx.helper.make_tensor_value_info("audio", onnx.TensorProto.FLOAT, [1])
    ])  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.helper.set_model_props(model, metadata)
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"RIFF", "no ONNX file"),
        (graph_with({}), "says nothing of its mel"),
        (graph_with({"waveglow": "{"}), "can't be understood"),
        (graph_with({"waveglow": json.dumps({"mel_spec": {"hop": 1}})}), "can't be understood"),
        (graph_with({"waveglow": json.dumps({**ABOUT, "stream_context": [1]})}), "can't be understood"),
        (graph_with({"waveglow": json.dumps({**ABOUT, "refine": 2, "latents": [[4, 1]]})}), "an older version"),
        (
            graph_with({"waveglow": json.dumps({**ABOUT, "latents": [[4, 1, "cauchy"]]})}),
            "follow 'cauchy', which is unknown",
        ),
    ],
)
def test_a_file_that_is_no_vocoder_of_ours(tmp_path, capsys, content, message):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    np.save(tmp_path / "mel.npy", mel_of(9)[0])
    assert main(["synth", "-c", str(path), str(tmp_path / "mel.npy"), str(tmp_path / "a.wav")]) == 4
    said = capsys.readouterr().err
    assert str(path) in said
    assert message in said


def test_a_checkpoint_is_no_file_for_onnxruntime(of_lapglow, capsys):
    assert main(["synth", "-c", str(of_lapglow), "--runtime", "onnx", "mel.npy", "a.wav"]) == 4
    assert "waveglow export onnx" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--precision", "bf16"], "--precision is fixed in an .onnx file"),
        (["--device", "cuda"], "--device is fixed in an .onnx file"),
        (["--threads", "0"], "threads is 0"),
    ],
)
def test_options_that_a_file_has_settled(tmp_path, capsys, options, message):
    assert main(["synth", "-c", str(tmp_path / "no.onnx"), *options, "mel.npy", str(tmp_path / "a.wav")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.pt"], "must end in .onnx"),
        (["a.onnx", "--int8", "."], "no .wav, .flac, .mp3"),
    ],
)
def test_what_cannot_be_exported(of_lapglow, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["export", "onnx", str(of_lapglow), *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "message"), [(1e-2, "differs from the checkpoint by .* don't use it"), (np.nan, "has NaN or infinite")]
)
def test_a_file_that_is_not_its_checkpoint_is_told(lapglow, monkeypatch, wrong, message):
    vocoder, path = lapglow
    exported, mel = OnnxVocoder(path), mel_of(20)[0]
    assert "SNR" in compared(vocoder, exported, mel, refine=1)
    synthesize = exported.synthesize
    monkeypatch.setattr(exported, "synthesize", lambda *mel, **options: synthesize(*mel, **options) + np.float32(wrong))
    with pytest.raises(OnnxFileError, match=message):
        compared(vocoder, exported, mel, refine=1)


@pytest.mark.parametrize(("value", "message"), [(np.nan, "NaN or infinite"), (0.0, "singular")])
def test_broken_weights_are_not_exported(tmp_path, value, message):
    model = build_vocoder(config_of("waveglow"))
    name, weight = next((name, p) for name, p in model.named_parameters() if p.shape[:2] == (8, 8))
    weight.data.fill_(value)
    with pytest.raises(ValueError, match=f"{name.removesuffix('.weight')}.*{message}"):
        export_onnx(model, SPEC, tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()


def test_a_file_without_refinement_refines_nothing(exported):
    vocoder, path = exported
    if not vocoder.refine:
        with pytest.raises(ValueError, match="has no refinement; export it with --refine STEPS"):
            OnnxVocoder(path).synthesize(mel_of(5), refine=2)


def test_a_missing_package_is_named(of_lapglow, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["export", "onnx", str(of_lapglow), str(tmp_path / "a.onnx")]) == 2
    assert "pip install 'waveglow-vocoders[onnx]'" in capsys.readouterr().err


def test_a_torch_that_is_too_old_is_named(of_lapglow, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("waveglow.export.onnx.MIN_TORCH", "99.1")
    assert main(["export", "onnx", str(of_lapglow), str(tmp_path / "a.onnx")]) == 2
    said = f"torch is {torch.__version__}, the export takes 99.1 or newer; pip install 'waveglow-vocoders[onnx]'"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mel", "options", "message"),
    [
        (mel_of(5)[:, :3], {}, "this model takes"),
        (np.full((4, 5), np.nan, np.float32), {}, "NaN or infinite"),
        (mel_of(5), {"sigma": -1.0}, "sigma is -1"),
        (mel_of(5), {"seed": [1, 2]}, "got 2 seeds for 1 clips"),
    ],
)
def test_bad_input_is_named(exported, mel, options, message):
    with pytest.raises(ValueError, match=message):
        OnnxVocoder(exported[1]).synthesize(mel, **options)
