"""Read the tensors of pickled PyTorch checkpoints without unpickling them.

Old repositories publish `torch.save({"model": module})`: a pickle that names classes of theirs, and may name any
function to be called. Here it is interpreted as records of what it describes (pickle_machine.py), and tensors are made
of those. Sizes are compared with the file's before anything of that size is allocated.

The two formats (torch/serialization.py):

- zip (torch >= 1.6): `<name>/data.pkl` is the object, `<name>/data/<key>` the raw bytes of a storage. Entries are
  stored uncompressed.
- legacy (torch <= 1.5): five pickles (magic number, protocol version, system information, the object, the list of
  storage keys), then for each key in order its number of elements as int64 and its raw bytes.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from waveglow.models.published.pickle_machine import (
    MAX_NAME_LENGTH,
    Machine,
    ObjectRecord,
    StorageRecord,
    TensorRecord,
    UnreadableCheckpoint,
)

MAX_TENSORS = 100_000
MAX_PLAIN_VALUES = 1_000_000

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


@dataclass(frozen=True)
class PickledCheckpoint:
    """The tensors of a checkpoint, by the names `state_dict()` gives them, and the JSON-like rest of its top level.

    Tensors that share a storage in the file share memory here. All are on the CPU and without gradient.
    """

    tensors: dict[str, torch.Tensor]
    plain: dict[str, Any]


def read_tensors(path: str | Path) -> PickledCheckpoint:
    """Read a checkpoint that holds a pickled module or a state dict, bare or as "state_dict" or "model".

    `module.` prefixes of DistributedDataParallel are kept. Entries beside the model are in `plain` if they are
    JSON-like throughout (tuples become lists), else left out.

    Raises UnreadableCheckpoint for a file that is missing, damaged, no such checkpoint, or in need of running code.
    """
    try:
        with open(path, "rb") as file:
            return _read(file)
    except UnreadableCheckpoint as error:
        raise UnreadableCheckpoint(f"{path}: {error}") from None
    except RecursionError:
        raise UnreadableCheckpoint(f"{path}: is nested deeper than any checkpoint; don't trust this file") from None
    except OSError as error:
        raise UnreadableCheckpoint(f"{path}: can't be read ({error.strerror}); check the path and the file") from error
    except Exception as error:  # zipfile and pickletools raise nearly anything at a damaged file
        reason = f"{type(error).__name__}: {str(error)[:200]}"
        raise UnreadableCheckpoint(f"{path}: is damaged ({reason}); copy or download it again") from error


def _read(file: IO[bytes]) -> PickledCheckpoint:
    start = file.read(4)
    if start == b"PK\x03\x04":
        content, load = _open_zip(file)
    elif start.startswith(b"\x80"):
        content, load = _open_legacy(file)
    else:
        raise UnreadableCheckpoint("is no file of torch.save, or an empty one; give a .pt file, or download it again")
    records, rest = _model(content)
    return PickledCheckpoint(_tensors(records, load), _plain_entries(rest))


# ---- The two formats -------------------------------------------------------------------------------------------------

_Load = Callable[[StorageRecord], bytes]


def _open_zip(file: IO[bytes]) -> tuple[Any, _Load]:
    """The object of a zip file, and the function that reads a storage of it (zipfile compares the checksums)."""
    archive = zipfile.ZipFile(file)
    entries = {entry.filename: entry for entry in archive.infolist()}
    if any(name.split("/")[1:2] == ["code"] for name in entries):
        raise UnreadableCheckpoint(
            "is TorchScript, a program with its weights inside; where you trust it, save what it holds by "
            "torch.save(torch.jit.load(FILE).state_dict(), OUT) and give that"
        )
    stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries.values())
    if not stored or sum(entry.file_size for entry in entries.values()) > os.fstat(file.fileno()).st_size:
        raise UnreadableCheckpoint("is compressed, or claims more data than it has; don't trust this file")
    objects = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(objects) != 1:
        raise UnreadableCheckpoint("is a zip file, but none of torch.save; unpack it and give the .pt file in it")
    folder = objects[0].removesuffix("/data.pkl")
    if f"{folder}/byteorder" in entries and archive.read(f"{folder}/byteorder") != b"little":
        raise UnreadableCheckpoint("is big-endian; load and save it with torch on another machine first")

    def load(storage: StorageRecord) -> bytes:
        name = f"{folder}/data/{storage.key}"
        if name not in entries or entries[name].file_size != storage.bytes:
            raise UnreadableCheckpoint("lacks the data of a tensor; copy or download it again")
        return archive.read(name)

    return Machine().run(archive.read(objects[0])), load


def _open_legacy(file: IO[bytes]) -> tuple[Any, _Load]:
    """The object of a legacy file, and the function that reads a storage of it."""
    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # its read(n) allocates no more than the file has
    if Machine().run(data) != _LEGACY_MAGIC or Machine().run(data) != _LEGACY_PROTOCOL:
        raise UnreadableCheckpoint("is a pickle, but none of torch.save; give a .pt file")
    if not Machine().run(data)["little_endian"]:
        raise UnreadableCheckpoint("is big-endian; load and save it with torch on another machine first")
    machine = Machine()
    content = machine.run(data)
    places = _legacy_places(data, Machine().run(data), machine.storages)

    def load(storage: StorageRecord) -> bytes:
        return data[places[storage.key]]

    return content, load


def _legacy_places(data: mmap.mmap, keys: list[str], storages: dict[str, StorageRecord]) -> dict[str, slice]:
    """Where each storage's bytes are, from the end of the list of keys on."""
    places, position = {}, data.tell()
    for key in map(_text, keys):
        (elements,) = struct.unpack_from("<q", data, position)
        start, position = position + 8, position + 8 + storages[key].bytes
        if elements != storages[key].elements or position > len(data):
            raise UnreadableCheckpoint("lacks the data of a tensor; copy or download it again")
        places[key] = slice(start, position)
    return places


