"""Vocoder: a folded model and its mel convention, as users hold them.

Shapes: audio [B, T] or [T], mel [B, M, F] or [M, F], T = F·hop samples.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from waveglow.audio.denoise import BiasDenoiser, heard_in_silence
from waveglow.audio.floats import beyond_full_scale, floats, require_audio_shape, require_floats
from waveglow.audio.mel import MelSpec
from waveglow.audio.mel_diagnosis import require_plausible
from waveglow.audio.refine import MelRefiner, Refinement, require_refinable
from waveglow.audio.resampling import resampled
from waveglow.audio.steps import require_steps
from waveglow.config import require_known
from waveglow.devices import usable, whole_float32
from waveglow.export.fold import folded
from waveglow.models import checkpoint
from waveglow.models.flow_vocoder import FlowVocoder
from waveglow.models.noise import noise_model
from waveglow.models.reach import Reach, reach
from waveglow.noise import Sampling, dequantization_noise, latent_noise
from waveglow.pieces import Held, Pieces, Stream

Precision = Literal["float32", "bf16", "fp16"]
ArrayLike = Tensor | npt.NDArray[np.floating]
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
NOISE = Refinement(steps=64, stream_steps=16)
MAX_PIECE_FRAMES = 2048  # memory of longer mels is that of so many and the reach to both sides
NO_MEL_SPEC = "this vocoder knows no mel convention; give Vocoder(model, mel_spec=preset(NAME))"


class Vocoder:
    """Mel to waveform, and back to a likelihood.

    Whatever the floats that go in, and torch's default type, what comes out is float32 on `device`, in tensors of one's
    own: to be written to, and to train with. Mels that can't be of the convention and audio far beyond full scale are
    refused; `check=False` takes them as they are.

    Arguments:
        model: trained FlowVocoder; a folded copy of it is kept.
        mel_spec: the convention its mels follow; needed for everything that starts from audio.
        precision: of the coupling nets alone; the rest stays float32, on GPUs without TF32.
        device: where to compute, e.g. "cuda", or a GPU's number; None is where the model is.
        refine: steps of refinement by which every sample is moved onto its mel (audio/refine.py) where a call names no
            other number, and at most 8 in a stream; or a Refinement, which tells both. They need `mel_spec`.
        fused: of a WaveGlow, upsampling and conditioning as one map: faster, for more memory (export/fold.py).

    Raises ValueError for another precision, a device that can't be used, a mel convention or number of steps that
    doesn't fit, and a model whose weights are NaN, infinite or singular.

    >>> vocoder = Vocoder.load("lapglow")  # the voice that comes with the package
    >>> wav = 0.1 * np.sin(2 * np.pi * 220 * np.arange(24000) / 24000)  # a second of a tone, at 24 kHz
    >>> mel = vocoder.mel(wav, 24000)
    >>> mel.shape  # 80 mels, a frame every 256 samples at 22.05 kHz
    torch.Size([80, 86])
    >>> vocoder.synthesize(mel).shape  # 86 · 256 samples
    torch.Size([22016])
    >>> vocoder(wav, 24000).shape  # copy-synthesis: as long as the recording
    torch.Size([22050])
    """

    def __init__(
        self,
        model: FlowVocoder,
        mel_spec: MelSpec | None = None,
        *,
        precision: Precision = "float32",
        device: str | int | torch.device | None = None,
        refine: int | Refinement = 0,
        fused: bool = False,
    ) -> None:
        require_known("precision", precision, ("float32", *HALF))
        if mel_spec and (mel_spec.hop, mel_spec.n_mels) != (model.hop, model.n_mels):
            raise ValueError(
                f"the mel convention has hop {mel_spec.hop} and {mel_spec.n_mels} mels, the model hop {model.hop} and "
                f"{model.n_mels}; give the convention that the model was trained on"
            )
        self.device = next(model.parameters()).device if device is None else usable(device)
        with whole_float32():
            self.model = folded(_in_float32(model), nets=HALF.get(precision), fused=fused).to(self.device)
        self.precision = precision
        self._mel_spec = mel_spec
        self.refinement = refine if isinstance(refine, Refinement) else Refinement.usual(refine)
        require_refinable(mel_spec, self.refinement)
        self._refiner = MelRefiner(mel_spec, scheme=self.refinement.scheme).to(self.device) if mel_spec else None

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        precision: Precision = "float32",
        device: str | int | torch.device | None = None,
        refine: int | None = None,
        fused: bool = False,
    ) -> Vocoder:
        """Vocoder from a checkpoint directory, a training run, a voice's name, or `hf:org/name@revision` on the hub.

        Where `refine` is None it refines as the checkpoint says, else by so many steps, in streams too.
        Raises CheckpointError for what is no checkpoint, ValueError for an option that doesn't fit.

        >>> Vocoder.load("lapglow").mel_spec.hop
        256
        """
        loaded = checkpoint.load_vocoder(path)
        try:
            own = Refinement.of_info(loaded.info)
            if refine is None:
                require_refinable(loaded.mel_spec, own)
        except ValueError as error:
            raise checkpoint.CheckpointError(f"{loaded.path / 'config.json'}: {error}") from error
        if refine is not None:
            own = replace(own, steps=refine, stream_steps=refine)
        return cls(loaded.model, loaded.mel_spec, precision=precision, device=device, refine=own, fused=fused)

    @classmethod
    def of_noise(
        cls, mel_spec: MelSpec, *, refine: int | Refinement = NOISE, device: str | int | torch.device | None = None
    ) -> Vocoder:
        """A vocoder of any mel convention without weights: noise of the mel's energies, moved onto it step by step.

        Its steps are where what it gains levels off (docs/howto/any-mel.md has scores); windows that overlap by less
        than half can't be refined. Raises ValueError for those.
        """
        return cls(noise_model(mel_spec), mel_spec, refine=refine, device=device)

    @property
    def refine(self) -> int:
        """Steps of refinement where a call of `synthesize` names no other number."""
        return self.refinement.steps

    @property
    def has_mel_spec(self) -> bool:
        """Whether its mel convention is known."""
        return self._mel_spec is not None

    @property
    def mel_spec(self) -> MelSpec:
        """The mel convention. Raises ValueError where none is known."""
        if self._mel_spec is None:
            raise ValueError(NO_MEL_SPEC)
        return self._mel_spec

    @property
    def sample_rate(self) -> int:
        """Samples per second of what is synthesized."""
        return self.mel_spec.sample_rate

    @property
    def group(self) -> int:
        """Samples that the flow squeezes together; tones stand at the multiples of sample rate / group."""
        return self.model.group

    @property
    def parameters(self) -> int:
        """How many numbers the folded model has."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def mel(self, wav: ArrayLike, sample_rate: int, *, check: bool = True) -> Tensor:
        """Mel of audio at any sample rate (resampled to the model's): [T] to [M, F], [B, T] to [B, M, F].

        Differentiable by audio at the model's rate that asks for gradients.
        """
        audio = self._audio(wav, sample_rate, check)
        mel = self._mel(audio)
        return mel if np.ndim(wav) == 2 else mel[0]

    @torch.no_grad()
    def synthesize(
        self,
        mel: ArrayLike,
        *,
        sigma: float = 0.7,
        seed: int | Sequence[int] = 0,
        lengths: Sequence[int] | None = None,
        refine: int | None = None,
        check: bool = True,
    ) -> Tensor:
        """Waveform from mel: [M, F] to [T], [B, M, F] to [B, T], T = F·hop.

        Arguments:
            sigma: temperature; of N(0, 1) latents the standard deviation. Lower is smoother and duller, and leaves out
                what a heavy-tailed base is for (noise.py): at 1 such a voice draws clicks, as recordings have them.
            seed: of the noise, for all clips or a list with one for each. A clip's audio depends on its mel and its
                seed, not on what else is in the batch.
            lengths: frames of each clip where they differ; the audio behind a clip's end is zero.
            refine: steps of refinement; 0 is the flow's sample as it is, None the vocoder's own number.
            check: whether to refuse values that no recording has in the vocoder's mel convention.

        No gradients go through it. Raises ValueError where shapes, lengths, seeds, sigma or refine don't fit, for a mel
        that looks like another convention, and where the audio isn't finite.
        """
        batch, single = self._batch(mel)
        frames = self._frames(batch, lengths)
        draw = Sampling.of_call(len(batch), sigma=sigma, seed=seed, refine=self._steps(refine, self.refinement.steps))
        self._require_plausible(batch, frames, check)
        audio = torch.zeros(len(batch), batch.shape[-1] * self.model.hop, dtype=torch.float32, device=self.device)
        for length in sorted(set(frames)):
            rows = [row for row, n in enumerate(frames) if n == length]
            equal, of_rows = batch[rows, :, :length], draw.of(rows)
            audio[rows, : length * self.model.hop] = torch.cat([*self._whole(equal, of_rows)], dim=-1)
        self._require_finite(audio, batch, check)
        return audio[0] if single else audio

    def pieces(
        self,
        mel: ArrayLike,
        *,
        sigma: float = 0.7,
        seed: int | Sequence[int] = 0,
        refine: int | None = None,
        check: bool = True,
    ) -> Iterator[Tensor]:
        """What `synthesize` gives of a mel, bit for bit, in the pieces that it is made of: [T_i] or [B, T_i].

        One of a mel of up to 2048 frames, at most as many each of a longer. Arguments and errors are those of
        `synthesize`; they are raised when the first piece is asked for, or the one that isn't finite.

        >>> vocoder = Vocoder.load("lapglow")
        >>> [len(piece) for piece in vocoder.pieces(torch.full((80, 10), -5.0), refine=0)]
        [2560]
        """
        batch, single = self._batch(mel)
        draw = Sampling.of_call(len(batch), sigma=sigma, seed=seed, refine=self._steps(refine, self.refinement.steps))
        self._require_plausible(batch, self._frames(batch, None), check)
        for piece in self._whole(batch.contiguous(), draw):
            self._require_finite(piece, batch, check)
            own = piece.clone()  # no inference tensor
            yield own[0] if single else own

    def stream(
        self,
        mels: Iterable[ArrayLike],
        *,
        sigma: float = 0.7,
        seed: int | Sequence[int] = 0,
        refine: int | None = None,
        context: int | None = None,
        gather: int = 1,
        check: bool = True,
    ) -> Iterator[Tensor]:
        """Audio while the mel is still arriving: chunks [M, F] to pieces [T], [B, M, F] to [B, T], of any lengths >= 1.

        The pieces together are what `synthesize` gives of the chunks together with as many steps, in float32 to 1e-4 of
        full scale (1e-3 with many more steps than streams usually have, which amplify what rounding changes): noise
        goes by its place, and what surrounds a piece is decoded with it and thrown away. So a piece comes as soon as
        the frames of context behind it are known, and its cost grows with them: give chunks as long as the delay
        allows, or `gather` them.

        Arguments:
            sigma, seed, check: as of `synthesize`.
            refine: steps of refinement; None is `refinement.stream_steps`, fewer than of whole mels.
            context: frames decoded on both sides of a piece. None is as many as that promise takes: what was measured
                for the checkpoint, else `reach(refine)`, beyond which nothing can matter. Fewer are earlier and faster.
            gather: frames that a piece has at least, but for the last. Where chunks are shorter than what this machine
                keeps up with, `bench.pace.measured_pace(vocoder).least_chunk()` says how many.

        Raises ValueError, when the first piece or a chunk is asked for, as `synthesize` does, where chunks differ in
        their batch, for a negative context, and a `gather` below 1.

        >>> vocoder = Vocoder.load("lapglow")
        >>> mel = torch.full((80, 100), -5.0)
        >>> pieces = [*vocoder.stream(mel.split(25, dim=-1))]
        >>> at_once = vocoder.synthesize(mel, refine=vocoder.refinement.stream_steps)
        >>> torch.allclose(torch.cat(pieces), at_once, atol=1e-4)
        True
        """
        yield from self.open_stream(
            sigma=sigma, seed=seed, refine=refine, context=context, gather=gather, check=check
        ).all(mels)

    def open_stream(
        self,
        *,
        sigma: float = 0.7,
        seed: int | Sequence[int] = 0,
        refine: int | None = None,
        context: int | None = None,
        gather: int = 1,
        check: bool = True,
    ) -> Stream[Tensor]:
        """`stream` for those whom chunks are handed to, one at a time.

        Raises ValueError for a seed, a sigma and steps of refinement that don't fit, a negative context, and a `gather`
        below 1.

        >>> stream = Vocoder.load("lapglow").open_stream(gather=4)
        >>> mel = torch.full((80, 40), -5.0)
        >>> heard = stream.feed(mel)  # 30 frames wait for those behind them
        >>> heard.shape, stream.end().shape
        (torch.Size([2560]), torch.Size([7680]))
        """
        if context is not None and context < 0:
            raise ValueError(f"context is {context}; it must be at least 0 frames")
        steps = self._steps(refine, self.refinement.stream_steps)
        around = self.stream_context(steps) if context is None else Reach(context, context)
        Sampling.of_call(np.size(seed), sigma=sigma, seed=seed, refine=steps)  # refuses what no chunk could mend

        def batched(mel: ArrayLike) -> tuple[Tensor, bool]:
            batch, single = self._batch(mel)
            self._require_plausible(batch, [batch.shape[-1]] * len(batch), check)
            return batch, single

        def begin(pieces: Pieces, clips: int) -> Held[Tensor]:
            return self._held(pieces, Sampling.of_call(clips, sigma=sigma, seed=seed, refine=steps))

        def heard(audio: Tensor, mels: Tensor) -> Tensor:
            self._require_finite(audio, mels, check)
            return audio.clone()  # no inference tensor

        return Stream(self._cutting(around, gather), batched=batched, begin=begin, heard=heard)

    def stream_context(self, refine: int | None = None) -> Reach:
        """Frames before and after a piece that a stream decodes with it where a call names none.

        What was measured for the checkpoint, else the reach. Raises ValueError where refine doesn't fit.
        """
        steps = self._steps(refine, self.refinement.stream_steps)
        measured = self.refinement.frames_around(steps)
        return self.reach(steps) if measured is None else Reach(measured, measured)

    def reach(self, refine: int | None = None) -> Reach:
        """Mel frames before and after its own that a sample depends on, refinement included.

        Raises ValueError where refine doesn't fit.
        """
        steps = self._steps(refine, self.refinement.steps)
        seen = self._refiner.frames_seen(steps) if self._refiner else 0
        return Reach(*(frames + seen for frames in reach(self.model)))

    def __call__(
        self,
        wav: ArrayLike,
        sample_rate: int,
        *,
        sigma: float = 0.7,
        seed: int | Sequence[int] = 0,
        refine: int | None = None,
        check: bool = True,
    ) -> Tensor:
        """Copy-synthesis: audio to mel to audio of the same duration, at the model's sample rate: [T] or [B, T]."""
        audio = self._audio(wav, sample_rate, check)
        again = self.synthesize(self._mel(audio), sigma=sigma, seed=seed, refine=refine, check=False)
        missing = audio.shape[-1] - again.shape[-1]
        again = torch.nn.functional.pad(again, (0, max(missing, 0)))[:, : audio.shape[-1]]
        return again if np.ndim(wav) == 2 else again[0]

    @torch.no_grad()
    def denoise(self, audio: ArrayLike, strength: float = 0.1, *, check: bool = True) -> Tensor:
        """Audio of this vocoder, at its sample rate, less its hum (audio/denoise.py): [T] to [T], [B, T] to [B, T].

        The hum is the flow's audio for a silent mel, at sigma 0 and without refinement. To subtract 0.1 of it is usual,
        0.01 is gentle. Raises ValueError for a strength that is negative or not finite, for what is
        no audio, and where no mel convention is known.
        """
        batch = self._audio(audio, self.sample_rate, check)
        denoised = self._denoiser(batch, strength) if strength else batch.clone()
        return denoised if np.ndim(audio) == 2 else denoised[0]

    @cached_property
    def _denoiser(self) -> BiasDenoiser:
        silence = self._mel(torch.zeros(1, self.mel_spec.min_samples, dtype=torch.float32, device=self.device))[0]
        synthesize = partial(self.synthesize, sigma=0, refine=0, check=False)
        return heard_in_silence(self.mel_spec, silence, synthesize, reach=max(self.reach(0)))

    def log_prob(self, wav: ArrayLike, sample_rate: int, *, seed: int = 0, check: bool = True) -> Tensor:
        """log p(audio | its mel) in nats: [T] to a scalar, [B, T] to [B].

        The audio is resampled to the model's rate, dequantized by ± half a 16-bit step (noise from `seed`), and cropped
        at its end to the model's group of samples (at most `model.group − 1`) and to the frames of its mel.
        Differentiable by audio at the model's rate that asks for gradients, its mel included.
        """
        audio, mel = self._dequantized(wav, sample_rate, seed=seed, check=check)
        with self._numbers():
            log_prob = self.model.log_prob(audio, mel)
        return log_prob if np.ndim(wav) == 2 else log_prob[0]

    @torch.no_grad()
    def log_prob_by_sample(self, wav: ArrayLike, sample_rate: int, *, seed: int = 0, check: bool = True) -> Tensor:
        """`log_prob` as it accrues with time, in nats: [T] to [T'], [B, T] to [B, T'], cropped as `log_prob` says.

        At the model's sample rate; the samples that the flow squeezes together share what their place has.

        >>> vocoder = Vocoder.load("lapglow")
        >>> wav = 0.1 * np.sin(2 * np.pi * 220 * np.arange(22050) / 22050)
        >>> nats = vocoder.log_prob_by_sample(wav, 22050)
        >>> nats.shape, torch.allclose(nats.sum(), vocoder.log_prob(wav, 22050), rtol=1e-5)
        (torch.Size([22016]), True)
        """
        audio, mel = self._dequantized(wav, sample_rate, seed=seed, check=check)
        with self._numbers():
            nats = self.model.log_prob_by_sample(audio, mel)
        return nats if np.ndim(wav) == 2 else nats[0]

    def _dequantized(self, wav: ArrayLike, sample_rate: int, *, seed: int, check: bool) -> tuple[Tensor, Tensor]:
        """Audio [B, T'] in whole groups and frames, between 16-bit steps, and its mel [B, M, F]. Raises ValueError."""
        audio = self._audio(wav, sample_rate, check)
        mel = self._mel(audio)
        n_samples = min(audio.shape[-1], mel.shape[-1] * self.model.hop)
        n_samples -= n_samples % self.model.group
        if not n_samples:
            raise ValueError(
                f"audio of {audio.shape[-1]} samples is too short for a likelihood; the model takes groups of "
                f"{self.model.group} samples and frames of {self.model.hop}"
            )
        noise = torch.from_numpy(dequantization_noise(seed, 0, n_samples)).to(self.device)
        return audio[:, :n_samples] + noise, mel

    def _audio(self, wav: ArrayLike, sample_rate: int, check: bool) -> Tensor:
        """[T] or [B, T] at any rate to [B, T] at the model's, long enough for a mel."""
        samples = _floats(wav, "audio")
        require_audio_shape(samples.shape)
        if not samples.isfinite().all():
            raise ValueError("audio has NaN or infinite samples; repair or drop the clip")
        if check and (looks := beyond_full_scale(float(samples.detach().abs().amax()))):
            raise ValueError(f"the audio {looks}, or give check=False where it is meant so")
        at_rate = samples if sample_rate == self.sample_rate else self._resampled(samples, sample_rate)
        return torch.atleast_2d(at_rate).to(self.device)

    def _resampled(self, samples: Tensor, sample_rate: int) -> Tensor:
        """[T] or [B, T] to [B, T'] at the model's rate."""
        if samples.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                f"the audio asks for gradients and is at {sample_rate} Hz; none go through resampling: give it at "
                f"{self.sample_rate} Hz, or detached"
            )
        rows = np.atleast_2d(samples.detach().cpu().numpy())
        return torch.from_numpy(resampled(rows, sample_rate, self.sample_rate))

    @whole_float32()
    def _mel(self, audio: Tensor) -> Tensor:
        if self._refiner is None:
            raise ValueError(NO_MEL_SPEC)
        return self._refiner.to_mel.of_any_length(audio)

    def _require_plausible(self, mels: Tensor, frames: Iterable[int], check: bool) -> None:
        """Raises ValueError where a clip of mels [B, M, F] looks like another convention than the vocoder's."""
        if check and self._mel_spec:
            for mel, length in zip(mels.cpu().numpy(), frames, strict=True):
                require_plausible(mel[:, :length], self._mel_spec)

    def _steps(self, refine: int | None, usual: int) -> int:
        return usual if refine is None else require_refinable(self._mel_spec, Refinement(require_steps(refine))).steps

    def _frames(self, mels: Tensor, lengths: Sequence[int] | None) -> list[int]:
        frames = mels.shape[-1]
        if mels.dim() != 3 or not frames or mels.shape[1] != self.model.n_mels:
            raise ValueError(f"mel has shape {list(mels.shape)}; this model takes [B, {self.model.n_mels}, F], F >= 1")
        if not torch.isfinite(mels).all():
            raise ValueError("the mel has NaN or infinite values; repair or drop the clip")
        given = [frames] * len(mels) if lengths is None else [int(n) for n in lengths]
        if len(given) != len(mels) or not all(1 <= n <= frames for n in given):
            raise ValueError(f"lengths are {given}; give one a clip ({len(mels)}), each from 1 to {frames} frames")
        return given

    def _batch(self, mel: ArrayLike) -> tuple[Tensor, bool]:
        """[M, F] or [B, M, F] to (mels [B, M, F], whether it was a single one)."""
        mels = _floats(mel, "mel").detach().to(self.device)
        batch = mels if mels.dim() == 3 else mels[None]
        self._frames(batch, None)
        return batch, mels.dim() != 3

    def _whole(self, mels: Tensor, draw: Sampling) -> Iterator[Tensor]:
        """Audio [B, T_i] of whole mels [B, M, F], in pieces where they are long."""
        if mels.shape[-1] <= MAX_PIECE_FRAMES:
            yield self._decode(mels, draw, 0)
        else:
            yield from self._held(self._cutting(self.reach(draw.refine)), draw).all(
                mels.split(MAX_PIECE_FRAMES, dim=-1)
            )

    def _cutting(self, around: Reach, gather: int = 1) -> Pieces:
        """Pieces begin where a group of samples does, and so does what is decoded with them."""
        step = math.lcm(self.model.hop, self.model.group) // self.model.hop
        return Pieces(around.before, around.after, step=step, gather=gather)

    def _held(self, pieces: Pieces, draw: Sampling) -> Held[Tensor]:
        return Held(
            pieces,
            self.model.hop,
            decode=lambda mels, first: self._decode(mels, draw, first),
            join=partial(torch.cat, dim=-1),
        )

    @torch.inference_mode()
    @whole_float32()
    def _decode(self, mels: Tensor, draw: Sampling, first: int) -> Tensor:
        """Audio of mels [B, M, F] whose first frame is the clips' frame `first`."""
        noise = {seed: self._noise(seed, draw.sigma, first, mels.shape[-1]) for seed in set(draw.seeds)}
        latents = zip(*(noise[seed] for seed in draw.seeds), strict=True)
        zs = [torch.stack(latent).to(self.device) * draw.sigma for latent in latents]
        with self._numbers():
            sampled = self.model.decode(zs, mels)
        return self._refiner(sampled, mels, draw.refine) if self._refiner else sampled

    def _require_finite(self, audio: Tensor, mels: Tensor, check: bool) -> None:
        if check and not audio.isfinite().all():
            raise ValueError(
                f"the audio isn't finite: the mel's values, {float(mels.min()):.4g}..{float(mels.max()):.4g}, are more "
                f"than the model can compute with in {self.precision}; give a mel of the vocoder's convention"
            )

    def _noise(self, seed: int, sigma: float, first: int, frames: int) -> list[Tensor]:
        """What a seed draws for each latent, of so many frames from `first` on, before its factor sigma: [C_i, T_i]."""
        noise = []
        shapes = self.model.latent_shapes(frames * self.model.hop)
        for i, ((channels, places), base) in enumerate(zip(shapes, self.model.bases, strict=True)):
            start = first * places // frames
            noise.append(latent_noise(seed, i, channels, start, start + places, base=base, sigma=sigma))
        return [torch.from_numpy(z) for z in noise]

    @contextmanager
    def _numbers(self) -> Iterator[None]:
        """Half precision where the vocoder has it, else float32."""
        half = HALF.get(self.precision)
        with whole_float32(), torch.autocast(self.device.type, half, enabled=half is not None):
            yield


def _in_float32(model: FlowVocoder) -> FlowVocoder:
    """The model, or a copy where it has other floats, as of a global default of float64."""
    floats = {tensor.dtype for tensor in model.state_dict().values() if tensor.is_floating_point()}
    return model if floats <= {torch.float32} else copy.deepcopy(model).float()


def _floats(values: ArrayLike, what: str) -> Tensor:
    """In float32, of floats of any kind. Raises ValueError for other types."""
    if isinstance(values, Tensor):
        require_floats(values.dtype, what)
        return values.float()
    return torch.from_numpy(floats(values, what))
