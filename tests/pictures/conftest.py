"""What tests of pictures share: an opened flow of digits, its held-out images, and the images that a picture shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from waveglow.data.images import Images
from waveglow.models.flow_image import FlowImage
from waveglow.pictures import Opened, open_model

SIDE, CELL, GAP = 8, 64, 2


@pytest.fixture
def opened(image_models: Path) -> Callable[..., Opened]:
    """`opened(name="glow", seed=0)`: a flow of IMAGE_FLOWS, on the CPU."""
    return lambda name="glow", seed=0: open_model(image_models / name, device="cpu", seed=seed)


@pytest.fixture(scope="session")
def held(digits: Path) -> Images:
    """The held-out digits."""
    return Images(digits, "test", seed=0, flip=False)


@pytest.fixture(scope="session")
def cells() -> Callable[[torch.Tensor, int], np.ndarray]:
    """`cells(picture, columns)`: the images of a picture that has labels: [rows, columns, 8, 8]."""

    def found(picture: torch.Tensor, columns: int) -> np.ndarray:
        pixels = picture.permute(1, 2, 0).numpy()
        rows = (pixels.shape[0] - GAP) // (CELL + GAP)
        corner = pixels[-rows * (CELL + GAP) - GAP :, -columns * (CELL + GAP) - GAP :]
        assert (corner == corner[..., :1]).all()
        table = corner[GAP:, GAP:, 0].reshape(rows, CELL + GAP, columns, CELL + GAP).transpose(0, 2, 1, 3)
        assert (table[:, :, CELL:] == 255).all()
        assert (table[:, :, :, CELL:] == 255).all()
        return table[:, :, : CELL : CELL // SIDE, : CELL : CELL // SIDE]

    return found


@pytest.fixture(scope="session")
def drawn() -> Callable[[FlowImage, torch.Tensor], np.ndarray]:
    """`drawn(model, x)`: x [N, 1, 8, 8] as pixels [N, 8, 8]."""
    return lambda model, x: model.to_pixels(x)[:, 0].numpy()


@pytest.fixture
def two_photos(tmp_path: Path) -> list[Path]:
    """Two pictures, not square, and in colour."""
    made = []
    for i in range(2):
        noise = np.random.default_rng(i).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"photo{i}.png")
        made.append(tmp_path / f"photo{i}.png")
    return made
