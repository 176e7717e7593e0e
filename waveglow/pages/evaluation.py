"""The page of `waveglow evaluate`: one HTML file with the table, audio, spectrograms and a blind test inside.

It needs no network: its one script is written out below and allowed by its hash, everything else is data.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from waveglow.audio.files import write_atomically
from waveglow.audio.io import load_audio
from waveglow.audio.mel import MelSpec
from waveglow.evaluation import table
from waveglow.evaluation.rows import folder_of
from waveglow.evaluation.scores import SWEPT
from waveglow.evaluation.table import TRUTH, VOCODER, Results, mean_text
from waveglow.metrics import Take
from waveglow.pages import figures

CLIPS_WITH_PLAYERS = 40
CLIPS_OF_MANY = 12
PLAYER_SECONDS = 12
MEL_LIMITS = (-10.0, 1.0)  # nats, darkest and brightest, the same for all pictures
CAPTION_METRICS = ("pesq", "distillmos", "mr_stft")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 380, 240, 48, 14, 14, 40

STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, CanvasText 20%, Canvas); --blue: #2f7fd6; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .3rem .75rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child { text-align: left; } tr.ours { font-weight: 600; } small { opacity: .75; font-weight: normal; }
.takes, .charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(16rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figure img { width: 100%; height: 8rem; display: block; } audio { width: 100%; }
svg { width: 100%; height: auto; }
#blind { border: 1px solid var(--line); border-radius: 8px; padding: 0 1rem 1rem; }
button, select { font: inherit; padding: .3rem .9rem; margin: .25rem .5rem .25rem 0; }
"""

SCRIPT = """
'use strict';
const blind = document.getElementById('blind'), get = name => blind.querySelector('[data-part=' + name + ']');
const players = {};
for (const player of document.querySelectorAll('audio[data-clip]'))
  (players[player.dataset.clip] ||= {})[player.dataset.row] = player.src;
const store = {
  read() { try { return JSON.parse(localStorage.getItem(blind.dataset.key)); } catch { return null; } },
  write(state) { try { localStorage.setItem(blind.dataset.key, JSON.stringify(state)); } catch { /* forget */ } },
};
let state = store.read();

function show(element, visible) { element.hidden = !visible; }
function shuffled(list) {
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [list[i], list[j]] = [list[j], list[i]];
  }
  return list;
}
function begin() {
  const rows = [get('first').value, get('second').value];
  const clips = Object.keys(players).filter(clip => rows.every(row => players[clip][row]));
  if (rows[0] === rows[1] || !clips.length) {
    get('said').textContent = rows[0] === rows[1] ? 'Choose two different ones.' : 'They have no clip in common.';
    return;
  }
  const trials = shuffled(clips).map(clip => ({ clip, a: Math.random() < 0.5 ? 0 : 1 }));
  state = { rows, trials, answers: [] };
  store.write(state);
  render();
}
function answer(choice) {
  const trial = state.trials[state.answers.length];
  state.answers.push(choice === null ? null : choice === 'a' ? trial.a : 1 - trial.a);
  store.write(state);
  render();
}
function atLeast(right, n) {
  let term = Math.pow(0.5, n), sum = 0;
  for (let k = 0; k <= n; k++) {
    if (k >= right) sum += term;
    term *= (n - k) / (k + 1);
  }
  return Math.min(1, sum);
}
function render() {
  for (const player of [get('a'), get('b')]) player.pause();
  get('said').textContent = '';
  const done = state ? state.answers.length : 0, total = state ? state.trials.length : 0;
  show(get('setup'), !state);
  show(get('trial'), state && done < total);
  show(get('result'), state && done === total);
  show(get('again'), state);
  show(get('stop'), state && done > 0 && done < total);
  if (!state) return;
  const findOriginal = state.rows.includes(blind.dataset.truth);
  if (done < total) {
    const trial = state.trials[done];
    get('a').src = players[trial.clip][state.rows[trial.a]];
    get('b').src = players[trial.clip][state.rows[1 - trial.a]];
    const question = findOriginal ? 'Which one is the original recording?' : 'Which one sounds better?';
    get('question').textContent = (done + 1) + ' of ' + total + ': ' + question;
    return;
  }
  const tally = [0, 1].map(row => state.answers.filter(given => given === row).length);
  const unsure = total - tally[0] - tally[1], decided = tally[0] + tally[1];
  let text;
  if (findOriginal) {
    const right = tally[state.rows.indexOf(blind.dataset.truth)];
    text = 'You found the original in ' + right + ' of ' + decided + ' clips. Guessing finds as many or more with ' +
      'probability ' + atLeast(right, decided).toFixed(3) + '.';
  } else {
    text = state.rows.map((row, index) => row + ': ' + tally[index]).join(', ') + '. Without any preference, one of ' +
      'them leads as far with probability ' + Math.min(1, 2 * atLeast(Math.max(...tally), decided)).toFixed(3) + '.';
  }
  get('verdict').textContent = text + (unsure ? ' No answer: ' + unsure + '.' : '');
  get('answers').replaceChildren(...state.trials.map((trial, index) => {
    const line = document.createElement('tr'), given = state.answers[index];
    const cells = [trial.clip, state.rows[trial.a], state.rows[1 - trial.a], given === null ? '–' : state.rows[given]];
    line.replaceChildren(...cells.map(text => {
      const cell = document.createElement('td');
      cell.textContent = text;
      return cell;
    }));
    return line;
  }));
}
get('begin').addEventListener('click', begin);
get('pick-a').addEventListener('click', () => answer('a'));
get('pick-b').addEventListener('click', () => answer('b'));
get('pick-none').addEventListener('click', () => answer(null));
get('stop').addEventListener('click', () => {
  state.trials.length = state.answers.length;
  store.write(state);
  render();
});
get('again').addEventListener('click', () => { state = null; store.write(null); render(); });
if (state && !state.trials.every(trial => players[trial.clip])) state = null;
render();
"""


