"""Means over clips, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
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


def paired(row: str, other: str, clips: Iterable[ClipScores], metrics: Mapping[str, str]) -> dict[str, Any]:
    """Of every metric the mean difference of two rows over the clips of both, and on how many the first is better.

    `metrics` tells of each whether "higher" or "lower" is better. The interval is that of the differences: where clips
    differ more than rows do, it is far narrower than those of the two means.
    """
    both = [(clip.rows[row], clip.rows[other]) for clip in clips if {row, other} <= clip.rows.keys()]
    found = {}
    for name, better in metrics.items():
        pairs = [(mine.get(name), its.get(name)) for mine, its in both if name in mine and name in its]
        differences = [None if a is None or b is None else a - b for a, b in pairs]
        won = sum(d > 0 if better == "higher" else d < 0 for d in differences if d is not None)
        if differences:
            found[name] = {**mean_interval(differences), "better": won}
    return found


def mean_interval(values: Iterable[float | None]) -> dict[str, float | int | None]:
    """Mean, half the width of its 95 % interval by Student's t (None for one value), and how many values and nulls."""
    values = list(values)
    known = np.array([value for value in values if value is not None], np.float64)
    n = len(known)
    half = float(stdtrit(n - 1, ONE_SIDED) * known.std(ddof=1) / math.sqrt(n)) if n > 1 else None
    return {"mean": float(known.mean()) if n else None, "interval": half, "n": n, "unscored": len(values) - n}
