"""What the tutorials share: clips, players, plots, and a way to run commands. The library needs nothing of it."""

from __future__ import annotations

import shlex
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import soundfile
from IPython.display import HTML, Audio, display

ROOT = Path(__file__).parents[2]
CLIPS = ROOT / "audio_samples" / "reference"
CREDITS = {
    "en": "© Allison Smith, CC BY-SA 3.0",
    "es": "© Allison Smith, CC BY-SA 3.0",
    "it": "© Carlo Flora, CC BY 3.0",
    "fr": "© June Wallack, CC BY-SA 3.0",
    "ru-nsh": "© 2005 Nickolay V. Shmyrev, BSD-like",
    "ru-vm": "© 2010 Maxim Topal, CC BY 3.0",
}
warnings.filterwarnings("ignore", message="IProgress not found")  # tqdm, in a notebook without widgets
plt.rcParams.update({"figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False, "font.size": 9})


def clip(name: str) -> tuple[np.ndarray, int]:
    """A reference clip: float32 [T] and its sample rate; prints whose it is."""
    (credit,) = [credit for start, credit in CREDITS.items() if name.startswith(start)]
    print(f"{name}: {credit}")
    return soundfile.read(CLIPS / f"{name}.wav", dtype="float32")


def play(takes: Mapping[str, np.ndarray], sample_rate: int) -> None:
    """A player for each [T], under its name, as loud as it is."""
    for name, samples in takes.items():
        display(HTML(f"<small>{name}</small>"))
        display(Audio(np.clip(np.asarray(samples), -1, 1), rate=sample_rate, normalize=False))


def spectrograms(takes: Mapping[str, np.ndarray], sample_rate: int) -> None:
    """Spectrograms of [T], one above the other, in dB below the loudest point of all."""
    fig, axes = plt.subplots(len(takes), 1, figsize=(7.5, 1.9 * len(takes)), sharex=True, layout="constrained")
    for ax, (name, samples) in zip(np.atleast_1d(axes), takes.items(), strict=True):
        power, freqs, times = plt.mlab.specgram(np.asarray(samples), NFFT=1024, Fs=sample_rate, noverlap=768)
        image = ax.pcolormesh(times, freqs / 1000, 10 * np.log10(power + 1e-12), vmin=-110, vmax=-30, cmap="magma")
        image.set_rasterized(True)
        ax.set(title=name, ylabel="kHz")
    ax.set_xlabel("seconds")
    fig.colorbar(image, ax=axes, label="dB")
    plt.show()


def run(command: str, *, lines: int = 12) -> None:
    """Run a command of waveglow as the shell would, with this Python, and print the last lines of what it says.

    Raises CalledProcessError where it fails, after printing all.
    """
    words = shlex.split(command)
    assert words[0] == "waveglow", command
    done = subprocess.run([sys.executable, "-m", "waveglow.cli.main", *words[1:]], capture_output=True, text=True)
    said = f"{done.stdout}{done.stderr}".rstrip().splitlines()
    print("\n".join(said if done.returncode else said[-lines:]))
    done.check_returncode()
