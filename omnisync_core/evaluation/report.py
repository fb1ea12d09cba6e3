"""One self-contained page of a run: tables, radars, the worst clips with strips and curves.

Everything is inside the file (inline SVG and JPEG); it opens without a network, in light and dark,
on small and wide screens. Beside it: radar.png and curves_*.png, if matplotlib is there, and
human_sheet.csv for the success rate that people decide.
"""

from __future__ import annotations

import base64
import csv
import html
import json
import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from .bench import Row, read_rows, summary
from .clips import Clip, frames_of, load_clip
from .curves import envelope
from .drawing import curves_svg, plots, radar_svg
from .judging import FIGURES
from .methods import Method
from .tables import distance_table, judged, pair_table, track_table, tracks_of

MAIN = (
    *("truth_r", "ose_c", "sound_r", "closures", "visemes", "lmd", "leak", "open_ratio"),
    *("psnr", "ssim", "texture", "niqe_own", "style", "outside", "likeness", "likeness_drift"),
    *("lost", "occluder", "repair_iou", "flicker", "seam", "jerk", "mcs", "fps"),
    *("lse_c", "lse_d"),
)
AXES = ("truth_r", "ose_c", "closures", "visemes", "ssim", "style", "likeness", "mcs")
_WORST, _MOMENTS, _STRIP = 6, 6, 112
HUMAN = ("mouth changes", "in sync", "free of artefacts")
"""What people say of a result: yes or no; it succeeds with three times yes."""
_INTERVAL = re.compile(r" (\(\S+ \.\. \S+\))$")
_STYLE = Path(__file__).parent / "data" / "report.css"


def write_report(run: Path, page: Path) -> Path:
    """Write the page and what lies beside it; returns its path."""
    rows = read_rows(run)
    methods = judged(rows)
    main = methods[0] if methods else rows[0]["method"]
    parts = [_intro(rows, main), "<h2>All tracks</h2>", _table(*track_table(rows, MAIN))]
    for track in tracks_of(rows):
        some = [row for row in rows if row["track"] == track]
        parts += [f"<h2>{html.escape(track)}</h2><div class=pair>", _radar(some), "</div>"]
        parts += [_table(*track_table(some, MAIN))]
    parts += ["<h2>Distances between sets</h2>", _table(*distance_table(rows, run))]
    for other in dict.fromkeys(["copy", "wrong-audio", *methods[1:]]):
        parts += [f"<h2>{html.escape(main)} less {html.escape(other)}, clip by clip</h2>"]
        parts += [_table(*pair_table(rows, main, other, MAIN))]
    parts += ["<h2>Worst clips first</h2>", *_worst(rows, run, main), _failures(rows)]
    parts += [_success(rows, page.parent), _published(), _legend()]
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>omnisync bench</title><style>{_STYLE.read_text()}</style></head>"
        f"<body><main><h1>omnisync bench</h1>{''.join(parts)}</main></body></html>"
    )
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, encoding="utf-8")
    plots(rows, AXES, page.parent)
    return page


def _intro(rows: Sequence[Row], main: str) -> str:
    clips = len({row["name"] for row in rows})
    failed = sum(row["status"] == "failed" for row in rows)
    return (
        f"<p>{clips} clips, {failed} failures. Judged: <b>{html.escape(main)}</b>. A figure is a "
        "mean over clips with its 95 % bootstrap interval. Read every figure between the rows "
        "<i>copy</i> (nothing was done), <i>wrong-audio</i> (a moving mouth that says something "
        "else) and <i>truth</i>.</p>"
    )


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


def _radar(rows: Sequence[Row]) -> str:
    found = {axis: summary(rows, axis) for axis in AXES}
    return radar_svg(found)


