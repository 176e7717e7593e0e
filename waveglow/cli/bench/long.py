from waveglow.bench import long as _work
from waveglow.bench.long import add_arguments, run

__doc__ = _work.__doc__
__all__ = ["add_arguments", "run"]
