"""Does the result's mouth follow the voice? Against copying the input, and against another voice.

    export OMNISYNC_DATA=...                             # holds clips/dev, speech/dev, facekit.npz
    python benchmarks/lip_sync.py make OUT --seconds 4   # runs the product; skips what is there
    python benchmarks/lip_sync.py measure OUT --python ENV/bin/python   # ENV has mediapipe

Run it where `import omnisync_core` works (`pip install -e ".[train]" faker`). `make` fills
OUT/real with each development clip x foreign voices (evaluation only, never to be published) and
OUT/rendered with held-out heads and voices, whose true lips are known; --only real|rendered,
--limit N and --sources (no product run) make less of it. Each item's folder holds source.mp4,
voice.wav, other.wav, result.mp4, item.json and, rendered, truth.mp4 and truth.npz. `measure` has
the lips of every video measured by measure_lips.py in the other environment, writes
OUT/lip_sync.json and prints the tables. curves.py defines every figure; the closures of real items
are those of p, b, m that pocketsphinx recognises in the English voices. Rows: result; copy (the
source against the driving voice); wrong voice (the result against another voice); own voice (the
source against its own sound: web clips may be out of sync by themselves, so see its peak and
lag); truth (the ruler's ceiling).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from curves import (
    agreement,
    cell,
    closure_recall,
    envelope,
    interval,
    loudness,
    moving_in_silence,
    on_clock,
    table,
)
from expected_opening import fit, spectrum
from pairing import cut_video, cut_voice, pairs, read_sound

NAMES = {"source": "copy", "result": "result", "truth": "truth"}
"""Video -> row."""
_ENGLISH = ("LJ", "en_")
"""How the names of English voices begin: of those p, b and m can be found."""
FACES_NEEDED = 0.7
"""An item whose result or source shows the ruler fewer faces is left out, and counted."""


def prepare_real(out: Path, *, seconds: float, voices_per_clip: int, limit: int) -> None:
    """Cut the inputs of every real item."""
    for clip, voice, other in pairs(voices_per_clip=voices_per_clip)[:limit]:
        folder = out / f"{clip.stem}__{voice.stem}"
        if (folder / "item.json").exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        cut_video(clip, folder / "source.mp4", seconds=seconds)
        cut_voice(voice, folder / "voice.wav", seconds=seconds)
        cut_voice(other, folder / "other.wav", seconds=seconds)
        item = {"clip": clip.stem, "voice": voice.stem, "other": other.stem}
        (folder / "item.json").write_text(json.dumps(item))


def prepare_rendered(out: Path, *, seconds: float, limit: int) -> None:
    """Render every item; the other voice is the next item's."""
    from held_out_heads import render_item

    folders = [out / f"head{i:02d}" for i in range(limit)]
    for i, folder in enumerate(folders):
        if (folder / "item.json").exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        item = render_item(folder, index=i, seconds=seconds)
        item = {"clip": folder.name, "voice": folder.name, **item}
        (folder / "item.json").write_text(json.dumps(item))
    for i, folder in enumerate(folders):
        following = folders[(i + 1) % limit]
        shutil.copyfile(following / "voice.wav", folder / "other.wav")
        shutil.copyfile(following / "truth.npz", folder / "other.npz")


def run_product(folders: list[Path], *, model: str, options: dict) -> None:
    """result.mp4 for every folder that lacks one, and what it took into item.json."""
    from omnisync_core.checkpoint import load_model
    from omnisync_core.config import SyncOptions
    from omnisync_core.pipeline import sync_video

    loaded, chosen = load_model(model), SyncOptions(**options)
    for folder in folders:
        result = folder / "result.mp4"
        if result.exists():
            continue
        started = time.perf_counter()
        summary = sync_video(
            loaded, folder / "source.mp4", folder / "voice.wav", result, options=chosen
        )
        item = json.loads((folder / "item.json").read_text())
        item["seconds"] = round(time.perf_counter() - started, 2)
        item["edited"], item["options"] = summary.edited, options
        (folder / "item.json").write_text(json.dumps(item))
        sys.stdout.write(f"{folder.name}: {item['seconds']} s, {item['edited']} edited\n")
        sys.stdout.flush()


