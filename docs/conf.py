"""The site: MyST Markdown by Sphinx, notebooks run by the build, reference pages written by generate.py. No network."""

from __future__ import annotations

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # for generate.py
sys.path.insert(0, str(HERE.parent))  # the package of this tree, installed or not

import generate  # noqa: E402
import links  # noqa: E402

from waveglow import __version__  # noqa: E402

project = "waveglow"
author = "the waveglow authors"
copyright = "the waveglow authors, Apache-2.0"
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]
smartquotes = False  # options begin with two hyphens
default_role = "literal"  # docstrings write `name` as Markdown does

# ---- Markdown and notebooks ----
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build" / "notebooks")
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True
nb_render_markdown_format = "myst"  # tables
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # no notebook has widgets; the default would fetch scripts

# ---- API ----
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

# ---- Pages ----
html_theme = "furo"
html_title = f"waveglow {release}"
html_static_path = ["_static", "../audio_samples"]  # the recordings with their credits
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
copybutton_exclude = ".linenos, .gp, .go"

generate.write(HERE)


def plain(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings are plain text with `code`: signs that mean something else to reStructuredText are escaped."""
    lines[:] = [line if line.lstrip().startswith((">>>", "...")) else _escaped(line) for line in lines]


def _escaped(line: str) -> str:
    line = re.sub(r"^(\s*[A-Z])\. ", r"\1\\. ", line)  # an author's initial begins no list
    parts = re.split(r"(``?[^`]*``?)", line)
    return "".join(part if i % 2 else re.sub(r"([*|]|(?<=\w)_(?!\w))", r"\\\1", part) for i, part in enumerate(parts))


def setup(app: object) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", plain, priority=100)  # type: ignore[attr-defined]  # before napoleon
    app.connect("source-read", links.on_page)  # type: ignore[attr-defined]
    app.connect("include-read", links.on_include)  # type: ignore[attr-defined]
