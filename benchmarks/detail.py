"""How sharp is the mouth that was drawn, against the source's and the truth's?

    python benchmarks/detail.py OUT     # OUT as benchmarks/lip_sync.py fills and measures it

The square around the source's mouth, as large as mouth and chin (40 % of the standard crop), of
every fifth frame. Detail: the mean variance of its Laplacian (evaluation/metrics.py), as a ratio;
PSNR of the same square against the truth. Rows: result against source, result against truth, truth
against source (what another mouth alone changes). Mean of the items, their median and least.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from omnisync_core.evaluation.metrics import psnr, sharpness
from omnisync_core.media import read_frames
from omnisync_core.region import standard_box

EVERY = 5
SHARE = 0.4
PAIRS = (("result", "source"), ("result", "truth"), ("truth", "source"))


def squares(folder: Path) -> dict[str, list[np.ndarray]]:
    """Video -> the mouth's square of every fifth frame whose place in the source is known."""
    places = np.load(folder / "source.mp4.lips.npz")["crop"]
    names = [n for n in ("source", "result", "truth") if (folder / f"{n}.mp4").exists()]
    found: dict[str, list[np.ndarray]] = {}
    for name in names:
        found[name] = []
        for i, frame in enumerate(read_frames(folder / f"{name}.mp4")):
            if i % EVERY or i >= len(places) or not np.isfinite(places[i]).all():
                continue
            left_eye, right_eye, mouth = places[i]
            half = round(SHARE / 2 * standard_box(left_eye, right_eye, mouth).side)
            x, y = (max(half, round(float(v))) for v in mouth)
            found[name].append(frame[y - half : y + half, x - half : x + half])
    shortest = min(len(one) for one in found.values())
    return {name: one[:shortest] for name, one in found.items()}


def report(kind: str, folders: list[Path]) -> None:
    """Print the table of one kind."""
    ratios, near = defaultdict(list), []
    found = [squares(folder) for folder in folders]
    items = [shown for shown in found if shown["source"]]
    for shown in items:
        detail = {name: np.mean([sharpness(s[None]) for s in one]) for name, one in shown.items()}
        for a, b in PAIRS:
            if a in detail and b in detail:
                ratios[a, b].append(detail[a] / max(detail[b], 1))
        if {"result", "truth"} <= shown.keys():
            both = zip(shown["result"], shown["truth"], strict=True)
            near.append(np.mean([psnr(a[None], b[None]) for a, b in both]))
    write = sys.stdout.write
    write(f"\n## {kind}: {len(items)} of {len(folders)} items with a face\n\n")
    write("| detail of | mean | median | least |\n| --- | --- | --- | --- |\n")
    for (a, b), values in ratios.items():
        mean, middle, least = np.mean(values), np.median(values), min(values)
        write(f"| {a} against {b} | {mean:.2f} | {middle:.2f} | {least:.2f} |\n")
    if near:
        write(f"\nPSNR of the result against the truth: {np.mean(near):.2f} dB\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path, help="what benchmarks/lip_sync.py filled and measured")
    out = parser.parse_args().out
    for kind in ("rendered", "real"):
        folders = sorted(path.parent for path in (out / kind).glob("*/item.json"))
        if folders:
            report(kind, folders)


if __name__ == "__main__":
    main()
