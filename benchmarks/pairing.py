"""Which clip meets which voice, and cutting both to an affordable length.

In: $OMNISYNC_DATA (clips/dev, speech/dev). Out: pairs that are the same on every machine and day.
Used by lip_sync.py and dev_clips.py.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np

RATE = 16_000


def data_folder() -> Path:
    """$OMNISYNC_DATA; SystemExit with the remedy when it is unset."""
    folder = os.environ.get("OMNISYNC_DATA")
    if not folder:
        raise SystemExit("Set OMNISYNC_DATA to the folder that holds clips/ and speech/.")
    return Path(folder)


def pairs(*, voices_per_clip: int) -> list[tuple[Path, Path, Path]]:
    """(clip, driving voice, another voice) for every development clip, in order of names."""
    clips = sorted((data_folder() / "clips/dev").glob("*.mp4"))
    voices = sorted(p for p in (data_folder() / "speech/dev").iterdir() if p.suffix != ".txt")
    count = len(voices)
    out = []
    for i, clip in enumerate(clips):
        for k in range(voices_per_clip):
            # A stride of 5 walks through every voice and language before one comes again.
            first = (i * voices_per_clip + k) * 5 % count
            out.append((clip, voices[first], voices[(first + 4) % count]))
    return out


def ffmpeg(*arguments: str | float | Path) -> None:
    """Run the packaged ffmpeg, overwriting; its error message when it fails."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"ffmpeg failed: {done.stderr.strip()[-400:]}")


def read_sound(path: Path) -> np.ndarray:
    """Mono float32 [n] at 16 kHz on the video's clock (0 is the first frame's time)."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-vn", "-ac", "1"]
    command += ["-af", "aresample=16000:async=1:first_pts=0", "-f", "f32le", "-"]
    return np.frombuffer(
        subprocess.run(command, capture_output=True, check=True).stdout, np.float32
    )


def write_sound(path: Path, samples: np.ndarray) -> None:
    """float32 [n] at 16 kHz -> 16-bit wav."""
    import wave

    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def cut_video(source: Path, target: Path, *, seconds: float) -> None:
    """The first seconds with their own sound, near-lossless, each frame at its own time."""
    ffmpeg("-i", source, "-t", seconds, "-fps_mode", "passthrough", "-enc_time_base", "1:90000",
           "-video_track_timescale", "90000", "-c:v", "libx264", "-crf", "8", "-preset", "veryfast",
           "-c:a", "aac", "-b:a", "192k", target)  # fmt: skip


def cut_voice(source: Path, target: Path, *, seconds: float) -> None:
    """The first seconds from just before the voice sets in."""
    sound = read_sound(source)
    level = np.abs(sound[: len(sound) // 160 * 160]).reshape(-1, 160).max(1)
    onset = int(np.argmax(level > 0.1 * level.max())) * 160
    first = max(onset - RATE // 5, 0)
    write_sound(target, sound[first : first + int(seconds * RATE)])
