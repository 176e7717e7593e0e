"""Figures without a plotting library: mel spectrograms as PNG, line charts as SVG for light and dark pages."""

from __future__ import annotations

import html
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

Floats = npt.NDArray[np.floating]

# Nine colours of matplotlib's "magma" (S. van der Walt and N. Smith, 2015): lightness rises evenly from dark to bright.
MAGMA = np.array(
    [
        (0, 0, 4),
        (28, 16, 68),
        (79, 18, 123),
        (129, 37, 129),
        (181, 54, 122),
        (229, 80, 100),
        (251, 135, 97),
        (254, 194, 135),
        (252, 253, 191),
    ]
)
# Mid-tones: 3:1 or more against white and near-black.
SERIES_COLOURS = ("#2f7fd6", "#e07b1a", "#3a9d5d", "#b55fc0", "#d0504f", "#8a8f2a")
WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM = 760, 320, 70, 20, 46
LEGEND_ROW = 18
POINTS_DRAWN = 400


def spectrogram_png(mel: Floats, *, limits: tuple[float, float] | None = None) -> bytes:
    """PNG of a log-mel spectrogram [n_mels, F], one pixel a value, low frequencies at the bottom.

    `limits` are the values drawn darkest and brightest, by default the smallest and the largest of `mel`; pictures to
    be compared need the same. Raises ValueError if `mel` is not two-dimensional or is empty.
    """
    if mel.ndim != 2 or mel.size == 0:
        raise ValueError(f"mel has shape {mel.shape}; a spectrogram is [n_mels, F]")
    low, high = limits or (float(mel.min()), float(mel.max()))
    level = np.nan_to_num((mel[::-1] - low) / max(high - low, 1e-12), nan=0.0)
    image = Image.fromarray((np.clip(level, 0, 1) * 255).astype(np.uint8)).convert("P")
    at = np.linspace(0, len(MAGMA) - 1, 256)
    palette = np.stack([np.interp(at, np.arange(len(MAGMA)), channel) for channel in MAGMA.T], axis=1)  # (256, 3)
    image.putpalette(palette.round().astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


@dataclass(frozen=True)
class Axis:
    """Linear map from values to pixels; `high_px` may lie above or below `low_px`."""

    low: float
    high: float
    low_px: float
    high_px: float

    def pixel(self, value: float) -> float:
        return self.low_px + (value - self.low) / (self.high - self.low) * (self.high_px - self.low_px)

    def ticks(self, most: int) -> list[tuple[float, str]]:
        """At most `most` + 1 round values within the axis, with their labels.

        >>> [label for _, label in Axis(-4.3, -3.95, 0, 1).ticks(5)]
        ['-4.3', '-4.2', '-4.1', '-4.0']
        """
        rough = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [(n * step, f"{n * step + 0.0:,.{digits}f}") for n in range(first, last + 1)]


def line_chart_svg(
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x_label: str,
    y_label: str,
    best: Literal["lowest", "highest"] = "lowest",
) -> str:
    """SVG of named lines of (x, y), with the best point of each marked and named in the legend.

    Long series are drawn as means of neighbours. A few values far above the rest (the first steps, spikes) are left
    out, and the chart says so. Raises ValueError if no point is finite.
    """
    lines = {name: _thinned(_finite(points)) for name, points in series.items()}
    lines = {name: line for name, line in lines.items() if len(line)}
    if not lines:
        raise ValueError(f"no finite points to draw in {', '.join(series) or 'an empty chart'}")
    points = np.concatenate(list(lines.values()))
    top = _top(points[:, 1])
    x_axis = Axis(*_padded(points[:, 0].min(), points[:, 0].max(), 0.0), LEFT, WIDTH - RIGHT)
    top_px = 10 + LEGEND_ROW * max(2, math.ceil(len(lines) / 2))
    y_axis = Axis(*_padded(points[:, 1].min(), top, 0.05), HEIGHT - BOTTOM, top_px)
    hidden = int((points[:, 1] > top).sum())
    parts = [_axes(x_axis, y_axis, x_label=x_label, y_label=y_label)]
    for index, (name, line) in enumerate(lines.items()):
        shown = line[line[:, 1] <= top]
        parts += [_line(name, shown, index, x_axis, y_axis, best)] if len(shown) else []
    if hidden:
        parts.append(_text(WIDTH - RIGHT, top_px + 14, f"higher points not shown: {hidden}", anchor="end"))
    label = html.escape(f"{y_label} against {x_label}: {', '.join(lines)}", quote=True)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}" xmlns="http://www.w3.org/2000/svg" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="currentColor">{"".join(parts)}</svg>'
    )


