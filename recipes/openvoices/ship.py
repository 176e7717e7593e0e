"""The voice that comes with the package: a run's averaged weights in half precision, with a model card.

    python ship.py RUN [--scores "test split=RUN/evaluation" ...]    # waveglow/voices/lapglow
    python ship.py lapglow --set high_base=heavy-tailed              # the shipped weights under another base density
    python ship.py lapglow --refine 64 --stream-refine 16            # the shipped weights, refined otherwise by default
    python ship.py lapglow --likelihood "test split=EVALUATION"      # another NLL in the card, other scores kept
    python ship.py --samples EVALUATION                              # audio_samples/README.md

Matrices become float16, vectors stay float32. The card holds the tables of `waveglow evaluate`, which has to be run on
what was shipped; ship.sh does all of it in turn.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from held_out import held_out_nll  # beside this file
from prepare import WIDE

from waveglow.audio.io import load_audio
from waveglow.audio.refine import Refinement
from waveglow.config import from_mapping, parse_overrides, read_yaml
from waveglow.data.manifest import read_manifest
from waveglow.evaluation.streams import measured_context
from waveglow.models import checkpoint
from waveglow.models.registry import build_vocoder
from waveglow.models.shipped import DEFAULT_VOICE
from waveglow.models.whole_directory import write_directory
from waveglow.training.config import RunConfig
from waveglow.training.log import read_metrics
from waveglow.vocoder import Vocoder

ROOT = Path(__file__).parents[2]
MAX_BYTES = 24_000_000
CONTEXT_SECONDS = 2  # of each recording, to measure the context of streams

CARD = """# lapglow: the voice that comes with waveglow

A flow vocoder ({parameters:.1f} M parameters, {size:.1f} MB in half precision) for the `hifigan` mel at 22 050 Hz:
Matcha, FastSpeech 2, FastPitch and others feed it directly; tacotron2 mels are taken with a notice. Model and
training: `recipes/openvoices`.

    waveglow resynth in.wav out.wav
    waveglow synth mel.npy out.wav

**Data and licences.** {data}

**Training.** {training}; held-out exact NLL {nll:.3f} nats per sample on the validation clips (bands above a
recording's bandwidth left out). The curve: `recipes/openvoices/EXPERIMENTS.md`, and `waveglow report` of a run.

**Refinement.** {refinement}

**How wide it is.** {width}

{scores_title}
{scores}
"""
SCORES_TITLE = "**Scores**, as shipped, of copy-synthesis."
SAMPLES = """# Audio samples

`reference/` has the recordings (credits and licences on its page), all of the test split or of the unseen voice;
`lapglow/` the same clips from their mels, by the voice that comes with the package (σ 0.7, seed 0, refined). Made
anew, with these scores, by `recipes/openvoices/ship.sh`; the noise is a function of the seed, so the audio is the same
again.

{table}"""
DATA = """Russian, English, Spanish and Italian, four speakers, 3 h in Debian's `festvox-ru` (Nickolay V. Shmyrev,
BSD-like) and `asterisk-core-sounds-{en,es,it,ru}-g722` (Allison Smith, CC-BY-SA-3.0; Carlo Flora, CC-BY-3.0;
ivrvoice.ru, CC-BY-3.0). Details and credits: `recipes/openvoices/README.md`. The weights are released under
CC-BY-SA-3.0, the strictest of these licences."""
WIDE_DATA = """Russian, English, Spanish and Italian, four speakers, 3 h in Debian's `festvox-ru` (Nickolay V. Shmyrev,
BSD-like) and `asterisk-core-sounds-{en,es,it,ru}-g722` (Allison Smith, CC-BY-SA-3.0; Carlo Flora, CC-BY-3.0;
ivrvoice.ru, CC-BY-3.0); wide-band Mandarin of `audio-cmn` (Yue Tan, Chen Wang; CC-BY-SA-3.0) and Scottish Gaelic,
Spanish and English of `GCompris-voices` (public domain; Smart4Kids.com and art4apps.org, CC-BY-SA){synthetic}.
Details and credits: `recipes/openvoices/README.md`. The weights are released under CC-BY-SA-3.0, the strictest of these
licences."""
SYNTHETIC_DATA = ";\nsentences spoken by Kokoro-82M (synthetic; the model is Apache-2.0)"
REFINEMENT = """{steps} steps by default, {stream_steps} in streams, of the scheme `{scheme}`. A piece of a stream takes
{context} mel frames ({seconds:.2f} s) on both sides and is then within 5e-5 of full scale of what it is in the whole,
as measured on `audio_samples/reference`; the reach, beyond which nothing can matter, is {reach} frames."""
WIDTH = """The recordings hold speech up to 7 or 7.6 kHz; above that the model has heard only recordings played
up to 1.38 times as fast, and draws noise whose energy it infers from the mel."""
WIDE_WIDTH = """Above 7.6 kHz the model has heard the wide-band words alone (to 10 kHz and above), and draws noise whose
energy it infers from the mel."""


def main() -> None:
    """Write what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "run", type=Path, metavar="RUN", nargs="?", help="training run, or the shipped voice, for a new card"
    )
    parser.add_argument("--scores", action="append", default=[], metavar="TITLE=DIR", help="folder of an evaluation")
    parser.add_argument(
        "--samples", type=Path, metavar="DIR", help="folder of an evaluation of audio_samples/reference"
    )
    parser.add_argument(
        "--likelihood",
        action="append",
        default=[],
        metavar="TITLE=DIR",
        help="as --scores, of which only the NLL is taken",
    )
    parser.add_argument(
        "--valid",
        type=Path,
        metavar="MANIFEST",
        help="measure the held-out NLL anew, on the first 20 clips of its split valid",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of the model, without weights of its own"
    )
    parser.add_argument("--refine", type=int, metavar="STEPS", help="by default (as the run validated)")
    parser.add_argument("--stream-refine", type=int, metavar="STEPS", help="by default in streams (at most 8)")
    args = parser.parse_args()
    if not (args.run or args.samples):
        parser.error("give RUN, or --samples")
    try:
        if args.samples:
            write_samples(args.samples)
        if args.run:
            scores, likelihoods = ([_titled(text) for text in texts] for texts in (args.scores, args.likelihood))
            ship(
                args.run,
                scores,
                likelihoods=likelihoods,
                settings=parse_overrides(args.set),
                valid=args.valid,
                steps=args.refine,
                stream_steps=args.stream_refine,
            )
    except (ValueError, OSError) as error:
        print(f"ship.py: {error}", file=sys.stderr)
        sys.exit(2)


