"""A file inside a shard: so many bytes of an uncompressed tar, read by themselves and held against their header.

A tar is a sequence of 512-byte headers, each followed by a file's bytes, filled up to 512 (POSIX.1-1988, ustar). The
header before the bytes says whose they are, so that an index that doesn't fit its tar is found at every read.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import NamedTuple

from waveglow.audio.files import FileError, unusable
from waveglow.audio.remote import is_url, read_range

BLOCK = tarfile.BLOCKSIZE


class Span(NamedTuple):
    """`size` bytes from `offset` of the tar `shard`, in which they are `member`. Named like a file, tar:member."""

    shard: str
    offset: int
    size: int
    member: str

    def __str__(self) -> str:
        return f"{self.shard}:{self.member}"

    def __fspath__(self) -> str:
        return str(self)

    def read_bytes(self) -> bytes:
        """The file's content. Raises FileError where the shard ends before, or holds something else there."""
        content = self._read(BLOCK + self.size)
        self._require_header(content[:BLOCK])
        if missing := BLOCK + self.size - len(content):
            raise FileError(self, f"its shard is cut short: {missing} bytes of it are missing; {AGAIN}")
        return content[BLOCK:]

    def require_there(self) -> None:
        """Raises FileError as `read_bytes` does, but reads no more than the header."""
        self._require_header(self._read(BLOCK))

    def _read(self, size: int) -> bytes:
        """At most so many bytes from the header on; of a store, where one request has its price, all of them."""
        if is_url(self.shard):
            try:
                return read_range(self.shard, self.offset - BLOCK, size)
            except FileError as error:
                raise FileError(self, f"its shard {self.shard}: {error.reason}") from error
        if reason := unusable(Path(self.shard)):
            raise FileError(self, f"its shard {reason}")
        with open(self.shard, "rb") as tar:
            tar.seek(self.offset - BLOCK)
            return tar.read(size)

    def _require_header(self, block: bytes) -> None:
        try:
            found = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise FileError(self, f"its shard has no file at byte {self.offset}, {OTHER}; {AGAIN}") from error
        short = len(self.member.encode("utf-8", "surrogateescape")) <= tarfile.LENGTH_NAME and self.member.isascii()
        if found.size != self.size or (short and found.name != self.member):
            it = f"{found.name} of {found.size} bytes, not {self.member} of {self.size}"
            raise FileError(self, f"its shard has there {it}, {OTHER}; {AGAIN}")


OTHER = "so the manifest is of another one"
AGAIN = "restore the shard, or make the manifest again with `waveglow prepare` or `waveglow manifest`"


class Member(NamedTuple):
    """A file in a tar, from its header."""

    name: str
    offset: int
    size: int


def members(shard: Path) -> list[Member]:
    """The files of an uncompressed tar, in order. Raises FileError where it is none, is cut short, or has one twice."""
    if reason := unusable(shard):
        raise FileError(shard, reason)
    try:
        with tarfile.open(shard, "r:") as tar:
            found = [Member(info.name, info.offset_data, info.size) for info in tar if info.isreg()]
            end = tar.offset
    except (tarfile.TarError, OSError) as error:
        raise FileError(shard, f"is no uncompressed tar, or cut short ({error}); unpack a .tar.gz first") from error
    size = shard.stat().st_size
    with shard.open("rb") as file:
        file.seek(max((one.offset + -(-one.size // BLOCK) * BLOCK for one in found), default=0))
        mark = file.read(BLOCK)
    if found and (found[-1].offset + found[-1].size > size or mark != bytes(BLOCK)):
        raise FileError(shard, f"is cut short: it ends at byte {size}, without the mark of a tar's end; fetch it again")
    if end > size:
        raise FileError(shard, f"is cut short: it ends at byte {size} of {end}; fetch it again")
    seen: set[str] = set()
    for one in found:
        if one.name in seen:
            raise FileError(shard, f"has the member {one.name} twice; which one counts can't be known")
        seen.add(one.name)
    return found
