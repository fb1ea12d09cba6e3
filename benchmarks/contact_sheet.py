"""Look at what lip_sync.py made: a contact sheet of mouths, and side-by-side videos.

    python benchmarks/lip_sync.py make OUT
    python benchmarks/contact_sheet.py OUT [--videos 3] [--frames 8] [--kind rendered]

Writes OUT/contact_KIND.png (for every item the source's mouths above the result's, and the truth's
where it is known, at the same evenly spaced frames) and OUT/side_by_side/NAME.mp4 for the first
items: source left, result right, with the driving voice. The development clips show real people:
what is made of them is for looking at, never to be published.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from omnisync_core.composite import side_by_side, take_crop
from omnisync_core.frame_writer import FrameWriter
from omnisync_core.media import probe_video, read_frames
from omnisync_core.pipeline import track_mouth

SIDE = 120
ROWS = ("source", "result", "truth")


def mouths(folder: Path, *, frames: int) -> np.ndarray:
    """One item's rows of crops around the source's mouth, uint8 [rows SIDE, frames SIDE, 3]."""
    shown = [list(read_frames(p)) for p in (folder / f"{r}.mp4" for r in ROWS) if p.exists()]
    times = probe_video(folder / "source.mp4").times
    track = track_mouth(shown[0], times).track
    chosen = np.linspace(0, len(track) - 1, frames + 2).round().astype(int)[1:-1]
    rows = []
    for video in shown:
        row = []
        for i in chosen:
            box, picture = track[i], np.zeros((SIDE, SIDE, 3), np.uint8)
            if box is not None and i < len(video):
                crop = (take_crop(video[i], box, SIDE) + 1) * 127.5
                picture = crop.permute(1, 2, 0).round().clamp(0, 255).byte().numpy()
            row.append(picture)
        rows.append(np.concatenate(row, axis=1))
    return np.concatenate(rows)


def compare(folder: Path, out: Path) -> None:
    """Write source and result side by side with the driving voice."""
    info = probe_video(folder / "source.mp4")
    result = read_frames(folder / "result.mp4")
    with FrameWriter(
        out,
        width=2 * info.width,
        height=info.height,
        rate=info.rate,
        audio=folder / "voice.wav",
        seconds=info.duration,
    ) as writer:
        for one, other in zip(read_frames(folder / "source.mp4"), result, strict=False):
            writer.write(side_by_side(one, other))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder that lip_sync.py make filled")
    parser.add_argument("--kind", choices=("real", "rendered"), default="rendered")
    parser.add_argument("--videos", type=int, default=3, help="side-by-side videos (default 3)")
    parser.add_argument("--frames", type=int, default=8, help="mouths in a row (default 8)")
    arguments = parser.parse_args()
    out, kind = arguments.out, arguments.kind
    folders = [p.parent for p in sorted((out / kind).glob("*/result.mp4"))]
    if not folders:
        raise SystemExit(f"{out / kind} holds no results; run lip_sync.py make first.")
    sheet = np.concatenate([mouths(folder, frames=arguments.frames) for folder in folders])
    cv2.imwrite(str(out / f"contact_{kind}.png"), sheet[..., ::-1])
    (out / "side_by_side").mkdir(exist_ok=True)
    for folder in folders[: arguments.videos]:
        compare(folder, out / "side_by_side" / f"{folder.name}.mp4")


if __name__ == "__main__":
    main()
