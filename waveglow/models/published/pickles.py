"""Read the tensors of pickled PyTorch checkpoints without unpickling them.

Old repositories publish `torch.save({"model": module})`: a pickle that names classes of theirs, and may name any
function to be called. Here `pickletools` decodes the pickle's opcodes and a small machine interprets them on plain
values and records: nothing that the file names is imported or called, and a global that no checkpoint of weights needs
is refused. Sizes are compared with the file's before anything of that size is allocated.

The two formats (torch/serialization.py):

- zip (torch >= 1.6): `<name>/data.pkl` is the object, `<name>/data/<key>` the raw bytes of a storage. Entries are
  stored uncompressed.
- legacy (torch <= 1.5): five pickles (magic number, protocol version, system information, the object, the list of
  storage keys), then for each key in order its number of elements as int64 and its raw bytes.

In the object, a storage is the persistent id `("storage", class, key, location, elements)`, in the legacy format with a
sixth item, None. A tensor is `_rebuild_tensor_v2(storage, offset, size, stride, ...)`, counted in elements. A class may
be the persistent id `("module", class, source file, source)`.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch

MAX_TENSORS = 100_000
MAX_PLAIN_VALUES = 1_000_000
MAX_NAME_LENGTH = 1_000
MAX_DIMENSIONS = 64  # torch's own limit
MAX_PICKLE_BYTES = 2**24  # a WaveGlow takes 0.1 MB; in memory, a pickle grows up to 64-fold

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_DTYPES = {
    f"{module}.{name}Storage": dtype
    for module in ("torch", "torch.cuda")
    for name, dtype in {
        "Half": torch.float16,
        "BFloat16": torch.bfloat16,
        "Float": torch.float32,
        "Double": torch.float64,
        "Bool": torch.bool,
        "Byte": torch.uint8,
        "Char": torch.int8,
        "Short": torch.int16,
        "Int": torch.int32,
        "Long": torch.int64,
    }.items()
}


class UnreadableCheckpoint(ValueError):  # noqa: N818 (the state of the file, not of the program)
    """A pickled checkpoint that can't or mustn't be read; the message names the path, the reason and what to do."""


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


# ---- What the pickle describes -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Global:
    """A class or function that the file names; it is never looked up."""

    name: str


@dataclass(eq=False)
class _Object:
    """An instance of a class that is never looked up: the attributes the file gives it, no behaviour."""

    attributes: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: torch.dtype
    elements: int

    @property
    def bytes(self) -> int:
        return self.elements * self.dtype.itemsize


@dataclass(eq=False)
class _Tensor:
    """A strided view of a storage; offset and stride count elements."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def check(self) -> None:
        """Raises UnreadableCheckpoint unless every element lies in the storage and memory grows with the file only."""
        numbers = (self.offset, *self.size, *self.stride)
        valid = all(isinstance(n, int) and 0 <= n < 2**63 for n in numbers)
        if not valid or not len(self.size) == len(self.stride) <= MAX_DIMENSIONS:
            raise UnreadableCheckpoint("describes a tensor without a valid shape; don't trust this file")
        last = self.offset + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        elements = math.prod(self.size)
        if elements and (last >= self.storage.elements or elements > self.storage.elements):
            raise UnreadableCheckpoint("describes a tensor that is larger than its data; don't trust this file")


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise UnreadableCheckpoint("describes a tensor without data; don't trust this file")
    return _Tensor(storage, offset, size, stride)


def _rebuild_tensor_v2(
    storage: Any, offset: Any, size: Any, stride: Any, _requires_grad: Any, _hooks: Any, metadata: Any = None
) -> _Tensor:
    if metadata:
        raise UnreadableCheckpoint("holds a tensor with a lazy conjugate or negation; save it again with .clone()")
    return _rebuild_tensor(storage, offset, size, stride)


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


def _ordered_dict(*pairs: Any) -> dict[Any, Any]:
    if pairs:
        raise UnreadableCheckpoint("is of Python 2; load and save it with Python 3 first")
    return {}


def _collection(items: Any = ()) -> Any:
    """A set or a size as the list or tuple it is made from: unhashed, and uncopied, since copies could fill memory."""
    return items


_CALLS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor_v2,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "collections.OrderedDict": _ordered_dict,
    "collections.defaultdict": lambda *_: {},
    "builtins.set": _collection,
    "__builtin__.set": _collection,
    "torch.Size": _collection,
}
_MARKERS = {*_DTYPES, *_CALLS, "torch.device", "builtins.dict", "__builtin__.dict"}


