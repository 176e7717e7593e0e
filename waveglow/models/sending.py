"""A checkpoint to the hub: what is sent is whole, loads, and holds no pickle and nothing of its training."""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path

from waveglow import hub
from waveglow.models.card import card
from waveglow.models.checkpoint import CONFIG, STEPS, WEIGHTS, CheckpointError, load, resolve
from waveglow.models.whole_directory import Writer, is_whole, standing, write_directory

CARD = "README.md"


def push(
    path: Path,
    to: str,
    *,
    licence: str | None = None,
    data: str | None = None,
    private: bool = False,
    branch: str | None = None,
    send: bool = False,
) -> str:
    """Send a checkpoint to the hub's repository `to`, org/name; of a run its best. Returns what was, or would be, sent.

    Arguments:
        licence, data: what the card says where the checkpoint has none of its own (models/card.py).
        private: make the repository private.
        branch: make that branch where there is none; None is main.
        send: False only lists.

    Raises ValueError for malformed names, CheckpointError for what is no sound checkpoint and for a run without a best
    one, HubError for what the hub doesn't take, OSError where the disk refuses.
    """
    repository = hub.repository_named(to)
    if branch is not None and hub.Reference.parse(f"{hub.PREFIX}{repository}@{branch}").is_commit:
        raise ValueError(f"--revision is {branch}, a commit; give a branch")
    loaded = load(_source(path))
    about = loaded.path / CARD
    own = about.read_text(encoding="utf-8") if about.is_file() else ""
    text = card(loaded, repository, own=own, licence=licence, data=data)
    with tempfile.TemporaryDirectory() as folder:
        staged = Path(folder) / repository.rpartition("/")[2]
        copies: dict[str, Writer] = {name: partial(_copy, loaded.path / name) for name in (CONFIG, WEIGHTS)}
        write_directory(staged, {**copies, CARD: partial(_write, text)})
        files = {name: staged / name for name in hub.FILES}
        listed = "\n".join(f"{name:<20} {file.stat().st_size:>14,} bytes" for name, file in files.items())
        if not send:
            return f"{listed}\nnothing is sent to {repository} yet; --yes sends it"
        address, commit = hub.upload(repository, files, private=private, branch=branch)
    return f"{listed}\n{address}\n{hub.Reference(repository, commit)}"


def _source(path: Path) -> Path:
    """The checkpoint that a name means; of a run its best, not its newest. Raises CheckpointError."""
    if not (path / STEPS).is_dir():
        return resolve(path)
    best = standing(path / "best")
    if not is_whole(best):
        raise CheckpointError(f"{path}: has no whole best/ yet; train on until it validates, or name one of {STEPS}/")
    return best


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def _write(text: str, target: Path) -> None:
    target.write_text(text, encoding="utf-8")