def _titled(text: str) -> tuple[str, Path]:
    title, equals, folder = text.partition("=")
    if not equals:
        raise ValueError(f"--scores is {text!r}; it is TITLE=DIR")
    return title, Path(folder)


def ship(
    run: Path,
    scores: list[tuple[str, Path]],
    *,
    likelihoods: list[tuple[str, Path]],
    settings: dict[str, Any],
    valid: Path | None,
    steps: int | None,
    stream_steps: int | None,
) -> None:
    """Write the voice of a run, with the tables of evaluations (title, folder) and the model's `settings` changed.

    Of `likelihoods`, evaluations too, the NLL alone is put into the tables that the card has. The held-out NLL is that
    of the run, or measured on the manifest `valid`.
    """
    loaded = checkpoint.load_vocoder(run)
    info = training_facts(run, loaded.info)
    model_config = {**loaded.model_config, **settings}
    model = build_vocoder(model_config)
    model.load_state_dict(loaded.model.state_dict())
    if valid is not None and loaded.mel_spec is not None:
        clips = [clip for clip in read_manifest(valid) if clip.split == "valid"]
        info["nll_nats"] = round(held_out_nll(model.eval(), loaded.mel_spec, clips)["nll_nats"], 4)
    refinement = refined_by(Refinement.of_info(loaded.info), steps, stream_steps)
    vocoder = Vocoder(model, loaded.mel_spec, refine=refinement)
    vocoder.refinement = replace(refinement, context=contexts(vocoder))
    info |= vocoder.refinement.info()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data = parameter.half()
    parameters = sum(p.numel() for p in model.parameters())
    size = sum(t.nbytes for t in model.state_dict().values())
    if size > MAX_BYTES:
        raise ValueError(f"{run}: {size / 1e6:.1f} MB of weights; the package takes at most {MAX_BYTES / 1e6:.0f}")
    kept = scores_of(DEFAULT_VOICE / "README.md") if loaded.path == DEFAULT_VOICE else ""
    for title, folder in likelihoods:
        kept = with_nll(kept, title, (folder / "evaluation.md").read_text(encoding="utf-8"))
    kept = with_tables(
        kept, {title: (folder / "evaluation.md").read_text(encoding="utf-8") for title, folder in scores}
    )
    card = CARD.format(
        parameters=parameters / 1e6,
        size=size / 1e6,
        data=credits(info),
        refinement=about_refinement(vocoder),
        width=WIDE_WIDTH if info.get("wide") else WIDTH,
        training=info.get("training") or f"{info['training_hours']:.1f} hours, {info['step']:,} steps",
        nll=info["nll_nats"],
        scores_title=SCORES_TITLE,
        scores=kept or "\nNot scored yet.\n",
    )
    writers = checkpoint.model_writers(model, model_config, loaded.mel_spec, info)
    writers["README.md"] = partial(_write, text=card)
    write_directory(DEFAULT_VOICE, writers)
    print(f"{DEFAULT_VOICE}: {parameters:,} parameters, {size / 1e6:.1f} MB, step {info['step']}")


