"""The page about an evaluation: one HTML file with the table, audio, spectrograms and a blind test inside."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from waveglow.audio.files import utf8, write_atomically
from waveglow.audio.io import load_audio
from waveglow.audio.mel import MelSpec
from waveglow.evaluation import table
from waveglow.evaluation.rows import folder_of
from waveglow.evaluation.scores import SWEPT
from waveglow.evaluation.table import TRUTH, VOCODER, Results, mean_text
from waveglow.metrics import Take
from waveglow.pages import figures
from waveglow.pages.look import asset, data_url, page

CLIPS_WITH_PLAYERS = 40
CLIPS_OF_MANY = 12
PLAYER_SECONDS = 12
MEL_LIMITS = (-10.0, 1.0)  # nats, darkest and brightest, the same for all pictures
CAPTION_METRICS = ("pesq", "distillmos", "mr_stft")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 380, 240, 48, 14, 14, 40

BLIND_TEST = asset("blind_test.js")


def write_page(out: Path, results: Results) -> None:
    """Write `out`/index.html about results whose wavs lie below `out`. Raises OSError."""
    spec = MelSpec.from_dict(results["model"]["mel"])
    shown = clips_shown(results)
    title = f"How good is {Path(results['settings']['checkpoint']).name}?"
    sections = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(table.about_vocoder(results))}</p>",
        *(f"<p>{escape(line)}</p>" for line in table.differences(results) if line),
        _table(results),
        _notices(results),
        _sweep(results),
        _blind_test(results, shown),
        _players(out, results, shown, spec),
        _about(results),
    ]
    write_atomically(out / "index.html", utf8(page(title, sections, script=BLIND_TEST if shown else "")))


def clips_shown(results: Results) -> list[Mapping[str, Any]]:
    """The clips with players: all of up to 40, else 12 evenly spread from the vocoder's worst to its best.

    Worst and best by the first metric, PESQ where nothing else was asked for.
    """
    heard = [clip for clip in results["clips"] if VOCODER in clip["rows"]]
    if len(heard) <= CLIPS_WITH_PLAYERS:
        return heard
    metric = next(iter(results["metrics"]), None)
    ranked = sorted(heard, key=lambda clip: (_value(clip, VOCODER, metric), clip["clip"]))
    chosen = np.linspace(0, len(ranked) - 1, CLIPS_OF_MANY).round().astype(int)
    return [ranked[index] for index in chosen]


def _value(clip: Mapping[str, Any], row: str, metric: str | None) -> float:
    value = clip["rows"][row].get(metric)
    return float("-inf") if value is None else float(value)


def _table(results: Results) -> str:
    metrics = table.of_rows(results)
    head = "".join(
        f'<th scope="col" title="{escape(metric["about"], quote=True)}">{escape(metric["label"])} '
        f"{'↑' if metric['better'] == 'higher' else '↓'}<br><small>{escape(metric['unit'])}</small></th>"
        for metric in metrics.values()
    )
    lines = []
    for row, found in results["rows"].items():
        cells = (mean_text(found["scores"].get(name), metric["digits"]) for name, metric in metrics.items())
        label = escape(table.row_label(results, row))
        ours = ' class="ours"' if row == VOCODER else ""
        lines.append(f'<tr{ours}><th scope="row">{label}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>')
    return (
        f'<div class="scroll scores" tabindex="0"><table><thead><tr><th scope="col"></th>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _notices(results: Results) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in table.notices(results))
    return f"<details><summary>Notices</summary><ul>{items}</ul></details>" if items else ""


def _sweep(results: Results) -> str:
    sweep, metrics = results["sweep"], results["metrics"]
    names = [name for name in SWEPT if any(name in s["scores"] for s in sweep["sigmas"].values())]
    if not names:
        return ""
    charts = "".join(
        f"<figure><figcaption>{escape(metrics[name]['label'])} "
        f"({metrics[name]['better']} is better)</figcaption>{_chart(sweep['sigmas'], name, metrics[name])}</figure>"
        for name in names
    )
    n_clips = len(table.heard(results))
    which = f"{len(sweep['clips'])} of the {n_clips} clips, evenly spread over their names"
    if len(sweep["clips"]) == n_clips:
        which = "all clips"
    return (
        f'<h2>Spread of the noise</h2><p>Lower sigma is smoother and duller. Over {which}.</p><div class="charts">'
        f"{charts}</div>"
    )


def _chart(sigmas: Mapping[str, Any], name: str, metric: Mapping[str, Any]) -> str:
    """SVG of means against sigma, with their intervals."""
    points = [(float(sigma), found["scores"][name]) for sigma, found in sigmas.items()]
    points = [(sigma, score) for sigma, score in points if score["mean"] is not None]
    if not points:
        return "<p>No clip could be scored.</p>"
    spans = [(x, s["mean"], s["mean"] - (s["interval"] or 0), s["mean"] + (s["interval"] or 0)) for x, s in points]
    xs, ys = [x for x, *_ in spans], [y for _, *values in spans for y in values]
    x_axis = figures.Axis(*_padded(xs), LEFT, WIDTH - RIGHT)
    y_axis = figures.Axis(*_padded(ys), HEIGHT - BOTTOM, TOP)
    text = '<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>'
    parts = []
    for value, label in y_axis.ticks(5):
        y = y_axis.pixel(value)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="currentColor" stroke-opacity=".15"/>')
        parts.append(text.format(LEFT - 6, y + 4, "end", label))
    for value, label in x_axis.ticks(6):
        parts.append(text.format(x_axis.pixel(value), HEIGHT - BOTTOM + 16, "middle", label))
    parts.append(text.format((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "middle", "sigma"))
    line = " ".join(f"{x_axis.pixel(x):.1f},{y_axis.pixel(mean):.1f}" for x, mean, _, _ in spans)
    parts.append(f'<polyline points="{line}" fill="none" stroke="var(--blue)" stroke-width="2"/>')
    for x, mean, low, high in spans:
        at, spoken = x_axis.pixel(x), f"sigma {x:g}: {mean:.{metric['digits']}f}"
        parts.append(f'<path d="M{at:.1f} {y_axis.pixel(low):.1f}V{y_axis.pixel(high):.1f}" stroke="var(--blue)"/>')
        circle = f'cx="{at:.1f}" cy="{y_axis.pixel(mean):.1f}" r="4" fill="var(--blue)"'
        parts.append(f"<circle {circle}><title>{spoken}</title></circle>")
    label = escape(f"{metric['label']} against sigma", quote=True)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}" font-family="system-ui, sans-serif" '
        f'font-size="12" fill="currentColor">{"".join(parts)}</svg>'
    )


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or max(1e-3, 0.05 * abs(high))
    return low - margin, high + margin


def _blind_test(results: Results, shown: Sequence[Mapping[str, Any]]) -> str:
    if not shown:
        return ""
    rows = list(results["rows"])

    def select(part: str, label: str, chosen: str) -> str:
        options = "".join(f"<option{' selected' if row == chosen else ''}>{escape(row)}</option>" for row in rows)
        return f'<label>{label} <select data-part="{part}">{options}</select></label> '

    key = hashlib.sha256(repr([results["model"]["sha256"], results["settings"], len(shown)]).encode()).hexdigest()[:16]
    return f"""<h2>Blind test</h2><section id="blind" data-key="waveglow-evaluate-{key}" data-truth="{TRUTH}">
