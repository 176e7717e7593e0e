"""The image sets of the papers' tables in the layouts they are published in, made small: ImageNet, LSUN, CelebA-HQ."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from waveglow.config import ConfigError
from waveglow.data.image_sources import imagenet, lsun
from waveglow.data.image_sources.celebahq import _features
from waveglow.data.images import Images, ImageSet, prepare_images

lmdb = pytest.importorskip("lmdb")

# ---- ImageNet --------------------------------------------------------------------------------------------------------


def planes(n: int, size: int) -> np.ndarray:
    """n pictures as the batches have them, [n, 3 · size²]: red rows, then green, then blue."""
    data = np.zeros((n, 3, size, size), np.uint8)
    data[:] = np.arange(n)[:, None, None, None] % 80 + np.array([0, 80, 160])[:, None, None]
    data[:, :, 0, 1] = 255
    return data.reshape(n, -1)


def write_imagenet(folder: Path, *, size: int = 32, n: int = 4) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(1, 11):
        labels = np.arange(n) + 100 * (i - 1) + 1
        np.savez(folder / f"train_data_batch_{i}.npz", data=planes(n, size) + i, labels=labels, mean=np.zeros(3))
    np.savez(folder / "val_data.npz", data=planes(3, size), labels=np.array([1, 1000, 7]))
    return folder


@pytest.fixture(autouse=True)
def few_held_out(monkeypatch):
    monkeypatch.setattr(imagenet, "HELD_OUT", 6)
    monkeypatch.setattr(lsun, "HELD_OUT", 2)


def of(found: ImageSet, split: str) -> Images:
    return Images(found, split, seed=0, flip=False)


@pytest.mark.parametrize("size", [32, 64])
def test_imagenets_batches(tmp_path, size):
    source = write_imagenet(tmp_path / "imagenet" / "npz", size=size)
    found = prepare_images(f"imagenet{size}", source.parent, tmp_path / "cache")
    assert found.counts == {"train": 34, "valid": 6, "test": 3}
    train, valid, test = (of(found, split) for split in ("train", "valid", "test"))
    assert train.at(6).pixels[:, 5, 5].tolist() == [2 + 2, 82 + 2, 162 + 2]  # the third of batch 2
    assert train.at(6).pixels[0, 0, :3].tolist() == [4, (255 + 2) % 256, 4]  # second in its first row
    assert [train.at(6).label.item(), valid.at(5).label.item()] == [102, 903]
    assert [test.at(i).label.item() for i in range(3)] == [0, 999, 6]
    assert "not the older set of RealNVP's and Glow's tables" in found.version


def test_imagenets_missing_and_damaged_files(tmp_path):
    cache = tmp_path / "cache"
    with pytest.raises(ConfigError, match=r"train_data_batch_1.npz not found; looked in it and in the folders in it"):
        prepare_images("imagenet32", tmp_path, cache)
    source = write_imagenet(tmp_path / "npz")
    for name, arrays, message in [
        ("train_data_batch_3.npz", {"labels": np.array([0, 1])}, "has labels that are not from 1 to 1000"),
        ("train_data_batch_3.npz", {"data": planes(4, 32)}, "has no array 'labels'"),
        ("val_data.npz", {"data": planes(3, 64), "labels": np.array([1, 2, 3])}, r"uint8 \[3, 3072\]; is --size that"),
        ("val_data.npz", {"data": np.array([{}]), "labels": np.array([1])}, "Object arrays cannot be loaded"),
    ]:
        write_imagenet(source)
        np.savez(source / name, **arrays)
        with pytest.raises(ConfigError, match=rf"{name}.*{message}"):
            prepare_images("imagenet32", source, cache)
    write_imagenet(source)
    (source / "val_data.npz").write_bytes(b"no zip")
    with pytest.raises(ConfigError, match=r"val_data.npz: is no intact"):
        prepare_images("imagenet32", source, cache)


# ---- LSUN ------------------------------------------------------------------------------------------------------------


def encoded(size: tuple[int, int], value: int, kind: str = "WEBP") -> bytes:
    """A picture of one grey, with its left half's red at 250."""
    pixels = np.full((size[1], size[0], 3), value, np.uint8)
    pixels[:, : size[0] // 2, 0] = 250
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return file.getvalue()


def write_lsun(folder: Path, name: str, pictures: dict[str, bytes]) -> Path:
    with lmdb.open(str(folder / name), map_size=1 << 22) as database, database.begin(write=True) as writing:
        for key, content in pictures.items():
            writing.put(key.encode(), content)
    return folder / name


@pytest.fixture
def bedrooms(tmp_path):
    folder = tmp_path / "lsun"
    folder.mkdir()
    train = {f"{i:040x}": encoded((48 + 2 * i, 36), 10 * i) for i in range(12)}
    write_lsun(folder, "bedroom_train_lmdb", train)
    write_lsun(folder, "bedroom_val_lmdb", {f"{i:040x}": encoded((36, 50), 100 + i) for i in range(3)})
    return folder


def test_lsuns_databases(bedrooms, tmp_path):
    found = prepare_images("lsun", bedrooms, tmp_path / "cache", size=16)
    assert found.counts == {"train": 11, "valid": 1, "test": 3}
    assert "LSUN bedroom; the shorter side resized to 24, a 16×16 crop" in found.version
    train, test = of(found, "train"), of(found, "test")
    assert [train.at(i).pixels[2, 3, 3].item() for i in (0, 5, 10)] == [0, 50, 100]
    assert [test.at(i).pixels[2, 3, 3].item() for i in range(3)] == [100, 101, 102]
    reds = {tuple(of(found, "train").at(i).pixels[0, 0].gt(200).tolist()) for i in range(11)}
    assert len(reds) > 3  # crops begin in many places
    again = prepare_images("lsun", bedrooms / "bedroom_train_lmdb", tmp_path / "again", size=16)
    assert again.hash == found.hash


def test_lsuns_pictures_keep_their_shape():
    """48 rows become 24: bars of 16 columns become bars of 8, of which a crop of 16 has two."""
    bars = np.zeros((48, 96, 3), np.uint8)
    bars[:, np.arange(96) // 16 % 2 == 1] = 255
    for name in (b"a", b"b", b"c"):
        row = lsun._cropped(Image.fromarray(bars), 16, name)[0, 8] > 127
        assert row.sum() == 8
        assert 1 <= np.abs(np.diff(row.astype(int))).sum() <= 2


def test_lsuns_missing_and_damaged_files(bedrooms, tmp_path):
    cache = tmp_path / "cache"
    with pytest.raises(ConfigError, match=r"needs one folder NAME_train_lmdb with a data.mdb in it, has none; get one"):
        prepare_images("lsun", tmp_path, cache)
    write_lsun(bedrooms, "bedroom_val_lmdb", {f"{2:040x}": b"no picture"})
    assert [line.partition(": ")[2] for line in prepare_images("lsun", bedrooms, cache, size=16).refused] == [
        "is no picture that can be read as PNG, JPEG or WebP"
    ]
    write_lsun(bedrooms, "tower_train_lmdb", {})
    with pytest.raises(ConfigError, match="has bedroom_train_lmdb, tower_train_lmdb; get one category"):
        prepare_images("lsun", bedrooms, tmp_path / "two")
    (bedrooms / "bedroom_train_lmdb" / "data.mdb").write_bytes(b"nothing of that kind" * 500)
    with pytest.raises(ConfigError, match="is no intact LMDB database"):
        prepare_images("lsun", bedrooms / "bedroom_train_lmdb", tmp_path / "broken")


# ---- CelebA-HQ -------------------------------------------------------------------------------------------------------


def varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def example(pixels: np.ndarray, *, packed: bool = True) -> bytes:
    """As TensorFlow serializes {"shape": int64 list, "data": bytes, "label": int64 list}."""
    shape = b"".join(map(varint, pixels.shape))
    whole = field(1, shape) if packed else b"".join(field(1, axis) for axis in pixels.shape)
    features = {"shape": field(3, whole), "data": field(1, field(1, pixels.tobytes())), "label": field(3, field(1, 0))}
    return field(1, b"".join(field(1, field(1, k.encode()) + field(2, v)) for k, v in features.items()))


def write_records(path: Path, examples: list[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    check = lambda content: zlib.crc32(content).to_bytes(4, "little")  # noqa: E731 (theirs is another; none is read)
    lengths = [len(content).to_bytes(8, "little") for content in examples]
    records = [length + check(length) + e + check(e) for length, e in zip(lengths, examples, strict=True)]
    path.write_bytes(b"".join(records))


def face(value: int, *, first: bool = False) -> np.ndarray:
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:] = value, value + 1, value + 2
    pixels[0, 1] = 255
    return pixels.transpose(2, 0, 1).copy() if first else pixels


@pytest.fixture
def records(tmp_path):
    folder = tmp_path / "celeba-tfr"
    for part, values in enumerate([(0, 10, 20), (30, 40)]):
        name = f"train-r04-s-{part:04d}-of-0002.tfrecords"
        write_records(folder / "train" / name, [example(face(v, first=v == 40), packed=v != 20) for v in values])
    write_records(folder / "validation" / "validation-r04-s-0000-of-0001.tfrecords", [example(face(50))])
    return folder


def test_celeba_hqs_tfrecords(records, tmp_path):
    found = prepare_images("celeba-hq", records, tmp_path / "cache", size=16)
    assert found.counts == {"train": 4, "valid": 1, "test": 1}
    train, valid = of(found, "train"), of(found, "valid")
    assert [train.at(i).pixels[:, 9, 9].tolist() for i in (1, 2)] == [[10, 11, 12], [20, 21, 22]]
    assert train.at(0).pixels[0, 0, :3].tolist() == [0, 255, 0]
    assert valid.at(0).pixels[:, 9, 9].tolist() == [40, 41, 42]  # its shape is [3, 16, 16]
    assert of(found, "test").at(0).pixels[0, 9, 9].item() == 50


def test_celeba_hqs_folder(tmp_path):
    folder = tmp_path / "hq"
    folder.mkdir()
    for i in range(20):
        Image.new("RGB", (32, 32), (i, 2 * i, 3 * i)).save(folder / f"{i}.png")
    found = prepare_images("celeba-hq", folder, tmp_path / "cache", size=16)
    assert found.counts == {"train": 16, "valid": 2, "test": 2}
    assert [of(found, "test").at(i).pixels[0, 0, 0].item() for i in range(2)] == [18, 19]


def test_celeba_hqs_missing_and_damaged_files(records, tmp_path):
    cache = tmp_path / "cache"
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"has 0 pictures .*, and no .tfrecords; CelebA-HQ needs there its pictures"):
        prepare_images("celeba-hq", tmp_path / "empty", cache)
    with pytest.raises(ConfigError, match=r"train: has no \*-r05-\*.tfrecords, which hold 32×32; .* are those of 16"):
        prepare_images("celeba-hq", records, cache, size=32)
    path = records / "train" / "train-r04-s-0001-of-0002.tfrecords"
    write_records(path, [example(face(30)), example(face(40)[:8]), b"\xff\xff no example", example(face(60))])
    found = prepare_images("celeba-hq", records, cache, size=16)
    assert [line.rpartition("(")[2] for line in found.refused] == [
        "its shape is [8, 16, 3])",
        "it is no protocol buffer)",
    ]
    content = path.read_bytes()
    for damaged in (content[:-1], b"these are no records at all"):
        path.write_bytes(damaged)
        with pytest.raises(ConfigError, match="breaks off, or is no tfrecords file, at byte"):
            prepare_images("celeba-hq", records, tmp_path / "broken", size=16)


def test_a_record_of_any_bytes_ends_in_a_sentence():
    whole = example(face(3))
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(whole[:60])
        damaged[rng.integers(len(damaged))] = rng.integers(256)
        try:
            _features(bytes(damaged))
        except (ValueError, IndexError, KeyError):
            continue
