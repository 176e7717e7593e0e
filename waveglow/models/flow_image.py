"""FlowImage: the exact likelihood of images, its inverse, and what one does with latents.

Shapes: pixels uint8 [B, C, H, W]; x [B, C, H, W], the flow's continuous domain: pixels dequantized, one unit wide.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from waveglow.config import require_known
from waveglow.flows.base import Shape
from waveglow.flows.compose import MultiScale
from waveglow.flows.coupling import Coupling
from waveglow.flows.likelihood import BASES, bits_per_dim
from waveglow.nn.transformer import GuidedNet
from waveglow.noise import Purpose, philox

PIXEL_VALUES = 256
Latents = list[Tensor]


class FlowImage(nn.Module):
    """A flow over images.

    Arguments:
        flow: MultiScale over x [B, C, H, W]; its latents follow `base`, independently.
        shape: (C, H, W).
        n_bits: 1 to 8; a pixel counts by its upper n_bits.
        lowest: where black begins in x: −½ (Glow) or 0 (RealNVP, NICE).
        base: "normal" or "logistic".
        n_classes: where it is not 0, the density is that of an image given its class y [B], from 0.
        unlabelled: whether y may be −1, or left out, for images of no known class, as TarFlow has it.
    """

    def __init__(
        self,
        flow: MultiScale,
        *,
        shape: tuple[int, int, int],
        n_bits: int = 8,
        lowest: float = 0.0,
        base: str = "normal",
        n_classes: int = 0,
        unlabelled: bool = False,
    ) -> None:
        super().__init__()
        if not 1 <= n_bits <= 8:
            raise ValueError(f"n_bits is {n_bits}; it must be from 1 to 8")
        require_known("base", base, BASES)
        self.flow = flow
        self.shape = shape
        self.n_bits = n_bits
        self.lowest = lowest
        self.base = base
        self.n_classes = n_classes
        self.unlabelled = unlabelled

    # ---- Pixels and the flow's domain ----

    def dequantize(self, pixels: Tensor, *, seed: int | Sequence[int] = 0) -> Tensor:
        """Pixels uint8 [B, C, H, W] to x, with uniform noise of one step of 2^−n_bits.

        Arguments:
            seed: of the noise; the i-th image takes noise i of that seed, or the first noise of the i-th of a list.

        Raises ValueError where the pixels are not uint8 or not of the model's shape.
        """
        draws = [generator.random(self.shape, dtype=np.float32) for generator in _generators(seed, len(pixels))]
        return self.continuous(pixels, torch.from_numpy(np.stack(draws)).to(pixels.device))

    def continuous(self, pixels: Tensor, noise: Tensor) -> Tensor:
        """Pixels uint8 [B, C, H, W] and noise in [0, 1) of their shape to x. Raises ValueError as `dequantize`."""
        if pixels.dtype != torch.uint8 or tuple(pixels.shape[1:]) != self.shape:
            raise ValueError(
                f"pixels are {pixels.dtype} of {list(pixels.shape)}; this model takes uint8 of "
                f"[B, {', '.join(map(str, self.shape))}]"
            )
        return ((pixels >> (8 - self.n_bits)) + noise) / 2**self.n_bits + self.lowest

    def to_pixels(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] to the uint8 pixels whose cells hold it, clipped to black and white; not-a-number is black."""
        levels = ((x - self.lowest) * 2**self.n_bits).nan_to_num(0.0).floor().clamp(0, 2**self.n_bits - 1)
        return levels.to(torch.uint8) * (PIXEL_VALUES >> self.n_bits)

    def outside(self, x: Tensor) -> dict[str, int]:
        """How many values of x `to_pixels` has to mend: "non_finite", and "out_of_range" of black to white."""
        finite = x.isfinite()
        beyond = (x < self.lowest) | (x >= self.lowest + 1)
        return {"non_finite": int((~finite).sum()), "out_of_range": int((finite & beyond).sum())}

    # ---- Likelihood ----

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Same as `log_prob`."""
        return self.log_prob(x, y)

    def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """log p(x), or log p(x | y) of a model with classes: a density over x, [B], in nats with all constants."""
        zs, log_det = self.encode(x, y)
        return BASES[self.base].log_prob(zs) + log_det

    def bits_per_dim(self, pixels: Tensor, y: Tensor | None = None, *, seed: int | Sequence[int] = 0) -> Tensor:
        """Bits for each of the C·H·W values of pixels uint8 [B, C, H, W]: [B].

        An upper bound on −log2 P(pixels) / (C·H·W), by uniform dequantization. A model that knows nothing, uniform on
        its domain, has n_bits.
        """
        log_prob = self.log_prob(self.dequantize(pixels, seed=seed), y)
        return bits_per_dim(log_prob, dims=math.prod(self.shape), n_bits=self.n_bits)

    # ---- Latents ----

    def encode(self, x: Tensor, y: Tensor | None = None) -> tuple[Latents, Tensor]:
        """x [B, C, H, W] to (zs, log_det [B]): the latents of all levels in leaving order, each distributed as `base`.

        Raises ValueError where x has another shape, or y is missing, not wanted or out of range.
        """
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"x has shape {list(x.shape)}; this model takes [B, {', '.join(map(str, self.shape))}]")
        return self.flow(x, self._condition(y, x))

    def decode(self, zs: Sequence[Tensor], y: Tensor | None = None) -> Tensor:
        """zs, as `encode` gives them, to x [B, C, H, W]."""
        return self.flow.inverse(zs, self._condition(y, zs[0]))

    def latent_shapes(self) -> list[Shape]:
        """(C_i, *S_i) of each latent, in leaving order."""
        return self.flow.latent_shapes(self.shape)

    def _condition(self, y: Tensor | None, like: Tensor) -> Tensor | None:
        if not self.n_classes:
            if y is not None:
                raise ValueError("this model has no classes; leave y out")
            return None
        least = -1 if self.unlabelled else 0
        if y is None and self.unlabelled:
            y = torch.full((len(like),), least, device=like.device)
        if y is None or tuple(y.shape) != (len(like),) or not ((y >= least) & (y < self.n_classes)).all():
            given = "nothing" if y is None else y.tolist()
            none = ", or -1 for none," if self.unlabelled else ""
            raise ValueError(
                f"y is {given}; this model takes a class from 0 to {self.n_classes - 1}{none} for each image"
            )
        one_hot = F.one_hot(y.long().clamp(min=0), self.n_classes).to(like.dtype)
        known = torch.where((y < 0)[:, None], 1 / self.n_classes, one_hot)  # no class is the mean of all
        return known[:, :, None, None]  # (B, n_classes, 1, 1)

    # ---- What one does with them ----

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        temperature: float = 0.7,
        y: Tensor | None = None,
        seed: int | Sequence[int] = 0,
        guidance: float = 0.0,
    ) -> Tensor:
        """n images, x [n, C, H, W]; image i depends on the seed, i, its class, the temperature and the guidance alone.

        Arguments:
            temperature: what the latents of every level are multiplied by; lower is smoother and more alike.
            seed: as for `dequantize`.
            guidance: as of `guided`.
        """
        zs = self.draw(n, temperature=temperature, seed=seed)
        return self.guided(guidance).decode(zs, None if y is None else y.to(self._device))

    def draw(self, n: int, *, temperature: float = 0.7, seed: int | Sequence[int] = 0) -> Latents:
        """The latents that `sample` decodes, [n, C_i, *S_i] of each level. Raises ValueError for a temperature < 0."""
        if not (math.isfinite(temperature) and temperature >= 0):
            raise ValueError(f"temperature is {temperature}; it must be a finite number >= 0")
        draw = BASES[self.base].draw
        rows = [
            [draw(g, shape, temperature) for shape in self.latent_shapes()]
            for g in _generators(seed, n, Purpose.LATENT)
        ]
        return [temperature * torch.from_numpy(np.stack(level)).to(self._device) for level in zip(*rows, strict=True)]

    @property
    def _device(self) -> torch.device:
        return next(self.parameters()).device

    def guided(self, guidance: float) -> FlowImage:
        """This model, its nets exaggerating what a class changes (`nn.GuidedNet`), for `decode`; itself at 0.

        It shares the weights. What it encodes has no likelihood that means anything. Raises ValueError where guidance
        is no finite number >= 0, and for a model that knows no class, or can't do without.
        """
        if not (math.isfinite(guidance) and guidance >= 0):
            raise ValueError(f"guidance is {guidance}; it must be a finite number >= 0")
        if not guidance:
            return self
        if not self.unlabelled:
            lacks = "needs a class for each image" if self.n_classes else "has no classes"
            raise ValueError(
                f"guidance is {guidance}; this model {lacks}, and there is nothing to guide by; leave it out"
            )
        shared = {id(tensor): tensor for tensor in [*self.parameters(), *self.buffers()]}
        twin = copy.deepcopy(self, shared)
        for layer in [module for module in twin.modules() if isinstance(module, Coupling)]:
            layer.net = GuidedNet(layer.net, guidance)
        return twin

    def denoise(self, x: Tensor, std: float, y: Tensor | None = None) -> Tensor:
        """x [B, C, H, W] less the Gaussian noise, of this standard deviation, that the model learned images with.

        `x + std² · ∇ log p(x)`, the mean of the images that noise may have made x of (Tweedie's formula; TarFlow, 2024,
        arXiv:2412.06329, §3.4). Black to white is 1. Raises ValueError where std is no finite number >= 0.
        """
        if not (math.isfinite(std) and std >= 0):
            raise ValueError(f"the noise to take off is {std}; it must be a finite number >= 0")
        if not std:
            return x
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (score,) = torch.autograd.grad(self.log_prob(x, y).sum(), x)
        return (x + std**2 * score).detach()

    @torch.no_grad()
    def interpolate(
        self, x1: Tensor, x2: Tensor, steps: int, *, spherical: bool = False, y: Tensor | None = None
    ) -> Tensor:
        """`steps` images from x1 [C, H, W] to x2, both included: x [steps, C, H, W].

        Linear in the latents of all levels, or along the great circle, which keeps their length, with `spherical`.
        The classes y [2] of x1 and x2 pass into each other linearly.
        """
        ends = torch.stack([x1, x2])
        path = self.path(self.encode(ends, y)[0], steps, spherical=spherical)
        cond = self._condition(y, ends)
        t = torch.linspace(0, 1, steps, device=x1.device)[:, None, None, None]
        return self.flow.inverse(path, None if cond is None else torch.lerp(cond[:1], cond[1:], t))

    def path(self, zs: Sequence[Tensor], steps: int, *, spherical: bool = False) -> Latents:
        """The latents of `interpolate` [steps, C_i, *S_i], from the first to the second of zs [2, C_i, *S_i]."""
        if steps < 2:
            raise ValueError(f"steps is {steps}; it must be at least 2, for the two ends")
        start, end = torch.cat([z.flatten(1) for z in zs], dim=1)  # (D,) each
        t = torch.linspace(0, 1, steps, device=start.device)[:, None]
        return self._by_level(_great_circle(start, end, t) if spherical else torch.lerp(start, end, t))

    @torch.no_grad()
    def attribute_direction(
        self, x_pos: Tensor, x_neg: Tensor, *, y_pos: Tensor | None = None, y_neg: Tensor | None = None
    ) -> Latents:
        """Mean latents of images that have an attribute less those of images that have not, [C_i, *S_i] each level.

        Glow, §6; x_pos and x_neg are [B, C, H, W], their classes y_pos and y_neg [B]. For sets that don't fit in
        memory, average `encode` over batches.
        """
        pos, neg = self.encode(x_pos, y_pos)[0], self.encode(x_neg, y_neg)[0]
        return [p.mean(0) - n.mean(0) for p, n in zip(pos, neg, strict=True)]

    @torch.no_grad()
    def manipulate(self, x: Tensor, direction: Sequence[Tensor], alpha: float, *, y: Tensor | None = None) -> Tensor:
        """x [B, C, H, W] moved by alpha times a direction of `attribute_direction`; alpha 0 gives x again.

        Its class y [B] stays.
        """
        zs, _ = self.encode(x, y)
        return self.decode([z + alpha * d for z, d in zip(zs, direction, strict=True)], y)

    def _by_level(self, flat: Tensor) -> Latents:
        shapes = self.latent_shapes()
        parts = flat.split([math.prod(shape) for shape in shapes], dim=1)
        return [part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]


def _generators(seed: int | Sequence[int], n: int, purpose: Purpose = Purpose.DEQUANTIZE) -> list[np.random.Generator]:
    """A generator for each of n images. Raises ValueError where there are other than n seeds."""
    if isinstance(seed, (int, np.integer)):
        return [philox(int(seed), purpose, place) for place in range(n)]
    if len(seed) != n:
        raise ValueError(f"got {len(seed)} seeds for {n} images; give one seed, or one an image")
    return [philox(each, purpose, 0) for each in seed]


def _great_circle(start: Tensor, end: Tensor, t: Tensor) -> Tensor:
    """Points [N, D] at t [N, 1] from start [D] to end (Shoemake 1985); straight where the two are parallel."""
    cosine = F.cosine_similarity(start, end, dim=0).clamp(-1, 1)
    angle = torch.acos(cosine)
    if angle.sin() < 1e-4:
        return torch.lerp(start, end, t)
    return (torch.sin((1 - t) * angle) * start + torch.sin(t * angle) * end) / angle.sin()
