"""An exported vocoder gives the audio of the vocoder, for every model of the registry, without torch."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from waveglow.audio.mel import preset
from waveglow.audio.signals import snr
from waveglow.cli.main import main
from waveglow.export.onnx import export_onnx
from waveglow.export.onnx_runtime import Latent, OnnxFileError, OnnxVocoder
from waveglow.models import checkpoint
from waveglow.models.registry import VOCODERS, build_vocoder
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


@pytest.fixture(scope="module", params=NAMES)
def exported(request, tmp_path_factory):
    """(vocoder of random weights, its file) of a model; lapglow has two steps of refinement, which knows no model."""
    torch.manual_seed(0)
    model = build_vocoder(config_of(request.param))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    refine = 2 if request.param.startswith("lapglow") else 0
    export_onnx(model, SPEC, path, refine=refine)
    return Vocoder(model, SPEC, refine=refine), path


@pytest.fixture(scope="module")
def of_lapglow(tmp_path_factory):
    """(checkpoint directory, tiny recordings) of a lapglow."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("lapglow")
    config = config_of("lapglow")
    model = build_vocoder(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    checkpoint.save(folder / "ckpt", model, model_config=config, mel_spec=SPEC, info={"refine": 1})
    return folder / "ckpt"


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
    assert len(asked) == 4
    assert max(asked) < 230


def test_a_mel_shorter_than_refinement_takes(exported):
    _, path = exported
    audio = OnnxVocoder(path).synthesize(mel_of(1)[0])
    assert audio.shape == (SPEC.hop,)
    assert np.isfinite(audio).all()


def test_one_file_whose_metadata_tells_all(exported):
    vocoder, path = exported
    file = onnx.load(path, load_external_data=False)
    assert file.opset_import[0].version >= 17
    assert {prop.key for prop in file.metadata_props} >= {"waveglow", "model_type", "sample_rate"}
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert OnnxVocoder(path).mel_spec == vocoder.mel_spec


def test_runs_without_torch(exported, tmp_path):
    _, path = exported
    np.save(tmp_path / "mel.npy", mel_of(9)[0])
    script = (
        "import sys; from waveglow.cli.main import main; "
        f"code = main(['synth', '-c', {str(path)!r}, {str(tmp_path / 'mel.npy')!r}, {str(tmp_path / 'a.wav')!r}]); "
        "sys.exit(code or 7 * ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.wav").is_file()


def test_from_the_shell_with_the_noise_drawn(of_lapglow, tmp_path, capsys):
    assert main(["export", "onnx", str(of_lapglow), str(tmp_path / "a.onnx"), "--drawn-noise", "0.5"]) == 0
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    assert [entry.name for entry in session.get_inputs()] == ["mel"]
    assert session.get_modelmeta().custom_metadata_map["model_type"] == "hifigan"
    first, second = (session.run(None, {"mel": mel_of(20)})[0] for _ in range(2))
    assert first.shape == (1, 20 * SPEC.hop)
    assert np.abs(first - second).std() > 0.01
    with pytest.raises(OnnxFileError, match="draws its own noise"):
        OnnxVocoder(tmp_path / "a.onnx")


def test_from_the_shell_in_8_bits(of_lapglow, tmp_path, capsys):
    import soundfile

    (tmp_path / "wavs").mkdir()
    for seed in range(2):
        samples = 0.1 * np.random.default_rng(seed).standard_normal(16 * 60)
        soundfile.write(tmp_path / "wavs" / f"{seed}.wav", samples, SPEC.sample_rate)
    arguments = [str(of_lapglow), str(tmp_path / "a.onnx"), "--refine", "0", "--int8", str(tmp_path / "wavs")]
    assert main(["export", "onnx", *arguments]) == 0
    assert "SNR" in capsys.readouterr().out
    weights = {w.name: w.data_type for w in onnx.load(tmp_path / "a.onnx").graph.initializer}
    in_int8 = {name for name, kind in weights.items() if kind == onnx.TensorProto.INT8}
    assert any(".dilated." in name for name in in_int8)
    assert not any(".end." in name or "conditioner" in name for name in in_int8)
    expected = Vocoder.load(of_lapglow).synthesize(mel_of(60)[0], refine=0)
    assert 15 < snr(expected, torch.from_numpy(OnnxVocoder(tmp_path / "a.onnx").synthesize(mel_of(60)[0]))) < 100


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
        (
            graph_with({"waveglow": json.dumps({**ABOUT, "latents": [[4, 1, "cauchy"]]})}),
            "follow cauchy, which is unknown",
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
        (["--refine", "3"], "--refine is fixed in an .onnx file"),
        (["--threads", "0"], "--threads is 0"),
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