def _worst(rows: Sequence[Row], run: Path, main: str) -> list[str]:
    """Strips and curves of the judged method's worst clips, the worst first."""
    own = [row for row in rows if row["method"] == main and row["status"] == "ok"]
    key = next((k for k in ("truth_r", "ose_c", "mcs") if any(_known(r, k) for r in own)), "mcs")
    ranked = sorted((row for row in own if _known(row, key)), key=lambda row: row[key])
    out = []
    for row in ranked[:_WORST]:
        item = run / "items" / row["name"]
        videos = {m: _video(run, m, row["name"]) for m in dict.fromkeys((main, "truth"))}
        if not (item / "item.json").exists() or not videos[main].exists():
            continue
        clip = load_clip(item)
        label = f"{row['name']} {row['group']}".strip()
        out.append(f"<h3>{html.escape(label)}: {key} {row[key]:.2f}</h3>")
        shown = {"source": clip.source} | {m: frames_of(v) for m, v in videos.items() if v.exists()}
        out += [_strip(clip, shown), curves_svg(*_curves(clip, run, row["name"], videos))]
    return out


def _known(row: Row, key: str) -> bool:
    return isinstance(row.get(key), float) and np.isfinite(row[key])


def _video(run: Path, label: str, name: str) -> Path:
    return run / "results" / Method(label, lambda item, out: None).folder / f"{name}.mp4"


def _curves(clip: Clip, run: Path, name: str, videos: dict[str, Path]) -> tuple:
    """Times, read openings by method, and the voice's envelope at those times."""
    times, heard = clip.numbers["times"], envelope(clip.sound)
    sound = np.interp(times, np.arange(len(heard)) / 100, heard)
    read = {}
    for label, video in videos.items():
        if (kept := video.with_suffix(".npz")).exists():
            with np.load(kept) as stored:
                read[label] = stored["opening"]
    return times, read, sound


def _strip(clip: Clip, shown: dict[str, np.ndarray]) -> str:
    """Mouth crops of the same moments, one row for each video."""
    rows = []
    for label, frames in shown.items():
        moments = np.linspace(0, min(len(f) for f in shown.values()) - 1, _MOMENTS).astype(int)
        crops = [clip.crop(frames[i], i, _STRIP) for i in moments]
        data = cv2.imencode(".jpg", np.concatenate(crops, 1)[..., ::-1])[1].tobytes()
        code = base64.b64encode(data).decode()
        rows.append(
            f"<figure><figcaption>{html.escape(label)}</figcaption>"
            f'<img alt="{html.escape(label)} at {_MOMENTS} moments" '
            f'src="data:image/jpeg;base64,{code}"></figure>'
        )
    return f"<div class=strip>{''.join(rows)}</div>"


def _failures(rows: Sequence[Row]) -> str:
    failed = [[r["method"], r["name"], r["error"]] for r in rows if r["status"] == "failed"]
    return "<h2>Failures</h2>" + (
        _table(["method", "clip", "why"], failed) if failed else "<p>None.</p>"
    )


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
                said.setdefault(line["method"], []).append(
                    all(w in ("yes", "y", "1") for w in words)
                )
    text = "<h2>Generation success rate</h2>"
    if not said:
        return text + (
            f"<p>Nobody has judged yet: fill in {html.escape(sheet.name)} (yes or no) and write "
            "the report again. Failures count as no.</p>"
        )
    for row in rows:
        if row["status"] == "failed":
            said.setdefault(row["method"], []).append(False)
    body = [[m, f"{np.mean(v):.1%}", str(len(v))] for m, v in said.items()]
    return text + _table(["method", "success", "judged"], body)


def _published() -> str:
    data = json.loads((Path(__file__).parent / "data" / "published.json").read_text())
    body = [[name, *map(str, values)] for name, values in data["rows"].items()]
    return (
        "<h2>Published figures of others <em>(not comparable)</em></h2>"
        f"<p>{html.escape(data['set'])}; {html.escape(data['source'])}. <b>Not comparable:</b> "
        f"{html.escape(data['note'])}</p>{_table(['', *data['columns']], body)}"
    )


def _legend() -> str:
    better = {1: "higher", -1: "lower", 0: "nearest to the truth row"}
    body = [[name, words, unit, better[way]] for name, (words, unit, way) in FIGURES.items()]
    return "<h2>What the figures are</h2>" + _table(["", "", "unit", "better"], body)
