"""Radars, intervals and curves as inline SVG for the page; plots.py draws the same as PNG files."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import numpy as np

from .methods import BASELINES

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


def colour_of(label: str, labels: Sequence[str]) -> str:
    """The CSS class of a method, the same on the whole page: baselines have colours of their own,
    the others are numbered."""
    if label in BASELINES:
        return f"m-{label}"
    own = [one for one in labels if one not in BASELINES]
    return f"m{own.index(label) % 4}"


def legend(labels: Sequence[str]) -> str:
    """Methods and their colours, as HTML."""
    parts = [
        f'<span class="{colour_of(label, labels)}"><i></i>{html.escape(label[:60])}</span>'
        for label in labels
    ]
    return f"<p class=legend>{''.join(parts)}</p>"


def radar_svg(found: Found) -> str:
    """A radar of all methods; needs three axes."""
    found = known_axes(found)
    if len(found) < 3:
        return "<p>Too few figures for a radar.</p>"
    middle, radius, axes = (200, 165), 118, list(found)

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
        (x, y), (rim_x, rim_y) = at(i, 1.12), at(i, 1)
        parts.append(
            f'<line x1="{middle[0]}" y1="{middle[1]}" x2="{rim_x:.1f}" y2="{rim_y:.1f}" '
            'class="grid"/>'
        )
        side = "middle" if abs(x - middle[0]) < 20 else "start" if x > middle[0] else "end"
        parts.append(f'<text x="{x:.0f}" y="{y + 5:.0f}" text-anchor="{side}">{axis}</text>')
    every = shares(found)
    for label, values in every.items():
        parts.append(polygon(values, f'class="row {colour_of(label, list(every))}"'))
    return (
        '<svg class=radar viewBox="0 0 400 330" role="img" aria-label="radar">'
        + "".join(parts)
        + "</svg>"
    )


def dots_svg(words: str, by: dict[str, dict[str, float]], *, better: int) -> str:
    """One figure: a dot and its 95 % interval for every method, on one scale."""
    known = {label: one for label, one in by.items() if one["clips"]}
    ends = [end for one in known.values() for end in (one["low"], one["high"])]
    low, high = min(ends), max(ends)
    low, high = (low - 0.5, high + 0.5) if high - low < 1e-9 else (low, high)
    row, left, wide = 22, 8, 218

    def x(value: float) -> float:
        return left + wide * (value - low) / (high - low)

    parts = []
    for i, (label, one) in enumerate(by.items()):
        y = 14 + row * i
        colour = colour_of(label, list(by))
        parts.append(f'<line x1="{left}" x2="{left + wide}" y1="{y}" y2="{y}" class="grid"/>')
        if label not in known:
            parts.append(f'<text x="{left + wide + 12}" y="{y + 4}" class="soft">none</text>')
            continue
        parts.append(
            f'<g class="row {colour}"><line x1="{x(one["low"]):.1f}" x2="{x(one["high"]):.1f}" '
            f'y1="{y}" y2="{y}"/><circle cx="{x(one["mean"]):.1f}" cy="{y}" r="5"/></g>'
            f'<text x="{left + wide + 12}" y="{y + 4}">{number(one["mean"])}</text>'
        )
    arrow = {1: " ↑", -1: " ↓", 0: " ="}[better]
    return (
        f"<figure class=dots><figcaption>{html.escape(words)}{arrow}</figcaption>"
        f'<svg viewBox="0 0 290 {row * len(by) + 6}" role="img" aria-label="{html.escape(words)}">'
        f"{''.join(parts)}</svg></figure>"
    )


def number(value: float) -> str:
    """Two digits after the point, fewer of large ones, more of small ones."""
    if not np.isfinite(value):
        return "-"
    if abs(value) >= 10:
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.095 or abs(value) < 5e-4 else f"{value:.3f}"


def curves_svg(
    times: np.ndarray, read: dict[str, np.ndarray], sound: np.ndarray, labels: Sequence[str]
) -> str:
    """Openings by method over time, and the voice's envelope behind them, each from 0 to 1.

    Text is HTML around the picture, which may be stretched to any width.
    """
    wide, high = 900, 120
    span = max(float(times[-1]), 1e-6)

    def line(values: np.ndarray, words: str) -> str:
        pieces, pen = [], "M"
        for x, y in zip(times, scaled(values), strict=False):
            if np.isfinite(y):
                pieces.append(f"{pen}{wide * x / span:.1f},{high - 4 - (high - 8) * y:.1f}")
                pen = "L"
            else:
                pen = "M"
        return f'<path d="{"".join(pieces)}" {words}/>'

    voice = scaled(sound)[: len(times)]
    rim = " ".join(
        f"{wide * x / span:.1f},{high - 4 - (high - 8) * y:.1f}"
        for x, y in zip(times, voice, strict=False)
    )
    parts = [f'<polygon points="0,{high} {rim} {wide},{high}" class="voice"/>']
    parts += [line(v, f'class="row {colour_of(m, labels)}"') for m, v in read.items()]
    ticks = "".join(f"<span>{second:.3g} s</span>" for second in np.linspace(0, span, 5))
    return (
        f'<figure class=curve><svg viewBox="0 0 {wide} {high}" preserveAspectRatio="none" '
        f'role="img" aria-label="opening of the mouth and the voice over time">{"".join(parts)}'
        f"</svg><div class=ticks>{ticks}</div></figure>"
    )


def scaled(values: np.ndarray) -> np.ndarray:
    """Values from 0 at their 2nd percentile to 1 at their 98th."""
    known = values[np.isfinite(values)]
    if not len(known):
        return values
    low, high = np.percentile(known, (2, 98))
    return np.clip((values - low) / max(high - low, 1e-9), 0, 1)
