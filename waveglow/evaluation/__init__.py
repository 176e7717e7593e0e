"""How good is a vocoder? Copy-synthesis of recordings, scored by metrics that others publish too.

>>> from waveglow.evaluation import evaluate  # doctest: +SKIP
>>> results = evaluate(waveglow.load(), "recordings/", "scores/", metrics=["pesq", "mr_stft"])  # doctest: +SKIP
>>> results["rows"]["vocoder"]["scores"]["pesq"]["mean"]  # doctest: +SKIP
"""

from waveglow.evaluation.clips import Clip
from waveglow.evaluation.run import evaluate, merged
from waveglow.evaluation.table import Results, markdown, notices

__all__ = ["Clip", "Results", "evaluate", "markdown", "merged", "notices"]