def judge_item(folder: Path, weights: np.ndarray) -> dict:
    """Every figure of one item; rows only for the videos that exist."""
    sounds = {name: read_sound(folder / f"{name}.wav") for name in ("voice", "other")}
    videos = [n for n in ("source", "result", "truth") if (folder / f"{n}.mp4").exists()]
    ruler = {n: np.load(folder / f"{n}.mp4.lips.npz") for n in videos}
    count = int(ruler["source"]["times"][-1] * 100) + 1
    mouth = {n: on_clock(z["times"], z["opening"], count) for n, z in ruler.items()}
    item = json.loads((folder / "item.json").read_text())
    item["frames_in"] = len(ruler["source"]["times"])
    item["rate"] = round((item["frames_in"] - 1) / float(ruler["source"]["times"][-1]), 3)
    item["faces"] = {n: float(np.isfinite(z["opening"]).mean()) for n, z in ruler.items()}
    pairs_of_rows = [("copy", "source", "voice")]
    if "result" in videos:
        item["frames_out"] = len(ruler["result"]["times"])
        pairs_of_rows += [("result", "result", "voice"), ("wrong voice", "result", "other")]
    if "truth" in videos:
        pairs_of_rows += [("truth", "truth", "voice")]
        item |= judge_true_lips(folder, mouth, count)
    else:
        if item["voice"].startswith(_ENGLISH):
            spans = spoken_closures(sounds["voice"])
            item["closures"] = len(spans)
            item["closure_recall"] = {NAMES[n]: closure_recall(c, spans) for n, c in mouth.items()}
        if len(own := read_sound(folder / "source.mp4")):
            sounds["own"] = own
            pairs_of_rows += [("own voice", "source", "own")]
    for key, curve in (
        ("envelope", envelope),
        ("expected", lambda sound: spectrum(sound) @ weights),
    ):
        heard = {name: curve(sound) for name, sound in sounds.items()}
        heard = {name: (sound, np.ones(len(sound), bool)) for name, sound in heard.items()}
        item[key] = {row: agreement(mouth[n], heard[sound]) for row, n, sound in pairs_of_rows}
    loud = loudness(sounds["voice"])
    item["silence"] = {NAMES[n]: moving_in_silence(curve, loud) for n, curve in mouth.items()}
    return item


def spoken_closures(voice: np.ndarray) -> list[tuple[float, float]]:
    """Starts and ends in seconds of p, b, m in English speech [n] at 16 kHz, as pocketsphinx
    recognises it."""
    from omnisync_core.training.align import align
    from omnisync_core.training.visemes import VISEMES, viseme_class

    said = [phone for phone in align(voice) if phone.symbol]
    closed = [one for one in said if VISEMES[viseme_class(one.symbol)].name == "pbm"]
    return [(one.start, one.stop) for one in closed]


def judge_true_lips(folder: Path, mouth: dict, count: int) -> dict:
    """Rendered items: measured openings against the true opening, and the closures."""
    true, other = np.load(folder / "truth.npz"), np.load(folder / "other.npz")
    right = on_clock(true["times"], true["truth"], count)
    wrong = on_clock(other["times"], other["truth"], count)
    rows = {NAMES[n]: agreement(curve, right) for n, curve in mouth.items()}
    if "result" in mouth:
        rows["wrong voice"] = agreement(mouth["result"], wrong)
    spans = [(float(a), float(b)) for a, b in true["closures"]]
    return {
        "true": rows,
        "closures": len(spans),
        "closure_recall": {NAMES[n]: closure_recall(c, spans) for n, c in mouth.items()},
    }


def compare_rows(items: list[dict], key: str) -> tuple[dict, list[list[str]]]:
    """Means with intervals per row, then the paired differences; figures and table lines."""
    figures: dict[str, dict] = {}
    order = ("result", "copy", "wrong voice", "own voice", "truth")
    for name in order:
        having = [item for item in items if name in item[key]]
        clips = [item["clip"] for item in having]
        if having:
            figures[name] = {
                k: interval([item[key][name][k] for item in having], clips)
                for k in ("r0", "peak", "lag")
            }
    for other in ("copy", "wrong voice"):
        having = [item for item in items if {"result", other} <= item[key].keys()]
        clips = [item["clip"] for item in having]
        if having:
            figures[f"result - {other}"] = {
                k: interval([i[key]["result"][k] - i[key][other][k] for i in having], clips)
                for k in ("r0", "peak")
            }
    lines = []
    for name, row in figures.items():
        lag = cell(row["lag"], digits=0) if "lag" in row else ""
        lines.append([name, cell(row["r0"]), cell(row["peak"]), lag, str(row["r0"]["clips"])])
    return figures, lines


