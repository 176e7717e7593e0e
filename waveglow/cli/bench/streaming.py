from waveglow.bench import streaming as _work
from waveglow.bench.streaming import add_arguments, run

__doc__ = _work.__doc__
__all__ = ["add_arguments", "run"]
