"""Decode the open voices of six Debian packages and wide-band speech, bring them to one level, list them for training.

    python recipes/openvoices/prepare.py PACKAGES OUT [--speeds 1.0,1.17,1.38]

PACKAGES holds what fetch.sh downloads: the .deb files, or the trees unpacked from them, PACKAGES/<package>/usr/..., and
the checkouts or tars of wide.py. Without the latter the voices are as narrow as the packages.
OUT gets wavs/<corpus>/<corpus>-<name>.wav (22 050 Hz, 16 bit), manifest.jsonl with the splits train, valid and test (of
the packages' voices alone), wide.jsonl with the test of wide-band speech, and unseen.jsonl with the voice that is in no
split. Run it again and it goes on where it was.

Exit status: 0; 3 where some recordings were refused, each named; 2 where nothing could be done.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import soxr
import wide  # beside this file
from tqdm import tqdm

from waveglow.audio.files import find_inputs
from waveglow.audio.io import AudioError, Samples, load_audio, probe, save_audio
from waveglow.data.manifest import Clip, Split, write_manifest

SAMPLE_RATE = 22_050  # Hz, of the `hifigan` mel
SPEEDS = (1.0, 1.17, 1.38)
SPLITS = Path(__file__).parent / "splits"
HELD_OUT = 0.05  # of each corpus for test, and as much for validation

FRAME_SECONDS = 0.025
SPEECH_DB = 40.0  # a frame this far below the loudest one is a pause, and has no say in the level
NEARLY_FULL = 0.95  # of the band: such clips count as full, since something must say what lies at the top
LEVEL_DBFS = -20.0
PEAK = 0.95

ASTERISK = "usr/share/asterisk/sounds"
FESTVOX = "usr/share/festival/voices/russian/msu_ru_nsh_clunits/wav"


@dataclass(frozen=True)
class Corpus:
    """The recordings of one voice: `folder` in a Debian `package`, or in a source of wide.py.

    An `unseen` voice is held out whole; `synthetic` speech never is. `bandwidth` in Hz: what lies above is no speech,
    so that no model is asked to predict it (models/bandwidth.py); of wide-band speech it is None: measured, by clip.
    """

    name: str
    package: str
    folder: str
    bandwidth: int | None
    unseen: bool = False
    synthetic: bool = False

    @property
    def suffix(self) -> str:
        return ".g722" if self.package.endswith("-g722") else ".wav"

    @property
    def is_wide(self) -> bool:
        return self.bandwidth is None


CORPORA = (
    Corpus("ru-nsh", "festvox-ru", FESTVOX, 7000),
    Corpus("en", "asterisk-core-sounds-en-g722", f"{ASTERISK}/en_US_f_Allison", 7600),
    Corpus("es", "asterisk-core-sounds-es-g722", f"{ASTERISK}/es_MX_f_Allison", 7600),
    Corpus("it", "asterisk-core-sounds-it-g722", f"{ASTERISK}/it_IT_m_Carlo", 7600),
    Corpus("ru", "asterisk-core-sounds-ru-g722", f"{ASTERISK}/ru_RU_f_IvrvoiceRU", 7600),
    Corpus("fr", "asterisk-core-sounds-fr-g722", f"{ASTERISK}/fr_CA_f_June", 7600, unseen=True),
)

WIDE = (
    Corpus("zh", "audio-cmn", "96k/hsk", None),
    Corpus("zh-syllables", "audio-cmn", "64k/syllabs", None),
    Corpus("gd", "gcompris", "gd", None),
    Corpus("es-words", "gcompris", "es", None),
    Corpus("en-words", "gcompris", "en", None),
    Corpus("kokoro", "kokoro", "wavs", None, synthetic=True),
)

# The same take as es/seconds, which is held out for the test; the only copy across splits (waveforms correlated).
COPIES = ("es/queue-seconds",)


@dataclass(frozen=True)
class Recording:
    """One file of a package. `name` is its place in the corpus without suffix, such as `digits/7`."""

    corpus: Corpus
    name: str
    file: Path

    @property
    def key(self) -> str:
        """How the lists of the splits call it."""
        return f"{self.corpus.name}/{self.name}"

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.key.encode()).hexdigest()

    def wav(self, out: Path, speed: float) -> Path:
        """Where it goes. The corpus stands in the file's name too: the four Asterisk corpora share their names."""
        stem = self.key.replace("/", "-") + ("" if speed == 1 else f"@{speed:g}")
        return out / "wavs" / self.corpus.name / f"{stem}.wav"


