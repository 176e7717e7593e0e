"""How good is a vocoder? Copy-synthesis of recordings, scored by metrics that others publish too, and heard blind.

INPUT is a folder of recordings or a manifest; all of its clips count. Beside the vocoder stand the recordings
themselves (the most that a metric gives), Griffin-Lim from the same mels (what needs no network), and with --also the
same clips by others; where the vocoder's samples are refined, also what the same steps make of noise, and the samples
as they were. OUT gets index.html (the table, players and a blind test in one file), evaluation.md (the table for a
model card), evaluation.json (everything) and the wavs. A killed evaluation goes on when run again.

  waveglow evaluate recordings/ scores/
  waveglow evaluate -c runs/ljspeech data/manifest.jsonl scores/
  waveglow evaluate -c runs/ljspeech recordings/ scores/ --also hifigan=copies/hifigan/
  waveglow evaluate -c runs/ljspeech recordings/ scores/ --metrics pesq,estoi,mr_stft --sigmas none
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path

import torch

from waveglow.audio.files import AUDIO_SUFFIXES, find_inputs, write_atomically
from waveglow.cli.common import add_sampling, add_vocoder
from waveglow.cli.devices import open_vocoder
from waveglow.config import nearest
from waveglow.data.manifest import read_manifest
from waveglow.evaluation import table
from waveglow.evaluation.rows import Clip, Settings, folder_of, found_in
from waveglow.evaluation.scores import SWEEP_CLIPS, Evaluation
from waveglow.evaluation.table import GRIFFIN_LIM, REFINED_NOISE, TRUTH, UNREFINED, VOCODER
from waveglow.metrics import METRICS
from waveglow.models import checkpoint
from waveglow.pages import evaluation as page

SIGMAS = "0,0.3,0.5,0.7,0.85,1.0"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("input", type=Path, metavar="INPUT", help="folder of recordings, or a manifest.jsonl")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the results")
    add_vocoder(parser)
    add_sampling(parser)
    parser.add_argument("--split", help="of a manifest (test where it has one, else valid)")
    parser.add_argument(
        "--also", action="append", default=[], metavar="NAME=DIR", help="a folder of the same clips by another vocoder"
    )
    parser.add_argument(
        "--metrics", type=_metrics, default=list(METRICS), metavar="LIST", help=f"of {','.join(METRICS)} (all)"
    )
    parser.add_argument(
        "--sigmas",
        type=_sigmas,
        default=_sigmas(SIGMAS),
        metavar="LIST",
        help=f"to compare, on {SWEEP_CLIPS} clips at most; or none ({SIGMAS})",
    )


def _metrics(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in METRICS:
            raise argparse.ArgumentTypeError(f"unknown metric {name!r}{nearest(name, METRICS)}")
    return names


def _sigmas(text: str) -> list[float]:
    try:
        values = [] if text == "none" else [float(part) for part in text.split(",")]
    except ValueError:
        values = [math.nan]
    if not all(0 <= value < math.inf for value in values):
        raise argparse.ArgumentTypeError(f"{text!r} is neither none nor a list of numbers >= 0, such as {SIGMAS}")
    return sorted(set(values))


def run(args: argparse.Namespace) -> int:
    """Evaluate, and write the results."""
    if args.out.exists() and not args.out.is_dir():
        raise ValueError(f"{args.out} is a file; name a folder for the results")
    clips, skipped = find_clips(args.input, args.out, args.split)
    others = _others(args.also, clips)
    given, args.checkpoint = args.checkpoint, checkpoint.resolve(args.checkpoint)  # once: a run may save another one
    vocoder = open_vocoder(args)
    settings = Settings(
        input=str(args.input),
        checkpoint=str(given),
        checkpoint_found=str(args.checkpoint),
        split=args.split,
        sigma=args.sigma,
        seed=args.seed,
        refine=vocoder.refine if args.refine is None else args.refine,
        precision=args.precision,
        device=str(vocoder.device),
        threads=torch.get_num_threads(),
        metrics=args.metrics,
        sigmas=args.sigmas,
    )
    args.out.mkdir(parents=True, exist_ok=True)
    work = Evaluation(vocoder, args.out, settings, clips, others)
    work.failed += [{"row": TRUTH, "clip": str(path), "reason": reason} for path, reason in skipped]
    for name, reason in work.unavailable.items():
        print(f"notice: no {METRICS[name].label}: {reason}", file=sys.stderr)
    results = work.run()
    _write(args.out / "evaluation.json", json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False))
    _write(args.out / "evaluation.md", table.markdown(results))
    page.write_page(args.out, results, vocoder.mel_spec)
    for line in table.notices(results):
        print(f"notice: {line}", file=sys.stderr)
    print(table.markdown(results))
    print(args.out / "index.html")
    return 3 if results["failed"] else 0


def _write(path: Path, text: str) -> None:
    write_atomically(path, f"{text}\n".encode())


def find_clips(source: Path, out: Path, split: str | None) -> tuple[list[Clip], list[tuple[Path, str]]]:
    """Recordings of a folder or of a manifest's split, in order of name, and (path, reason) of what can't be one.

    Raises ValueError where there is none, or `out` lies in the folder.
    """
    if source.is_file():
        return _of_manifest(source, split), []
    if split is not None:
        raise ValueError(f"--split is {split}, and {source} is no manifest; leave --split out")
    inputs = find_inputs([source], AUDIO_SUFFIXES, out=out)
    if not inputs.found:
        raise ValueError(f"no {', '.join(AUDIO_SUFFIXES)} files in {source}")
    clips = [Clip(item.stem.as_posix(), item.file) for item in inputs.found]
    return sorted(clips, key=lambda clip: clip.name), [(item.path, item.reason) for item in inputs.skipped]


def _of_manifest(path: Path, split: str | None) -> list[Clip]:
    if path.suffix.lower() in AUDIO_SUFFIXES:
        raise ValueError(f"{path} is one recording; give its folder, or a manifest")
    entries = read_manifest(path)
    splits = sorted({str(entry.split) for entry in entries})
    chosen = split or next((name for name in ("test", "valid") if name in splits), None)
    if chosen not in splits:
        raise ValueError(f"{path}: has no split {chosen or 'test or valid'}; it has {', '.join(splits)}")
    files = [Path(entry.path) for entry in entries if str(entry.split) == chosen]
    common = os.path.commonpath([file.parent for file in files])
    clips = {file.relative_to(common).with_suffix("").as_posix(): file for file in files}
    if len(clips) < len(files):
        raise ValueError(f"{path}: two clips have one name but for the suffix; rename one")
    return [Clip(name, clips[name]) for name in sorted(clips)]


def _others(options: list[str], clips: list[Clip]) -> dict[str, Path]:
    """The folders of --also by name. Raises ValueError for a bad name, and a folder that has none of the clips."""
    others: dict[str, Path] = {}
    taken = {folder_of(name): name for name in (TRUTH, GRIFFIN_LIM, REFINED_NOISE, UNREFINED, VOCODER)}
    for option in options:
        name, _, folder = option.partition("=")
        if not folder_of(name) or not folder:
            raise ValueError(f"--also is {option!r}; it is NAME=DIR, such as hifigan=copies/hifigan")
        if folder_of(name) in taken:
            raise ValueError(f"--also {option}: {taken[folder_of(name)]!r} has that name; choose another one")
        if not Path(folder).is_dir():
            raise ValueError(f"--also {option}: {folder} is no folder")
        if not any(found_in(Path(folder), clip) for clip in clips):
            raise ValueError(f"--also {option}: {folder} has none of the clips, such as {clips[0].name}.wav")
        others[name] = Path(folder)
        taken[folder_of(name)] = name
    return others
