"""Mel files of other programs: layouts, types, abusive files, and values of another convention."""

import io
import math
import os
import pickle
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from waveglow.audio import mel_files
from waveglow.audio.files import OutputError
from waveglow.audio.mel import preset
from waveglow.audio.mel_files import MelError, read_mel, write_mel
from waveglow.audio.mel_spectrogram import MelSpectrogram

HIFIGAN = preset("hifigan")
SUFFIXES = (".npy", ".npz", ".pt", ".safetensors")


@pytest.fixture(scope="module")
def mel() -> np.ndarray:
    wav = np.random.default_rng(0).standard_normal(10_000) * np.geomspace(0.3, 1e-3, 10_000)
    wav[3000:6000] = 0
    return MelSpectrogram(HIFIGAN)(torch.from_numpy(wav)[None])[0].numpy()  # [80, 39]


def saved(path: Path, array) -> Path:
    np.save(path, array)
    return path


def refused(path: Path, reason: str, spec=HIFIGAN, **options) -> None:
    with pytest.raises(MelError, match=reason) as error:
        read_mel(path, spec, **options)
    assert error.value.path == path
    assert str(error.value) == f"{path}: {error.value.reason}"
    assert "\n" not in error.value.reason


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_written_and_read_is_the_same(tmp_path, mel, suffix):
    path = tmp_path / f"a{suffix}"
    write_mel(path, mel)
    again = read_mel(path, HIFIGAN)
    assert again.dtype == np.float32
    np.testing.assert_array_equal(again, mel)
    assert os.listdir(tmp_path) == [path.name]


def test_files_of_numpy_need_no_torch(tmp_path):
    code = """if True:
        import sys, numpy as np
        from waveglow.audio.mel import preset
        from waveglow.audio.mel_files import read_mel, write_mel
        for name in sys.argv[1:]:
            write_mel(name, np.linspace(-11, 0, 800).reshape(80, 10))
            read_mel(name, preset("hifigan"))
        assert "torch" not in sys.modules
    """
    names = [str(tmp_path / f"a{suffix}") for suffix in SUFFIXES if suffix != ".pt"]
    subprocess.run([sys.executable, "-c", code, *names], timeout=60, check=True)


def test_what_cannot_be_written(tmp_path, mel):
    with pytest.raises(MelError, match=r"must end in .npy, .npz, .pt, .safetensors"):
        write_mel(tmp_path / "a.txt", mel)
    with pytest.raises(OutputError, match="can't be written"):
        write_mel(tmp_path / "absent/a.npy", mel)


@pytest.mark.parametrize("suffix", [".npz", ".pt", ".safetensors"])
def test_one_array_or_one_named_mel(tmp_path, mel, suffix):
    path = tmp_path / f"a{suffix}"

    def save(**arrays) -> None:
        tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        if suffix == ".npz":
            np.savez(path, **arrays)
        elif suffix == ".pt":
            torch.save(tensors, path)
        else:
            safetensors.torch.save_file(tensors, path)

    for arrays in [{"features": mel}, {"mel": mel, "other": mel[:2]}]:
        save(**arrays)
        np.testing.assert_array_equal(read_mel(path, HIFIGAN), mel)
    save(a=mel, b=mel)
    refused(path, r"holds 2 arrays .*; it must hold one, or one named 'mel'")


def test_an_empty_npz(tmp_path):
    np.savez(tmp_path / "a.npz")
    refused(tmp_path / "a.npz", "holds 0 arrays")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_float_types(tmp_path, mel, dtype):
    again = read_mel(saved(tmp_path / "a.npy", mel.astype(dtype)), HIFIGAN)
    assert again.dtype == np.float32
    np.testing.assert_allclose(again, mel, atol=5e-3)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_float_tensors(tmp_path, mel, suffix, dtype):
    tensor = torch.from_numpy(mel).to(dtype)
    path = tmp_path / f"a{suffix}"
    torch.save(tensor, path) if suffix == ".pt" else safetensors.torch.save_file({"mel": tensor}, path)
    again = read_mel(path, HIFIGAN)
    assert again.dtype == np.float32
    np.testing.assert_array_equal(again, tensor.float().numpy())


def test_a_parameter_that_wants_gradients(tmp_path, mel):
    torch.save(torch.from_numpy(mel).requires_grad_(), tmp_path / "a.pt")
    np.testing.assert_array_equal(read_mel(tmp_path / "a.pt", HIFIGAN), mel)


# --- fault 23: shapes, types, values ---


def test_layouts(tmp_path, mel):
    for array in [mel, mel[None], mel.T, mel.T[None], np.asfortranarray(mel)]:
        again = read_mel(saved(tmp_path / "a.npy", array), HIFIGAN)
        np.testing.assert_array_equal(again, mel)
        assert again.flags.c_contiguous


