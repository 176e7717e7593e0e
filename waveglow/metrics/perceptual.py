"""Models of how good speech sounds: PESQ, ESTOI, ViSQOL, DistillMOS and DNSMOS.

T: samples at 16 kHz. Every `load_…` returns a function of (reference [T], output [T]), float32 in [-1, 1], that raises
ValueError where a clip can't be scored (too short, silent). The loading raises MissingPackageError.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from waveglow.metrics.packages import Samples, Score, guarded, quiet, required, silent

SAMPLE_RATE = 16_000  # of all of them
PESQ_SECONDS = 20  # P.862.3: material of 8 to 12 s, at most 30; the package crashes on minutes


def load_pesq() -> Score:
    """PESQ, wide band, MOS-LQO of 1.04 to 4.64 (ITU-T P.862.2, 2007).

    A clip beyond 20 s counts as the mean of equal parts.
    """
    pesq = required("pesq")

    def score(reference: Samples, output: Samples) -> float:
        _require_sound(reference)
        parts = math.ceil(len(reference) / (PESQ_SECONDS * SAMPLE_RATE))
        pairs = zip(np.array_split(reference, parts), np.array_split(output, parts), strict=True)
        scores = []
        for part, of_output in pairs:
            try:
                scores.append(pesq.pesq(SAMPLE_RATE, part, of_output, "wb"))
            except pesq.NoUtterancesError:
                if parts == 1:
                    raise
        return float(np.mean(scores)) if scores else math.nan

    return guarded(score)


def load_estoi() -> Score:
    """ESTOI, intelligibility of about 0 to 1 (J. Jensen and C. H. Taal, 2016, IEEE/ACM TASLP 24:11)."""
    pystoi = required("pystoi")

    def score(reference: Samples, output: Samples) -> float:
        _require_sound(reference)
        value = float(pystoi.stoi(reference, output, SAMPLE_RATE, extended=True))
        if value == 1e-5:  # what pystoi returns, with a warning, instead of raising
            raise ValueError("less than 0.4 s of speech are left without the pauses")
        return value

    return guarded(score)


def load_visqol() -> Score:
    """ViSQOL in speech mode, MOS-LQO of 1 to 5 (M. Chinen et al., 2020, arXiv:2004.09584), by the lattice model."""
    visqol = required("visqol", distribution="visqol-python[lattice]")
    required("ai_edge_litert.interpreter", distribution="visqol-python[lattice]")
    api = visqol.VisqolApi()
    with silent():
        api.create(mode="speech", use_lattice_model=True)

    def score(reference: Samples, output: Samples) -> float:
        _require_sound(reference)
        return float(api.measure_from_arrays(reference.astype(float), output.astype(float), SAMPLE_RATE).moslqo)

    return guarded(score)


def load_distillmos() -> Score:
    """DistillMOS, MOS of 1 to 5 without a reference (B. Stahl and H. Gamper, 2025, arXiv:2502.05356).

    Windows of 7.68 s at most 1 s apart, their mean, as the package has them, but one at a time: its own batch of a
    minute takes gigabytes.
    """
    package = required("distillmos.sqa", distribution="distillmos")
    with quiet():
        model = package.ConvTransformerSQAModel(segmenting_in_forward=False).eval()

    @torch.inference_mode()
    def score(_: Samples, output: Samples) -> float:
        _require_sound(output)
        padded = np.pad(output, (0, max(0, package.SEQ_LEN - len(output))))
        beyond = len(padded) - package.SEQ_LEN
        starts = (int(at * beyond) for at in np.linspace(0, 1, math.ceil(beyond / package.MAX_HOP_LEN) + 1))
        windows = (torch.from_numpy(padded[None, start : start + package.SEQ_LEN]) for start in starts)
        return float(np.mean([model(window).item() for window in windows]))

    return guarded(score)


def load_dnsmos() -> Score:
    """DNSMOS P.835 OVRL, MOS of 1 to 5 without a reference (C. K. A. Reddy et al., 2022, arXiv:2110.01763).

    Computed as speechmos 0.0.1 does, with its network, on as many threads as torch has: windows of 9.01 s every second,
    shorter clips repeated.
    """
    runtime = required("onnxruntime")
    folder = Path(required("speechmos").__file__).parent / "dnsmos_models"
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(folder / "sig_bak_ovr.onnx", options, providers=["CPUExecutionProvider"])
    to_mos = np.poly1d([-0.06766283, 1.11546468, 0.04602535])
    window_seconds = 9.01

    def score(_: Samples, output: Samples) -> float:
        _require_sound(output)
        window = int(window_seconds * SAMPLE_RATE)
        while len(output) < window:
            output = np.append(output, output)
        n_windows = int(len(output) // SAMPLE_RATE - window_seconds) + 1
        starts = range(0, n_windows * SAMPLE_RATE, SAMPLE_RATE)
        windows = [output[start : int(start + window_seconds * SAMPLE_RATE)] for start in starts]
        raw = [session.run(None, {"input_1": w[None]})[0][0][2] for w in windows if len(w) == window]
        return float(np.mean(to_mos(raw)))

    return guarded(score)


def _require_sound(samples: Samples) -> None:
    if not np.any(samples):
        raise ValueError("digital silence")
