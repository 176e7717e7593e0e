"""The package's name for pip, which isn't the one to import it by: PyPI's `waveglow` is somebody else's."""

from __future__ import annotations

DISTRIBUTION = "waveglow-vocoders"


def install_hint(extra: str) -> str:
    """The command that installs the package with an extra of pyproject.toml.

    >>> install_hint("eval")
    "pip install 'waveglow-vocoders[eval]'"
    """
    return f"pip install '{DISTRIBUTION}[{extra}]'"
