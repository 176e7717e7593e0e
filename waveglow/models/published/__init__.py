"""Published checkpoints as models of this library."""

from waveglow.models.published.families import FAMILIES, UnknownFamilyError, convert, from_state_dict
from waveglow.models.published.parts import ArgumentError

__all__ = ["FAMILIES", "ArgumentError", "UnknownFamilyError", "convert", "from_state_dict"]
