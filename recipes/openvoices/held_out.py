"""Exact likelihood of held-out clips by corpus: −log p in nats a sample, of the bands that each recording has.

    python recipes/openvoices/held_out.py CKPT MANIFEST [--split valid] [--clips 20] [--max-seconds 4]

CKPT is a checkpoint, a training run or a voice's name; MANIFEST one of prepare.py. The same numbers as a run's own
validation, which mixes the corpora; `waveglow evaluate` counts the bands that narrow recordings lack as well.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from waveglow.config import ConfigError
from waveglow.data.manifest import Clip, read_manifest
from waveglow.models import checkpoint
from waveglow.training.config import LossConfig, ValidConfig
from waveglow.training.distributed import world
from waveglow.training.task import VocoderTask


def main() -> None:
    """Print a row for each corpus."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, metavar="CKPT")
    parser.add_argument("manifest", type=Path, metavar="MANIFEST")
    parser.add_argument("--split", default="valid", choices=["valid", "test"])
    parser.add_argument("--clips", type=int, default=20, metavar="N", help="the first N of each corpus (20)")
    parser.add_argument("--max-seconds", type=float, default=4.0, metavar="S", help="of each clip (4)")
    args = parser.parse_args()
    loaded = checkpoint.load_vocoder(args.checkpoint)
    if loaded.mel_spec is None:
        raise ConfigError(f"{args.checkpoint} names no mel convention")
    by_corpus: dict[str, list[Clip]] = {}
    for clip in read_manifest(args.manifest):
        if clip.split == args.split:
            by_corpus.setdefault(Path(clip.path).parent.name, []).append(replace(clip, split="valid"))
    print(f"| {args.checkpoint} | clips | NLL, nats a sample |")
    print("| --- | ---: | ---: |")
    with world("cpu") as here:
        for corpus, clips in sorted(by_corpus.items()):
            task = VocoderTask(
                [*clips, replace(clips[0], split="train")],  # a task without a clip to train on is refused
                loaded.mel_spec,
                segment_samples=loaded.model.group,
                seed=0,
                group=loaded.model.group,
                valid=ValidConfig(clips=args.clips, max_seconds=args.max_seconds),
                loss=LossConfig(),
            )
            metrics = task.validate(loaded.model, here)
            print(f"| {corpus} | {metrics['clips']} | {metrics['nll_nats']:.4f} |", flush=True)


if __name__ == "__main__":
    main()
