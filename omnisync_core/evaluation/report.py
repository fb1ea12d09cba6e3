"""One self-contained page of a run: tables, radars, intervals, the worst clips.

Everything is inside the file (inline SVG and JPEG); it opens without a network, in light and dark,
on small and wide screens. Beside it: plots/radar_*.png, bars_*.png and curves_*.png, if matplotlib
is there, and human_sheet.csv for the success rate that people decide.
"""

from __future__ import annotations

import csv
import html
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .bench import Row, read_rows, summary
from .drawing import colour_of, curves_svg, dots_svg, known_axes, legend, number, radar_svg
from .judging import FIGURES
from .methods import BASELINES
from .plots import bars_png, curves_png, have_matplotlib, radar_png
from .tables import distance_table, failures, judged, pair_table, tracks_of
from .worst import MOMENTS, Worst, worst_clips

GROUPS = {
    "Lips and voice": (
        *("truth_r", "truth_lag", "sound_r", "sound_lag", "ose_c", "ose_d", "ose_lag"),
        *("lse_c", "lse_d", "lse_lag", "closures", "false_closures", "visemes", "lmd", "leak"),
        *("open_ratio", "ruler_r"),
    ),
    "Picture": (
        *("psnr", "ssim", "texture", "niqe_own", "style", "outside", "occluder", "repair_iou"),
    ),
    "Face": ("likeness", "likeness_least", "likeness_drift", "lost"),
    "Motion": ("mcs", "flicker", "seam", "jerk"),
    "Speed": ("fps",),
}
MAIN = tuple(name for names in GROUPS.values() for name in names)
AXES = ("truth_r", "sound_r", "ose_c", "closures", "visemes", "ssim", "style", "likeness", "mcs")
_SHORT = {
    "truth_r": "opening, with the true one",
    "sound_r": "opening, with the voice",
    "ose_c": "sync judge's confidence",
    "closures": "lips meet at p, b, m",
    "visemes": "lips of the right group",
    "ssim": "mouth like the truth (SSIM)",
    "style": "drawn as the source is",
    "likeness": "likeness to the source",
    "mcs": "motion coherence",
}
HUMAN = ("mouth changes", "in sync", "free of artefacts")
"""What people say of a result: yes or no; it succeeds with three times yes."""
_INTERVAL = re.compile(r" (\(\S+ \.\. \S+\))$")
_DATA = Path(__file__).parent / "data"


def write_report(run: Path, page: Path) -> Path:
    """Write the page and what lies beside it; returns its path."""
    rows = _in_order(read_rows(run))
    methods = judged(rows)
    main = methods[0] if methods else rows[0]["method"]
    worst = worst_clips(rows, run, main)
    tracks = tracks_of(rows)
    parts = [_intro(rows, main, tracks), _section("All tracks", _panels(rows) + _figures(rows))]
    for track in tracks:
        some = [row for row in rows if row["track"] == track]
        table = f"<details><summary>All figures of {html.escape(track)}</summary>{_figures(some)}"
        parts.append(_section(_title(track, some), f"{_panels(some)}{table}</details>", track))
    labels = list(dict.fromkeys(row["method"] for row in rows))
    parts.append(_section("Worst clips first", _worst(worst, labels), "worst"))
    parts.append(_section("Clip by clip", _pairs(rows, methods, main)))
    parts.append(_section("Distances between sets", _table(*distance_table(rows, run))))
    parts += [_failures(rows), _success(rows, page.parent), _published(), _legend()]
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>omnisync bench: {html.escape(main)}</title>"
        f"<style>{(_DATA / 'report.css').read_text()}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>"
    )
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, encoding="utf-8")
    _plots(rows, worst, labels, page.parent / "plots")
    return page


def _in_order(rows: list[Row]) -> list[Row]:
    """Judged methods first, then the rows to read them by; without those that no clip has."""
    known = {row["method"] for row in rows if row["status"] != "absent"}
    order = [*judged(rows), "truth", "wrong-audio", "copy"]
    some = [row for row in rows if row["method"] in known]
    return sorted(some or rows, key=lambda row: order.index(row["method"]))


