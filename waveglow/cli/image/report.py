from waveglow.pages import pictures as _work
from waveglow.pages.pictures import add_arguments, run

__doc__ = _work.__doc__
__all__ = ["add_arguments", "run"]