# ---- From records to tensors -----------------------------------------------------------------------------------------


def _model(content: Any) -> tuple[dict[str, TensorRecord], dict[Any, Any]]:
    """(tensors by name, the rest of the top level)."""
    if isinstance(content, ObjectRecord):
        return _module_tensors(content), {}
    if not isinstance(content, dict):
        raise UnreadableCheckpoint("holds neither a dictionary nor a module; give a checkpoint of a model")
    for key in ("state_dict", "model"):
        value, rest = content.get(key), {name: entry for name, entry in content.items() if name != key}
        if isinstance(value, ObjectRecord):
            return _module_tensors(value), rest
        if isinstance(value, dict) and value:
            return _named(value.items()), rest
    tensors = {key: value for key, value in content.items() if isinstance(value, TensorRecord)}
    return _named(tensors.items()), {key: value for key, value in content.items() if key not in tensors}


def _module_tensors(module: ObjectRecord) -> dict[str, TensorRecord]:
    """What the module's `state_dict()` would hold, in its order."""
    return _named(_own_tensors(_at_most(MAX_TENSORS, _modules(module))))


def _modules(module: ObjectRecord, *, prefix: str = "") -> Iterator[tuple[str, dict[Any, Any]]]:
    """(prefix, attributes) of a module and those in it, parents first."""
    if not isinstance(module, ObjectRecord) or not module.attributes.keys() >= {"_parameters", "_buffers", "_modules"}:
        raise UnreadableCheckpoint("holds an object that is no torch module; give a checkpoint of a model")
    yield prefix, module.attributes
    for name, child in module.attributes["_modules"].items():
        if child is not None:
            yield from _modules(child, prefix=_text(name, prefix=prefix) + ".")


def _own_tensors(modules: Iterable[tuple[str, dict[Any, Any]]]) -> Iterator[tuple[str, Any]]:
    for prefix, attributes in modules:
        left_out = attributes.get("_non_persistent_buffers_set", [])  # since torch 1.6
        buffers = {name: value for name, value in attributes["_buffers"].items() if name not in left_out}
        for name, value in [*attributes["_parameters"].items(), *buffers.items()]:
            if value is not None:
                yield _text(name, prefix=prefix), value


def _text(name: Any, *, prefix: str = "") -> str:
    if not isinstance(name, str) or len(prefix) + len(name) > MAX_NAME_LENGTH:
        raise UnreadableCheckpoint(f"has a name that is no text of {MAX_NAME_LENGTH} characters; don't trust this file")
    return prefix + name


def _named(items: Iterable[tuple[Any, Any]]) -> dict[str, TensorRecord]:
    named = {}
    for key, value in _at_most(MAX_TENSORS, items):
        if not isinstance(value, TensorRecord):
            raise UnreadableCheckpoint(f"holds {_text(key)!r}, which is no tensor, in its model; remove it")
        named[_text(key)] = value
    if not named:
        raise UnreadableCheckpoint("holds no module and no state dict (as 'model' or 'state_dict', or bare); save one")
    return named


def _at_most(limit: int, items: Iterable[Any]) -> Iterator[Any]:
    for count, item in enumerate(items):
        if count == limit:
            raise UnreadableCheckpoint(f"holds more than {limit} tensors or modules; don't trust this file")
        yield item


def _tensors(records: dict[str, TensorRecord], load: _Load) -> dict[str, torch.Tensor]:
    for record in records.values():
        record.check()
    storages = {record.storage.key: record.storage for record in records.values()}
    flat = {key: _flat(load(storage), storage.dtype) for key, storage in storages.items()}
    return {
        name: flat[record.storage.key].as_strided(record.size, record.stride, record.offset)
        for name, record in records.items()
    }


def _flat(data: bytes, dtype: torch.dtype) -> torch.Tensor:
    """All elements of a storage, [elements]."""
    if not data:
        return torch.empty(0, dtype=dtype)
    if dtype == torch.bool:
        return torch.frombuffer(bytearray(data), dtype=torch.uint8) != 0  # other bytes than 0 and 1 are undefined
    return torch.frombuffer(bytearray(data), dtype=dtype)


def _plain_entries(entries: dict[Any, Any]) -> dict[str, Any]:
    left = iter(range(MAX_PLAIN_VALUES))
    plain = {}
    for key, value in entries.items():
        with contextlib.suppress(_NotPlainError):
            plain.update(_plain({key: value}, left))
    return plain


class _NotPlainError(Exception):
    """A value that JSON has no form for."""


def _plain(value: Any, left: Iterator[int]) -> Any:
    """A copy of a JSON-like value; each value in it takes one of `left`, or a few bytes could describe billions."""
    if next(left, None) is None:
        raise UnreadableCheckpoint(f"holds more than {MAX_PLAIN_VALUES} values beside the model; don't trust this file")
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, left) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, left) for key, item in value.items()}
    raise _NotPlainError
