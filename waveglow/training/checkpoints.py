"""A run's checkpoints: the newest few to go on from, and the best one to use."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from waveglow.audio.mel import MelSpec
from waveglow.models import checkpoint
from waveglow.models.whole_directory import is_whole
from waveglow.training.state import TrainState, best_info, load_state, require_same, save_state, set_aside, supersede


class RunCheckpoints:
    """Saves and restores the state of a run.

    Arguments:
        run: the run's directory.
        state: what is saved and filled.
        model_config, mel_spec: of the model, as every checkpoint has them.
        info: what checkpoints tell of the data.
        fixed: settings that a resumed run must share with the checkpoint.
        keep: how many checkpoints stay.
    """

    def __init__(
        self,
        run: Path,
        state: TrainState,
        *,
        model_config: Mapping[str, Any],
        mel_spec: MelSpec | None,
        info: Mapping[str, Any],
        fixed: Mapping[str, Any],
        keep: int,
    ) -> None:
        self.run, self.state = run, state
        self.model_config, self.mel_spec = dict(model_config), mel_spec
        self.info, self.fixed, self.keep = info, fixed, keep
        self.best_nll_nats = _best_so_far(run)

    def resume(self, directory: Path, *, may_differ: Collection[str] = (), advice: Mapping[str, str] = {}) -> None:
        """Fill the state from a checkpoint, which may have other values of some of the `fixed` settings.

        `advice` is what a refusal says beside, by the setting's name.

        Raises CheckpointError where it is another run's.
        """
        fixed = {name: value for name, value in self.fixed.items() if name not in may_differ}
        require_same(directory, model_config=self.model_config, mel_spec=self.mel_spec, fixed=fixed, advice=advice)
        load_state(directory, self.state)

    def supersede_newer(self) -> None:
        """Set aside what the run learned after the step of its state. Raises OSError."""
        supersede(self.run, self.state.step)
        self.best_nll_nats = _best_so_far(self.run)

    def save(self) -> None:
        """Write the state. Raises OSError where the disk refuses; the older checkpoints are left then."""
        best = self.best_nll_nats if math.isfinite(self.best_nll_nats) else None
        save_state(
            self.run,
            self.state,
            model_config=self.model_config,
            mel_spec=self.mel_spec,
            info={"step": self.state.step, "best_nll_nats": best, **self.info},
            fixed=self.fixed,
            keep=self.keep,
        )

    def keep_best(self, metrics: Mapping[str, float]) -> None:
        """Write the averaged weights where their held-out likelihood is the best so far. Raises OSError."""
        if not -math.inf < metrics["nll_nats"] < self.best_nll_nats:
            return
        checkpoint.save(
            self.run / "best",
            self.state.average.module,
            self.model_config,
            mel_spec=self.mel_spec,
            info={"step": self.state.step, **metrics, **self.info},
        )
        self.best_nll_nats = metrics["nll_nats"]

    def last_good(self, fault: Callable[[], str]) -> str:
        """Name of the newest checkpoint in which `fault` finds nothing, "the start" before the first.

        Newer ones that are bad are set aside as `*.diverged`, so that a run goes on from this one; the state becomes
        that of what was tried last.
        """
        for directory in reversed(checkpoint.steps_of(self.run)):
            if not is_whole(directory):
                continue
            load_state(directory, self.state)
            if not fault():
                return directory.name
            set_aside(directory, "diverged")
        return "the start"


def _best_so_far(run: Path) -> float:
    """Held-out NLL of the run's best checkpoint, infinite where there is none."""
    return float(best_info(run).get("nll_nats", math.inf))
