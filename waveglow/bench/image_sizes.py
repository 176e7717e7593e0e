"""The image flows of the papers' tables: how many parameters ours have, and the bits per dimension that were published.

Known, and nothing is measured; a test counts the parameters of the configurations in recipes/celeba/conf.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageSize:
    """Of one configuration: its image set, bits a value, parameters, and the paper's bits/dim of the test images."""

    configuration: str
    images: str
    n_bits: int
    parameters: int
    published_bits_per_dim: float
    source: str


OLD = "ImageNet {0}×{0}, the older set"  # whose figures can't be compared with those of the one that is given out now
GLOW, REALNVP = "Kingma and Dhariwal 2018, table {}", "Dinh et al. 2017, table 1"
IMAGE_SIZES = [
    ImageSize("realnvp-cifar10", "CIFAR-10", 8, 19_631_589, 3.49, REALNVP),
    ImageSize("glow-cifar10", "CIFAR-10", 8, 44_193_840, 3.35, GLOW.format(2)),
    ImageSize("glow-imagenet32", OLD.format(32), 8, 66_268_272, 4.09, GLOW.format(2)),
    ImageSize("glow-imagenet64", OLD.format(64), 8, 111_842_832, 3.81, GLOW.format(2)),
    ImageSize("glow-lsun", "LSUN bedroom, 64×64", 8, 111_842_832, 2.38, GLOW.format(2)),
    ImageSize("glow-celebahq-256", "CelebA-HQ, 256×256", 5, 177_755_664, 1.03, GLOW.format(3)),
    ImageSize("jet-imagenet64", "ImageNet 64×64", 8, 1_019_612_160, 3.66, "Kolesnikov et al. 2024, code"),
    ImageSize("tarflow-imagenet64", "ImageNet 64×64", 8, 460_142_784, 2.99, "Zhai et al. 2024"),
]


def row(size: ImageSize) -> str:
    """Below HEAD, for reading and for a page of Markdown."""
    return (
        f"| `{size.configuration}` | {size.images} | {size.n_bits} | {size.parameters / 1e6:.1f} "
        f"| {size.published_bits_per_dim:.2f} | {size.source} |"
    )


HEAD = "| configuration | images | bits | parameters, millions | published bits/dim | by |\n|---|---|---|---|---|---|"
TABLE = "\n".join([HEAD, *map(row, IMAGE_SIZES)])
