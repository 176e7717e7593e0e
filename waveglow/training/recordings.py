"""The recordings of a run: a manifest's, or those of a folder, checked in the run's directory; and what became of them.

Recordings are what they contain, not where they lie. The run keeps an account of them, `data/clips.jsonl`, so that
what was added, changed or lost since can be told by name.
"""

from __future__ import annotations

import sys
from pathlib import Path

from waveglow.audio.remote import is_url
from waveglow.config import ConfigError
from waveglow.data.manifest import Clip, changes, read_manifest, write_manifest
from waveglow.data.prepare import MANIFEST, REPORT, is_of, prepare, tell
from waveglow.training.config import RunConfig
from waveglow.training.distributed import World

ACCOUNT = "clips.jsonl"


def recordings(run_dir: Path, config: RunConfig, here: World, *, may_change: bool) -> list[Clip]:
    """The clips that data.manifest means: those of a manifest, of a folder with one, or of a folder of recordings.

    A manifest, or a folder with one, may be a URL.

    `may_change`: go on although they are others than before, with a notice. Raises ConfigError where they are and may
    not, where there are none, and OutputError.
    """
    own, given = run_dir / "data", Path(config.data.manifest)
    if is_url(url := config.data.manifest):
        clips = read_manifest(url if url.endswith(".jsonl") else f"{url.rstrip('/')}/{MANIFEST}")
        if here.is_first:
            _keep_account(own / ACCOUNT, clips, url, may_change=may_change)
        return clips
    if not config.data.manifest or not given.exists():
        raise ConfigError(
            f"--data (data.manifest) is {config.data.manifest or 'not given'}; give a manifest or a folder"
        )
    manifest = given / MANIFEST if given.is_dir() else given
    if not manifest.is_file():
        manifest = own / MANIFEST
        if here.is_first and not is_of(own, given):
            _prepare(own, given, sample_rate=config.mel_spec().sample_rate, may_change=may_change)
        here.barrier()
    clips = read_manifest(manifest)
    if here.is_first:
        _keep_account(own / ACCOUNT, clips, given, may_change=may_change)
    return clips


def _prepare(own: Path, given: Path, *, sample_rate: int, may_change: bool) -> None:
    """Make a run's manifest of a folder, or make it anew where the folder was moved or touched."""
    before = read_manifest(own / MANIFEST) if (own / MANIFEST).exists() else []

    def accept(now: list[Clip]) -> None:
        _require_same(before, now, given, may_change=may_change)

    tell(prepare(given, own, sample_rate=sample_rate, accept=accept), own / REPORT)


def _keep_account(path: Path, clips: list[Clip], given: Path | str, *, may_change: bool) -> None:
    before = read_manifest(path) if path.exists() else []
    if changed := _require_same(before, clips, given, may_change=may_change):
        print(f"notice: {given}: the recordings changed: {changed}", file=sys.stderr)
    write_manifest(path, clips)


def _require_same(before: list[Clip], now: list[Clip], given: Path | str, *, may_change: bool) -> str:
    """What changed. Raises ConfigError where nothing may."""
    changed = changes(before, now) if before else ""
    if changed and not may_change:
        raise ConfigError(
            f"{given}: the recordings aren't those that this run has trained on: {changed}; restore them, or give "
            "--allow-data-change to go on with them as they are now"
        )
    return changed
