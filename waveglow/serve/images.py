"""GET /v1/images; POST /v1/images/sample, /manipulate and /interpolate: JSON in, JSON with PNG files in base64 out.

A picture is `{"seed", "temperature"}`, a face out of noise, or `{"image": BASE64}`, a PNG, JPEG or WebP file; either
may have `"weights": {ATTRIBUTE: NUMBER}`, what is added to it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from waveglow.config import nearest
from waveglow.serve import query
from waveglow.serve.answers import malformed, too_large, unusable
from waveglow.serve.faces import Faces, Picture
from waveglow.serve.photos import MAX_BYTES as MAX_PHOTO_BYTES
from waveglow.serve.photos import Photos
from waveglow.serve.service import Service

MAX_BYTES = MAX_PHOTO_BYTES * 4 // 3 + (1 << 16)  # of a body: one photo in base64
PICTURE = ("seed", "temperature", "image", "weights")
Content = Mapping[str, Any]
Given = tuple[Picture, bytes | None]  # a picture, and the file that it is to be read from
T = TypeVar("T")


class Asked(NamedTuple):
    """The pictures of a body, and what is to be computed of them."""

    pictures: list[Given]
    compute: Callable[..., Content]


def routes(service: Service) -> list[BaseRoute]:
    """The calls on images."""
    images = Images(service)
    calls = {"sample": sample, "manipulate": manipulate, "interpolate": interpolate}
    return [
        Route("/v1/images", images.about, methods=["GET"]),
        *(Route(f"/v1/images/{name}", partial(images.answer, ask), methods=["POST"]) for name, ask in calls.items()),
    ]


class Images:
    """The model, loaded by the first call, on the thread that computes; and pictures that were sent."""

    def __init__(self, service: Service) -> None:
        self.service, self.photos = service, Photos()
        self.faces: Faces | None = None

    def opened(self) -> Faces:
        """On the thread that computes."""
        self.faces = self.faces or Faces.load(device="cpu")
        return self.faces

    async def about(self, request: Request) -> Response:
        """What the model is and knows."""
        query.read(request, {})
        return JSONResponse(await self._on_thread(lambda faces: faces.about(), request))

    async def answer(self, ask: Callable[[Content], Asked], request: Request) -> Response:
        """What a call gives of a body."""
        query.read(request, {})
        query.require_kind(request, ("application/json",))
        self.service.scheduler.require_place()
        body = await self.service.bodies.read(request)
        try:
            if len(body) > MAX_BYTES:
                raise too_large(f"the body has {len(body)} bytes; at most {MAX_BYTES} are taken, one picture of 8 MiB")
            asked = ask(parsed(body))
        finally:
            self.service.bodies.release(body)
        pictures = [await self._read(each, request) for each in asked.pictures]
        return JSONResponse(await self._on_thread(lambda faces: asked.compute(faces, *pictures), request))

    async def _read(self, given: Given, request: Request) -> Picture:
        """A picture whose file, if it has one, is decoded."""
        picture, photo = given
        if photo is None:
            return picture
        channels, size, _ = await self._on_thread(lambda faces: faces.model.shape, request)
        return replace(picture, pixels=await self.photos.pixels(photo, size=size, channels=channels))

    async def _on_thread(self, compute: Callable[[Faces], T], request: Request) -> T:
        call = request.url.path.removeprefix("/v1/")
        return await self.service.scheduler.once(lambda: compute(self.opened()), receive=request.receive, call=call)


def sample(content: Content) -> Asked:
    """`{"n", "temperature", "seed"}` to `{"pictures": [{"seed", "png"}]}`."""
    known(content, "the body", ("n", "temperature", "seed"))
    n, seed = whole(content, "n", 8), whole(content, "seed", 0)
    temperature = number(content, "temperature", 0.7)

    def compute(faces: Faces) -> Content:
        files = faces.sample(n, temperature=temperature, seed=seed)
        pictures = [{"seed": seed + i, "png": _text(file)} for i, file in enumerate(files)]
        return {"temperature": temperature, "pictures": pictures}

    return Asked([], compute)


def manipulate(content: Content) -> Asked:
    """`{"picture", "details"}` to `{"picture", "latents"}`, and `{"original", "has", "bits_per_dim"}` with details."""
    known(content, "the body", ("picture", "details"))
    details = content.get("details", False)
    if not isinstance(details, bool):
        raise malformed("details must be true or false")

    def compute(faces: Faces, picture: Picture) -> Content:
        found = faces.manipulate(picture, details=details)
        files: dict[str, Any] = {name: _text(found[name]) for name in ("picture", "original") if name in found}
        latents = [
            {"shape": list(level.shape), "values": _text(level.astype("<f4").tobytes())} for level in found["latents"]
        ]
        return {**found, **files, "latents": latents}

    return Asked([picture(content.get("picture"), "picture")], compute)


def interpolate(content: Content) -> Asked:
    """`{"pictures": [a, b], "steps", "way"}` to `{"pictures": [png]}`, both ends included."""
    known(content, "the body", ("pictures", "steps", "way"))
    given, steps, way = content.get("pictures"), whole(content, "steps", 8), content.get("way", "spherical")
    if not isinstance(given, list) or len(given) != 2:
        raise malformed("pictures must be a list of two, from which to which")
    if not isinstance(way, str):
        raise malformed("way must be a text")

    def compute(faces: Faces, start: Picture, end: Picture) -> Content:
        return {"pictures": [_text(png) for png in faces.interpolate(start, end, steps=steps, way=way[: query.SHOWN])]}

    return Asked([picture(each, f"pictures[{i}]") for i, each in enumerate(given)], compute)


# ---- What a body says --------------------------------------------------------------------------------------------


def parsed(body: bytes | bytearray) -> Content:
    """A body's JSON object. Raises RefusedError: 400."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise malformed("the body is no JSON that can be read") from error
    if not isinstance(content, dict):
        raise malformed("the body must be a JSON object")
    return content