def test_a_square_mel_needs_its_layout(tmp_path, mel):
    square = np.concatenate([mel, mel, mel], axis=1)[:, :80]
    path = saved(tmp_path / "a.npy", square)
    refused(path, "as many frames as mel bins, 80; say which with --layout CT or --layout TC")
    np.testing.assert_array_equal(read_mel(path, HIFIGAN, layout="CT"), square)
    np.testing.assert_array_equal(read_mel(path, HIFIGAN, layout="TC"), square.T)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((100, 39), r"shape \[100, 39\]; one side must be the 80 mel bins"),
        ((1, 1, 80, 39), r"shape \[1, 1, 80, 39\]; a mel is \[n_mels, frames\]"),
        ((2, 80, 39), r"shape \[2, 80, 39\]"),
        ((80,), r"shape \[80\]"),
        ((), r"shape \[\]"),
        ((80, 0), r"shape \[80, 0\].*not empty"),
    ],
)
def test_shapes(tmp_path, shape, reason):
    refused(saved(tmp_path / "a.npy", np.full(shape, -5.0)), reason)


def test_a_layout_that_does_not_fit(tmp_path, mel):
    refused(saved(tmp_path / "a.npy", mel), "39 mel bins in the layout TC; hifigan has 80", layout="TC")


@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.complex64, bool, "U3"])
def test_types(tmp_path, dtype):
    refused(saved(tmp_path / "a.npy", np.zeros((80, 3), dtype)), "a mel is floating point")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_integer_tensors(tmp_path, suffix):
    tensor, path = torch.zeros(80, 3, dtype=torch.int32), tmp_path / f"a{suffix}"
    torch.save(tensor, path) if suffix == ".pt" else safetensors.torch.save_file({"mel": tensor}, path)
    refused(path, "holds torch.int32; a mel is floating point")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(tmp_path, mel, value):
    broken = mel.copy()
    broken[3, 7] = value
    refused(saved(tmp_path / "a.npy", broken), "NaN or infinite")


def test_values_of_another_convention_are_refused_by_name(tmp_path, mel):
    path = saved(tmp_path / "a.npy", mel / math.log(10))
    refused(path, r"looks like log10 .*; name its convention with --assume PRESET")
    refused(saved(tmp_path / "b.npy", np.exp(mel)), "looks un-logged")


def test_an_assumed_convention_is_converted(tmp_path, mel):
    log10 = replace(HIFIGAN, log_base="10", layout="TC")
    path = saved(tmp_path / "a.npy", (mel / math.log(10)).T)
    np.testing.assert_allclose(read_mel(path, HIFIGAN, assume=log10), mel, atol=1e-5)


def test_a_file_of_flowavenet(tmp_path):
    """Its preprocessing saves [F, n_mels] of values in 0..1, a pause's all 0; nothing else takes them."""
    spec = preset("flowavenet")
    wav = np.sin(0.1 * np.arange(10_000)) * (np.arange(10_000) > 4000)
    mel = MelSpectrogram(spec)(torch.from_numpy(wav)[None])[0].numpy()  # [80, 40]
    assert (mel.min(), mel.max()) == (pytest.approx(0, abs=1e-6), 1)
    path = saved(tmp_path / "ljspeech-mel-00001.npy", mel.T)
    np.testing.assert_array_equal(read_mel(path, spec), mel)
    refused(path, "power 2 against 1", assume=spec)
    refused(path, "looks un-logged")


def test_the_models_own_convention_may_be_insisted_on(tmp_path, mel):
    odd = np.exp(mel)
    np.testing.assert_array_equal(read_mel(saved(tmp_path / "a.npy", odd), HIFIGAN, assume=HIFIGAN), odd)


def test_a_shifted_convention_is_taken_as_it_is(tmp_path, mel):
    path = saved(tmp_path / "a.npy", mel)
    np.testing.assert_allclose(read_mel(path, HIFIGAN, assume=preset("tacotron2")), mel, atol=1e-5)


def test_fault_24_an_incompatible_convention_is_refused_with_the_difference(tmp_path, mel):
    path = saved(tmp_path / "a.npy", mel)
    refused(path, "bigvgan-22k-80 against hifigan: fmax None against 8000.0", assume=preset("bigvgan-22k-80"))


# --- faults 18, 20 to 22 and 26: abusive files ---


@pytest.mark.timeout(10)
def test_what_is_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "fifo.npy")
    refused(tmp_path / "fifo.npy", "no regular file")
    refused(tmp_path / "absent.npy", "doesn't exist")
    refused(saved(tmp_path / "a.npy", np.zeros(3)).rename(tmp_path / "a.mel"), "it must end in .npy")


def test_fault_20_objects_are_refused(tmp_path):
    refused(saved(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object)), "holds object; a mel is floating point")
    np.savez(tmp_path / "a.npz", mel=np.array([{"a": 1}], dtype=object))
    refused(tmp_path / "a.npz", "holds object")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("keep", [0, 3, 7, 20, 100, 0.5, 0.98])
