"""Where the models are that come with the package."""

from __future__ import annotations

from pathlib import Path

VOICES = Path(__file__).parent.parent / "voices"
DEFAULT_VOICE = VOICES / "lapglow"
IMAGE_MODELS = VOICES.with_name("image_models")
DEFAULT_IMAGE_MODEL = IMAGE_MODELS / "demo-faces"
