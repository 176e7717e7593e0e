"""Mel files of other programs: .npy, .npz, .pt, .safetensors. A file's code is not run, its sizes not trusted.

F: frames. In memory a mel is float32 [n_mels, F].
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import numpy as np
import numpy.typing as npt
from safetensors import deserialize, safe_open
from safetensors.numpy import save

from waveglow.audio.files import FileError, unusable, write_atomically
from waveglow.audio.mel import MelSpec, compare, convert, diagnose
from waveglow.audio.mel_diagnosis import suspect
from waveglow.config import require_known

Mel = npt.NDArray[np.float32]
Layout = Literal["auto", "CT", "TC"]

MAX_BYTES = 1 << 30  # of an unpacked file; a mel of 10 hours at 22.05 kHz has 0.93 GiB

MAX_HEADER_BYTES = 1 << 16  # of a .safetensors file that comes over the network
NPY_MAGIC = b"\x93NUMPY"
SAFE_FLOATS = {"BF16": "<u2", "F16": "<f2", "F32": "<f4", "F64": "<f8"}


class MelError(FileError):
    """A file that can't be used as a mel."""


class LongMelError(MelError):
    """A mel of more frames than are taken."""


def read_mel(path: Path | str, spec: MelSpec, *, layout: Layout = "auto", assume: MelSpec | None = None) -> Mel:
    """The mel of a .npy, .npz, .pt or .safetensors file in the convention `spec`, [n_mels, F].

    The file holds one array, or one named "mel", of shape [n_mels, F], [F, n_mels] or either with a leading axis of 1.

    Args:
        layout: "CT" [n_mels, F], "TC" [F, n_mels]; "auto" tells by n_mels.
        assume: the file's convention, from which the values are converted; None takes `spec`, if the values fit it.

    Raises:
        MelError: unreadable; another shape or type; NaN or infinite; values of another convention, by `diagnose`;
            an assumed convention that can't be converted, by `compare`.
    """
    require_known("layout", layout, get_args(Layout))  # before the file is looked at
    return _in_convention(Path(path), _read(Path(path)), spec, layout=layout, assume=assume)


def mel_of_bytes(
    content: bytes,
    spec: MelSpec,
    *,
    layout: Layout = "auto",
    assume: MelSpec | None = None,
    max_frames: int | None = None,
) -> Mel:
    """The mel of an .npy or .safetensors file's content, which its first bytes tell apart, as `read_mel` gives it.

    Raises MelError as `read_mel` does, of a file called "body", and LongMelError for more than `max_frames`.
    """
    body = Path("body")
    reader, kind = (_npy_of, ".npy") if content.startswith(NPY_MAGIC) else (_safetensors_of, ".safetensors")
    array = _readable(body, kind, lambda: reader(body, content))
    return _in_convention(body, array, spec, layout=layout, assume=assume, max_frames=max_frames)


def _in_convention(
    path: Path, array: Mel, spec: MelSpec, *, layout: Layout, assume: MelSpec | None, max_frames: int | None = None
) -> Mel:
    """A file's array as a mel of the convention `spec`, [n_mels, F]. Raises MelError, LongMelError."""
    require_known("layout", layout, get_args(Layout))
    source = assume or spec
    if (found := compare(source, spec)).kind == "incompatible":
        raise MelError(path, f"its assumed convention doesn't serve the model: {found.reason}")
    mel = _two_dimensional(path, array, source, layout)
    if max_frames is not None and mel.shape[1] > max_frames:
        raise LongMelError(path, f"has {mel.shape[1]} frames; at most {max_frames} are taken")
    if not np.isfinite(mel).all():
        raise MelError(path, "holds NaN or infinite values")
    if assume is None and (looks := diagnose(mel, spec)):
        raise MelError(path, f"{looks}; name its convention with --assume PRESET, or --assume log10")
    converted = convert(mel, replace(source, layout="CT"), replace(spec, layout="CT"))
    return np.ascontiguousarray(converted, dtype=np.float32)


def notices(mel: Mel, spec: MelSpec, *, assume: MelSpec | None = None) -> list[str]:
    """What to say of a mel that `read_mel` gave: how its assumed convention was converted, or a suspicion."""
    if assume is None:
        looks = suspect(mel, spec)
        otherwise = f"if not, --assume {spec.name or 'PRESET'}"
        return [f"{looks}; if so, give --assume log10, {otherwise}"] if looks else []
    found = compare(assume, spec)
    return [] if found.kind == "equal" else [f"{found.kind}: {found.reason}"]


