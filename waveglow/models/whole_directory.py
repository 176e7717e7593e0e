"""Directories that are written whole or not at all, and told apart from damaged ones by a manifest.

A directory is filled under a temporary name and renamed when everything is on disk: a name without `.tmp` is whole.
Its MANIFEST.json, written last, has the size and SHA-256 of every file. To replace an older directory takes two
renames; whoever was killed between them has left the new one and the old one under temporary names: `standing` finds it
there, and `recover` puts it back. Looking changes nothing.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from waveglow import hub
from waveglow.config import from_json

MANIFEST = "MANIFEST.json"

Writer = Callable[[Path], None]


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged or doesn't fit; the message names the file, the fault and what to do."""


def write_directory(target: Path, writers: Mapping[str, Writer]) -> None:
    """Write files (name to a function that writes its path) as one directory: all of them are there, or none.

    Every file is flushed to disk, then the manifest, then the directory is renamed into place. An older directory of
    ours (it has a MANIFEST.json) is replaced, and stays where that fails. Raises OSError where the disk refuses,
    CheckpointError where something else has that name.
    """
    _require_ours(target)
    temporary = target.with_name(f"{target.name}.tmp-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        manifest = {}
        for name, write in writers.items():
            write(temporary / name)
            (temporary / name).chmod(0o644)  # safetensors makes its files private
            _flush(temporary / name)
            manifest[name] = {"bytes": (temporary / name).stat().st_size, "sha256": sha256(temporary / name)}
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        _flush(temporary / MANIFEST)
        _flush(temporary)
        _move(temporary, target)
        _flush(target.parent)
    except SafetensorError as error:  # its own error for a full disk
        raise OSError(f"{target}: can't be written ({error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _require_ours(target: Path) -> None:
    """Raises CheckpointError where the name is taken by anything but a directory with a manifest, or an empty one."""
    ours = target.is_dir() and ((target / MANIFEST).is_file() or not any(target.iterdir()))
    if os.path.lexists(target) and not ours:
        raise CheckpointError(
            f"{target}: exists and is no checkpoint (it has no {MANIFEST}), so it is not replaced; give another path, "
            "or remove it yourself"
        )


def standing(target: Path) -> Path:
    """Where a directory is: at its name, or, as a kill amid its replacement left it, under a temporary one.

    The new one where it is whole, else the old one; `target` itself where there is neither.
    """
    if target.exists():
        return target
    return next((path for path in _leftovers(target) if is_whole(path)), target)


def recover(target: Path) -> None:
    """Put a directory back to its name that a kill amid its replacement left without, and remove what is left over.

    For whoever writes the directory and is alone at it. Raises OSError.
    """
    found = standing(target)
    if found != target:
        os.rename(found, target)
    for leftover in _leftovers(target):
        shutil.rmtree(leftover, ignore_errors=True)


def _leftovers(target: Path) -> list[Path]:
    """Directories under temporary names of `target`, new ones first."""
    name = glob.escape(target.name)
    return [path for kind in ("tmp", "replaced") for path in sorted(target.parent.glob(f"{name}.{kind}-*"))]


def _move(temporary: Path, target: Path) -> None:
    """Rename, replacing an older directory, which comes back where the rename fails."""
    replaced = target.with_name(f"{target.name}.replaced-{os.getpid()}")
    if not target.exists():
        os.rename(temporary, target)
        return
    shutil.rmtree(replaced, ignore_errors=True)
    os.rename(target, replaced)
    try:
        os.rename(temporary, target)
    except OSError:
        os.rename(replaced, target)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def _digest(file: Any) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def is_whole(directory: Path) -> bool:
    """Whether `verify` finds nothing wrong."""
    try:
        verify(directory)
    except CheckpointError:
        return False
    return True


def verify(directory: Path) -> None:
    """Raises CheckpointError unless every file of the manifest is there with its size and hash.

    A folder of the hub's cache needs no manifest, for the cache has hashes of its own; of one it has, the files count
    that are fetched at all.
    """
    fetched = hub.is_snapshot(directory)
    if fetched:
        try:
            hub.verify(directory)
        except hub.HubError as error:
            raise CheckpointError(str(error)) from error
        if not (directory / MANIFEST).exists():
            return
    try:
        manifest = from_json((directory / MANIFEST).read_text(encoding="utf-8"))
        entries = [(name, entry["bytes"], entry["sha256"]) for name, entry in manifest.items()]
    except OSError as error:
        raise CheckpointError(f"{directory}: is no checkpoint, {MANIFEST} can't be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{directory}: {MANIFEST} is damaged; use another checkpoint") from error
    for name, size, digest in entries:
        path = directory / name
        if fetched and name not in hub.FILES:
            continue
        if path.parent != directory or not os.path.isfile(path):
            raise CheckpointError(f"{directory}: {name} is missing; copy the checkpoint again or use another one")
        if path.stat().st_size != size or sha256(path) != digest:
            raise CheckpointError(f"{path}: differs from its manifest (damaged or edited); use another checkpoint")
