"""Pictures by image flows: sampled, interpolated, manipulated, and how good the flow is.

>>> from waveglow.pictures import held_out, interpolate, open_model, sample
>>> faces = open_model("demo-faces", device="cpu", seed=5)
>>> drawn = sample(faces, 3, temperatures=[0.7])
>>> sorted(drawn.images)
['t0.7_5', 't0.7_6', 't0.7_7']
>>> drawn.images["t0.7_5"].shape
torch.Size([3, 32, 32])
>>> between = interpolate(faces, held_out(faces, Path("data/faces"), n=8), steps=6)  # doctest: +SKIP

`waveglow image` is the same as commands.
"""

from waveglow.pictures.bits import Evaluation, evaluate
from waveglow.pictures.directions import Directions, find_directions, read_directions
from waveglow.pictures.grids import Drawing
from waveglow.pictures.inputs import Opened, Pictures, held_out, open_data, open_model, photos
from waveglow.pictures.interpolation import interpolate
from waveglow.pictures.samples import sample
from waveglow.pictures.sliders import manipulate, sliders

__all__ = [
    "Directions",
    "Drawing",
    "Evaluation",
    "Opened",
    "Pictures",
    "evaluate",
    "find_directions",
    "held_out",
    "interpolate",
    "manipulate",
    "open_data",
    "open_model",
    "photos",
    "read_directions",
    "sample",
    "sliders",
]