# ---- Packages to recordings ------------------------------------------------------------------------------------------


def unpacked(packages: Path) -> None:
    """Unpack the .deb files of `packages` into packages/<package>. Raises ValueError where a package lacks."""
    missing = []
    for corpus in CORPORA:
        tree, debs = packages / corpus.package, sorted(packages.glob(f"{corpus.package}_*.deb"))
        if tree.is_dir():
            continue
        if debs:
            _unpack(debs[-1], tree)
        else:
            missing.append(corpus.package)
    if missing:
        raise ValueError(f"{packages} has no {', '.join(missing)}; recipes/openvoices/fetch.sh {packages} gets them")


def _unpack(deb: Path, tree: Path) -> None:
    if shutil.which("dpkg-deb") is None:
        raise ValueError(
            f"{deb} can't be unpacked without dpkg-deb; unpack it by hand: "
            f"mkdir {tree} && cd {tree} && ar x ../{deb.name} && tar -xf data.tar.*"
        )
    partial = tree.with_name(tree.name + ".partial")
    done = subprocess.run(["dpkg-deb", "-x", str(deb), str(partial)], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{deb} can't be unpacked ({done.stderr.strip()}); delete it and fetch it again")
    os.rename(partial, tree)


def recordings(packages: Path) -> list[Recording]:
    """Every recording of speech, each once: no silences, no beeps, no copies."""
    every: list[Recording] = []
    for corpus in CORPORA:
        inputs = find_inputs([packages / corpus.package / corpus.folder], (corpus.suffix,))
        found = [Recording(corpus, stem.as_posix(), file) for file, stem in inputs.found if _is_speech(stem)]
        if not found:
            raise ValueError(f"{packages / corpus.package / corpus.folder} has no {corpus.suffix} files")
        every += [recording for recording in found if recording.key not in COPIES]
    return every


def wide_recordings(packages: Path, lists: Path) -> list[Recording]:
    """Every chosen recording of the sources that are there; a notice names those that aren't. Raises ValueError."""
    every: list[Recording] = []
    for source in wide.SOURCES:
        files = wide.chosen(packages, source, lists)
        if not files:
            print(f"notice: {packages} has no {source.name}; its wide-band speech is left out", file=sys.stderr)
        for corpus in (corpus for corpus in WIDE if corpus.package == source.name):
            folder = packages / source.name / corpus.folder
            every += [
                Recording(corpus, file.relative_to(folder).with_suffix("").as_posix(), file)
                for file in files
                if file.is_relative_to(folder)
            ]
    return every


def _is_speech(stem: Path) -> bool:
    return "silence" not in stem.parts[:-1] and not stem.name.startswith("beep")


# ---- Splits ----------------------------------------------------------------------------------------------------------


def read_splits(folder: Path, prefix: str = "") -> dict[str, Split]:
    """The recordings that are held out, by key. Raises ValueError where one is in both lists."""
    held_out: dict[str, Split] = {}
    names: tuple[Split, ...] = ("test", "valid")
    for split in names:
        for key in (folder / f"{prefix}{split}.txt").read_text(encoding="utf-8").split():
            if key in held_out:
                raise ValueError(f"{folder}: {key} is listed twice; a recording is in one split")
            held_out[key] = split
    return held_out


def write_splits(
    folder: Path, usable: Sequence[Recording], corpora: Sequence[Corpus] = CORPORA, prefix: str = ""
) -> None:
    """Of each corpus the smallest hashes go to the test, the next to validation; `HELD_OUT` each."""
    lists: dict[str, list[str]] = {"test": [], "valid": []}
    for corpus in (corpus for corpus in corpora if not (corpus.unseen or corpus.synthetic)):
        keys = [r.key for r in sorted(usable, key=lambda r: r.hash) if r.corpus == corpus]
        count = round(HELD_OUT * len(keys))
        lists["test"] += keys[:count]
        lists["valid"] += keys[count : 2 * count]
    folder.mkdir(parents=True, exist_ok=True)
    for split, keys in lists.items():
        (folder / f"{prefix}{split}.txt").write_text("".join(f"{key}\n" for key in sorted(keys)), encoding="utf-8")


def in_turn(found: Iterable[Recording], held_out: Mapping[str, Split]) -> list[Recording]:
    """One of each corpus after the other, in every split, by the hash of their names."""
    taken: Counter[tuple[str, str]] = Counter()
    turns = []
    for recording in sorted(found, key=lambda r: r.hash):
        place = (held_out.get(recording.key, "train"), recording.corpus.name)
        turns.append((taken[place], (*CORPORA, *WIDE).index(recording.corpus), place[0], recording))
        taken[place] += 1
    return [recording for *_, recording in sorted(turns, key=lambda turn: turn[:3])]


# ---- Recordings to clips ---------------------------------------------------------------------------------------------


def decode(file: Path) -> tuple[Samples, int]:
    """Samples [T] and their rate in Hz. Raises AudioError."""
    if file.suffix != ".g722":
        decoded = file.suffix != ".wav"  # by a codec, whose peaks may pass 1; the level is set later
        audio = load_audio(file, strict=True, normalize=decoded)
        return audio.samples, audio.sample_rate
    av = _pyav()
    if not file.stat().st_size:
        raise AudioError(file, "empty file")
    try:
        with av.open(str(file), format="g722") as container:
            rate = container.streams.audio[0].rate
            frames = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]  # int16
    except av.FFmpegError as error:
        raise AudioError(file, f"no G.722 that can be decoded ({error})") from error
    if not frames:
        raise AudioError(file, "holds 0 samples")
    samples: Samples = np.concatenate(frames).astype(np.float32) * np.float32(2**-15)
    return samples, rate


