"""Does memory depend on the clip's length? Peak memory of `omnisync sync` as a process of its own.

    python benchmarks/memory.py                           # 10 s and 60 s of 640 x 360
    python benchmarks/memory.py --seconds 10 60 300 --model FILE

A synthetic clip (a moving test card, hum for a voice) with --steps 1 and a fixed region, so that
long clips are affordable: what grows with length would grow here too. "python" is the peak
resident memory of the process, "all" the largest sum over it and its ffmpeg children, sampled
every 50 ms (shared pages count twice). Linux only (/proc).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from curves import table
from pairing import ffmpeg

REGION = "272,132,96,96"


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, nargs="+", default=[10, 60])
    parser.add_argument("--model", default="mini", help="embedded model or checkpoint")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seconds in arguments.seconds:
            video, voice = folder / "in.mp4", folder / "voice.wav"
            card = f"testsrc2=size=640x360:rate=25:duration={seconds}"
            ffmpeg("-f", "lavfi", "-i", card, "-c:v", "libx264", "-preset", "ultrafast", video)
            hum = f"sine=frequency=180:sample_rate=16000:duration={seconds}"
            ffmpeg("-f", "lavfi", "-i", hum, "-af", "tremolo=f=4:d=0.9", voice)
            command = [sys.executable, "-m", "omnisync_core.cli", "sync", str(video), str(voice)]
            command += ["-o", str(folder / "out.mp4"), "--steps", "1", "--region", REGION]
            watched = run_watched([*command, "--model", arguments.model])
            figures = (watched.python, watched.all, watched.seconds)
            rows.append([str(seconds), *(f"{figure:.0f}" for figure in figures)])
            sys.stderr.write(f"{seconds} s of video: {watched.python:.0f} MiB\n")
    header = ["seconds of video", "python MiB", "all MiB", "seconds taken"]
    sys.stdout.write(table(header, rows))


if __name__ == "__main__":
    main()
