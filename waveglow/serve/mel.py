"""POST /v1/mel: a recording to the mel that the vocoder would be given of it, as .npy."""

from __future__ import annotations

import io
from functools import partial

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from waveglow.audio.io import CHANNELS
from waveglow.opening import on_cpu
from waveglow.serve import query
from waveglow.serve.service import Service
from waveglow.serve.synthesis import recorded


def routes(service: Service) -> list[BaseRoute]:
    """The call."""
    return [Route("/v1/mel", partial(mel, service), methods=["POST"])]


async def mel(service: Service, request: Request) -> Response:
    """A recording to its mel float32 [n_mels, F]."""
    asked = query.read(request, {"channel": query.one_of("channel", *CHANNELS)})
    decoded = await recorded(service, request, asked, service.settings.max_seconds)

    def computed() -> bytes:
        vocoder, buffer = service.voice.vocoder, io.BytesIO()
        found = on_cpu(vocoder.mel(decoded.samples, vocoder.sample_rate))
        np.save(buffer, np.ascontiguousarray(found, np.float32), allow_pickle=False)
        return buffer.getvalue()

    content = await service.scheduler.once(computed, receive=request.receive, call="mel")
    return Response(content, headers={"Content-Type": "application/octet-stream"})
