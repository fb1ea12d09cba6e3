"""The curves of a run: train.jsonl of every stage -> curves.png."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("agg")  # draws into files, also where there is no screen
from matplotlib import pyplot as plt

from ..errors import UserError


def plot_run(run: Path) -> Path:
    """Draw each loss term over the steps, stage after stage, into RUN/curves.png; returns it.

    Raises UserError for a folder without logged steps.
    """
    curves: dict[str, list[tuple[int, float]]] = {}
    borders: list[tuple[int, str]] = []
    done = 0
    for log in sorted(run.glob("**/train.jsonl")):
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        borders.append((done, log.parent.name))
        for row in rows:
            for name in row.keys() - {"step", "minutes"}:
                curves.setdefault(name, []).append((done + row["step"], row[name]))
        done += rows[-1]["step"] if rows else 0
    if not curves:
        raise UserError(f"{run} holds no logged steps yet; a run logs every 50 steps.")
    figure, all_axes = plt.subplots(
        len(curves), 1, sharex=True, squeeze=False, figsize=(8, 2 + 2 * len(curves))
    )
    for axes, (name, points) in zip(all_axes[:, 0], sorted(curves.items()), strict=True):
        axes.plot(*zip(*points, strict=True), linewidth=1)
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
        for start, stage in borders:
            axes.axvline(start, color="grey", linewidth=0.5)
            axes.annotate(stage, (start, 1), xycoords=("data", "axes fraction"), va="top", size=7)
    all_axes[-1, 0].set_xlabel("step")
    figure.tight_layout()
    picture = run / "curves.png"
    figure.savefig(picture, dpi=120)
    plt.close(figure)
    return picture
