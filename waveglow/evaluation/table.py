"""The words and tables of an evaluation: what evaluation.md says, and the page says again.

`results` is the content of evaluation.json.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from waveglow.metrics import METRICS

TRUTH, GRIFFIN_LIM, VOCODER = "ground truth", "Griffin-Lim", "vocoder"
REFINED_NOISE, UNREFINED, AGAINST = "refined noise", "vocoder, not refined", "against"

Results = dict[str, Any]


def markdown(results: Results) -> str:
    """The table, and what must be said of it."""
    shown = of_rows(results)
    head = ["", *(f"{metric['label']} {'↑' if metric['better'] == 'higher' else '↓'}" for metric in shown.values())]
    lines = [_line(head), _line(["---", *["---:"] * len(shown)])]
    for row, found in results["rows"].items():
        cells = [mean_text(found["scores"].get(name), metric["digits"]) for name, metric in shown.items()]
        lines.append(_line([row_label(results, row), *cells]))
    return "\n".join([*lines, "", about_vocoder(results), "", *differences(results), *definitions(results)])


def differences(results: Results) -> list[str]:
    """How the vocoder differs from the one that it was set against, clip by clip: a list, an empty line behind it."""
    against = results.get("against")
    if not against:
        return []
    lines = [f"The vocoder less {against['checkpoint']}, clip by clip, ± 95 % intervals:", ""]
    for name, found in against["paired"].items():
        sign = "+" if (found["mean"] or 0) > 0 else ""
        text = f"{sign}{mean_text(found, METRICS[name].digits)}"
        lines.append(f"- {METRICS[name].label}: {text}, better on {found['better']} of {found['n']} clips")
    return [*lines, ""]


def of_rows(results: Results) -> dict[str, Any]:
    """The metrics of the table: those that every row has."""
    return {name: metric for name, metric in results["metrics"].items() if METRICS[name].load}


def heard(results: Results) -> list[dict[str, Any]]:
    """The clips whose recordings could be read."""
    return [clip for clip in results["clips"] if clip["rows"]]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def row_label(results: Results, row: str) -> str:
    """Its name, and how many clips it has where that isn't all."""
    n, most = results["rows"][row]["clips"], len(heard(results))
    return row if n == most else f"{row} ({n} of {most} clips)"


def mean_text(score: Mapping[str, Any] | None, digits: int) -> str:
    """`3.21 ± 0.05`."""
    if score is None or score["mean"] is None:
        return "–"
    interval = "" if score["interval"] is None else f" ± {score['interval']:.{digits}f}"
    return f"{score['mean']:.{digits}f}{interval}".replace("-", "−")


def about_vocoder(results: Results) -> str:
    """A sentence on the clips and one on the vocoder."""
    settings, scores = results["settings"], results["rows"][VOCODER]["scores"]
    name = Path(settings["checkpoint_found"]).name
    facts = [
        name,
        f"{results['model']['parameters']:,} parameters",
        f"sigma {settings['sigma']:g}, seed {settings['seed']}",
        *([f"{settings['refine']} steps of refinement"] if settings["refine"] else []),
    ]
    if "nll" in scores:
        facts.append(f"NLL {mean_text(scores['nll'], METRICS['nll'].digits)} nats per sample")
    if "rtf" in scores:
        facts.append(f"real-time factor {mean_text(scores['rtf'], METRICS['rtf'].digits)} on {_where(results)}")
    clips = heard(results)
    seconds = sum(clip["seconds"] for clip in clips)
    return f"{len(clips)} clips, {seconds:.1f} s; means ± their 95 % intervals. The vocoder: {'; '.join(facts)}."


def _where(results: Results) -> str:
    """What the vocoder ran on."""
    machine, settings = results["machine"], results["settings"]
    threads = f"{settings['threads']} thread" + "s" * (settings["threads"] > 1)
    device = f"{machine['processor']}, {threads}" if machine["device"] == "cpu" else machine["device"]
    return f"{device}, {settings['precision']}"


def definitions(results: Results) -> list[str]:
    """A list item for each metric."""
    return [
        f"- {metric['label']}{', ' + metric['unit'] if metric['unit'] else ''}: {metric['about']}"
        + (f" ({metric['package']})" if metric["package"] else "")
        for metric in results["metrics"].values()
    ]


def notices(results: Results) -> list[str]:
    """What a reader of the table should know: what failed, is missing, or couldn't be scored."""
    lines = [f"{note['row']}, {note['clip']}: {note['reason']}" for note in results["failed"]]
    for row, missing in results["missing"].items():
        if missing:
            lines.append(f"{row} has no {', '.join(missing)}")
    for row, found in results["rows"].items():
        for name, score in found["scores"].items():
            if score["unscored"]:
                reasons = [n["reason"] for n in results["unscored"] if (n["row"], n["metric"]) == (row, name)]
                lines.append(f"{row}: {score['unscored']} clips without {METRICS[name].label} (first: {reasons[0]})")
    for clip in results["clips"]:
        lines += [f"{clip['clip']}: {notice}" for notice in clip["notices"]]
    return lines