def _finite(points: Sequence[tuple[float, float]]) -> Floats:
    array = np.array(points, dtype=np.float64).reshape(-1, 2)
    return array[np.isfinite(array).all(axis=1)]


def _thinned(points: Floats) -> Floats:
    """At most POINTS_DRAWN points [N, 2], each the mean of equally many neighbours (the last of what is left)."""
    size = max(1, math.ceil(len(points) / POINTS_DRAWN))
    return np.array([points[i : i + size].mean(axis=0) for i in range(0, len(points), size)]).reshape(-1, 2)


def _top(values: Floats) -> float:
    """The largest value, unless a few tower over the rest: then three times the height of nine tenths of them."""
    low = values.min()
    return float(min(values.max(), low + 3 * max(np.percentile(values, 90) - low, 1e-12)))


def _padded(low: float, high: float, share: float) -> tuple[float, float]:
    """A range of some width, with a margin of `share` of it at either end."""
    middle, half = (low + high) / 2, (high - low) / 2 * (1 + 2 * share)
    half = half if half > 1e-9 * max(1.0, abs(middle)) else max(1e-3, abs(middle) * 0.05)
    return float(middle - half), float(middle + half)


def _text(x: float, y: float, text: str, *, anchor: str = "start", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{html.escape(text)}</text>'


def _axes(x_axis: Axis, y_axis: Axis, *, x_label: str, y_label: str) -> str:
    left, right, bottom = x_axis.low_px, x_axis.high_px, y_axis.low_px
    parts = []
    for value, label in y_axis.ticks(6):
        y = y_axis.pixel(value)
        parts.append(f'<path d="M{left} {y:.1f}H{right}" stroke="currentColor" stroke-opacity=".15"/>')
        parts.append(_text(left - 8, y + 4, label, anchor="end"))
    for value, label in x_axis.ticks(8):
        x = x_axis.pixel(value)
        parts.append(f'<path d="M{x:.1f} {bottom}v5" stroke="currentColor"/>')
        parts.append(_text(x, bottom + 18, label, anchor="middle"))
    parts.append(f'<path d="M{left} {bottom}H{right}" stroke="currentColor"/>')
    parts.append(_text((left + right) / 2, HEIGHT - 8, x_label, anchor="middle"))
    middle = (y_axis.low_px + y_axis.high_px) / 2
    turned = f' transform="rotate(-90 14 {middle:.1f})"'
    parts.append(_text(14, middle, y_label, anchor="middle", extra=turned))
    return "".join(parts)


def _line(name: str, line: Floats, index: int, x_axis: Axis, y_axis: Axis, best: str) -> str:
    colour = SERIES_COLOURS[index % len(SERIES_COLOURS)]
    pixels = [(x_axis.pixel(x), y_axis.pixel(y)) for x, y in line]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in pixels)
    marked = int(line[:, 1].argmin() if best == "lowest" else line[:, 1].argmax())
    legend = f"{name}: {best} {line[marked, 1]:.3f} at {line[marked, 0]:,.0f}"
    legend_x, legend_y = LEFT + (index % 2) * 340, 14 + LEGEND_ROW * (index // 2)
    return (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>'
        f'<circle class="{best}" cx="{pixels[marked][0]:.1f}" cy="{pixels[marked][1]:.1f}" r="5" fill="none" '
        f'stroke="{colour}" stroke-width="2"><title>{html.escape(legend)}</title></circle>'
        f'<path d="M{legend_x} {legend_y - 4}h22" stroke="{colour}" stroke-width="3"/>'
        + _text(legend_x + 28, legend_y, legend)
    )
