"""OnnxVocoder: an exported vocoder run by onnxruntime, without torch.

B: batch, M: mels, F: frames, T = F·hop samples.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.typing import ArrayLike

from waveglow.audio.floats import floats
from waveglow.audio.mel_diagnosis import require_plausible
from waveglow.audio.mel_spec import MelSpec
from waveglow.config import ConfigError, from_mapping
from waveglow.distribution import install_hint
from waveglow.noise import DRAWS, latent_noise

METADATA = "waveglow"  # the key under which a file says what a caller has to know
MAX_PIECE_FRAMES = 2048  # memory of longer mels is that of so many and what they depend on to both sides
Samples = npt.NDArray[np.float32]


class OnnxFileError(ValueError):
    """A file that isn't a vocoder written by `waveglow export onnx`."""


class Latent(NamedTuple):
    """A latent's channels, its places a mel frame, and the density that it follows (noise.py)."""

    channels: int
    places: int
    base: str = "normal"  # of files that don't say


class OnnxVocoder:
    """Mel to waveform by a file of `waveglow export onnx`; the noise of a seed is that of `Vocoder`.

    `mel_spec`, `latents`, `refine` (steps in the graph) and `int8` (whether its nets are) say what the file is.

    Arguments:
        path: the .onnx file.
        threads: of the CPU; None is all.

    Raises OnnxFileError for a file that can't be read, was not written by `waveglow export onnx`, or draws its own
    noise; ValueError where onnxruntime is missing.
    """

    def __init__(self, path: Path | str, *, threads: int | None = None) -> None:
        runtime = needed("onnxruntime")
        self.path = Path(path)
        if not Path(path).is_file():
            raise OnnxFileError(
                f"{path}: is no file; what onnxruntime runs is made by `waveglow export onnx CKPT OUT.onnx`"
            )
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        try:
            self._session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own types, of which none is public
            raise OnnxFileError(f"{path}: no ONNX file that this onnxruntime reads ({_first_line(error)})") from error
        about = self._session.get_modelmeta().custom_metadata_map.get(METADATA)
        if about is None:
            raise OnnxFileError(f"{path}: says nothing of its mel; only files of `waveglow export onnx` can be run")
        try:
            values = json.loads(about)
            self.refine, self.int8 = int(values["refine"]), bool(values["int8"])
            self.mel_spec = from_mapping(MelSpec, values["mel_spec"], "mel_spec")
            self.latents = [Latent(*latent) for latent in values["latents"]]
            unknown = {latent.base for latent in self.latents} - DRAWS.keys()
            if unknown:
                raise ValueError(f"its latents follow {', '.join(sorted(unknown))}, which is unknown; upgrade waveglow")
            self._least_frames = int(values["least_frames"])
            self._before, self._after = map(int, values["reach"])
        except (ConfigError, KeyError, TypeError, ValueError) as error:
            raise OnnxFileError(f"{path}: its metadata can't be understood ({error})") from error
        if not self.latents:
            raise OnnxFileError(f"{path}: draws its own noise, for other runtimes; export it without --drawn-noise")

    def about(self) -> dict[str, Any]:
        """What the file is, in JSON types."""
        latents = {f"z{i}": f"{z.channels} channels, {z.places} a frame, {z.base}" for i, z in enumerate(self.latents)}
        return {
            "file": str(self.path),
            "bytes": self.path.stat().st_size,
            "refine": self.refine,
            "int8": self.int8,
            "latents": latents,
            "mel": self.mel_spec.to_dict(),
            "mel_fingerprint": self.mel_spec.fingerprint,
        }

    @property
    def sample_rate(self) -> int:
        """Samples per second of what is synthesized."""
        return self.mel_spec.sample_rate

    def synthesize(
        self, mel: ArrayLike, *, sigma: float = 0.7, seed: int | Sequence[int] = 0, check: bool = True
    ) -> Samples:
        """Waveform from mel: [M, F] to [T], [B, M, F] to [B, T]; long ones in pieces, decoded with what they depend on.

        Refined files need a few frames; shorter mels are lengthened by their last one, and the audio is cut.

        Arguments:
            sigma: temperature; of N(0, 1) latents the standard deviation.
            seed: of the noise, for all clips or one for each.
            check: whether to refuse values that no recording has in the file's mel convention.

        Raises ValueError where shapes, values, seeds or sigma don't fit, for a mel that looks like another convention,
        and where the audio isn't finite.
        """
        mels = floats(mel, "mel")
        batch = mels if mels.ndim == 3 else mels[None]
        frames, n_mels = batch.shape[-1], self.mel_spec.n_mels
        if batch.ndim != 3 or not batch.size or batch.shape[1] != n_mels:
            raise ValueError(f"mel has shape {list(mels.shape)}; this model takes [B, {n_mels}, F], F >= 1")
        if not np.isfinite(batch).all():
            raise ValueError("the mel has NaN or infinite values; repair or drop the clip")
        if not (math.isfinite(sigma) and sigma >= 0):
            raise ValueError(f"sigma is {sigma}; it must be a finite number >= 0")
        seeds = [seed] * len(batch) if isinstance(seed, (int, np.integer)) else list(seed)
        if len(seeds) != len(batch):
            raise ValueError(f"got {len(seeds)} seeds for {len(batch)} clips; give one seed, or one a clip")
        for clip in batch if check else ():
            require_plausible(clip, self.mel_spec)
        missing = max(0, self._least_frames - frames)
        lengthened = np.pad(batch, ((0, 0), (0, 0), (0, missing)), mode="edge")
        pieces = [
            self._piece(lengthened, start, sigma, seeds) for start in range(0, lengthened.shape[-1], MAX_PIECE_FRAMES)
        ]
        audio = np.concatenate(pieces, axis=-1)[:, : frames * self.mel_spec.hop]
        if not np.isfinite(audio).all():
            raise ValueError(
                f"the audio isn't finite: the mel's values, {batch.min():.4g}..{batch.max():.4g}, are more than the "
                "model can compute with; give a mel of the file's convention"
            )
        return audio if mels.ndim == 3 else audio[0]

    def _piece(self, mels: Samples, start: int, sigma: float, seeds: Sequence[int]) -> Samples:
        """Audio of the frames from `start` on, at most MAX_PIECE_FRAMES."""
        stop, hop = min(start + MAX_PIECE_FRAMES, mels.shape[-1]), self.mel_spec.hop
        first, last = max(0, start - self._before), min(stop + self._after, mels.shape[-1])
        first = max(0, min(first, last - self._least_frames))
        (audio,) = self._session.run(None, self.feed(mels[..., first:last], sigma, seeds, first=first))
        return np.asarray(audio[:, (start - first) * hop : (stop - first) * hop])

    def feed(
        self, mels: Samples, sigma: float = 0.7, seeds: Sequence[int] = (0,), *, first: int = 0
    ) -> dict[str, Samples]:
        """The graph's inputs for mels [B, M, F], from the clips' frame `first` on, and a seed for each clip."""
        start, stop = first, first + mels.shape[-1]

        def noise(i: int, z: Latent) -> Samples:
            places = z.places * start, z.places * stop
            rows = [latent_noise(seed, i, z.channels, *places, base=z.base, sigma=sigma) for seed in seeds]
            return np.float32(sigma) * np.stack(rows)

        return {"mel": mels, **{f"z{i}": noise(i, z) for i, z in enumerate(self.latents)}}


def needed(module: str) -> Any:
    """The imported module. Raises ValueError that says what to install."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ValueError(f"{module.partition('.')[0]} can't be imported ({error}); {install_hint('onnx')}") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
