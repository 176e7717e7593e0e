"""The `waveglow` command: one thin module a verb, imported only when its verb is used.

Exit codes: 0 ok, 2 usage (arguments, configuration, memory), 3 some inputs failed, 4 bad checkpoint, 5 diverged.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence

from waveglow import __version__
from waveglow.config import is_told, nearest
from waveglow.distribution import how_to_get
from waveglow.surroundings import make_do

VERBS = {
    "prepare": "check recordings and list them in a manifest, with a held-out split",
    "manifest": "list recordings in shards, or of a lhotse CutSet, in a manifest",
    "train": "train or fine-tune a vocoder; the same command resumes",
    "synth": "mel files to wavs",
    "resynth": "wavs to mels to wavs: how good is the vocoder?",
    "denoise": "wavs that a vocoder made, less its hum; measures their tones",
    "evaluate": "how good is a vocoder? metrics, tables and a page to listen to",
    "merge-reports": "one report of the parts that several machines did",
    "mel": "wavs to mel files",
    "mel-check": "can a vocoder of one mel convention be fed mels of another?",
    "convert": "a published .pt checkpoint to one of ours, running no code of it",
    "export": "a checkpoint to ONNX, or a WaveGlow to NVIDIA's layout",
    "serve": "a vocoder over HTTP, and a page to hear it",
    "push": "a checkpoint to the Hugging Face Hub, with its card",
    "models": "every vocoder that can be built: size, cost, how far it sees",
    "info": "what a checkpoint is: model, mel convention, likelihood",
    "bench": "speed, memory and exactness on this machine",
    "report": "an HTML page about a training run: curves, verdict, audio",
    "image": "image flows (NICE to TarFlow): train, sample, interpolate, manipulate",
}
EXIT_CODES = "exit codes: 0 ok, 2 usage, 3 some inputs failed, 4 bad checkpoint, 5 training diverged"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    make_do()
    given = list(sys.argv[1:] if arguments is None else arguments)
    about = "Flow-based speech synthesis: mel spectrogram to waveform in one parallel pass."
    try:
        return dispatch("waveglow", given, VERBS, description=about)
    except ModuleNotFoundError as error:
        if (hint := how_to_get(error.name)) is None:
            raise
        print(f"waveglow {given[0]}: {hint}", file=sys.stderr)
        return 2


def dispatch(command: str, given: list[str], verbs: Mapping[str, str], *, description: str | None) -> int:
    """Run the verb that `given` begins with, by its module; returns the exit code.

    `command` is what stands before the verb. A verb that has verbs of its own is a package with `VERBS` and
    `completed(given)`, what was meant by that; any other is a module with `add_arguments(parser)` and `run(args)`.
    """
    if not given or given[0].startswith("-"):
        return _overview(command, given, verbs, description)
    if given[0] not in verbs:
        print(f"{command}: unknown command {given[0]!r}{nearest(given[0], verbs)}", file=sys.stderr)
        return 2
    name = f"{command} {given[0]}"
    module = importlib.import_module(f"waveglow.cli.{'.'.join(name.split()[1:]).replace('-', '_')}")
    if hasattr(module, "VERBS"):
        return dispatch(name, module.completed(given[1:]), module.VERBS, description=module.__doc__)
    parser = argparse.ArgumentParser(
        prog=name, description=module.__doc__, epilog=EXIT_CODES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.add_arguments(parser)
    args = parser.parse_args(given[1:])
    try:
        return int(module.run(args))
    except BrokenPipeError:  # as of `waveglow … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to print goes nowhere
        return 141
    except (ValueError, OSError, RuntimeError) as error:
        code = _exit_code(error)
        if code is None:
            raise
        print(f"{name}: {error}", file=sys.stderr)
        return code
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130


def _exit_code(error: Exception) -> int | None:
    """The documented exit code of what a user can cause; None for what only a bug can."""
    bad_checkpoint = dict.fromkeys(("CheckpointError", "UnreadableCheckpoint", "OnnxFileError"), 4)
    codes = {**bad_checkpoint, "DivergedError": 5, "OutOfMemoryError": 2}
    told = isinstance(error, OSError) or (isinstance(error, ValueError) and is_told(error))
    return codes.get(type(error).__name__, 2 if told else None)


def _overview(command: str, given: list[str], verbs: Mapping[str, str], description: str | None) -> int:
    width = max(10, 1 + max(map(len, verbs)))
    parser = argparse.ArgumentParser(
        prog=command,
        usage=f"{command} [-h] [--version] COMMAND ...",
        description=description,
        epilog="commands:\n"
        + "\n".join(f"  {verb:<{width}} {summary}" for verb, summary in verbs.items())
        + f"\n\n`{command} COMMAND --help` tells more, with examples.\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"waveglow {__version__}")
    parser.parse_args(given)
    parser.print_help()
    return 0


if __name__ == "__main__":
    sys.exit(main())
