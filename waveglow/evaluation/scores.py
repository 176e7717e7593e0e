"""An evaluation: every row's wav of every clip made, scored and remembered.

Scores belong to wav files as written, 16 bits, at the model's sample rate. The rows are in rows.py.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from waveglow import __version__
from waveglow.audio.files import is_of_input, make_folder
from waveglow.audio.io import load_audio, save_audio
from waveglow.devices import device_name, processor
from waveglow.evaluation.cache import Cache, file_digest, model_digest
from waveglow.evaluation.clips import Clip, ClipScores
from waveglow.evaluation.means import paired, summary
from waveglow.evaluation.rows import GriffinLim, Other, RefinedNoise, Row, Sampled, Settings, folder_of
from waveglow.evaluation.table import AGAINST, TRUTH, VOCODER, Results
from waveglow.export.onnx_runtime import OnnxVocoder
from waveglow.metrics import METRICS, MissingPackageError, Take, TakeScore
from waveglow.metrics.packages import Samples, version_of
from waveglow.parts import WHOLE, Part, account
from waveglow.vocoder import Vocoder

FORMAT = 1
SWEPT = ("pesq", "estoi", "mr_stft", "tones")
SWEEP_CLIPS = 8


@dataclass(frozen=True)
class Made:
    """A wav of `seconds`, and the seconds that its synthesis took."""

    path: Path
    sha256: str
    seconds: float
    took: float = 0.0
    notices: tuple[str, ...] = ()


class Evaluation:
    """Makes and scores every row's wav of every clip, below `out`.

    `failed` and `unscored` name what went wrong: a row's clip that has no wav, and a metric that couldn't score one.
    `unavailable` are the metrics whose packages aren't there, with the reason.
    """

    def __init__(
        self,
        vocoder: Vocoder | OnnxVocoder,
        out: Path,
        settings: Settings,
        clips: list[Clip],
        others: Mapping[str, Path],
        against: Vocoder | OnnxVocoder | None = None,
        part: Part = WHOLE,
    ) -> None:
        self.vocoder, self.out, self.settings, self.clips, self.others = vocoder, out, settings, clips, others
        self.part = part
        self.spec, self.group = vocoder.mel_spec, vocoder.group
        self.cache = Cache(part.named(out / "cache.jsonl"))
        self.model_sha256 = model_digest(vocoder)
        self.vocoders: dict[str, Vocoder | OnnxVocoder] = {VOCODER: vocoder, **({AGAINST: against} if against else {})}
        self.digests = {VOCODER: self.model_sha256, **({AGAINST: model_digest(against)} if against else {})}
        self.scorers, self.unavailable = loaded(settings.metrics)
        self.failed: list[dict[str, str]] = []
        self.unscored: list[dict[str, str]] = []

    def run(self) -> Results:
        """Everything, with a progress bar; the content of evaluation.json. Raises OutputError.

        Of a part there is what its clips scored, and also under "swept" at the sigmas: what `merging.merged` needs.
        """
        settings = self.settings
        rows: list[Row] = [GriffinLim(self.spec)]
        if settings.refine:
            rows += [
                RefinedNoise(self.vocoder, settings.refine, settings.seed),
                self._sampled(settings.sigma, refine=0),
            ]
        rows += [self._sampled(settings.sigma, timed=True)]
        if AGAINST in self.vocoders:
            rows += [self._against(settings.sigma)]
        rows += [Other(name, folder, self.spec.sample_rate) for name, folder in self.others.items()]
        swept = {name: score for name, score in self.scorers.items() if name in SWEPT}
        sweep = [self._sampled(sigma) for sigma in (settings.sigmas if swept else [])]
        clips = self.part.of(self.clips)
        sweep_clips = [clip for clip in evenly(self.clips, SWEEP_CLIPS if sweep else 0) if clip in clips]
        total = len(clips) * (1 + len(rows)) + len(sweep_clips) * (1 + len(sweep))
        with tqdm(total=total, unit="wav", disable=not sys.stderr.isatty()) as bar:
            table = [self._clip_scores(clip, rows, self.scorers, bar) for clip in clips]
            swept_clips = [self._clip_scores(clip, sweep, swept, bar) for clip in sweep_clips]
        measured = Measured(
            rows=[TRUTH, *(row.name for row in rows)],
            clips=table,
            missing={row.name: [clip.name for clip in clips if not row.has(clip)] for row in rows},
            failed=self.failed,
            unscored=self.unscored,
            sigmas={f"{row.sigma:g}": row.name for row in sweep},
            sweep_metrics=list(swept),
            swept=swept_clips,
        )
        circumstances = self._circumstances()
        if self.part != WHOLE:
            of = {**account(clip.name for clip in self.clips), "settings": circumstances["settings"]}
            whose = {"part": str(self.part), "of": {**of, "model": self.model_sha256}}
            return {**whose, "circumstances": circumstances, "measured": asdict(measured), "failed": self.failed}
        return whole_results(circumstances, measured)

    def _against(self, sigma: float) -> Sampled:
        """The other vocoder, refined as it is by itself where nothing else was asked for."""
        other, steps = self.vocoders[AGAINST], self.settings.refine
        refine = other.refine if steps == self.vocoder.refine else steps
        digest = self.digests[AGAINST]
        return Sampled(other, self.settings, digest, sigma=sigma, refine=refine, timed=True, name=AGAINST)

    def _sampled(self, sigma: float, *, refine: int | None = None, timed: bool = False) -> Sampled:
        steps = self.settings.refine if refine is None else refine
        return Sampled(self.vocoder, self.settings, self.model_sha256, sigma=sigma, refine=steps, timed=timed)

    def _clip_scores(self, clip: Clip, rows: Sequence[Row], scorers: Mapping[str, TakeScore], bar: Any) -> ClipScores:
        """Of one clip. A row that has no wav of it, or can't make one, has no scores."""
        result = ClipScores(clip.name)
        try:
            bar.set_postfix_str(f"{clip.name}, {TRUTH}")
            truth = self._recorded(clip)
        except (ValueError, OSError) as error:
            if not is_of_input(error):
                raise
            _note(self.failed, error, row=TRUTH, clip=clip.name)
            bar.update(1 + len(rows))
            return result
        reference = Lazy(partial(self._take, truth))
        result.seconds, result.notices = truth.seconds, [*truth.notices]
        result.rows[TRUTH] = self._scores(TRUTH, clip, truth, truth, reference, scorers)
        bar.update()
        for row in rows:
            bar.set_postfix_str(f"{clip.name}, {row.name}")
            try:
                made = self._output(row, clip, truth, reference) if row.has(clip) else None
            except (ValueError, OSError) as error:
                if not is_of_input(error):
                    raise
                _note(self.failed, error, row=row.name, clip=clip.name)
                made = None
            if made:
                result.notices += [f"{row.name}: {notice}" for notice in made.notices]
                result.rows[row.name] = self._scores(row.name, clip, truth, made, reference, scorers)
            bar.update()
        return result

    def _recorded(self, clip: Clip) -> Made:
        """The recording at the model's rate. Raises AudioError."""

        def load() -> tuple[Samples, float, tuple[str, ...]]:
            audio = load_audio(clip.path, sample_rate=self.spec.sample_rate)
            return audio.samples, 0.0, audio.notices

        return self._made(TRUTH, clip, load, [file_digest(clip.path), self.spec.sample_rate])

    def _output(self, row: Row, clip: Clip, truth: Made, reference: Lazy) -> Made:
        """A row's wav. Raises ValueError or OSError."""

        def make() -> tuple[Samples, float, tuple[str, ...]]:
            samples, took = row.make(clip, reference.take.samples)
            return samples, took, ()

        return self._made(row.name, clip, make, [truth.sha256, *row.recipe(clip)])

    def _made(
        self, row: str, clip: Clip, make: Callable[[], tuple[Samples, float, tuple[str, ...]]], recipe: list[Any]
    ) -> Made:
        """The wav that is there if it was made by this recipe, else made now."""
        path = self.out / "wavs" / folder_of(row) / f"{clip.name}.wav"
        known = self.cache.get("wav", row, clip.name, recipe)
        if known and path.is_file() and file_digest(path) == known["sha256"]:
            return Made(path, **{**known, "notices": tuple(known["notices"])})
        samples, took, notices = make()
        make_folder(path.parent)
        if clipped := save_audio(path, samples, self.spec.sample_rate):
            notices += (f"{clipped} samples beyond full scale were clipped",)
        made = Made(path, file_digest(path), len(samples) / self.spec.sample_rate, took, notices)
        facts = {"sha256": made.sha256, "seconds": made.seconds, "took": took, "notices": list(notices)}
        self.cache.put(facts, "wav", row, clip.name, recipe)
        return made

    def _take(self, made: Made) -> Take:
        return Take(load_audio(made.path).samples, self.spec, self.group)

    def _scores(
        self, row: str, clip: Clip, truth: Made, made: Made, reference: Lazy, scorers: Mapping[str, TakeScore]
    ) -> dict[str, float | None]:
        """Scores of a wav by metric."""
        output = reference if made.sha256 == truth.sha256 else Lazy(partial(self._take, made))
        content = [truth.sha256, made.sha256, self.spec.fingerprint, self.group]
        todo: dict[str, tuple[list[Any], Callable[[], float]]] = {
            name: ([METRICS[name].version, *content], partial(_apply, score, reference, output))
            for name, score in scorers.items()
        }
        if row in self.vocoders and scorers is self.scorers:
            vocoder = self.vocoders[row]
            if "nll" in self.settings.metrics and isinstance(vocoder, Vocoder):
                recipe = [METRICS["nll"].version, truth.sha256, self.digests[row], self.settings.precision]
                todo["nll"] = (recipe, lambda: _nll(vocoder, reference.take.samples))
            if "rtf" in self.settings.metrics:
                todo["rtf"] = ([made.took, made.seconds], lambda: made.took / made.seconds)
        return {name: self._cached(row, clip, name, recipe, compute) for name, (recipe, compute) in todo.items()}

    def _cached(
        self, row: str, clip: Clip, metric: str, recipe: list[Any], compute: Callable[[], float]
    ) -> float | None:
        known = self.cache.get("score", metric, recipe)
        if known is None:
            try:
                known = compute()
            except ValueError as error:
                _note(self.unscored, error, row=row, clip=clip.name, metric=metric)
                return None
            self.cache.put(known, "score", metric, recipe)
        return float(known)

    def _circumstances(self) -> Results:
        """Of what, with what and on what."""
        vocoder = self.vocoder
        return {
            "settings": asdict(self.settings),
            "model": {
                "sha256": self.model_sha256,
                "parameters": vocoder.parameters,
                "sample_rate": self.spec.sample_rate,
                "hop": self.spec.hop,
                "group": self.group,
                "mel": self.spec.to_dict(),
            },
            "metrics": {
                name: {
                    "label": metric.label,
                    "unit": metric.unit,
                    "better": metric.better,
                    "digits": metric.digits,
                    "about": metric.about,
                    "package": f"{metric.package} {version_of(metric.package)}" if metric.package else "",
                }
                for name, metric in METRICS.items()
                if name in self.settings.metrics and name not in self.unavailable
            },
            "unavailable": self.unavailable,
            "machine": {
                "processor": processor(),
                "device": device_name(torch.device(vocoder.device)),
                "system": platform.system(),
            },
            "versions": {"waveglow": __version__, "python": platform.python_version()}
            | {name: version_of(name) for name in ("torch", "numpy", "librosa", "soxr")},
        }


