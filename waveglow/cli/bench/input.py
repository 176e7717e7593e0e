from waveglow.bench import input as _work
from waveglow.bench.input import add_arguments, run

__doc__ = _work.__doc__
__all__ = ["add_arguments", "run"]