def test_truncated_files(tmp_path, mel, suffix, keep):
    path = tmp_path / f"a{suffix}"
    write_mel(path, mel)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    refused(path, "no valid|promises")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_text_is_no_mel(tmp_path, suffix):
    (tmp_path / f"a{suffix}").write_text("<html>not found</html>" * 100)
    refused(tmp_path / f"a{suffix}", f"no valid {suffix} file")


def npy_claiming(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return stream.getvalue() + bytes(1000)


@pytest.mark.parametrize("shape", [(80, 30_000_000), (80, 2**40), (-80, 2), (-80, -2)])
def test_fault_21_an_npy_that_claims_what_it_does_not_hold(tmp_path, shape, monkeypatch):
    monkeypatch.setattr(np.lib.format, "read_array", None)  # must not be reached
    (tmp_path / "a.npy").write_bytes(npy_claiming(shape))
    refused(tmp_path / "a.npy", "the header promises")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("mel.npy", npy_claiming(shape))
    refused(tmp_path / "a.npz", "the header promises")


@pytest.mark.parametrize("suffix", [".npz", ".pt"])
def test_fault_22_zip_bombs_are_refused_before_unpacking(tmp_path, mel, suffix, monkeypatch):
    path = tmp_path / f"a{suffix}"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mel.npy", bytes(4_000_000))
    monkeypatch.setattr(mel_files, "MAX_BYTES", 3_000_000)
    monkeypatch.setattr(zipfile.ZipFile, "read", None)
    monkeypatch.setattr(torch, "load", None)
    refused(path, "unpacks to 4000000 bytes; at most 3000000 are read")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_tensor_of_too_many_values_is_refused(tmp_path, dtype, monkeypatch):
    safetensors.torch.save_file({"mel": torch.zeros(80, 30, dtype=dtype)}, tmp_path / "a.safetensors")
    monkeypatch.setattr(mel_files, "MAX_BYTES", 9000)
    refused(tmp_path / "a.safetensors", "holds 2400 values; at most 2250 are read")


def test_a_huge_tensor_of_few_bytes_is_refused(tmp_path):
    torch.save(torch.zeros(1).expand(80, 10_000_000), tmp_path / "a.pt")
    refused(tmp_path / "a.pt", "holds 800000000 values; at most 268435456")


@pytest.mark.filterwarnings("ignore:Validating sparse")
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4"])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_pt_file_may_hold_an_array_of_numpy(tmp_path, mel, dtype, legacy):
    """As scripts do that save what librosa gave them."""
    array = mel.astype(dtype)
    for content in (array, {"mel": array, "rate": np.float64(22050)}, {"text": "hello", "mel": array}):
        torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
        read = read_mel(tmp_path / "a.pt", HIFIGAN)
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, array.astype(np.float32))


def test_an_array_of_numpy_one_is_read_too(tmp_path, mel):
    """numpy 2 has moved what arrays pickle as."""
    torch.save(mel, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    content = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(content.replace(b"numpy._core.multi", b"numpy.core.multi"))
    np.testing.assert_array_equal(read_mel(tmp_path / "a.pt", HIFIGAN), mel)


@pytest.mark.parametrize("content", [np.zeros((80, 10), np.int64), np.array([["x"]], object), np.array(["a"])])
def test_other_arrays_in_a_pt_file_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(MelError, match=r"a.pt: (holds|no valid)"):
        read_mel(tmp_path / "a.pt", HIFIGAN)


@pytest.mark.filterwarnings("ignore:Validating sparse:UserWarning")
def test_sparse_and_other_things(tmp_path):
    for content in [torch.zeros(80, 3).to_sparse(), [1, 2], "text"]:
        torch.save(content, tmp_path / "a.pt")
        refused(tmp_path / "a.pt", "a mel is one dense tensor")


class Payload:
    def __reduce__(self):
        return os.mkdir, ("payload-ran",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_fault_26_code_in_a_pickle_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"mel": Payload()}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Payload()))
    (tmp_path / "c.npy").write_bytes(pickle.dumps(Payload()))
    for name in ("a.pt", "b.pt", "c.npy"):
        refused(tmp_path / name, "no valid")
    assert not (tmp_path / "payload-ran").exists()


@pytest.mark.filterwarnings("ignore")  # of torch and numpy, on nonsense
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_files_give_a_mel_or_a_mel_error(tmp_path, mel, suffix):
    random, path = np.random.default_rng(0), tmp_path / f"a{suffix}"
    write_mel(path, mel)
    content = np.frombuffer(path.read_bytes(), np.uint8)
    refusals = 0
    for _ in range(40):
        damaged = content.copy()
        damaged[random.integers(0, min(len(content), 200), 3)] = random.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        try:
            assert np.isfinite(read_mel(path, HIFIGAN)).all()
        except MelError:
            refusals += 1
    assert refusals > 3
