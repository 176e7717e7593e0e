"""GET /v1/images; POST /v1/images/sample, /manipulate and /interpolate: JSON in, JSON with PNG files in base64 out.

A picture is `{"seed", "temperature"}`, a face out of noise, or `{"image": BASE64}`, a PNG, JPEG or WebP file; either
may have `"weights": {ATTRIBUTE: NUMBER}`, what is added to it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from waveglow.config import nearest
from waveglow.serve import query
from waveglow.serve.answers import malformed, too_large, unusable
from waveglow.serve.faces import MAX_PHOTO_BYTES, Faces, Picture
from waveglow.serve.service import Service

MAX_BYTES = MAX_PHOTO_BYTES * 4 // 3 + (1 << 16)  # of a body: one photo in base64
PICTURE = ("seed", "temperature", "image", "weights")
Content = Mapping[str, Any]


def routes(service: Service) -> list[BaseRoute]:
    """The calls on images. The model is loaded by the first of them, on the thread that computes."""
    faces: list[Faces] = []

    def opened() -> Faces:
        if not faces:
            faces.append(Faces.load(device="cpu"))
        return faces[0]

    async def about(request: Request) -> Response:
        query.read(request, {})
        found = await service.scheduler.once(lambda: opened().about(), receive=request.receive, call="images")
        return JSONResponse(found)

    calls = {"sample": sample, "manipulate": manipulate, "interpolate": interpolate}
    return [
        Route("/v1/images", about, methods=["GET"]),
        *(
            Route(f"/v1/images/{name}", partial(_answered, service, opened, act, f"images/{name}"), methods=["POST"])
            for name, act in calls.items()
        ),
    ]


async def _answered(
    service: Service, opened: Callable[[], Faces], act: Callable[[Faces, Content], Content], call: str, request: Request
) -> Response:
    query.read(request, {})
    query.require_kind(request, ("application/json",))
    body = await service.bodies.read(request)
    try:
        if len(body) > MAX_BYTES:
            raise too_large(f"the body has {len(body)} bytes; at most {MAX_BYTES} are taken, one picture of 8 MiB")
        compute = lambda: act(opened(), parsed(body))  # noqa: E731
        return JSONResponse(await service.scheduler.once(compute, receive=request.receive, call=call))
    finally:
        service.bodies.release(body)


def sample(faces: Faces, content: Content) -> Content:
    """`{"n", "temperature", "seed"}` to `{"pictures": [{"seed", "png"}]}`."""
    known(content, "the body", ("n", "temperature", "seed"))
    n, seed = whole(content, "n", 8), whole(content, "seed", 0)
    temperature = number(content, "temperature", 0.7)
    files = faces.sample(n, temperature=temperature, seed=seed)
    pictures = [{"seed": seed + i, "png": _text(file)} for i, file in enumerate(files)]
    return {"temperature": temperature, "pictures": pictures}


def manipulate(faces: Faces, content: Content) -> Content:
    """`{"picture", "details"}` to `{"picture", "latents"}`, and `{"original", "has", "bits_per_dim"}` with details."""
    known(content, "the body", ("picture", "details"))
    details = content.get("details", False)
    if not isinstance(details, bool):
        raise malformed("details must be true or false")
    found = faces.manipulate(picture(content.get("picture"), "picture"), details=details)
    files: dict[str, Any] = {name: _text(found[name]) for name in ("picture", "original") if name in found}
    latents = [
        {"shape": list(level.shape), "values": _text(level.astype("<f4").tobytes())} for level in found["latents"]
    ]
    return {**found, **files, "latents": latents}


def interpolate(faces: Faces, content: Content) -> Content:
    """`{"pictures": [a, b], "steps", "way"}` to `{"pictures": [png]}`, both ends included."""
    known(content, "the body", ("pictures", "steps", "way"))
    given = content.get("pictures")
    if not isinstance(given, list) or len(given) != 2:
        raise malformed("pictures must be a list of two, from which to which")
    start, end = (picture(each, f"pictures[{i}]") for i, each in enumerate(given))
    way = content.get("way", "spherical")
    if not isinstance(way, str):
        raise malformed("way must be a text")
    files = faces.interpolate(start, end, steps=whole(content, "steps", 8), way=way[: query.SHOWN])
    return {"pictures": [_text(file) for file in files]}


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


def picture(content: Any, what: str) -> Picture:
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
    return Picture(whole(content, "seed", 0), number(content, "temperature", 0.7), photo, tuple(names))


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
