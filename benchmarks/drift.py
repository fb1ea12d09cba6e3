"""Do picture and sound stay together over half an hour, at every usual frame rate?

    python benchmarks/drift.py [--minutes 30] [--rates 24000/1001 25 uneven]

A tiny clip without a mouth goes through the product from file to file (so nothing is edited, but
every frame and sample takes the usual way) with a voice of noise. Columns:

    frames   in and out
    picture  how far the worst frame was moved, ms (time stamps in and out)
    sound    delay of the sound against the voice in the first and in the last second, ms
    drift    how much picture and sound moved against each other from the first to the last
             second, ms, and in frames
    length   end of the sound over the end of the picture, ms
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from curves import table
from dev_clips import delay
from pairing import RATE, ffmpeg, read_sound, write_sound

from omnisync_core.config import SyncOptions, preset
from omnisync_core.media import probe_video
from omnisync_core.model import OmniSync
from omnisync_core.pipeline import sync_video

RATES = ("24000/1001", "25", "30000/1001", "30", "60000/1001", "uneven")
_UNEVEN = Fraction(25)  # on average; every third frame comes a third of a frame early


def make_clip(path: Path, *, rate: Fraction, frames: int, uneven: bool) -> None:
    times = "(N+0.35*mod(N\\,3))" if uneven else "N"
    stamps = f"settb=1/90000,setpts={times}*{rate.denominator}/{rate.numerator}/TB"
    ffmpeg(
        *("-f", "lavfi", "-i", f"color=gray:size=32x32:rate={rate}", "-frames:v", frames),
        *("-vf", stamps if uneven else "null", "-fps_mode", "passthrough"),
        *(("-enc_time_base:v", "1/90000") if uneven else ()),
        *("-c:v", "libx264", "-preset", "ultrafast", path),
    )


def measure(folder: Path, model: OmniSync, name: str, minutes: float) -> list[str]:
    uneven = name == "uneven"
    rate = _UNEVEN if uneven else Fraction(name)
    frames = round(60 * minutes * rate)
    video, voice, result = (folder / n for n in ("in.mp4", "voice.wav", "out.mp4"))
    make_clip(video, rate=rate, frames=frames, uneven=uneven)
    noise = np.random.default_rng(0).normal(0, 0.1, int(frames / rate * RATE))
    write_sound(voice, noise.astype(np.float32))
    (folder / "none.json").write_text(str(["null"] * frames).replace("'", ""))
    sync_video(model, video, voice, result, options=SyncOptions(region=str(folder / "none.json")))
    before, after = probe_video(video), probe_video(result)
    assert before.variable_rate == after.variable_rate == uneven
    count = min(before.frames, after.frames)
    moved = 1000 * (after.times[:count] - before.times[:count])
    heard, said = read_sound(result), read_sound(voice)
    delays = [delay(heard, said, second=s) for s in (0.0, len(said) / RATE - 1.2)]
    drift = abs((delays[1] - delays[0]) - float(moved[-1] - moved[0]))
    length = 1000 * (len(heard) / RATE - after.duration)
    return [
        name,
        f"{before.frames} / {after.frames}",
        f"{np.abs(moved).max():.3f}",
        f"{delays[0]:.2f} / {delays[1]:.2f}",
        f"{drift:.2f} ({drift * float(rate) / 1000:.4f})",
        f"{length:+.2f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rates", nargs="*", default=list(RATES), choices=RATES, metavar="RATE")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = OmniSync(preset("mini", depth=1, audio_depth=1)).eval()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for rate in arguments.rates:
            rows.append(measure(Path(name), model, rate, arguments.minutes))
            sys.stderr.write(f"{' '.join(rows[-1])}\n")
    sys.stdout.write(table(["rate", "frames", "picture", "sound", "drift", "length"], rows))


if __name__ == "__main__":
    main()
