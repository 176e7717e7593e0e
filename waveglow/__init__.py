"""Flow-based speech synthesis: mel spectrogram to waveform in one parallel pass."""

__version__ = "0.1.0"
