"""How many steps of refinement there may be. This module does without torch, as the runtime of exported files does."""

from __future__ import annotations

import numpy as np

MAX_STEPS = 1000


def require_steps(steps: int) -> int:
    """Raises ValueError unless it is a whole number of steps."""
    if not isinstance(steps, (int, np.integer)) or isinstance(steps, bool) or not 0 <= steps <= MAX_STEPS:
        raise ValueError(f"refine is {steps!r}; it must be a whole number of steps from 0 to {MAX_STEPS}")
    return int(steps)
