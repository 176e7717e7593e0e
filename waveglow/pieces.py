"""Synthesis of a mel that is still arriving, in pieces: the same for torch and for exported files.

A piece is out as soon as the frames behind it that it depends on are there, and is decoded with its surroundings. Mels
are arrays or tensors [B, M, F], audio [B, T].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

Array = TypeVar("Array", bound=Any)  # of numpy or torch


class Piece(NamedTuple):
    """Frames `done..ready` are to be heard, of frames `first..end` decoded."""

    first: int
    end: int
    done: int
    ready: int

    def heard(self, hop: int) -> slice:
        """Its samples in the audio of what is decoded."""
        return slice((self.done - self.first) * hop, (self.ready - self.first) * hop)


@dataclass
class Pieces:
    """Counts the frames that arrive, and cuts.

    Pieces begin at multiples of `step` frames, and so does what is decoded with them: `before` and `after` frames,
    rounded up. A piece has at least `gather` frames, but for the last. Raises ValueError for a `gather` that is no
    whole number of at least 1.

    >>> pieces = Pieces(before=2, after=1, gather=3)
    >>> [pieces.arrived(frames) for frames in (3, 1, 3)]
    [None, Piece(first=0, end=4, done=0, ready=3), Piece(first=1, end=7, done=3, ready=6)]
    >>> pieces.ended()
    Piece(first=4, end=7, done=6, ready=7)
    """

    before: int
    after: int
    step: int = 1
    gather: int = 1
    first: int = 0  # of the frames that are still needed
    done: int = 0  # frames whose audio is out
    total: int = 0  # frames that arrived

    def __post_init__(self) -> None:
        require_gather(self.gather)
        self.before, self.after = (-(-frames // self.step) * self.step for frames in (self.before, self.after))

    @property
    def missing(self) -> int:
        """Frames to arrive before the next piece can be decoded; at least 1."""
        least = -(-(self.done + self.gather) // self.step) * self.step
        return max(1, least + self.after - self.total)

    def arrived(self, frames: int) -> Piece | None:
        """The piece that so many frames more allow."""
        self.total += frames
        ready = (self.total - self.after) // self.step * self.step
        return self._cut(ready, ready + self.after) if ready - self.done >= self.gather else None

    def ended(self) -> Piece | None:
        """The last piece."""
        return self._cut(self.total, self.total) if self.total > self.done else None

    def _cut(self, ready: int, end: int) -> Piece:
        piece = Piece(self.first, end, self.done, ready)
        self.done, self.first = ready, max(0, ready - self.before)
        return piece


def require_gather(frames: int) -> None:
    """Raises ValueError unless pieces can be made of at least so many frames."""
    if type(frames) is not int or frames < 1:
        raise ValueError(f"gather is {frames!r}; it must be a whole number of frames from 1")


class Held(Generic[Array]):
    """The frames that pieces to come are decoded with.

    `decode(mels, first)` gives the audio of mels whose first frame is the clips' frame `first`; `join` concatenates
    along the frames.
    """

    def __init__(
        self,
        pieces: Pieces,
        hop: int,
        *,
        decode: Callable[[Array, int], Array],
        join: Callable[[list[Array]], Array],
    ) -> None:
        self.pieces, self.hop, self.decode, self.join = pieces, hop, decode, join
        self.mels: Array | None = None

    def feed(self, chunk: Array) -> Array | None:
        """The piece that a chunk allows. Raises ValueError where it has not as many clips as those before it."""
        if self.mels is not None and len(chunk) != len(self.mels):
            raise ValueError(f"a chunk has {len(chunk)} clips, those before it {len(self.mels)}; give all of one batch")
        self.mels = self.join([chunk] if self.mels is None else [self.mels, chunk])
        return self._decoded(self.pieces.arrived(chunk.shape[-1]))

    def end(self) -> Array | None:
        """The last piece, where frames are left."""
        return self._decoded(self.pieces.ended())

    def all(self, chunks: Iterable[Array]) -> Iterator[Array]:
        """The pieces of all chunks, each as soon as it can be."""
        return fed(self, chunks)

    def _decoded(self, piece: Piece | None) -> Array | None:
        if piece is None or self.mels is None:
            return None
        audio = self.decode(self.mels[..., : piece.end - piece.first], piece.first)
        self.mels = self.mels[..., self.pieces.first - piece.first :]
        return audio[:, piece.heard(self.hop)]


class Stream(Generic[Array]):
    """What the `stream` of a vocoder gives, for those whom chunks are handed to, one at a time.

    `batched(mel)` gives a chunk [M, F] or [B, M, F] as [B, M, F], and whether it was a single one; `begin(clips)` what
    holds the frames; `heard(audio, mels)` what the caller gets.
    """

    def __init__(
        self,
        pieces: Pieces,
        *,
        batched: Callable[[Any], tuple[Array, bool]],
        begin: Callable[[Pieces, int], Held[Array]],
        heard: Callable[[Array, Array], Array],
    ) -> None:
        self._pieces, self._batched, self._begin, self._heard = pieces, batched, begin, heard
        self._held: Held[Array] | None = None
        self._single = True

    @property
    def missing(self) -> int:
        """Frames that are to come before the next piece can."""
        return self._pieces.missing

    def feed(self, mel: Any) -> Array | None:
        """The piece that a chunk [M, F] or [B, M, F] allows, [T] or [B, T], or None.

        Raises ValueError as the vocoder's `stream` does; a chunk that is refused leaves the stream as it was.
        """
        batch, single = self._batched(mel)
        if self._held is None:
            self._held, self._single = self._begin(self._pieces, len(batch)), single
        return self._own(self._held.feed(batch), batch)

    def end(self) -> Array | None:
        """The last piece, where frames are left. Raises ValueError where it isn't finite."""
        held = self._held
        return None if held is None or held.mels is None else self._own(held.end(), held.mels)

    def all(self, mels: Iterable[Any]) -> Iterator[Array]:
        """The pieces of all chunks, each as soon as it can be."""
        return fed(self, mels)

    def _own(self, piece: Array | None, mels: Array) -> Array | None:
        if piece is None:
            return None
        own = self._heard(piece, mels)
        return own[0] if self._single else own


def fed(to: Held[Array] | Stream[Array], chunks: Iterable[Any]) -> Iterator[Array]:
    """What it gives of all chunks and at their end."""
    for chunk in chunks:
        if (piece := to.feed(chunk)) is not None:
            yield piece
    if (piece := to.end()) is not None:
        yield piece
