"""Every development clip with a foreign voice, without loss: is anything but the mouth changed?

    export OMNISYNC_DATA=...                              # holds clips/dev and speech/dev
    python benchmarks/dev_clips.py OUT                    # whole clips; OUT is not to be published
    python benchmarks/dev_clips.py OUT --seconds 2 --only d10 --model FILE

Per clip: frames and rate in and out; drift: how much picture and sound move against each other
from the first to the last second (time stamps of the frames in and out, and the delay of the
sound in the result against the voice, by cross-correlation within +-100 ms); seconds per frame of
the whole run (start of Python included); peak memory of the process (Linux); edited frames; and
the largest difference of any colour value outside the mouth's box. Writes OUT/dev_clips.json
after every clip and leaves out those that it holds already.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

import numpy as np
from curves import table
from memory import run_watched
from pairing import RATE, cut_video, pairs, read_sound

from omnisync_core.media import probe_video, read_frames
from omnisync_core.pipeline import track_mouth
from omnisync_core.region import Box


def outside(frame: np.ndarray, result: np.ndarray, box: Box | None) -> int:
    """Largest difference of two uint8 frames outside the box (None: anywhere)."""
    apart = np.abs(frame.astype(np.int16) - result)
    if box is not None:
        low_x, high_x = (int(np.clip(e, 0, frame.shape[1])) for e in _edges(box.cx, box.side))
        low_y, high_y = (int(np.clip(e, 0, frame.shape[0])) for e in _edges(box.cy, box.side))
        apart[low_y:high_y, low_x:high_x] = 0
    return int(apart.max())


def _edges(centre: float, side: float) -> tuple[float, float]:
    return np.floor(centre - side / 2), np.ceil(centre + side / 2)


def delay(result: np.ndarray, voice: np.ndarray, *, second: float) -> float:
    """How much later (ms) the voice comes in the result around a second; NaN in silence."""
    first, size, reach = int(second * RATE), RATE, RATE // 10
    piece = voice[first : first + size].astype(np.float64)
    around = np.pad(result, (reach, reach + size))[first : first + size + 2 * reach]
    if len(piece) < size or piece.std() < 1e-4:
        return float("nan")
    scores = np.correlate(around, piece, "valid")
    return 1000 * (int(np.argmax(scores)) - reach) / RATE


def judge(video: Path, voice: Path, result: Path, *, region: str) -> dict:
    """Frames, rates, drift and the largest difference outside the mouth's box."""
    before, after = probe_video(video), probe_video(result)
    count = min(before.frames, after.frames)
    moved = 1000 * np.abs(before.times[:count] - after.times[:count]).max()
    heard, said = read_sound(result), read_sound(voice)
    last = min(len(heard), len(said)) / RATE - 1.2
    delays = [delay(heard, said, second=s) for s in (0.0, max(last, 0.0))]
    tracking = track_mouth(read_frames(video), before.times, region=region)
    both = zip(read_frames(video), read_frames(result), tracking.track, strict=True)
    differences = [outside(*three) for three in both]
    return {
        "size": f"{after.width} x {after.height}",
        "same_size": (before.width, before.height) == (after.width, after.height),
        "frames": [before.frames, after.frames],
        "rate": [round(float(before.rate), 3), round(float(after.rate), 3)],
        "variable": before.variable_rate,
        "frame_moved_ms": float(moved),
        "drift_ms": float(moved + abs(delays[1] - delays[0])),
        "delay_ms": delays[0],
        "difference_outside": max(differences),
    }


def as_table(figures: dict[str, dict]) -> str:
    """One markdown line per clip."""
    lines = []
    for clip, row in figures.items():
        lines.append(
            [
                clip,
                row["size"] + ("" if row["same_size"] else " (changed)"),
                " / ".join(map(str, row["frames"])),
                " / ".join(map(str, row["rate"])) + (" uneven" if row["variable"] else ""),
                f"{row['drift_ms']:.1f}",
                str(row["edited"]),
                f"{row['seconds'] / row['frames'][0]:.2f}",
                f"{row['peak_mib']:.0f}",
                str(row["difference_outside"]),
            ]
        )
    header = ["clip", "size", "frames in / out", "rate in / out", "drift ms", "edited"]
    return table([*header, "s per frame", "peak MiB", "difference outside"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, help="only the first seconds of each clip")
    parser.add_argument("--only", default="", help="clips whose name begins like this")
    parser.add_argument("--model", default="mini", help="embedded model or checkpoint")
    parser.add_argument("--steps", type=int, help="sampling steps (default: the product's)")
    parser.add_argument("--region", default="auto")
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    report = out / "dev_clips.json"
    figures = json.loads(report.read_text()) if report.exists() else {}
    for clip, voice, _ in pairs(voices_per_clip=1):
        if clip.stem in figures or not clip.stem.startswith(arguments.only):
            continue
        video, result = clip, out / f"{clip.stem}.mkv"
        if arguments.seconds:
            video = out / f"{clip.stem}_source.mp4"
            cut_video(clip, video, seconds=arguments.seconds)
        command = [sys.executable, "-m", "omnisync_core.cli", "sync", str(video), str(voice)]
        command += ["-o", str(result), "--lossless", "--model", arguments.model]
        command += ["--region", arguments.region]
        command += ["--steps", str(arguments.steps)] if arguments.steps else []
        watched = run_watched(command)
        edited = re.search(r"(\d+) edited", watched.output)
        row = {"voice": voice.stem, "seconds": watched.seconds, "peak_mib": watched.python}
        row["edited"] = int(edited[1]) if edited else None
        figures[clip.stem] = row | judge(video, voice, result, region=arguments.region)
        report.write_text(json.dumps(figures, indent=1))
        sys.stderr.write(f"{clip.stem}: {watched.seconds:.0f} s\n")
    sys.stdout.write(as_table(figures))


if __name__ == "__main__":
    main()
