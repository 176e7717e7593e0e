"""The card of a model on the hub: what it is, whose, how good, and how to load it, for people and for the hub's search.

The YAML before it is the hub's "model card metadata", its `model-index` the scores. They are read from the tables of
`waveglow evaluate` in the card that a checkpoint has, and from what the checkpoint tells of itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from waveglow.models.checkpoint import Checkpoint
from waveglow.models.registry import Model

_OWN_LICENCE = re.compile(r"released under\s+([A-Za-z][A-Za-z-]*-[\d.]*\d)")
_TABLE = re.compile(r"^(?:([^\n|]+):\n\n)?(\|[^\n]*\|\n\| ---[^\n]*\n(?:\|[^\n]*\n)+)\n?([^\n]*)", re.M)
_NLL = re.compile(r"NLL (\S+) ± \S+ nats per sample")
_TASKS = {"vocoder": ("audio-to-audio", "Copy-synthesis"), "image": ("unconditional-image-generation", "Density")}


def card(loaded: Checkpoint[Model], repository: str, *, own: str, licence: str | None, data: str | None) -> str:
    """The card of a checkpoint for `repository`, org/name.

    Arguments:
        own: the card that it has, which is kept; "" is none.
        licence: of the weights, as the hub names it; None is that which `own` names.
        data: a sentence on what they were trained on, for a card that is made anew.

    Raises ValueError where no licence is known, and for one that `own` can contradict.
    """
    if own.startswith("---\n"):  # somebody's own, whole
        if licence is not None:
            raise ValueError(f"{loaded.path}: its card has metadata of its own; change them, and leave --license out")
        return own
    body = own.rstrip() or _about(loaded, repository, data)
    metadata = {
        "license": _licence(loaded, own, licence),
        "library_name": "waveglow",
        "pipeline_tag": _task(loaded)[0],
        "tags": ["waveglow", "normalizing-flow", *(["vocoder", "speech"] if loaded.mel_spec else ["glow"])],
        "model-index": [{"name": repository.partition("/")[2], "results": results(loaded, own)}],
    }
    head = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{head}---\n\n{body}\n\n{_loading(loaded, repository)}{_mel(loaded)}"


def results(loaded: Checkpoint[Model], own: str) -> list[dict[str, Any]]:
    """Entries of the hub's `model-index`: the vocoder's row of each table in a card, and the held-out likelihood."""
    kind, name = _task(loaded)
    found = [(title, dict(_scores(table, below))) for title, table, below in _TABLE.findall(own)]
    held_out = {key: loaded.info[key] for key in ("nll_nats", "bits_per_dim") if _is_number(loaded.info.get(key))}
    return [
        {
            "task": {"type": kind, "name": name},
            "dataset": {"name": title or "recordings", "type": "recordings" if loaded.mel_spec else "images"},
            "metrics": [{"type": _slug(label), "name": label, "value": value} for label, value in scores.items()],
        }
        for title, scores in [*found, ("held out while training", held_out)]
        if scores
    ]


def _scores(table: str, below: str) -> Iterator[tuple[str, float]]:
    """(label, mean) of the vocoder in a table of `waveglow evaluate`, and the likelihood in the line below it."""
    head, _, *rows = ([cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines())
    for row in rows:
        if row[0] == "vocoder" or row[0].startswith("vocoder ("):
            means = ((label.rstrip(" ↑↓"), _number(cell)) for label, cell in zip(head, row, strict=True))
            yield from ((label, mean) for label, mean in means if mean is not None)
    if nll := _NLL.search(below):
        yield "NLL, nats per sample", float(nll[1].replace("−", "-"))


def _number(cell: str) -> float | None:
    """3.91 of `3.91 ± 0.04`."""
    number = re.match(r"[−-]?\d[\d.]*(?= |$)", cell)
    return float(number[0].replace("−", "-")) if number else None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _slug(label: str) -> str:
    return re.sub("[^a-z0-9]+", "_", label.lower()).strip("_")


def _task(loaded: Checkpoint[Model]) -> tuple[str, str]:
    return _TASKS["vocoder" if loaded.mel_spec else "image"]


def _licence(loaded: Checkpoint[Model], own: str, given: str | None) -> str:
    named = given or next(iter(_OWN_LICENCE.findall(own)), None)
    if named is None:
        raise ValueError(
            f"{loaded.path}: says nothing of its licence; give --license, such as cc-by-4.0 (weights that began as "
            "lapglow's are cc-by-sa-3.0)"
        )
    return str(named).lower()


def _about(loaded: Checkpoint[Model], repository: str, data: str | None) -> str:
    step = loaded.info.get("step")
    trained = f" of {step:,} steps" if isinstance(step, int) else ""
    parameters = sum(p.numel() for p in loaded.model.parameters())
    kind = "flow vocoder" if loaded.mel_spec else "flow of images"
    return f"""# {repository.partition("/")[2]}

A {kind} ({loaded.model_config["name"]}, {parameters:,} parameters{trained}), trained with waveglow.

**Data.** {data or "Not described by whoever sent it."}"""


def _loading(loaded: Checkpoint[Model], repository: str) -> str:
    """How to load it, in two lines."""
    if loaded.mel_spec is None:
        return f"## Load it\n\n    waveglow image sample -c hf:{repository} samples.png\n"
    return f"""## Load it

After `pip install 'waveglow-vocoders[hub]'`:

```python
import waveglow
voc = waveglow.load("hf:{repository}")
```

Then `audio = voc.synthesize(mel)`, of a mel `[{loaded.mel_spec.n_mels}, F]` of this convention:
"""


def _mel(loaded: Checkpoint[Model]) -> str:
    """The mel convention as a table."""
    if loaded.mel_spec is None:
        return ""
    rows = [f"| {name} | {value} |" for name, value in loaded.mel_spec.to_dict().items() if value is not None]
    return "\n".join(["", "| | |", "|---|---|", f"| fingerprint | {loaded.mel_spec.fingerprint} |", *rows, ""])
