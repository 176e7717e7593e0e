from waveglow.pages import run as _work
from waveglow.pages.run import add_arguments, run

__doc__ = _work.__doc__
__all__ = ["add_arguments", "run"]