def _plots(rows: Sequence[Row], worst: list[Worst], labels: list[str], folder: Path) -> None:
    if not have_matplotlib():
        return
    for title in ("all tracks", *tracks_of(rows)):
        some = rows if title == "all tracks" else [r for r in rows if r["track"] == title]
        radar_png(title, {axis: summary(some, axis) for axis in AXES}, folder)
    for axis, by in known_axes({axis: summary(rows, axis) for axis in AXES}).items():
        bars_png(axis, by, folder)
    for one in worst:
        curves_png(one.row["name"], one.times, one.read, one.sound, labels, folder)


def _section(title: str, body: str, mark: str = "") -> str:
    place = f' id="{html.escape(mark)}"' if mark else ""
    return f"<section{place}><h2>{html.escape(title)}</h2>{body}</section>"


def _title(track: str, rows: Sequence[Row]) -> str:
    count = len({row["name"] for row in rows})
    return f"{track.capitalize()} · {count} clip{'s' * (count > 1)}"


def _intro(rows: Sequence[Row], main: str, tracks: Sequence[str]) -> str:
    clips = len({row["name"] for row in rows})
    failed = sum(row["status"] == "failed" for row in rows)
    links = "".join(f'<a href="#{html.escape(t)}">{html.escape(t)}</a>' for t in tracks)
    return (
        f"<header><p class=kind>omnisync bench</p><h1>{html.escape(main)}</h1>"
        f"<p class=facts><b>{clips}</b> clips <b>{len(tracks)}</b> tracks <b>{failed}</b> failures"
        "</p><p>A figure is a mean over clips with its 95 % bootstrap interval. It means something "
        "only between three rows: <i>copy</i> (nothing was done), <i>wrong-audio</i> (a moving "
        "mouth that says something else) and <i>truth</i> (the same head saying the voice).</p>"
        f"<nav>{links}<a href=#worst>worst clips</a></nav></header>"
    )


def _panels(rows: Sequence[Row]) -> str:
    """A radar and, beside it, every axis with its intervals."""
    found = known_axes({axis: summary(rows, axis) for axis in AXES})
    labels = list(dict.fromkeys(row["method"] for row in rows))
    dots = "".join(
        dots_svg(_SHORT[axis], by, better=FIGURES[axis][2]) for axis, by in found.items()
    )
    return (
        f"{legend(labels)}<div class=panels><figure>{radar_svg(found)}"
        "<figcaption>Each axis runs from the worst row, in the middle, to the best.</figcaption>"
        f"</figure><div class=grid>{dots}</div></div>"
    )


def _figures(rows: Sequence[Row]) -> str:
    """Every figure that anybody has, one a line; a column for each method."""
    labels = list(dict.fromkeys(row["method"] for row in rows))
    head = "".join(
        f'<th class="{colour_of(m, labels)}"><i></i>{html.escape(m[:60])}</th>' for m in labels
    )
    lines = [f"<tr><th></th>{head}</tr>"]
    arrows = {1: "↑", -1: "↓", 0: "="}
    for group, names in GROUPS.items():
        found = known_axes({name: summary(rows, name) for name in names})
        if found:
            lines.append(f"<tr class=group><th colspan={len(labels) + 1}>{group}</th></tr>")
        for name, by in found.items():
            words, unit, way = FIGURES[name]
            unit = f", {unit}" if unit else ""
            cells = "".join(f"<td>{_cell(by[m], m)}</td>" for m in labels)
            lines.append(
                f"<tr><th>{name} {arrows[way]}<small>{html.escape(words + unit)}</small></th>"
                f"{cells}</tr>"
            )
    cells = "".join(f"<td>{failures(rows, m)}</td>" for m in labels)
    lines.append(f"<tr class=group><th>failed</th>{cells}</tr>")
    return f"<div class=wide><table class=figures>{''.join(lines)}</table></div>"


def _cell(figure: dict[str, float], label: str) -> str:
    if not figure["clips"]:
        return "-"
    mean = number(figure["mean"])
    mean = mean if label in BASELINES else f"<b>{mean}</b>"
    if figure["clips"] == 1:
        return mean
    return f"{mean}<small>{number(figure['low'])} .. {number(figure['high'])}</small>"


def _pairs(rows: Sequence[Row], methods: Sequence[str], main: str) -> str:
    """Differences of the judged method and every other, paired."""
    out = [
        "<p>Differences on the clips that both have: a clip that is hard for both widens no "
        "interval. An interval without 0 is a difference.</p>"
    ]
    for other in dict.fromkeys(["copy", "wrong-audio", *methods[1:]]):
        header, body = pair_table(rows, main, other, MAIN)
        if not body:
            continue
        table, words = _table(header, body), html.escape(f"{main} less {other}")
        out.append(f"<details><summary>{words}</summary>{table}</details>")
    return "".join(out)


