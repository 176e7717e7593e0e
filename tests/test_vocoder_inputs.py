"""What goes into a vocoder, by Python as by the shell: mels of other conventions, integers as floats, floats of any
kind, devices; and what comes out of it: ordinary tensors."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
import torch
from test_vocoder import CENTRED, FLOORED, HOP, N_MELS, NUMBERS, RATE, log_mel, wav

import waveglow
from waveglow.audio.signals import hum
from waveglow.devices import whole_float32
from waveglow.export.onnx_runtime import OnnxVocoder
from waveglow.models import checkpoint
from waveglow.models.checkpoint import CheckpointError
from waveglow.vocoder import Vocoder

SECONDS = 1.0


@pytest.fixture(scope="module")
def voice() -> Vocoder:
    return waveglow.load("lapglow", refine=0)


@pytest.fixture(scope="module")
def vocoder(random_model) -> Vocoder:
    return Vocoder(random_model(**NUMBERS)[0], FLOORED)


@pytest.fixture(scope="module")
def mel(voice) -> torch.Tensor:
    """Of something like speech, in the voice's own convention."""
    return voice.mel(hum(SECONDS, voice.sample_rate), voice.sample_rate)


@pytest.fixture(scope="module")
def exported(voice) -> OnnxVocoder:
    """The runtime's class around the voice itself: a graph would take ten seconds to make."""

    class OfTorch(OnnxVocoder):
        def __init__(self) -> None:
            self.mel_spec, self.latents, self.refine, self._options = voice.mel_spec, [None], 0, set()

        def _run(self, mels: np.ndarray, draw: object, first: int) -> np.ndarray:
            with torch.no_grad():
                zs = [torch.zeros(len(mels), *shape) for shape in voice.model.latent_shapes(mels.shape[-1] * 256)]
                return voice.model.decode(zs, torch.from_numpy(mels)).numpy()

    return OfTorch()


# ---- Mels of other conventions ---------------------------------------------------------------------------------------

