"""Log-mel spectrograms and the conventions that acoustic models and vocoders meet on.

A mel is only as good as the agreement on it: one name covers natural and decimal logarithms, two mel scales and frames
half a hop apart. `MelSpec` (mel_spec.py) writes a convention down, `preset` (mel_presets.py) names the published ones,
`compare` and `convert` (mel_comparison.py) tell whether two can meet, and make them, `diagnose` (mel_diagnosis.py)
whether values can come from a convention at all.

F: frames. Mels are `[n_mels, F]`.
"""

from waveglow.audio.mel_comparison import Comparison, compare, convert
from waveglow.audio.mel_diagnosis import diagnose, diagnose_beside
from waveglow.audio.mel_presets import PRESETS, preset
from waveglow.audio.mel_spec import MelSpec, filterbank

__all__ = [
    "PRESETS",
    "Comparison",
    "MelSpec",
    "compare",
    "convert",
    "diagnose",
    "diagnose_beside",
    "filterbank",
    "preset",
]
