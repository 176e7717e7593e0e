"""Pictures over the network are decoded elsewhere, within limits, as the package's own reader decodes them."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from waveglow.data.image_sources import open_photo
from waveglow.serve import photos
from waveglow.serve.answers import RefusedError
from waveglow.serve.photos import MAX_BYTES, Photos


def read(content: bytes, *, times: int = 1) -> bytes:
    async def pixels() -> bytes:
        reader = Photos()
        found = [await reader.pixels(content, size=32, channels=3) for _ in range(times)]
        assert len(set(found)) == 1
        return found[0]

    return asyncio.run(pixels())


def picture(kind: str, size: tuple[int, int] = (60, 40), **options: object) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (size[1] // 4, size[0] // 4, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize(size, Image.Resampling.NEAREST).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_pixels_are_those_of_the_packages_reader(kind, tmp_path):
    path = tmp_path / "photo"
    path.write_bytes(picture(kind))
    assert read(path.read_bytes()) == open_photo(path, 32, 3).numpy().tobytes()


def test_the_same_file_is_decoded_once(monkeypatch):
    decode, times = photos._decoded, []

    async def counted(*given):
        times.append(1)
        return await decode(*given)

    monkeypatch.setattr(photos, "_decoded", counted)
    read(picture("PNG"), times=3)
    assert len(times) == 1


TOO_LONG = bytes(MAX_BYTES + 1)
BOMB = io.BytesIO()
Image.new("L", (9_000, 9_000)).save(BOMB, "PNG")  # 80 kB that decode to 81 million pixels


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b"GIF89a" + bytes(100), 422, "the picture is no picture that can be read as PNG, JPEG or WebP"),
        (b"", 422, "is no picture"),
        (picture("PNG")[:200], 422, "is no picture"),
        (TOO_LONG, 413, "the most is 8388608"),
        (BOMB.getvalue(), 413, "has 9000×9000 pixels; the most is 25 million"),
    ],
    ids=["gif", "empty", "cut", "long", "bomb"],
)
def test_what_cant_be_read_is_refused_in_a_sentence(content, status, said):
    with pytest.raises(RefusedError) as refused:
        read(content)
    assert refused.value.status == status
    assert said in refused.value.message


def test_a_decoder_that_dies_costs_its_own_request_only(monkeypatch):
    monkeypatch.setattr(photos, "START", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(RefusedError, match="can't be decoded within 10 s") as refused:
        read(picture("PNG"))
    assert refused.value.status == 422


def test_the_process_has_no_torch():
    code = (
        "import sys, waveglow.serve.photo_process, waveglow.data.image_sources.picture; print('torch' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True).stdout == b"False\n"