def _pyav() -> ModuleType:
    try:
        import av
    except ImportError as error:
        raise ValueError(
            "G.722 is decoded by PyAV, which isn't installed; run pip install -e '.[openvoices]'"
        ) from error
    return av


def leveled(samples: Samples, sample_rate: int) -> Samples:
    """Samples [T] scaled so that the RMS of speech is `LEVEL_DBFS`, less where the peak would pass `PEAK`.

    Speech: those frames of `FRAME_SECONDS` that are less than `SPEECH_DB` below the loudest.
    """
    length = min(len(samples), round(FRAME_SECONDS * sample_rate))
    frames = samples[: len(samples) // length * length].astype(np.float64).reshape(-1, length)
    powers = np.mean(frames**2, axis=1)
    speech = max(1e-20, np.mean(powers[powers >= powers.max() * 10 ** (-SPEECH_DB / 10)]))
    gain = min(10 ** (LEVEL_DBFS / 20) / np.sqrt(speech), PEAK / np.abs(samples).max())
    scaled: Samples = samples * np.float32(gain)
    return scaled


def clips_of(
    recording: Recording, out: Path, split: Split, speeds: Iterable[float], *, widened: bool = True
) -> list[Clip]:
    """The recording at each speed, written to `out` where it isn't there yet. Raises AudioError.

    `widened`: whether a faster clip of a narrow recording counts as that much wider.
    """
    wavs = {speed: recording.wav(out, speed) for speed in speeds}
    missing = {speed: path for speed, path in wavs.items() if not path.exists()}
    if missing:
        samples, rate = decode(recording.file)
        if len(samples) < FRAME_SECONDS * rate:
            raise AudioError(recording.file, f"holds {len(samples)} samples, less than {FRAME_SECONDS} s; no speech")
        if not np.any(samples):
            raise AudioError(recording.file, "is digital silence throughout; nothing can be learned from it")
        for speed, path in missing.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            # The same samples at a rate `speed` times as high: faster and higher, as a tape is.
            faster = soxr.resample(samples, rate * speed, SAMPLE_RATE, quality="HQ")
            save_audio(path, leveled(faster, SAMPLE_RATE), SAMPLE_RATE)
    corpus = recording.corpus
    return [
        _clip(path, split, _bandwidth(path, corpus, speed if widened else 1), synthetic=corpus.synthetic)
        for speed, path in wavs.items()
    ]


def _bandwidth(path: Path, corpus: Corpus, speed: float) -> int:
    """Hz up to which the clip at `path` is speech: stated of its corpus, or measured."""
    if corpus.bandwidth is not None:
        return round(corpus.bandwidth * speed)
    return wide.bandwidth(load_audio(path).samples, SAMPLE_RATE)


def _clip(path: Path, split: Split, bandwidth: int, *, synthetic: bool) -> Clip:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    band = bandwidth if bandwidth < NEARLY_FULL * SAMPLE_RATE / 2 else None
    return Clip(
        str(path.resolve()),
        SAMPLE_RATE,
        probe(path).frames,
        digest,
        split,
        bandwidth=band,
        synthetic=synthetic,
        corpus=path.parent.name,
    )


def require_same_rules(out: Path) -> None:
    """Refuse a folder of clips that were made by other rules; they would be taken for these."""
    rules = {
        "sample_rate": SAMPLE_RATE,
        "frame_seconds": FRAME_SECONDS,
        "speech_db": SPEECH_DB,
        "level_dbfs": LEVEL_DBFS,
        "peak": PEAK,
    }
    path = out / "rules.json"
    if path.exists() and (found := json.loads(path.read_text(encoding="utf-8"))) != rules:
        raise ValueError(f"{out} was made by other rules, {found} and not {rules}; delete it or choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rules) + "\n", encoding="utf-8")


# ---- The command -----------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the clips and the manifests; the exit status."""
    args = _parser().parse_args(arguments)
    try:
        return run(args)
    except (ValueError, OSError) as error:
        print(f"prepare.py: {error}", file=sys.stderr)
        return 2


def run(args: argparse.Namespace) -> int:
    """Write the clips and the manifests. Raises ValueError where there is nothing to work on."""
    unpacked(args.packages)
    found = recordings(args.packages)
    wider = wide_recordings(args.packages, args.lists)
    require_same_rules(args.out)
    held_out: dict[str, Split] = {}
    if not args.write_splits:
        held_out = read_splits(args.splits) | (read_splits(args.splits, "wide-") if wider else {})
    usable: list[Recording] = []
    manifests: dict[str, list[Clip]] = {"manifest": [], "unseen": [], **({"wide": []} if wider else {})}
    refused: list[str] = []
    for recording in tqdm(in_turn([*found, *wider], held_out), unit="file", disable=not sys.stderr.isatty()):
        corpus = recording.corpus
        split: Split = "test" if corpus.unseen else held_out.get(recording.key, "train")
        speeds = args.speeds if split == "train" and not corpus.is_wide and not args.write_splits else (1.0,)
        try:
            clips = clips_of(recording, args.out, split, speeds, widened=not wider)
        except AudioError as error:
            refused.append(f"refused: {error}")
            continue
        usable.append(recording)
        of_wide = corpus.is_wide and split == "test"
        manifests["unseen" if corpus.unseen else "wide" if of_wide else "manifest"].extend(clips)
    for line in refused:
        print(line, file=sys.stderr)
    if args.write_splits:
        write_splits(args.splits, usable)
        if wider:
            write_splits(args.splits, usable, WIDE, "wide-")
        print(f"{args.splits}: test.txt and valid.txt written; run again without --write-splits")
        return 3 if refused else 0
    for name, clips in manifests.items():
        write_manifest(args.out / f"{name}.jsonl", clips)
        print(summary(args.out / f"{name}.jsonl", clips))
    return 3 if refused else 0


def summary(path: Path, clips: Iterable[Clip]) -> str:
    """How many clips and minutes there are of each split and corpus."""
    totals: dict[tuple[str, str], list[float]] = {}
    for clip in clips:
        total = totals.setdefault((clip.split, Path(clip.path).parent.name), [0, 0.0])
        total[0] += 1
        total[1] += clip.frames / clip.sample_rate / 60
    rows = [f"  {s:6} {c:7} {n:5} clips {m:7.1f} minutes" for (s, c), (n, m) in sorted(totals.items())]
    return "\n".join([f"{path}:", *rows])


def _speeds(text: str) -> tuple[float, ...]:
    speeds = tuple(float(part) for part in text.split(","))
    if not all(0.5 <= speed <= 2 for speed in speeds) or 1.0 not in speeds or len(set(speeds)) < len(speeds):
        raise ValueError
    return speeds


def _parser() -> argparse.ArgumentParser:
    doc, raw = __doc__ or "", argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="prepare.py", description=doc, formatter_class=raw)
    parser.add_argument("packages", type=Path, metavar="PACKAGES", help="folder of .deb files, or of unpacked packages")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for wavs and manifests")
    parser.add_argument(
        "--speeds",
        type=_speeds,
        default=SPEEDS,
        metavar="S,S",
        help="speeds of the training clips, 0.5 to 2, 1.0 among them (1.0,1.17,1.38)",
    )
    parser.add_argument("--splits", type=Path, default=SPLITS, metavar="DIR", help="folder of test.txt and valid.txt")
    parser.add_argument("--lists", type=Path, default=wide.LISTS, metavar="DIR", help="folder of <source>.sha256")
    parser.add_argument("--write-splits", action="store_true", help="make these lists anew, by the hash of the names")
    return parser


if __name__ == "__main__":
    sys.exit(main())
