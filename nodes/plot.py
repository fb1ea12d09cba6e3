"""Curves over time as a picture: what `measures` found, for people who look rather than read."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from .measures import Curves

_WIDTH, _ROW, _MARGIN, _TITLE = 960, 150, 12, 18
_BACK, _INK, _FAINT = (24, 24, 28), (225, 225, 230), (70, 70, 78)
_VOICE, _BEFORE, _AFTER = (240, 180, 70), (120, 130, 150), (90, 200, 250)


def draw(curves: Curves, loud: np.ndarray, *, title: str) -> np.ndarray:
    """Three strips on one time line, uint8 [h w 3]: mouth and voice, change, jitter.

    loud: the voice's loudness in [0, 1], one value per frame. Frames without a mouth are gaps.
    """
    image = import_module("PIL.Image").new("RGB", (_WIDTH, _TITLE + 3 * _ROW), _BACK)
    pen = import_module("PIL.ImageDraw").Draw(image)
    pen.text((_MARGIN, 3), title, fill=_INK)
    opening = _scaled(curves.opening_before, curves.opening_after)
    jitter = _scaled(curves.jitter_before, curves.jitter_after)
    changed = _scaled(curves.changed, curves.outside)
    strips = (
        (
            "voice (orange), mouth before (grey) and after (blue)",
            ((loud, _VOICE), (opening[0], _BEFORE), (opening[1], _AFTER)),
        ),
        (
            f"change inside the mouth's crop (blue) and outside (orange), 0 to {changed[2]:.1f} "
            "grey levels",
            ((changed[0], _AFTER), (changed[1], _VOICE)),
        ),
        (
            f"jitter before (grey) and after (blue), 0 to {jitter[2]:.1f} grey levels",
            ((jitter[0], _BEFORE), (jitter[1], _AFTER)),
        ),
    )
    for row, (label, lines) in enumerate(strips):
        top = _TITLE + row * _ROW
        pen.line((_MARGIN, top + _ROW - 8, _WIDTH - _MARGIN, top + _ROW - 8), fill=_FAINT)
        pen.text((_MARGIN, top + 2), label, fill=_INK)
        for values, colour in lines:
            _line(pen, values, top + 18, top + _ROW - 8, colour)
    return np.asarray(image)


def shares(values: list[float], *, title: str) -> np.ndarray:
    """One curve of shares in [0, 1], uint8 [h w 3], with a line at every quarter."""
    image = import_module("PIL.Image").new("RGB", (_WIDTH, _TITLE + _ROW), _BACK)
    pen = import_module("PIL.ImageDraw").Draw(image)
    pen.text((_MARGIN, 3), title, fill=_INK)
    top, bottom = _TITLE + 8, _TITLE + _ROW - 8
    for quarter in range(5):
        y = bottom - (bottom - top) * quarter / 4
        pen.line((_MARGIN, y, _WIDTH - _MARGIN, y), fill=_FAINT)
        pen.text((_WIDTH - 3 * _MARGIN, y - 11), f"{25 * quarter} %", fill=_FAINT)
    _line(pen, np.asarray(values), top, bottom, _AFTER)
    return np.asarray(image)


def _scaled(first: list[float], second: list[float]) -> tuple[np.ndarray, np.ndarray, float]:
    """Two curves over their common largest value, and that value."""
    both = np.array([first, second], np.float64)
    largest = float(np.nanmax(both)) if np.isfinite(both).any() else 0.0
    scaled = both / (largest or 1.0)
    return scaled[0], scaled[1], largest


def _line(pen: Any, values: np.ndarray, top: int, bottom: int, colour: tuple) -> None:
    step = (_WIDTH - 2 * _MARGIN) / max(len(values) - 1, 1)
    points: list[tuple[float, float]] = []
    for i, value in enumerate([*values, np.nan]):
        if np.isfinite(value):
            points.append((_MARGIN + i * step, bottom - float(value) * (bottom - top)))
            continue
        if len(points) > 1:
            pen.line(points, fill=colour, width=2)
        elif points:
            pen.point(points, fill=colour)
        points = []
