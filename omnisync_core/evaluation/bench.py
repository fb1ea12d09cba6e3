"""The runner: every method on every clip, judged, counted, kept.

OUT holds items/ (the clips), results/METHOD/CLIP.{mp4,json,npz}, results.csv, results.json and,
with pyarrow, results.parquet. The same command goes on where it stopped; what failed is tried
again.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ..errors import UserError
from .clips import load_clip
from .curves import interval
from .judging import FIGURES, Means, judge
from .likeness import frechet, kernel_distance
from .methods import BASELINES, Method

Row = dict[str, Any]
VERSION = 2
"""Of the figures: results of another one are judged again."""
_FEWEST = 8  # pictures below which a distance between sets says nothing


@dataclass(frozen=True)
class _Row:
    """One row of the tables, without what cannot be sent to another process."""

    label: str
    timed: bool
    place: Path
    """Folder of its results."""


def run_bench(
    folders: Iterable[Path],
    methods: Sequence[Method],
    out: Path,
    *,
    means: Means | None = None,
    workers: int = 1,
    say: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Run all methods on the clips of these folders, one after another, so that their times are
    their own; then judge, in that many processes. Returns a row for each pair.

    A method that fails on a clip gets a row with its error, and the rest goes on.
    """
    items = list(folders)
    try:
        for number, item in enumerate(items, 1):
            for method in methods:
                if words := _make(item, method, out / "results" / method.folder):
                    say(f"{number} of {len(items)} {item.name} {method.label}: {words}")
    finally:
        for method in methods:
            method.stop()
    plain = [_Row(m.label, m.timed, out / "results" / m.folder) for m in methods]
    rows: list[Row] = []
    for number, found in enumerate(_judged(items, plain, means or Means(), workers), 1):
        rows += [row for row, _ in found]
        if fresh := sum(new for _, new in found):
            name = items[number - 1].name
            say(f"{number} of {len(items)} {name}: {fresh} of {len(found)} judged")
    _save(rows, out)
    return rows


def _make(item: Path, method: Method, place: Path) -> str:
    """Make one result, unless it is there; returns what to say of it."""
    stored, video = place / f"{item.name}.json", place / f"{item.name}.mp4"
    kept = _kept(stored)
    if video.exists() and kept.get("status") in ("ok", "made"):
        return ""
    place.mkdir(parents=True, exist_ok=True)
    video.unlink(missing_ok=True)
    row: Row = {"method": method.label, "status": "made", "error": "", "seconds": 0.0}
    started = time.monotonic()
    try:
        method.produce(item, video)
    except UserError as error:
        absent = method.label in BASELINES and str(error) == "not known for this clip"
        row |= {"status": "absent" if absent else "failed", "error": str(error)}
    else:
        row["seconds"] = time.monotonic() - started
    _write(stored, row)
    if row["status"] == "failed":
        return f"failed, {row['error']}"
    return f"{row['seconds']:.1f} s" if method.timed and row["status"] == "made" else ""


def _judged(
    items: Sequence[Path], methods: Sequence[_Row], means: Means, workers: int
) -> Iterator[list[tuple[Row, bool]]]:
    """The rows of each clip in turn, and whether they were worked out now."""
    work = partial(_judge_item, methods=methods, means=means)
    if workers == 1 or len(items) < 2:
        yield from map(work, items)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, initializer=one_thread) as pool:
        yield from pool.map(work, items)