def refined_by(own: Refinement, steps: int | None, stream_steps: int | None) -> Refinement:
    """The checkpoint's own, or what the arguments say, by accelerated steps."""
    if steps is None and stream_steps is None:
        return own
    usual = Refinement.usual(own.steps if steps is None else steps)
    return usual if stream_steps is None else replace(usual, stream_steps=stream_steps)


def contexts(vocoder: Vocoder) -> dict[int, int]:
    """Measured context of streams, by steps: none, those of streams and those of whole mels."""
    mels = []
    for path in sorted((ROOT / "audio_samples" / "reference").glob("*.wav")):
        samples = load_audio(path, sample_rate=vocoder.sample_rate).samples[: CONTEXT_SECONDS * vocoder.sample_rate]
        mels.append(vocoder.mel(samples, vocoder.sample_rate))
    steps = sorted({0, vocoder.refinement.stream_steps, vocoder.refinement.steps})
    return {n: measured_context(vocoder, mels, refine=n) for n in steps}


def about_refinement(vocoder: Vocoder) -> str:
    """The card's paragraph."""
    own = vocoder.refinement
    context = own.context[own.stream_steps]
    return REFINEMENT.format(
        steps=own.steps,
        stream_steps=own.stream_steps,
        scheme=own.scheme,
        context=context,
        seconds=context * vocoder.mel_spec.hop / vocoder.sample_rate,
        reach=max(vocoder.reach(own.stream_steps)),
    )


def write_samples(evaluation: Path) -> None:
    """The page of audio_samples; of an evaluation of the NLL alone that number is taken, and the other scores stay."""
    page, table = ROOT / "audio_samples" / "README.md", (evaluation / "evaluation.md").read_text(encoding="utf-8")
    nll = NLL.search(table)
    if nll and table.startswith("|  |\n"):  # a table without columns
        page.write_text(NLL.sub(nll[0], page.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        page.write_text(SAMPLES.format(table=table), encoding="utf-8")


def credits(info: dict[str, Any]) -> str:
    """Whose recordings the weights were trained on."""
    if not info.get("wide"):
        return DATA
    return WIDE_DATA.replace("{synthetic}", SYNTHETIC_DATA if info.get("synthetic") else "")


def scores_of(card: Path) -> str:
    """The tables of a card; they stay where the same weights are shipped again and no evaluations are given."""
    return card.read_text(encoding="utf-8").partition(SCORES_TITLE + "\n")[2].removesuffix("\n")


NLL = re.compile(r"NLL \S+ ± \S+ nats per sample")


def with_tables(kept: str, new: dict[str, str]) -> str:
    """The tables of a card, those of new evaluations in the place of what had their titles, or at the end."""
    _, *parts = re.split(r"\n([^\n|]+):\n\n(?=\|)", kept)
    tables = dict(zip(parts[::2], parts[1::2], strict=True)) | new
    return "".join(f"\n{title}:\n\n{table.rstrip()}\n" for title, table in tables.items())


def with_nll(tables: str, title: str, evaluation: str) -> str:
    """The tables of a card with the NLL of an evaluation in the one of that title. Raises ValueError where it lacks."""
    before, found, after = tables.partition(f"\n{title}:\n")
    table, mark, others = after.partition("\n- ")
    nll = NLL.search(evaluation)
    if not found or nll is None or not NLL.search(table):
        raise ValueError(f"{title!r} has no NLL in the card, or none in its evaluation; titles stand above the tables")
    return before + found + NLL.sub(nll[0], table) + mark + others


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def training_facts(run: Path, info: dict[str, Any]) -> dict[str, Any]:
    """Step, hours and held-out likelihood of the newest checkpoint; those of a shipped voice are kept."""
    if "training_hours" in info:
        return info
    lines = [m for m in read_metrics(run / "metrics.jsonl") if m.get("step", 0) <= info["step"]]
    valid = [m for m in lines if m["kind"] == "valid"]
    if not valid:
        raise ValueError(f"{run}: is no training run, or has not validated yet (metrics.jsonl); train on")
    hours = max(m["elapsed_seconds"] for m in lines) / 3600
    trained = [clip for clip in read_manifest(_manifest(run)) if clip.split == "train"]
    corpora = {Path(clip.path).parent.name for clip in trained}
    return {
        "step": info["step"],
        "training_hours": round(hours, 2),
        "nll_nats": round(valid[-1]["nll_nats"], 4),
        **Refinement.of_info(info).info(),
        "recipe": info.get("recipe") or from_mapping(RunConfig, read_yaml(run / "config.yaml")).recipe(),
        "wide": any(corpus.name in corpora for corpus in WIDE),
        "synthetic": any(clip.synthetic for clip in trained),
    }


def _manifest(run: Path) -> Path:
    given = Path(yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["data"]["manifest"])
    return given / "manifest.jsonl" if given.is_dir() else given


if __name__ == "__main__":
    main()