def _table(header: list[str], body: list[list[str]]) -> str:
    if not body:
        return "<p>Nothing to show.</p>"
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    lines = []
    for line in body:
        small = (_INTERVAL.sub(r"<small>\1</small>", html.escape(cell)) for cell in line[1:])
        cells = "".join(f"<td>{cell}</td>" for cell in small)
        lines.append(f"<tr><th>{html.escape(line[0])}</th>{cells}</tr>")
    return f"<div class=wide><table><tr>{head}</tr>{''.join(lines)}</table></div>"


def _worst(worst: list[Worst], labels: list[str]) -> str:
    """Strips and curves, the worst first."""
    if not worst:
        return "<p>No clip could be ranked.</p>"
    out = [
        f"<p>By {worst[0].key}: {html.escape(FIGURES[worst[0].key][0])}. Under each strip of "
        f"mouths: the opening as the ruler reads it, and the voice as a grey area.</p>"
    ]
    for one in worst:
        name = f"{one.row['name']} {one.row['group']}".strip()
        out.append(f"<h3>{html.escape(name)} <span>{one.key} {one.row[one.key]:.2f}</span></h3>")
        strips = "".join(
            f"<figure><figcaption>{html.escape(label)}</figcaption>"
            f'<img alt="{html.escape(label)} at {MOMENTS} moments" '
            f'src="data:image/jpeg;base64,{code}"></figure>'
            for label, code in one.strips.items()
        )
        out.append(f"<div class=strip>{strips}</div>{legend(list(one.read))}")
        out.append(curves_svg(one.times, one.read, one.sound, labels))
    return "".join(out)


def _failures(rows: Sequence[Row]) -> str:
    failed = [[r["method"], r["name"], r["error"]] for r in rows if r["status"] == "failed"]
    body = _table(["method", "clip", "why"], failed) if failed else "<p>None.</p>"
    return _section("Failures", body)


def _success(rows: Sequence[Row], folder: Path) -> str:
    """The generation success rate from human_sheet.csv; an empty sheet is written first."""
    sheet = folder / "human_sheet.csv"
    if not sheet.exists():
        with sheet.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["method", "clip", *HUMAN])
            writer.writerows([r["method"], r["name"], "", "", ""] for r in rows if r["method"])
    said: dict[str, list[bool]] = {}
    with sheet.open(newline="", encoding="utf-8-sig") as file:
        for line in csv.DictReader(file):
            words = [(line.get(name) or "").strip().lower() for name in HUMAN]
            if all(words):
                yes = all(w in ("yes", "y", "1") for w in words)
                said.setdefault(line["method"], []).append(yes)
    if not said:
        return _section(
            "Generation success rate",
            f"<p>Nobody has judged yet: fill in {html.escape(sheet.name)} (yes or no) and write "
            "the report again. Failures count as no.</p>",
        )
    for row in rows:
        if row["status"] == "failed":
            said.setdefault(row["method"], []).append(False)
    body = [[m, f"{np.mean(v):.1%}", str(len(v))] for m, v in said.items()]
    return _section("Generation success rate", _table(["method", "success", "judged"], body))


def _published() -> str:
    out = [
        "<p>What other methods' authors and rivals printed. These figures were taken on other "
        "clips, by other networks, with other crops: <b>not comparable</b> with anything above, "
        "and between each other only within a table.</p>"
    ]
    for data in json.loads((_DATA / "published.json").read_text(encoding="utf-8")):
        body = [[name, *map(str, values)] for name, values in data["rows"].items()]
        out.append(
            f"<h3>{html.escape(data['set'])} <span>not comparable</span></h3>"
            f"<p>{html.escape(data['source'])}. {html.escape(data['note'])}</p>"
            f"{_table(['', *data['columns']], body)}"
        )
    return _section("Published figures of others", "".join(out))


def _legend() -> str:
    better = {1: "higher", -1: "lower", 0: "nearest to the truth row"}
    body = [[name, words, unit, better[way]] for name, (words, unit, way) in FIGURES.items()]
    table = _table(["", "what it is", "unit", "better"], body)
    return _section("What the figures are", f"<details><summary>Show</summary>{table}</details>")
