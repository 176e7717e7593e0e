"""The package's name for pip, which isn't the one to import it by: PyPI's `waveglow` is somebody else's."""

from __future__ import annotations

DISTRIBUTION = "waveglow-vocoders"


def install_hint(extra: str) -> str:
    """The command that installs the package with an extra of pyproject.toml.

    >>> install_hint("eval")
    "pip install 'waveglow-vocoders[eval]'"
    """
    return f"pip install '{DISTRIBUTION}[{extra}]'"


# What pip brings and an install for ONNX alone goes without, by the names that are imported.
HEAVY = ("PIL", "auraloss", "filelock", "librosa", "scipy", "tensorboard", "torch")

# What comes with an extra alone, where no sentence is said nearer to its use.
EXTRAS = dict.fromkeys(("prometheus_client", "starlette", "uvicorn", "websockets"), "serve")


def how_to_get(module: str | None) -> str | None:
    """What to say where one of those is not there; None for any other module, whose absence is a fault of ours.

    >>> how_to_get("torch._C")
    "needs torch, which is not installed: pip install waveglow-vocoders (without a GPU: torch's own CPU wheels first)"
    """
    package = (module or "").partition(".")[0]
    if package in EXTRAS:
        return f"needs {package}, which is not installed: {install_hint(EXTRAS[package])}"
    if package not in HEAVY:
        return None
    first = " (without a GPU: torch's own CPU wheels first)" if package == "torch" else ""
    return f"needs {package}, which is not installed: pip install {DISTRIBUTION}{first}"