def mel_frames(path: Path | str, spec: MelSpec) -> int:
    """How many frames a mel file has in the convention `spec`; of an .npy file the header is read alone.

    Raises MelError as `read_mel` does, but for the values.
    """
    array = _read(Path(path), _HEADER_READERS)
    return _two_dimensional(Path(path), array, spec, "auto").shape[1]


def write_mel(path: Path | str, mel: npt.NDArray[np.floating]) -> None:
    """Write `mel [n_mels, F]` as float32, whole or not at all, as "mel" in formats that have names.

    Raises MelError for another suffix, OutputError where it can't be written.
    """
    path, values, buffer = Path(path), np.ascontiguousarray(mel, dtype=np.float32), io.BytesIO()
    match path.suffix.lower():
        case ".npy":
            np.save(buffer, values)
        case ".npz":
            np.savez(buffer, mel=values)
        case ".pt":
            import torch

            torch.save(torch.from_numpy(values), buffer)
        case ".safetensors":
            buffer.write(save({"mel": values}))
        case _:
            raise MelError(path, _suffix_rule())
    write_atomically(path, buffer.getbuffer())


def _read(path: Path, readers: Mapping[str, Callable[[Path], Mel]] | None = None) -> Mel:
    readers = readers or _READERS
    suffix = path.suffix.lower()
    if reason := unusable(path) or (None if suffix in readers else _suffix_rule()):
        raise MelError(path, reason)
    return _readable(path, path.suffix, lambda: readers[suffix](path))


def _readable(path: Path, kind: str, read: Callable[[], Mel]) -> Mel:
    """What `read()` gives. Raises MelError for whatever it raises."""
    try:
        return read()
    except MelError:
        raise
    except PermissionError as error:
        raise MelError(path, f"can't be read ({error.strerror})") from error
    except Exception as error:  # the parsers raise what a broken file makes them raise, a dozen types
        summary = next(iter(str(error).splitlines()), "")[:200]
        raise MelError(path, f"no valid {kind} file ({type(error).__name__}: {summary})") from error


def _read_npy(path: Path) -> Mel:
    with path.open("rb") as stream:
        return _array(path, stream, path.stat().st_size)


def _npy_of(path: Path, content: bytes) -> Mel:
    return _array(path, io.BytesIO(content), len(content))


def _read_npy_header(path: Path) -> Mel:
    """An array of the shape that an .npy file has, without the values."""
    with path.open("rb") as stream:
        return np.broadcast_to(np.float32(0), _npy_shape(path, stream, path.stat().st_size))


def _read_npz(path: Path) -> Mel:
    _require_small_zip(path)
    with zipfile.ZipFile(path) as archive:
        content = archive.read(_only(path, archive.namelist(), "mel.npy"))
    return _array(path, io.BytesIO(content), len(content))


def _array(path: Path, stream: BinaryIO, size: int) -> Mel:
    """The array of an .npy stream of `size` bytes."""
    _npy_shape(path, stream, size)
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False).astype(np.float32)


def _npy_shape(path: Path, stream: BinaryIO, size: int) -> tuple[int, ...]:
    """The shape in an .npy header, which is checked against the stream's `size` before anything is allocated."""
    version = np.lib.format.read_magic(stream)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read_header:
        raise MelError(path, f"is .npy of version {version}; 1.0 and 2.0 are read")
    shape, _, dtype = read_header[version](stream)
    if dtype.kind != "f":
        raise MelError(path, f"holds {dtype}; a mel is floating point")
    claimed, held = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if claimed > held or min(shape, default=0) < 0:
        raise MelError(path, f"the header promises {claimed} bytes of shape {shape}, the file holds {held}")
    return tuple(shape)


def _read_pt(path: Path) -> Mel:
    import torch

    if zipfile.is_zipfile(path):
        _require_small_zip(path)
    with torch.serialization.safe_globals(_numpys_own()):
        content = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(content, dict):
        arrays = {name: value for name, value in content.items() if isinstance(value, torch.Tensor | np.ndarray)}
        content = arrays[_only(path, arrays, "mel")]
    if isinstance(content, np.ndarray):
        if content.dtype.kind != "f":
            raise MelError(path, f"holds {content.dtype}; a mel is floating point")
        _require_few(path, content.size)
        return content.astype(np.float32)
    return _floats(path, content)


