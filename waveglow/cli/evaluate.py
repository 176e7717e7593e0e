"""How good is a vocoder? Copy-synthesis of recordings, scored by metrics that others publish too, and heard blind.

INPUT is a folder of recordings or a manifest; all of its clips count. Beside the vocoder stand the recordings
themselves (the most that a metric gives), Griffin-Lim from the same mels (what needs no network), and with --also the
same clips by others; where the vocoder's samples are refined, also what the same steps make of noise, and the samples
as they were. OUT gets index.html (the table, players and a blind test in one file), evaluation.md (the table for a
model card), evaluation.json (everything) and the wavs. A killed evaluation goes on when run again.

  waveglow evaluate recordings/ scores/
  waveglow evaluate -c runs/ljspeech data/manifest.jsonl scores/
  waveglow evaluate -c runs/my-voice runs/my-voice/data/manifest.jsonl scores/ --against lapglow
  waveglow evaluate -c runs/ljspeech recordings/ scores/ --also hifigan=copies/hifigan/
  waveglow evaluate -c runs/ljspeech recordings/ scores/ --metrics pesq,estoi,mr_stft --sigmas none
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from waveglow.cli.common import add_sampling, add_shares, add_vocoder, each, opened_vocoder, sampling
from waveglow.cli.values import checked, numbers
from waveglow.evaluation import Results, evaluate, markdown, notices
from waveglow.evaluation.rows import named_folders
from waveglow.evaluation.run import SIGMAS, in_jobs, require_metrics, require_sigmas
from waveglow.evaluation.scores import SWEEP_CLIPS
from waveglow.metrics import METRICS, USUAL
from waveglow.opening import settled
from waveglow.pages.evaluation import write_page
from waveglow.parts import WHOLE

UNUSUAL = [name for name in METRICS if name not in USUAL]
SOME_SIGMAS = ",".join(f"{sigma:g}" for sigma in SIGMAS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=Path, metavar="INPUT", help="folder of recordings, or a manifest.jsonl")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the results")
    add_vocoder(parser)
    add_sampling(parser)
    add_shares(parser)
    parser.add_argument("--against", type=Path, metavar="CKPT", help="checkpoint or .onnx file, for paired differences")
    parser.add_argument("--split", help="of a manifest (test where it has one, else valid)")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=DIR", help="the clips by another vocoder")
    parser.add_argument(
        "--metrics",
        type=checked(lambda text: require_metrics(name.strip() for name in text.split(","))),
        default=list(USUAL),
        metavar="LIST",
        help=f"of {','.join(METRICS)} (all but {' and '.join(UNUSUAL)}, which take minutes a clip)",
    )
    parser.add_argument(
        "--sigmas",
        type=checked(lambda text: [] if text == "none" else require_sigmas(numbers(text))),
        default=list(SIGMAS),
        metavar="LIST",
        help=f"to compare, on {SWEEP_CLIPS} clips at most; or none ({SOME_SIGMAS})",
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate, and print the results."""
    given, args.checkpoint = args.checkpoint, settled(args.checkpoint)  # once: a run may save another one meanwhile
    asked = partial(
        evaluate,
        clips=args.input,
        out=args.out,
        split=args.split,
        also=named_folders(args.also),
        **sampling(args),
        metrics=args.metrics,
        sigmas=args.sigmas,
        checkpoint=given,
        checkpoint_found=args.checkpoint,
        against=args.against,
        tell=_notice,
    )
    done = in_jobs(asked, each(args, opened_vocoder), args.out, part=args.shard, jobs=args.jobs)
    return show(args.out, done) if args.shard == WHOLE else 3 * bool(done["failed"])


def show(out: Path, results: Results) -> int:
    """Write the page and print the results; the exit code."""
    write_page(out, results)
    for line in notices(results):
        _notice(line)
    print(markdown(results))
    print(out / "index.html")
    return 3 if results["failed"] else 0


def _notice(line: str) -> None:
    print(f"notice: {line}", file=sys.stderr)
