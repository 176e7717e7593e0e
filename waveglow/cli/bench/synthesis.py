from waveglow.bench import synthesis as _work
from waveglow.bench.synthesis import add_arguments, run

__doc__ = _work.__doc__
__all__ = ["add_arguments", "run"]
