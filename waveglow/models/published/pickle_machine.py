"""The pickles of PyTorch checkpoints as records of what they describe: nothing that a file names is imported or called.

`pickletools` decodes a pickle's opcodes and a small machine interprets them on plain values and records. A global that
no checkpoint of weights needs is refused, and so is what would take more memory than the file has.

A storage is the persistent id `("storage", class, key, location, elements)`, in the legacy format with a sixth item,
None. A tensor is `_rebuild_tensor_v2(storage, offset, size, stride, ...)`, counted in elements. A class may be the
persistent id `("module", class, source file, source)`.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

MAX_NAME_LENGTH = 1_000
MAX_DIMENSIONS = 64  # torch's own limit
MAX_PICKLE_BYTES = 2**24  # a WaveGlow takes 0.1 MB; in memory, a pickle grows up to 64-fold

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


# ---- What the pickle describes -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Global:
    """A class or function that the file names; it is never looked up."""

    name: str


@dataclass(eq=False)
class ObjectRecord:
    """An instance of a class that is never looked up: the attributes the file gives it, no behaviour."""

    attributes: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StorageRecord:
    key: str
    dtype: torch.dtype
    elements: int

    @property
    def bytes(self) -> int:
        return self.elements * self.dtype.itemsize


@dataclass(eq=False)
class TensorRecord:
    """A strided view of a storage; offset and stride count elements."""

    storage: StorageRecord
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


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any) -> TensorRecord:
    if not isinstance(storage, StorageRecord):
        raise UnreadableCheckpoint("describes a tensor without data; don't trust this file")
    return TensorRecord(storage, offset, size, stride)


def _rebuild_tensor_v2(
    storage: Any, offset: Any, size: Any, stride: Any, _requires_grad: Any, _hooks: Any, metadata: Any = None
) -> TensorRecord:
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


def _global(name: str) -> Global:
    if name in _MARKERS or (name.startswith(("torch.nn.", "torch.optim.", "glow")) and len(name) <= MAX_NAME_LENGTH):
        return Global(name)
    raise UnreadableCheckpoint(
        f"wants to use {name[:100]!r}, which no checkpoint of weights needs; no code from the file was run: "
        "don't trust it, or ask its author for the state dict as safetensors"
    )


def _called(target: Any, arguments: Any) -> Any:
    if not isinstance(target, Global) or target.name in _DTYPES:
        raise UnreadableCheckpoint("calls what is no function; no code from the file was run: don't trust it")
    return _CALLS[target.name](*arguments) if target.name in _CALLS else ObjectRecord()


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
    if isinstance(target, ObjectRecord) and isinstance(state, dict):
        target.attributes = state
    elif not isinstance(target, ObjectRecord | dict):  # a state dict has `_metadata`, of no use here
        raise UnreadableCheckpoint("sets attributes of what has none; don't trust this file")


def _persistent(identifier: Any) -> Global | StorageRecord:
    match identifier:
        case ("module", Global() as target, _, _):
            return target
        case ("storage", Global(name), str(key), _, int(elements), *view) if name in _DTYPES and elements >= 0:
            if view in ([], [None]):  # storage views were given up before torch 0.4
                return StorageRecord(key, _DTYPES[name], elements)
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


class Machine:
    """The stack machine that a pickle is a program for."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stack under each mark
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, StorageRecord] = {}

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

    def known(self, record: Global | StorageRecord) -> Global | StorageRecord:
        if isinstance(record, StorageRecord) and self.storages.setdefault(record.key, record) != record:
            raise UnreadableCheckpoint("describes one piece of data in two ways; don't trust this file")
        return record
