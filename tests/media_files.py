"""Media files that tests make of nothing, with the ffmpeg that the product runs."""

import subprocess
from pathlib import Path

import imageio_ffmpeg


def ffmpeg(*arguments: str | Path, feed: bytes = b"") -> bytes:
    """Run the bundled ffmpeg, fed with bytes; what it writes to standard output."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, input=feed, stdout=subprocess.PIPE).stdout


def make_video(path: Path, *, frames: int = 9, rate: str = "25", size: str = "64x48") -> Path:
    """A moving test picture."""
    scaled = ["-vf", f"scale={size.replace('x', ':')},format=yuv444p", "-frames:v", str(frames)]
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=size=64x48:rate={rate}", *scaled, path)
    return path


def make_voice(path: Path, *, seconds: float = 0.36, rate: int = 22050) -> Path:
    """A tone whose loudness swings."""
    sound = f"aevalsrc=0.5*sin(900*t)*sin(20*t):s={rate}"
    ffmpeg("-f", "lavfi", "-i", sound, "-t", str(seconds), path)
    return path
