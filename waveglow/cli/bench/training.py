from waveglow.bench import training as _work
from waveglow.bench.training import add_arguments, run

__doc__ = _work.__doc__
__all__ = ["add_arguments", "run"]
