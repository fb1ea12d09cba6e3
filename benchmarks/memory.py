"""Does memory depend on the clip's length? Peak memory of `omnisync sync` as a process of its own.

    python benchmarks/memory.py                           # 10 s and 60 s of 640 x 360
    python benchmarks/memory.py --seconds 10 60 300 --model FILE
    python benchmarks/memory.py --size 1920x1080 --edited 0.04 --seconds 10 60 600

A synthetic clip (a moving test card in the mouth's place, hum for a voice) with --steps 1 and given
boxes, so that long clips are affordable: what grows with length would grow here too. --edited is
the share of every ten seconds that has a mouth. "python" is the peak resident memory of the
process, "all" the largest sum over it and its ffmpeg children, sampled every 50 ms (shared pages
count twice). Linux only (/proc).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from curves import table
from pairing import ffmpeg

RATE = 25
ROUND = 10 * RATE  # frames, of which the first `edited` share has a mouth


@dataclass(frozen=True)
class Watched:
    """seconds of wall time; peaks of the process and of it with its children in MiB; its words."""

    seconds: float
    python: float
    all: float
    output: str


def _kilobytes(process: int, field: str) -> int:
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:  # it has ended
        return 0
    lines = [line for line in text.splitlines() if line.startswith(field)]
    return int(lines[0].split()[1]) if lines else 0


def _family(process: int) -> list[int]:
    try:
        tasks = Path(f"/proc/{process}/task").iterdir()
        children = [int(c) for task in tasks for c in (task / "children").read_text().split()]
    except OSError:
        children = []
    return [process, *(member for child in children for member in _family(child))]


def run_watched(command: list[str]) -> Watched:
    """Run a command to its end; SystemExit with its last words when it fails."""
    started, python, total = time.perf_counter(), 0, 0
    with tempfile.TemporaryFile("w+") as words:
        child = subprocess.Popen(command, stdout=words, stderr=subprocess.STDOUT)
        while child.poll() is None:
            python = max(python, _kilobytes(child.pid, "VmHWM"))
            total = max(total, sum(_kilobytes(p, "VmRSS") for p in _family(child.pid)))
            time.sleep(0.05)
        spent = time.perf_counter() - started
        words.seek(0)
        output = words.read()
    if child.returncode:
        raise SystemExit(f"{' '.join(command)}\nended with {child.returncode}:\n{output[-800:]}")
    return Watched(spent, python / 1024, total / 1024, output)


def make_clip(folder: Path, *, seconds: int, size: str, edited: float) -> list[str]:
    """A clip, its voice and its boxes; what `sync` is to be told of them."""
    video, voice, boxes = (folder / name for name in ("in.mp4", "voice.wav", "boxes.json"))
    width, height = map(int, size.split("x"))
    side = height // 4
    x, y = (width - side) // 2, (height - side) // 2
    length = f"rate={RATE}:duration={seconds}"
    ffmpeg(
        *("-f", "lavfi", "-i", f"color=gray:size={size}:{length}"),
        *("-f", "lavfi", "-i", f"testsrc2=size={side}x{side}:{length}"),
        *("-filter_complex", f"[0][1]overlay={x}:{y}"),
        *("-c:v", "libx264", "-preset", "ultrafast", video),
    )
    hum = f"sine=frequency=180:sample_rate=16000:duration={seconds}"
    ffmpeg("-f", "lavfi", "-i", hum, "-af", "tremolo=f=4:d=0.9", voice)
    shown = [i % ROUND < edited * ROUND for i in range(seconds * RATE)]
    boxes.write_text(json.dumps([[x, y, side, side] if one else None for one in shown]))
    return [str(video), str(voice), "--region", str(boxes)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, nargs="+", default=[10, 60])
    parser.add_argument("--size", default="640x360", help="of the picture (default 640x360)")
    parser.add_argument("--edited", type=float, default=1.0, help="share with a mouth (default 1)")
    parser.add_argument("--model", default="mini", help="embedded model or checkpoint")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seconds in arguments.seconds:
            clip = make_clip(folder, seconds=seconds, size=arguments.size, edited=arguments.edited)
            command = [sys.executable, "-m", "omnisync_core.cli", "sync", *clip]
            command += ["-o", str(folder / "out.mp4"), "--steps", "1"]
            watched = run_watched([*command, "--model", arguments.model])
            figures = (watched.python, watched.all, watched.seconds)
            rows.append([str(seconds), *(f"{figure:.0f}" for figure in figures)])
            sys.stderr.write(f"{seconds} s of video: {' '.join(rows[-1][1:])}\n")
    header = ["seconds of video", "python MiB", "all MiB", "seconds taken"]
    sys.stdout.write(table(header, rows))


if __name__ == "__main__":
    main()