def one_thread() -> None:
    """Processes share the cores already."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _judge_item(item: Path, methods: Sequence[_Row], means: Means) -> list[tuple[Row, bool]]:
    return [_judge_row(item, method, means) for method in methods]


def _judge_row(item: Path, method: _Row, means: Means) -> tuple[Row, bool]:
    """The row of one pair, and whether it was worked out now."""
    stored, video = method.place / f"{item.name}.json", method.place / f"{item.name}.mp4"
    marks = {"version": VERSION, "means": {k: str(v) for k, v in asdict(means).items()}}
    kept = _kept(stored)
    if kept["status"] == "ok" and kept.get("marks") == marks:
        return kept, False
    row = kept | json.loads((item / "item.json").read_text())
    if kept["status"] in ("failed", "absent"):
        return row, False
    try:
        verdict = judge(load_clip(item), video, means)
    except UserError as error:
        row |= {"status": "failed", "error": str(error)}
    except Exception as error:  # what no judge can read is this result's failure, not the run's
        row |= {"status": "failed", "error": f"not judged: {type(error).__name__}: {error}"}
    else:
        row |= {"status": "ok", "marks": marks, **verdict.figures, "frames": len(verdict.opening)}
        if method.timed and row["seconds"]:
            row["fps"] = row["frames"] / row["seconds"]
        np.savez(stored.with_suffix(".npz"), opening=verdict.opening, **verdict.features)  # type: ignore[arg-type]
    _write(stored, row)
    return row, True


def _kept(stored: Path) -> Row:
    return json.loads(stored.read_text()) if stored.exists() else {}


def _write(stored: Path, row: Row) -> None:
    part = stored.with_suffix(".part")
    part.write_text(json.dumps(row))
    part.replace(stored)


def _save(rows: list[Row], out: Path) -> None:
    """results.csv, results.json and, with pyarrow, results.parquet."""
    names = ["method", "track", "group", "name", "status", "error", "seconds", "frames", *FIGURES]
    plain = [{name: row.get(name, "") for name in names} for row in rows]
    with (out / "results.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(plain)
    figures = [{k: (None if v != v else v) for k, v in row.items()} for row in plain]
    (out / "results.json").write_text(json.dumps({"version": VERSION, "rows": figures}, indent=1))
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        return
    numbers = {"seconds", "frames", *FIGURES}
    columns = {
        name: [
            (float(v) if isinstance(v := row[name], (int, float)) else None)
            if name in numbers
            else str(row[name])
            for row in plain
        ]
        for name in names
    }
    pq.write_table(pa.table(columns), out / "results.parquet")


def read_rows(out: Path) -> list[Row]:
    """The rows of a finished bench folder. Raises UserError where there are none."""
    path = out / "results.json"
    try:
        stored = json.loads(path.read_text())
        rows = [{k: np.nan if v is None else v for k, v in row.items()} for row in stored["rows"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"Expected the folder of an `omnisync bench` run; {path} cannot be read "
            f"({type(error).__name__}). Name the folder given to its -o."
        ) from None
    if not rows:
        raise UserError(f"{path} holds no result; run `omnisync bench` first.")
    return rows


def summary(rows: Sequence[Row], figure: str) -> dict[str, dict[str, float]]:
    """Method -> mean, 95 % bootstrap interval over clips, and number of clips of a figure."""
    found = {}
    for label in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == label and row["status"] == "ok"]
        values = [_number(row.get(figure)) for row in own]
        found[label] = interval(values, [row["name"] for row in own])
    return found


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else float("nan")


def compare(rows: Sequence[Row], a: str, b: str, figure: str) -> dict[str, float]:
    """a less b on the clips that both have: mean and 95 % bootstrap interval of the differences.

    Paired: a clip that is hard for both does not widen the interval. wins: share of the clips on
    which a is the better one (figures without a direction: the higher one).
    """
    by = {
        label: {row["name"]: _number(row.get(figure)) for row in rows if row["method"] == label}
        for label in (a, b)
    }
    names = [n for n in by[a] if np.isfinite(by[a][n]) and np.isfinite(by[b].get(n, np.nan))]
    apart = [by[a][n] - by[b][n] for n in names]
    sign = FIGURES[figure][2] or 1
    wins = float(np.mean([sign * d > 0 for d in apart])) if apart else float("nan")
    return {**interval(apart, names), "wins": wins}


def set_distances(rows: Sequence[Row], out: Path) -> dict[str, dict[str, float]]:
    """Method -> distances of all its pictures to the truth's (to the sources' where no truth is).

    fd_own and kd_own on features of the locator; fid, kid and fvd on a backbone of the user's.
    """
    kept: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    places = {json.loads(p.read_text())["method"]: p.parent for p in _newest(out)}
    for row in rows:
        path = places.get(row["method"], out) / f"{row['name']}.npz"
        if row["status"] == "ok" and path.exists():
            with np.load(path) as stored:
                features = {k: stored[k] for k in stored.files if k != "opening"}
            kept.setdefault(row["method"], {})[row["name"]] = features
    true = kept.get("truth") or kept.get("copy", {})
    return {label: _distances(own, true) for label, own in kept.items()}


def _newest(out: Path) -> list[Path]:
    return sorted((out / "results").glob("*/*.json"), key=os.path.getmtime)


def _distances(own: dict[str, dict], true: dict[str, dict]) -> dict[str, float]:
    names = [name for name in own if name in true]
    found = {}
    for kind, words in {
        "own": ("fd_own", "kd_own"),
        "fid": ("fid", "kid"),
        "fvd": ("fvd",),
    }.items():
        if not names or any(kind not in own[n] or kind not in true[n] for n in names):
            continue
        a, b = (np.concatenate([side[n][kind] for n in names]) for side in (own, true))
        if min(len(a), len(b)) >= _FEWEST:
            values = (frechet(a, b), kernel_distance(a, b))
            found |= dict(zip(words, values, strict=False))
    return found