def known(content: Content, what: str, names: tuple[str, ...]) -> None:
    """Raises RefusedError for a key that isn't one of these."""
    for key in content:
        if key not in names:
            raise malformed(f"{what} has an unknown key {key[: query.SHOWN]!r}{nearest(key[: query.SHOWN], names)}")


def picture(content: Any, what: str) -> Given:
    """What a body says of a picture. Raises RefusedError."""
    if not isinstance(content, dict):
        raise malformed(f'{what} must be {{"seed", "temperature"}} or {{"image"}}')
    known(content, what, PICTURE)
    if "image" in content and ("seed" in content or "temperature" in content):
        raise malformed(f"{what} has an image and a seed or temperature; give either")
    weights = content.get("weights", {})
    if not isinstance(weights, dict):
        raise malformed(f"the weights of {what} must be an object of attributes and numbers")
    names = [(name, number(weights, name, 0.0)) for name in weights]
    photo = _bytes(content["image"], what) if "image" in content else None
    found = Picture(whole(content, "seed", 0), number(content, "temperature", 0.7), weights=tuple(names))
    return found, photo


def number(content: Content, name: str, default: float) -> float:
    """A number. Raises RefusedError for anything else."""
    value = content.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise malformed(f"{name[: query.SHOWN]} must be a number")
    try:
        return float(value)
    except OverflowError as error:
        raise unusable(f"{name[: query.SHOWN]} is larger than any number that can be used") from error


def whole(content: Content, name: str, default: int) -> int:
    """A whole number from 0 to 2**63. Raises RefusedError for anything else."""
    value = content.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise malformed(f"{name} must be a whole number")
    if not 0 <= value < 2**63:
        raise unusable(f"{name} must be from 0 to 2**63 - 1")
    return value


def _bytes(text: Any, what: str) -> bytes:
    if not isinstance(text, str):
        raise malformed(f"the image of {what} must be a file in base64")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise malformed(f"the image of {what} isn't base64") from error


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
