"""Means over clips, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.special import stdtrit  # type: ignore[import-untyped]

from waveglow.evaluation.clips import ClipScores

ONE_SIDED = 0.975  # quantile of Student's t for an interval of 95 %


def summary(row: str, clips: Iterable[ClipScores], metrics: Iterable[str]) -> dict[str, Any]:
    """Of a row: how many clips it has, and of every metric the mean, its interval and counts."""
    scores = [clip.rows[row] for clip in clips if row in clip.rows]
    scored = {name: [of_clip[name] for of_clip in scores if name in of_clip] for name in metrics}
    return {"clips": len(scores), "scores": {name: mean_interval(values) for name, values in scored.items() if values}}


def mean_interval(values: Iterable[float | None]) -> dict[str, float | int | None]:
    """Mean, half the width of its 95 % interval by Student's t (None for one value), and how many values and nulls."""
    values = list(values)
    known = np.array([value for value in values if value is not None], np.float64)
    n = len(known)
    half = float(stdtrit(n - 1, ONE_SIDED) * known.std(ddof=1) / math.sqrt(n)) if n > 1 else None
    return {"mean": float(known.mean()) if n else None, "interval": half, "n": n, "unscored": len(values) - n}
