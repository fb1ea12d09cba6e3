"""Tables of a run: means with intervals for every track, paired comparisons, set distances."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .bench import Row, compare, set_distances, summary
from .curves import cell, table
from .judging import FIGURES
from .methods import BASELINES


def tracks_of(rows: Sequence[Row]) -> list[str]:
    """Tracks in the order of the rows."""
    return list(dict.fromkeys(row["track"] for row in rows))


def failures(rows: Sequence[Row], label: str) -> str:
    """`failed of all` of a method."""
    own = [row for row in rows if row["method"] == label and row["status"] != "absent"]
    return f"{sum(row['status'] == 'failed' for row in own)} of {len(own)}"


def track_table(rows: Sequence[Row], figures: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of one table; figures that nobody has are left out."""
    found = {figure: summary(rows, figure) for figure in figures}
    shown = [f for f in figures if any(one["clips"] for one in found[f].values())]
    arrows = {1: " ↑", -1: " ↓", 0: ""}
    header = ["", *(f + arrows[FIGURES[f][2]] for f in shown), "failed"]
    labels = dict.fromkeys(row["method"] for row in rows)
    body = [[m, *(cell(found[f][m]) for f in shown), failures(rows, m)] for m in labels]
    return header, body


def distance_table(rows: Sequence[Row], out: Path) -> tuple[list[str], list[list[str]]]:
    """Fréchet and kernel distances of all pictures of a method."""
    found = set_distances(rows, out)
    kinds = list(dict.fromkeys(kind for one in found.values() for kind in one))
    header = ["", *(f"{kind} ↓" for kind in kinds)]
    body = [[m, *(f"{one[k]:.4g}" if k in one else "-" for k in kinds)] for m, one in found.items()]
    return header, body


def pair_table(
    rows: Sequence[Row], a: str, b: str, figures: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """a less b, clip by clip."""
    body = []
    for figure in figures:
        one = compare(rows, a, b, figure)
        if one["clips"]:
            body.append([figure, cell(one, digits=3), f"{one['wins']:.0%}", str(one["clips"])])
    return ["", "difference", "better on", "clips"], body


def judged(rows: Sequence[Row]) -> list[str]:
    """Labels of the methods that are no baselines."""
    return [m for m in dict.fromkeys(row["method"] for row in rows) if m not in BASELINES]


def markdown(rows: Sequence[Row], out: Path, figures: Sequence[str]) -> str:
    """All tables as text."""
    parts = ["## All tracks\n", table(*track_table(rows, figures))]
    for track in tracks_of(rows):
        some = [row for row in rows if row["track"] == track]
        parts += [f"\n## {track}\n", table(*track_table(some, figures))]
    parts += ["\n## Distances between sets\n", table(*distance_table(rows, out))]
    methods = judged(rows)
    for other in ["copy", "wrong-audio", *methods[1:]]:
        for label in methods[:1]:
            body = pair_table(rows, label, other, figures)
            parts += [f"\n## {label} less {other}, paired\n", table(*body)]
    return "\n".join(parts)
