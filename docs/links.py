"""Links of Markdown pages of the repository, for a reader of the site.

A link to a file of the repository leads to the page that shows that file, where there is one; any other file of the
repository becomes its path. Links that lead nowhere are errors: Sphinx warns of them, and the build takes no warnings.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
SHOWN = {  # files of the repository, and the pages that include them
    "recipes/ljspeech/README.md": "recipes/ljspeech",
    "recipes/openvoices/README.md": "recipes/openvoices",
    "recipes/celeba/README.md": "recipes/celeba",
    "recipes/openvoices/EXPERIMENTS.md": "why/experiments",
    "recipes/celeba/RESULTS.md": "why/experiments-images",
    "audio_samples/reference/README.md": "recordings",
    "audio_samples/README.md": "recordings",
    "README.md": "index",
}
LINK = re.compile(r"(?<!!)\[([^\]\[]+)\]\((?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")


def for_the_site(text: str, source: Path) -> str:
    """The Markdown of a file of the repository with its links as above."""

    def replaced(link: re.Match[str]) -> str:
        words, target, anchor = link[1], link[2], link[3] or ""
        if target.startswith("/"):
            return link[0]
        path = Path(os.path.normpath(source.parent / target))
        inside = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""
        if inside in SHOWN:
            return f"[{words}](/{SHOWN[inside]}.md{anchor})"
        if path.is_relative_to(DOCS) or not path.exists():
            return link[0]
        return f"`{inside}`" if words.strip("`") in (target, inside, path.name) else f"{words} (`{inside}`)"

    return LINK.sub(replaced, text)


def on_page(app: object, docname: str, source: list[str]) -> None:
    """Sphinx's event source-read."""
    source[0] = for_the_site(source[0], DOCS / f"{docname}.md")


def on_include(app: object, relative_path: Path, docname: str, source: list[str]) -> None:
    """Sphinx's event include-read."""
    source[0] = for_the_site(source[0], DOCS / relative_path)
