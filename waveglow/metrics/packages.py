"""The packages that some metrics are made of: imported where used, named where missing, kept quiet, never trusted to
raise what they should."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import logging
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from waveglow.distribution import install_hint

Samples = npt.NDArray[np.float32]
Score = Callable[[Samples, Samples], float]


class MissingPackageError(ValueError):
    """A package of a metric that isn't there or can't be loaded; the message says what to install."""


def required(module: str, *, distribution: str | None = None, extra: str = "eval") -> Any:
    """The imported module, which `extra` of pyproject.toml installs. Raises MissingPackageError.

    `distribution` is its name for pip where that differs.
    """
    name = distribution or module.partition(".")[0]
    try:
        with quiet():
            return importlib.import_module(module)
    except Exception as error:  # a broken package raises anything: ImportError, OSError, RuntimeError, …
        why = "is not installed" if isinstance(error, ModuleNotFoundError) else f"can't be loaded ({error})"
        raise MissingPackageError(f"{name} {why}; {install_hint(extra)}") from error


COMPILING = ("core.pitch", "core.spectrum", "feature.spectral", "sequence", "util")  # what is used of librosa


def librosa() -> Any:
    """librosa; where numba can write neither beside it nor in a home, its functions are compiled without a cache.

    numba stops then, as soon as a decorator that asks for a cache runs: while the modules are imported.
    """
    package, numba = importlib.import_module("librosa"), importlib.import_module("numba")
    try:
        numba.jit(cache=True)(package.version.show_versions)  # which compiles nothing yet
    except RuntimeError:  # "cannot cache function …: no locator available for file …"
        decorators = {name: getattr(numba, name) for name in ("jit", "njit", "vectorize", "guvectorize")}
        try:
            for name, decorator in decorators.items():
                setattr(numba, name, _without_cache(decorator))
            for module in COMPILING:
                importlib.import_module(f"librosa.{module}")
        finally:
            for name, decorator in decorators.items():
                setattr(numba, name, decorator)
    return package


def _without_cache(decorator: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *given, **options: decorator(*given, **{**options, "cache": False})


def version_of(distribution: str) -> str:
    """Version of an installed distribution, "" where there is none."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def guarded(score: Score) -> Score:
    """`score` that raises ValueError, whatever the package raises, and also where its result is no finite number."""

    def guarded_score(reference: Samples, output: Samples) -> float:
        try:
            with quiet():
                value = float(score(reference, output))
        except Exception as error:
            reason = error.args[0] if error.args else ""
            reason = reason.decode(errors="replace") if isinstance(reason, bytes) else str(error)
            raise ValueError(reason or type(error).__name__) from error
        if not math.isfinite(value):
            raise ValueError(f"the score is {value}")
        return value

    return guarded_score


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what packages print, log below an error, and warn of."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """`quiet`, and the process's own stderr closed too: for libraries that write to it from C."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        with quiet():
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
