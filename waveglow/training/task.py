"""What the engine must know of a kind of model: its batches, its loss, its validation, what to look at and listen to.

VocoderTask is speech given its mel; image_task.py has images. The engine sees only the protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from waveglow.audio.io import save_audio
from waveglow.audio.mel import MelSpec
from waveglow.audio.refine import Refinement
from waveglow.config import ConfigError
from waveglow.data.held_out import distinct_names, fingerprint, validated
from waveglow.data.manifest import Clip
from waveglow.data.sampler import stratum
from waveglow.data.speech import Example, SpeechCrops, require_trainable, whole_clip
from waveglow.flows.base import in_float64
from waveglow.flows.likelihood import HALF_LOG_2PI, bits_per_sample
from waveglow.flows.permute import InvertibleConv
from waveglow.models.bandwidth import filled
from waveglow.models.flow_vocoder import FlowVocoder
from waveglow.training.config import LossConfig, ValidConfig
from waveglow.training.distributed import World
from waveglow.training.layer_names import layer_names
from waveglow.training.log import RunLog
from waveglow.training.objective import LONGEST_FFT, VocoderObjective
from waveglow.vocoder import Vocoder

Batch = tuple[Tensor, ...]


@dataclass(frozen=True)
class Wording:
    """What a task's material is called in logs, messages and checkpoints.

    Arguments:
        sample: one of them, as in "a training clip can't be read".
        suspects: what to look for where a training diverges.
        rate: name in metrics.jsonl of how much material a second brings.
        source: the setting that says where the data are; their hash is kept under that name.
        lower: what to lower, beside train.batch_size, where memory is short.
    """

    sample: str
    suspects: str
    rate: str
    source: str
    lower: str


class Task(Protocol):
    """A kind of training, for any model that fits it."""

    @property
    def dataset(self) -> Dataset[Any]:
        """Training samples by number."""

    @property
    def spec(self) -> MelSpec | None:
        """The mel convention of the model's conditioning, if it has one."""

    @property
    def wording(self) -> Wording:
        """What the material is called."""

    @property
    def info(self) -> Mapping[str, Any]:
        """What checkpoints tell of the data."""

    def inputs(self, batch: Any) -> Batch:
        """The objective's arguments out of a collated batch."""

    def objective(self, model: nn.Module) -> nn.Module:
        """What is trained: a module that maps `inputs` to the terms of the loss, by name."""

    def loss(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Scalar loss from its terms."""

    def amount(self, batch: Batch) -> float:
        """How much material a batch holds, as `wording.rate` counts it."""

    def describe(self, numbers: Iterable[int]) -> str:
        """Names of training samples, for messages."""

    def validate(self, model: nn.Module, world: World) -> dict[str, float]:
        """Metrics on the held-out split; `nll_nats` is the one that counts, lower is better."""

    def show(self, model: nn.Module, run: Path, step: int, log: RunLog) -> dict[str, float]:
        """Pictures and sounds; returns what was counted in them, for the log."""


class VocoderTask:
    """Speech given its mel: maximum likelihood, with a spectral loss beside it where `loss` says so."""

    def __init__(
        self,
        clips: list[Clip],
        spec: MelSpec,
        *,
        segment_samples: int,
        seed: int,
        group: int,
        valid: ValidConfig,
        loss: LossConfig,
    ) -> None:
        if segment_samples % group:
            raise ConfigError(
                f"data.segment_samples is {segment_samples}; this model takes groups of {group} samples: set a "
                f"multiple, such as {max(1, round(segment_samples / group)) * group}"
            )
        if loss.mr_stft and segment_samples < LONGEST_FFT:
            raise ConfigError(
                f"data.segment_samples is {segment_samples}; loss.mr_stft needs data.segment_samples of at least "
                f"{LONGEST_FFT}"
            )
        require_trainable(clips, spec, multiple=group)
        train = [clip for clip in clips if clip.split == "train"]
        self.held_out = validated([clip for clip in clips if clip.split == "valid"], valid.clips)
        self.names = distinct_names(self.held_out)
        if not self.held_out:
            raise ConfigError("the manifest has no clips of the split 'valid'; make it with `waveglow prepare`")
        self.dataset = SpeechCrops(train, spec, segment_samples=segment_samples, seed=seed)
        self.spec = spec
        self.wording = Wording(
            sample="clip",
            suspects="silent or damaged clips",
            rate="audio_seconds_per_second",
            source="data.manifest",
            lower=f"data.segment_samples ({segment_samples})",
        )
        held_out = fingerprint(self.held_out, max_seconds=valid.max_seconds)
        self.info: Mapping[str, Any] = {**Refinement.usual(valid.refine).info(), "held_out": held_out}
        self.seed = seed
        self.group = group
        self.valid = valid
        self.loss_config = loss

    def inputs(self, batch: Example) -> Batch:
        """(audio [B, T], mel [B, M, F], bandwidth [B]), and where the loss asks for it the places of crops to judge.

        Those are spread evenly over the numbers of all samples, however processes and micro-batches divide them.
        """
        if not self.loss_config.mr_stft:
            return batch.audio, batch.mel, batch.bandwidth
        share = Fraction(self.loss_config.mr_stft_share).limit_denominator(1000)
        judged = [
            place for place, number in enumerate(torch.as_tensor(batch.number).tolist()) if stratum(number, share)[0]
        ]
        return batch.audio, batch.mel, batch.bandwidth, torch.tensor(judged, dtype=torch.long)

    def objective(self, model: nn.Module) -> nn.Module:
        """Likelihood, and spectral loss where the configuration asks for it."""
        assert isinstance(model, FlowVocoder)
        return VocoderObjective(model, self.loss_config, self.spec)

    def loss(self, terms: Mapping[str, Tensor]) -> Tensor:
        """−log p in nats per sample, plus the weighted spectral loss: distance to speech less that between samples."""
        weights, loss = self.loss_config, terms["nll_nats"]
        if weights.mr_stft:
            loss = loss + weights.mr_stft * terms["mr_stft"]
        if weights.mr_stft and weights.repulsion:
            loss = loss - weights.mr_stft * weights.repulsion * terms["mr_stft_between"]
        return loss

    def amount(self, batch: Batch) -> float:
        """Seconds of audio in a batch."""
        return batch[0].numel() / self.spec.sample_rate

    def describe(self, numbers: Iterable[int]) -> str:
        """Files of training samples."""
        return ", ".join(f"{self.dataset.clip_of(n).name} (sample {n})" for n in numbers)

    def _clip(self, place: int) -> Example:
        return whole_clip(
            self.held_out[place],
            self.spec,
            place=place,
            seed=self.seed,
            max_samples=round(self.valid.max_seconds * self.spec.sample_rate),
            multiple=self.group,
        )

    def _filled(self, model: FlowVocoder, place: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """A held-out clip as a batch of one on the device: (audio, mel, log-density of the bands that were filled)."""
        clip = self._clip(place)
        audio, mel, bandwidth = (x[None].to(device) for x in (clip.audio, clip.mel, clip.bandwidth))
        audio, lacking = filled(model, audio, mel, bandwidth)
        return audio, mel, lacking

    @torch.no_grad()
    def validate(self, model: nn.Module, world: World) -> dict[str, float]:
        """Exact held-out likelihood, whole clips one by one, every sample weighing the same.

        `nll_nats` and `nll_bits` are per sample; `loss_nvidia` is what NVIDIA's training script prints at σ = 1, which
        omits ½ log 2π; `log_det_nats` and `prior_nats` are the two parts of the log-likelihood, and `lacking_nats` is
        what is taken off for bands that narrow recordings lack (models/bandwidth.py). Where the manifest names corpora,
        `nll_nats/<corpus>` is that of each.
        """
        assert isinstance(model, FlowVocoder)
        corpora = sorted({clip.corpus or "" for clip in self.held_out})
        totals = torch.zeros(len(corpora), 5, dtype=torch.float64)
        for place in range(world.rank, len(self.held_out), world.size):
            audio, mel, lacking = self._filled(model, place, world.device)
            zs, log_det = model.encode(audio, mel)
            prior = model.prior_log_prob(zs)
            row = corpora.index(self.held_out[place].corpus or "")
            totals[row] += totals.new_tensor([float(prior), float(log_det), float(lacking), audio.shape[-1], 1])
        totals = world.sum(totals)
        prior_sum, log_det_sum, lacking_sum, samples, clips = totals.sum(0).tolist()
        by_corpus = ((totals[:, 2] - totals[:, 0] - totals[:, 1]) / totals[:, 3]).tolist()
        nll = (lacking_sum - prior_sum - log_det_sum) / samples
        return {
            "nll_nats": nll,
            "nll_bits": bits_per_sample(nll),
            "loss_nvidia": nll - HALF_LOG_2PI,
            "prior_nats": prior_sum / samples,
            "log_det_nats": log_det_sum / samples,
            "lacking_nats": lacking_sum / samples,
            "clips": int(clips),
            **{f"nll_nats/{name}": value for name, value in zip(corpora, by_corpus, strict=True) if name},
        }

    @torch.no_grad()
    def show(self, model: nn.Module, run: Path, step: int, log: RunLog) -> dict[str, float]:
        """Synthesize the first held-out clips; log the flow's inner life on the first of them."""
        assert isinstance(model, FlowVocoder)
        vocoder = Vocoder(model, self.spec, refine=self.valid.refine)
        for place in range(min(self.valid.listen, len(self.held_out))):
            audio, mel = self._clip(place)[:2]
            name = self.names[place]
            again = vocoder.synthesize(mel, sigma=self.valid.sigma, seed=place, check=False)[: len(audio)].cpu()
            again = again.nan_to_num().clamp(-1, 1)
            if not (run / "samples" / "reference" / f"{name}.wav").exists():
                self._keep(run / "samples" / "reference" / f"{name}.wav", audio, log)
                log.audio(f"{name}/real", audio, self.spec.sample_rate, 0)
                log.picture(f"{name}/real", brightness(mel), 0)
            self._keep(run / "samples" / f"step_{step:08d}" / f"{name}.wav", again, log)
            log.audio(f"{name}/synthesized", again, self.spec.sample_rate, step)
            log.picture(
                f"{name}/synthesized", brightness(vocoder.mel(again, self.spec.sample_rate, check=False).cpu()), step
            )
        audio, mel, _ = self._filled(model, 0, next(model.parameters()).device)
        with per_flow_log_dets(model) as log_dets:
            zs, _ = model.encode(audio, mel)
        log_dets = {f"log_det_per_sample/{name}": nats / audio.shape[-1] for name, nats in log_dets.items()}
        show_flow(log, step, model=model, log_dets=log_dets, zs=zs)
        return {}

    def _keep(self, path: Path, audio: Tensor, log: RunLog) -> None:
        def write() -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_audio(path, audio.numpy(), self.spec.sample_rate)

        log.safely(write)


def brightness(mel: Tensor) -> Tensor:
    """Log-mel [M, F] as values in 0..1, low frequencies at the bottom."""
    low, high = mel.min(), mel.max()
    return (mel.flip(0) - low) / (high - low).clamp(min=1e-6)


def show_flow(log: RunLog, step: int, *, model: nn.Module, log_dets: Mapping[str, float], zs: Iterable[Tensor]) -> None:
    """Log-determinants of the layers, condition numbers of the 1×1 convolutions, histograms of the latents."""
    for name, value in log_dets.items():
        log.scalar(name, value, step)
    for name, number in condition_numbers(model).items():
        log.scalar(f"condition_number/{name}", number, step)
    for i, z in enumerate(zs):
        log.histogram(f"latent/{i}", z, step)


@contextmanager
def per_flow_log_dets(model: nn.Module) -> Iterator[dict[str, float]]:
    """Within it, the log-determinants of every flow layer that runs, by `layer_names` (batch mean, nats)."""
    values: dict[str, float] = {}

    def keeper(name: str) -> Callable[[nn.Module, Any, tuple[Tensor, Tensor]], None]:
        def keep(_: nn.Module, __: Any, output: tuple[Tensor, Tensor]) -> None:
            values[name] = float(output[1].mean())

        return keep

    hooks = [layer.register_forward_hook(keeper(name)) for layer, name in layer_names(model).items()]
    try:
        yield values
    finally:
        for hook in hooks:
            hook.remove()


def condition_numbers(model: nn.Module) -> dict[str, float]:
    """Condition number of each invertible 1×1 convolution: how much its inverse magnifies rounding errors."""
    return {
        name: float(torch.linalg.cond(in_float64(layer.matrix())))
        for layer, name in layer_names(model).items()
        if isinstance(layer, InvertibleConv)
    }
