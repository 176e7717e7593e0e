"""The vocoder that is served: loaded, warmed up, and loaded anew where its device failed under it."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from waveglow.bench.pace import LATENCIES, Latency, Paces, context_of, measured_paces

if TYPE_CHECKING:
    from waveglow.export.onnx_runtime import OnnxVocoder
    from waveglow.vocoder import Vocoder

WARM_UP_SECONDS = 1.0
SLOW_FRAMES = 128  # a piece, where none keeps up
log = logging.getLogger(__name__)


class Voice:
    """What `load()` gives, under a name that clients see. Its `vocoder` is for the thread that computes.

    Raises what `load` does.
    """

    def __init__(self, load: Callable[[], Vocoder | OnnxVocoder], *, name: str) -> None:
        self.name = name
        self.real_time_factor: float | None = None
        self._load = load
        vocoder = load()
        self.mel_spec, self.refine = vocoder.mel_spec, vocoder.refine  # known while it is loaded anew, too
        self._vocoder: Vocoder | OnnxVocoder | None = vocoder
        self._paces: Paces | None = None
        self._about = self._told()

    @property
    def vocoder(self) -> Vocoder | OnnxVocoder:
        """The one that is loaded. Raises RuntimeError while there is none."""
        if self._vocoder is None:
            raise RuntimeError("the model isn't loaded")
        return self._vocoder

    def warm_up(self) -> None:
        """Synthesize twice, and measure the second time: the first makes what later calls reuse."""
        spec = self.vocoder.mel_spec
        silence = np.full((spec.n_mels, max(1, round(WARM_UP_SECONDS * spec.sample_rate / spec.hop))), spec.silence)
        for _ in range(2):
            began = time.monotonic()
            audio = self.vocoder.synthesize(silence.astype(np.float32), check=False)
            self.real_time_factor = (time.monotonic() - began) * spec.sample_rate / len(audio)
        try:
            self._paces = measured_paces(self.vocoder)
        except ValueError as error:
            log.warning("%s can't be streamed: %s", self.name, error)
        self._about = self._told()

    def gather(self, latency: Latency, refine: int) -> int:
        """Frames that pieces of a stream have at least, so that one stream leaves the machine half of the time."""
        if self._paces is None:
            return 1
        around = sum(self._around(latency, refine))
        return self._paces.of(refine, around).least_chunk() or SLOW_FRAMES

    def reload(self) -> None:
        """Let go of the model, load it again, and warm it up."""
        self._vocoder = None
        gc.collect()
        self._vocoder = self._load()
        self.warm_up()

    def tell(self, error: ValueError) -> str:
        """Its sentence without the place of a file on this machine."""
        path = getattr(self._vocoder, "path", None)
        return str(error) if path is None else str(error).replace(str(path), self.name)

    def about(self) -> dict[str, Any]:
        """For /v1/models, in JSON types. Empty until it was warmed up once."""
        factor = self.real_time_factor
        return {**self._about, "real_time_factor": round(factor, 4)} if self._about and factor else {}

    def _told(self) -> dict[str, Any]:
        vocoder = self.vocoder
        spec = vocoder.mel_spec
        before, after = vocoder.reach()
        return {
            "name": self.name,
            "parameters": vocoder.parameters,
            "sample_rate": spec.sample_rate,
            "hop": spec.hop,
            "mel": spec.to_dict(),
            "mel_fingerprint": spec.fingerprint,
            "reach": {"before": before, "after": after},
            "refine": vocoder.refine,
            "stream_refine": vocoder.refinement.stream_steps,
            "streams": None if self._paces is None else {latency: self._stream(latency) for latency in LATENCIES},
            "device": str(vocoder.device),
            "precision": vocoder.precision,
        }

    def _around(self, latency: Latency, refine: int) -> tuple[int, int]:
        context = context_of(self.vocoder, latency, refine)
        before, after = self.vocoder.stream_context(refine) if context is None else (context, context)
        return before, after

    def _stream(self, latency: Latency) -> dict[str, Any]:
        """How streams of that latency wait, in frames and seconds, where the machine does nothing else."""
        refine, spec = self.vocoder.refinement.stream_steps, self.vocoder.mel_spec
        (before, after), gather = self._around(latency, refine), self.gather(latency, refine)
        assert self._paces is not None
        pace = self._paces.of(refine, before + after)
        first = (after + gather) * spec.hop / spec.sample_rate + pace.seconds(gather)
        return {"context": after, "gather": gather, "first_audio_seconds": round(first, 3)}
