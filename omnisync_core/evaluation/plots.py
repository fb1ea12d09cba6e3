"""The page's radars, intervals and curves as PNG files, where matplotlib is installed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .drawing import Found, known_axes, scaled, shares
from .methods import BASELINES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BASELINE = {"copy": "#8a94a3", "truth": "#1a7f4b", "wrong-audio": "#c2410c"}
_OTHERS = ("#1f6feb", "#7a5af8", "#b08800", "#0e7c86")


def have_matplotlib() -> bool:
    """Whether anything can be drawn."""
    try:
        import matplotlib.figure  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def colour(label: str, labels: Sequence[str]) -> str:
    """As on the page."""
    own = [one for one in labels if one not in BASELINES]
    return _BASELINE[label] if label in BASELINES else _OTHERS[own.index(label) % len(_OTHERS)]


def radar_png(title: str, found: Found, folder: Path) -> Path | None:
    """radar_TITLE.png; None for fewer than three axes."""
    from matplotlib.figure import Figure

    found = known_axes(found)
    if len(found) < 3:
        return None
    turns = np.linspace(0, 2 * np.pi, len(found), endpoint=False)
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    panel = figure.add_subplot(projection="polar")
    panel.set_theta_offset(np.pi / 2)  # type: ignore[attr-defined]
    panel.set_theta_direction(-1)  # type: ignore[attr-defined]
    every = shares(found)
    for label, values in every.items():
        drawn = colour(label, list(every))
        closed = [*values, values[0]]
        panel.plot([*turns, turns[0]], closed, color=drawn, label=label[:40], linewidth=2)
        if label not in BASELINES:
            panel.fill([*turns, turns[0]], closed, color=drawn, alpha=0.12)
    panel.set_xticks(turns, list(found))
    panel.tick_params(axis="x", pad=14)
    panel.set_yticks([0.25, 0.5, 0.75, 1], [])
    panel.set_ylim(0, 1)
    panel.set_title(f"{title}: the worst row in the middle, the best at the rim", fontsize=10)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    return _saved(figure, folder / f"radar_{_plain(title)}.png")


def bars_png(axis: str, by: dict[str, dict[str, float]], folder: Path) -> Path:
    """bars_AXIS.png: means and intervals of one figure."""
    from matplotlib.figure import Figure

    known = {label: one for label, one in by.items() if one["clips"]}
    figure = Figure(figsize=(7, 0.5 * len(known) + 1.2), layout="constrained")
    panel = figure.subplots()
    means = [one["mean"] for one in known.values()]
    ends = [[one["mean"] - one["low"], one["high"] - one["mean"]] for one in known.values()]
    colours = [colour(label, list(by)) for label in known]
    panel.barh([m[:30] for m in known], means, xerr=np.array(ends).T, color=colours, capsize=4)
    panel.set_title(axis)
    panel.invert_yaxis()
    return _saved(figure, folder / f"bars_{_plain(axis)}.png")


def curves_png(
    name: str,
    times: np.ndarray,
    read: dict[str, np.ndarray],
    sound: np.ndarray,
    labels: Sequence[str],
    folder: Path,
) -> Path:
    """curves_NAME.png: openings over time before the voice's envelope, each from 0 to 1."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 2.6), layout="constrained")
    panel = figure.subplots()
    panel.fill_between(times, scaled(sound), color="#d5dae1", label="voice, 500 to 1500 Hz")
    for label, values in read.items():
        count = min(len(times), len(values))
        drawn = colour(label, labels)
        panel.plot(times[:count], scaled(values)[:count], color=drawn, label=label[:40])
    panel.set_title(f"{name}: opening of the mouth", fontsize=10)
    panel.set_xlabel("s")
    panel.set_yticks([])
    panel.margins(x=0)
    figure.legend(loc="outside right upper", fontsize=8)
    return _saved(figure, folder / f"curves_{_plain(name)}.png")


def _plain(words: str) -> str:
    return re.sub("[^a-z0-9-]+", "_", words.lower()).strip("_")


def _saved(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path
