"""The cache of huggingface_hub, in its layout, into which only whole files come.

    models--org--name/
        blobs/<hash>            the files, by the hub's hash: SHA-256 of big ones, git's SHA-1 of the others
        snapshots/<commit>/     config.json -> ../../blobs/<hash>, …
        refs/<revision>         the commit that a branch or a tag was when last looked up

huggingface_hub compares a download's length, not its content, and writes into the cache file by file. Here all files
of a commit are fetched beside it and checked first, so a download that breaks leaves the cache as it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from waveglow.hub.reference import COMMIT, FILES, REQUIRED, HubError, Reference

HASH = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class HubFile:
    """A file of a commit as the hub lists it: its name, its bytes, and its hash in hex."""

    name: str
    size: int
    hash: str


@dataclass(frozen=True)
class CachedRepository:
    """What the cache has of a repository."""

    folder: Path

    @classmethod
    def of(cls, reference: Reference, cache: Path) -> CachedRepository:
        """Its folder in a cache, which may not exist."""
        return cls(cache / "--".join(["models", *reference.repository.split("/")]))

    def snapshot(self, commit: str) -> Path:
        """The folder of a commit."""
        return self.folder / "snapshots" / commit

    def blob(self, file: HubFile) -> Path:
        """Where a file's content is."""
        return self.folder / "blobs" / file.hash

    def has(self, commit: str, names: Iterable[str] = REQUIRED) -> bool:
        """Whether files of a commit are there."""
        return all((self.snapshot(commit) / name).is_file() for name in names)

    def commit_of(self, reference: Reference) -> str | None:
        """The commit that a reference was when last looked up, where the cache has its files."""
        commit = reference.revision
        if not reference.is_commit:
            try:
                commit = (self.folder / "refs" / reference.revision).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                return None
        return commit if COMMIT.fullmatch(commit) and self.has(commit) else None

    def remember(self, reference: Reference, commit: str) -> None:
        """Note which commit a branch or a tag is. Raises OSError."""
        note = self.folder / "refs" / reference.revision
        if reference.is_commit or (note.is_file() and note.read_text(encoding="utf-8") == commit):
            return  # a cache that can't be written serves all the same
        note.parent.mkdir(parents=True, exist_ok=True)
        temporary = note.with_name(f"{note.name}.tmp-{os.getpid()}")
        temporary.write_text(commit, encoding="utf-8")
        os.replace(temporary, note)

    def keep(self, commit: str, files: Iterable[HubFile], staged: Path) -> None:
        """Take in the files of a commit: from the folder `staged` those whose content is not there. Raises OSError."""
        self.snapshot(commit).mkdir(parents=True, exist_ok=True)
        (self.folder / "blobs").mkdir(exist_ok=True)
        for file in files:
            if not self.blob(file).is_file():
                os.replace(staged / file.name, self.blob(file))
            link = self.snapshot(commit) / file.name
            if not link.is_file():
                with contextlib.suppress(FileExistsError):  # another process, with the same content
                    link.symlink_to(os.path.relpath(self.blob(file), link.parent))


def is_snapshot(directory: Path) -> bool:
    """Whether a path is that of a commit in such a cache."""
    commit, snapshots, repository, *_ = (*(part.name for part in (directory, *directory.parents)), "", "")
    return snapshots == "snapshots" and repository.startswith("models--") and COMMIT.fullmatch(commit) is not None


def verify(snapshot: Path) -> None:
    """Raises HubError where a file of a snapshot isn't what the hub's hash of it says.

    Where the cache is kept without links, as on some file systems, there is no hash to compare with.
    """
    for path in (snapshot / name for name in FILES):
        named = Path(os.readlink(path)).name if path.is_symlink() else ""
        if HASH.fullmatch(named) and (not path.is_file() or digest(path, like=named) != named):
            raise HubError(f"{path}: is damaged, or missing; remove {path.resolve()} and load the model again")


def digest(path: Path, *, like: str) -> str:
    """A file's hash of the kind of `like`, by its length: SHA-256, or the SHA-1 by which git names a file."""
    if len(like) == 64:
        sha = hashlib.sha256()
    else:
        sha = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()
