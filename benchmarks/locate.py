"""Does the locator find the mouth? Against a face mesh (real clips) and the renderer's truth.

    python benchmarks/lip_sync.py make OUT --only real --sources
    ENV/bin/python benchmarks/measure_lips.py OUT/real/*/source.mp4   # ENV has mediapipe
    python benchmarks/locate.py OUT/real RUN/items [--weights locator.safetensors] [--frames 60]

Each folder holds items with source.mp4 and where the mouth is: source.mp4.lips.npz of
measure_lips.py, or item.npz of `omnisync bench`. A clip that appears with two voices counts once. A
row a folder: clips; missed, the share of frames without a box or with one more than half a side
off; centre and side, the medians over the clips of each one's median error (in sides; of the
logarithm); beside them the clip that is worst.
"""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from pathlib import Path

import numpy as np
from curves import table

from omnisync_core.locator import MouthLocator
from omnisync_core.media import read_frames
from omnisync_core.region import standard_box

KNOWN = ("item.npz", "source.mp4.lips.npz")


def known(item: Path) -> tuple[np.ndarray, np.ndarray]:
    """Centres [f, 2] and sides [f] of the true crops in pixels; NaN where no face was measured."""
    if (item / KNOWN[0]).exists():
        truth = np.load(item / KNOWN[0])
        return truth["centres"], truth["sides"]
    found = []
    for points in np.load(item / KNOWN[1])["crop"]:
        box = standard_box(*points) if np.isfinite(points).all() else None
        found.append((box.cx, box.cy, box.side) if box else (np.nan, np.nan, np.nan))
    rows = np.array(found)
    return rows[:, :2], rows[:, 2]


def judge(locator: MouthLocator, item: Path, *, frames: int) -> dict[str, float]:
    """The figures of one clip."""
    centres, sides = known(item)
    off, size, missed = [], [], 0
    boxes = locator.follow(islice(read_frames(item / "source.mp4"), frames))
    for i, (box, centre) in enumerate(zip(boxes, centres, strict=False)):
        if not np.isfinite(centre).all():
            continue
        away = np.inf if box is None else np.hypot(*(np.array([box.cx, box.cy]) - centre))
        if box is None or away > sides[i] / 2:
            missed += 1
            continue
        off.append(away / sides[i])
        size.append(abs(np.log(box.side / sides[i])))
    return {
        "frames": len(off) + missed,
        "missed": missed,
        "centre": float(np.median(off)) if off else np.nan,
        "side": float(np.median(size)) if size else np.nan,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--weights", type=Path, help="of another locator than the one that ships")
    parser.add_argument("--frames", type=int, default=60, help="of each clip, from its beginning")
    arguments = parser.parse_args()
    locator, rows = MouthLocator.load(arguments.weights), []
    for folder in arguments.folders:
        items = [path.parent for path in sorted(folder.glob("*/source.mp4"))]
        known_ones = [i for i in items if any((i / name).exists() for name in KNOWN)]
        items = {item.name.split("__")[0]: item for item in known_ones}
        if not items:
            parser.error(
                f"expected measured clips in {folder}, got none; --help says how to make them"
            )
        found = {n: judge(locator, items[n], frames=arguments.frames) for n in sorted(items)}
        seen = sum(one["frames"] for one in found.values())
        missed = sum(one["missed"] for one in found.values()) / seen
        line = [str(folder), str(len(found)), f"{missed:.1%}"]
        for key in ("centre", "side"):
            worst = max(found, key=lambda n: np.nan_to_num(found[n][key]))
            middle = np.nanmedian([one[key] for one in found.values()])
            line.append(f"{middle:.3f} ({worst} {found[worst][key]:.3f})")
        rows.append(line)
    sys.stdout.write(table(["folder", "clips", "missed", "centre (worst)", "side (worst)"], rows))


if __name__ == "__main__":
    main()