def write_page(out: Path, results: Results, spec: MelSpec) -> None:
    """Write `out`/index.html about results whose wavs lie below `out`."""
    shown = clips_shown(results)
    title = f"How good is {Path(results['settings']['checkpoint']).name}?"
    sections = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(table.about_vocoder(results))}</p>",
        _table(results),
        _notices(results),
        _sweep(results),
        _blind_test(results, shown),
        _players(out, results, shown, spec),
        _about(results),
    ]
    page = _page(title, sections, SCRIPT if shown else "")
    write_atomically(out / "index.html", page.encode())


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
        f'<div class="scroll" tabindex="0"><table><thead><tr><th scope="col"></th>{head}</tr></thead>'
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
        f'<img alt="Mel spectrogram: {name}" src="{_data_url("image/png", picture)}">'
        f'<audio controls preload="none" aria-label="{name}" data-clip="{escape(clip["clip"], quote=True)}" '
        f'data-row="{escape(row, quote=True)}" src="{_data_url("audio/flac", flac.getvalue())}"></audio></figure>'
    )


def _about(results: Results) -> str:
    items = "".join(f"<li>{escape(line.removeprefix('- '))}</li>" for line in table.definitions(results))
    facts = {**results["settings"], **results["machine"], **results["versions"], "weights": results["model"]["sha256"]}
    lines = "".join(f'<tr><th scope="row">{escape(k)}</th><td>{escape(str(v))}</td></tr>' for k, v in facts.items())
    return (
        f"<h2>How it was measured</h2><ul>{items}</ul><details><summary>Settings, machine and versions</summary>"
        f'<div class="scroll"><table><tbody>{lines}</tbody></table></div></details>'
    )


def _data_url(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def _page(title: str, sections: Iterable[str], script: str) -> str:
    script_hash = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    media = "style-src 'unsafe-inline'; img-src data:; media-src data:"
    policy = f"default-src 'none'; {media}; script-src 'sha256-{script_hash}'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body>{''.join(sections)}<script>{script}</script></body></html>\n"
    )