def _global(name: str) -> _Global:
    if name in _MARKERS or (name.startswith(("torch.nn.", "torch.optim.", "glow")) and len(name) <= MAX_NAME_LENGTH):
        return _Global(name)
    raise UnreadableCheckpoint(
        f"wants to use {name[:100]!r}, which no checkpoint of weights needs; no code from the file was run: "
        "don't trust it, or ask its author for the state dict as safetensors"
    )


def _called(target: Any, arguments: Any) -> Any:
    if not isinstance(target, _Global) or target.name in _DTYPES:
        raise UnreadableCheckpoint("calls what is no function; no code from the file was run: don't trust it")
    return _CALLS[target.name](*arguments) if target.name in _CALLS else _Object()


def _set_items(target: Any, pairs: Iterable[Any]) -> None:
    if not isinstance(target, dict):
        raise UnreadableCheckpoint("sets items of what is no dictionary; don't trust this file")
    for key, value in pairs:
        if isinstance(key, tuple):  # hashing nested tuples can take exponential time
            raise UnreadableCheckpoint("has a tuple as a dictionary's key; ask its author for the bare state dict")
        target[key] = value


def _extend(target: Any, items: list[Any]) -> None:
    if not isinstance(target, list):
        raise UnreadableCheckpoint("appends to what is no list; don't trust this file")
    target.extend(items)


def _set_state(target: Any, state: Any) -> None:
    if isinstance(target, _Object) and isinstance(state, dict):
        target.attributes = state
    elif not isinstance(target, _Object | dict):  # a state dict has `_metadata`, of no use here
        raise UnreadableCheckpoint("sets attributes of what has none; don't trust this file")


def _persistent(identifier: Any) -> _Global | _Storage:
    match identifier:
        case ("module", _Global() as target, _, _):
            return target
        case ("storage", _Global(name), str(key), _, int(elements), *view) if name in _DTYPES and elements >= 0:
            if view in ([], [None]):  # storage views were given up before torch 0.4
                return _Storage(key, _DTYPES[name], elements)
    raise UnreadableCheckpoint("refers to data in an unknown way; save it again with a current torch")


# ---- The opcodes of pickle protocols 2 to 5 -------------------------------------------------------------------------

_NEW: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,
}
_CONSTANTS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}


