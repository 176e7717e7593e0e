"""Published checkpoints as models of this library."""

from waveglow.models.published.families import FAMILIES, convert, from_state_dict

__all__ = ["FAMILIES", "convert", "from_state_dict"]