@dataclass
class Measured:
    """What an evaluation, or a part of one, measured.

    `clips` and `swept` are scores at the one sigma and, of a few clips, at all; `sigmas` names those rows.
    """

    rows: list[str]
    clips: list[ClipScores]
    missing: dict[str, list[str]]
    failed: list[dict[str, str]]
    unscored: list[dict[str, str]]
    sigmas: dict[str, str]
    sweep_metrics: list[str]
    swept: list[ClipScores]

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Measured:
        """As `asdict` wrote it. Raises TypeError and KeyError where it didn't."""
        scores = {name: [ClipScores(**clip) for clip in content[name]] for name in ("clips", "swept")}
        return cls(**{**content, **scores})


def whole_results(circumstances: Results, measured: Measured) -> Results:
    """The content of evaluation.json. Raises ValueError where no recording could be used."""
    if not any(scores.rows for scores in measured.clips):
        raise ValueError(f"none of the recordings can be used; the first: {measured.failed[0]['reason']}")
    settings, table = circumstances["settings"], measured.clips
    better = {name: METRICS[name].better for name in settings["metrics"]}
    against = {"checkpoint": settings["against"], "paired": paired(VOCODER, AGAINST, table, better)}
    return {
        "format": FORMAT,
        **circumstances,
        "rows": {name: summary(name, table, settings["metrics"]) for name in measured.rows},
        "against": against if AGAINST in measured.rows else None,
        "missing": measured.missing,
        "failed": measured.failed,
        "unscored": measured.unscored,
        "sweep": {
            "clips": [scores.clip for scores in measured.swept if scores.rows],
            "sigmas": {
                sigma: summary(row, measured.swept, measured.sweep_metrics) for sigma, row in measured.sigmas.items()
            },
        },
        "clips": [asdict(scores) for scores in table],
    }


