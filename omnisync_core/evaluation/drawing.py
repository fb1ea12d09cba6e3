"""Radars and curves, as inline SVG for the page and as PNG files."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .bench import Row, summary

Found = dict[str, dict[str, dict[str, float]]]
"""Axis -> method -> mean, low, high, clips."""


def shares(found: Found) -> dict[str, list[float]]:
    """Method -> one value in [0, 1] for each axis: 0 at the worst row's mean, 1 at the best's.

    Axes on which nobody differs are 1 for all; a method without a figure is at 0.
    """
    out: dict[str, list[float]] = {}
    for by in found.values():
        means = [one["mean"] for one in by.values() if one["clips"]]
        low, high = (min(means), max(means)) if means else (0.0, 0.0)
        for label, one in by.items():
            value = (one["mean"] - low) / (high - low) if high > low else 1.0
            out.setdefault(label, []).append(float(value) if one["clips"] else 0.0)
    return out


def known_axes(found: Found) -> Found:
    """Only the axes on which at least one method has a figure."""
    return {axis: by for axis, by in found.items() if any(one["clips"] for one in by.values())}


def radar_svg(found: Found) -> str:
    """A radar of all methods; needs three axes."""
    found = known_axes(found)
    if len(found) < 3:
        return "<p>Too few figures for a radar.</p>"
    middle, radius = (300, 180), 130
    axes = list(found)

    def at(i: int, share: float) -> tuple[float, float]:
        turn = 2 * math.pi * i / len(axes) - math.pi / 2
        return (
            middle[0] + radius * share * math.cos(turn),
            middle[1] + radius * share * math.sin(turn),
        )

    def polygon(values: Sequence[float], words: str) -> str:
        points = " ".join("{:.1f},{:.1f}".format(*at(i, v)) for i, v in enumerate(values))
        return f'<polygon points="{points}" {words}/>'

    parts = [polygon([share] * len(axes), 'class="grid"') for share in (0.25, 0.5, 0.75, 1)]
    for i, axis in enumerate(axes):
        x, y = at(i, 1.14)
        side = "middle" if abs(x - middle[0]) < 20 else "start" if x > middle[0] else "end"
        parts.append(f'<text x="{x:.0f}" y="{y + 4:.0f}" text-anchor="{side}">{axis}</text>')
    for k, (label, values) in enumerate(shares(found).items()):
        colour = f"var(--c{k % 5})"
        parts.append(polygon(values, f'fill="none" stroke="{colour}" stroke-width="2"'))
        y = 20 + 18 * k
        parts.append(f'<rect x="4" y="{y - 9}" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="20" y="{y}">{html.escape(label[:30])}</text>')
    return (
        '<svg viewBox="0 0 600 350" width="600" role="img" aria-label="radar">'
        + "".join(parts)
        + "</svg><p><small>Each axis: the worst row in the middle, the best at the rim.</small></p>"
    )


def curves_svg(times: np.ndarray, read: dict[str, np.ndarray], sound: np.ndarray) -> str:
    """Openings by method over time, and the voice's envelope behind them, each from 0 to 1."""
    wide, high = 900, 150
    span = max(float(times[-1]), 1e-6)

    def line(values: np.ndarray, words: str) -> str:
        pieces, pen = [], "M"
        scaled = _scaled(values)
        for x, y in zip(times, scaled, strict=False):
            if np.isfinite(y):
                pieces.append(f"{pen}{wide * x / span:.1f},{high - 10 - (high - 40) * y:.1f}")
                pen = "L"
            else:
                pen = "M"
        return f'<path d="{"".join(pieces)}" fill="none" {words}/>'

    parts = [line(sound, 'class="grid" stroke-width="3"')]
    parts.append('<text x="4" y="14">voice (grey)</text>')
    for k, (label, values) in enumerate(read.items()):
        colour = f"var(--c{k})"
        parts.append(line(values, f'stroke="{colour}" stroke-width="1.5"'))
        text = html.escape(label[:30])
        parts.append(f'<text x="{110 + 230 * k}" y="14" style="fill:{colour}">{text}</text>')
    return f'<svg viewBox="0 0 {wide} {high}" width="{wide}" role="img">{"".join(parts)}</svg>'


def _scaled(values: np.ndarray) -> np.ndarray:
    known = values[np.isfinite(values)]
    if not len(known):
        return values
    low, high = np.percentile(known, (2, 98))
    return np.clip((values - low) / max(high - low, 1e-9), 0, 1)


def plots(rows: Sequence[Row], axes: Sequence[str], folder: Path) -> list[Path]:
    """bars_*.png of every axis, where matplotlib is installed; returns the files."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return []
    out = []
    for axis, by in known_axes({axis: summary(rows, axis) for axis in axes}).items():
        known = {label: one for label, one in by.items() if one["clips"]}
        figure = Figure(figsize=(7, 0.5 * len(known) + 1.2), layout="constrained")
        panel = figure.subplots()
        means = [one["mean"] for one in known.values()]
        ends = [
            [m - one["low"], one["high"] - m] for m, one in zip(means, known.values(), strict=True)
        ]
        labels = [label[:30] for label in known]
        panel.barh(labels, means, xerr=np.array(ends).T, color="#1f6feb", capsize=4)
        panel.set_title(axis)
        panel.invert_yaxis()
        out.append(folder / f"bars_{re.sub('[^a-z0-9]+', '_', axis)}.png")
        figure.savefig(out[-1], dpi=120)
    return out