<p>Two takes of each clip without their names, in random order. The answers stay in this browser.</p>
<div data-part="setup">{select("first", "Compare", TRUTH)}{select("second", "with", VOCODER)}
<button type="button" data-part="begin">Begin</button></div>
<div data-part="trial" hidden><p data-part="question" role="status"></p>
<div class="takes"><figure><figcaption>A</figcaption><audio controls data-part="a" aria-label="A"></audio></figure>
<figure><figcaption>B</figcaption><audio controls data-part="b" aria-label="B"></audio></figure></div>
<p><button type="button" data-part="pick-a">A</button><button type="button" data-part="pick-b">B</button>
<button type="button" data-part="pick-none">Can’t tell</button></p></div>
<div data-part="result" hidden><p data-part="verdict" role="status"></p><details><summary>Your answers</summary>
<div class="scroll"><table><thead><tr><th scope="col">Clip</th><th scope="col">A was</th><th scope="col">B was</th>
<th scope="col">You chose</th></tr></thead><tbody data-part="answers"></tbody></table></div></details></div>
<button type="button" data-part="stop" hidden>Stop and reveal</button>
<button type="button" data-part="again" hidden>Begin again</button><p data-part="said" role="alert"></p>
<noscript>The blind test needs JavaScript; the rest of the page doesn’t.</noscript></section>"""


def _players(out: Path, results: Results, shown: Sequence[Mapping[str, Any]], spec: MelSpec) -> str:
    parts = ["<h2>Listen</h2>"]
    heard = table.heard(results)
    if len(shown) < len(heard):
        first = next(iter(results["metrics"].values()))["label"] if results["metrics"] else "name"
        parts.append(
            f"<p>{len(shown)} of the {len(heard)} clips, evenly spread from the vocoder’s worst to its best "
            f"by {escape(first)}; the table is over all of them.</p>"
        )
    for clip in shown:
        cards = "".join(_card(out, results, clip, row, spec) for row in results["rows"] if row in clip["rows"])
        parts.append(f'<h3>{escape(clip["clip"])}</h3><div class="takes">{cards}</div>')
    return "".join(parts)


def _card(out: Path, results: Results, clip: Mapping[str, Any], row: str, spec: MelSpec) -> str:
    """One take: its spectrogram, its player and the clip's own scores."""
    samples = load_audio(out / "wavs" / folder_of(row) / f"{clip['clip']}.wav").samples
    heard = samples[: PLAYER_SECONDS * spec.sample_rate]
    flac = io.BytesIO()
    soundfile.write(flac, heard, spec.sample_rate, format="FLAC", subtype="PCM_16")
    picture = figures.spectrogram_png(Take(heard, spec, group=1).log_mel, limits=MEL_LIMITS)
    scores = [
        f"{metric['label']} {clip['rows'][row][name]:.{metric['digits']}f}"
        for name in CAPTION_METRICS
        if (metric := results["metrics"].get(name)) and clip["rows"][row].get(name) is not None and row != TRUTH
    ]
    note = f", first {PLAYER_SECONDS} s" if len(heard) < len(samples) else ""
    name = escape(f"{row}, {clip['clip']}", quote=True)
    return (
        f"<figure><figcaption>{escape(row)}{note} <small>{escape(', '.join(scores))}</small></figcaption>"
        f'<img alt="Mel spectrogram: {name}" src="{data_url("image/png", picture)}">'
        f'<audio controls preload="none" aria-label="{name}" data-clip="{escape(clip["clip"], quote=True)}" '
        f'data-row="{escape(row, quote=True)}" src="{data_url("audio/flac", flac.getvalue())}"></audio></figure>'
    )


def _about(results: Results) -> str:
    items = "".join(f"<li>{escape(line.removeprefix('- '))}</li>" for line in table.definitions(results))
    facts = {**results["settings"], **results["machine"], **results["versions"], "weights": results["model"]["sha256"]}
    lines = "".join(f'<tr><th scope="row">{escape(k)}</th><td>{escape(str(v))}</td></tr>' for k, v in facts.items())
    return (
        f"<h2>How it was measured</h2><ul>{items}</ul><details><summary>Settings, machine and versions</summary>"
        f'<div class="scroll"><table><tbody>{lines}</tbody></table></div></details>'
    )