OTHERS = {
    "decibels": (lambda mel: mel / math.log(10) * 20, "like dB"),
    "no logarithm": (torch.exp, "un-logged"),
    "0 to 1": (lambda mel: (mel + 11.5) / 12.3, "like 0..1 normalized"),
    "z-normalized": (lambda mel: (mel - mel.mean()) / mel.std(), "z-normalized"),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("runtime", ["torch", "stream", "a batch", "onnx"])
def test_a_mel_of_another_convention_is_refused_and_taken_unchecked(voice, exported, mel, name, runtime):
    convert, looks = OTHERS[name]
    looks = f"the mel looks {'' if name == 'no logarithm' else '.*'}{looks}.*check=False"
    other = convert(mel)
    calls = {
        "torch": lambda mel, **options: voice.synthesize(mel, **options),
        "stream": lambda mel, **options: torch.cat([*voice.stream([mel], **options)]),
        "a batch": lambda mels, **options: voice.synthesize(
            torch.stack([mel, mels]), lengths=[mel.shape[1] - 1, mel.shape[1]], **options
        )[1],
        "onnx": lambda mel, **options: torch.from_numpy(exported.synthesize(mel, **options)),
    }
    call = calls[runtime]
    with pytest.raises(ValueError, match=looks):
        call(other)
    assert call(other, check=False).isfinite().all()
    assert torch.equal(call(mel), call(mel, check=False))


def test_what_lies_behind_a_clips_end_is_not_looked_at(voice, mel):
    padded = torch.nn.functional.pad(mel, (0, 30), value=1000.0)[None]
    assert voice.synthesize(padded, lengths=[mel.shape[1]]).isfinite().all()


def test_a_vocoder_without_a_convention_has_none_to_check(random_model):
    assert Vocoder(random_model(**NUMBERS)[0]).synthesize(torch.zeros(N_MELS, 20)).isfinite().all()


def test_audio_that_is_not_finite_is_said(voice, exported, mel, monkeypatch):
    """A value that is far out is told by the check of the convention, by that of the audio where none is known."""
    odd = mel.clone()
    odd[3, 20] = 2e4
    unknown = Vocoder(voice.model)
    for call in (voice.synthesize, lambda mel: [*voice.stream([mel])], exported.synthesize):
        with pytest.raises(ValueError, match="looks"):
            call(odd)
    for call in (unknown.synthesize, lambda mel: [*unknown.stream([mel])]):
        with pytest.raises(ValueError, match=r"the audio isn't finite: the mel's values.*2e\+04"):
            call(odd)
    assert not unknown.synthesize(odd, check=False).isfinite().all()
    monkeypatch.setattr("waveglow.export.onnx_runtime.require_plausible", lambda *_: None)
    with pytest.raises(ValueError, match=r"the audio isn't finite: the mel's values.*2e\+04"):
        exported.synthesize(odd)


# ---- Audio beyond full scale -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "scale"), [(8, 2**7), (16, 2**15), (24, 2**23), (32, 2**31)])
@pytest.mark.parametrize("method", ["mel", "__call__", "log_prob", "denoise"])
def test_integers_as_floats_are_refused_and_taken_unchecked(vocoder, bits, scale, method):
    audio = wav(1000) / np.abs(wav(1000)).max() * (scale - 1)
    given = (audio,) if method == "denoise" else (audio, RATE)
    with pytest.raises(ValueError, match=f"full scale is 1: .* {bits}-bit integers.*by {scale}.*check=False"):
        getattr(vocoder, method)(*given)
    if bits == 8:
        assert getattr(vocoder, method)(*given, check=False).isfinite().all()


def test_what_overshoots_is_audio(vocoder):
    assert vocoder.mel(9 / np.abs(wav(1000)).max() * wav(1000), RATE).isfinite().all()


# ---- Floats of any kind ----------------------------------------------------------------------------------------------

KINDS = {
    "bfloat16": lambda x: x.bfloat16(),
    "float16": lambda x: x.half(),
    "float64": lambda x: x.double(),
    "numpy float16": lambda x: x.half().numpy(),
    "numpy longdouble": lambda x: x.numpy().astype(np.longdouble),
    "big-endian": lambda x: x.numpy().astype(">f4"),
    "a list": lambda x: x.tolist(),
    "read-only": lambda x: np.frombuffer(x.numpy().tobytes(), np.float32).reshape(x.shape),
    "backwards": lambda x: x.numpy()[..., ::-1].copy()[..., ::-1],
    "asks for gradients": lambda x: x.clone().requires_grad_(),
    "inference": lambda x: _inferred(x),
}


@torch.inference_mode()
def _inferred(x: torch.Tensor) -> torch.Tensor:
    return x.clone()


@pytest.mark.parametrize("kind", KINDS)
def test_floats_of_any_kind_go_in(vocoder, exported, mel, kind):
    audio, small = torch.from_numpy(wav(1000)), log_mel(N_MELS, 6)
    near = {"rtol": 0, "atol": 0.15} if "16" in kind else {"rtol": 0, "atol": 1e-5}
    given = KINDS[kind]
    torch.testing.assert_close(vocoder.mel(given(audio), RATE).detach(), vocoder.mel(audio, RATE), **near)
    torch.testing.assert_close(vocoder.synthesize(given(small)), vocoder.synthesize(small), **near)
    assert vocoder.log_prob(given(audio), RATE).dtype == torch.float32
    assert vocoder(given(audio), RATE).dtype == torch.float32
    assert exported.synthesize(given(mel)).dtype == np.float32


@pytest.mark.parametrize("given", [torch.zeros(N_MELS, 6, dtype=torch.int64), np.zeros((N_MELS, 6), complex)])
def test_what_is_no_float_is_no_mel(vocoder, exported, given):
    for call in (vocoder.synthesize, exported.synthesize):
        with pytest.raises(ValueError, match=r"mel is (torch\.)?(int64|complex128); give floats"):
            call(given)


@pytest.fixture
def default_float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("refine", [0, 2])
def test_the_global_default_type_changes_nothing(voice, mel, refine, request):
    expected = voice.synthesize(mel, refine=refine)
    audio = hum(0.3, voice.sample_rate)
    likelihood, denoised = voice.log_prob(audio, voice.sample_rate), voice.denoise(audio)
    of_noise = waveglow.noise_vocoder("hifigan").synthesize(mel, refine=refine)
    request.getfixturevalue("default_float64")
    again = waveglow.load("lapglow")
    assert {p.dtype for p in again.model.parameters()} == {torch.float32}
    torch.testing.assert_close(again.synthesize(mel, refine=refine), expected, rtol=0, atol=1e-5)
    assert torch.cat([*again.stream(mel.split(40, dim=-1), refine=refine)]).dtype == torch.float32
    torch.testing.assert_close(again.log_prob(audio, voice.sample_rate), likelihood, rtol=1e-5, atol=0)
    torch.testing.assert_close(again.denoise(audio), denoised, rtol=0, atol=1e-5)
    noisy = waveglow.noise_vocoder("hifigan").synthesize(mel, refine=refine)
    torch.testing.assert_close(noisy, of_noise, rtol=0, atol=1e-4)


def test_a_model_of_other_floats_is_computed_in_float32(random_model):
    model, _ = random_model(**NUMBERS)
    expected = Vocoder(model, FLOORED).synthesize(log_mel(N_MELS, 6))
    double = random_model(**NUMBERS)[0].double()
    torch.testing.assert_close(Vocoder(double, FLOORED).synthesize(log_mel(N_MELS, 6)), expected, rtol=0, atol=1e-5)
    assert next(double.parameters()).dtype == torch.float64


# ---- What comes out --------------------------------------------------------------------------------------------------


def test_results_are_ordinary_tensors(vocoder):
    """To be written to, and to train with."""
    audio, spectrogram = wav(1000), log_mel(N_MELS, 6)
    results = {
        "mel": vocoder.mel(audio, RATE),
        "synthesize": vocoder.synthesize(spectrogram),
        "refined": vocoder.synthesize(spectrogram, refine=1),
        "stream": next(vocoder.stream([spectrogram])),
        "copy": vocoder(audio, RATE),
        "denoise": vocoder.denoise(audio),
        "denoise by 0": vocoder.denoise(audio, 0),
        "log_prob": vocoder.log_prob(audio, RATE),
    }
    for name, result in results.items():
        assert not result.is_inference(), name
        assert not result.requires_grad, name
        result *= 0.5
        result.numpy()[...] = 0
        weight = torch.ones((), requires_grad=True)
        (weight * result).sum().backward()


def test_what_is_not_changed_is_a_copy_all_the_same(vocoder):
    audio = torch.from_numpy(wav(1000))
    vocoder.denoise(audio, 0).zero_()
    assert audio.any()


def test_mel_feeds_a_model_in_training(vocoder):
    net = torch.nn.Conv1d(N_MELS, 1, 1)
    net(vocoder.mel(wav(1000), RATE)[None]).sum().backward()
    assert net.weight.grad.abs().max() > 0


def test_log_prob_is_differentiable_by_the_audio(vocoder):
    """As finite differences have it, of the likelihood and of the mel that is given with it."""
    audio = torch.from_numpy(wav(400)).requires_grad_()
    log_prob = vocoder.log_prob(audio, RATE)
    (gradient,) = torch.autograd.grad(log_prob, audio)
    assert torch.equal(log_prob.detach(), vocoder.log_prob(audio.detach(), RATE))
    along = gradient / gradient.norm()
    step = 1e-3
    with torch.no_grad():
        more, less = (float(vocoder.log_prob(audio + sign * step * along, RATE)) for sign in (1, -1))
    assert (more - less) / (2 * step) == pytest.approx(float(gradient.norm()), rel=0.05)
    assert not vocoder.log_prob(audio.detach(), RATE).requires_grad
    batch = torch.stack([audio, audio])
    assert torch.autograd.grad(vocoder.log_prob(batch, RATE).sum(), audio)[0].norm() > 0


def test_no_gradient_goes_through_resampling_in_silence(vocoder):
    audio = torch.from_numpy(wav(1000)).requires_grad_()
    for call in (vocoder.log_prob, vocoder.mel):
        with pytest.raises(ValueError, match=r"asks for gradients and is at 16000 Hz.*give it at 8000 Hz"):
            call(audio, 16000)
        with torch.no_grad():
            assert call(audio, 16000).isfinite().all()


# ---- Where --------------------------------------------------------------------------------------------------------


def test_a_number_is_a_gpu(random_model, monkeypatch):
    asked = []
    monkeypatch.setattr("waveglow.vocoder.usable", lambda device: asked.append(device) or torch.device("cpu"))
    Vocoder(random_model(**NUMBERS)[0], device=0)
    assert asked == [0]


@pytest.mark.parametrize("device", ["mps", "xpu", "abacus", "meta", "", 99])
def test_a_device_that_cannot_be_used_is_said_in_a_sentence(random_model, device):
    with pytest.raises(ValueError, match=f"device {device} can't be used: ") as error:
        Vocoder(random_model(**NUMBERS)[0], device=device)
    assert len(str(error.value)) < 300
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("load", [waveglow.load, Vocoder.load, checkpoint.load])
def test_an_empty_path_is_no_voice(load):
    with pytest.raises(CheckpointError, match="the path is empty"):
        load("")


# ---- Whole float32 ---------------------------------------------------------------------------------------------------

cuda, cudnn = torch.backends.cuda, torch.backends.cudnn


def switches() -> tuple[object, ...]:
    return cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision, cuda.matmul.fp32_precision


WAYS = {
    "older": lambda: setattr(cuda.matmul, "allow_tf32", True),
    "a word": lambda: torch.set_float32_matmul_precision("medium"),
    "newer": lambda: setattr(cuda.matmul, "fp32_precision", "tf32"),
    "newer, both": lambda: [setattr(where, "fp32_precision", "tf32") for where in (cuda.matmul, cudnn.conv)],
    "newer, one of cudnn": lambda: setattr(cudnn.conv, "fp32_precision", "ieee"),
    "as it was": lambda: None,
}


@pytest.fixture(params=WAYS)
def fast(request):
    before = switches()
    WAYS[request.param]()
    yield switches()
    torch.set_float32_matmul_precision("highest")
    cudnn.allow_tf32 = True
    for module, value in zip((cudnn.conv, cudnn.rnn, cuda.matmul), before, strict=True):
        module.fp32_precision = value


def test_products_and_convolutions_are_whole_and_what_was_set_comes_back(fast, vocoder, monkeypatch):
    seen, decode, to_mel = [], vocoder.model.decode, vocoder._refiner.to_mel.forward
    monkeypatch.setattr(vocoder.model, "decode", lambda *given: seen.append(switches()) or decode(*given))
    monkeypatch.setattr(vocoder._refiner.to_mel, "forward", lambda *given: seen.append(switches()) or to_mel(*given))
    vocoder.synthesize(log_mel(N_MELS, 5))
    vocoder.mel(wav(1000), RATE)
    with pytest.raises(ZeroDivisionError), whole_float32():
        raise ZeroDivisionError
    assert seen == [("ieee", "ieee", "ieee")] * 2
    assert switches() == fast


def test_threads_in_turns_leave_the_switches_as_they_were(fast):
    """The one that came first leaves first: the other is still within, and what it finds is not what is put back."""
    first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()
    seen = []

    def first() -> None:
        with whole_float32():
            first_in.set()
            second_in.wait(5)
        first_out.set()

    def second() -> None:
        first_in.wait(5)
        with whole_float32():
            second_in.set()
            first_out.wait(5)
            seen.append(switches())

    threads = [threading.Thread(target=each) for each in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert seen == [("ieee", "ieee", "ieee")]
    assert switches() == fast


def test_the_tests_specs_fit(vocoder):
    assert (vocoder.mel_spec, CENTRED.hop) == (FLOORED, HOP)