class Lazy:
    """A take that is read when it is first needed: where all is known already, that is never."""

    def __init__(self, read: Callable[[], Take]) -> None:
        self._read = read

    @cached_property
    def take(self) -> Take:
        return self._read()


def _nll(vocoder: Vocoder | OnnxVocoder, samples: Samples) -> float:
    """Nats per sample."""
    spec = vocoder.mel_spec
    counted = min(len(samples), spec.frames(max(len(samples), spec.min_samples)) * spec.hop)
    log_prob = float(vocoder.log_prob(samples, spec.sample_rate))
    return -log_prob / (counted - counted % vocoder.group)


def _apply(score: TakeScore, reference: Lazy, output: Lazy) -> float:
    return score(reference.take, output.take)


def _note(notes: list[dict[str, str]], reason: object, **where: str) -> None:
    note = {**where, "reason": str(reason)}
    if note not in notes:
        notes.append(note)


def loaded(names: Iterable[str]) -> tuple[dict[str, TakeScore], dict[str, str]]:
    """The metrics that compare two takes, ready; and why others can't be had."""
    scorers, unavailable = {}, {}
    for name in names:
        load = METRICS[name].load
        try:
            if load:
                scorers[name] = load()
        except MissingPackageError as error:
            unavailable[name] = str(error)
    return scorers, unavailable


def evenly(clips: Sequence[Clip], most: int) -> list[Clip]:
    """At most so many clips, evenly spread over all in their order."""
    chosen = np.linspace(0, len(clips) - 1, min(most, len(clips))).round().astype(int)
    return [clips[index] for index in chosen]
