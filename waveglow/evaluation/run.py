"""An evaluation from its arguments to its files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from waveglow.audio.files import utf8, write_atomically
from waveglow.config import ConfigError, nearest
from waveglow.evaluation import table
from waveglow.evaluation.clips import Clip, find_clips
from waveglow.evaluation.rows import Settings, require_others
from waveglow.evaluation.scores import Evaluation, Measured, whole_results
from waveglow.evaluation.table import TRUTH, Results
from waveglow.export.onnx_runtime import OnnxVocoder
from waveglow.metrics import METRICS, USUAL
from waveglow.parts import WHOLE, Part, in_turn, reports
from waveglow.processes import Killed, in_processes
from waveglow.vocoder import Vocoder

RESULTS = "evaluation.json"
SIGMAS = (0.0, 0.3, 0.5, 0.7, 0.85, 1.0)


def evaluate(
    vocoder: Vocoder | OnnxVocoder,
    clips: str | Path | Sequence[Clip],
    out: str | Path,
    *,
    split: str | None = None,
    also: Mapping[str, Path] | None = None,
    sigma: float = 0.7,
    seed: int = 0,
    refine: int | None = None,
    metrics: Iterable[str] = USUAL,
    sigmas: Iterable[float] = SIGMAS,
    checkpoint: str | Path = "vocoder",
    checkpoint_found: str | Path | None = None,
    against: str | Path | None = None,
    part: Part = WHOLE,
    tell: Callable[[str], None] | None = None,
) -> Results:
    """Copy-synthesis of recordings, scored beside the recordings themselves, Griffin-Lim, refined noise and others.

    What was done below `out` already, by the same weights and settings, is not done again.

    Arguments:
        vocoder: one that knows its mel convention, or an exported one, of which no likelihood is known.
        clips: a folder of recordings, a manifest, or clips.
        out: the folder that gets the wavs, evaluation.json (what is returned) and evaluation.md (its table).
        split: of a manifest; None is test where it has one, else valid.
        also: folders of the same clips by other vocoders, by name.
        sigma, seed, refine: as of `Vocoder.synthesize`.
        metrics: of `waveglow.metrics.METRICS`, by default those that take no minutes a clip; those whose packages are
            missing are left out.
        sigmas: to compare on a few of the clips.
        checkpoint, checkpoint_found: what the results call the vocoder, and the folder that this stood for.
        against: another checkpoint or .onnx file, of the same sample rate: a row, and paired differences, "against".
        part: of the clips; what they scored is written to a file of the part's, for `merged`, and returned.
        tell: is given a sentence on each metric that can't be had, before the work begins.

    Returns the content of evaluation.json: means and intervals under "rows", each clip's scores under "clips", what
    went wrong under "failed" and "unscored". Raises ValueError where an argument doesn't fit, or no recording can be
    used.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; name a folder for the results")
    found, skipped = find_clips(Path(clips), out, split) if isinstance(clips, str | Path) else (list(clips), [])
    others = require_others(also or {}, found)
    require_sigmas([sigma])
    vocoder.reach(refine)  # ValueError where it can't refine so
    asked, other = require_metrics(metrics), None if against is None else _other(against, vocoder)
    if isinstance(vocoder, OnnxVocoder) | isinstance(other, OnnxVocoder) and "nll" in asked:
        asked.remove("nll")
        if tell:
            tell(f"no {METRICS['nll'].label}: an .onnx file only synthesizes; evaluate its checkpoint")
    settings = Settings(
        input=str(clips) if isinstance(clips, str | Path) else f"{len(found)} clips",
        checkpoint=str(checkpoint),
        checkpoint_found=str(checkpoint_found or checkpoint),
        split=split,
        sigma=sigma,
        seed=seed,
        refine=vocoder.refine if refine is None else refine,
        precision=vocoder.precision,
        device=str(vocoder.device),
        threads=torch.get_num_threads(),
        metrics=asked,
        sigmas=require_sigmas(sigmas),
        against=None if against is None else str(against),
    )
    out.mkdir(parents=True, exist_ok=True)
    work = Evaluation(vocoder, out, settings, found, others, other, part)
    work.failed += [{"row": TRUTH, "clip": str(path), "reason": reason} for path, reason in part.of(skipped)]
    if tell:
        for name, reason in work.unavailable.items():
            tell(f"no {METRICS[name].label}: {reason}")
    results = work.run()
    _write(part.named(out / RESULTS), json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False))
    if part == WHOLE:
        _write(out / "evaluation.md", table.markdown(results))
    return results