def _numpys_own() -> list[Any]:
    """What an array pickles as, in numpy 1 and 2: data, no code."""
    made_by = {np.zeros(1).__reduce__()[0], np.float32(0).__reduce__()[0]}
    names = [(f, f"numpy.{core}.multiarray.{f.__name__}") for f in made_by for core in ("core", "_core")]
    types = {type(np.dtype(code)) for code in np.typecodes["AllFloat"] + np.typecodes["AllInteger"] + "?"}
    return [*names, np.ndarray, np.dtype, *types]


def _read_safetensors(path: Path) -> Mel:
    with safe_open(path, "np") as file:
        name = _only(path, file.keys(), "mel")
        stored = file.get_slice(name)
        if stored.get_dtype() in ("F16", "F32", "F64"):
            _require_few(path, math.prod(stored.get_shape()))
            return file.get_tensor(name).astype(np.float32)
    with safe_open(path, "pt") as file:  # numpy has no bfloat16
        return _floats(path, file.get_tensor(name))


def _safetensors_of(path: Path, content: bytes) -> Mel:
    """Of content whose header is small, since JSON in memory takes many times its bytes."""
    header_bytes = int.from_bytes(content[:8], "little")
    if len(content) < 8 or header_bytes > min(MAX_HEADER_BYTES, len(content) - 8):
        raise MelError(path, "neither .npy nor .safetensors, by its first bytes")
    tensors = dict(deserialize(content))
    stored = tensors[_only(path, tensors, "mel")]
    if stored["dtype"] not in SAFE_FLOATS:
        raise MelError(path, f"holds {stored['dtype']}; a mel is floating point")
    values = np.frombuffer(stored["data"], SAFE_FLOATS[stored["dtype"]])
    if stored["dtype"] == "BF16":  # the upper half of a float32
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32).reshape(stored["shape"])


def _floats(path: Path, tensor: object) -> Mel:
    import torch

    if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided:
        raise MelError(path, f"holds {type(tensor).__name__}; a mel is one dense tensor")
    if not tensor.dtype.is_floating_point:
        raise MelError(path, f"holds {tensor.dtype}; a mel is floating point")
    _require_few(path, tensor.numel())  # strides of 0 make a huge tensor of few bytes
    return tensor.detach().float().numpy()


def _require_few(path: Path, values: int) -> None:
    if 4 * values > MAX_BYTES:
        raise MelError(path, f"holds {values} values; at most {MAX_BYTES // 4} are read")


def _require_small_zip(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > MAX_BYTES:
        raise MelError(path, f"unpacks to {unpacked} bytes; at most {MAX_BYTES} are read")


def _only(path: Path, names: Iterable[str], preferred: str) -> str:
    """The name `preferred`, or the only one."""
    known = list(names)
    if preferred in known or len(known) == 1:
        return preferred if preferred in known else known[0]
    listed = ", ".join(map(str, known[:5])) or "none"
    raise MelError(path, f"holds {len(known)} arrays ({listed}); it must hold one, or one named 'mel'")


def _two_dimensional(path: Path, array: Mel, spec: MelSpec, layout: Layout) -> Mel:
    """`array` as [n_mels, F]."""
    shape, n_mels = array.shape, spec.n_mels
    mel = array[0] if array.ndim == 3 and shape[0] == 1 else array
    if mel.ndim != 2 or not mel.size:
        raise MelError(path, f"has shape {list(shape)}; a mel is [n_mels, frames], not empty")
    if layout == "auto":
        layout = _layout(path, mel.shape, n_mels)
    mel = mel if layout == "CT" else mel.T
    if mel.shape[0] != n_mels:
        raise MelError(
            path, f"has {mel.shape[0]} mel bins in the layout {layout}; {spec.name or 'the model'} has {n_mels}"
        )
    return mel


def _layout(path: Path, shape: tuple[int, ...], n_mels: int) -> Layout:
    if shape == (n_mels, n_mels):
        raise MelError(path, f"has as many frames as mel bins, {n_mels}; say which with --layout CT or --layout TC")
    if n_mels not in shape:
        raise MelError(path, f"has shape {list(shape)}; one side must be the {n_mels} mel bins of the convention")
    return "CT" if shape[0] == n_mels else "TC"


_READERS: dict[str, Callable[[Path], Mel]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".pt": _read_pt,
    ".safetensors": _read_safetensors,
}
_HEADER_READERS = {**_READERS, ".npy": _read_npy_header}


def _suffix_rule() -> str:
    return f"is no mel file by its name; it must end in {', '.join(_READERS)}"
