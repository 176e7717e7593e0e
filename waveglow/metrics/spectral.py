"""What spectra tell: distances from the recording, a flow's tones, and Griffin-Lim, the baseline without a network.

T: samples, F: frames; log-mels are natural logarithms [n_mels, F].
"""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from waveglow.audio.mel_spec import MelSpec, filterbank
from waveglow.metrics.packages import Samples, Score, guarded, librosa, required

Array = npt.NDArray[np.floating[Any]]

MEL_CEPSTRA = 13
TONE_WINDOW_SAMPLES = 4096  # at least: 5 Hz a bin at 22 050 Hz
NEIGHBOURS = (4, 32)  # bins to either side of a tone: clear of the window's main lobe, within some 170 Hz
STEP_POWER = (2**-15) ** 2 / 12  # of the rounding to 16 bits
GRIFFIN_LIM_ITERATIONS = 60


def load_mr_stft() -> Score:
    """Multi-resolution STFT loss between samples [T] (R. Yamamoto et al., 2020, arXiv:1910.11480), from 0.

    auraloss' MultiResolutionSTFTLoss with its defaults, as BigVGAN reports it: FFT of 1024, 2048 and 512 samples, hop
    120, 240 and 50, Hann windows of 600, 1200 and 240; spectral convergence plus L1 of the log magnitude, mean of the
    three. Raises MissingPackageError.
    """
    loss = required("auraloss.freq").MultiResolutionSTFTLoss()

    @torch.inference_mode()
    def score(reference: Samples, output: Samples) -> float:
        if not np.any(reference):
            raise ValueError("digital silence")
        return float(loss(torch.from_numpy(output)[None, None], torch.from_numpy(reference)[None, None]))

    return guarded(score)


def mel_l1(reference: Array, output: Array) -> float:
    """Mean |difference| of two log-mels [n_mels, F], in nats; of a convention with power 2, in nats of power."""
    return float(np.abs(reference - output).mean())


def mcd(reference: Array, output: Array) -> float:
    """Mel-cepstral distortion of two log-mels [n_mels, F], in dB, frame by frame without time warping.

        c_k = (2 / M) Σ_m log S_m cos(π k (m + ½) / M),   MCD = mean over frames of (10 / ln 10) √(2 Σ_{k=1…13} Δc_k²)

    R. F. Kubichek, 1993, "Mel-cepstral distance measure for objective speech quality assessment"; with this scale of c
    it is the root mean square difference, in dB, of the two smoothed envelopes up to their gain. Figures from other
    mel-cepstra (SPTK's, WORLD's) differ.
    """
    M = len(reference)
    k, m = np.arange(1, MEL_CEPSTRA + 1)[:, None], np.arange(M)
    cosines = 2 / M * np.cos(math.pi * k * (m + 0.5) / M)  # (13, M)
    difference = cosines @ (reference - output).astype(np.float64)  # (13, F)
    return float((10 / math.log(10) * np.sqrt(2 * np.square(difference).sum(0))).mean())


def tone_energy(reference: Samples, output: Samples, *, group: int) -> float:
    """How far tones at the harmonics of sample_rate / group stand out of the output, in dB above the reference.

    The `tone_prominence` of the output less the reference's. 0: no tones of its own. Raises ValueError as that does.
    """
    return tone_prominence(output, group) - tone_prominence(reference, group)


def tone_prominence(samples: Samples, group: int) -> float:
    """How far the harmonics of sample_rate / group stand out of their neighbourhood, in dB.

    A flow that squeezes `group` samples into channels has its own tones there ("Fs/8" of WaveGlow). With L(f) the mean
    over all frames of 10 log10 |STFT|², pauses counting as much as speech, the prominence of harmonic k is L(k/group)
    less the median of L over the 29 bins from 4 to 32 on either side; the result is the mean over k = 1 … below half
    the sample rate.

    Arguments: samples [T], at least 4096. Raises ValueError where they are shorter, or group is below 3.
    """
    n_fft = group * math.ceil(TONE_WINDOW_SAMPLES / group)  # so that the harmonics are bins
    harmonics = np.arange(1, (group + 1) // 2) * (n_fft // group)
    if len(samples) < n_fft or not harmonics.size:
        raise ValueError(f"{len(samples)} samples in groups of {group}: it takes {n_fft} samples and groups of 3")
    window = torch.hann_window(n_fft, dtype=torch.float64)
    X = torch.stft(
        torch.from_numpy(samples).double(), n_fft, n_fft // 4, window=window, center=False, return_complex=True
    )
    floor = STEP_POWER * float(window.square().sum())
    L = 10 * torch.log10(X.abs().square() + floor).mean(-1).numpy()  # [n_fft/2 + 1]
    offsets = np.arange(NEIGHBOURS[0], NEIGHBOURS[1] + 1)
    around = harmonics[:, None] + np.concatenate([-offsets, offsets])  # (harmonics, 58)
    return float(np.mean(L[harmonics] - np.median(L[np.clip(around, 0, len(L) - 1)], axis=1)))


def griffin_lim(log_mel: Array, spec: MelSpec, n_samples: int, *, iterations: int = GRIFFIN_LIM_ITERATIONS) -> Samples:
    """Samples [n_samples] of a log-mel [n_mels, F] of `spec`, in place with the recording it was made from.

    Magnitudes by non-negative least squares, phases by the fast Griffin-Lim algorithm (N. Perraudin et al., 2013) from
    random ones of a fixed seed.
    """
    of_librosa = librosa()  # here, for it takes a second or two to load

    powers = of_librosa.util.nnls(filterbank(spec), np.exp(log_mel.astype(np.float64)))  # [n_fft/2 + 1, F]
    magnitude = powers ** (1 / spec.power)
    since_1_0 = "rng" in inspect.signature(of_librosa.griffinlim).parameters
    seed: dict[str, Any] = {"rng" if since_1_0 else "random_state": 0}
    padded = of_librosa.griffinlim(
        magnitude,
        n_iter=iterations,
        hop_length=spec.hop,
        win_length=spec.win,
        n_fft=spec.n_fft,
        center=False,
        **seed,
    )
    # Frame 0 starts pad_left samples before the recording, whatever the convention.
    audio = padded[spec.pad_left : spec.pad_left + n_samples].astype(np.float32)
    return np.pad(audio, (0, n_samples - len(audio)))