def share_table(items: list[dict], key: str, title: str) -> tuple[dict, str]:
    """Means with intervals of one share per video."""
    figures = {}
    for name in ("result", "copy", "truth"):
        having = [item for item in items if name in item.get(key, {})]
        if having:
            values = [item[key][name] for item in having]
            figures[name] = interval(values, [item["clip"] for item in having])
    lines = [[name, cell(figure), str(figure["clips"])] for name, figure in figures.items()]
    return figures, f"\n{title}\n\n" + table(["video", "share", "clips"], lines)


def item_table(items: list[dict]) -> str:
    """One line per item."""
    lines = []
    for item in items:
        rows, spent = item["expected"], item.get("seconds")
        figure = lambda name: f"{rows[name]['r0']:.2f}" if name in rows else "-"  # noqa: B023, E731
        lines.append(
            [
                item["clip"],
                item["voice"],
                f"{item['frames_in']} / {item.get('frames_out', '-')}",
                str(item["rate"]),
                " / ".join(f"{share:.0%}" for share in item["faces"].values()),
                " / ".join(figure(name) for name in ("result", "copy", "wrong voice")),
                f"{spent / item['frames_in']:.2f}" if spent else "-",
            ]
        )
    header = ["clip", "voice", "frames in / out", "rate", "faces " + " / ".join(items[0]["faces"])]
    return table([*header, "expected: r0 result / copy / wrong", "s per frame"], lines)


def report(kind: str, folders: list[Path], weights: np.ndarray) -> dict:
    """Print the tables of one kind; returns the figures."""
    items = [judge_item(folder, weights) for folder in folders]
    seen = [i for i in items if min(i["faces"].values()) >= FACES_NEEDED]
    write = sys.stdout.write
    write(
        f"\n## {kind}: {len(seen)} of {len(items)} items (a face in {FACES_NEEDED:.0%} or more)\n"
    )
    figures: dict = {"items": items}
    if not seen:
        return figures
    for key, title in (
        ("true", "Opening against the true opening"),
        ("expected", "Opening against what the driving voice lets expect"),
        ("envelope", "Opening against the driving voice's envelope"),
    ):
        if key in seen[0]:
            figures[key], lines = compare_rows(seen, key)
            write(f"\n{title}\n\n" + table(["row", "r0", "peak", "lag ms", "clips"], lines))
    for key, title in (("closure_recall", "Closed at p, b, m"), ("silence", "Moving in silence")):
        if any(key in item for item in seen):
            figures[key], text = share_table(seen, key, title)
            write(text)
    write("\n" + item_table(items))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make", help="prepare the inputs and run the product on them")
    make.add_argument("--model", default="mini", help="embedded model or checkpoint")
    make.add_argument("--options", type=json.loads, default={}, help="SyncOptions as JSON")
    make.add_argument("--seconds", type=float, default=4.0)
    make.add_argument("--voices-per-clip", type=int, default=2)
    make.add_argument("--limit", type=int, help="items of each kind (default: all, and 12 heads)")
    make.add_argument("--sources", action="store_true", help="only prepare the inputs")
    measure = commands.add_parser("measure", help="measure the lips and print the tables")
    measure.add_argument("--python", default=sys.executable, help="an interpreter with mediapipe")
    for command in (make, measure):
        command.add_argument("out", type=Path)
        command.add_argument("--only", choices=("real", "rendered"))
    arguments = parser.parse_args()
    out, kinds = arguments.out, [arguments.only] if arguments.only else ["rendered", "real"]
    if arguments.command == "make":
        for kind in kinds:
            if kind == "real":
                prepare_real(
                    out / kind,
                    seconds=arguments.seconds,
                    voices_per_clip=arguments.voices_per_clip,
                    limit=arguments.limit or 10**6,
                )
            else:
                prepare_rendered(out / kind, seconds=arguments.seconds, limit=arguments.limit or 12)
        folders = [p.parent for kind in kinds for p in sorted((out / kind).glob("*/item.json"))]
        if not arguments.sources:
            run_product(folders, model=arguments.model, options=arguments.options)
        return
    figures, weights = {}, fit(out / "expected_opening.npy")
    script = Path(__file__).parent / "measure_lips.py"
    for kind in kinds:
        folders = [p.parent for p in sorted((out / kind).glob("*/item.json"))]
        videos = [v for f in folders for v in sorted(f.glob("[!.]*.mp4"))]
        if videos:
            subprocess.run([arguments.python, script, *videos], check=True)
            figures[kind] = report(kind, folders, weights)
    (out / "lip_sync.json").write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
