"""OnnxVocoder: an exported vocoder run by onnxruntime, without torch.

B: batch, M: mels, F: frames, T = F·hop samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from waveglow.audio.floats import beyond_full_scale, floats, require_audio_shape
from waveglow.audio.mel_diagnosis import require_plausible
from waveglow.audio.mel_spec import MelSpec
from waveglow.audio.steps import require_steps
from waveglow.config import ConfigError, from_json, from_mapping
from waveglow.distribution import install_hint
from waveglow.noise import DRAWS, Sampling, latent_noise
from waveglow.pieces import Held, Pieces, Stream

if TYPE_CHECKING:
    from waveglow.audio.denoise import BiasDenoiser
    from waveglow.audio.refine import Refinement, Scheme

METADATA = "waveglow"  # the key under which a file says what a caller has to know
SIGMA = 0.7  # temperature, where nothing else is said
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

    `mel_spec`, `latents`, `refine` (steps where a call names no other number) and `precision` ("float32", or "int8"
    where its nets are) say what the file is; a file without latents draws its noise itself.

    Arguments:
        path: the .onnx file.
        threads: of the CPU; None is all.

    Raises OnnxFileError for a file that can't be read, or was not written by `waveglow export onnx`; ValueError where
    onnxruntime is missing.
    """

    has_mel_spec = True
    device = "cpu"

    def __init__(self, path: Path | str, *, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads is {threads}; it must be at least 1")
        runtime = needed("onnxruntime")
        self.path = Path(path)
        if not Path(path).is_file():
            raise OnnxFileError(
                f"{path}: is no file; what onnxruntime runs is made by `waveglow export onnx CKPT OUT.onnx`"
            )
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3  # else it warns that `steps` is an input that may be left out
        try:
            self._session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            about = self._session.get_modelmeta().custom_metadata_map.get(METADATA)
            self._options = {value.name for value in self._session.get_overridable_initializers()}
        except Exception as error:  # onnxruntime's own types, of which none is public
            raise OnnxFileError(f"{path}: no ONNX file that this onnxruntime reads ({_first_line(error)})") from error
        if about is None:
            raise OnnxFileError(f"{path}: says nothing of its mel; only files of `waveglow export onnx` can be run")
        try:
            values = from_json(about)
            self.refine, self.precision = int(values["refine"]), "int8" if values["int8"] else "float32"
            self._stream_refine = int(values.get("stream_refine", self.refine))
            self._scheme = str(values.get("refine_scheme", "fast"))
            self._context = {int(steps): int(frames) for steps, frames in values.get("stream_context", {}).items()}
            self.mel_spec = from_mapping(MelSpec, values["mel_spec"], "mel_spec")
            self.latents = [Latent(*latent) for latent in values["latents"]]
            unknown = {latent.base for latent in self.latents} - DRAWS.keys()
            if unknown:
                names = ", ".join(sorted(map(repr, unknown)))
                raise ValueError(f"its latents follow {names}, which is unknown; upgrade waveglow")
            if (self.refine and "steps" not in self._options) or not (self.latents or "sigma" in self._options):
                raise ValueError("written by an older version; export it again")
            self.sigma, self.group = float(values.get("sigma", SIGMA)), int(values.get("group", self.mel_spec.hop))
            self.parameters = int(values.get("parameters", 0))
            self._before, self._after = map(int, values["reach"])
        except (AttributeError, ConfigError, KeyError, TypeError, ValueError) as error:
            raise OnnxFileError(f"{path}: its metadata can't be understood ({error})") from error

    def about(self) -> dict[str, Any]:
        """What the file is, in JSON types."""
        latents = {f"z{i}": f"{z.channels} channels, {z.places} a frame, {z.base}" for i, z in enumerate(self.latents)}
        return {
            "file": str(self.path),
            "bytes": self.path.stat().st_size,
            "refine": self.refine,
            "stream_refine": self._stream_refine,
            "refine_scheme": self._scheme,
            "int8": self.precision == "int8",
            "parameters": self.parameters,
            "sigma": self.sigma,
            "latents": latents or "drawn in the graph",
            "mel": self.mel_spec.to_dict(),
            "mel_fingerprint": self.mel_spec.fingerprint,
        }

    @cached_property
    def refinement(self) -> Refinement:
        """How it refines, as of `Vocoder`. Takes torch."""
        from waveglow.audio.refine import Refinement

        return Refinement(self.refine, self._stream_refine, cast("Scheme", self._scheme), self._context)

    @property
    def sample_rate(self) -> int:
        """Samples per second of what is synthesized."""
        return self.mel_spec.sample_rate

    def reach(self, refine: int | None = None) -> tuple[int, int]:
        """Mel frames before and after its own that a sample depends on, refinement included.

        Raises ValueError where refine doesn't fit.
        """
        steps = self._steps(refine, self.refine)
        seen = math.ceil((steps + 1) * self.mel_spec.n_fft / self.mel_spec.hop) if steps else 0
        return self._before + seen, self._after + seen

    def synthesize(
        self,
        mel: npt.ArrayLike,
        *,
        sigma: float = SIGMA,
        seed: int | Sequence[int] = 0,
        refine: int | None = None,
        check: bool = True,
    ) -> Samples:
        """Waveform from mel: [M, F] to [T], [B, M, F] to [B, T]; long ones in pieces, decoded with what they depend on.

        Arguments:
            sigma: temperature; of N(0, 1) latents the standard deviation.
            seed: of the noise, for all clips or one for each.
            refine: steps of refinement; 0 is the flow's sample as it is, None the file's own number.
            check: whether to refuse values that no recording has in the file's mel convention.

        Raises ValueError where shapes, values, seeds, sigma or refine don't fit, or a seed is given to a file that
        draws its own noise; for a mel that looks like another convention, and where the audio isn't finite.
        """
        batch, single = self._batch(mel, check)
        draw = self._draw(len(batch), sigma, seed, self._steps(refine, self.refine))
        audio = np.concatenate([*self._whole(batch, draw)], axis=-1)
        _require_finite(audio, batch, check)
        return audio[0] if single else audio

    def pieces(
        self,
        mel: npt.ArrayLike,
        *,
        sigma: float = SIGMA,
        seed: int | Sequence[int] = 0,
        refine: int | None = None,
        check: bool = True,
    ) -> Iterator[Samples]:
        """What `synthesize` gives of a mel in the pieces that it is made of, [T_i] or [B, T_i], as of `Vocoder`."""
        batch, single = self._batch(mel, check)
        draw = self._draw(len(batch), sigma, seed, self._steps(refine, self.refine))
        for piece in self._whole(batch, draw):
            _require_finite(piece, batch, check)
            yield piece[0] if single else piece

    def stream(
        self,
        mels: Iterable[npt.ArrayLike],
        *,
        sigma: float = SIGMA,
        seed: int | Sequence[int] = 0,
        refine: int | None = None,
        context: int | None = None,
        gather: int = 1,
        check: bool = True,
    ) -> Iterator[Samples]:
        """Audio while the mel is still arriving, as of `Vocoder.stream`: chunks [M, F] to pieces [T], or with a batch.

        Where `refine` or `context` is None, it is what the checkpoint said of streams. A piece has at least `gather`
        frames, but for the last.
        Raises ValueError, when the first piece or a chunk is asked for, as `synthesize` does, where chunks differ in
        their batch, for a negative context, a `gather` below 1, and for a file that draws its own noise.
        """
        yield from self.open_stream(
            sigma=sigma, seed=seed, refine=refine, context=context, gather=gather, check=check
        ).all(mels)

    def open_stream(
        self,
        *,
        sigma: float = SIGMA,
        seed: int | Sequence[int] = 0,
        refine: int | None = None,
        context: int | None = None,
        gather: int = 1,
        check: bool = True,
    ) -> Stream[Samples]:
        """`stream` for those whom chunks are handed to, one at a time. Raises ValueError as that does."""
        if not self.latents:
            raise ValueError(f"{self.path} draws its own noise, other in every piece; export it without --drawn-noise")
        if context is not None and context < 0:
            raise ValueError(f"context is {context}; it must be at least 0 frames")
        steps = self._steps(refine, self._stream_refine)
        around = self.stream_context(steps) if context is None else (context, context)
        self._draw(np.size(seed), sigma, seed, steps)  # refuses what no chunk could mend

        def begin(pieces: Pieces, clips: int) -> Held[Samples]:
            return self._held(pieces, self._draw(clips, sigma, seed, steps))

        def heard(audio: Samples, mels: Samples) -> Samples:
            _require_finite(audio, mels, check)
            return audio

        pieces = Pieces(*around, gather=gather)
        return Stream(pieces, batched=lambda mel: self._batch(mel, check), begin=begin, heard=heard)

    def stream_context(self, refine: int | None = None) -> tuple[int, int]:
        """Frames before and after a piece that a stream decodes with it where a call names none.

        What was measured for the checkpoint, else the reach. Raises ValueError where refine doesn't fit.
        """
        steps = self._steps(refine, self._stream_refine)
        measured = [n for n in self._context if n >= steps]
        return (self._context[min(measured)],) * 2 if measured else self.reach(steps)

    def mel(self, wav: npt.ArrayLike, sample_rate: int, *, check: bool = True) -> Samples:
        """Mel of audio at any sample rate: [T] to [M, F], [B, T] to [B, M, F]. Takes torch."""
        import torch

        from waveglow.audio.mel_spectrogram import MelSpectrogram
        from waveglow.audio.resampling import resampled

        audio = resampled(_audio(wav, check), sample_rate, self.sample_rate)
        mel = MelSpectrogram(self.mel_spec).of_any_length(torch.from_numpy(audio)).numpy()
        return mel if np.ndim(wav) == 2 else mel[0]

    def __call__(
        self,
        wav: npt.ArrayLike,
        sample_rate: int,
        *,
        sigma: float = SIGMA,
        seed: int | Sequence[int] = 0,
        refine: int | None = None,
        check: bool = True,
    ) -> Samples:
        """Copy-synthesis: audio to mel to audio of the same duration, at the model's sample rate: [T] or [B, T]."""
        mel = self.mel(wav, sample_rate, check=check)
        again = self.synthesize(mel, sigma=sigma, seed=seed, refine=refine, check=False)
        length = math.ceil(np.shape(wav)[-1] * self.sample_rate / sample_rate)
        missing = max(0, length - again.shape[-1])
        return np.pad(again, (*[(0, 0)] * (again.ndim - 1), (0, missing)))[..., :length]

    def log_prob(self, wav: npt.ArrayLike, sample_rate: int) -> float:
        """Raises ValueError: the graph goes from latents to audio alone."""
        raise ValueError(f"{self.path} only synthesizes; a likelihood takes its checkpoint")

    def denoise(self, audio: npt.ArrayLike, strength: float = 0.1, *, check: bool = True) -> Samples:
        """Audio of this vocoder, at its sample rate, less its hum (audio/denoise.py): [T] to [T], [B, T] to [B, T].

        Takes torch. Raises ValueError for a strength that is negative or not finite, and for what is no audio.
        """
        import torch

        batch = torch.from_numpy(_audio(audio, check))
        denoised = self._denoiser(batch, strength).numpy()
        return denoised if np.ndim(audio) == 2 else denoised[0]

    @cached_property
    def _denoiser(self) -> BiasDenoiser:
        import torch

        from waveglow.audio.denoise import heard_in_silence

        silence = torch.from_numpy(self.mel(np.zeros(self.mel_spec.min_samples, np.float32), self.sample_rate))
        return heard_in_silence(
            self.mel_spec,
            silence,
            lambda mel: torch.from_numpy(self.synthesize(mel.numpy(), sigma=0, refine=0, check=False)),
            reach=max(self.reach(0)),
        )

    def feed(self, mels: Samples, draw: Sampling, *, first: int = 0) -> dict[str, npt.NDArray[Any]]:
        """The graph's inputs for mels [B, M, F], from the clips' frame `first` on."""
        options = {"steps": np.array(draw.refine), "sigma": np.array(draw.sigma, np.float32)}
        latents = drawn_latents(self.latents, mels.shape[-1], sigma=draw.sigma, seeds=draw.seeds, first=first)
        return {"mel": mels, **latents, **{name: options[name] for name in self._options & options.keys()}}

    def _run(self, mels: Samples, draw: Sampling, first: int) -> Samples:
        feed = self.feed(mels, draw, first=first)
        try:
            (audio,) = self._session.run(None, feed)
        except Exception as error:  # of types that aren't public, as in loading
            raise OnnxFileError(f"{self.path}: its graph can't be run ({_first_line(error)})") from error
        return np.asarray(audio)

    def _whole(self, mels: Samples, draw: Sampling) -> Iterator[Samples]:
        """Audio [B, T_i] of whole mels [B, M, F], in pieces where they are long and the noise goes by its place."""
        if not self.latents or mels.shape[-1] <= MAX_PIECE_FRAMES:
            yield self._run(mels, draw, 0)
        else:
            chunks = [mels[..., i : i + MAX_PIECE_FRAMES] for i in range(0, mels.shape[-1], MAX_PIECE_FRAMES)]
            yield from self._held(Pieces(*self.reach(draw.refine)), draw).all(chunks)

    def _held(self, pieces: Pieces, draw: Sampling) -> Held[Samples]:
        """As of `Vocoder`, whose latents may be longer than a frame."""
        return Held(
            pieces,
            self.mel_spec.hop,
            decode=lambda mels, first: self._run(mels, draw, first),
            join=partial(np.concatenate, axis=-1),
        )

    def _batch(self, mel: npt.ArrayLike, check: bool) -> tuple[Samples, bool]:
        """[M, F] or [B, M, F] to (mels [B, M, F], whether it was a single one)."""
        mels = floats(mel, "mel")
        batch, n_mels = mels if mels.ndim == 3 else mels[None], self.mel_spec.n_mels
        if batch.ndim != 3 or not batch.size or batch.shape[1] != n_mels:
            raise ValueError(f"mel has shape {list(mels.shape)}; this model takes [B, {n_mels}, F], F >= 1")
        if not np.isfinite(batch).all():
            raise ValueError("the mel has NaN or infinite values; repair or drop the clip")
        for clip in batch if check else ():
            require_plausible(clip, self.mel_spec)
        return batch, mels.ndim != 3

    def _draw(self, clips: int, sigma: float, seed: int | Sequence[int], steps: int) -> Sampling:
        drawn = Sampling.of_call(clips, sigma=sigma, seed=seed, refine=steps)
        if any(drawn.seeds) and not self.latents:
            raise ValueError(f"seed is {seed}, and {self.path} draws its own noise; leave the seed out")
        return drawn

    def _steps(self, refine: int | None, usual: int) -> int:
        if refine is None:
            return usual
        if require_steps(refine) and "steps" not in self._options:
            raise ValueError(f"refine is {refine}, and {self.path} has no refinement; export it with --refine STEPS")
        return int(refine)


def mel_spec_of(path: Path | str) -> MelSpec | None:
    """The mel convention of an .onnx file, None for a name of another kind. Raises OnnxFileError, ValueError."""
    return OnnxVocoder(path).mel_spec if Path(path).suffix == ".onnx" else None


def drawn_latents(
    latents: Iterable[Latent], frames: int, *, sigma: float, seeds: Sequence[int], first: int = 0
) -> dict[str, Samples]:
    """The latents z0, z1, … [B, C_i, T_i] for so many frames from `first` on, with a seed for each clip."""

    def noise(i: int, z: Latent) -> Samples:
        places = z.places * first, z.places * (first + frames)
        rows = [latent_noise(seed, i, z.channels, *places, base=z.base, sigma=sigma) for seed in seeds]
        return np.float32(sigma) * np.stack(rows)

    return {f"z{i}": noise(i, z) for i, z in enumerate(latents)}


def _audio(wav: npt.ArrayLike, check: bool) -> Samples:
    """[B, T] in float32. Raises ValueError for other types and shapes, NaN, and what is far beyond full scale."""
    samples = floats(wav, "audio")
    require_audio_shape(samples.shape)
    if not np.isfinite(samples).all():
        raise ValueError("audio has NaN or infinite samples; repair or drop the clip")
    if check and (looks := beyond_full_scale(float(np.abs(samples).max()))):
        raise ValueError(f"the audio {looks}, or give check=False where it is meant so")
    return np.atleast_2d(samples)


def _require_finite(audio: Samples, mels: Samples, check: bool) -> None:
    if check and not np.isfinite(audio).all():
        raise ValueError(
            f"the audio isn't finite: the mel's values, {mels.min():.4g}..{mels.max():.4g}, are more than a model can "
            "compute with; give a mel of the file's convention"
        )


def needed(module: str) -> Any:
    """The imported module. Raises ValueError that says what to install."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ValueError(f"{module.partition('.')[0]} can't be imported ({error}); {install_hint('onnx')}") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
