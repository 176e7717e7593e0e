"""What the pages about training runs share: reading metrics.jsonl, a verdict, curves and tables."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from waveglow.pages.figures import line_chart_svg
from waveglow.training.log import number, read_metrics

NEEDED_FOR_TREND = 4
MEDIAN_OF_NORMAL = 0.6745  # of |x|, x ~ N(0, 1)
STANDARD_ERRORS = 3.0  # not 2: the scatter is itself estimated, from as few as four points

Record = Mapping[str, Any]


def records_of(path: Path) -> list[Record]:
    """The lines of `path` that have a step.

    Raises ValueError if the file is missing or no line tells of training or validation.
    """
    if not path.is_file():
        raise ValueError(f"{path}: can't be read (no such file); is this the directory of a run?")
    records: list[Record] = [*read_metrics(path)]
    if not any(record.get("kind") in ("train", "valid") for record in records):
        raise ValueError(f"{path}: holds no line of training or validation yet; the first comes with the first log")
    return records


def by_step(records: Iterable[Record], kind: str) -> list[Record]:
    """Records of one kind in order of step; where a resumed run passed a step again, the newer one."""
    newest = {record["step"]: record for record in records if record.get("kind") == kind}
    return [newest[step] for step in sorted(newest)]


def points_of(records: Iterable[Record], key: str) -> list[tuple[float, float]]:
    """(step, value) of each record that has a finite value."""
    return [(float(record["step"]), value) for record in records if (value := number(record, key)) is not None]


def trend(points: Sequence[tuple[float, float]]) -> str:
    """A sentence on whether held-out NLL, (step, nats) in order of step, still falls.

    The slope of the least-squares line through the last third (at least four points) counts if it is over three times
    its standard error.
    """
    if len(points) < NEEDED_FOR_TREND:
        return f"Too few validations to say: {len(points)}, and {NEEDED_FOR_TREND} are needed."
    steps, nats = np.array(points[-max(NEEDED_FOR_TREND, math.ceil(len(points) / 3)) :]).T
    thousands = (steps - steps.mean()) / 1000
    slope = float(thousands @ (nats - nats.mean()) / (thousands @ thousands))
    residual = nats - nats.mean() - slope * thousands
    error = math.sqrt(float(residual @ residual / (len(nats) - 2) / (thousands @ thousands)))
    span = f"over the last {len(nats)} validations (steps {steps[0]:,.0f} to {steps[-1]:,.0f})"
    rate = f"{abs(slope):.2g} ± {error:.1g} nats per 1000 steps {span}"
    best_step, best = min(points, key=lambda point: point[1])
    if abs(slope) <= STANDARD_ERRORS * error and (rise := _rise(points)):
        return (
            f"Getting worse (overfitting): held-out NLL has been {rise:.2g} nats above its lowest, {best:.3f}, since. "
            f"Use the best checkpoint, step {best_step:,.0f}."
        )
    if abs(slope) <= STANDARD_ERRORS * error:
        direction = "falls" if slope < 0 else "rises"
        return f"Flat: held-out NLL {direction} by {rate}, which its scatter may explain."
    if slope < 0:
        return f"Improving: held-out NLL falls by {rate}. Training on should help."
    return f"Getting worse (overfitting): held-out NLL rises by {rate}. Use the best checkpoint, step {best_step:,.0f}."


def _rise(points: Sequence[tuple[float, float]]) -> float:
    """How far (step, nats) have lain above their lowest since it came, 0.0 where their scatter may explain that.

    The scatter is that of second differences, which a trend hardly moves: of all, or up to the lowest point.
    """
    nats = np.array(points)[:, 1]
    lowest = int(nats.argmin())
    since, before = nats[lowest + 1 :], nats[: lowest + 1]
    if len(since) < 2 or since[-1] < since[0]:
        return 0.0
    scatter = min(_scatter(part) for part in (nats, before) if len(part) >= NEEDED_FOR_TREND)
    of_chance = math.sqrt(2 * math.log(len(nats)))  # the lowest of so many lies at most about that far below the mean
    rise = float(since.mean() - nats[lowest])
    return rise if rise > (STANDARD_ERRORS + of_chance) * scatter else 0.0


def _scatter(nats: Any) -> float:
    return float(np.median(np.abs(np.diff(nats, 2)))) / (MEDIAN_OF_NORMAL * math.sqrt(6))


def verdict(nll: Sequence[tuple[float, float]]) -> str:
    """What `trend` says, and whether there are better weights than the newest, as a section."""
    said = trend(nll)
    best = min(nll, key=lambda point: point[1], default=(0.0, 0.0))
    if nll and nll[-1][1] > best[1]:
        said += f" The best weights, of step {best[0]:,.0f}, are in best/: take them with -c RUN/best, not -c RUN."
    return f'<h2>Is it still improving?</h2><p class="verdict">{escape(said)}</p>'


def curves(series: Mapping[str, Sequence[tuple[float, float]]], *, y_label: str) -> str:
    """Section with the loss against the step."""
    if not any(series.values()):
        return "<h2>Loss</h2><p>No finite loss was logged.</p>"
    return "<h2>Loss</h2>" + line_chart_svg(series, x_label="step", y_label=y_label)


def tiles(items: Iterable[tuple[str, str, str]], remark: str) -> str:
    """Numbers in large print, each (label, number, what it is of), and a remark below."""
    cells = (f"<div><dt>{escape(a)}</dt><dd>{escape(b)}<small>{escape(c)}</small></dd></div>" for a, b, c in items)
    return f'<dl class="tiles">{"".join(cells)}</dl><p>{escape(remark)}</p>'


def progress(records: Sequence[Record], train: Sequence[Record], valid: Sequence[Record]) -> list[tuple[str, str, str]]:
    """Tiles of any run: how fast, and how long."""
    hours = f"{trained_seconds(records) / 3600:.2f} h"
    return [
        ("Step rate", shown(step_rate(train[-20:]), "steps/s"), "over the last log lines"),
        ("Trained", hours, f"to step {max(record['step'] for record in [*train, *valid]):,.0f}"),
    ]


def shown(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{value:.3g} {unit}"


def median(records: Iterable[Record], key: str) -> float | None:
    values = [value for _, value in points_of(records, key)]
    return float(np.median(values)) if values else None


def trained_seconds(records: Iterable[Record]) -> float:
    """Sum of what `elapsed_seconds`, the time a run has lasted at a line of training, rises from line to line.

    Where a resumed run counts from zero, or from its checkpoint's time, that fall adds nothing.
    """
    seconds = [
        value for record in records if record.get("kind") == "train" and (value := number(record, "elapsed_seconds"))
    ]
    return sum(max(0.0, after - before) for before, after in itertools.pairwise([0.0, *seconds]))


def step_rate(train: Sequence[Record]) -> float | None:
    """Steps a second between lines of training whose clock ran on."""
    points = points_of(train, "elapsed_seconds")
    moves = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(points) if b[1] > a[1]]
    return sum(steps for steps, _ in moves) / sum(seconds for _, seconds in moves) if moves else None


def validations(valid: Sequence[Record], columns: Mapping[str, str]) -> str:
    """Table of all validations: `columns`, by key and heading, first, then what else has numbers."""
    if not valid:
        return ""
    others = sorted({key for record in valid for key in record if number(record, key) is not None} - set(columns))
    keys = [*columns, *others]
    head = "".join(f'<th scope="col">{escape(columns.get(key, key))}</th>' for key in keys)
    rows = "".join(f"<tr>{''.join(f'<td>{cell(record, key)}</td>' for key in keys)}</tr>" for record in valid)
    return (
        '<h2>Validations</h2><div class="scroll" tabindex="0">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def cell(record: Record, key: str) -> str:
    value = number(record, key)
    if value is None:
        return escape(str(record.get(key, "–")))
    return f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"


def events(records: Iterable[Record]) -> str:
    items = [
        f"<li>Step {cell(record, 'step')}: {escape(str(record.get('what', '–')))}</li>"
        for record in records
        if record.get("kind") == "event"
    ]
    return f'<h2>Events</h2><div class="scroll" tabindex="0"><ul>{"".join(items)}</ul></div>' if items else ""


def config(path: Path) -> str:
    if not path.is_file():
        return ""
    text = path.read_text(encoding="utf-8", errors="replace")
    return f"<h2>Configuration</h2><details><summary>{path.name}</summary><pre>{escape(text)}</pre></details>"
