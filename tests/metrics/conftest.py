"""A second and a half of the synthetic voice."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import soxr


@pytest.fixture(scope="session")
def speech(demo_voice: ModuleType) -> np.ndarray:
    """float32 [T] at 22 050 Hz, 1.5 s."""
    return demo_voice.render(0, 1, 22050)[0][:33_075].astype(np.float32)


@pytest.fixture(scope="session")
def speech_16k(speech: np.ndarray) -> np.ndarray:
    """The same at 16 kHz."""
    return soxr.resample(speech, 22050, 16000)


@pytest.fixture(scope="session")
def noisy_16k(speech_16k: np.ndarray) -> np.ndarray:
    """The same 20 dB above white noise."""
    noise = np.random.default_rng(0).normal(0, 0.1 * speech_16k.std(), len(speech_16k))
    return (speech_16k + noise).astype(np.float32)