def merged(out: str | Path) -> Results:
    """What `evaluate` would have given and written at once, of the files of all parts in `out`.

    Raises ConfigError where there are none, one is missing or broken, or they are parts of different things; ValueError
    where no recording could be used; OutputError.
    """
    contents = reports(Path(out) / RESULTS)
    if not contents:
        raise ConfigError(f"{out}: has no reports of parts, such as report.1-of-2.json; --shard 1/2 writes one")
    try:
        parts = [Measured.of(content["measured"]) for content in contents]
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{out}: the parts' reports can't be merged ({error}); run them again") from error
    clips = in_turn([part.clips for part in parts])
    order = {scores.clip: place for place, scores in enumerate(clips)}
    results = whole_results(
        contents[0]["circumstances"],
        Measured(
            rows=parts[0].rows,
            clips=clips,
            missing={row: _sorted(order, [part.missing[row] for part in parts]) for row in parts[0].missing},
            failed=[note for part in parts for note in part.failed],
            unscored=[note for part in parts for note in part.unscored],
            sigmas=parts[0].sigmas,
            sweep_metrics=parts[0].sweep_metrics,
            swept=sorted((scores for part in parts for scores in part.swept), key=lambda scores: order[scores.clip]),
        ),
    )
    _write(Path(out) / RESULTS, json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False))
    _write(Path(out) / "evaluation.md", table.markdown(results))
    return results


def in_jobs(
    asked: partial[Results], open_vocoder: Callable[[], Vocoder | OnnxVocoder], out: Path, *, part: Part, jobs: int
) -> Results:
    """A part of an evaluation by `jobs` processes, each of which does a part of that, and merged if it is the whole.

    Arguments:
        asked: `evaluate`, with all arguments but the vocoder and the part.
        open_vocoder: is called in each process.

    Returns the results of the whole; of a part what `evaluate` returns of it, or at least what "failed". Raises as
    `evaluate` and `merged` do, and ConfigError where processes are killed.
    """
    if jobs == 1:
        return asked(open_vocoder(), part=part)
    parts = part.divided(jobs)
    failed = []
    for place, done in in_processes(partial(_opened, asked, open_vocoder), parts, jobs=jobs):
        if isinstance(done, Killed):
            raise ConfigError(f"two processes that evaluated part {parts[place]} were {done.how}; lower --jobs")
        failed += done["failed"]
    if part != WHOLE:
        return {"failed": failed}
    whole = merged(out)
    for one in parts:
        one.named(out / RESULTS).unlink(missing_ok=True)
    return whole


def _opened(asked: partial[Results], open_vocoder: Callable[[], Vocoder | OnnxVocoder]) -> Callable[[Part], Results]:
    vocoder = open_vocoder()

    def evaluate_part(part: Part) -> Results:
        return asked(vocoder, part=part, tell=asked.keywords["tell"] if part.index == 1 else None)

    return evaluate_part


def _sorted(order: Mapping[str, int], parts: Iterable[Iterable[str]]) -> list[str]:
    return sorted((name for names in parts for name in names), key=order.__getitem__)


def _other(path: str | Path, vocoder: Vocoder | OnnxVocoder) -> Vocoder | OnnxVocoder:
    precision = vocoder.precision if isinstance(vocoder, Vocoder) else "float32"
    other = (
        OnnxVocoder(path)
        if Path(path).suffix == ".onnx"
        else Vocoder.load(path, precision=precision, device=vocoder.device)
    )
    if other.sample_rate != vocoder.sample_rate:
        raise ValueError(
            f"{path} has {other.sample_rate} Hz, the vocoder {vocoder.sample_rate} Hz; only vocoders of one sample "
            "rate can be compared clip by clip"
        )
    return other


def _write(path: Path, text: str) -> None:
    write_atomically(path, utf8(f"{text}\n"))


def require_metrics(names: Iterable[str]) -> list[str]:
    """The names, each once. Raises ValueError for one that is no metric."""
    distinct = list(dict.fromkeys(names))
    for name in distinct:
        if name not in METRICS:
            raise ValueError(f"unknown metric {name!r}{nearest(name, METRICS)}")
    return distinct


def require_sigmas(sigmas: Iterable[float]) -> list[float]:
    """The numbers in order, each once. Raises ValueError where one is negative or not finite."""
    distinct = sorted(set(sigmas))
    for sigma in distinct:
        if not 0 <= sigma < math.inf:
            raise ValueError(f"sigma is {sigma}; it must be a finite number >= 0")
    return distinct
