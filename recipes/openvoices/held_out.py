"""Exact likelihood of held-out clips by corpus: −log p in nats a sample, of the bands that each recording has.

    python recipes/openvoices/held_out.py CKPT MANIFEST [--split valid] [--clips 20] [--max-seconds 4]

CKPT is a checkpoint, a training run or a voice's name; MANIFEST one of prepare.py. The same numbers as a run's own
validation, which mixes the corpora; `waveglow evaluate` counts the bands that narrow recordings lack as well.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from waveglow.audio.mel import MelSpec
from waveglow.config import ConfigError
from waveglow.data.manifest import Clip, read_manifest
from waveglow.models import checkpoint
from waveglow.models.flow_vocoder import FlowVocoder
from waveglow.training.config import LossConfig, ValidConfig
from waveglow.training.distributed import world
from waveglow.training.task import VocoderTask


def held_out_nll(
    model: FlowVocoder, spec: MelSpec, clips: Sequence[Clip], *, n_clips: int = 20, max_seconds: float = 4.0
) -> dict[str, float]:
    """What a run says of its held-out clips (`VocoderTask.validate`), of the first of these."""
    unused = replace(clips[0], split="train")  # a task without a clip to train on is refused
    task = VocoderTask(
        [*(replace(clip, split="valid") for clip in clips), unused],
        spec,
        segment_samples=model.group,
        seed=0,
        group=model.group,
        valid=ValidConfig(clips=n_clips, max_seconds=max_seconds),
        loss=LossConfig(),
    )
    with world("cpu") as here:
        return task.validate(model, here)


def main() -> None:
    """Print a row for each corpus, and one for all in the manifest's order, as a run has them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, metavar="CKPT")
    parser.add_argument("manifest", type=Path, metavar="MANIFEST")
    parser.add_argument("--split", default="valid", choices=["valid", "test"])
    parser.add_argument("--clips", type=int, default=20, metavar="N", help="the first N of each corpus (20)")
    parser.add_argument("--max-seconds", type=float, default=4.0, metavar="S", help="of each clip (4)")
    args = parser.parse_args()
    try:
        loaded = checkpoint.load_vocoder(args.checkpoint)
        if loaded.mel_spec is None:
            raise ConfigError(f"{args.checkpoint} names no mel convention; convert it again with --mel PRESET")
        held_out = [clip for clip in read_manifest(args.manifest) if clip.split == args.split]
        if not held_out:
            raise ConfigError(f"{args.manifest} has no clips of the split {args.split!r}; prepare.py makes it")
        by_corpus: dict[str, list[Clip]] = {"all": held_out}
        for clip in held_out:
            by_corpus.setdefault(Path(clip.path).parent.name, []).append(clip)
        print(f"| {args.checkpoint} | clips | NLL, nats a sample |\n| --- | ---: | ---: |")
        for corpus, clips in by_corpus.items():
            found = held_out_nll(loaded.model, loaded.mel_spec, clips, n_clips=args.clips, max_seconds=args.max_seconds)
            print(f"| {corpus} | {found['clips']} | {found['nll_nats']:.4f} |", flush=True)
    except (ValueError, OSError) as error:
        print(f"held_out.py: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
