"""Write the clips that every model is heard on, and whose they are, into audio_samples/reference.

    python recipes/openvoices/reference_clips.py DATA [--out audio_samples/reference] [--write-list]

DATA is what prepare.py made. The clips are those of reference.txt; with --write-list they are chosen anew: of each
corpus the test clip of 2 to 5 seconds whose name has the smallest hash, of the unseen voice the first two.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prepare import CORPORA  # beside this file

from waveglow.data.manifest import Clip, read_manifest

LIST = Path(__file__).parent / "reference.txt"
OUT = Path(__file__).parents[2] / "audio_samples" / "reference"
SECONDS = (2.0, 5.0)
OF_UNSEEN, OF_OTHERS = 2, 1

# The packages' text of CC-BY-SA-3.0 is that of the United States ("17 USC Section 115"), of CC-BY-3.0 the unported one.
BY_SA = "[CC BY-SA 3.0](https://creativecommons.org/licenses/by-sa/3.0/us/)"
BY = "[CC BY 3.0](https://creativecommons.org/licenses/by/3.0/)"


@dataclass(frozen=True)
class Credit:
    """Whose voice it is and what may be done with it, after /usr/share/doc/<package>/copyright."""

    language: str
    copyright: str
    credit: str
    licence: str


ALLISON = "recorded by Allison Smith (http://www.theivrvoice.com); financial contributions by Digium, Inc."
CREDITS = {
    "ru-nsh": Credit("Russian", "© 2005 Nickolay V. Shmyrev", "voice msu_ru_nsh of Festival", "BSD-like, see below"),
    "en": Credit("English", "© 2003–2010 Allison Smith", ALLISON, BY_SA),
    "es": Credit("Spanish", "© 2003–2010 Allison Smith", ALLISON, BY_SA),
    "it": Credit(
        "Italian",
        "© 2012 Carlo Flora",
        "recorded by Carlo Flora (http://www.carloflora.com, http://www.segreterietelefoniche.it); "
        "translated by Silvia Petrin",
        BY,
    ),
    "ru": Credit("Russian", "© 2010 Maxim", "provided by Maxim Topal (http://www.ivrvoice.ru)", BY),
    "fr": Credit(
        "French (an unseen voice)",
        "© 2006–2008 June Wallack",
        "recorded by June Wallack (http://www.junewallack.com); translated by Clod Patry, Kristopher Lalletti and "
        "June Wallack; financial contributions by Digium, Inc., Unlimitel and BGM Informatique",
        BY_SA,
    ),
}

README = """\
# Reference clips

Recordings that no model here was trained on: test clips of the corpora of `recipes/openvoices`, and two of a voice that
was held out whole. They are not part of this repository's licence; each stays under its own.

| file | seconds | language | copyright and credit | licence | Debian package |
|---|---|---|---|---|---|
{rows}

**Changes made to the originals:** decoded (the packages `asterisk-core-sounds-*` hold G.722, `festvox-ru` wav files),
resampled from 16 to 22.05 kHz, and scaled to one level. The speakers have nothing to do with this project and don't
endorse it. What a model makes of a clip is to be taken as an adaptation of it, under the same licence and credit.

Originals: the Debian packages, made from http://downloads.asterisk.org/pub/telephony/asterisk/ (core sounds 1.6.1) and
http://sourceforge.net/projects/festlang.berlios (voice 0.5).

Chosen by a rule, not by ear: of each corpus the test clip of {shortest:g} to {longest:g} seconds whose `corpus/name`
has the smallest SHA-256, of the unseen voice the first two. Made by `recipes/openvoices/reference_clips.py` from
`recipes/openvoices/reference.txt`.

## The notice of festvox-ru

{notice}
"""

NOTICE = """\
    Nickolay V. Shmyrev  Copyright (c) 2005
    All Rights Reserved.

    Permission is hereby granted, free of charge, to use and distribute
    this software and its documentation without restriction, including
    without limitation the rights to use, copy, modify, merge, publish,
    distribute, sublicense, and/or sell copies of this work, and to
    permit persons to whom this work is furnished to do so, subject to
    the following conditions:
     1. The code must retain the above copyright notice, this list of
        conditions and the following disclaimer.
     2. Any modifications must be clearly marked as such.
     3. Original authors' names are not deleted.
     4. The authors' names are not used to endorse or promote products
        derived from this software without specific prior written
        permission.

    THE AUTHOR AND THE CONTRIBUTORS TO THIS WORK
    DISCLAIM ALL WARRANTIES WITH REGARD TO THIS SOFTWARE, INCLUDING
    ALL IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS, IN NO EVENT
    SHALL THE UNIVERSITY OF EDINBURGH NOR THE CONTRIBUTORS BE LIABLE
    FOR ANY SPECIAL, INDIRECT OR CONSEQUENTIAL DAMAGES OR ANY DAMAGES
    WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN
    AN ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION,
    ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE OF
    THIS SOFTWARE."""


def corpus_of(clip: Clip) -> str:
    """The corpus whose folder the clip lies in."""
    return Path(clip.path).parent.name


def chosen(clips: Sequence[Clip]) -> list[str]:
    """The names that the rule takes; a manifest of prepare.py lists a corpus's test clips by their hashes."""
    names = []
    for corpus in CORPORA:
        of_corpus = [clip for clip in clips if clip.split == "test" and corpus_of(clip) == corpus.name]
        fitting = [c.name for c in of_corpus if SECONDS[0] <= c.frames / c.sample_rate <= SECONDS[1]]
        names += fitting[: OF_UNSEEN if corpus.unseen else OF_OTHERS]
    return names


def row(clip: Clip) -> str:
    """The clip's line of the table."""
    credit = CREDITS[corpus_of(clip)]
    package = next(corpus.package for corpus in CORPORA if corpus.name == corpus_of(clip))
    seconds = f"{clip.frames / clip.sample_rate:.1f}"
    cells = [f"`{clip.name}.wav`", seconds, credit.language, f"{credit.copyright}; {credit.credit}", credit.licence]
    return f"| {' | '.join(cells)} | `{package}` |"


def write(clips: Sequence[Clip], names: Sequence[str], out: Path) -> None:
    """Copy the clips of these names to `out`, with a README. Raises ValueError where one is no test clip."""
    by_name = {clip.name: clip for clip in clips if clip.split == "test"}
    if absent := [name for name in names if name not in by_name]:
        raise ValueError(f"{', '.join(absent)} of {LIST.name} are no test clips of these manifests")
    out.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copyfile(by_name[name].path, out / f"{name}.wav")
    rows = "\n".join(row(by_name[name]) for name in names)
    text = README.format(rows=rows, shortest=SECONDS[0], longest=SECONDS[1], notice=NOTICE)
    (out / "README.md").write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the clips; the exit status."""
    doc, raw = __doc__ or "", argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="reference_clips.py", description=doc, formatter_class=raw)
    parser.add_argument("data", type=Path, metavar="DATA", help="folder of manifest.jsonl and unseen.jsonl")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="folder for wavs and README.md")
    parser.add_argument("--write-list", action="store_true", help="choose the clips anew, by the rule")
    args = parser.parse_args(arguments)
    try:
        clips = read_manifest(args.data / "manifest.jsonl") + read_manifest(args.data / "unseen.jsonl")
        if args.write_list:
            LIST.write_text("".join(f"{name}\n" for name in chosen(clips)), encoding="utf-8")
        write(clips, LIST.read_text(encoding="utf-8").split(), args.out)
    except (ValueError, OSError) as error:
        print(f"reference_clips.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