class _Machine:
    """The stack machine that a pickle is a program for."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stack under each mark
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, _Storage] = {}

    def run(self, program: Any) -> Any:
        """The value that a pickle describes; `program` is its bytes, or a file at its first byte."""
        first = None
        for opcode, argument, position in pickletools.genops(program):
            first = position if first is None else first
            if position - first > MAX_PICKLE_BYTES:  # type: ignore[operator]  # bytes and mmap have positions
                raise UnreadableCheckpoint(f"has a pickle over {MAX_PICKLE_BYTES} bytes; don't trust this file")
            if opcode.name in _NEW:
                self.stack.append(_NEW[opcode.name]())
            elif opcode.name in _CONSTANTS:
                self.stack.append(argument)
            elif opcode.name != "STOP":
                self.step(opcode.name, argument)
        return self.stack.pop()

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        match name:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                self.below.append(stack)
                self.stack = []
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self.popped(int(name[-1]))))
            case "TUPLE":
                self.since_mark().append(tuple(stack))
            case "FROZENSET":
                self.since_mark().append(stack)
            case "APPENDS" | "ADDITEMS":
                _extend(self.since_mark()[-1], stack)
            case "APPEND":
                _extend(stack[-2], self.popped(1))
            case "SETITEMS":
                _set_items(self.since_mark()[-1], zip(stack[::2], stack[1::2], strict=True))
            case "SETITEM":
                _set_items(stack[-3], [self.popped(2)])
            case "GLOBAL":
                stack.append(_global(argument.replace(" ", ".")))
            case "STACK_GLOBAL":
                stack.append(_global(".".join(self.popped(2))))
            case "REDUCE" | "NEWOBJ":
                stack.append(_called(*self.popped(2)))
            case "BUILD":
                _set_state(stack[-2], *self.popped(1))
            case "BINPERSID":
                stack.append(self.known(_persistent(stack.pop())))
            case _:
                raise UnreadableCheckpoint(f"uses the pickle opcode {name}, which torch.save doesn't; don't trust it")

    def popped(self, count: int) -> list[Any]:
        return [self.stack.pop() for _ in range(count)][::-1]

    def since_mark(self) -> list[Any]:
        """Forget the stack since the mark; the one below."""
        self.stack = self.below.pop()
        return self.stack

    def known(self, record: _Global | _Storage) -> _Global | _Storage:
        if isinstance(record, _Storage) and self.storages.setdefault(record.key, record) != record:
            raise UnreadableCheckpoint("describes one piece of data in two ways; don't trust this file")
        return record


# ---- The two formats -------------------------------------------------------------------------------------------------

_Load = Callable[[_Storage], bytes]


def _open_zip(file: IO[bytes]) -> tuple[Any, _Load]:
    """The object of a zip file, and the function that reads a storage of it (zipfile compares the checksums)."""
    archive = zipfile.ZipFile(file)
    entries = {entry.filename: entry for entry in archive.infolist()}
    stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries.values())
    if not stored or sum(entry.file_size for entry in entries.values()) > os.fstat(file.fileno()).st_size:
        raise UnreadableCheckpoint("is compressed, or claims more data than it has; don't trust this file")
    objects = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(objects) != 1:
        raise UnreadableCheckpoint("is a zip file, but none of torch.save; unpack it and give the .pt file in it")
    folder = objects[0].removesuffix("/data.pkl")
    if f"{folder}/byteorder" in entries and archive.read(f"{folder}/byteorder") != b"little":
        raise UnreadableCheckpoint("is big-endian; load and save it with torch on another machine first")

    def load(storage: _Storage) -> bytes:
        name = f"{folder}/data/{storage.key}"
        if name not in entries or entries[name].file_size != storage.bytes:
            raise UnreadableCheckpoint("lacks the data of a tensor; copy or download it again")
        return archive.read(name)

    return _Machine().run(archive.read(objects[0])), load


def _open_legacy(file: IO[bytes]) -> tuple[Any, _Load]:
    """The object of a legacy file, and the function that reads a storage of it."""
    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # its read(n) allocates no more than the file has
    if _Machine().run(data) != _LEGACY_MAGIC or _Machine().run(data) != _LEGACY_PROTOCOL:
        raise UnreadableCheckpoint("is a pickle, but none of torch.save; give a .pt file")
    if not _Machine().run(data)["little_endian"]:
        raise UnreadableCheckpoint("is big-endian; load and save it with torch on another machine first")
    machine = _Machine()
    content = machine.run(data)
    places = _legacy_places(data, _Machine().run(data), machine.storages)

    def load(storage: _Storage) -> bytes:
        return data[places[storage.key]]

    return content, load


def _legacy_places(data: mmap.mmap, keys: list[str], storages: dict[str, _Storage]) -> dict[str, slice]:
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


def _model(content: Any) -> tuple[dict[str, _Tensor], dict[Any, Any]]:
    """(tensors by name, the rest of the top level)."""
    if isinstance(content, _Object):
        return _module_tensors(content), {}
    if not isinstance(content, dict):
        raise UnreadableCheckpoint("holds neither a dictionary nor a module; give a checkpoint of a model")
    for key in ("state_dict", "model"):
        value, rest = content.get(key), {name: entry for name, entry in content.items() if name != key}
        if isinstance(value, _Object):
            return _module_tensors(value), rest
        if isinstance(value, dict) and value:
            return _named(value.items()), rest
    tensors = {key: value for key, value in content.items() if isinstance(value, _Tensor)}
    return _named(tensors.items()), {key: value for key, value in content.items() if key not in tensors}


def _module_tensors(module: _Object) -> dict[str, _Tensor]:
    """What the module's `state_dict()` would hold, in its order."""
    return _named(_own_tensors(_at_most(MAX_TENSORS, _modules(module))))


def _modules(module: _Object, *, prefix: str = "") -> Iterator[tuple[str, dict[Any, Any]]]:
    """(prefix, attributes) of a module and those in it, parents first."""
    if not isinstance(module, _Object) or not module.attributes.keys() >= {"_parameters", "_buffers", "_modules"}:
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


def _named(items: Iterable[tuple[Any, Any]]) -> dict[str, _Tensor]:
    named = {}
    for key, value in _at_most(MAX_TENSORS, items):
        if not isinstance(value, _Tensor):
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


def _tensors(records: dict[str, _Tensor], load: _Load) -> dict[str, torch.Tensor]:
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
